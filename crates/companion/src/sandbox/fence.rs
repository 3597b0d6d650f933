//! The second-best wall, where there are no namespaces: Landlock.
//!
//! Landlock allows by hierarchy and cannot take a part out of one. So what is hidden is left out by allowing
//! everything around it: of each folder that holds something hidden, every other entry is allowed and the folder
//! itself is not. Such a folder can be passed through and not listed, and what is made in it later is not seen.
//!
//! What Landlock does not stop is told to the user as advice only: connecting to a Unix socket by its path, UDP, the
//! list of processes, and on older kernels TCP and abstract sockets.

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
    /// TCP ports that may be connected to.
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
    /// TCP connections, by port.
    pub(super) tcp: bool,
    /// Abstract Unix sockets and signals.
    pub(super) scopes: bool,
}

impl Holds {
    /// Asks the kernel.
    pub(super) fn here() -> Self {
        let strict = || Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
        let files = strict().handle_access(AccessFs::from_all(ABI::V1)).and_then(Ruleset::create).is_ok();
        let tcp = strict().handle_access(AccessNet::ConnectTcp).and_then(Ruleset::create).is_ok();
        let scopes =
            strict().scope(Scope::AbstractUnixSocket | Scope::Signal).and_then(Ruleset::create).is_ok();
        Self { files, tcp, scopes }
    }
}

impl Fence {
    /// Everything below `root` but `hidden`; `writable` wherever it lies.
    pub(super) fn around(root: &Path, hidden: &[PathBuf], writable: Vec<PathBuf>, ports: Vec<u16>) -> Self {
        let mut readable = Vec::new();
        beside(root, hidden, &mut readable);
        Self { readable, writable, devices: Vec::new(), ports }
    }

    /// This machine, but `hidden` and what other programs share with everybody.
    pub(super) fn around_this_machine(hidden: &[PathBuf], writable: Vec<PathBuf>, ports: Vec<u16>) -> Self {
        let shared = COVERED.iter().chain(&["/dev", "/proc"]).map(PathBuf::from);
        let hidden: Vec<PathBuf> = hidden.iter().cloned().chain(shared).collect();
        let mut fence = Self::around(Path::new("/"), &hidden, writable, ports);
        let processes = PathBuf::from("/proc");
        fence.devices = DEVICES.iter().map(PathBuf::from).collect();
        // Root owns the machine's own switches there.
        if rustix::process::geteuid().is_root() {
            fence.readable.push(processes);
        } else {
            fence.devices.push(processes);
        }
        fence
    }

    /// Restricts this process and all that comes of it. `no_new_privs` must be set.
    pub(super) fn close(&self) -> Result<(), RulesetError> {
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
            .handle_access(AccessNet::ConnectTcp)?
            .scope(Scope::AbstractUnixSocket | Scope::Signal)?
            .create()?
            .add_rules(path_beneath_rules(&self.readable, read))?
            .add_rules(path_beneath_rules(&self.devices, own))?
            .add_rules(path_beneath_rules(&self.writable, all))?
            .add_rules(ports)?;
        let restricted = ruleset.restrict_self()?;
        debug_assert!(restricted.ruleset != RulesetStatus::NotEnforced || !Holds::here().files);
        Ok(())
    }
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
    //! Proves that what is hidden is never among what is allowed, nor reachable through a link that is.

    use super::Fence;
    use std::{fs, os::unix::fs::symlink};

    #[test]
    fn everything_beside_the_hidden_is_allowed_and_nothing_above_or_below_it() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        for path in ["home/.ssh/deep", "home/.config/gh", "home/.config/htop", "usr/bin"] {
            fs::create_dir_all(root.join(path)).unwrap();
        }
        fs::write(root.join("home/.bashrc"), "").unwrap();
        symlink(root.join("home/.ssh"), root.join("home/keys")).unwrap();
        let hidden = [root.join("home/.ssh"), root.join("home/.config/gh")];
        let mut readable = Fence::around(root, &hidden, Vec::new(), Vec::new()).readable;
        readable.sort();
        assert_eq!(readable, [root.join("home/.bashrc"), root.join("home/.config/htop"), root.join("usr")]);
    }
}
