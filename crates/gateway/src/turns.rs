//! Turns: what a caller may do a few times at once, and from then on one at a time. For what leaves something
//! behind each time (a row at the keeper, a record of its own in the ledger), so that a place that comes back
//! at once is no bound.

use crate::brakes::{Due, Pace};
use nightlatch_domain::{
    clock::Boot,
    problem::{Problem, ProblemKind},
};
use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// The turns that each caller has used up. Who waited long enough is forgotten.
pub(crate) struct Turns<K> {
    pace: Pace,
    used: Mutex<HashMap<K, Due>>,
}

impl<K: Hash + Eq> Turns<K> {
    pub(crate) fn new(at_once: u32, every: Duration) -> Self {
        Self { pace: Pace { interval: every, burst: at_once, at_once }, used: Mutex::default() }
    }

    /// A caller's turn.
    ///
    /// # Errors
    /// [`ProblemKind::TooManyCalls`], with the seconds until there is one.
    pub(crate) fn take_turn(&self, who: K, now: Boot) -> Result<(), Problem> {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        used.retain(|_, due| !due.is_idle(now));
        let due = used.entry(who).or_default();
        let early = due.wait(self.pace, now);
        if !early.is_zero() {
            return Err(Problem::new(ProblemKind::TooManyCalls).retry_after(whole_secs(early)));
        }
        due.take(self.pace, now);
        Ok(())
    }
}

/// Whole seconds, and never too few.
fn whole_secs(span: Duration) -> u64 {
    u64::try_from(span.as_millis().div_ceil(1000)).unwrap_or(u64::MAX)
}
