//! One table: rows by key, and what each change took the place of, so that a transaction can be taken back.

use std::{
    collections::{BTreeMap, VecDeque, btree_map},
    ops::RangeBounds,
};

/// Rows by key.
#[derive(Debug, Clone)]
pub(super) struct Table<K, V> {
    rows: BTreeMap<K, V>,
    /// The transaction, the key, and what stood there before.
    before: VecDeque<(u64, K, Option<V>)>,
    transaction: u64,
}

impl<K, V> Default for Table<K, V> {
    fn default() -> Self {
        Self { rows: BTreeMap::new(), before: VecDeque::new(), transaction: 0 }
    }
}

impl<K: Ord + Clone, V: Clone> Table<K, V> {
    pub(super) fn get(&self, key: &K) -> Option<&V> {
        self.rows.get(key)
    }

    pub(super) fn holds(&self, key: &K) -> bool {
        self.rows.contains_key(key)
    }

    pub(super) fn values(&self) -> btree_map::Values<'_, K, V> {
        self.rows.values()
    }

    pub(super) fn iter(&self) -> btree_map::Iter<'_, K, V> {
        self.rows.iter()
    }

    pub(super) fn range(&self, keys: impl RangeBounds<K>) -> btree_map::Range<'_, K, V> {
        self.rows.range(keys)
    }

    pub(super) fn put(&mut self, key: K, row: V) {
        let before = self.rows.insert(key.clone(), row);
        self.before.push_back((self.transaction, key, before));
    }

    pub(super) fn take(&mut self, key: &K) -> Option<V> {
        let taken = self.rows.remove(key)?;
        self.before.push_back((self.transaction, key.clone(), Some(taken.clone())));
        Some(taken)
    }

    /// Changes a row that is there; `false` where it is not.
    pub(super) fn change(&mut self, key: &K, change: impl FnOnce(&mut V)) -> bool {
        let Some(row) = self.rows.get_mut(key) else { return false };
        self.before.push_back((self.transaction, key.clone(), Some(row.clone())));
        change(row);
        true
    }

    /// Takes away every row of which this holds.
    pub(super) fn forget(&mut self, goes: impl Fn(&K, &V) -> bool) {
        let keys: Vec<K> =
            self.rows.iter().filter(|(key, row)| goes(key, row)).map(|(key, _)| key.clone()).collect();
        for key in keys {
            self.take(&key);
        }
    }
}

/// A table as a transaction sees it, whatever is in it.
pub(super) trait Kept {
    /// What is changed from now on belongs to this transaction. What is older than `horizon` cannot be taken back any more.
    fn begin(&mut self, transaction: u64, horizon: u64);
    /// Takes back every change of this transaction and of later ones.
    fn take_back(&mut self, from: u64);
}

impl<K: Ord + Clone, V: Clone> Kept for Table<K, V> {
    fn begin(&mut self, transaction: u64, horizon: u64) {
        self.transaction = transaction;
        while self.before.front().is_some_and(|(older, ..)| *older < horizon) {
            self.before.pop_front();
        }
    }

    fn take_back(&mut self, from: u64) {
        while let Some((transaction, key, before)) = self.before.pop_back() {
            if transaction < from {
                self.before.push_back((transaction, key, before));
                return;
            }
            match before {
                Some(row) => self.rows.insert(key, row),
                None => self.rows.remove(&key),
            };
        }
    }
}
