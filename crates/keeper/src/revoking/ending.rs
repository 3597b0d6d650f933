//! One token's end, from its row to the provider's word.
//!
//! What the seal says is law: whose the token is, at which endpoint it is revoked, as which client. Our own
//! secret goes there only if its seal names that endpoint too.
//!
//! | the provider says | and so |
//! |---|---|
//! | 200 or 204 | it is revoked (RFC 7009 §2.2) |
//! | 400 `invalid_token`, `invalid_grant` | it was dead before: providers say so that should say 200 |
//! | 400 `unsupported_token_type` | it never will (§2.2.1): given up, an access token without a word, since it ends by itself |
//! | 408, 425, 429, 5xx, nothing | later (§2.2.1: the token still exists), as it asks, up to [`TRIES_MAX`] times |
//! | anything else | likewise, but only up to [`REFUSALS_MAX`] times: somebody may mend a registration or an address |
//!
//! Refusals are counted by themselves, in memory: what waited long for somebody is not given up for its first refusal. A turn
//! that passed because its provider is left alone counts towards nothing.
//!
//! What is given up is deleted and told to people: nobody holds that token any more, and at the provider it may live.

use crate::{
    core::Core,
    error::KeeperError,
    history, imports,
    machine::{ANSWER_WITHIN, Reading, SEND_WITHIN},
    refresh::material::{Registered, destination, registered},
    schedule,
    token::{self, ANSWER_MAX_BYTES, Parsed, Presented},
};
use bytes::Bytes;
use http::Request;
use nightlatch_catalog::profile::{Endpoint, Profile};
use nightlatch_custody::{CustodyError, Secret};
use nightlatch_domain::{
    clock::Boot,
    ports::store::{Revocation, StoreError, Whose},
    sealed::{SealContext, SecretKind},
};
use nightlatch_egress::{Destination, RawAnswer, SendWindow};
use nightlatch_ledger::{
    facts::{EventFacts, oauth_error},
    record::EventName,
};
use serde::Deserialize;
use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

/// So often a provider is asked that cannot take it, or that somebody else is in the way of: the waits between come to two or
/// three weeks.
const TRIES_MAX: u32 = 100;
/// So often where it is refused: about two hours.
const REFUSALS_MAX: u32 = 8;

const REFRESH: &str = "refresh_token";
const ACCESS: &str = "access_token";

