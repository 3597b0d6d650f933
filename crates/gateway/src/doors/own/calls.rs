//! `/v1/calls`: the `call` door, a JSON API for harnesses. A call is durable: it is kept before its answer is given,
//! and goes on when the connection, or this process, does not.
//!
//! | request | answer |
//! |---|---|
//! | `POST /v1/calls` with `Idempotency-Key: "…"` | the call. The same key and the same bytes: the same call, whatever has become of it; other bytes: 422 |
//! | `GET /v1/calls/{id}` | how it stands |
//! | `GET /v1/calls/{id}/events` | the same as server-sent events, until its end |
//!
//! | `PUT /v1/calls/{id}/mandate` | 204: the call may go on while its task sleeps, once. What is signed is `domain::call::Mandate`, whose parts the call names |
//!
//! A `POST` waits for the end as long as `Prefer: wait=N` says (RFC 7240 §4.3), and not at all with `respond-async`
//! (§4.1). It answers as the corridor does: 200 with the tool's answer inside for a call that was carried out; the
//! refusal as a problem; `outcome-unknown` as a problem; 202 with its place (`Location`) for one that goes on. What is
//! refused at once (a foreign reference, policy) was never accepted, and no key is used up.
//!
//! Who asks is the admitted peer, as everywhere. Another agent's or task's call is one that does not exist.

mod asking;
mod events;
mod shown;

use super::{done, read};
use crate::{
    answer::{self, OutBody},
    calls::{Asked, Settled, Signed, same_request, webhook_unknown},
    corridor::{self, Admitted, place_reference},
    gateway::Shared,
    peer::Peer,
};
use asking::Waits;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use hyper::body::Incoming;
use nightlatch_domain::{
    call::{CallPlace, SignedMandate},
    clock::Timestamp,
    companion::CALLS_PATH,
    exchange::Caller,
    id::CallId,
    ports::gateway_keeper::KeeperRefusal,
    problem::{Problem, ProblemKind},
    tool::Effect,
};
use std::sync::Arc;

/// What is asked here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::doors) enum Asks {
    /// To accept a call.
    Post,
    /// How one stands; none where the text is no id.
    Look(Option<CallId>),
    /// How one goes on.
    Events(Option<CallId>),
    /// That one may go on without its agent.
    Mandate(Option<CallId>),
}

/// Which of them a request is, by what follows the door's path.
pub(super) fn meant(method: &Method, rest: &str) -> Option<Asks> {
    if rest.is_empty() {
        return (method == Method::POST).then_some(Asks::Post);
    }
    let rest = rest.strip_prefix('/')?;
    let (id, below) = rest.split_once('/').map_or((rest, None), |(id, below)| (id, Some(below)));
    match (method, below) {
        (&Method::GET, None) => Some(Asks::Look(id.parse().ok())),
        (&Method::GET, Some("events")) => Some(Asks::Events(id.parse().ok())),
        (&Method::PUT, Some("mandate")) => Some(Asks::Mandate(id.parse().ok())),
        _ => None,
    }
}

/// Answers one of them.
pub(super) async fn answer(
    shared: &Arc<Shared>,
    peer: &Peer,
    (call, at): (CallId, Timestamp),
    asks: Asks,
    (headers, body): (&HeaderMap, Incoming),
) -> Result<Response<OutBody>, Problem> {
    match asks {
        Asks::Post => post(shared, peer, (call, at), (headers, body)).await,
        Asks::Look(id) => {
            let place = own_place(shared, peer, id).await?;
            shown::representation(shared, place, StatusCode::OK).await
        }
        Asks::Events(id) => {
            let place = own_place(shared, peer, id).await?;
            events::answer(shared, peer, place).await
        }
        Asks::Mandate(id) => {
            own_place(shared, peer, id).await?;
            let SignedMandate { not_after, signature } = read(body).await?;
            // After the wait for the body: whoever was enrolled then may not be any more.
            let place = own_place(shared, peer, id).await?;
            // A local user has no key to sign with.
            let key = peer.public_key.as_ref().ok_or(ProblemKind::NotSupported)?;
            let signed = Signed { not_after, public_key_spki: URL_SAFE_NO_PAD.encode(key), signature };
            let row = shared.calls.row(place).await?;
            shared.calls.give_mandate(&row, signed).await?;
            Ok(done())
        }
    }
}

async fn post(
    shared: &Arc<Shared>,
    peer: &Peer,
    (call, at): (CallId, Timestamp),
    (headers, body): (&HeaderMap, Incoming),
) -> Result<Response<OutBody>, Problem> {
    let limits = &shared.calls.limits;
    shared.corridor.admitted(peer)?;
    let (key_sha256, waits) = (asking::key_sha256(headers)?, asking::waits(headers, limits));
    let request = gathered(shared, body).await?;
    let asked = Asked::read(&request, limits)?;
    // After the wait for the body: whoever was enrolled then may not be any more.
    let admitted = shared.corridor.admitted(peer)?;
    let caller = &admitted.caller;
    let known = shared.calls.of_key(caller.tenant, caller.task, &key_sha256).await?;
    let place = match known {
        Some(known) => {
            let place = same_request(&known, &asked.sha256)?;
            wake(shared, caller, at).await?;
            place
        }
        None => match accept(shared, peer, (call, at), admitted, (&asked, &request, key_sha256)).await? {
            Ok(place) => place,
            Err(refused) => return Ok(refused),
        },
    };
    told(shared, place, waits).await
}

