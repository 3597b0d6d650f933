//! Proves that a program's durable calls go on as they came, that a mandate is signed for a call that came through here
//! and for nothing else, and that this door leads nowhere else.

use crate::{
    gateway::{CALL, CODE, shown, task},
    world::{PASSWORD, Program, World, in_time, limits, password},
};
use aws_lc_rs::digest::{SHA256, digest};
use http::StatusCode;
use nightlatch_companion::{Guard, Limits};
use std::time::Duration;
use tokio::time::timeout;

/// As many as the door takes at once.
const PLACES: usize = 4;
const END: i64 = 1_800_000_060_000;

fn asked(method: &str, path: &str, fields: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "{method} http://nightlatch.invalid{path} HTTP/1.1\r\nHost: nightlatch.invalid\r\n{fields}Content-Length: {length}\r\n\r\n{body}"
    )
}

fn post(body: &str) -> String {
    asked("POST", "/v1/calls", "Idempotency-Key: \"one\"\r\nPrefer: wait=5\r\n", body)
}

fn mandate(call: &str) -> String {
    asked("PUT", &format!("/v1/calls/{call}/mandate"), "", &format!("{{\"not_after\":{END}}}"))
}

fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap()
}

fn hash(body: &str) -> String {
    crate::gateway::hex(digest(&SHA256, body.as_bytes()).as_ref())
}

#[tokio::test]
async fn a_call_goes_on_as_it_came_and_its_answer_comes_back() {
    let world = World::new().await;
    let answer = world.asked(&post("{\"tool\":\"x\"}")).await;
    assert_eq!(status(&answer), "202", "{answer}");
    assert!(answer.contains(&format!("\r\nlocation: /v1/calls/{CALL}\r\n")), "{answer}");
    assert!(!answer.contains("x-secret-of-the-gateway"), "{answer}");
    let seen = world.gateway.seen().calls.clone();
    let [(fields, body)] = seen.as_slice() else { panic!("{seen:?}") };
    assert_eq!(body, "{\"tool\":\"x\"}");
    assert!(fields.contains(&("idempotency-key".into(), "\"one\"".into())), "{fields:?}");
    assert!(fields.contains(&("prefer".into(), "wait=5".into())), "{fields:?}");
    let shown = world.asked(&asked("GET", &format!("/v1/calls/{CALL}"), "", "")).await;
    assert_eq!(status(&shown), "200", "{shown}");
    // The task was woken by a signature before, and no tunnel stood.
    let seen = world.gateway.seen();
    assert_eq!((seen.wakes, seen.tunnels.len()), (1, 0));
}

#[tokio::test]
async fn a_mandate_is_signed_for_a_call_that_came_through_and_for_its_bytes() {
    let world = World::new().await;
    let body = "{\"tool\":\"x\"}";
    // Not before it came through.
    world.gateway.seen().shown = Some(shown(1, CALL, &hash(body)));
    assert_eq!(status(&world.asked(&mandate(CALL)).await), "404");
    assert_eq!(world.gateway.seen().mandates, (0, 0));
    world.asked(&post(body)).await;
    let given = world.asked(&mandate(CALL)).await;
    assert_eq!(status(&given), "204", "{given}");
    assert!(!given.contains("content-length"), "{given}");
    assert_eq!(world.gateway.seen().mandates, (1, 0));
    // One that is over needs none.
    world.gateway.seen().shown = Some(serde_json::json!({ "state": "done" }));
    assert_eq!(status(&world.asked(&mandate(CALL)).await), "204");
    assert_eq!(world.gateway.seen().mandates, (1, 0));
}

