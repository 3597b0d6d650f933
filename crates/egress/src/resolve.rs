//! Names to addresses. A seam, so that a test can be a hostile name server.

use std::{
    io,
    net::{IpAddr, ToSocketAddrs as _},
};

/// Turns a host name into addresses. It is asked anew for every connection; what it says is trusted
/// for nothing: the caller checks every address and dials one of the very addresses that it checked.
pub trait Resolve: Send + Sync {
    /// All addresses of `host`, in the order in which they are to be tried. It blocks for as long as it takes:
    /// whoever asks has a thread for it (`lookups`).
    fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>>;
}

/// The system's own resolver (`getaddrinfo`): it knows `/etc/hosts` and the operator's search rules.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemResolver;

impl Resolve for SystemResolver {
    fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        Ok((host, 0).to_socket_addrs()?.map(|address| address.ip()).collect())
    }
}
