//! Proves that what leaves goes where it may, over connections that are what they should be.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "what a test sets up must succeed"
)]

mod destinations;
mod lookups;
mod once;
mod pooled;
mod switched;
mod trusted;
mod world;
