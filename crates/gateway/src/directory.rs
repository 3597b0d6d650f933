//! The directory: everything that a decision needs, in memory, fed by the store's change feed.
//!
//! A call asks no database. What the gateway knows is a snapshot and every change after it, gapless by
//! number; a number that is missing means that something was missed, and the snapshot is read again.
//! **Missing means deny**: a directory that was never loaded, or whose last look at the feed is older
//! than the staleness bound, answers nothing at all ([`Directory::view`]). The look is dated by the
//! machine's boot clock from before the question was put, so a slow store ages the answer, and a wall
//! clock that jumps does nothing.

mod feed;
mod origins;
mod tables;

pub(crate) use origins::Part;
pub(crate) use tables::Named;
pub use tables::Tables;

use nightlatch_catalog::builtin::Catalogue;
use nightlatch_domain::{
    clock::{Boot, Clock},
    ports::store::DirectoryStore,
    problem::{Problem, ProblemKind},
};
use std::{
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};
use tokio::sync::watch;

/// The gateway's view of tenants, agents, tasks, grants and connections.
pub struct Directory {
    tables: RwLock<Arc<Tables>>,
    /// When the feed was last asked and answered; none before the first snapshot.
    looked_at: Mutex<Option<Boot>>,
    applied: watch::Sender<u64>,
    known: Arc<tables::Known>,
    clock: Arc<dyn Clock>,
    staleness_bound: Duration,
}

impl Directory {
    /// An empty directory, which denies until [`Directory::follow`] has loaded it.
    #[must_use]
    pub fn new(catalogue: &Catalogue, clock: Arc<dyn Clock>, staleness_bound: Duration) -> Self {
        let manifests = catalogue.manifests().map(|own| (own.name.clone(), Arc::new(own.clone())));
        let profiles = catalogue.profiles().map(|own| (own.name.clone(), Arc::new(own.clone())));
        let known = tables::Known::new(manifests.collect(), profiles.collect());
        Self {
            tables: RwLock::new(Arc::new(Tables::default())),
            looked_at: Mutex::new(None),
            applied: watch::channel(0).0,
            known: Arc::new(known),
            clock,
            staleness_bound,
        }
    }

    /// What is known now.
    ///
    /// # Errors
    /// [`ProblemKind::DirectoryStale`] where it was never loaded, or is older than the bound.
    pub fn view(&self) -> Result<Arc<Tables>, Problem> {
        let looked_at = *self.looked_at.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = looked_at.is_some_and(|at| self.clock.boot().since(at) <= self.staleness_bound);
        if fresh { Ok(self.tables()) } else { Err(Problem::new(ProblemKind::DirectoryStale).retry_after(1)) }
    }

    /// The number of the last change that is in effect here.
    #[must_use]
    pub fn applied(&self) -> u64 {
        *self.applied.borrow()
    }

    /// Answers `true` as soon as the change `number` is in effect, `false` where that takes longer than
    /// `within`.
    pub async fn wait_applied(&self, number: u64, within: Duration) -> bool {
        let mut applied = self.applied.subscribe();
        let reached = applied.wait_for(|applied| *applied >= number);
        matches!(tokio::time::timeout(within, reached).await, Ok(Ok(_)))
    }

    /// Follows the store's feed for as long as it is polled. Failures are tried again; meanwhile the
    /// directory grows old.
    pub async fn follow(&self, store: Arc<dyn DirectoryStore>) {
        feed::follow(self, store.as_ref()).await;
    }

    /// Changes of [`Directory::applied`].
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.applied.subscribe()
    }

    /// What was last known, however old: for ending what may no longer run, never for admitting.
    pub(crate) fn tables(&self) -> Arc<Tables> {
        Arc::clone(&self.tables.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts new tables in force, and says so to whoever waits.
    fn put(&self, tables: Tables, looked_at: Boot) {
        let number = tables.number();
        *self.tables.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(tables);
        self.looked(looked_at);
        self.applied.send_replace(number);
    }

    /// The feed was asked at `at`, and nothing newer is missing here.
    fn looked(&self, at: Boot) {
        *self.looked_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(at);
    }
}

#[cfg(test)]
mod tests;
