//! Where a provider takes codes and refresh tokens: the endpoint that we use, and others that clients use.
//!
//! A library inside an agent refreshes on its own, and what it holds is a reference: that request is
//! answered here and never forwarded. So the question is not what we would write ourselves, but what a
//! server might take for its token endpoint: other addresses of it (`token_endpoint_aliases`: a tenant in
//! the path, an older host), other letter case, a slash or a format at the end. Such a request has no other
//! meaning, so to take too many for one costs nothing, and to take too few would hand a reference, or more,
//! to the provider.

use super::{Endpoint, Profile};
use crate::{
    canonical,
    manifest::{HostPattern, PathTemplate, careless},
};
use nightlatch_domain::tool::Scheme;
use serde::{Serialize, Serializer};
use std::fmt;

/// Another address of a token endpoint: `https://login.example.com/{tenant}/token`, `https://*.example.com/token`.
/// Nothing is ever sent there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenPlace {
    host: HostPattern,
    port: u16,
    path: PathTemplate,
}

/// Why a text is no address of a token endpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no address of a token endpoint: write `https://HOST[:PORT]/PATH`, with `*.` for one label of the host and `{{name}}` for one segment of the path"
)]
pub struct TokenPlaceError(String);

impl TokenPlace {
    /// Reads an address.
    ///
    /// # Errors
    /// [`TokenPlaceError`], which says what to write.
    pub fn parse(text: &str) -> Result<Self, TokenPlaceError> {
        Self::read(text).ok_or_else(|| TokenPlaceError(text.chars().take(120).collect()))
    }

    fn read(text: &str) -> Option<Self> {
        let rest = text.strip_prefix("https://")?;
        let (authority, path) = rest.split_at(rest.find('/')?);
        let (host, port) = match authority.split_once(':') {
            Some((host, digits)) => (host, digits.parse().ok().filter(|port| *port > 0)?),
            None => (authority, Scheme::Https.default_port()),
        };
        let host = HostPattern::parse(host).filter(|pattern| *pattern != HostPattern::Any)?;
        // A template that ends with a variable would take other calls for this one.
        let path = PathTemplate::parse(path).ok().filter(PathTemplate::ends_literally)?;
        Some(Self { host, port, path })
    }

    /// The host, by name or by pattern.
    #[must_use]
    pub const fn host(&self) -> &HostPattern {
        &self.host
    }

    /// An alias is only ever read under `https`.
    fn origin(&self) -> Option<(Scheme, &str, u16)> {
        Some((Scheme::Https, self.host.exact()?, self.port))
    }

    fn takes(&self, host: &str, port: u16, path: &str) -> bool {
        if self.port != port || !self.host.admits(host) {
            return false;
        }
        let segments = canonical::segments(path);
        self.path.fits(&segments) || self.path.resembles(&careless(&segments))
    }
}

impl Profile {
    /// Whether a server could take a request there for one to this provider's token endpoint, whatever its
    /// method. `host` is in lower case, `path` canonical ([`canonical::target`]).
    #[must_use]
    pub fn takes_tokens_at(&self, host: &str, port: u16, path: &str) -> bool {
        let own = |endpoint: &Endpoint| {
            let own_path = endpoint.path_and_query().split('?').next().unwrap_or_default();
            let same = || careless(&canonical::segments(own_path)) == careless(&canonical::segments(path));
            endpoint.host() == host && endpoint.port() == port && same()
        };
        self.token_endpoints().any(own)
            || self.token_endpoint_aliases.iter().any(|place| place.takes(host, port, path))
    }

    /// Whether a token endpoint of this provider may be at that host, by name or by pattern, at whatever port
    /// and under any path.
    #[must_use]
    pub fn has_token_host(&self, host: &str) -> bool {
        self.token_endpoints().any(|endpoint| endpoint.host() == host)
            || self.token_endpoint_aliases.iter().any(|place| place.host.admits(host))
    }

    /// The addresses that we write to: for codes, and for refresh tokens where that is another one.
    fn token_endpoints(&self) -> impl Iterator<Item = &Endpoint> {
        self.token_endpoint.iter().chain(&self.refresh_endpoint)
    }

    /// Where its token endpoints are, by exact names. A pattern among the aliases names none.
    pub fn token_origins(&self) -> impl Iterator<Item = (Scheme, &str, u16)> {
        let own =
            self.token_endpoints().map(|endpoint| (endpoint.scheme(), endpoint.host(), endpoint.port()));
        own.chain(self.token_endpoint_aliases.iter().filter_map(TokenPlace::origin))
    }
}

impl fmt::Display for TokenPlace {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "https://{}", self.host)?;
        if self.port != Scheme::Https.default_port() {
            write!(out, ":{}", self.port)?;
        }
        write!(out, "{}", self.path)
    }
}

impl Serialize for TokenPlace {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests;
