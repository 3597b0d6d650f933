//! What a family's answers show of its provider, held against the profile.
//!
//! Profiles go stale: within two years half of the providers that were looked up began to rotate, or to let refresh
//! tokens end. What an answer says is believed there and then; that it says something else than the profile is
//! told once, so that somebody looks the provider up again before a decision rests on what no longer holds.

use crate::token::Tokens;
use nightlatch_catalog::profile::{Profile, Rotation};
use nightlatch_custody::Secret;
use nightlatch_domain::{id::FamilyId, sealed::SealContext};
use nightlatch_ledger::{facts::EventFacts, record::EventName};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, PoisonError},
};

/// Families that are remembered as told of; beyond it the oldest are forgotten, and may be told of again.
const FAMILIES_MAX: usize = 4096;

/// What a profile says and an answer does not bear out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Contradiction {
    /// A refresh brought a new refresh token where none does.
    Rotated,
    /// A refresh brought no new refresh token where each does.
    NotRotated,
    /// An unused refresh token ends sooner than the profile says.
    RefreshEndsSooner,
    /// An access token lives less than half as long as the profile says. Many providers let an owner choose, within
    /// bounds; this is beyond them.
    AccessEndsSooner,
}

impl Contradiction {
    const fn word(self) -> &'static str {
        match self {
            Self::Rotated => "rotated",
            Self::NotRotated => "not-rotated",
            Self::RefreshEndsSooner => "refresh-token-ends-sooner",
            Self::AccessEndsSooner => "access-token-ends-sooner",
        }
    }
}

/// What an answer shows that its profile denies. `presented` is the refresh token that it answers; none for a code.
pub(crate) fn contradictions(
    profile: &Profile,
    presented: Option<&Secret>,
    tokens: &Tokens,
) -> Vec<Contradiction> {
    let rotated = presented.map(|presented| {
        tokens.refresh.as_ref().is_some_and(|brought| brought.expose() != presented.expose())
    });
    let rotation = match (profile.rotation, rotated) {
        (Rotation::None, Some(true)) => Some(Contradiction::Rotated),
        (Rotation::Always, Some(false)) => Some(Contradiction::NotRotated),
        _ => None,
    };
    let secs = |life: Option<i64>| life.and_then(|secs| u64::try_from(secs).ok()).filter(|secs| *secs > 0);
    // What ends with the consent says nothing of how long an unused token lives.
    let is_cut = |life: u64| secs(tokens.consent_expires_in).is_some_and(|consent| consent <= life);
    let idle = secs(tokens.refresh_expires_in).filter(|life| !is_cut(*life));
    // A second or two are lost on the way.
    let sooner =
        idle.zip(profile.refresh_idle_ttl_secs).is_some_and(|(life, usual)| life < usual - usual / 100);
    let access = secs(tokens.expires_in).zip(profile.access_ttl_default_secs);
    let shorter = access.is_some_and(|(life, usual)| life < usual / 2);
    let ends = [(sooner, Contradiction::RefreshEndsSooner), (shorter, Contradiction::AccessEndsSooner)];
    let ends = ends.into_iter().filter(|(holds, _)| *holds).map(|(_, what)| what);
    rotation.into_iter().chain(ends).collect()
}

/// What was seen since the start, and what of it is still to be told.
#[derive(Default)]
pub(crate) struct Observed(Mutex<Seen>);

#[derive(Default)]
struct Seen {
    told: BTreeMap<FamilyId, BTreeSet<Contradiction>>,
    untold: Vec<EventFacts>,
}

impl Observed {
    /// Takes note of what an answer to a token of this context showed.
    pub(crate) fn note(&self, context: &SealContext, found: &[Contradiction]) {
        let Some(family) = context.family.filter(|_| !found.is_empty()) else { return };
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for what in found {
            if !seen.told.entry(family).or_default().insert(*what) {
                continue;
            }
            tracing::warn!(%family, what = what.word(), "a provider does not do as its profile says");
            seen.untold.push(EventFacts {
                tenant: Some(context.tenant),
                connection: context.connection,
                reason: Some(what.word()),
                ..EventFacts::new(EventName::ProfileContradicted)
            });
        }
        while seen.told.len() > FAMILIES_MAX {
            seen.told.pop_first();
        }
    }

    /// What the ledger is to hear of, once.
    pub(crate) fn untold(&self) -> Vec<EventFacts> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner).untold)
    }
}

#[cfg(test)]
mod tests {
    use super::{Contradiction, contradictions};
    use crate::token::{Parsed, Tokens, parse, raw};
    use http::HeaderMap;
    use nightlatch_catalog::profile::Profile;
    use nightlatch_custody::Secret;
    use nightlatch_domain::clock::Timestamp;

    fn profile(lines: &str) -> Profile {
        Profile::parse("own.toml", &format!("name = 'own'\ntitle = 'Own'\n{lines}")).unwrap()
    }

    fn tokens(body: &str, profile: &Profile) -> Tokens {
        let kept = raw(200, &HeaderMap::new(), body.as_bytes().to_vec(), Timestamp::from_millis(5));
        let Parsed::Tokens(tokens) = parse(&kept, profile) else { panic!("{body}") };
        tokens
    }

    fn seen(lines: &str, presented: Option<&str>, body: &str) -> Vec<Contradiction> {
        let (profile, presented) =
            (profile(lines), presented.map(|text| Secret::from_string(text.to_owned())));
        contradictions(&profile, presented.as_ref(), &tokens(body, &profile))
    }

    #[test]
    fn rotation_is_held_against_the_profile() {
        let (new, same, none) = (
            r#"{"access_token":"a","refresh_token":"new"}"#,
            r#"{"access_token":"a","refresh_token":"old"}"#,
            r#"{"access_token":"a"}"#,
        );
        for (rotation, body, told) in [
            ("none", new, vec![Contradiction::Rotated]),
            ("none", same, vec![]),
            ("none", none, vec![]),
            ("always", new, vec![]),
            ("always", same, vec![Contradiction::NotRotated]),
            ("always", none, vec![Contradiction::NotRotated]),
            ("sometimes", new, vec![]),
            ("sometimes", same, vec![]),
        ] {
            let lines = format!("rotation = '{rotation}'");
            assert_eq!(seen(&lines, Some("old"), body), told, "{rotation} {body}");
            // The first tokens of a consent rotate nothing.
            assert_eq!(seen(&lines, None, body), [], "{rotation} {body}");
        }
    }

    #[test]
    fn a_life_that_is_told_is_held_against_the_profile() {
        let lines = "refresh_idle_ttl_secs = 1000\naccess_ttl_default_secs = 100";
        for (body, told) in [
            (r#"{"access_token":"a","expires_in":49}"#, vec![Contradiction::AccessEndsSooner]),
            (r#"{"access_token":"a","expires_in":50,"refresh_token_timeout":990}"#, vec![]),
            (r#"{"access_token":"a","refresh_token_timeout":989}"#, vec![Contradiction::RefreshEndsSooner]),
            // What the consent's end cuts is no idle window.
            (r#"{"access_token":"a","refresh_token_timeout":9,"authorization_expires_in":9}"#, vec![]),
            (r#"{"access_token":"a","expires_in":-1,"refresh_token_timeout":0}"#, vec![]),
        ] {
            assert_eq!(seen(lines, None, body), told, "{body}");
        }
        assert_eq!(seen("", None, r#"{"access_token":"a","expires_in":1,"refresh_token_timeout":1}"#), []);
    }
}
