//! Record: what is about to happen, before it does; what came of it, after; and every no.
//!
//! A call has one entry with a decision: an intent (then an outcome that names it) or a refusal. Where the
//! ledger cannot be written, the call is refused with that, whatever it would have been: a record that is
//! dropped under load is a way in.

use super::{body::Counted, brake::Braked, forward::Shown, resolve::Resolved};
use crate::{
    peer::Peer,
    running::{Admitted, Entered},
    sight::{Phase, Seen},
    wakes::Awake,
};
use http::StatusCode;
use nightlatch_domain::{
    clock::{Boot, Clock},
    exchange::{Caller, Exchange},
    grant::Grant,
    id::{CallId, ConnectionId, TenantId},
    problem::{Problem, ProblemKind},
    tool::Name,
};
use nightlatch_egress::Destination;
use nightlatch_ledger::{
    BodyDigest, Ledger, Recorded,
    facts::{EventFacts, FindingFacts, HostName, IntentFacts, OutcomeFacts, RefusalFacts},
    record::{EventName, FindingKind},
};
use nightlatch_policy::Denied;
use std::sync::Arc;

/// # Errors
/// [`ProblemKind::LedgerUnavailable`]: nothing may leave.
pub(crate) async fn intent(ledger: &Ledger, resolved: &Resolved, awake: &Awake) -> Result<Recorded, Problem> {
    let facts = IntentFacts {
        wake: Some(awake.wake()),
        assurance: Some(awake.assurance()),
        body: resolved.read.as_ref().map(|read| read.digest.clone()),
    };
    ledger.intent(&resolved.exchange, facts).await.map_err(|_| unavailable())
}

fn unavailable() -> Problem {
    Problem::new(ProblemKind::LedgerUnavailable).retry_after(1)
}

/// What is known of a call when it is refused.
#[derive(Default)]
pub(crate) struct Trail {
    pub(crate) caller: Option<Caller>,
    pub(crate) tool: Option<Name>,
    pub(crate) exchange: Option<Arc<Exchange>>,
    pub(crate) denied: Option<Denied>,
    /// Where it was to go, where the caller named that and no tool has it.
    pub(crate) to: Option<Destination>,
    /// The call as others see it, until it leaves.
    pub(crate) seen: Option<Seen>,
}

impl Trail {
    /// It is known what the call is.
    pub(crate) fn is(&mut self, exchange: &Arc<Exchange>) {
        self.exchange = Some(Arc::clone(exchange));
        if let Some(seen) = &mut self.seen {
            seen.is(exchange);
        }
    }

    /// The call goes on to another room.
    pub(crate) fn enters(&mut self, phase: Phase) {
        if let Some(seen) = &mut self.seen {
            seen.enters(phase);
        }
    }
}

/// Records a refusal, and gives what the agent is told: the same, or that nothing can be recorded.
pub(crate) async fn refusal(
    ledger: &Ledger,
    peer: &Peer,
    call: CallId,
    trail: Trail,
    problem: Problem,
) -> Problem {
    let written = match &trail.caller {
        Some(caller) => ledger.refusal(caller, facts(call, &trail, problem.kind)).await,
        None => ledger.refusal_unadmitted(peer.source, problem.kind).await,
    };
    if written.is_ok() { problem } else { unavailable() }
}

/// Records that nothing was asked. Nobody is there to wait for it.
pub(crate) fn unasked(ledger: &Ledger, call: CallId, trail: &Trail) {
    if let Some(caller) = &trail.caller {
        drop(ledger.refusal(caller, facts(call, trail, ProblemKind::BadRequest)));
    }
}

fn facts(call: CallId, trail: &Trail, problem: ProblemKind) -> RefusalFacts {
    let exchange = trail.exchange.as_ref();
    RefusalFacts {
        call: Some(call),
        reason: trail.denied.as_ref().map(|denied| denied.reason.as_str()),
        policies: trail.denied.as_ref().map(|denied| denied.policies.clone()).unwrap_or_default(),
        tool: trail.tool.clone(),
        operation: exchange.map(|exchange| exchange.matched.operation.clone()),
        effect: exchange.map(|exchange| exchange.matched.effect),
        grant: exchange.map(|exchange| exchange.grant),
        connection: exchange.map(|exchange| exchange.connection),
        host: trail.to.as_ref().and_then(|to| HostName::new(to.host())),
        scheme: trail.to.as_ref().map(Destination::scheme),
        port: trail.to.as_ref().map(Destination::port),
        ..RefusalFacts::new(problem)
    }
}

/// The alarm that a reference was used by somebody else. It names who used it; whose it is, its grant says.
pub(crate) fn misuse(caller: &Caller, call: CallId, grant: &Grant) -> EventFacts {
    // A grant of another tenant is none that this tenant's ledger may name.
    let own_tenant = grant.tenant == caller.tenant;
    EventFacts {
        tenant: Some(caller.tenant),
        call: Some(call),
        agent: Some(caller.agent),
        task: Some(caller.task),
        grant: own_tenant.then_some(grant.id),
        connection: own_tenant.then_some(grant.connection),
        tool: own_tenant.then(|| grant.tool.clone()),
        ..EventFacts::new(EventName::ReferenceMisused)
    }
}

