//! Proves what needs a look inside: a full disk refuses whole and passes, callers who leave change nothing,
//! damaged rows are said to be damaged, a removal is shredded even where a reader was in the way.

use super::{
    OpenError, SqliteStore, engine, feed,
    migrate::{self, MIGRATIONS},
};
use crate::migration::{Kind, Migration};
use nightlatch_domain::{
    clock::Timestamp,
    id::{PrincipalId, TaskId, TenantId},
    ports::store::{ControlStore as _, DirectoryStore as _, EntityId, StoreError, Stored, ToolRow},
};
use rusqlite::{Connection, ffi};
use std::{fs, path::PathBuf};
use tempfile::TempDir;

const NOW: Timestamp = Timestamp::from_millis(1_750_000_000_000);

struct Fixture {
    folder: TempDir,
    store: SqliteStore,
    tenant: TenantId,
}

impl Fixture {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&folder.path().join("db.sqlite"), NOW).unwrap();
        Self { folder, store, tenant: TenantId::new(NOW, [1; 10]) }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("db.sqlite")
    }

    fn tool(&self, name: &str, bytes: usize) -> ToolRow {
        ToolRow {
            tenant: self.tenant,
            name: name.parse().unwrap(),
            manifest: "x".repeat(bytes),
            added_at: NOW,
        }
    }

    fn pages_at_most(&self, pages: i64) -> Stored<'_, ()> {
        self.store.engine.write(move |at| {
            at.pragma_update(None, "max_page_count", pages).map_err(super::record::refusal("test"))
        })
    }
}

#[tokio::test]
async fn a_full_disk_refuses_whole_and_all_works_again_with_room() {
    let fixture = Fixture::new();
    fixture.store.put_tool(fixture.tool("small", 10)).await.unwrap();
    fixture.pages_at_most(1).await.unwrap();
    for _ in 0..3 {
        let full = fixture.store.put_tool(fixture.tool("large", 1 << 20)).await;
        assert_eq!(full, Err(StoreError::Unavailable));
    }
    assert_eq!(fixture.store.snapshot().await.unwrap().0, 1, "the feed's number went back with the rest");
    assert_eq!(fixture.store.tools(fixture.tenant).await.unwrap().len(), 1);
    fixture.pages_at_most(1 << 20).await.unwrap();
    fixture.store.put_tool(fixture.tool("large", 1 << 20)).await.unwrap();
    assert_eq!(fixture.store.snapshot().await.unwrap().0, 2);
}

#[tokio::test]
async fn a_caller_who_leaves_interrupts_nothing() {
    let fixture = Fixture::new();
    drop(fixture.store.put_tool(fixture.tool("left", 10)));
    fixture.store.changed(0, 30_000).await;
    assert_eq!(fixture.store.tools(fixture.tenant).await.unwrap(), [fixture.tool("left", 10)]);
}

#[tokio::test]
async fn what_was_queued_before_the_close_is_done() {
    let fixture = Fixture::new();
    for number in 0..50 {
        drop(fixture.store.put_tool(fixture.tool(&format!("tool-{number}"), 10)));
    }
    let path = fixture.path();
    let Fixture { folder, store, tenant } = fixture;
    drop(store);
    let store = SqliteStore::open(&path, NOW).unwrap();
    assert_eq!(store.tools(tenant).await.unwrap().len(), 50);
    drop(folder);
}

/// What is queued behind a request shares its commit: nobody is answered and nothing is seen before that, and one that is
/// refused takes back itself alone.
#[tokio::test]
async fn what_is_queued_together_is_committed_together_and_refused_alone() {
    let fixture = Fixture::new();
    let (begun, has_begun) = std::sync::mpsc::channel();
    let (go, may_go) = std::sync::mpsc::channel();
    let first = fixture.store.engine.write(move |_| {
        begun.send(()).unwrap();
        may_go.recv().unwrap();
        Ok(())
    });
    has_begun.recv().unwrap();
    let kept = fixture.store.put_tool(fixture.tool("kept", 1));
    let (tenant, task) = (fixture.tenant, TaskId::new(NOW, [2; 10]));
    let refused: Stored<'_, ()> = fixture.store.engine.write(move |at| {
        feed::note(at, tenant, EntityId::Task(task))?;
        Err(StoreError::Corrupt("test"))
    });
    let (held, is_held) = std::sync::mpsc::channel();
    let (end, may_end) = std::sync::mpsc::channel();
    let last = fixture.store.engine.write(move |at| {
        held.send(feed::number(at)?).unwrap();
        may_end.recv().unwrap();
        Ok(())
    });
    go.send(()).unwrap();
    assert_eq!(is_held.recv().unwrap(), 1, "the change of the one that stands, and not the other's");
    assert_eq!(fixture.store.tools(tenant).await.unwrap(), [], "the commit is still to come");
    end.send(()).unwrap();
    assert_eq!((first.await, kept.await, last.await), (Ok(()), Ok(()), Ok(())));
    assert_eq!(refused.await, Err(StoreError::Corrupt("test")));
    assert_eq!(fixture.store.snapshot().await.unwrap().0, 1);
}

