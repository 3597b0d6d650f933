//! Proves that a connection that switched protocols carries bytes both ways, counts, and ends with its grant.

use crate::world::{Authority, HOST, Server, eventually, http, https, mapped, read_request};
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use nightlatch_domain::{
    clock::Timestamp,
    id::{GrantId, TenantId, WakeId},
};
use nightlatch_egress::{Answered, Destination, EgressError, Pool, PoolKey, PoolLimits, Switched, Timeouts};
use std::{io::ErrorKind, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::TlsAcceptor;

const PATIENT: Timeouts = Timeouts { connect: Duration::from_secs(9), answer: Duration::from_secs(9) };
const SWITCHES: &[u8] =
    b"HTTP/1.1 101 Switching Protocols\r\nupgrade: echo\r\nconnection: upgrade\r\n\r\nfirst";

fn key(grant: u8) -> PoolKey {
    let at = Timestamp::from_millis(1);
    PoolKey {
        tenant: TenantId::new(at, [1; 10]),
        grant: GrantId::new(at, [grant; 10]),
        wake: WakeId::new(at, [1; 10]),
    }
}

fn asking() -> Request<()> {
    Request::get("/x").header("connection", "upgrade").header("upgrade", "echo").body(()).unwrap()
}

/// Switches, and echoes from then on.
async fn echo(mut socket: TcpStream) {
    read_request(&mut socket).await;
    socket.write_all(SWITCHES).await.unwrap();
    let (mut from, mut to) = socket.split();
    drop(tokio::io::copy(&mut from, &mut to).await);
}

async fn asked(pool: &Pool, grant: u8, to: &Destination) -> Result<Answered, EgressError> {
    pool.switch(key(grant), to, asking(), PATIENT).await
}

async fn switched(pool: &Pool, grant: u8, to: &Destination) -> Switched {
    match asked(pool, grant, to).await {
        Ok(Answered::Switched(answer)) => answer.into_body(),
        Ok(Answered::Plainly(answer)) => panic!("it answered {}", answer.status()),
        Err(error) => panic!("{error}"),
    }
}

async fn at(server: &Server, limits: PoolLimits) -> (Pool, Destination) {
    (Pool::new(mapped(server.at, None).0, limits), http(HOST, 80))
}

#[tokio::test]
async fn what_came_with_the_switch_is_read_first_and_bytes_pass_both_ways() {
    let server = Server::start(|_, socket| echo(socket)).await;
    let (pool, to) = at(&server, PoolLimits::default()).await;
    let mut stream = switched(&pool, 1, &to).await;
    let mut read = [0; 5];
    stream.read_exact(&mut read).await.unwrap();
    assert_eq!(&read, b"first");
    stream.write_all(b"hello").await.unwrap();
    stream.read_exact(&mut read).await.unwrap();
    assert_eq!(&read, b"hello");
}

#[tokio::test]
async fn over_tls_nothing_but_http1_is_offered_for_a_switch() {
    let authority = Authority::new();
    let acceptor = TlsAcceptor::from(Arc::new(authority.server(HOST, 2026, &["h2", "http/1.1"])));
    let server = Server::start(move |_, socket| {
        let acceptor = acceptor.clone();
        async move {
            let mut stream = acceptor.accept(socket).await.unwrap();
            assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
            read_request(&mut stream).await;
            stream.write_all(SWITCHES).await.unwrap();
            stream.flush().await.unwrap();
        }
    })
    .await;
    let pool = Pool::new(mapped(server.at, Some(&authority)).0, PoolLimits::default());
    let mut read = [0; 5];
    switched(&pool, 1, &https(HOST, 443)).await.read_exact(&mut read).await.unwrap();
    assert_eq!(&read, b"first");
}

#[tokio::test]
async fn closing_its_grant_cuts_it_and_nobody_elses() {
    let server = Server::start(|_, socket| echo(socket)).await;
    let (pool, to) = at(&server, PoolLimits::default()).await;
    let (mut cut, mut kept) = (switched(&pool, 1, &to).await, switched(&pool, 2, &to).await);
    let mut read = [0; 5];
    cut.read_exact(&mut read).await.unwrap();
    kept.read_exact(&mut read).await.unwrap();
    let waits = tokio::spawn(async move {
        let ended = cut.read(&mut [0; 5]).await;
        (ended, cut.write(b"late").await.map_err(|error| error.kind()))
    });
    pool.close_grant(key(1).tenant, key(1).grant);
    let (ended, late) = tokio::time::timeout(Duration::from_secs(5), waits).await.unwrap().unwrap();
    assert_eq!(ended.unwrap_err().kind(), ErrorKind::ConnectionAborted);
    assert_eq!(late, Err(ErrorKind::ConnectionAborted));
    kept.write_all(b"hello").await.unwrap();
    kept.read_exact(&mut read).await.unwrap();
    assert_eq!(&read, b"hello");
    pool.close_wake(key(2).tenant, key(2).wake);
    assert!(kept.read(&mut read).await.is_err(), "closing the wake did not cut it");
}

#[tokio::test]
async fn it_counts_among_what_is_open_until_it_is_let_go() {
    let server = Server::start(|_, socket| echo(socket)).await;
    let (pool, to) = at(&server, PoolLimits { open_max: 1, ..PoolLimits::default() }).await;
    let stream = switched(&pool, 1, &to).await;
    assert_eq!(pool.open_count(), 1);
    assert!(matches!(asked(&pool, 1, &to).await, Err(EgressError::PoolFull(1))));
    drop(stream);
    eventually(|| pool.open_count() == 0).await;
    drop(switched(&pool, 1, &to).await);
}

#[tokio::test]
async fn a_connection_that_did_not_switch_goes_back_to_no_shelf() {
    let server = Server::plain_ok().await;
    let (pool, to) = at(&server, PoolLimits::default()).await;
    for _ in 0..2 {
        let Ok(Answered::Plainly(answer)) = asked(&pool, 1, &to).await else { panic!("it switched") };
        let answer: Response<_> = answer;
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(&answer.into_body().collect().await.unwrap().to_bytes()[..], b"ok");
    }
    assert_eq!(server.came(), 2, "a connection was used twice");
    eventually(|| pool.open_count() == 0).await;
}

#[tokio::test]
async fn a_grant_that_is_closed_before_the_answer_gets_none() {
    let server = Server::start(|_, mut socket| async move {
        read_request(&mut socket).await;
        std::future::pending::<()>().await;
    })
    .await;
    let (pool, to) = at(&server, PoolLimits::default()).await;
    let waits = tokio::spawn({
        let (pool, to) = (pool.clone(), to.clone());
        async move { asked(&pool, 1, &to).await.map(|_| ()) }
    });
    eventually(|| pool.open_count() == 1).await;
    pool.close_grant(key(1).tenant, key(1).grant);
    assert!(waits.await.unwrap().is_err());
}
