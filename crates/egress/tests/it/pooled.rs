//! Proves that pooled connections are shared with nobody, end when they must, and repeat nothing.

use crate::world::{
    Authority, HOST, Hand, Names, OK, Server, Silent, connector, empty, eventually, full, http, https,
    mapped, read_request,
};
use bytes::Bytes;
use http::{HeaderMap, Request, Response, Version, header::HOST as HOST_HEADER};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Frame, Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use nightlatch_domain::{
    clock::Timestamp,
    id::{GrantId, TenantId, WakeId},
};
use nightlatch_egress::{
    AnswerBody, Connector, Destination, EgressError, Fault, Pool, PoolKey, PoolLimits, SendBody, Timeouts,
};
use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

const PATIENT: Timeouts = Timeouts { connect: Duration::from_secs(9), answer: Duration::from_secs(9) };

fn key(grant: u8) -> PoolKey {
    let at = Timestamp::from_millis(1);
    PoolKey {
        tenant: TenantId::new(at, [1; 10]),
        grant: GrantId::new(at, [grant; 10]),
        wake: WakeId::new(at, [1; 10]),
    }
}

fn pool(connector: Arc<Connector>) -> Pool {
    Pool::new(connector, PoolLimits::default())
}

fn at(server: &Server) -> (Pool, Arc<Hand>, Destination) {
    let (connector, hand) = mapped(server.at, None);
    (pool(connector), hand, http(HOST, 80))
}

fn get() -> Request<SendBody> {
    Request::get("/x").body(empty()).unwrap()
}

async fn whole(answer: Response<AnswerBody>) -> Bytes {
    answer.into_body().collect().await.unwrap().to_bytes()
}

async fn call(pool: &Pool, key: PoolKey, to: &Destination) -> Bytes {
    whole(pool.send(key, to, get(), PATIENT).await.unwrap()).await
}

/// Reads a request, then writes the head and the first piece of an answer that goes on for ever.
async fn begin_endless(mut socket: TcpStream) {
    read_request(&mut socket).await;
    socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\nfirst").await.unwrap();
    while socket.read(&mut [0; 64]).await.is_ok_and(|count| count > 0) {}
}

#[tokio::test]
async fn calls_of_one_grant_share_a_connection() {
    let server = Server::plain_ok().await;
    let (pool, _, to) = at(&server);
    for _ in 0..20 {
        assert_eq!(call(&pool, key(1), &to).await, "ok");
    }
    assert_eq!(server.came(), 1);
}

#[tokio::test]
async fn nothing_is_shared_between_grants_wakes_tenants_or_hosts() {
    let server = Server::plain_ok().await;
    let (pool, _, to) = at(&server);
    let when = Timestamp::from_millis(1);
    let others = [
        key(1),
        key(2),
        PoolKey { wake: WakeId::new(when, [9; 10]), ..key(1) },
        PoolKey { tenant: TenantId::new(when, [9; 10]), ..key(1) },
    ];
    for other in others {
        call(&pool, other, &to).await;
    }
    assert_eq!(server.came(), 4);
    call(&pool, key(1), &http(HOST, 81)).await;
    assert_eq!(server.came(), 5);
}

#[tokio::test]
async fn a_connection_whose_answer_was_not_read_is_not_used_again() {
    let server = Server::start(|before, socket| async move {
        if before == 0 {
            return begin_endless(socket).await;
        }
        let mut socket = socket;
        read_request(&mut socket).await;
        socket.write_all(OK).await.unwrap();
    })
    .await;
    let (pool, _, to) = at(&server);
    let answer = pool.send(key(1), &to, get(), PATIENT).await.unwrap();
    drop(answer);
    eventually(|| pool.open_count() == 0).await;
    assert_eq!(call(&pool, key(1), &to).await, "ok");
    assert_eq!(server.came(), 2);
}