/// A commit that fails fails for all that share it, and all of it is taken back.
#[tokio::test]
async fn a_commit_that_fails_is_nobodys() {
    let fixture = Fixture::new();
    let (begun, has_begun) = std::sync::mpsc::channel();
    let (go, may_go) = std::sync::mpsc::channel();
    let first = fixture.store.engine.write(move |at| {
        begun.send(()).unwrap();
        may_go.recv().unwrap();
        let owner =
            "PRAGMA defer_foreign_keys = ON; INSERT INTO static_secret VALUES ('t', 'none', 1, 's', 0)";
        at.execute_batch(owner).map_err(super::record::refusal("test"))
    });
    has_begun.recv().unwrap();
    let second = fixture.store.put_tool(fixture.tool("lost", 1));
    let third = fixture.store.engine.write(|at| {
        let known = super::record::holds(at, "tool", "SELECT 1 FROM tool WHERE name = 'lost'")?;
        if known { Err(StoreError::Exists("tool")) } else { Ok(()) }
    });
    go.send(()).unwrap();
    assert!(first.await.is_err());
    assert!(second.await.is_err(), "it was not written, so it is not said to be");
    assert_eq!(third.await, Err(StoreError::Missing("transaction")), "what it found was taken back");
    assert_eq!(fixture.store.tools(fixture.tenant).await.unwrap(), []);
    fixture.store.put_tool(fixture.tool("kept", 1)).await.unwrap();
    assert_eq!(fixture.store.snapshot().await.unwrap().0, 1);
}

#[tokio::test]
async fn an_error_in_the_middle_takes_back_what_came_before() {
    let fixture = Fixture::new();
    let (tenant, task) = (fixture.tenant, TaskId::new(NOW, [2; 10]));
    let refused: Result<(), StoreError> = fixture
        .store
        .engine
        .write(move |at| {
            feed::note(at, tenant, EntityId::Task(task))?;
            Err(StoreError::Corrupt("test"))
        })
        .await;
    assert_eq!(refused, Err(StoreError::Corrupt("test")));
    assert_eq!(fixture.store.snapshot().await.unwrap().0, 0);
}

#[tokio::test]
async fn a_reader_cannot_write() {
    let fixture = Fixture::new();
    let (tenant, agent) = (fixture.tenant, PrincipalId::new(NOW, [2; 10]));
    let refused = fixture.store.engine.read(move |at| feed::note(at, tenant, EntityId::Agent(agent))).await;
    assert_eq!(refused, Err(StoreError::Unavailable));
}

#[tokio::test]
async fn every_number_of_the_feed_has_a_random_value_of_its_own() {
    let fixture = Fixture::new();
    for name in ["a", "b", "c"] {
        fixture.store.put_tool(fixture.tool(name, 1)).await.unwrap();
    }
    let other = Connection::open(fixture.path()).unwrap();
    let one = |sql| other.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(one("SELECT count(DISTINCT random) FROM feed WHERE length(random) = 16"), 3);
    let same = "SELECT count(*) FROM feed JOIN feed_counter USING (number, random)";
    assert_eq!(one(same), 1);
}

#[tokio::test]
async fn a_damaged_row_is_said_to_be_damaged() {
    let fixture = Fixture::new();
    fixture.store.put_tool(fixture.tool("a", 1)).await.unwrap();
    let other = Connection::open(fixture.path()).unwrap();
    other.execute("UPDATE tool SET name = 'No Name'", []).unwrap();
    assert_eq!(fixture.store.tools(fixture.tenant).await, Err(StoreError::Corrupt("tool")));
    assert_eq!(fixture.store.snapshot().await, Err(StoreError::Corrupt("tool")));
    other.execute("UPDATE feed SET kind = 'else'", []).unwrap();
    assert_eq!(fixture.store.changes(0, 9).await, Err(StoreError::Corrupt("feed")));
}

