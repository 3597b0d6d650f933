//! The second-best wall, where there are no namespaces: Landlock.
//!
//! Landlock allows by hierarchy and cannot take a part out of one. So what is hidden is left out by allowing
//! everything around it: of each folder that holds something hidden, every other entry is allowed and the folder
//! itself is not. Such a folder can be passed through and not listed, and what is made in it later is not seen.
//!
//! What Landlock does not stop is told to the user as advice only: connecting to a Unix socket by its path, TCP to the
//! companion's port number at another address, listening at a port that the kernel chooses, the list of processes,
//! and on older kernels TCP and abstract sockets.

use super::hidden::COVERED;
use landlock::{
    ABI, Access as _, AccessFs, AccessNet, CompatLevel, Compatible as _, NetPort, Ruleset, RulesetAttr as _,
    RulesetCreatedAttr as _, RulesetError, RulesetStatus, Scope, path_beneath_rules,
};
use serde::{Deserialize, Serialize};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// The newest rights that are asked for; an older kernel gives what it has.
const NEWEST: ABI = ABI::V6;

/// What stays allowed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Fence {
    /// May be read and run.
    pub(super) readable: Vec<PathBuf>,
    /// May be read, run and written.
    pub(super) writable: Vec<PathBuf>,
    /// May be read and written in place: devices, the kernel's view of the program's own processes.
    pub(super) devices: Vec<PathBuf>,
    /// TCP ports that may be connected to. None may be listened at.
    pub(super) ports: Vec<u16>,
}

/// The devices that harm nobody, and the terminals.
const DEVICES: &[&str] = &[
    "/dev/null",
    "/dev/zero",
    "/dev/full",
    "/dev/random",
    "/dev/urandom",
    "/dev/tty",
    "/dev/ptmx",
    "/dev/pts",
];

/// What this kernel's Landlock can hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Holds {
    /// Files.
    pub(super) files: bool,
    /// Files that are cut short without being opened for writing.
    pub(super) truncation: bool,
    /// TCP connections, by port, and ports that are listened at by number.
    pub(super) tcp: bool,
    /// Abstract Unix sockets and signals.
    pub(super) scopes: bool,
}

impl Holds {
    /// Asks the kernel.
    pub(super) fn here() -> Self {
        let strict = || Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
        let files = strict().handle_access(AccessFs::from_all(ABI::V1)).and_then(Ruleset::create).is_ok();
        let truncation = strict().handle_access(AccessFs::Truncate).and_then(Ruleset::create).is_ok();
        let tcp = strict().handle_access(AccessNet::from_all(ABI::V4)).and_then(Ruleset::create).is_ok();
        let scopes =
            strict().scope(Scope::AbstractUnixSocket | Scope::Signal).and_then(Ruleset::create).is_ok();
        Self { files, truncation, tcp, scopes }
    }
}

impl Fence {
    /// This machine but what is `unread`, which need not be there yet, and what other programs share with everybody.
    /// The home folder and what is writable may lie in the latter; where that holds something `hidden`, nothing new
    /// can be made beside it.
    pub(super) fn around(
        home: &Path,
        (unread, hidden): (&[PathBuf], &[PathBuf]),
        writable: &[&Path],
        ports: Vec<u16>,
    ) -> Self {
        let shared = COVERED.iter().chain(&["/dev", "/proc"]).map(PathBuf::from);
        let closed: Vec<PathBuf> = unread.iter().cloned().chain(shared).collect();
        let mut fence = Self { ports, ..Self::default() };
        beside(Path::new("/"), &closed, &mut fence.readable);
        if COVERED.iter().any(|folder| home.starts_with(folder)) {
            beside(home, unread, &mut fence.readable);
        }
        writable.iter().for_each(|folder| beside(folder, hidden, &mut fence.writable));
        fence.devices = DEVICES.iter().map(PathBuf::from).collect();
        // Root owns the machine's own switches in `/proc`.
        let processes = PathBuf::from("/proc");
        if rustix::process::geteuid().is_root() {
            fence.readable.push(processes);
        } else {
            fence.devices.push(processes);
        }
        fence
    }

