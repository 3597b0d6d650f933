//! What every part of the keeper leans on: its ports, its log, its spool, and the few things in memory.

use crate::{
    anchor::AnchorLog,
    error::KeeperError,
    flights::Flights,
    history::History,
    imports::Imports,
    machine::{Action, Moment},
    observed::Observed,
    pace::Pace,
    revoking::Revoking,
    schedule,
    spool::{Asked, Spool, SpooledAnswer},
    wake::Wakes,
    watched::{Held, Watched},
};
use nightlatch_catalog::{
    builtin::Catalogue,
    manifest::{Account, Manifest},
    profile::Profile,
};
use nightlatch_custody::{KeeperKeys, Secret};
use nightlatch_domain::{
    clock::{Clock, Entropy, NoEntropy, Timestamp, random},
    id::{AttemptId, ChainId, OwnerId, TenantId},
    ports::{
        Boxed,
        control_keeper::Statement,
        files::Files,
        gateway_keeper::Drains,
        store::{Installation, KeeperStore, StoreError},
        work::Work,
    },
    sealed::{SealContext, Wrapped},
    tool::Name,
};
use nightlatch_egress::Wire;
use nightlatch_ledger::{Ledger, LedgerError, facts::EventFacts};
use std::{
    collections::BTreeSet,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicU64},
    },
    time::Duration,
};
use tokio::sync::{Notify, Semaphore, oneshot};

/// Refreshes that talk to providers at once. Each holds one socket and one slot of the spool.
const REFRESHES_MAX: usize = 64;
/// Owners that are drawn at once: one line of the log for so many claims.
const OWNERS_AT_ONCE: usize = 64;
/// Exchanges whose chain was left without an answer, and that listen on. As many sockets and slots again.
const LISTENING_MAX: usize = 64;

/// What the operator and the machine say.
#[derive(Debug, Clone)]
pub struct KeeperConfig {
    /// Where this machine keeps state (`$XDG_STATE_HOME/nightlatch`), outside the data folder. The anchor
    /// log lies below it, in a folder named by the installation and, in that, by the keeper.
    pub state_folder: PathBuf,
    /// The spool, in the data folder.
    pub spool_folder: PathBuf,
    /// What tells this machine from a clone of it (`/etc/machine-id`).
    pub machine: String,
    /// Which boot of it this is ([`boot_id`](crate::boot_id)); none where the system does not tell.
    pub boot: Option<String>,
    /// Whether it is the installation's only keeper on this machine: then it refuses to start beside another. Else it
    /// takes up a log that nobody holds, or begins one.
    pub alone: bool,
    /// Whether the timer refreshes ahead of expiry. Off, a refresh begins only when a lease needs it.
    pub refresh_timer: bool,
}

/// What the keeper works with.
pub struct KeeperParts {
    /// The keeper's part of the store.
    pub store: Arc<dyn KeeperStore>,
    /// The keeper's keys.
    pub keys: Arc<KeeperKeys>,
    /// The one way out.
    pub wire: Arc<dyn Wire>,
    /// Manifests and profiles; tools that were added to the store are read from there.
    pub catalogue: Arc<Catalogue>,
    /// The ledger.
    pub notes: Arc<dyn Notes>,
    /// Both clocks.
    pub clock: Arc<dyn Clock>,
    /// The system's generator.
    pub entropy: Arc<dyn Entropy>,
    /// The runtime.
    pub work: Arc<dyn Work>,
    /// The disk.
    pub files: Arc<dyn Files>,
    /// The gateways, to be asked to let running calls finish.
    pub drains: Arc<dyn Drains>,
    /// Who watches the steps of a refresh; [`Unwatched`] but in tests.
    pub watch: Arc<dyn Watch>,
}

/// Sees each step of a refresh before it is taken. A test that holds one, or ends the process there, shows
/// what a crash at that point leaves behind.
pub trait Watch: Send + Sync {
    /// The step is taken when this is done.
    fn before(&self, action: &Action) -> Boxed<'_, ()>;
}

/// What the keeper needs of a ledger: to say what happened.
pub trait Notes: Send + Sync {
    /// Notes an event; one that waits for the disk is durable when this is done.
    fn note(&self, facts: EventFacts) -> Boxed<'_, Result<(), LedgerError>>;
}

impl Notes for Ledger {
    fn note(&self, facts: EventFacts) -> Boxed<'_, Result<(), LedgerError>> {
        self.event(facts)
    }
}

/// Nobody watches.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unwatched;

impl Watch for Unwatched {
    fn before(&self, _: &Action) -> Boxed<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}

