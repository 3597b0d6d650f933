//! Whose claim may be taken over: one that this keeper saw unchanged for a whole lease.
//!
//! A claim says nothing about whether its holder lives, and two machines' wall clocks say nothing about each
//! other. So whoever takes over counts for itself: the same fence under the same owner, seen at the beginning and
//! at the end of a lease on its own boot clock, is the same claim throughout (a fence only grows), and a holder
//! counts its own deadlines from before it asked for the claim, which is earlier.

use crate::machine::LEASE;
use nightlatch_domain::{
    clock::Boot,
    id::{ChainId, OwnerId},
};
use std::collections::BTreeMap;

/// A claim, as it was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// The chain.
    pub chain: ChainId,
    /// The fence that its holder drew.
    pub fence: u64,
    /// Its holder.
    pub owner: OwnerId,
}

/// The claims that stand, and since when each was seen.
#[derive(Debug, Default)]
pub struct Watched {
    seen: BTreeMap<ChainId, (Held, Boot)>,
}

impl Watched {
    /// Takes in every claim that stands. `read_at` is the time after they were read. Those that are gone are forgotten.
    pub fn see(&mut self, held: impl IntoIterator<Item = Held>, read_at: Boot) {
        let before = std::mem::take(&mut self.seen);
        for held in held {
            let since = before.get(&held.chain).filter(|(known, _)| *known == held).map(|(_, since)| *since);
            self.seen.insert(held.chain, (held, since.unwrap_or(read_at)));
        }
    }

    /// Whether this very claim was seen for a whole lease.
    #[must_use]
    pub fn is_over(&self, held: Held, now: Boot) -> bool {
        self.seen.get(&held.chain).is_some_and(|(known, since)| *known == held && now.since(*since) >= LEASE)
    }

    /// Those that were seen for a whole lease.
    #[must_use]
    pub fn over(&self, now: Boot) -> Vec<Held> {
        let held = self.seen.values().filter(|(_, since)| now.since(*since) >= LEASE);
        held.map(|(held, _)| *held).collect()
    }
}

#[cfg(test)]
mod tests {
    //! Who did not watch a whole lease takes nothing.

    use super::{Held, Watched};
    use crate::machine::LEASE;
    use nightlatch_domain::{
        clock::{Boot, Timestamp},
        id::{ChainId, OwnerId},
    };
    use std::time::Duration;

    const T0: Boot = Boot::from_millis(1000);

    fn held(fence: u64, owner: u8) -> Held {
        let chain = ChainId::new(Timestamp::from_millis(1), [1; 10]);
        Held { chain, fence, owner: OwnerId::new(Timestamp::from_millis(1), [owner; 10]) }
    }

    fn later(secs: u64) -> Boot {
        T0.plus(Duration::from_secs(secs))
    }

    #[test]
    fn who_did_not_watch_a_lease_takes_nothing() {
        let mut watched = Watched::default();
        assert!(!watched.is_over(held(1, 1), later(600)));
        watched.see([held(1, 1)], T0);
        let almost = T0.plus(LEASE.saturating_sub(Duration::from_millis(1)));
        assert!(!watched.is_over(held(1, 1), almost) && watched.over(almost).is_empty());
        assert!(watched.is_over(held(1, 1), T0.plus(LEASE)));
        assert_eq!(watched.over(T0.plus(LEASE)), [held(1, 1)]);
    }

    #[test]
    fn another_fence_or_another_owner_is_watched_anew() {
        for other in [held(2, 1), held(1, 2)] {
            let mut watched = Watched::default();
            watched.see([held(1, 1)], T0);
            watched.see([other], later(50));
            assert!(!watched.is_over(held(1, 1), later(100)) && !watched.is_over(other, later(100)));
            assert!(watched.is_over(other, later(50).plus(LEASE)));
        }
    }

    #[test]
    fn a_claim_that_was_gone_in_between_is_watched_anew() {
        let mut watched = Watched::default();
        watched.see([held(1, 1)], T0);
        watched.see([], later(30));
        watched.see([held(1, 1)], later(31));
        assert!(!watched.is_over(held(1, 1), later(61)));
    }
}
