//! The files of a ledger's folder: `000001.jsonl`, `000002.jsonl`, … without a gap.

use crate::LedgerError;
use std::{
    fs::read_dir,
    io,
    path::{Path, PathBuf},
};

/// A segment ends before it grows over this: small enough to be read whole into memory.
pub(crate) const SEGMENT_MAX_BYTES: u64 = 16 * 1024 * 1024;
/// No record of ours comes near; a longer line is none.
pub(crate) const LINE_MAX_BYTES: u64 = 64 * 1024;

/// One file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Segment {
    pub(crate) number: u64,
    pub(crate) path: PathBuf,
}

impl Segment {
    pub(crate) fn of(folder: &Path, number: u64) -> Self {
        Self { number, path: folder.join(name(number)) }
    }

    pub(crate) fn name(&self) -> String {
        name(self.number)
    }
}

/// The name of a segment.
pub(crate) fn name(number: u64) -> String {
    format!("{number:06}.jsonl")
}

/// The segments that are there, in order. Other files are none of ours.
pub(crate) fn list(folder: &Path) -> Result<Vec<Segment>, LedgerError> {
    let mut found = Vec::new();
    for entry in read_dir(folder).map_err(|error| failed(folder, &error))? {
        let entry = entry.map_err(|error| failed(folder, &error))?;
        if let Some(number) = entry.file_name().to_str().and_then(number_of) {
            found.push(Segment { number, path: entry.path() });
        }
    }
    found.sort();
    Ok(found)
}

fn number_of(file: &str) -> Option<u64> {
    let number = file.strip_suffix(".jsonl")?.parse().ok()?;
    (name(number) == file).then_some(number)
}

pub(crate) fn failed(path: &Path, error: &io::Error) -> LedgerError {
    LedgerError::File(path.to_owned(), error.kind())
}
