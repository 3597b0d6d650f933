//! Shares: calls a second and calls at once, of whoever and whatever a call is counted for.
//!
//! A call passes all of its limits or is counted in none: a refusal uses nothing up. What several agents share
//! is divided among those that used it lately, so that who comes second finds its part and not what the first
//! one left. The whole limit holds beside the parts. Who was refused because others had used it all, and comes back
//! as it was told, counts among them: else whoever asks often enough would take each call that comes free, and never
//! have anybody to share with. Who was refused because its own part is used up has had it, and nobody waits for it.

use super::{
    pace::{Due, Pace},
    rules::{Of, Rule, Rules},
};
use crate::{limits::Limits, quick::Quick};
use nightlatch_domain::{
    clock::Boot,
    exchange::Exchange,
    id::{ConnectionId, PrincipalId, TaskId, TenantId},
    tool::Name,
};
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// How many limits a call has.
const EACH: usize = 4;
/// How long who has used up nothing is remembered, so that the hot path does not look for it each time.
const TIDIED_EVERY: Duration = Duration::from_secs(1);
/// What is told where a place must come free: nobody knows when.
const PLACE_WAIT: Duration = Duration::from_secs(1);
/// What is told are whole seconds, and it takes a moment to come back: so much longer than it must wait is an
/// agent that was refused waited for.
const COMES_BACK_WITHIN: Duration = Duration::from_secs(2);

/// What is counted.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Subject {
    Agent(TenantId, PrincipalId),
    Task(TenantId, TaskId),
    Connection(TenantId, ConnectionId),
    Tool(TenantId, Name),
}

impl Subject {
    const fn of(&self) -> Of {
        match self {
            Self::Agent(..) => Of::Agent,
            Self::Task(..) => Of::Task,
            Self::Connection(..) => Of::Connection,
            Self::Tool(..) => Of::Tool,
        }
    }
}

/// What an operator may call a caller and what it calls with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Names<'a> {
    /// The agent's.
    pub(crate) agent: &'a Name,
    /// The connection's, within its tool.
    pub(crate) connection: &'a Name,
}

/// Which limit was met, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Over {
    of: Of,
    is_rate: bool,
    /// Something of its own part is left; it is others that used the whole up.
    is_by_others: bool,
    pub(super) wait: Duration,
}

impl Over {
    /// The limit, as the configuration calls it.
    pub(super) const fn field(self) -> &'static str {
        match (self.of, self.is_rate) {
            (Of::Agent, true) => "agent.per_second",
            (Of::Agent, false) => "agent.at_once",
            (Of::Task, true) => "task.per_second",
            (Of::Task, false) => "task.at_once",
            (Of::Connection, true) => "connection.per_second",
            (Of::Connection, false) => "connection.at_once",
            (Of::Tool, true) => "tool.per_second",
            (Of::Tool, false) => "tool.at_once",
        }
    }
}

/// Every count.
pub(super) struct Shares {
    rules: Rules,
    counts: Mutex<Counts>,
}

#[derive(Default)]
struct Counts {
    subjects: Quick<Subject, Count>,
    tidied: Option<Boot>,
}

/// What one subject has used.
#[derive(Default)]
struct Count {
    whole: Due,
    running: u32,
    agents: Quick<PrincipalId, Part>,
}

/// What one agent has used of it.
#[derive(Default)]
struct Part {
    due: Due,
    running: u32,
    /// It was refused for what others had used, and is waited for until then.
    awaited: Option<Boot>,
}

impl Part {
    /// Whether it has a part of what others use now.
    fn shares(&self, now: Boot) -> bool {
        !self.due.is_idle(now) || self.awaited.is_some_and(|until| now < until)
    }
}

impl Shares {
    pub(super) fn new(limits: &Limits, rules: Vec<Rule>) -> Self {
        Self { rules: Rules::new(limits, rules), counts: Mutex::default() }
    }

