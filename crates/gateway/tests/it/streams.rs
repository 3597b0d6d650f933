//! Framing over HTTP/2: what one could write into HTTP/1.1 by way of it, what contradicts itself, and floods of frames.

use crate::{
    frames::{
        CONTINUATION, DATA, END_HEADERS, END_STREAM, End, Frames, HEADERS, PING, RST_STREAM, SETTINGS, block,
    },
    world::{SECRET, Twist, World},
};
use nightlatch_domain::task::TaskState;
use nightlatch_gateway::Limits;
use nightlatch_ledger::record::Entry;
use std::time::Duration;
use tokio::time::timeout;

const SOON: Duration = Duration::from_secs(10);
/// As many frames as an attacker sends in a second or so.
const MANY: usize = 20_000;

async fn frames(world: &World) -> Frames {
    let mut dial = world.dial(Some(&world.alice.identity));
    dial.alpn = &["h2"];
    Frames::begin(dial.connect().await.unwrap()).await
}

/// The four that a request has, with a path and the reference.
struct Ask {
    authority: String,
    bearer: String,
}

impl Ask {
    fn of(world: &World) -> Self {
        Self { authority: world.host(), bearer: format!("Bearer {}", world.alice.reference) }
    }

    fn fields<'a>(&'a self, method: &'a str, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
        let pseudo = [(":method", method), (":scheme", "https"), (":authority", &self.authority)];
        let all =
            pseudo.into_iter().chain([(":path", "/acme/things"), ("authorization", self.bearer.as_str())]);
        all.chain(more.iter().copied()).collect()
    }

    /// With another value in one of them.
    fn with<'a>(&'a self, name: &'a str, value: &'a str) -> Vec<(&'a str, &'a str)> {
        let fields = self.fields("GET", &[]);
        fields.into_iter().map(|field| if field.0 == name { (name, value) } else { field }).collect()
    }
}

#[tokio::test]
async fn an_ordinary_request_passes_frame_by_frame() {
    let world = World::new().await;
    let (ask, mut frames) = (Ask::of(&world), frames(&world).await);
    frames.ask(1, &ask.fields("POST", &[("content-length", "3")]), false).await;
    frames.send(DATA, END_STREAM, 1, b"abc").await;
    assert!(matches!(frames.end_of(1).await, End::Answered(_)));
    let seen = world.tool.take();
    assert_eq!((seen[0].line(), &seen[0].body[..]), ("POST /things HTTP/1.1", &b"abc"[..]));
    assert_eq!(seen[0].all("authorization"), [format!("Bearer {SECRET}")]);
}

#[tokio::test]
async fn nothing_can_be_written_into_http11_by_way_of_a_field() {
    let world = World::new().await;
    let ask = Ask::of(&world);
    let twice = (":path", "/acme/things");
    for more in [
        ("x-a", "b\r\nTransfer-Encoding: chunked"),
        ("x-a", "b\nX-B: c"),
        ("x-a", "b\rc"),
        ("x-a", "b\0c"),
        ("x-a\r\nx-b", "c"),
        ("x-a: b\r\nx-b", "c"),
        ("x a", "b"),
        ("X-A", "b"),
        ("", "b"),
        ("connection", "x-a"),
        ("connection", "authorization"),
        ("keep-alive", "5"),
        ("proxy-connection", "keep-alive"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "websocket"),
        ("te", "gzip"),
        // Pseudo fields: twice, behind the others, of an answer, of nobody.
        twice,
        (":method", "GET"),
        (":authority", "evil.test"),
        (":status", "200"),
        (":other", "x"),
        // What HTTP/2 lets through, and HTTP/1.1 could not say.
        ("host", "evil.test"),
    ] {
        refused(&world, &ask.fields("GET", &[more])).await;
    }
    refused(&world, &ask.fields("GET", &[("host", &ask.authority), ("host", &ask.authority)])).await;
    refused(&world, &ask.fields("GET", &[("content-length", "0"), ("content-length", "0")])).await;
    world.no_canary_at_rest();
}

#[tokio::test]
async fn nothing_can_be_written_into_http11_by_way_of_the_request_line() {
    let world = World::new().await;
    let ask = Ask::of(&world);
    for (name, value) in [
        (":path", "/acme/things HTTP/1.1\r\nHost: evil.test\r\nX-A: b"),
        (":path", "/acme/things x"),
        (":path", "/acme/things\tx"),
        (":path", "/acme/things\0"),
        (":path", "/acme/th\u{e9}ngs"),
        (":path", "acme/things"),
        (":path", "*"),
        (":path", ""),
        (":path", "https://evil.test/acme/things"),
        (":method", "GET /acme/other HTTP/1.1\r\nX-A:"),
        (":method", "GE T"),
        (":method", ""),
        (":scheme", "http\r\n"),
        (":authority", "127.0.0.1\r\nX-A: b"),
        (":authority", "u:p@127.0.0.1"),
        (":authority", "evil.test"),
        (":authority", ""),
    ] {
        refused(&world, &ask.with(name, value)).await;
    }
    for missing in [":method", ":scheme", ":path", ":authority"] {
        let fields: Vec<_> = ask.fields("GET", &[]).into_iter().filter(|field| field.0 != missing).collect();
        refused(&world, &fields).await;
    }
}