#[tokio::test]
async fn a_connection_whose_request_was_not_finished_is_not_used_again() {
    let server = Server::start(|_, mut socket| async move {
        read_request(&mut socket).await;
        socket.write_all(OK).await.unwrap();
        while socket.read(&mut [0; 64]).await.is_ok_and(|count| count > 0) {}
    })
    .await;
    let (pool, _, to) = at(&server);
    let endless = Pending(None).boxed_unsync();
    let answer = pool.send(key(1), &to, Request::post("/x").body(endless).unwrap(), PATIENT).await.unwrap();
    assert_eq!(whole(answer).await, "ok");
    eventually(|| pool.open_count() == 0).await;
    assert_eq!(call(&pool, key(1), &to).await, "ok");
    assert_eq!(server.came(), 2);
}

/// A body of which no piece comes, or one.
struct Pending(Option<Bytes>);

impl Body for Pending {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;
    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.0.take().map_or(Poll::Pending, |piece| Poll::Ready(Some(Ok(Frame::data(piece)))))
    }
}

/// Whether the answer breaks off within five seconds.
async fn breaks_off(body: &mut AnswerBody) -> bool {
    let next = tokio::time::timeout(Duration::from_secs(5), body.frame()).await;
    matches!(next, Ok(Some(Err(_))))
}

#[tokio::test]
async fn closing_a_grant_cuts_its_running_answers_and_no_others() {
    let server = Server::start(|_, socket| begin_endless(socket)).await;
    let (pool, _, to) = at(&server);
    let mut killed = pool.send(key(1), &to, get(), PATIENT).await.unwrap().into_body();
    let mut kept = pool.send(key(2), &to, get(), PATIENT).await.unwrap().into_body();
    assert!(killed.frame().await.unwrap().is_ok() && kept.frame().await.unwrap().is_ok());
    pool.close_grant(key(1).tenant, key(1).grant);
    assert!(breaks_off(&mut killed).await);
    eventually(|| pool.open_count() == 1).await;
    let waits = tokio::time::timeout(Duration::from_millis(30), kept.frame()).await;
    assert!(waits.is_err(), "the other grant's answer goes on");
    pool.close_wake(key(2).tenant, key(2).wake);
    assert!(breaks_off(&mut kept).await);
}

#[tokio::test]
async fn an_answer_that_was_cut_never_looks_whole() {
    let heads = [
        "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nfirst",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n",
        "HTTP/1.1 200 OK\r\n\r\nfirst",
    ];
    for head in heads {
        let server = Server::start(move |_, mut socket| async move {
            read_request(&mut socket).await;
            socket.write_all(head.as_bytes()).await.unwrap();
            drop(socket.read(&mut [0; 1]).await);
        })
        .await;
        let (pool, _, to) = at(&server);
        let mut body = pool.send(key(1), &to, get(), PATIENT).await.unwrap().into_body();
        assert!(body.frame().await.unwrap().is_ok(), "{head}");
        pool.close_all();
        assert!(breaks_off(&mut body).await, "{head}");
    }
    let root = Authority::new();
    let (server, _) = http2_server(&root).await;
    let (connector, _) = mapped(server.at, Some(&root));
    let (pool, to) = (pool(connector), https(HOST, 443));
    let endless = Request::get("/endless").body(empty()).unwrap();
    let mut body = pool.send(key(1), &to, endless, PATIENT).await.unwrap().into_body();
    assert!(body.frame().await.unwrap().is_ok());
    pool.close_all();
    assert!(breaks_off(&mut body).await);
}

type Close = fn(&Pool);

#[tokio::test]
async fn closing_cuts_what_is_idle_and_nothing_of_it_is_used_again() {
    let closes: [(Close, usize); 4] = [
        (|pool| pool.close_grant(key(1).tenant, key(1).grant), 1),
        (|pool| pool.close_wake(key(1).tenant, key(1).wake), 1),
        (|pool| pool.close_tenant(key(1).tenant), 1),
        (Pool::close_all, 0),
    ];
    let when = Timestamp::from_millis(1);
    let other = PoolKey { tenant: TenantId::new(when, [9; 10]), wake: WakeId::new(when, [9; 10]), ..key(9) };
    for (close, left) in closes {
        let server = Server::plain_ok().await;
        let (pool, _, to) = at(&server);
        call(&pool, key(1), &to).await;
        call(&pool, other, &to).await;
        close(&pool);
        eventually(|| pool.open_count() == left).await;
        call(&pool, key(1), &to).await;
        assert_eq!(server.came(), 3);
        call(&pool, other, &to).await;
        assert_eq!(server.came(), 3 + usize::from(left == 0));
    }
}

