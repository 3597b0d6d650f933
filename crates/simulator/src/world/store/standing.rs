//! How the history stands, and which keepers' logs were held against it.

use super::rows::Rows;
use nightlatch_domain::{
    id::KeeperId,
    ports::store::{Registered, Standing, StoreError},
};

pub(super) fn standing(rows: &Rows) -> Result<Standing, StoreError> {
    let installation = rows.tables.installation.get(&()).ok_or(StoreError::Missing("installation"))?;
    let keepers = rows.tables.keepers.values().copied().collect();
    let took_over = !is_incarnation(rows);
    Ok(Standing { era: installation.era, took_over, mark: rows.counter().mark, keepers })
}

pub(super) fn register(
    rows: &mut Rows,
    keeper: KeeperId,
    fresh: bool,
    alone: bool,
) -> Result<(), StoreError> {
    let era = standing(rows)?.era;
    if alone {
        let others: Vec<_> = rows.tables.keepers.values().map(|row| row.keeper).collect();
        for other in others.into_iter().filter(|other| *other != keeper) {
            rows.tables.keepers.take(&other);
        }
    }
    if !rows.tables.keepers.holds(&keeper) {
        let tables = &rows.tables;
        let is_new = tables.families.values().next().is_none() && tables.imports.values().next().is_none();
        let vouched = !fresh || is_new;
        let row = Registered { keeper, compared: if fresh { era } else { 0 }, vouched };
        rows.tables.keepers.put(keeper, row);
        rows.go_on();
    }
    Ok(())
}

pub(super) fn compared(rows: &mut Rows, keeper: KeeperId, era: u64) -> Result<bool, StoreError> {
    if standing(rows)?.era != era {
        return Ok(false);
    }
    let done = rows.tables.keepers.change(&keeper, |row| row.compared = era);
    if done {
        rows.go_on();
    }
    Ok(done)
}

/// Whether the server is still the one that the era began at.
pub(super) fn is_incarnation(rows: &Rows) -> bool {
    rows.tables.incarnation.get(&()).copied().unwrap_or_default() == rows.incarnation
}

/// Whether every registered log was compared in this era.
pub(super) fn is_settled(rows: &Rows, era: u64) -> bool {
    rows.tables.keepers.values().all(|row| row.compared >= era)
}

pub(super) fn forget(rows: &mut Rows, seen: Registered, era: u64) -> Result<bool, StoreError> {
    let is_as_seen = rows.tables.keepers.get(&seen.keeper) == Some(&seen);
    if !is_as_seen || standing(rows)?.era != era {
        return Ok(false);
    }
    rows.tables.keepers.take(&seen.keeper);
    rows.go_on();
    Ok(true)
}
