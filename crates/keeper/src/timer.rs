//! The timer: refreshes chains ahead of their expiry, for as long as the keeper runs.
//!
//! It only decides whom to look at; the flight looks again and decides. A wake-up too many costs one read.

use crate::{
    core::Core,
    machine::Moment,
    refresh::{Wanted, refresh},
    schedule,
};
use nightlatch_domain::clock::Timestamp;
use std::{sync::Arc, time::Duration};
use tokio::sync::watch;

/// The longest sleep: a clock that was set, or a machine that slept, is noticed by then.
const LOOK_AGAIN: Duration = Duration::from_secs(15);
/// The shortest: due chains that are still being refreshed tell when they are done.
const PAUSE: Duration = Duration::from_millis(200);
/// Chains that are looked at when the clock was set back.
const AHEAD_MAX: u32 = 100_000;
/// Chains that are begun in one round.
const ROUND: u32 = 256;

/// Runs until `stop` says so.
pub(crate) async fn run(core: Arc<Core>, mut stop: watch::Receiver<bool>) {
    let mut last = core.now();
    while !*stop.borrow() {
        let now = core.now();
        if went_back(last, now) {
            hasten_what_lies_ahead(&core, now.wall).await;
        }
        last = now;
        let pause = round(&core).await;
        tokio::select! {
            biased;
            _ = stop.changed() => {}
            () = core.timers.notified() => {}
            () = core.pause(pause) => {}
        }
    }
}

/// Whether the wall clock was set back since.
fn went_back(last: Moment, now: Moment) -> bool {
    schedule::is_of_the_future(last.wall.plus(now.boot.since(last.boot)), now.wall)
}

/// Timers that were set by a clock which was ahead would come as late as it was wrong; by then an unused
/// refresh token is dead.
async fn hasten_what_lies_ahead(core: &Core, now: Timestamp) {
    let far = Timestamp::from_millis(i64::MAX);
    let Ok(all) = core.store().due(far, AHEAD_MAX).await else { return };
    for (tenant, chain, _) in all {
        let Ok(Some(view)) = core.store().chain(tenant, chain).await else { continue };
        if schedule::is_of_the_future(view.head.created_at, now)
            && let Err(error) = core.store().hasten(tenant, chain, now).await
        {
            tracing::warn!(%error, %chain, "a timer could not be set anew");
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
