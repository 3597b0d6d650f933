//! Following the feed: a snapshot, then each change by its number.

use super::{Directory, Tables};
use nightlatch_domain::ports::store::{DirectoryStore, EntityId, StoreError};
use std::{sync::Arc, time::Duration};

/// How long one wait for a change lasts: the feed is looked at this often even when nothing happens,
/// which keeps the directory well inside its staleness bound.
const WAIT_MILLIS: u64 = 1000;
/// Changes that are read at once.
const CHANGES_MAX: u32 = 512;
/// Between two tries after a failure of the store.
const PAUSE: Duration = Duration::from_millis(100);

pub(super) async fn follow(directory: &Directory, store: &dyn DirectoryStore) {
    let mut loaded = false;
    loop {
        match step(directory, store, loaded).await {
            Ok(()) => loaded = true,
            Err(Missed::Change) => loaded = false,
            Err(Missed::Store(error)) => {
                tracing::warn!(%error, "the directory cannot be read and grows old");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Why a step did not bring the directory up to date.
enum Missed {
    /// A change's number does not follow the last one, or it is wider than one entity: the snapshot is read again.
    Change,
    /// The store did not answer.
    Store(StoreError),
}

impl From<StoreError> for Missed {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

async fn step(directory: &Directory, store: &dyn DirectoryStore, loaded: bool) -> Result<(), Missed> {
    if !loaded {
        return Ok(load(directory, store).await?);
    }
    store.changed(directory.tables().number(), WAIT_MILLIS).await;
    catch_up(directory, store).await
}

async fn load(directory: &Directory, store: &dyn DirectoryStore) -> Result<(), StoreError> {
    let asked_at = directory.clock.boot();
    let (number, entities) = store.snapshot().await?;
    let mut tables = Tables::at(number, Arc::clone(&directory.known));
    for entity in entities {
        tables.add(entity);
    }
    directory.put(tables, asked_at);
    Ok(())
}

/// Reads changes until there are none left.
async fn catch_up(directory: &Directory, store: &dyn DirectoryStore) -> Result<(), Missed> {
    loop {
        let asked_at = directory.clock.boot();
        let held = directory.tables();
        let changes = store.changes(held.number(), CHANGES_MAX).await?;
        if changes.is_empty() {
            directory.looked(asked_at);
            return Ok(());
        }
        let mut tables = Tables::clone(&held);
        for change in changes {
            let follows = change.number == tables.number().saturating_add(1);
            if !follows || change.entity == EntityId::Everything {
                return Err(Missed::Change);
            }
            let entity = store.entity(change.tenant, change.entity).await?;
            tables.apply(&change, entity);
        }
        directory.put(tables, asked_at);
    }
}
