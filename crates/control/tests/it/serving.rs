//! Proves that nobody can hold a face of control shut, and that it ends when it is told to.

use axum::Router;
use nightlatch_control::server;
use std::{net::SocketAddr, time::Duration};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
    time::timeout,
};

async fn face() -> (SocketAddr, watch::Sender<bool>, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = watch::channel(false);
    (address, stop, tokio::spawn(server::serve(listener, Router::new(), stopped)))
}

#[tokio::test]
async fn a_face_whose_places_are_all_taken_still_hears_that_it_must_stop() {
    let (address, stop, serving) = face().await;
    let mut idle = Vec::new();
    for _ in 0..80 {
        idle.push(TcpStream::connect(address).await.unwrap());
    }
    stop.send(true).unwrap();
    timeout(Duration::from_secs(9), serving).await.expect("it ends").unwrap();
}

#[tokio::test]
async fn a_connection_carries_one_request_and_who_sends_more_holds_no_place() {
    let (address, _stop, _serving) = face().await;
    let mut peer = TcpStream::connect(address).await.unwrap();
    peer.write_all("GET /x HTTP/1.1\r\nHost: x\r\n\r\n".repeat(2).as_bytes()).await.unwrap();
    let mut answers = Vec::new();
    let ended = timeout(Duration::from_secs(5), peer.read_to_end(&mut answers)).await;
    assert!(ended.is_ok(), "the connection stays open");
    let answers = String::from_utf8_lossy(&answers).matches("HTTP/1.1 404").count();
    assert_eq!(answers, 1);
}
