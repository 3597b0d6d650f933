//! The mount namespace: what there is of the machine becomes read-only, what must not be seen is covered, and two
//! folders stay writable.
//!
//! The tree stays where it is, so that every program finds what it finds outside; nothing is copied. In this order,
//! since each step hides what the one before still needed:
//!
//! 1. the writable folders and the harmless devices are taken hold of as mounts of their own;
//! 2. a `/dev` with those devices alone, a `/proc` of this namespace's processes alone;
//! 3. empty folders over `/tmp`, `/var/tmp`, `/run`; the home folder is made anew of what may be seen of it
//!    (`house`), or goes back to its place where it lay in one of those; the writable folders go back to theirs;
//! 4. everything else becomes read-only, and is asked whether it did; so does this very program, where it lies in
//!    the working folder;
//! 5. empty folders and the null device over what is hidden, wherever it lies, also below a writable folder, and
//!    whatever other mounts show it too; the folders above it become mounts, which cannot be renamed.
//!
//! The program has no capability in this namespace, and a namespace that it makes for itself gets these mounts
//! locked: neither can take a cover off (mount_namespaces(7)).

mod house;

use super::{
    hidden::COVERED,
    mounts::{self, Mount, within},
    orders::Identity,
    refusal::{self, Refusal},
};
pub(super) use house::House;
use rustix::{
    fs::{CWD, StatVfsMountFlags, statvfs},
    io::Errno,
    mount::{
        MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, mount, mount_bind, mount_change,
        mount_remount, move_mount, open_tree,
    },
};
use serde::{Deserialize, Serialize};
use std::{
    ffi::CStr,
    fs::{self, DirBuilder, File},
    io,
    os::{
        fd::OwnedFd,
        unix::fs::{DirBuilderExt as _, symlink},
    },
    path::{Path, PathBuf},
};

/// The devices that harm nobody.
const DEVICES: &[&str] = &["null", "zero", "full", "random", "urandom", "tty"];

/// What may be written to besides the two folders: it is empty at the start and gone at the end, or is the kernel's
/// own view of the program's processes.
const FREE: &[&str] = &["/tmp", "/var/tmp", "/dev/shm", "/dev/pts", "/proc"];

/// What of `/proc` speaks for the whole machine. Its files are root's; where root runs the program, they are closed.
const OF_THE_MACHINE: &[&str] = &["/proc/sys", "/proc/sysrq-trigger", "/proc/irq", "/proc/bus", "/proc/fs"];

/// What the walls stand around.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Walls {
    /// The home folder, which is shown where it lies.
    pub(super) home: PathBuf,
    /// How it is made anew; where it is not, it is covered in parts.
    pub(super) house: Option<House>,
    /// The working folder.
    pub(super) work: PathBuf,
    /// Which folder that is.
    pub(super) identity: Identity,
    /// The private temporary folder.
    pub(super) scratch: PathBuf,
    /// What is not to be seen, by its real name.
    pub(super) hidden: Vec<PathBuf>,
    /// What stays as it is although it lies in the working folder: the user starts it again, outside.
    pub(super) kept: Option<PathBuf>,
    /// Unix sockets that others listen on, and pipes that they read.
    pub(super) sockets: Vec<PathBuf>,
}

impl From<Refused> for Refusal {
    fn from(refused: Refused) -> Self {
        let path = refused.path.as_path();
        // No program of this user changes what these are.
        let of_the_machine = path == Path::new("/")
            || path.starts_with("/dev")
            || path.starts_with("/proc")
            || COVERED.map_paths().contains(&path);
        Self { never: of_the_machine && refusal::is_never(&refused.source), why: refused.to_string() }
    }
}

/// A step that the kernel refused.
#[derive(Debug, thiserror::Error)]
#[error("{step} `{path}`: {source}")]
pub(super) struct Refused {
    step: &'static str,
    path: PathBuf,
    source: io::Error,
}

