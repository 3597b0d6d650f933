//! `POST /v1/enrol`: a one-time code and the key of this very connection become an agent's identity.
//!
//! The key is what the handshake proved; the request cannot name another. Only the keeper, which vouched for
//! the code, can enrol. The answer is given once the enrolment is in effect here, so that the agent's next
//! call is admitted.

use crate::{
    answer::{self, OutBody},
    corridor,
    gateway::Shared,
    peer::Peer,
    tls::sha256_hex,
};
use http::{HeaderValue, Method, Response, header, request::Parts};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use nightlatch_domain::{
    id::{CallId, PrincipalId, TaskId},
    ports::gateway_keeper::{GatewayReply, GatewayRequest, KeeperRefusal},
    principal::Binding,
    problem::{Problem, ProblemKind},
};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use tokio::time::timeout;

/// The whole body: a code is far shorter.
const BODY_MAX_BYTES: usize = 4096;
/// How long the body may take: it is one packet.
const BODY_WITHIN: Duration = Duration::from_secs(10);
/// How long the enrolment may take to come back over the feed.
const EFFECT_WITHIN: Duration = Duration::from_secs(5);

/// What is sent. Unknown and repeated keys are refused by the reader.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    code: String,
}

/// What is answered.
#[derive(Serialize)]
struct Enrolled {
    agent: PrincipalId,
    task: TaskId,
}

/// Whether a request is for this door.
pub(super) fn is_meant(head: &Parts) -> bool {
    head.method == Method::POST && head.uri.path() == "/v1/enrol" && head.uri.query().is_none()
}

pub(super) async fn answer(shared: &Shared, peer: &Peer, call: CallId, body: Incoming) -> Response<OutBody> {
    match enrol(shared, peer, body).await {
        Ok(enrolled) => done(&enrolled, call),
        Err(problem) => corridor::refuse(&shared.corridor, peer, call, problem).await,
    }
}

async fn enrol(shared: &Shared, peer: &Peer, body: Incoming) -> Result<Enrolled, Problem> {
    let binding = peer.binding.clone().ok_or(ProblemKind::NotAdmitted)?;
    // The body first: a place is for guesses that are made, and not for bodies that do not come.
    let code = code(body).await?;
    let _place =
        shared.enrolling.try_acquire().map_err(|_| Problem::new(ProblemKind::TooManyCalls).retry_after(1))?;
    let ask = GatewayRequest::Enrol { code_sha256: sha256_hex(code.as_bytes()), binding: binding.clone() };
    match shared.corridor.wakes.ask(ask).await {
        Ok(GatewayReply::Enrolled { agent, task, .. }) => {
            in_effect(shared, &binding).await?;
            Ok(Enrolled { agent, task })
        }
        Ok(_) => Err(ProblemKind::KeeperUnavailable.into()),
        Err(refusal) => Err(refusal_problem(&refusal)),
    }
}

fn refusal_problem(refusal: &KeeperRefusal) -> Problem {
    Problem::new(refusal.problem())
}

async fn code(body: Incoming) -> Result<String, Problem> {
    let gathered = timeout(BODY_WITHIN, Limited::new(body, BODY_MAX_BYTES).collect()).await;
    let bytes = gathered.map_err(|_| ProblemKind::BadRequest)?.map_err(|_| ProblemKind::TooLarge)?.to_bytes();
    let asked: Asked =
        serde_json::from_slice(&bytes).map_err(|_| Problem::new(ProblemKind::BadRequest).at_field("body"))?;
    Ok(asked.code)
}

/// Waits until this gateway would admit the key.
async fn in_effect(shared: &Shared, binding: &Binding) -> Result<(), Problem> {
    let directory = &shared.corridor.directory;
    let mut changes = directory.changes();
    let seen = async {
        while directory.tables().enrolment(binding).is_none() {
            if changes.changed().await.is_err() {
                return;
            }
        }
    };
    timeout(EFFECT_WITHIN, seen).await.map_err(|_| Problem::new(ProblemKind::DirectoryStale).retry_after(1))
}

fn done(enrolled: &Enrolled, call: CallId) -> Response<OutBody> {
    // Two ids have no way to fail.
    let mut answer = Response::new(answer::whole(serde_json::to_vec(enrolled).unwrap_or_default()));
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer::name_call(answer.headers_mut(), call);
    answer
}
