//! Proves that what was answered is on the disk, whatever the server's defaults are, and that a server that cannot promise
//! it is named.

use super::{
    Database, on_each,
    order::until,
    server::{Server, client},
    tool, tools, world,
};
use crate::conformance::world::{CLAIMABLE, World, later};
use nightlatch_domain::{
    id::OwnerId,
    ports::store::{Committed, ControlStore as _, Kill, Seen, StoreError},
};
use nightlatch_store::{Plane, Weakness};

on_each! {
    what_is_written_waits_for_the_disk_whatever_the_default
    without_its_counter_nothing_is_intended_and_no_head_moves
    a_server_that_forgets_at_a_crash_is_named
    standbys_that_follow_at_their_own_pace_are_named_and_a_wait_that_was_given_up_is_unknown
    of_a_standby_that_took_over_nothing_is_presented_before_the_next_era
}

/// The tests' databases have `synchronous_commit = off`, and `serializable` as their isolation. What holds while a row is written holds at its commit too.
async fn what_is_written_waits_for_the_disk_whatever_the_default(server: &Server) {
    const TABLES: [&str; 6] = ["answer", "attempt", "chain", "family", "generation", "kill"];
    let (database, world) = world(server).await;
    let operator = client(&database.text).await;
    operator
        .batch_execute(
            "CREATE TABLE seen (what TEXT, how TEXT);
             CREATE FUNCTION look() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN
                 INSERT INTO seen VALUES (TG_TABLE_NAME,
                     current_setting('synchronous_commit') || ', ' || current_setting('transaction_isolation'));
                 RETURN NEW;
             END $$",
        )
        .await
        .unwrap();
    for table in TABLES {
        let sql = format!(
            "CREATE TRIGGER look BEFORE INSERT OR UPDATE ON {table} FOR EACH ROW EXECUTE FUNCTION look()"
        );
        operator.batch_execute(&sql).await.unwrap();
    }
    let on = world.connected("a", "1").await;
    let claim = world.claimed(on.chain).await;
    let attempt = world.intended(claim, on.family, 1).await;
    world.answered(attempt, "answer").await;
    let head = world.head(attempt, on.family, 2);
    assert_eq!(world.keeper.commit(claim, head).await, Ok(Committed::Moved));
    world.keeper.kill(Kill::Chain { tenant: world.tenant, chain: on.chain }, later(1)).await.unwrap();
    let sql = "SELECT what, count(*) FILTER (WHERE how = 'on, read committed'), count(*) FROM seen GROUP BY what ORDER BY what";
    let seen = operator.query(sql, &[]).await.unwrap();
    let names: Vec<String> = seen.iter().map(|row| row.get(0)).collect();
    assert_eq!(names, TABLES);
    for row in seen {
        assert_eq!(row.get::<_, i64>(1), row.get::<_, i64>(2), "{}", row.get::<_, String>(0));
    }
}

async fn weaknesses(database: &Database) -> Vec<Weakness> {
    let found = database.store(Plane::Keeper).weaknesses().await.unwrap();
    for plane in super::PLANES {
        assert_eq!(database.store(plane).weaknesses().await.unwrap(), found, "every plane may ask");
    }
    found
}

/// The order of commits and kills is that row.
async fn without_its_counter_nothing_is_intended_and_no_head_moves(server: &Server) {
    let (database, world) = world(server).await;
    let operator = client(&database.text).await;
    let (on, other) = (world.connected("a", "1").await, world.connected("b", "2").await);
    let claim = world.claimed(on.chain).await;
    let attempt = world.intended(claim, on.family, 1).await;
    world.answered(attempt, "answer").await;
    let theirs = world.claimed(other.chain).await;
    operator.batch_execute("DELETE FROM feed_counter").await.unwrap();
    let refused = Err(StoreError::Corrupt("feed_counter"));
    let intent = world.attempt(theirs, other.family, 1);
    assert_eq!(world.keeper.intend(theirs, intent.clone()).await, refused);
    assert_eq!(world.keeper.attempt(world.tenant, intent.id).await, Ok(None));
    let moved = world.keeper.commit(claim, world.head(attempt, on.family, 2)).await;
    assert_eq!(moved, Err(StoreError::Corrupt("feed_counter")));
    assert_eq!(world.keeper.chain(world.tenant, on.chain).await.unwrap().unwrap().head.number, 1);
}

