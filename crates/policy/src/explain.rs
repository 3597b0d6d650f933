//! `policy explain`: what was decided on, by what, and why, for a person.

use crate::{
    decide::{Decider, Denied, Reason},
    facts::Facts,
    question::Question,
};
use std::fmt;

/// A decision with its grounds. It is computed anew and permits nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// Why not; none where it is allowed.
    pub denied: Option<Reason>,
    /// The policies that decided.
    pub policies: Vec<String>,
    /// How many policies were evaluated.
    pub evaluated: usize,
    /// What was looked at; none where a row is missing.
    pub facts: Option<Facts>,
}

impl Decider {
    /// Explains one decision. The cache is neither asked nor filled.
    #[must_use]
    pub fn explain(&self, question: &Question<'_>) -> Explanation {
        let Some(facts) = Facts::of(question, &question.exchange.matched) else {
            return Explanation {
                denied: Some(Reason::Missing),
                policies: Vec::new(),
                evaluated: 0,
                facts: None,
            };
        };
        let slice = self.slice(&facts);
        let (verdict, policies) = self.evaluate(slice, &facts, question.now);
        let denied = verdict.err().map(|Denied { reason, .. }| reason);
        Explanation { denied, policies, evaluated: slice.policies.num_of_policies(), facts: Some(facts) }
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.denied {
            None => writeln!(out, "allowed")?,
            Some(reason) => writeln!(out, "denied: {}", reason.as_str())?,
        }
        let policies = if self.policies.is_empty() { "none".to_owned() } else { self.policies.join(", ") };
        writeln!(out, "decided by: {policies} (of {} evaluated)", self.evaluated)?;
        let Some(facts) = &self.facts else { return writeln!(out, "a row that it needs is missing") };
        let matched = &facts.asked.matched;
        let resource = matched.resource.as_deref().unwrap_or("–");
        writeln!(
            out,
            "operation: {}/{} ({}) on {resource}",
            facts.asked.tool, matched.operation, matched.effect
        )?;
        writeln!(out, "agent: {} (active: {})", facts.agent.name, facts.agent.active)?;
        writeln!(
            out,
            "task: {} (open: {}, its agent: {})",
            facts.task.id, facts.task.open, facts.task.agent
        )?;
        writeln!(
            out,
            "grant: {} (live: {}, covers this: {})",
            facts.grant.id, facts.grant.live, facts.covered
        )?;
        writeln!(out, "connection: {} (present: {})", facts.connection.name, facts.connection.present)?;
        writeln!(out, "host: {} (confirmed for it: {})", facts.asked.host, facts.bound)?;
        writeln!(out, "sandbox: {}", facts.sandbox.as_str())
    }
}
