//! Meters: how much waits for the writing thread, and how long the disk takes.

use nightlatch_domain::meters::Histogram;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Shared by those who queue and the thread that writes.
#[derive(Debug, Default)]
pub(crate) struct Meters {
    queued: AtomicUsize,
    pub(crate) syncs: Histogram,
}

impl Meters {
    pub(crate) fn queued(&self) -> usize {
        self.queued.load(Ordering::Relaxed)
    }

    /// One more waits.
    pub(crate) fn is_left(&self) {
        self.queued.fetch_add(1, Ordering::Relaxed);
    }

    /// So many do not wait any more.
    pub(crate) fn are_done(&self, count: usize) {
        self.queued.fetch_sub(count, Ordering::Relaxed);
    }
}
