//! Proves that the keeper always knows whether a byte of its request may have left.

use crate::world::{Authority, HOST, Hand, OK, Server, http, https, mapped, read_request};
use bytes::Bytes;
use http::{Request, StatusCode};
use nightlatch_egress::{EgressError, FreshConnection, LostAnswer, RawAnswer, SendError, SendWindow, Wire};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn ask() -> Request<Bytes> {
    Request::get("/token?x=1").body(Bytes::new()).unwrap()
}

fn window(hand: &Hand) -> SendWindow {
    SendWindow { send_by: hand.after(5000), answer_by: hand.after(9000) }
}

/// A server that reads one request and then writes `answer`; how many bytes it got.
async fn answering(answer: &'static [u8]) -> (Server, Arc<AtomicUsize>) {
    let got = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&got);
    let server = Server::start(move |_, mut socket| {
        let counted = Arc::clone(&counted);
        async move {
            counted.fetch_add(read_request(&mut socket).await.len(), Ordering::SeqCst);
            socket.write_all(answer).await.unwrap();
        }
    })
    .await;
    (server, got)
}

async fn fresh(server: &Server) -> (FreshConnection, Arc<Hand>) {
    let (connector, hand) = mapped(server.at, None);
    let fresh = connector.fresh_http1(&http(HOST, 80), hand.after(9000)).await.unwrap();
    (fresh, hand)
}

async fn exchanged(answer: &'static [u8], limit: usize) -> Result<RawAnswer, SendError> {
    let (server, _) = answering(answer).await;
    let (connector, hand) = mapped(server.at, None);
    // As the keeper does it: through the trait.
    let wire: &dyn Wire = &*connector;
    let line = wire.dial(&http(HOST, 80), hand.after(9000)).await.unwrap();
    line.send(ask(), limit, window(&hand)).await
}

#[tokio::test]
async fn one_request_brings_one_whole_answer() {
    let root = Authority::new();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(root.server(HOST, 2026, &["http/1.1"])));
    let (told, mut heard) = tokio::sync::mpsc::unbounded_channel();
    let server = Server::start(move |_, socket| {
        let (acceptor, told) = (acceptor.clone(), told.clone());
        async move {
            let mut stream = acceptor.accept(socket).await.unwrap();
            told.send(read_request(&mut stream).await).unwrap();
            stream.write_all(OK).await.unwrap();
        }
    })
    .await;
    let (connector, hand) = mapped(server.at, Some(&root));
    let fresh = connector.fresh_http1(&https(HOST, 443), hand.after(9000)).await.unwrap();
    assert_eq!(fresh.peer(), server.at);
    let answer = fresh.send_once(ask(), 100, window(&hand)).await.unwrap();
    assert_eq!((answer.status, answer.body.as_slice()), (StatusCode::OK, b"ok".as_slice()));
    let request = heard.recv().await.unwrap();
    assert!(request.starts_with("GET /token?x=1 HTTP/1.1\r\n") && request.contains("host: tool.example\r\n"));
    assert_eq!(server.came(), 1);
}

#[tokio::test]
async fn past_the_send_deadline_nothing_is_written() {
    let (server, got) = answering(OK).await;
    let (fresh, hand) = fresh(&server).await;
    let passed = SendWindow { send_by: hand.after(10), answer_by: hand.after(9000) };
    hand.forward(Duration::from_millis(10));
    let refused = fresh.send_once(ask(), 100, passed).await.map(|_| ()).unwrap_err();
    assert!(matches!(refused, SendError::NothingWritten(_)), "{refused}");
    assert_eq!(got.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_request_for_another_host_is_not_written() {
    let (server, got) = answering(OK).await;
    for other in [
        Request::get("/").header("host", "evil.example").body(Bytes::new()).unwrap(),
        Request::get("https://evil.example/").body(Bytes::new()).unwrap(),
    ] {
        let (fresh, hand) = fresh(&server).await;
        let refused = fresh.send_once(other, 100, window(&hand)).await.map(|_| ()).unwrap_err();
        assert!(matches!(refused, SendError::NothingWritten(EgressError::Misdirected(_))));
    }
    assert_eq!(got.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_connection_that_ends_after_the_request_leaves_it_uncertain() {
    for broken in [b"".as_slice(), b"HTTP/1.1 200 OK\r\ncontent-", b"garbage\r\n\r\n"] {
        let lost = exchanged(broken, 100).await.map(|_| ()).unwrap_err();
        assert!(
            matches!(lost, SendError::AfterFirstByte { reason: LostAnswer::BrokenOff, status: None, .. }),
            "{lost}"
        );
    }
    let cut =
        exchanged(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nok", 100).await.map(|_| ()).unwrap_err();
    let status = Some(StatusCode::OK);
    assert!(
        matches!(cut, SendError::AfterFirstByte { reason: LostAnswer::BrokenOff, status: given, .. } if given == status)
    );
}

#[tokio::test]
async fn an_answer_that_does_not_come_leaves_it_uncertain() {
    let server = Server::start(|_, mut socket| async move {
        read_request(&mut socket).await;
        drop(socket.read(&mut [0; 1]).await);
    })
    .await;
    let (fresh, hand) = fresh(&server).await;
    let soon = SendWindow { send_by: hand.after(5000), answer_by: hand.after(30) };
    let lost = fresh.send_once(ask(), 100, soon).await.map(|_| ()).unwrap_err();
    assert!(matches!(lost, SendError::AfterFirstByte { reason: LostAnswer::TimedOut, .. }));
}

#[tokio::test]
async fn an_answer_over_the_limit_is_given_up() {
    assert!(exchanged(OK, 2).await.is_ok());
    let lost = exchanged(OK, 1).await.map(|_| ()).unwrap_err();
    assert!(matches!(lost, SendError::AfterFirstByte { reason: LostAnswer::TooLarge, .. }));
}

#[tokio::test]
async fn a_redirect_is_handed_back_and_not_followed() {
    let (server, _) =
        answering(b"HTTP/1.1 302 Found\r\nlocation: /elsewhere\r\ncontent-length: 0\r\n\r\n").await;
    let (fresh, hand) = fresh(&server).await;
    let answer = fresh.send_once(ask(), 100, window(&hand)).await.unwrap();
    assert_eq!((answer.status, server.came()), (StatusCode::FOUND, 1));
}

#[tokio::test]
async fn a_connection_that_is_given_up_is_reset_and_not_drained() {
    let (told, mut heard) = tokio::sync::mpsc::unbounded_channel();
    let server = Server::start(move |_, mut socket| {
        let told = told.clone();
        async move { told.send(socket.read(&mut [0; 1]).await.map_err(|error| error.kind())).unwrap() }
    })
    .await;
    let (fresh, _) = fresh(&server).await;
    drop(fresh);
    assert_eq!(heard.recv().await.unwrap(), Err(std::io::ErrorKind::ConnectionReset));
}
