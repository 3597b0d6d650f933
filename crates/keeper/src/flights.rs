//! One refresh in flight for each chain, whoever asks, and detached from all of them.
//!
//! The first who asks starts a task; everybody else gets the same result. Nobody who stops waiting stops
//! the task: a refresh that was begun is carried to its end, because a cancelled exchange is a lost token.

use crate::machine::Outcome;
use nightlatch_domain::id::ChainId;
use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};
use tokio::sync::watch;

/// The refreshes under way.
#[derive(Debug, Default)]
pub(crate) struct Flights {
    by_chain: Mutex<BTreeMap<ChainId, Waiting>>,
}

/// Resolves when the refresh is over.
pub(crate) type Waiting = watch::Receiver<Option<Outcome>>;

/// Held by the task of a flight: tells the waiters, also when the task ends without a word.
pub(crate) struct Landing<'a> {
    flights: &'a Flights,
    chain: ChainId,
    tell: watch::Sender<Option<Outcome>>,
}

/// Whether the asker is the first.
pub(crate) enum Boarded {
    /// Yes: it must start the task, which tells the result through the sender.
    First(watch::Sender<Option<Outcome>>, Waiting),
    /// A flight is under way.
    Joined(Waiting),
}

impl Flights {
    /// Joins the flight of a chain, or opens one.
    pub(crate) fn board(&self, chain: ChainId) -> Boarded {
        let mut flights = self.by_chain.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(waiting) = flights.get(&chain) {
            return Boarded::Joined(waiting.clone());
        }
        let (tell, waiting) = watch::channel(None);
        flights.insert(chain, waiting.clone());
        Boarded::First(tell, waiting)
    }

    /// Whether a chain is being refreshed by this process.
    pub(crate) fn has(&self, chain: ChainId) -> bool {
        self.by_chain.lock().unwrap_or_else(PoisonError::into_inner).contains_key(&chain)
    }

    /// How many are under way.
    pub(crate) fn count(&self) -> usize {
        self.by_chain.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// The refreshes under way.
    pub(crate) fn all(&self) -> Vec<Waiting> {
        self.by_chain.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }
}

impl<'a> Landing<'a> {
    pub(crate) fn new(flights: &'a Flights, chain: ChainId, tell: watch::Sender<Option<Outcome>>) -> Self {
        Self { flights, chain, tell }
    }

    /// Tells the waiters and ends the flight. It is gone before they hear of it: whoever asks again after
    /// an outcome gets a new look at the chain.
    pub(crate) fn land(self, outcome: Outcome) {
        self.leave();
        let _ = self.tell.send(Some(outcome));
    }

    fn leave(&self) {
        self.flights.by_chain.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.chain);
    }
}

impl Drop for Landing<'_> {
    fn drop(&mut self) {
        self.leave();
    }
}

/// Waits for a flight's outcome; none where its task ended without one.
pub(crate) async fn outcome(mut waiting: Waiting) -> Option<Outcome> {
    let told = waiting.wait_for(Option::is_some).await.ok()?;
    *told
}

#[cfg(test)]
mod tests {
    //! One flight a chain, and everybody hears of its end.

    use super::{Boarded, Flights, Landing, outcome};
    use crate::machine::Outcome;
    use nightlatch_domain::{clock::Timestamp, id::ChainId};

    fn chain() -> ChainId {
        ChainId::new(Timestamp::from_millis(1), [1; 10])
    }

    #[tokio::test]
    async fn whoever_comes_second_joins_and_hears_the_same() {
        let flights = Flights::default();
        let Boarded::First(tell, first) = flights.board(chain()) else { panic!("somebody was there") };
        let Boarded::Joined(second) = flights.board(chain()) else { panic!("a second flight") };
        Landing::new(&flights, chain(), tell).land(Outcome::Refreshed);
        assert_eq!(outcome(first).await, Some(Outcome::Refreshed));
        assert_eq!(outcome(second).await, Some(Outcome::Refreshed));
        assert!(!flights.has(chain()) && matches!(flights.board(chain()), Boarded::First(..)));
    }

    #[tokio::test]
    async fn a_flight_that_ends_without_a_word_leaves_nobody_waiting() {
        let flights = Flights::default();
        let Boarded::First(tell, waiting) = flights.board(chain()) else { panic!("somebody was there") };
        drop(Landing::new(&flights, chain(), tell));
        assert_eq!(outcome(waiting).await, None);
        assert!(!flights.has(chain()));
    }
}
