//! Handshakes: each that is not sound is refused, and nothing of the agent goes up before the tool has agreed.

use super::{KEY, SOUND, accepted, echoing, frames, going_on, handshake, live, masked, open, switching};
use crate::{
    client::Answer,
    upstream::Reply,
    world::{SECRET, World},
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::Poll,
    time::Duration,
};
use tokio::{
    io::{AsyncRead as _, AsyncWriteExt as _, ReadBuf},
    sync::Notify,
};

/// A handshake with one field changed, added or, where it is empty, left out.
fn changed(name: &str, fields: &[&str]) -> Vec<String> {
    let kept = SOUND.iter().filter(|field| !field.starts_with(name));
    kept.chain(fields).map(|field| (*field).to_owned()).collect()
}

async fn attacked(world: &World, line: &str, fields: &[String]) -> Answer {
    let bearer = World::bearer(&world.alice);
    let fields: Vec<&str> =
        std::iter::once(bearer.as_str()).chain(fields.iter().map(String::as_str)).collect();
    world.attack(&world.alice, &world.request(line, &fields)).await
}

fn field(answer: &Answer) -> String {
    answer.json()["field"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test]
pub(crate) async fn an_unsound_handshake_is_refused_by_its_field() {
    let world = World::new().await;
    live(&world, echoing());
    let line = "GET /acme/live/x";
    for (line, fields, problem, fault) in [
        (line, changed("Upgrade", &["Upgrade: h2c"]), "not-supported", "upgrade"),
        (line, changed("Upgrade", &["Upgrade: websocket, h2c"]), "not-supported", "upgrade"),
        (line, changed("Upgrade", &["Upgrade: websocket", "Upgrade: websocket"]), "not-supported", "upgrade"),
        ("POST /acme/live/x", changed("-", &[]), "bad-request", "method"),
        (line, changed("Connection", &[]), "bad-request", "connection"),
        (line, changed("Connection", &["Connection: keep-alive"]), "bad-request", "connection"),
        (line, changed("Sec-WebSocket-Version", &[]), "bad-request", "sec-websocket-version"),
        (
            line,
            changed("Sec-WebSocket-Version", &["Sec-WebSocket-Version: 8"]),
            "not-supported",
            "sec-websocket-version",
        ),
        (line, changed("-", &["Sec-WebSocket-Version: 13"]), "bad-request", "sec-websocket-version"),
        (line, changed("Sec-WebSocket-Key", &[]), "bad-request", "sec-websocket-key"),
        (
            line,
            changed("-", &["Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="]),
            "bad-request",
            "sec-websocket-key",
        ),
        (
            line,
            changed("Sec-WebSocket-Key", &["Sec-WebSocket-Key: AAAA"]),
            "bad-request",
            "sec-websocket-key",
        ),
        (
            line,
            changed("Sec-WebSocket-Key", &["Sec-WebSocket-Key: not base64 of 16 bytes"]),
            "bad-request",
            "sec-websocket-key",
        ),
        (line, changed("-", &["Content-Length: 0"]), "bad-request", "content-length"),
        (line, changed("-", &["Expect: 100-continue"]), "bad-request", "expect"),
        (line, changed("-", &["Sec-WebSocket-Protocol: a b"]), "bad-request", "sec-websocket-protocol"),
        (line, changed("-", &["Sec-WebSocket-Protocol: a,, b"]), "bad-request", "sec-websocket-protocol"),
        (line, changed("-", &["Sec-WebSocket-Protocol: a, a"]), "bad-request", "sec-websocket-protocol"),
    ] {
        let answer = attacked(&world, line, &fields).await;
        assert_eq!(
            (answer.problem().as_str(), field(&answer).as_str()),
            (problem, fault),
            "{line} {fields:?}"
        );
        assert_eq!(answer.field("connection").as_deref(), Some("close"), "{fields:?}");
        let version = (fault == "sec-websocket-version").then_some("13");
        assert_eq!(answer.field("sec-websocket-version").as_deref(), version, "{fields:?}");
    }
}

#[tokio::test]
async fn the_handshake_is_http_1_1() {
    let world = World::new().await;
    live(&world, echoing());
    let mut wire = world.connect(&world.alice).await;
    wire.write(handshake(&world, &world.alice, &[]).replace("HTTP/1.1", "HTTP/1.0")).await;
    let answer = wire.answer().await;
    assert_eq!((answer.problem().as_str(), field(&answer).as_str()), ("not-supported", "upgrade"));
    assert_eq!(world.tool.count(), 0);
    drop(open(&world, &world.alice).await);
}

#[tokio::test]
pub(crate) async fn one_that_no_manifest_lists_is_not_supported() {
    let world = World::new().await;
    live(&world, echoing());
    for line in
        ["GET /acme/things", "GET /acme/Live/x", "GET /acme/live/x/", "GET /acme/secrets/x", "GET /acme/"]
    {
        let answer = attacked(&world, line, &changed("-", &[])).await;
        assert_eq!(
            (answer.problem().as_str(), field(&answer).as_str()),
            ("not-supported", "upgrade"),
            "{line}"
        );
        assert_eq!(answer.field("connection").as_deref(), Some("close"));
    }
    // A plain call of a path that is listed as a WebSocket is what the manifest says of unlisted ones.
    assert_eq!(world.call(&world.alice, "GET /acme/things", &[]).await.status, 200);
}

#[tokio::test]
async fn our_own_paths_are_no_websockets() {
    let world = World::new().await;
    for line in ["GET /v1/trust", "GET /v1/wake"] {
        let answer = attacked(&world, line, &changed("-", &[])).await;
        assert_eq!(answer.problem(), "not-supported", "{line}");
    }
}

#[tokio::test]
async fn without_a_reference_there_is_the_challenge_and_no_switch() {
    let world = World::new().await;
    live(&world, echoing());
    let mut wire = world.connect(&world.alice).await;
    wire.write(world.request("GET /acme/live/x", &SOUND)).await;
    let answer = wire.answer().await;
    assert_eq!(
        (answer.status, answer.field("www-authenticate").as_deref()),
        (401, Some("Basic realm=\"Acme\""))
    );
    assert_eq!(world.tool.count(), 0);
}

#[tokio::test]
async fn a_subprotocol_passes_and_a_credential_in_one_does_not() {
    let world = World::new().await;
    world.tool.answers(|seen| match seen.line().contains("/live/") {
        true => Reply {
            goes_on: Some(echoing()),
            ..Reply::of(switching(seen, &["Sec-WebSocket-Protocol: chat.v2", "Sec-WebSocket-Junk: 1"]))
        },
        false => Reply::ok("fine"),
    });
    let mut wire = world.connect(&world.alice).await;
    wire.write(handshake(&world, &world.alice, &["Sec-WebSocket-Protocol: chat.v1,chat.v2"])).await;
    let head = wire.head().await.unwrap().to_ascii_lowercase();
    assert!(
        head.starts_with("http/1.1 101") && head.contains("sec-websocket-protocol: chat.v2\r\n"),
        "{head}"
    );
    assert!(!head.contains("junk"), "{head}");
    assert_eq!(world.tool.take()[0].all("sec-websocket-protocol"), ["chat.v1, chat.v2"]);
    let reference = world.alice.reference.clone();
    for offered in [
        reference.clone(),
        format!("chat, openai-insecure-api-key.{reference}"),
        "realtime, openai-insecure-api-key.sk-other".to_owned(),
        "base64url.bearer.authorization.k8s.io.b3RoZXI".to_owned(),
        "Bearer, other".to_owned(),
    ] {
        let field_sent = format!("Sec-WebSocket-Protocol: {offered}");
        let answer = attacked(&world, "GET /acme/live/x", &changed("-", &[&field_sent])).await;
        let told = (answer.problem(), field(&answer));
        assert_eq!(told, ("second-credential".to_owned(), "sec-websocket-protocol".to_owned()), "{offered}");
        assert!(!answer.text().contains(&reference));
    }
}

#[tokio::test]
async fn what_a_tool_says_of_its_limits_as_it_switches_is_heard() {
    let world = World::new().await;
    world.tool.answers(|seen| match seen.line().contains("/live/") {
        true => Reply {
            goes_on: Some(echoing()),
            ..Reply::of(switching(seen, &["X-RateLimit-Remaining: 0", "X-RateLimit-Reset: 30"]))
        },
        false => Reply::ok("fine"),
    });
    let _first = open(&world, &world.alice).await;
    let answer = world.send(&world.alice, &handshake(&world, &world.alice, &[])).await;
    assert_eq!(
        (answer.problem().as_str(), answer.field("retry-after").as_deref()),
        ("provider-limit", Some("30"))
    );
    world.clock.forward(Duration::from_secs(30));
    drop(open(&world, &world.alice).await);
}

#[tokio::test]
pub(crate) async fn a_page_of_another_site_is_refused() {
    let world = World::new().await;
    live(&world, echoing());
    for page in ["Origin: https://evil.test", "Origin: null", "Sec-Fetch-Site: cross-site"] {
        let answer = attacked(&world, "GET /acme/live/x", &changed("-", &[page])).await;
        assert_eq!(answer.problem(), "cross-site", "{page}");
    }
    drop(open(&world, &world.alice).await);
}

#[tokio::test]
pub(crate) async fn no_byte_goes_to_the_tool_before_its_101() {
    let world = World::new().await;
    let (gate, early) = (Arc::new(Notify::new()), Arc::new(AtomicUsize::new(0)));
    let (held, counted) = (Arc::clone(&gate), Arc::clone(&early));
    world.tool.answers(move |seen| {
        let (held, counted, answer) = (Arc::clone(&held), Arc::clone(&counted), switching(seen, &[]));
        let goes_on = going_on(move |mut stream, unread| {
            let (held, counted, answer) = (Arc::clone(&held), Arc::clone(&counted), answer.clone());
            Box::pin(async move {
                held.notified().await;
                let mut buffer = [0; 1024];
                let mut buffer = ReadBuf::new(&mut buffer);
                // Whatever has come by now is there to be read.
                let polled = std::future::poll_fn(|context| {
                    Poll::Ready(std::pin::Pin::new(&mut stream).poll_read(context, &mut buffer).is_ready())
                });
                let came = usize::from(polled.await);
                counted.store(unread.len() + came, Ordering::SeqCst);
                stream.write_all(answer.as_bytes()).await.unwrap();
                stream.flush().await.unwrap();
                echoing()(stream, Vec::new()).await;
            })
        });
        match seen.line().contains("/live/") {
            true => Reply { goes_on: Some(goes_on), ..Reply::default() },
            false => Reply::ok("fine"),
        }
    });
    let mut wire = world.connect(&world.alice).await;
    let early_frames = masked(0x81, b"too early");
    wire.write(handshake(&world, &world.alice, &[])).await;
    wire.write(&early_frames).await;
    world.eventually("the tool is asked", || async { world.tool.count() == 1 }).await;
    // By the time that another call has gone all the way, these bytes would have, too.
    world.still_serves(&world.alice).await;
    gate.notify_one();
    assert!(wire.head().await.unwrap().starts_with("HTTP/1.1 101"));
    assert_eq!(frames::message(&mut wire).await, Some((1, b"too early".to_vec())));
    assert_eq!(early.load(Ordering::SeqCst), 0, "bytes of the agent were at the tool before its 101");
}

#[tokio::test]
pub(crate) async fn an_answer_that_is_no_switch_is_shown_and_what_came_early_is_no_request() {
    for status in ["400 Bad Request", "200 OK", "426 Upgrade Required", "302 Found"] {
        let world = World::new().await;
        let fields = [format!("X-Echo: {SECRET}"), "Location: https://evil.test/".to_owned()];
        world.tool.answers(move |_| {
            Reply::with(status, &fields.each_ref().map(String::as_str), &format!("no: {SECRET}"))
        });
        let mut wire = world.connect(&world.alice).await;
        let smuggled = world.request("GET /acme/smuggled", &[&World::bearer(&world.alice)]);
        wire.write(handshake(&world, &world.alice, &[]) + &smuggled).await;
        let answer = wire.answer().await;
        assert_eq!((answer.status, answer.whole), (status[..3].parse().unwrap(), true), "{answer:?}");
        assert!(!answer.head.contains("CANARY") && !answer.text().contains("CANARY"), "{answer:?}");
        assert_eq!(answer.text(), format!("no: {}", "*".repeat(SECRET.len())));
        assert!(wire.is_closed().await, "{status}: the connection goes on");
        assert_eq!(
            (world.tool.count(), world.evil.count()),
            (1, 0),
            "what came early was taken for a request"
        );
    }
}

#[tokio::test]
async fn a_tool_that_answers_something_else_than_it_was_asked_is_refused() {
    let sound = |key: &str| accepted(key);
    for (fields, fault) in [
        (
            vec![
                "Upgrade: websocket",
                "Connection: Upgrade",
                "Sec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=",
            ],
            "sec-websocket-accept",
        ),
        (vec!["Upgrade: websocket", "Connection: Upgrade"], "sec-websocket-accept"),
        (vec!["Upgrade: h2c", "Connection: Upgrade", "ACCEPT"], "upgrade"),
        (vec!["Connection: Upgrade", "ACCEPT"], "upgrade"),
        (vec!["Upgrade: websocket", "ACCEPT"], "connection"),
        (
            vec![
                "Upgrade: websocket",
                "Connection: Upgrade",
                "ACCEPT",
                "Sec-WebSocket-Extensions: permessage-deflate",
            ],
            "sec-websocket-extensions",
        ),
        (
            vec!["Upgrade: websocket", "Connection: Upgrade", "ACCEPT", "Sec-WebSocket-Protocol: unasked"],
            "sec-websocket-protocol",
        ),
    ] {
        let world = World::new().await;
        let lines = fields.clone();
        world.tool.answers(move |seen| {
            let key = seen.all("sec-websocket-key").pop().unwrap_or_default();
            let lines: String = lines
                .iter()
                .map(|line| match *line {
                    "ACCEPT" => format!("Sec-WebSocket-Accept: {}\r\n", sound(&key)),
                    line => format!("{line}\r\n"),
                })
                .collect();
            match seen.line().contains("/live/") {
                true => Reply {
                    goes_on: Some(echoing()),
                    ..Reply::of(format!("HTTP/1.1 101 Switching Protocols\r\n{lines}\r\n"))
                },
                false => Reply::ok("fine"),
            }
        });
        // Extensions are offered by nearly every client, and are not handed on.
        let offers = changed("-", &["Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"]);
        let before = world.decisions().await.len();
        let bearer = World::bearer(&world.alice);
        let all: Vec<&str> =
            std::iter::once(bearer.as_str()).chain(offers.iter().map(String::as_str)).collect();
        let answer = world.send(&world.alice, &world.request("GET /acme/live/x", &all)).await;
        assert_eq!(
            (answer.problem().as_str(), field(&answer).as_str()),
            ("outcome-unknown", fault),
            "{fields:?}"
        );
        assert!(world.tool.take()[0].all("sec-websocket-extensions").is_empty());
        world.holds(&world.alice, before, &answer).await;
    }
}

/// The key that an agent sends proves nothing about a tool: one that answers it did not answer ours.
#[tokio::test]
async fn the_answer_to_the_agents_own_key_is_no_answer_to_ours() {
    let world = World::new().await;
    world.tool.answers(|_| {
        Reply::of(format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {}\r\n\r\n",
            accepted(KEY)
        ))
    });
    let answer = world.send(&world.alice, &handshake(&world, &world.alice, &[])).await;
    assert_eq!(field(&answer), "sec-websocket-accept");
}
