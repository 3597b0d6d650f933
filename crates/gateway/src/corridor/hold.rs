//! Hold: the call waits here for whatever it still needs: a wake, a lease, a refresh.
//!
//! The wait is bounded by the caller's patience. A keeper that forgot the wake (it restarted) is shown a
//! new proof once. A call that goes on without its agent brings a mandate, which is good for one lease. A lease of a generation that is being drained is given back, and another is asked for.

use super::durable::Right;
use crate::{
    running::{Entered, Running},
    wakes::{Awake, Kept, Wakes},
};
use nightlatch_domain::{
    exchange::Exchange,
    ports::gateway_keeper::KeeperRefusal,
    problem::{Problem, ProblemKind},
};
use std::sync::Arc;

/// How often a lease is asked for again in one call: once for a keeper that restarted, once for a drain.
const TRIES: usize = 3;

/// What a call holds while it runs. The lease in it is sealed.
pub(crate) struct Holding {
    pub(crate) awake: Arc<Awake>,
    pub(crate) kept: Arc<Kept>,
    /// Counts the call among those that use this generation.
    pub(crate) entered: Entered,
}

/// # Errors
/// The keeper's refusal, as a problem.
pub(crate) async fn hold(
    wakes: &Arc<Wakes>,
    running: &Arc<Running>,
    exchange: &Exchange,
    applied: u64,
    right: Option<&Right>,
) -> Result<Holding, Problem> {
    if let Some(Right::Mandate(given)) = right {
        let (awake, kept) =
            wakes.under_mandate(exchange, given).await.map_err(|refusal| problem(&refusal))?;
        let entered = running.enter(&kept.lease.binding, kept.asked_after);
        let entered = entered.map_err(|_| Problem::new(ProblemKind::CredentialPending).retry_after(1))?;
        return Ok(Holding { awake, kept, entered });
    }
    for _ in 0..TRIES {
        let awake = match right {
            None => wakes.awake(&exchange.caller, exchange.at, applied).await,
            // Nobody is on the line whose handshake could prove another.
            Some(_) => wakes.running(&exchange.caller).ok_or(KeeperRefusal::NotAwake),
        };
        let awake = match awake {
            Err(KeeperRefusal::NotAwake) if right.is_some() => break,
            other => other.map_err(|refusal| problem(&refusal))?,
        };
        let kept = match wakes.lease(&awake, exchange).await {
            Ok(kept) => kept,
            // The keeper forgot it, and all who wait here for one lease hear so. Where we ended it ourselves, the
            // call came before the sleep and wakes nobody after it.
            Err(KeeperRefusal::NotAwake) if wakes.end_forgotten(&awake) => continue,
            Err(KeeperRefusal::NotAwake) => break,
            Err(refusal) => return Err(problem(&refusal)),
        };
        match running.enter(&kept.lease.binding, kept.asked_after) {
            Ok(entered) => return Ok(Holding { awake, kept, entered }),
            Err(_) => wakes.drop_lease(&awake, exchange.grant, &kept),
        }
    }
    Err(Problem::new(ProblemKind::CredentialPending).retry_after(1))
}

/// What the agent is told of the keeper's no.
fn problem(refusal: &KeeperRefusal) -> Problem {
    let problem = Problem::new(refusal.problem());
    match refusal {
        KeeperRefusal::ReauthRequired { ticket } => problem.with_ticket(*ticket),
        KeeperRefusal::Pending { retry_after_secs } => problem.retry_after(*retry_after_secs),
        _ => problem,
    }
}

#[cfg(test)]
mod tests;
