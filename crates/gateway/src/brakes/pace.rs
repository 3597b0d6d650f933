//! Pace: the generic cell rate algorithm over a clock that it is given.
//!
//! A rate is kept as the time at which the next call would be due if all had come evenly. A call conforms
//! while that time is no further ahead than the burst allows. One number a limit, no timer, and what it says
//! is exact: how long to wait.

use nightlatch_domain::clock::Boot;
use std::time::Duration;

/// How often, and how many at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// From one call to the next, when they come evenly.
    pub interval: Duration,
    /// Calls that may come together after a silence.
    pub burst: u32,
    /// Calls under way together.
    pub at_once: u32,
}

impl Pace {
    /// So many calls a second.
    #[must_use]
    pub const fn per_second(calls: u32, burst: u32, at_once: u32) -> Self {
        let calls = if calls == 0 { 1 } else { calls };
        Self { interval: Duration::from_nanos(1_000_000_000 / calls as u64), burst, at_once }
    }

    /// The same rate and burst divided evenly among `sharers`.
    pub(super) fn among(self, sharers: u32) -> Self {
        let sharers = sharers.max(1);
        Self { interval: self.interval * sharers, burst: (self.burst / sharers).max(1), ..self }
    }
}

/// When the next call would be due, in nanoseconds of the boot clock.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Due(u64);

impl Due {
    /// How long until one more call conforms; zero where it does now.
    pub(crate) fn wait(self, pace: Pace, now: Boot) -> Duration {
        let ahead = nanos(pace.interval).saturating_mul(u64::from(pace.burst.max(1) - 1));
        Duration::from_nanos(self.0.saturating_sub(at(now).saturating_add(ahead)))
    }

    /// Counts one call.
    pub(crate) fn take(&mut self, pace: Pace, now: Boot) {
        self.0 = self.0.max(at(now)).saturating_add(nanos(pace.interval));
    }

    /// Whether nothing is left of what was counted.
    pub(crate) fn is_idle(self, now: Boot) -> bool {
        self.0 <= at(now)
    }
}

fn at(now: Boot) -> u64 {
    now.millis().saturating_mul(1_000_000)
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::{Due, Pace};
    use nightlatch_domain::clock::Boot;
    use proptest::prelude::{any, proptest};
    use std::time::Duration;

    #[test]
    fn a_burst_passes_and_the_next_call_is_told_when() {
        let (pace, now) = (Pace::per_second(10, 3, 9), Boot::from_millis(5_000));
        let mut due = Due::default();
        for _ in 0..3 {
            assert_eq!(due.wait(pace, now), Duration::ZERO);
            due.take(pace, now);
        }
        let wait = due.wait(pace, now);
        assert_eq!(wait, Duration::from_millis(100));
        assert_eq!(due.wait(pace, now.plus(wait)), Duration::ZERO);
        assert_ne!(due.wait(pace, now.plus(wait - Duration::from_millis(1))), Duration::ZERO);
    }

    proptest! {
        #[test]
        fn no_more_pass_than_the_rate_and_one_burst(
            steps in proptest::collection::vec(0u64..50, 1..200), rate in 1u32..500, burst in any::<u8>()
        ) {
            let pace = Pace::per_second(rate, u32::from(burst.max(1)), 1);
            let (mut due, mut now, mut passed) = (Due::default(), Boot::from_millis(1_000_000), 0u64);
            let start = now;
            for step in steps {
                now = now.plus(Duration::from_millis(step));
                if due.wait(pace, now).is_zero() {
                    due.take(pace, now);
                    passed += 1;
                }
            }
            let most = now.since(start).as_nanos() / pace.interval.as_nanos() + u128::from(pace.burst);
            assert!(u128::from(passed) <= most, "{passed} of {most}");
        }
    }
}
