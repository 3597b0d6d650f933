//! Whether a ledger is what was written: reads files only, and says which record is the first that is not.

use crate::{
    LedgerError,
    error::{Broken, What},
    hash::is_signed,
    scan::Scan,
    segments::{Segment, list},
};
use nightlatch_domain::ports::store::LedgerHead;
use std::path::Path;

/// A ledger that is whole, as far as it could be checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// How many records there are.
    pub records: u64,
    /// The hash of the last line, hexadecimal.
    pub last: String,
    /// Whether a signed head was held against it. Without one, a cut tail or an older copy of the folder
    /// does not show.
    pub head_checked: bool,
    /// Bytes of a last line that was never finished: a writer is at work, or was killed. No record.
    pub unfinished_bytes: u64,
}

/// Verifies the folder against the public key that signs its heads, and the last head, if there is one.
///
/// Read the head before calling: records that are written meanwhile come after it.
///
/// # Errors
/// [`LedgerError::Broken`] with the first record that does not fit; [`LedgerError::File`] where a file
/// cannot be read.
pub fn verify(folder: &Path, public_key: &[u8], head: Option<&LedgerHead>) -> Result<Verified, LedgerError> {
    if let Some(head) = head {
        check_signature(public_key, head)?;
    }
    let segments = list(folder)?;
    let mut scan = Scan::from_root(head);
    let mut unfinished_bytes = 0;
    for (index, segment) in segments.iter().enumerate() {
        let expected = index as u64 + 1;
        if segment.number != expected {
            return Err(scan.file_missing(crate::segments::name(expected)).into());
        }
        let end = scan.segment(segment)?;
        if end.torn_bytes > 0 {
            allow_torn(&scan, segment, segments.len() as u64 == expected)?;
            unfinished_bytes = end.torn_bytes;
        }
    }
    scan.finish()?;
    let last = scan.link();
    Ok(Verified {
        records: last.seq,
        last: last.hash.clone(),
        head_checked: head.is_some(),
        unfinished_bytes,
    })
}

/// A head that this ledger's key did not sign proves nothing, and somebody put it there.
pub(crate) fn check_signature(public_key: &[u8], head: &LedgerHead) -> Result<(), Broken> {
    if is_signed(public_key, head) {
        return Ok(());
    }
    Err(Broken { file: "head".to_owned(), line: 1, seq: head.seq, what: What::HeadNotSigned })
}

/// Only the last file may end in the middle of a line.
fn allow_torn(scan: &Scan<'_>, segment: &Segment, is_last: bool) -> Result<(), Broken> {
    if is_last { scan.finish() } else { Err(scan.torn(segment)) }
}

#[cfg(test)]
mod tests;
