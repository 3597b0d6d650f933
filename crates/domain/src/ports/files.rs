//! Files that must outlive a crash: the keeper's own log and its spool write through here, and nothing else.
//!
//! The calls block. What was written is durable only when a sync of its file has returned, and a name only
//! when its folder was synced: whoever stands in for a disk takes away everything else at a crash.

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

/// How a file is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opening {
    /// To be read.
    Read,
    /// To be read, and written at its end only; made where it is missing, for its owner alone.
    Append,
    /// To be read and written; made for its owner alone, and an error of kind `AlreadyExists` where it is there.
    CreateNew,
    /// To be read and written; it is there.
    ReadWrite,
}

/// What tells a file from a copy of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileIdentity {
    /// The file system's id.
    pub filesystem: u64,
    /// Its number there.
    pub inode: u64,
}

/// A lock, until it is dropped or the process ends.
pub type Held = Box<dyn fmt::Debug + Send + Sync>;

/// The files of one machine.
pub trait Files: fmt::Debug + Send + Sync {
    /// Opens a file.
    ///
    /// # Errors
    /// What the system says; likewise below.
    fn open(&self, path: &Path, how: Opening) -> io::Result<Box<dyn OpenFile>>;

    /// Puts a file or a folder in the place of another name, at once or not at all.
    ///
    /// # Errors
    /// As [`Files::open`].
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Takes a file's name away.
    ///
    /// # Errors
    /// As [`Files::open`].
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// What lies in a folder, in the order of its names.
    ///
    /// # Errors
    /// As [`Files::open`].
    fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>>;

    /// What lies in a folder under names that end so, in the order of the names. The others, of which there may be a million,
    /// are never in memory together.
    ///
    /// # Errors
    /// As [`Files::open`].
    fn list_ending(&self, folder: &Path, ending: &str) -> io::Result<Vec<PathBuf>>;

    /// Makes a folder and those above it, for their owner alone; no error where it is there.
    ///
    /// # Errors
    /// As [`Files::open`].
    fn make_folder(&self, folder: &Path) -> io::Result<()>;

    /// Makes the names in a folder durable.
    ///
    /// # Errors
    /// As [`Files::open`].
    fn sync_folder(&self, folder: &Path) -> io::Result<()>;

    /// Holds a lock, made where it is missing; none where another process, or another holder in this one, has it.
    ///
    /// # Errors
    /// As [`Files::open`].
    fn hold(&self, lock: &Path) -> io::Result<Option<Held>>;
}

/// A file that is open.
pub trait OpenFile: fmt::Debug + Send + Sync {
    /// All of it.
    ///
    /// # Errors
    /// What the system says; likewise below. What a failed write left behind is not known.
    fn read_all(&self) -> io::Result<Vec<u8>>;

    /// Fills `bytes` from `offset` on; how many there were, fewer than asked for only at its end.
    ///
    /// # Errors
    /// As [`OpenFile::read_all`].
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes all of `bytes` behind what is there.
    ///
    /// # Errors
    /// As [`OpenFile::read_all`].
    fn append(&self, bytes: &[u8]) -> io::Result<()>;

    /// Writes all of `bytes` from `offset` on.
    ///
    /// # Errors
    /// As [`OpenFile::read_all`].
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Cuts it, or lengthens it with zeros.
    ///
    /// # Errors
    /// As [`OpenFile::read_all`].
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Room on the disk for its first `len` bytes, so that a disk that fills up later does not matter.
    ///
    /// # Errors
    /// As [`OpenFile::read_all`].
    fn allocate(&self, len: u64) -> io::Result<()>;

    /// Makes its bytes durable.
    ///
    /// # Errors
    /// As [`OpenFile::read_all`].
    fn sync_data(&self) -> io::Result<()>;

    /// Makes its bytes durable, and all that is known of it.
    ///
    /// # Errors
    /// As [`OpenFile::read_all`].
    fn sync_all(&self) -> io::Result<()>;

    /// How many bytes it has.
    ///
    /// # Errors
    /// As [`OpenFile::read_all`].
    fn size_bytes(&self) -> io::Result<u64>;

    /// What tells it from a copy.
    ///
    /// # Errors
    /// As [`OpenFile::read_all`].
    fn identity(&self) -> io::Result<FileIdentity>;
}
