//! Brakes: how often, how many at once, when a provider asked to wait, and not again for the same reason.
//!
//! They stand after `decide` and before `hold`: what may not be done at all is refused as that, and what may
//! be done, but not now, costs no wake, no lease and no intent. Four cores, each over time that it is given:
//!
//! | core | what it knows |
//! |---|---|
//! | `shares` | calls a second and calls at once, of each agent, task, connection and tool |
//! | `provider` | until when a provider asked to be left alone, for all agents of a connection together |
//! | `repeats` | which request of a task failed for which reason, how often |
//! | `purse` | what is left of a grant's budget |
//!
//! **One agent must not slow another.** An agent and a task have limits of their own. A connection and a tool
//! are shared: while several agents use one, each has its even part of the rate, and no single one holds more
//! than three quarters of the places.
//!
//! **Refusals of ours are not remembered.** They are decided anew each time, from memory, so that what a human
//! changes is in effect with the next call. What is remembered is what a tool answered.

mod pace;
mod provider;
mod purse;
mod repeats;
mod rules;
mod said;
mod shares;
#[cfg(test)]
pub(crate) mod testing;

use crate::limits::Limits;
use http::{HeaderMap, HeaderName};
use nightlatch_domain::{
    clock::Boot,
    exchange::Exchange,
    grant::Grant,
    ports::store::BudgetStore,
    problem::{Problem, ProblemKind},
};
use nightlatch_ledger::Digest;
pub(crate) use pace::Due;
pub use pace::Pace;
use provider::Provider;
use purse::{Purses, Taken};
use repeats::{Heads, Repeats};
pub(crate) use repeats::{Outcome, Request, Suspicion};
pub use rules::{Of, Rule};
pub(crate) use said::Said;
pub(crate) use shares::Names;
use shares::{Place, Shares};
use std::{sync::Arc, time::Duration};

/// All brakes of one gateway.
pub(crate) struct Brakes {
    shares: Arc<Shares>,
    provider: Provider,
    repeats: Repeats,
    heads: Heads,
    purses: Purses,
}

/// A call's place in every count, and what it took out of its grant's budget.
pub(crate) struct Entered {
    taken: Option<Taken>,
    _place: Place,
}

impl Entered {
    /// The call left, and so many bytes passed.
    pub(crate) fn left(self, bytes: u64) {
        if let Some(taken) = self.taken {
            taken.spent(bytes);
        }
    }
}

impl Brakes {
    pub(crate) fn new(limits: &Limits, rules: Vec<Rule>, budgets: Arc<dyn BudgetStore>) -> Self {
        Self {
            shares: Arc::new(Shares::new(limits, rules)),
            provider: Provider::new(limits),
            repeats: Repeats::new(limits),
            heads: Heads::default(),
            purses: Purses::new(budgets),
        }
    }

    /// Lets a call on, or says what stops it. It counts among the calls at once for as long as the place lives.
    ///
    /// # Errors
    /// [`ProblemKind::ProviderLimit`]; [`ProblemKind::TooManyCalls`], whose field is the limit;
    /// [`ProblemKind::BudgetExhausted`], whose field is the part.
    pub(crate) async fn enter(
        &self,
        exchange: &Exchange,
        grant: &Grant,
        names: Names<'_>,
        now: Boot,
    ) -> Result<Entered, Problem> {
        if let Err(wait) = self.provider.pass(exchange, now) {
            return Err(told(ProblemKind::ProviderLimit, exchange, wait));
        }
        let place = self.shares.enter(exchange, names, now);
        let place = place
            .map_err(|over| told(ProblemKind::TooManyCalls, exchange, over.wait).at_field(over.field()))?;
        let taken = self.purses.take(grant, exchange.matched.effect).await;
        Ok(Entered { taken: taken.map_err(|problem| problem.of_tool(&exchange.tool))?, _place: place })
    }

    /// A request by its head; `reference` is the field that goes no further.
    pub(crate) fn request(
        &self,
        exchange: &Exchange,
        headers: &HeaderMap,
        reference: &HeaderName,
    ) -> Request {
        self.heads.of(exchange, headers, reference)
    }

    /// What is held against a request: nothing, or failures of the same head.
    pub(crate) fn suspicion(&self, request: Request, now: Boot) -> Suspicion {
        self.repeats.suspicion(request, now)
    }

    /// The answer to a request that is held back because it would fail as it did before.
    pub(crate) fn repeated(exchange: &Exchange, wait: Duration) -> Problem {
        told(ProblemKind::RepeatedFailure, exchange, wait)
    }

    /// Takes in what an answer's head says of the provider's limits.
    pub(crate) fn heard(&self, exchange: &Exchange, said: Said, now: Boot) {
        self.provider.heard(exchange, said, now);
    }

    /// Takes in what came of a request.
    pub(crate) fn ended(&self, request: Request, body: Option<Digest>, outcome: Outcome, now: Boot) {
        self.repeats.ended(request, body, outcome, now);
    }
}

/// Whole seconds, rounded up, and never none.
fn told(kind: ProblemKind, exchange: &Exchange, wait: Duration) -> Problem {
    let secs = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    Problem::new(kind).of_tool(&exchange.tool).retry_after(secs.max(1))
}
