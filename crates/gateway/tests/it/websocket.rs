//! Proves, on raw sockets, that a WebSocket is a call like any other: listed, decided, recorded, with the exact
//! credential; that nothing of the agent goes up before the tool agreed; that what comes down is scrubbed; that it ends.

mod cutting;
mod frames;
mod shaking;
mod slow;

pub(crate) use cutting::what_ends_a_task_cuts_its_websocket_and_nobody_elses;
pub(crate) use shaking::{
    a_page_of_another_site_is_refused,
    an_answer_that_is_no_switch_is_shown_and_what_came_early_is_no_request,
    an_unsound_handshake_is_refused_by_its_field, no_byte_goes_to_the_tool_before_its_101,
    one_that_no_manifest_lists_is_not_supported,
};

use crate::{
    client::{Stream, Wire},
    upstream::{GoesOn, Reply, Seen},
    world::{Actor, SECRET, World},
};
use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use frames::{Frame, masked, plain};
use nightlatch_domain::ports::Boxed;
use nightlatch_ledger::record::{Entry, FindingKind, Outcome};
use std::sync::Arc;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// The example of RFC 6455 §1.3.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// The fields of a sound handshake.
const SOUND: [&str; 4] = [
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
];

fn accepted(key: &str) -> String {
    let salted = format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, salted.as_bytes()))
}

/// What answers a handshake, with these fields besides.
fn switching(seen: &Seen, fields: &[&str]) -> String {
    let key = seen.all("sec-websocket-key").pop().unwrap_or_default();
    let fields: String = fields.iter().map(|field| format!("{field}\r\n")).collect();
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {}\r\n{fields}\r\n",
        accepted(&key)
    )
}

fn going_on(run: impl Fn(Box<dyn Stream>, Vec<u8>) -> Boxed<'static, ()> + Send + Sync + 'static) -> GoesOn {
    Arc::new(run)
}

/// Reads frames of an agent's side and writes whatever `reply` makes of each, until a close, which it echoes.
fn speaking(reply: impl Fn(&Frame) -> Vec<u8> + Send + Sync + 'static) -> GoesOn {
    let reply = Arc::new(reply);
    going_on(move |mut stream, mut unread| {
        let reply = Arc::clone(&reply);
        Box::pin(async move {
            loop {
                while let Some((frame, taken)) = frames::read(&unread) {
                    unread.drain(..taken);
                    assert!(frame.mask.is_some(), "an unmasked frame went to the tool");
                    let said = if frame.opcode == 8 { plain(0x88, &frame.payload) } else { reply(&frame) };
                    if stream.write_all(&said).await.is_err()
                        || stream.flush().await.is_err()
                        || frame.opcode == 8
                    {
                        return;
                    }
                }
                match stream.read_buf(&mut unread).await {
                    Ok(count) if count > 0 => {}
                    _ => return,
                }
            }
        })
    })
}

fn echoing() -> GoesOn {
    speaking(|frame| plain(0x80 | frame.opcode, &frame.payload))
}

/// Makes the tool switch at `/live`, and go on so.
fn live(world: &World, goes_on: GoesOn) {
    world.tool.answers(move |seen| match seen.line().contains("/live/") {
        true => Reply { goes_on: Some(Arc::clone(&goes_on)), ..Reply::of(switching(seen, &[])) },
        false => Reply::ok("fine"),
    });
}

fn handshake(world: &World, actor: &Actor, more: &[&str]) -> String {
    let bearer = World::bearer(actor);
    world.request("GET /acme/live/x", &[&[bearer.as_str()], &SOUND[..], more].concat())
}

/// An open WebSocket of an actor.
async fn open(world: &World, actor: &Actor) -> Wire {
    let mut wire = world.connect(actor).await;
    wire.write(handshake(world, actor, &[])).await;
    let head = wire.head().await.unwrap();
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert!(
        head.to_ascii_lowercase().contains(&format!("sec-websocket-accept: {}", ACCEPT.to_ascii_lowercase())),
        "{head}"
    );
    wire
}

async fn outcomes(world: &World) -> Vec<Outcome> {
    let records = world.records().await.into_iter();
    records
        .filter_map(|record| if let Entry::Outcome(outcome) = record.entry { Some(outcome) } else { None })
        .collect()
}

/// Waits for the outcome of the one WebSocket.
async fn outcome(world: &World) -> Outcome {
    let of_it = |outcome: &Outcome| outcome.status == Some(101);
    world.eventually("an outcome", || async { outcomes(world).await.iter().any(of_it) }).await;
    outcomes(world).await.into_iter().find(of_it).unwrap()
}

