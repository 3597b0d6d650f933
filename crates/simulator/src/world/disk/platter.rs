//! Files, names, and what is not yet durable of either. Pure.

use crate::world::dice::Dice;
use nightlatch_domain::ports::files::Opening;
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
};

/// What was done to a file since it was last synced.
#[derive(Debug, Clone)]
enum Change {
    Write { at: usize, bytes: Vec<u8> },
    Length(usize),
}

/// What was done to names since their folder was last synced.
#[derive(Debug, Clone)]
enum Naming {
    Given { path: PathBuf, inode: u64 },
    Taken { path: PathBuf },
    Moved { from: PathBuf, to: PathBuf },
    FolderMoved { from: PathBuf, to: PathBuf },
}

/// One file.
#[derive(Debug, Clone, Default)]
pub(super) struct File {
    /// As every process sees it.
    now: Vec<u8>,
    /// As the disk has it.
    durable: Vec<u8>,
    changes: Vec<Change>,
    /// Room that was taken ahead.
    taken: usize,
}

impl File {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.now
    }

    pub(super) fn len(&self) -> u64 {
        self.now.len() as u64
    }

    fn room(&self) -> usize {
        self.now.len().max(self.taken)
    }
}

/// A disk as it was at one moment.
#[derive(Clone)]
pub struct Image {
    files: BTreeMap<u64, File>,
    names: BTreeMap<PathBuf, u64>,
    folders: BTreeSet<PathBuf>,
    id: u64,
}

pub(super) struct Platter {
    pub(super) dice: Dice,
    pub(super) room_bytes: u64,
    files: BTreeMap<u64, File>,
    names: BTreeMap<PathBuf, u64>,
    durable_names: BTreeMap<PathBuf, u64>,
    namings: Vec<Naming>,
    folders: BTreeSet<PathBuf>,
    id: u64,
    drawn: u64,
}

impl Platter {
    pub(super) fn new(mut dice: Dice, room_bytes: u64) -> Self {
        let id = dice.number();
        Self {
            dice,
            room_bytes,
            files: BTreeMap::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            namings: Vec::new(),
            folders: BTreeSet::new(),
            id,
            drawn: 100,
        }
    }

    /// The file system's id.
    pub(super) const fn id(&self) -> u64 {
        self.id
    }

    pub(super) fn file(&self, inode: u64) -> io::Result<&File> {
        self.files.get(&inode).ok_or_else(missing)
    }

    fn file_mut(&mut self, inode: u64) -> io::Result<&mut File> {
        self.files.get_mut(&inode).ok_or_else(missing)
    }

    pub(super) fn open(&mut self, path: &Path, how: Opening) -> io::Result<u64> {
        let known = self.names.get(path).copied();
        match (known, how) {
            (Some(_), Opening::CreateNew) => Err(io::ErrorKind::AlreadyExists.into()),
            (Some(inode), _) => Ok(inode),
            (None, Opening::Read | Opening::ReadWrite) => Err(missing()),
            (None, Opening::CreateNew | Opening::Append) => self.make(path),
        }
    }

    fn make(&mut self, path: &Path) -> io::Result<u64> {
        if !path.parent().is_some_and(|folder| self.folders.contains(folder)) {
            return Err(missing());
        }
        self.drawn += 1;
        let inode = self.drawn;
        self.files.insert(inode, File::default());
        self.name(Naming::Given { path: path.to_owned(), inode });
        Ok(inode)
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        if self.folders.contains(from) {
            self.rename_folder(from, to);
            return Ok(());
        }
        if !self.names.contains_key(from) {
            return Err(missing());
        }
        self.name(Naming::Moved { from: from.to_owned(), to: to.to_owned() });
        Ok(())
    }

    fn rename_folder(&mut self, from: &Path, to: &Path) {
        self.folders = self.folders.iter().map(|path| moved(path, from, to)).collect();
        self.name(Naming::FolderMoved { from: from.to_owned(), to: to.to_owned() });
    }

    pub(super) fn remove(&mut self, path: &Path) -> io::Result<()> {
        if !self.names.contains_key(path) {
            return Err(missing());
        }
        self.name(Naming::Taken { path: path.to_owned() });
        Ok(())
    }

