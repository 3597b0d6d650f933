//! Proves what the file itself promises: private, whole after a close, refused when it is not ours.

use nightlatch_domain::{
    clock::Timestamp,
    id::{PrincipalId, TenantId},
    ports::store::{ControlStore as _, DirectoryStore as _},
    principal::{Agent, AgentStatus, Human, RiskTier, Tenant},
    sealed::Attestation,
};
use nightlatch_store::{OpenError, SqliteStore};
use rusqlite::Connection;
use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::Path,
};

const NOW: Timestamp = Timestamp::from_millis(1_750_000_000_000);

fn open(path: &Path) -> Result<SqliteStore, OpenError> {
    SqliteStore::open(path, NOW)
}

async fn bootstrap(store: &SqliteStore) {
    let tenant = TenantId::new(NOW, [1; 10]);
    let human = PrincipalId::new(NOW, [2; 10]);
    let agent = Agent {
        tenant,
        id: PrincipalId::new(NOW, [3; 10]),
        name: "laptop".parse().unwrap(),
        owner: human,
        purpose: String::new(),
        risk: RiskTier::Medium,
        status: AgentStatus::Active,
        created_at: NOW,
        attestation: Attestation::default(),
    };
    let human = Human { tenant, id: human, label: "dana@laptop".into(), created_at: NOW };
    let tenant = Tenant { id: tenant, name: "default".parse().unwrap(), created_at: NOW };
    store.bootstrap(tenant, human, agent).await.unwrap();
}

#[tokio::test]
async fn a_new_database_says_so_and_one_that_was_lived_in_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db.sqlite");
    let store = open(&path).unwrap();
    assert!(store.is_new().await.unwrap());
    bootstrap(&store).await;
    drop(store);
    let store = open(&path).unwrap();
    assert!(!store.is_new().await.unwrap());
    assert_eq!(store.snapshot().await.unwrap().0, 1);
}

#[tokio::test]
async fn every_commit_waits_for_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder.path().join("db.sqlite")).unwrap();
    assert_eq!(store.weaknesses().await.unwrap(), []);
}

#[tokio::test]
async fn nobody_else_may_read_the_file_or_its_side_files() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db.sqlite");
    fs::write(&path, "").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let store = open(&path).unwrap();
    bootstrap(&store).await;
    let files: Vec<_> = fs::read_dir(folder.path()).unwrap().map(Result::unwrap).collect();
    assert_eq!(files.len(), 3);
    for file in files {
        assert_eq!(file.metadata().unwrap().mode() & 0o777, 0o600, "{:?}", file.file_name());
    }
}

#[tokio::test]
async fn a_clean_close_leaves_one_file() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder.path().join("db.sqlite")).unwrap();
    bootstrap(&store).await;
    drop(store);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn what_is_no_database_of_ours_is_refused_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("letter.txt");
    fs::write(&path, "Dear Dana, this is not a database. ".repeat(100)).unwrap();
    let before = fs::read(&path).unwrap();
    assert!(matches!(open(&path), Err(OpenError::NotADatabase)));
    assert_eq!(fs::read(&path).unwrap(), before);

    let path = folder.path().join("foreign.sqlite");
    Connection::open(&path).unwrap().execute_batch("CREATE TABLE places (url TEXT)").unwrap();
    let before = fs::read(&path).unwrap();
    assert!(matches!(open(&path), Err(OpenError::Foreign)));
    assert_eq!(fs::read(&path).unwrap(), before);

    assert!(matches!(open(&folder.path().join("none/db.sqlite")), Err(OpenError::Io(_))));
}

#[test]
fn a_newer_or_another_schema_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db.sqlite");
    drop(open(&path).unwrap());
    let edit = |sql: &str| Connection::open(&path).unwrap().execute_batch(sql).unwrap();
    edit("INSERT INTO schema_migration VALUES (99, 'x', 0, 'contract')");
    assert!(matches!(open(&path), Err(OpenError::NewerVersion { found: 99, .. })));
    edit("DELETE FROM schema_migration WHERE number = 99; UPDATE schema_migration SET checksum = 'x'");
    assert!(matches!(open(&path), Err(OpenError::OtherHistory { number: 1 })));
}

#[tokio::test]
async fn a_task_that_is_older_than_its_egress_reaches_tools_only() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db.sqlite");
    drop(open(&path).unwrap());
    let edit = |sql: &str| Connection::open(&path).unwrap().execute_batch(sql).unwrap();
    edit("ALTER TABLE task DROP COLUMN egress; DELETE FROM schema_migration WHERE number = 2");
    edit(
        "INSERT INTO agent VALUES ('t', 'a', 'a', 'h', '', 'low', 'active', 0, '');
         INSERT INTO task VALUES ('t', 'k', NULL, 'a', 'h', '', 'awake', 0, 1, '')",
    );
    drop(open(&path).unwrap());
    let sql = "SELECT egress FROM task";
    let egress: String = Connection::open(&path).unwrap().query_row(sql, [], |row| row.get(0)).unwrap();
    assert_eq!(egress, "tools");
}
