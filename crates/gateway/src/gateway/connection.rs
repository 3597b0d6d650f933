//! One connection: the handshake, then HTTP/1.1 or HTTP/2 as it was agreed.
//!
//! The protocol is the one that ALPN chose, and none is guessed from the first bytes; without ALPN it is
//! HTTP/1.1. Connections are bounded in time at every stage: handshake, head, standstill of a body.

use super::Shared;
use crate::{
    answer::OutBody, doors, doors::local::Names, limits::Limits, peer::Peer, tls::binding_of, wakes::Endings,
};
use http::{Request, Response};
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use nightlatch_domain::principal::Binding;
use nightlatch_ledger::facts::Source;
use std::{convert::Infallible, pin::pin, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
    sync::{broadcast::error::RecvError, watch},
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

/// `true` once the gateway is to close.
pub(super) type Closing = watch::Receiver<bool>;

/// An HTTP/2 peer that is gone without a word is noticed by a ping.
const PING_EVERY: Duration = Duration::from_secs(30);
/// Streams that a peer resets before we have seen them: the reset flood of CVE-2023-44487 ends here.
const EARLY_RESETS_MAX: usize = 64;

pub(super) async fn over_tls(
    shared: &Arc<Shared>,
    acceptor: TlsAcceptor,
    stream: TcpStream,
    source: Source,
    names: Arc<Names>,
    limits: &Limits,
    closing: Closing,
) {
    // Small answers and events must not wait for a full segment; where it fails they only come later.
    let _ = stream.set_nodelay(true);
    let Ok(Ok(stream)) = timeout(limits.handshake_within, acceptor.accept(stream)).await else { return };
    let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let peer = Arc::new(peer(&stream, source, names));
    serve(shared, peer, stream, is_http2, limits, closing).await;
}

pub(super) async fn over_unix(
    shared: &Arc<Shared>,
    stream: UnixStream,
    peer: Peer,
    limits: &Limits,
    closing: Closing,
) {
    serve(shared, Arc::new(peer), stream, false, limits, closing).await;
}

/// What the handshake proved.
fn peer(stream: &TlsStream<TcpStream>, source: Source, names: Arc<Names>) -> Peer {
    let session = stream.get_ref().1;
    let certificate = session.peer_certificates().and_then(<[_]>::first);
    Peer {
        binding: certificate.and_then(binding_of),
        source,
        server_name: session.server_name().map(str::to_owned),
        names,
    }
}

async fn serve<S>(
    shared: &Arc<Shared>,
    peer: Arc<Peer>,
    stream: S,
    is_http2: bool,
    limits: &Limits,
    closing: Closing,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let over = over(closing, shared.corridor.wakes.endings(), peer.binding.clone());
    let shared = Arc::clone(shared);
    let service = service_fn(move |request: Request<Incoming>| {
        let (shared, peer) = (Arc::clone(&shared), Arc::clone(&peer));
        async move { Ok::<Response<OutBody>, Infallible>(doors::answer(&shared, &peer, request).await) }
    });
    let io = TokioIo::new(stream);
    // A connection that breaks off is its peer's affair: what ran over it has recorded its own end.
    if is_http2 {
        let mut connection = pin!(http2(limits).serve_connection(io, service));
        tokio::select! {
            _ = connection.as_mut() => return,
            () = over => connection.as_mut().graceful_shutdown(),
        }
        let _ = connection.await;
    } else {
        let mut connection = pin!(http1(limits).serve_connection(io, service));
        tokio::select! {
            _ = connection.as_mut() => return,
            () = over => connection.as_mut().graceful_shutdown(),
        }
        let _ = connection.await;
    }
}

/// The gateway closes, or a wake of this peer ended: the next one begins with a handshake.
async fn over(closing: Closing, mut endings: Endings, own: Option<Binding>) {
    let mut closing = closing;
    let slept = async {
        loop {
            match endings.recv().await {
                Ok(ended) if Some(&ended) != own.as_ref() => {}
                // Too many endings to have seen all of them: this peer's may be among them.
                Ok(_) | Err(RecvError::Lagged(_)) => return,
                Err(RecvError::Closed) => std::future::pending().await,
            }
        }
    };
    tokio::select! {
        // A sender that is gone means the same.
        _ = closing.wait_for(|closing| *closing) => {}
        () = slept => {}
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
