//! Pace: what a caller may do a few times at once, and from then on one at a time. For what leaves something
//! behind each time (a row at the keeper, a record of its own in the ledger), so that a place that comes back
//! at once is no bound.

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

/// Until when each caller has used up its turns. Who waited long enough is forgotten.
pub(crate) struct Pace<K> {
    at_once: u32,
    every: Duration,
    used_until: Mutex<HashMap<K, Boot>>,
}

impl<K: Hash + Eq> Pace<K> {
    pub(crate) fn new(at_once: u32, every: Duration) -> Self {
        Self { at_once, every, used_until: Mutex::default() }
    }

    /// A caller's turn.
    ///
    /// # Errors
    /// [`ProblemKind::TooManyCalls`], with the seconds until there is one.
    pub(crate) fn take_turn(&self, who: K, now: Boot) -> Result<(), Problem> {
        let mut turns = self.used_until.lock().unwrap_or_else(PoisonError::into_inner);
        turns.retain(|_, used_until| *used_until > now);
        let used_until = turns.entry(who).or_insert(now);
        let early = used_until.since(now).saturating_sub(self.every * self.at_once.saturating_sub(1));
        if !early.is_zero() {
            return Err(Problem::new(ProblemKind::TooManyCalls).retry_after(whole_secs(early)));
        }
        *used_until = used_until.plus(self.every);
        Ok(())
    }
}

/// Whole seconds, and never too few.
fn whole_secs(span: Duration) -> u64 {
    u64::try_from(span.as_millis().div_ceil(1000)).unwrap_or(u64::MAX)
}
