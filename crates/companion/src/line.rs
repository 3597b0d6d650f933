//! The one connection to the gateway, made when it is needed and again when it was lost.
//!
//! Nothing dials by itself: a connection that the gateway closed stays closed until a program asks for a tunnel.
//! So a task that was put to sleep sleeps, however long its companion lives. After a failed attempt there is a
//! pause, in which everybody is told no at once; it grows to a bound.
//!
//! Before the first tunnel over a connection the task's wake is signed ([`wake`](crate::wake)), and again
//! before its hour is over while tunnels stand. A gateway that cannot take the signature serves nevertheless: it
//! then states by itself what it verified, and the wake is shown as that.

use crate::{
    dial::{Address, Dial},
    error::CompanionError,
    gateway_key::{GatewayKey, client_config},
    identity::Identity,
    limits::Limits,
    wake,
};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{body::Incoming, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use nightlatch_domain::id::TaskId;
use rustls::pki_types::ServerName;
use serde::Deserialize;
use std::{
    io,
    sync::{Arc, OnceLock},
    time::Duration,
};
use tokio::{
    sync::{Mutex, watch},
    task::JoinHandle,
    time::{Instant, timeout},
};
use tokio_rustls::TlsConnector;

pub(crate) type Sender = http2::SendRequest<Full<Bytes>>;
type Dialled = (Sender, JoinHandle<()>);

/// A head of ours or of the gateway is some hundred bytes.
const HEAD_MAX_BYTES: u32 = 16 * 1024;
/// What hyper holds of a tunnel's bytes for the gateway beside the window.
const SEND_BUFFER_BYTES: usize = 64 * 1024;
/// A refused proof is tried again after this.
const PROOF_PAUSE: Duration = Duration::from_secs(10);
/// A durable call is waited for up to a minute (`Prefer: wait`), and its request may take half of one to arrive.
const RELAY_WITHIN: Duration = Duration::from_secs(90);
/// A durable call as it is shown: the gateway keeps a MiB of an answer, and in JSON a byte may take six.
const RELAY_MAX_BYTES: usize = 8 * 1024 * 1024;

/// How the connection is, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Link {
    /// Nothing was asked yet, or the gateway closed it: the next tunnel opens it.
    Idle,
    /// It stands.
    Up {
        /// Whether the gateway took a signed wake over it.
        signed: bool,
    },
    /// It could not be made.
    Down {
        /// Why, in one sentence.
        why: String,
    },
}

/// The connection, or the lack of one.
pub(crate) struct Line {
    address: Address,
    dial: Box<dyn Dial>,
    key: GatewayKey,
    identity: Identity,
    tls: TlsConnector,
    limits: Limits,
    /// The task that this key was enrolled for, once it is known: no other is signed for.
    task: OnceLock<TaskId>,
    link: watch::Sender<Link>,
    state: Mutex<State>,
    /// Held while the wake is proved.
    proving: Mutex<()>,
}

#[derive(Default)]
struct State {
    current: Option<Current>,
    /// How many connections there were.
    dialled: u64,
    failures: u32,
    pause_until: Option<Instant>,
}

struct Current {
    number: u64,
    sender: Sender,
    driver: JoinHandle<()>,
    proof: Proof,
}

impl Drop for Current {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Proof {
    None,
    Taken(Instant),
    Refused(Instant),
}

/// Whether a proof is due, and whether anybody waits for it.
enum Due {
    First,
    Again,
}

impl Line {
    pub(crate) fn new(
        address: Address,
        dial: Box<dyn Dial>,
        key: GatewayKey,
        identity: Identity,
        limits: Limits,
    ) -> Result<Self, CompanionError> {
        let tls = TlsConnector::from(Arc::new(client_config(key, &identity)?));
        let (task, link, state) = (OnceLock::new(), watch::Sender::new(Link::Idle), Mutex::default());
        let proving = Mutex::default();
        Ok(Self { address, dial, key, identity, tls, limits, task, link, state, proving })
    }

