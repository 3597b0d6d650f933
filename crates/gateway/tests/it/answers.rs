//! What comes back: without the secret, without what leads past us, and never made to look whole.

use crate::{
    upstream::Reply,
    world::{SECRET, Twist, World},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use nightlatch_gateway::Limits;
use nightlatch_ledger::record::{Entry, FindingKind};
use std::{sync::Arc, time::Duration};
use tokio::sync::Notify;

fn stars() -> String {
    "*".repeat(SECRET.len())
}

async fn found(world: &World, wanted: FindingKind) {
    let is_found = || async {
        let records = world.records().await;
        records
            .iter()
            .any(|record| matches!(&record.entry, Entry::Finding(finding) if finding.finding == wanted))
    };
    world.eventually(wanted.as_str(), is_found).await;
}

#[tokio::test]
pub(crate) async fn an_echoed_secret_is_masked_by_its_own_length() {
    let world = World::new().await;
    world.tool.answers(|seen| {
        let sent = seen.all("authorization").join("");
        Reply::with(
            "404 Not Found",
            &[&format!("X-Echo: {sent}"), &format!("Location: /?k={SECRET}")],
            &format!("you sent {sent}!"),
        )
    });
    let answer = world.call(&world.alice, "GET /acme/echo", &[]).await;
    assert_eq!((answer.status, answer.text()), (404, format!("you sent Bearer {}!", stars())));
    assert_eq!(answer.field("x-echo"), Some(format!("Bearer {}", stars())));
    assert_eq!(answer.field("location"), Some(format!("/?k={}", stars())));
    found(&world, FindingKind::SecretMasked).await;
    world.no_canary_at_rest();
}

#[tokio::test]
pub(crate) async fn a_secret_that_comes_in_pieces_is_masked() {
    let world = World::new().await;
    let gate = Arc::new(Notify::new());
    let held = Arc::clone(&gate);
    world.tool.answers(move |_| {
        let chunk = |text: &str| format!("{:x}\r\n{text}\r\n", text.len()).into_bytes();
        let mut pieces = vec![b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec()];
        pieces.extend(SECRET.as_bytes().chunks(5).map(|part| chunk(std::str::from_utf8(part).unwrap())));
        pieces.push(b"3\r\nend\r\n0\r\n\r\n".to_vec());
        Reply { pieces, gate: Some(Arc::clone(&held)), ..Reply::default() }
    });
    let opening = tokio::spawn(async move {
        loop {
            gate.notify_one();
            tokio::task::yield_now().await;
        }
    });
    let answer = world.call(&world.alice, "GET /acme/echo", &[]).await;
    opening.abort();
    assert_eq!(answer.text(), format!("{}end", stars()));
}

#[tokio::test]
pub(crate) async fn the_rendered_form_is_masked_too() {
    let world = World::new().await;
    world.tool.answers(|seen| Reply::ok(&seen.all("authorization").join("")));
    let answer = world.call(&world.alice, "GET /acme/~basic/basic/echo", &[]).await;
    let pair = STANDARD.encode(format!("robot:{SECRET}"));
    assert_eq!(answer.text(), format!("Basic {}", "*".repeat(pair.len())));
}

#[tokio::test]
pub(crate) async fn a_coding_that_is_not_read_is_refused_without_a_byte_of_it() {
    let world = World::new().await;
    for (status, coding) in [
        ("200 OK", "zstd"),
        ("200 OK", "gzip, gzip"),
        ("200 OK", "compress"),
        ("206 Partial Content", "gzip"),
    ] {
        let field = format!("Content-Encoding: {coding}");
        world.tool.answers(move |_| Reply::with(status, &[&field], "COMPRESSED"));
        // Each at a path of its own: what fails in the same way again is held back.
        let path = format!("/acme/{}", coding.replace(", ", "-"));
        let read = world.attack_answer(&format!("GET {path}/{}", &status[..3])).await;
        assert_eq!(
            (read.problem().as_str(), read.json()["field"].as_str()),
            ("not-supported", Some("content-encoding"))
        );
        let write = world.attack_answer(&format!("POST {path}/{}", &status[..3])).await;
        assert_eq!(write.problem(), "outcome-unknown");
        for answer in [read, write] {
            assert!(!answer.text().contains("COMPRESSED"));
        }
    }
    world.tool.answers(|_| Reply::with("200 OK", &["Content-Encoding: identity"], "PLAIN"));
    assert_eq!(world.call(&world.alice, "GET /acme/echo", &[]).await.text(), "PLAIN");
}

#[tokio::test]
pub(crate) async fn what_leads_past_us_or_belongs_to_one_hop_does_not_come_back() {
    let world = World::new().await;
    let fields = [
        "Alt-Svc: h3=\":443\"",
        "Strict-Transport-Security: max-age=1",
        "Connection: X-Hop",
        "X-Hop: 1",
        "Keep-Alive: 5",
        "Proxy-Authenticate: Basic",
        "Nightlatch-Call: forged",
        "ETag: \"1\"",
        "X-Kept: 1",
    ];
    world.tool.answers(move |_| Reply::with("200 OK", &fields, "fine"));
    let answer = world.call(&world.alice, "GET /acme/things", &[]).await;
    for name in ["alt-svc", "strict-transport-security", "x-hop", "keep-alive", "proxy-authenticate"] {
        assert_eq!(answer.field(name), None, "{name}");
    }
    assert!(answer.field("nightlatch-call").unwrap().starts_with("call_"));
    assert_eq!(
        (answer.field("etag").as_deref(), answer.field("x-kept").as_deref()),
        (Some("\"1\""), Some("1"))
    );
}

#[tokio::test]
pub(crate) async fn only_harmless_cookies_come_back() {
    let world = World::new().await;
    world.tool.answers(|_| {
        Reply::with(
            "200 OK",
            &["Set-Cookie: session=abc; HttpOnly", "Set-Cookie: lang=en", "Set-Cookie: Lang=xx"],
            "fine",
        )
    });
    let answer = world.call(&world.alice, "GET /acme/things", &[]).await;
    assert!(!answer.head.contains("session") && !answer.head.contains("xx"));
    assert_eq!(answer.field("set-cookie").as_deref(), Some("lang=en"));
    found(&world, FindingKind::CookieDropped).await;
}

#[tokio::test]
pub(crate) async fn a_tools_own_401_passes_and_the_keeper_hears_of_it() {
    let world = World::new().await;
    world.tool.answers(|_| Reply::with("401 Unauthorized", &["WWW-Authenticate: Bearer"], "no"));
    let answer = world.call(&world.alice, "GET /acme/things", &[]).await;
    assert_eq!((answer.status, answer.text().as_str()), (401, "no"));
    world.eventually("the keeper's notice", || async { world.keeper.count("unauthorized") == 1 }).await;
    found(&world, FindingKind::CredentialRejected).await;
    let leases = world.keeper.count("lease");
    world.call(&world.alice, "GET /acme/things", &[]).await;
    assert_eq!(world.keeper.count("lease"), leases + 1, "a rejected lease was used on");
}

#[tokio::test]
pub(crate) async fn interim_answers_do_not_pass() {
    let world = World::new().await;
    world.tool.answers(|_| {
        Reply::of(
            "HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nfine",
        )
    });
    let answer = world.call(&world.alice, "GET /acme/things", &[]).await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "fine"));
    world.tool.answers(|_| {
        Reply::of("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nraw bytes")
    });
    let answer = world.call(&world.alice, "GET /acme/things", &[]).await;
    assert!(answer.status >= 500 && !answer.text().contains("raw bytes"), "{answer:?}");
}

