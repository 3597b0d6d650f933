//! Brake: it may be done, but may it be done now?
//!
//! A request that keeps failing for the same reason is held back; then the provider's own wish and every limit
//! of calls are asked. What is refused here has used nothing up, and has cost no wake, no lease and no intent.

use super::{Admitted, Corridor, InBody, Resolved};
use crate::brakes::{Brakes, Entered, Names, Outcome, Request, Suspicion};
use http::HeaderMap;
use http_body_util::BodyExt as _;
use hyper::body::Body as _;
use nightlatch_domain::{
    clock::Boot,
    exchange::Exchange,
    problem::{Problem, ProblemKind},
};
use nightlatch_ledger::{Digest, facts::OutcomeFacts};
use std::sync::Arc;
use tokio::time::timeout;

/// A call that passed the brakes: its place in every count, and what its end tells them.
pub(crate) struct Braked {
    brakes: Arc<Brakes>,
    request: Request,
    entered: Entered,
}

impl Braked {
    /// Takes in what came of it. A body that did not leave whole is no request that could be told again.
    pub(crate) fn ended(self, facts: &OutcomeFacts, sent_whole: bool, now: Boot) {
        let outcome = match Outcome::of(facts.status, facts.problem) {
            Outcome::Failed(_) if !sent_whole => Outcome::Unsaid,
            outcome => outcome,
        };
        self.entered.left(facts.sent_bytes.saturating_add(facts.received_bytes));
        self.brakes.ended(self.request, facts.sent.clone(), outcome, now);
    }
}

impl Corridor {
    /// # Errors
    /// [`nightlatch_domain::problem::ProblemKind::RepeatedFailure`], `ProviderLimit`, `TooManyCalls` or `BudgetExhausted`.
    pub(super) async fn brake(
        &self,
        admitted: &Admitted,
        resolved: &Resolved,
        headers: &HeaderMap,
        body: InBody,
    ) -> Result<(Braked, InBody), Problem> {
        let exchange = &resolved.exchange;
        let request = self.brakes.request(exchange, headers, &resolved.field);
        let body = self.unrepeated(request, exchange, body).await?;
        let names = Names { agent: &admitted.agent.name, connection: &resolved.connection.name };
        let entered = self.brakes.enter(exchange, &resolved.grant, names, self.clock.boot()).await?;
        Ok((Braked { brakes: Arc::clone(&self.brakes), request, entered }, body))
    }

    /// The body again, where it is not held back. Only where something failed with this very head and a body,
    /// and this one is short, is it read before it is sent: it could be another one.
    async fn unrepeated(
        &self,
        request: Request,
        exchange: &Exchange,
        body: InBody,
    ) -> Result<InBody, Problem> {
        let Suspicion::Bodies(held) = self.brakes.suspicion(request, self.clock.boot()) else {
            return Ok(body);
        };
        let (body, digest) = match self.in_hand(body).await? {
            (body, Some(digest)) => (body, digest),
            // It is long, or nobody knows how long.
            (body, None) => return Ok(body),
        };
        match held.iter().find(|(failed, _)| *failed == digest) {
            Some((_, wait)) => Err(Brakes::repeated(exchange, *wait)),
            None => Ok(body),
        }
    }

    /// A short body with its keyed hash; an empty one has none.
    async fn in_hand(&self, body: InBody) -> Result<(InBody, Option<Option<Digest>>), Problem> {
        if body.is_end_stream() {
            return Ok((body, Some(None)));
        }
        let longest = u64::try_from(self.limits.repeat_body_max_bytes).unwrap_or(u64::MAX);
        if body.size_hint().exact().is_none_or(|bytes| bytes > longest) {
            return Ok((body, None));
        }
        let read = timeout(self.limits.body_idle, body.collect()).await;
        let broke_off = || Problem::new(ProblemKind::BadRequest).at_field("body");
        let bytes = read.ok().and_then(Result::ok).ok_or_else(broke_off)?.to_bytes();
        let mut digest = self.ledger.body_digest();
        digest.update(&bytes);
        let digest = (!bytes.is_empty()).then(|| digest.finish());
        Ok((InBody::Whole(bytes), Some(digest)))
    }
}
