//! What is done to a folder before a writer has it: one process at a time, and a signal that would end it.

use crate::{
    LedgerError,
    disk::{Disk, Folder},
    recover::beginning,
    segments::{SEGMENT_MAX_BYTES, failed},
    writer::{Position, Writer},
};
use rustix::{
    fs::{FlockOperation, flock},
    process::Signal,
};
use std::{
    fs::{DirBuilder, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
};
use tokio::signal::unix::{SignalKind, signal};

/// `RLIMIT_FSIZE` sends SIGXFSZ, which ends the process unless it is handled; then the write fails with
/// EFBIG instead (setrlimit(2)). The handler stays when its stream is dropped.
pub(crate) fn outlive_file_size_limits() -> Result<(), LedgerError> {
    signal(SignalKind::from_raw(Signal::XFSZ.as_raw()))
        .map(drop)
        .map_err(|error| LedgerError::NotWritten(error.kind()))
}

/// One writer: the lock lasts as long as the file is open.
pub(crate) fn lock(folder: &Path) -> Result<File, LedgerError> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(|error| failed(folder, &error))?;
    let path = folder.join("lock");
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(|error| failed(&path, &error))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive).map_err(io::Error::from) {
        Ok(()) => Ok(file),
        Err(taken) if taken.kind() == io::ErrorKind::WouldBlock => Err(LedgerError::InUse(folder.to_owned())),
        Err(error) => Err(failed(&path, &error)),
    }
}

/// The writer at the end of what is there.
pub(crate) fn writer(folder: &Path, position: Option<Position>) -> Result<Writer<Folder>, LedgerError> {
    let mut disk = Folder::new(folder);
    let tape = match &position {
        Some(position) => disk.reopen(position.number),
        None => disk.create(beginning().number),
    }
    .map_err(|error| LedgerError::NotWritten(error.kind()))?;
    Ok(Writer::new(disk, tape, position.unwrap_or_else(beginning), SEGMENT_MAX_BYTES))
}
