//! What the writer needs of a disk, behind two small traits, so that a test can be a disk that fails.

use crate::segments::Segment;
use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

/// Where segments are made.
pub(crate) trait Disk: Send {
    /// A segment that is empty or not there yet, durable in its folder.
    fn create(&mut self, number: u64) -> io::Result<Box<dyn Tape>>;
}

/// A file that grows at its end.
pub(crate) trait Tape: Send {
    /// Writes all of `bytes` at the end, or fails having written any part of them.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Cuts the file to `len` bytes.
    fn cut(&mut self, len: u64) -> io::Result<()>;
    /// Waits until what was written is on the disk.
    fn sync(&mut self) -> io::Result<()>;
}

/// A folder on a real disk.
pub(crate) struct Folder {
    path: PathBuf,
}

impl Folder {
    pub(crate) fn new(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    /// The segment that is written on, at its end.
    pub(crate) fn reopen(&self, number: u64) -> io::Result<Box<dyn Tape>> {
        let file = OpenOptions::new().append(true).open(Segment::of(&self.path, number).path)?;
        Ok(Box::new(file))
    }
}

impl Disk for Folder {
    fn create(&mut self, number: u64) -> io::Result<Box<dyn Tape>> {
        let path = Segment::of(&self.path, number).path;
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
        if file.metadata()?.len() != 0 {
            return Err(io::Error::from(io::ErrorKind::AlreadyExists));
        }
        File::open(&self.path)?.sync_all()?;
        Ok(Box::new(file))
    }
}

impl Tape for File {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes)
    }

    fn cut(&mut self, len: u64) -> io::Result<()> {
        self.set_len(len)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }
}
