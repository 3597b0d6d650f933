//! The shell around the machine: looks at a chain, decides where a refresh begins, and carries it out.
//!
//! Whoever wants a refresh says which generation it saw. A flight that finds another one at the head has
//! nothing to do: losers adopt. A chain that only a human can help is left before anything is dialled, so
//! that ten thousand impatient callers cost the provider nothing.

pub(crate) mod brought;
pub(crate) mod material;
mod run;
pub(crate) mod sealer;

pub(crate) use run::{Found, Run};

use crate::{
    anchor::{AnchorLog, Head},
    core::Core,
    flights::{Boarded, Landing, Waiting},
    machine::{Entry, Outcome, Plan},
    recover::take_up,
    schedule,
};
use material::{Material, Unfit};
use nightlatch_catalog::profile::{Endpoint, OldAccess};
use nightlatch_domain::{
    chain::ChainState,
    clock::Timestamp,
    id::{ChainId, FamilyId, TenantId},
    ports::store::ChainView,
};
use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

/// A profile that is gone comes back when an operator puts it back.
const NO_PROFILE_RETRY: Duration = Duration::from_secs(600);

/// Why a refresh is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// Its timer is due.
    Timer,
    /// This generation is dead or was refused by the tool.
    Instead {
        /// The family that was seen.
        family: FamilyId,
        /// Its generation.
        generation: u64,
    },
}

/// Joins or starts the refresh of a chain. Dropping what is answered changes nothing.
pub(crate) fn refresh(core: &Arc<Core>, tenant: TenantId, chain: ChainId, wanted: Wanted) -> Waiting {
    match core.flights.board(chain) {
        Boarded::Joined(waiting) => waiting,
        Boarded::First(tell, waiting) => {
            let flying = Arc::clone(core);
            core.parts.work.spawn(Box::pin(async move {
                let core = flying;
                let landing = Landing::new(&core.flights, chain, tell);
                let outcome = fly(&core, tenant, chain, wanted).await;
                core.tell_contradictions().await;
                landing.land(outcome);
                core.timers.notify_one();
            }));
            waiting
        }
    }
}

async fn fly(core: &Arc<Core>, tenant: TenantId, chain: ChainId, wanted: Wanted) -> Outcome {
    let lane = match look(core, tenant, chain).await {
        Ok(view) if is_ours(core, &view) => core.pace.lane(&origin(&view)),
        Ok(view) => match nothing_to_do(&view, wanted, core.now().wall) {
            Some(outcome) => return outcome,
            None => core.pace.lane(&origin(&view)),
        },
        Err(outcome) => return outcome,
    };
    // First the provider's lane: whoever waits behind a provider that hangs occupies nothing else.
    let Ok(_lane) = lane.acquire().await else { return Outcome::Unavailable };
    let Ok(_permit) = core.permits.acquire().await else { return Outcome::Unavailable };
    if core.stopping.load(Ordering::SeqCst) {
        return Outcome::Unavailable;
    }
    match look(core, tenant, chain).await {
        Ok(view) => begin(core, view, wanted).await,
        Err(outcome) => outcome,
    }
}

async fn look(core: &Core, tenant: TenantId, chain: ChainId) -> Result<ChainView, Outcome> {
    let view = core.store().chain(tenant, chain).await.map_err(|_| Outcome::Unavailable)?;
    view.ok_or(Outcome::Removed)
}

/// A claim of this process that no flight carries: this is the flight.
fn is_ours(core: &Core, view: &ChainView) -> bool {
    view.chain.state == ChainState::Refreshing && view.chain.owner == Some(core.owner)
}

/// Whose lane a chain takes. Read from the row: a wrong one costs a place in a queue.
fn origin(view: &ChainView) -> String {
    let refresh = view.head.refresh.as_ref();
    let endpoint = refresh.and_then(|(_, context)| material::presented_at(context));
    let endpoint = endpoint.and_then(|endpoint| Endpoint::parse(endpoint).ok());
    endpoint.as_ref().map(Endpoint::origin).unwrap_or_default()
}

async fn begin(core: &Arc<Core>, view: ChainView, wanted: Wanted) -> Outcome {
    if is_ours(core, &view) {
        return take_up(core, view).await;
    }
    if let Some(outcome) = nothing_to_do(&view, wanted, core.now().wall) {
        return outcome;
    }
    let opened = Material::open(core, &view);
    let entry = entry(core, &view, &opened);
    let plan = plan(core, &view, entry);
    Run::present(core, view, opened.ok(), plan).carry_through().await
}

