//! Proves that whoever takes the feed's counter row first is first, step by step: another's transaction is left open with
//! the row in its hand, the store's own waits behind it, and then the other is committed or taken back.

use super::{
    Database, on_each,
    server::{Server, client},
    world,
};
use crate::conformance::world::{CLAIMABLE, World, later};
use nightlatch_domain::{
    chain::{AttemptState, ChainState},
    connection::Source,
    id::{ChainId, OwnerId},
    ports::store::{Committed, Kill, NewConnection, Settlement, StoreError},
};
use std::time::Duration;
use tokio_postgres::Client;

on_each! {
    a_commit_behind_a_kill_moves_nothing
    an_intent_behind_a_kill_or_a_new_era_is_not_written
    what_joins_a_chain_behind_its_kill_is_not_connected
    a_claim_behind_another_takes_nothing
    a_kill_behind_a_commit_ends_what_it_made
    what_is_reconnected_behind_its_removal_is_not_connected
    what_leaves_a_chain_behind_another_reconnect_leaves_the_chain_that_it_is_on
    a_ticket_that_comes_behind_a_removal_is_not_raised_and_the_others_are
    what_is_reconnected_before_its_kill_is_cleared_lives
    what_stands_is_of_one_moment
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
    // The commit has the counter row, and waits for the head: of two that wait for a row either may come first.
    let first = first(&database, "SELECT 1 FROM family FOR NO KEY UPDATE").await;
    let commit = world.keeper.commit(claim, world.head(attempt, on.family, 2));
    until_waiting(&database, "active", 1).await;
    let tenant = world.tenant;
    let kill = Kill::Chain { tenant, chain: on.chain };
    let kill = world.keeper.kill(kill, later(1));
    until_waiting(&database, "active", 2).await;
    first.batch_execute("COMMIT").await.unwrap();
    assert_eq!(commit.await, Ok(Committed::Moved));
    assert!(kill.await.is_ok());
    assert_eq!(world.keeper.chain(tenant, on.chain).await, Ok(None), "nothing of it is leased or presented");
}

/// Another transaction of ours, under way: whatever it does is not committed yet.
async fn first(database: &Database, sql: &str) -> Client {
    let client = client(&database.text).await;
    let begun = "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL application_name = 'first'";
    client.batch_execute(&format!("{begun}; {sql}")).await.unwrap();
    client
}

/// A removed connection does not come back, and nothing of new credentials stays under it.
async fn what_is_reconnected_behind_its_removal_is_not_connected(server: &Server) {
    let secrets = "SELECT (SELECT count(*) FROM generation) + (SELECT count(*) FROM static_secret)";
    for is_keyed in [false, true] {
        for (end, expected) in [("COMMIT", Err(StoreError::Missing("connection"))), ("ROLLBACK", Ok(()))] {
            let (database, world) = world(server).await;
            let (id, makes) = if is_keyed {
                let connection = world.keyed("a").await;
                let secret = Some(world.secret(connection.id, 2));
                (connection.id, NewConnection { connection, tokens: None, secret })
            } else {
                let on = world.connected("a", "1").await;
                (on.connection, world.again(&on.made))
            };
            let removed = "SELECT 1 FROM chain FOR UPDATE; UPDATE connection SET removed_at = 1";
            let removal = first(&database, removed).await;
            let reconnected = world.keeper.put_connection(makes);
            until_waiting(&database, "active", 1).await;
            removal.batch_execute(end).await.unwrap();
            assert_eq!(reconnected.await, expected, "keyed: {is_keyed}, {end}");
            let row = world.keeper.connection(world.tenant, id).await.unwrap();
            assert_eq!(row.is_some(), expected.is_ok(), "keyed: {is_keyed}, {end}");
            let kept: i64 = removal.query_one(secrets, &[]).await.unwrap().get(0);
            assert_eq!(kept, if expected.is_ok() { 2 } else { 1 }, "keyed: {is_keyed}, {end}");
        }
    }
}

