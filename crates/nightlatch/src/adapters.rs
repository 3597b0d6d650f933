//! The one place where this program reads clocks and the environment.

use nightlatch_domain::clock::{Boot, Clock, Timestamp};
use rustix::time::{ClockId, clock_gettime};
use std::{
    ffi::OsString,
    time::{SystemTime, UNIX_EPOCH},
};

/// The machine's clocks.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct SystemClock;

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the adapter through which everything reads the time"
    )]
    fn now(&self) -> Timestamp {
        let millis = |span: std::time::Duration| i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        Timestamp::from_millis(now.map_or_else(|before| -millis(before.duration()), millis))
    }

    fn boot(&self) -> Boot {
        // Time asleep counts: a lease is no longer for a suspended laptop than for its provider.
        let now = clock_gettime(ClockId::Boottime);
        let secs = u64::try_from(now.tv_sec).unwrap_or(0);
        let millis = u64::try_from(now.tv_nsec).unwrap_or(0) / 1_000_000;
        Boot::from_millis(secs.saturating_mul(1000).saturating_add(millis))
    }
}

/// A variable of the environment, where it is set and not empty.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the adapter through which the command line reads its environment"
)]
pub(crate) fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}
