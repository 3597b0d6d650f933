//! What a human says about keepers: that a log is to be believed, or that a keeper never comes back.
//!
//! Neither is found out by any program. Who vouches for a log that knows nothing says that nobody presented anything which
//! the database does not know; whatever the log itself knows against that still counts. Who gives a keeper up says that its
//! log is lost. Where that log was not held against the database as it is now, what its keeper presented is known to nobody:
//! then no chain is presented again before its human logged in anew.

use super::{Verdict, look, settle};
use crate::{
    anchor::{Head, Presentation},
    core::Core,
    enrol::{refusal, store_refusal, unknown},
    error::KeeperError,
    keeping::{LOG_LOST, LogSays, UNVOUCHED},
    recover,
    refresh::{has_family, outlives, says_by_order},
};
use nightlatch_domain::{
    chain::{Attempt, AttemptState, ChainState},
    id::{ChainId, KeeperId, PrincipalId, TenantId},
    ports::{
        control_keeper::{ControlRefusal, ControlReply, KeeperRoll, KeeperSeen},
        store::{ChainView, Registered, Standing, StoreError},
    },
};
use nightlatch_ledger::{facts::EventFacts, record::EventName};
use std::sync::Arc;

/// Chains that are looked at between two writes to the log.
const PAGE: u32 = 256;
/// So often a chain that somebody else touched is looked at again.
const TRIES: u32 = 4;

/// Who said it.
type Said = (TenantId, PrincipalId);

/// Every registered keeper, as this one sees them.
pub(crate) async fn list(core: &Arc<Core>) -> Result<ControlReply, ControlRefusal> {
    let standing = core.store().standing().await.map_err(store_refusal)?;
    let own = core.anchor.keeper();
    let seen = |row: Registered| KeeperSeen { at_work: row.keeper == own, name: None, row };
    let keepers = standing.keepers.into_iter().map(seen).collect();
    Ok(ControlReply::Keepers(KeeperRoll { own, era: standing.era, keepers }))
}

/// Vouches for a keeper. Where it is this one, its log takes the database's heads for its own, and what was in quarantine
/// for want of a log comes out, but for what the log knows to be otherwise.
pub(crate) async fn adopt(
    core: &Arc<Core>,
    keeper: KeeperId,
    human: Said,
) -> Result<ControlReply, ControlRefusal> {
    let _turn = core.history.turn.lock().await;
    let standing = core.store().standing().await.map_err(store_refusal)?;
    row_of(&standing, keeper)?;
    let mut taken = Taken::default();
    if keeper == core.anchor.keeper() {
        // Beside others a quarantine may be what another log knows.
        let ends = standing.keepers.len() == 1;
        taken = take_heads_over(core, ends).await.map_err(refusal)?;
        core.on_disk(|core| core.anchor.vouch()).await.map_err(refusal)?;
    }
    core.store().vouch(keeper).await.map_err(store_refusal)?;
    note(core, EventName::KeeperAdopted, (keeper, human), None).await;
    core.timers.notify_one();
    Ok(ControlReply::Adopted { released: taken.released, contradicted: taken.contradicted })
}

/// Forgets a keeper. This one's log knows from then on what that one's knew of the heads.
pub(crate) async fn forget(
    core: &Arc<Core>,
    keeper: KeeperId,
    human: Said,
) -> Result<ControlReply, ControlRefusal> {
    if keeper == core.anchor.keeper() {
        return Err(ControlRefusal::KeeperAtWork);
    }
    settle(core).await.map_err(refusal)?;
    let _turn = core.history.turn.lock().await;
    let (standing, verdict) = look(core).await.map_err(refusal)?;
    let row = row_of(&standing, keeper)?;
    if matches!(verdict, Verdict::Raise | Verdict::Compare) {
        return Err(ControlRefusal::KeepersChanged);
    }
    if !standing.keepers.iter().any(|other| other.keeper != keeper && other.vouched) {
        return Err(ControlRefusal::NoneVouched);
    }
    let behind = row.compared < standing.era;
    let quarantined = match behind {
        true => leave_all_to_humans(core).await?,
        // Each of its presentations is an intent of this database, and taken for sent.
        false => 0,
    };
    // Who is left alone is held to the very heads.
    take_heads_over(core, false).await.map_err(refusal)?;
    if !core.store().forget(row, standing.era).await.map_err(store_refusal)? {
        return Err(ControlRefusal::KeepersChanged);
    }
    note(core, EventName::KeeperForgotten, (keeper, human), behind.then_some(LOG_LOST)).await;
    core.timers.notify_one();
    Ok(ControlReply::Forgotten { behind, quarantined })
}

fn row_of(standing: &Standing, keeper: KeeperId) -> Result<Registered, ControlRefusal> {
    let row = standing.keepers.iter().find(|row| row.keeper == keeper);
    row.copied().ok_or_else(|| unknown("keeper"))
}

async fn note(
    core: &Core,
    event: EventName,
    (keeper, (tenant, human)): (KeeperId, Said),
    reason: Option<&'static str>,
) {
    let about = EventFacts { tenant: Some(tenant), human: Some(human), ..EventFacts::new(event) };
    core.note(EventFacts { keeper: Some(keeper), reason, ..about }).await;
}

