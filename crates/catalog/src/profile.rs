//! A provider's profile: where its OAuth endpoints are, and how it treats tokens.
//!
//! There is no common rule: a second presentation of a refresh token is harmless at one provider and ends
//! the whole connection at the next. So the behaviour is data, each fact with its source, and **a fact that
//! is not stated has its worst value**: what nobody looked up must not be counted on.

mod classify;
mod dialect;
mod endpoint;
mod read;
mod token_place;

pub use classify::TokenErrorClass;
pub use endpoint::{Endpoint, EndpointError};
pub use token_place::{TokenPlace, TokenPlaceError};

use nightlatch_domain::{sealed::ClientAuth, tool::Name};
use serde::Serialize;
use std::collections::BTreeMap;

/// What is known of one provider. Made by [`Profile::parse`] only, which checks all of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Profile {
    /// Its name.
    pub name: Name,
    /// The provider's name for people.
    pub title: String,
    /// The issuer (RFC 8414 §2); none where the provider names none: then the token endpoint's origin stands
    /// for it.
    pub issuer: Option<String>,
    /// Where a human is sent; none in the generic profile, which cannot be connected to as it is.
    pub authorization_endpoint: Option<Endpoint>,
    /// Where codes and refresh tokens are presented.
    pub token_endpoint: Option<Endpoint>,
    /// Where refresh tokens are presented, where that is another address. Alone where no human can be sent to the
    /// provider: then its refresh tokens are brought in.
    pub refresh_endpoint: Option<Endpoint>,
    /// Other addresses at which the provider takes them, which clients use: answered by us as well.
    pub token_endpoint_aliases: Vec<TokenPlace>,
    /// RFC 7009; none where there is none.
    pub revocation_endpoint: Option<Endpoint>,
    /// RFC 7662; none where there is none.
    pub introspection_endpoint: Option<Endpoint>,
    /// Where a human registers a client: a page of the provider.
    pub registration_page: Option<String>,
    /// Whether the provider announces `iss` in its authorization response (RFC 9207 §3): then an answer
    /// without it is refused.
    pub iss_announced: bool,
    /// Whether a code is bound to a verifier.
    pub pkce: Pkce,
    /// How a client may authenticate, the preferred way first.
    pub client_auth: Vec<ClientAuth>,
    /// What stands between two scopes (RFC 6749 §3.3 says a space; some providers differ).
    pub scope_separator: String,
    /// What the authorization request carries besides.
    pub extra_authorize_params: BTreeMap<String, String>,
    /// What the body of a token request is.
    pub body: BodyFormat,
    /// What a refresh carries besides.
    pub extra_refresh_params: BTreeMap<String, String>,
    /// The names that lead to the object of an answer in which its tokens stand; none where that is the answer itself.
    pub token_path: Vec<String>,
    /// The answer's field that holds the access token's life.
    pub expires_field: String,
    /// What an answer's lifetimes are counted in.
    pub expires_unit: TimeUnit,
    /// The answer's field that holds an error's code where `error` (RFC 6749 §5.2) is absent, or is none that is listed
    /// here: some providers write a sentence there.
    pub error_field: Option<String>,
    /// How long an access token lives where the answer has no `expires_in`; none: until it is refused.
    pub access_ttl_default_secs: Option<u64>,
    /// The refresh token dies when it is not used for so long; none where no such limit is known.
    pub refresh_idle_ttl_secs: Option<u64>,
    /// The refresh token dies so long after consent whatever happens; none where no such limit is known.
    pub refresh_absolute_ttl_secs: Option<u64>,
    /// The answer's field that holds the refresh token's remaining life, in the unit of the other.
    pub refresh_expires_field: Option<String>,
    /// A refresh is refused while the access token has longer to live than this; none: it may come at any time.
    pub refresh_window_secs: Option<u64>,
    /// Whether a refresh brings a new refresh token.
    pub rotation: Rotation,
    /// What happens to whoever presents a consumed refresh token.
    pub reuse: Reuse,
    /// What a second presentation of the current refresh token yields.
    pub second_presentation: SecondPresentation,
    /// What becomes of the earlier access token at a refresh.
    pub old_access: OldAccess,
    /// How far a detected reuse reaches.
    pub blast: Blast,
    /// Error codes that end the chain for good.
    pub permanent_errors: Vec<String>,
    /// Error codes that concern our registration and not the chain.
    pub client_errors: Vec<String>,
    /// Error codes that are given before the refresh token is looked at.
    pub not_processed_errors: Vec<String>,
    /// Statuses that are given before the refresh token is looked at.
    pub not_processed_statuses: Vec<u16>,
    /// Where the facts are from.
    pub facts: Vec<Fact>,
}

