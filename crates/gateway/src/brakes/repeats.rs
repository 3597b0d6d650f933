//! Repeats: a request that failed for the same reason again is let through ever more seldom.
//!
//! A program in a loop, or a language model that tries the same thing again, costs the tool, the human's
//! quota and its own time, and gets the same answer. So the requests of a task that failed are remembered, by
//! a hash of their head and of their body: which way they failed, how often in a row, and until when they are
//! held back. Another request, in any byte that goes on, is never held back; neither is one that failed in
//! another way each time. A success forgets.
//!
//! A body is not in hand when a call begins. Where nothing failed with this head it streams, as ever; where
//! something did and had a body, the caller reads the body first, to a bound ([`Suspicion::Bodies`]).

use crate::{fields, limits::Limits};
use http::HeaderMap;
use nightlatch_domain::{
    clock::Boot,
    exchange::Exchange,
    id::{TaskId, TenantId},
    problem::{Origin, ProblemKind},
};
use nightlatch_ledger::Digest;
use std::{
    collections::{HashMap, VecDeque, hash_map::RandomState},
    hash::{BuildHasher as _, Hash as _, Hasher as _},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// What is held back for at first; it doubles each time.
const FIRST_HELD: Duration = Duration::from_secs(1);
/// Fields that differ from one try to the next and change nothing about what is asked.
const OF_THE_TRY: [&str; 10] = [
    "baggage",
    "date",
    "traceparent",
    "tracestate",
    "user-agent",
    "x-correlation-id",
    "x-request-id",
    "x-stainless-read-timeout",
    "x-stainless-retry-count",
    "x-stainless-timeout",
];
/// Statuses that say nothing on the request: the credential (401, 407), time (408, 425), or a limit, which is
/// the provider's to say (429).
const NOT_OF_THE_REQUEST: [u16; 5] = [401, 407, 408, 425, 429];

/// A request's head, as a task sent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Request {
    of: (TenantId, TaskId),
    head: u64,
}

/// Hashes heads under a key of this process, so that nobody can make two requests look alike.
#[derive(Debug, Default)]
pub(crate) struct Heads(RandomState);

impl Heads {
    /// The request of an exchange; `headers` are those it came with, `reference` the field that is taken out.
    pub(crate) fn of(
        &self,
        exchange: &Exchange,
        headers: &HeaderMap,
        reference: &http::HeaderName,
    ) -> Request {
        let mut hash = self.0.build_hasher();
        (exchange.grant, &exchange.host.route, &exchange.target).hash(&mut hash);
        for (name, value) in headers {
            if name != reference && fields::goes_on(name) && !OF_THE_TRY.contains(&name.as_str()) {
                (name, value).hash(&mut hash);
            }
        }
        Request { of: (exchange.caller.tenant, exchange.caller.task), head: hash.finish() }
    }
}

/// What is held against a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Suspicion {
    /// Nothing.
    None,
    /// These failed with this head, each with its body's keyed hash (none: it had no body), and are held
    /// back for so long.
    Bodies(Vec<(Option<Digest>, Duration)>),
}

/// What came of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It was served, or nothing is known that speaks against it.
    Served,
    /// It failed in this way.
    Failed(Reason),
    /// It failed in a way that says nothing on the request.
    Unsaid,
}

/// In which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// The tool's status.
    Status(u16),
    /// No answer of the tool could be given.
    Problem(ProblemKind),
}

impl Outcome {
    pub(crate) fn of(status: Option<u16>, problem: Option<ProblemKind>) -> Self {
        match (status, problem) {
            (_, Some(kind)) if is_of_the_tool(kind) => Self::Failed(Reason::Problem(kind)),
            (_, Some(_)) | (None, None) => Self::Unsaid,
            (Some(status), None) if NOT_OF_THE_REQUEST.contains(&status) => Self::Unsaid,
            (Some(status @ 400..), None) => Self::Failed(Reason::Status(status)),
            (Some(_), None) => Self::Served,
        }
    }
}

