//! A machine's disk: what was written, what is durable, and what a power cut makes of the difference.
//!
//! A process that is killed loses nothing that it wrote: the system still has it. When the power goes,
//! only what was synced is sure. Of each write that was not, the seed says whether it came to the disk,
//! not at all, in its first part, or as zeros; of the names that were given, taken and moved since a
//! folder was last synced, the first so many. What a failed sync was to make durable may be lost although
//! it still reads back, and a later sync that succeeds does not bring it: so do Linux's file systems.
//!
//! Folders are durable as soon as they are made.

mod platter;

use super::process::{Node, Process};
use nightlatch_domain::ports::files::{FileIdentity, Files, Held, OpenFile, Opening};
pub use platter::Image;
use platter::Platter;
use std::{
    collections::BTreeMap,
    fmt, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// How often an operation fails, in a million.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DiskOdds {
    /// A write fails with an error, having written a part.
    pub failed_write: u32,
    /// A sync fails.
    pub failed_sync: u32,
    /// The process is killed right before an operation.
    pub killed: u32,
}

/// A disk. It belongs to a machine and outlives its processes.
#[derive(Clone)]
pub struct Disk {
    node: Node,
    platter: Arc<Mutex<Platter>>,
    odds: Arc<Mutex<DiskOdds>>,
    /// Which life of the node holds which lock.
    locks: Arc<Mutex<BTreeMap<PathBuf, Process>>>,
}

impl Disk {
    /// An empty disk with room for so many bytes, in a machine.
    #[must_use]
    pub fn new(node: &Node, room_bytes: u64) -> Self {
        Self {
            node: node.clone(),
            platter: Arc::new(Mutex::new(Platter::new(node.world().dice(), room_bytes))),
            odds: Arc::default(),
            locks: Arc::default(),
        }
    }

    /// How often its operations fail from now on.
    pub fn set_odds(&self, odds: DiskOdds) {
        *held(&self.odds) = odds;
    }

    /// How many bytes it has room for from now on: with fewer than it holds, it is full.
    pub fn set_room(&self, room_bytes: u64) {
        held(&self.platter).room_bytes = room_bytes;
    }

    /// Cuts the power of the machine: its process is gone, its boot clock begins anew, and what was not
    /// synced is what the seed makes of it.
    pub fn lose_power(&self) {
        self.node.world().note(format_args!("{} loses its power", self.node.name()));
        self.node.reboot();
        held(&self.platter).lose_power();
    }

    /// The disk as it is, to be put back later or into another machine.
    #[must_use]
    pub fn image(&self) -> Image {
        held(&self.platter).image()
    }

    /// Puts an image in place of what is there, as a snapshot of the whole machine does.
    pub fn put_back(&self, image: &Image) {
        held(&self.platter).put_back(image);
    }

    /// Copies the files of a folder into a folder of a disk: their contents, as files of that disk.
    pub fn copy_folder(&self, folder: &Path, to: &Self, under: &Path) {
        let files = held(&self.platter).contents(folder);
        held(&to.platter).take_in(under, files);
    }

    /// Takes a folder away with all that is in it.
    pub fn lose_folder(&self, folder: &Path) {
        held(&self.platter).lose_folder(folder);
    }

    /// The files below a folder with their contents, for whoever looks at it from outside.
    #[must_use]
    pub fn contents(&self, folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
        held(&self.platter).contents(folder)
    }

    /// The disk in the hands of a process: once that has ended, nothing is done any more.
    #[must_use]
    pub fn mount(&self, process: &Process) -> Mount {
        Mount { disk: self.clone(), process: process.clone() }
    }
}

/// A disk in the hands of a process.
#[derive(Clone)]
pub struct Mount {
    disk: Disk,
    process: Process,
}

