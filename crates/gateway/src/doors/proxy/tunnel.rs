//! One tunnel, from the 200 to its end.

use super::{
    hello::{self, Hello, NoHello},
    splice,
};
use crate::{
    answer,
    corridor::{self, Opening, Reach},
    gateway::{Busy, Ends, Moving, Served, Shared, TunnelPlace, serve},
    peer::{Peer, Through},
};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use nightlatch_domain::{
    clock::random,
    id::CallId,
    ports::Boxed,
    problem::{Problem, ProblemKind},
};
use nightlatch_egress::Destination;
use rustls::{
    ServerConfig,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use std::sync::Arc;
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::server::StartHandshake;

/// Where a tunnel leads.
pub(super) enum Way {
    /// To ourselves, standing for this host of a tool.
    Intercepted(Destination),
    /// To ourselves, as the proxy of a local client that speaks plain HTTP.
    PlainHttp,
    /// To a host that no tool has.
    Spliced { to: Destination, socket: TcpStream, opening: Opening },
}

/// A tunnel that was granted. Its place, and its part in what keeps the connection busy, end with it.
pub(super) struct Tunnel {
    pub(super) shared: Arc<Shared>,
    pub(super) peer: Arc<Peer>,
    pub(super) way: Way,
    pub(super) upgrade: OnUpgrade,
    pub(super) ends: Ends,
    pub(super) place: TunnelPlace,
    pub(super) busy: Busy,
}

type Inner = Moving<TokioIo<Upgraded>>;

/// Runs a tunnel to its end.
pub(super) fn run(tunnel: Tunnel) -> Boxed<'static, ()> {
    // A named type: what is served inside may be asked for a tunnel too, and refuses it.
    Box::pin(async move {
        // By name, each of them: what an async block does not name it does not keep.
        let Tunnel { shared, peer, way, upgrade, ends, place: _place, busy: _busy } = tunnel;
        let limits = shared.corridor.limits;
        let Ok(Ok(upgraded)) = timeout(limits.handshake_within, upgrade).await else { return };
        let given_up = ends.given_up.clone().unwrap_or_default();
        // Where one connection carries many tunnels, that it moves says nothing of this one.
        let stream = Moving::new(TokioIo::new(upgraded), limits.body_idle, given_up, |_| {});
        let inside = Inside { shared: &shared, peer: &peer, ends };
        match way {
            Way::PlainHttp => inside.serve(Through::PlainProxy, None, stream, false).await,
            Way::Intercepted(to) => inside.intercept(to, stream).await,
            Way::Spliced { to, socket, opening } => inside.splice(&to, stream, socket, &opening).await,
        }
    })
}

/// What a tunnel has on this side.
struct Inside<'a> {
    shared: &'a Arc<Shared>,
    peer: &'a Arc<Peer>,
    ends: Ends,
}

impl Inside<'_> {
    /// Speaks TLS in the host's name, and HTTP inside.
    async fn intercept(self, to: Destination, mut stream: Inner) {
        let within = self.shared.corridor.limits.handshake_within;
        let Some(hello) = self.hello(&mut stream).await else { return };
        let server_name = hello.server_name();
        // RFC 6066 §3: only an address goes without a name.
        let config = match server_name.is_none() && to.literal().is_none() {
            true => {
                self.refuse(Problem::new(ProblemKind::Misdirected).at_field("server-name")).await;
                Err(())
            }
            false => self.config(&to).await,
        };
        let Hello { accepted, bytes: _ } = hello;
        let stream = StartHandshake::from_parts(accepted, stream);
        let config = match config {
            Ok(config) => config,
            Err(()) => return turn_away(stream).await,
        };
        let Ok(Ok(stream)) = timeout(within, stream.into_stream(config)).await else { return };
        let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        self.serve(Through::Tunnel(to), server_name, stream, is_http2).await;
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
    async fn config(&self, to: &Destination) -> Result<Arc<ServerConfig>, ()> {
        let corridor = &self.shared.corridor;
        let (Ok(Reach::Bound(parts)), Ok(admitted)) =
            (corridor.reach(self.peer, to), corridor.admitted(self.peer))
        else {
            return Err(());
        };
        let (tables, caller) = (corridor.directory.tables(), admitted.caller);
        let granted = tables.granted_tools(caller.tenant, caller.task, corridor.clock.now());
        let first = || parts.first().map(|part| &part.tool);
        let tool = parts.iter().map(|part| &part.tool).find(|tool| granted.contains(*tool)).or_else(first);
        let tool = tool.ok_or(())?;
        let names = tables.intercepted_names(caller.tenant, tool);
        let made = self.shared.standing.server((caller.tenant, tool.clone()), names, to.host()).await;
        made.map_err(|error| tracing::error!(%error, "no certificate could be made for a tunnel"))
    }

    async fn splice(self, to: &Destination, mut stream: Inner, socket: TcpStream, opening: &Opening) {
        let Some(hello) = self.hello(&mut stream).await else { return };
        if !hello.server_name().is_some_and(|name| name.eq_ignore_ascii_case(to.host())) {
            self.refuse(Problem::new(ProblemKind::Misdirected).at_field("server-name")).await;
            return turn_away(StartHandshake::from_parts(hello.accepted, stream)).await;
        }
        let limits = &self.shared.corridor.limits;
        splice::run(stream, socket, &hello.bytes, splice::Until { opening, limits, ends: self.ends }).await;
    }

    async fn serve<S>(self, through: Through, server_name: Option<String>, stream: S, is_http2: bool)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let peer = Arc::new(self.peer.inside(through, server_name));
        serve(self.shared, Served { peer, stream, is_http2, ends: self.ends }).await;
    }

    /// Records that the tunnel was refused after it stood.
    async fn refuse(&self, problem: Problem) -> Problem {
        let at = self.shared.corridor.clock.now();
        let Ok(noise) = random(self.shared.entropy.as_ref()) else { return problem };
        corridor::note_refusal(&self.shared.corridor, self.peer, CallId::new(at, noise), problem, None).await
    }
}

/// Ends a handshake by an alert.
async fn turn_away(stream: StartHandshake<Inner>) {
    let builder = ServerConfig::builder_with_provider(nightlatch_egress::tls::provider());
    let Ok(builder) = builder.with_safe_default_protocol_versions() else { return };
    let config = builder.with_no_client_auth().with_cert_resolver(Arc::new(Nobody));
    // It fails by design; the alert is what the other side learns.
    drop(stream.into_stream(Arc::new(config)).await);
}

/// Stands for no host.
#[derive(Debug)]
struct Nobody;

impl ResolvesServerCert for Nobody {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        None
    }
}
