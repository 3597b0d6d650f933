//! The hosts of a manifest, and the exact ones that a connection is confirmed for.
//!
//! A pattern never sends a credential anywhere: it bounds what a human may choose at connect. What the
//! connection stores, and its secret's seal carries, is exact.

use super::{CredentialKind, Host, Manifest};
use nightlatch_domain::tool::{BoundHost, Placement, Scheme};
use serde::{Serialize, Serializer};
use std::fmt;

/// The longest host name (RFC 1035 §2.3.4).
const HOST_LIMIT_BYTES: usize = 253;

/// The host names that a manifest allows.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum HostPattern {
    /// This name and no other.
    Exact(String),
    /// One label and then this, with its leading dot: `*.example.com` is `.example.com`.
    Under(String),
    /// One or more labels and then this, with its leading dot: `**.example.com`. For a provider whose tenants
    /// lie at several depths of a domain that is all its own.
    Within(String),
    /// Any name: `*`. The generic tool's.
    Any,
}

impl HostPattern {
    /// Reads `api.example.com`, `*.example.com`, `**.example.com` or `*`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text == "*" {
            return Some(Self::Any);
        }
        // A pattern over a whole top-level domain bounds nothing.
        let parent = |rest: &str| (is_host(rest) && rest.contains('.')).then(|| format!(".{rest}"));
        match (text.strip_prefix("**."), text.strip_prefix("*.")) {
            (Some(rest), _) => parent(rest).map(Self::Within),
            (None, Some(rest)) => parent(rest).map(Self::Under),
            (None, None) => is_host(text).then(|| Self::Exact(text.to_owned())),
        }
    }

    /// Whether a host may be bound under this pattern.
    #[must_use]
    pub fn admits(&self, host: &str) -> bool {
        match self {
            Self::Exact(own) => own == host,
            Self::Under(parent) => below(parent, host).is_some_and(|labels| !labels.contains('.')),
            Self::Within(parent) => below(parent, host).is_some(),
            Self::Any => is_host(host),
        }
    }

    /// The exact name, where there is one.
    #[must_use]
    pub fn exact(&self) -> Option<&str> {
        if let Self::Exact(host) = self { Some(host) } else { None }
    }
}

/// The labels of a host before `parent`, which begins with a dot; never empty, for no host begins with one.
fn below<'h>(parent: &str, host: &'h str) -> Option<&'h str> {
    host.strip_suffix(parent).filter(|_| is_host(host))
}

impl fmt::Display for HostPattern {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(host) => out.write_str(host),
            Self::Under(parent) => write!(out, "*{parent}"),
            Self::Within(parent) => write!(out, "**{parent}"),
            Self::Any => out.write_str("*"),
        }
    }
}

impl Serialize for HostPattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The host that a human names at connect, for a tool whose manifest has a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChosenHost {
    /// HTTPS, or plain HTTP for a loopback host.
    pub scheme: Scheme,
    /// The exact name.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Every path begins with this.
    pub path_prefix: String,
    /// Where the credential stands, where the human says so; else the manifest's place.
    pub placement: Option<Placement>,
}

/// Why a text names no host to connect to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChosenHostError {
    /// It is no base URL.
    #[error("`{0}` is no base address: write `https://HOST[:PORT][/PREFIX]` without user, query or fragment")]
    Malformed(String),
    /// Plain HTTP to a host that is not this machine.
    #[error(
        "`{0}` is plain HTTP to another machine, which everybody on the way could read: write `https://…`"
    )]
    Plain(String),
}

impl ChosenHost {
    /// Reads `https://api.example.com[:8443][/v2]`.
    ///
    /// # Errors
    /// [`ChosenHostError`], which says what to write.
    pub fn parse(text: &str) -> Result<Self, ChosenHostError> {
        let parts = Origin::parse(text)
            .ok_or_else(|| ChosenHostError::Malformed(text.chars().take(120).collect()))?;
        if !parts.is_confidential() {
            return Err(ChosenHostError::Plain(text.chars().take(120).collect()));
        }
        let path_prefix = path_prefix(parts.rest);
        let path_prefix =
            path_prefix.ok_or_else(|| ChosenHostError::Malformed(text.chars().take(120).collect()))?;
        Ok(Self {
            scheme: parts.scheme,
            host: parts.host.to_owned(),
            port: parts.port,
            path_prefix,
            placement: None,
        })
    }

    /// The same, with the credential at a place that the human chose.
    #[must_use]
    pub fn placed(mut self, placement: Placement) -> Self {
        self.placement = Some(placement);
        self
    }
}

/// Why the hosts of a connection cannot be told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// The manifest has a pattern, and no host was chosen.
    #[error(
        "`{tool}` has no host of its own (`{pattern}`): say which, for example `--host https://api.example.com`"
    )]
    Needed {
        /// The tool.
        tool: String,
        /// Its pattern.
        pattern: String,
    },
    /// A host was chosen, and the manifest fixes all of them.
    #[error("the hosts of `{0}` are fixed: leave out `--host`")]
    Fixed(String),
    /// The chosen host lies outside the pattern.
    #[error("`{host}` is not among `{pattern}`, the hosts of `{tool}`")]
    Outside {
        /// The tool.
        tool: String,
        /// Its pattern.
        pattern: String,
        /// What was chosen.
        host: String,
    },
    /// No host of the tool takes this kind of credential.
    #[error("`{tool}` takes no {kind}: connect it with the other kind")]
    Kind {
        /// The tool.
        tool: String,
        /// The kind, for people.
        kind: &'static str,
    },
}

