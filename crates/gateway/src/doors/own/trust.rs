//! `GET /v1/trust`: the interception authorities of the tools that the task's living grants name, and of no
//! other. An agent's programs trust these and what the system trusts, so nobody here can stand for a host that
//! no human granted.

use super::told;
use crate::{answer::OutBody, gateway::Shared, peer::Peer};
use http::Response;
use nightlatch_domain::{
    clock::Timestamp,
    problem::{Problem, ProblemKind},
};
use std::sync::Arc;

pub(super) async fn answer(
    shared: &Arc<Shared>,
    peer: &Peer,
    at: Timestamp,
) -> Result<Response<OutBody>, Problem> {
    let caller = shared.corridor.admitted(peer)?.caller;
    let tables = shared.corridor.directory.view()?;
    let mut bundle = String::new();
    for tool in tables.granted_tools(caller.tenant, caller.task, at) {
        let names = tables.intercepted_names(caller.tenant, &tool);
        // A tool that is spoken to in plain HTTP alone needs none.
        if names.is_empty() {
            continue;
        }
        let pem = shared.standing.trust((caller.tenant, tool), names).await;
        bundle.push_str(&pem.map_err(|error| {
            tracing::error!(%error, "an interception authority cannot be used");
            Problem::new(ProblemKind::Internal)
        })?);
    }
    Ok(told("application/x-pem-file", bundle.into_bytes()))
}
