//! `store restore`: a copy takes the database's place, and what was there is kept.
//!
//! The copy is made anew beside the database, brought to this version's schema, and raised by an era, so that the keeper
//! holds its log against it whatever the log remembers of the feed. Only then does it take the database's name.
//!
//! The old database is folded first, so that it is whole in one file and there is no moment in which it lies apart from what
//! was written to it last. Only where it cannot be opened is there nothing to fold: then its side files go with it.

use super::{DATABASE, beside, file_failed, fresh_beside, is_of_serve, opened, remove_all, sync, unusable};
use crate::{
    adapters::SystemClock,
    cli::RestoreStore,
    commands::{Seat, confirm::confirm},
    error::Failure,
    output::hint,
    place::Place,
};
use nightlatch_domain::{
    clock::Clock as _,
    ports::store::{KeeperStore as _, StoreError},
};
use nightlatch_store::{SqliteFile, SqliteStore};
use serde::Serialize;
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// What opens the secrets in a database.
const KEEPER_KEY: &str = "keys/keeper.key";

#[derive(Serialize)]
struct Restored {
    database: String,
    kept: Option<String>,
    era: u64,
}

pub(super) async fn run(seat: &Seat, asked: &RestoreStore) -> Result<(), Failure> {
    let place = seat.place()?;
    if is_of_serve(&place) {
        return Err(Failure::NotSupported {
            what: "store restore over PostgreSQL",
            instead: "put it back with PostgreSQL's own tools while no process of `serve` runs; the keepers find out, and compare their logs",
        });
    }
    // On a new machine they may be all that is there.
    if !place.path(KEEPER_KEY).exists() {
        return Err(Failure::Usage(format!(
            "`{}` is not there, and without its keys a copy opens nothing; nothing was changed. Put `keys/` back first, from where you keep it",
            place.path(KEEPER_KEY).display()
        )));
    }
    place.prepare()?;
    let hold = place.hold()?;
    let database = place.path(DATABASE);
    let copy = opened(&asked.from)?;
    let faults = copy.check().map_err(|error| unusable(&asked.from, &error))?;
    if let Some(fault) = faults.first() {
        return Err(Failure::Finding(format!(
            "`{}` is damaged (`{}`), and nothing was changed; take another copy",
            asked.from.display(),
            fault.name
        )));
    }
    refuse_another(&copy, &asked.from, &database)?;
    confirm(&question(asked), asked.yes, "nothing was changed")?;
    let fresh = fresh_beside(&database)?;
    let put = put(&place, &copy, (&fresh, &database)).await;
    if put.is_err() {
        remove_all(&fresh);
    }
    let (era, kept) = put?;
    drop(hold);
    if fs::read_dir(place.path("ledger")).is_ok_and(|mut files| files.next().is_none()) {
        hint(
            "`ledger/` is empty here: put it back too, `nightlatch up` does not start where records are missing",
        );
    }
    let kept = kept.map(|kept| kept.path.display().to_string());
    let restored = Restored { database: database.display().to_string(), kept, era };
    seat.output.result(&restored, text)
}

/// Its keys are not here, and its log is not this one.
fn refuse_another(copy: &SqliteFile, from: &Path, database: &Path) -> Result<(), Failure> {
    let theirs = copy.installation().map_err(|error| unusable(from, &error))?;
    // A database that cannot be read is what a copy is for.
    let ours = SqliteFile::open(database).ok().and_then(|file| file.installation().ok().flatten());
    match (theirs, ours) {
        (Some(theirs), Some(ours)) if theirs != ours => Err(Failure::Usage(format!(
            "`{}` is a copy of another installation ({theirs}), whose keys are not in this data folder ({ours}); nothing was changed",
            from.display()
        ))),
        (None, _) => {
            Err(Failure::Usage(format!("`{}` holds no installation; nothing was changed", from.display())))
        }
        _ => Ok(()),
    }
}

fn question(asked: &RestoreStore) -> String {
    format!(
        "Put `{}` in the database's place? All tasks will sleep, and connections that were refreshed since it was made go on by the answers that lie in `spool/`, or ask for a new login.",
        asked.from.display()
    )
}

/// Makes the database to be and puts it in the place; answers its era, and where the old one is.
async fn put(
    place: &Place,
    copy: &SqliteFile,
    (fresh, database): (&Path, &Path),
) -> Result<(u64, Option<Kept>), Failure> {
    let era = make(copy, fresh).await?;
    let kept = Kept::keep(place, database)?;
    if let Err(error) = fs::rename(fresh, database) {
        if let Some(kept) = kept {
            kept.give_back();
        }
        return Err(file_failed(database)(error));
    }
    sync(place.root())?;
    Ok((era, kept))
}

