//! The gateway as a whole: its parts put together, its listeners, and how it ends.

mod attendance;
mod connection;
mod moving;
mod places;
mod tunnels;

use crate::{
    brakes::{Brakes, Rule},
    calls::{self, Calls, Hooks, Webhook},
    corridor::Corridor,
    directory::Directory,
    doors::local::Names,
    error::GatewayError,
    interception::Standing,
    limits::Limits,
    noise::Noise,
    peer::{Peer, Through},
    running::Running,
    sight::{Follow, Sight},
    turns::Turns,
    wakes::Wakes,
};
pub(crate) use attendance::Running as Busy;
use connection::{Arrival, Closing};
pub(crate) use connection::{Ends, Served, serve, slept};
pub(crate) use moving::Moving;
use nightlatch_custody::{CallKey, Interception};
use nightlatch_domain::{
    clock::{Clock, Entropy},
    id::InstallationId,
    ports::{
        gateway_keeper::{Drains, KeeperForGateway},
        store::{BudgetStore, CallStore, DirectoryStore},
    },
    principal::Binding,
    tool::Name,
};
use nightlatch_egress::Pool;
use nightlatch_ledger::{Ledger, facts::Source};
use nightlatch_policy::Decider;
use places::Places;
pub(crate) use places::TunnelPlace;
use rustls::ServerConfig;
use std::sync::Arc;
use tokio::{
    net::{TcpListener, UnixListener, UnixStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::{AbortHandle, JoinSet},
    time::{sleep, timeout},
};
use tokio_rustls::TlsAcceptor;
pub(crate) use tunnels::Tunnels;

/// Enrolments at once: they are rare, and each may be a guess.
const ENROLMENTS_MAX: usize = 8;
/// Signed wakes at once, of all keys, each of which has its pace.
const SIGNED_WAKES_MAX: usize = 64;
/// After an accept that failed (no descriptors left): the next try would fail at once too.
const ACCEPT_PAUSE: std::time::Duration = std::time::Duration::from_millis(50);

/// What a gateway is made of. Every part is somebody else's to make.
pub struct Parts {
    /// The view of tenants, agents, tasks, grants and connections.
    pub directory: Arc<Directory>,
    /// What feeds it.
    pub store: Arc<dyn DirectoryStore>,
    /// The keeper's port.
    pub keeper: Arc<dyn KeeperForGateway>,
    /// Policy.
    pub decider: Arc<Decider>,
    /// The ledger.
    pub ledger: Ledger,
    /// The way out.
    pub pool: Pool,
    /// The clocks.
    pub clock: Arc<dyn Clock>,
    /// The system's generator.
    pub entropy: Arc<dyn Entropy>,
    /// The authorities that stand for tools inside of tunnels.
    pub interception: Interception,
    /// What callers pin: SHA-256 of the listener's public key (SPKI, DER), hexadecimal.
    pub key_sha256: String,
    /// Where durable calls are kept, the key that they lie under, and what this gateway is called where there are several:
    /// each keeps its own.
    pub calls: (Arc<dyn CallStore>, CallKey, Option<Name>),
    /// Who may be told of the ends of durable calls, each by a name of its own.
    pub webhooks: Vec<Webhook>,
    /// Whose keeper it asks: what mandates are for.
    pub installation: InstallationId,
    /// The bounds.
    pub limits: Limits,
    /// What grants with a budget have spent.
    pub budgets: Arc<dyn BudgetStore>,
    /// The limits of calls that the operator set, over those of `limits`.
    pub rules: Vec<Rule>,
    /// Who follows single calls, where somebody does.
    pub follower: Option<Arc<dyn Follow>>,
    /// Host names, besides the loopback ones, under which callers may speak to the listeners.
    pub names: Vec<String>,
}

/// A gateway. It follows the directory's feed and ends wakes for as long as it lives.
pub struct Gateway {
    shared: Arc<Shared>,
    limits: Limits,
    names: Vec<String>,
    background: [AbortHandle; 4],
}

/// What every connection needs.
pub(crate) struct Shared {
    pub(crate) corridor: Corridor,
    pub(crate) calls: Calls,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) noise: Noise,
    pub(crate) enrolling: Semaphore,
    pub(crate) waking: Semaphore,
    pub(crate) places: Arc<Places>,
    pub(crate) standing: Arc<Standing>,
    pub(crate) key_sha256: String,
}

