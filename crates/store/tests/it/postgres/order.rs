//! Proves that whoever takes the feed's counter row first is first, step by step: another's transaction is left open with
//! the row in its hand, the store's own waits behind it, and then the other is committed or taken back.

use super::{
    Database, on_each,
    server::{Server, client},
    world,
};
use crate::conformance::world::{CLAIMABLE, World};
use nightlatch_domain::{
    chain::AttemptState,
    connection::Source,
    id::{ChainId, OwnerId},
    ports::store::{Committed, NewConnection, StoreError},
};
use std::time::Duration;
use tokio_postgres::Client;

on_each! {
    a_commit_behind_a_kill_moves_nothing
    an_intent_behind_a_kill_or_a_new_era_is_not_written
    what_joins_a_chain_behind_its_kill_is_not_connected
    a_claim_behind_another_takes_nothing
    a_kill_behind_a_commit_ends_what_it_made
}

/// Waits until a query counts so many. It pauses by itself: `pg_sleep`.
pub(super) async fn until(client: &Client, sql: &str, least: usize) {
    let counted = async || client.query_one(sql, &[]).await.unwrap().get::<_, i64>(0);
    let all = async { while counted().await < i64::try_from(least).unwrap() {} };
    tokio::time::timeout(Duration::from_secs(20), all).await.unwrap();
}

/// Waits until so many sessions of a store's on a database wait for a lock, or are in another state.
pub(super) async fn until_waiting(database: &Database, state: &str, sessions: usize) {
    let sql = format!(
        "SELECT count(*) FROM pg_stat_activity, pg_sleep(0.005) WHERE datname = current_database()
             AND pid <> pg_backend_pid() AND state = '{state}' AND (state <> 'active' OR wait_event_type = 'Lock')
             AND application_name = ''"
    );
    until(&client(&database.text).await, &sql, sessions).await;
}

/// A kill of a chain that took the counter row and is not committed yet.
async fn open_kill(database: &Database, world: &World, chain: ChainId) -> Client {
    let client = client(&database.text).await;
    let tenant = world.tenant;
    let sql = format!(
        "BEGIN ISOLATION LEVEL READ COMMITTED;
         SET LOCAL application_name = 'first';
         WITH moved AS (UPDATE feed_counter SET number = number + 1, moved = moved + 1 RETURNING moved)
         INSERT INTO kill (scope, tenant_id, target_id, number, killed_at)
             SELECT 'chain', '{tenant}', '{chain}', moved, 0 FROM moved"
    );
    client.batch_execute(&sql).await.unwrap();
    client
}

async fn a_commit_behind_a_kill_moves_nothing(server: &Server) {
    for (end, expected, head) in [("COMMIT", Committed::Removed, 1), ("ROLLBACK", Committed::Moved, 2)] {
        let (database, world) = world(server).await;
        let on = world.connected("a", "1").await;
        let claim = world.claimed(on.chain).await;
        let attempt = world.intended(claim, on.family, 1).await;
        world.answered(attempt, "answer").await;
        let kill = open_kill(&database, &world, on.chain).await;
        let commit = world.keeper.commit(claim, world.head(attempt, on.family, 2));
        until_waiting(&database, "active", 1).await;
        kill.batch_execute(end).await.unwrap();
        assert_eq!(commit.await, Ok(expected), "{end}");
        let heads = world.keeper.heads().await.unwrap();
        assert!(heads.iter().all(|(_, _, at)| *at == head), "{end}");
        let generations = world.keeper.generations(world.tenant, on.chain, 9).await.unwrap();
        assert_eq!(
            u64::try_from(generations.len()).unwrap(),
            head,
            "what was written before the row is undone"
        );
        let state = world.keeper.attempt(world.tenant, attempt).await.unwrap().unwrap().state;
        let kept = if head == 1 { AttemptState::Answered } else { AttemptState::Committed };
        assert_eq!(state, kept);
    }
}