    pub(super) fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        if !self.folders.contains(folder) {
            return Err(missing());
        }
        let all: BTreeSet<&PathBuf> = self.names.keys().chain(&self.folders).collect();
        Ok(all.into_iter().filter(|path| path.parent() == Some(folder)).cloned().collect())
    }

    pub(super) fn make_folder(&mut self, folder: &Path) {
        self.folders.extend(folder.ancestors().map(Path::to_path_buf));
    }

    pub(super) fn sync_folder(&mut self, folder: &Path) {
        // A journal has one order: what was named before comes with it.
        let is_here = |naming: &Naming| naming.paths().any(|path| path.parent() == Some(folder));
        let Some(last) = self.namings.iter().rposition(is_here) else { return };
        for naming in self.namings.drain(..=last).collect::<Vec<_>>() {
            naming.apply(&mut self.durable_names);
        }
        self.forget_nameless();
    }

    pub(super) fn write(&mut self, inode: u64, at: u64, bytes: &[u8]) -> io::Result<()> {
        let at = usize::try_from(at).map_err(|_| io::ErrorKind::InvalidInput)?;
        let room = self.room_for(inode)?;
        let fits = bytes.get(..room.saturating_sub(at).min(bytes.len())).unwrap_or_default();
        self.change(inode, Change::Write { at, bytes: fits.to_vec() })?;
        if fits.len() < bytes.len() { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    pub(super) fn set_len(&mut self, inode: u64, len: u64) -> io::Result<()> {
        let len = usize::try_from(len).map_err(|_| io::ErrorKind::InvalidInput)?;
        self.file_mut(inode)?.taken = 0;
        self.change(inode, Change::Length(len))
    }

    pub(super) fn allocate(&mut self, inode: u64, bytes: u64) -> io::Result<()> {
        let bytes = usize::try_from(bytes).map_err(|_| io::ErrorKind::InvalidInput)?;
        if self.room_for(inode)? < bytes {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let file = self.file_mut(inode)?;
        file.taken = file.taken.max(bytes);
        if file.now.len() < bytes { self.change(inode, Change::Length(bytes)) } else { Ok(()) }
    }

    /// How long this file could be: what it has, what it has taken ahead, and what is free.
    fn room_for(&self, inode: u64) -> io::Result<usize> {
        let own = self.file(inode)?.room();
        let used: usize = self.files.values().map(File::room).sum();
        let room = usize::try_from(self.room_bytes).unwrap_or(usize::MAX);
        Ok(own + room.saturating_sub(used))
    }

    fn change(&mut self, inode: u64, change: Change) -> io::Result<()> {
        let file = self.file_mut(inode)?;
        change.apply(&mut file.now);
        file.changes.push(change);
        Ok(())
    }

    pub(super) fn sync(&mut self, inode: u64) {
        if let Some(file) = self.files.get_mut(&inode) {
            for change in std::mem::take(&mut file.changes) {
                change.apply(&mut file.durable);
            }
        }
    }

    /// Each change that was to be made durable is, or is thought to be.
    pub(super) fn fail_to_sync(&mut self, inode: u64) {
        if let Some(file) = self.files.get_mut(&inode) {
            for change in std::mem::take(&mut file.changes) {
                if self.dice.below(2) == 0 {
                    change.apply(&mut file.durable);
                }
            }
        }
    }

    pub(super) fn lose_power(&mut self) {
        let namings = std::mem::take(&mut self.namings);
        let came = self.dice.place(namings.len() + 1);
        for naming in namings.into_iter().take(came) {
            naming.apply(&mut self.durable_names);
        }
        self.names = self.durable_names.clone();
        // A folder whose move did not come lies where it lay.
        let folders = self.names.keys().flat_map(|path| path.ancestors().skip(1)).map(Path::to_path_buf);
        self.folders.extend(folders);
        for file in self.files.values_mut() {
            for change in std::mem::take(&mut file.changes) {
                torn(change, &mut self.dice).into_iter().for_each(|change| change.apply(&mut file.durable));
            }
            file.now.clone_from(&file.durable);
            file.taken = 0;
        }
        self.forget_nameless();
    }

    pub(super) fn image(&self) -> Image {
        let (files, names) = (self.files.clone(), self.names.clone());
        Image { files, names, folders: self.folders.clone(), id: self.id }
    }

    pub(super) fn put_back(&mut self, image: &Image) {
        self.files.clone_from(&image.files);
        for file in self.files.values_mut() {
            file.durable.clone_from(&file.now);
            file.changes.clear();
        }
        self.names.clone_from(&image.names);
        self.durable_names.clone_from(&image.names);
        self.namings.clear();
        self.folders.clone_from(&image.folders);
        self.id = image.id;
    }

    pub(super) fn contents(&self, folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
        let below = self.names.iter().filter(|(path, _)| path.starts_with(folder));
        below
            .filter_map(|(path, inode)| {
                let name = path.strip_prefix(folder).ok()?;
                Some((name.to_owned(), self.files.get(inode)?.now.clone()))
            })
            .collect()
    }

    /// Files from elsewhere, durable, with numbers of this file system.
    pub(super) fn take_in(&mut self, under: &Path, files: Vec<(PathBuf, Vec<u8>)>) {
        self.make_folder(under);
        for (name, bytes) in files {
            let path = under.join(name);
            if let Some(folder) = path.parent() {
                self.make_folder(folder);
            }
            self.drawn += 1;
            let file = File { now: bytes.clone(), durable: bytes, ..File::default() };
            self.files.insert(self.drawn, file);
            self.names.insert(path.clone(), self.drawn);
            self.durable_names.insert(path, self.drawn);
        }
    }

    pub(super) fn lose_folder(&mut self, folder: &Path) {
        let here = |path: &Path| path.starts_with(folder);
        self.names.retain(|path, _| !here(path));
        self.durable_names.retain(|path, _| !here(path));
        self.namings.retain(|naming| !naming.paths().any(here));
        self.folders.retain(|path| !here(path));
        self.forget_nameless();
    }

    fn name(&mut self, naming: Naming) {
        naming.clone().apply(&mut self.names);
        self.namings.push(naming);
    }

    /// A file whose name is gone for good gives its room back. Who has it open may lose it: nothing here
    /// goes on with a file that it removed.
    fn forget_nameless(&mut self) {
        let mut named: BTreeSet<u64> =
            self.names.values().chain(self.durable_names.values()).copied().collect();
        named.extend(self.namings.iter().filter_map(|naming| match naming {
            Naming::Given { inode, .. } => Some(*inode),
            Naming::Taken { .. } | Naming::Moved { .. } | Naming::FolderMoved { .. } => None,
        }));
        self.files.retain(|inode, _| named.contains(inode));
    }
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Length(len) => bytes.resize(*len, 0),
            Self::Write { at, bytes: written } => {
                let ends = at + written.len();
                if bytes.len() < ends {
                    bytes.resize(ends, 0);
                }
                if let Some(place) = bytes.get_mut(*at..ends) {
                    place.copy_from_slice(written);
                }
            }
        }
    }
}

