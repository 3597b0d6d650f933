//! A tool: a downstream resource server, and what can be done with it.
//!
//! These are the settled words only. Manifests (TOML) are read and operations are matched in
//! `catalog`; what a connection may reach is [`BoundHost`], which the seal of its secret carries.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr, sync::Arc};

/// A name that a person types: a tool, a connection, an agent, a task.
///
/// 1 to 40 of `a-z`, `0-9`, `-`, `_` and `.`, beginning with a letter or digit. `v1` is refused: it is
/// the root of the gateway's own paths. A copy shares the text: every call makes several.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(Arc<str>);

/// Why a text is no name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a name: use 1 to 40 of `a-z`, `0-9`, `-`, `_`, `.`, beginning with a letter or digit (`v1` is taken)"
)]
pub struct NameError(pub String);

impl Name {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        let inner = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.');
        let first =
            text.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        if first && text.len() <= 40 && text != "v1" && text.bytes().all(inner) {
            return Ok(Self(text.into()));
        }
        Err(NameError(text.chars().take(64).collect()))
    }
}

impl TryFrom<String> for Name {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.as_str().to_owned()
    }
}

impl fmt::Display for Name {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "`{}`", self.0)
    }
}

/// What an operation does to the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Effect {
    /// Looks, and changes nothing that anyone could see.
    Read,
    /// Creates or changes.
    Write,
    /// Deletes, or does what cannot be taken back.
    Destructive,
    /// Changes who may do what, or is not listed at all.
    Admin,
    /// Mints, shows, exchanges, revokes or rotates a secret. Never covered by a wildcard.
    Credential,
}

impl Effect {
    /// All effects, in the order of their weight.
    pub const ALL: [Self; 5] = [Self::Read, Self::Write, Self::Destructive, Self::Admin, Self::Credential];

    /// The word for it in manifests, grants, policies and the ledger.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Destructive => "destructive",
            Self::Admin => "admin",
            Self::Credential => "credential",
        }
    }

    /// Whether its ledger intent must be on the disk, not merely written, before the call leaves.
    #[must_use]
    pub const fn waits_for_disk(self) -> bool {
        !matches!(self, Self::Read)
    }
}

impl fmt::Display for Effect {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

/// How bad it would be if what an operation touches were seen by a stranger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sensitivity {
    /// Public.
    Low,
    /// Ordinary working material.
    #[default]
    Medium,
    /// Personal data, money, secrets.
    High,
}

/// The id of an operation within its tool, for example `repos.get`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct OperationId(pub String);

impl OperationId {
    /// What a request that no listed operation matches is called.
    #[must_use]
    pub fn unlisted() -> Self {
        Self("unlisted".to_owned())
    }
}

impl fmt::Display for OperationId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// The scheme of a bound host. Plain HTTP is only ever allowed to a loopback address, by the operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scheme {
    /// HTTP over TLS.
    Https,
    /// Plain HTTP: loopback only, and only where the operator's configuration says so.
    Http,
}

impl Scheme {
    /// The port where none is written.
    #[must_use]
    pub const fn default_port(self) -> u16 {
        match self {
            Self::Https => 443,
            Self::Http => 80,
        }
    }
}

/// Where a credential stands in a request. The agent chooses neither the place nor the format.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Placement {
    /// `Authorization: Bearer SECRET` (RFC 6750 §2.1).
    Bearer,
    /// `Authorization: Basic base64(user:SECRET)` (RFC 7617).
    Basic {
        /// The user name that stands before the secret.
        user: String,
    },
    /// `NAME: PREFIX SECRET` in a header of the tool's own.
    Header {
        /// The header's name, in lower case.
        name: String,
        /// What stands before the secret, a space included where one belongs.
        #[serde(default)]
        prefix: String,
    },
}

/// One place where a connection's credential may go. Part of the seal: changing it needs a re-seal.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct BoundHost {
    /// HTTPS, unless the operator allowed plain HTTP on loopback.
    pub scheme: Scheme,
    /// The exact host name, in lower case, without a trailing dot.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Every path sent there begins with this; `/` allows all.
    pub path_prefix: String,
    /// Where the credential stands in requests to this host.
    pub placement: Placement,
    /// The name of this host in the `route` door (`/{tool}/~{route}/…`); empty for the tool's first.
    #[serde(default)]
    pub route: String,
}

impl BoundHost {
    /// `host` or `host:port`, as it stands in the Host header.
    #[must_use]
    pub fn authority(&self) -> String {
        if self.port == self.scheme.default_port() {
            return self.host.clone();
        }
        format!("{}:{}", self.host, self.port)
    }

    /// Whether `path` lies under the bound prefix, on a segment's edge.
    #[must_use]
    pub fn covers_path(&self, path: &str) -> bool {
        let prefix = self.path_prefix.trim_end_matches('/');
        path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

#[cfg(test)]
mod tests {
    use super::{BoundHost, Name, Placement, Scheme};

    #[test]
    fn a_name_is_short_lower_case_and_never_v1() {
        for good in ["github", "a", "0day", "dana.work-2_x"] {
            assert!(good.parse::<Name>().is_ok(), "{good}");
        }
        let long = "a".repeat(41);
        for bad in ["", "v1", "Git", "-x", ".x", "a/b", "a b", "é", long.as_str()] {
            assert!(bad.parse::<Name>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_path_prefix_ends_at_a_segment() {
        let host = BoundHost {
            scheme: Scheme::Https,
            host: "api.example.com".into(),
            port: 443,
            path_prefix: "/v2".into(),
            placement: Placement::Bearer,
            route: String::new(),
        };
        assert!(host.covers_path("/v2/x") && host.covers_path("/v2"));
        assert!(!host.covers_path("/v20") && !host.covers_path("/"));
    }
}
