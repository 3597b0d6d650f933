//! Proves that a program's durable calls go on as they came, that a mandate is signed for a call that came through here
//! and for nothing else, and that this door leads nowhere else.

use crate::{
    gateway::{CALL, shown, task},
    world::{PASSWORD, World, limits, password},
};
use aws_lc_rs::digest::{SHA256, digest};
use nightlatch_companion::Guard;

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
