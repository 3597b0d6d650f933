//! Sight: what can be seen of the calls, while they run and in numbers after.
//!
//! A call carries one value (`Seen`) through the corridor; it is told of each room that it enters, and of
//! how it ended. From that come the live list, the totals and the durations. What is kept is made of words of
//! ours and names that operators gave; nothing that an agent wrote is a label, and no set of labels grows with
//! what agents do: counts are arrays, one for each tool.
//!
//! A call costs a few atomic additions, one entry in the live list and no text. Only where somebody [follows](Follow)
//! it does it also keep when it entered each room, and hand that over at its end.

mod follow;
mod meters;
mod parent;
mod seen;

pub use follow::{Follow, Followed, What};
pub use meters::CallCount;
use meters::{Outcome, ToolMeters, Totals};
pub use parent::Parent;
pub(crate) use seen::{Phase, Seen};

use crate::quick::Quick;
use http::HeaderMap;
use nightlatch_domain::{
    clock::Timestamp,
    id::{CallId, PrincipalId, TenantId},
    meters::{Durations, Histogram},
    ports::sight::{Door, LiveCall, Sight as Port, Total},
    problem::{Problem, ProblemKind},
    tool::Name,
};
use seen::Live;
use std::{
    collections::HashMap,
    hash::Hash,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

/// Tools that have counts of their own. What operators add beyond is counted together.
const TOOLS_MAX: usize = 512;
/// Agents likewise.
const AGENTS_MAX: usize = 4096;
/// Every limit of calls, by its name in the configuration.
const LIMITS: [&str; 8] = [
    "agent.per_second",
    "agent.at_once",
    "task.per_second",
    "task.at_once",
    "connection.per_second",
    "connection.at_once",
    "tool.per_second",
    "tool.at_once",
];

/// What is seen of all calls of one gateway.
#[derive(Default)]
pub struct Sight {
    tools: Table<(TenantId, Name), ToolMeters>,
    /// Calls that ended before it was known what they are, and those of tools beyond the bound.
    others: ToolMeters,
    agents: Table<(TenantId, PrincipalId), Totals>,
    live: Mutex<Quick<CallId, Arc<Live>>>,
    phases: [Histogram; Phase::ALL.len()],
    limits: [AtomicU64; LIMITS.len()],
    follower: Option<Arc<dyn Follow>>,
}

impl Sight {
    /// Nothing seen yet. `follower` is who follows single calls, where somebody does.
    pub(crate) fn new(follower: Option<Arc<dyn Follow>>) -> Self {
        Self { follower, ..Self::default() }
    }

    /// Every count that is not zero. Tools of one name are one, whoever's they are.
    #[must_use]
    pub fn calls(&self) -> Vec<CallCount> {
        let mut all: Vec<CallCount> = Vec::new();
        let tools = self.tools.all().into_iter().map(|((_, name), meters)| (Some(name), meters));
        for (name, meters) in tools {
            meters.calls(name.as_ref(), &mut all);
        }
        self.others.calls(None, &mut all);
        all
    }

    /// Bytes of bodies by tool: sent to it, received from it.
    #[must_use]
    pub fn bytes(&self) -> Vec<(Name, u64, u64)> {
        let mut all: HashMap<Name, (u64, u64)> = HashMap::new();
        for ((_, name), meters) in self.tools.all() {
            let (sent, received) = meters.bytes();
            let sum = all.entry(name).or_default();
            *sum = (sum.0 + sent, sum.1 + received);
        }
        all.into_iter().map(|(name, (sent, received))| (name, sent, received)).collect()
    }

    /// How long calls were in each room.
    #[must_use]
    pub fn durations(&self) -> Vec<(&'static str, Durations)> {
        let phases = Phase::ALL.iter().zip(&self.phases);
        phases.map(|(phase, histogram)| (phase.as_str(), histogram.read())).collect()
    }

    /// How many calls are under way.
    #[must_use]
    pub fn live_count(&self) -> usize {
        self.lives().len()
    }

    /// A call that comes in, with these header fields. It may say of what it is a part.
    pub(crate) fn begins(
        self: &Arc<Self>,
        (call, at): (CallId, Timestamp),
        door: Door,
        headers: &HeaderMap,
    ) -> Seen {
        let follower = self.follower.as_ref().filter(|follower| follower.follows(call));
        let followed = follower.map(|_| Followed::begun(call, at, door, Parent::of(headers)));
        Seen::new(Arc::clone(self), call, door, followed)
    }

    /// A request that was refused before it was a call.
    pub(crate) fn refused_at_door(&self, door: Option<Door>, problem: &Problem) {
        self.others.count(door, None, Outcome::Problem(problem.kind));
        self.note_limit(problem);
    }

    fn note_limit(&self, problem: &Problem) {
        if problem.kind != ProblemKind::TooManyCalls {
            return;
        }
        let met = problem.field.as_deref().and_then(|field| LIMITS.iter().position(|own| *own == field));
        if let Some(count) = met.and_then(|place| self.limits.get(place)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn lives(&self) -> MutexGuard<'_, Quick<CallId, Arc<Live>>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Port for Sight {
    fn live(&self, tenant: TenantId) -> Vec<LiveCall> {
        let own: Vec<Arc<Live>> =
            self.lives().values().filter(|live| live.tenant() == tenant).cloned().collect();
        let mut shown: Vec<LiveCall> = own.iter().map(|live| live.shown()).collect();
        shown.sort_by_key(|call| std::cmp::Reverse(call.age_millis));
        shown
    }

    fn by_tool(&self, tenant: TenantId) -> Vec<(Name, Total)> {
        let own = self.tools.all().into_iter().filter(|((of, _), _)| *of == tenant);
        own.map(|((_, name), meters)| (name, meters.total())).collect()
    }

    fn by_agent(&self, tenant: TenantId) -> Vec<(PrincipalId, Total)> {
        let own = self.agents.all().into_iter().filter(|((of, _), _)| *of == tenant);
        own.map(|((_, agent), totals)| (agent, totals.read())).collect()
    }

    fn limits_met(&self) -> Vec<(&'static str, u64)> {
        let counts = LIMITS.iter().zip(&self.limits);
        counts.map(|(name, count)| (*name, count.load(Ordering::Relaxed))).collect()
    }
}

/// Counts by key, each made once.
struct Table<K, V>(RwLock<Quick<K, Arc<V>>>);

impl<K, V> Default for Table<K, V> {
    fn default() -> Self {
        Self(RwLock::default())
    }
}

impl<K: Clone + Eq + Hash, V: Default> Table<K, V> {
    /// The counts under a key; none where there are `max` others.
    fn at(&self, key: &K, max: usize) -> Option<Arc<V>> {
        if let Some(known) = self.0.read().unwrap_or_else(PoisonError::into_inner).get(key) {
            return Some(Arc::clone(known));
        }
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= max && !all.contains_key(key) {
            return None;
        }
        Some(Arc::clone(all.entry(key.clone()).or_default()))
    }

    fn all(&self) -> Vec<(K, Arc<V>)> {
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        all.iter().map(|(key, value)| (key.clone(), Arc::clone(value))).collect()
    }
}

#[cfg(test)]
mod tests;
