//! Proves that who stands still holds nothing: a reader that does not read, a connection that asks nothing,
//! a crowd that proves nothing.

use crate::{
    client::{Identity, Wire},
    upstream::Reply,
    world::{Actor, Twist, World},
};
use bytes::Bytes;
use http_body_util::Empty;
use nightlatch_gateway::Limits;
use nightlatch_ledger::record::Entry;
use std::time::Duration;
use tokio::time::timeout;

const SOON: Duration = Duration::from_secs(5);
/// More than the kernel holds for two sockets.
const LONG: usize = 64 * 1024 * 1024;

async fn bounded(limits: Limits) -> World {
    World::twisted(Twist { limits: Some(limits), ..Twist::default() }).await
}

/// A long answer that nobody reads.
async fn unread(world: &World, actor: &Actor) -> Wire {
    let body = "x".repeat(LONG);
    world.tool.answers(move |seen| match seen.line().contains("/long") {
        true => Reply::with("200 OK", &[], &body),
        false => Reply::ok("fine"),
    });
    let mut wire = world.connect(actor).await;
    wire.write(world.request("GET /acme/long", &[&World::bearer(actor)])).await;
    wire.head().await.unwrap();
    wire
}

async fn cut_outcomes(world: &World) -> usize {
    let is_cut = |entry: &Entry| matches!(entry, Entry::Outcome(outcome) if !outcome.complete && outcome.status == Some(200));
    world.records().await.iter().filter(|record| is_cut(&record.entry)).count()
}

/// The connection ends, and what was not sent when it did is never sent.
async fn reads_no_end(mut wire: Wire) {
    let read = timeout(SOON, wire.drain()).await.expect("the connection is held open");
    assert!(read < LONG / 2, "{read} bytes were readable");
}

#[tokio::test]
pub(crate) async fn an_answer_that_nobody_reads_is_cut() {
    let world = bounded(Limits { body_idle: Duration::from_millis(200), ..Limits::default() }).await;
    let wire = unread(&world, &world.mallory).await;
    world.eventually("an outcome", || async { cut_outcomes(&world).await == 1 }).await;
    reads_no_end(wire).await;
    world.still_serves(&world.alice).await;
}

#[tokio::test]
pub(crate) async fn what_ends_a_grant_or_a_wake_cuts_an_answer_that_nobody_reads() {
    for end in ["revoke", "sleep", "kill"] {
        let world = World::new().await;
        let wire = unread(&world, &world.mallory).await;
        assert_eq!(cut_outcomes(&world).await, 0);
        match end {
            "revoke" => {
                world.set_grant(&world.mallory, |grant| grant.revoked_at = Some(grant.created_at)).await
            }
            "sleep" => {
                world
                    .set_task(&world.mallory, |task| task.state = nightlatch_domain::task::TaskState::Dormant)
                    .await
            }
            _ => {
                world
                    .set_task(&world.mallory, |task| task.state = nightlatch_domain::task::TaskState::Killed)
                    .await
            }
        }
        let told = world.eventually("an outcome", || async { cut_outcomes(&world).await == 1 });
        timeout(Duration::from_millis(1500), told).await.unwrap_or_else(|_| panic!("{end} took too long"));
        reads_no_end(wire).await;
        world.still_serves(&world.alice).await;
    }
}

#[tokio::test]
pub(crate) async fn over_http2_a_stream_whose_window_stays_shut_is_cut() {
    let world = bounded(Limits { body_idle: Duration::from_millis(200), ..Limits::default() }).await;
    let body = "x".repeat(LONG);
    world.tool.answers(move |_| Reply::with("200 OK", &[], &body));
    let mut dial = world.dial(Some(&world.mallory.identity));
    dial.alpn = &["h2"];
    let mut sender = dial.connect().await.unwrap().http2().await;
    let request = http::Request::get(format!("https://{}/acme/long", world.host()))
        .header("authorization", format!("Bearer {}", world.mallory.reference))
        .body(crate::client::empty())
        .unwrap();
    // Held and never read: the window is not opened.
    let _answer = sender.send_request(request).await.unwrap();
    world.eventually("an outcome", || async { cut_outcomes(&world).await == 1 }).await;
    world.eventually("the connection's end", || async { sender.is_closed() }).await;
}

#[tokio::test]
pub(crate) async fn a_crowd_that_proves_nothing_shuts_nobody_out() {
    let world = bounded(Limits { connections_max: 3, ..Limits::default() }).await;
    world.eventually("a fresh look", || async { world.gateway.directory().view().is_ok() }).await;
    let mut held = Vec::new();
    for _ in 0..3 {
        let mut dial = world.dial(None);
        dial.alpn = &["h2"];
        held.push(dial.connect().await.unwrap().http2::<Empty<Bytes>>().await);
    }
    timeout(SOON, world.still_serves(&world.alice)).await.expect("an honest agent is shut out");
}

#[tokio::test]
pub(crate) async fn one_key_holds_no_more_than_its_own_connections() {
    let world = bounded(Limits { connections_each_max: 2, ..Limits::default() }).await;
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut wire = world.connect(&world.mallory).await;
        wire.write(world.request("GET /acme/things", &[&World::bearer(&world.mallory)])).await;
        assert_eq!(wire.answer().await.status, 200);
        held.push(wire);
    }
    assert!(world.connect(&world.mallory).await.is_closed().await, "a third place for one key");
    world.still_serves(&world.alice).await;
}

#[tokio::test]
pub(crate) async fn who_is_nobody_is_refused_once() {
    let world = World::new().await;
    let stranger = Identity::new();
    for identity in [None, Some(&stranger)] {
        let mut wire = world.dial(identity).connect().await.unwrap();
        wire.write(world.request("GET /acme/things", &[])).await;
        assert_eq!(wire.answer().await.problem(), "not-admitted");
        assert!(wire.is_closed().await, "the connection outlived its refusal");
        let mut dial = world.dial(identity);
        dial.alpn = &["h2"];
        let mut sender = dial.connect().await.unwrap().http2().await;
        let request = http::Request::get(format!("https://{}/acme/things", world.host()));
        let refused = sender.send_request(request.body(crate::client::empty()).unwrap()).await.unwrap();
        assert_eq!(refused.status(), 401);
        world.eventually("the connection's end", || async { sender.is_closed() }).await;
    }
}

#[tokio::test]
pub(crate) async fn a_connection_that_asks_nothing_ends() {
    let brief = Duration::from_millis(50);
    let world = bounded(Limits { stranger_within: brief, head_within: brief, ..Limits::default() }).await;
    let silent = world.dial(None).connect().await.unwrap().is_closed().await;
    assert!(silent, "a stranger may stay and say nothing");
    for identity in [None, Some(&world.alice.identity)] {
        let mut dial = world.dial(identity);
        dial.alpn = &["h2"];
        let sender = dial.connect().await.unwrap().http2::<Empty<Bytes>>().await;
        world.eventually("the connection's end", || async { sender.is_closed() }).await;
    }
}
