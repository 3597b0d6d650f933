//! What git would run for its user in the working folder once the program has ended: settings and hooks that the
//! program may write, since git itself does. A change is said.
//!
//! Looked at are the repository of the working folder itself, also where its `.git` is a file (a worktree, a
//! submodule), its submodules, and the folders of hooks and further settings that its or the user's settings name.
//! Settings are read by eye, not by git, which would do by them. Repositories in folders further down are not looked
//! at.

use crate::output::hint;
use aws_lc_rs::digest::{SHA256, digest};
use rustix::fs::{Mode, OFlags, open};
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Read as _,
    path::{Path, PathBuf},
};

/// A file of settings is some hundred bytes, a hook some thousand; of more the beginning and the length count.
const READ_MAX_BYTES: u64 = 1 << 20;
/// Files that are looked at: a repository with many submodules has some hundred.
const FILES_MAX: usize = 2000;
/// Settings that name settings that name settings.
const INCLUDES_DEEP_MAX: usize = 5;
/// Changes that are named; more are only counted.
const NAMED_MAX: usize = 20;

/// What was there.
#[derive(Debug)]
pub(super) struct Hooks {
    work: PathBuf,
    home: PathBuf,
    found: Found,
}

/// Files, each by what tells it from another.
#[derive(Debug, Default)]
struct Found {
    files: BTreeMap<PathBuf, Mark>,
    /// There is more than was looked at.
    is_cut: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Mark {
    sha256: Vec<u8>,
    len_bytes: u64,
}

impl Hooks {
    pub(super) fn of(work: &Path, home: &Path) -> Self {
        let found = Found::look(work, home);
        Self { work: work.to_owned(), home: home.to_owned(), found }
    }

    /// Says what is another by now.
    pub(super) fn tell(&self) {
        let now = Found::look(&self.work, &self.home);
        let changed = self.found.changed(&now);
        if !changed.is_empty() {
            let named = changed.iter().take(NAMED_MAX).map(|path| path.display().to_string());
            let more = changed.len().saturating_sub(NAMED_MAX);
            let more = if more > 0 { format!(", and {more} more") } else { String::new() };
            let names = named.collect::<Vec<_>>().join(", ");
            hint(format!(
                "nightlatch: the program changed what git does here; look before you use it: {names}{more}"
            ));
        }
        if now.is_cut || self.found.is_cut {
            hint(format!(
                "nightlatch: git has more hooks and settings here than the {FILES_MAX} that were looked at; look at the others before you use it"
            ));
        }
    }
}

impl Found {
    fn look(work: &Path, home: &Path) -> Self {
        let mut found = Self::default();
        // Whether it is a file or a folder, it says where the repository is.
        let git = work.join(".git");
        found.note(&git);
        let folder = named_in(&git, "gitdir:").map_or(git, |named| work.join(named));
        // gitrepository-layout(5): a worktree shares settings and hooks with the repository that it belongs to.
        let common_file = folder.join("commondir");
        found.note(&common_file);
        let common = named_in(&common_file, "").map_or_else(|| folder.clone(), |named| folder.join(named));
        let users = [home.join(".gitconfig"), home.join(".config/git/config")];
        let own = [common.join("config"), folder.join("config.worktree")];
        found.hooks(&common.join("hooks"));
        for settings in &users {
            found.follow(settings, (work, home), INCLUDES_DEEP_MAX);
        }
        for settings in &own {
            found.settings(settings, (work, home), INCLUDES_DEEP_MAX);
        }
        for module in entries(&common.join("modules")) {
            found.hooks(&module.join("hooks"));
            found.settings(&module.join("config"), (work, home), INCLUDES_DEEP_MAX);
        }
        found
    }

    fn changed(&self, now: &Self) -> Vec<PathBuf> {
        let other = |path: &&PathBuf| self.files.get(*path) != now.files.get(*path);
        let mut changed: Vec<PathBuf> =
            now.files.keys().chain(self.files.keys()).filter(other).cloned().collect();
        changed.sort();
        changed.dedup();
        changed
    }