/// The database to be, whole, looked through and on the disk; answers its era.
async fn make(copy: &SqliteFile, fresh: &Path) -> Result<u64, Failure> {
    copy.copy_to(fresh).map_err(|error| unusable(fresh, &error))?;
    let store = SqliteStore::open(fresh, SystemClock.now()).map_err(|error| unusable(fresh, &error))?;
    let raised = raise(&store).await;
    // Its end folds the write-ahead file into it.
    drop(store);
    let era = raised.map_err(|error| Failure::Store(error.to_string()))?;
    look_through(fresh)?;
    sync(fresh)?;
    Ok(era)
}

/// It is sound, and whole in one file.
fn look_through(fresh: &Path) -> Result<(), Failure> {
    let in_one_file = || match remove_empty_sides(fresh) {
        true => Ok(()),
        false => Err(Failure::Store(format!(
            "`{}` could not be made whole, and nothing was changed; look for a full disk, and try again",
            fresh.display()
        ))),
    };
    in_one_file()?;
    let faults = opened(fresh)?.check().map_err(|error| unusable(fresh, &error))?;
    if let Some(fault) = faults.first() {
        return Err(Failure::Finding(format!(
            "what was made of the copy is damaged (`{}`), and nothing was changed; take another copy",
            fault.name
        )));
    }
    // Whoever only reads makes some too.
    in_one_file()
}

/// Whether nothing is left beside the file that belongs to it.
fn remove_empty_sides(path: &Path) -> bool {
    let write_ahead = beside(path, "-wal");
    if fs::metadata(&write_ahead).is_ok_and(|file| file.len() > 0) {
        return false;
    }
    // What SQLite keeps in memory of a write-ahead file says nothing without it.
    let _ = (fs::remove_file(&write_ahead), fs::remove_file(beside(path, "-shm")));
    true
}

async fn raise(store: &SqliteStore) -> Result<u64, StoreError> {
    let era = store.standing().await?.era;
    store.raise_era(era).await?;
    Ok(store.standing().await?.era)
}

/// What was there, by another name.
struct Kept {
    path: PathBuf,
    /// Side files that went with it, from where to where.
    sides: Vec<(PathBuf, PathBuf)>,
}

impl Kept {
    /// Gives what is there another name too, whole. None where nothing is there.
    fn keep(place: &Place, database: &Path) -> Result<Option<Self>, Failure> {
        if !database.exists() {
            return Ok(None);
        }
        let is_folded = match SqliteFile::fold(database) {
            Ok(()) => remove_empty_sides(database),
            Err(error) if error.is_of_the_moment() => return Err(unusable(database, &error)),
            Err(_) => false,
        };
        let path = place.path(&format!("db.kept-{}.sqlite", SystemClock.now().millis()));
        fs::hard_link(database, &path).map_err(file_failed(&path))?;
        let mut kept = Self { path, sides: Vec::new() };
        let moved = if is_folded { Ok(()) } else { kept.take_sides(database) };
        match moved.and_then(|()| sync(place.root())) {
            Ok(()) => Ok(Some(kept)),
            Err(failure) => {
                kept.give_back();
                Err(failure)
            }
        }
    }

    fn take_sides(&mut self, database: &Path) -> Result<(), Failure> {
        for side in ["-wal", "-shm"] {
            let (from, to) = (beside(database, side), beside(&self.path, side));
            match fs::rename(&from, &to) {
                Ok(()) => self.sides.push((from, to)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(file_failed(&to)(error)),
            }
        }
        Ok(())
    }

    /// All is as it was: nothing took its place.
    fn give_back(self) {
        let back = self.sides.iter().all(|(from, to)| fs::rename(to, from).is_ok());
        // A second name harms nobody where it is the only one beside its side files.
        if back {
            let _ = fs::remove_file(self.path);
        }
    }
}

fn text(restored: &Restored) -> String {
    let kept = restored
        .kept
        .as_ref()
        .map(|kept| format!("; what was there is kept as {kept} until you delete it"))
        .unwrap_or_default();
    format!(
        "the copy is in place{kept}. It begins era {}: at the next `nightlatch up` all tasks sleep, and what was refreshed since the copy was made goes on where the answer that its keeper kept is still in `spool/`, and else asks for a new login (`nightlatch health`)",
        restored.era
    )
}

#[cfg(test)]
mod tests;