/// Keys that differ in one fact each: tenant, grant, wake.
#[tokio::test]
async fn closing_closes_what_has_every_fact_that_was_named_and_nothing_else() {
    let (when, one) = (Timestamp::from_millis(1), key(1));
    let keys = [
        one,
        PoolKey { tenant: TenantId::new(when, [9; 10]), ..one },
        PoolKey { grant: key(9).grant, ..one },
        PoolKey { wake: WakeId::new(when, [9; 10]), ..one },
    ];
    let closes: [(Close, [bool; 4]); 3] = [
        (|pool| pool.close_grant(key(1).tenant, key(1).grant), [false, true, true, false]),
        (|pool| pool.close_wake(key(1).tenant, key(1).wake), [false, true, false, true]),
        (|pool| pool.close_tenant(key(1).tenant), [false, true, false, false]),
    ];
    for (number, (close, stays)) in closes.into_iter().enumerate() {
        let server = Server::plain_ok().await;
        let (pool, _, to) = at(&server);
        for key in keys {
            call(&pool, key, &to).await;
        }
        close(&pool);
        eventually(|| pool.open_count() == stays.iter().filter(|stays| **stays).count()).await;
        for (place, key) in keys.into_iter().enumerate() {
            let came = server.came();
            call(&pool, key, &to).await;
            assert_eq!(server.came() == came, stays[place], "close {number}, key {place}");
        }
    }
}

#[tokio::test]
async fn a_call_that_waits_for_its_answer_is_cut_and_not_repeated() {
    let read = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&read);
    let server = Server::start(move |_, mut socket| {
        let counted = Arc::clone(&counted);
        async move {
            read_request(&mut socket).await;
            counted.fetch_add(1, Ordering::SeqCst);
            drop(socket.read(&mut [0; 1]).await);
        }
    })
    .await;
    let (pool, _, to) = at(&server);
    let waiting = tokio::spawn({
        let pool = pool.clone();
        async move { pool.send(key(1), &to, get(), PATIENT).await.map(|_| ()) }
    });
    eventually(|| read.load(Ordering::SeqCst) == 1).await;
    pool.close_grant(key(1).tenant, key(1).grant);
    assert_eq!(waiting.await.unwrap().unwrap_err().fault(), Fault::NoAnswer);
    assert_eq!((server.came(), read.load(Ordering::SeqCst)), (1, 1));
}

/// A resolver that answers when somebody meets it.
struct Gate(std::sync::Barrier, AtomicUsize);

impl nightlatch_egress::Resolve for Gate {
    fn resolve(&self, _: &str) -> std::io::Result<Vec<std::net::IpAddr>> {
        self.1.fetch_add(1, Ordering::SeqCst);
        self.0.wait();
        Ok(vec!["127.0.0.1".parse().unwrap()])
    }
}

