//! A database that is not the one that the log knows, and logs that were not held against it yet.

use crate::world::{Ready, Running, World};
use nightlatch_domain::{clock::Clock as _, id::KeeperId, ports::gateway_keeper::KeeperRefusal};

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
