//! Seen: one call, as it walks.

use super::{AGENTS_MAX, Followed, Sight, TOOLS_MAX, ToolMeters, What, meters::Outcome};
use nightlatch_domain::{
    exchange::Exchange,
    id::{CallId, PrincipalId, TaskId, TenantId},
    ports::sight::{Door, LiveCall},
    problem::{Problem, ProblemKind},
    tool::{Effect, Name, OperationId},
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};
use tokio::time::Instant;

/// The rooms, as far as time is spent in them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Who is this agent.
    Admit,
    /// Which grant, tool and operation; a body that says so is read here.
    Resolve,
    /// May it.
    Decide,
    /// The brakes; a repeated body is read here.
    Brake,
    /// Waiting for a wake, a lease, a refresh.
    Hold,
    /// Writing the intent, or the refusal.
    Record,
    /// Opening the lease.
    Attach,
    /// The tool, until its answer's head.
    Forward,
    /// The answer's body, on its way to the agent.
    Scrub,
}

impl Phase {
    pub(super) const ALL: [Self; 9] = [
        Self::Admit,
        Self::Resolve,
        Self::Decide,
        Self::Brake,
        Self::Hold,
        Self::Record,
        Self::Attach,
        Self::Forward,
        Self::Scrub,
    ];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Admit => "admit",
            Self::Resolve => "resolve",
            Self::Decide => "decide",
            Self::Brake => "brake",
            Self::Hold => "hold",
            Self::Record => "record",
            Self::Attach => "attach",
            Self::Forward => "forward",
            Self::Scrub => "scrub",
        }
    }
}

/// A call in the live list.
pub(super) struct Live {
    call: CallId,
    tenant: TenantId,
    door: Door,
    agent: PrincipalId,
    task: TaskId,
    tool: Name,
    operation: OperationId,
    effect: Effect,
    phase: AtomicU8,
    began: Instant,
}

impl Live {
    pub(super) const fn tenant(&self) -> TenantId {
        self.tenant
    }

    pub(super) fn what(&self) -> What {
        What { tool: self.tool.clone(), operation: self.operation.clone(), effect: self.effect }
    }

    pub(super) fn shown(&self) -> LiveCall {
        let phase = Phase::ALL.get(usize::from(self.phase.load(Ordering::Relaxed)));
        LiveCall {
            call: self.call,
            tenant: self.tenant,
            door: self.door,
            agent: self.agent,
            task: self.task,
            tool: self.tool.clone(),
            operation: self.operation.clone(),
            effect: self.effect,
            phase: phase.map_or("", |phase| phase.as_str()),
            age_millis: u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX),
        }
    }
}

/// One call. Its end is counted once: as it is told, or as gone when this is dropped.
pub(crate) struct Seen {
    sight: Arc<Sight>,
    call: CallId,
    door: Door,
    began: Instant,
    phase: Phase,
    entered: Instant,
    what: Option<(Arc<Live>, Option<Arc<ToolMeters>>)>,
    followed: Option<Box<Followed>>,
    is_over: bool,
}

impl Seen {
    pub(super) fn new(
        sight: Arc<Sight>,
        call: CallId,
        door: Door,
        mut followed: Option<Box<Followed>>,
    ) -> Self {
        let (began, phase) = (Instant::now(), Phase::Admit);
        if let Some(followed) = &mut followed {
            followed.entered(phase, Duration::ZERO);
        }
        Self { sight, call, door, began, phase, entered: began, what: None, followed, is_over: false }
    }

    /// It is known what the call is.
    pub(crate) fn is(&mut self, exchange: &Exchange) {
        let live = Arc::new(Live {
            call: self.call,
            tenant: exchange.caller.tenant,
            door: self.door,
            agent: exchange.caller.agent,
            task: exchange.caller.task,
            tool: exchange.tool.clone(),
            operation: exchange.matched.operation.clone(),
            effect: exchange.matched.effect,
            phase: AtomicU8::new(self.phase as u8),
            began: self.began,
        });
        let meters = self.sight.tools.at(&(live.tenant, live.tool.clone()), TOOLS_MAX);
        self.sight.lives().insert(self.call, Arc::clone(&live));
        self.what = Some((live, meters));
    }

    /// It goes on to another room.
    pub(crate) fn enters(&mut self, phase: Phase) {
        let now = Instant::now();
        self.spent(now.duration_since(self.entered));
        (self.phase, self.entered) = (phase, now);
        if let Some(followed) = &mut self.followed {
            followed.entered(phase, now.duration_since(self.began));
        }
        if let Some((live, _)) = &self.what {
            live.phase.store(phase as u8, Ordering::Relaxed);
        }
    }

    /// It ended with a refusal of ours.
    pub(crate) fn refused(mut self, problem: &Problem) {
        self.sight.note_limit(problem);
        self.over(Outcome::Problem(problem.kind));
    }

    /// It left for its tool, and ended.
    pub(crate) fn ended(
        mut self,
        status: Option<u16>,
        problem: Option<ProblemKind>,
        (sent, received): (u64, u64),
    ) {
        if let Some((_, Some(meters))) = &self.what {
            meters.passed(sent, received);
        }
        let answered = status.map_or(Outcome::Left, Outcome::Answered);
        self.over(problem.map_or(answered, Outcome::Problem));
    }

    fn over(&mut self, outcome: Outcome) {
        if std::mem::replace(&mut self.is_over, true) {
            return;
        }
        let now = Instant::now();
        self.spent(now.duration_since(self.entered));
        let (live, meters) = self.what.take().unzip();
        self.count(live.as_deref(), meters.flatten().as_deref(), outcome);
        if let (Some(mut followed), Some(follower)) = (self.followed.take(), &self.sight.follower) {
            followed.over(live.as_deref(), outcome, now.duration_since(self.began));
            follower.ended(followed);
        }
    }

    fn count(&self, live: Option<&Live>, meters: Option<&ToolMeters>, outcome: Outcome) {
        let meters = meters.unwrap_or(&self.sight.others);
        meters.count(Some(self.door), live.map(|live| live.effect), outcome);
        let Some(live) = live else { return };
        self.sight.lives().remove(&self.call);
        if let Some(totals) = self.sight.agents.at(&(live.tenant, live.agent), AGENTS_MAX) {
            totals.count(outcome);
        }
    }

    fn spent(&self, took: Duration) {
        if let Some(histogram) = self.sight.phases.get(self.phase as usize) {
            histogram.observe(took);
        }
    }
}

impl Drop for Seen {
    fn drop(&mut self) {
        self.over(Outcome::Left);
    }
}
