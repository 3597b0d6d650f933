//! Framing over HTTP/1.1: one corpus of requests that parsers end in different places, through every door; and what
//! one case alone cannot show: order, the tunnel behind a CONNECT, the invitation to send a body, and growth.

use crate::{
    client::{Answer, Wire},
    upstream::Seen,
    world::{SECRET, Twist, World},
};
use nightlatch_gateway::Limits;
use nightlatch_ledger::record::{Entry, Record};
use serde::Deserialize;
use std::time::Duration;

/// `testdata/framing.toml`, which says what its fields mean.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Corpus {
    case: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    bytes: String,
    ours: Ours,
    field: Option<String>,
}

#[derive(Deserialize, Clone, Copy, PartialEq)]
#[serde(rename_all = "kebab-case")]
enum Ours {
    Accepted,
    Refused,
    Broken,
}

fn corpus() -> Vec<Case> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/framing.toml");
    let corpus: Corpus = toml::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    assert!(corpus.case.len() > 100, "the corpus has shrunk");
    corpus.case
}

impl Case {
    /// Its bytes, as Alice sends them by the door that the wire leads to.
    fn of(&self, world: &World, wire: &Wire) -> Vec<u8> {
        let host = wire.rewriting.as_ref().map_or_else(|| world.host(), |rewriting| rewriting.tool.clone());
        let auth = format!("{}\r\n", World::bearer(&world.alice));
        let text = self.bytes.replace("{next}", &smuggled(world));
        let text = text.replace("{host}", &host).replace("{path}", "/acme/things").replace("{auth}", &auth);
        text.chars().map(|byte| u8::try_from(u32::from(byte)).unwrap()).collect()
    }
}

/// A sound request that must never be taken for one.
fn smuggled(world: &World) -> String {
    world.request("GET /acme/smuggled", &[&World::bearer(&world.alice)])
}

#[tokio::test]
pub(crate) async fn every_case_of_the_corpus_is_judged_as_it_says() {
    // One by one, refusals are recorded up to a task's budget, and counted from there on.
    for cases in corpus().chunks(40) {
        let mut world = World::new().await;
        for case in cases {
            judged(&world, case).await;
            if case.ours == Ours::Broken {
                // What broke off may still be on its way to the tool: the next case is seen by another one.
                is_unharmed(&world).await;
                world = World::new().await;
            }
        }
        is_unharmed(&world).await;
    }
}

async fn is_unharmed(world: &World) {
    world.no_canary_at_rest();
    world.still_serves(&world.alice).await;
    assert_eq!(world.evil.count(), 0);
}

async fn judged(world: &World, case: &Case) {
    let (name, before) = (&case.name, world.decisions().await.len());
    world.tool.take();
    let mut wire = world.connect(&world.alice).await;
    wire.write(case.of(world, &wire)).await;
    let answer = wire.answer().await;
    let (decided, seen) = (world.decisions().await, world.tool.take());
    assert_eq!(decided.len(), before + 1, "{name}: {}", answer.head);
    match case.ours {
        Ours::Accepted => {
            assert_eq!((answer.status, seen.len()), (200, 1), "{name}: {}", answer.text());
            return assert_eq!(seen[0].all("authorization"), [format!("Bearer {SECRET}")], "{name}");
        }
        Ours::Refused => {
            is_refusal(world, decided.last().unwrap(), &answer, name);
            let field = answer.json()["field"].as_str().map(str::to_owned);
            assert_eq!((field, seen.len()), (case.field.clone(), 0), "{name}: {}", answer.text());
        }
        Ours::Broken => {
            assert_eq!(answer.problem(), "outcome-unknown", "{name}");
            // What had begun came to no end, and what stood behind it is not there.
            let ended = |seen: &Seen| seen.body.ends_with(b"0\r\n\r\n") || seen.line().contains("smuggled");
            assert!(seen.len() <= 1 && !seen.iter().any(ended), "{name}: {seen:?}");
        }
    }
    assert_eq!(answer.field("connection").as_deref(), Some("close"), "{name}");
    assert!(wire.is_closed().await, "{name}");
}

/// One typed refusal, in the ledger under the agent that the connection proved.
fn is_refusal(world: &World, record: &Record, answer: &Answer, name: &str) {
    assert!(answer.status >= 400 && answer.field("nightlatch-call").is_some(), "{name}: {answer:?}");
    let Entry::Refusal(refusal) = &record.entry else { panic!("{name}: {record:?}") };
    assert_eq!(
        (refusal.problem.as_str(), refusal.agent),
        (answer.problem().as_str(), Some(world.alice.agent)),
        "{name}"
    );
}

