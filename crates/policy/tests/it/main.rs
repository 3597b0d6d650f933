//! Proves that policy refuses whatever is not shown to be allowed, and that files can only take away.
#![allow(clippy::unwrap_used, reason = "what a test sets up must succeed")]

mod case;
mod decisions;
mod files;
mod memory;
