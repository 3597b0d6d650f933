//! What can go wrong on the way out, and above all: whether anything had left by then.
//!
//! Nothing in here quotes what the other side sent: addresses, names and our own words only.

use crate::address::AddressClass;
use std::net::IpAddr;

/// Why a connection was not made, or a request got no answer.
#[derive(Debug, thiserror::Error)]
pub enum EgressError {
    /// The host is no plain host name or address.
    #[error("`{0}` is no host that can be reached: write a lower-case name or an address in its plain form")]
    BadHost(String),
    /// A URL that names no destination.
    #[error("`{0}` is no `https://host[:port]/…` address without user name")]
    BadUrl(String),
    /// An entry of the operator's configuration does not hold.
    #[error("{0}")]
    Config(String),
    /// The request names another host than the destination.
    #[error("the request names another host than `{0}`, where it is to go")]
    Misdirected(String),
    /// Plain HTTP to something that is not loopback, or that the operator did not name.
    #[error(
        "plain http to `{0}` is refused: use https, or name the host in `[[allow]]` or `[[map]]` with a loopback address"
    )]
    PlainHttp(String),
    /// The name resolved to an address that nobody allowed.
    #[error(
        "`{host}` resolves to {address}, a {class} address, which is refused; if that is meant, add `[[allow]] host = \"{host}\", address = \"{address}\"` to nightlatch.toml"
    )]
    Forbidden {
        /// The name.
        host: String,
        /// The first forbidden address.
        address: IpAddr,
        /// Its class.
        class: AddressClass,
    },
    /// The name leads to this very machine, by an address that is public.
    #[error("`{host}` leads to {address}, an address of this machine, which is refused")]
    OwnAddress {
        /// The name.
        host: String,
        /// The address.
        address: IpAddr,
    },
    /// The name did not resolve.
    #[error("`{host}` could not be resolved ({kind}); check the name and the resolver of this machine")]
    Unresolved {
        /// The name.
        host: String,
        /// What the resolver said.
        kind: std::io::ErrorKind,
    },
    /// Whoever asks has so many names looked up that no further one is. Nothing was written.
    #[error("`{0}` was not looked up: too many lookups are waited for already; try again when one has ended")]
    LookupsFull(String),
    /// No address of the host took the connection.
    #[error("`{host}` could not be reached ({kind})")]
    Unreachable {
        /// The name.
        host: String,
        /// The last failure.
        kind: std::io::ErrorKind,
    },
    /// TLS did not come about.
    #[error("TLS with `{host}` failed: {reason}")]
    Tls {
        /// The name.
        host: String,
        /// What failed, in the library's words: never bytes of the peer.
        reason: String,
    },
    /// This machine has no certificate authorities to trust.
    #[error("this machine has no root certificates: install the package `ca-certificates`, then try again")]
    NoRoots,
    /// The deadline came before the connection stood. Nothing of the request was written.
    #[error("no connection to `{0}` came about in time")]
    ConnectTimeout(String),
    /// The pool is at its limit. Nothing was written.
    #[error("{0} connections are open already; wait for one to end")]
    PoolFull(usize),
    /// The connection was closed by [`crate::Pool::close_grant`] and its kin before anything was written.
    #[error("the pool was closed for this grant")]
    Closed,
    /// The connection ended before the request was written.
    #[error("`{0}` closed the connection before the request was written")]
    NotSent(String),
    /// The request, or a part of it, was sent, and the connection ended without an answer.
    #[error("`{host}` got the request and gave no answer: {reason}")]
    NoAnswer {
        /// The name.
        host: String,
        /// What ended it, in our own words.
        reason: &'static str,
    },
    /// The request, or a part of it, was sent, and no answer came in time.
    #[error("`{0}` got the request and gave no answer in time")]
    AnswerTimeout(String),
}

/// What a caller has to know of an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// Refused here, by rule or configuration. Nothing was sent.
    Refused,
    /// The other side could not be reached. Nothing was sent.
    Unreachable,
    /// Something was sent, and what happened there is not known.
    NoAnswer,
    /// Something was sent, and the answer did not come in time.
    TimedOut,
}

impl EgressError {
    /// Where the fault lies. The match names every variant: a new one must be thought about.
    #[must_use]
    pub const fn fault(&self) -> Fault {
        match self {
            Self::BadHost(_)
            | Self::BadUrl(_)
            | Self::Config(_)
            | Self::Misdirected(_)
            | Self::PlainHttp(_)
            | Self::Closed
            | Self::OwnAddress { .. }
            | Self::Forbidden { .. } => Fault::Refused,
            Self::Unresolved { .. }
            | Self::LookupsFull(_)
            | Self::Unreachable { .. }
            | Self::Tls { .. }
            | Self::NoRoots
            | Self::ConnectTimeout(_)
            | Self::PoolFull(_)
            | Self::NotSent(_) => Fault::Unreachable,
            Self::NoAnswer { .. } => Fault::NoAnswer,
            Self::AnswerTimeout(_) => Fault::TimedOut,
        }
    }

    /// Whether it is certain that no byte of the request left this process.
    #[must_use]
    pub const fn nothing_was_sent(&self) -> bool {
        matches!(self.fault(), Fault::Refused | Fault::Unreachable)
    }
}