impl Gateway {
    /// Puts the parts together and begins to follow the feed. Runs inside a tokio runtime.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let Parts { directory, store, keeper, decider, ledger, pool, clock, entropy, .. } = parts;
        let (interception, key_sha256) = (parts.interception, parts.key_sha256);
        let (limits, names, (kept, call_key, owner)) = (parts.limits, parts.names, parts.calls);
        let hooks = Hooks::new(parts.webhooks);
        let (vault, told) = ((kept, call_key), Arc::clone(&clock));
        let calls = Calls::new(vault, owner, told, parts.installation, limits.calls, hooks);
        let running = Arc::new(Running::default());
        let wakes = Wakes::new(
            keeper,
            Arc::clone(&clock),
            Arc::clone(&entropy),
            pool.clone(),
            Arc::clone(&running),
            limits,
        );
        let wakes = Arc::new(wakes);
        let (fed, watched) = (Arc::clone(&directory), Arc::clone(&directory));
        let follows = tokio::spawn(async move { fed.follow(store).await });
        let watches = tokio::spawn(Arc::clone(&wakes).watch(watched));
        let asides = Arc::new(Semaphore::new(limits.asides_max));
        let large_windows = Arc::new(Semaphore::new(limits.large_windows_max));
        let readings = Arc::new(Semaphore::new(limits.readings_max));
        let standing = Arc::new(Standing::new(interception, Arc::clone(&clock)));
        let brakes = Arc::new(Brakes::new(&limits, parts.rules, parts.budgets));
        let openings = Turns::new(limits.openings_at_once, limits.opening_every);
        let corridor = Corridor {
            directory,
            decider,
            ledger,
            wakes,
            running,
            brakes,
            sight: Arc::new(Sight::new(parts.follower)),
            pool,
            clock,
            entropy: Arc::clone(&entropy),
            limits,
            asides,
            large_windows,
            readings,
            openings,
        };
        let (enrolling, waking) = (Semaphore::new(ENROLMENTS_MAX), Semaphore::new(SIGNED_WAKES_MAX));
        let places = Arc::default();
        let shared = Arc::new(Shared {
            corridor,
            calls,
            entropy,
            noise: Noise::default(),
            enrolling,
            waking,
            places,
            standing,
            key_sha256,
        });
        let works = tokio::spawn(calls::work(Arc::clone(&shared)));
        let tells = tokio::spawn(calls::tell(Arc::clone(&shared)));
        let background = [follows, watches, works, tells].map(|task| task.abort_handle());
        Self { shared, limits, names, background }
    }

    /// What the keeper asks to let running calls finish before a token dies.
    #[must_use]
    pub fn drains(&self) -> Arc<dyn Drains> {
        Arc::clone(&self.shared.corridor.running) as Arc<dyn Drains>
    }

    /// What can be seen of its calls.
    #[must_use]
    pub fn sight(&self) -> Arc<Sight> {
        Arc::clone(&self.shared.corridor.sight)
    }

    /// What tells how many wakes run, whenever it is asked.
    pub fn wakes_live(&self) -> impl Fn() -> usize + Send + Sync + use<> {
        let wakes = Arc::clone(&self.shared.corridor.wakes);
        move || wakes.live_count()
    }

    /// Takes over the calls of gateways that are gone: those that are none of `present`, which this one's own name is
    /// among. What they may have sent is not sent again.
    pub async fn take_over(&self, present: Vec<Name>) {
        calls::take_over(&self.shared, present).await;
    }

    /// The directory, for whoever must know that a change is in effect here.
    #[must_use]
    pub fn directory(&self) -> &Arc<Directory> {
        &self.shared.corridor.directory
    }

    /// Serves mutual TLS until `shutdown`, then lets running calls finish within the bound.
    ///
    /// # Errors
    /// [`GatewayError::Listener`] where the listener has no address.
    pub async fn serve(
        &self,
        listener: TcpListener,
        tls: Arc<ServerConfig>,
        shutdown: impl Future<Output = ()> + Send,
    ) -> Result<(), GatewayError> {
        let address = listener.local_addr().map_err(|error| GatewayError::Listener(error.kind()))?;
        let names = Arc::new(Names::new(&self.names, Some(address.port())));
        let acceptor = TlsAcceptor::from(tls);
        let handshakes = Arc::new(Semaphore::new(self.limits.handshakes_max));
        let accept = || async {
            let handshake = Arc::clone(&handshakes).acquire_owned().await.map_err(std::io::Error::other)?;
            let (stream, address) = listener.accept().await?;
            Ok(Arrival { stream, source: Source::Address(address.ip()), handshake })
        };
        let begin = |arrival: Arrival, place, closing| {
            let (shared, acceptor, names, limits) =
                (Arc::clone(&self.shared), acceptor.clone(), Arc::clone(&names), self.limits);
            async move {
                let _place: OwnedSemaphorePermit = place;
                connection::over_tls(&shared, acceptor, arrival, names, &limits, closing).await;
            }
        };
        self.listen(accept, begin, shutdown).await;
        Ok(())
    }

    /// Serves plain HTTP/1.1 on a Unix socket until `shutdown`; the peer's UID is its binding. `own_uid`
    /// is the user that runs this process: it proves nothing, since every program of that user has it.
    /// None where the operator says that it may be an agent all the same.
    ///
    /// # Errors
    /// None today; the shape is that of [`Gateway::serve`].
    pub async fn serve_unix(
        &self,
        listener: UnixListener,
        own_uid: Option<u32>,
        shutdown: impl Future<Output = ()> + Send,
    ) -> Result<(), GatewayError> {
        let names = Arc::new(Names::new(&self.names, None));
        let accept = || async {
            let (stream, _) = listener.accept().await?;
            let uid = stream.peer_cred()?.uid();
            Ok((stream, uid))
        };
        let begin = |(stream, uid): (UnixStream, u32), place, closing| {
            let (shared, limits) = (Arc::clone(&self.shared), self.limits);
            let peer = Peer {
                binding: (own_uid != Some(uid)).then_some(Binding::Uid { uid }),
                public_key: None,
                source: Source::Uid(uid),
                server_name: None,
                names: Arc::clone(&names),
                through: Through::Listener,
            };
            async move {
                let _place: OwnedSemaphorePermit = place;
                connection::over_unix(&shared, stream, peer, &limits, closing).await;
            }
        };
        self.listen(accept, begin, shutdown).await;
        Ok(())
    }

    /// Accepts until `shutdown`, then waits for what runs.
    async fn listen<S, A, B>(
        &self,
        accept: impl Fn() -> A,
        begin: impl Fn(S, OwnedSemaphorePermit, Closing) -> B,
        shutdown: impl Future<Output = ()> + Send,
    ) where
        A: Future<Output = std::io::Result<S>>,
        B: Future<Output = ()> + Send + 'static,
    {
        let places = Arc::new(Semaphore::new(self.limits.connections_max));
        let (close, closing) = watch::channel(false);
        let mut connections = JoinSet::new();
        let mut shutdown = std::pin::pin!(shutdown);
        loop {
            let next = async {
                let place = Arc::clone(&places).acquire_owned().await;
                (accept().await, place)
            };
            tokio::select! {
                () = &mut shutdown => break,
                Some(_) = connections.join_next() => {}
                (accepted, place) = next => match (accepted, place) {
                    (Ok(stream), Ok(place)) => drop(connections.spawn(begin(stream, place, closing.clone()))),
                    _ => sleep(ACCEPT_PAUSE).await,
                },
            }
        }
        close.send_replace(true);
        let ended = async { while connections.join_next().await.is_some() {} };
        // Past the bound they are cut: dropping the set aborts them.
        let ended = timeout(self.limits.close_within, ended);
        let _ = tokio::join!(ended, self.shared.calls.close(self.limits.close_within));
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        for task in &self.background {
            task.abort();
        }
    }
}
