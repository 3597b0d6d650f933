//! Proves what the companion promises over real sockets and real TLS: against a gateway of the test's own that
//! echoes, refuses, floods, stands still, breaks off and asks for signatures.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "what a test sets up must succeed"
)]

mod callers;
mod calls;
mod gateway;
mod lines;
mod tunnels;
mod wakes;
mod world;