    /// # Errors
    /// The first limit that the call would pass.
    pub(super) fn enter(
        self: &Arc<Self>,
        exchange: &Exchange,
        names: Names<'_>,
        now: Boot,
    ) -> Result<Place, Over> {
        let (tenant, who) = (exchange.caller.tenant, exchange.caller.agent);
        let subjects = [
            Subject::Agent(tenant, who),
            Subject::Task(tenant, exchange.caller.task),
            Subject::Connection(tenant, exchange.connection),
            Subject::Tool(tenant, exchange.tool.clone()),
        ];
        let paces = [
            self.rules.of(Of::Agent, || names.agent.as_str().to_owned()),
            self.rules.of(Of::Task, String::new),
            self.rules.of(Of::Connection, || format!("{}/{}", exchange.tool, names.connection)),
            self.rules.of(Of::Tool, || exchange.tool.as_str().to_owned()),
        ];
        self.counts().enter(&subjects, &paces, who, now)?;
        Ok(Place { shares: Arc::clone(self), subjects, who })
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counts {
    fn enter(
        &mut self,
        subjects: &[Subject; EACH],
        paces: &[Pace; EACH],
        who: PrincipalId,
        now: Boot,
    ) -> Result<(), Over> {
        self.tidy(now);
        for (subject, pace) in subjects.iter().zip(paces) {
            if let Some(count) = self.subjects.get_mut(subject) {
                count
                    .check(subject.of(), *pace, who, now)
                    .inspect_err(|over| count.awaits(*over, who, now))?;
            }
        }
        for (subject, pace) in subjects.iter().zip(paces) {
            // An entry is looked for by what is there, so that a known subject is not copied.
            match self.subjects.get_mut(subject) {
                Some(count) => count.take(*pace, who, now),
                None => self.subjects.entry(subject.clone()).or_default().take(*pace, who, now),
            }
        }
        Ok(())
    }

    fn leave(&mut self, subjects: &[Subject; EACH], who: PrincipalId) {
        for subject in subjects {
            let Some(count) = self.subjects.get_mut(subject) else { continue };
            count.running = count.running.saturating_sub(1);
            if let Some(part) = count.agents.get_mut(&who) {
                part.running = part.running.saturating_sub(1);
            }
        }
    }

    /// Forgets who has used up nothing. What stays is what ran or called within the last moments.
    fn tidy(&mut self, now: Boot) {
        if self.tidied.is_some_and(|at| now.since(at) < TIDIED_EVERY) {
            return;
        }
        self.tidied = Some(now);
        self.subjects.retain(|_, count| {
            count.agents.retain(|_, part| part.running > 0 || part.shares(now));
            !count.agents.is_empty() || !count.whole.is_idle(now)
        });
    }
}

impl Count {
    fn check(&self, of: Of, pace: Pace, who: PrincipalId, now: Boot) -> Result<(), Over> {
        let own = self.agents.get(&who);
        let is_shared = matches!(of, Of::Connection | Of::Tool);
        let most = if is_shared { most_of_one(pace.at_once) } else { pace.at_once };
        if self.running >= pace.at_once || own.is_some_and(|part| part.running >= most) {
            return Err(Over { of, is_rate: false, is_by_others: false, wait: PLACE_WAIT });
        }
        let part = pace.among(self.sharers(who, now));
        let own = own.map_or(Duration::ZERO, |own| own.due.wait(part, now));
        let wait = self.whole.wait(pace, now).max(own);
        if wait.is_zero() {
            Ok(())
        } else {
            Err(Over { of, is_rate: true, is_by_others: own.is_zero(), wait })
        }
    }

    /// A call was refused. That uses nothing up, and keeps its agent's part of a shared rate free for when it
    /// comes back, where it was others that left it none.
    fn awaits(&mut self, over: Over, who: PrincipalId, now: Boot) {
        if over.is_by_others && matches!(over.of, Of::Connection | Of::Tool) {
            self.agents.entry(who).or_default().awaited = Some(now.plus(over.wait + COMES_BACK_WITHIN));
        }
    }

    fn take(&mut self, pace: Pace, who: PrincipalId, now: Boot) {
        let part = pace.among(self.sharers(who, now));
        self.whole.take(pace, now);
        self.running += 1;
        let own = self.agents.entry(who).or_default();
        own.due.take(part, now);
        own.awaited = None;
        own.running += 1;
    }

    /// The agents that it is divided among, this one included.
    fn sharers(&self, who: PrincipalId, now: Boot) -> u32 {
        let lately = |(agent, part): &(&PrincipalId, &Part)| **agent != who && part.shares(now);
        1 + u32::try_from(self.agents.iter().filter(lately).count()).unwrap_or(u32::MAX - 1)
    }
}

/// Of what is shared, one agent holds at most three quarters: however long its calls run, another finds a
/// place. Of one or two places none can be kept.
const fn most_of_one(at_once: u32) -> u32 {
    at_once - at_once / 4
}

/// A call's place in every count.
pub(crate) struct Place {
    shares: Arc<Shares>,
    subjects: [Subject; EACH],
    who: PrincipalId,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.shares.counts().leave(&self.subjects, self.who);
    }
}

#[cfg(test)]
mod tests;
