//! Refresh tokens that another system held come in, each to become a connection.
//!
//! - [`taking`]: a batch of sealed rows becomes rows of the store, once each;
//! - [`plan`]: what of a row is believed, and what the log knows a token by;
//! - [`worker`]: whose turn it is;
//! - [`exchange`]: one token's presentation, which is the proof that it is good;
//! - [`lost`]: what follows where its answer is lost;
//! - [`brake`]: nothing is presented by the thousand that nobody has seen work.
//!
//! A token that is brought in was somebody else's until now. So the first refresh is the proof, and it follows the rules of
//! every other: intent and log before the first byte, the answer durable before it is read, at most one retry, and that
//! only where the profile's verified facts allow it. Whose account it is, the tool says with what the answer brought.

mod brake;
mod exchange;
mod lost;
mod plan;
mod taking;
mod worker;

pub(crate) use plan::answer_in;
pub(crate) use taking::take_in;
pub(crate) use worker::run;

use brake::Brakes;
use nightlatch_domain::{
    clock::Boot,
    id::{AttemptId, FlowId},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::{Notify, Semaphore};

/// Presentations of imports at one provider at once: half of what it gets at once, so that what lives is refreshed beside.
const LANES_OF_HOST: usize = 4;

/// What is in memory of imports.
#[derive(Default)]
pub(crate) struct Imports {
    inner: Mutex<Inner>,
    pub(crate) brakes: Brakes,
    /// Told when some were brought.
    brought: Notify,
    /// Told when one is done.
    done: Notify,
}

#[derive(Default)]
struct Inner {
    flying: BTreeSet<FlowId>,
    lanes: BTreeMap<String, Arc<Semaphore>>,
    /// Presentations of other keepers.
    others: BTreeMap<FlowId, Other>,
    /// Whether something could not be written since this was asked last.
    is_held_up: bool,
}

/// A presentation of another keeper: since when it is seen, and when it was seen last.
struct Other {
    attempt: AttemptId,
    since: Boot,
    last: Boot,
}

impl Imports {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn flying(&self) -> usize {
        self.inner().flying.len()
    }

    fn board(&self, import: FlowId) -> bool {
        self.inner().flying.insert(import)
    }

    fn land(&self, import: FlowId) {
        self.inner().flying.remove(&import);
        let left = self.flying();
        if left == 0 || left == worker::FLYING_FEW {
            self.done.notify_one();
        }
    }

    fn lane(&self, origin: &str) -> Arc<Semaphore> {
        let mut inner = self.inner();
        let lane = inner.lanes.entry(origin.to_owned());
        Arc::clone(lane.or_insert_with(|| Arc::new(Semaphore::new(LANES_OF_HOST))))
    }

    /// Since when this very presentation of another keeper is seen.
    fn seen_since(&self, import: FlowId, attempt: AttemptId, now: Boot) -> Boot {
        let mut inner = self.inner();
        let fresh = || Other { attempt, since: now, last: now };
        let seen = inner.others.entry(import).or_insert_with(fresh);
        if seen.attempt != attempt {
            *seen = fresh();
        }
        seen.last = now;
        seen.since
    }

    /// Forgets presentations of other keepers that were seen no more.
    fn forget_others(&self, now: Boot) {
        self.inner().others.retain(|_, other| now.since(other.last) < lost::OTHER_GONE);
    }

    /// Something could not be written, and is due still.
    fn hold_up(&self) {
        self.inner().is_held_up = true;
    }

    fn was_held_up(&self) -> bool {
        std::mem::take(&mut self.inner().is_held_up)
    }
}

#[cfg(test)]
mod tests {
    use super::{Imports, lost::OTHER_GONE};
    use nightlatch_domain::{
        clock::{Boot, Timestamp},
        id::{AttemptId, FlowId},
    };
    use std::time::Duration;

    #[test]
    fn what_another_keeper_presents_is_known_since_when_and_forgotten_when_it_is_seen_no_more() {
        let at = Timestamp::from_millis(0);
        let (imports, one) = (Imports::default(), FlowId::new(at, [1; 10]));
        let [first, second] = [1, 2].map(|number| AttemptId::new(at, [number; 10]));
        let start = Boot::from_millis(1000);
        let later = start.plus(OTHER_GONE - Duration::from_secs(1));
        assert_eq!(imports.seen_since(one, first, start), start);
        imports.forget_others(later);
        assert_eq!(imports.seen_since(one, first, later), start);
        assert_eq!(imports.seen_since(one, second, later), later, "it is another presentation");
        imports.forget_others(later.plus(OTHER_GONE));
        assert!(imports.inner().others.is_empty());
    }
}
