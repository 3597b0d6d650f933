//! Rows in the order of their keys, in hardly more room than they take.
//!
//! The log of a million chains is a few million rows in memory. A tree of the standard library that is filled in order leaves
//! its leaves half empty, and a table that doubles holds itself twice while it does. Here rows lie in short runs, of which a
//! full one that grows at its end is left full; keys apart from values, so that neither is padded for the other.

/// Rows of a run. It is what an insertion moves, and what is allocated at once.
const RUN_MAX: usize = 256;

/// A map. No key is in it twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rows<K, V> {
    /// None is empty, and each one's keys are below those of the next.
    runs: Vec<Run<K, V>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Run<K, V> {
    keys: Vec<K>,
    values: Vec<V>,
}

impl<K, V> Default for Rows<K, V> {
    fn default() -> Self {
        Self { runs: Vec::new() }
    }
}

impl<K: Ord + Copy, V: Copy> Rows<K, V> {
    pub(super) fn get(&self, key: &K) -> Option<&V> {
        let run = self.runs.get(self.run_of(key))?;
        run.values.get(run.keys.binary_search(key).ok()?)
    }

    pub(super) fn insert(&mut self, key: K, value: V) {
        // What is above all of them belongs to the last.
        let number = self.run_of(&key).min(self.runs.len().saturating_sub(1));
        let Some(run) = self.runs.get_mut(number) else {
            self.runs.push(Run { keys: vec![key], values: vec![value] });
            return;
        };
        let at = match run.keys.binary_search(&key) {
            Ok(at) => {
                if let Some(there) = run.values.get_mut(at) {
                    *there = value;
                }
                return;
            }
            Err(at) => at,
        };
        if run.keys.len() < RUN_MAX {
            run.insert(at, key, value);
            return;
        }
        // Rows that come in order leave full runs behind them.
        let half = if at == RUN_MAX { at } else { RUN_MAX / 2 };
        let mut upper = Run { keys: run.keys.split_off(half), values: run.values.split_off(half) };
        match at.checked_sub(half) {
            Some(at) => upper.insert(at, key, value),
            None => run.insert(at, key, value),
        }
        self.runs.insert(number + 1, upper);
    }

    /// Keeps what `is_kept` says, and closes up what is left.
    pub(super) fn retain(&mut self, mut is_kept: impl FnMut(&K, &V) -> bool) {
        let mut left: Vec<Run<K, V>> = Vec::new();
        for mut run in std::mem::take(&mut self.runs) {
            let kept: Vec<bool> = run.rows().map(|(key, value)| is_kept(key, value)).collect();
            if kept.contains(&false) {
                let mut each = kept.iter().copied();
                run.keys.retain(|_| each.next().unwrap_or(true));
                let mut each = kept.iter().copied();
                run.values.retain(|_| each.next().unwrap_or(true));
            }
            match left.last_mut() {
                _ if run.keys.is_empty() => {}
                Some(last) if last.keys.len() + run.keys.len() <= RUN_MAX => {
                    last.keys.append(&mut run.keys);
                    last.values.append(&mut run.values);
                }
                _ => left.push(run),
            }
        }
        self.runs = left;
    }

    pub(super) fn clear(&mut self) {
        self.runs.clear();
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.runs.iter().flat_map(Run::rows)
    }

    /// Those above a key.
    pub(super) fn after(&self, key: Option<K>) -> impl Iterator<Item = (&K, &V)> {
        let from = key.map_or(0, |key| self.run_of(&key));
        let rest = self.runs.get(from..).unwrap_or_default().iter().flat_map(Run::rows);
        rest.skip_while(move |(one, _)| key.is_some_and(|key| **one <= key))
    }

    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.runs.iter_mut().flat_map(|run| run.values.iter_mut())
    }

    /// The run that a key is in, if it is in any.
    fn run_of(&self, key: &K) -> usize {
        self.runs.partition_point(|run| run.keys.last().is_some_and(|last| last < key))
    }
}

impl<K, V> Run<K, V> {
    fn insert(&mut self, at: usize, key: K, value: V) {
        self.keys.insert(at, key);
        self.values.insert(at, value);
    }

    fn rows(&self) -> impl Iterator<Item = (&K, &V)> {
        self.keys.iter().zip(&self.values)
    }
}

#[cfg(test)]
mod tests {
    //! They are a map in order, whatever is done with them in whichever order, and full where they came in order.

    use super::{RUN_MAX, Rows};
    use proptest::prelude::{ProptestConfig, Strategy, any, prop, prop_oneof};
    use std::collections::BTreeMap;

    #[derive(Debug, Clone, Copy)]
    enum Done {
        Put(u16, u8),
        /// Those of which the value is not divisible by it.
        Thinned(u8),
        Altered,
    }

    fn done() -> impl Strategy<Value = Done> {
        prop_oneof![
            100 => (0..900u16, any::<u8>()).prop_map(|(key, value)| Done::Put(key, value)),
            1 => (2..5u8).prop_map(Done::Thinned),
            1 => prop::strategy::Just(Done::Altered),
        ]
    }

    fn is_sound(rows: &Rows<u16, u8>) -> bool {
        rows.runs.iter().all(|run| {
            let len = run.keys.len();
            (1..=RUN_MAX).contains(&len) && len == run.values.len()
        })
    }

    proptest::proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(32) })]
        #[test]
        fn rows_are_what_a_map_is(all in prop::collection::vec(done(), 1..2500)) {
            let (mut rows, mut map) = (Rows::default(), BTreeMap::new());
            for one in all {
                match one {
                    Done::Put(key, value) => {
                        rows.insert(key, value);
                        map.insert(key, value);
                    }
                    Done::Thinned(by) => {
                        rows.retain(|key, value| (u16::from(*value) + key) % u16::from(by) != 0);
                        map.retain(|key, value| (u16::from(*value) + key) % u16::from(by) != 0);
                    }
                    Done::Altered => {
                        rows.values_mut().for_each(|value| *value ^= 1);
                        map.values_mut().for_each(|value| *value ^= 1);
                    }
                }
            }
            assert!(is_sound(&rows));
            assert!(rows.iter().eq(&map));
            for key in (0..900).step_by(7) {
                assert_eq!(rows.get(&key), map.get(&key));
                assert!(rows.after(Some(key)).eq(map.range(key + 1..)));
            }
            assert!(rows.after(None).eq(&map));
            rows.clear();
            assert!(rows.iter().next().is_none() && rows.get(&1).is_none());
        }
    }

    #[test]
    fn what_came_in_order_lies_in_full_runs_and_what_was_thinned_closes_up() {
        let mut rows = Rows::default();
        (0..10_000u32).for_each(|key| rows.insert(key, key));
        assert_eq!(rows.runs.len(), 10_000usize.div_ceil(RUN_MAX));
        rows.retain(|key, _| key % 10 == 0);
        assert!(rows.runs.len() <= 2 * 1000usize.div_ceil(RUN_MAX), "{}", rows.runs.len());
        assert!(rows.iter().map(|(key, _)| *key).eq((0..10_000).step_by(10)));
    }
}