pub(crate) struct Core {
    pub(crate) parts: KeeperParts,
    pub(crate) anchor: AnchorLog,
    pub(crate) spool: Spool,
    pub(crate) installation: Installation,
    /// Owners for claims that are yet to be asked for.
    owners: Mutex<Vec<OwnerId>>,
    pub(crate) flights: Flights,
    pub(crate) pace: Pace,
    pub(crate) imports: Imports,
    pub(crate) revoking: Revoking,
    pub(crate) wakes: Wakes,
    pub(crate) observed: Observed,
    pub(crate) permits: Semaphore,
    pub(crate) listening: Arc<Semaphore>,
    /// The claims of others.
    pub(crate) watch: Mutex<Watched>,
    /// Whether the database is the one that this keeper knows.
    pub(crate) history: History,
    /// Nothing new is begun any more.
    pub(crate) stopping: AtomicBool,
    /// Flights in a row that ended because something of ours was out of reach.
    pub(crate) failing: AtomicU32,
    /// Told when a timer may have moved.
    pub(crate) timers: Notify,
    /// Refresh tokens that may have left after their send deadline.
    pub(crate) late_sends: AtomicU64,
}

impl Core {
    pub(crate) fn new(
        parts: KeeperParts,
        anchor: AnchorLog,
        spool: Spool,
        installation: Installation,
    ) -> Self {
        Self {
            parts,
            anchor,
            spool,
            installation,
            owners: Mutex::default(),
            flights: Flights::default(),
            pace: Pace::default(),
            imports: Imports::default(),
            revoking: Revoking::default(),
            wakes: Wakes::default(),
            observed: Observed::default(),
            permits: Semaphore::new(REFRESHES_MAX),
            listening: Arc::new(Semaphore::new(LISTENING_MAX)),
            watch: Mutex::default(),
            history: History::default(),
            stopping: AtomicBool::new(false),
            failing: AtomicU32::new(0),
            timers: Notify::new(),
            late_sends: AtomicU64::new(0),
        }
    }

    pub(crate) fn store(&self) -> &dyn KeeperStore {
        &*self.parts.store
    }

    pub(crate) fn now(&self) -> Moment {
        Moment { wall: self.parts.clock.now(), boot: self.parts.clock.boot() }
    }

    /// Ten random bytes, as every id needs them.
    pub(crate) fn ten(&self) -> Result<[u8; 10], NoEntropy> {
        random(&*self.parts.entropy)
    }

    /// The id of a presentation that begins; none where the system gave no randomness.
    pub(crate) fn fresh_attempt(&self) -> Option<AttemptId> {
        self.ten().ok().map(|random| AttemptId::new(self.now().wall, random))
    }

    /// An owner for one claim, which the log knew before; none where it could not be drawn.
    pub(crate) async fn fresh_owner(self: &Arc<Self>) -> Option<OwnerId> {
        let ready = || self.owners.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(owner) = ready().pop() {
            return Some(owner);
        }
        let fresh = || self.ten().map(|random| OwnerId::new(self.now().wall, random));
        let mut drawn: Vec<OwnerId> = (0..OWNERS_AT_ONCE).map(|_| fresh()).collect::<Result<_, _>>().ok()?;
        let owners = drawn.clone();
        self.on_disk(move |core| core.anchor.draw(owners)).await.ok()?;
        let owner = drawn.pop();
        ready().append(&mut drawn);
        owner
    }

    /// The answer to an attempt that lies in the spool.
    pub(crate) async fn spooled(self: &Arc<Self>, attempt: AttemptId) -> Option<SpooledAnswer> {
        self.on_disk(move |core| core.spool.answer(Asked::Attempt(attempt))).await.ok().flatten()
    }

    /// Whether something that happened lies ahead by this machine's clock, and by the store's where it has one.
    pub(crate) async fn is_of_the_future(&self, at: Timestamp) -> bool {
        if !schedule::is_ahead(at, self.now().wall) {
            return false;
        }
        let store = self.store().clock().await.ok().flatten();
        schedule::is_of_the_future(at, self.now().wall, store)
    }

    /// Takes in which claims stand; answers the chains whose claim was seen unchanged for a whole lease.
    pub(crate) fn watch_others(&self, held: impl Iterator<Item = Held>) -> BTreeSet<ChainId> {
        let now = self.now().boot;
        let mut watched = self.watch.lock().unwrap_or_else(PoisonError::into_inner);
        watched.see(held.filter(|held| !self.anchor.drew(held.owner)), now);
        watched.over(now).into_iter().map(|held| held.chain).collect()
    }

    /// Whether a claim was seen unchanged for a whole lease.
    pub(crate) fn has_watched(&self, held: Held) -> bool {
        let watched = self.watch.lock().unwrap_or_else(PoisonError::into_inner);
        watched.is_over(held, self.now().boot)
    }

