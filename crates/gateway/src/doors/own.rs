//! Our own paths, under `/v1`: what an agent's side asks of the gateway itself.
//!
//! | path | for whom | what |
//! |---|---|---|
//! | `POST /v1/enrol` | whoever has a code | the key of this connection becomes an agent's identity |
//! | `GET /v1/trust` | admitted agents | the authorities that this task's tools are intercepted under |
//! | `GET`, `POST /v1/wake` | admitted agents | the keeper's challenge, and the agent's signature under it |
//! | `POST /v1/refusals` | admitted agents | what its companion refused on its own machine, for the ledger |
//! | `POST /v1/calls` | admitted agents | a call that outlives its caller ([`calls`]) |
//! | `GET /v1/calls/{id}`, `…/events` | the agent and task that asked | how it stands, once or as it goes on |
//! | `PUT /v1/calls/{id}/mandate` | the same | the agent's signed word that it may go on without it |
//!
//! Whatever else begins with `/v1` is nothing here, and no tool has that name.

mod calls;
mod enrol;
mod refusals;
mod trust;
mod wake;

use crate::{
    answer::{self, OutBody},
    corridor,
    gateway::Shared,
    peer::Peer,
};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header, request::Parts};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::Incoming;
use nightlatch_domain::{
    clock::Timestamp,
    companion::{CALLS_PATH, ENROL_PATH, REFUSALS_PATH, TRUST_PATH, WAKE_PATH},
    id::CallId,
    ports::sight::Door,
    problem::{Problem, ProblemKind},
};
use serde::de::DeserializeOwned;
use std::{sync::Arc, time::Duration};
use tokio::time::timeout;

/// The whole body of any of these requests: codes, signatures and numbers are far shorter.
const BODY_MAX_BYTES: usize = 4096;
/// How long a body may take: it is one packet.
const BODY_WITHIN: Duration = Duration::from_secs(10);

/// One of our own requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Own {
    Enrol,
    Trust,
    Refusals,
    WakeChallenge,
    WakeSigned,
    Call(calls::Asks),
}

impl Own {
    /// The door that it is, if it is one.
    const fn door(self) -> Option<Door> {
        match self {
            Self::Call(_) => Some(Door::Call),
            Self::Enrol | Self::Trust | Self::Refusals | Self::WakeChallenge | Self::WakeSigned => None,
        }
    }
}

/// Which of them a request is, if it is one.
pub(super) fn meant(head: &Parts) -> Option<Own> {
    if head.uri.query().is_some() {
        return None;
    }
    match (&head.method, head.uri.path()) {
        (&Method::POST, ENROL_PATH) => Some(Own::Enrol),
        (&Method::GET, TRUST_PATH) => Some(Own::Trust),
        (&Method::POST, REFUSALS_PATH) => Some(Own::Refusals),
        (&Method::GET, WAKE_PATH) => Some(Own::WakeChallenge),
        (&Method::POST, WAKE_PATH) => Some(Own::WakeSigned),
        (method, path) => calls::meant(method, path.strip_prefix(CALLS_PATH)?).map(Own::Call),
    }
}

/// Answers one of them.
pub(super) async fn answer(
    shared: &Arc<Shared>,
    peer: &Peer,
    (call, at): (CallId, Timestamp),
    own: Own,
    (headers, body): (&HeaderMap, Incoming),
) -> Response<OutBody> {
    match answered(shared, peer, (call, at), own, (headers, body)).await {
        // What is about a durable call names that one.
        Ok(answer) if answer.headers().contains_key(answer::CALL) => answer,
        Ok(mut answer) => {
            answer::name_call(answer.headers_mut(), call);
            answer
        }
        Err(problem) => corridor::refuse(&shared.corridor, peer, (call, own.door()), problem, None).await,
    }
}

async fn answered(
    shared: &Arc<Shared>,
    peer: &Peer,
    (call, at): (CallId, Timestamp),
    own: Own,
    (headers, body): (&HeaderMap, Incoming),
) -> Result<Response<OutBody>, Problem> {
    // It counts among the calls of its agent; who enrols is none yet, and has a place elsewhere.
    let _share = match own {
        Own::Enrol => None,
        _ => Some(shared.corridor.share(&shared.corridor.admitted(peer)?)?),
    };
    match own {
        Own::Enrol => enrol::answer(shared, peer, body).await,
        Own::Trust => trust::answer(shared, peer, at).await,
        Own::Refusals => refusals::answer(shared, peer, call, body).await,
        Own::WakeChallenge => wake::challenge(shared, peer).await,
        Own::WakeSigned => wake::signed(shared, peer, body).await,
        Own::Call(asks) => calls::answer(shared, peer, (call, at), asks, (headers, body)).await,
    }
}

/// A small body in JSON. Unknown and repeated keys are refused by the reader.
async fn read<T: DeserializeOwned>(body: Incoming) -> Result<T, Problem> {
    let bytes = whole(body, BODY_MAX_BYTES, BODY_WITHIN).await?;
    serde_json::from_slice(&bytes).map_err(|_| Problem::new(ProblemKind::BadRequest).at_field("body"))
}

/// A body to its end, within a length and a time. One that breaks off is not taken for a long one.
async fn whole(body: Incoming, max_bytes: usize, within: Duration) -> Result<Bytes, Problem> {
    match timeout(within, Limited::new(body, max_bytes).collect()).await {
        Ok(Ok(gathered)) => Ok(gathered.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(ProblemKind::TooLarge.into()),
        Ok(Err(_)) | Err(_) => Err(Problem::new(ProblemKind::BadRequest).at_field("body")),
    }
}

/// An answer that is nobody else's.
fn told(kind: &'static str, body: Vec<u8>) -> Response<OutBody> {
    let mut answer = Response::new(answer::whole(body));
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    answer.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

/// It was done, and there is nothing to say.
fn done() -> Response<OutBody> {
    let mut answer = Response::new(answer::whole(Vec::new()));
    *answer.status_mut() = StatusCode::NO_CONTENT;
    answer
}
