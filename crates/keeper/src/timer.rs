//! The timer: refreshes chains ahead of their expiry, and watches what others hold, for as long as the keeper runs.
//!
//! It only decides whom to look at; the flight looks again and decides. A wake-up too many costs one read.

use crate::{
    core::Core,
    history,
    machine::Moment,
    recover::replay_spool,
    refresh::{Wanted, refresh},
    schedule,
    watched::Held,
};
use nightlatch_domain::{
    chain::AttemptState,
    clock::{Boot, Timestamp},
    id::{ChainId, TenantId},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use tokio::sync::watch;

/// The longest sleep: a clock that was set, or a machine that slept, is noticed by then.
const LOOK_AGAIN: Duration = Duration::from_secs(15);
/// The shortest: due chains that are still being refreshed tell when they are done.
const PAUSE: Duration = Duration::from_millis(200);
/// Chains that are looked at when the clock was set back.
const AHEAD_MAX: u32 = 100_000;
/// Chains that are begun in one round.
const ROUND: u32 = 256;

/// So many looks at what was left, and the spool is looked through once more.
const LOOKS_BETWEEN_SPOOLS: u32 = 4;

/// Runs until `stop` says so. What others left is finished in any case; whether chains are refreshed ahead of their
/// expiry, `ahead` says.
pub(crate) async fn run(core: Arc<Core>, mut stop: watch::Receiver<bool>, ahead: bool) {
    let (mut last, mut looks) = (core.now(), 0u32);
    let mut looked: Option<Boot> = None;
    while !*stop.borrow() {
        let now = core.now();
        if went_back(last, now) {
            hasten_what_lies_ahead(&core, now.wall).await;
        }
        last = now;
        if looked.is_none_or(|at| now.boot.since(at) >= LOOK_AGAIN) {
            look_after_what_was_left(&core, looks.is_multiple_of(LOOKS_BETWEEN_SPOOLS)).await;
            (looked, looks) = (Some(now.boot), looks.wrapping_add(1));
        }
        let pause = if ahead { round(&core).await } else { LOOK_AGAIN };
        tokio::select! {
            biased;
            _ = stop.changed() => {}
            () = core.timers.notified() => {}
            () = core.pause(pause) => {}
        }
    }
}

/// Watches the claims of others, and sees to what nobody carries any more: claims of this keeper without a flight,
/// claims that were watched for a lease, answers that came late.
async fn look_after_what_was_left(core: &Arc<Core>, and_the_spool: bool) {
    if let Err(error) = history::tend(core).await {
        tracing::warn!(%error, "whether the database is the one that was seen could not be told");
    }
    if and_the_spool && let Err(error) = replay_spool(core).await {
        tracing::warn!(%error, "answers in the spool could not be brought to the database");
    }
    let (claimed, open) = (core.store().claimed().await, core.store().open_attempts().await);
    let (Ok(claimed), Ok(open)) = (claimed, open) else { return };
    let claims = claimed.iter().filter_map(|chain| {
        Some((chain.tenant, Held { chain: chain.id, fence: chain.fence, owner: chain.owner? }))
    });
    let claims: BTreeMap<ChainId, (TenantId, Held)> = claims.map(|one| (one.1.chain, one)).collect();
    let intents = open.iter().filter(|one| one.state == AttemptState::Intended);
    let intents = intents
        .filter(|one| !claims.contains_key(&one.chain))
        .map(|one| (one.chain, (one.tenant, Held { chain: one.chain, fence: one.fence, owner: one.owner })));
    let held: BTreeMap<ChainId, (TenantId, Held)> = intents.chain(claims.clone()).collect();
    let over = core.watch_others(held.values().map(|(_, held)| *held));
    let mut left: BTreeSet<(TenantId, ChainId)> = BTreeSet::new();
    let own = |held: &Held| core.anchor.drew(held.owner) || over.contains(&held.chain);
    left.extend(held.values().filter(|(_, held)| own(held)).map(|(tenant, held)| (*tenant, held.chain)));
    let answered = open.iter().filter(|one| one.state == AttemptState::Answered);
    left.extend(answered.map(|one| (one.tenant, one.chain)));
    for (tenant, chain) in left {
        if !core.flights.has(chain) {
            drop(refresh(core, tenant, chain, Wanted::Timer));
        }
    }
}

/// Whether the wall clock was set back since.
fn went_back(last: Moment, now: Moment) -> bool {
    schedule::is_ahead(last.wall.plus(now.boot.since(last.boot)), now.wall)
}

/// Timers that were set by a clock which was ahead would come as late as it was wrong; by then an unused
/// refresh token is dead.
async fn hasten_what_lies_ahead(core: &Core, now: Timestamp) {
    let far = Timestamp::from_millis(i64::MAX);
    let Ok(all) = core.store().due(far, AHEAD_MAX).await else { return };
    for (tenant, chain, _) in all {
        let Ok(Some(view)) = core.store().chain(tenant, chain).await else { continue };
        if core.is_of_the_future(view.head.created_at).await
            && let Err(error) = core.store().hasten(tenant, chain, now).await
        {
            tracing::warn!(%error, %chain, "a timer could not be set anew");
        }
    }
}

/// Starts what is due, and says how long to sleep.
async fn round(core: &Arc<Core>) -> Duration {
    let now = core.now().wall;
    // Those that wait for their provider's lane are due as well: they must not stand before the others.
    let limit = ROUND.saturating_add(u32::try_from(core.flights.count()).unwrap_or(u32::MAX));
    let Ok(due) = core.store().due(now, limit).await else { return PAUSE };
    for (tenant, chain, _) in &due {
        if !core.flights.has(*chain) {
            drop(refresh(core, *tenant, *chain, Wanted::Timer));
        }
    }
    if !due.is_empty() {
        return schedule::local_retry(core.failing.load(Ordering::Relaxed)).max(PAUSE);
    }
    let next = core.store().next_due().await.ok().flatten();
    next.map_or(LOOK_AGAIN, |next| next.since(now)).clamp(PAUSE, LOOK_AGAIN)
}