/// No answer but a refusal, at most one decision, nothing at the tool; and others are served.
async fn refused(world: &World, fields: &[(&str, &str)]) {
    let before = world.decisions().await.len();
    world.tool.take();
    let mut frames = frames(world).await;
    frames.ask(1, fields, true).await;
    let end = timeout(SOON, frames.end_of(1)).await.expect("no end");
    // What is no request at all the library resets, without our hearing of it.
    let (problem, more) = (end.problem(), world.decisions().await.len() - before);
    assert_eq!(more, usize::from(problem.is_some()), "{fields:?}: {end:?}");
    let kinds = ["bad-request", "misdirected-request", "not-supported"];
    assert!(problem.as_deref().is_none_or(|problem| kinds.contains(&problem)), "{fields:?}: {problem:?}");
    assert_eq!(world.tool.count(), 0, "{fields:?}");
    world.still_serves(&world.alice).await;
}

/// The library cuts it off before anybody sees it; what is decided on is what is sent.
#[tokio::test]
async fn a_fragment_over_http2_goes_no_further() {
    let world = World::new().await;
    let (ask, mut frames) = (Ask::of(&world), frames(&world).await);
    frames.ask(1, &ask.with(":path", "/acme/things#/../secrets/x"), true).await;
    assert!(matches!(frames.end_of(1).await, End::Answered(_)));
    assert_eq!(world.tool.take()[0].line(), "GET /things HTTP/1.1");
}

#[tokio::test]
async fn a_length_that_is_not_that_of_the_data_ends_the_call() {
    let world = World::new().await;
    let ask = Ask::of(&world);
    for (length, data) in
        [("5", &b"abc"[..]), ("3", b"abcGET /acme/smuggled"), ("3", b""), ("+3", b"abc"), ("3 ", b"abc")]
    {
        let mut frames = frames(&world).await;
        frames.ask(1, &ask.fields("POST", &[("content-length", length)]), false).await;
        frames.send(DATA, END_STREAM, 1, data).await;
        let end = timeout(SOON, frames.end_of(1)).await.expect("no end");
        let is_answered = matches!(&end, End::Answered(_)) && end.problem().is_none();
        assert!(!is_answered, "{length} {data:?}: {end:?}");
        let whole =
            world.tool.take().iter().any(|seen| seen.all("content-length") == [seen.body.len().to_string()]);
        assert!(!whole, "{length} {data:?}");
        world.still_serves(&world.alice).await;
        world.tool.take();
    }
}

#[tokio::test]
async fn a_flood_of_fields_is_refused_over_http2_too() {
    let world = World::new().await;
    let ask = Ask::of(&world);
    let names: Vec<String> = (0..200).map(|number| format!("x-{number}")).collect();
    let many: Vec<_> = names.iter().map(|name| (name.as_str(), "b")).collect();
    let before = world.decisions().await.len();
    let mut wire = frames(&world).await;
    wire.ask(1, &ask.fields("GET", &many), true).await;
    assert_eq!(wire.end_of(1).await.problem().as_deref(), Some("too-large"));
    assert_eq!((world.tool.count(), world.decisions().await.len()), (0, before + 1));
    // Past the length of a head, the library answers.
    let long = "x".repeat(1000);
    let long: Vec<_> = names.iter().map(|name| (name.as_str(), long.as_str())).collect();
    let (fields, mut wire) = (block(&ask.fields("GET", &long)), frames(&world).await);
    let pieces: Vec<_> = fields.chunks(16 * 1024).collect();
    for (place, piece) in pieces.iter().enumerate() {
        let kind = if place == 0 { HEADERS } else { CONTINUATION };
        let flags =
            if place + 1 == pieces.len() { END_HEADERS } else { 0 } | if place == 0 { END_STREAM } else { 0 };
        wire.send(kind, flags, 1, piece).await;
    }
    let end = timeout(SOON, wire.end_of(1)).await.expect("no end");
    assert!(!matches!(&end, End::Answered(body) if !body.is_empty()), "{end:?}");
    assert_eq!(world.tool.count(), 0);
    world.still_serves(&world.alice).await;
}

#[tokio::test]
async fn fields_that_never_end_end_their_connection() {
    let world = World::new().await;
    let (ask, mut frames) = (Ask::of(&world), frames(&world).await);
    frames.send(HEADERS, END_STREAM, 1, &block(&ask.fields("GET", &[]))).await;
    let mut sent = 0;
    let flood = async {
        let more = block(&[("x-a", &"b".repeat(16_000))]);
        while sent < MANY && frames.send(CONTINUATION, 0, 1, &more).await {
            sent += 1;
        }
    };
    timeout(SOON, flood).await.expect("it is read without end");
    assert!(sent < MANY, "so many were taken");
    world.still_serves(&world.alice).await;
    assert_eq!(world.tool.take().len(), 0);
}

