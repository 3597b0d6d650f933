//! Decide: may it, for this task, now? Asks `policy`; holds nothing of its own.

use super::{admit::Admitted, resolve::Resolved};
use nightlatch_catalog::manifest::Manifest;
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
/// into being: nobody here could keep it from the agent. Allowed, where it is granted by its id, is what the manifest
/// says shows none; its answer is held to that ([`super::wash`]).
///
/// # Errors
/// [`ProblemKind::NotSupported`], whatever else was granted.
pub(crate) fn refuse_new_secrets(exchange: &Exchange, manifest: &Manifest) -> Result<(), Problem> {
    let shows_none = || {
        let operation = manifest.operation(&exchange.matched.operation);
        operation.is_some_and(|own| own.effect == Effect::Credential && own.answers_no_secret)
    };
    match exchange.matched.effect {
        Effect::Credential if !shows_none() => {
            Err(Problem::new(ProblemKind::NotSupported).of_tool(&exchange.tool).at_field("effect"))
        }
        Effect::Credential | Effect::Read | Effect::Write | Effect::Destructive | Effect::Admin => Ok(()),
    }
}