/// Raises the walls around this process. It must be alone in a mount and a pid namespace of its own.
pub(super) fn raise(walls: &Walls) -> Result<(), Refused> {
    let writable: [&Path; 2] = [&walls.work, &walls.scratch];
    apart()?;
    let covered: Vec<&Path> = COVERED.map_paths();
    // The home folder first: the others may lie in it.
    let home = Some(walls.home.as_path()).filter(|home| within(home, &covered) && home.is_dir());
    let house = walls.house.as_ref().map(|house| Ok((house, taken(&walls.home)?))).transpose()?;
    let as_it_is = home.filter(|_| house.is_none());
    let folders = as_it_is.into_iter().chain(writable).map(|path| Ok((path, taken(path)?)));
    let folders = folders.collect::<Result<Vec<_>, Refused>>()?;
    let devices = DEVICES.iter().map(|name| Ok((*name, taken(&Path::new("/dev").join(name))?)));
    let devices = devices.collect::<Result<Vec<_>, Refused>>()?;
    let (above, beside): (Vec<&str>, Vec<&str>) =
        COVERED.iter().filter(|path| !path.starts_with("/dev")).partition(|path| {
            folders.iter().any(|(folder, _)| folder.starts_with(path)) || walls.home.starts_with(path)
        });
    above.into_iter().try_for_each(|path| cover(Path::new(path)))?;
    own_devices(devices)?;
    own_processes()?;
    house.iter().try_for_each(|(house, tree)| house.build(&walls.home, tree))?;
    folders.iter().try_for_each(|(path, tree)| put_back(path, tree))?;
    beside.into_iter().try_for_each(|path| cover(Path::new(path)))?;
    same(&walls.work, walls.identity)?;
    read_only(&writable, home)?;
    let hidden = walls.hidden.iter().map(|path| (path, Identity::of(path).ok())).collect::<Vec<_>>();
    let fixed: Vec<PathBuf> = walls.hidden.iter().chain(&walls.kept).cloned().collect();
    let pinned = between(&fixed, &walls.work);
    pinned.iter().try_for_each(|path| mount_bind(path, path).map_err(refused("cannot pin", path)))?;
    walls.kept.iter().try_for_each(|path| keep(path))?;
    walls.hidden.iter().try_for_each(|path| hide(path))?;
    walls.sockets.iter().try_for_each(|path| blind(path))?;
    hidden.into_iter().try_for_each(|(path, identity)| unseen(path, identity))
}

/// The working folder that was meant, and not one that took its name meanwhile.
fn same(work: &Path, identity: Identity) -> Result<(), Refused> {
    let found = Identity::of(work);
    let other = || io::Error::other("it is another folder by now");
    match found.and_then(|found| if found == identity { Ok(()) } else { Err(other()) }) {
        Ok(()) => Ok(()),
        Err(source) => Err(Refused { step: "cannot work in", path: work.to_owned(), source }),
    }
}

/// The folders between `work` and what is hidden below it, from the top. Each becomes a mount, since those cannot be
/// renamed: else a program would move a hidden place to where the next run does not look.
fn between(hidden: &[PathBuf], work: &Path) -> Vec<PathBuf> {
    let above = |path: &PathBuf| {
        let folders = path.ancestors().skip(1).map(Path::to_owned);
        folders.take_while(|folder| folder != work).collect::<Vec<_>>()
    };
    let below = hidden.iter().filter(|path| path.starts_with(work) && path.as_path() != work);
    let mut found: Vec<PathBuf> = below.flat_map(above).collect();
    found.sort();
    found.dedup();
    found
}

/// A file that is neither written to nor replaced: a mount cannot be renamed.
fn keep(path: &Path) -> Result<(), Refused> {
    mount_bind(path, path).map_err(refused("cannot pin", path))?;
    // What the remount must say again, the table alone tells.
    let lost = |source| Refused { step: "cannot close", path: path.to_owned(), source };
    let table = mounts::read(&fs::read("/proc/self/mountinfo").map_err(lost)?).unwrap_or_default();
    let mount = table.iter().rfind(|mount| mount.point == path);
    close(mount.ok_or_else(|| lost(io::ErrorKind::NotFound.into()))?)
}

