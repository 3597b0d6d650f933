//! Control as its two faces show it: over a real socket, with a real store and a real ledger, and a keeper
//! that has real keys and writes down what it is asked.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "what a test sets up must succeed"
)]

mod api;
mod document;
mod redirects;
mod serving;
mod tools;
mod watching;
mod world;
