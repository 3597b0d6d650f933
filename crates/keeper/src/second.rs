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
//! what is inside by our count is inside by its. How long ago that was, no clock says alone: whichever one of them is
//! wrong (this machine's two, the sender's, the store's), no more has passed than is reckoned. Where only one still
//! calls it inside, nothing is presented and nobody is asked yet: another keeper's clocks may tell.

use crate::{
    machine::{LISTEN_WITHIN, Moment},
    schedule,
};
use nightlatch_catalog::profile::{Blast, Profile, SecondPresentation};
use nightlatch_domain::clock::{Boot, Timestamp};
use std::time::Duration;

/// So long before a grace ends no retry leaves any more: it must arrive inside it. Half of a short grace.
const MARGIN: Duration = Duration::from_secs(5);
/// For no longer than this a human is not asked because one clock alone calls a first presentation inside the grace.
const DOUBT_WITHIN: Duration = Duration::from_secs(600);
/// From a first presentation to when nobody brings its answer any more: who listened to the end has had ten minutes to
/// find the database.
pub(crate) const UNHEARD_AFTER: Duration = Duration::from_secs(LISTEN_WITHIN.as_secs() + 600);
/// So close the store's clock and this machine's say the same.
const AGREEMENT: Duration = Duration::from_secs(2);
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

/// When the first presentation was, and how long ago that was when it was reckoned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Presented {
    /// When, by whichever clock said less.
    at: Timestamp,
    /// How long ago, if no more than one clock is wrong; none where two do not say.
    elapsed: Option<Duration>,
    /// The shortest that any clock said.
    by_one: Option<Duration>,
    /// When that was reckoned.
    as_of: Moment,
}

/// What the clocks said when it was intended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Intended {
    /// The less of what its keeper's wall clock and the store's said.
    pub at: Timestamp,
    /// The more.
    pub by: Timestamp,
    /// This machine's own two clocks, where this keeper sent it since the machine was started and its log says so.
    pub sent: Option<Moment>,
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

    /// How much of the window is left; none where it is over, or where nobody knows.
    #[must_use]
    pub fn left(&self, first: Presented, now: Moment) -> Option<Duration> {
        self.open_until(first.elapsed(now), now).map(|until| until.since(now.boot))
    }

    /// Whether one clock alone says that a retry inside the window may still leave.
    #[must_use]
    pub fn is_in_doubt(&self, first: Presented, now: Moment) -> bool {
        let inside = |elapsed: Duration| self.window.is_some_and(|window| elapsed < window.min(DOUBT_WITHIN));
        first.by_one(now).is_some_and(inside) && self.open_until(first.elapsed(now), now).is_none()
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
        let elapsed = first.elapsed(now).map(|elapsed| elapsed.saturating_add(pause));
        if self.open_until(elapsed, now).is_some() {
            return After { due_at: Some(now.wall.plus(pause)), ask: false };
        }
        // Due at once, and by a time that is past for everybody: whose clocks tell more is wanted.
        if self.is_in_doubt(first, now) {
            return After { due_at: Some(first.at.min(now.wall)), ask: false };
        }
        // While the token lives it serves, and whoever listens for the answer may still bring it.
        let unheard = UNHEARD_AFTER.saturating_sub(first.by_one(now).unwrap_or_default());
        let dead = access_until.map(|until| now.wall.plus(unheard.max(until.since(first.no_later(now)))));
        After { due_at: dead.filter(|_| self.last), ask: true }
    }

    /// Whether the one retry may be spent last: nobody brings the answer any more, and the access token is dead
    /// by every clock, or its tool refused it.
    #[must_use]
    pub fn is_time_for_the_last(
        &self,
        first: Presented,
        access_until: Option<Timestamp>,
        refused: bool,
        now: Moment,
    ) -> bool {
        let unheard = first.by_one(now).is_some_and(|ago| ago >= UNHEARD_AFTER);
        let dead = access_until.is_some_and(|until| until <= first.no_later(now));
        self.last && unheard && (dead || refused)
    }
}

impl Presented {
    /// It was intended just then, by this keeper.
    #[must_use]
    pub const fn now(now: Moment) -> Self {
        Self { at: now.wall, elapsed: Some(Duration::ZERO), by_one: Some(Duration::ZERO), as_of: now }
    }

    /// Reckoned now; `store` is what the store's clock says, where it has one.
    #[must_use]
    pub fn reckoned(intended: Intended, now: Moment, store: Option<Timestamp>) -> Self {
        let Intended { at, by, sent } = intended;
        // A clock by which it lies ahead says nothing.
        let since = |then, wall: Timestamp| (!schedule::is_ahead(then, wall)).then(|| wall.since(then));
        let sent = sent.filter(|sent| sent.boot <= now.boot);
        let by_boot = sent.map(|sent| now.boot.since(sent.boot));
        let (own, of_store) = (since(at, now.wall), store.map(|store| since(at, store)));
        // Where the store agrees with this machine now and did not then, one of them was wrong then, and neither was stopped
        // unnoticed since: this machine's two tell.
        let agrees = store.is_some_and(|store| store.since(now.wall).max(now.wall.since(store)) <= AGREEMENT);
        let differed = by.since(at) > AGREEMENT;
        let by_sender = sent.filter(|_| agrees && differed).and_then(|sent| since(sent.wall, now.wall));
        let elapsed = match by_boot {
            // A machine that is stopped whole stops both of its clocks: the store's is asked before its own wall clock.
            Some(by_boot) => by_sender.or(of_store.unwrap_or(own)).map(|ago| ago.max(by_boot)),
            None => own.zip(of_store.flatten()).map(|(own, store)| own.max(store)),
        };
        let by_walls = [Some(now.wall), store].into_iter().flatten().filter_map(|wall| since(by, wall));
        Self { at, elapsed, by_one: by_walls.chain(by_boot).min(), as_of: now }
    }

    /// The shortest that any clock says it is ago.
    fn by_one(&self, now: Moment) -> Option<Duration> {
        let [by_wall, by_boot] = self.since(now);
        self.by_one.map(|ago| ago.saturating_add(by_wall.min(by_boot)))
    }

    /// What any clock has come to at least.
    fn no_later(&self, now: Moment) -> Timestamp {
        self.at.plus(self.by_one(now).unwrap_or_default())
    }

    /// How long ago it is, if no more than one clock is wrong; none where two do not say.
    #[must_use]
    pub fn elapsed(&self, now: Moment) -> Option<Duration> {
        let [by_wall, by_boot] = self.since(now);
        self.elapsed.map(|ago| ago.saturating_add(by_wall.max(by_boot)))
    }

    /// What passed since it was reckoned, by this machine's two clocks.
    fn since(&self, now: Moment) -> [Duration; 2] {
        [now.wall.since(self.as_of.wall), now.boot.since(self.as_of.boot)]
    }
}

#[cfg(test)]
mod tests;
