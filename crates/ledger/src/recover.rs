//! What happens to a folder before it is written on.
//!
//! The chain is walked from the segment that holds the signed head. A last line without its newline was
//! never acknowledged to anyone (an acknowledgement follows a whole `write(2)`), so it is copied aside
//! and cut off, and said. Anything else that does not fit refuses to open: a writer that went on would
//! bury it.

use crate::{
    LedgerError,
    chain::{Link, Linked},
    scan::Scan,
    segments::{LINE_MAX_BYTES, Segment, failed, list},
    verify::check_signature,
    writer::Position,
};
use nightlatch_domain::ports::store::LedgerHead;
use std::{
    fs::{File, OpenOptions},
    io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

/// Where to go on, and what was cut off.
pub(crate) struct Recovered {
    pub(crate) position: Option<Position>,
    pub(crate) torn_bytes: u64,
}

/// Checks the end of the ledger and puts a torn last line aside.
pub(crate) fn recover(
    folder: &Path,
    public_key: &[u8],
    head: Option<&LedgerHead>,
) -> Result<Recovered, LedgerError> {
    if let Some(head) = head {
        check_signature(public_key, head)?;
    }
    let segments = list(folder)?;
    let (mut scan, first, from) = start(&segments, head)?;
    let mut recovered = Recovered { position: None, torn_bytes: 0 };
    for (segment, expected) in from.iter().zip(first..) {
        if segment.number != expected {
            return Err(scan.file_missing(crate::segments::name(expected)).into());
        }
        if recovered.torn_bytes > 0 {
            return Err(scan.torn(segment).into());
        }
        let end = scan.segment(segment)?;
        recovered.torn_bytes = end.torn_bytes;
        recovered.position =
            Some(Position { number: segment.number, len: end.whole_bytes, link: scan.link().clone() });
    }
    // Before anything is cut: what the head knows of was acknowledged, whatever it looks like now.
    scan.finish()?;
    if let (Some(position), Some(last), 1..) = (&recovered.position, from.last(), recovered.torn_bytes) {
        move_aside(last, position.len).map_err(|error| failed(&last.path, &error))?;
    }
    Ok(recovered)
}

/// From the segment that holds the head on; from the first where there is no head or no such segment.
/// A walk from the first begins at file 1, so that a missing one is missed.
fn start<'a, 's>(
    segments: &'s [Segment],
    head: Option<&'a LedgerHead>,
) -> Result<(Scan<'a>, u64, &'s [Segment]), LedgerError> {
    for (index, segment) in segments.iter().enumerate().skip(1).rev() {
        let first = first_seq(segment)?;
        if head.zip(first).is_some_and(|(head, first)| first <= head.seq) {
            return Ok((Scan::from_middle(head), segment.number, segments.get(index..).unwrap_or_default()));
        }
    }
    Ok((Scan::from_root(head), 1, segments))
}

/// The number of a segment's first record; none where it has none that can be read.
pub(crate) fn first_seq(segment: &Segment) -> Result<Option<u64>, LedgerError> {
    let file = File::open(&segment.path).map_err(|error| failed(&segment.path, &error))?;
    let mut line = Vec::new();
    BufReader::new(file)
        .take(LINE_MAX_BYTES)
        .read_until(b'\n', &mut line)
        .map_err(|error| failed(&segment.path, &error))?;
    Ok(serde_json::from_slice::<Linked>(&line).ok().map(|linked| linked.seq))
}

/// `torn-000003-81920`: the bytes that were cut off file 3 at that place.
fn move_aside(segment: &Segment, whole_bytes: u64) -> io::Result<()> {
    let mut file = OpenOptions::new().read(true).write(true).open(&segment.path)?;
    file.seek(SeekFrom::Start(whole_bytes))?;
    let mut torn = Vec::new();
    (&mut file).take(LINE_MAX_BYTES).read_to_end(&mut torn)?;
    let aside = segment.path.with_file_name(format!("torn-{:06}-{whole_bytes}", segment.number));
    let mut copy = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(aside)?;
    copy.write_all(&torn)?;
    copy.sync_all()?;
    file.set_len(whole_bytes)?;
    file.sync_all()
}

/// Where a ledger that has no file yet begins.
pub(crate) fn beginning() -> Position {
    Position { number: 1, len: 0, link: Link::root() }
}

#[cfg(test)]
mod tests;
