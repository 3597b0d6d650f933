//! The planes of this process, each wired to the others by its own post office.
//!
//! A keeper is there before the gateway that asks it, and both before control, which the first start needs a keeper for;
//! where another process is the keeper, it is waited for.

use super::{
    address,
    desks::{AllDrain, AllSettled, GatewayDesk, KeeperDesk},
    keepers::Keepers,
    link_key,
    office::Office,
};
use crate::{
    adapters::SystemClock,
    config::{Config, ServeConfig},
    error::Failure,
    output::hint,
    place::Place,
    up::{
        self,
        checkup::Database,
        listen,
        metrics::{GatewayMeters, KeeperMeters, Meters, Refreshes},
        operator, traces,
        traces::Exporter,
        wiring::{self, Applied, Common, GatewayStores, Outside, Told, start},
    },
};
use nightlatch_control::{Control, Facts, server};
use nightlatch_custody::{
    CallKey, GatewayKeys, KeeperKeys, RecordKeys,
    entropy::SystemEntropy,
    link::{End, Trusted},
};
use nightlatch_domain::{
    clock::{Clock, Entropy},
    id::TenantId,
    ports::{
        mailbox::{Mailbox, Role},
        sight::{LiveCall, Sight, Total},
    },
    tool::Name,
};
use nightlatch_egress::{Connector, Pool, PoolLimits, SystemResolver};
use nightlatch_gateway::{Gateway, tls::server_config};
use nightlatch_keeper::{Keeper, KeeperConfig, boot_id};
use nightlatch_store::{Plane, PostgresStore};
use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    net::{TcpListener, UnixListener},
    sync::watch,
};

/// A gateway that did not say so long that it lives is gone for good: an operator starts one again sooner.
const TAKEN_OVER_AFTER: Duration = Duration::from_secs(600);

/// What each plane of this process is built from.
struct Ground<'a> {
    place: &'a Place,
    name: Name,
    database: super::Database,
    trusted: Trusted,
    common: Common,
    /// Every post office of this process, built whole or not.
    offices: Mutex<Vec<Arc<Office>>>,
}

/// A keeper and its post office.
struct KeeperPlane {
    keeper: Keeper,
    office: Arc<Office>,
    meters: KeeperMeters,
}

/// A gateway, its post office and its listeners.
struct GatewayPlane {
    gateway: Gateway,
    office: Arc<Office>,
    tls: Arc<rustls::ServerConfig>,
    own_uid: Option<u32>,
    name: Name,
    pin: String,
    pool: Pool,
    traces: Option<Exporter>,
}

/// Control and its post office.
struct ControlPlane {
    control: Arc<Control>,
    office: Arc<Office>,
}

/// What control tells of the gateways, the operator's own profiles, and what a human ends this process by.
type ForControl = (Option<(String, String)>, Vec<(String, String)>, watch::Sender<bool>);

/// What this process listens on.
struct Listeners {
    gateway: Option<(TcpListener, Option<UnixListener>)>,
    redirects: Option<TcpListener>,
}

/// All that runs in this process.
pub(super) struct Planes {
    keeper: Option<KeeperPlane>,
    gateway: Option<GatewayPlane>,
    control: Option<ControlPlane>,
}

impl Planes {
    /// Serves until it is told to stop.
    pub(super) async fn serve(
        place: &Place,
        mut config: ServeConfig,
        roles: &[Role],
        told: up::Told,
    ) -> Result<(), Failure> {
        let is = |role| roles.contains(&role);
        let listeners = Listeners::open(&config.house, is(Role::Gateway), is(Role::Control)).await?;
        let gateways = config.gateways.take();
        if is(Role::Control) && !is(Role::Gateway) && gateways.is_none() {
            return Err(Failure::Start(
                "control must know what to tell of the gateways: write `[control]` with `gateway_url` and `gateway_pin`".to_owned(),
            ));
        }
        let (stop, stopped) = watch::channel(false);
        let (catalogue, own_profiles) = operator::catalogue(place)?;
        let ground = Ground::lay(place, &mut config, roles, catalogue).await?;
        tokio::spawn(told.pass_on(stop.clone()));
        let mut planes = Self::none();
        let built = tokio::select! {
            built = planes.build(&ground, config, roles, &listeners, (gateways, own_profiles, stop)) => built.map(|()| true),
            // Told to stop while it waited for a keeper.
            () = told_to(stopped.clone()) => Ok(false),
        };
        let served = match built {
            Ok(true) => planes.run_whole(&ground, roles, listeners, stopped).await,
            early => early.map(|_| ()),
        };
        // Also what was built of a start that ended early: a keeper that began a refresh waits for its answer.
        planes.close().await;
        ground.close().await;
        hint("nightlatch has stopped");
        served
    }

