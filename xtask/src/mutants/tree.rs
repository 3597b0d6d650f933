//! The copy that is patched: what git tracks, as it lies in the working tree when the run begins.
//!
//! Only what differs is written, so that cargo builds again only what a patch changed, and what an interrupted run
//! left is put right by the next.

use super::patch::Patch;
use crate::machine::{self, Fault, Outcome};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// The copy, and what belongs into it.
pub(crate) struct Tree {
    place: PathBuf,
    files: BTreeMap<PathBuf, Vec<u8>>,
}

impl Tree {
    /// Makes it below `place`, or what is there into it.
    pub(crate) fn of(root: &Path, place: &Path) -> Outcome<Self> {
        let listed = machine::output(Command::new("git").args(["ls-files", "-z"]).current_dir(root))?;
        let mut files = BTreeMap::new();
        for path in listed.split('\0').filter(|path| !path.is_empty()) {
            // One that is deleted and not committed yet is not in the working tree.
            if let Ok(bytes) = fs::read(root.join(path)) {
                files.insert(PathBuf::from(path), bytes);
            }
        }
        let tree = Self { place: place.to_owned(), files };
        machine::make_folder(&tree.folder())?;
        tree.put_back()?;
        Ok(tree)
    }

    /// Where it lies.
    pub(crate) fn folder(&self) -> PathBuf {
        self.place.join("tree")
    }

    /// The target folder of all that is built of it.
    pub(crate) fn target(&self) -> PathBuf {
        self.place.join("target")
    }

    /// What a test printed last.
    pub(crate) fn printed(&self) -> PathBuf {
        self.place.join("printed.txt")
    }

    /// Applies a patch. One that does not apply changes nothing.
    pub(crate) fn apply(&self, patch: &Patch) -> Outcome {
        let mut git = Command::new("git");
        // Nothing above is this tree's repository: there git would skip what lies outside its current folder.
        git.env("GIT_CEILING_DIRECTORIES", &self.place).env_remove("GIT_DIR").env_remove("GIT_WORK_TREE");
        let applied = machine::output(git.arg("apply").arg(&patch.path).current_dir(self.folder()));
        applied.map_err(|fault| {
            Fault::one(format!("it does not apply any more, make it anew from an edit: {fault}"))
        })?;
        let same = patch.changes.iter().find(|path| self.is_as_it_was(Path::new(path)));
        same.map_or(Ok(()), |path| Err(Fault::one(format!("it leaves `{path}` as it was"))))
    }

    /// Makes every file what it was, and takes away what was not there.
    pub(crate) fn put_back(&self) -> Outcome {
        for (path, bytes) in self.files.iter().filter(|(path, _)| !self.is_as_it_was(path)) {
            let full = self.folder().join(path);
            machine::make_folder(full.parent().unwrap_or(&full))?;
            fs::write(&full, bytes)
                .map_err(|error| Fault::one(format!("cannot write `{}`: {error}", full.display())))?;
        }
        for path in below(&self.folder())? {
            let is_known = path.strip_prefix(self.folder()).is_ok_and(|own| self.files.contains_key(own));
            if !is_known {
                fs::remove_file(&path)
                    .map_err(|error| Fault::one(format!("cannot remove `{}`: {error}", path.display())))?;
            }
        }
        Ok(())
    }

    fn is_as_it_was(&self, path: &Path) -> bool {
        fs::read(self.folder().join(path)).ok().as_ref() == self.files.get(path)
    }
}

/// Every file below a folder.
fn below(folder: &Path) -> Outcome<Vec<PathBuf>> {
    let entries = fs::read_dir(folder)
        .map_err(|error| Fault::one(format!("cannot read `{}`: {error}", folder.display())))?;
    let mut files = Vec::new();
    for entry in entries.flatten() {
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if is_folder { files.extend(below(&entry.path())?) } else { files.push(entry.path()) }
    }
    Ok(files)
}
