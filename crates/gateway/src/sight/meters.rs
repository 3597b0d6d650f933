//! Meters: counts as plain atomics, read by whoever shows them.

use nightlatch_domain::{
    ports::sight::{Door, Total},
    problem::ProblemKind,
    tool::{Effect, Name},
};
use std::sync::{
    OnceLock,
    atomic::{AtomicU64, Ordering},
};

/// The classes of a tool's status, and a caller that did not stay.
const ANSWERS: [&str; 6] = ["1xx", "2xx", "3xx", "4xx", "5xx", "left"];
const OUTCOMES: usize = ANSWERS.len() + ProblemKind::ALL.len();
/// Each effect, and none: it was not known.
const EFFECTS: usize = Effect::ALL.len() + 1;
/// Each door, and none: it was refused before it was known which it is for.
const DOORS: usize = Door::ALL.len() + 1;

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// With the tool's answer.
    Answered(u16),
    /// With a refusal of ours.
    Problem(ProblemKind),
    /// The caller went away before either.
    Left,
}

impl Outcome {
    fn place(self) -> usize {
        match self {
            Self::Answered(status) => usize::from((status / 100).clamp(1, 5)) - 1,
            Self::Left => ANSWERS.len() - 1,
            Self::Problem(kind) => ANSWERS.len() + kind as usize,
        }
    }

    /// How it is called where it is shown.
    pub(super) fn as_str(self) -> &'static str {
        Self::word(self.place())
    }

    fn word(place: usize) -> &'static str {
        let kind = || ProblemKind::ALL.get(place.checked_sub(ANSWERS.len())?).map(|kind| kind.slug());
        ANSWERS.get(place).copied().or_else(kind).unwrap_or_default()
    }
}

/// One count with its labels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallCount {
    /// The tool; none where it was not known.
    pub tool: Option<Name>,
    /// The door; none where it was not known.
    pub door: Option<Door>,
    /// The operation's effect; none where it was not known.
    pub effect: Option<Effect>,
    /// A class of status (`2xx`), `left`, or the kind of a refusal.
    pub outcome: &'static str,
    /// How many.
    pub count: u64,
}

/// Counts by effect and outcome.
struct Counts([[AtomicU64; OUTCOMES]; EFFECTS]);

impl Default for Counts {
    fn default() -> Self {
        Self(std::array::from_fn(|_| std::array::from_fn(|_| AtomicU64::new(0))))
    }
}

/// The counts of one tool.
#[derive(Default)]
pub(super) struct ToolMeters {
    /// Of each door, from its first call on: most tools are called by one.
    doors: [OnceLock<Box<Counts>>; DOORS],
    sent: AtomicU64,
    received: AtomicU64,
}

impl ToolMeters {
    pub(super) fn count(&self, door: Option<Door>, effect: Option<Effect>, outcome: Outcome) {
        let door = self.doors.get(door.map_or(DOORS - 1, |door| door as usize));
        let counts = door.map(|counts| counts.get_or_init(Box::default));
        let row =
            counts.and_then(|counts| counts.0.get(effect.map_or(EFFECTS - 1, |effect| effect as usize)));
        if let Some(count) = row.and_then(|row| row.get(outcome.place())) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn passed(&self, sent: u64, received: u64) {
        self.sent.fetch_add(sent, Ordering::Relaxed);
        self.received.fetch_add(received, Ordering::Relaxed);
    }

    pub(super) fn bytes(&self) -> (u64, u64) {
        (self.sent.load(Ordering::Relaxed), self.received.load(Ordering::Relaxed))
    }

    /// Adds what is not zero to `all`, one count for each set of labels.
    pub(super) fn calls(&self, tool: Option<&Name>, all: &mut Vec<CallCount>) {
        self.each(|door, effect, place, count| {
            let (door, effect) = (Door::ALL.get(door).copied(), Effect::ALL.get(effect).copied());
            add(all, CallCount { tool: tool.cloned(), door, effect, outcome: Outcome::word(place), count });
        });
    }

    pub(super) fn total(&self) -> Total {
        let mut total = Total::default();
        self.each(|_, _, place, count| {
            total.calls += count;
            total.refused += if place < ANSWERS.len() { 0 } else { count };
        });
        total
    }

    /// Tells of every count that is not zero: the places of its door, its effect and its outcome.
    fn each(&self, mut tell: impl FnMut(usize, usize, usize, u64)) {
        for (door, counts) in self.doors.iter().enumerate() {
            for (effect, row) in counts.get().iter().flat_map(|counts| &counts.0).enumerate() {
                for (place, count) in row.iter().enumerate() {
                    let count = count.load(Ordering::Relaxed);
                    if count > 0 {
                        tell(door, effect, place, count);
                    }
                }
            }
        }
    }
}

fn add(all: &mut Vec<CallCount>, own: CallCount) {
    let same = |other: &&mut CallCount| {
        (&other.tool, other.door, other.effect, other.outcome)
            == (&own.tool, own.door, own.effect, own.outcome)
    };
    match all.iter_mut().find(same) {
        Some(other) => other.count += own.count,
        None => all.push(own),
    }
}

/// The totals of one agent.
#[derive(Default)]
pub(super) struct Totals {
    calls: AtomicU64,
    refused: AtomicU64,
}

impl Totals {
    pub(super) fn count(&self, outcome: Outcome) {
        self.calls.fetch_add(1, Ordering::Relaxed);
        if matches!(outcome, Outcome::Problem(_)) {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn read(&self) -> Total {
        Total { calls: self.calls.load(Ordering::Relaxed), refused: self.refused.load(Ordering::Relaxed) }
    }
}
