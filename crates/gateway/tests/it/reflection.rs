//! Reflection: a tool sends back what it was sent, or what else it knows, in whatever form. Nothing of it reaches
//! the agent: whole, in slices, encoded, in any part of an answer, cut anywhere.

use crate::{
    client::empty,
    keeper::Windows,
    upstream::Reply,
    world::{SECRET, World},
};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use flate2::{
    Compression,
    write::{GzEncoder, ZlibEncoder},
};
use http::Request;
use http_body_util::BodyExt as _;
use nightlatch_ledger::record::{Entry, FindingKind};
use std::io::Write as _;

/// A token of an earlier generation that still lives.
const EARLIER: &str = "acme_9Kd2fQx7LmZ4vT1sB8nR6wYc3HjP5uGaEo0i";
/// The refresh token of the connection, hexadecimal.
const REFRESH: &str = "a3bf4f1b2b0b822cd15d6c15b0f00a089f86d081884c7d659a2feaa0c55ad015";

fn spelled(secret: &str, each: impl Fn(u8) -> String) -> String {
    secret.bytes().map(each).collect()
}

/// A text in every form that is sought, with a name.
fn forms(secret: &str) -> Vec<(&'static str, Vec<u8>)> {
    let text = |text: String| text.into_bytes();
    let aligned = |before: &str| STANDARD.encode(format!("{before}{secret}"));
    vec![
        ("plain", text(secret.to_owned())),
        ("base64", text(aligned(""))),
        ("base64, one byte on", text(aligned("a"))),
        ("base64, two bytes on", text(aligned("ab"))),
        ("base64url", text(URL_SAFE_NO_PAD.encode(secret))),
        ("hexadecimal", text(spelled(secret, |byte| format!("{byte:02x}")))),
        ("hexadecimal, upper case", text(spelled(secret, |byte| format!("{byte:02X}")))),
        ("percent", text(spelled(secret, |byte| format!("%{byte:02x}")))),
        ("percent, upper case", text(spelled(secret, |byte| format!("%{byte:02X}")))),
        ("JSON", text(spelled(secret, |byte| format!("\\u{byte:04x}")))),
        ("UTF-16LE", secret.bytes().flat_map(|byte| [byte, 0]).collect()),
        ("UTF-16BE", secret.bytes().flat_map(|byte| [0, byte]).collect()),
    ]
}

/// Whether a stretch of eight bytes of one text stands in the other.
fn shows(text: &[u8], secret: &[u8]) -> bool {
    secret.windows(8).any(|part| text.windows(8).any(|window| window == part))
}

fn answering(
    status: &'static str,
    fields: &'static str,
    body: Vec<u8>,
) -> impl Fn(&crate::upstream::Seen) -> Reply {
    move |_| {
        let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n{fields}\r\n", body.len());
        Reply::of([head.as_bytes(), &body].concat())
    }
}

async fn masked_in_the_ledger(world: &World) {
    let is_found = || async {
        let records = world.records().await;
        let masked =
            |entry: &Entry| matches!(entry, Entry::Finding(own) if own.finding == FindingKind::SecretMasked);
        records.iter().any(|record| masked(&record.entry))
    };
    world.eventually("a finding that a secret was masked", is_found).await;
}

#[tokio::test]
pub(crate) async fn the_secret_and_a_slice_of_it_are_masked_in_every_form() {
    let world = World::new().await;
    for secret in [SECRET, &SECRET[9..9 + 18]] {
        for (form, spelled) in forms(secret) {
            let text = [b"<", spelled.as_slice(), b">"].concat();
            world.tool.answers(answering("200 OK", "", text.clone()));
            let answer = world.call(&world.alice, "GET /acme/echo", &[]).await;
            assert_eq!(answer.body.len(), text.len(), "{form}");
            // Of base64 a character at either end belongs to its neighbour too, of UTF-16 the zeros stay.
            assert!(!shows(&answer.body, &spelled), "{form}: {:?}", answer.text());
            assert_eq!((answer.body[0], answer.body[text.len() - 1]), (b'<', b'>'));
        }
    }
    masked_in_the_ledger(&world).await;
    world.no_canary_at_rest();
}

