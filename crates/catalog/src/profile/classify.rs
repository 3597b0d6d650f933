//! What an answer of the token endpoint means for the refresh token that was presented.
//!
//! The rule leans to one side: only what the profile names is certain. Everything else after the first
//! byte is `Uncertain`, because a proxy's 502 says nothing of what the server behind it did with the token.
//!
//! Two of the classes let the same token be presented again as if nothing had happened, and a profile that is
//! wrong about one of them loses a family. So they need more than a name in a list: the list must be verified
//! ([`Profile::may_decide`]), or a standard must say of that very code that no grant was looked at. A permanent
//! error presents nothing again and asks a human, which `Uncertain` does as well, so there a name is enough.

use super::Profile;
use serde::Serialize;

/// RFC 6749 §5.2: "client authentication failed", and §6 has the server authenticate the client before it
/// validates the refresh token. No other code of that section says what was not done.
const INVALID_CLIENT: &str = "invalid_client";

/// What an answer without tokens means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum TokenErrorClass {
    /// The provider ended the chain: latch it and ask a human.
    Permanent,
    /// Our registration is at fault: stop the client with one incident before its chains latch.
    Client,
    /// The refresh token was not looked at: back off and present it again, as a first presentation.
    NotProcessed,
    /// Nobody knows whether the token was consumed.
    Uncertain,
}

impl Profile {
    /// The class of an answer, by its status and its `error` (RFC 6749 §5.2), where it had one.
    #[must_use]
    pub fn classify(&self, status: u16, error_code: Option<&str>) -> TokenErrorClass {
        let named = |list: &[String]| error_code.is_some_and(|code| list.iter().any(|own| own == code));
        let status_says = self.not_processed_statuses.contains(&status);
        if (status_says && self.may_decide("not_processed_statuses"))
            || (named(&self.not_processed_errors) && self.may_decide("not_processed_errors"))
        {
            return TokenErrorClass::NotProcessed;
        }
        let is_client = named(&self.client_errors)
            && (error_code == Some(INVALID_CLIENT) || self.may_decide("client_errors"));
        // Some providers answer errors with 200. A code under 5xx, or on a redirect, was not said by who decides.
        let is_verdict = matches!(status, 200..=299 | 400..=499);
        match (is_verdict, is_client, named(&self.permanent_errors)) {
            (true, true, _) => TokenErrorClass::Client,
            (true, false, true) => TokenErrorClass::Permanent,
            _ => TokenErrorClass::Uncertain,
        }
    }
}

#[cfg(test)]
mod tests;
