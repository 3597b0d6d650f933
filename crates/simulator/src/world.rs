//! A world of faults: one thread, one seed, no clock but its own.
//!
//! What must survive crashes, pauses, jumps of the clock and lost bytes is run here as the code that ships,
//! with its time, its tasks, its disk and its network in the hands of a seed. A year takes seconds, and a
//! seed that found something finds it again.
//!
//! - [`World`] is the executor: a queue of events in virtual time, the tasks of every process, and the
//!   log of what happened. Of what could happen at one moment the seed says which comes first.
//! - [`Node`] is a machine with two clocks and, at most of the time, one process on it.
//! - [`Process`] is that one life of it: what it is given as time, tasks and randomness. When it ends,
//!   everything that it was given does nothing any more, even if something of it is still being dropped.
//! - [`disk`]: what was written, what is durable, and what a power cut makes of the difference.
//! - [`net`]: delays, cuts, resets, and bytes that outlive their sender.
//! - [`store`]: one database for all, at the end of a network.
//! - [`issuer`]: providers of every class, who count what arrived.
//!
//! **Never.** Nothing here reads a real clock, a hash map's order or another thread.

mod dice;
pub mod disk;
mod engine;
pub mod issuer;
mod log;
pub mod message;
pub mod net;
mod process;
pub mod store;

pub use dice::Dice;
pub use engine::{Moment, World};
pub use process::{Node, Process};

#[cfg(test)]
mod tests;