    fn none() -> Self {
        Self { keeper: None, gateway: None, control: None }
    }

    async fn run_whole(
        &self,
        ground: &Ground<'_>,
        roles: &[Role],
        listeners: Listeners,
        stopped: watch::Receiver<bool>,
    ) -> Result<(), Failure> {
        let place = ground.place;
        let socket = self.control.is_some().then(|| up::api_socket(place)).transpose();
        let served = match socket {
            Ok(socket) => {
                hint(format!("nightlatch serves {} as {}", place.root().display(), named(roles)));
                self.run(listeners, socket, stopped).await
            }
            Err(failure) => Err(failure),
        };
        if self.control.is_some() {
            let _ = std::fs::remove_file(place.path("run/api.sock"));
        }
        served
    }

    /// Builds one plane after the other. What is built is there to be closed, however this ends.
    async fn build(
        &mut self,
        ground: &Ground<'_>,
        config: ServeConfig,
        roles: &[Role],
        listeners: &Listeners,
        (gateways, own_profiles, stop): ForControl,
    ) -> Result<(), Failure> {
        let is = |role| roles.contains(&role);
        let ServeConfig { state, house, .. } = config;
        let refresh_timer = house.refresh_timer;
        let gateway_address = listeners.gateway_address()?;
        let own_user = is(Role::Gateway) && house.own_user && house.socket.is_some();
        let warnings = wiring::warnings(gateway_address, refresh_timer || !is(Role::Keeper), own_user);
        warnings.iter().for_each(hint);
        let mut folders = None;
        if is(Role::Keeper) {
            let state = state.map_or_else(Place::state, Ok)?;
            folders = Some((state.clone(), ground.place.root().to_owned()));
            let plane = self.keeper.insert(KeeperPlane::build(ground, state, refresh_timer).await?);
            // Nobody asks a keeper that is still held up: by its log, or by what a process before left.
            plane.office.arrive().await.map_err(start)?;
        }
        if is(Role::Gateway) {
            self.gateway = Some(GatewayPlane::build(ground, house).await?);
        }
        if is(Role::Control) {
            let redirect = listeners.redirect_address()?;
            let own = match (&self.gateway, gateway_address) {
                (Some(gateway), Some(address)) => Some((format!("https://{address}"), gateway.pin.clone())),
                _ => None,
            };
            let (gateway_url, gateway_pin) = gateways.or(own).unwrap_or_default();
            let facts = Facts {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                gateway_url,
                gateway_pin,
                redirect_url: format!("http://{redirect}"),
                warnings,
            };
            let meters = self.meters(ground);
            let sight = self.gateway.as_ref().map(|plane| plane.gateway.sight() as Arc<dyn Sight>);
            let outside = Outside {
                own_profiles,
                token: ground.place.make_token(&*ground.common.entropy)?,
                stop,
                facts,
                meters,
                folders,
            };
            let sight = sight.unwrap_or_else(|| Arc::new(NoSight));
            self.control = Some(ControlPlane::build(ground, sight, outside).await?);
        }
        Ok(())
    }

