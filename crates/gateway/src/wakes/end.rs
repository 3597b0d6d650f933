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