async fn an_intent_behind_a_kill_or_a_new_era_is_not_written(server: &Server) {
    for (era, end, expected) in [
        (false, "COMMIT", false),
        (true, "COMMIT", false),
        (false, "ROLLBACK", true),
        (true, "ROLLBACK", true),
    ] {
        let (database, world) = world(server).await;
        let on = world.connected("a", "1").await;
        let claim = world.claimed(on.chain).await;
        let first = if era {
            let client = client(&database.text).await;
            let raised = "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL application_name = 'first';
                 UPDATE installation SET era = era + 1; UPDATE feed_counter SET moved = moved + 1";
            client.batch_execute(raised).await.unwrap();
            client
        } else {
            open_kill(&database, &world, on.chain).await
        };
        let attempt = world.attempt(claim, on.family, 1);
        let intent = world.keeper.intend(claim, attempt.clone());
        until_waiting(&database, "active", 1).await;
        first.batch_execute(end).await.unwrap();
        assert_eq!(intent.await, Ok(expected), "era: {era}, {end}");
        let written = world.keeper.attempt(world.tenant, attempt.id).await.unwrap();
        assert_eq!(written.is_some(), expected, "era: {era}, {end}");
    }
}

async fn what_joins_a_chain_behind_its_kill_is_not_connected(server: &Server) {
    for (end, expected) in [("COMMIT", Err(StoreError::Missing("connection"))), ("ROLLBACK", Ok(()))] {
        let (database, world) = world(server).await;
        let on = world.connected("a", "1").await;
        let kill = open_kill(&database, &world, on.chain).await;
        let joins = world.connection("b", Source::Chain { chain: on.chain });
        let id = joins.id;
        let joined =
            world.keeper.put_connection(NewConnection { connection: joins, tokens: None, secret: None });
        until_waiting(&database, "active", 1).await;
        kill.batch_execute(end).await.unwrap();
        assert_eq!(joined.await, expected, "{end}");
        let row = world.keeper.connection(world.tenant, id).await.unwrap();
        assert_eq!(row.is_some(), expected.is_ok(), "{end}");
    }
}

/// The other's claim was not to be seen when ours began: only the row itself, once it is free, says that it is taken.
async fn a_claim_behind_another_takes_nothing(server: &Server) {
    for (end, taken) in [("COMMIT", false), ("ROLLBACK", true)] {
        let (database, world) = world(server).await;
        let on = world.connected("a", "1").await;
        let seen = world.seen(on.chain).await;
        let other = client(&database.text).await;
        let claimed = "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL application_name = 'first';
             UPDATE chain SET fence = fence + 1, owner_id = 'other', state = 'refreshing'";
        other.batch_execute(claimed).await.unwrap();
        let owner = world.id(OwnerId::new);
        let claim = world.keeper.claim(world.tenant, on.chain, seen, owner, CLAIMABLE.to_vec());
        until_waiting(&database, "active", 1).await;
        other.batch_execute(end).await.unwrap();
        assert_eq!(claim.await.unwrap().is_some(), taken, "{end}");
    }
}

/// The other way round: the head was moved first, and the kill ends what it moved to.
async fn a_kill_behind_a_commit_ends_what_it_made(server: &Server) {
    let (database, world) = world(server).await;
    let on = world.connected("a", "1").await;
    let claim = world.claimed(on.chain).await;
    let attempt = world.intended(claim, on.family, 1).await;
    let first = client(&database.text).await;
    let held = "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL application_name = 'first';
         UPDATE feed_counter SET moved = moved + 1";
    first.batch_execute(held).await.unwrap();
    let commit = world.keeper.commit(claim, world.head(attempt, on.family, 2));
    until_waiting(&database, "active", 1).await;
    let tenant = world.tenant;
    let kill = nightlatch_domain::ports::store::Kill::Chain { tenant, chain: on.chain };
    let kill = world.keeper.kill(kill, crate::conformance::world::later(1));
    until_waiting(&database, "active", 2).await;
    first.batch_execute("COMMIT").await.unwrap();
    assert_eq!(commit.await, Ok(Committed::Moved));
    assert!(kill.await.is_ok());
    assert_eq!(world.keeper.chain(tenant, on.chain).await, Ok(None), "nothing of it is leased or presented");
}