    fn meters(&self, ground: &Ground<'_>) -> Meters {
        let gateway = self.gateway.as_ref().map(|plane| GatewayMeters {
            sight: plane.gateway.sight(),
            wakes_live: Box::new(plane.gateway.wakes_live()),
            pool: plane.pool.clone(),
            traces: plane.traces.as_ref().map(Exporter::fates),
        });
        let keeper = self.keeper.as_ref().map(|plane| KeeperMeters {
            refreshes: Arc::clone(&plane.meters.refreshes),
            late_sends: Box::new(plane.keeper.late_sends()),
        });
        Meters { gateway, keeper, ledger: ground.common.ledger.clone() }
    }

    async fn run(
        &self,
        listeners: Listeners,
        socket: Option<UnixListener>,
        stopped: watch::Receiver<bool>,
    ) -> Result<(), Failure> {
        let faces = async {
            if let (Some(plane), Some(api), Some(redirects)) = (&self.control, socket, listeners.redirects) {
                let api = server::serve(api, Control::api(&plane.control), stopped.clone());
                let redirects = server::serve(redirects, Control::redirects(&plane.control), stopped.clone());
                tokio::join!(api, redirects);
            }
        };
        let calls = async {
            match (&self.gateway, listeners.gateway) {
                (Some(plane), Some(listeners)) => {
                    wiring::serve_gateway(
                        &plane.gateway,
                        &plane.tls,
                        listeners,
                        plane.own_uid,
                        stopped.clone(),
                    )
                    .await
                }
                _ => Ok(()),
            }
        };
        let looks = async {
            if let Some(plane) = &self.gateway {
                plane.take_over(stopped.clone()).await;
            }
        };
        let ((), served, (), ()) = tokio::join!(faces, calls, told_to(stopped.clone()), looks);
        served
    }

    /// Ends what runs behind the listeners: who asks before who is asked.
    async fn close(self) {
        if let Some(plane) = self.control {
            plane.office.close().await;
        }
        if let Some(plane) = self.gateway {
            plane.office.close().await;
            drop(plane.gateway);
            if let Some(traces) = plane.traces {
                traces.close().await;
            }
        }
        if let Some(plane) = self.keeper {
            plane.keeper.stop().await;
            plane.office.close().await;
        }
    }
}

impl<'a> Ground<'a> {
    async fn lay(
        place: &'a Place,
        config: &mut ServeConfig,
        roles: &[Role],
        catalogue: nightlatch_catalog::builtin::Catalogue,
    ) -> Result<Self, Failure> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy::new());
        let decider = Arc::new(operator::decider(place)?);
        let mut trusted = std::mem::take(&mut config.trusted);
        // The planes of one process need not be told of each other.
        for role in roles.iter().filter(|_| roles.len() > 1) {
            let key = link_key(place, *role, false)?.public();
            trusted.add(*role, &key).map_err(start)?;
        }
        let database = std::mem::replace(
            &mut config.database,
            super::Database { address: String::new(), password_file: None, ca_file: None },
        );
        let record = RecordKeys::load_or_create(&place.path("keys"), false, &*entropy).map_err(start)?;
        let heads = store(place, &database, Plane::Ledger).await?;
        for weakness in heads.weaknesses().await.map_err(start)? {
            if weakness.forbids_serving() {
                return Err(Failure::Start(weakness.to_string()));
            }
            hint(weakness);
        }
        let heads = Arc::new(heads.heads_of(&config.name));
        let ledger = wiring::ledger(place, &record, heads as _, &clock).await?;
        let egress = std::mem::take(&mut config.house.egress);
        let connector = Arc::new(Connector::new(egress, Arc::new(SystemResolver), Arc::clone(&clock)));
        let catalogue = Arc::new(catalogue);
        let common = Common { clock, entropy, ledger, catalogue, decider, connector };
        let offices = Mutex::default();
        Ok(Self { place, name: config.name.clone(), database, trusted, common, offices })
    }

    /// One plane's part of the store, and its post office. The others do not see it yet.
    async fn plane(&self, plane: Plane, role: Role) -> Result<(Arc<PostgresStore>, Arc<Office>), Failure> {
        let store = store(self.place, &self.database, plane).await?;
        let (now, entropy) = (self.common.clock.now(), &*self.common.entropy);
        let key = link_key(self.place, role, false)?;
        let end = End::new((role, self.name.clone()), key, self.trusted.clone(), now, entropy);
        let mailbox: Arc<dyn Mailbox> = Arc::clone(&store) as _;
        let office = Office::open(mailbox, end.map_err(start)?, Arc::clone(&self.common.clock)).await;
        self.offices.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&office));
        Ok((store, office))
    }

    /// Takes the cards away of what was begun, and closes the ledger last.
    async fn close(&self) {
        let offices = std::mem::take(&mut *self.offices.lock().unwrap_or_else(PoisonError::into_inner));
        for office in offices {
            office.close().await;
        }
        if let Err(error) = self.common.ledger.close().await {
            tracing::warn!(%error, "the ledger was not closed in order");
        }
    }
}

