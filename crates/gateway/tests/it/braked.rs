//! Calls are braked where they must be, over the real corridor: by limits, by what a provider said, and where
//! they would fail again. A call that is braked reaches no tool and is recorded.

use crate::{
    client::Answer,
    upstream::Reply,
    world::{SECRET, Twist, World},
};
use nightlatch_gateway::{
    Limits,
    brakes::{Of, Pace, Rule},
};
use nightlatch_ledger::record::Entry;
use std::{sync::Arc, time::Duration};
use tokio::sync::Notify;

fn told(answer: &Answer) -> (u16, String, Option<String>, Option<String>, Option<String>) {
    let field = answer.json()["field"].as_str().map(str::to_owned);
    (answer.status, answer.problem(), field, answer.field("retry-after"), answer.field("x-should-retry"))
}

fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

async fn post(world: &World, body: &str) -> Answer {
    let length = format!("Content-Length: {}", body.len());
    let bearer = World::bearer(&world.alice);
    let head = world.request("POST /acme/things", &[&bearer, &length]);
    world.send(&world.alice, &format!("{head}{body}")).await
}

/// The kinds of refusal in the ledger.
async fn refusals(world: &World) -> Vec<String> {
    let all = world.records().await;
    let kind = |entry: &Entry| match entry {
        Entry::Refusal(refusal) => Some(serde_json::to_value(refusal).unwrap()["problem"].to_string()),
        _ => None,
    };
    all.iter().filter_map(|record| kind(&record.entry)).collect()
}

#[tokio::test]
async fn a_limit_that_an_operator_set_is_met_by_that_agent_alone_and_recorded() {
    let rule = Rule {
        of: Of::Agent,
        name: Some("alice".into()),
        // What is told are whole seconds, and never too few.
        interval: Some(Duration::from_millis(4_200)),
        burst: Some(2),
        at_once: None,
    };
    let world = World::twisted(Twist { rules: vec![rule], ..Twist::default() }).await;
    for _ in 0..2 {
        assert_eq!(world.call(&world.alice, "GET /acme/things", &[]).await.status, 200);
    }
    world.tool.take();
    let refused = world.call(&world.alice, "GET /acme/things", &[]).await;
    let expected = (429, "too-many-calls".to_owned(), some("agent.per_second"), some("5"), some("true"));
    assert_eq!(told(&refused), expected);
    assert_eq!(world.tool.count(), 0, "a call that was refused was sent");
    assert_eq!(refusals(&world).await, ["\"too-many-calls\""]);
    assert_eq!(world.call(&world.mallory, "GET /acme/things", &[]).await.status, 200);
    world.clock.forward(Duration::from_secs(5));
    world.still_serves(&world.alice).await;
}