#[tokio::test]
pub(crate) async fn a_body_that_breaks_off_does_not_look_whole() {
    let world = World::new().await;
    for text in [
        "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n",
    ] {
        world.tool.answers(move |_| Reply { closes: true, ..Reply::of(text) });
        let answer = world.call(&world.alice, "GET /acme/things", &[]).await;
        assert!(!answer.whole, "{answer:?}");
    }
    world
        .eventually("two incomplete outcomes", || async {
            let records = world.records().await;
            records
                .iter()
                .filter(|record| matches!(&record.entry, Entry::Outcome(outcome) if !outcome.complete))
                .count()
                == 2
        })
        .await;
}

#[tokio::test]
pub(crate) async fn a_body_that_stands_still_is_cut() {
    let limits = Limits { body_idle: Duration::from_millis(100), ..Limits::default() };
    let world = World::twisted(Twist { limits: Some(limits), ..Twist::default() }).await;
    world.tool.answers(|_| Reply::of("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf"));
    assert!(!world.call(&world.alice, "GET /acme/things", &[]).await.whole);
    found(&world, FindingKind::AnswerCut).await;
}

#[tokio::test]
pub(crate) async fn a_head_tells_the_length_of_what_a_get_would_bring() {
    let world = World::new().await;
    world.tool.answers(|_| Reply::of("HTTP/1.1 200 OK\r\ncontent-length: 77\r\n\r\n"));
    let mut wire = world.connect(&world.alice).await;
    wire.write(world.request("HEAD /acme/things", &[&World::bearer(&world.alice)])).await;
    assert!(wire.head().await.unwrap().to_lowercase().contains("content-length: 77"));
    wire.write(world.request("HEAD /acme/things", &[&World::bearer(&world.alice)])).await;
    assert!(wire.head().await.unwrap().starts_with("HTTP/1.1 200"));
}

impl World {
    /// An attack by the tool: the oracle holds, apart from the ordinary call that its script would answer.
    async fn attack_answer(&self, line: &str) -> crate::client::Answer {
        let before = self.decisions().await.len();
        let answer = self.call(&self.alice, line, &["Content-Length: 0"]).await;
        assert_eq!(self.decisions().await.len(), before + 1);
        assert!(!answer.head.contains("CANARY") && !answer.text().contains("CANARY"));
        answer
    }
}

#[tokio::test]
pub(crate) async fn what_has_no_body_brings_none_and_leaves_none_for_the_next_answer() {
    let world = World::new().await;
    let smuggled = "HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nsmuggled";
    for (method, status) in [("HEAD", "200 OK"), ("GET", "204 No Content"), ("GET", "304 Not Modified")] {
        world.tool.answers(move |_| {
            Reply::of(format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{smuggled}", smuggled.len()))
        });
        let mut wire = world.connect(&world.alice).await;
        let bearer = World::bearer(&world.alice);
        wire.write(world.request(&format!("{method} /acme/things"), &[&bearer])).await;
        let head = wire.head().await.unwrap();
        assert!(head.starts_with(&format!("HTTP/1.1 {}", &status[..3])), "{head}");
        world.tool.answers(|_| Reply::ok("next"));
        wire.write(world.request("GET /acme/things", &[&bearer])).await;
        assert_eq!(wire.answer().await.text(), "next", "{method} {status}");
    }
}