    /// How it is, and each change of it.
    pub(crate) fn link(&self) -> watch::Receiver<Link> {
        self.link.subscribe()
    }

    pub(crate) const fn identity(&self) -> &Identity {
        &self.identity
    }

    pub(crate) const fn key(&self) -> &GatewayKey {
        &self.key
    }

    /// Whether this is the task of this key. The first one that the gateway names is.
    pub(crate) fn is_own_task(&self, task: TaskId) -> bool {
        *self.task.get_or_init(|| task) == task
    }

    /// Whether this is the task of this key, as an enrolment or a wake named it before.
    pub(crate) fn is_known_task(&self, task: TaskId) -> bool {
        self.task.get() == Some(&task)
    }

    /// Asks for a tunnel, over an awake task. Nothing of the program was sent before the answer, so a connection
    /// that turns out to be lost is replaced once.
    pub(crate) async fn tunnel(&self, authority: &str) -> Result<Response<Incoming>, CompanionError> {
        let mut request = Request::new(Full::default());
        *request.method_mut() = Method::CONNECT;
        *request.uri_mut() = authority.parse().map_err(|_| CompanionError::Answer)?;
        for _ in 0..2 {
            let mut sender = self.awake().await?;
            let asked = timeout(self.limits.tunnel_within, sender.send_request(request.clone())).await;
            match asked {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(_)) => {}
                Err(_) => break,
            }
        }
        Err(CompanionError::Lost)
    }

