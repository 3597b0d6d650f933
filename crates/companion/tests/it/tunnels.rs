//! Proves that a tunnel carries bytes both ways as they are, tells each side of the other's end, holds no more
//! than its window, and that what is no proxy request is refused whole.

use crate::{
    gateway::CODE,
    world::{World, eventually, in_time, limits},
};
use nightlatch_companion::{Guard, Limits};
use std::time::Duration;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::timeout,
};

#[tokio::test]
async fn bytes_go_both_ways_through_many_tunnels_over_one_connection() {
    let world = World::new().await;
    let mut programs = Vec::new();
    for _ in 0..100 {
        programs.push(world.tunnel("echo.test:443").await);
    }
    for (number, program) in programs.iter_mut().enumerate() {
        let text = format!("hello {number} \0\r\n\r\n");
        program.send(&text).await;
        assert_eq!(program.exactly(text.len()).await, text.as_bytes());
    }
    assert_eq!(world.gateway.seen().connections, 1);
}

#[tokio::test]
async fn a_large_body_comes_through_whole() {
    let world = World::new().await;
    let program = world.tunnel("echo.test:443").await;
    let sent: Vec<u8> = (0..4_000_000_u32).map(|number| number.to_le_bytes()[1]).collect();
    let (mut read, mut write) = program.0.into_split();
    let copy = sent.clone();
    let writing = tokio::spawn(async move {
        write.write_all(&copy).await.unwrap();
        write.shutdown().await.unwrap();
    });
    let mut got = Vec::new();
    in_time(read.read_to_end(&mut got)).await.unwrap();
    assert!(got == sent, "{} of {} bytes", got.len(), sent.len());
    writing.await.unwrap();
}

#[tokio::test]
async fn the_end_of_the_program_is_told_to_the_gateway_and_the_answer_comes_after_it() {
    let world = World::new().await;
    let mut program = world.tunnel("count.test:443").await;
    program.send("12345").await;
    program.0.shutdown().await.unwrap();
    assert_eq!(program.rest().await, "5");
}

#[tokio::test]
async fn the_end_of_the_gateway_is_told_to_the_program_which_goes_on_sending() {
    let world = World::new().await;
    let mut program = world.tunnel("first.test:443").await;
    assert_eq!(program.rest().await, "done");
    program.send("still here").await;
    program.0.shutdown().await.unwrap();
    eventually("the rest arrives", || world.gateway.seen().plain == [b"still here"]).await;
}

#[tokio::test]
async fn what_follows_the_head_at_once_is_carried() {
    let world = World::new().await;
    let mut program = world.program().await;
    program.send("CONNECT echo.test:443 HTTP/1.1\r\n\r\nearly").await;
    program.head().await;
    assert_eq!(program.exactly(5).await, b"early");
}

#[tokio::test]
async fn plain_http_goes_on_byte_for_byte() {
    let world = World::new().await;
    let request = "GET http://plain.test/x?y HTTP/1.1\r\nHost: plain.test\r\nX-Strange:   kept  \r\n\r\n";
    assert!(world.asked(request).await.ends_with("\r\n\r\nok"));
    assert_eq!(world.gateway.seen().tunnels, ["plain-http.invalid:80"]);
    assert_eq!(world.gateway.seen().plain, [request.as_bytes()]);
}

#[tokio::test]
async fn a_refusal_of_the_gateway_is_shown_with_its_body_and_little_of_its_head() {
    let world = World::new().await;
    let answer = world.asked("CONNECT refused.test:443 HTTP/1.1\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 403 Forbidden\r\n"), "{answer}");
    assert!(answer.contains("\r\nnightlatch-call: call_1\r\n"), "{answer}");
    assert!(!answer.contains("x-secret"), "{answer}");
    assert!(answer.ends_with("\r\n\r\n{\"type\":\"x/egress-denied\"}"), "{answer}");
}

#[tokio::test]
async fn a_refusal_reaches_a_program_that_sent_ahead() {
    let world = World::new().await;
    let ahead = "x".repeat(100_000);
    let answer = world.asked(&format!("CONNECT refused.test:443 HTTP/1.1\r\n\r\n{ahead}")).await;
    assert!(answer.ends_with("\r\n\r\n{\"type\":\"x/egress-denied\"}"), "{answer}");
}