impl Manifest {
    /// The exact hosts that a connection with this kind of credential is confirmed for.
    ///
    /// # Errors
    /// [`HostError`]: a pattern without a chosen host, one that lies outside it, a kind that no host takes.
    pub fn bound_hosts(
        &self,
        kind: CredentialKind,
        chosen: Option<&ChosenHost>,
    ) -> Result<Vec<BoundHost>, HostError> {
        let tool = || self.name.to_string();
        if chosen.is_some() && self.hosts.iter().all(|host| host.host.exact().is_some()) {
            return Err(HostError::Fixed(tool()));
        }
        let mut bound = Vec::new();
        for host in &self.hosts {
            let Some(placement) = host.placement(kind) else { continue };
            bound.push(self.bind(host, placement, chosen)?);
        }
        if bound.is_empty() {
            let kind = if kind == CredentialKind::Key { "key" } else { "OAuth token" };
            return Err(HostError::Kind { tool: tool(), kind });
        }
        Ok(bound)
    }

    fn bind(
        &self,
        host: &Host,
        placement: &Placement,
        chosen: Option<&ChosenHost>,
    ) -> Result<BoundHost, HostError> {
        let (placement, route) = (placement.clone(), host.route.clone());
        if let Some(exact) = host.host.exact() {
            let (exact, path_prefix) = (exact.to_owned(), host.path_prefix.clone());
            return Ok(BoundHost {
                scheme: host.scheme,
                host: exact,
                port: host.port,
                path_prefix,
                placement,
                route,
            });
        }
        let (tool, pattern) = (self.name.to_string(), host.host.to_string());
        let Some(chosen) = chosen else { return Err(HostError::Needed { tool, pattern }) };
        if !host.host.admits(&chosen.host) {
            return Err(HostError::Outside { tool, pattern, host: chosen.host.clone() });
        }
        Ok(BoundHost {
            scheme: chosen.scheme,
            host: chosen.host.clone(),
            port: chosen.port,
            path_prefix: chosen.path_prefix.clone(),
            placement: chosen.placement.clone().unwrap_or(placement),
            route,
        })
    }

    /// Whether the manifest lists `host`, by name or by pattern. This only bounds what a human may confirm.
    #[must_use]
    pub fn may_learn(&self, host: &str) -> bool {
        self.hosts.iter().any(|own| own.host.admits(host))
    }
}

/// `scheme://host[:port]` and what follows.
pub(crate) struct Origin<'t> {
    pub(crate) scheme: Scheme,
    pub(crate) host: &'t str,
    pub(crate) port: u16,
    /// From the first `/` on; may be empty.
    pub(crate) rest: &'t str,
}

impl<'t> Origin<'t> {
    /// Reads an absolute URL without user; none where anything about it is unusual.
    pub(crate) fn parse(text: &'t str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        let scheme = match scheme {
            "https" => Scheme::Https,
            "http" => Scheme::Http,
            _ => return None,
        };
        let (authority, rest) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let (host, port) = match authority.split_once(':') {
            Some((host, digits)) => (host, port(digits)?),
            None => (authority, scheme.default_port()),
        };
        is_host(host).then_some(Self { scheme, host, port, rest })
    }

    /// Whether nobody on the way can read it.
    pub(crate) fn is_confidential(&self) -> bool {
        self.scheme == Scheme::Https || is_loopback(self.host)
    }
}

fn port(digits: &str) -> Option<u16> {
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit()) && !digits.starts_with('0');
    digits.parse().ok().filter(|_| plain)
}

/// A path prefix in canonical form, without a slash at its end but for the root.
pub(crate) fn path_prefix(text: &str) -> Option<String> {
    let text = if text.is_empty() { "/" } else { text };
    let target = crate::canonical::target("GET", text).ok()?;
    let short = target.path.trim_end_matches('/');
    let same = target.query.is_none() && target.path == text;
    same.then(|| if short.is_empty() { "/".to_owned() } else { short.to_owned() })
}

/// Whether a text is a host name in lower case without a final dot, or an IPv4 address in four parts.
pub(crate) fn is_host(text: &str) -> bool {
    let label = |label: &str| {
        let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        (1..=63).contains(&label.len())
            && label.bytes().all(inner)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    // A last label of digits makes it an address; then only the plain four-part form has one reading.
    let last = text.rsplit('.').next().unwrap_or_default();
    let numeric = last.bytes().all(|byte| byte.is_ascii_digit()) || last.starts_with("0x");
    text.len() <= HOST_LIMIT_BYTES
        && text.split('.').all(label)
        && (!numeric || text.parse::<std::net::Ipv4Addr>().is_ok())
}

/// Whether a host is this machine, by its name.
pub(crate) fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<std::net::Ipv4Addr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests;
