//! What may pass does: the exact credential in its place, both protocols, streams both ways, events at once.

use crate::{
    client::empty,
    upstream::Reply,
    world::{SECRET, World},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use nightlatch_ledger::record::Entry;
use std::sync::Arc;
use tokio::sync::Notify;

#[tokio::test]
pub(crate) async fn a_call_leaves_with_the_exact_credential_and_nothing_of_the_reference() {
    let world = World::new().await;
    let answer =
        world.call(&world.alice, "GET /acme/things?a=1", &["Accept: text/plain", "X-Acme-Version: 7"]).await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "{\"fine\":true}"));
    let seen = world.tool.take();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].line(), "GET /things?a=1 HTTP/1.1");
    assert_eq!(seen[0].all("authorization"), [format!("Bearer {SECRET}")]);
    assert_eq!(seen[0].all("host"), ["api.acme.test"]);
    assert_eq!(
        (seen[0].all("accept"), seen[0].all("x-acme-version")),
        (vec!["text/plain".into()], vec!["7".into()])
    );
    assert_eq!(seen[0].all("accept-encoding"), ["identity"]);
    assert!(!seen[0].head.contains("nlr_"));
}

#[tokio::test]
pub(crate) async fn each_placement_is_rendered_as_the_seal_says() {
    let world = World::new().await;
    assert_eq!(world.call(&world.alice, "GET /acme/~basic/basic/x", &[]).await.status, 200);
    assert_eq!(world.call(&world.alice, "GET /acme/~header/header/x", &[]).await.status, 200);
    let seen = world.tool.take();
    let pair = STANDARD.encode(format!("robot:{SECRET}"));
    assert_eq!(seen[0].all("authorization"), [format!("Basic {pair}")]);
    assert_eq!(seen[1].all("x-acme-key"), [format!("key={SECRET}")]);
    assert!(seen[1].all("authorization").is_empty());
}

#[tokio::test]
pub(crate) async fn the_reference_is_taken_in_each_place_that_the_host_accepts() {
    let world = World::new().await;
    let reference = &world.alice.reference;
    let basic = format!("Authorization: Basic {}", STANDARD.encode(format!("whoever:{reference}")));
    for field in [format!("authorization: bearer {reference}"), basic, format!("X-Api-Key: {reference}")] {
        let answer = world.send(&world.alice, &world.request("GET /acme/things", &[&field])).await;
        assert_eq!(answer.status, 200, "{field}");
        let seen = world.tool.take();
        assert_eq!(seen[0].all("authorization"), [format!("Bearer {SECRET}")]);
        assert!(seen[0].all("x-api-key").is_empty() && !seen[0].head.contains("nlr_"));
    }
}

#[tokio::test]
pub(crate) async fn every_call_has_one_intent_and_one_outcome() {
    let world = World::new().await;
    let line = "POST /acme/things";
    let answer = world.call(&world.alice, &format!("{line}?q=hidden"), &["Content-Length: 0"]).await;
    assert_eq!(answer.status, 200);
    world
        .eventually("an outcome", || async {
            world.records().await.iter().any(|record| matches!(record.entry, Entry::Outcome(_)))
        })
        .await;
    let records = world.records().await;
    let calls: Vec<_> = records.iter().filter(|record| record.entry.call().is_some()).collect();
    assert_eq!(calls.len(), 2, "{calls:?}");
    let Entry::Intent(intent) = &calls[0].entry else { panic!("{calls:?}") };
    let Entry::Outcome(outcome) = &calls[1].entry else { panic!("{calls:?}") };
    assert_eq!(answer.field("nightlatch-call"), Some(intent.call.to_string()));
    assert_eq!((intent.agent, intent.grant), (world.alice.agent, world.alice.grant));
    assert_eq!((outcome.intent, outcome.status, outcome.complete), (calls[0].seq, Some(200), true));
    assert!(!serde_json::to_string(&records).unwrap().contains("hidden"));
}