async fn a_server_that_forgets_at_a_crash_is_named(server: &Server) {
    assert_eq!(weaknesses(&server.copied().await).await, []);
    let other = server.another(&["--set", "fsync=off", "--set", "full_page_writes=off"]);
    let found = weaknesses(&other.migrated().await).await;
    assert_eq!(found, [Weakness::FsyncOff, Weakness::FullPageWritesOff]);
    assert!(found.iter().all(Weakness::forbids_serving));
    assert_eq!(found.iter().map(Weakness::name).collect::<Vec<_>>(), ["fsync-off", "full-page-writes-off"]);
}

/// A commit whose wait for a standby is given up is on one disk only: nobody is told that it was written.
async fn standbys_that_follow_at_their_own_pace_are_named_and_a_wait_that_was_given_up_is_unknown(
    server: &Server,
) {
    let primary = server.another(&[]);
    let database = primary.migrated().await;
    assert_eq!(weaknesses(&database).await, []);
    let standby = server.another(&["--follow", primary.port()]);
    let operator = client(&database.text).await;
    let follows = "SELECT count(*) FROM pg_stat_replication, pg_sleep(0.005) WHERE state = 'streaming'";
    until(&operator, follows, 1).await;
    let found = weaknesses(&database).await;
    assert_eq!(found, [Weakness::AsynchronousStandbys(1)]);
    assert!(!found.iter().any(Weakness::forbids_serving), "a failover is the operator's choice");
    let copy = Database { text: database.text.replace(primary.port(), standby.port()) };
    assert_eq!(copy.store(Plane::Control).weaknesses().await, Ok(vec![Weakness::Standby]));

    operator.batch_execute("ALTER SYSTEM SET synchronous_standby_names = '*'").await.unwrap();
    operator.batch_execute("SELECT pg_reload_conf()").await.unwrap();
    let store = database.store(Plane::Control);
    let in_force = "SELECT count(*) FROM pg_settings, pg_sleep(0.005)
         WHERE name = 'synchronous_standby_names' AND setting = '*'";
    until(&operator, in_force, 1).await;
    // Who may not see whether it is waited for does not say that all is well.
    let found = weaknesses(&database).await;
    assert_eq!(found, [Weakness::UnseenStandbys(1)]);
    assert!(found.iter().all(|one| one.is_unseen() && !one.forbids_serving()));
    operator.batch_execute("GRANT pg_read_all_stats TO nightlatch_control").await.unwrap();
    assert_eq!(store.weaknesses().await, Ok(vec![]));
    store.put_tool(tool("a")).await.unwrap();
    drop(standby);
    let waits = store.put_tool(tool("b"));
    let cancel = "SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity, pg_sleep(0.005)
         WHERE wait_event = 'SyncRep' AND datname = current_database()";
    until(&operator, cancel, 1).await;
    assert_eq!(waits.await, Err(StoreError::Unknown));
    assert_eq!(tools(&database).await, 2, "it is written here, and may be forgotten at a failover");
}

/// It may lack what its primary answered last, and what nobody else saw a move after.
async fn of_a_standby_that_took_over_nothing_is_presented_before_the_next_era(server: &Server) {
    let primary = server.another(&[]);
    let database = primary.migrated().await;
    let world = World::new(&database).await;
    let (on, other) = (world.connected("a", "1").await, world.connected("b", "2").await);
    let claim = world.claimed(on.chain).await;
    assert!(!world.keeper.standing().await.unwrap().took_over);
    let standby = server.another(&["--follow", primary.port()]);
    let follows = "SELECT count(*) FROM pg_stat_replication, pg_sleep(0.005)
         WHERE state = 'streaming' AND replay_lsn = pg_current_wal_lsn()";
    until(&client(&database.text).await, follows, 1).await;
    let copy = Database { text: database.text.replace(primary.port(), standby.port()) };
    drop(primary);
    let operator = client(&copy.text).await;
    operator.batch_execute("SET default_transaction_isolation = 'read committed'").await.unwrap();
    operator.batch_execute("SELECT pg_promote()").await.unwrap();
    let world = world.reopened(&copy);
    let standing = world.keeper.standing().await.unwrap();
    assert!(standing.took_over && standing.era == 1, "{standing:?}");
    let attempt = world.attempt(claim, on.family, 1);
    assert_eq!(world.keeper.intend(claim, attempt).await, Ok(false));
    let claims = async |era| {
        let seen = Seen { era, ..world.seen(other.chain).await };
        let owner = world.id(OwnerId::new);
        world
            .keeper
            .claim(world.tenant, other.chain, seen, owner, CLAIMABLE.to_vec())
            .await
            .unwrap()
            .is_some()
    };
    assert!(!claims(1).await);
    assert_eq!(world.keeper.raise_era(1).await, Ok(true));
    let standing = world.keeper.standing().await.unwrap();
    assert!(!standing.took_over && standing.era == 2, "{standing:?}");
    assert!(claims(2).await);
}
