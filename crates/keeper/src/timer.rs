//! The timer: refreshes chains ahead of their expiry, for as long as the keeper runs.
//!
//! It only decides whom to look at; the flight looks again and decides. A wake-up too many costs one read.

use crate::{
    core::Core,
    refresh::{Wanted, refresh},
};
use std::{sync::Arc, time::Duration};
use tokio::sync::watch;

/// The longest sleep: a clock that was set, or a machine that slept, is noticed by then.
const LOOK_AGAIN: Duration = Duration::from_secs(15);
/// The shortest: due chains that are still being refreshed tell when they are done.
const PAUSE: Duration = Duration::from_millis(200);
/// Chains that are begun in one round.
const ROUND: u32 = 256;

/// Runs until `stop` says so.
pub(crate) async fn run(core: Arc<Core>, mut stop: watch::Receiver<bool>) {
    while !*stop.borrow() {
        let pause = round(&core).await;
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = core.timers.notified() => {}
            _ = stop.changed() => {}
        }
    }
}

/// Starts what is due, and says how long to sleep.
async fn round(core: &Arc<Core>) -> Duration {
    let now = core.now().wall;
    // Those under way are due as well: they must not stand before the others.
    let limit = ROUND.saturating_add(u32::try_from(core.flights.count()).unwrap_or(u32::MAX));
    let Ok(due) = core.store().due(now, limit).await else { return PAUSE };
    for (tenant, chain, _) in &due {
        if !core.flights.has(*chain) {
            drop(refresh(core, *tenant, *chain, Wanted::Timer));
        }
    }
    if !due.is_empty() {
        return PAUSE;
    }
    let next = core.store().next_due().await.ok().flatten();
    next.map_or(LOOK_AGAIN, |next| next.since(now)).clamp(PAUSE, LOOK_AGAIN)
}
