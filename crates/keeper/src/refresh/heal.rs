//! Heads that a database lost, from the answers that this keeper kept.
//!
//! A database that was put back knows an older head, whose token was consumed since. Where the answer to the newest
//! presentation that the log knows lies in the spool, what it brought is what the provider holds for good: it becomes the
//! head, and no human is asked. Where that answer is missing, nobody here knows what lives.

use super::{
    brought::{self, Before},
    material::{Material, belongs_at},
};
use crate::{
    anchor::{Head, Presentation},
    core::Core,
    error::KeeperError,
    spool::{Asked, SpooledAnswer},
    token::{self, Parsed},
};
use nightlatch_custody::CustodyError;
use nightlatch_domain::{
    chain::{Attempt, AttemptState},
    ports::store::{ChainView, Healed, StoreError},
    sealed::SecretKind,
};
use std::sync::Arc;

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Healing {
    /// The chain has its head again.
    Done,
    /// Nothing here says what lives.
    Nothing,
    /// Somebody was there since the chain was looked at.
    Moved,
}

/// Gives a chain its head again, where what was kept tells it.
pub(crate) async fn heal(core: &Arc<Core>, view: &ChainView) -> Result<Healing, KeeperError> {
    let Some(newest) = newest(core, view) else { return Ok(Healing::Nothing) };
    let Some(kept) = core.on_disk(move |core| kept(core, newest)).await? else { return Ok(Healing::Nothing) };
    let Some(healed) = healed(core, view, newest, kept).await? else { return Ok(Healing::Nothing) };
    let number = healed.generation.number;
    match core.store().heal(healed).await {
        // A row that stands where none may be holds up its own chain alone.
        Err(StoreError::Exists(_) | StoreError::Missing(_) | StoreError::Corrupt(_)) => {
            return Ok(Healing::Nothing);
        }
        Ok(false) => return Ok(Healing::Moved),
        Ok(true) => {}
        Err(error) => return Err(error.into()),
    }
    let (chain, head) = (view.chain.id, Head { family: newest.family, generation: number });
    core.on_disk(move |core| core.anchor.set_head(chain, head)).await?;
    tracing::warn!(%chain, generation = number, "a head that the database lost was healed from a kept answer");
    Ok(Healing::Done)
}

/// The newest presentation that the log knows, if it is one of the family as it stands, not below its head, and nothing
/// that others did after it is known: a log that took heads over knows further ones, and one that was copied knows none.
fn newest(core: &Core, view: &ChainView) -> Option<Presentation> {
    let newest = core.anchor.newest_of(view.chain.id).filter(|_| core.anchor.is_vouched())?;
    let next = newest.generation + 1;
    let is_last = match core.anchor.head(view.chain.id) {
        Some(head) => head.family == newest.family && head.generation <= next,
        None => core.history.has_others(),
    };
    let is_here = newest.family == view.family.id && newest.generation >= view.head.number;
    (is_here && is_last && core.anchor.taken(newest.family, next).is_none()).then_some(newest)
}

/// Its answer, and no other one's: in its slot where it was never put away, else as the family's newest.
fn kept(core: &Core, newest: Presentation) -> Result<Option<SpooledAnswer>, KeeperError> {
    let asked = Asked::Attempt(newest.attempt);
    let found = match core.spool.answer(asked)? {
        Some(answer) => Some(answer),
        None => core.spool.kept(newest.family)?,
    };
    Ok(found.filter(|answer| answer.asked == asked))
}

async fn healed(
    core: &Arc<Core>,
    view: &ChainView,
    newest: Presentation,
    kept: SpooledAnswer,
) -> Result<Option<Healed>, KeeperError> {
    let is_its = belongs_at(&kept.context, view, SecretKind::Answer, newest.generation);
    let Some(material) = is_its.then(|| Material::open(core, view).ok()).flatten() else { return Ok(None) };
    let raw = match core.open(&(kept.answer, kept.context)) {
        Err(KeeperError::Custody(CustodyError::Refused)) => return Ok(None),
        other => other?,
    };
    let Parsed::Tokens(tokens) = token::parse(&raw, &material.profile) else { return Ok(None) };
    // Which refresh token lives on, where the answer brings none, nobody knows.
    if tokens.refresh.is_none() {
        return Ok(None);
    }
    let before = Before {
        context: &material.context,
        refresh: None,
        refresh_until: None,
        attempt: Some(newest.attempt),
        sealers: None,
    };
    let number = newest.generation + 1;
    let (generation, due_at) = brought::generation(core, &material.profile, before, &tokens, number)?;
    let Some(owner) = core.fresh_owner().await else { return Ok(None) };
    let attempt = Attempt {
        tenant: view.chain.tenant,
        id: newest.attempt,
        chain: view.chain.id,
        family: newest.family,
        generation: newest.generation,
        fence: view.chain.fence,
        owner,
        era: core.history.era(),
        state: AttemptState::Committed,
        intended_at: tokens.head.at,
        answer: None,
    };
    let refreshed_at = tokens.head.at;
    Ok(Some(Healed { fence: view.chain.fence, attempt, generation, due_at, refreshed_at }))
}