#[tokio::test]
async fn a_gateway_that_names_other_bytes_another_call_or_another_task_gets_no_signature() {
    let world = World::new().await;
    let body = "{\"tool\":\"x\"}";
    world.asked(&post(body)).await;
    let other = "call_01ARZ3NDEKTSV4RRFFQ69G5FAV";
    for bent in [
        shown(1, CALL, &hash("{\"tool\":\"y\"}")),
        shown(1, CALL, "not a hash"),
        shown(1, other, &hash(body)),
        shown(2, CALL, &hash(body)),
        serde_json::json!({ "mandate": { "call": CALL } }),
    ] {
        world.gateway.seen().shown = Some(bent.clone());
        let answer = world.asked(&mandate(CALL)).await;
        assert!(answer.contains("problems/mandate-rejected"), "{bent}: {answer}");
    }
    for wrong in ["{}", "{\"not_after\":\"x\"}", "{\"not_after\":1,\"signature\":\"x\"}"] {
        let answer = world.asked(&asked("PUT", &format!("/v1/calls/{CALL}/mandate"), "", wrong)).await;
        assert_eq!(status(&answer), "400", "{wrong}");
    }
    assert_eq!(world.gateway.seen().mandates, (0, 0), "nothing was signed");
    world.gateway.seen().shown = Some(shown(1, CALL, &hash(body)));
    assert_eq!(status(&world.asked(&mandate(CALL)).await), "204");
    assert_eq!(task(1), world.gateway.seen().challenge.task);
}

#[tokio::test]
async fn the_door_is_for_durable_calls_alone() {
    let world = World::new().await;
    for (method, path) in [
        ("POST", "/v1/enrol"),
        ("GET", "/v1/wake"),
        ("POST", "/v1/wake"),
        ("POST", "/v1/refusals"),
        ("GET", "/v1/calls"),
        ("DELETE", "/v1/calls/call_01ARZ3NDEKTSV4RRFFQ69G5FAV"),
        ("GET", "/v1/calls/call_01ARZ3NDEKTSV4RRFFQ69G5FAV/../../wake"),
        ("GET", "/v1/calls/x"),
        ("POST", "/v1/calls?x"),
        ("POST", "/v1/callsx"),
        ("GET", "/github/repos"),
        ("GET", "/"),
    ] {
        let answer = world.asked(&asked(method, path, "", "")).await;
        assert_eq!(status(&answer), "404", "{method} {path}: {answer}");
    }
    let long = format!("Content-Length: {}\r\n", 385 * 1024);
    for (fields, expected) in [
        ("Origin: https://evil.example\r\nContent-Length: 0\r\n", "403"),
        ("Sec-Fetch-Site: cross-site\r\nContent-Length: 0\r\n", "403"),
        ("Transfer-Encoding: chunked\r\n", "400"),
        ("Content-Length: 1\r\nContent-Length: 1\r\n", "400"),
        ("Content-Length: +1\r\n", "400"),
        ("Content-Length: 0\r\nIdempotency-Key: \"a\"\r\nidempotency-key: \"b\"\r\n", "400"),
        ("Content-Length: 0\r\nHost: other.example\r\n", "400"),
        (long.as_str(), "413"),
    ] {
        let head = format!("POST http://NIGHTLATCH.invalid:80/v1/calls HTTP/1.1\r\n{fields}\r\n");
        let answer = world.asked(&head).await;
        assert_eq!(status(&answer), expected, "{fields}: {answer}");
    }
    let more = format!("{}more", post("{}"));
    assert_eq!(status(&world.asked(&more).await), "400", "bytes beyond the body are nobody's");
    assert!(world.gateway.seen().calls.is_empty());
    // Any other host under `invalid` is the gateway's to refuse.
    world.asked("GET http://other.invalid/v1/calls HTTP/1.1\r\nHost: other.invalid\r\n\r\n").await;
    assert_eq!(world.gateway.seen().plain.len(), 1);
}

#[tokio::test]
async fn whoever_may_not_use_the_proxy_has_no_door_here() {
    let world = World::with(password(), limits()).await;
    let answer = world.asked(&post("{}")).await;
    assert_eq!(status(&answer), "407");
    assert!(!answer.contains(PASSWORD) && world.gateway.seen().calls.is_empty());
    let other = World::with(Guard { peer_uid: Some(u32::MAX - 1), ..Guard::default() }, limits()).await;
    assert_eq!(status(&other.asked(&post("{}")).await), "403");
    assert!(other.gateway.seen().calls.is_empty());
}