/// PKCE (RFC 7636).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pkce {
    /// RFC 7636 §4.2, `S256`. The only method that is used.
    S256,
    /// The provider refuses requests with a challenge.
    None,
}

/// The body of a token request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum BodyFormat {
    /// `application/x-www-form-urlencoded` (RFC 6749 §6).
    Form,
    /// JSON, at some providers.
    Json,
}

/// What a lifetime is counted in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum TimeUnit {
    /// Seconds (RFC 6749 §5.1).
    Seconds,
    /// Milliseconds, at some providers.
    Milliseconds,
}

/// Whether a refresh brings a new refresh token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rotation {
    /// Never: the first one stays.
    None,
    /// Each time.
    Always,
    /// Now and then; also the value where nothing is known.
    Sometimes,
}

/// What happens to whoever presents a consumed refresh token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub struct Reuse {
    /// For so long after its use a consumed token is still taken.
    pub grace_secs: u64,
    /// What follows later.
    pub after_grace: AfterGrace,
}

/// What follows when a consumed refresh token is presented after its grace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AfterGrace {
    /// That presentation is refused, and nothing else happens.
    Reject,
    /// All refresh tokens of the family die.
    RevokeFamily,
    /// They die, and the access tokens with them: the worst.
    RevokeFamilyAndAccess,
}

/// What a second presentation of one refresh token yields inside the grace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SecondPresentation {
    /// The same answer again.
    Same,
    /// Another one, and both live.
    BothLive,
    /// Another one, and the first one's tokens die.
    LastWins,
    /// Nobody knows: treated as the worst.
    Unknown,
}

/// What becomes of the earlier access token at a refresh.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum OldAccess {
    /// It lives until its own end.
    Survives,
    /// It dies at once: calls under way are drained first.
    Dies,
}

/// How far a detected reuse reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Blast {
    /// This chain.
    Chain,
    /// Further: other clients or devices of the same account.
    Wider,
}

/// Where some facts are from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fact {
    /// The keys of the profile that it covers; of `reuse` each part by itself (`reuse.grace_secs`), since a page
    /// that tells of a grace says nothing of what follows it.
    pub covers: Vec<String>,
    /// A page, or how it was tried.
    pub source: String,
    /// How sure it is.
    pub confidence: Confidence,
    /// The day on which it was looked up, `YYYY-MM-DD`.
    pub checked_at: String,
}

/// How sure a fact is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Confidence {
    /// Read at the provider, or tried.
    Verified,
    /// Heard of, or not looked up.
    Unverified,
}

impl Profile {
    /// How sure what stands under this key is. What no fact covers is unverified.
    #[must_use]
    pub fn confidence(&self, key: &str) -> Confidence {
        let covering = self.facts.iter().filter(|fact| fact.covers.iter().any(|own| own == key));
        covering.map(|fact| fact.confidence).next().unwrap_or(Confidence::Unverified)
    }

    /// Whether what stands under this key may decide what can lose a family: only what was read at the provider,
    /// or tried. The rest is for people and for the timer, and where it would decide, its worst value does.
    #[must_use]
    pub fn may_decide(&self, key: &str) -> bool {
        self.confidence(key) == Confidence::Verified
    }

    /// The issuer of its chains: the announced one, else the token endpoint's origin. None in the generic
    /// profile.
    #[must_use]
    pub fn issuer_or_origin(&self) -> Option<String> {
        let endpoint = self.token_endpoint.as_ref().or(self.refresh_endpoint.as_ref());
        self.issuer.clone().or_else(|| endpoint.map(Endpoint::origin))
    }

    /// Whether an error's code stands in one of its lists.
    #[must_use]
    pub fn lists(&self, code: &str) -> bool {
        let lists = [&self.permanent_errors, &self.client_errors, &self.not_processed_errors];
        lists.iter().any(|list| list.iter().any(|own| own == code))
    }

    /// Where a refresh token is presented. None in the generic profile.
    #[must_use]
    pub fn refreshed_at(&self) -> Option<&Endpoint> {
        self.refresh_endpoint.as_ref().or(self.token_endpoint.as_ref())
    }

    /// Whether a human can be sent to it to connect an account: both endpoints of the code flow are there.
    #[must_use]
    pub const fn is_connectable(&self) -> bool {
        self.authorization_endpoint.is_some() && self.token_endpoint.is_some()
    }
}

#[cfg(test)]
mod tests;
