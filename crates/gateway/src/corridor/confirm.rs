//! Confirm: may it still? A decision is as old as the waits behind it.
//!
//! Holding can wait for a refresh, recording for a disk; meanwhile a human revokes a grant and is told
//! that it is in effect. So whenever the directory has moved on, or the time past anything that the decision
//! looked at, the call is admitted, resolved and decided again, from the same head by the same functions, and
//! only the newest permit goes on. Where neither has, the same functions would be asked the same question of the
//! same rows: the permit knows until when ([`Permit::holds_at`]). A call that has become another one (its host was confirmed anew, its tool's manifest
//! replaced) holds what was given for the first one, and is refused: the agent asks again.

use super::{Corridor, admit, admit::Admitted, decide, record::Trail, resolve, resolve::Resolved};
use crate::{doors::Addressed, peer::Peer};
use http::HeaderMap;
use nightlatch_domain::{
    clock::Timestamp,
    problem::{Problem, ProblemKind},
    task::Assurance,
};
use nightlatch_policy::Permit;
use std::sync::Arc;

/// A call that may leave, and by what it may.
pub(crate) struct Confirmed {
    pub(crate) resolved: Resolved,
    pub(crate) permit: Permit,
    /// The number of the directory by which it was decided.
    pub(crate) number: u64,
    /// How sure of the wake it was decided.
    assurance: Assurance,
}

impl Corridor {
    pub(super) fn decide(
        &self,
        admitted: &Admitted,
        resolved: Resolved,
        assurance: Assurance,
        (number, now): (u64, Timestamp),
        trail: &mut Trail,
    ) -> Result<Confirmed, Problem> {
        let permit =
            decide::decide(&self.decider, admitted, &resolved, assurance, now).map_err(|denied| {
                let problem = Problem::new(denied.reason.problem()).of_tool(&resolved.exchange.tool);
                trail.denied = Some(denied);
                problem
            })?;
        decide::refuse_new_secrets(&resolved.exchange, &resolved.manifest)?;
        Ok(Confirmed { resolved, permit, number, assurance })
    }

    /// Decides anew what was decided by an older directory, what the time has overtaken, and what was decided of
    /// another wake than the one that the call is held in, of which the keeper is this sure.
    pub(super) fn confirm(
        &self,
        peer: &Peer,
        headers: &HeaderMap,
        confirmed: &mut Confirmed,
        assurance: Assurance,
        trail: &mut Trail,
    ) -> Result<(), Problem> {
        let (tables, now) = (self.directory.view()?, self.clock.now());
        let is_newest = confirmed.number == tables.number() && confirmed.permit.holds_at(now);
        if is_newest && confirmed.assurance == assurance {
            return Ok(());
        }
        let exchange = &confirmed.resolved.exchange;
        let admitted = admit::admit(peer, &tables)?;
        let addressed = Addressed {
            tool: exchange.tool.clone(),
            route: exchange.host.route.clone(),
            // Another host than the one that was resolved makes it another call, which is refused below.
            origin: None,
            target: exchange.target.clone(),
        };
        let resolved = resolve::resolve(&admitted, &tables, addressed, headers, exchange.call, exchange.at)?;
        let resolved = match &confirmed.resolved.read {
            Some(read) => {
                resolved.reading(Arc::clone(read)).map_err(|problem| problem.of_tool(&exchange.tool))?
            }
            None => resolved,
        };
        if *resolved.exchange != **exchange {
            let changed = Problem::new(ProblemKind::CredentialPending).of_tool(&exchange.tool);
            return Err(changed.retry_after(1));
        }
        *confirmed = self.decide(&admitted, resolved, assurance, (tables.number(), now), trail)?;
        Ok(())
    }
}
