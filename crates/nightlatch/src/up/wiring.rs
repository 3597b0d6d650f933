//! The rooms, each given the ports of the others. Nothing is decided here.
//!
//! The order follows from what vouches for what: keys before the database (a key that is made beside a
//! database that is not empty would be a new one), the ledger before anyone who writes it, the keeper before
//! the gateway that asks it. One circle is closed late: the keeper asks the gateway to let calls finish.

use super::{
    checkup::{Database, Program},
    first,
    metrics::{Exposed, GatewayMeters, KeeperMeters, Meters, Refreshes},
    operator,
    traces::{self, Exporter, Sample},
};
use crate::{
    adapters::SystemClock,
    config::{Config, Webhook},
    error::Failure,
    place::Place,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use nightlatch_catalog::builtin::Catalogue;
use nightlatch_control::{Control, Facts, Settled};
use nightlatch_custody::{
    CallKey, GatewayKeys, KeeperKeys, RecordKeys, TlsIdentity, WebhookKey, entropy::SystemEntropy,
};
use nightlatch_domain::{
    clock::{Clock, Entropy},
    id::InstallationId,
    ports::{
        Boxed,
        control_keeper::KeeperForControl,
        gateway_keeper::{DrainNotice, Drains, KeeperForGateway},
        sight::Sight,
        store::{BudgetStore, CallStore, ControlStore, DirectoryStore, KeeperStore, LedgerStore},
    },
    tool::Name,
};
use nightlatch_egress::{Connector, Pool, PoolLimits, SystemResolver};
use nightlatch_gateway::{Directory, Gateway, Limits, brakes::Rule, tls::server_config};
use nightlatch_keeper::{Keeper, KeeperConfig, KeeperParts, SystemFiles, TokioWork, boot_id};
use nightlatch_ledger::{Ledger, LedgerKeys};
use nightlatch_policy::Decider;
use nightlatch_store::SqliteStore;
use std::{
    fs,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, OnceLock},
    time::Duration,
};
use tokio::{
    net::{TcpListener, UnixListener},
    sync::watch,
};

/// How many changes of the feed are read at once to find its end.
const CHANGES_AT_ONCE: u32 = 1000;
/// How long one wait for the gateway lasts before the feed is looked at again.
const APPLIED_WITHIN: Duration = Duration::from_secs(1);

/// Everything that serves.
pub(super) struct House {
    pub(super) control: Arc<Control>,
    gateway: Gateway,
    keeper: Keeper,
    ledger: Ledger,
    traces: Option<Exporter>,
    tls: Arc<rustls::ServerConfig>,
    /// Who is no agent at the socket: the user that runs this, unless the operator says so.
    own_uid: Option<u32>,
}

/// What most rooms are given.
pub(crate) struct Common {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) ledger: Ledger,
    pub(crate) catalogue: Arc<Catalogue>,
    pub(crate) decider: Arc<Decider>,
    pub(crate) connector: Arc<Connector>,
}

/// The gateway's part of the store.
pub(crate) struct GatewayStores {
    pub(crate) directory: Arc<dyn DirectoryStore>,
    pub(crate) calls: Arc<dyn CallStore>,
    pub(crate) budgets: Arc<dyn BudgetStore>,
}