#[tokio::test]
pub(crate) async fn what_is_split_over_chunks_is_masked_in_every_form() {
    let world = World::new().await;
    for (form, spelled) in forms(SECRET) {
        let chunked = spelled.chunks(7).flat_map(|part| {
            [format!("{:x}\r\n", part.len()).into_bytes(), part.to_vec(), b"\r\n".to_vec()].concat()
        });
        let body: Vec<u8> = chunked.chain(*b"3\r\nend\r\n0\r\n\r\n").collect();
        world.tool.answers(move |_| {
            Reply::of([b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", body.as_slice()].concat())
        });
        let answer = world.call(&world.alice, "GET /acme/echo", &[]).await;
        assert!(
            !shows(&answer.body, &spelled) && answer.body.ends_with(b"end"),
            "{form}: {:?}",
            answer.text()
        );
    }
}

#[tokio::test]
pub(crate) async fn an_earlier_token_and_the_refresh_token_are_masked_too() {
    let world = World::new().await;
    world.tool.answers(answering("200 OK", "", format!("{EARLIER} {REFRESH}").into_bytes()));
    let answer = world.call(&world.alice, "GET /acme/echo", &[]).await;
    assert_eq!(answer.text(), format!("{EARLIER} {REFRESH}"), "nobody said that they are secrets");
    world.reseal(|sealed| {
        sealed.others = vec![EARLIER.to_owned(), REFRESH.to_owned()];
        sealed.generation = 2;
    });
    // Another agent's lease is sealed after that.
    let mallory = world.call(&world.mallory, "GET /acme/echo", &[]).await;
    assert_eq!(
        mallory.text(),
        format!("acme_{} {}", "*".repeat(EARLIER.len() - 5), "*".repeat(REFRESH.len()))
    );
    for (form, spelled) in forms(&EARLIER[5..]) {
        world.tool.answers(answering("200 OK", "", spelled.clone()));
        let answer = world.call(&world.mallory, "GET /acme/echo", &[]).await;
        assert!(!shows(&answer.body, &spelled), "{form}: {:?}", answer.text());
    }
}

#[tokio::test]
async fn without_the_windows_that_were_sealed_with_its_lease_nothing_is_sent() {
    for windows in [Windows::OfAnotherLease, Windows::NoSet, Windows::TheCredential] {
        let world = World::new().await;
        world.keeper.knobs.lock().unwrap().windows = Some(windows);
        let answer = world.call(&world.alice, "GET /acme/things", &[]).await;
        assert_eq!((answer.problem().as_str(), world.tool.count()), ("lease-refused", 0), "{windows:?}");
    }
}

#[tokio::test]
async fn trailers_of_an_answer_do_not_come_back() {
    let world = World::new().await;
    let answer = format!(
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-echo\r\n\r\n4\r\nfine\r\n0\r\nx-echo: {SECRET}\r\n\r\n"
    );
    world.tool.answers(move |_| Reply::of(answer.clone()));
    let mut dial = world.dial(Some(&world.alice.identity));
    dial.alpn = &["h2"];
    let mut sender = dial.connect().await.unwrap().http2().await;
    let request = Request::get(format!("https://{}/acme/things", world.host()))
        .header("authorization", format!("Bearer {}", world.alice.reference))
        .header("te", "trailers")
        .body(empty())
        .unwrap();
    let answer = sender.send_request(request).await.unwrap();
    assert_eq!(answer.headers().get("trailer"), None);
    let whole = answer.into_body().collect().await.unwrap();
    assert_eq!(whole.trailers(), None);
    assert_eq!(&whole.to_bytes()[..], b"fine");
}

#[tokio::test]
pub(crate) async fn location_cookies_other_fields_and_error_bodies_are_masked() {
    let world = World::new().await;
    let percent = spelled(SECRET, |byte| format!("%{byte:02X}"));
    let coded = STANDARD.encode(SECRET);
    let fields = format!(
        "Location: https://api.acme.test/?k={percent}\r\nSet-Cookie: lang={SECRET}\r\nX-{SECRET}: 1\r\nX-Echo: {coded}\r\n"
    );
    let body = format!("{{\"error\":\"{SECRET}\"}}");
    world.tool.answers(move |_| {
        Reply::of(format!("HTTP/1.1 500 Oops\r\ncontent-length: {}\r\n{fields}\r\n{body}", body.len()))
    });
    let answer = world.call(&world.alice, "GET /acme/echo", &[]).await;
    let stars = |count: usize| "*".repeat(count);
    assert_eq!((answer.status, answer.text()), (500, format!("{{\"error\":\"{}\"}}", stars(SECRET.len()))));
    assert_eq!(answer.field("location"), Some(format!("https://api.acme.test/?k={}", stars(percent.len()))));
    assert_eq!(answer.field("set-cookie"), Some(format!("lang={}", stars(SECRET.len()))));
    assert!(!answer.head.to_lowercase().contains("canary"), "{}", answer.head);
    assert!(!shows(answer.head.as_bytes(), coded.as_bytes()), "{}", answer.head);
    masked_in_the_ledger(&world).await;
}

#[tokio::test]
pub(crate) async fn an_event_that_holds_the_secret_is_masked_and_not_held_back() {
    let world = World::new().await;
    let event = format!("data: {SECRET}\n\n");
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    let first = format!("{head}{:x}\r\n{event}\r\n", event.len());
    // The stream goes on: nothing more comes, and it does not end.
    world.tool.answers(move |_| Reply::of(first.clone()));
    let mut wire = world.connect(&world.alice).await;
    wire.write(world.request("GET /acme/events", &[&World::bearer(&world.alice)])).await;
    let shown = format!("data: {}\n\n", "*".repeat(SECRET.len()));
    assert!(wire.head().await.unwrap().starts_with("HTTP/1.1 200"));
    assert_eq!(wire.chunk().await.unwrap(), shown.as_bytes());
}

/// RFC 7932 by hand: what brotli is where nothing is compressed.
fn brotli(text: &[u8]) -> Vec<u8> {
    // A window of 16 bits; one block that is not the last, its length less one in 16 bits, not compressed.
    let bits = (u32::try_from(text.len()).unwrap() - 1) << 4 | 1 << 20;
    let head = bits.to_le_bytes();
    // The last block, and it is empty.
    [&head[..3], text, &[0b11]].concat()
}

fn compressed(coding: &str, text: &[u8]) -> Vec<u8> {
    match coding {
        "gzip" => {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
            encoder.write_all(text).unwrap();
            encoder.finish().unwrap()
        }
        "deflate" => {
            let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
            encoder.write_all(text).unwrap();
            encoder.finish().unwrap()
        }
        _ => brotli(text),
    }
}

#[tokio::test]
pub(crate) async fn a_compressed_echo_is_read_masked_and_handed_on_as_it_is() {
    let world = World::new().await;
    let text = format!("{{\"you sent\":\"{SECRET}\",\"pad\":\"{}\"}}", "-".repeat(5000));
    for coding in ["gzip", "deflate", "br"] {
        let body = compressed(coding, text.as_bytes());
        let fields = format!(
            "Content-Encoding: {coding}\r\nETag: \"1\"\r\nContent-MD5: xx\r\nDigest: sha-256=xx\r\nRepr-Digest: sha-256=:xx:\r\nContent-Digest: sha-256=:xx:\r\nAccept-Ranges: bytes\r\nX-Kept: 1\r\n"
        );
        world.tool.take();
        world.tool.answers(move |_| {
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n{fields}\r\n", body.len());
            let whole = [head.as_bytes(), &body].concat();
            Reply { pieces: whole.chunks(11).map(<[u8]>::to_vec).collect(), ..Reply::default() }
        });
        let accepts = format!("Accept-Encoding: zstd, {coding}");
        let answer = world.call(&world.alice, "GET /acme/echo", &[&accepts]).await;
        assert_eq!(world.tool.take()[0].all("accept-encoding"), [coding]);
        assert_eq!(answer.text(), text.replace(SECRET, &"*".repeat(SECRET.len())), "{coding}");
        assert!(answer.whole);
        for gone in [
            "content-encoding",
            "etag",
            "content-md5",
            "digest",
            "repr-digest",
            "content-digest",
            "accept-ranges",
        ] {
            assert_eq!(answer.field(gone), None, "{gone}");
        }
        assert_eq!(answer.field("x-kept").as_deref(), Some("1"));
    }
    world.tool.answers(|_| Reply::ok("fine"));
    world.call(&world.alice, "GET /acme/echo", &[]).await;
    assert_eq!(world.tool.take()[0].all("accept-encoding"), ["identity"], "who asks for none gets none");
    masked_in_the_ledger(&world).await;
}

#[tokio::test]
pub(crate) async fn a_coding_that_is_broken_or_explodes_ends_and_does_not_look_whole() {
    let world = World::new().await;
    let whole = compressed("gzip", &[0; 64 * 1024 * 1024]);
    let half = whole[..whole.len() / 2].to_vec();
    let text = compressed("gzip", format!("{{\"you sent\":\"{SECRET}\"}}").as_bytes());
    let ends_early = [text.len() - 1, text.len() - 9, text.len() / 2].map(|len| text[..len].to_vec());
    for body in [b"plain after all".to_vec(), whole, half].into_iter().chain(ends_early) {
        world.tool.answers(answering("200 OK", "Content-Encoding: gzip\r\n", body));
        let answer = world.call(&world.alice, "GET /acme/echo", &["Accept-Encoding: gzip"]).await;
        assert!(!answer.whole && answer.body.len() < 32 * 1024 * 1024, "{}", answer.body.len());
    }
    // One of no length is whole in any coding.
    world.tool.answers(|_| {
        let head = "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n";
        Reply::of(head)
    });
    let answer = world.call(&world.alice, "GET /acme/echo", &["Accept-Encoding: gzip"]).await;
    assert!(answer.whole && answer.body.is_empty(), "{answer:?}");
    world.still_serves(&world.alice).await;
}

#[tokio::test]
pub(crate) async fn an_event_in_a_coding_reaches_its_reader_before_the_next_one_is_written() {
    let world = World::new().await;
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(format!("data: {SECRET}\n\n").as_bytes()).unwrap();
    encoder.flush().unwrap();
    let event = encoder.get_ref().clone();
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-encoding: gzip\r\ntransfer-encoding: chunked\r\n\r\n";
    let first = [head.as_bytes(), format!("{:x}\r\n", event.len()).as_bytes(), &event, b"\r\n"].concat();
    world.tool.answers(move |_| Reply::of(first.clone()));
    let mut wire = world.connect(&world.alice).await;
    wire.write(world.request("GET /acme/events", &["Accept-Encoding: gzip", &World::bearer(&world.alice)]))
        .await;
    assert!(wire.head().await.unwrap().starts_with("HTTP/1.1 200"));
    assert_eq!(wire.chunk().await.unwrap(), format!("data: {}\n\n", "*".repeat(SECRET.len())).as_bytes());
}

#[tokio::test]
pub(crate) async fn a_new_secret_in_an_answer_is_a_finding_and_passes() {
    let world = World::new().await;
    // Put together here, so that nobody who searches this file for secrets finds one.
    let new = format!("ghp_{}", "0a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R");
    let body = format!("{{\"token\":\"{new}\",\"refresh_token\":\"abcdefgh12345678\"}}");
    let shown = body.clone();
    world.tool.answers(move |_| Reply::with("201 Created", &["Content-Type: application/json"], &body));
    let answer = world.call(&world.alice, "POST /acme/keys", &["Content-Length: 0"]).await;
    assert_eq!((answer.status, answer.text()), (201, shown.clone()));
    let counted = || async {
        world.records().await.iter().any(|record| {
            matches!(&record.entry, Entry::Finding(own) if own.finding == FindingKind::SecretRevealed && own.count == 2)
        })
    };
    world.eventually("a finding that two secrets were revealed", counted).await;
    let written = serde_json::to_string(&world.records().await).unwrap();
    assert!(!written.contains(&new) && !written.contains("abcdefgh12345678"));
    // In what is no text nothing is looked for.
    let before = world.records().await.len();
    world.tool.answers(move |_| Reply::with("200 OK", &["Content-Type: image/png"], &shown));
    world.call(&world.alice, "GET /acme/picture", &[]).await;
    world.eventually("the outcome", || async { world.records().await.len() > before + 1 }).await;
    let revealed = world.records().await.iter().filter(|record| matches!(&record.entry, Entry::Finding(own) if own.finding == FindingKind::SecretRevealed)).count();
    assert_eq!(revealed, 1);
}

#[tokio::test]
async fn a_new_secret_in_the_head_of_an_answer_is_counted_with_those_of_its_body() {
    let world = World::new().await;
    // Put together here, so that nobody who searches this file for secrets finds one.
    let new = format!("ghp_{}", "0a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R");
    let location = format!("Location: https://api.acme.test/?key={}", new.replace('_', "%5F"));
    let (field, body) = (format!("X-Next-Key: {new}"), format!("{{\"token\":\"{new}\"}}"));
    world.tool.answers(move |_| Reply::with("201 Created", &[&location, &field], &body));
    let answer = world.call(&world.alice, "POST /acme/keys", &["Content-Length: 0"]).await;
    assert_eq!((answer.status, answer.field("x-next-key")), (201, Some(new.clone())), "it passes");
    let revealed = async || -> Vec<u64> {
        let records = world.records().await;
        let of = |entry: &Entry| match entry {
            Entry::Finding(own) if own.finding == FindingKind::SecretRevealed => Some(own.count),
            _ => None,
        };
        records.iter().filter_map(|record| of(&record.entry)).collect()
    };
    world.eventually("a finding", || async { !revealed().await.is_empty() }).await;
    assert_eq!(revealed().await, [3]);
    assert!(!serde_json::to_string(&world.records().await).unwrap().contains(&new));
    // A head that shows none is no finding.
    world
        .tool
        .answers(|_| Reply::with("200 OK", &["Location: https://api.acme.test/?key=ghp%5Fshort"], "fine"));
    let before = world.records().await.len();
    world.call(&world.alice, "GET /acme/things", &[]).await;
    world.eventually("the outcome", || async { world.records().await.len() > before + 1 }).await;
    assert_eq!(revealed().await, [3]);
}
