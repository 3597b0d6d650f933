//! What an outsider can grow ends at its bound, and others stay served.

use crate::world::{Twist, World};
use nightlatch_gateway::Limits;
use std::time::Duration;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
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