impl House {
    /// Builds everything over the data folder. `addresses` are those of the gateway and of redirects.
    pub(super) async fn build(
        place: &Place,
        config: Config,
        addresses: (SocketAddr, SocketAddr),
        stop: watch::Sender<bool>,
    ) -> Result<Self, Failure> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy::new());
        // What the operator wrote may refuse the start; so it is read before a key or a database is made.
        let (catalogue, own_profiles) = operator::catalogue(place)?;
        let decider = Arc::new(operator::decider(place)?);
        let token = place.make_token(&*entropy)?;
        let (keeper_keys, gateway_keys) = keys(place, &entropy)?;
        let store = Arc::new(SqliteStore::open(&place.path("db.sqlite"), clock.now()).map_err(start)?);
        // Older than the calls that lie under it, an installation may be: it is made where there are none yet.
        let fresh_allowed = !store.holds_calls().await.map_err(start)?;
        let call_key = CallKey::load_or_create(&place.path("keys"), fresh_allowed, Arc::clone(&entropy));
        let call_key = call_key.map_err(start)?;
        let webhooks = webhooks(place, config.webhooks, &*entropy)?;
        let ledger = ledger(place, gateway_keys.record(), Arc::clone(&store) as _, &clock).await?;
        let connector = Arc::new(Connector::new(config.egress, Arc::new(SystemResolver), Arc::clone(&clock)));
        let catalogue = Arc::new(catalogue);
        let common = Common { clock, entropy, ledger, catalogue, decider, connector };
        let drains = Arc::new(LateDrains::default());
        let refreshes = Arc::new(Refreshes::default());
        let pool = Pool::new(Arc::clone(&common.connector), PoolLimits::default());
        let state_folder = Place::state()?;
        let folders = Some((state_folder.clone(), place.root().to_owned()));
        let tls = server_config(gateway_keys.tls().chain(), gateway_keys.tls().key()).map_err(start)?;
        let keeper_config = KeeperConfig {
            state_folder,
            spool_folder: place.path("spool"),
            machine: machine(),
            boot: boot_id(),
            alone: true,
            refresh_timer: config.refresh_timer,
        };
        let watched = (Arc::clone(&drains) as _, refreshes.clone());
        let keeper = keeper(keeper_config, keeper_keys, Arc::clone(&store) as _, &common, watched).await?;
        let own_uid = (!config.own_user).then(|| rustix::process::geteuid().as_raw());
        let (follower, traces) = traces::begin(config.otel, &common.clock, &common.entropy).unzip();
        let told = Told { names: config.names, rules: config.limits, webhooks, follower, owner: None };
        let stores = GatewayStores {
            directory: Arc::clone(&store) as _,
            calls: Arc::clone(&store) as _,
            budgets: Arc::clone(&store) as _,
        };
        let of_keeper = (keeper.gateway_port(), keeper.installation());
        let gateway = gateway(told, pool.clone(), (&gateway_keys, call_key), of_keeper, stores, &common);
        drains.bind(gateway.drains());
        let own_user = config.own_user && config.socket.is_some();
        let meters = Meters {
            gateway: Some(GatewayMeters {
                sight: gateway.sight(),
                wakes_live: Box::new(gateway.wakes_live()),
                pool,
                traces: traces.as_ref().map(Exporter::fates),
            }),
            keeper: Some(KeeperMeters { refreshes, late_sends: Box::new(keeper.late_sends()) }),
            ledger: common.ledger.clone(),
        };
        let warnings = warnings(Some(addresses.0), config.refresh_timer, own_user);
        let settled = Applied { store: store.clone() as _, directory: Arc::clone(gateway.directory()) };
        let control = control(
            &common,
            Database::Sqlite(store),
            keeper.control_port(),
            (Arc::new(settled) as _, gateway.sight() as _),
            Outside {
                own_profiles,
                token,
                stop,
                facts: facts(addresses, gateway_keys.tls(), warnings),
                meters,
                folders,
            },
        );
        let control = control.await;
        if control.is_err() {
            // A keeper that began a refresh waits for its answer, also where the start ends here.
            keeper.stop().await;
        }
        Ok(Self { control: control?, gateway, keeper, ledger: common.ledger, traces, tls, own_uid })
    }

    /// Where traces of calls go, for people.
    pub(super) fn traces_to(&self) -> Option<&str> {
        self.traces.as_ref().map(Exporter::to)
    }

    /// Serves the gateway until `stopped`, then lets running calls finish.
    pub(super) async fn serve_gateway(
        &self,
        listener: TcpListener,
        users: Option<UnixListener>,
        stopped: watch::Receiver<bool>,
    ) -> Result<(), Failure> {
        serve_gateway(&self.gateway, &self.tls, (listener, users), self.own_uid, stopped).await
    }

    /// Ends what runs behind the listeners, the ledger last.
    pub(super) async fn close(self) {
        self.keeper.stop().await;
        drop((self.gateway, self.control));
        if let Some(traces) = self.traces {
            traces.close().await;
        }
        if let Err(error) = self.ledger.close().await {
            tracing::warn!(%error, "the ledger was not closed in order");
        }
    }
}

pub(crate) fn start(error: impl std::fmt::Display) -> Failure {
    Failure::Start(error.to_string())
}

/// Serves a gateway's listeners until `stopped`, then lets running calls finish.
pub(crate) async fn serve_gateway(
    gateway: &Gateway,
    tls: &Arc<rustls::ServerConfig>,
    (listener, users): (TcpListener, Option<UnixListener>),
    own_uid: Option<u32>,
    stopped: watch::Receiver<bool>,
) -> Result<(), Failure> {
    let told = || {
        let mut stopped = stopped.clone();
        async move {
            // An error means that nobody is left who could say it: then it is over as well.
            let _ = stopped.wait_for(|stopped| *stopped).await;
        }
    };
    let over_tls = gateway.serve(listener, Arc::clone(tls), told());
    let over_socket = async {
        match users {
            Some(listener) => gateway.serve_unix(listener, own_uid, told()).await,
            None => Ok(()),
        }
    };
    let (keys, users) = tokio::join!(over_tls, over_socket);
    keys.and(users).map_err(start)
}

