//! Heads that a database lost, from the answers that this keeper kept, or from themselves.
//!
//! A database that was put back knows an older head, whose token was consumed since. Where the answer to the newest
//! presentation that the log knows lies in the spool, what it brought is what the provider holds for good: it becomes the
//! head, and no human is asked. A refresh token that no refresh consumes is what it was: the head goes on above all that the
//! log knows. Otherwise nobody here knows what lives.

use super::{
    brought::{self, Before},
    material::{Material, belongs, belongs_at},
    sealer::NextSealers,
};
use crate::{
    anchor::{Head, Presentation},
    core::Core,
    error::KeeperError,
    spool::{Asked, SpooledAnswer},
    token::{self, Parsed, Tokens},
};
use nightlatch_catalog::profile::Rotation;
use nightlatch_custody::CustodyError;
use nightlatch_domain::{
    chain::{Attempt, AttemptState, Generation},
    clock::Timestamp,
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

/// Gives a chain its head again, where what was kept tells it, or where nothing was consumed.
pub(crate) async fn heal(core: &Arc<Core>, view: &ChainView) -> Result<Healing, KeeperError> {
    let kept = match newest(core, view) {
        Some(newest) => by_answer(core, view, newest).await?,
        None => None,
    };
    let healed = match kept {
        Some(healed) => healed,
        None if knows_another_family(core, view) || !outlives(core, view).await? => {
            return Ok(Healing::Nothing);
        }
        None => match by_itself(core, view).await? {
            Some(healed) => healed,
            None => return vouch(core, view).await,
        },
    };
    let (family, number) = (healed.attempt.family, healed.generation.number);
    match core.store().heal(healed).await {
        // A row that stands where none may be holds up its own chain alone.
        Err(StoreError::Exists(_) | StoreError::Missing(_) | StoreError::Corrupt(_)) => {
            return Ok(Healing::Nothing);
        }
        Ok(false) => return Ok(Healing::Moved),
        Ok(true) => {}
        Err(error) => return Err(error.into()),
    }
    let (chain, head) = (view.chain.id, Head { family, generation: number });
    core.on_disk(move |core| core.anchor.set_head(chain, head)).await?;
    tracing::warn!(%chain, generation = number, "a head that the database lost was healed");
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

async fn by_answer(
    core: &Arc<Core>,
    view: &ChainView,
    newest: Presentation,
) -> Result<Option<Healed>, KeeperError> {
    let Some(kept) = core.on_disk(move |core| kept(core, newest)).await? else { return Ok(None) };
    let Ok(material) = Material::open(core, view) else { return Ok(None) };
    let Some(tokens) = brought(core, view, &material, newest.generation, kept)? else { return Ok(None) };
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
    healed(core, view, newest, generation, due_at).await
}

/// What a kept answer brought, where it opens and answers that generation of this family.
fn brought(
    core: &Core,
    view: &ChainView,
    material: &Material,
    generation: u64,
    kept: SpooledAnswer,
) -> Result<Option<Tokens>, KeeperError> {
    if !belongs_at(&kept.context, view, SecretKind::Answer, generation) {
        return Ok(None);
    }
    let raw = match core.open(&(kept.answer, kept.context)) {
        Err(KeeperError::Custody(CustodyError::Refused)) => return Ok(None),
        other => other?,
    };
    Ok(match token::parse(&raw, &material.profile) {
        Parsed::Tokens(tokens) => Some(tokens),
        _ => None,
    })
}

/// Whether presenting a chain's head consumes nothing: its provider never rotates, which somebody verified, and no answer
/// that was kept shows otherwise.
pub(crate) async fn outlives(core: &Arc<Core>, view: &ChainView) -> Result<bool, KeeperError> {
    let Ok(material) = Material::open(core, view) else { return Ok(false) };
    if material.profile.rotation != Rotation::None || !material.profile.may_decide("rotation") {
        return Ok(false);
    }
    let family = view.family.id;
    let Some(kept) = core.on_disk(move |core| core.spool.kept(family)).await? else { return Ok(true) };
    let generation = kept.context.generation;
    let tokens = brought(core, view, &material, generation, kept)?;
    let rotated = tokens.and_then(|tokens| tokens.refresh);
    Ok(rotated.is_none_or(|rotated| rotated.expose() == material.token.expose()))
}

/// Whether a human connected the chain anew, as far as the log knows, which this database may not.
fn knows_another_family(core: &Core, view: &ChainView) -> bool {
    core.anchor.head(view.chain.id).is_some_and(|anchored| anchored.family != view.family.id)
}

/// The head as it is, above all that the log knows; none where the log knows nothing of what came after it.
async fn by_itself(core: &Arc<Core>, view: &ChainView) -> Result<Option<Healed>, KeeperError> {
    let (family, head) = (view.family.id, view.head.number);
    let newest = core.anchor.newest_of(view.chain.id);
    let newest = newest.filter(|one| one.family == family && one.generation >= head);
    let Some(newest) = newest.or(core.anchor.taken(family, head)) else { return Ok(None) };
    let anchored = core.anchor.head(view.chain.id).map_or(0, |anchored| anchored.generation);
    let mut number = anchored.max(newest.generation + 1);
    while core.anchor.taken(family, number).is_some() {
        number += 1;
    }
    let Ok(material) = Material::open(core, view) else { return Ok(None) };
    if !belongs(&view.head.access.1, view, SecretKind::Access) {
        return Ok(None);
    }
    let access = match core.open(&view.head.access) {
        Err(KeeperError::Custody(CustodyError::Refused)) => return Ok(None),
        other => other?,
    };
    let sealers = NextSealers::of(core, &material.context, number)?;
    let generation = Generation {
        number,
        refresh: Some(sealers.refresh.seal(&material.token)?),
        access: sealers.access.seal(&access)?,
        attempt: Some(newest.attempt),
        ..view.head.clone()
    };
    let now = core.now().wall;
    let due_at = view.head.access_until.filter(|until| *until > now).unwrap_or(now);
    healed(core, view, newest, generation, Some(due_at)).await
}

/// The database's head becomes the log's, which knows nothing that came after it.
async fn vouch(core: &Arc<Core>, view: &ChainView) -> Result<Healing, KeeperError> {
    let (chain, head) = (view.chain.id, Head { family: view.family.id, generation: view.head.number });
    let seen = core.anchor.head(chain);
    if seen.is_some_and(|seen| seen.family != head.family || seen.generation > head.generation) {
        return Ok(Healing::Nothing);
    }
    core.on_disk(move |core| core.anchor.take_over(&[(chain, seen, head)], &[])).await?;
    Ok(Healing::Done)
}

async fn healed(
    core: &Arc<Core>,
    view: &ChainView,
    newest: Presentation,
    generation: Generation,
    due_at: Option<Timestamp>,
) -> Result<Option<Healed>, KeeperError> {
    let Some(owner) = core.fresh_owner().await else { return Ok(None) };
    let refreshed_at = generation.created_at;
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
        intended_at: refreshed_at,
        intended_by: refreshed_at,
        answer: None,
    };
    Ok(Some(Healed { fence: view.chain.fence, attempt, generation, due_at, refreshed_at }))
}
