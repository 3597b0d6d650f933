//! The record of every decision and call: written ahead, chained, signed, and never with a secret in it.
//!
//! One JSON line a record in `ledger/NNNNNN.jsonl`. Each line names its number and the SHA-256 of the
//! line before it; every second, and at close, the last number and hash are signed and handed to the
//! database. So a flipped byte, two records that changed places, a tail that was cut and an older copy
//! of the folder all show, and [`verify`](verify::verify) names the first record that does not fit.
//!
//! ```text
//! corridor ─► Ledger ──courier──► writer thread ──► segment file    (one bundle a turn, one write for all that wait)
//!               │                      └─ fdatasync once for all that must be on disk
//!               └─ ticker: counted refusals out, head signed ─► LedgerStore
//! ```
//!
//! **Promises.** [`Recorded`] is made only here, after `write(2)` returned, and for everything but reads
//! after `fdatasync`: who holds one may let a credentialed byte leave. A write that fails fails its
//! call, leaves no half line, and the next one is tried as if nothing had been; after a failed sync what
//! was not known to be on disk is written again from memory. Intents and outcomes are always written;
//! refusals are written one by one up to a budget and counted from there, so nobody fills the disk.
//!
//! **Never.** No secret, reference, header, body, path or query in a record: what goes in are ids, names
//! of ours, closed words, numbers and keyed hashes ([`facts`] has no field for anything else). No record
//! is changed or removed; the one thing that is cut off is a last line that `write(2)` never finished,
//! and that is moved aside and said.
//!
//! **For the program.** A file size limit (`RLIMIT_FSIZE`) raises `SIGXFSZ`, which ends a process that
//! has no handler: [`Ledger::open`] installs one, so that the write fails instead.

mod alarms;
mod budget;
mod chain;
mod courier;
mod disk;
mod entries;
mod error;
pub mod facts;
mod hash;
mod ledger;
mod meters;
mod opening;
mod pen;
pub mod read;
pub mod record;
mod recover;
mod scan;
mod segments;
pub mod verify;
mod words;
mod writer;

pub use error::{Broken, LedgerError, What};
pub use hash::{BodyDigest, Digest, LedgerKeys};
pub use ledger::{Ledger, Recorded};

#[cfg(test)]
mod testing;
