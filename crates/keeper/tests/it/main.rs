//! Proves what the keeper promises over its real store, log, spool and sockets, against a provider that
//! rotates refresh tokens, counts every presentation, and punishes reuse.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "what a test sets up must succeed"
)]

mod adopting;
mod crash;
mod dialect;
mod enrolling;
mod forged;
mod history;
mod hold;
mod import_faults;
mod importing;
mod leasing;
mod mandates;
mod meddling;
mod outliving;
mod provider;
mod refreshing;
mod revoking;
mod second;
mod sending;
mod signed;
mod windows;
mod world;