#[tokio::test]
async fn a_program_that_does_not_read_holds_no_more_than_its_window_and_nobody_up() {
    let world = World::new().await;
    let stalled = world.tunnel("flood.test:443").await;
    let seen = || world.gateway.seen().flooded;
    eventually("the flood begins", || seen() > 100_000).await;
    // It stands still once as much as can be held is held.
    let mut last = 0;
    in_time(async {
        while seen() != last {
            last = seen();
            let _ = timeout(Duration::from_millis(200), std::future::pending::<()>()).await;
        }
    })
    .await;
    // The window, and what kernel, TLS and HTTP/2 hold of it on the way.
    assert!(last < 8_000_000, "{last}");
    let mut other = world.tunnel("echo.test:443").await;
    other.send("x").await;
    assert_eq!(other.exactly(1).await, b"x");
    drop(stalled);
}

#[tokio::test]
async fn a_program_that_leaves_frees_its_place_though_the_other_side_is_silent() {
    let quiet_max = Duration::from_millis(100);
    let world = World::with(Guard::default(), Limits { tunnels_max: 1, quiet_max, ..limits() }).await;
    let first = world.tunnel("still.test:443").await;
    let answer = world.asked("CONNECT echo.test:443 HTTP/1.1\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 429 "), "{answer}");
    drop(first);
    in_time(async {
        let mut answer = String::new();
        while !answer.starts_with("HTTP/1.1 200 ") {
            let mut next = world.program().await;
            next.send("CONNECT echo.test:443 HTTP/1.1\r\n\r\n").await;
            answer = next.head().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_tunnel_that_is_silent_both_ways_stands() {
    let quiet_max = Duration::from_millis(50);
    let world = World::with(Guard::default(), Limits { quiet_max, ..limits() }).await;
    let mut program = world.tunnel("echo.test:443").await;
    let silence = timeout(Duration::from_millis(200), program.0.read_u8()).await;
    assert!(silence.is_err(), "neither bytes nor an end");
    program.send("x").await;
    assert_eq!(program.exactly(1).await, b"x");
}

#[tokio::test]
async fn what_is_meant_for_a_server_is_told_that_this_is_a_proxy() {
    let world = World::new().await;
    for request in [
        "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        "POST /v1/enrol HTTP/1.1\r\nHost: x\r\nOrigin: http://evil\r\n\r\n",
    ] {
        let answer = world.asked(request).await;
        assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("proxy-only"), "{answer}");
    }
    let answer = world.asked("CONNECT echo.test:443 HTTP/1.1\r\nSec-Fetch-Site: cross-site\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 403 ") && answer.contains("cross-site"), "{answer}");
    assert!(world.gateway.seen().tunnels.is_empty());
}

#[tokio::test]
async fn a_head_without_end_is_cut_by_length_and_by_time() {
    let brief = Limits { head_within: Duration::from_millis(100), ..limits() };
    let world = World::with(Guard::default(), brief).await;
    let answer = world.asked("CONNECT echo.test:443 HTTP/1.1\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    let long = format!("CONNECT echo.test:443 HTTP/1.1\r\nX: {}", "a".repeat(20_000));
    let patient = World::with(Guard::default(), limits()).await;
    let answer = patient.asked(&long).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
}

#[tokio::test]
async fn a_tunnel_that_breaks_is_broken_for_the_program_too() {
    let world = World::new().await;
    let mut program = world.tunnel("still.test:443").await;
    drop(world.gateway);
    let mut byte = [0];
    let end = in_time(program.0.read(&mut byte)).await;
    assert!(end.is_err(), "a reset, and no clean end: {end:?}");
}

#[tokio::test]
async fn no_code_is_part_of_an_error() {
    let world = World::new().await;
    world.gateway.seen().refuses = Some(http::StatusCode::FORBIDDEN);
    let error = world.companion.enrol(CODE).await.unwrap_err();
    let text = format!("{error} {error:?}");
    assert!(text.contains("not-admitted") && !text.contains(CODE), "{text}");
}