/// What is known without touching anything.
fn nothing_to_do(view: &ChainView, wanted: Wanted, now: Timestamp) -> Option<Outcome> {
    match (view.chain.state, wanted) {
        (_, Wanted::Instead { family, generation })
            if family != view.family.id || generation != view.head.number =>
        {
            Some(Outcome::Refreshed)
        }
        (ChainState::Latched | ChainState::Uncertain | ChainState::Quarantined, _) => {
            Some(Outcome::NeedsHuman)
        }
        (ChainState::BackingOff, _) if view.chain.due_at.is_some_and(|due| schedule::waits(due, now)) => {
            Some(Outcome::Waiting { until: view.chain.due_at })
        }
        (ChainState::Healthy, Wanted::Timer) if view.chain.due_at.is_none_or(|due| due > now) => {
            Some(Outcome::Refreshed)
        }
        // Held by another owner. On one machine there is none but a dead one, and the start saw to those.
        (ChainState::Refreshing, _) => Some(Outcome::Superseded),
        (ChainState::Healthy | ChainState::BackingOff, _) => None,
    }
}

fn entry(core: &Core, view: &ChainView, opened: &Result<Material, Unfit>) -> Entry {
    let condemned = |state, reason| Entry::Condemned { state, reason };
    if !is_anchored(&core.anchor, view) {
        return condemned(ChainState::Quarantined, "anchor-mismatch");
    }
    let now = core.now();
    match opened {
        Err(Unfit::NoRefreshToken) => condemned(ChainState::Latched, "no-refresh-token"),
        Err(Unfit::Unverified) => condemned(ChainState::Quarantined, "unverified"),
        Err(Unfit::NoProfile) => {
            Entry::Postponed { until: now.wall.plus(NO_PROFILE_RETRY), reason: "profile-missing" }
        }
        Ok(material) => {
            let spread = Duration::from_millis(u64::from(core.jitter()) / 16);
            if let Some(wait) = core.pace.host_waits(&material.to.authority(), now) {
                return Entry::Postponed { until: now.wall.plus(wait + spread), reason: "provider-waits" };
            }
            if let Some(stopped) = core.pace.client_stopped(view.client.id, now, true) {
                let wait = stopped.until.since(now.boot).max(Duration::from_secs(1));
                return Entry::Postponed { until: now.wall.plus(wait + spread), reason: "client-stopped" };
            }
            Entry::Present
        }
    }
}

fn plan(core: &Core, view: &ChainView, entry: Entry) -> Plan {
    let dies =
        core.profile(&view.chain.provider).is_some_and(|profile| profile.old_access == OldAccess::Dies);
    let lives = view.head.access_until.is_none_or(|until| until > core.now().wall);
    Plan { entry, drain: dies && lives, failures: view.chain.failures, jitter: core.jitter() }
}

/// The plan of a recovery, which presents nothing.
pub(crate) fn recovery(core: &Core, view: &ChainView, entry: Entry) -> Plan {
    Plan { entry, drain: false, failures: view.chain.failures, jitter: core.jitter() }
}

/// Whether the log vouches for a chain's head. Two differences are what a crash leaves between a commit and
/// its line in the log, and both are only accepted on the log's own word: a head one above the anchored
/// one whose presentation it knows, and a family whose redemption it knows.
pub(crate) fn is_anchored(log: &AnchorLog, view: &ChainView) -> bool {
    let head = Head { family: view.family.id, generation: view.head.number };
    match log.head(view.chain.id) {
        Some(anchored) if anchored == head => true,
        Some(anchored) if anchored.family == head.family && anchored.generation + 1 == head.generation => {
            let known = log.presentation(anchored.family, anchored.generation);
            known.is_some_and(|known| view.head.attempt == Some(known.attempt))
        }
        _ => head.generation == 1 && log.flow_of(head.family) == Some(view.family.flow),
    }
}

/// How long a caller is told to wait for a chain that backs off.
pub(crate) fn wait_secs(core: &Core, until: Option<Timestamp>) -> u64 {
    let left = until.map_or(schedule::local_retry(0), |until| until.since(core.now().wall));
    left.as_secs().clamp(1, 3600)
}

#[cfg(test)]
mod tests;
