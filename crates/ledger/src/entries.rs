//! From facts to entries: the one place where a record's fields are filled.

use crate::{
    LedgerError, Recorded,
    facts::{EventFacts, FindingFacts, HostName, IntentFacts, OutcomeFacts, RefusalFacts},
    hash::{LedgerKeys, Of},
    record::{Entry, Event, Finding, Intent, Method, Outcome, Refusal},
};
use nightlatch_domain::{
    clock::Timestamp,
    exchange::{Caller, Exchange},
    problem::ProblemKind,
    tool::OperationId,
};

/// More names of policies than this say nothing more.
const POLICIES_MAX: usize = 8;
const POLICY_NAME_MAX_CHARS: usize = 80;

pub(crate) fn intent(
    keys: &LedgerKeys,
    exchange: &Exchange,
    facts: IntentFacts,
) -> Result<Entry, LedgerError> {
    let (target, matched, caller) = (&exchange.target, &exchange.matched, &exchange.caller);
    Ok(Entry::Intent(Intent {
        tenant: caller.tenant,
        call: exchange.call,
        agent: caller.agent,
        task: caller.task,
        wake: facts.wake,
        assurance: facts.assurance,
        grant: exchange.grant,
        connection: exchange.connection,
        tool: exchange.tool.clone(),
        host: exchange.host.authority(),
        method: Method::of(&target.method),
        template: template(exchange),
        operation: matched.operation.clone(),
        effect: matched.effect,
        sensitivity: matched.sensitivity,
        head: keys.head(exchange)?,
        path: keys.digest(Of::Path, target.path.as_bytes()),
        query: target.query.as_ref().map(|query| keys.digest(Of::Query, query.as_bytes())),
        resource: matched.resource.as_ref().map(|resource| keys.digest(Of::Resource, resource.as_bytes())),
        also: exchange.also.iter().map(|also| also.operation.clone()).collect(),
        body: facts.body,
    }))
}

/// What no manifest lists has no template, whatever stands in its place: a path is the caller's text.
fn template(exchange: &Exchange) -> String {
    if exchange.matched.operation == OperationId::unlisted() {
        return "*".to_owned();
    }
    exchange.matched.template.clone()
}

pub(crate) fn outcome(recorded: &Recorded, facts: OutcomeFacts) -> Entry {
    Entry::Outcome(Outcome {
        tenant: recorded.tenant,
        call: recorded.call,
        intent: recorded.seq,
        status: facts.status,
        problem: facts.problem.map(|problem| problem.slug().to_owned()),
        sent_bytes: facts.sent_bytes,
        received_bytes: facts.received_bytes,
        complete: facts.complete,
        took_millis: facts.took_millis,
        sent: facts.sent,
        received: facts.received,
    })
}

pub(crate) fn refusal(caller: &Caller, facts: RefusalFacts, now: Timestamp) -> Entry {
    Entry::Refusal(Refusal {
        tenant: Some(caller.tenant),
        agent: Some(caller.agent),
        task: Some(caller.task),
        call: facts.call,
        reason: facts.reason.map(str::to_owned),
        policies: facts.policies.iter().take(POLICIES_MAX).map(|name| policy_name(name)).collect(),
        tool: facts.tool,
        operation: facts.operation,
        effect: facts.effect,
        grant: facts.grant,
        connection: facts.connection,
        host: facts.host.map(HostName::into_text),
        scheme: facts.scheme,
        port: facts.port,
        count: facts.count,
        ..Refusal::bare(facts.problem, now, now)
    })
}

/// Names of policies come from file names and annotations of the operator: kept short and plain.
fn policy_name(name: &str) -> String {
    let plain = |letter: char| if letter.is_ascii_graphic() && letter != '"' { letter } else { '_' };
    name.chars().take(POLICY_NAME_MAX_CHARS).map(plain).collect()
}

pub(crate) fn finding(facts: FindingFacts) -> Entry {
    Entry::Finding(Finding {
        tenant: facts.tenant,
        call: facts.call,
        connection: facts.connection,
        finding: facts.finding,
        count: facts.count,
    })
}

pub(crate) fn event(facts: EventFacts) -> Entry {
    Entry::Event(Event::of(facts))
}

impl Refusal {
    /// One refusal of which nothing more is known.
    pub(crate) fn bare(problem: ProblemKind, first: Timestamp, last: Timestamp) -> Self {
        Self {
            tenant: None,
            call: None,
            agent: None,
            task: None,
            source: None,
            problem: problem.slug().to_owned(),
            reason: None,
            policies: Vec::new(),
            tool: None,
            operation: None,
            effect: None,
            grant: None,
            connection: None,
            host: None,
            scheme: None,
            port: None,
            count: 1,
            first,
            last,
        }
    }
}

impl Event {
    /// The record of an event.
    pub(crate) fn of(facts: EventFacts) -> Self {
        Self {
            event: facts.event,
            tenant: facts.tenant,
            call: facts.call,
            human: facts.human,
            agent: facts.agent,
            task: facts.task,
            grant: facts.grant,
            connection: facts.connection,
            tool: facts.tool,
            wake: facts.wake,
            assurance: facts.assurance,
            attempt: facts.attempt,
            keeper: facts.keeper,
            ticket: facts.ticket,
            reason: facts.reason.map(str::to_owned),
            host: facts.host.map(HostName::into_text),
            scheme: facts.scheme,
            port: facts.port,
            count: facts.count,
        }
    }
}
