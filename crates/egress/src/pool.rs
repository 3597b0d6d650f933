//! The upstream pool, on `hyper::client::conn`: connections that belong to one grant at one host.
//!
//! A connection remembers who used it (HPACK tables, TLS state, a proxy's idea of its peer), so it is
//! never shared: the key is (tenant, grant, wake, destination), typed, with no secret in it. We present
//! no client certificate upstream; when we do, that identity joins the key. Closing by key cuts what is
//! idle, what is in use and what is still being dialled, so that nothing of a killed grant outlives it.
//!
//! A connection goes back to its shelf only when both bodies have been carried to their end; else it is
//! cut. What may have been sent is never sent again: only where hyper hands the very request back,
//! because the connection ended before it was taken up, is another connection tried.
//!
//! A request that asks to switch protocols ([`Pool::switch`]) gets a connection of its own, which the same rules
//! count and close, and which goes back to no shelf, whatever is answered.
//!
//! One lock guards shelves, live connections and errands, and is never held across an await. A request is
//! handed to hyper under it: a close comes either before (and the errand is refused) or after (and the
//! connection is cut), never in between.

mod answer;
mod line;
mod shelves;
mod switch;

pub use answer::AnswerBody;
pub use switch::Switched;

use crate::{
    connect::Connector,
    destination::Destination,
    error::EgressError,
    outgoing::{Outgoing, Progress, SendBody},
};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use line::{Line, Once, TryAnswer};
use nightlatch_domain::{
    clock::Clock,
    id::{GrantId, TenantId, WakeId},
};
use shelves::Shelves;
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};
use tokio::time::timeout;

/// A shelved connection has only to notice the end of its last answer: that is one turn of its task.
const READY_WITHIN: Duration = Duration::from_millis(100);
/// After so many shelved connections that had ended, a fresh one is made.
const STALE_TRIES_MAX: usize = 8;

/// Whose connections they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PoolKey {
    /// The tenant.
    pub tenant: TenantId,
    /// The grant.
    pub grant: GrantId,
    /// The wake in which the grant acts.
    pub wake: WakeId,
}

/// What the pool holds at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolLimits {
    /// Idle connections of one key at one host. A harness runs tens of calls at once, not hundreds.
    pub idle_each_max: usize,
    /// Idle connections in all: at about 10 to 40 KiB each, tens of MiB.
    pub idle_max: usize,
    /// Open connections in all, so that file descriptors are left for callers and the store.
    pub open_max: usize,
    /// An idle connection older than this is closed: shorter than the 60 s after which many servers
    /// close theirs, so that they rarely do it under a request.
    pub idle_for: Duration,
}

impl Default for PoolLimits {
    fn default() -> Self {
        Self { idle_each_max: 64, idle_max: 1024, open_max: 4096, idle_for: Duration::from_secs(30) }
    }
}

/// How long a call waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// For a connection, TLS included.
    pub connect: Duration,
    /// For the head of the answer, counted from the last piece of the request's body.
    pub answer: Duration,
}

/// The pool. Cheap to share: clones are the same pool.
#[derive(Clone)]
pub struct Pool(Arc<Inner>);

pub(crate) struct Inner {
    connector: Arc<Connector>,
    limits: PoolLimits,
    shelves: Mutex<Shelves>,
}

impl Inner {
    pub(crate) fn shelves(&self) -> MutexGuard<'_, Shelves> {
        self.shelves.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) const fn limits(&self) -> &PoolLimits {
        &self.limits
    }

    pub(crate) fn clock(&self) -> &dyn Clock {
        self.connector.clock.as_ref()
    }
}

impl Pool {
    /// An empty pool over a connector.
    #[must_use]
    pub fn new(connector: Arc<Connector>, limits: PoolLimits) -> Self {
        Self(Arc::new(Inner { connector, limits, shelves: Mutex::new(Shelves::default()) }))
    }

    /// What makes its connections.
    #[must_use]
    pub fn connector(&self) -> &Arc<Connector> {
        &self.0.connector
    }

    /// Sends a request and waits for the head of its answer. `Host` or `:authority` are written here; a
    /// request that names another host is refused.
    ///
    /// # Errors
    /// [`EgressError`]; [`EgressError::fault`] says whether anything may have been sent.
    pub async fn send(
        &self,
        key: PoolKey,
        to: &Destination,
        request: Request<SendBody>,
        timeouts: Timeouts,
    ) -> Result<Response<AnswerBody>, EgressError> {
        let errand = Errand::begin(&self.0, key);
        let (head, body) = request.into_parts();
        let (body, progress) = Outgoing::new(body);
        let mut call = Call { errand: &errand, to, timeouts, progress };
        let mut request = Request::from_parts(head, body);
        for _ in 0..STALE_TRIES_MAX {
            let Some(line) = self.idle(&key, to) else { break };
            match call.over(line, request, READY_WITHIN).await? {
                Told::Answer(answer) => return Ok(answer),
                Told::NotTaken(back) => request = back,
            }
        }
        let line = self.open(&errand, to, timeouts.connect).await?;
        match call.over(line, request, timeouts.connect).await? {
            Told::Answer(answer) => Ok(answer),
            Told::NotTaken(_) => Err(EgressError::NotSent(to.host().to_owned())),
        }
    }