#[tokio::test]
async fn a_shredding_that_a_reader_held_up_is_done_after_the_next_write() {
    let fixture = Fixture::new();
    fixture.store.put_tool(fixture.tool("a", 1)).await.unwrap();
    let impatient =
        |at: &Connection| at.busy_timeout(std::time::Duration::ZERO).map_err(super::record::refusal("test"));
    fixture.store.engine.write(impatient).await.unwrap();
    let mut reader = Connection::open(fixture.path()).unwrap();
    let holding = reader.transaction().unwrap();
    holding.query_row("SELECT count(*) FROM tool", [], |row| row.get::<_, i64>(0)).unwrap();
    let tenant = fixture.tenant;
    let delete = move |at: &Connection| {
        feed::note(at, tenant, EntityId::Tools)?;
        super::record::write(at, "tool", "DELETE FROM tool", [])
    };
    assert_eq!(fixture.store.engine.write_and_shred(delete).await, Ok(1));
    let write_ahead = fixture.folder.path().join("db.sqlite-wal");
    assert_ne!(fs::metadata(&write_ahead).unwrap().len(), 0);
    drop(holding);
    fixture.store.put_tool(fixture.tool("b", 1)).await.unwrap();
    assert_eq!(fs::metadata(&write_ahead).unwrap().len(), 0);
}

/// A newer version's step, beside which this one goes on working.
const EXPAND: Migration = Migration {
    sql: "ALTER TABLE tool ADD COLUMN colour TEXT; CREATE TABLE colour (name TEXT) STRICT",
    kind: Kind::Expand,
};
/// A newer version's step that takes something away.
const CONTRACT: Migration = Migration { sql: "DROP TABLE colour", kind: Kind::Contract };

fn newer_version_starts(path: &std::path::Path, steps: &[Migration]) -> Result<(), OpenError> {
    let known = [MIGRATIONS, steps].concat();
    migrate::apply(&mut Connection::open(path).unwrap(), &known, NOW)
}

#[tokio::test]
async fn an_old_version_runs_on_a_database_that_is_only_expanded_beyond_it() {
    let fixture = Fixture::new();
    fixture.store.put_tool(fixture.tool("before", 1)).await.unwrap();
    newer_version_starts(&fixture.path(), &[EXPAND]).unwrap();
    fixture.store.put_tool(fixture.tool("beside", 1)).await.unwrap();
    let again = SqliteStore::open(&fixture.path(), NOW).unwrap();
    again.put_tool(fixture.tool("started-again", 1)).await.unwrap();
    assert_eq!(fixture.store.tools(fixture.tenant).await.unwrap().len(), 3);
    newer_version_starts(&fixture.path(), &[EXPAND, CONTRACT]).unwrap();
    let number = u32::try_from(MIGRATIONS.len()).unwrap();
    let refused = SqliteStore::open(&fixture.path(), NOW).err();
    assert!(
        matches!(refused, Some(OpenError::NewerVersion { found, known }) if found == number + 2 && known == number)
    );
}

/// What a newer version left there is not to be overlooked: mandates that were acted on, and an era that nobody compared.
#[tokio::test]
async fn an_older_version_that_would_overlook_mandates_or_eras_is_refused() {
    let fixture = Fixture::new();
    for (known, found) in [(9, 11), (10, 11)] {
        let older = MIGRATIONS.get(..known).unwrap();
        let refused = migrate::apply(&mut Connection::open(fixture.path()).unwrap(), older, NOW);
        assert!(matches!(refused, Err(OpenError::NewerVersion { found: is, .. }) if is == found), "{known}");
    }
    let connection = Connection::open(fixture.path()).unwrap();
    let sql = "SELECT group_concat(number) FROM schema_migration WHERE kind = 'expand'";
    let expand: String = connection.query_row(sql, [], |row| row.get(0)).unwrap();
    assert_eq!(expand, "7,8,9,12,13");
}

#[tokio::test]
async fn a_write_whose_answer_is_lost_is_of_unknown_outcome() {
    let fixture = Fixture::new();
    let lost: Stored<'_, ()> = fixture.store.engine.write(|_| panic!("the writer's thread ends here"));
    assert_eq!(lost.await, Err(StoreError::Unknown));
    assert!(fixture.store.put_tool(fixture.tool("after", 1)).await.is_err());
    assert_eq!(fixture.store.tools(fixture.tenant).await, Ok(vec![]));
}

#[test]
fn a_commit_that_the_disk_did_not_confirm_is_of_unknown_outcome() {
    let of = |code| engine::of_commit(rusqlite::Error::SqliteFailure(ffi::Error::new(code), None));
    assert_eq!(of(ffi::SQLITE_IOERR_FSYNC), StoreError::Unknown);
    assert_eq!(of(ffi::SQLITE_FULL), StoreError::Unavailable);
    assert_eq!(of(ffi::SQLITE_CONSTRAINT_FOREIGNKEY), StoreError::Missing("transaction"));
}