/// What was to be hidden is not what lies there now.
fn unseen(path: &Path, identity: Option<Identity>) -> Result<(), Refused> {
    match (identity, Identity::of(path).ok()) {
        (Some(before), Some(now)) if before == now => Err(Refused {
            step: "cannot hide",
            path: path.to_owned(),
            source: io::ErrorKind::ResourceBusy.into(),
        }),
        _ => Ok(()),
    }
}

/// Nothing that happens to mounts here is seen outside, nor the other way round.
fn apart() -> Result<(), Refused> {
    let changed = mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::PRIVATE);
    changed.map_err(refused("cannot part from the mounts at", Path::new("/")))
}

fn taken(path: &Path) -> Result<OwnedFd, Refused> {
    let flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
    open_tree(CWD, path, flags).map_err(refused("cannot take hold of", path))
}

fn put_back(path: &Path, tree: &OwnedFd) -> Result<(), Refused> {
    if !path.exists() {
        let made = DirBuilder::new().recursive(true).mode(0o755).create(path);
        made.map_err(|source| Refused { step: "cannot make", path: path.to_owned(), source })?;
    }
    put(path, tree)
}

fn put(path: &Path, tree: &OwnedFd) -> Result<(), Refused> {
    let moved = move_mount(tree, "", CWD, path, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH);
    moved.map_err(refused("cannot put back", path))
}

/// A fresh folder over one that is there.
fn cover(path: &Path) -> Result<(), Refused> {
    if !path.is_dir() {
        return Ok(());
    }
    let mode = if within(path, &FREE.map_paths()) { c"mode=1777" } else { c"mode=0755" };
    fresh(path, MountFlags::NOSUID | MountFlags::NODEV, mode)
}

fn fresh(path: &Path, flags: MountFlags, options: &'static CStr) -> Result<(), Refused> {
    mount("tmpfs", path, "tmpfs", flags, options).map_err(refused("cannot cover", path))
}

fn own_devices(devices: Vec<(&str, OwnedFd)>) -> Result<(), Refused> {
    let folder = Path::new("/dev");
    fresh(folder, MountFlags::NOSUID | MountFlags::NOEXEC, c"mode=0755")?;
    for (name, device) in devices {
        let path = folder.join(name);
        made(&path, File::create(&path).map(drop))?;
        put(&path, &device)?;
    }
    for name in ["pts", "shm"] {
        let path = folder.join(name);
        made(&path, fs::create_dir(&path))?;
    }
    fresh(&folder.join("shm"), MountFlags::NOSUID | MountFlags::NODEV, c"mode=1777")?;
    // Other terminals of the user stay out of reach: this instance holds those that are opened inside.
    let (pts, options) = (folder.join("pts"), c"newinstance,ptmxmode=0666,mode=0620");
    let mounted = mount("devpts", &pts, "devpts", MountFlags::NOSUID | MountFlags::NOEXEC, options);
    mounted.map_err(refused("cannot cover", &pts))?;
    let links = [
        ("ptmx", "pts/ptmx"),
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
    ];
    links.into_iter().try_for_each(|(name, to)| made(&folder.join(name), symlink(to, folder.join(name))))
}

fn made(path: &Path, result: io::Result<()>) -> Result<(), Refused> {
    result.map_err(|source| Refused { step: "cannot make", path: path.to_owned(), source })
}

fn own_processes() -> Result<(), Refused> {
    let path = Path::new("/proc");
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount("proc", path, "proc", flags, None)
        .map_err(refused("cannot show the program's processes at", path))?;
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    OF_THE_MACHINE.iter().map(Path::new).filter(|path| path.exists()).try_for_each(|path| {
        mount_bind(path, path).map_err(refused("cannot close", path))?;
        mount_remount(path, MountFlags::BIND | MountFlags::RDONLY | flags, c"")
            .map_err(refused("cannot close", path))
    })
}

