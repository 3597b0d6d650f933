//! One connection: the handshake, then HTTP/1.1 or HTTP/2 as it was agreed.
//!
//! The protocol is the one that ALPN chose, and none is guessed from the first bytes; without ALPN it is
//! HTTP/1.1. Connections are bounded in time at every stage: handshake, head, standstill of a body, silence,
//! and their end. One that proved nobody ends with its first refusal.
//!
//! What runs inside of a tunnel is served by the same function under the same bounds ([`serve`]).

use super::{
    Shared,
    attendance::{Attendance, Attended, Found},
    moving::{GivenUp, Moving},
    tunnels::{CutWith, Tunnels},
};
use crate::{
    doors,
    doors::{
        local::Names,
        strict::{Bounds, Gate, Strict},
    },
    limits::Limits,
    peer::{Peer, Through},
    tls::{binding_of, public_key_of},
    wakes::Endings,
};
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use http::Request;
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use nightlatch_domain::principal::Binding;
use nightlatch_ledger::facts::Source;
use std::{
    convert::Infallible,
    pin::{Pin, pin},
    sync::Arc,
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
    sync::{Notify, OwnedSemaphorePermit, broadcast::error::RecvError, watch},
    time::{sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

/// `true` once the gateway is to close.
pub(crate) type Closing = watch::Receiver<bool>;

/// An HTTP/2 peer that is gone without a word is noticed by a ping.
const PING_EVERY: Duration = Duration::from_secs(30);
/// Streams that a peer resets before we have seen them: the reset flood of CVE-2023-44487 ends here.
const EARLY_RESETS_MAX: usize = 64;

/// A socket that was accepted, with its place among those that have proved nothing yet.
pub(super) struct Arrival {
    pub(super) stream: TcpStream,
    pub(super) source: Source,
    pub(super) handshake: OwnedSemaphorePermit,
}

pub(super) async fn over_tls(
    shared: &Arc<Shared>,
    acceptor: TlsAcceptor,
    arrival: Arrival,
    names: Arc<Names>,
    limits: &Limits,
    closing: Closing,
) {
    let Arrival { stream, source, handshake } = arrival;
    // Small answers and events must not wait for a full segment; where it fails they only come later.
    let _ = stream.set_nodelay(true);
    let given_up = GivenUp::default();
    // Where it fails, what the kernel holds is sent.
    let forget = |stream: &TcpStream| drop(stream.set_zero_linger());
    let stream = Moving::new(stream, limits.body_idle, given_up.clone(), forget);
    let Ok(Ok(stream)) = timeout(limits.handshake_within, acceptor.accept(stream)).await else { return };
    drop(handshake);
    let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let peer = Arc::new(peer(&stream, source, names));
    let Some(_place) = shared.places.take(&peer, !doors::is_known(shared, &peer), limits) else { return };
    let (ends, endings) = (Ends { closing, given_up: Some(given_up) }, shared.corridor.wakes.endings());
    serve(shared, Served { peer, stream, is_http2, ends, endings }).await;
}

pub(super) async fn over_unix(
    shared: &Arc<Shared>,
    stream: UnixStream,
    peer: Peer,
    limits: &Limits,
    closing: Closing,
) {
    let given_up = GivenUp::default();
    let stream = Moving::new(stream, limits.body_idle, given_up.clone(), |_| {});
    let Some(_place) = shared.places.take(&peer, !doors::is_known(shared, &peer), limits) else { return };
    let (ends, endings) = (Ends { closing, given_up: Some(given_up) }, shared.corridor.wakes.endings());
    serve(shared, Served { peer: Arc::new(peer), stream, is_http2: false, ends, endings }).await;
}

/// What the handshake proved.
fn peer(stream: &TlsStream<Moving<TcpStream>>, source: Source, names: Arc<Names>) -> Peer {
    let session = stream.get_ref().1;
    let certificate = session.peer_certificates().and_then(<[_]>::first);
    Peer {
        binding: certificate.and_then(binding_of),
        public_key: certificate.and_then(public_key_of),
        source,
        server_name: session.server_name().map(str::to_owned),
        names,
        through: Through::Listener,
    }
}

/// A stream on which HTTP is spoken, and whose it is.
pub(crate) struct Served<S> {
    pub(crate) peer: Arc<Peer>,
    pub(crate) stream: S,
    pub(crate) is_http2: bool,
    pub(crate) ends: Ends,
    /// What has ended since the stream came about, whoever served it then.
    pub(crate) endings: Endings,
}

/// What ends a stream from outside, and what ends with it.
#[derive(Clone)]
pub(crate) struct Ends {
    pub(crate) closing: Closing,
    /// The socket that is given up with the stream; none where it carries others besides.
    pub(crate) given_up: Option<GivenUp>,
}

/// Serves HTTP on a stream until it ends, and every tunnel that was opened over it.
pub(crate) async fn serve<S>(shared: &Arc<Shared>, served: Served<S>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let Served { peer, stream, is_http2, ends: Ends { closing, given_up }, mut endings } = served;
    let (limits, given_up) = (&shared.corridor.limits, given_up.unwrap_or_default());
    let (attendance, refused) = (Attendance::new(limits.body_idle), Arc::new(Notify::new()));
    let tunnels = Tunnels::new(&attendance, closing.clone(), &given_up, is_http2);
    let (cut, gate) = (CutWith(Arc::clone(&tunnels)), Arc::new(Gate::default()));
    let ending = Ending {
        slept: slept(&mut endings, peer.binding.as_ref()),
        idle: || match doors::is_known(shared, &peer) {
            false => Some(limits.stranger_within),
            // Over HTTP/1.1 hyper bounds the wait for the next head.
            true => is_http2.then_some(limits.head_within),
        },
        closing,
        refused: &refused,
        attendance: &attendance,
        limits,
    };
    let service = {
        let (shared, peer, tunnels) = (Arc::clone(shared), Arc::clone(&peer), Arc::clone(&tunnels));
        let (attendance, refused, gate) = (Arc::clone(&attendance), Arc::clone(&refused), Arc::clone(&gate));
        service_fn(move |request: Request<Incoming>| {
            let (shared, peer, refused) = (Arc::clone(&shared), Arc::clone(&peer), Arc::clone(&refused));
            let (attendance, tunnels, gate) =
                (Arc::clone(&attendance), Arc::clone(&tunnels), Arc::clone(&gate));
            async move {
                let running = attendance.begin();
                let method = request.method().clone();
                let mut answer = match gate.fault_of(&request) {
                    Some(fault) => doors::refuse(&shared, &peer, fault).await,
                    None => doors::answer(&shared, &peer, &tunnels, request).await,
                };
                gate.answered(&method, &answer);
                attendance.watch(answer.extensions_mut().remove());
                if !doors::is_known(&shared, &peer) {
                    refused.notify_one();
                }
                Ok::<_, Infallible>(answer.map(|body| Attended { body, _running: running }))
            }
        })
    };
    // A connection that breaks off is its peer's affair: what ran over it has recorded its own end.
    if is_http2 {
        let connection = pin!(http2(limits).serve_connection(TokioIo::new(stream), service));
        attend(connection, |connection| connection.graceful_shutdown(), ending, &given_up).await;
    } else {
        let bounds = Bounds { head_max_bytes: limits.head_max_bytes, fields_max: limits.headers_max };
        let stream = Strict::new(stream, bounds, gate);
        let connection = pin!(http1(limits).serve_connection(TokioIo::new(stream), service).with_upgrades());
        attend(connection, |connection| connection.graceful_shutdown(), ending, &given_up).await;
        // What was a connection may have become a tunnel, which bounds itself.
        tunnels.ended().await;
    }
    drop(cut);
}

/// Everything that ends a connection besides its peer.
struct Ending<'a, Slept, Idle> {
    slept: Slept,
    idle: Idle,
    closing: Closing,
    refused: &'a Notify,
    attendance: &'a Attendance,
    limits: &'a Limits,
}

/// Runs a connection until it ends: by itself; within a bound after it was asked to; or at once, where an
/// answer that was ended is still not let go.
async fn attend<C: Future>(
    mut connection: Pin<&mut C>,
    ask_to_end: impl FnOnce(Pin<&mut C>),
    ending: Ending<'_, impl Future<Output = ()>, impl Fn() -> Option<Duration>>,
    given_up: &GivenUp,
) {
    let attendance = ending.attendance;
    let mut ended = FuturesUnordered::from_iter([ended(ending)]);
    let bound = tokio::select! {
        // In this order: a peer that sends without end uses up, in each turn of its connection, all that a turn may do.
        biased;
        bound = ended.next() => bound.flatten(),
        _ = connection.as_mut() => return,
    };
    let Some(bound) = bound else { return given_up.say() };
    ask_to_end(connection.as_mut());
    tokio::select! {
        biased;
        () = sleep(bound) => given_up.say(),
        _ = attendance.found(|| None) => given_up.say(),
        _ = connection => {}
    }
}

/// What ends a connection from outside, and how long it may take then; none where it is to end at once. A connection
/// moves several times in a call and this hardly ever: it is polled only when something in it has moved, which is
/// what the set around it is for.
async fn ended(
    ending: Ending<'_, impl Future<Output = ()>, impl Fn() -> Option<Duration>>,
) -> Option<Duration> {
    let Ending { slept, idle, mut closing, refused, attendance, limits } = ending;
    tokio::select! {
        // A sender that is gone means the same.
        _ = closing.wait_for(|closing| *closing) => Some(limits.close_within),
        () = slept => Some(limits.cut_after),
        () = refused.notified() => Some(limits.stranger_within),
        found = attendance.found(idle) => match found {
            Found::Idle => Some(limits.stranger_within),
            Found::Stuck => None,
        },
    }
}

/// A wake of this peer ended: the next one begins with a handshake.
pub(crate) async fn slept(endings: &mut Endings, own: Option<&Binding>) {
    loop {
        match endings.recv().await {
            Ok(ended) if Some(&ended) != own => {}
            // Too many endings to have seen all of them: this peer's may be among them.
            Ok(_) | Err(RecvError::Lagged(_)) => return,
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}

fn http1(limits: &Limits) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_within)
        .max_headers(limits.headers_max)
        .max_buf_size(limits.head_max_bytes)
        .half_close(false);
    builder
}

fn http2(limits: &Limits) -> http2::Builder<TokioExecutor> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_header_list_size(u32::try_from(limits.head_max_bytes).unwrap_or(u32::MAX))
        .max_concurrent_streams(limits.streams_each_max)
        .initial_stream_window_size(limits.stream_window_bytes)
        .initial_connection_window_size(limits.connection_window_bytes)
        .max_send_buf_size(usize::try_from(limits.stream_window_bytes).unwrap_or(usize::MAX))
        .max_pending_accept_reset_streams(EARLY_RESETS_MAX)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_EVERY);
    builder
}