#[tokio::test]
pub(crate) async fn messages_pass_both_ways_with_the_exact_credential() {
    let world = World::new().await;
    live(&world, echoing());
    let mut wire = open(&world, &world.alice).await;
    let seen = world.tool.take().pop().unwrap();
    assert_eq!(seen.line(), "GET /live/x HTTP/1.1");
    assert_eq!(seen.all("authorization"), [format!("Bearer {SECRET}")]);
    assert_eq!(
        (seen.all("upgrade"), seen.all("connection")),
        (vec!["websocket".into()], vec!["Upgrade".into()])
    );
    assert_eq!(seen.all("sec-websocket-version"), ["13"]);
    let ours = seen.all("sec-websocket-key");
    assert!(ours.len() == 1 && ours[0] != KEY && STANDARD.decode(&ours[0]).unwrap().len() == 16, "{ours:?}");
    assert!(!seen.head.contains("nlr_") && seen.all("sec-websocket-extensions").is_empty());
    let large = vec![7; 100_000];
    for (opcode, payload) in [(1, &b"hello"[..]), (2, &large), (9, b"ping"), (1, b"")] {
        wire.write(masked(0x80 | opcode, payload)).await;
        assert_eq!(frames::message(&mut wire).await, Some((opcode, payload.to_vec())));
    }
    wire.write(masked(0x88, b"\x03\xe8bye")).await;
    assert_eq!(frames::message(&mut wire).await, Some((8, b"\x03\xe8bye".to_vec())));
    assert!(wire.is_closed().await);
    let outcome = outcome(&world).await;
    let bytes = 5 + large.len() as u64 + 4 + 5;
    assert_eq!((outcome.sent_bytes, outcome.received_bytes, outcome.complete), (bytes, bytes, true));
    let intents = world.decisions().await;
    let Entry::Intent(intent) = &intents[0].entry else { panic!("{intents:?}") };
    assert_eq!((intents.len(), intent.operation.to_string()), (1, "live.open".to_owned()));
    world.no_canary_at_rest();
}

#[tokio::test]
async fn each_frame_has_a_mask_of_our_own() {
    let world = World::new().await;
    live(&world, speaking(|frame| plain(0x82, &frame.mask.unwrap())));
    let mut wire = open(&world, &world.alice).await;
    let mut keys = Vec::new();
    for _ in 0..3 {
        wire.write(masked(0x81, b"hello")).await;
        let (_, key) = frames::message(&mut wire).await.unwrap();
        assert!(key != frames::AGENTS_MASK && !keys.contains(&key), "{key:?}");
        keys.push(key);
    }
}

#[tokio::test]
pub(crate) async fn an_echoed_secret_is_masked_over_frames_and_fragments() {
    let world = World::new().await;
    let stars = "*".repeat(SECRET.len());
    live(
        &world,
        speaking(|frame| match frame.payload.as_slice() {
            b"plain" => plain(0x81, format!("<{SECRET}>").as_bytes()),
            b"ping" => plain(0x89, SECRET.as_bytes()),
            b"fragments" => {
                let mut frames = plain(0x01, b"<");
                for (place, byte) in SECRET.bytes().enumerate() {
                    frames.extend(plain(0x00, &[byte]));
                    if place == 9 {
                        frames.extend(plain(0x89, b"between"));
                    }
                }
                [frames, plain(0x80, b">")].concat()
            }
            _ => plain(0x88, b""),
        }),
    );
    let mut wire = open(&world, &world.alice).await;
    wire.write(masked(0x81, b"plain")).await;
    assert_eq!(frames::message(&mut wire).await, Some((1, format!("<{stars}>").into_bytes())));
    wire.write(masked(0x81, b"ping")).await;
    assert_eq!(frames::message(&mut wire).await, Some((9, stars.clone().into_bytes())));
    wire.write(masked(0x81, b"fragments")).await;
    let (control, whole) = frames::interleaved(&mut wire).await;
    assert_eq!(control, [(9, b"between".to_vec())]);
    assert_eq!(whole, (1, format!("<{stars}>").into_bytes()));
    drop(wire);
    world.eventually("a finding", || async {
        let records = world.records().await;
        let is_it = |entry: &Entry| matches!(entry, Entry::Finding(found) if found.finding == FindingKind::SecretMasked && found.count >= 3);
        records.iter().any(|record| is_it(&record.entry))
    })
    .await;
    assert!(!outcome(&world).await.complete);
}

/// Over fragments, an event reaches its reader before the next is written.
#[tokio::test]
async fn what_is_certain_of_a_message_does_not_wait_for_its_end() {
    let world = World::new().await;
    live(
        &world,
        speaking(|frame| match frame.payload.as_slice() {
            b"begin" => plain(0x01, b"first "),
            _ => plain(0x80, b"last"),
        }),
    );
    let mut wire = open(&world, &world.alice).await;
    wire.write(masked(0x81, b"begin")).await;
    let first = frames::frame(&mut wire).await.unwrap();
    assert_eq!((first.fin, first.opcode, first.payload), (false, 1, b"first ".to_vec()));
    wire.write(masked(0x81, b"end")).await;
    let last = frames::frame(&mut wire).await.unwrap();
    assert_eq!((last.fin, last.opcode, last.payload), (true, 0, b"last".to_vec()));
}
