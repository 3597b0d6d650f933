//! Proves that nobody can hold a place of control's faces by sending more than is answered.

use axum::Router;
use nightlatch_control::server;
use std::time::Duration;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
    time::timeout,
};

#[tokio::test]
async fn a_connection_carries_one_request_and_who_sends_more_holds_no_place() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (_stop, stopped) = watch::channel(false);
    tokio::spawn(server::serve(listener, Router::new(), stopped));
    let mut peer = TcpStream::connect(address).await.unwrap();
    peer.write_all("GET /x HTTP/1.1\r\nHost: x\r\n\r\n".repeat(2).as_bytes()).await.unwrap();
    let mut answers = Vec::new();
    let ended = timeout(Duration::from_secs(5), peer.read_to_end(&mut answers)).await;
    assert!(ended.is_ok(), "the connection stays open");
    let answers = String::from_utf8_lossy(&answers).matches("HTTP/1.1 404").count();
    assert_eq!(answers, 1);
}
