//! Where a keeper's log lies: in a folder of its own, below the installation's, named by the keeper.
//!
//! An installation may have several keepers, also on one machine, and a log says nothing about what another keeper did.
//! So a keeper is whoever holds a log: it has the log's id for as long as it holds the log's lock, and finds in it what
//! it did before. Before there was more than one, the log lay in the installation's own folder; such a log is moved into
//! a folder of its own at the first start, and stays what it was.

use crate::error::KeeperError;
use nightlatch_domain::{
    id::KeeperId,
    ports::files::{Files, Held},
};
use std::path::{Path, PathBuf};

/// The log's name in its folder.
pub(super) const LOG: &str = "anchors";

/// A folder that is held.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) keeper: KeeperId,
    pub(super) folder: PathBuf,
    #[expect(dead_code, reason = "held for its locks: dropping them lets another keeper in")]
    locks: Vec<Held>,
}

/// Holds the newest log of an installation that nobody holds, or a new place for one. An `alone` keeper is the only one
/// below `installation`, and is refused where another is at work.
pub(super) fn take(
    files: &dyn Files,
    installation: &Path,
    alone: bool,
    fresh: KeeperId,
) -> Result<Place, KeeperError> {
    files.make_folder(installation).map_err(KeeperError::file(installation))?;
    let old = is_there(files, installation, LOG)?;
    let mut locks = Vec::new();
    if alone || old {
        // Programs from before there were folders hold this lock while they write a log here.
        locks.push(hold(files, installation)?.ok_or_else(|| held(installation))?);
    }
    if old {
        adopt(files, installation, fresh)?;
    }
    if !alone {
        locks.clear();
    }
    for (keeper, folder) in places(files, installation)?.into_iter().rev() {
        match hold(files, &folder)? {
            Some(lock) => {
                locks.push(lock);
                return Ok(Place { keeper, folder, locks });
            }
            None if alone => return Err(held(&folder)),
            None => {}
        }
    }
    let folder = make(files, installation, fresh)?;
    locks.push(hold(files, &folder)?.ok_or_else(|| held(&folder))?);
    Ok(Place { keeper: fresh, folder, locks })
}

/// Moves a log from before there were folders into one. Its identity is that of its file, which goes along.
fn adopt(files: &dyn Files, installation: &Path, keeper: KeeperId) -> Result<(), KeeperError> {
    let folder = make(files, installation, keeper)?;
    let to = folder.join(LOG);
    files.rename(&installation.join(LOG), &to).map_err(KeeperError::file(&to))?;
    files.sync_folder(&folder).map_err(KeeperError::file(&folder))?;
    files.sync_folder(installation).map_err(KeeperError::file(installation))
}

fn make(files: &dyn Files, installation: &Path, keeper: KeeperId) -> Result<PathBuf, KeeperError> {
    let folder = installation.join(keeper.to_string());
    files.make_folder(&folder).map_err(KeeperError::file(&folder))?;
    files.sync_folder(installation).map_err(KeeperError::file(installation))?;
    Ok(folder)
}

/// The folders of keepers, the oldest first: ids grow with time.
fn places(files: &dyn Files, installation: &Path) -> Result<Vec<(KeeperId, PathBuf)>, KeeperError> {
    let paths = files.list(installation).map_err(KeeperError::file(installation))?;
    let place = |path: PathBuf| Some((path.file_name()?.to_str()?.parse().ok()?, path));
    let mut places: Vec<_> = paths.into_iter().filter_map(place).collect();
    places.sort();
    Ok(places)
}

fn is_there(files: &dyn Files, folder: &Path, name: &str) -> Result<bool, KeeperError> {
    let paths = files.list(folder).map_err(KeeperError::file(folder))?;
    Ok(paths.contains(&folder.join(name)))
}

fn lock_of(folder: &Path) -> PathBuf {
    folder.join("lock")
}

fn hold(files: &dyn Files, folder: &Path) -> Result<Option<Held>, KeeperError> {
    let lock = lock_of(folder);
    files.hold(&lock).map_err(KeeperError::file(&lock))
}

fn held(folder: &Path) -> KeeperError {
    KeeperError::AnchorHeld { path: lock_of(folder) }
}