#[tokio::test]
pub(crate) async fn a_fault_behind_a_sound_request_is_answered_after_it_and_closes() {
    let world = World::new().await;
    let before = world.decisions().await.len();
    let mut wire = world.connect(&world.alice).await;
    let sound = world.request("GET /acme/things", &[&World::bearer(&world.alice)]);
    let fault = format!("GET /acme/smuggled HTTP/1.1\nHost: {}\r\n\r\n", world.host());
    wire.write(format!("{sound}{sound}{fault}{sound}")).await;
    for _ in 0..2 {
        assert_eq!(wire.answer().await.status, 200);
    }
    let answer = wire.answer().await;
    assert_eq!(
        (answer.problem().as_str(), answer.json()["field"].as_str()),
        ("bad-request", Some("line-end"))
    );
    assert!(wire.is_closed().await);
    let seen = world.tool.take();
    assert!(seen.len() == 2 && seen.iter().all(|seen| seen.line().starts_with("GET /things ")), "{seen:?}");
    let decided = world.decisions().await;
    assert_eq!(decided.len(), before + 3);
    is_refusal(&world, decided.last().unwrap(), &answer, "behind two others");
}

#[tokio::test]
pub(crate) async fn requests_that_come_byte_by_byte_are_the_same_requests() {
    let world = World::new().await;
    let bearer = World::bearer(&world.alice);
    let mut wire = world.connect(&world.alice).await;
    let chunked = world.request("POST /acme/things", &[&bearer, "Transfer-Encoding: chunked"]);
    let sized = world.request("POST /acme/things", &[&bearer, "Content-Length: 3"]);
    // What the door makes of the text is made of the whole.
    let bytes = wire.written(format!("{chunked}1\r\na\r\n1\r\nb\r\n0\r\n\r\n{sized}abc"));
    for byte in &bytes {
        wire.write([*byte]).await;
    }
    for body in [&b"1\r\na\r\n1\r\nb\r\n0\r\n\r\n"[..], b"abc"] {
        assert_eq!(wire.answer().await.status, 200);
        assert_eq!(world.tool.take()[0].body, body);
    }
}

#[tokio::test]
async fn a_body_for_ourselves_that_breaks_off_is_not_taken_for_a_long_one() {
    let world = World::new().await;
    for (body, problem) in
        [("3;a\r\n{}\r\n0\r\n\r\n", "bad-request"), ("0\r\nX-Sum: 1\r\n\r\n", "bad-request")]
    {
        let before = world.decisions().await.len();
        let mut wire = world.direct(&world.alice).await;
        let head = world.request("POST /v1/refusals", &["Transfer-Encoding: chunked"]);
        wire.write(format!("{head}{body}{}", smuggled(&world))).await;
        let answer = wire.answer().await;
        assert_eq!((answer.problem().as_str(), answer.json()["field"].as_str()), (problem, Some("body")));
        assert!(wire.is_closed().await);
        assert_eq!((world.tool.count(), world.decisions().await.len()), (0, before + 1));
    }
}

#[tokio::test]
async fn whoever_is_nobody_is_told_of_a_fault_and_closed() {
    let world = World::new().await;
    let mut wire = world.dial(None).connect().await.unwrap();
    wire.write("GET /acme/things HTTP/1.1\r\nHost : x\r\n\r\n").await;
    let answer = wire.answer().await;
    assert_eq!(
        (answer.problem().as_str(), answer.json()["field"].as_str()),
        ("bad-request", Some("field-name"))
    );
    assert!(wire.is_closed().await);
    world.still_serves(&world.alice).await;
}

#[tokio::test]
async fn what_comes_behind_a_refused_tunnel_is_no_request() {
    let world = World::new().await;
    for (authority, problem) in
        [("evil.test:443", "egress-denied"), ("api.acme.test:8443", "destination-denied")]
    {
        let before = world.decisions().await.len();
        let mut wire = world.direct(&world.alice).await;
        let asked = format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n");
        wire.write(format!("{asked}{}", smuggled(&world))).await;
        let answer = wire.answer().await;
        assert_eq!(
            (answer.problem().as_str(), answer.field("connection").as_deref()),
            (problem, Some("close"))
        );
        assert!(wire.is_closed().await);
        assert_eq!((world.tool.count(), world.decisions().await.len()), (0, before + 1));
    }
    world.still_serves(&world.alice).await;
}

#[tokio::test]
async fn what_comes_behind_a_granted_tunnel_passes_untouched() {
    let world = World::new().await;
    let mut wire = world.direct(&world.alice).await;
    let to = "plain-http.invalid:80";
    // Before the answer: a line that no reader of HTTP would let pass in this place, and that the tunnel judges.
    let asked = format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n\r\n");
    wire.write(format!("{asked}GET http://evil.test/x HTTP/1.1\r\nHost: evil.test\r\n\r\n")).await;
    assert!(wire.head().await.unwrap().starts_with("HTTP/1.1 200"));
    assert_eq!(wire.answer().await.problem(), "egress-denied");
    // Inside there is a reader too.
    wire.write("GET http://evil.test/x HTTP/1.1\r\nHost: evil.test\n\r\n").await;
    let answer = wire.answer().await;
    assert_eq!(
        (answer.problem().as_str(), answer.json()["field"].as_str()),
        ("bad-request", Some("line-end"))
    );
    assert!(wire.is_closed().await);
}

