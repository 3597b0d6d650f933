//! What a connection proved before its first request, by which names it may speak to us, and what it leads through.

use crate::doors::local::Names;
use nightlatch_domain::{ports::sight::Door, principal::Binding};
use nightlatch_egress::Destination;
use nightlatch_ledger::facts::Source;
use std::sync::Arc;

/// The other end of one connection.
pub(crate) struct Peer {
    /// What the handshake or the socket proved; none where no certificate was presented. Inside a tunnel it
    /// is what the connection around it proved: nothing that is said inside adds to it.
    pub(crate) binding: Option<Binding>,
    /// The public key that the handshake proved, as it stands in the certificate (SPKI, DER).
    pub(crate) public_key: Option<Arc<[u8]>>,
    /// Where it comes from, for counting those that proved nothing.
    pub(crate) source: Source,
    /// The TLS server name that it asked for.
    pub(crate) server_name: Option<String>,
    /// The names of the listener that it came to.
    pub(crate) names: Arc<Names>,
    /// What its requests are for.
    pub(crate) through: Through,
}

/// Where a connection was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Through {
    /// At a listener of ours: a request may be for us, for a tool by its route, or for the proxy.
    Listener,
    /// Inside a tunnel to this host, where we stand for it: every request is for that host.
    Tunnel(Destination),
    /// Inside a stream that carries a local client's bytes: plain HTTP as one speaks it to a proxy.
    PlainProxy,
}

impl Through {
    /// The door that requests come to; none where their form says which, and was not read.
    pub(crate) const fn door(&self) -> Option<Door> {
        match self {
            Self::Listener => None,
            Self::Tunnel(_) | Self::PlainProxy => Some(Door::Proxy),
        }
    }
}

impl Peer {
    /// The same peer inside a tunnel that it opened.
    pub(crate) fn inside(&self, through: Through, server_name: Option<String>) -> Self {
        Self {
            binding: self.binding.clone(),
            public_key: self.public_key.clone(),
            source: self.source,
            server_name,
            names: Arc::clone(&self.names),
            through,
        }
    }
}