#[tokio::test]
async fn a_grant_that_is_closed_while_its_connection_is_made_sends_nothing() {
    let read = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&read);
    let server = Server::start(move |_, mut socket| {
        let counted = Arc::clone(&counted);
        async move {
            counted.fetch_add(read_request(&mut socket).await.len(), Ordering::SeqCst);
        }
    })
    .await;
    let gate = Arc::new(Gate(std::sync::Barrier::new(2), AtomicUsize::new(0)));
    let allow = nightlatch_egress::Allow::new(HOST, "127.0.0.1").unwrap();
    let config = nightlatch_egress::EgressConfig { allows: vec![allow], ..Default::default() };
    let (connector, _) = connector(config, Arc::<Gate>::clone(&gate));
    let (pool, to) = (pool(connector), http(HOST, server.at.port()));
    let waiting = tokio::spawn({
        let pool = pool.clone();
        async move { pool.send(key(1), &to, get(), PATIENT).await.map(|_| ()) }
    });
    eventually(|| gate.1.load(Ordering::SeqCst) == 1).await;
    pool.close_grant(key(1).tenant, key(1).grant);
    gate.0.wait();
    let refused = waiting.await.unwrap().unwrap_err();
    assert!(matches!(refused, EgressError::Closed) && refused.nothing_was_sent());
    assert_eq!(read.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn an_idle_connection_that_its_server_closed_costs_no_call() {
    let server = Server::start(|_, mut socket| async move {
        read_request(&mut socket).await;
        socket.write_all(OK).await.unwrap();
    })
    .await;
    let (pool, _, to) = at(&server);
    for round in 1..20 {
        assert_eq!(call(&pool, key(1), &to).await, "ok");
        assert_eq!(server.came(), round);
    }
}

#[tokio::test]
async fn a_request_that_may_have_been_sent_is_not_sent_again() {
    let read = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&read);
    let server = Server::start(move |_, mut socket| {
        let counted = Arc::clone(&counted);
        async move {
            read_request(&mut socket).await;
            socket.write_all(OK).await.unwrap();
            // The second request of a connection is read and never answered.
            counted.fetch_add(usize::from(!read_request(&mut socket).await.is_empty()), Ordering::SeqCst);
        }
    })
    .await;
    let (pool, _, to) = at(&server);
    call(&pool, key(1), &to).await;
    let lost = pool.send(key(1), &to, get(), PATIENT).await.map(|_| ()).unwrap_err();
    assert_eq!(lost.fault(), Fault::NoAnswer);
    assert!(!lost.nothing_was_sent());
    assert_eq!((read.load(Ordering::SeqCst), server.came()), (1, 1));
}

#[tokio::test]
async fn what_was_never_sent_says_so() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (connector_closed, _) = mapped(closed, None);
    let failed =
        pool(connector_closed).send(key(1), &http(HOST, 80), get(), PATIENT).await.map(|_| ()).unwrap_err();
    assert_eq!(failed.fault(), Fault::Unreachable);
    let (silent, _) = connector(Default::default(), Arc::new(Silent));
    let hurried = Timeouts { connect: Duration::from_millis(20), ..PATIENT };
    let failed = pool(silent).send(key(1), &https(HOST, 443), get(), hurried).await.map(|_| ()).unwrap_err();
    assert!(matches!(failed, EgressError::ConnectTimeout(_)) && failed.nothing_was_sent());
    let (forbidden, _) = connector(Default::default(), Names::saying(&[&["10.0.0.1"]]));
    let failed =
        pool(forbidden).send(key(1), &https(HOST, 443), get(), PATIENT).await.map(|_| ()).unwrap_err();
    assert_eq!(failed.fault(), Fault::Refused);
}

#[tokio::test]
async fn an_answer_that_does_not_come_in_time_is_given_up_with_its_connection() {
    let server = Server::start(|_, mut socket| async move {
        read_request(&mut socket).await;
        drop(socket.read(&mut [0; 1]).await);
    })
    .await;
    let (pool, _, to) = at(&server);
    let hurried = Timeouts { answer: Duration::from_millis(30), ..PATIENT };
    let lost = pool.send(key(1), &to, get(), hurried).await.map(|_| ()).unwrap_err();
    assert_eq!(lost.fault(), Fault::TimedOut);
    eventually(|| pool.open_count() == 0).await;
}

/// A body of as many pieces as it says, one a tick.
struct Slow(tokio::time::Interval, u8);

impl Body for Slow {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;
    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if self.1 == 0 {
            return Poll::Ready(None);
        }
        std::task::ready!(self.0.poll_tick(cx));
        self.1 -= 1;
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"piece")))))
    }
}

