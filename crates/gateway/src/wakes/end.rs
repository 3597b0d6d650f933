//! An end on both clocks of the machine: it has come as soon as either says so.
//!
//! What the keeper names is wall time, which somebody may set back; time since the start never goes back,
//! so a wake or a lease lasts no longer than it was given for.

use nightlatch_domain::clock::{Boot, Clock, Timestamp};
use std::time::Duration;

/// Both clocks, read together.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    pub(super) wall: Timestamp,
    boot: Boot,
}

impl Moment {
    pub(super) fn now(clock: &dyn Clock) -> Self {
        Self { wall: clock.now(), boot: clock.boot() }
    }
}

/// When something ends.
#[derive(Debug, Clone, Copy)]
pub(super) struct End(Moment);

impl End {
    /// The end that is `wall`, as it looked at `seen`.
    pub(super) fn new(wall: Timestamp, seen: Moment) -> Self {
        Self(Moment { wall, boot: seen.boot.plus(wall.since(seen.wall)) })
    }

    /// So much earlier.
    pub(super) fn minus(self, span: Duration) -> Self {
        let millis = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        let boot = Boot::from_millis(self.0.boot.millis().saturating_sub(millis));
        Self(Moment { wall: self.0.wall.minus(span), boot })
    }

    pub(super) fn has_come(self, now: Moment) -> bool {
        self.0.wall <= now.wall || self.0.boot <= now.boot
    }
}

#[cfg(test)]
mod tests {
    //! An end comes on whichever clock says so first.

    use super::{End, Moment};
    use nightlatch_domain::clock::{Boot, Timestamp};
    use std::time::Duration;

    const WALL: i64 = 1_800_000_000_000;

    /// So many seconds after the start, by either clock.
    fn at(wall_secs: i64, boot_secs: u64) -> Moment {
        let (wall, boot) = (WALL + wall_secs * 1000, 5_000_000 + boot_secs * 1000);
        Moment { wall: Timestamp::from_millis(wall), boot: Boot::from_millis(boot) }
    }

    #[test]
    fn an_end_comes_as_soon_as_either_clock_says_so() {
        let end = End::new(at(60, 0).wall, at(0, 0));
        assert!(!end.has_come(at(59, 59)));
        assert!(end.has_come(at(60, 0)), "the wall clock was set forward");
        assert!(end.has_come(at(-3600, 60)), "the wall clock was set back");
        let earlier = end.minus(Duration::from_secs(20));
        assert!(!earlier.has_come(at(39, 39)) && earlier.has_come(at(40, 0)) && earlier.has_come(at(0, 40)));
    }
}