/// What came of a try.
enum Came {
    /// The provider confirmed its end.
    Revoked,
    /// There is no token in it.
    Empty,
    /// It never will.
    GivenUp(&'static str),
    /// Its provider is left alone.
    Passed,
    /// It is not this one's turn.
    Later(&'static str),
    /// The provider could not take it.
    Busy { why: &'static str, retry_after: Option<Duration> },
    /// It was refused, and may be taken when somebody has mended something.
    Refused(&'static str),
}

/// Ends one, or leaves it for later.
pub(super) async fn end(core: Arc<Core>, row: Revocation) {
    let endpoint = row.secret.1.revocation_endpoint.as_deref();
    let endpoint = endpoint.and_then(|endpoint| Endpoint::parse(endpoint).ok());
    let origin = endpoint.as_ref().map(Endpoint::origin).unwrap_or_default();
    let lane = core.revoking.lane(&origin);
    // First the provider's lane: whoever waits behind a provider that hangs occupies nothing else.
    let Ok(_lane) = lane.acquire().await else { return };
    let Ok(_place) = core.revoking.places.acquire().await else { return };
    if core.stopping.load(Ordering::SeqCst) {
        return;
    }
    // Whoever counts the try up presents it; the row is due again only when that may have come to nothing.
    let wait = schedule::revocation(row.tries, None, core.jitter());
    if !postpone(&core, &row, wait).await {
        return;
    }
    let came = match endpoint {
        None => Came::Refused("endpoint-unreadable"),
        Some(_) if core.revoking.is_held(&origin, core.now()) => Came::Passed,
        Some(endpoint) => present(&core, &row, &endpoint).await,
    };
    conclude(&core, &row, came, wait).await;
}

/// Counts a try up; `false` where somebody else did, or nothing was written.
async fn postpone(core: &Core, row: &Revocation, wait: Duration) -> bool {
    let (tries, not_before) = (row.tries.saturating_add(1), core.now().wall.plus(wait));
    let counted = core.store().postpone_revocation(row.tenant, row.id, tries, not_before).await;
    counted == Ok(true)
}

async fn conclude(core: &Core, row: &Revocation, came: Came, waits: Duration) {
    let tries = row.tries.saturating_add(1);
    let turns = core.revoking.turned(row.id, |turns| match came {
        Came::Refused(_) => turns.refused = turns.refused.saturating_add(1),
        Came::Passed => turns.passed = turns.passed.saturating_add(1),
        _ => {}
    });
    let is_enough = tries.saturating_sub(turns.passed) >= TRIES_MAX;
    let told = match came {
        Came::Empty => None,
        Came::Revoked => Some((EventName::TokenRevoked, None)),
        Came::GivenUp(why) => Some((EventName::RevocationGivenUp, Some(why))),
        Came::Passed => return tell_of_later(row, "provider-waits"),
        Came::Later(why) | Came::Busy { why, .. } if is_enough => {
            Some((EventName::RevocationGivenUp, Some(why)))
        }
        Came::Refused(why) if is_enough || turns.refused >= REFUSALS_MAX => {
            Some((EventName::RevocationGivenUp, Some(why)))
        }
        Came::Later(why) | Came::Refused(why) => return tell_of_later(row, why),
        Came::Busy { why, retry_after } => {
            tell_of_later(row, why);
            if retry_after.is_some_and(|asked| asked > waits) {
                let asked = schedule::revocation(row.tries, retry_after, core.jitter());
                postpone(core, &Revocation { tries, ..row.clone() }, asked).await;
            }
            return;
        }
    };
    // It is told first: what was deleted and not told would be known to nobody.
    if let Some((event, reason)) = told {
        let facts = EventFacts {
            tenant: Some(row.tenant),
            connection: row.secret.1.connection,
            reason,
            ..EventFacts::new(event)
        };
        core.note(facts).await;
    }
    core.revoking.forget(row.id);
    if let Err(error) = core.store().confirm_revocation(row.tenant, row.id).await {
        tracing::warn!(%error, revocation = %row.id, "a token that was revoked could not be deleted yet");
    }
}

fn tell_of_later(row: &Revocation, why: &'static str) {
    tracing::info!(why, tries = row.tries, revocation = %row.id, "a token is yet to be revoked at its provider");
}

/// A row that was opened and checked. Has no `Debug`.
struct Opened {
    tokens: Vec<(Secret, &'static str)>,
    client: Registered,
    profile: Profile,
    to: Destination,
    whose: Whose,
}

async fn present(core: &Arc<Core>, row: &Revocation, endpoint: &Endpoint) -> Came {
    // From the look at who lives there on: nothing leaves much later than what was seen.
    let send_by = core.now().boot.plus(SEND_WITHIN);
    let opened = match open(core, row, endpoint).await {
        Ok(opened) => opened,
        Err(came) => return came,
    };
    // Looked at after all that was read: what was read is of the history that every log agrees with.
    match history::settle(core).await {
        Ok(true) => {}
        Ok(false) | Err(_) => return Came::Later("history-unsettled"),
    }
    let mut whole = Came::Empty;
    for (token, hint) in &opened.tokens {
        if core.now().boot >= send_by {
            return Came::Later("turn-is-over");
        }
        match present_one(core, endpoint, &opened, (token, *hint), send_by).await {
            Came::Revoked if matches!(whole, Came::GivenUp(_)) => {}
            Came::Revoked => whole = Came::Revoked,
            // It ends by itself, and soon.
            Came::GivenUp(why) if *hint == ACCESS => {
                tracing::info!(why, revocation = %row.id, "an access token is left to its end");
            }
            Came::GivenUp(why) => whole = Came::GivenUp(why),
            other => return other,
        }
    }
    whole
}

async fn open(core: &Core, row: &Revocation, endpoint: &Endpoint) -> Result<Opened, Came> {
    let unreadable = || Came::Refused("token-unreadable");
    let context = &row.secret.1;
    let (tenant, client) = (context.tenant, context.client.ok_or_else(unreadable)?);
    if tenant != row.tenant || context.revocation_endpoint.is_none() {
        return Err(unreadable());
    }
    let secret = core.open(&row.secret).map_err(|error| unopened(&error, "token-unreadable"))?;
    let unavailable = |_: StoreError| Came::Later("store-unavailable");
    let whose = Whose { tenant, client, chain: context.chain, connection: context.connection, family: None };
    is_nobodys(core, whose).await?;
    let name = context.provider.as_ref().ok_or_else(unreadable)?;
    // The operator's file may come back.
    let profile = core.profile(name).ok_or(Came::Later("profile-missing"))?.clone();
    let kept = core.store().client(tenant, client).await.map_err(unavailable)?;
    let own = kept.as_ref().filter(|client| {
        let sealed = client.secret.as_ref().map(|(_, context)| &context.revocation_endpoint);
        sealed == Some(&context.revocation_endpoint)
    });
    const UNVERIFIED: &str = "registration-unverified";
    let own = own.ok_or(Came::Refused(UNVERIFIED))?;
    // By itself first: what a key that is not at hand does not open is no refusal.
    if let Some(sealed) = &own.secret {
        core.open(sealed).map_err(|error| unopened(&error, UNVERIFIED))?;
    }
    let client = registered(core, own, context).map_err(|_| Came::Refused(UNVERIFIED))?;
    let to = destination(endpoint).map_err(|_| Came::Refused("endpoint-unreadable"))?;
    let tokens = tokens(context, secret, &profile)?;
    Ok(Opened { tokens, client, profile, to, whose })
}

/// Only what is not what was sealed is refused; whatever else fails may do better the next time.
fn unopened(error: &KeeperError, why: &'static str) -> Came {
    match error {
        KeeperError::Custody(CustodyError::Refused) => Came::Refused(why),
        _ => Came::Later("key-unavailable"),
    }
}

/// Fails where somebody may live on it, by the database or by this keeper's log.
async fn is_nobodys(core: &Core, whose: Whose) -> Result<(), Came> {
    let family = whose.chain.and_then(|chain| core.anchor.head(chain)).map(|head| head.family);
    match core.store().may_be_lived_on(Whose { family, ..whose }, core.now().wall).await {
        Ok(false) => Ok(()),
        Ok(true) => Err(Came::Later("account-in-use")),
        Err(_) => Err(Came::Later("store-unavailable")),
    }
}

/// What of a secret can be revoked, the refresh token first: with it a provider should end the access tokens (RFC 7009 §2.1).
fn tokens(
    context: &SealContext,
    secret: Secret,
    profile: &Profile,
) -> Result<Vec<(Secret, &'static str)>, Came> {
    match context.kind {
        SecretKind::Refresh => Ok(vec![(secret, REFRESH)]),
        SecretKind::Access => Ok(vec![(secret, ACCESS)]),
        SecretKind::Answer => in_answer(&imports::answer_in(secret), profile),
        SecretKind::Static | SecretKind::ClientSecret | SecretKind::Flow => {
            Err(Came::Refused("token-unreadable"))
        }
    }
}

/// A success that nobody can read may hold tokens all the same: nobody will know them, and people are told.
fn in_answer(raw: &Secret, profile: &Profile) -> Result<Vec<(Secret, &'static str)>, Came> {
    let is_success = || token::split(raw).is_none_or(|(head, _)| (200..=299).contains(&head.status));
    match token::parse(raw, profile) {
        Parsed::Tokens(tokens) => {
            let refresh = tokens.refresh.map(|token| (token, REFRESH));
            Ok(refresh.into_iter().chain([(tokens.access, ACCESS)]).collect())
        }
        Parsed::Failed(Reading::Unclear { .. }) if is_success() => Err(Came::GivenUp("answer-unreadable")),
        Parsed::Failed(_) => Ok(Vec::new()),
    }
}

async fn present_one(
    core: &Core,
    endpoint: &Endpoint,
    opened: &Opened,
    (token, hint): (&Secret, &'static str),
    send_by: Boot,
) -> Came {
    let registration = opened.client.with(opened.client.auth);
    let presented = Presented::Revocation { token, hint };
    let Ok(request) = token::request(endpoint, opened.profile.body, &registration, &presented) else {
        return Came::Refused("registration-incomplete");
    };
    let origin = endpoint.origin();
    let came = match exchange(core, opened, request, send_by).await {
        Err(came) => came,
        Ok(answer) => {
            let retry_after = token::retry_after_secs(&answer.headers, core.now().wall);
            let error = serde_json::from_slice::<Told>(&answer.body).ok().and_then(|told| told.error);
            read(answer.status.as_u16(), error.as_deref(), retry_after.map(Duration::from_secs))
        }
    };
    match came {
        Came::Busy { retry_after, .. } => core.revoking.hold(&origin, core.now(), retry_after),
        // Nothing was asked.
        Came::Later(_) => {}
        _ => core.revoking.free(&origin),
    }
    came
}

async fn exchange(
    core: &Core,
    opened: &Opened,
    request: Request<Bytes>,
    send_by: Boot,
) -> Result<RawAnswer, Came> {
    let busy = |why| Came::Busy { why, retry_after: None };
    let line = core.parts.wire.dial(&opened.to, send_by).await.map_err(|error| {
        tracing::info!(%error, "a provider could not be reached to revoke a token");
        busy("provider-unreachable")
    })?;
    // To dial takes its time, and somebody may have come meanwhile.
    is_nobodys(core, opened.whose).await?;
    let window = SendWindow { send_by, answer_by: send_by.plus(ANSWER_WITHIN) };
    line.send(request, ANSWER_MAX_BYTES, window).await.map_err(|error| {
        tracing::info!(%error, "no answer came to a revocation");
        busy("no-answer")
    })
}

/// RFC 6749 §5.2.
#[derive(Deserialize)]
struct Told {
    error: Option<String>,
}

fn read(status: u16, error: Option<&str>, retry_after: Option<Duration>) -> Came {
    match (status, error) {
        (200 | 204, _) | (400, Some("invalid_token" | "invalid_grant")) => Came::Revoked,
        (400, Some("unsupported_token_type")) => Came::GivenUp("unsupported_token_type"),
        (408 | 425 | 429 | 500..=599, _) => Came::Busy { why: "provider-busy", retry_after },
        (status, error) => {
            let code = error.map_or("", oauth_error);
            tracing::info!(status, code, "a provider refused to revoke a token");
            Came::Refused("provider-refuses")
        }
    }
}

#[cfg(test)]
mod tests {
    //! What a provider says of a token that was presented to be revoked, and what follows.

    use super::{Came, read, unopened};
    use crate::error::KeeperError;
    use nightlatch_custody::CustodyError;
    use nightlatch_domain::clock::NoEntropy;
    use std::time::Duration;

    fn word(status: u16, error: Option<&str>) -> &'static str {
        match read(status, error, Some(Duration::from_secs(7))) {
            Came::Revoked => "revoked",
            Came::GivenUp(_) => "given up",
            Came::Busy { retry_after, .. } if retry_after == Some(Duration::from_secs(7)) => "busy",
            Came::Refused(_) => "refused",
            Came::Empty | Came::Passed | Came::Later(_) | Came::Busy { .. } => "something else",
        }
    }

    #[test]
    fn what_cannot_be_opened_just_now_is_not_refused() {
        let refused = |error| matches!(unopened(&error, "why"), Came::Refused("why"));
        assert!(refused(KeeperError::Custody(CustodyError::Refused)));
        for error in [CustodyError::SealFailed, CustodyError::NoEntropy(NoEntropy)] {
            assert!(matches!(unopened(&KeeperError::Custody(error), "why"), Came::Later("key-unavailable")));
        }
    }

    #[test]
    fn only_the_providers_word_ends_a_token() {
        let all = [
            (
                "revoked",
                &[(200, None), (204, None), (400, Some("invalid_token")), (400, Some("invalid_grant"))],
            ),
            ("given up", &[(400, Some("unsupported_token_type")); 4]),
            ("busy", &[(408, None), (429, Some("slow_down")), (500, None), (503, Some("invalid_token"))]),
            (
                "refused",
                &[(400, None), (401, Some("invalid_client")), (403, Some("invalid_token")), (302, None)],
            ),
            ("refused", &[(202, None), (404, None), (405, None), (401, Some("unsupported_token_type"))]),
        ];
        for (expected, answers) in all {
            for (status, error) in answers {
                assert_eq!(word(*status, *error), expected, "{status} {error:?}");
            }
        }
    }
}
