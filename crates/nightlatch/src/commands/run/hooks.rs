//! What git would run for its user in the working folder once the program has ended: settings and hooks that the
//! program may write, since git itself does. A change is said.

use crate::output::hint;
use rustix::fs::{Mode, OFlags, open};
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Read as _,
    path::{Path, PathBuf},
};

/// A file of settings is some hundred bytes, a hook some thousand.
const READ_MAX_BYTES: u64 = 1 << 20;

/// What was there.
#[derive(Debug)]
pub(super) struct Hooks {
    folder: PathBuf,
    found: BTreeMap<PathBuf, Vec<u8>>,
}

impl Hooks {
    pub(super) fn of(work: &Path) -> Self {
        let folder = work.join(".git");
        let found = found(&folder);
        Self { folder, found }
    }

    /// Says what is another by now.
    pub(super) fn tell(&self) {
        let changed = self.changed();
        if !changed.is_empty() {
            let names = changed.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ");
            hint(format!(
                "nightlatch: the program changed what git does here; look before you use it: {names}"
            ));
        }
    }

    fn changed(&self) -> Vec<PathBuf> {
        let now = found(&self.folder);
        let other = |path: &&PathBuf| self.found.get(*path) != now.get(*path);
        let mut changed: Vec<PathBuf> = now.keys().chain(self.found.keys()).filter(other).cloned().collect();
        changed.sort();
        changed.dedup();
        changed
    }
}

fn found(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let hooks = fs::read_dir(folder.join("hooks")).into_iter().flatten().filter_map(Result::ok);
    let hooks =
        hooks.map(|entry| entry.path()).filter(|path| path.extension().is_none_or(|end| end != "sample"));
    let all = hooks.chain(["config", "config.worktree"].map(|name| folder.join(name)));
    all.filter_map(|path| Some((path.clone(), content(&path)?))).collect()
}

/// Whatever the program made of it, reading it waits for nothing.
fn content(path: &Path) -> Option<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(open(path, flags, Mode::empty()).ok()?);
    if !file.metadata().ok()?.is_file() {
        return Some(Vec::new());
    }
    let mut bytes = Vec::new();
    file.take(READ_MAX_BYTES).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    //! Proves that every file by which git would run something is looked at, and samples are not.

    use super::Hooks;
    use std::fs;

    #[test]
    fn a_changed_setting_and_a_new_hook_are_seen_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let git = folder.path().join(".git");
        fs::create_dir_all(git.join("hooks")).unwrap();
        fs::write(git.join("config"), "[core]\n").unwrap();
        let hooks = Hooks::of(folder.path());
        assert!(hooks.changed().is_empty());
        fs::write(git.join("hooks/pre-commit.sample"), "").unwrap();
        fs::write(git.join("HEAD"), "").unwrap();
        assert!(hooks.changed().is_empty());
        fs::write(git.join("config"), "[core]\nfsmonitor = evil\n").unwrap();
        fs::write(git.join("hooks/post-checkout"), "evil").unwrap();
        assert_eq!(hooks.changed(), [git.join("config"), git.join("hooks/post-checkout")]);
    }
}