    /// Random bytes that spread what would else happen at once; weak ones would do.
    pub(crate) fn jitter(&self) -> u16 {
        random::<2>(&*self.parts.entropy).map_or(0, u16::from_be_bytes)
    }

    pub(crate) fn profile(&self, name: &Name) -> Option<&Profile> {
        self.parts.catalogue.profile(name)
    }

    /// The manifest of a tool: a built-in one, or one that was added to the tenant.
    pub(crate) async fn manifest(
        &self,
        tenant: TenantId,
        tool: &Name,
    ) -> Result<Option<Manifest>, StoreError> {
        if let Some(manifest) = self.parts.catalogue.manifest(tool) {
            return Ok(Some(manifest.clone()));
        }
        let rows = self.store().tools(tenant).await?;
        let row = rows.into_iter().find(|row| row.name == *tool);
        Ok(row.and_then(|row| Manifest::parse(tool.as_str(), &row.manifest).ok()).map(read_only))
    }

    /// Whether a row bears the keeper's word as it stands.
    pub(crate) fn vouches(&self, row: Statement) -> bool {
        self.parts.keys.verify(&row)
    }

    /// Opens a wrapped secret whose context was checked against what it was asked for.
    pub(crate) fn open(&self, kept: &(Wrapped, SealContext)) -> Result<Secret, KeeperError> {
        Ok(self.parts.keys.open(&kept.0, &kept.1)?)
    }

    /// Notes an event. A ledger that cannot be written stops calls at the gateway; what the keeper has
    /// done by then stays done, and its own log and rows say so.
    pub(crate) async fn note(&self, facts: EventFacts) {
        if let Err(error) = self.parts.notes.note(facts).await {
            tracing::warn!(%error, "an event could not be written to the ledger");
        }
    }

    /// Tells the ledger what answers showed that profiles deny.
    pub(crate) async fn tell_contradictions(&self) {
        for facts in self.observed.untold() {
            self.note(facts).await;
        }
    }

    /// Runs what blocks on the disk beside the runtime's own threads. What was begun is carried through,
    /// whoever stops waiting.
    pub(crate) async fn on_disk<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> Result<T, KeeperError> + Send + 'static,
    ) -> Result<T, KeeperError> {
        let core = Arc::clone(self);
        let (tell, told) = oneshot::channel();
        let blocking = move || {
            let _ = tell.send(work(&core));
        };
        self.parts.work.blocking(Box::new(blocking)).await;
        // The work neither panics nor is it cancelled while the runtime lives.
        told.await.unwrap_or(Err(KeeperError::Store(StoreError::Unavailable)))
    }

    /// Starts a task that is carried to its end whoever stops waiting; none where it ended without a word.
    pub(crate) fn carried<T: Send + 'static>(
        &self,
        task: impl Future<Output = T> + Send + 'static,
    ) -> Boxed<'static, Option<T>> {
        let (tell, told) = oneshot::channel();
        self.parts.work.spawn(Box::pin(async move {
            let _ = tell.send(task.await);
        }));
        Box::pin(async { told.await.ok() })
    }

    pub(crate) async fn pause(&self, span: Duration) {
        self.parts.work.sleep(span).await;
    }
}

/// A manifest from a row is anyone's who writes the database: with a real credential it may look, and do
/// nothing else.
fn read_only(mut manifest: Manifest) -> Manifest {
    let looks = |account: &Account| {
        account.method == "GET"
            && !account.headers.keys().any(|name| name.to_ascii_lowercase().contains("method"))
    };
    manifest.accounts.retain(looks);
    manifest
}

#[cfg(test)]
mod tests {
    //! A manifest from a row can make the keeper look, and nothing else.

    use super::read_only;
    use nightlatch_catalog::manifest::Manifest;

    fn probes(account: &str) -> bool {
        let text = format!(
            r#"
name = "tool"
title = "Tool"
docs = "https://docs.example"

[[host]]
host = "api.example"
key = {{ kind = "bearer" }}
accepts = [{{ kind = "bearer" }}]

[account]
probe = "/me"
{account}

[[operation]]
id = "me"
method = "GET"
path = "/me"
effect = "read"
page = "https://docs.example/me"
"#
        );
        let manifest = Manifest::parse("tool", &text).unwrap();
        assert!(!manifest.accounts.is_empty());
        !read_only(manifest).accounts.is_empty()
    }

    #[test]
    fn a_manifest_from_a_row_writes_nothing_with_a_credential() {
        assert!(probes(""));
        assert!(probes("headers = { x-version = \"1\" }"));
        assert!(!probes("method = \"POST\""));
        assert!(!probes("headers = { x-http-method-override = \"DELETE\" }"));
    }
}
