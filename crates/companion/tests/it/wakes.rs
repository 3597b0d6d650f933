//! Proves that the companion signs the challenge of its own task and gateway, before the first tunnel and again in
//! time, and nothing else.

use crate::{
    gateway::{CODE, task},
    world::{World, eventually, in_time, limits, stays},
};
use http::StatusCode;
use nightlatch_companion::{Guard, Limits, Link};
use nightlatch_domain::companion::WakeChallenge;
use std::time::Duration;

#[tokio::test]
async fn the_wake_is_signed_before_the_first_tunnel_and_once() {
    let world = World::new().await;
    world.tunnel("echo.test:443").await;
    world.tunnel("echo.test:443").await;
    let counts = {
        let seen = world.gateway.seen();
        (seen.wakes, seen.bad_wakes)
    };
    assert_eq!(counts, (1, 0));
    assert_eq!(*world.companion.link().borrow(), Link::Up { signed: true });
}

#[tokio::test]
async fn the_wake_is_signed_right_after_an_enrolment() {
    let world = World::new().await;
    world.companion.enrol(CODE).await.unwrap();
    assert_eq!(world.gateway.seen().wakes, 1);
}

#[tokio::test]
async fn each_connection_has_a_wake_of_its_own() {
    let mut world = World::new().await;
    world.tunnel("echo.test:443").await;
    world.gateway = world.gateway.restarted().await;
    world.tunnel("echo.test:443").await;
    assert_eq!(world.gateway.seen().wakes, 1);
}

#[tokio::test]
async fn a_wake_is_signed_again_in_time_while_a_tunnel_stands_and_not_without() {
    let soon = Limits { wake_again_after: Duration::from_millis(50), ..limits() };
    let world = World::with(Guard::default(), soon).await;
    let tunnel = world.tunnel("echo.test:443").await;
    eventually("it is signed again", || world.gateway.seen().wakes > 2).await;
    drop(tunnel);
    // The last renewals may be under way; after them there are none.
    in_time(async { while !stays(&world.companion, Duration::from_millis(300)).await {} }).await;
}

#[tokio::test]
async fn a_gateway_that_takes_no_signature_serves_nevertheless() {
    let world = World::new().await;
    world.gateway.seen().refuses = Some(StatusCode::NOT_FOUND);
    world.tunnel("echo.test:443").await;
    assert_eq!(*world.companion.link().borrow(), Link::Up { signed: false });
}

#[tokio::test]
async fn a_challenge_of_another_task_gateway_or_form_is_not_signed() {
    let bends: [fn(&mut WakeChallenge); 4] = [
        |challenge| challenge.task = task(9),
        |challenge| challenge.gateway_key_sha256 = "0c".repeat(32),
        |challenge| challenge.nonce = "0a\n".to_owned(),
        |challenge| challenge.replica_key_sha256 = String::new(),
    ];
    for (place, bend) in bends.into_iter().enumerate() {
        let world = World::new().await;
        world.companion.enrol(CODE).await.unwrap();
        assert_eq!(world.gateway.seen().wakes, 1);
        bend(&mut world.gateway.seen().challenge);
        let asked = world.gateway.seen().asked_wakes;
        // A new enrolment asks anew.
        world.companion.enrol(CODE).await.unwrap();
        let seen = world.gateway.seen();
        assert_eq!((seen.asked_wakes, seen.wakes, seen.bad_wakes), (asked + 1, 1, 0), "{place}");
    }
}

#[tokio::test]
async fn a_key_belongs_to_the_first_task_that_it_woke() {
    let world = World::new().await;
    world.companion.wake().await.unwrap();
    world.gateway.seen().challenge.task = task(9);
    let enrolled = world.companion.enrol(CODE).await;
    assert!(enrolled.is_ok(), "the enrolment is of its own task");
    assert_eq!(world.gateway.seen().wakes, 1);
    // And the other way round.
    let world = World::new().await;
    world.gateway.seen().challenge.task = task(9);
    world.companion.wake().await.unwrap();
    assert_eq!(world.gateway.seen().wakes, 1);
    assert!(world.companion.enrol(CODE).await.is_err());
}

#[tokio::test]
async fn a_proof_that_takes_its_time_stalls_no_other_tunnel() {
    let soon = Limits { wake_again_after: Duration::from_millis(50), ..limits() };
    let world = World::with(Guard::default(), soon).await;
    let _standing = world.tunnel("echo.test:443").await;
    let asked = {
        let mut seen = world.gateway.seen();
        seen.stuck = true;
        seen.asked_wakes
    };
    eventually("it is to be proved again", || world.gateway.seen().asked_wakes > asked).await;
    let mut other = in_time(world.tunnel("echo.test:443")).await;
    other.send("x").await;
    assert_eq!(other.exactly(1).await, b"x");
}
