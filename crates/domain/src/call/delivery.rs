//! How the end of a call is told to a webhook: at least once, with growing pauses, and not for ever.
//!
//! What is told is thin and no secret, so telling it twice does no harm, and what a receiver has taken twice bears one
//! id. A receiver that is down for a night still hears of it; one that is gone is given up after nine tries, or at the
//! first that fails a day after the call's end. That a day has passed is one clock's word, and a clock may jump far
//! ahead: so it gives nobody up by itself, and each message has one more try.

use crate::{clock::Timestamp, tool::Name};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The pause after each try that failed, in seconds; after the last one it is given up. In all some twenty hours.
const PAUSES_SECS: [u64; 8] = [5, 30, 120, 600, 3600, 10_800, 21_600, 36_000];
/// What had no room comes again so long after.
const ROOM_PAUSE: Duration = Duration::from_secs(5);
/// What a receiver that asks for more time is given at most.
const ASKED_MAX: Duration = Duration::from_secs(3600);
/// So long after the end of its call, a message has its last try: as long as a call is kept, and longer than all pauses.
const TOLD_WITHIN: Duration = Duration::from_secs(24 * 3600);

/// Whether a webhook has heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeliveryState {
    /// Not yet; once the call is final it is tried.
    Waiting,
    /// It took it.
    Delivered,
    /// It did not, and is not asked any more.
    GivenUp,
}

/// How far the telling of one call's end has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// The webhook, by the operator's name for it.
    pub hook: Name,
    /// Where it stands.
    pub state: DeliveryState,
    /// How often it was tried.
    pub tries: u32,
    /// While it waits: before this it is not tried. Then: when that ended.
    pub at: Timestamp,
}

/// What became of one try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// It was taken.
    Taken,
    /// It was not, or nobody knows.
    Failed {
        /// How long the receiver asked to wait.
        retry_after: Option<Duration>,
    },
    /// It will never be taken.
    Never,
    /// There was no room here to try it: that says nothing of the receiver.
    NotTried,
}

impl Delivery {
    /// One that waits for the end of its call.
    #[must_use]
    pub const fn waiting(hook: Name, at: Timestamp) -> Self {
        Self { hook, state: DeliveryState::Waiting, tries: 0, at }
    }

    /// What follows from one more try to tell of a call that ended then.
    #[must_use]
    pub fn after(&self, heard: Heard, ended_at: Timestamp, now: Timestamp) -> Self {
        let pause = usize::try_from(self.tries).ok().and_then(|done| PAUSES_SECS.get(done).copied());
        let last = ended_at.plus(TOLD_WITHIN);
        let (state, at) = match (heard, pause) {
            (Heard::NotTried, _) if now < last => {
                return Self { at: now.plus(ROOM_PAUSE), ..self.clone() };
            }
            // The last try is still owed. But it is not waited for without an end: from now on, this counts.
            (Heard::NotTried, Some(_)) => (DeliveryState::Waiting, now.plus(ROOM_PAUSE)),
            (Heard::Taken, _) => (DeliveryState::Delivered, now),
            (Heard::Failed { retry_after }, Some(secs)) if now < last => {
                let asked = retry_after.unwrap_or_default().min(ASKED_MAX);
                let next = now.plus(Duration::from_secs(secs).max(asked));
                (DeliveryState::Waiting, next.min(last))
            }
            (Heard::Failed { .. } | Heard::Never | Heard::NotTried, _) => (DeliveryState::GivenUp, now),
        };
        Self { hook: self.hook.clone(), state, tries: self.tries.saturating_add(1), at }
    }
}

#[cfg(test)]
mod tests {
    //! Whoever fails is asked again, ever more rarely, and not for ever.

    use super::{ASKED_MAX, Delivery, DeliveryState, Heard, PAUSES_SECS, TOLD_WITHIN};
    use crate::clock::Timestamp;
    use std::time::Duration;

    const ENDED: Timestamp = Timestamp::from_millis(1_800_000_000_000);
    const FAILED: Heard = Heard::Failed { retry_after: None };

    fn fresh() -> Delivery {
        Delivery::waiting("ci".parse().unwrap(), ENDED)
    }