/// The keys of keeper and gateway. New ones are made only while there is no database that old ones protect.
fn keys(place: &Place, entropy: &Arc<dyn Entropy>) -> Result<(KeeperKeys, GatewayKeys), Failure> {
    let database = fs::metadata(place.path("db.sqlite"));
    let fresh_allowed = database.map_or(true, |database| database.len() == 0);
    let folder = place.path("keys");
    let keeper = KeeperKeys::load_or_create(&folder, fresh_allowed, Arc::clone(entropy)).map_err(start)?;
    let gateway = GatewayKeys::load_or_create(&folder, fresh_allowed, &**entropy).map_err(start)?;
    Ok((keeper, gateway))
}

/// The webhooks, each with its key.
pub(crate) fn webhooks(
    place: &Place,
    all: Vec<Webhook>,
    entropy: &dyn Entropy,
) -> Result<Vec<nightlatch_gateway::Webhook>, Failure> {
    let with_key = |Webhook { name, to, path }| {
        let key = WebhookKey::load_or_create(&place.path("keys"), &name, entropy).map_err(start)?;
        Ok(nightlatch_gateway::Webhook { name, to, path, key })
    };
    all.into_iter().map(with_key).collect()
}

pub(crate) async fn ledger(
    place: &Place,
    keys: &RecordKeys,
    heads: Arc<dyn LedgerStore>,
    clock: &Arc<dyn Clock>,
) -> Result<Ledger, Failure> {
    let keys = LedgerKeys::new(keys.ledger_signer().map_err(start)?, keys.query_hash_key());
    Ledger::open(&place.path("ledger"), keys, heads, Arc::clone(clock)).await.map_err(start)
}

pub(crate) async fn keeper(
    config: KeeperConfig,
    keys: KeeperKeys,
    store: Arc<dyn KeeperStore>,
    common: &Common,
    (drains, watch): (Arc<dyn Drains>, Arc<Refreshes>),
) -> Result<Keeper, Failure> {
    let parts = KeeperParts {
        store,
        keys: Arc::new(keys),
        wire: Arc::clone(&common.connector) as _,
        catalogue: Arc::clone(&common.catalogue),
        notes: Arc::new(common.ledger.clone()),
        clock: Arc::clone(&common.clock),
        entropy: Arc::clone(&common.entropy),
        work: Arc::new(TokioWork),
        files: Arc::new(SystemFiles),
        drains,
        watch,
    };
    Keeper::start(config, parts).await.map_err(start)
}

/// What tells this machine from a clone of it (machine-id(5)).
pub(crate) fn machine() -> String {
    fs::read_to_string("/etc/machine-id").map_or_else(|_| "unknown".to_owned(), |id| id.trim().to_owned())
}

/// What a gateway is told from outside the rooms.
pub(crate) struct Told {
    pub(crate) names: Vec<String>,
    pub(crate) rules: Vec<Rule>,
    pub(crate) webhooks: Vec<nightlatch_gateway::Webhook>,
    pub(crate) follower: Option<Arc<Sample>>,
    /// What it is called, where there are several.
    pub(crate) owner: Option<Name>,
}

/// A gateway that asks `keeper`, whose installation that is.
pub(crate) fn gateway(
    told: Told,
    pool: Pool,
    (keys, call_key): (&GatewayKeys, CallKey),
    (keeper, installation): (Arc<dyn KeeperForGateway>, InstallationId),
    stores: GatewayStores,
    common: &Common,
) -> Gateway {
    let limits = Limits::default();
    let clock = || Arc::clone(&common.clock);
    let directory = Directory::new(&common.catalogue, clock(), limits.staleness_bound);
    Gateway::new(nightlatch_gateway::Parts {
        directory: Arc::new(directory),
        store: stores.directory,
        keeper,
        decider: Arc::clone(&common.decider),
        ledger: common.ledger.clone(),
        pool,
        clock: clock(),
        entropy: Arc::clone(&common.entropy),
        interception: keys.interception().clone(),
        key_sha256: keys.tls().spki_sha256().to_owned(),
        calls: (stores.calls, call_key, told.owner),
        webhooks: told.webhooks,
        installation,
        limits,
        budgets: stores.budgets,
        rules: told.rules,
        follower: told.follower.map(|sample| sample as _),
        names: told.names,
    })
}

/// What control is given from outside the rooms.
pub(crate) struct Outside {
    pub(crate) own_profiles: Vec<(String, String)>,
    pub(crate) token: nightlatch_control::ApiKey,
    pub(crate) stop: watch::Sender<bool>,
    pub(crate) facts: Facts,
    pub(crate) meters: Meters,
    /// Where the keeper of this process has its log, and the data folder.
    pub(crate) folders: Option<(PathBuf, PathBuf)>,
}