    /// Restricts this process and all that comes of it. `no_new_privs` must be set. A kernel that holds nothing of it
    /// is an error: it was asked before, and the user was told what it holds.
    pub(super) fn close(&self) -> Result<(), String> {
        match self.restricted().map_err(|error| error.to_string())? {
            RulesetStatus::NotEnforced => Err("the kernel does not hold it".to_owned()),
            RulesetStatus::FullyEnforced | RulesetStatus::PartiallyEnforced => Ok(()),
        }
    }

    fn restricted(&self) -> Result<RulesetStatus, RulesetError> {
        let (all, read) = (AccessFs::from_all(NEWEST), AccessFs::from_read(NEWEST));
        let ports =
            self.ports.iter().map(|port| Ok::<_, RulesetError>(NetPort::new(*port, AccessNet::ConnectTcp)));
        let own = AccessFs::ReadFile
            | AccessFs::WriteFile
            | AccessFs::ReadDir
            | AccessFs::IoctlDev
            | AccessFs::Truncate;
        let ruleset = Ruleset::default()
            .handle_access(all)?
            .handle_access(AccessNet::from_all(NEWEST))?
            .scope(Scope::AbstractUnixSocket | Scope::Signal)?
            .create()?
            .add_rules(path_beneath_rules(&self.readable, read))?
            .add_rules(path_beneath_rules(&self.devices, own))?
            .add_rules(path_beneath_rules(&self.writable, all))?
            .add_rules(ports)?;
        Ok(ruleset.restrict_self()?.ruleset)
    }
}

/// Keeps the signals of this process, and of all that comes of it, among themselves. `no_new_privs` must be set.
pub(super) fn keep_signals() -> Result<(), RulesetError> {
    let ruleset = Ruleset::default().set_compatibility(CompatLevel::HardRequirement).scope(Scope::Signal)?;
    ruleset.create()?.restrict_self().map(drop)
}

/// Collects what lies beside the hidden places below `folder`.
fn beside(folder: &Path, hidden: &[PathBuf], found: &mut Vec<PathBuf>) {
    if hidden.iter().any(|path| path == folder) {
        return;
    }
    if !hidden.iter().any(|path| path.starts_with(folder)) {
        found.push(folder.to_owned());
        return;
    }
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.filter_map(Result::ok) {
        // A link gives no right of its own: what it leads to is judged where it lies.
        if entry.file_type().is_ok_and(|kind| !kind.is_symlink()) {
            beside(&entry.path(), hidden, found);
        }
    }
}

#[cfg(test)]
mod tests {
    //! Proves that what is hidden is never among what is allowed, nor reachable through a link that is, also where
    //! it lies in a folder that is written to.

    use super::{Fence, beside};
    use std::{
        fs,
        os::unix::fs::symlink,
        path::{Path, PathBuf},
    };

    fn home(root: &Path) -> [PathBuf; 2] {
        for path in ["home/.ssh/deep", "home/.config/gh", "home/.config/htop", "home/project", "usr/bin"] {
            fs::create_dir_all(root.join(path)).unwrap();
        }
        fs::write(root.join("home/.bashrc"), "").unwrap();
        symlink(root.join("home/.ssh"), root.join("home/keys")).unwrap();
        [root.join("home/.ssh"), root.join("home/.config/gh")]
    }

    #[test]
    fn everything_beside_the_hidden_is_allowed_and_nothing_above_or_below_it() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let (hidden, mut allowed) = (home(root), Vec::new());
        beside(root, &hidden, &mut allowed);
        allowed.sort();
        let expected = ["home/.bashrc", "home/.config/htop", "home/project", "usr"];
        assert_eq!(allowed, expected.map(|path| root.join(path)));
    }

    #[test]
    fn what_is_hidden_in_a_writable_folder_is_not_written_to() {
        let folder = tempfile::tempdir().unwrap();
        let (root, hidden) = (folder.path(), home(folder.path()));
        let unread = [hidden.as_slice(), &[root.join("home/project/later")]].concat();
        let home = [root.join("home")];
        let fence = Fence::around(Path::new("/nonexistent"), (&unread, &hidden), &[&home[0]], vec![1]);
        for paths in [&fence.writable, &fence.readable, &fence.devices] {
            assert!(paths.iter().all(|path| {
                !hidden.iter().any(|hidden| hidden.starts_with(path) || path.starts_with(hidden))
            }));
        }
        assert!(fence.writable.contains(&root.join("home/project")));
        assert!(!fence.readable.iter().any(|path| Path::new("/tmp/other").starts_with(path)));
    }
}
