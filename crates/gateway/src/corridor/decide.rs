//! Decide: may it, for this task, now? Asks `policy`; holds nothing of its own.

use super::{admit::Admitted, resolve::Resolved};
use nightlatch_domain::{
    clock::Timestamp,
    exchange::Exchange,
    problem::{Problem, ProblemKind},
    task::Assurance,
    tool::Effect,
};
use nightlatch_policy::{Decider, Denied, Permit, Question, Sandbox};

/// # Errors
/// [`Denied`], with the reason for the ledger and the problem for the caller.
pub(crate) fn decide(
    decider: &Decider,
    admitted: &Admitted,
    resolved: &Resolved,
    assurance: Assurance,
    now: Timestamp,
) -> Result<Permit, Denied> {
    decider.decide(&Question {
        exchange: &resolved.exchange,
        agent: Some(&admitted.agent),
        task: Some(&resolved.task),
        grant: Some(&resolved.grant),
        connection: Some(&resolved.connection),
        now,
        // What an agent's side says of how the agent is shut in is its own word; nothing proves it yet.
        sandbox: Sandbox::None,
        assurance,
    })
}

/// An answer of effect `credential` holds a new secret. Before those are made references it must not come
/// into being: nobody here could keep it from the agent.
///
/// # Errors
/// [`ProblemKind::NotSupported`], whatever was granted.
pub(crate) fn refuse_new_secrets(exchange: &Exchange) -> Result<(), Problem> {
    match exchange.matched.effect {
        Effect::Credential => {
            Err(Problem::new(ProblemKind::NotSupported).of_tool(&exchange.tool).at_field("effect"))
        }
        Effect::Read | Effect::Write | Effect::Destructive | Effect::Admin => Ok(()),
    }
}
