//! Proves that a reader that stands still costs bounded memory, however much there is for it: by WebSocket, each way,
//! and by events. Measured in a process of its own, since what is resident is the whole process's.

use super::{frames, going_on, live, masked, open, plain};
use crate::{upstream::Reply, world::World};
use std::{
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::Instant,
};

/// Says to a run of this file's tests that it is the one that is measured.
const MEASURED: &str = "NIGHTLATCH_TEST_MEASURED";
const PIECE: usize = 64 * 1024;
/// What there is to read, in all: far more than may stay in memory.
const OFFERED_BYTES: u64 = 512 * 1024 * 1024;
/// What the kernel may hold of it (its buffers for four sockets), which is nobody's memory here.
const KERNEL_BYTES: u64 = 64 * 1024 * 1024;
/// What may stay in memory besides: pieces in hand, TLS records, hyper's buffers, and the allocator's slack.
const GROWTH_BYTES: u64 = 12 * 1024 * 1024;

/// Whether this process is the one that is measured; else runs the test in one of its own.
#[expect(clippy::disallowed_methods, reason = "a test tells its own copy which one it is")]
fn alone(name: &str) -> bool {
    if std::env::var_os(MEASURED).is_some() {
        return true;
    }
    let ran = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &format!("websocket::slow::{name}"), "--nocapture"])
        .env(MEASURED, "1")
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&ran.stdout);
    assert!(
        ran.status.success() && told.contains("1 passed"),
        "{told}{}",
        String::from_utf8_lossy(&ran.stderr)
    );
    false
}

/// What of this process is in memory.
fn resident_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().split(' ').next().unwrap().parse::<u64>().unwrap() * 1024
}

/// Waits until the writer gets no further, and says how much memory it took. It fails where it got to the end.
async fn grown_while(world: &World, before: u64, written: &AtomicU64) -> u64 {
    let (mut last, mut since) = (0, Instant::now());
    while since.elapsed() < Duration::from_millis(1500) {
        // tidy: sleeps because it polls until nothing moves
        tokio::time::sleep(Duration::from_millis(20)).await;
        let now = written.load(Ordering::SeqCst);
        if now != last {
            (last, since) = (now, Instant::now());
        }
    }
    assert!(last > 0 && last < KERNEL_BYTES, "{last} bytes were taken off the writer");
    let grown = resident_bytes().saturating_sub(before);
    assert!(grown < GROWTH_BYTES, "{grown} bytes more are in memory");
    world.still_serves(&world.mallory).await;
    grown
}

#[tokio::test]
async fn an_agent_that_does_not_read_its_websocket_costs_bounded_memory() {
    if !alone("an_agent_that_does_not_read_its_websocket_costs_bounded_memory") {
        return;
    }
    let (world, written) = (World::new().await, Arc::new(AtomicU64::new(0)));
    let counted = Arc::clone(&written);
    live(
        &world,
        going_on(move |mut stream, _| {
            let counted = Arc::clone(&counted);
            Box::pin(async move {
                let piece = plain(0x82, &[b'x'; PIECE]);
                while counted.load(Ordering::SeqCst) < OFFERED_BYTES && stream.write_all(&piece).await.is_ok()
                {
                    counted.fetch_add(PIECE as u64, Ordering::SeqCst);
                }
            })
        }),
    );
    let before = resident_bytes();
    let mut wire = open(&world, &world.alice).await;
    let grown = grown_while(&world, before, &written).await;
    eprintln!("a WebSocket that nobody reads: {} KiB more", grown / 1024);
    // It was held up and not broken off.
    assert_eq!(
        frames::message(&mut wire).await.map(|(opcode, payload)| (opcode, payload.len())),
        Some((2, PIECE))
    );
}

#[tokio::test]
async fn a_tool_that_does_not_read_its_websocket_costs_bounded_memory() {
    if !alone("a_tool_that_does_not_read_its_websocket_costs_bounded_memory") {
        return;
    }
    let (world, written) = (World::new().await, Arc::new(AtomicU64::new(0)));
    live(
        &world,
        going_on(|stream, _| {
            Box::pin(async move {
                let _held = stream;
                std::future::pending::<()>().await;
            })
        }),
    );
    let before = resident_bytes();
    let mut wire = open(&world, &world.alice).await;
    let counted = Arc::clone(&written);
    let writing = tokio::spawn(async move {
        let piece = masked(0x82, &[b'x'; PIECE]);
        while counted.load(Ordering::SeqCst) < OFFERED_BYTES {
            wire.write(&piece).await;
            counted.fetch_add(PIECE as u64, Ordering::SeqCst);
        }
    });
    let grown = grown_while(&world, before, &written).await;
    eprintln!("a WebSocket that the tool does not read: {} KiB more", grown / 1024);
    writing.abort();
}

#[tokio::test]
async fn an_agent_that_does_not_read_its_events_costs_bounded_memory() {
    if !alone("an_agent_that_does_not_read_its_events_costs_bounded_memory") {
        return;
    }
    let (world, written) = (World::new().await, Arc::new(AtomicU64::new(0)));
    let counted = Arc::clone(&written);
    world.tool.answers(move |seen| {
        let counted = Arc::clone(&counted);
        let goes_on = going_on(move |mut stream, _| {
            let counted = Arc::clone(&counted);
            Box::pin(async move {
                let event = format!("data: {}\n\n", "x".repeat(PIECE - 8));
                let chunk = format!("{:x}\r\n{event}\r\n", event.len());
                while counted.load(Ordering::SeqCst) < OFFERED_BYTES
                    && stream.write_all(chunk.as_bytes()).await.is_ok()
                {
                    counted.fetch_add(PIECE as u64, Ordering::SeqCst);
                }
                drop(stream.read(&mut [0; 1]).await);
            })
        });
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
        match seen.line().contains("/events") {
            true => Reply { goes_on: Some(goes_on), ..Reply::of(head) },
            false => Reply::ok("fine"),
        }
    });
    let before = resident_bytes();
    let mut wire = world.connect(&world.alice).await;
    wire.write(world.request("GET /acme/events", &[&World::bearer(&world.alice)])).await;
    assert!(wire.head().await.unwrap().starts_with("HTTP/1.1 200"));
    let grown = grown_while(&world, before, &written).await;
    eprintln!("events that nobody reads: {} KiB more", grown / 1024);
}
