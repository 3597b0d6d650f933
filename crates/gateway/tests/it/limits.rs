//! What an outsider can grow ends at its bound, and others stay served.

use crate::{
    upstream::Reply,
    world::{Twist, World},
};
use http_body_util::Full;
use nightlatch_gateway::Limits;
use std::{sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::{Notify, Semaphore},
    time::timeout,
};

const SOON: Duration = Duration::from_secs(5);

async fn bounded(limits: Limits) -> World {
    World::twisted(Twist { limits: Some(limits), ..Twist::default() }).await
}

#[tokio::test]
async fn a_handshake_that_does_not_come_is_not_waited_for() {
    let world = bounded(Limits { handshake_within: Duration::from_millis(50), ..Limits::default() }).await;
    let mut silent = TcpStream::connect(world.address).await.unwrap();
    silent.write_all(&[0x16, 0x03]).await.unwrap();
    let read = timeout(SOON, silent.read(&mut [0; 1])).await.expect("the socket is held open");
    assert!(matches!(read, Ok(0) | Err(_)));
    world.still_serves(&world.alice).await;
}

#[tokio::test]
async fn a_head_that_trickles_is_not_waited_for() {
    let world = bounded(Limits { head_within: Duration::from_millis(50), ..Limits::default() }).await;
    let mut wire = world.connect(&world.alice).await;
    wire.write("GET /acme/things HTTP/1.1\r\nHost: ").await;
    let answer = timeout(SOON, wire.answer()).await.expect("the head is waited for");
    assert!(answer.status == 408 || answer.status == 0, "{answer:?}");
    world.still_serves(&world.alice).await;
}

#[tokio::test]
async fn connections_past_the_bound_wait_for_a_place() {
    let world = bounded(Limits { connections_max: 1, ..Limits::default() }).await;
    let first = world.connect(&world.alice).await;
    let dial = world.dial(Some(&world.alice.identity));
    let mut second = std::pin::pin!(dial.connect());
    assert!(timeout(Duration::from_millis(50), &mut second).await.is_err(), "there was a second place");
    drop(first);
    assert!(timeout(SOON, second).await.expect("the place was not given on").is_ok());
}

#[tokio::test]
async fn an_upload_that_stands_still_is_cut() {
    let world = bounded(Limits { body_idle: Duration::from_millis(50), ..Limits::default() }).await;
    let mut wire = world.connect(&world.alice).await;
    wire.write(world.request("POST /acme/things", &[&World::bearer(&world.alice), "Content-Length: 100"]))
        .await;
    wire.write("half").await;
    let answer = timeout(SOON, wire.answer()).await.expect("the upload is waited for");
    assert_eq!(answer.problem(), "outcome-unknown");
    world.still_serves(&world.alice).await;
}

#[tokio::test]
async fn whoever_proves_nothing_holds_no_more_than_the_handshakes() {
    let limits = Limits { handshakes_max: 1, handshake_within: Duration::from_secs(60), ..Limits::default() };
    let world = bounded(limits).await;
    let held = world.connect(&world.alice).await;
    let silent = TcpStream::connect(world.address).await.unwrap();
    let dial = world.dial(Some(&world.alice.identity));
    let mut next = std::pin::pin!(dial.connect());
    assert!(timeout(Duration::from_millis(100), &mut next).await.is_err(), "there was a second handshake");
    // A connection that has proved itself holds none.
    drop((silent, held));
    assert!(timeout(SOON, next).await.expect("the place was not given on").is_ok());
}

#[tokio::test]
async fn closing_waits_for_what_runs_and_no_longer_than_its_bound() {
    let mut world = bounded(Limits { close_within: Duration::from_millis(700), ..Limits::default() }).await;
    let gate = Arc::new(Notify::new());
    let held = Arc::clone(&gate);
    world.tool.answers(move |_| {
        let first = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n6\r\nfirst\n\r\n".to_vec();
        let last = b"4\r\nlast\r\n0\r\n\r\n".to_vec();
        Reply { pieces: vec![first, last], gate: Some(Arc::clone(&held)), ..Reply::default() }
    });
    let mut running = [world.direct(&world.alice).await, world.direct(&world.alice).await];
    for wire in &mut running {
        wire.write(world.request("GET /acme/stream", &[&World::bearer(&world.alice)])).await;
        assert!(wire.head().await.unwrap().starts_with("HTTP/1.1 200"));
        assert_eq!(wire.chunk().await.unwrap(), b"first\n");
    }
    world.close();
    let [one, other] = &mut running;
    // Either comes to its end in time; the other is cut at the bound.
    gate.notify_one();
    let ends = async { tokio::join!(one.chunk(), other.chunk()) };
    let ends: [_; 2] = timeout(SOON, ends).await.expect("there is no bound").into();
    assert_eq!(ends.iter().flatten().collect::<Vec<_>>(), [b"last"]);
}

#[tokio::test]
async fn uploads_that_stand_still_do_not_stall_the_others_of_their_connection() {
    let world = Arc::new(World::new().await);
    world.keeper.leases.forget_permits(Semaphore::MAX_PERMITS);
    let mut dial = world.dial(Some(&world.alice.identity));
    dial.alpn = &["h2"];
    let sender = dial.connect().await.unwrap().http2::<Full<bytes::Bytes>>().await;
    let send = |line: &str, body: Vec<u8>| {
        let request = http::Request::post(format!("https://{}{line}", world.host()))
            .header("authorization", format!("Bearer {}", world.alice.reference));
        let mut sender = sender.clone();
        let request = request.body(Full::new(bytes::Bytes::from(body))).unwrap();
        async move { sender.send_request(request).await }
    };
    // They wait for a lease, and nobody reads what they bring.
    let stalled: Vec<_> =
        (0..64).map(|_| tokio::spawn(send("/acme/things", vec![b'x'; 1024 * 1024]))).collect();
    world.eventually("the request", || async { world.keeper.count("lease") == 1 }).await;
    let other = send("/v1/refusals", b"{\"reason\":\"peer-uid\",\"count\":1}".to_vec());
    let answer = timeout(SOON, other).await.expect("the line stands still").unwrap();
    assert_eq!(answer.status(), 204);
    stalled.iter().for_each(tokio::task::JoinHandle::abort);
}
