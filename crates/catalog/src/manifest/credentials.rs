//! Which fields of a request carry a credential.
//!
//! The list is closed: what is on it may hold the reference, in its place, or nothing. Entropy decides
//! nothing, or an agent could hide a credential by making it look dull. Names are compared folded, because
//! servers hand `X_Api_Key` and `x-api-key` to programs as one (CGI, WSGI).

use super::{Accept, Manifest};
use nightlatch_domain::tool::Placement;

/// Header names that carry a credential at every tool, folded.
pub const CREDENTIAL_HEADERS: &[&str] = &[
    "authorization",
    "cookie",
    "proxy-authorization",
    "x-amz-credential",
    "x-amz-security-token",
    "x-amz-signature",
];

/// Query names that carry a credential at every tool, folded (RFC 6750 §2.3; presigned requests).
pub const CREDENTIAL_QUERY: &[&str] = &[
    "access-token",
    "api-key",
    "apikey",
    "auth-token",
    "bearer-token",
    "client-assertion",
    "client-secret",
    "id-token",
    "oauth-token",
    "private-token",
    "refresh-token",
    "x-amz-credential",
    "x-amz-security-token",
    "x-amz-signature",
    "x-goog-credential",
    "x-goog-signature",
];

/// A field's name as careless servers see it: lower case, `_` and `.` as `-`.
#[must_use]
pub fn folded(name: &str) -> String {
    name.chars()
        .map(|letter| if matches!(letter, '_' | '.') { '-' } else { letter.to_ascii_lowercase() })
        .collect()
}

impl Manifest {
    /// Whether a header of this name carries a credential at this tool, whatever its spelling.
    #[must_use]
    pub fn is_credential_header(&self, name: &str) -> bool {
        let name = folded(name);
        CREDENTIAL_HEADERS.contains(&name.as_str())
            || self.credential_headers.iter().any(|own| folded(own) == name)
            || self.placed_headers().any(|own| folded(own) == name)
    }

    /// Whether a query value of this (decoded) name carries a credential at this tool, whatever its spelling.
    #[must_use]
    pub fn is_credential_query(&self, name: &str) -> bool {
        // `access_token[]` reaches a program as `access_token` in some frameworks.
        let name = folded(name.split('[').next().unwrap_or_default().trim());
        CREDENTIAL_QUERY.contains(&name.as_str())
            || self.credential_query.iter().any(|own| folded(own) == name)
    }

    /// Header names where a credential or a reference may stand on any host of the tool.
    fn placed_headers(&self) -> impl Iterator<Item = &str> {
        let placements = self.hosts.iter().flat_map(|host| [host.key.as_ref(), host.oauth.as_ref()]);
        let placed = placements.flatten().filter_map(|placement| match placement {
            Placement::Header { name, .. } => Some(name.as_str()),
            Placement::Bearer | Placement::Basic { .. } => None,
        });
        let accepted = self.hosts.iter().flat_map(|host| &host.accepts).filter_map(|accept| match accept {
            Accept::Header { name, .. } => Some(name.as_str()),
            Accept::Bearer | Accept::Scheme { .. } | Accept::BasicPassword | Accept::BasicUser => None,
        });
        placed.chain(accepted)
    }
}

#[cfg(test)]
mod tests {
    use super::folded;
    use crate::builtin;

    #[test]
    fn twins_of_a_credential_header_are_seen_in_any_spelling() {
        let anthropic = builtin::manifest("anthropic").unwrap();
        for twin in
            ["x-api-key", "X-API-Key", "x_api_key", "X_Api-Key", "Authorization", "COOKIE", "x.api.key"]
        {
            assert!(anthropic.is_credential_header(twin), "{twin}");
        }
        assert!(!anthropic.is_credential_header("x-request-id"));
    }

    #[test]
    fn a_token_in_the_query_is_seen_in_any_spelling() {
        let gitlab = builtin::manifest("gitlab").unwrap();
        for twin in ["access_token", "ACCESS-TOKEN", "private_token", "access_token[]", "X-Amz-Signature"] {
            assert!(gitlab.is_credential_query(twin), "{twin}");
        }
        assert!(!gitlab.is_credential_query("per_page"));
    }

    #[test]
    fn folding_is_idempotent() {
        assert_eq!(folded(&folded("X_Api.Key")), folded("X_Api.Key"));
    }
}