async fn store(
    place: &Place,
    database: &super::Database,
    plane: Plane,
) -> Result<Arc<PostgresStore>, Failure> {
    let store = PostgresStore::new(&address(place, database)?, plane);
    store.check().await.map_err(start)?;
    Ok(Arc::new(store))
}

impl KeeperPlane {
    /// One at work that the others do not see yet. Nothing is waited for any more once it has started: whoever stops
    /// waiting here leaves none behind that nobody stops.
    async fn build(
        ground: &Ground<'_>,
        state_folder: std::path::PathBuf,
        refresh_timer: bool,
    ) -> Result<Self, Failure> {
        let keys =
            KeeperKeys::load_or_create(&ground.place.path("keys"), false, Arc::clone(&ground.common.entropy));
        let keys = keys.map_err(start)?;
        let (store, office) = ground.plane(Plane::Keeper, Role::Keeper).await?;
        let config = KeeperConfig {
            state_folder,
            spool_folder: ground.place.path("spool"),
            machine: wiring::machine(),
            boot: boot_id(),
            alone: false,
            refresh_timer,
        };
        let refreshes = Arc::new(Refreshes::default());
        let watched = (Arc::new(AllDrain(Arc::clone(&office))) as _, Arc::clone(&refreshes));
        let keeper = wiring::keeper(config, keys, store as _, &ground.common, watched).await?;
        let meters = KeeperMeters { refreshes, late_sends: Box::new(keeper.late_sends()) };
        office.answer_by(Arc::new(KeeperDesk {
            installation: keeper.installation(),
            for_gateways: keeper.gateway_port(),
            for_control: keeper.control_port(),
            end_wakes: Box::new(keeper.end_wakes()),
        }));
        Ok(Self { keeper, office, meters })
    }
}

impl GatewayPlane {
    async fn build(ground: &Ground<'_>, house: Config) -> Result<Self, Failure> {
        let (place, common) = (ground.place, &ground.common);
        let folder = place.path("keys");
        let keys = GatewayKeys::load_or_create(&folder, false, &*common.entropy).map_err(start)?;
        let call_key = CallKey::load_or_create(&folder, false, Arc::clone(&common.entropy)).map_err(start)?;
        let webhooks = wiring::webhooks(place, house.webhooks, &*common.entropy)?;
        let (store, office) = ground.plane(Plane::Gateway, Role::Gateway).await?;
        office.arrive().await.map_err(start)?;
        let keepers = Arc::new(Keepers::new(Arc::clone(&office)));
        let installation = keepers.installation().await;
        let (follower, traces) = traces::begin(house.otel, &common.clock, &common.entropy).unzip();
        let owner = Some(ground.name.clone());
        let told = Told { names: house.names, rules: house.limits, webhooks, follower, owner };
        let pool = Pool::new(Arc::clone(&common.connector), PoolLimits::default());
        let stores = GatewayStores {
            directory: Arc::clone(&store) as _,
            calls: Arc::clone(&store) as _,
            budgets: Arc::clone(&store) as _,
        };
        let gateway = wiring::gateway(
            told,
            pool.clone(),
            (&keys, call_key),
            (keepers as _, installation),
            stores,
            common,
        );
        let settled = Applied { store: store as _, directory: Arc::clone(gateway.directory()) };
        office.answer_by(Arc::new(GatewayDesk { drains: gateway.drains(), settled: Arc::new(settled) }));
        let tls = server_config(keys.tls().chain(), keys.tls().key()).map_err(start)?;
        let own_uid = (!house.own_user).then(|| rustix::process::geteuid().as_raw());
        let pin = wiring::pin(keys.tls().spki_sha256());
        let name = ground.name.clone();
        Ok(Self { gateway, office, tls, own_uid, name, pin, pool, traces })
    }
}