/// Accepts a call that is new, unless it would be refused now.
async fn accept(
    shared: &Arc<Shared>,
    peer: &Peer,
    (call, at): (CallId, Timestamp),
    admitted: Admitted,
    (asked, request, key_sha256): (&Asked, &Bytes, String),
) -> Result<Result<CallPlace, Response<OutBody>>, Problem> {
    if asked.webhook.as_ref().is_some_and(|name| !shared.calls.hooks.has(name)) {
        return Err(webhook_unknown());
    }
    let (caller, mut headers) = (admitted.caller, asked.headers.clone());
    if let Some(reference) = &asked.reference {
        let tables = shared.corridor.directory.view()?;
        place_reference(&caller, &tables, &asked.addressed, reference, &mut headers)?;
    }
    let weighed =
        corridor::weigh(&shared.corridor, peer, (call, at), asked.addressed.clone(), &headers).await;
    let exchange = match weighed {
        Ok(exchange) => exchange,
        Err(refused) => return Ok(Err(refused)),
    };
    wake(shared, &caller, at).await?;
    let place = CallPlace { tenant: caller.tenant, task: caller.task, call };
    let settled = Settled {
        caller,
        grant: exchange.grant,
        connection: exchange.connection,
        repeatable: exchange.matched.effect == Effect::Read,
        accepted_at: at,
        deadline: at.plus(asked.patience),
        webhook: asked.webhook.clone(),
    };
    let (shared, request, sha256) = (Arc::clone(shared), request.clone(), asked.sha256.clone());
    // Carried through, also where whoever asked goes away meanwhile: a call that is kept is in the queue.
    let accepting = async move { shared.calls.accept(place, settled, key_sha256, (&request, sha256)).await };
    tokio::spawn(accepting).await.unwrap_or(Err(ProblemKind::Internal.into())).map(Ok)
}

/// Whoever asks is on the line: that wakes its task, as any call of it does.
async fn wake(shared: &Shared, caller: &Caller, at: Timestamp) -> Result<(), Problem> {
    let applied = shared.corridor.directory.tables().number();
    let awake = shared.corridor.wakes.awake(caller, at, applied).await;
    awake.map(|_| ()).map_err(|refusal| Problem::new(KeeperRefusal::problem(&refusal)))
}

/// What is said of a call after the wait for its end.
async fn told(shared: &Shared, place: CallPlace, waits: Waits) -> Result<Response<OutBody>, Problem> {
    shared.calls.ended(place, waits.within).await;
    let row = shared.calls.row(place).await?;
    let ending = shared.calls.ending(&row)?;
    if let Some(problem) = ending.as_ref().and_then(|ended| ended.ending.problem(place.call)) {
        return Ok(located(answer::problem(&problem), place.call));
    }
    let status = if ending.is_some() { StatusCode::OK } else { StatusCode::ACCEPTED };
    let mut answer = shown::representation(shared, place, status).await?;
    if let (StatusCode::ACCEPTED, true) = (status, waits.is_async) {
        // RFC 7240 §3.
        answer.headers_mut().insert("preference-applied", HeaderValue::from_static("respond-async"));
    }
    Ok(located(answer, place.call))
}

fn located(mut answer: Response<OutBody>, call: CallId) -> Response<OutBody> {
    answer::name_call(answer.headers_mut(), call);
    if let Ok(path) = HeaderValue::from_str(&format!("{CALLS_PATH}/{call}")) {
        answer.headers_mut().insert(header::LOCATION, path);
    }
    answer
}

/// A call of whoever asks. Its task is awake as long as somebody asks after it.
async fn own_place(shared: &Shared, peer: &Peer, id: Option<CallId>) -> Result<CallPlace, Problem> {
    let caller = shared.corridor.admitted(peer)?.caller;
    let call = id.ok_or(ProblemKind::CallUnknown)?;
    let place = CallPlace { tenant: caller.tenant, task: caller.task, call };
    let row = shared.calls.row(place).await?;
    // One task has one agent, but its row could be given another one.
    if shared.calls.kept(&row)?.settled.caller.agent != caller.agent {
        return Err(ProblemKind::CallUnknown.into());
    }
    if !row.state.is_final() {
        // Where it cannot be woken, the call waits and says so.
        let _ = wake(shared, &caller, shared.corridor.clock.now()).await;
    }
    Ok(place)
}

async fn gathered(shared: &Shared, body: Incoming) -> Result<Bytes, Problem> {
    let limits = &shared.calls.limits;
    super::whole(body, limits.request_max_bytes, limits.request_within).await
}