/// What a power cut leaves of a change: all, nothing, its first part, or as many zeros.
fn torn(change: Change, dice: &mut Dice) -> Option<Change> {
    let fate = dice.below(4);
    match (fate, change) {
        (0, _) => None,
        (1, Change::Write { at, bytes }) => {
            let some = dice.place(bytes.len() + 1);
            Some(Change::Write { at, bytes: bytes.get(..some).unwrap_or_default().to_vec() })
        }
        (2, Change::Write { at, bytes }) => Some(Change::Write { at, bytes: vec![0; bytes.len()] }),
        (_, change) => Some(change),
    }
}

impl Naming {
    fn apply(self, names: &mut BTreeMap<PathBuf, u64>) {
        match self {
            Self::Given { path, inode } => {
                names.insert(path, inode);
            }
            Self::Taken { path } => {
                names.remove(&path);
            }
            Self::Moved { from, to } => {
                if let Some(inode) = names.remove(&from) {
                    names.insert(to, inode);
                }
            }
            Self::FolderMoved { from, to } => {
                let all = std::mem::take(names);
                names.extend(all.into_iter().map(|(path, inode)| (moved(&path, &from, &to), inode)));
            }
        }
    }

    fn paths(&self) -> impl Iterator<Item = &Path> {
        let (first, second) = match self {
            Self::Given { path, .. } | Self::Taken { path } => (path.as_path(), None),
            Self::Moved { from, to } | Self::FolderMoved { from, to } => (from.as_path(), Some(to.as_path())),
        };
        std::iter::once(first).chain(second)
    }
}

/// Where a path is when the folder `from` has become `to`.
fn moved(path: &Path, from: &Path, to: &Path) -> PathBuf {
    match path.strip_prefix(from) {
        Ok(rest) if rest.as_os_str().is_empty() => to.to_owned(),
        Ok(rest) => to.join(rest),
        Err(_) => path.to_owned(),
    }
}

fn missing() -> io::Error {
    io::ErrorKind::NotFound.into()
}
