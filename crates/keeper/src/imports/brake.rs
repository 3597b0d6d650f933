//! Before one token of a registration has proved good, they are tried one at a time; and where one after another is refused
//! and none is taken, the rest waits. A file of ten thousand under the wrong client id must not be ten thousand refusals.

use nightlatch_domain::{clock::Boot, id::ClientId};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// So many are refused before the rest waits.
const REFUSED_MAX: u32 = 5;
/// Then one is tried after this, then after twice as long, and so on.
const WAIT_FIRST: Duration = Duration::from_secs(60);
const WAIT_MAX: Duration = Duration::from_secs(3600);

#[derive(Default)]
pub(crate) struct Brakes(Mutex<BTreeMap<ClientId, Brake>>);

struct Brake {
    is_proved: bool,
    refused: u32,
    until: Boot,
    turn: Arc<Semaphore>,
}

/// Whether a token may be presented now.
pub(super) enum Turn {
    /// It may; until one has proved good the others wait for this to be dropped.
    Now(Option<OwnedSemaphorePermit>),
    /// Too many were refused: not before this long.
    Waits(Duration),
}

impl Brakes {
    fn all(&self) -> MutexGuard<'_, BTreeMap<ClientId, Brake>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn turn_of(&self, client: ClientId, now: Boot) -> Result<Option<Arc<Semaphore>>, Duration> {
        let mut all = self.all();
        let fresh = || Brake { is_proved: false, refused: 0, until: now, turn: Arc::new(Semaphore::new(1)) };
        let brake = all.entry(client).or_insert_with(fresh);
        let left = brake.until.since(now);
        match (brake.is_proved, left.is_zero()) {
            (true, _) => Ok(None),
            (false, false) => Err(left),
            (false, true) => Ok(Some(Arc::clone(&brake.turn))),
        }
    }

    /// Waits for the turn of one token of a registration. `now` is asked anew when it has come.
    pub(super) async fn turn(&self, client: ClientId, now: impl Fn() -> Boot) -> Turn {
        let turn = match self.turn_of(client, now()) {
            Ok(Some(turn)) => turn,
            Ok(None) => return Turn::Now(None),
            Err(wait) => return Turn::Waits(wait),
        };
        let held = turn.acquire_owned().await.ok();
        // What those before it found decides.
        match self.turn_of(client, now()) {
            Ok(Some(_)) => Turn::Now(held),
            Ok(None) => Turn::Now(None),
            Err(wait) => Turn::Waits(wait),
        }
    }

    /// One was taken.
    pub(super) fn proved(&self, client: ClientId) {
        if let Some(brake) = self.all().get_mut(&client) {
            (brake.is_proved, brake.refused) = (true, 0);
        }
    }

    /// One was refused for good.
    pub(super) fn refused(&self, client: ClientId, now: Boot) {
        let mut all = self.all();
        let Some(brake) = all.get_mut(&client).filter(|brake| !brake.is_proved) else { return };
        brake.refused = brake.refused.saturating_add(1);
        if brake.refused >= REFUSED_MAX {
            let grown = WAIT_FIRST.saturating_mul(1 << (brake.refused - REFUSED_MAX).min(6));
            brake.until = now.plus(grown.min(WAIT_MAX));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Brakes, Turn};
    use nightlatch_domain::{
        clock::{Boot, Timestamp},
        id::ClientId,
    };
    use std::time::Duration;

    fn at(secs: u64) -> Boot {
        Boot::from_millis(1000 * secs)
    }

    async fn waits(brakes: &Brakes, client: ClientId, secs: u64) -> Option<Duration> {
        match brakes.turn(client, || at(secs)).await {
            Turn::Now(_) => None,
            Turn::Waits(wait) => Some(wait),
        }
    }

    #[tokio::test]
    async fn until_one_is_good_they_are_tried_one_at_a_time_and_few() {
        let (brakes, client) = (Brakes::default(), ClientId::new(Timestamp::from_millis(0), [1; 10]));
        let Turn::Now(Some(held)) = brakes.turn(client, || at(0)).await else { panic!("no turn") };
        let second = tokio::time::timeout(Duration::from_millis(50), brakes.turn(client, || at(0))).await;
        assert!(second.is_err(), "two at a time");
        drop(held);
        for _ in 0..4 {
            brakes.refused(client, at(0));
            assert_eq!(waits(&brakes, client, 0).await, None);
        }
        brakes.refused(client, at(0));
        assert_eq!(waits(&brakes, client, 1).await, Some(Duration::from_secs(59)));
        assert_eq!(waits(&brakes, client, 60).await, None);
        brakes.refused(client, at(60));
        assert_eq!(waits(&brakes, client, 61).await, Some(Duration::from_secs(119)));
        brakes.proved(client);
        (0..9).for_each(|_| brakes.refused(client, at(200)));
        assert_eq!(waits(&brakes, client, 200).await, None, "one works: the others are dead by themselves");
        let (Turn::Now(None), Turn::Now(None)) =
            (brakes.turn(client, || at(200)).await, brakes.turn(client, || at(200)).await)
        else {
            panic!("they still wait for each other")
        };
    }
}
