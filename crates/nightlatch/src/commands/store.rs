//! `store check|backup|restore`: the database as a whole.
//!
//! The file is read on a connection of this process's own, so that a copy can be made while `up` is at work. What is put
//! back is made beside the database first, looked through, and takes its place by one rename, with the folder held.

mod backup;
mod restore;

use super::Seat;
use crate::{
    cli::{CheckStore, StoreCommand},
    config::ServeConfig,
    error::Failure,
    place::{Place, PlaceError},
    serve,
};
use nightlatch_store::{Fault, PostgresStore, SqliteFile};
use rustix::{
    fs::{CWD, RenameFlags, renameat_with},
    io::Errno,
};
use serde::Serialize;
use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

/// The database's file in the data folder.
const DATABASE: &str = "db.sqlite";

pub(super) async fn run(seat: &Seat, command: StoreCommand) -> Result<(), Failure> {
    match command {
        StoreCommand::Check(asked) => check(seat, &asked).await,
        StoreCommand::Backup(asked) => backup::run(seat, &asked.to),
        StoreCommand::Restore(asked) => restore::run(seat, &asked).await,
    }
}

/// What was found.
#[derive(Serialize)]
struct Checked {
    database: String,
    faults: Vec<Found>,
}

#[derive(Serialize)]
struct Found {
    name: &'static str,
    count: u64,
    detail: Option<String>,
}

async fn check(seat: &Seat, asked: &CheckStore) -> Result<(), Failure> {
    let (database, faults) = match &asked.config {
        Some(config) => {
            let config = ServeConfig::load(config)?;
            let place = Place::of(Some(config.data.clone()))?;
            let address = serve::address(&place, &config.database)?;
            let faults = PostgresStore::look_through(&address).await;
            ("PostgreSQL".to_owned(), faults.map_err(|error| Failure::Store(error.to_string()))?)
        }
        None => {
            let path = database_of(&seat.place()?)?;
            let faults = opened(&path)?.check().map_err(|error| unusable(&path, &error))?;
            (path.display().to_string(), faults)
        }
    };
    let found = |fault: Fault| Found { name: fault.name, count: fault.count, detail: fault.detail };
    let checked = Checked { database, faults: faults.into_iter().map(found).collect() };
    seat.output.result(&checked, text)?;
    match checked.faults.len() {
        0 => Ok(()),
        some => Err(Failure::Finding(format!(
            "{some} kinds of fault; keep a copy of the file as it is, then put a backup back with `nightlatch store restore FILE`"
        ))),
    }
}

fn text(checked: &Checked) -> String {
    if checked.faults.is_empty() {
        return format!("{}: sound", checked.database);
    }
    let line = |found: &Found| {
        let detail = found.detail.as_ref().map(|detail| format!(": {detail}")).unwrap_or_default();
        format!("{} ({}){detail}\n", found.name, found.count)
    };
    checked.faults.iter().map(line).collect()
}

/// The database of a data folder, where it is one of `up`'s.
fn database_of(place: &Place) -> Result<PathBuf, Failure> {
    place.check()?;
    let path = place.path(DATABASE);
    if path.exists() {
        return Ok(path);
    }
    if is_of_serve(place) {
        return Err(Failure::NotSupported {
            what: "this over PostgreSQL",
            instead: "use `pg_dump` or `pg_basebackup` as the database's owner, without the keepers' state folders; `nightlatch store check --config FILE` looks it through",
        });
    }
    Err(Failure::Usage(format!(
        "there is no database in `{}` yet; `nightlatch up` makes it",
        place.root().display()
    )))
}

/// Whether the folder is that of a process of `serve`: it is known to others by a key.
fn is_of_serve(place: &Place) -> bool {
    place.path("keys/link").exists()
}

fn opened(path: &Path) -> Result<SqliteFile, Failure> {
    SqliteFile::open(path).map_err(|error| unusable(path, &error))
}

fn unusable(path: &Path, error: &nightlatch_store::OpenError) -> Failure {
    Failure::Store(format!("`{}`: {error}", path.display()))
}

fn file_failed(path: &Path) -> impl FnOnce(io::Error) -> Failure + use<> {
    let path = path.to_owned();
    move |source| PlaceError::File { path, source }.into()
}

/// An empty file for this user and this process alone. No link in its place is followed.
fn fresh_beside(path: &Path) -> Result<PathBuf, Failure> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.part", std::process::id()));
    let fresh = path.with_file_name(name);
    // Nobody is at work on it: no other process has this one's number.
    match fs::remove_file(&fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(file_failed(&fresh)(error)),
        _ => {}
    }
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh);
    made.map_err(file_failed(&fresh))?;
    Ok(fresh)
}

/// Gives what was made its name. A name that somebody else took meanwhile stays theirs.
fn named(fresh: &Path, to: &Path) -> io::Result<()> {
    match renameat_with(CWD, fresh, CWD, to, RenameFlags::NOREPLACE) {
        // Not every file system can leave what is there alone; those can link, which does.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
            fs::hard_link(fresh, to)?;
            fs::remove_file(fresh)
        }
        renamed => Ok(renamed?),
    }
}

fn beside(path: &Path, side: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(side);
    PathBuf::from(name)
}

/// What was begun, with what SQLite laid beside it.
fn remove_all(fresh: &Path) {
    for path in [fresh.to_owned(), beside(fresh, "-wal"), beside(fresh, "-shm"), beside(fresh, "-journal")] {
        let _ = fs::remove_file(path);
    }
}

/// Whatever was written to a file, or to the names in a folder, is on the disk.
fn sync(path: &Path) -> Result<(), Failure> {
    File::open(path).and_then(|file| file.sync_all()).map_err(file_failed(path))
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests;
