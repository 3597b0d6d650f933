//! From an answer to a generation: what the new head is, and when it is refreshed next.

use super::sealer::NextSealers;
use crate::{core::Core, error::KeeperError, observed::contradictions, schedule, token::Tokens};
use nightlatch_catalog::profile::Profile;
use nightlatch_custody::Secret;
use nightlatch_domain::{chain::Generation, clock::Timestamp, id::AttemptId, sealed::SealContext};
use std::time::Duration;

/// What a generation follows on.
pub(crate) struct Before<'a> {
    /// The context of the refresh token that was presented, or that a flow remembered.
    pub(crate) context: &'a SealContext,
    /// The presented refresh token: it lives on where the answer brings none.
    pub(crate) refresh: Option<&'a Secret>,
    /// Its end, where the provider once named one.
    pub(crate) refresh_until: Option<Timestamp>,
    /// The attempt.
    pub(crate) attempt: Option<AttemptId>,
    /// The data keys for it, where they were made ready before the answer came.
    pub(crate) sealers: Option<NextSealers>,
}

/// Wraps what an answer brought as generation `number`; answers it with its timer.
pub(crate) fn generation(
    core: &Core,
    profile: &Profile,
    before: Before<'_>,
    tokens: &Tokens,
    number: u64,
) -> Result<(Generation, Option<Timestamp>), KeeperError> {
    let family = before.context.family.ok_or(KeeperError::Registration("a token without a family"))?;
    let refresh_until = refresh_until(&before, tokens);
    let sealers = match before.sealers {
        Some(ready) => ready,
        None => NextSealers::of(core, before.context, number)?,
    };
    core.observed.note(before.context, &contradictions(profile, before.refresh, tokens));
    // I4: a refresh token that the answer does not replace is carried over, never dropped.
    let refresh = tokens.refresh.as_ref().or(before.refresh);
    let at = tokens.head.at;
    let generation = Generation {
        tenant: before.context.tenant,
        family,
        number,
        refresh: refresh.map(|token| sealers.refresh.seal(token)).transpose()?,
        access: sealers.access.seal(&tokens.access)?,
        access_until: access_until(profile, tokens),
        refresh_until,
        attempt: before.attempt,
        created_at: at,
    };
    let due_at = due_at(profile, &generation, tokens, core.jitter());
    Ok((generation, due_at))
}

fn access_until(profile: &Profile, tokens: &Tokens) -> Option<Timestamp> {
    let usual = profile.access_ttl_default_secs.and_then(|secs| i64::try_from(secs).ok());
    // An end that is over when it is told says nothing: believed, it would be refreshed without a pause.
    tokens.expires_in.filter(|secs| *secs > 0).or(usual).map(|secs| schedule::ends_at(tokens.head.at, secs))
}

fn refresh_until(before: &Before<'_>, tokens: &Tokens) -> Option<Timestamp> {
    let told = [tokens.refresh_expires_in, tokens.consent_expires_in].into_iter().flatten().min();
    let told = told.map(|secs| schedule::ends_at(tokens.head.at, secs));
    told.or(if tokens.refresh.is_none() { before.refresh_until } else { None })
}

/// When the timer next acts for a generation.
fn due_at(profile: &Profile, generation: &Generation, tokens: &Tokens, jitter: u16) -> Option<Timestamp> {
    // How long an unused refresh token lives, an answer knows better than a profile; but see `END_MIN`.
    let far = i64::try_from(schedule::END_MIN.as_secs()).unwrap_or(i64::MAX);
    let is_told = tokens.refresh_expires_in.is_some_and(|secs| secs > far);
    let idle = profile.refresh_idle_ttl_secs.filter(|_| !is_told);
    let life = schedule::Life {
        since: generation.created_at,
        access_until: generation.access_until,
        refresh_until: generation.refresh_until,
        idle: idle.map(Duration::from_secs),
        window: profile.refresh_window_secs.map(Duration::from_secs),
        refreshable: generation.refresh.is_some(),
    };
    schedule::due(&life, jitter)
}
