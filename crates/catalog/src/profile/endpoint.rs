//! An endpoint's exact address. It stands in the seal of every token, so it has one spelling.

use crate::{canonical, manifest::Origin};
use nightlatch_domain::tool::Scheme;
use serde::{Serialize, Serializer};
use std::fmt;

/// `https://host[:port]/path[?query]`, or plain HTTP on a loopback host.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Endpoint {
    scheme: Scheme,
    host: String,
    port: u16,
    path_and_query: String,
}

/// Why a text is no endpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// It is no plain absolute address.
    #[error("`{0}` is no endpoint: write `https://HOST[:PORT]/PATH` in lower case, without user or fragment")]
    Malformed(String),
    /// Plain HTTP to a host that is not this machine.
    #[error(
        "`{0}` is plain HTTP to another machine, which everybody on the way could read: write `https://…`"
    )]
    Plain(String),
}

impl Endpoint {
    /// Reads an address. Whether plain HTTP to loopback is allowed at all, the operator's configuration and
    /// `egress` decide.
    ///
    /// # Errors
    /// [`EndpointError`], which says what to write.
    pub fn parse(text: &str) -> Result<Self, EndpointError> {
        let shown = || text.chars().take(120).collect();
        let origin = Origin::parse(text).ok_or_else(|| EndpointError::Malformed(shown()))?;
        if !origin.is_confidential() {
            return Err(EndpointError::Plain(shown()));
        }
        let target = canonical::target("POST", origin.rest).map_err(|_| EndpointError::Malformed(shown()))?;
        let path_and_query =
            target.query.map_or(target.path.clone(), |query| format!("{}?{query}", target.path));
        if path_and_query != origin.rest {
            return Err(EndpointError::Malformed(shown()));
        }
        Ok(Self { scheme: origin.scheme, host: origin.host.to_owned(), port: origin.port, path_and_query })
    }

    /// The scheme.
    #[must_use]
    pub const fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The host, in lower case.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The path with its query, as it is sent.
    #[must_use]
    pub fn path_and_query(&self) -> &str {
        &self.path_and_query
    }

    /// `scheme://host[:port]`, the port left out where it is the scheme's own (RFC 6454 §6.2).
    #[must_use]
    pub fn origin(&self) -> String {
        let scheme = if self.scheme == Scheme::Https { "https" } else { "http" };
        match self.port == self.scheme.default_port() {
            true => format!("{scheme}://{}", self.host),
            false => format!("{scheme}://{}:{}", self.host, self.port),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}{}", self.origin(), self.path_and_query)
    }
}

impl Serialize for Endpoint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
