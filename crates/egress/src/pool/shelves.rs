//! The books of the pool: what is open, what is idle, which calls are on their way.

use super::{
    PoolKey, PoolLimits,
    line::{Line, Live, Sender},
};
use crate::{destination::Destination, error::EgressError, quick::Quick};
use nightlatch_domain::clock::Boot;
use std::sync::Arc;

struct Shelved {
    sender: Sender,
    live: Arc<Live>,
    since: Boot,
}

impl Shelved {
    fn is_stale(&self, now: Boot, limits: &PoolLimits) -> bool {
        self.sender.is_closed() || (!self.live.is_busy() && now.since(self.since) >= limits.idle_for)
    }
}

struct ErrandNote {
    key: PoolKey,
    cut: bool,
}

/// Everything that the pool knows, under its one lock.
#[derive(Default)]
pub(crate) struct Shelves {
    idle: Quick<(PoolKey, Destination), Vec<Shelved>>,
    idle_count: usize,
    open: Quick<u64, Arc<Live>>,
    reserved: usize,
    errands: Quick<u64, ErrandNote>,
    numbers: u64,
    sweeping: bool,
}

impl Shelves {
    pub(crate) fn next_number(&mut self) -> u64 {
        self.numbers = self.numbers.wrapping_add(1);
        self.numbers
    }

    pub(crate) fn begin_errand(&mut self, key: PoolKey) -> u64 {
        let number = self.next_number();
        self.errands.insert(number, ErrandNote { key, cut: false });
        number
    }

    pub(crate) fn end_errand(&mut self, number: u64) {
        self.errands.remove(&number);
    }

    /// Whether a call's key was closed since it began. A call that is not known counts as closed.
    pub(crate) fn is_cut(&self, number: u64) -> bool {
        self.errands.get(&number).is_none_or(|errand| errand.cut)
    }

    /// Takes an idle connection of this key, the one used last first: the others may then age and go.
    pub(crate) fn take(
        &mut self,
        key: &PoolKey,
        to: &Destination,
        now: Boot,
        limits: &PoolLimits,
    ) -> Option<Line> {
        let place = (*key, to.clone());
        let shelf = self.idle.get_mut(&place)?;
        let mut found = None;
        while let Some(shelved) = shelf.pop() {
            self.idle_count = self.idle_count.saturating_sub(1);
            if shelved.is_stale(now, limits) {
                shelved.live.cut();
                continue;
            }
            if let Some(another) = shelved.sender.another() {
                found = Some(Line::new(another, Arc::clone(&shelved.live)));
                shelf.push(Shelved { since: now, ..shelved });
                self.idle_count += 1;
            } else {
                found = Some(Line::new(shelved.sender, shelved.live));
            }
            break;
        }
        if shelf.is_empty() {
            self.idle.remove(&place);
        }
        found
    }

    /// Puts a connection on its shelf, where there is room and it is still open.
    pub(crate) fn put(&mut self, sender: Sender, live: Arc<Live>, now: Boot, limits: &PoolLimits) {
        let known = self.open.contains_key(&live.number);
        let shelf = self.idle.entry((live.key, live.to.clone())).or_default();
        let room = shelf.len() < limits.idle_each_max && self.idle_count < limits.idle_max;
        if known && room && !sender.is_closed() {
            shelf.push(Shelved { sender, live, since: now });
            self.idle_count += 1;
            return;
        }
        if shelf.is_empty() {
            self.idle.remove(&(live.key, live.to.clone()));
        }
        live.cut();
    }

    /// Notes a place for a connection that is about to be made.
    pub(crate) fn reserve(&mut self, limits: &PoolLimits) -> Result<(), EgressError> {
        if self.open.len() + self.reserved >= limits.open_max {
            return Err(EgressError::PoolFull(limits.open_max));
        }
        self.reserved += 1;
        Ok(())
    }

    pub(crate) fn release(&mut self) {
        self.reserved = self.reserved.saturating_sub(1);
    }

    /// Adds an open connection; `shared` is the handle of one that carries many calls at once.
    pub(crate) fn add(&mut self, live: Arc<Live>, shared: Option<Sender>, now: Boot) {
        self.open.insert(live.number, Arc::clone(&live));
        let Some(sender) = shared else { return };
        let place = (live.key, live.to.clone());
        self.idle.entry(place).or_default().push(Shelved { sender, live, since: now });
        self.idle_count += 1;
    }

    pub(crate) fn strike_off(&mut self, number: u64) {
        let Some(live) = self.open.remove(&number) else { return };
        let place = (live.key, live.to.clone());
        self.keep_of(&place, |shelved| shelved.live.number != number);
    }

    pub(crate) fn open_count(&self) -> usize {
        self.open.len()
    }

    /// Cuts every connection whose key is meant, and every call that has none yet.
    pub(crate) fn close(&mut self, meant: impl Fn(&PoolKey) -> bool) {
        for errand in self.errands.values_mut().filter(|errand| meant(&errand.key)) {
            errand.cut = true;
        }
        for live in self.open.values().filter(|live| meant(&live.key)) {
            live.cut();
        }
        let places: Vec<_> = self.idle.keys().filter(|place| meant(&place.0)).cloned().collect();
        for place in places {
            self.keep_of(&place, |_| false);
        }
    }

    /// Whether the caller is the one who begins to sweep.
    pub(crate) fn begin_sweeping(&mut self) -> bool {
        !std::mem::replace(&mut self.sweeping, true)
    }

    /// Cuts what has been idle for too long; true when nothing is open and the sweeping ends.
    pub(crate) fn sweep(&mut self, now: Boot, limits: &PoolLimits) -> bool {
        let places: Vec<_> = self.idle.keys().cloned().collect();
        for place in places {
            self.keep_of(&place, |shelved| {
                let stale = shelved.is_stale(now, limits);
                if stale {
                    shelved.live.cut();
                }
                !stale
            });
        }
        self.sweeping = !self.open.is_empty();
        !self.sweeping
    }

    fn keep_of(&mut self, place: &(PoolKey, Destination), keep: impl FnMut(&Shelved) -> bool) {
        let Some(shelf) = self.idle.get_mut(place) else { return };
        let before = shelf.len();
        shelf.retain(keep);
        self.idle_count = self.idle_count.saturating_sub(before - shelf.len());
        if shelf.is_empty() {
            self.idle.remove(place);
        }
    }
}