#[tokio::test]
async fn a_long_request_that_moves_is_not_given_up() {
    let server = Server::start(|_, mut socket| async move {
        let mut read = Vec::new();
        while !read.ends_with(b"0\r\n\r\n") {
            socket.read_buf(&mut read).await.unwrap();
        }
        socket.write_all(OK).await.unwrap();
    })
    .await;
    let (pool, _, to) = at(&server);
    let slow = Slow(tokio::time::interval(Duration::from_millis(100)), 8).boxed_unsync();
    let timeouts = Timeouts { answer: Duration::from_millis(500), ..PATIENT };
    let request = Request::post("/x").body(slow).unwrap();
    assert_eq!(whole(pool.send(key(1), &to, request, timeouts).await.unwrap()).await, "ok");
}

#[tokio::test]
async fn a_request_that_names_another_host_is_refused() {
    let server = Server::plain_ok().await;
    let (pool, _, to) = at(&server);
    for other in ["http://evil.example/x", "http://tool.example:81/x"] {
        let request = Request::get(other).body(empty()).unwrap();
        let refused = pool.send(key(1), &to, request, PATIENT).await.map(|_| ()).unwrap_err();
        assert_eq!(refused.fault(), Fault::Refused, "{other}");
    }
    let request = Request::get("/x").header(HOST_HEADER, HOST).header(HOST_HEADER, "evil.example");
    let refused =
        pool.send(key(1), &to, request.body(empty()).unwrap(), PATIENT).await.map(|_| ()).unwrap_err();
    assert!(matches!(refused, EgressError::Misdirected(_)));
}

#[tokio::test]
async fn a_redirect_is_handed_back() {
    let server = Server::start(|_, mut socket| async move {
        read_request(&mut socket).await;
        let found = b"HTTP/1.1 302 Found\r\nlocation: http://evil.example/\r\ncontent-length: 0\r\n\r\n";
        socket.write_all(found).await.unwrap();
    })
    .await;
    let (pool, _, to) = at(&server);
    let answer = pool.send(key(1), &to, get(), PATIENT).await.unwrap();
    assert_eq!((answer.status().as_u16(), server.came()), (302, 1));
}

#[tokio::test]
async fn a_flood_of_headers_is_refused() {
    let floods: [fn() -> String; 2] = [
        || (0..200).map(|number| format!("x-{number}: y\r\n")).collect(),
        || format!("x: {}\r\n", "y".repeat(100_000)),
    ];
    for flood in floods {
        let server = Server::start(move |_, mut socket| async move {
            read_request(&mut socket).await;
            let answer = format!("HTTP/1.1 200 OK\r\n{}content-length: 0\r\n\r\n", flood());
            drop(socket.write_all(answer.as_bytes()).await);
        })
        .await;
        let (pool, _, to) = at(&server);
        let lost = pool.send(key(1), &to, get(), PATIENT).await.map(|_| ()).unwrap_err();
        assert_eq!(lost.fault(), Fault::NoAnswer);
    }
}

#[tokio::test]
async fn an_idle_connection_ages_out() {
    let server = Server::plain_ok().await;
    let (pool, hand, to) = at(&server);
    call(&pool, key(1), &to).await;
    hand.forward(PoolLimits::default().idle_for - Duration::from_millis(1));
    call(&pool, key(1), &to).await;
    assert_eq!(server.came(), 1);
    hand.forward(PoolLimits::default().idle_for);
    call(&pool, key(1), &to).await;
    assert_eq!(server.came(), 2);
}

#[tokio::test]
async fn what_nobody_asks_for_again_is_swept() {
    let server = Server::plain_ok().await;
    let (connector, hand) = mapped(server.at, None);
    let limits = PoolLimits { idle_for: Duration::from_millis(20), ..PoolLimits::default() };
    let pool = Pool::new(connector, limits);
    call(&pool, key(1), &http(HOST, 80)).await;
    assert_eq!(pool.open_count(), 1);
    hand.forward(Duration::from_millis(20));
    eventually(|| pool.open_count() == 0).await;
}

