//! `POST /v1/refusals`: what an agent's companion refused on its own machine, for the ledger.
//!
//! A companion is the agent's side, so this is its word and no more: it is recorded under its own task, as
//! refusals of callers that proved nothing, by one of two reasons and with a bounded count.

use super::{done, read};
use crate::{answer::OutBody, gateway::Shared, peer::Peer};
use http::Response;
use hyper::body::Incoming;
use nightlatch_domain::{
    companion::LocalRefusals,
    id::CallId,
    problem::{Problem, ProblemKind},
};
use nightlatch_ledger::facts::RefusalFacts;

pub(super) async fn answer(
    shared: &Shared,
    peer: &Peer,
    call: CallId,
    body: Incoming,
) -> Result<Response<OutBody>, Problem> {
    shared.corridor.admitted(peer)?;
    let LocalRefusals { reason, count } = read(body).await?;
    // Whoever was admitted before the body came may not be any more.
    let caller = shared.corridor.admitted(peer)?.caller;
    if count == 0 {
        return Err(Problem::new(ProblemKind::BadRequest).at_field("count"));
    }
    let facts = RefusalFacts {
        call: Some(call),
        reason: Some(reason.as_str()),
        count: u64::from(count),
        ..RefusalFacts::new(ProblemKind::NotAdmitted)
    };
    let written = shared.corridor.ledger.refusal(&caller, facts).await;
    written.map_err(|_| Problem::new(ProblemKind::LedgerUnavailable).retry_after(1))?;
    Ok(done())
}
