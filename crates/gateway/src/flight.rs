//! One at a time per key: whoever comes while an errand is under way waits for its answer.
//!
//! The errand runs by itself and not in its first caller: a caller that goes away takes nobody's answer
//! along. Failures are shared like successes, so that two hundred waiters do not try one after another.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::watch;

type Waiting<T> = watch::Receiver<Option<T>>;

/// The errands under way.
pub(crate) struct Flights<K, T>(Arc<Mutex<HashMap<K, Waiting<T>>>>);

impl<K, T> Default for Flights<K, T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<K, T> Flights<K, T>
where
    K: Clone + Eq + Hash + Send + 'static,
    T: Clone + Send + Sync + 'static,
{
    /// The answer of the errand under this key: of the one that is under way, else of `errand`. None where
    /// the errand died, which is no answer.
    pub(crate) async fn join(&self, key: K, errand: impl Future<Output = T> + Send + 'static) -> Option<T> {
        let mut waiting = self.enter(key, errand);
        let answered = waiting.wait_for(Option::is_some).await.ok()?;
        answered.clone()
    }

    fn enter(&self, key: K, errand: impl Future<Output = T> + Send + 'static) -> Waiting<T> {
        let mut flights = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(waiting) = flights.get(&key) {
            return waiting.clone();
        }
        let (told, waiting) = watch::channel(None);
        flights.insert(key.clone(), waiting.clone());
        let landing = Landing { flights: Arc::clone(&self.0), key };
        tokio::spawn(async move {
            let landing = landing;
            let answer = errand.await;
            drop(landing);
            told.send_replace(Some(answer));
        });
        waiting
    }
}

/// Takes the errand off the list, also where it died.
struct Landing<K: Eq + Hash, T> {
    flights: Arc<Mutex<HashMap<K, Waiting<T>>>>,
    key: K,
}

impl<K: Eq + Hash, T> Drop for Landing<K, T> {
    fn drop(&mut self) {
        self.flights.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::Flights;
    use std::sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    };
    use tokio::sync::Notify;

    #[tokio::test]
    async fn a_hundred_callers_make_one_errand() {
        let (flights, runs, gate) =
            (Arc::new(Flights::default()), Arc::new(AtomicU32::new(0)), Arc::new(Notify::new()));
        let callers: Vec<_> = (0..100)
            .map(|_| {
                let (flights, runs, gate) = (Arc::clone(&flights), Arc::clone(&runs), Arc::clone(&gate));
                tokio::spawn(async move {
                    let errand = async move {
                        gate.notified().await;
                        runs.fetch_add(1, Ordering::SeqCst)
                    };
                    flights.join("key", errand).await
                })
            })
            .collect();
        tokio::task::yield_now().await;
        gate.notify_one();
        for caller in callers {
            assert_eq!(caller.await.unwrap(), Some(0));
        }
        assert_eq!(runs.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn a_caller_that_goes_away_takes_nobodys_answer_along() {
        let (flights, gate) = (Arc::new(Flights::default()), Arc::new(Notify::new()));
        let errand = {
            let gate = Arc::clone(&gate);
            async move { gate.notified().await }
        };
        let first = tokio::spawn({
            let flights = Arc::clone(&flights);
            async move { flights.join(1, errand).await }
        });
        tokio::task::yield_now().await;
        let second = flights.join(1, async {});
        first.abort();
        gate.notify_one();
        assert_eq!(second.await, Some(()));
    }

    #[tokio::test]
    async fn an_errand_that_died_is_no_answer_and_blocks_no_later_one() {
        let flights = Flights::default();
        let died = flights.join(1, async { std::panic::resume_unwind(Box::new("died")) }).await;
        assert_eq!(died, None::<u8>);
        assert_eq!(flights.join(1, async { 7 }).await, Some(7));
    }
}
