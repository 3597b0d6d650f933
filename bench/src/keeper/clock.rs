//! The machine's clocks, as far as a keeper that is measured needs them; wall time can be leapt over, so that tokens die
//! without being waited for. What has a deadline goes by the other clock, which nobody moves.

use nightlatch_domain::clock::{Boot, Clock, Timestamp};
use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// Wall time, and time since this process began.
pub(crate) struct SinceStart {
    began: Instant,
    leapt_millis: AtomicU64,
}

impl Default for SinceStart {
    fn default() -> Self {
        Self { began: Instant::now(), leapt_millis: AtomicU64::new(0) }
    }
}

impl SinceStart {
    /// From now on it is so much later.
    pub(crate) fn leap(&self, span: Duration) {
        self.leapt_millis.fetch_add(u64::try_from(span.as_millis()).unwrap_or(0), Ordering::SeqCst);
    }
}

impl Clock for SinceStart {
    fn now(&self) -> Timestamp {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let leapt = Duration::from_millis(self.leapt_millis.load(Ordering::SeqCst));
        Timestamp::from_millis(i64::try_from(now.as_millis()).unwrap_or(i64::MAX)).plus(leapt)
    }

    fn boot(&self) -> Boot {
        Boot::from_millis(u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX))
    }
}