/// Control, which asks `keeper` and waits for what stands behind `settled`.
pub(crate) async fn control(
    common: &Common,
    database: Database,
    keeper: Arc<dyn KeeperForControl>,
    (settled, sight): (Arc<dyn Settled>, Arc<dyn Sight>),
    outside: Outside,
) -> Result<Arc<Control>, Failure> {
    let store: Arc<dyn ControlStore> = database.control();
    let (tenant, human) = first::tenant(&first::Ports {
        store: &*store,
        keeper: &*keeper,
        clock: &*common.clock,
        entropy: &*common.entropy,
    })
    .await?;
    Ok(Control::new(nightlatch_control::Parts {
        tenant,
        human,
        store,
        keeper,
        settled,
        sight,
        exposition: Arc::new(Exposed(Arc::new(outside.meters))),
        checkup: Arc::new(Program { database, folders: outside.folders }),
        decider: Arc::clone(&common.decider),
        ledger: Arc::new(common.ledger.clone()),
        catalogue: Catalogue::clone(&common.catalogue),
        own_profiles: outside.own_profiles,
        key: outside.token,
        clock: Arc::clone(&common.clock),
        entropy: Arc::clone(&common.entropy),
        facts: outside.facts,
        stop: outside.stop,
    }))
}

fn facts((gateway, redirect): (SocketAddr, SocketAddr), tls: &TlsIdentity, warnings: Vec<String>) -> Facts {
    Facts {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        gateway_url: format!("https://{gateway}"),
        gateway_pin: pin(tls.spki_sha256()),
        redirect_url: format!("http://{redirect}"),
        warnings,
    }
}

/// `sha256//BASE64`, as curl's `--pinnedpubkey` takes it, from 64 hexadecimal characters.
pub(crate) fn pin(spki_sha256: &str) -> String {
    let pairs = spki_sha256.as_bytes().chunks_exact(2);
    let bytes: Vec<u8> =
        pairs.filter_map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect();
    format!("sha256//{}", STANDARD.encode(bytes))
}

/// What a human should know of a configuration. Where this process is no gateway, it has no address.
pub(crate) fn warnings(gateway: Option<SocketAddr>, refresh_timer: bool, own_user: bool) -> Vec<String> {
    let cases = [
        (
            gateway.is_some_and(|gateway| !gateway.ip().is_loopback()),
            "the gateway listens beyond this machine; agents are admitted by their enrolled keys only",
        ),
        (
            !refresh_timer,
            "the keeper's timer is off (nightlatch.toml): a connection that nobody uses will die",
        ),
        (
            own_user,
            "`own_user` is on (nightlatch.toml): once this user is enrolled at the socket, each of its programs is that agent",
        ),
    ];
    cases.iter().filter(|(holds, _)| *holds).map(|(_, text)| (*text).to_owned()).collect()
}

/// The gateway's drains, for a keeper that is there first.
#[derive(Default)]
struct LateDrains(OnceLock<Arc<dyn Drains>>);

impl LateDrains {
    fn bind(&self, drains: Arc<dyn Drains>) {
        // Bound once, by `House::build`.
        let _ = self.0.set(drains);
    }
}

impl Drains for LateDrains {
    fn drain(&self, notice: DrainNotice) -> Boxed<'_, ()> {
        match self.0.get() {
            Some(drains) => drains.drain(notice),
            // Before there is a gateway no call runs.
            None => Box::pin(async {}),
        }
    }
}

/// The gateway's directory, against the end of the store's feed.
pub(crate) struct Applied {
    pub(crate) store: Arc<dyn DirectoryStore>,
    pub(crate) directory: Arc<Directory>,
}

impl Applied {
    /// The number of the last change beyond what is in effect; none where nothing is.
    async fn outstanding(&self) -> Option<u64> {
        let mut last = None;
        let mut after = self.directory.applied();
        loop {
            // A store that does not answer confirms nothing: control's own bound ends the wait.
            let Ok(changes) = self.store.changes(after, CHANGES_AT_ONCE).await else {
                return std::future::pending().await;
            };
            let Some(change) = changes.last() else { return last };
            after = change.number;
            last = Some(after);
        }
    }
}

impl Settled for Applied {
    fn settled(&self) -> Boxed<'_, ()> {
        Box::pin(async move {
            let Some(last) = self.outstanding().await else { return };
            while !self.directory.wait_applied(last, APPLIED_WITHIN).await {}
        })
    }
}

#[cfg(test)]
mod tests {
    use super::pin;

    #[test]
    fn a_pin_is_the_hash_as_curl_takes_it() {
        let hex = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(pin(hex), "sha256//47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=");
    }
}
