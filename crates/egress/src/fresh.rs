//! One fresh HTTP/1.1 connection for one request: what the keeper presents a refresh token over, and what a webhook is
//! told over.
//!
//! The keeper must know whether a byte of its request may have left, because a refresh token that was
//! presented once must not be presented again. So there is no pool, no retry and no redirect here, and
//! the answer to that question is not guessed from an error's kind: [`FirstByte`] stands between hyper
//! and the socket, checks the send deadline and sets its mark in the same call that hands the first
//! byte down, with no await in between. hyper flattens head and body into one buffer (the stream is not
//! vectored), so the request goes down in one write. The process may still be stopped between the check and the write;
//! nothing prevents that, so the clock is read once more when the first write has returned, and [`RawAnswer::late_by`]
//! tells what it showed.
//!
//! `SO_LINGER{1,0}`: when the process or the connection dies, the kernel forgets unsent bytes and sends
//! a reset, in place of delivering them seconds after the claim has passed to another.
//! `TCP_USER_TIMEOUT` bounds how long it tries while we live.

use crate::{
    connect::{Connector, Protocol},
    destination::Destination,
    error::EgressError,
    lookups::Asker,
    outgoing::origin_form,
    stream::Stream,
    tls::Alpn,
};
use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use nightlatch_domain::clock::{Boot, Clock};
use std::{
    io,
    net::SocketAddr,
    pin::{Pin, pin},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::timeout,
};

/// A connection on which nothing was said yet.
pub struct FreshConnection {
    stream: Stream,
    peer: SocketAddr,
    to: Destination,
    clock: Arc<dyn Clock>,
}

/// Until when a request may begin to leave, and until when its answer is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SendWindow {
    /// At or after this no first byte is written.
    pub send_by: Boot,
    /// At this the answer is given up.
    pub answer_by: Boot,
}

/// An answer, as it came. No `Debug`: a token endpoint's answer is a secret.
pub struct RawAnswer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The whole body. It may hold secrets: the caller moves it into a `Secret` at once.
    pub body: Vec<u8>,
    /// How long after the send deadline the first byte may have left, where it may have.
    pub late_by: Option<Duration>,
}

/// Why there is no whole answer.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// It is certain that no byte of the request left.
    #[error("nothing was written: {0}")]
    NothingWritten(#[from] EgressError),
    /// The first byte may have left. What happened is not known.
    #[error("the request may have arrived, and no whole answer came: {reason}")]
    AfterFirstByte {
        /// What ended it.
        reason: LostAnswer,
        /// The status, where the head of the answer came.
        status: Option<StatusCode>,
        /// How long after the send deadline the first byte may have left, where it may have.
        late_by: Option<Duration>,
    },
}

/// How an answer was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LostAnswer {
    /// It did not come in time.
    #[error("it did not come in time")]
    TimedOut,
    /// The connection ended, or what came was no HTTP.
    #[error("the connection broke off or what came was no HTTP")]
    BrokenOff,
    /// It is larger than the caller's limit.
    #[error("it is larger than the limit")]
    TooLarge,
}

impl Connector {
    /// Dials and finishes TLS for one HTTP/1.1 request; nothing is said yet.
    ///
    /// # Errors
    /// As [`Connector::connect`].
    pub async fn fresh_http1(
        &self,
        to: &Destination,
        deadline: Boot,
    ) -> Result<FreshConnection, EgressError> {
        self.fresh_for(Asker::Keeper, to, deadline).await
    }

    /// The same for a message to a webhook, which takes no place of the keeper's.
    ///
    /// # Errors
    /// As [`Connector::connect`].
    pub async fn fresh_to_webhook(
        &self,
        to: &Destination,
        deadline: Boot,
    ) -> Result<FreshConnection, EgressError> {
        self.fresh_for(Asker::Webhook, to, deadline).await
    }

    async fn fresh_for(
        &self,
        asker: Asker,
        to: &Destination,
        deadline: Boot,
    ) -> Result<FreshConnection, EgressError> {
        let connected = self.connect_for(asker, to, Alpn::Http1, deadline).await?;
        let failed =
            |reason: &str| EgressError::Tls { host: to.host().to_owned(), reason: reason.to_owned() };
        if connected.protocol != Protocol::Http1 {
            // RFC 7301 §3.2: a server selects only what was offered.
            return Err(failed("the server chose a protocol that was not offered"));
        }
        let unreachable =
            |error: io::Error| EgressError::Unreachable { host: to.host().to_owned(), kind: error.kind() };
        connected.stream.socket().set_zero_linger().map_err(unreachable)?;
        let (stream, peer) = (connected.stream, connected.peer);
        Ok(FreshConnection { stream, peer, to: to.clone(), clock: Arc::clone(&self.clock) })
    }
}

