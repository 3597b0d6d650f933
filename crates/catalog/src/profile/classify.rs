//! What an answer of the token endpoint means for the refresh token that was presented.
//!
//! The rule leans to one side: only what the profile names is certain. Everything else after the first
//! byte is `Uncertain`, because a proxy's 502 says nothing of what the server behind it did with the token.

use super::Profile;
use serde::Serialize;

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
        if self.not_processed_statuses.contains(&status) || named(&self.not_processed_errors) {
            return TokenErrorClass::NotProcessed;
        }
        // Some providers answer errors with 200. A code under 5xx, or on a redirect, was not said by who decides.
        let is_verdict = matches!(status, 200..=299 | 400..=499);
        match (is_verdict, named(&self.client_errors), named(&self.permanent_errors)) {
            (true, true, _) => TokenErrorClass::Client,
            (true, false, true) => TokenErrorClass::Permanent,
            _ => TokenErrorClass::Uncertain,
        }
    }
}

#[cfg(test)]
mod tests;
