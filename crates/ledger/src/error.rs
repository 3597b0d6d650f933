//! What the ledger can fail with.

use nightlatch_domain::{ports::store::StoreError, problem::ProblemKind};
use std::{io, path::PathBuf};

/// Why a record was not written or not read. Cloned to every caller of a batch that failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LedgerError {
    /// The disk is full, or a limit was reached, or it failed. Nothing may be done for this call.
    #[error("the ledger cannot be written ({0}): make room on its disk; it goes on by itself")]
    NotWritten(io::ErrorKind),
    /// The disk did not answer in time.
    #[error("the ledger's disk did not answer in time: look at the machine's disk")]
    TimedOut,
    /// It was closed.
    #[error("the ledger is closed: start `nightlatch up` again")]
    Closed,
    /// Another process writes it.
    #[error("the ledger in `{0}` is in use: stop the other `nightlatch up` first")]
    InUse(PathBuf),
    /// What is there is not what was written.
    #[error("{0}; keep the folder as it is and put back what is missing from a copy")]
    Broken(#[from] Broken),
    /// The folder or a file of it cannot be read.
    #[error("`{0}` could not be read or written: {1}")]
    File(PathBuf, io::ErrorKind),
    /// A line of a file is no record.
    #[error("`{0}` holds a line that is no record: run `nightlatch ledger verify`")]
    Unreadable(String),
    /// The store did not give or take a signed head.
    #[error("the ledger's signed head could not be read or kept: {0}")]
    Head(#[from] StoreError),
}

impl LedgerError {
    /// What the caller of a call is told.
    #[must_use]
    pub const fn problem(&self) -> ProblemKind {
        ProblemKind::LedgerUnavailable
    }
}

/// The first record that does not fit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("record {seq} of the ledger (`{file}`, line {line}) {what}")]
pub struct Broken {
    /// The file's name.
    pub file: String,
    /// Its line, from 1; one past the last where a record is missing.
    pub line: u64,
    /// The number of the record that should stand there.
    pub seq: u64,
    /// What is wrong with it.
    pub what: What,
}

/// What is wrong with a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum What {
    /// It is no record at all.
    #[error("cannot be read")]
    Unreadable,
    /// Another record stands in its place.
    #[error("is not where it belongs: a record was moved, doubled or taken out")]
    Misplaced,
    /// The next record names other bytes.
    #[error("was altered: the record after it names other bytes")]
    Altered,
    /// The signed head names other bytes.
    #[error("was altered: the signed head names other bytes")]
    NotTheSigned,
    /// The signed head knows of it, and it is not there.
    #[error("is missing: the signed head is later, so the tail was cut or the folder is an older copy")]
    Missing,
    /// The head itself bears no signature of this ledger's key.
    #[error("is named by a head that this ledger's key did not sign")]
    HeadNotSigned,
}
