//! What a connection proved before its first request, and by which names it may speak to us.

use crate::doors::local::Names;
use nightlatch_domain::principal::Binding;
use nightlatch_ledger::facts::Source;
use std::sync::Arc;

/// The other end of one connection.
pub(crate) struct Peer {
    /// What the handshake or the socket proved; none where no certificate was presented.
    pub(crate) binding: Option<Binding>,
    /// Where it comes from, for counting those that proved nothing.
    pub(crate) source: Source,
    /// The TLS server name that it asked for.
    pub(crate) server_name: Option<String>,
    /// The names of the listener that it came to.
    pub(crate) names: Arc<Names>,
}