#[tokio::test]
pub(crate) async fn http2_carries_calls_side_by_side() {
    let world = World::new().await;
    let mut dial = world.dial(Some(&world.alice.identity));
    dial.alpn = &["h2"];
    let sender = dial.connect().await.unwrap().http2::<Full<Bytes>>().await;
    let calls = (0..20).map(|number| {
        let mut sender = sender.clone();
        let request = Request::post(format!("https://{}/acme/things/{number}", world.host()))
            .header("authorization", format!("Bearer {}", world.alice.reference))
            .body(Full::new(Bytes::from(format!("body {number}"))))
            .unwrap();
        async move {
            let answer = sender.send_request(request).await.unwrap();
            (answer.status().as_u16(), answer.into_body().collect().await.unwrap().to_bytes())
        }
    });
    let calls: Vec<_> = calls.map(tokio::spawn).collect();
    for call in calls {
        assert_eq!(call.await.unwrap(), (200, Bytes::from_static(b"{\"fine\":true}")));
    }
    let seen = world.tool.take();
    assert_eq!(seen.len(), 20);
    for call in &seen {
        assert_eq!(call.all("authorization"), [format!("Bearer {SECRET}")]);
        assert!(call.body.starts_with(b"body "));
    }
    assert_eq!((world.keeper.count("wake"), world.keeper.count("lease")), (1, 1));
}

#[tokio::test]
pub(crate) async fn an_event_reaches_its_reader_before_the_next_one_is_written() {
    let world = World::new().await;
    let gate = Arc::new(Notify::new());
    let held = Arc::clone(&gate);
    world.tool.answers(move |_| Reply {
        pieces: vec![
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\nb\r\ndata: one\n\n\r\n".to_vec(),
            b"b\r\ndata: two\n\n\r\n0\r\n\r\n".to_vec(),
        ],
        gate: Some(Arc::clone(&held)),
        ..Reply::default()
    });
    let mut wire = world.connect(&world.alice).await;
    wire.write(world.request("GET /acme/events", &[&World::bearer(&world.alice)])).await;
    assert!(wire.head().await.unwrap().starts_with("HTTP/1.1 200"));
    assert_eq!(wire.chunk().await.unwrap(), b"data: one\n\n");
    gate.notify_one();
    assert_eq!(wire.chunk().await.unwrap(), b"data: two\n\n");
}

#[tokio::test]
pub(crate) async fn large_bodies_pass_whole_in_both_directions() {
    let world = World::new().await;
    let size = 8 << 20;
    world.tool.answers(move |seen| Reply::ok(&format!("{}{}", seen.body.len(), "x".repeat(size))));
    let mut wire = world.connect(&world.alice).await;
    wire.write(
        world.request(
            "POST /acme/upload",
            &[&World::bearer(&world.alice), &format!("Content-Length: {size}")],
        ),
    )
    .await;
    wire.write(vec![b'u'; size]).await;
    let answer = wire.answer().await;
    assert!(answer.whole && answer.body.len() == size + 7);
    assert!(answer.body.starts_with(size.to_string().as_bytes()));
    world.eventually("an outcome", || async {
        world.records().await.iter().any(|record| matches!(&record.entry, Entry::Outcome(outcome) if outcome.complete && outcome.sent_bytes == size as u64))
    })
    .await;
}

#[tokio::test]
pub(crate) async fn expect_is_answered_after_the_decision_and_goes_no_further() {
    let world = World::new().await;
    let mut wire = world.connect(&world.alice).await;
    let fields = [World::bearer(&world.alice), "Content-Length: 4".into(), "Expect: 100-continue".into()];
    let fields: Vec<&str> = fields.iter().map(String::as_str).collect();
    wire.write(world.request("POST /acme/things", &fields)).await;
    assert_eq!(wire.answer().await.status, 100);
    wire.write("body").await;
    assert_eq!(wire.answer().await.status, 200);
    let seen = world.tool.take();
    assert!(seen[0].all("expect").is_empty() && seen[0].body == b"body");
    // A call that is denied is not invited to send its body.
    let mut wire = world.connect(&world.alice).await;
    wire.write(world.request("GET /acme/secrets/x", &fields)).await;
    assert_eq!(wire.answer().await.problem(), "policy-denied");
}

#[tokio::test]
pub(crate) async fn two_hundred_calls_wake_once_and_lease_once() {
    let world = World::new().await;
    let mut dial = world.dial(Some(&world.alice.identity));
    dial.alpn = &["h2"];
    let sender = dial.connect().await.unwrap().http2().await;
    let calls: Vec<_> = (0..200)
        .map(|_| {
            let mut sender = sender.clone();
            let request = Request::get(format!("https://{}/acme/things", world.host()))
                .header("authorization", format!("Bearer {}", world.alice.reference))
                .body(empty())
                .unwrap();
            tokio::spawn(async move { sender.send_request(request).await.unwrap().status().as_u16() })
        })
        .collect();
    for call in calls {
        assert_eq!(call.await.unwrap(), 200);
    }
    assert_eq!(
        (world.keeper.count("challenge"), world.keeper.count("wake"), world.keeper.count("lease")),
        (1, 1, 1)
    );
    assert_eq!(world.tool.count(), 200);
}
