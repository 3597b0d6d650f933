//! What a start does before anything else: finishes what a dead process left.
//!
//! The log's lock says that nobody else is at work on this machine, so a claim that stands is a dead
//! process' and may be taken over at once. The order matters: answers first (they may be the only copy of
//! living tokens), then attempts by what the log knows of them, then heads against the log.

use crate::{
    anchor::{Found as Log, Head},
    core::Core,
    enrol,
    error::KeeperError,
    machine::{Entry, Outcome},
    refresh::{
        Found, Run, is_anchored,
        material::{Material, Unfit},
        recovery,
    },
    schedule,
    spool::{Asked, SpooledAnswer},
};
use nightlatch_domain::{
    chain::{Attempt, AttemptState, ChainState, FlowStep},
    clock::Timestamp,
    id::{ChainId, TenantId},
    ports::store::ChainView,
};
use std::{collections::BTreeSet, sync::Arc};

/// Chains whose heads are held against the log at start; the others are when they are next used.
const HEADS_AT_START: u32 = 100_000;

/// Finishes what was left. Only then may anything new begin.
pub(crate) async fn recover(core: &Arc<Core>, log: Log, machine: &str) -> Result<(), KeeperError> {
    if let Log::Moved { reason } = log {
        tracing::warn!(
            reason,
            "the anchor log was moved: every rotating connection asks to be connected again"
        );
        let (installation, machine) = (core.installation.id, machine.to_owned());
        core.on_disk(move |core| core.anchor.settle_here(installation, &machine)).await?;
    }
    // A log that begins, or that was copied, does not know which mandates were acted on before.
    if log != Log::Own || !core.anchor.has_mandates() {
        let now = core.now().wall;
        core.on_disk(move |core| core.anchor.begin_mandates(now)).await?;
    }
    // Wakes live in memory: those of the process before ended with it, and nobody noted that.
    core.store().end_all_wakes(core.now().wall).await?;
    replay_spool(core).await?;
    finish_attempts(core).await?;
    release_claims(core).await?;
    hold_heads_against_the_log(core).await?;
    core.on_disk(|core| core.spool.forget_empty()).await?;
    // Whose account an answer is, the tool says, at its own pace: nobody waits for that.
    let (flows, own) = (core.store().open_flows().await?, Arc::clone(core));
    core.parts.work.spawn(Box::pin(async move {
        for flow in flows {
            enrol::resume(&own, flow).await;
        }
    }));
    Ok(())
}

/// A claim of our own without a flight: its writing was answered with an error, or its task ended. Takes it
/// up where it stands.
pub(crate) async fn take_up(core: &Arc<Core>, view: ChainView) -> Outcome {
    let Ok(attempts) = core.store().open_attempts().await else { return Outcome::Unavailable };
    let current =
        |attempt: &Attempt| attempt.family == view.family.id && attempt.generation == view.head.number;
    let attempt = attempts.into_iter().find(current);
    let entry = attempt.as_ref().map_or(Entry::NeverSent, |attempt| entry(core, &view, attempt));
    finish(core, view, entry, attempt).await
}

/// Answers that the database does not have yet.
async fn replay_spool(core: &Arc<Core>) -> Result<(), KeeperError> {
    for spooled in core.on_disk(|core| core.spool.waiting()).await? {
        replay(core, spooled).await?;
    }
    Ok(())
}

async fn replay(core: &Arc<Core>, spooled: SpooledAnswer) -> Result<(), KeeperError> {
    let SpooledAnswer { tenant, asked, answer, context } = spooled;
    match asked {
        Asked::Attempt(id) => {
            let attempt = core.store().attempt(tenant, id).await?;
            if attempt
                .is_some_and(|attempt| attempt.answer.is_none() && attempt.state == AttemptState::Intended)
            {
                core.store().answer(tenant, id, (answer, context)).await?;
            }
        }
        Asked::Flow(id) => {
            let (from, to) = (FlowStep::Redeeming, FlowStep::Answered);
            core.store().advance_flow(tenant, id, from, to, Some((answer, context))).await?;
        }
    }
    Ok(())
}