    /// Asks something of our own, whether or not the task is awake.
    pub(crate) async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Vec<u8>,
    ) -> Result<Reply, CompanionError> {
        let sender = {
            let mut state = self.state.lock().await;
            self.connected(&mut state).await?.sender.clone()
        };
        self.ask_over(sender, method, path, body).await
    }

    /// The same over a connection that is there.
    pub(crate) async fn ask_over(
        &self,
        mut sender: Sender,
        method: Method,
        path: &str,
        body: Vec<u8>,
    ) -> Result<Reply, CompanionError> {
        let authority = self.address.authority();
        let uri = Uri::builder().scheme("https").authority(authority).path_and_query(path).build();
        let mut request = Request::new(Full::new(Bytes::from(body)));
        *request.method_mut() = method;
        *request.uri_mut() = uri.map_err(|_| CompanionError::Answer)?;
        request.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let asked = async {
            let answer = sender.send_request(request).await.map_err(|_| CompanionError::Lost)?;
            Reply::read(answer).await
        };
        timeout(self.limits.ask_within, asked).await.unwrap_or(Err(CompanionError::Lost))
    }

    /// Hands a program's own question on, over an awake task. It must be one that may be sent twice: a connection that
    /// turns out to be lost is replaced once.
    pub(crate) async fn relay(&self, request: Request<Bytes>) -> Result<Relayed, CompanionError> {
        let (mut head, body) = request.into_parts();
        let uri = Uri::builder().scheme("https").authority(self.address.authority());
        let uri = uri.path_and_query(head.uri.path()).build();
        head.uri = uri.map_err(|_| CompanionError::Answer)?;
        head.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let request = Request::from_parts(head, Full::new(body));
        for _ in 0..2 {
            let mut sender = self.awake().await?;
            let asked = async {
                let answer = sender.send_request(request.clone()).await.map_err(|_| CompanionError::Lost)?;
                Relayed::read(answer).await
            };
            match timeout(RELAY_WITHIN, asked).await {
                Ok(Err(CompanionError::Lost)) => {}
                Ok(told) => return told,
                Err(_) => break,
            }
        }
        Err(CompanionError::Lost)
    }

    /// Proves the wake anew where that is due and a connection stands.
    pub(crate) async fn renew(&self) {
        let number = self.state.lock().await.current.as_ref().map(|current| current.number);
        if let Some((sender, number)) = self.standing().await.zip(number) {
            self.prove(sender, number).await;
        }
    }

    /// The connection that stands, if one does.
    pub(crate) async fn standing(&self) -> Option<Sender> {
        let state = self.state.lock().await;
        let current = state.current.as_ref().filter(|current| !current.sender.is_closed());
        current.map(|current| current.sender.clone())
    }

    /// Forgets that a proof was refused: something changed.
    pub(crate) async fn prove_again(&self) {
        if let Some(current) = self.state.lock().await.current.as_mut() {
            current.proof = Proof::None;
        }
    }

    /// A connection over which the task was woken, if the gateway takes that.
    pub(crate) async fn awake(&self) -> Result<Sender, CompanionError> {
        let (sender, number) = {
            let mut state = self.state.lock().await;
            let current = self.connected(&mut state).await?;
            (current.sender.clone(), current.number)
        };
        self.prove(sender.clone(), number).await;
        Ok(sender)
    }

    /// Proves the wake over the connection `number`, where that is due. One does; who comes meanwhile waits for it only
    /// where nothing was proved over this connection yet. Nothing else waits: a gateway may take its time.
    async fn prove(&self, sender: Sender, number: u64) {
        let _turn = match self.due(number).await {
            None => return,
            Some(Due::First) => self.proving.lock().await,
            Some(Due::Again) => match self.proving.try_lock() {
                Ok(turn) => turn,
                Err(_) => return,
            },
        };
        if self.due(number).await.is_none() {
            return;
        }
        let taken = wake::prove(self, sender).await.is_ok();
        let now = Instant::now();
        let mut state = self.state.lock().await;
        if let Some(current) = state.current.as_mut().filter(|current| current.number == number) {
            current.proof = if taken { Proof::Taken(now) } else { Proof::Refused(now) };
            self.link.send_replace(Link::Up { signed: taken });
        }
    }

    async fn due(&self, number: u64) -> Option<Due> {
        let state = self.state.lock().await;
        match state.current.as_ref().filter(|current| current.number == number)?.proof {
            Proof::None => Some(Due::First),
            Proof::Taken(at) => (at.elapsed() >= self.limits.wake_again_after).then_some(Due::Again),
            Proof::Refused(at) => (at.elapsed() >= PROOF_PAUSE).then_some(Due::Again),
        }
    }

    async fn connected<'a>(&self, state: &'a mut State) -> Result<&'a mut Current, CompanionError> {
        if state.current.as_ref().is_some_and(|current| current.sender.is_closed()) {
            state.current = None;
            self.link.send_replace(Link::Idle);
        }
        if state.current.is_none() {
            let (sender, driver) = self.dialled(state).await?;
            state.dialled += 1;
            state.current = Some(Current { number: state.dialled, sender, driver, proof: Proof::None });
        }
        state.current.as_mut().ok_or(CompanionError::Lost)
    }

    async fn dialled(&self, state: &mut State) -> Result<Dialled, CompanionError> {
        if state.pause_until.is_some_and(|until| Instant::now() < until) {
            return Err(self.unreachable("it was tried a moment ago"));
        }
        let dialled = timeout(self.limits.dial_within, self.handshake()).await;
        match dialled.unwrap_or_else(|_| Err(self.unreachable("it does not answer in time"))) {
            Ok(current) => {
                (state.failures, state.pause_until) = (0, None);
                self.link.send_replace(Link::Up { signed: false });
                Ok(current)
            }
            Err(error) => {
                let pause = self.limits.pause_first.saturating_mul(1 << state.failures.min(16));
                state.failures = state.failures.saturating_add(1);
                state.pause_until = Some(Instant::now() + pause.min(self.limits.pause_max));
                self.link.send_replace(Link::Down { why: error.to_string() });
                Err(error)
            }
        }
    }

    async fn handshake(&self) -> Result<Dialled, CompanionError> {
        let failed = |error: io::Error| self.unreachable(&error.to_string());
        let stream = self.dial.dial().await.map_err(failed)?;
        let name = ServerName::try_from(self.address.host().to_owned());
        let name = name.map_err(|_| CompanionError::Address { address: self.address.authority() })?;
        let stream = self.tls.connect(name, stream).await.map_err(|error| self.untrusted(&error))?;
        if stream.get_ref().1.alpn_protocol() != Some(b"h2") {
            return Err(self.unreachable("it does not speak HTTP/2"));
        }
        let handshake = self.http2().handshake(TokioIo::new(stream)).await;
        let (sender, connection) = handshake.map_err(|error| self.unreachable(&error.to_string()))?;
        let driver = tokio::spawn(async move {
            // Whoever uses the sender learns of its end.
            let _ = connection.await;
        });
        Ok((sender, driver))
    }

    fn http2(&self) -> http2::Builder<TokioExecutor> {
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .initial_stream_window_size(self.limits.stream_window_bytes)
            .initial_connection_window_size(self.limits.connection_window_bytes)
            .max_header_list_size(HEAD_MAX_BYTES)
            .max_send_buf_size(SEND_BUFFER_BYTES)
            .keep_alive_interval(self.limits.ping_every)
            .keep_alive_timeout(self.limits.ping_every)
            .keep_alive_while_idle(true);
        builder
    }

    fn unreachable(&self, reason: &str) -> CompanionError {
        CompanionError::Unreachable { address: self.address.authority(), reason: reason.to_owned() }
    }

    /// Another key is said as such: it is the one failure that must not be waited out.
    fn untrusted(&self, error: &io::Error) -> CompanionError {
        use rustls::{CertificateError::ApplicationVerificationFailure, Error};
        let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
        match tls {
            Some(Error::InvalidCertificate(ApplicationVerificationFailure)) => {
                CompanionError::WrongKey { address: self.address.authority() }
            }
            _ => self.unreachable(&error.to_string()),
        }
    }
}

