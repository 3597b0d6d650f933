//! `POST /v1/enrol`: a one-time code and the key of this very connection become an agent's identity.
//!
//! The key is what the handshake proved; the request cannot name another. Only the keeper, which vouched for
//! the code, can enrol. The answer is given once the enrolment is in effect here, so that the agent's next
//! call is admitted.

use super::{read, told};
use crate::{answer::OutBody, gateway::Shared, peer::Peer, tls::sha256_hex};
use http::Response;
use hyper::body::Incoming;
use nightlatch_domain::{
    id::{PrincipalId, TaskId},
    ports::gateway_keeper::{GatewayReply, GatewayRequest, KeeperRefusal},
    principal::Binding,
    problem::{Problem, ProblemKind},
};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use tokio::time::timeout;

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

pub(super) async fn answer(
    shared: &Shared,
    peer: &Peer,
    body: Incoming,
) -> Result<Response<OutBody>, Problem> {
    let enrolled = enrol(shared, peer, body).await?;
    // Two ids have no way to fail.
    Ok(told("application/json", serde_json::to_vec(&enrolled).unwrap_or_default()))
}

async fn enrol(shared: &Shared, peer: &Peer, body: Incoming) -> Result<Enrolled, Problem> {
    let binding = peer.binding.clone().ok_or(ProblemKind::NotAdmitted)?;
    // The body first: a place is for guesses that are made, and not for bodies that do not come.
    let Asked { code } = read(body).await?;
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
