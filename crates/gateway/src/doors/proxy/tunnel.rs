//! One tunnel, from the 200 to its end.

use super::{
    hello::{self, Hello, NoHello},
    splice,
};
use crate::{
    answer,
    corridor::{self, Opening, Reach},
    gateway::{Busy, Ends, Moving, Served, Shared, TunnelPlace, serve, slept},
    peer::{Peer, Through},
    wakes::Endings,
};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use nightlatch_domain::{
    clock::random,
    id::CallId,
    ports::{Boxed, sight::Door},
    problem::{Problem, ProblemKind},
};
use nightlatch_egress::Destination;
use rustls::{
    ServerConfig,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};
use tokio::{io::AsyncWriteExt as _, net::TcpStream, time::timeout};
use tokio_rustls::server::{StartHandshake, TlsStream};

/// Where a tunnel leads.
pub(super) enum Way {
    /// To ourselves, standing for this host of a tool.
    Intercepted(Destination),
    /// To ourselves, as the proxy of a local client that speaks plain HTTP.
    PlainHttp,
    /// To a host that no tool has.
    Spliced { to: Destination, socket: TcpStream, opening: Opening },
}

impl Way {
    const fn host(&self) -> Option<&Destination> {
        match self {
            Self::Intercepted(to) | Self::Spliced { to, .. } => Some(to),
            Self::PlainHttp => None,
        }
    }
}

/// A tunnel that was granted. Its place, and its part in what keeps the connection busy, end with it.
pub(super) struct Tunnel {
    pub(super) shared: Arc<Shared>,
    pub(super) peer: Arc<Peer>,
    pub(super) way: Way,
    pub(super) upgrade: OnUpgrade,
    pub(super) ends: Ends,
    /// What has ended since before it was granted.
    pub(super) endings: Endings,
    pub(super) place: TunnelPlace,
    pub(super) busy: Busy,
}

type Inner = Moving<TokioIo<Upgraded>>;

/// Runs a tunnel to its end.
pub(super) fn run(tunnel: Tunnel) -> Boxed<'static, ()> {
    // A named type: what is served inside may be asked for a tunnel too, and refuses it.
    Box::pin(async move {
        // By name, each of them: what an async block does not name it does not keep.
        let Tunnel { shared, peer, way, upgrade, ends, mut endings, place: _place, busy: _busy } = tunnel;
        let to = way.host().cloned();
        let inside = Inside {
            shared: &shared,
            peer: &peer,
            ends: &ends,
            to: to.as_ref(),
            is_settled: AtomicBool::new(false),
        };
        let begun = tokio::select! {
            // Over HTTP/1.1 the connection around it is no more, and nobody else hears of it.
            () = slept(&mut endings, peer.binding.as_ref()) => return,
            begun = inside.begin(way, upgrade) => begun,
        };
        if begun.is_some() {
            inside.settle();
        }
        drop(inside);
        match begun {
            None => {}
            Some(Begun::Plain(stream)) => {
                let peer = Arc::new(peer.inside(Through::PlainProxy, None));
                serve(&shared, Served { peer, stream, is_http2: false, ends, endings }).await;
            }
            Some(Begun::Secure { to, server_name, stream }) => {
                let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                let peer = Arc::new(peer.inside(Through::Tunnel(to), server_name));
                serve(&shared, Served { peer, stream, is_http2, ends, endings }).await;
            }
            Some(Begun::Spliced { stream, first, socket, opening }) => {
                let until = splice::Until { opening: &opening, limits: &shared.corridor.limits, ends };
                splice::run(stream, socket, &first, until).await;
            }
        }
    })
}

/// A tunnel of which it is known what runs in it.
enum Begun {
    Plain(Inner),
    Secure { to: Destination, server_name: Option<String>, stream: Box<TlsStream<Inner>> },
    Spliced { stream: Inner, first: Vec<u8>, socket: TcpStream, opening: Opening },
}

/// What a tunnel has on this side. Where it ends before anything was asked in it, and was not refused, that is
/// recorded when this goes, however it ends: whoever looks which hosts there are leaves a trace, too.
struct Inside<'a> {
    shared: &'a Arc<Shared>,
    peer: &'a Arc<Peer>,
    ends: &'a Ends,
    /// The host that it was asked for.
    to: Option<&'a Destination>,
    /// Whether it was refused, or came about.
    is_settled: AtomicBool,
}

