//! Proves that events (text/event-stream) are scrubbed however they are cut, and that none waits for the next.

use crate::{
    client::Wire,
    upstream::Reply,
    world::{SECRET, World},
};
use std::sync::Arc;
use tokio::sync::Notify;

/// One chunk (RFC 9112 §7.1).
fn chunk(text: &str) -> Vec<u8> {
    format!("{:x}\r\n{text}\r\n", text.len()).into_bytes()
}

/// Reads until an event is whole.
async fn event(wire: &mut Wire) -> String {
    let mut read = String::new();
    while !read.ends_with("\n\n") {
        read.push_str(&String::from_utf8(wire.chunk().await.expect("an event")).unwrap());
    }
    read
}

#[tokio::test]
pub(crate) async fn an_echoed_secret_in_an_event_is_masked_over_chunks_and_no_event_waits_for_the_next() {
    let (left, right) = SECRET.split_at(12);
    let world = World::new().await;
    let gate = Arc::new(Notify::new());
    let held = Arc::clone(&gate);
    let head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    let pieces = vec![
        [&head[..], &chunk("id: 1\ndata: first\n\n")].concat(),
        chunk(&format!("id: 2\ndata: {left}")),
        chunk(&format!("{right}\n\n")),
        // Its end could be the beginning of a secret, and its event is over all the same.
        chunk(&format!("data: {left}\n\n")),
        [chunk(&format!("data: {SECRET}\n")), chunk(&format!("data: {SECRET}\n\n")), chunk("")].concat(),
    ];
    world.tool.answers(move |seen| match seen.line().contains("/events") {
        true => Reply { pieces: pieces.clone(), gate: Some(Arc::clone(&held)), ..Reply::default() },
        false => Reply::ok("fine"),
    });
    let mut wire = world.connect(&world.alice).await;
    wire.write(world.request("GET /acme/events", &[&World::bearer(&world.alice)])).await;
    assert!(wire.head().await.unwrap().starts_with("HTTP/1.1 200"));
    let stars = "*".repeat(SECRET.len());
    assert_eq!(event(&mut wire).await, "id: 1\ndata: first\n\n");
    gate.notify_one();
    // What is certain of the second event is there before its rest is written.
    let begun = String::from_utf8(wire.chunk().await.expect("the beginning of an event")).unwrap();
    assert!(begun.starts_with("id: 2") && !begun.contains("CANARY"), "{begun:?}");
    gate.notify_one();
    assert_eq!(begun + &event(&mut wire).await, format!("id: 2\ndata: {stars}\n\n"));
    gate.notify_one();
    let third = event(&mut wire).await;
    assert!(third.starts_with("data: ") && third.len() == 8 + left.len(), "{third:?}");
    gate.notify_one();
    assert_eq!(event(&mut wire).await, format!("data: {stars}\ndata: {stars}\n\n"));
}
