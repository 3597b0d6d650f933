//! What programs behind a companion shall trust: the system's roots, and the authorities of their task's tools.

use crate::adapters::variable;
use std::{fs, path::PathBuf};

/// Where systems keep the roots that they trust; the first that is there is taken.
const ROOTS: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// A bundle in PEM.
pub(super) fn bundle(authorities: &str) -> Vec<u8> {
    let own = variable("SSL_CERT_FILE").map(PathBuf::from);
    let roots = own.into_iter().chain(ROOTS.iter().map(PathBuf::from)).find_map(|path| fs::read(path).ok());
    let mut bundle = roots.unwrap_or_default();
    bundle.push(b'\n');
    bundle.extend_from_slice(authorities.as_bytes());
    bundle
}