#[tokio::test]
async fn the_limits_hold() {
    let server = Server::plain_ok().await;
    let (connector, _) = mapped(server.at, None);
    let limits = PoolLimits { idle_each_max: 1, idle_max: 2, open_max: 3, ..PoolLimits::default() };
    let (pool, to) = (Pool::new(connector, limits), http(HOST, 80));
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(pool.send(key(1), &to, get(), PATIENT).await.unwrap());
    }
    let refused = pool.send(key(1), &to, get(), PATIENT).await.map(|_| ()).unwrap_err();
    assert!(matches!(refused, EgressError::PoolFull(3)) && refused.nothing_was_sent());
    for answer in held {
        whole(answer).await;
    }
    eventually(|| pool.open_count() == 1).await;
    call(&pool, key(2), &to).await;
    call(&pool, key(3), &to).await;
    eventually(|| pool.open_count() == 2).await;
}

/// An HTTP/2 server over TLS: answers with what it saw, holds the path `/wait` for ever, and never ends
/// its answer to `/endless`.
async fn http2_server(root: &Authority) -> (Server, Arc<AtomicUsize>) {
    let held = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&held);
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(root.server(HOST, 2026, &["h2"])));
    let server = Server::start(move |_, socket| {
        let (acceptor, counted) = (acceptor.clone(), Arc::clone(&counted));
        async move {
            let stream = acceptor.accept(socket).await.unwrap();
            let service = hyper::service::service_fn(move |request: Request<Incoming>| {
                let counted = Arc::clone(&counted);
                async move {
                    if request.uri().path() == "/wait" {
                        counted.fetch_add(1, Ordering::SeqCst);
                        std::future::pending::<()>().await;
                    }
                    let endless = request.uri().path() == "/endless";
                    assert_eq!(request.version(), Version::HTTP_2);
                    let seen = format!("{} {}", request.uri(), has_host(request.headers()));
                    request.into_body().collect().await.unwrap();
                    let piece = Bytes::from(seen);
                    let body = if endless { Pending(Some(piece)).boxed_unsync() } else { whole_body(piece) };
                    Ok::<_, std::convert::Infallible>(Response::new(body))
                }
            });
            let serving = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            drop(serving.serve_connection(TokioIo::new(stream), service).await);
        }
    })
    .await;
    (server, held)
}

fn whole_body(piece: Bytes) -> SendBody {
    Full::new(piece).map_err(|never| match never {}).boxed_unsync()
}

fn has_host(headers: &HeaderMap) -> bool {
    headers.contains_key(HOST_HEADER)
}

#[tokio::test]
async fn http2_carries_many_calls_of_one_grant_on_one_connection() {
    let root = Authority::new();
    let (server, held) = http2_server(&root).await;
    let (connector, _) = mapped(server.at, Some(&root));
    let (pool, to) = (pool(connector), https(HOST, 443));
    assert_eq!(call(&pool, key(1), &to).await, "https://tool.example/x false");
    let waiting = pool.send(key(1), &to, Request::get("/wait").body(empty()).unwrap(), PATIENT);
    let posted = async {
        let request = Request::post("/y").body(full("body")).unwrap();
        whole(pool.send(key(1), &to, request, PATIENT).await.unwrap()).await
    };
    tokio::select! {
        _ = waiting => unreachable!("this one is held"),
        seen = posted => assert_eq!(seen, "https://tool.example/y false"),
    }
    assert_eq!((server.came(), held.load(Ordering::SeqCst)), (1, 1));
    call(&pool, key(2), &to).await;
    assert_eq!(server.came(), 2);
}

#[tokio::test]
async fn closing_a_grant_cuts_its_http2_calls() {
    let root = Authority::new();
    let (server, held) = http2_server(&root).await;
    let (connector, _) = mapped(server.at, Some(&root));
    let (pool, to) = (pool(connector), https(HOST, 443));
    call(&pool, key(1), &to).await;
    let waiting = tokio::spawn({
        let (pool, to) = (pool.clone(), to.clone());
        async move {
            pool.send(key(1), &to, Request::get("/wait").body(empty()).unwrap(), PATIENT).await.map(|_| ())
        }
    });
    eventually(|| held.load(Ordering::SeqCst) == 1).await;
    pool.close_grant(key(1).tenant, key(1).grant);
    assert!(waiting.await.unwrap().is_err());
    eventually(|| pool.open_count() == 0).await;
    assert_eq!(server.came(), 1);
}
