//! Decide: may it, for this task, now? Asks `policy`; holds nothing of its own.

use super::{admit::Admitted, resolve::Resolved};
use nightlatch_domain::{clock::Timestamp, task::Assurance};
use nightlatch_policy::{Decider, Denied, Permit, Question, Sandbox};

/// # Errors
/// [`Denied`], with the reason for the ledger and the problem for the caller.
pub(crate) fn decide(
    decider: &Decider,
    admitted: &Admitted,
    resolved: &Resolved,
    now: Timestamp,
) -> Result<Permit, Denied> {
    decider.decide(&Question {
        exchange: &resolved.exchange,
        agent: Some(&admitted.agent),
        task: Some(&resolved.task),
        grant: Some(&resolved.grant),
        connection: Some(&resolved.connection),
        now,
        // Nothing is known of how the agent is shut in before `run` and its companion are there, and a
        // gateway that states what it verified is all the evidence there is.
        sandbox: Sandbox::None,
        assurance: Assurance::Stated,
    })
}