    fn note(&mut self, path: &Path) -> bool {
        if self.files.len() >= FILES_MAX {
            self.is_cut = true;
            return false;
        }
        let Some(mark) = mark(path) else { return false };
        self.files.insert(path.to_owned(), mark).is_none()
    }

    fn hooks(&mut self, folder: &Path) {
        for hook in entries(folder).filter(|path| path.extension().is_none_or(|end| end != "sample")) {
            self.note(&hook);
            if self.is_cut {
                return;
            }
        }
    }

    /// Settings, and what they name. Each is read once, so a circle ends.
    fn settings(&mut self, path: &Path, (work, home): (&Path, &Path), deep: usize) {
        if self.note(path) {
            self.follow(path, (work, home), deep);
        }
    }

    /// What settings name: a folder of hooks, as seen from the working folder, and further settings, as seen from
    /// where they stand themselves (git-config(1)).
    fn follow(&mut self, path: &Path, (work, home): (&Path, &Path), deep: usize) {
        let beside = path.parent().unwrap_or(work);
        for line in text(path).lines() {
            let Some((name, value)) = line.split_once('=') else { continue };
            let value = value.trim().trim_matches('"');
            let at = |folder: &Path| match value.strip_prefix("~/") {
                Some(rest) => home.join(rest),
                None => folder.join(value),
            };
            match name.rsplit(']').next().unwrap_or_default().trim().to_ascii_lowercase().as_str() {
                "hookspath" => self.hooks(&at(work)),
                "path" if deep > 0 => self.settings(&at(beside), (work, home), deep - 1),
                _ => {}
            }
        }
    }
}

fn entries(folder: &Path) -> impl Iterator<Item = PathBuf> {
    fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok).map(|entry| entry.path())
}

/// What a file names after `word`, if it does.
fn named_in(path: &Path, word: &str) -> Option<PathBuf> {
    let text = text(path);
    let named = text.lines().next()?.strip_prefix(word)?.trim();
    (!named.is_empty()).then(|| PathBuf::from(named))
}

