//! `store restore`: a copy takes the database's place, and what was there is kept.
//!
//! The copy is made anew beside the database, brought to this version's schema, and raised by an era, so that the keeper
//! holds its log against it whatever the log remembers of the feed. Only then does it take the database's name.

use super::{DATABASE, file_failed, fresh_beside, is_of_serve, opened, sync, unusable};
use crate::{
    adapters::SystemClock,
    cli::RestoreStore,
    commands::{Seat, connect::line},
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
    fs,
    io::{self, IsTerminal as _},
    path::{Path, PathBuf},
};

#[derive(Serialize)]
struct Restored {
    database: String,
    kept: Option<String>,
    era: u64,
}

pub(super) async fn run(seat: &Seat, asked: &RestoreStore) -> Result<(), Failure> {
    let place = seat.place()?;
    place.check()?;
    if is_of_serve(&place) {
        return Err(Failure::NotSupported {
            what: "store restore over PostgreSQL",
            instead: "put it back with PostgreSQL's own tools while no process of `serve` runs; the keepers find out, and compare their logs",
        });
    }
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
    confirm(asked)?;
    let fresh = fresh_beside(&database)?;
    let made = make(&copy, &fresh).await;
    if made.is_err() {
        remove_all(&fresh);
    }
    let era = made?;
    let kept = keep(&place, &database)?;
    fs::rename(&fresh, &database).map_err(file_failed(&database))?;
    sync(place.root())?;
    drop(hold);
    let kept = kept.map(|path| path.display().to_string());
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

fn confirm(asked: &RestoreStore) -> Result<(), Failure> {
    if asked.yes {
        return Ok(());
    }
    let question = format!(
        "Put `{}` in the database's place? All tasks will sleep, and connections that were refreshed since it was made ask for a new login.",
        asked.from.display()
    );
    if !io::stdin().is_terminal() {
        return Err(Failure::Usage(format!("nothing was changed. {question} Say so with --yes")));
    }
    hint(question);
    match line("[y/N] ")?.as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(Failure::Usage("nothing was changed".to_owned())),
    }
}

/// The database to be, whole and on the disk; answers its era.
async fn make(copy: &SqliteFile, fresh: &Path) -> Result<u64, Failure> {
    copy.copy_to(fresh).map_err(|error| unusable(fresh, &error))?;
    let store = SqliteStore::open(fresh, SystemClock.now()).map_err(|error| unusable(fresh, &error))?;
    let raised = raise(&store).await;
    // Its end folds the write-ahead file into it.
    drop(store);
    let era = raised.map_err(|error| Failure::Store(error.to_string()))?;
    sync(fresh)?;
    Ok(era)
}

async fn raise(store: &SqliteStore) -> Result<u64, StoreError> {
    let era = store.standing().await?.era;
    store.raise_era(era).await?;
    Ok(store.standing().await?.era)
}

/// Gives what is there another name, with the write-ahead file that belongs to it.
fn keep(place: &Place, database: &Path) -> Result<Option<PathBuf>, Failure> {
    if !database.exists() {
        return Ok(None);
    }
    let kept = place.path(&format!("db.kept-{}.sqlite", SystemClock.now().millis()));
    fs::hard_link(database, &kept).map_err(file_failed(&kept))?;
    for side in ["-wal", "-shm"] {
        let (from, to) = (beside(database, side), beside(&kept, side));
        match fs::rename(&from, &to) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(file_failed(&to)(error)),
            _ => {}
        }
    }
    sync(place.root())?;
    Ok(Some(kept))
}

fn beside(path: &Path, side: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(side);
    PathBuf::from(name)
}

fn remove_all(fresh: &Path) {
    for path in [fresh.to_owned(), beside(fresh, "-wal"), beside(fresh, "-shm")] {
        let _ = fs::remove_file(path);
    }
}

fn text(restored: &Restored) -> String {
    let kept =
        restored.kept.as_ref().map(|kept| format!("; what was there is kept as {kept}")).unwrap_or_default();
    format!(
        "the copy is in place{kept}. It begins era {}: at the next `nightlatch up` all tasks sleep, and what was refreshed since the copy was made asks for a new login (`nightlatch health`)",
        restored.era
    )
}
