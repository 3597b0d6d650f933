//! Logs of keepers that were copied or are gone, where three keepers work over PostgreSQL with a real provider: neither leads to
//! a presentation of what was consumed, and both kinds of keeper go on when one that knows the history vouches for them.
//!
//! Both begin where it is dearest: the provider has consumed a token, and the keeper that sent it has no answer yet. The database
//! says that it was meant to be sent; that it was sent says one log alone.

use crate::world::{
    connect::text,
    eventually,
    provider::Kind,
    relay::{Paths, Place, Then},
    rotating::{Rotating, TIMER_ON},
    served::Told,
};
use http::StatusCode;
use std::{fs, time::Duration};

const ACCESS_SECS: u32 = 4;
const VOUCHED_WITHIN: Duration = Duration::from_secs(40);

async fn rotating(kind: Kind, username: &str) -> (Rotating, Paths) {
    let told = Told { log_level: "info", ..Told::all(TIMER_ON) };
    let (world, paths) = Rotating::on_paths((3, kind), (username, ACCESS_SECS), told).await;
    world.rotates_on(1).await;
    (world, paths)
}

async fn until_vouched(world: &Rotating, keepers: usize) {
    eventually("all are vouched for", VOUCHED_WITHIN, async || {
        let vouched = world.sql("SELECT count(*) FROM keeper WHERE vouched > 0");
        (vouched == keepers.to_string()).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copied_keeper_beside_its_original_presents_nothing_and_begins_anew_without_its_log() {
    let (mut world, paths) = rotating(Kind::Dot30, "copied-log").await;
    let keepers = world.served.named("keeper");
    let stopped = paths.next_at(Place::Answered).await;
    let (original, copy) = (&keepers[stopped.path], "keeper-copy");
    world.served.copy(original, copy);
    let before = world.registration.counters().await;

    // What its original is at work on, it holds for its own and left behind.
    world.served.begin(copy);
    eventually("it is refused", Duration::from_secs(20), async || {
        assert_eq!(world.registration.counters().await, before, "it presented something");
        world.served.log_of(copy).contains("was copied or moved").then_some(())
    })
    .await;
    assert!(!world.served.ends(copy).await);
    assert_eq!(world.registration.counters().await, before);

    // Its original goes on as if nothing were.
    stopped.then(Then::On);
    world.rotates_on(1).await;
    world.is_well().await;
    world.expect_nothing_presented_twice().await;

    // With the log moved away, as it was told, it is one keeper more, and does the work alone if it must.
    fs::remove_dir_all(world.served.state_of(copy)).expect("a log");
    world.served.start_again(copy).await;
    until_vouched(&world, 4).await;
    for keeper in &keepers {
        world.served.stop(keeper).await;
    }
    world.rotates_on(1).await;
    world.is_well().await;
    world.expect_nothing_presented_twice().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_keeper_whose_log_is_empty_presents_and_leases_nothing_until_one_that_knows_vouches_for_it() {
    let (mut world, paths) = rotating(Kind::Oidc, "empty-log").await;
    let stopped = paths.next_at(Place::Answered).await;
    let mut others = world.served.named("keeper");
    let emptied = others.remove(stopped.path);
    world.served.kill(&emptied);
    stopped.then(Then::Cut);
    for other in &others {
        world.served.stop(other).await;
    }
    fs::remove_dir_all(world.served.state_of(&emptied)).expect("a log");
    let before = world.registration.counters().await;
    world.served.start_again(&emptied).await;
    let listed = world.served.install.json(&["keeper", "list"]);
    let at_work = listed["keepers"].as_array().expect("keepers").iter().filter(|one| one["at_work"] == true);
    let vouched: Vec<_> = at_work.map(|one| (text(one, "name"), one["vouched"] == true)).collect();
    assert_eq!(vouched, [(emptied, false)], "{listed}");
    world.registration.until_the_token_died().await;
    for agent in world.agents() {
        let refused = world.call(&agent, world.kind.me()).await;
        assert_eq!(
            (refused.status, refused.problem().as_str()),
            (StatusCode::SERVICE_UNAVAILABLE, "keeper-unavailable")
        );
    }
    assert_eq!(world.registration.counters().await, before);

    // One that knows the history vouches for it. What its own log said last, nobody knows, and so nobody says it again.
    world.served.start_again(&others[0]).await;
    until_vouched(&world, 4).await;
    assert_eq!(world.registration.counters().await, before);
    world.reconnect().await;
    world.is_well().await;
    world.rotates_on(1).await;
    world.expect_nothing_presented_twice().await;
}
