//! Meters: counts and durations as plain atomics, read by whoever shows them.

use nightlatch_domain::{
    ports::sight::Total,
    problem::ProblemKind,
    tool::{Effect, Name},
};
use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// The upper ends of the buckets, in microseconds: what the corridor takes, what a tool takes, what a human or a
/// model takes.
const BOUNDS_MICROS: [u64; 12] =
    [50, 100, 250, 1_000, 5_000, 25_000, 100_000, 500_000, 2_500_000, 10_000_000, 60_000_000, 600_000_000];
/// The classes of a tool's status, and a caller that did not stay.
const ANSWERS: [&str; 6] = ["1xx", "2xx", "3xx", "4xx", "5xx", "left"];
const OUTCOMES: usize = ANSWERS.len() + ProblemKind::ALL.len();
/// Each effect, and none: it was not known.
const EFFECTS: usize = Effect::ALL.len() + 1;

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
    /// The operation's effect; none where it was not known.
    pub effect: Option<Effect>,
    /// A class of status (`2xx`), `left`, or the kind of a refusal.
    pub outcome: &'static str,
    /// How many.
    pub count: u64,
}

/// The counts of one tool.
pub(super) struct ToolMeters {
    calls: [[AtomicU64; OUTCOMES]; EFFECTS],
    sent: AtomicU64,
    received: AtomicU64,
}

impl Default for ToolMeters {
    fn default() -> Self {
        let zeros = || std::array::from_fn(|_| AtomicU64::new(0));
        Self { calls: std::array::from_fn(|_| zeros()), sent: AtomicU64::new(0), received: AtomicU64::new(0) }
    }
}

impl ToolMeters {
    pub(super) fn count(&self, effect: Option<Effect>, outcome: Outcome) {
        let place = effect.map_or(EFFECTS - 1, |effect| effect as usize);
        if let Some(count) = self.calls.get(place).and_then(|row| row.get(outcome.place())) {
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
        for (effect, row) in self.calls.iter().enumerate() {
            for (place, count) in row.iter().enumerate() {
                let count = count.load(Ordering::Relaxed);
                if count > 0 {
                    let (effect, outcome) = (Effect::ALL.get(effect).copied(), Outcome::word(place));
                    add(all, CallCount { tool: tool.cloned(), effect, outcome, count });
                }
            }
        }
    }

    pub(super) fn total(&self) -> Total {
        let mut total = Total::default();
        for row in &self.calls {
            for (place, count) in row.iter().enumerate() {
                let count = count.load(Ordering::Relaxed);
                total.calls += count;
                total.refused += if place < ANSWERS.len() { 0 } else { count };
            }
        }
        total
    }
}

fn add(all: &mut Vec<CallCount>, own: CallCount) {
    let same = |other: &&mut CallCount| {
        (&other.tool, other.effect, other.outcome) == (&own.tool, own.effect, own.outcome)
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

/// A distribution of durations.
#[derive(Debug, Clone, PartialEq)]
pub struct Durations {
    /// All of them together, in seconds.
    pub sum_secs: f64,
    /// How many.
    pub count: u64,
    /// The upper end of each bucket in seconds, the last without one, and how many fell in it and in no lower one.
    pub buckets: Vec<(f64, u64)>,
}

/// Durations in buckets.
#[derive(Default)]
pub(super) struct Histogram {
    buckets: [AtomicU64; BOUNDS_MICROS.len() + 1],
    sum_micros: AtomicU64,
}

impl Histogram {
    pub(super) fn observe(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let place = BOUNDS_MICROS.iter().position(|bound| micros <= *bound).unwrap_or(BOUNDS_MICROS.len());
        if let Some(bucket) = self.buckets.get(place) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        self.sum_micros.fetch_add(micros, Ordering::Relaxed);
    }

    #[expect(clippy::cast_precision_loss, reason = "microseconds of a process's life fit the 53 bits")]
    pub(super) fn read(&self) -> Durations {
        let secs = |micros: u64| micros as f64 / 1e6;
        let ends = BOUNDS_MICROS.iter().map(|bound| secs(*bound)).chain([f64::MAX]);
        let counts = self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed));
        let buckets: Vec<(f64, u64)> = ends.zip(counts).collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        Durations { sum_secs: secs(self.sum_micros.load(Ordering::Relaxed)), count, buckets }
    }
}
