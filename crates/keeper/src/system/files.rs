//! Files by the system's own calls.

use nightlatch_domain::ports::files::{FileIdentity, Files, Held, OpenFile, Opening};
use rustix::fs::{FallocateFlags, FlockOperation, Mode, OFlags, fallocate, flock, fstatvfs};
use std::{
    fs::{self, File},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, FileExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

/// This machine's files.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemFiles;

impl Files for SystemFiles {
    fn open(&self, path: &Path, how: Opening) -> io::Result<Box<dyn OpenFile>> {
        let mut options = fs::OpenOptions::new();
        options.read(true).mode(0o600);
        match how {
            Opening::Read => {}
            Opening::Append => {
                options.create(true).append(true);
            }
            Opening::CreateNew => {
                options.create_new(true).write(true);
            }
            Opening::ReadWrite => {
                options.write(true);
            }
        }
        Ok(Box::new(SystemFile(options.open(path)?)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        self.list_ending(folder, "")
    }

    fn list_ending(&self, folder: &Path, ending: &str) -> io::Result<Vec<PathBuf>> {
        let mut paths = Vec::new();
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            if entry.file_name().as_encoded_bytes().ends_with(ending.as_bytes()) {
                paths.push(entry.path());
            }
        }
        paths.sort();
        Ok(paths)
    }

    fn make_folder(&self, folder: &Path) -> io::Result<()> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        File::open(folder)?.sync_all()
    }

    fn hold(&self, lock: &Path) -> io::Result<Option<Held>> {
        let flags = OFlags::CREATE | OFlags::RDWR | OFlags::CLOEXEC;
        let lock = rustix::fs::open(lock, flags, Mode::RUSR | Mode::WUSR)?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Box::new(lock))),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

#[derive(Debug)]
struct SystemFile(File);

impl OpenFile for SystemFile {
    fn read_all(&self) -> io::Result<Vec<u8>> {
        let len = usize::try_from(self.size_bytes()?).map_err(io::Error::other)?;
        let mut bytes = vec![0; len];
        self.0.read_exact_at(&mut bytes, 0)?;
        Ok(bytes)
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        let left = usize::try_from(self.size_bytes()?.saturating_sub(offset)).map_err(io::Error::other)?;
        let there = bytes.len().min(left);
        self.0.read_exact_at(bytes.get_mut(..there).unwrap_or_default(), offset)?;
        Ok(there)
    }

    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        (&self.0).write_all(bytes)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        match fallocate(&self.0, FallocateFlags::empty(), 0, len) {
            Ok(()) => Ok(()),
            // A file system without the call: zeros take the room.
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {
                let from = self.size_bytes()?;
                let zeros = usize::try_from(len.saturating_sub(from)).map_err(io::Error::other)?;
                self.0.write_all_at(&vec![0; zeros], from)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.0.sync_all()
    }

    fn size_bytes(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn identity(&self) -> io::Result<FileIdentity> {
        let filesystem = fstatvfs(&self.0)?.f_fsid;
        Ok(FileIdentity { filesystem, inode: self.0.metadata()?.ino() })
    }
}

#[cfg(test)]
mod tests {
    //! A file is what was written to it, its owner's alone, itself under any name and none of its copies; a lock
    //! has one holder.

    use super::SystemFiles;
    use nightlatch_domain::ports::files::{Files as _, Opening};
    use std::{fs, io, os::unix::fs::MetadataExt as _};

    #[test]
    fn a_file_reads_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        assert_eq!(SystemFiles.open(&path, Opening::Read).unwrap_err().kind(), io::ErrorKind::NotFound);
        let file = SystemFiles.open(&path, Opening::Append).unwrap();
        file.append(b"one ").unwrap();
        file.append(b"two").unwrap();
        file.sync_data().unwrap();
        assert_eq!(file.read_all().unwrap(), b"one two");
        file.set_len(3).unwrap();
        assert_eq!((file.read_all().unwrap().as_slice(), file.size_bytes().unwrap()), (b"one".as_slice(), 3));
        SystemFiles.open(&path, Opening::ReadWrite).unwrap().write_at(b"X", 1).unwrap();
        assert_eq!(SystemFiles.open(&path, Opening::Read).unwrap().read_all().unwrap(), b"oXe");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_file_that_is_there_is_not_made_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        SystemFiles.open(&path, Opening::CreateNew).unwrap();
        let again = SystemFiles.open(&path, Opening::CreateNew).unwrap_err();
        assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
        let missing = SystemFiles.open(&folder.path().join("none"), Opening::ReadWrite).unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn room_that_was_allocated_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let file = SystemFiles.open(&path, Opening::CreateNew).unwrap();
        file.allocate(100_000).unwrap();
        assert!(fs::metadata(&path).unwrap().blocks() * 512 >= 100_000);
    }

    #[test]
    fn a_file_is_itself_under_another_name_and_a_copy_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let (path, copy, other) =
            (folder.path().join("file"), folder.path().join("copy"), folder.path().join("other"));
        let own = SystemFiles.open(&path, Opening::Append).unwrap().identity().unwrap();
        fs::copy(&path, &copy).unwrap();
        SystemFiles.rename(&path, &other).unwrap();
        SystemFiles.sync_folder(folder.path()).unwrap();
        let identity = |path| SystemFiles.open(path, Opening::Read).unwrap().identity().unwrap();
        assert_eq!(identity(&other), own);
        assert_ne!(identity(&copy), own);
        assert_eq!(SystemFiles.list(folder.path()).unwrap(), [copy.clone(), other.clone()]);
        SystemFiles.remove(&copy).unwrap();
        assert_eq!(SystemFiles.list(folder.path()).unwrap(), [other]);
    }

    #[test]
    fn names_are_listed_in_order_all_of_them_or_those_that_end_so() {
        let folder = tempfile::tempdir().unwrap();
        let [a, b, c] = ["a.slot", "b.kept", "c.slot"].map(|name| folder.path().join(name));
        for path in [&c, &a, &b] {
            fs::write(path, "").unwrap();
        }
        assert_eq!(SystemFiles.list_ending(folder.path(), ".slot").unwrap(), [a.clone(), c.clone()]);
        assert_eq!(SystemFiles.list(folder.path()).unwrap(), [a, b, c]);
        assert!(SystemFiles.list_ending(&folder.path().join("none"), ".slot").is_err());
    }

    #[test]
    fn a_lock_has_one_holder() {
        let folder = tempfile::tempdir().unwrap();
        let below = folder.path().join("a/b");
        SystemFiles.make_folder(&below).unwrap();
        SystemFiles.make_folder(&below).unwrap();
        assert_eq!(fs::metadata(&below).unwrap().mode() & 0o777, 0o700);
        let held = SystemFiles.hold(&below.join("lock")).unwrap();
        assert!(held.is_some() && SystemFiles.hold(&below.join("lock")).unwrap().is_none());
        drop(held);
        assert!(SystemFiles.hold(&below.join("lock")).unwrap().is_some());
    }
}
