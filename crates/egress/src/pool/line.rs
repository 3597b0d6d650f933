//! One connection of the pool, and what is asked over it.

use super::{Errand, Inner, PoolKey};
use crate::{
    connect::{Connected, Protocol},
    destination::Destination,
    error::EgressError,
    outgoing::Outgoing,
};
use http::{Request, Response};
use hyper::{
    body::Incoming,
    client::conn::{TrySendError, http1, http2},
    rt::Executor,
};
use hyper_util::rt::TokioIo;
use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{sync::watch, time::timeout};

/// The head of an answer, in bytes and in fields. A hostile server may send no more than this.
const ANSWER_HEAD_MAX_BYTES: u32 = 64 * 1024;
const ANSWER_FIELDS_MAX: usize = 128;
/// HTTP/2 windows: what one stream and one connection may have under way, and so what a slow reader
/// costs in memory at most.
const STREAM_WINDOW_BYTES: u32 = 256 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;

/// A connection that is open: how to cut it, and how many calls run over it.
pub(crate) struct Live {
    pub(crate) number: u64,
    pub(crate) key: PoolKey,
    pub(crate) to: Destination,
    cut: watch::Sender<bool>,
    calls: AtomicUsize,
}

/// Ends every task of one connection together. hyper gives an HTTP/2 connection several tasks, and the
/// one that holds the socket is not the one that we drive.
#[derive(Clone)]
struct Tasks(watch::Receiver<bool>);

impl<F: Future<Output: Send> + Send + 'static> Executor<F> for Tasks {
    fn execute(&self, task: F) {
        let mut cut = self.0.clone();
        tokio::spawn(async move {
            tokio::select! {
                _ = task => {}
                // Also when the sender is gone: a connection that nobody holds has no one to serve.
                _ = cut.wait_for(|cut| *cut) => {}
            }
        });
    }
}

impl Live {
    fn new(number: u64, key: PoolKey, to: Destination, cut: watch::Sender<bool>) -> Self {
        Self { number, key, to, cut, calls: AtomicUsize::new(0) }
    }

    /// Ends the connection at once, with whatever runs over it.
    pub(crate) fn cut(&self) {
        self.cut.send_replace(true);
    }

    pub(crate) fn is_busy(&self) -> bool {
        self.calls.load(Ordering::Acquire) > 0
    }
}

pub(crate) enum Sender {
    Http1(http1::SendRequest<Outgoing>),
    Http2(http2::SendRequest<Outgoing>),
}

impl Sender {
    pub(crate) fn is_closed(&self) -> bool {
        match self {
            Self::Http1(sender) => sender.is_closed(),
            Self::Http2(sender) => sender.is_closed(),
        }
    }

    /// Whether one connection carries many calls at once.
    pub(crate) const fn is_shared(&self) -> bool {
        matches!(self, Self::Http2(_))
    }

    /// Another handle of a connection that carries many calls at once; none where it carries one.
    pub(crate) fn another(&self) -> Option<Self> {
        match self {
            Self::Http1(_) => None,
            Self::Http2(sender) => Some(Self::Http2(sender.clone())),
        }
    }
}

/// The right to make one call over a connection. Dropped before [`Line::put_down`], it cuts a
/// connection that carries one call at a time, because what is left on it is not known.
pub(crate) struct Line {
    sender: Option<Sender>,
    live: Arc<Live>,
}

impl Line {
    pub(crate) fn new(sender: Sender, live: Arc<Live>) -> Self {
        live.calls.fetch_add(1, Ordering::AcqRel);
        Self { sender: Some(sender), live }
    }

    pub(crate) const fn protocol(&self) -> Protocol {
        match &self.sender {
            Some(Sender::Http2(_)) => Protocol::Http2,
            _ => Protocol::Http1,
        }
    }

    /// Whether a request would be taken up. A connection that had ended says no.
    pub(crate) async fn is_ready_within(&mut self, limit: Duration) -> bool {
        let ready = async {
            match self.sender.as_mut() {
                Some(Sender::Http1(sender)) => sender.ready().await.is_ok(),
                Some(Sender::Http2(sender)) => sender.ready().await.is_ok(),
                None => false,
            }
        };
        timeout(limit, ready).await.unwrap_or(false)
    }

    /// Hands a request over. Handing over is done when this returns; the future waits for the answer.
    pub(crate) fn ask(
        &mut self,
        request: Request<Outgoing>,
    ) -> impl Future<Output = TryAnswer> + Send + use<> {
        let asked: Result<Asked, Request<Outgoing>> = match self.sender.as_mut() {
            Some(Sender::Http1(sender)) => Ok(Box::pin(sender.try_send_request(request))),
            Some(Sender::Http2(sender)) => Ok(Box::pin(sender.try_send_request(request))),
            None => Err(request),
        };
        async move {
            match asked {
                Ok(asked) => asked.await.map_or_else(TryAnswer::from, TryAnswer::Answer),
                Err(request) => TryAnswer::Back(Box::new(request)),
            }
        }
    }

    /// Gives the connection back: both bodies have come to their end.
    pub(crate) fn put_down(mut self) -> Option<(Sender, Arc<Live>)> {
        self.sender.take().map(|sender| (sender, Arc::clone(&self.live)))
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.live.calls.fetch_sub(1, Ordering::AcqRel);
        if matches!(self.sender, Some(Sender::Http1(_))) {
            self.live.cut();
        }
    }
}