#[tokio::test]
async fn a_slow_agent_keeps_no_place_from_another() {
    let limits = Limits { connection_pace: Pace::per_second(1_000, 1_000, 4), ..Limits::default() };
    let world = World::twisted(Twist { limits: Some(limits), ..Twist::default() }).await;
    let gate = Arc::new(Notify::new());
    let held = Arc::clone(&gate);
    world.tool.answers(move |seen| match seen.line().contains("slow") {
        true => Reply {
            pieces: vec![b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n".to_vec(), b"late".to_vec()],
            gate: Some(Arc::clone(&held)),
            ..Reply::default()
        },
        false => Reply::ok("{}"),
    });
    let mut slow = Vec::new();
    for _ in 0..3 {
        let mut wire = world.connect(&world.alice).await;
        wire.write(world.request("GET /acme/slow", &[&World::bearer(&world.alice)])).await;
        assert!(wire.head().await.unwrap().starts_with("HTTP/1.1 200"));
        slow.push(wire);
    }
    let refused = world.call(&world.alice, "GET /acme/slow", &[]).await;
    assert_eq!(told(&refused).2, some("connection.at_once"));
    assert_eq!(world.call(&world.mallory, "GET /acme/things", &[]).await.status, 200);
    drop(slow);
    let is_free = || async { world.call(&world.alice, "GET /acme/things", &[]).await.status == 200 };
    world.eventually("the places come back", is_free).await;
}

#[tokio::test]
async fn what_a_provider_told_one_agent_holds_for_the_other_and_is_not_asked_again() {
    let world = World::new().await;
    world.tool.answers(|_| Reply::with("429 Too Many Requests", &["Retry-After: 10"], "slow down"));
    let first = world.call(&world.alice, "GET /acme/things", &[]).await;
    assert_eq!((first.status, first.text()), (429, "slow down".to_owned()));
    world.tool.answers(|_| Reply::ok("{}"));
    world.tool.take();
    for actor in [&world.alice, &world.mallory] {
        let refused = world.call(actor, "GET /acme/things", &[]).await;
        let expected = (429, "provider-limit".to_owned(), None, some("10"), some("true"));
        assert_eq!(told(&refused), expected);
    }
    assert_eq!(world.tool.count(), 0, "the provider was asked again");
    world.clock.forward(Duration::from_secs(10));
    world.still_serves(&world.alice).await;
    assert_eq!(world.call(&world.mallory, "GET /acme/things", &[]).await.status, 200);
}

#[tokio::test]
async fn a_403_that_is_no_limit_stops_nothing() {
    let world = World::new().await;
    world.tool.answers(|_| Reply::with("403 Forbidden", &[], "no"));
    assert_eq!(world.call(&world.alice, "GET /acme/a", &[]).await.text(), "no");
    assert_eq!(world.call(&world.alice, "GET /acme/b", &[]).await.text(), "no");
    world.tool.answers(|_| Reply::with("403 Forbidden", &["Retry-After: 7"], "later"));
    assert_eq!(world.call(&world.alice, "GET /acme/c", &[]).await.text(), "later");
    assert_eq!(told(&world.call(&world.alice, "GET /acme/d", &[]).await).3, some("7"));
}

#[tokio::test]
async fn a_request_that_keeps_failing_is_held_back_and_a_changed_one_arrives_whole() {
    let world = World::new().await;
    world.tool.answers(|_| Reply::with("422 Unprocessable", &[], "the title is missing"));
    for _ in 0..3 {
        assert_eq!(post(&world, "{\"a\":1}").await.text(), "the title is missing");
    }
    world.tool.take();
    let refused = post(&world, "{\"a\":1}").await;
    assert_eq!(told(&refused), (429, "repeated-failure".to_owned(), None, some("1"), some("false")));
    assert!(refused.json()["detail"].as_str().unwrap().contains("will fail for the same reason"));
    assert_eq!(world.tool.count(), 0, "a request that was held back was sent");
    assert_eq!(post(&world, "{\"a\":2}").await.status, 422);
    let seen = world.tool.take();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].body, b"{\"a\":2}");
    assert_eq!(seen[0].all("authorization"), [format!("Bearer {SECRET}")]);
    // The same one later.
    world.clock.forward(Duration::from_secs(1));
    assert_eq!(post(&world, "{\"a\":1}").await.status, 422);
    assert_eq!(told(&post(&world, "{\"a\":1}").await).3, some("2"));
}

#[tokio::test]
async fn a_body_that_breaks_off_while_it_is_looked_at_is_never_sent_as_a_whole_one() {
    let limits = Limits { body_idle: Duration::from_millis(50), ..Limits::default() };
    let world = World::twisted(Twist { limits: Some(limits), ..Twist::default() }).await;
    world.tool.answers(|_| Reply::with("422 Unprocessable", &[], ""));
    for _ in 0..3 {
        post(&world, "whole").await;
    }
    world.tool.take();
    let mut wire = world.connect(&world.alice).await;
    let fields = [World::bearer(&world.alice), "Content-Length: 5".to_owned()];
    wire.write(world.request("POST /acme/things", &[&fields[0], &fields[1]])).await;
    wire.write("who").await;
    assert_eq!(wire.answer().await.problem(), "bad-request");
    assert_eq!(world.tool.count(), 0);
}

#[tokio::test]
async fn a_body_that_is_long_or_of_no_stated_length_streams_and_is_never_held_back() {
    let world = World::new().await;
    world.tool.answers(|_| Reply::with("422 Unprocessable", &[], "no"));
    let bearer = World::bearer(&world.alice);
    let chunked = world.request("POST /acme/things", &[&bearer, "Transfer-Encoding: chunked"]);
    for _ in 0..5 {
        let answer = world.send(&world.alice, &format!("{chunked}5\r\nwhole\r\n0\r\n\r\n")).await;
        assert_eq!(answer.status, 422);
    }
    assert_eq!(told(&post(&world, "whole").await).1, "repeated-failure", "it is the very same request");
    assert_eq!(post(&world, &"x".repeat(300 * 1024)).await.status, 422);
}

#[tokio::test]
async fn a_body_that_did_not_leave_whole_is_no_request_that_could_be_told_again() {
    let limits = Limits { body_idle: Duration::from_millis(50), ..Limits::default() };
    let world = World::twisted(Twist { limits: Some(limits), ..Twist::default() }).await;
    for _ in 0..3 {
        let mut wire = world.connect(&world.alice).await;
        let fields = [World::bearer(&world.alice), "Content-Length: 9".to_owned()];
        wire.write(world.request("POST /acme/things", &[&fields[0], &fields[1]])).await;
        wire.write("part").await;
        assert_eq!(wire.answer().await.problem(), "outcome-unknown");
    }
    assert_eq!(post(&world, "part").await.status, 200, "it was never sent before");
}