impl GatewayPlane {
    /// Takes over, until `stopped`, the calls of gateways that are gone for good.
    async fn take_over(&self, stopped: watch::Receiver<bool>) {
        let looks = async {
            loop {
                // At the start nobody was watched long enough to be taken for gone.
                tokio::time::sleep(TAKEN_OVER_AFTER).await;
                match present(&self.office, &self.name).await {
                    Some(present) => self.gateway.take_over(present).await,
                    None => tracing::warn!("too many cards lie there to know which gateways are gone"),
                }
            }
        };
        tokio::select! {
            () = looks => {}
            () = told_to(stopped) => {}
        }
    }
}

/// The gateways whose calls are their own to end: this one, and whoever said of late that it lives by that name. Gateways do
/// not list each other, so no `[[peer]]` is asked for that. None where it cannot be known.
async fn present(office: &Office, own: &Name) -> Option<Vec<Name>> {
    office.look().await;
    let mut present = office.names_within(Role::Gateway, TAKEN_OVER_AFTER)?;
    present.push(own.clone());
    Some(present)
}

impl ControlPlane {
    async fn build(ground: &Ground<'_>, sight: Arc<dyn Sight>, outside: Outside) -> Result<Self, Failure> {
        let (store, office) = ground.plane(Plane::Control, Role::Control).await?;
        office.arrive().await.map_err(start)?;
        let keepers = Arc::new(Keepers::new(Arc::clone(&office)));
        keepers.wait().await;
        let settled = Arc::new(AllSettled(Arc::clone(&office)));
        let store = Database::Postgres(store);
        let control =
            wiring::control(&ground.common, store, keepers as _, (settled as _, sight), outside).await?;
        Ok(Self { control, office })
    }
}

impl Listeners {
    async fn open(house: &Config, gateway: bool, control: bool) -> Result<Self, Failure> {
        let mut opened = Self { gateway: None, redirects: None };
        if gateway {
            let listener = listen::tcp(house.gateway).await?;
            let users = house.socket.as_deref().map(listen::unix).transpose()?;
            opened.gateway = Some((listener, users));
        }
        if control {
            opened.redirects = Some(listen::tcp(house.redirect).await?);
        }
        Ok(opened)
    }

    fn gateway_address(&self) -> Result<Option<SocketAddr>, Failure> {
        Ok(self.gateway.as_ref().map(|(listener, _)| listener.local_addr()).transpose()?)
    }

    fn redirect_address(&self) -> Result<SocketAddr, Failure> {
        match &self.redirects {
            Some(listener) => Ok(listener.local_addr()?),
            None => Err(Failure::Start("control has no redirect listener".to_owned())),
        }
    }
}

/// A control plane without a gateway in its process sees no calls: they are seen where they are carried.
struct NoSight;

impl Sight for NoSight {
    fn live(&self, _: TenantId) -> Vec<LiveCall> {
        Vec::new()
    }

    fn by_tool(&self, _: TenantId) -> Vec<(Name, Total)> {
        Vec::new()
    }

    fn by_agent(&self, _: TenantId) -> Vec<(nightlatch_domain::id::PrincipalId, Total)> {
        Vec::new()
    }

    fn limits_met(&self) -> Vec<(&'static str, u64)> {
        Vec::new()
    }
}

async fn told_to(mut stopped: watch::Receiver<bool>) {
    // An error means that nobody is left who could say it: then it is over as well.
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

fn named(roles: &[Role]) -> String {
    roles.iter().map(|role| role.as_str()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests;