/// What became of the chains.
#[derive(Debug, Clone, Copy, Default)]
struct Taken {
    released: u64,
    contradicted: u64,
}

/// Takes the database's heads for this log's, where the log knows nothing against it.
async fn take_heads_over(core: &Arc<Core>, and_release: bool) -> Result<Taken, KeeperError> {
    let (mut taken, mut after) = (Taken::default(), None);
    loop {
        let page = core.store().chains(after, PAGE).await?;
        let Some(last) = page.last().copied() else { return Ok(taken) };
        after = Some(last);
        let mut vouched: Vec<ChainView> = Vec::with_capacity(page.len());
        let mut heads = Vec::with_capacity(page.len());
        for (tenant, chain) in page {
            let seen = core.anchor.head(chain);
            let Some(view) = readable(core, tenant, chain).await? else { continue };
            if contradicts(core, &view).await? {
                taken.contradicted += 1;
            } else {
                heads.push((chain, seen, Head { family: view.family.id, generation: view.head.number }));
                vouched.push(view);
            }
        }
        let mut presented = Vec::new();
        for view in &vouched {
            presented.extend(presented_by_others(core, view).await?);
        }
        core.on_disk(move |core| core.anchor.take_over(&heads, &presented)).await?;
        for view in vouched.iter().filter(|view| and_release && waits_for_a_log(view)) {
            let now = core.now().wall;
            let due_at = view.head.access_until.filter(|until| *until > now).unwrap_or(now);
            let seen = (view.chain.tenant, view.chain.id, view.chain.fence);
            let is_released = core.store().release(seen, UNVOUCHED.to_owned(), due_at, now).await?;
            taken.released += u64::from(is_released);
        }
    }
}

/// What may have been presented of a head, of which this log knows nothing: only the database does, and that may be put
/// back.
async fn presented_by_others(core: &Core, view: &ChainView) -> Result<Vec<Presentation>, StoreError> {
    let (tenant, chain, family) = (view.chain.tenant, view.chain.id, view.family.id);
    let generation = view.head.number;
    let attempts = core.store().attempts(tenant, family, generation).await?;
    let own = [core.anchor.presentation(family, generation), core.anchor.retry(family, generation)];
    let is_others = |one: &&Attempt| {
        let is_own = own.iter().flatten().any(|own| own.attempt == one.id);
        one.generation == generation && one.state != AttemptState::NotPresented && !is_own
    };
    let presentation =
        |one: &Attempt| Presentation { tenant, chain, family, generation, attempt: one.id, boot: None };
    Ok(attempts.iter().filter(is_others).map(presentation).collect())
}

fn waits_for_a_log(view: &ChainView) -> bool {
    view.chain.state == ChainState::Quarantined && view.chain.reason.as_deref() == Some(UNVOUCHED)
}

/// Whether this log knows of anything that the database lacks.
async fn contradicts(core: &Core, view: &ChainView) -> Result<bool, StoreError> {
    if says_by_order(core, view).await? != LogSays::Fits {
        return Ok(true);
    }
    let another = core.anchor.newest_of(view.chain.id).filter(|newest| newest.family != view.family.id);
    if let Some(newest) = another
        && !has_family(core, view, newest.family).await?
    {
        return Ok(true);
    }
    Ok(!recover::knows_every_attempt(core, view).await?)
}

/// Leaves every chain that could be presented to its human: what was presented since the database's copy was made, only
/// the lost log knew.
async fn leave_all_to_humans(core: &Arc<Core>) -> Result<u64, ControlRefusal> {
    let (mut left, mut after) = (0, None);
    loop {
        let page = core.store().chains(after, PAGE).await.map_err(store_refusal)?;
        let Some(last) = page.last().copied() else { return Ok(left) };
        after = Some(last);
        for (tenant, chain) in page {
            left += u64::from(leave_to_human(core, tenant, chain).await?);
        }
    }
}

/// `false` where it is left to its human already. A latched one is not: an unused answer may come to be tried.
async fn leave_to_human(core: &Arc<Core>, tenant: TenantId, chain: ChainId) -> Result<bool, ControlRefusal> {
    for _ in 0..TRIES {
        let Some(view) = readable(core, tenant, chain).await.map_err(refusal)? else { return Ok(false) };
        if view.chain.state == ChainState::Quarantined && !waits_for_a_log(&view) {
            return Ok(false);
        }
        if outlives(core, &view).await.map_err(refusal)? {
            return Ok(false);
        }
        if recover::quarantine(core, &view, LOG_LOST).await.map_err(refusal)? {
            return Ok(true);
        }
    }
    Err(ControlRefusal::KeepersChanged)
}

/// A chain that somebody lives on. One whose row cannot be read nobody can claim or lease of.
async fn readable(core: &Core, tenant: TenantId, chain: ChainId) -> Result<Option<ChainView>, KeeperError> {
    match core.store().chain(tenant, chain).await {
        Err(error @ StoreError::Corrupt(_)) => {
            tracing::error!(%error, %chain, "a chain cannot be read, and is left alone");
            Ok(None)
        }
        other => Ok(other?),
    }
}
