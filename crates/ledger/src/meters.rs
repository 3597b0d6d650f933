//! Meters: how much waits for the writing thread, and how long the disk takes.

use nightlatch_domain::meters::Histogram;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Shared by those who queue and the thread that writes.
#[derive(Debug, Default)]
pub(crate) struct Meters {
    queued: AtomicUsize,
    /// Those of them that the thread has.
    away: AtomicUsize,
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

    /// So many go to the thread.
    pub(crate) fn are_sent(&self, count: usize) {
        self.away.fetch_add(count, Ordering::AcqRel);
    }

    /// The thread has carried out so many.
    pub(crate) fn are_back(&self, count: usize) {
        self.away.fetch_sub(count, Ordering::AcqRel);
    }

    /// How many the thread has.
    pub(crate) fn away(&self) -> usize {
        self.away.load(Ordering::Acquire)
    }
}