#[tokio::test]
async fn no_mandate_is_signed_for_a_task_that_no_wake_and_no_enrolment_named() {
    let world = World::new().await;
    let body = "{\"tool\":\"x\"}";
    world.gateway.seen().challenge_refused = Some(StatusCode::NOT_FOUND);
    assert_eq!(status(&world.asked(&post(body)).await), "202", "a gateway that takes no signature serves");
    world.gateway.seen().shown = Some(shown(1, CALL, &hash(body)));
    let answer = world.asked(&mandate(CALL)).await;
    assert!(answer.contains("problems/mandate-rejected"), "{answer}");
    assert_eq!(world.gateway.seen().mandates, (0, 0), "nothing was signed");
    // Once it is enrolled, its own task is known.
    world.gateway.seen().challenge_refused = None;
    world.companion.enrol(CODE).await.unwrap();
    assert_eq!(status(&world.asked(&mandate(CALL)).await), "204");
    assert_eq!(world.gateway.seen().mandates, (1, 0));
}

/// Takes each place of the door: what was asked is answered with more than the kernel holds, and not read.
async fn taken_up(world: &World) -> Vec<Program> {
    world.gateway.seen().shown = Some("x".repeat(7 << 20).into());
    let mut readers = Vec::new();
    for _ in 0..PLACES {
        let mut reader = world.program().await;
        reader.send(&asked("GET", &format!("/v1/calls/{CALL}"), "", "")).await;
        assert_eq!(in_time(reader.0.peek(&mut [0])).await.unwrap(), 1, "its answer has begun");
        readers.push(reader);
    }
    readers
}

#[tokio::test]
async fn who_does_not_take_its_answer_keeps_its_place_at_the_door() {
    let world = World::new().await;
    let mut readers = taken_up(&world).await;
    let look = asked("GET", &format!("/v1/calls/{CALL}"), "", "");
    let answer = world.asked(&look).await;
    assert_eq!(status(&answer), "429", "{}", answer.len());
    assert!(
        answer.contains("problems/too-many-calls") && answer.contains("\r\nretry-after: 1\r\n"),
        "{answer}"
    );
    // One that takes it makes room.
    assert_eq!(status(&readers.remove(0).rest().await), "200");
    in_time(async { while status(&world.asked(&look).await) != "200" {} }).await;
}

#[tokio::test]
async fn who_finds_no_place_at_the_door_keeps_that_of_its_head_until_it_is_answered() {
    let world = World::with(Guard::default(), Limits { heads_max: 1, ..limits() }).await;
    let _readers = taken_up(&world).await;
    let look = asked("GET", &format!("/v1/calls/{CALL}"), "", "");
    let (mut refused, mut next) = (world.program().await, world.program().await);
    refused.send(&look).await;
    next.send(&look).await;
    assert_eq!(status(&refused.head().await), "429");
    let waits = timeout(Duration::from_millis(200), next.0.peek(&mut [0])).await;
    assert!(waits.is_err(), "the one place is still held: {waits:?}");
    drop(refused);
    assert_eq!(status(&next.head().await), "429");
}

#[tokio::test]
async fn a_tunnel_to_the_companions_own_host_is_refused_here_and_not_asked_for() {
    let world = World::new().await;
    for host in ["nightlatch.invalid", "Nightlatch.INVALID.", "other.invalid"] {
        let answer = world.asked(&format!("CONNECT {host}:443 HTTP/1.1\r\n\r\n")).await;
        assert_eq!(status(&answer), "403", "{host}: {answer}");
        assert!(answer.contains("problems/companion-only"), "{host}: {answer}");
    }
    assert!(world.gateway.seen().tunnels.is_empty());
    world.tunnel("echo.test:443").await;
    world.tunnel("invalid.echo.test:443").await;
    assert_eq!(world.gateway.seen().tunnels.len(), 2);
}
