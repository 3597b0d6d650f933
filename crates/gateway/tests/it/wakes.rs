//! Proves that a wake is used for as long as it was given, and no longer on either clock.

use crate::world::World;
use std::time::Duration;

async fn later(world: &World, span: Duration) {
    world.clock.forward(span);
    world.eventually("a fresh look", || async { world.gateway.directory().view().is_ok() }).await;
}

#[tokio::test]
async fn in_the_last_quarter_of_an_hour_one_wake_serves_until_it_ends() {
    let world = World::new().await;
    for (given_for, calls) in [(900, 1), (600, 2)] {
        world.keeper.knobs.lock().unwrap().wake_for = Some(Duration::from_secs(given_for));
        for _ in 0..10 {
            assert_eq!(world.call(&world.alice, "GET /acme/things", &[]).await.status, 200);
        }
        assert_eq!((world.keeper.count("wake"), world.keeper.count("lease")), (calls, calls));
        later(&world, Duration::from_secs(given_for + 1)).await;
    }
}

#[tokio::test]
async fn one_key_has_two_wakes_at_most() {
    let world = World::new().await;
    // Just over the margin: each is to be renewed after ten seconds, and lives for a quarter of an hour more.
    world.keeper.knobs.lock().unwrap().wake_for = Some(Duration::from_secs(910));
    for _ in 0..10 {
        assert_eq!(world.call(&world.alice, "GET /acme/things", &[]).await.status, 200);
        later(&world, Duration::from_secs(11)).await;
    }
    assert_eq!((world.keeper.count("wake"), world.keeper.count("sleep")), (2, 0));
    assert_eq!(world.call(&world.mallory, "GET /acme/things", &[]).await.status, 200);
    assert_eq!(world.keeper.count("wake"), 3, "another key has its own");
}

#[tokio::test]
async fn a_clock_that_is_set_back_prolongs_neither_wake_nor_lease() {
    let world = World::new().await;
    world.still_serves(&world.alice).await;
    let hour = Duration::from_secs(3600);
    world.clock.set_back(hour);
    later(&world, Duration::from_secs(599)).await;
    world.still_serves(&world.alice).await;
    assert_eq!((world.keeper.count("wake"), world.keeper.count("lease")), (1, 1));
    later(&world, Duration::from_secs(2)).await;
    world.still_serves(&world.alice).await;
    assert_eq!((world.keeper.count("wake"), world.keeper.count("lease")), (1, 2), "a stale lease was used");
    later(&world, hour - Duration::from_secs(601)).await;
    world.eventually("its end", || async { world.keeper.count("sleep") == 1 }).await;
    world.still_serves(&world.alice).await;
    assert_eq!(world.keeper.count("wake"), 2);
}

#[tokio::test]
async fn a_clock_that_is_set_forward_ends_wake_and_lease_by_what_the_keeper_named() {
    let world = World::new().await;
    world.still_serves(&world.alice).await;
    world.clock.set_ahead(Duration::from_secs(601));
    world.still_serves(&world.alice).await;
    assert_eq!((world.keeper.count("wake"), world.keeper.count("lease")), (1, 2), "a stale lease was used");
    world.clock.set_ahead(Duration::from_secs(3000));
    world.eventually("its end", || async { world.keeper.count("sleep") == 1 }).await;
    world.still_serves(&world.alice).await;
    assert_eq!(world.keeper.count("wake"), 2);
}

#[tokio::test]
async fn a_clock_that_is_set_back_renews_a_wake_in_time() {
    let world = World::new().await;
    world.still_serves(&world.alice).await;
    world.clock.set_back(Duration::from_secs(3600));
    later(&world, Duration::from_secs(2701)).await;
    world.still_serves(&world.alice).await;
    assert_eq!((world.keeper.count("wake"), world.keeper.count("sleep")), (2, 0));
}

#[tokio::test]
async fn the_last_wake_that_ends_by_time_closes_its_connections() {
    let world = World::new().await;
    world.keeper.knobs.lock().unwrap().wake_for = Some(Duration::from_secs(1000));
    let request = world.request("GET /acme/things", &[&World::bearer(&world.alice)]);
    let (mut first, mut other) = (world.connect(&world.alice).await, world.connect(&world.mallory).await);
    first.write(&request).await;
    assert_eq!(first.answer().await.status, 200);
    later(&world, Duration::from_secs(500)).await;
    world.keeper.knobs.lock().unwrap().wake_for = None;
    let mut second = world.connect(&world.alice).await;
    second.write(&request).await;
    assert_eq!(second.answer().await.status, 200);
    later(&world, Duration::from_secs(501)).await;
    world.eventually("the first end", || async { world.keeper.count("sleep") == 1 }).await;
    // Another wake of the key goes on, and so do its connections.
    second.write(&request).await;
    assert_eq!((second.answer().await.status, world.keeper.count("wake")), (200, 2));
    later(&world, Duration::from_secs(3200)).await;
    world.eventually("the second end", || async { world.keeper.count("sleep") == 2 }).await;
    assert!(second.is_closed().await, "a connection outlived every wake of its key");
    other.write(world.request("GET /acme/things", &[&World::bearer(&world.mallory)])).await;
    assert_eq!(other.answer().await.status, 200, "a stranger's connection was closed");
}

#[tokio::test]
async fn a_keeper_that_hangs_at_any_step_is_not_waited_for() {
    use crate::world::Twist;
    use nightlatch_gateway::Limits;
    let brief = Duration::from_millis(50);
    let limits = Limits { patience: brief, keeper_grace: brief, ..Limits::default() };
    for step in ["challenge", "wake", "lease"] {
        let world = World::twisted(Twist { limits: Some(limits), ..Twist::default() }).await;
        world.keeper.knobs.lock().unwrap().hangs_at = Some(step);
        let call = world.call(&world.alice, "GET /acme/things", &[]);
        let answer = tokio::time::timeout(Duration::from_secs(5), call).await.expect(step);
        assert_eq!((answer.problem().as_str(), world.tool.count()), ("keeper-unavailable", 0), "{step}");
    }
}
