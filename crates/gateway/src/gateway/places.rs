//! Places: how many connections anybody may hold, so that nobody holds all of them.
//!
//! A place under `connections_max` is taken before a socket is accepted. Here it is divided once the
//! handshake has said who it is: an enrolled key has a bounded number, from wherever it comes, since one machine
//! has as many loopback addresses as it likes. Whoever is not enrolled shares half of them, and one address has
//! a bounded number of those: a new key costs nothing to make, which is why it does not count there.
//! Tunnels are counted apart: one connection may carry many, and each costs as much as a connection.

use crate::{limits::Limits, peer::Peer};
use nightlatch_domain::principal::Binding;
use nightlatch_ledger::facts::Source;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Whose a place is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Holder {
    /// An enrolled key or user's.
    Enrolled(Binding),
    /// Of whoever comes from there.
    From(Source),
}

impl Holder {
    fn of(peer: &Peer, is_stranger: bool) -> Self {
        let binding = peer.binding.as_ref().filter(|_| !is_stranger);
        binding.map_or(Self::From(peer.source), |binding| Self::Enrolled(binding.clone()))
    }
}

/// Who holds how many.
#[derive(Default)]
pub(crate) struct Places(Mutex<Counts>);

#[derive(Default)]
struct Counts {
    each: HashMap<Holder, usize>,
    strangers: usize,
    tunnels: usize,
    tunnels_each: HashMap<Holder, usize>,
}

/// One tunnel's place; it is given back when this is dropped.
pub(crate) struct TunnelPlace {
    places: Arc<Places>,
    holder: Holder,
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
        let holder = Holder::of(peer, is_stranger);
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

    /// A place for a tunnel of this peer, which was admitted; none where it, or all together, hold enough.
    pub(crate) fn take_tunnel(self: &Arc<Self>, peer: &Peer, limits: &Limits) -> Option<TunnelPlace> {
        let holder = Holder::of(peer, false);
        let mut counts = self.counts();
        let held = counts.tunnels_each.get(&holder).copied().unwrap_or_default();
        if counts.tunnels >= limits.tunnels_max || held >= limits.tunnels_each_max {
            return None;
        }
        counts.tunnels_each.insert(holder.clone(), held + 1);
        counts.tunnels += 1;
        Some(TunnelPlace { places: Arc::clone(self), holder })
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.places.counts();
        counts.strangers -= usize::from(self.is_stranger);
        give_back(&mut counts.each, &self.holder);
    }
}

impl Drop for TunnelPlace {
    fn drop(&mut self) {
        let mut counts = self.places.counts();
        counts.tunnels -= 1;
        give_back(&mut counts.tunnels_each, &self.holder);
    }
}

fn give_back(each: &mut HashMap<Holder, usize>, holder: &Holder) {
    let Some(held) = each.get_mut(holder) else { return };
    *held -= 1;
    if *held == 0 {
        each.remove(holder);
    }
}

#[cfg(test)]
mod tests {
    use super::Places;
    use crate::{
        doors::local::Names,
        limits::Limits,
        peer::{Peer, Through},
    };
    use nightlatch_domain::principal::Binding;
    use nightlatch_ledger::facts::Source;
    use std::sync::Arc;

    fn peer(uid: u32) -> Peer {
        at(uid, Source::Uid(uid))
    }

    fn at(uid: u32, source: Source) -> Peer {
        Peer {
            binding: Some(Binding::Uid { uid }),
            source,
            public_key: None,
            server_name: None,
            names: Arc::new(Names::new(&[], None)),
            through: Through::Listener,
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

    #[test]
    fn an_enrolled_key_has_its_own_places_and_no_more_from_wherever_it_comes() {
        let limits = Limits { connections_each_max: 2, tunnels_each_max: 2, ..Limits::default() };
        let places = Arc::new(Places::default());
        let from = |end| at(1, Source::Address([127, 0, 0, end].into()));
        let _held = [1, 2].map(|end| places.take(&from(end), false, &limits).unwrap());
        assert!(places.take(&from(3), false, &limits).is_none());
        let _tunnels = [1, 2].map(|end| places.take_tunnel(&from(end), &limits).unwrap());
        assert!(places.take_tunnel(&from(3), &limits).is_none());
    }

    #[test]
    fn strangers_at_one_address_have_its_places_and_no_more_by_however_many_keys() {
        let limits = Limits { connections_each_max: 2, ..Limits::default() };
        let places = Arc::new(Places::default());
        let (one, other) = (Source::Address([127, 0, 0, 1].into()), Source::Address([127, 0, 0, 2].into()));
        let _held = [1, 2].map(|uid| places.take(&at(uid, one), true, &limits).unwrap());
        assert!(places.take(&at(3, one), true, &limits).is_none());
        assert!(places.take(&at(3, other), true, &limits).is_some());
        // Whoever is enrolled is none of them.
        assert!(places.take(&at(1, one), false, &limits).is_some());
    }

    #[test]
    fn tunnels_are_bounded_for_each_and_for_all() {
        let limits = Limits { tunnels_max: 3, tunnels_each_max: 2, ..Limits::default() };
        let places = Arc::new(Places::default());
        let take = |uid| places.take_tunnel(&peer(uid), &limits);
        let held = [take(1).unwrap(), take(1).unwrap()];
        assert!(take(1).is_none(), "a third tunnel for one");
        let other = take(2).unwrap();
        assert!(take(3).is_none(), "a fourth tunnel");
        drop((held, other));
        assert!(take(1).is_some());
        assert!(places.counts().tunnels_each.is_empty() && places.counts().tunnels == 0);
    }
}