impl Files for Mount {
    fn open(&self, path: &Path, how: Opening) -> io::Result<Box<dyn OpenFile>> {
        let inode = self.at_work()?.open(path, how)?;
        Ok(Box::new(Opened { mount: self.clone(), inode, how }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.at_work()?.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.at_work()?.remove(path)
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        self.at_work()?.list(folder)
    }

    fn list_ending(&self, folder: &Path, ending: &str) -> io::Result<Vec<PathBuf>> {
        let mut paths = self.at_work()?.list(folder)?;
        paths.retain(|path| path.as_os_str().as_encoded_bytes().ends_with(ending.as_bytes()));
        Ok(paths)
    }

    fn make_folder(&self, folder: &Path) -> io::Result<()> {
        self.at_work()?.make_folder(folder);
        Ok(())
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        let fails = self.strikes(|odds| odds.failed_sync);
        let mut platter = self.at_work()?;
        if fails {
            return Err(broken());
        }
        platter.sync_folder(folder);
        Ok(())
    }

    fn hold(&self, lock: &Path) -> io::Result<Option<Held>> {
        drop(self.at_work()?);
        let mut locks = held(&self.disk.locks);
        if locks.get(lock).is_some_and(Process::lives) {
            return Ok(None);
        }
        locks.insert(lock.to_owned(), self.process.clone());
        let (locks, path) = (Arc::clone(&self.disk.locks), lock.to_owned());
        Ok(Some(Box::new(Lock { locks, path, process: self.process.clone() })))
    }
}

impl Mount {
    /// The platter, where the process lives to use it.
    fn at_work(&self) -> io::Result<MutexGuard<'_, Platter>> {
        if self.process.lives() && self.strikes(|odds| odds.killed) {
            self.process.node().kill();
        }
        if self.process.lives() { Ok(held(&self.disk.platter)) } else { Err(gone()) }
    }

    fn strikes(&self, of: impl Fn(&DiskOdds) -> u32) -> bool {
        let odds = of(&held(&self.disk.odds));
        odds > 0 && held(&self.disk.platter).dice.strikes(odds)
    }
}

/// An open file.
struct Opened {
    mount: Mount,
    inode: u64,
    how: Opening,
}

impl OpenFile for Opened {
    fn read_all(&self) -> io::Result<Vec<u8>> {
        Ok(self.mount.at_work()?.file(self.inode)?.bytes().to_vec())
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        let at = self.mount.at_work()?;
        let all = at.file(self.inode)?.bytes();
        let rest = usize::try_from(offset).ok().and_then(|offset| all.get(offset..)).unwrap_or_default();
        let there = bytes.iter_mut().zip(rest).map(|(to, from)| *to = *from).count();
        Ok(there)
    }

    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        self.write(bytes, |len| len)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        if self.how == Opening::Append {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        self.write(bytes, |_| offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.mount.at_work()?.set_len(self.inode, len)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.mount.at_work()?.allocate(self.inode, len)
    }

    fn sync_data(&self) -> io::Result<()> {
        let fails = self.mount.strikes(|odds| odds.failed_sync);
        let mut platter = self.mount.at_work()?;
        if fails {
            platter.fail_to_sync(self.inode);
            return Err(broken());
        }
        platter.sync(self.inode);
        Ok(())
    }

    fn sync_all(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn size_bytes(&self) -> io::Result<u64> {
        Ok(self.mount.at_work()?.file(self.inode)?.len())
    }

    fn identity(&self) -> io::Result<FileIdentity> {
        Ok(FileIdentity { filesystem: self.mount.at_work()?.id(), inode: self.inode })
    }
}

impl Opened {
    fn write(&self, bytes: &[u8], at: impl FnOnce(u64) -> u64) -> io::Result<()> {
        if self.how == Opening::Read {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        let fails = self.mount.strikes(|odds| odds.failed_write);
        let mut platter = self.mount.at_work()?;
        let at = at(platter.file(self.inode)?.len());
        if fails {
            let some = platter.dice.place(bytes.len() + 1);
            let _ = platter.write(self.inode, at, bytes.get(..some).unwrap_or_default());
            return Err(broken());
        }
        platter.write(self.inode, at, bytes)
    }
}

/// A lock that is held.
struct Lock {
    locks: Arc<Mutex<BTreeMap<PathBuf, Process>>>,
    path: PathBuf,
    process: Process,
}

impl Drop for Lock {
    fn drop(&mut self) {
        // A lock that a later life took over is that one's.
        let mut locks = held(&self.locks);
        if locks.get(&self.path).is_some_and(|holder| holder.is(&self.process)) {
            locks.remove(&self.path);
        }
    }
}

impl fmt::Debug for Disk {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Disk(of {})", self.node.name())
    }
}

impl fmt::Debug for Mount {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Mount({:?}, {:?})", self.disk, self.process)
    }
}

impl fmt::Debug for Opened {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Opened({}, {:?})", self.inode, self.how)
    }
}

impl fmt::Debug for Lock {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Lock({})", self.path.display())
    }
}

fn held<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

fn broken() -> io::Error {
    io::Error::other("the disk is broken")
}

fn gone() -> io::Error {
    io::Error::other("the process is gone")
}

#[cfg(test)]
mod tests;