/// A whole answer of the gateway for a program.
pub(crate) struct Relayed {
    pub(crate) status: http::StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Relayed {
    /// One that says nothing more.
    pub(crate) fn empty(status: http::StatusCode) -> Self {
        Self { status, headers: HeaderMap::new(), body: Bytes::new() }
    }

    async fn read(answer: Response<Incoming>) -> Result<Self, CompanionError> {
        let (head, body) = answer.into_parts();
        let body = Limited::new(body, RELAY_MAX_BYTES).collect().await.map_err(|_| CompanionError::Lost)?;
        Ok(Self { status: head.status, headers: head.headers, body: body.to_bytes() })
    }
}

/// A whole answer of the gateway to one of our own questions.
pub(crate) struct Reply {
    status: http::StatusCode,
    body: Bytes,
}

impl Reply {
    /// Certificates of the tools of a task are some kilobytes each; there are at most some dozens.
    const MAX_BYTES: usize = 1 << 20;

    async fn read(answer: Response<Incoming>) -> Result<Self, CompanionError> {
        let (head, body) = answer.into_parts();
        let body = Limited::new(body, Self::MAX_BYTES).collect().await.map_err(|_| CompanionError::Answer)?;
        Ok(Self { status: head.status, body: body.to_bytes() })
    }

    /// The body of a 2xx; the gateway's refusal else.
    pub(crate) fn success(self) -> Result<Bytes, CompanionError> {
        if self.status.is_success() { Ok(self.body) } else { Err(self.refusal()) }
    }

    fn refusal(&self) -> CompanionError {
        #[derive(Deserialize, Default)]
        #[serde(default)]
        struct Told {
            r#type: String,
            detail: String,
        }
        let told: Told = serde_json::from_slice(&self.body).unwrap_or_default();
        let kind = told.r#type.rsplit('/').next().unwrap_or_default().to_owned();
        CompanionError::Refused { status: self.status.as_u16(), kind, detail: told.detail }
    }
}