    /// Sends a request that asks to switch protocols, over a connection of its own that speaks HTTP/1.1. What is
    /// asked for stands in its head. Nothing but that head is written before the switch.
    ///
    /// # Errors
    /// As [`Pool::send`].
    pub async fn switch(
        &self,
        key: PoolKey,
        to: &Destination,
        request: Request<()>,
        timeouts: Timeouts,
    ) -> Result<Answered, EgressError> {
        let errand = Errand::begin(&self.0, key);
        let request = request.map(|()| Empty::new().map_err(|never| match never {}).boxed_unsync());
        let (head, body) = request.into_parts();
        let (body, progress) = Outgoing::new(body);
        let mut call = Call { errand: &errand, to, timeouts, progress };
        let Once { mut line, leaves, cut } = self.open_once(&errand, to, timeouts.connect).await?;
        match call.ask(&mut line, Request::from_parts(head, body), timeouts.connect).await? {
            Taken::Not(_) => Err(EgressError::NotSent(to.host().to_owned())),
            Taken::Answer(mut answer) if answer.status() == StatusCode::SWITCHING_PROTOCOLS => {
                let upgrade = hyper::upgrade::on(&mut answer);
                let lost = || EgressError::NoAnswer {
                    host: to.host().to_owned(),
                    reason: "it ended the connection",
                };
                let late = |_| EgressError::AnswerTimeout(to.host().to_owned());
                let upgraded = timeout(timeouts.answer, upgrade).await.map_err(late)?;
                let upgraded = upgraded.map_err(|_| lost())?;
                let (_, live) = line.put_down().ok_or_else(lost)?;
                let switched = Switched::new(upgraded, live, leaves, cut);
                Ok(Answered::Switched(answer.map(|_| switched)))
            }
            Taken::Answer(answer) => {
                let answer = answer.map(|incoming| AnswerBody::once(incoming, line));
                Ok(Answered::Plainly(answer))
            }
        }
    }

    /// Closes every connection of a grant, those in use too.
    pub fn close_grant(&self, tenant: TenantId, grant: GrantId) {
        self.0.shelves().close(|key| key.tenant == tenant && key.grant == grant);
    }

    /// Closes every connection of a wake, those in use too.
    pub fn close_wake(&self, tenant: TenantId, wake: WakeId) {
        self.0.shelves().close(|key| key.tenant == tenant && key.wake == wake);
    }

    /// Closes every connection of a tenant, those in use too.
    pub fn close_tenant(&self, tenant: TenantId) {
        self.0.shelves().close(|key| key.tenant == tenant);
    }

    /// Closes everything.
    pub fn close_all(&self) {
        self.0.shelves().close(|_| true);
    }

    /// How many connections are open, idle ones included.
    #[must_use]
    pub fn open_count(&self) -> usize {
        self.0.shelves().open_count()
    }

    fn idle(&self, key: &PoolKey, to: &Destination) -> Option<Line> {
        let now = self.0.clock().boot();
        self.0.shelves().take(key, to, now, &self.0.limits)
    }

    async fn open(
        &self,
        errand: &Errand<'_>,
        to: &Destination,
        connect: Duration,
    ) -> Result<Line, EgressError> {
        self.0.shelves().reserve(&self.0.limits)?;
        let reserved = Reserved(&self.0);
        let deadline = self.0.clock().boot().plus(connect);
        let connected = self.0.connector.connect(to, crate::Alpn::Http2OrHttp1, deadline).await?;
        let line = line::open(&self.0, errand, to, connected).await?;
        drop(reserved);
        self.sweep_later();
        Ok(line)
    }

    async fn open_once(
        &self,
        errand: &Errand<'_>,
        to: &Destination,
        connect: Duration,
    ) -> Result<Once, EgressError> {
        self.0.shelves().reserve(&self.0.limits)?;
        let reserved = Reserved(&self.0);
        let deadline = self.0.clock().boot().plus(connect);
        let connected = self.0.connector.connect(to, crate::Alpn::Http1, deadline).await?;
        let once = line::open_once(&self.0, errand, to, connected).await?;
        drop(reserved);
        Ok(once)
    }