#[tokio::test]
async fn empty_continuations_end_their_connection() {
    let world = World::new().await;
    let (ask, mut frames) = (Ask::of(&world), frames(&world).await);
    frames.send(HEADERS, END_STREAM, 1, &block(&ask.fields("GET", &[]))).await;
    let mut sent = 0;
    while sent < MANY && frames.send(CONTINUATION, 0, 1, b"").await {
        sent += 1;
    }
    assert!(sent < MANY, "so many were taken");
    world.still_serves(&world.alice).await;
}

#[tokio::test]
async fn streams_that_are_reset_at_once_end_their_connection_or_cost_no_more_than_calls() {
    let world = World::new().await;
    let (ask, mut frames) = (Ask::of(&world), frames(&world).await);
    let fields = block(&ask.fields("GET", &[]));
    let flood = async {
        for stream in (1..2001).step_by(2) {
            let sent = frames.send(HEADERS, END_HEADERS | END_STREAM, stream, &fields).await
                && frames.send(RST_STREAM, 0, stream, &8_u32.to_be_bytes()).await;
            if !sent {
                return;
            }
        }
    };
    timeout(SOON, flood).await.expect("it is not read");
    // Others are served meanwhile, and by the same agent.
    world.still_serves(&world.alice).await;
    drop(frames);
    let counts = async || {
        let records = world.records().await;
        let begun = records.iter().filter(|record| matches!(record.entry, Entry::Intent(_))).count();
        (begun, records.iter().filter(|record| matches!(record.entry, Entry::Outcome(_))).count())
    };
    world
        .eventually("an outcome of each call", || async {
            matches!(counts().await, (begun, ended) if begun == ended)
        })
        .await;
}

#[tokio::test]
async fn settings_and_pings_whose_answers_nobody_reads_end_their_connection() {
    let limits = Limits {
        body_idle: Duration::from_millis(300),
        stranger_within: Duration::from_millis(100),
        ..Limits::default()
    };
    for kind in [SETTINGS, PING] {
        let world = World::twisted(Twist { limits: Some(limits), ..Twist::default() }).await;
        let mut frames = frames(&world).await;
        let payload: &[u8] = if kind == PING { &[0; 8] } else { b"" };
        let flood = async { while frames.send(kind, 0, 0, payload).await {} };
        let served = async {
            for _ in 0..3 {
                world.still_serves(&world.alice).await;
            }
        };
        let (flooded, ()) = tokio::join!(timeout(SOON * 3, flood), served);
        assert!(flooded.is_ok(), "it is answered without end: {kind}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_that_mean_nothing_keep_no_connection_past_its_wake() {
    let world = World::new().await;
    let (ask, mut frames) = (Ask::of(&world), frames(&world).await);
    frames.ask(1, &ask.fields("GET", &[]), true).await;
    assert!(matches!(frames.end_of(1).await, End::Answered(_)));
    // Faster than they are read, so that every turn of the connection is used up by them.
    let flood = tokio::spawn(async move { while frames.send_unknown(64 * 1024).await {} });
    world.set_task(&world.alice, |task| task.state = TaskState::Dormant).await;
    timeout(SOON, flood).await.expect("it goes on past its wake").unwrap();
}

#[tokio::test]
async fn data_of_no_length_keeps_no_call_alive() {
    let limits = Limits { body_idle: Duration::from_millis(300), ..Limits::default() };
    let world = World::twisted(Twist { limits: Some(limits), ..Twist::default() }).await;
    let (ask, mut wire) = (Ask::of(&world), frames(&world).await);
    wire.ask(1, &ask.fields("POST", &[]), false).await;
    // A trickle, which the library keeps from us: nothing moves, and the call is not waited for.
    let trickle = async {
        loop {
            wire.send(DATA, 0, 1, b"").await;
            if let Ok(end) = timeout(Duration::from_millis(20), wire.end_of(1)).await {
                return end;
            }
        }
    };
    let end = timeout(SOON, trickle).await.expect("it is waited for without end");
    assert_eq!(end.problem().as_deref(), Some("outcome-unknown"), "{end:?}");
    // A flood it ends itself.
    let mut wire = frames(&world).await;
    wire.ask(1, &ask.fields("POST", &[]), false).await;
    let mut sent = 0;
    while sent < MANY && wire.send(DATA, 0, 1, b"").await {
        sent += 1;
    }
    assert!(sent < MANY, "so many were taken");
    world.still_serves(&world.alice).await;
}

#[tokio::test]
async fn a_head_that_was_only_begun_is_not_waited_for() {
    let limits = Limits {
        head_within: Duration::from_millis(100),
        stranger_within: Duration::from_millis(100),
        ..Limits::default()
    };
    let world = World::twisted(Twist { limits: Some(limits), ..Twist::default() }).await;
    let (ask, mut frames) = (Ask::of(&world), frames(&world).await);
    frames.send(HEADERS, END_STREAM, 1, &block(&ask.fields("GET", &[]))).await;
    timeout(SOON, frames.is_over()).await.expect("the head is waited for");
    world.still_serves(&world.alice).await;
}
