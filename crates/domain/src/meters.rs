//! Meters: durations as plain atomics, counted where they happen and read by whoever shows them.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// The upper ends of the buckets, in microseconds: what the corridor and a disk take, what a tool takes, what a
/// human or a model takes.
const BOUNDS_MICROS: [u64; 12] =
    [50, 100, 250, 1_000, 5_000, 25_000, 100_000, 500_000, 2_500_000, 10_000_000, 60_000_000, 600_000_000];

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
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [AtomicU64; BOUNDS_MICROS.len() + 1],
    sum_micros: AtomicU64,
}

impl Histogram {
    /// Counts one.
    pub fn observe(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let place = BOUNDS_MICROS.iter().position(|bound| micros <= *bound).unwrap_or(BOUNDS_MICROS.len());
        if let Some(bucket) = self.buckets.get(place) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        self.sum_micros.fetch_add(micros, Ordering::Relaxed);
    }

    /// What was counted so far.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "microseconds of a process's life fit the 53 bits")]
    pub fn read(&self) -> Durations {
        let secs = |micros: u64| micros as f64 / 1e6;
        let ends = BOUNDS_MICROS.iter().map(|bound| secs(*bound)).chain([f64::MAX]);
        let counts = self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed));
        let buckets: Vec<(f64, u64)> = ends.zip(counts).collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        Durations { sum_secs: secs(self.sum_micros.load(Ordering::Relaxed)), count, buckets }
    }
}

#[cfg(test)]
mod tests {
    use super::Histogram;
    use std::time::Duration;

    #[test]
    fn a_duration_falls_into_the_first_bucket_that_holds_it() {
        let durations = Histogram::default();
        for micros in [0, 50, 51, 1_000, 700_000_000] {
            durations.observe(Duration::from_micros(micros));
        }
        let read = durations.read();
        let counts: Vec<u64> = read.buckets.iter().map(|(_, count)| *count).collect();
        assert_eq!(counts, [2, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!((read.count, read.sum_secs), (5, 700.001_101));
    }
}
