//! The one writer of a ledger, without its thread: records in, lines on a tape.
//!
//! **Why a failed write leaves no trace.** A batch of lines is one `write(2)`. If it fails, any part of
//! it may be in the file; the file is cut back to where the batch began, and number and hash stand where
//! they stood. If even the cut fails, it is tried again before the next batch, which fails until it works.
//!
//! **Why a failed sync is not repeated.** After `fdatasync` failed, the kernel may have marked the pages
//! clean without having written them, and a second call would report success for nothing. So all bytes
//! since the last good sync are kept in memory; after a failure the file is cut back to that point, they
//! are written anew (which makes them dirty again), and only a sync of those counts.

use crate::{
    LedgerError,
    chain::Link,
    disk::{Disk, Tape},
    record::{Entry, Record},
};
use nightlatch_domain::clock::Timestamp;
use std::io;

/// What is kept in memory between two syncs.
const UNSYNCED_MAX_BYTES: usize = 4 * 1024 * 1024;

/// More than any batch of ordinary records has.
const BATCH_MAX_BYTES: usize = 1024 * 1024;

/// What has to be put right before the next write.
enum Fault {
    /// A write broke off: bytes after the good end.
    Tail,
    /// A sync failed: what was written since the last good one may be on no disk.
    Unsynced,
}

pub(crate) struct Writer<D> {
    disk: D,
    tape: Box<dyn Tape>,
    number: u64,
    /// Bytes of whole batches in the tape.
    len: u64,
    /// Bytes that are known to be on the disk.
    synced: u64,
    /// The bytes between the two.
    unsynced: Vec<u8>,
    link: Link,
    fault: Option<Fault>,
    segment_max_bytes: u64,
}

/// Where a writer goes on.
pub(crate) struct Position {
    pub(crate) number: u64,
    pub(crate) len: u64,
    pub(crate) link: Link,
}

impl<D: Disk> Writer<D> {
    /// Goes on at the end of a tape whose content is on the disk.
    pub(crate) fn new(disk: D, tape: Box<dyn Tape>, at: Position, segment_max_bytes: u64) -> Self {
        Self {
            disk,
            tape,
            number: at.number,
            len: at.len,
            synced: at.len,
            unsynced: Vec::new(),
            link: at.link,
            fault: None,
            segment_max_bytes,
        }
    }

    /// Writes records, all or none; they are in the file when this returns, not yet on the disk.
    pub(crate) fn append(&mut self, at: Timestamp, entries: Vec<Entry>) -> Result<Vec<Record>, LedgerError> {
        self.mend()?;
        let (records, bytes, link) = self.encode(at, entries)?;
        if self.len > 0 && self.len + bytes.len() as u64 > self.segment_max_bytes {
            self.rotate()?;
        }
        self.write(&bytes)?;
        self.link = link;
        if self.unsynced.len() > UNSYNCED_MAX_BYTES {
            // Only bounds memory. If it fails, the fault is put right before the next record.
            let _ = self.sync();
        }
        Ok(records)
    }

    /// Waits until all records are on the disk, and says which is the last.
    pub(crate) fn sync(&mut self) -> Result<Link, LedgerError> {
        self.mend()?;
        if self.is_ahead_of_disk() {
            self.tape.sync().map_err(|error| self.failed(Fault::Unsynced, &error))?;
            self.mark_synced();
        }
        Ok(self.link.clone())
    }

    /// Whether something was written that may be on no disk.
    pub(crate) const fn is_ahead_of_disk(&self) -> bool {
        self.len != self.synced
    }

    /// Whether the next batch is one plain write: nothing to put right, no new segment, and no sync to bound memory.
    pub(crate) fn has_room(&self) -> bool {
        let room = u64::try_from(BATCH_MAX_BYTES).unwrap_or(u64::MAX);
        self.fault.is_none()
            && self.len + room <= self.segment_max_bytes
            && self.unsynced.len() + BATCH_MAX_BYTES <= UNSYNCED_MAX_BYTES
    }

    fn encode(
        &self,
        at: Timestamp,
        entries: Vec<Entry>,
    ) -> Result<(Vec<Record>, Vec<u8>, Link), LedgerError> {
        let (mut records, mut bytes, mut link) =
            (Vec::with_capacity(entries.len()), Vec::new(), self.link.clone());
        for entry in entries {
            let record = link.next(at, entry);
            let from = bytes.len();
            record.write(&mut bytes).map_err(|_| LedgerError::NotWritten(io::ErrorKind::InvalidData))?;
            link = Link::of(record.seq, bytes.get(from..).unwrap_or_default());
            bytes.push(b'\n');
            records.push(record);
        }
        Ok((records, bytes, link))
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), LedgerError> {
        if let Err(error) = self.tape.append(bytes) {
            let refusal = self.failed(Fault::Tail, &error);
            // At once, so that a reader finds no half line; if it fails, `mend` tries again.
            let _ = self.mend();
            return Err(refusal);
        }
        self.len += bytes.len() as u64;
        self.unsynced.extend_from_slice(bytes);
        Ok(())
    }

    /// The old segment is on the disk before the new one begins: only the last can have a torn end.
    fn rotate(&mut self) -> Result<(), LedgerError> {
        self.sync()?;
        self.tape =
            self.disk.create(self.number + 1).map_err(|error| LedgerError::NotWritten(error.kind()))?;
        self.number += 1;
        (self.len, self.synced) = (0, 0);
        Ok(())
    }

    fn mend(&mut self) -> Result<(), LedgerError> {
        let mended = match self.fault {
            None => return Ok(()),
            Some(Fault::Tail) => self.tape.cut(self.len),
            Some(Fault::Unsynced) => self.write_anew(),
        };
        mended.map_err(|error| LedgerError::NotWritten(error.kind()))?;
        if matches!(self.fault, Some(Fault::Unsynced)) {
            self.mark_synced();
        }
        self.fault = None;
        Ok(())
    }

    fn write_anew(&mut self) -> io::Result<()> {
        self.tape.cut(self.synced)?;
        self.tape.append(&self.unsynced)?;
        self.tape.sync()
    }

    fn mark_synced(&mut self) {
        self.synced = self.len;
        self.unsynced.clear();
    }

    fn failed(&mut self, fault: Fault, error: &io::Error) -> LedgerError {
        self.fault = Some(fault);
        LedgerError::NotWritten(error.kind())
    }
}

#[cfg(test)]
mod tests;
