//! Serves a router on a listener, with a bound on everything that a peer can grow: connections, the head
//! and the time that it may take. Both faces (the API's socket and the redirect listener) run on it.

use axum::{Router, serve::Listener};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use std::{pin::pin, sync::Arc, time::Duration};
use tokio::{
    sync::{Semaphore, watch},
    task::JoinSet,
};

/// Connections at once on one listener: a human's commands and a browser need a handful.
const CONNECTIONS_LIMIT: usize = 64;
/// How long a peer may take for the head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// The largest head.
const HEAD_LIMIT_BYTES: usize = 32 * 1024;
/// How long running requests are let finish when the server stops.
const GRACE: Duration = Duration::from_secs(5);

/// Serves until `stop` becomes true, then lets running requests finish for a moment.
pub async fn serve<L: Listener>(mut listener: L, router: Router, mut stop: watch::Receiver<bool>) {
    let permits = Arc::new(Semaphore::new(CONNECTIONS_LIMIT));
    let mut connections = JoinSet::new();
    loop {
        let accepted = async {
            let permit = Arc::clone(&permits).acquire_owned().await;
            (permit, listener.accept().await.0)
        };
        // Also while every place is taken, what says stop is heard.
        let (permit, io) = tokio::select! {
            (Ok(permit), io) = accepted => (permit, io),
            () = stopped(&mut stop) => break,
            else => break,
        };
        let (router, stop) = (router.clone(), stop.clone());
        connections.spawn(async move {
            connection(io, router, stop).await;
            drop(permit);
        });
        while connections.try_join_next().is_some() {}
    }
    let _ = tokio::time::timeout(GRACE, async { while connections.join_next().await.is_some() {} }).await;
}

/// Answers when a human, or the program, says stop.
pub(crate) async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error means that nobody is left who could say it: then it is over as well.
    let _ = stop.wait_for(|stop| *stop).await;
}

async fn connection<I>(io: I, router: Router, mut stop: watch::Receiver<bool>)
where
    I: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        // One request a connection: who pipelines and never reads would hold its place for good.
        .keep_alive(false)
        .max_buf_size(HEAD_LIMIT_BYTES)
        .serve_connection(TokioIo::new(io), TowerToHyperService::new(router));
    let mut serving = pin!(serving);
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        () = stopped(&mut stop) => {
            serving.as_mut().graceful_shutdown();
            tokio::time::timeout(GRACE, serving).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended badly");
    }
}
