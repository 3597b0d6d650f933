//! What can keep the simulator from starting or answering.

use nightlatch_domain::clock::NoEntropy;
use std::io;

/// Why the simulator could not do it.
#[derive(Debug, thiserror::Error)]
pub enum SimulatorError {
    /// A listener could not be opened on loopback.
    #[error("the simulator cannot listen on loopback: {0}; see what the machine allows")]
    Listen(#[from] io::Error),
    /// No random bytes, so no tokens.
    #[error("{0}; nothing can be issued")]
    NoEntropy(#[from] NoEntropy),
    /// Nobody registered it here.
    #[error("no client `{0}` is registered; register it first")]
    UnknownClient(String),
}
