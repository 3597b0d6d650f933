//! Proves that a look through the file finds what does not hold between rows, and that a copy holds what the file held.

use nightlatch_domain::{
    clock::Timestamp,
    id::{InstallationId, KeeperId},
    ports::store::KeeperStore as _,
};
use nightlatch_store::{SqliteFile, SqliteStore};
use std::path::Path;

const NOW: Timestamp = Timestamp::from_millis(1_750_000_000_000);

fn forge(path: &Path, sql: &str) {
    let database = rusqlite::Connection::open(path).unwrap();
    database.pragma_update(None, "foreign_keys", "OFF").unwrap();
    database.execute_batch(sql).unwrap();
}

fn found(path: &Path) -> Vec<(&'static str, u64)> {
    let faults = SqliteFile::open(path).unwrap().check().unwrap();
    faults.into_iter().map(|fault| (fault.name, fault.count)).collect()
}

async fn lived_in(path: &Path) -> InstallationId {
    let store = SqliteStore::open(path, NOW).unwrap();
    let id = store.installation(InstallationId::new(NOW, [1; 10])).await.unwrap().id;
    store.register(KeeperId::new(NOW, [2; 10]), false, false).await.unwrap();
    id
}

#[tokio::test]
async fn each_thing_that_does_not_hold_is_found_by_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db.sqlite");
    lived_in(&path).await;
    assert_eq!(found(&path), []);
    let chain = "INSERT INTO chain (tenant_id, chain_id, provider, issuer, client_id, account, family_id, fence, state,
             failures, created_at) VALUES";
    let family = "INSERT INTO family (tenant_id, family_id, chain_id, flow_id, head, created_at) VALUES";
    let cases = [
        (format!("{chain} ('t', 'c', 'p', 'i', 'cl', 'a', 'f', 1, 'healthy', 0, 1)"), "chain-without-family", 1),
        (format!("{chain} ('t', 'c', 'p', 'i', 'cl', 'a', 'f', 1, 'refreshing', 0, 1); {family} ('t', 'f', 'c', 'fl', 1, 1)"), "claim-without-owner", 1),
        (
            "INSERT INTO generation (tenant_id, family_id, number, access, created_at) VALUES ('t', 'f', 9, 'x', 1);"
                .to_owned()
                + &format!("{family} ('t', 'f', 'c', 'fl', 1, 1)"),
            "generation-above-head",
            1,
        ),
        (
            "INSERT INTO attempt (tenant_id, attempt_id, chain_id, family_id, generation, fence, owner_id, era, state, intended_at)
             VALUES ('t', 'one', 'c', 'f', 1, 1, 'o', 1, 'intended', 1), ('t', 'two', 'c', 'f', 1, 2, 'o', 1, 'intended', 2)"
                .to_owned(),
            "two-intents-at-once",
            1,
        ),
        ("INSERT INTO feed VALUES (1, 't', 'task', 'x', x'00'), (4, 't', 'task', 'x', x'00')".to_owned(), "feed-with-a-gap", 2),
        ("INSERT INTO feed VALUES (9, 't', 'task', 'x', x'00')".to_owned(), "feed-above-its-counter", 1),
        ("UPDATE keeper SET compared = 7".to_owned(), "keeper-of-a-later-era", 1),
        (
            "INSERT INTO ticket (tenant_id, ticket_id, kind, connection_id, reason, raised_at)
             VALUES ('t', 'ti', 'reauthorize', 'nobody', 'r', 1)"
                .to_owned(),
            "row-without-its-parent",
            1,
        ),
    ];
    for (number, (sql, name, count)) in cases.into_iter().enumerate() {
        let path = folder.path().join(format!("{number}.sqlite"));
        lived_in(&path).await;
        forge(&path, &sql);
        let found = found(&path);
        assert!(found.contains(&(name, count)), "{name}: {found:?}");
    }
}

#[tokio::test]
async fn a_copy_holds_what_the_file_held_at_one_moment_and_is_looked_through_like_it() {
    let folder = tempfile::tempdir().unwrap();
    let (path, copy) = (folder.path().join("db.sqlite"), folder.path().join("copy.sqlite"));
    let id = lived_in(&path).await;
    let store = SqliteStore::open(&path, NOW).unwrap();
    let file = SqliteFile::open(&path).unwrap();
    std::fs::write(&copy, []).unwrap();
    file.copy_to(&copy).unwrap();
    store.raise_era(1).await.unwrap();
    let copied = SqliteFile::open(&copy).unwrap();
    assert_eq!((copied.installation().unwrap(), copied.check().unwrap()), (Some(id), Vec::new()));
    drop(copied);
    let again = SqliteStore::open(&copy, NOW).unwrap();
    assert_eq!(again.standing().await.unwrap().era, 1, "what came later is not in it");
    assert!(file.copy_to(&copy).is_err(), "a file that is not empty is not written over");
}

#[test]
fn what_is_not_there_is_not_made() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("none.sqlite");
    assert!(SqliteFile::open(&path).is_err());
    assert!(!path.exists());
}

#[tokio::test]
async fn a_file_that_is_cut_short_loses_nothing_that_lies_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    let (path, beside) = (folder.path().join("db.sqlite"), folder.path().join("db.sqlite-wal"));
    lived_in(&path).await;
    SqliteFile::fold(&path).unwrap();
    for length in [0, 100, 511] {
        std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(length).unwrap();
        std::fs::write(&beside, "what was written last").unwrap();
        assert!(SqliteFile::open(&path).is_err() && SqliteFile::fold(&path).is_err());
        assert_eq!(std::fs::read(&beside).unwrap(), b"what was written last", "{length}");
    }
}