    /// Ends idle connections when their time is over, as long as the pool lives.
    fn sweep_later(&self) {
        if !self.0.shelves().begin_sweeping() {
            return;
        }
        let (weak, every) = (Arc::downgrade(&self.0), self.0.limits.idle_for / 2);
        tokio::spawn(sweep(weak, every.max(Duration::from_millis(10))));
    }
}

async fn sweep(pool: Weak<Inner>, every: Duration) {
    let mut ticks = tokio::time::interval(every);
    loop {
        ticks.tick().await;
        let Some(pool) = pool.upgrade() else { return };
        let now = pool.clock().boot();
        if pool.shelves().sweep(now, &pool.limits) {
            return;
        }
    }
}

/// A place under `open_max` while a connection is being made.
struct Reserved<'a>(&'a Inner);

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        self.0.shelves().release();
    }
}

/// One call of [`Pool::send`], known to the pool until its answer's head is there, so that a close can
/// reach it while it has no connection yet.
pub(crate) struct Errand<'a> {
    pool: &'a Arc<Inner>,
    key: PoolKey,
    number: u64,
}

impl<'a> Errand<'a> {
    fn begin(pool: &'a Arc<Inner>, key: PoolKey) -> Self {
        let number = pool.shelves().begin_errand(key);
        Self { pool, key, number }
    }

    pub(crate) const fn key(&self) -> PoolKey {
        self.key
    }

    pub(crate) const fn number(&self) -> u64 {
        self.number
    }
}

impl Drop for Errand<'_> {
    fn drop(&mut self) {
        self.pool.shelves().end_errand(self.number);
    }
}

/// What came of a request that asked to switch protocols.
pub enum Answered {
    /// 101: from here on the bytes are another protocol's.
    Switched(Response<Switched>),
    /// It did not switch, and answered as it would any request.
    Plainly(Response<AnswerBody>),
}

/// What one connection made of a request.
enum Taken {
    Answer(Response<Incoming>),
    /// The connection had ended before it took the request up; here it is back, whole.
    Not(Request<Outgoing>),
}

/// The same, with the answer's body watched.
enum Told {
    Answer(Response<AnswerBody>),
    NotTaken(Request<Outgoing>),
}

struct Call<'a> {
    errand: &'a Errand<'a>,
    to: &'a Destination,
    timeouts: Timeouts,
    progress: Arc<Progress>,
}

impl Call<'_> {
    async fn over(
        &mut self,
        mut line: Line,
        request: Request<Outgoing>,
        ready_within: Duration,
    ) -> Result<Told, EgressError> {
        Ok(match self.ask(&mut line, request, ready_within).await? {
            Taken::Answer(answer) => Told::Answer(self.watched(answer, line)),
            Taken::Not(request) => Told::NotTaken(request),
        })
    }

    async fn ask(
        &mut self,
        line: &mut Line,
        request: Request<Outgoing>,
        ready_within: Duration,
    ) -> Result<Taken, EgressError> {
        let request = crate::outgoing::written_for(line.protocol(), request, self.to)?;
        if !line.is_ready_within(ready_within).await {
            return Ok(Taken::Not(request));
        }
        let asked = {
            let shelves = self.errand.pool.shelves();
            if shelves.is_cut(self.errand.number) {
                return Err(EgressError::Closed);
            }
            line.ask(request)
        };
        match self.answer_in_time(asked).await? {
            TryAnswer::Answer(answer) => Ok(Taken::Answer(answer)),
            TryAnswer::Back(request) => Ok(Taken::Not(*request)),
            TryAnswer::Lost(reason) => Err(EgressError::NoAnswer { host: self.to.host().to_owned(), reason }),
        }
    }

    /// Waits for the head; each piece of the request's body that moves starts the time anew.
    async fn answer_in_time(&self, asked: impl Future<Output = TryAnswer>) -> Result<TryAnswer, EgressError> {
        let mut asked = std::pin::pin!(asked);
        loop {
            let before = self.progress.frames();
            match timeout(self.timeouts.answer, &mut asked).await {
                Ok(told) => return Ok(told),
                Err(_) if self.progress.frames() != before => {}
                Err(_) => return Err(EgressError::AnswerTimeout(self.to.host().to_owned())),
            }
        }
    }

    fn watched(&self, answer: Response<Incoming>, line: Line) -> Response<AnswerBody> {
        let pool = Arc::downgrade(self.errand.pool);
        let progress = Arc::clone(&self.progress);
        answer.map(|incoming| AnswerBody::new(incoming, line, pool, progress))
    }
}
