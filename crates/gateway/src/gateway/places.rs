//! Places: how many connections anybody may hold, so that nobody holds all of them.
//!
//! A place under `connections_max` is taken before a socket is accepted. Here it is divided once the
//! handshake has said who it is: whoever is not enrolled shares half of them, and one key at one address
//! has a bounded number. A new key costs nothing to make, which is why the strangers' share is one for all.

use crate::{limits::Limits, peer::Peer};
use nightlatch_domain::principal::Binding;
use nightlatch_ledger::facts::Source;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

type Holder = (Source, Option<Binding>);

/// Who holds how many.
#[derive(Default)]
pub(crate) struct Places(Mutex<Counts>);

#[derive(Default)]
struct Counts {
    each: HashMap<Holder, usize>,
    strangers: usize,
}

/// One connection's place; it is given back when this is dropped.
pub(super) struct Place {
    places: Arc<Places>,
    holder: Holder,
    is_stranger: bool,
}

impl Places {
    /// A place for this peer; none where it, or all strangers together, hold enough.
    pub(super) fn take(self: &Arc<Self>, peer: &Peer, is_stranger: bool, limits: &Limits) -> Option<Place> {
        let holder = (peer.source, peer.binding.clone());
        let mut counts = self.counts();
        if is_stranger && counts.strangers >= limits.connections_max.div_ceil(2) {
            return None;
        }
        let held = counts.each.entry(holder.clone()).or_default();
        if *held >= limits.connections_each_max {
            return None;
        }
        *held += 1;
        counts.strangers += usize::from(is_stranger);
        Some(Place { places: Arc::clone(self), holder, is_stranger })
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.places.counts();
        counts.strangers -= usize::from(self.is_stranger);
        let Some(held) = counts.each.get_mut(&self.holder) else { return };
        *held -= 1;
        if *held == 0 {
            counts.each.remove(&self.holder);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Places;
    use crate::{doors::local::Names, limits::Limits, peer::Peer};
    use nightlatch_domain::principal::Binding;
    use nightlatch_ledger::facts::Source;
    use std::sync::Arc;

    fn peer(uid: u32) -> Peer {
        Peer {
            binding: Some(Binding::Uid { uid }),
            source: Source::Uid(uid),
            server_name: None,
            names: Arc::new(Names::new(&[], None)),
        }
    }

    #[test]
    fn strangers_share_half_and_nobody_holds_more_than_its_own() {
        let limits = Limits { connections_max: 6, connections_each_max: 2, ..Limits::default() };
        let places = Arc::new(Places::default());
        let take = |uid, is_stranger| places.take(&peer(uid), is_stranger, &limits);
        let mut held = vec![take(1, true).unwrap(), take(1, true).unwrap(), take(2, true).unwrap()];
        assert!(take(3, true).is_none(), "a fourth stranger");
        held.extend([take(4, false).unwrap(), take(4, false).unwrap()]);
        assert!(take(4, false).is_none(), "a third place for one");
        drop(held);
        assert!(take(3, true).is_some() && take(4, false).is_some());
        assert!(places.counts().each.is_empty() && places.counts().strangers == 0);
    }
}