impl FreshConnection {
    /// The address at the other end.
    #[must_use]
    pub const fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Sends one request, and reads its answer up to `answer_max_bytes`. The request's target is in
    /// origin form; `Host` is set here. Dropping the future resets the connection.
    ///
    /// # Errors
    /// [`SendError`], which says whether a byte may have left.
    pub async fn send_once(
        self,
        request: Request<Bytes>,
        answer_max_bytes: usize,
        window: SendWindow,
    ) -> Result<RawAnswer, SendError> {
        let request = origin_form(request.map(Full::new), &self.to)?;
        let not_sent = || EgressError::NotSent(self.to.host().to_owned());
        give_up_after(&self.stream, window.send_by.since(self.clock.boot())).map_err(|_| not_sent())?;
        let left = window.answer_by.since(self.clock.boot());
        let mark = Arc::new(Mark::default());
        let guarded = FirstByte {
            stream: self.stream,
            clock: Arc::clone(&self.clock),
            send_by: window.send_by,
            mark: Arc::clone(&mark),
        };
        let told = timeout(left, exchange(guarded, request, answer_max_bytes)).await;
        let late_by = mark.late_by.get().copied().flatten();
        let (reason, status) = match told {
            Ok(Ok(answer)) => return Ok(RawAnswer { late_by, ..answer }),
            Ok(Err(lost)) => lost,
            Err(_) => (LostAnswer::TimedOut, None),
        };
        if mark.wrote.load(Ordering::SeqCst) {
            return Err(SendError::AfterFirstByte { reason, status, late_by });
        }
        Err(SendError::NothingWritten(EgressError::NotSent(self.to.host().to_owned())))
    }
}

/// `TCP_USER_TIMEOUT`, in milliseconds (RFC 5482; tcp(7)); zero would mean the system's own.
fn give_up_after(stream: &Stream, left: Duration) -> io::Result<()> {
    let millis = u32::try_from(left.as_millis()).unwrap_or(u32::MAX).max(1);
    Ok(rustix::net::sockopt::set_tcp_user_timeout(stream.socket(), millis)?)
}

type Lost = (LostAnswer, Option<StatusCode>);

async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(
    io: FirstByte<S>,
    request: Request<Full<Bytes>>,
    max_bytes: usize,
) -> Result<RawAnswer, Lost> {
    let broken = |_| (LostAnswer::BrokenOff, None);
    let (mut sender, connection) = http1::Builder::new().handshake(TokioIo::new(io)).await.map_err(broken)?;
    let mut connection = pin!(connection);
    let mut asked =
        pin!(async { collect(sender.send_request(request).await.map_err(broken)?, max_bytes).await });
    tokio::select! {
        answer = &mut asked => answer,
        // The connection has ended; what it had read by then still comes.
        _ = &mut connection => asked.await,
    }
}

async fn collect(answer: Response<Incoming>, max_bytes: usize) -> Result<RawAnswer, Lost> {
    let (head, mut incoming) = answer.into_parts();
    let lost = |reason| (reason, Some(head.status));
    let mut body = Vec::new();
    while let Some(frame) = incoming.frame().await {
        let frame = frame.map_err(|_| lost(LostAnswer::BrokenOff))?;
        let Ok(data) = frame.into_data() else { continue };
        if body.len() + data.len() > max_bytes {
            return Err(lost(LostAnswer::TooLarge));
        }
        body.extend_from_slice(&data);
    }
    Ok(RawAnswer { status: head.status, headers: head.headers, body, late_by: None })
}

/// What is known of the first byte.
#[derive(Default)]
struct Mark {
    /// It was handed down.
    wrote: AtomicBool,
    /// The first write has returned: this long after the deadline, or in time.
    late_by: OnceLock<Option<Duration>>,
}

/// The mark between *certainly not sent* and *may have been sent*.
struct FirstByte<S> {
    stream: S,
    clock: Arc<dyn Clock>,
    send_by: Boot,
    mark: Arc<Mark>,
}

impl<S: AsyncRead + Unpin> AsyncRead for FirstByte<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, into)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for FirstByte<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if !self.mark.wrote.load(Ordering::SeqCst) {
            if self.clock.boot() >= self.send_by {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            self.mark.wrote.store(true, Ordering::SeqCst);
        }
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        if written.is_ready() && self.mark.late_by.get().is_none() {
            let now = self.clock.boot();
            let _ = self.mark.late_by.set((now >= self.send_by).then(|| now.since(self.send_by)));
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;
