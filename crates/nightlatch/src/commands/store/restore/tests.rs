//! What is there is kept whole or left as it was, and what takes its place is sound and in one file.

use super::{Kept, SqliteFile, beside, look_through, make};
use crate::{adapters::SystemClock, place::Place};
use nightlatch_domain::{clock::Clock as _, id::InstallationId, ports::store::KeeperStore as _};
use nightlatch_store::SqliteStore;
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};
use tempfile::TempDir;

fn place() -> (TempDir, Place, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let place = Place::of(Some(folder.path().to_owned())).unwrap();
    let database = place.path("db.sqlite");
    (folder, place, database)
}

fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let all = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let file =
        |path: PathBuf| (path.file_name().unwrap().to_string_lossy().into_owned(), fs::read(&path).unwrap());
    all.map(file).collect()
}

fn made(path: &Path) {
    drop(SqliteStore::open(path, SystemClock.now()).unwrap());
}

#[test]
fn a_database_that_cannot_be_opened_is_kept_with_its_side_files_or_given_back_with_them() {
    let (folder, place, database) = place();
    assert!(Kept::keep(&place, &database).unwrap().is_none(), "nothing is there");
    fs::write(&database, "no database, and long enough that nobody takes it for an empty one of any kind")
        .unwrap();
    fs::write(beside(&database, "-wal"), "what was written last").unwrap();
    let before = files(folder.path());
    Kept::keep(&place, &database).unwrap().unwrap().give_back();
    assert_eq!(files(folder.path()), before);

    let kept = Kept::keep(&place, &database).unwrap().unwrap();
    assert_eq!(fs::read(beside(&kept.path, "-wal")).unwrap(), b"what was written last");
    assert!(!beside(&database, "-wal").exists(), "nothing is left that the next one would take for its own");
}

#[test]
fn a_database_that_another_process_works_on_is_left_alone() {
    let (folder, place, database) = place();
    made(&database);
    let other = rusqlite::Connection::open(&database).unwrap();
    other.execute_batch("BEGIN IMMEDIATE; CREATE TABLE at_work (one INT)").unwrap();
    let refused = Kept::keep(&place, &database).map(|_| ()).unwrap_err();
    assert!(refused.to_string().contains("another process"), "{refused}");
    assert!(!files(folder.path()).keys().any(|name| name.contains("kept")));
}

#[test]
fn what_takes_the_place_is_sound_and_in_one_file() {
    let (folder, _, fresh) = place();
    made(&fresh);
    look_through(&fresh).unwrap();
    assert_eq!(files(folder.path()).into_keys().collect::<Vec<_>>(), ["db.sqlite"], "reading left nothing");
    fs::write(beside(&fresh, "-wal"), "not folded").unwrap();
    let refused = look_through(&fresh).unwrap_err();
    assert!(refused.to_string().contains("made whole"), "{refused}");
    fs::remove_file(beside(&fresh, "-wal")).unwrap();

    let forged = rusqlite::Connection::open(&fresh).unwrap();
    forged.execute_batch("INSERT INTO feed VALUES (9, 't', 'task', 'x', x'00')").unwrap();
    drop(forged);
    let refused = look_through(&fresh).unwrap_err();
    assert!(refused.to_string().contains("feed-above-its-counter"), "{refused}");
}

#[tokio::test]
async fn what_is_made_of_a_sound_copy_is_looked_through_once_more() {
    let (folder, _, from) = place();
    let store = SqliteStore::open(&from, SystemClock.now()).unwrap();
    store.installation(InstallationId::new(SystemClock.now(), [1; 10])).await.unwrap();
    drop(store);
    let era = make(&SqliteFile::open(&from).unwrap(), &folder.path().join("sound")).await.unwrap();
    assert_eq!(era, 2);

    // One that is sound until its era is raised.
    let forged = rusqlite::Connection::open(&from).unwrap();
    let late = "CREATE TRIGGER late AFTER UPDATE ON installation BEGIN
         INSERT INTO feed VALUES (9, 't', 'task', 'x', x'00'); END";
    forged.execute_batch(late).unwrap();
    drop(forged);
    let copy = SqliteFile::open(&from).unwrap();
    assert_eq!(copy.check().unwrap(), Vec::new());
    let refused = make(&copy, &folder.path().join("fresh")).await.unwrap_err();
    assert!(refused.to_string().contains("feed-above-its-counter"), "{refused}");
}