#[tokio::test]
pub(crate) async fn nobody_is_invited_to_send_the_body_of_a_refused_request() {
    let world = World::new().await;
    let (host, bearer) = (world.host(), World::bearer(&world.alice));
    let expecting = "Expect: 100-continue\r\nContent-Length: 4\r\n\r\n";
    for (head, problem) in [
        (
            format!("POST /acme/things HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer nobody\r\n"),
            "reference-unknown",
        ),
        (format!("GET /acme/secrets/x HTTP/1.1\r\nHost: {host}\r\n{bearer}\r\n"), "policy-denied"),
        (
            format!("POST /acme/things HTTP/1.1\r\nHost: {host}\r\n{bearer}\r\nCookie: a=b\r\n"),
            "second-credential",
        ),
        (format!("POST /acme/things HTTP/1.1\r\nHost: {host}\r\n{bearer}\r\nX-A : b\r\n"), "bad-request"),
        (
            format!("POST /acme/things HTTP/1.1\r\nHost: {host}\r\n{bearer}\r\nExpect: 100-continue\r\n"),
            "bad-request",
        ),
    ] {
        let mut wire = world.connect(&world.alice).await;
        wire.write(format!("{head}{expecting}")).await;
        // The first bytes that come are the refusal, and they are the last.
        assert_eq!(wire.answer().await.problem(), problem, "{head}");
        assert!(wire.is_closed().await, "{head}");
    }
    assert_eq!(world.tool.count(), 0);
}

#[tokio::test]
pub(crate) async fn a_head_that_is_too_long_or_has_too_many_fields_is_refused() {
    let world = World::new().await;
    let bearer = World::bearer(&world.alice);
    let many: String = (0..200).map(|number| format!("X-{number}: 1\r\n")).collect();
    let endless = "x".repeat(300_000);
    for (fields, field) in [
        (many, "fields"),
        (format!("X-Long: {endless}\r\n"), "head"),
        // Neither does a line that never ends.
        (format!("X-Long: {endless}"), "head"),
        (endless.clone(), "head"),
    ] {
        let bytes = world.request("GET /acme/things", &[&bearer, fields.trim_end()]);
        let answer = world.attack(&world.alice, &bytes).await;
        assert_eq!((answer.problem().as_str(), answer.json()["field"].as_str()), ("too-large", Some(field)));
        assert_eq!(answer.field("connection").as_deref(), Some("close"));
    }
}

#[tokio::test]
async fn a_head_of_the_longest_length_passes_and_one_byte_more_does_not() {
    let limits = Limits { head_max_bytes: 16 * 1024, headers_max: 8, ..Limits::default() };
    let world = World::twisted(Twist { limits: Some(limits), ..Twist::default() }).await;
    let bearer = World::bearer(&world.alice);
    let begun = world.request("GET /acme/things", &[&bearer, "X-Long: "]).len();
    for (more, status) in [(0, 200), (1, 413)] {
        let long = format!("X-Long: {}", "x".repeat(16 * 1024 - begun + more));
        let answer = world.send(&world.alice, &world.request("GET /acme/things", &[&bearer, &long])).await;
        assert_eq!(answer.status, status, "{answer:?}");
    }
    for (more, status) in [(6, 200), (7, 413)] {
        let fields = vec!["X-A: b"; more];
        let answer = world.call(&world.alice, "GET /acme/things", &fields).await;
        assert_eq!(answer.status, status, "{more}: {answer:?}");
    }
}

#[tokio::test]
async fn a_head_that_never_ends_is_not_waited_for_whatever_comes_of_it() {
    let limits = Limits { head_within: Duration::from_millis(100), ..Limits::default() };
    let world = World::twisted(Twist { limits: Some(limits), ..Twist::default() }).await;
    let mut wire: Wire = world.direct(&world.alice).await;
    wire.write(format!("GET /acme/things HTTP/1.1\r\nHost: {}\r\n", world.host())).await;
    // Whole lines, one at a time: each is sound, and none is the last.
    let trickle = async {
        loop {
            wire.write("X-A: b\r\n").await;
            if tokio::time::timeout(Duration::from_millis(5), wire.is_closed()).await == Ok(true) {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(5), trickle).await.expect("the head is waited for");
    world.still_serves(&world.alice).await;
}