/// An alarm that goes to the ledger when this is dropped: after the refusal that it belongs to, and also
/// where the caller did not stay for that. A ledger that fails here failed that refusal, or fails the next.
pub(crate) struct Alarm {
    ledger: Ledger,
    facts: Option<EventFacts>,
}

impl Alarm {
    pub(crate) fn new(ledger: &Ledger, facts: EventFacts) -> Self {
        Self { ledger: ledger.clone(), facts: Some(facts) }
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        if let Some(facts) = self.facts.take() {
            drop(self.ledger.event(facts));
        }
    }
}

/// The alarm that what the keeper sealed does not fit what the directory says.
pub(crate) fn lease_refused(exchange: &Exchange) -> EventFacts {
    EventFacts {
        tenant: Some(exchange.caller.tenant),
        call: Some(exchange.call),
        agent: Some(exchange.caller.agent),
        task: Some(exchange.caller.task),
        grant: Some(exchange.grant),
        connection: Some(exchange.connection),
        tool: Some(exchange.tool.clone()),
        ..EventFacts::new(EventName::LeaseRefused)
    }
}

/// What was noticed in one call.
#[derive(Default, Clone, Copy)]
pub(crate) struct Noticed {
    pub(crate) masked: u64,
    pub(crate) cookies: u64,
    pub(crate) rejected: u64,
    pub(crate) cut: u64,
    pub(crate) revealed: u64,
}

/// Everything that lives exactly as long as a call that left: its record, and its place in every count.
/// Closed once, by the end of the answer's body, by a failure before it, or by being dropped.
pub(crate) struct Closing {
    pub(crate) ledger: Ledger,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) began: Boot,
    pub(crate) of: (TenantId, CallId, ConnectionId),
    pub(crate) sent: Counted,
    pub(crate) received: Counted,
    pub(crate) status: Option<u16>,
    pub(crate) problem: Option<ProblemKind>,
    pub(crate) noticed: Noticed,
    pub(crate) recorded: Option<Recorded>,
    pub(crate) entered: Option<Entered>,
    pub(crate) shares: Option<(Admitted, Braked)>,
    pub(crate) seen: Option<Seen>,
}

impl Closing {
    pub(crate) const fn received(&self) -> &Counted {
        &self.received
    }

    /// The answer's head, as it is shown.
    pub(crate) fn note(&mut self, status: StatusCode, shown: &Shown) {
        self.status = Some(status.as_u16());
        self.noticed.masked += shown.masked;
        self.noticed.cookies += shown.cookies;
        self.noticed.revealed += shown.revealed;
    }

    /// The call goes on to another room.
    pub(crate) fn enters(&mut self, phase: Phase) {
        if let Some(seen) = &mut self.seen {
            seen.enters(phase);
        }
    }

    /// The body stood still for too long and is cut.
    pub(crate) fn cut(&mut self) {
        self.noticed.cut += 1;
    }

    /// Records outcome and findings, and leaves every count. Both are queued before this returns, so what
    /// becomes of the caller makes no difference; a ledger that fails here fails the next intent.
    pub(crate) fn close(&mut self, masked: u64, revealed: u64) {
        let Some(recorded) = self.recorded.take() else { return };
        self.noticed.masked += masked;
        self.noticed.revealed += revealed;
        let facts = self.facts();
        if let Some((_, braked)) = self.shares.take() {
            braked.ended(&facts, self.sent.with(|tally| tally.complete), self.clock.boot());
        }
        if let Some(seen) = self.seen.take() {
            seen.ended(facts.status, facts.problem, (facts.sent_bytes, facts.received_bytes));
        }
        drop(self.ledger.outcome(recorded, facts));
        self.findings();
        self.entered = None;
    }

    fn facts(&self) -> OutcomeFacts {
        let (sent_bytes, sent, sent_whole) = taken(&self.sent);
        let (received_bytes, received, received_whole) = taken(&self.received);
        OutcomeFacts {
            status: self.status,
            problem: self.problem,
            sent_bytes,
            received_bytes,
            complete: sent_whole && received_whole,
            took_millis: u64::try_from(self.clock.boot().since(self.began).as_millis()).unwrap_or(u64::MAX),
            sent: sent.map(BodyDigest::finish),
            received: received.map(BodyDigest::finish),
        }
    }

    fn findings(&self) {
        let Noticed { masked, cookies, rejected, cut, revealed } = self.noticed;
        let (tenant, call, connection) = self.of;
        let kinds = [
            (FindingKind::SecretMasked, masked),
            (FindingKind::CookieDropped, cookies),
            (FindingKind::CredentialRejected, rejected),
            (FindingKind::AnswerCut, cut),
            (FindingKind::SecretRevealed, revealed),
        ];
        for (finding, count) in kinds.into_iter().filter(|(_, count)| *count > 0) {
            let facts =
                FindingFacts { tenant, call: Some(call), connection: Some(connection), finding, count };
            drop(self.ledger.finding(facts));
        }
    }
}

impl Drop for Closing {
    fn drop(&mut self) {
        self.close(0, 0);
    }
}

/// What passed in one direction. An empty body has no hash.
fn taken(counted: &Counted) -> (u64, Option<BodyDigest>, bool) {
    counted.with(|tally| (tally.bytes, tally.digest.take().filter(|_| tally.bytes > 0), tally.complete))
}