impl Inside<'_> {
    /// Waits for the tunnel, and for what shows that its other side means what it asked for.
    async fn begin(&self, way: Way, upgrade: OnUpgrade) -> Option<Begun> {
        let limits = &self.shared.corridor.limits;
        let upgraded = timeout(limits.handshake_within, upgrade).await.ok()?.ok()?;
        let given_up = self.ends.given_up.clone().unwrap_or_default();
        // Where one connection carries many tunnels, that it moves says nothing of this one.
        let stream = Moving::new(TokioIo::new(upgraded), limits.body_idle, given_up, |_| {});
        match way {
            Way::PlainHttp => Some(Begun::Plain(stream)),
            Way::Intercepted(to) => self.intercept(to, stream).await,
            Way::Spliced { to, socket, opening } => self.splice(&to, stream, socket, opening).await,
        }
    }

    /// Speaks TLS in the host's name.
    async fn intercept(&self, to: Destination, mut stream: Inner) -> Option<Begun> {
        let hello = self.hello(&mut stream).await?;
        let server_name = hello.server_name();
        // RFC 6066 §3: only an address goes without a name.
        let config = match server_name.is_none() && to.literal().is_none() {
            true => Err(Problem::new(ProblemKind::Misdirected).at_field("server-name")),
            false => self.config(&to).await,
        };
        let Hello { accepted, bytes: _ } = hello;
        let handshake = StartHandshake::from_parts(accepted, stream);
        let config = match config {
            Ok(config) => config,
            Err(problem) => {
                self.refuse(problem).await;
                self.turn_away(handshake).await;
                return None;
            }
        };
        let within = self.shared.corridor.limits.handshake_within;
        let stream = timeout(within, handshake.into_stream(config)).await.ok()?.ok()?;
        Some(Begun::Secure { to, server_name, stream: Box::new(stream) })
    }

    /// The first bytes, if they are TLS. A refusal is recorded, and told in plain HTTP, since plain HTTP is
    /// what somebody mostly tried.
    async fn hello(&self, stream: &mut Inner) -> Option<Hello> {
        let within = self.shared.corridor.limits.handshake_within;
        match timeout(within, hello::read(stream)).await {
            Ok(Ok(hello)) => Some(hello),
            Ok(Err(NoHello::NotTls)) => {
                let problem = self.refuse(Problem::new(ProblemKind::BadRequest).at_field("tunnel")).await;
                let told = async {
                    stream.write_all(&answer::in_plain_http(&problem)).await?;
                    stream.shutdown().await
                };
                // Whoever does not take it has closed already.
                let _ = timeout(within, told).await;
                None
            }
            Ok(Err(NoHello::Gone)) | Err(_) => None,
        }
    }

    /// TLS for a host, in the name of the first tool that has it and that the task has a living grant for; of
    /// the first tool, where there is none.
    async fn config(&self, to: &Destination) -> Result<Arc<ServerConfig>, Problem> {
        let corridor = &self.shared.corridor;
        let denied = || Problem::new(ProblemKind::DestinationDenied).at_field("target");
        // What was so when the tunnel was asked for may not be any more.
        let Reach::Bound(parts) = corridor.reach(self.peer, to)? else { return Err(denied()) };
        let admitted = corridor.admitted(self.peer)?;
        let (tables, caller) = (corridor.directory.tables(), admitted.caller);
        let granted = tables.granted_tools(caller.tenant, caller.task, corridor.clock.now());
        let first = || parts.first().map(|part| &part.tool);
        let tool = parts.iter().map(|part| &part.tool).find(|tool| granted.contains(*tool)).or_else(first);
        let tool = tool.ok_or_else(denied)?;
        let names = tables.intercepted_names(caller.tenant, tool);
        let made = self.shared.standing.server((caller.tenant, tool.clone()), names, to.host()).await;
        made.map_err(|error| {
            tracing::error!(%error, "no certificate could be made for a tunnel");
            Problem::new(ProblemKind::Internal)
        })
    }

    async fn splice(
        &self,
        to: &Destination,
        mut stream: Inner,
        socket: TcpStream,
        opening: Opening,
    ) -> Option<Begun> {
        let Hello { accepted, bytes: first } = self.hello(&mut stream).await?;
        let is_meant =
            accepted.client_hello().server_name().is_some_and(|name| name.eq_ignore_ascii_case(to.host()));
        if !is_meant {
            self.refuse(Problem::new(ProblemKind::Misdirected).at_field("server-name")).await;
            self.turn_away(StartHandshake::from_parts(accepted, stream)).await;
            return None;
        }
        Some(Begun::Spliced { stream, first, socket, opening })
    }

    /// Ends a handshake by an alert.
    async fn turn_away(&self, handshake: StartHandshake<Inner>) {
        let builder = ServerConfig::builder_with_provider(nightlatch_egress::tls::provider());
        let Ok(builder) = builder.with_safe_default_protocol_versions() else { return };
        let config = builder.with_no_client_auth().with_cert_resolver(Arc::new(Nobody));
        let within = self.shared.corridor.limits.handshake_within;
        // It fails by design; the alert is what the other side learns, if it reads.
        drop(timeout(within, handshake.into_stream(Arc::new(config))).await);
    }

    /// Records that the tunnel was refused after it stood.
    async fn refuse(&self, problem: Problem) -> Problem {
        self.settle();
        let Some(call) = self.call() else { return problem };
        let of = (call, Some(Door::Proxy));
        corridor::note_refusal(&self.shared.corridor, self.peer, of, problem, self.to).await
    }

    fn settle(&self) {
        self.is_settled.store(true, Ordering::Relaxed);
    }

    fn call(&self) -> Option<CallId> {
        let noise = random(self.shared.entropy.as_ref()).ok()?;
        Some(CallId::new(self.shared.corridor.clock.now(), noise))
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        if !self.is_settled.load(Ordering::Relaxed)
            && let Some(call) = self.call()
        {
            corridor::note_unasked(&self.shared.corridor, self.peer, call, self.to);
        }
    }
}

/// Stands for no host.
#[derive(Debug)]
struct Nobody;

impl ResolvesServerCert for Nobody {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        None
    }
}