type Asked =
    Pin<Box<dyn Future<Output = Result<Response<Incoming>, TrySendError<Request<Outgoing>>>> + Send>>;

/// What became of a request.
pub(crate) enum TryAnswer {
    Answer(Response<Incoming>),
    /// Not taken up: not one byte of it was written.
    Back(Box<Request<Outgoing>>),
    /// Taken up, and lost.
    Lost(&'static str),
}

impl From<TrySendError<Request<Outgoing>>> for TryAnswer {
    fn from(mut failed: TrySendError<Request<Outgoing>>) -> Self {
        if let Some(request) = failed.take_message() {
            return Self::Back(Box::new(request));
        }
        let error = failed.error();
        Self::Lost(match error {
            _ if error.is_parse_too_large() => "the head of its answer is over the limit",
            _ if error.is_parse() => "what it sent is no HTTP",
            _ if error.is_user() => "the body of the request broke off",
            _ => "it ended the connection",
        })
    }
}

/// Begins HTTP on a connection and makes it known to the pool.
pub(crate) async fn open(
    pool: &Arc<Inner>,
    errand: &Errand<'_>,
    to: &Destination,
    connected: Connected,
) -> Result<Line, EgressError> {
    let not_sent = |_| EgressError::NotSent(to.host().to_owned());
    let io = TokioIo::new(connected.stream);
    let (cut, watched) = watch::channel(false);
    let tasks = Tasks(watched);
    match connected.protocol {
        Protocol::Http1 => {
            let begun = http1_settings().handshake(io).await;
            let (sender, driver) = begun.map_err(not_sent)?;
            adopt(pool, errand, to, Sender::Http1(sender), cut, |leaves| {
                tasks.execute(driven(driver, leaves))
            })
        }
        Protocol::Http2 => {
            let begun = http2_settings(tasks.clone()).handshake(io).await;
            let (sender, driver) = begun.map_err(not_sent)?;
            adopt(pool, errand, to, Sender::Http2(sender), cut, |leaves| {
                tasks.execute(driven(driver, leaves))
            })
        }
    }
}

/// A connection for one request that asks to switch protocols, and what outlives HTTP on it.
pub(crate) struct Once {
    pub(crate) line: Line,
    pub(crate) leaves: Arc<Leaves>,
    pub(crate) cut: watch::Receiver<bool>,
}

/// Begins HTTP/1.1 on a connection that will carry one request and perhaps switch.
pub(crate) async fn open_once(
    pool: &Arc<Inner>,
    errand: &Errand<'_>,
    to: &Destination,
    connected: Connected,
) -> Result<Once, EgressError> {
    let not_sent = || EgressError::NotSent(to.host().to_owned());
    // Only HTTP/1.1 was offered.
    if connected.protocol != Protocol::Http1 {
        return Err(not_sent());
    }
    let (cut, watched) = watch::channel(false);
    let begun = http1_settings().handshake(TokioIo::new(connected.stream)).await;
    let (sender, driver) = begun.map_err(|_| not_sent())?;
    let (tasks, mut kept) = (Tasks(watched.clone()), None);
    let line = adopt(pool, errand, to, Sender::Http1(sender), cut, |leaves| {
        let leaves = kept.insert(Arc::new(leaves));
        tasks.execute(driven(driver.with_upgrades(), Arc::clone(leaves)));
    })?;
    Ok(Once { line, leaves: kept.ok_or_else(not_sent)?, cut: watched })
}

async fn driven<T>(driver: impl Future<Output = T>, leaves: impl Send) {
    let _leaves = leaves;
    driver.await;
}

fn adopt(
    pool: &Arc<Inner>,
    errand: &Errand<'_>,
    to: &Destination,
    sender: Sender,
    cut: watch::Sender<bool>,
    drive: impl FnOnce(Leaves),
) -> Result<Line, EgressError> {
    let number = pool.shelves().next_number();
    let ended = Arc::new(AtomicBool::new(false));
    drive(Leaves { pool: Arc::downgrade(pool), number, ended: Arc::clone(&ended) });
    let live = Arc::new(Live::new(number, errand.key(), to.clone(), cut));
    let mut shelves = pool.shelves();
    if shelves.is_cut(errand.number()) {
        live.cut();
        return Err(EgressError::Closed);
    }
    if !ended.load(Ordering::Acquire) {
        shelves.add(Arc::clone(&live), sender.another(), pool.clock().boot());
    }
    Ok(Line::new(sender, live))
}

/// Strikes a connection off when its task ends, by itself or cut. The mark comes first, so that a
/// connection which ended before it was entered is never entered.
pub(crate) struct Leaves {
    pool: Weak<Inner>,
    number: u64,
    ended: Arc<AtomicBool>,
}

impl Drop for Leaves {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Release);
        if let Some(pool) = self.pool.upgrade() {
            pool.shelves().strike_off(self.number);
        }
    }
}

fn http1_settings() -> http1::Builder {
    let mut settings = http1::Builder::new();
    let bytes = ANSWER_HEAD_MAX_BYTES as usize;
    settings.max_headers(ANSWER_FIELDS_MAX).max_header_size(bytes).max_buf_size(bytes);
    settings
}

fn http2_settings(tasks: Tasks) -> http2::Builder<Tasks> {
    let mut settings = http2::Builder::new(tasks);
    settings
        .max_header_list_size(ANSWER_HEAD_MAX_BYTES)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES);
    settings
}
