//! One refresh in flight for each chain, whoever asks, and detached from all of them.
//!
//! The first who asks starts a task; everybody else gets the same result. Nobody who stops waiting stops
//! the task: a refresh that was begun is carried to its end, because a cancelled exchange is a lost token.
//!
//! Nobody waits for what follows an outcome: an answer that the database has is put away after it was told. The chain's next
//! flight begins behind that.

use crate::machine::Outcome;
use nightlatch_domain::id::ChainId;
use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};
use tokio::sync::watch;

/// The refreshes under way, and those that are over and put their answer away.
#[derive(Debug, Default)]
pub(crate) struct Flights {
    by_chain: Mutex<BTreeMap<ChainId, Waiting>>,
}

/// Resolves when the refresh is over.
pub(crate) type Waiting = watch::Receiver<Option<Outcome>>;

/// A flight that is to be begun.
pub(crate) struct Opened {
    tell: watch::Sender<Option<Outcome>>,
    /// The chain's flight before it, which told its outcome and is not at its end yet.
    before: Option<Waiting>,
}

/// Held by the task of a flight: tells the waiters, also when the task ends without a word.
pub(crate) struct Landing<'a> {
    flights: &'a Flights,
    chain: ChainId,
    opened: Opened,
}

/// Whether the asker is the first.
pub(crate) enum Boarded {
    /// Yes: it must start the task, which tells the result.
    First(Opened, Waiting),
    /// A flight is under way.
    Joined(Waiting),
}

impl Flights {
    fn by_chain(&self) -> MutexGuard<'_, BTreeMap<ChainId, Waiting>> {
        self.by_chain.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Joins the flight of a chain, or opens one. Nobody joins one that told its outcome: whoever asks again after an
    /// outcome gets a new look at the chain.
    pub(crate) fn board(&self, chain: ChainId) -> Boarded {
        let mut flights = self.by_chain();
        let before = flights.get(&chain).cloned();
        if let Some(waiting) = before.clone().filter(is_under_way) {
            return Boarded::Joined(waiting);
        }
        let (tell, waiting) = watch::channel(None);
        flights.insert(chain, waiting.clone());
        Boarded::First(Opened { tell, before }, waiting)
    }

    /// Whether a chain is being refreshed by this process.
    pub(crate) fn has(&self, chain: ChainId) -> bool {
        self.by_chain().get(&chain).is_some_and(is_under_way)
    }

    /// How many are under way.
    pub(crate) fn count(&self) -> usize {
        self.by_chain().values().filter(|waiting| is_under_way(waiting)).count()
    }

    /// All that are not at their end.
    pub(crate) fn all(&self) -> Vec<Waiting> {
        self.by_chain().values().cloned().collect()
    }
}

fn is_under_way(waiting: &Waiting) -> bool {
    waiting.borrow().is_none()
}

impl<'a> Landing<'a> {
    pub(crate) fn new(flights: &'a Flights, chain: ChainId, opened: Opened) -> Self {
        Self { flights, chain, opened }
    }

    /// Done when the chain's flight before this one put its answer away: of one family's answers the later one is put
    /// away later.
    pub(crate) async fn follow(&mut self) {
        if let Some(before) = self.opened.before.take() {
            end(before).await;
        }
    }

    /// Tells the waiters. What is answered ends the flight: until then the chain's next one waits.
    pub(crate) fn land(self, outcome: Outcome) -> Self {
        self.opened.tell.send_replace(Some(outcome));
        self
    }
}

impl Drop for Landing<'_> {
    fn drop(&mut self) {
        let own = self.opened.tell.subscribe();
        let mut flights = self.flights.by_chain();
        if flights.get(&self.chain).is_some_and(|there| there.same_channel(&own)) {
            flights.remove(&self.chain);
        }
    }
}

/// Waits for a flight's end: its outcome is told by then, and its answer put away.
pub(crate) async fn end(mut waiting: Waiting) {
    while waiting.changed().await.is_ok() {}
}

/// Waits for a flight's outcome; none where its task ended without one.
pub(crate) async fn outcome(mut waiting: Waiting) -> Option<Outcome> {
    let told = waiting.wait_for(Option::is_some).await.ok()?;
    *told
}

#[cfg(test)]
mod tests {
    //! One flight a chain, and everybody hears of its end.

    use super::{Boarded, Flights, Landing, end, outcome};
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

    #[tokio::test]
    async fn the_next_flight_begins_behind_what_the_one_before_puts_away() {
        let flights = Flights::default();
        let Boarded::First(tell, first) = flights.board(chain()) else { panic!("somebody was there") };
        let landed = Landing::new(&flights, chain(), tell).land(Outcome::Refreshed);
        assert_eq!(outcome(first.clone()).await, Some(Outcome::Refreshed));
        assert!(!flights.has(chain()) && flights.count() == 0 && flights.all().len() == 1);
        let Boarded::First(tell, second) = flights.board(chain()) else { panic!("it joined what is over") };
        let mut next = Landing::new(&flights, chain(), tell);
        let begun = async {
            next.follow().await;
            next.land(Outcome::Superseded)
        };
        let mut begun = std::pin::pin!(begun);
        tokio::select! {
            biased;
            _ = &mut begun => panic!("it began before the one before was at its end"),
            () = tokio::task::yield_now() => {}
        }
        drop(landed);
        assert!(flights.has(chain()), "the end of the one before ends no other");
        let landed = begun.await;
        drop(landed);
        end(first).await;
        assert_eq!(outcome(second).await, Some(Outcome::Superseded));
        assert!(flights.all().is_empty());
    }
}