async fn finish_attempts(core: &Arc<Core>) -> Result<(), KeeperError> {
    for attempt in core.store().open_attempts().await? {
        let Some(view) = core.store().chain(attempt.tenant, attempt.chain).await? else { continue };
        let current = view.family.id == attempt.family && view.head.number == attempt.generation;
        if current && may_be_taken_over(&view) {
            let entry = entry(core, &view, &attempt);
            finish(core, view, entry, Some(attempt)).await;
        }
    }
    Ok(())
}

fn may_be_taken_over(view: &ChainView) -> bool {
    matches!(view.chain.state, ChainState::Refreshing | ChainState::Healthy | ChainState::BackingOff)
}

fn entry(core: &Core, view: &ChainView, attempt: &Attempt) -> Entry {
    let anchored = core.anchor.presentation(attempt.family, attempt.generation);
    match anchored {
        _ if !is_anchored(&core.anchor, view) => {
            Entry::Condemned { state: ChainState::Quarantined, reason: "anchor-mismatch" }
        }
        _ if attempt.answer.is_some() => Entry::Answered,
        Some(anchored) if anchored.attempt == attempt.id => Entry::Unanswered,
        // The same intact log did not anchor it: it was never sent.
        _ => Entry::NeverSent,
    }
}

async fn finish(core: &Arc<Core>, view: ChainView, entry: Entry, attempt: Option<Attempt>) -> Outcome {
    let chain = view.chain.id;
    let material = Material::open(core, &view);
    if entry == Entry::Answered && matches!(material, Err(Unfit::NoProfile)) {
        // I4: only the profile says how its answer is read. It lies safe until an operator put that back.
        tracing::warn!(%chain, "an answer waits for its provider's profile; start again when it is there");
        return Outcome::Waiting { until: None };
    }
    let material = material.ok();
    let plan = recovery(core, &view, entry);
    let found = Found {
        attempt: attempt.as_ref().map(|attempt| attempt.id),
        answer: attempt.and_then(|it| it.answer),
    };
    let outcome = Run::resume(core, view, material, plan, found).carry_through().await;
    tracing::info!(%chain, ?outcome, "a refresh that was cut off is finished");
    outcome
}

/// Claims without an attempt that could still matter.
async fn release_claims(core: &Arc<Core>) -> Result<(), KeeperError> {
    for chain in core.store().claimed().await? {
        if let Some(view) = core.store().chain(chain.tenant, chain.id).await? {
            finish(core, view, Entry::NeverSent, None).await;
        }
    }
    Ok(())
}

/// Where they disagree nothing is presented; where a crash came between a commit and its line in the log,
/// the line is written now.
async fn hold_heads_against_the_log(core: &Arc<Core>) -> Result<(), KeeperError> {
    let far = Timestamp::from_millis(i64::MAX);
    let mut seen: BTreeSet<(TenantId, ChainId)> = BTreeSet::new();
    seen.extend(
        core.store().due(far, HEADS_AT_START).await?.into_iter().map(|(tenant, chain, _)| (tenant, chain)),
    );
    seen.extend(core.anchor.newest().into_iter().map(|known| (known.tenant, known.chain)));
    for (tenant, chain) in seen {
        let Some(view) = core.store().chain(tenant, chain).await? else { continue };
        if is_anchored(&core.anchor, &view) && knows_every_attempt(core, &view).await? {
            let head = Head { family: view.family.id, generation: view.head.number };
            core.on_disk(move |core| core.anchor.set_head(chain, head)).await?;
            let now = core.now().wall;
            if schedule::is_of_the_future(view.head.created_at, now) {
                core.store().hasten(tenant, chain, now).await?;
            }
        } else if may_be_taken_over(&view) {
            let entry = Entry::Condemned { state: ChainState::Quarantined, reason: "anchor-mismatch" };
            finish(core, view, entry, None).await;
        }
    }
    Ok(())
}

/// An anchored attempt that the database does not know: the database was rolled back.
async fn knows_every_attempt(core: &Core, view: &ChainView) -> Result<bool, KeeperError> {
    let newest = core.anchor.newest_of(view.chain.id);
    // A reconnect begins a new family; what became of the old one's attempts no longer matters.
    match newest.filter(|known| known.family == view.family.id) {
        Some(known) => Ok(core.store().attempt(known.tenant, known.attempt).await?.is_some()),
        None => Ok(true),
    }
}