/// Meanwhile the connection came to the other chain, as the last that lives there: whoever ends it or takes it away again
/// ends that chain too.
async fn what_leaves_a_chain_behind_another_reconnect_leaves_the_chain_that_it_is_on(server: &Server) {
    for is_removal in [false, true] {
        for (end, left) in [("COMMIT", 0), ("ROLLBACK", 1)] {
            let (database, world) = world(server).await;
            let (on, other) = (world.connected("a", "1").await, world.connected("b", "2").await);
            let (from, to, moves, removes) = (on.chain, other.chain, on.connection, other.connection);
            let moved = format!(
                "SELECT 1 FROM chain WHERE chain_id = '{from}' FOR UPDATE;
                 UPDATE connection SET removed_at = 1 WHERE connection_id = '{removes}';
                 UPDATE connection SET chain_id = '{to}' WHERE connection_id = '{moves}'"
            );
            let reconnect = first(&database, &moved).await;
            let leaves = if is_removal {
                world.keeper.remove_connection(world.tenant, moves, later(1))
            } else {
                world.keeper.put_connection(world.again(&on.made))
            };
            until_waiting(&database, "active", 1).await;
            reconnect.batch_execute(end).await.unwrap();
            assert_eq!(leaves.await, Ok(()), "removal: {is_removal}, {end}");
            let kept = world.keeper.generations(world.tenant, to, 9).await.unwrap();
            assert_eq!(kept.len(), left, "removal: {is_removal}, {end}");
        }
    }
}

/// A connection of the chain ended after the list of them was read: nobody asks for it any more.
async fn a_ticket_that_comes_behind_a_removal_is_not_raised_and_the_others_are(server: &Server) {
    let (database, world) = world(server).await;
    let on = world.connected("a", "1").await;
    let second = world.second_connection(&on, "b").await;
    let claim = world.claimed(on.chain).await;
    let ticket = world.ticket(on.connection);
    let (tenant, connection, kind) =
        (world.tenant, on.connection, serde_json::to_value(ticket.kind).unwrap());
    let raised = format!(
        "INSERT INTO ticket (tenant_id, ticket_id, kind, connection_id, reason, raised_at)
         VALUES ('{tenant}', 'other', '{}', '{connection}', 'r', 0)",
        kind.as_str().unwrap()
    );
    let other = first(&database, &raised).await;
    let settlement = Settlement { ticket: Some(ticket), ..world.settlement(ChainState::Latched) };
    let settled = world.keeper.settle(claim, settlement);
    until_waiting(&database, "active", 1).await;
    let kill = Kill::Connection { tenant, connection: second };
    world.keeper.kill(kill, later(1)).await.unwrap();
    other.batch_execute("ROLLBACK").await.unwrap();
    assert_eq!(settled.await, Ok(true));
    let tickets = world.control.tickets(tenant).await.unwrap();
    assert_eq!(tickets.into_iter().map(|ticket| ticket.connection).collect::<Vec<_>>(), [connection]);
}

/// A human's consent came after the kill, and after the list of what it ended was read.
async fn what_is_reconnected_before_its_kill_is_cleared_lives(server: &Server) {
    let secrets = "SELECT count(*) FROM static_secret";
    for (end, lives) in [("COMMIT", true), ("ROLLBACK", false)] {
        let (database, world) = world(server).await;
        let id = world.keyed("a").await.id;
        let tenant = world.tenant;
        let number = world.keeper.kill(Kill::Connection { tenant, connection: id }, later(1)).await.unwrap();
        let reconnect = first(&database, &format!("UPDATE connection SET noted = {number} + 1")).await;
        let cleared = world.keeper.clear_killed(later(2), 9);
        until_waiting(&database, "active", 1).await;
        reconnect.batch_execute(end).await.unwrap();
        assert!(cleared.await.is_ok());
        let row = world.keeper.connection(tenant, id).await.unwrap();
        assert_eq!(row.is_some(), lives, "{end}");
        let kept: i64 = reconnect.query_one(secrets, &[]).await.unwrap().get(0);
        assert_eq!(kept, i64::from(lives), "{end}");
    }
}

/// The era, the keepers and the last move are read one after the other.
async fn what_stands_is_of_one_moment(server: &Server) {
    let (database, world) = world(server).await;
    let before = world.keeper.standing().await.unwrap();
    let raised = "LOCK TABLE keeper; UPDATE installation SET era = era + 1;
         UPDATE feed_counter SET moved = moved + 1, random = uuid_send(gen_random_uuid())";
    let raise = first(&database, raised).await;
    let asked = world.keeper.standing();
    until_waiting(&database, "active", 1).await;
    raise.batch_execute("COMMIT").await.unwrap();
    let (asked, after) = (asked.await.unwrap(), world.keeper.standing().await.unwrap());
    assert_ne!(after, before);
    assert!(
        asked == before || asked == after,
        "{asked:?} is neither what stood before nor what stands after"
    );
}