fn text(path: &Path) -> String {
    opened(path).map(|(bytes, _)| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

fn mark(path: &Path) -> Option<Mark> {
    let (bytes, len_bytes) = opened(path)?;
    Some(Mark { sha256: digest(&SHA256, &bytes).as_ref().to_vec(), len_bytes })
}

/// The beginning of a file, and its length. Whatever the program made of it, reading it waits for nothing; what is no
/// file is there all the same.
fn opened(path: &Path) -> Option<(Vec<u8>, u64)> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(open(path, flags, Mode::empty()).ok()?);
    let found = file.metadata().ok()?;
    if !found.is_file() {
        return Some((Vec::new(), 0));
    }
    let mut bytes = Vec::new();
    file.take(READ_MAX_BYTES).read_to_end(&mut bytes).ok()?;
    Some((bytes, found.len()))
}

#[cfg(test)]
mod tests {
    //! Proves that every file by which git would run something is looked at, samples are not, and that nothing which
    //! the program makes of them is without a bound.

    use super::{FILES_MAX, Found, READ_MAX_BYTES};
    use std::{
        fs,
        path::{Path, PathBuf},
    };
    use tempfile::TempDir;

    fn repository() -> (TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let work = folder.path().join("home/project");
        fs::create_dir_all(work.join(".git/hooks")).unwrap();
        fs::write(work.join(".git/config"), "[core]\n").unwrap();
        (folder, work)
    }

    fn look(work: &Path) -> Found {
        Found::look(work, work.parent().unwrap())
    }

    /// What is told when `change` has been made.
    fn changed(work: &Path, change: impl FnOnce()) -> Vec<PathBuf> {
        let before = look(work);
        change();
        before.changed(&look(work))
    }

    #[test]
    fn a_changed_setting_and_a_new_hook_are_seen_and_nothing_else() {
        let (_folder, work) = repository();
        let git = work.join(".git");
        let harmless = changed(&work, || {
            fs::write(git.join("hooks/pre-commit.sample"), "").unwrap();
            fs::write(git.join("HEAD"), "").unwrap();
        });
        assert!(harmless.is_empty());
        let harmful = changed(&work, || {
            fs::write(git.join("config"), "[core]\nfsmonitor = evil\n").unwrap();
            fs::write(git.join("hooks/post-checkout"), "evil").unwrap();
        });
        assert_eq!(harmful, [git.join("config"), git.join("hooks/post-checkout")]);
    }

    #[test]
    fn another_repository_in_place_of_this_one_is_seen() {
        let (_folder, work) = repository();
        let told = changed(&work, || {
            fs::rename(work.join(".git"), work.join("own")).unwrap();
            fs::write(work.join(".git"), "gitdir: own\n").unwrap();
        });
        assert!(told.contains(&work.join(".git")), "{told:?}");
        let told = changed(&work, || fs::write(work.join("own/hooks/pre-commit"), "evil").unwrap());
        assert_eq!(told, [work.join("own/hooks/pre-commit")]);
    }

    #[test]
    fn a_worktrees_shared_hooks_and_settings_are_looked_at_and_so_are_submodules() {
        let (_folder, work) = repository();
        let tree = work.join("tree");
        fs::create_dir_all(&tree).unwrap();
        let own = work.join(".git/worktrees/tree");
        fs::create_dir_all(&own).unwrap();
        fs::write(own.join("commondir"), "../..\n").unwrap();
        fs::write(tree.join(".git"), format!("gitdir: {}\n", own.display())).unwrap();
        let told = changed(&tree, || {
            fs::write(work.join(".git/hooks/pre-push"), "evil").unwrap();
            fs::write(own.join("config.worktree"), "[core]\nfsmonitor = evil\n").unwrap();
        });
        let names = told.iter().filter_map(|path| path.file_name()).collect::<Vec<_>>();
        assert_eq!(names, ["pre-push", "config.worktree"]);
        fs::create_dir_all(work.join(".git/modules/part/hooks")).unwrap();
        let hook = work.join(".git/modules/part/hooks/pre-commit");
        assert_eq!(changed(&work, || fs::write(&hook, "evil").unwrap()), std::slice::from_ref(&hook));
    }

    #[test]
    fn hooks_and_settings_that_lie_where_settings_say_are_looked_at() {
        let (folder, work) = repository();
        for name in ["hooks-of-ours", "users-hooks"] {
            fs::create_dir(work.join(name)).unwrap();
        }
        let settings = "[core] hooksPath = hooks-of-ours\n[include]\n\tpath = ../more.cfg\n";
        fs::write(work.join(".git/config"), settings).unwrap();
        // A circle.
        fs::write(work.join("more.cfg"), "[include]\npath = \"more.cfg\"\npath = last.cfg\n").unwrap();
        let global = "[core]\n\thooksPath = ~/project/users-hooks\n";
        fs::write(folder.path().join("home/.gitconfig"), global).unwrap();
        let paths = [".git/../last.cfg", "hooks-of-ours/pre-commit", "users-hooks/pre-commit"];
        let paths = paths.map(|name| work.join(name));
        assert_eq!(changed(&work, || paths.iter().for_each(|path| fs::write(path, "evil").unwrap())), paths);
        let told = changed(&work, || fs::write(work.join("more.cfg"), "[core]\n").unwrap());
        assert_eq!(told, [work.join(".git/../last.cfg"), work.join(".git/../more.cfg")]);
    }

    #[test]
    fn more_than_is_looked_at_is_known_and_a_large_file_is_told_by_its_length() {
        let (_folder, work) = repository();
        let large = work.join(".git/hooks/large");
        let bytes = vec![b'x'; usize::try_from(READ_MAX_BYTES).unwrap() + 1];
        fs::write(&large, &bytes).unwrap();
        let told = changed(&work, || fs::write(&large, [bytes.as_slice(), b"y"].concat()).unwrap());
        assert_eq!(told, [large]);
        assert!(!look(&work).is_cut);
        (0..=FILES_MAX).for_each(|name| {
            fs::write(work.join(".git/hooks").join(name.to_string()), "").unwrap();
        });
        let found = look(&work);
        assert!(found.is_cut && found.files.len() <= FILES_MAX);
    }
}
