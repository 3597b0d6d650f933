//! Names to addresses. A seam, so that a test can be a hostile name server.

use nightlatch_domain::ports::Boxed;
use std::{io, net::IpAddr};

/// Turns a host name into addresses. It is asked anew for every connection; what it says is trusted
/// for nothing: the caller checks every address and dials one of the very addresses that it checked.
pub trait Resolve: Send + Sync {
    /// All addresses of `host`, in the order in which they are to be tried.
    fn resolve<'a>(&'a self, host: &'a str) -> Boxed<'a, io::Result<Vec<IpAddr>>>;
}

/// The system's own resolver (`getaddrinfo`): it knows `/etc/hosts` and the operator's search rules.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemResolver;

impl Resolve for SystemResolver {
    fn resolve<'a>(&'a self, host: &'a str) -> Boxed<'a, io::Result<Vec<IpAddr>>> {
        Box::pin(async move {
            let found = tokio::net::lookup_host((host, 0)).await?;
            Ok(found.map(|address| address.ip()).collect())
        })
    }
}
