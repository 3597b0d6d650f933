//! The chain: every line names its number and the hash of the line before it.

use crate::record::{Entry, Record};
use aws_lc_rs::digest;
use nightlatch_domain::clock::Timestamp;
use serde::Deserialize;

/// A place in the chain: the last record, and the hash of its line without the newline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) seq: u64,
    pub(crate) hash: String,
}

impl Link {
    /// Before the first record.
    pub(crate) fn root() -> Self {
        Self { seq: 0, hash: "0".repeat(64) }
    }

    /// The next record after this link.
    pub(crate) fn next(&self, at: Timestamp, entry: Entry) -> Record {
        Record { seq: self.seq + 1, prev: self.hash.clone(), at, entry }
    }

    /// The link of a line.
    pub(crate) fn of(seq: u64, line: &[u8]) -> Self {
        Self { seq, hash: line_hash(line) }
    }
}

/// What the chain needs of a line; its other fields may come from a newer version.
#[derive(Debug, Deserialize)]
pub(crate) struct Linked {
    pub(crate) seq: u64,
    pub(crate) prev: String,
}

/// SHA-256 of a line without its newline, hexadecimal.
pub(crate) fn line_hash(line: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let hash = digest::digest(&digest::SHA256, line);
    let digits = hash.as_ref().iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.filter_map(|digit| DIGITS.get(usize::from(digit))).map(|digit| char::from(*digit)).collect()
}
