//! Proves that policy refuses whatever is not shown to be allowed, and that files can only take away.

mod case;
mod decisions;
mod files;
mod memory;