fn is_of_the_tool(kind: ProblemKind) -> bool {
    let is_of_the_credential = matches!(kind, ProblemKind::CredentialPending | ProblemKind::ReauthRequired);
    kind.origin() == Origin::Upstream && !is_of_the_credential
}

/// The failures of every task.
pub(super) struct Repeats {
    tasks: Mutex<HashMap<(TenantId, TaskId), VecDeque<Failure>>>,
    free: u32,
    longest: Duration,
    remembered: Duration,
    each_max: usize,
    tasks_max: usize,
}

struct Failure {
    head: u64,
    body: Option<Digest>,
    reason: Reason,
    times: u32,
    at: Boot,
    until: Boot,
}

impl Repeats {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            tasks: Mutex::default(),
            free: limits.repeats_free,
            longest: limits.repeat_wait_max,
            remembered: limits.failure_remembered,
            each_max: limits.failures_each_max,
            tasks_max: limits.failing_tasks_max,
        }
    }

    pub(super) fn suspicion(&self, request: Request, now: Boot) -> Suspicion {
        let tasks = self.tasks();
        let own = tasks.get(&request.of).into_iter().flatten();
        let held = own.filter(|failure| failure.head == request.head && now < failure.until);
        let held: Vec<_> = held.map(|failure| (failure.body.clone(), failure.until.since(now))).collect();
        if held.is_empty() { Suspicion::None } else { Suspicion::Bodies(held) }
    }

    pub(super) fn ended(&self, request: Request, body: Option<Digest>, outcome: Outcome, now: Boot) {
        let mut tasks = self.tasks();
        match outcome {
            Outcome::Unsaid => {}
            Outcome::Served => {
                let Some(own) = tasks.get_mut(&request.of) else { return };
                own.retain(|failure| failure.head != request.head || failure.body != body);
                if own.is_empty() {
                    tasks.remove(&request.of);
                }
            }
            Outcome::Failed(reason) => {
                self.make_room(&mut tasks, request, now);
                self.failed(tasks.entry(request.of).or_default(), request, body, reason, now);
            }
        }
    }

    fn failed(
        &self,
        own: &mut VecDeque<Failure>,
        request: Request,
        body: Option<Digest>,
        reason: Reason,
        now: Boot,
    ) {
        own.retain(|failure| now.since(failure.at) < self.remembered);
        let known = own.iter().position(|failure| failure.head == request.head && failure.body == body);
        let before = known.and_then(|place| own.remove(place)).filter(|before| before.reason == reason);
        let times = before.map_or(0, |before| before.times).saturating_add(1);
        let held = match times.checked_sub(self.free) {
            None => Duration::ZERO,
            Some(over) => FIRST_HELD.saturating_mul(1 << over.min(16)).min(self.longest),
        };
        if own.len() >= self.each_max {
            own.pop_front();
        }
        let (head, until) = (request.head, now.plus(held));
        own.push_back(Failure { head, body, reason, times, at: now, until });
    }

    /// A bound on tasks: those whose failures are all old go first, then whichever is found.
    fn make_room(
        &self,
        tasks: &mut HashMap<(TenantId, TaskId), VecDeque<Failure>>,
        request: Request,
        now: Boot,
    ) {
        if tasks.len() < self.tasks_max || tasks.contains_key(&request.of) {
            return;
        }
        let is_old = |failure: &Failure| now.since(failure.at) >= self.remembered;
        tasks.retain(|_, own| !own.iter().all(is_old));
        let longest_ago = |own: &VecDeque<Failure>| own.back().map(|failure| failure.at);
        let oldest = tasks.iter().min_by_key(|(_, own)| longest_ago(own)).map(|(task, _)| *task);
        if let (true, Some(oldest)) = (tasks.len() >= self.tasks_max, oldest) {
            tasks.remove(&oldest);
        }
    }

    fn tasks(&self) -> MutexGuard<'_, HashMap<(TenantId, TaskId), VecDeque<Failure>>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
