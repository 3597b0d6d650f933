//! How the end of a call is told to a webhook: at least once, with growing pauses, and not for ever.
//!
//! What is told is thin and no secret, so telling it twice does no harm, and what a receiver has taken twice bears one
//! id. A receiver that is down for a night still hears of it; one that is gone is given up after nine
//! tries. The pauses between them are the shortest: a crowd before a dead receiver takes longer.

use crate::{clock::Timestamp, tool::Name};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The pause after each try that failed, in seconds; after the last one it is given up. In all some twenty hours.
const PAUSES_SECS: [u64; 8] = [5, 30, 120, 600, 3600, 10_800, 21_600, 36_000];
/// What a receiver that asks for more time is given at most.
const ASKED_MAX: Duration = Duration::from_secs(3600);

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
}

impl Delivery {
    /// One that waits for the end of its call.
    #[must_use]
    pub const fn waiting(hook: Name, at: Timestamp) -> Self {
        Self { hook, state: DeliveryState::Waiting, tries: 0, at }
    }

    /// What follows from one more try.
    #[must_use]
    pub fn after(&self, heard: Heard, now: Timestamp) -> Self {
        let pause = usize::try_from(self.tries).ok().and_then(|done| PAUSES_SECS.get(done).copied());
        let (state, at) = match (heard, pause) {
            (Heard::Taken, _) => (DeliveryState::Delivered, now),
            (Heard::Failed { retry_after }, Some(secs)) => {
                let asked = retry_after.unwrap_or_default().min(ASKED_MAX);
                (DeliveryState::Waiting, now.plus(Duration::from_secs(secs).max(asked)))
            }
            (Heard::Failed { .. }, None) | (Heard::Never, _) => (DeliveryState::GivenUp, now),
        };
        Self { hook: self.hook.clone(), state, tries: self.tries.saturating_add(1), at }
    }
}

#[cfg(test)]
mod tests {
    //! Whoever fails is asked again, ever more rarely, and not for ever.

    use super::{ASKED_MAX, Delivery, DeliveryState, Heard, PAUSES_SECS};
    use crate::clock::Timestamp;
    use std::time::Duration;

    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);
    const FAILED: Heard = Heard::Failed { retry_after: None };

    fn fresh() -> Delivery {
        Delivery::waiting("ci".parse().unwrap(), NOW)
    }

    #[test]
    fn a_receiver_that_fails_is_asked_ever_more_rarely_and_given_up_within_a_day() {
        let (mut one, mut now, mut pauses) = (fresh(), NOW, Vec::new());
        while one.state == DeliveryState::Waiting && pauses.len() < 100 {
            one = one.after(FAILED, now);
            pauses.push(one.at.since(now).as_secs());
            now = one.at;
        }
        assert_eq!((one.state, one.tries), (DeliveryState::GivenUp, 9));
        assert_eq!(pauses, [PAUSES_SECS.as_slice(), &[0]].concat());
        assert!(now.since(NOW) < Duration::from_secs(24 * 3600), "as long as the call is kept");
    }

    #[test]
    fn one_that_asks_for_time_gets_it_within_bounds() {
        let pause = |secs| {
            let heard = Heard::Failed { retry_after: Some(Duration::from_secs(secs)) };
            fresh().after(heard, NOW).at.since(NOW).as_secs()
        };
        assert_eq!((pause(1), pause(60), pause(1_000_000)), (5, 60, ASKED_MAX.as_secs()));
    }

    #[test]
    fn what_was_taken_or_never_will_be_is_over() {
        let taken = fresh().after(Heard::Taken, NOW);
        assert_eq!((taken.state, taken.tries), (DeliveryState::Delivered, 1));
        let never = fresh().after(Heard::Never, NOW);
        assert_eq!((never.state, never.tries), (DeliveryState::GivenUp, 1));
    }
}
