//! The private temporary folder of one run: the trust bundle, the programs' own temporary files, nothing secret.
//! It goes with the run.

use crate::{
    adapters::variable,
    commands::trust,
    error::Failure,
    place::{PlaceError, write_whole},
};
use nightlatch_domain::clock::{Entropy, random};
use std::{
    fs::{self, DirBuilder, Permissions},
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

/// The folder; removed with the value.
#[derive(Debug)]
pub(super) struct Scratch {
    folder: PathBuf,
}

impl Scratch {
    pub(super) fn make(entropy: &dyn Entropy) -> Result<Self, Failure> {
        let name = random::<8>(entropy).map_err(|_| PlaceError::NoEntropy)?;
        let name: String = name.iter().map(|byte| format!("{byte:02x}")).collect();
        let above = variable("TMPDIR").map_or_else(|| PathBuf::from("/tmp"), PathBuf::from);
        let above = above.canonicalize().map_err(|source| Failure::File { path: above, source })?;
        let folder = above.join(format!("nightlatch-run-{name}"));
        let scratch = Self { folder };
        for path in
            [scratch.folder.clone(), scratch.temporary(), scratch.folder_of("gh"), scratch.folder_of("cache")]
        {
            // A folder that is there already is somebody else's: that is an error.
            let made = DirBuilder::new().mode(0o700).create(&path);
            made.map_err(|source| PlaceError::File { path, source })?;
        }
        Ok(scratch)
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The programs' own `TMPDIR`.
    pub(super) fn temporary(&self) -> PathBuf {
        self.folder.join("tmp")
    }

    /// A folder in it.
    pub(super) fn folder_of(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Writes what clients shall trust: the system's roots and the interception authorities of this task's tools.
    pub(super) fn bundle(&self, authorities: &str) -> Result<PathBuf, Failure> {
        let path = self.folder.join("trust.pem");
        write_whole(&path, &trust::bundle(authorities))?;
        Ok(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        open_folders(&self.folder);
        // What stays behind harms nobody.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// A program may have left folders that even their owner cannot look into (Go's module cache).
fn open_folders(folder: &Path) {
    let _ = fs::set_permissions(folder, Permissions::from_mode(0o700));
    let entries = fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    for entry in entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        open_folders(&entry.path());
    }
}

#[cfg(test)]
mod tests {
    //! Proves that a run's folder is private, holds the authorities beside the system's roots, and goes with the run.

    use super::Scratch;
    use nightlatch_custody::entropy::SystemEntropy;
    use std::{fs, os::unix::fs::PermissionsExt as _};

    #[test]
    fn the_folder_is_private_and_goes_with_the_run_whatever_was_left_in_it() {
        let scratch = Scratch::make(&SystemEntropy::new()).unwrap();
        let folder = scratch.folder().to_owned();
        assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
        let closed = scratch.temporary().join("closed/below");
        fs::create_dir_all(&closed).unwrap();
        fs::set_permissions(closed.parent().unwrap(), fs::Permissions::from_mode(0o000)).unwrap();
        drop(scratch);
        assert!(!folder.exists());
    }

    #[test]
    fn the_bundle_ends_with_the_authorities() {
        let scratch = Scratch::make(&SystemEntropy::new()).unwrap();
        let bundle = scratch.bundle("AUTHORITIES").unwrap();
        assert!(fs::read_to_string(bundle).unwrap().ends_with("\nAUTHORITIES"));
    }
}