    /// All tries, each so late; gives how long after the end of the call each one was over.
    fn failing(late: Duration) -> (Delivery, Vec<u64>) {
        let (mut one, mut times) = (fresh(), Vec::new());
        while one.state == DeliveryState::Waiting && times.len() < 100 {
            let now = one.at.plus(late);
            one = one.after(FAILED, ENDED, now);
            times.push(now.since(ENDED).as_secs());
        }
        (one, times)
    }

    #[test]
    fn a_receiver_that_fails_is_asked_ever_more_rarely_and_given_up_within_a_day() {
        let (one, times) = failing(Duration::ZERO);
        let pauses: Vec<u64> = times.windows(2).map(|two| two[1] - two[0]).collect();
        assert_eq!((one.state, one.tries, pauses.as_slice()), (DeliveryState::GivenUp, 9, &PAUSES_SECS[..]));
        assert!(one.at.since(ENDED) < TOLD_WITHIN, "as long as the call is kept");
    }

    #[test]
    fn a_crowd_before_a_dead_receiver_makes_tries_fewer_and_not_later() {
        let late = 2 * 3600;
        let (one, times) = failing(Duration::from_secs(late));
        assert_eq!(one.state, DeliveryState::GivenUp);
        assert!(times.len() < 9, "{times:?}");
        // What was due at the last moment came as late as all the others, and was the last.
        assert_eq!(times.last(), Some(&(TOLD_WITHIN.as_secs() + late)));
        assert!(times[..times.len() - 1].iter().all(|secs| *secs < TOLD_WITHIN.as_secs()), "{times:?}");
    }

    #[test]
    fn a_clock_that_jumps_far_ahead_leaves_one_more_try() {
        let years = ENDED.plus(Duration::from_secs(9 * 365 * 86_400));
        assert_eq!(fresh().after(Heard::Taken, ENDED, years).state, DeliveryState::Delivered);
        // The jump came between two tries: the second is still made, and it counts.
        let once = fresh().after(FAILED, ENDED, ENDED);
        assert_eq!(once.state, DeliveryState::Waiting);
        assert_eq!(once.after(Heard::Taken, ENDED, years).state, DeliveryState::Delivered);
        assert_eq!(once.after(FAILED, ENDED, years).state, DeliveryState::GivenUp);
    }

    #[test]
    fn one_that_asks_for_time_gets_it_within_bounds() {
        let pause = |secs| {
            let heard = Heard::Failed { retry_after: Some(Duration::from_secs(secs)) };
            fresh().after(heard, ENDED, ENDED).at.since(ENDED).as_secs()
        };
        assert_eq!((pause(1), pause(60), pause(1_000_000)), (5, 60, ASKED_MAX.as_secs()));
        let late = ENDED.plus(TOLD_WITHIN).minus(Duration::from_secs(7));
        let heard = Heard::Failed { retry_after: Some(Duration::from_secs(60)) };
        assert_eq!(
            fresh().after(heard, ENDED, late).at,
            ENDED.plus(TOLD_WITHIN),
            "and not past the last try"
        );
    }

    #[test]
    fn what_there_was_no_room_for_is_no_try_but_is_not_owed_for_ever() {
        let once = fresh().after(FAILED, ENDED, ENDED);
        let mut one = once.clone();
        for _ in 0..100 {
            one = one.after(Heard::NotTried, ENDED, one.at);
        }
        assert_eq!((one.state, one.tries), (DeliveryState::Waiting, once.tries));
        // Past the day it still has its last try, as long as there is hope for one.
        let late = ENDED.plus(TOLD_WITHIN);
        one = one.after(Heard::NotTried, ENDED, late);
        assert_eq!(one.state, DeliveryState::Waiting);
        assert_eq!(one.after(Heard::Taken, ENDED, late).state, DeliveryState::Delivered);
        for _ in 0..PAUSES_SECS.len() {
            one = one.after(Heard::NotTried, ENDED, one.at);
        }
        assert_eq!(one.state, DeliveryState::GivenUp);
    }

    #[test]
    fn what_was_taken_or_never_will_be_is_over() {
        let taken = fresh().after(Heard::Taken, ENDED, ENDED);
        assert_eq!((taken.state, taken.tries), (DeliveryState::Delivered, 1));
        let never = fresh().after(Heard::Never, ENDED, ENDED);
        assert_eq!((never.state, never.tries), (DeliveryState::GivenUp, 1));
    }
}
