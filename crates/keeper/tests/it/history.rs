//! A database that is not the one that the log knows, and logs that were not held against it yet.

use crate::{
    provider::Act,
    world::{Ready, Running, World, eventually},
};
use nightlatch_domain::{
    clock::Clock as _,
    id::KeeperId,
    ports::{Boxed, gateway_keeper::KeeperRefusal},
};
use nightlatch_keeper::{Watch, machine::Action};
use std::{path::PathBuf, sync::Arc, time::Duration};

/// Every move is another history's.
pub(crate) const ANOTHER_HISTORY: [&str; 2] = [
    "UPDATE feed_mark SET random = randomblob(16)",
    "UPDATE feed_counter SET random = (SELECT random FROM feed_mark WHERE number = moved)",
];

/// Before a refresh is settled the database loses its intent.
struct LosesIntents(PathBuf);

impl Watch for LosesIntents {
    fn before(&self, action: &Action) -> Boxed<'_, ()> {
        if matches!(action, Action::Settle(_)) {
            let database = rusqlite::Connection::open(&self.0).unwrap();
            database.busy_timeout(Duration::from_secs(5)).unwrap();
            database.execute("DELETE FROM attempt WHERE state = 'intended'", []).unwrap();
        }
        Box::pin(std::future::ready(()))
    }
}

async fn ready() -> (World, Running, Ready) {
    let world = World::new();
    let running = world.start().await;
    let ready = world.ready(&running).await;
    assert!(ready.lease(&running).await.is_ok());
    (world, running, ready)
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_leased_while_a_registered_log_was_not_compared() {
    let (world, running, ready) = ready().await;
    let other = KeeperId::new(world.clock.now(), [9; 10]);
    world.forge(&format!("INSERT INTO keeper VALUES ('{other}', 0, 1)"));
    assert_eq!(ready.lease(&running).await.unwrap_err(), KeeperRefusal::Unavailable);
    world.forge(&format!("UPDATE keeper SET compared = 1 WHERE keeper_id = '{other}'"));
    assert!(ready.lease(&running).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_whose_era_is_below_the_logs_is_another_one() {
    let world = World::new();
    world.start().await.end().await;
    world.forge("UPDATE installation SET era = 7");
    world.start().await.end().await;
    let stands = || world.look("SELECT era || ' ' || compared FROM installation, keeper");
    assert_eq!(stands(), "7 7", "another keeper raised it, and this one compared");
    world.forge("UPDATE installation SET era = 3");
    world.start().await.end().await;
    assert_eq!(stands(), "8 8");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_database_that_was_put_back_ends_every_wake() {
    let (world, running, ready) = ready().await;
    for statement in ANOTHER_HISTORY {
        world.forge(statement);
    }
    assert_eq!(ready.lease(&running).await.unwrap_err(), KeeperRefusal::NotAwake);
    assert_eq!(world.look("SELECT era || ' ' || compared FROM installation, keeper"), "2 2");
}

#[tokio::test(flavor = "multi_thread")]
async fn keepers_that_a_database_forgot_must_compare_as_well() {
    let mut world = World::new();
    world.alone = false;
    let running = world.start().await;
    let ready = world.ready(&running).await;
    let other = KeeperId::new(world.clock.now(), [9; 10]);
    world.forge(&format!("INSERT INTO keeper VALUES ('{other}', 1, 1)"));
    assert!(ready.lease(&running).await.is_ok(), "beside the other, who is noted");
    world.forge(&format!("DELETE FROM keeper WHERE keeper_id = '{other}'"));
    for statement in ANOTHER_HISTORY {
        world.forge(statement);
    }
    assert_eq!(ready.lease(&running).await.unwrap_err(), KeeperRefusal::Unavailable);
    let row = format!("SELECT compared || '' FROM keeper WHERE keeper_id = '{other}'");
    assert_eq!(world.look(&row), "0", "its log may know better");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_cannot_be_read_holds_up_its_own_chain_alone() {
    let (world, running, ready) = ready().await;
    world.connect(&running, ready.client, "erin", None).await.unwrap();
    world.forge(&format!(
        "UPDATE chain SET state = 'unheard-of' WHERE chain_id IN
         (SELECT chain_id FROM connection WHERE connection_id <> '{}')",
        ready.connection
    ));
    for statement in ANOTHER_HISTORY {
        world.forge(statement);
    }
    assert_eq!(ready.lease(&running).await.unwrap_err(), KeeperRefusal::NotAwake);
    let woken = world.wake(&running).await.unwrap();
    assert!(woken.lease(&running, ready.grant, ready.connection, 20_000).await.is_ok());
    assert_eq!(world.look("SELECT era || ' ' || compared FROM installation, keeper"), "2 2");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lone_keeper_that_lost_its_log_begins_an_era() {
    let (world, running, _) = ready().await;
    running.end().await;
    std::fs::remove_dir_all(world.path("state")).unwrap();
    let running = world.start().await;
    assert_eq!(world.look("SELECT era || ' ' || compared FROM installation, keeper"), "2 2");
    running.end().await;
    world.start().await.end().await;
    assert_eq!(world.look("SELECT era || '' FROM installation"), "2", "once");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_intent_that_the_database_lost_leaves_the_chain_to_a_human() {
    let world = World::new();
    let running = world.start_with(Arc::new(LosesIntents(world.path("db.sqlite")))).await.unwrap();
    let ready = world.ready(&running).await;
    world.clock.forward(Duration::from_secs(3600));
    let woken = world.wake(&running).await.unwrap();
    world.provider.next(Act::Vanish);
    assert!(woken.lease(&running, ready.grant, ready.connection, 20_000).await.is_err());
    eventually(|| async { world.look("SELECT state FROM chain") == "quarantined" }).await;
    assert_eq!(world.look("SELECT reason || ' ' || era FROM chain, installation"), "anchor-mismatch 2");
}
