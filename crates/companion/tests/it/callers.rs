//! Proves that only who shows the run's password, or is a process of its user, gets a tunnel, and that everybody
//! else is counted and told to the gateway.

use crate::world::{PASSWORD, World, eventually, limits, password, stays};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use nightlatch_companion::{Guard, Link};
use nightlatch_domain::companion::{LocalRefusal, LocalRefusals};

fn basic(password: &str) -> String {
    format!("Proxy-Authorization: Basic {}\r\n", STANDARD.encode(format!("nightlatch:{password}")))
}

fn connect(fields: &str) -> String {
    format!("CONNECT count.test:443 HTTP/1.1\r\nHost: count.test:443\r\n{fields}\r\n")
}

fn told(world: &World, reason: LocalRefusal) -> u32 {
    world.gateway.seen().refusals.iter().filter(|told| told.reason == reason).map(|told| told.count).sum()
}

#[tokio::test]
async fn the_password_opens_a_tunnel_and_goes_no_further() {
    let world = World::with(password(), limits()).await;
    let mut program = world.program().await;
    program.send(&connect(&basic(PASSWORD))).await;
    assert!(program.head().await.starts_with("HTTP/1.1 200 "));
    tokio::io::AsyncWriteExt::shutdown(&mut program.0).await.unwrap();
    // Not one byte of the head came through.
    assert_eq!(program.rest().await, "0");
}

#[tokio::test]
async fn without_the_password_there_is_a_challenge_and_no_tunnel() {
    let world = World::with(password(), limits()).await;
    let wrong = basic(&PASSWORD[1..]);
    for fields in ["", wrong.as_str(), "Authorization: Basic eDp5\r\n"] {
        let answer = world.asked(&connect(fields)).await;
        assert!(answer.starts_with("HTTP/1.1 407 "), "{answer}");
        assert!(answer.contains("\r\nproxy-authenticate: Basic realm=\"nightlatch\"\r\n"), "{answer}");
        assert!(!answer.contains(PASSWORD));
    }
    let plain = "GET http://plain.test/ HTTP/1.1\r\nHost: plain.test\r\n\r\n";
    assert!(world.asked(plain).await.starts_with("HTTP/1.1 407 "));
    assert!(world.gateway.seen().tunnels.is_empty());
}

#[tokio::test]
async fn refusals_are_told_as_counts_and_not_one_by_one() {
    let world = World::with(password(), limits()).await;
    world.companion.wake().await.unwrap();
    for _ in 0..40 {
        world.asked(&connect("")).await;
    }
    eventually("all are told", || told(&world, LocalRefusal::ProxyPassword) == 40).await;
    assert!(world.gateway.seen().refusals.len() < 40);
    assert_eq!(told(&world, LocalRefusal::PeerUid), 0);
}

#[tokio::test]
async fn what_could_not_be_told_is_told_when_the_gateway_is_back() {
    let world = World::with(password(), limits()).await;
    world.companion.wake().await.unwrap();
    world.gateway.seen().refuses = Some(http::StatusCode::SERVICE_UNAVAILABLE);
    world.asked(&connect("")).await;
    world.asked(&connect("")).await;
    eventually("it was tried", || world.gateway.seen().refused > 1).await;
    world.gateway.seen().refuses = None;
    eventually("both are told", || told(&world, LocalRefusal::ProxyPassword) == 2).await;
}

#[tokio::test]
async fn what_is_refused_makes_no_connection_and_is_told_over_the_next_one() {
    let world = World::with(password(), limits()).await;
    world.asked(&connect("")).await;
    assert!(stays(&world.companion, std::time::Duration::from_millis(300)).await, "it dialled by itself");
    assert_eq!(*world.companion.link().borrow(), Link::Idle);
    let mut program = world.program().await;
    program.send(&connect(&basic(PASSWORD))).await;
    assert!(program.head().await.starts_with("HTTP/1.1 200 "));
    eventually("it is told", || told(&world, LocalRefusal::ProxyPassword) == 1).await;
}

#[tokio::test]
async fn what_is_left_at_the_end_is_told_then() {
    let never = std::time::Duration::from_secs(3600);
    let limits = nightlatch_companion::Limits { look_every: never, ..limits() };
    let world = World::with(password(), limits).await;
    world.asked(&connect("")).await;
    world.companion.close().await;
    let told = LocalRefusals { reason: LocalRefusal::ProxyPassword, count: 1 };
    assert_eq!(world.gateway.seen().refusals, [told]);
}

#[tokio::test]
async fn a_process_of_the_named_user_gets_a_tunnel_and_no_other() {
    let own = rustix::process::geteuid().as_raw();
    let of = |uid| Guard { password: None, peer_uid: Some(uid) };
    let world = World::with(of(own), limits()).await;
    world.tunnel("echo.test:443").await;
    let world = World::with(of(own + 1), limits()).await;
    let answer = world.asked(&connect("")).await;
    assert!(answer.starts_with("HTTP/1.1 403 ") && answer.contains("peer-refused"), "{answer}");
    assert!(world.gateway.seen().tunnels.is_empty());
    world.companion.wake().await.unwrap();
    eventually("it is told", || told(&world, LocalRefusal::PeerUid) == 1).await;
}

#[tokio::test]
async fn the_right_user_without_the_password_is_refused_where_both_are_asked_for() {
    let guard = Guard { peer_uid: Some(rustix::process::geteuid().as_raw()), ..password() };
    let world = World::with(guard, limits()).await;
    assert!(world.asked(&connect("")).await.starts_with("HTTP/1.1 407 "));
    let mut program = world.program().await;
    program.send(&connect(&basic(PASSWORD))).await;
    assert!(program.head().await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn another_users_crowd_takes_no_place() {
    let own = rustix::process::geteuid().as_raw();
    let limits = nightlatch_companion::Limits { heads_max: 1, ..limits() };
    let world = World::with(Guard { password: None, peer_uid: Some(own + 1) }, limits).await;
    world.companion.wake().await.unwrap();
    // None of them leaves by itself; with a place of its own each would hold it for a second.
    let mut crowd = Vec::new();
    for _ in 0..30 {
        crowd.push(world.program().await);
    }
    eventually("all are refused", || told(&world, LocalRefusal::PeerUid) == 30).await;
}