/// Everything but `writable` and what is fresh, and `home` although it lies in what is fresh.
fn read_only(writable: &[&Path], home: Option<&Path>) -> Result<(), Refused> {
    let path = Path::new("/proc/self/mountinfo");
    let table =
        fs::read(path).map_err(|source| Refused { step: "cannot read", path: path.to_owned(), source })?;
    let unread = || Refused {
        step: "cannot understand",
        path: path.to_owned(),
        source: io::ErrorKind::InvalidData.into(),
    };
    let fresh = FREE.map_paths();
    let at_home = |path: &Path| home.is_some_and(|home| path.starts_with(home));
    let open = |path: &Path| within(path, writable) || (within(path, &fresh) && !at_home(path));
    mounts::read(&table).ok_or_else(unread)?.iter().filter(|mount| !open(&mount.point)).try_for_each(close)
}

fn close(mount: &Mount) -> Result<(), Refused> {
    let flags = MountFlags::BIND | MountFlags::RDONLY | mount.flags;
    // A mount below another one cannot be named, so the answer alone does not tell whether the path is closed.
    let answer = mount_remount(&mount.point, flags, c"");
    match statvfs(&mount.point) {
        Ok(found) if found.f_flag.contains(StatVfsMountFlags::RDONLY) => Ok(()),
        // What cannot be reached from here cannot be reached by the program, which may do less.
        Err(Errno::NOENT | Errno::ACCESS | Errno::NOTDIR | Errno::STALE) => Ok(()),
        _ => Err(refused("cannot close", &mount.point)(answer.err().unwrap_or(Errno::ROFS))),
    }
}

/// An empty folder, or an empty file, over what must not be seen.
fn hide(path: &Path) -> Result<(), Refused> {
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => {
            let flags = MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
            fresh(path, flags, c"mode=0555,size=4k")
        }
        Ok(_) => blind(path),
        // It lies below something that is covered already.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(Refused { step: "cannot hide", path: path.to_owned(), source }),
    }
}

/// The null device over a file or a socket.
fn blind(path: &Path) -> Result<(), Refused> {
    match mount_bind("/dev/null", path) {
        Ok(()) | Err(Errno::NOENT | Errno::ACCESS | Errno::NOTDIR) => Ok(()),
        Err(error) => Err(refused("cannot hide", path)(error)),
    }
}

fn refused(step: &'static str, path: &Path) -> impl FnOnce(Errno) -> Refused {
    let path = path.to_owned();
    move |error| Refused { step, path, source: error.into() }
}

/// A constant list of texts as paths.
trait Paths {
    fn map_paths(&self) -> Vec<&Path>;
}

impl Paths for [&str] {
    fn map_paths(&self) -> Vec<&Path> {
        self.iter().map(Path::new).collect()
    }
}

#[cfg(test)]
mod tests {
    //! Proves that every folder above a hidden place in the working folder is pinned, and nothing else is; that a folder
    //! which took the working folder's name is not worked in, nor a hidden one that still shows taken for hidden.

    use super::{between, same, unseen};
    use crate::sandbox::orders::Identity;
    use std::path::{Path, PathBuf};

    #[test]
    fn the_folders_above_a_hidden_place_are_pinned_from_the_top() {
        let hidden =
            ["/h/.local/share/nightlatch", "/h/.config/gh", "/h/.ssh", "/other/a/b"].map(PathBuf::from);
        let expected = ["/h/.config", "/h/.local", "/h/.local/share"].map(PathBuf::from);
        assert_eq!(between(&hidden, Path::new("/h")), expected);
        assert!(between(&hidden, Path::new("/h/project")).is_empty());
    }

    #[test]
    fn a_folder_is_known_whatever_its_name_comes_to_mean() {
        let folder = tempfile::tempdir().unwrap();
        let (work, other) = (folder.path().join("work"), folder.path().join("other"));
        [&work, &other].into_iter().for_each(|path| std::fs::create_dir(path).unwrap());
        let meant = Identity::of(&work).unwrap();
        assert!(same(&work, meant).is_ok());
        assert!(unseen(&work, Some(meant)).is_err());
        std::fs::rename(&work, folder.path().join("moved")).unwrap();
        std::fs::rename(&other, &work).unwrap();
        assert!(same(&work, meant).is_err());
        assert!(unseen(&work, Some(meant)).is_ok());
    }
}
