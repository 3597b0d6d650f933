//! A second presentation: what may follow when the answer to the first one was lost.
//!
//! A refresh token whose answer was lost may be consumed or not; only presenting it again would tell, and at a
//! strict provider that kills whatever the lost answer had brought. So whether it is done at all is the
//! profile's word, and only a verified one: inside a grace, at once and quietly, because nothing can be lost by
//! it. Without a grace as the very last thing, when the access token has nothing left to lose and whoever still
//! listens for the answer has given up; and never where a reuse reaches further than this chain. In either case
//! **once**, and recorded before, in the database and in the log.
//!
//! The grace is counted from before the first presentation left, on the provider's clock from after it came: so
//! what is inside by our count is inside by its. How long ago that was, two clocks must agree on.

use crate::{
    machine::{LISTEN_WITHIN, Moment},
    schedule,
};
use nightlatch_catalog::profile::{Blast, Profile, SecondPresentation};
use nightlatch_domain::clock::{Boot, Timestamp};
use std::time::Duration;

/// So long before a grace ends no retry leaves any more: it must arrive inside it. Half of a short grace.
const MARGIN: Duration = Duration::from_secs(5);
/// Two clocks that differ by more say nothing about how much time has passed.
const CLOCKS_AGREE: Duration = Duration::from_secs(5);
/// The least pause before a retry: what broke off the first exchange has passed by then, if it passes at all.
const PAUSE: Duration = Duration::from_secs(1);

/// What a profile's verified facts allow after a lost answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Second {
    /// For so long after the first presentation the second one may leave.
    pub window: Option<Duration>,
    /// Whether, without a window or after it, the one retry may be spent last.
    pub last: bool,
}

/// When the first presentation was, by the clocks that saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Presented {
    /// By the wall clock of whoever sent it.
    pub wall: Timestamp,
    /// By this machine's boot clock, where this keeper sent it and the log says when.
    pub boot: Option<Boot>,
}

/// What comes after a loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct After {
    /// When the retry is due; none where there is none, or where it waits for the access token to be found dead.
    pub due_at: Option<Timestamp>,
    /// Whether a human is asked now.
    pub ask: bool,
}

impl Second {
    /// Nothing is presented a second time.
    pub const NEVER: Self = Self { window: None, last: false };

    /// What a profile allows. A fact that is not verified allows nothing.
    #[must_use]
    pub fn of(profile: &Profile) -> Self {
        let grace = Duration::from_secs(profile.reuse.grace_secs);
        let is_known = profile.second_presentation != SecondPresentation::Unknown
            && profile.may_decide("second_presentation")
            && profile.may_decide("reuse.grace_secs");
        let window = grace.saturating_sub(MARGIN.min(grace / 2));
        Self {
            window: Some(window).filter(|window| is_known && !window.is_zero()),
            last: profile.blast == Blast::Chain && profile.may_decide("blast"),
        }
    }

    /// How long an answer is waited for before the chain is left: a retry inside the grace must have room.
    #[must_use]
    pub fn patience(&self, whole: Duration) -> Duration {
        self.window.map_or(whole, |window| whole.min(window / 2))
    }

    /// Until when, on this machine's boot clock, a retry inside the window may leave; none where there is no
    /// window, where it is over, or where nobody knows how much of it is left.
    #[must_use]
    pub fn open_until(&self, elapsed: Option<Duration>, now: Moment) -> Option<Boot> {
        let left = self.window?.checked_sub(elapsed?)?;
        Some(now.boot.plus(left)).filter(|_| !left.is_zero())
    }

    /// What comes after a loss, if nothing was presented a second time yet.
    #[must_use]
    pub fn after(
        &self,
        first: Presented,
        access_until: Option<Timestamp>,
        now: Moment,
        jitter: u16,
    ) -> After {
        let pause = PAUSE.saturating_add(Duration::from_millis(u64::from(jitter) >> 7));
        let elapsed = first.elapsed(now, None).map(|elapsed| elapsed.saturating_add(pause));
        if self.open_until(elapsed, now).is_some() {
            return After { due_at: Some(now.wall.plus(pause)), ask: false };
        }
        // While the token lives it serves, and whoever listens for the answer may still bring it.
        let listened = LISTEN_WITHIN.saturating_sub(first.ago(now));
        let dead = access_until.map(|until| until.max(now.wall.plus(listened)));
        After { due_at: dead.filter(|_| self.last), ask: true }
    }

    /// Whether the one retry may be spent last, for an access token that was found dead.
    #[must_use]
    pub fn is_time_for_the_last(&self, first: Presented, now: Moment) -> bool {
        self.last && first.ago(now) >= LISTEN_WITHIN
    }
}

impl Presented {
    /// How long ago it was by the boot clock where that saw it: a wall clock that jumps ahead ends no listening.
    fn ago(&self, now: Moment) -> Duration {
        let by_boot = self.boot.filter(|then| *then <= now.boot).map(|then| now.boot.since(then));
        by_boot.unwrap_or_else(|| now.wall.since(self.wall))
    }

    /// How long ago it was: the longer of what two clocks say that agree; none where no two do.
    #[must_use]
    pub fn elapsed(&self, now: Moment, store: Option<Timestamp>) -> Option<Duration> {
        if schedule::is_ahead(self.wall, now.wall) {
            return None;
        }
        let by_wall = now.wall.since(self.wall);
        // A boot clock that began anew is behind, or differs from the wall clock by the time in between.
        let by_boot = self.boot.filter(|then| *then <= now.boot).map(|then| now.boot.since(then));
        let by_store = store.map(|store| store.since(self.wall));
        let other = by_boot.or(by_store)?;
        (by_wall.abs_diff(other) <= CLOCKS_AGREE).then(|| by_wall.max(other))
    }
}

#[cfg(test)]
mod tests;
