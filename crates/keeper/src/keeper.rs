//! The keeper as a whole: its start, its two ports, its end.

use crate::{
    anchor::{AnchorLog, Found, Whose},
    core::{Core, KeeperConfig, KeeperParts},
    enrol,
    error::KeeperError,
    flights::end,
    history::{self, humans},
    imports, lease,
    machine::{ANSWER_WITHIN, SEND_WITHIN},
    mandate,
    probe::{self, ProbeError, Probed},
    recover, revoking,
    spool::Spool,
    timer, wake,
};
use nightlatch_domain::{
    clock::random,
    id::{ConnectionId, InstallationId, KeeperId, TenantId},
    ports::{
        Boxed,
        control_keeper::{ControlRefusal, ControlReply, ControlRequest, KeeperForControl, Statement},
        gateway_keeper::{GatewayReply, GatewayRequest, KeeperForGateway, KeeperRefusal},
        work::within,
    },
};
use serde::{Serialize, de::DeserializeOwned};
use std::{
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
    time::Duration,
};
use tokio::sync::watch;

/// At the end, refreshes under way get as long as one exchange can take, and a little for the disk.
const FINISH_WITHIN: Duration =
    SEND_WITHIN.saturating_add(ANSWER_WITHIN).saturating_add(Duration::from_secs(5));

/// The keeper. Dropping it ends the timer and nothing else: what was sent is carried to its end.
pub struct Keeper {
    core: Arc<Core>,
    stop: watch::Sender<bool>,
    /// Done when the timer has ended, and what was under way of imports and revocations.
    timer: Mutex<Option<Boxed<'static, ()>>>,
}

impl Keeper {
    /// Takes the anchor log's lock, finishes what a dead process left, and starts the timer.
    ///
    /// # Errors
    /// [`KeeperError`]: another keeper holds the log, the log is damaged, or store or disk fail.
    pub async fn start(config: KeeperConfig, parts: KeeperParts) -> Result<Self, KeeperError> {
        let now = parts.clock.now();
        let fresh = InstallationId::new(now, random(&*parts.entropy)?);
        let installation = parts.store.installation(fresh).await?;
        let folder = config.state_folder.join(installation.id.to_string());
        let whose = Whose {
            installation: installation.id,
            machine: &config.machine,
            boot: config.boot.as_deref(),
            alone: config.alone,
            fresh: KeeperId::new(now, random(&*parts.entropy)?),
        };
        let (log, found) = AnchorLog::open(&parts.files, &folder, whose)?;
        if let (Found::Moved { reason }, false) = (found, config.alone) {
            return Err(KeeperError::AnchorMoved { folder, reason });
        }
        tracing::info!(keeper = %log.keeper(), "the keeper holds its log");
        let spool = Spool::open(&parts.files, &config.spool_folder)?;
        let core = Arc::new(Core::new(parts, log, spool, installation));
        history::begin(&core, found == Found::Own, config.alone).await?;
        recover::recover(&core, found, &config.machine).await?;
        let (stop, stopped) = watch::channel(false);
        let importing = core.carried(imports::run(Arc::clone(&core), stopped.clone(), FINISH_WITHIN));
        let revoking = core.carried(revoking::run(Arc::clone(&core), stopped.clone()));
        let running = core.carried(timer::run(Arc::clone(&core), stopped, config.refresh_timer));
        let timer = Box::pin(async {
            running.await.unwrap_or_default();
            importing.await.unwrap_or_default();
            revoking.await.unwrap_or_default();
        }) as Boxed<'static, ()>;
        Ok(Self { core, stop, timer: Mutex::new(Some(timer)) })
    }

    /// The port for the gateway: messages are really encoded and decoded, as over a socket.
    #[must_use]
    pub fn gateway_port(&self) -> Arc<dyn KeeperForGateway> {
        Arc::new(GatewayPort(Arc::clone(&self.core)))
    }

    /// Whose keeper it is.
    #[must_use]
    pub fn installation(&self) -> InstallationId {
        self.core.installation.id
    }

    /// Which keeper it is: whoever holds its log is.
    #[must_use]
    pub fn id(&self) -> KeeperId {
        self.core.anchor.keeper()
    }

    /// How many refresh tokens may have left after their send deadline, whenever that is asked.
    pub fn late_sends(&self) -> impl Fn() -> u64 + Send + Sync + use<> {
        let core = Arc::clone(&self.core);
        move || core.late_sends.load(Ordering::Relaxed)
    }

    /// Ends every wake, whenever it is called: every task proves itself anew.
    pub fn end_wakes(&self) -> impl Fn() + Send + Sync + use<> {
        let core = Arc::clone(&self.core);
        move || wake::end_every(&core)
    }

    /// The port for control, likewise.
    #[must_use]
    pub fn control_port(&self) -> Arc<dyn KeeperForControl> {
        Arc::new(ControlPort(Arc::clone(&self.core)))
    }

    /// Begins nothing new, and waits for what is under way, up to a bound. What is not done by then is
    /// finished by the next start.
    pub async fn stop(&self) {
        self.core.stopping.store(true, Ordering::SeqCst);
        let _ = self.stop.send(true);
        let timer = self.timer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(timer) = timer {
            timer.await;
        }
        let flights = self.core.flights.all();
        let all = async {
            for waiting in flights {
                end(waiting).await;
            }
        };
        if within(&*self.core.parts.work, FINISH_WITHIN, all).await.is_none() {
            tracing::warn!("a refresh is still under way; the next start finishes it");
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        let _ = self.stop.send(true);
    }
}

struct GatewayPort(Arc<Core>);

impl KeeperForGateway for GatewayPort {
    fn ask(&self, request: GatewayRequest) -> Boxed<'_, Result<GatewayReply, KeeperRefusal>> {
        Box::pin(async move {
            let request = carried(&request).ok_or(KeeperRefusal::Unavailable)?;
            carried(&answer_gateway(&self.0, request).await).unwrap_or(Err(KeeperRefusal::Unavailable))
        })
    }
}

struct ControlPort(Arc<Core>);

impl KeeperForControl for ControlPort {
    fn ask(&self, request: ControlRequest) -> Boxed<'_, Result<ControlReply, ControlRefusal>> {
        Box::pin(async move {
            let request = carried(&request).ok_or(ControlRefusal::Unavailable)?;
            let core = Arc::clone(&self.0);
            // What was begun is carried through, whoever stops waiting: a removal above all.
            let work = self.0.carried(async move { answer_control(&core, request).await });
            let reply = work.await.unwrap_or(Err(ControlRefusal::Unavailable));
            carried(&reply).unwrap_or(Err(ControlRefusal::Unavailable))
        })
    }
}

/// Through bytes and back.
fn carried<T: Serialize + DeserializeOwned>(message: &T) -> Option<T> {
    serde_json::from_slice(&serde_json::to_vec(message).ok()?).ok()
}

async fn answer_gateway(core: &Arc<Core>, request: GatewayRequest) -> Result<GatewayReply, KeeperRefusal> {
    match request {
        GatewayRequest::Challenge { tenant, task } => wake::challenge(core, tenant, task),
        GatewayRequest::Wake(proof) => wake::wake(core, proof).await,
        GatewayRequest::Lease(request) => lease::lease(core, request).await,
        GatewayRequest::Mandate(asked) => mandate::mandated(core, asked).await,
        GatewayRequest::Unauthorized { tenant, wake, connection, generation } => {
            lease::unauthorized(core, tenant, wake, connection, generation).await
        }
        GatewayRequest::Sleep { tenant, wake } => {
            wake::sleep(core, tenant, wake).await;
            Ok(GatewayReply::Done)
        }
        GatewayRequest::Enrol { code_sha256, binding } => {
            enrol::enrol_agent(core, code_sha256, binding).await
        }
    }
}

async fn answer_control(core: &Arc<Core>, request: ControlRequest) -> Result<ControlReply, ControlRefusal> {
    match request {
        ControlRequest::IntakeKey => Ok(ControlReply::IntakeKey { key: core.parts.keys.intake_key() }),
        ControlRequest::Attest(statement) => attest(core, *statement),
        ControlRequest::AddStatic(request) => enrol::add_static(core, request).await,
        ControlRequest::AddClient(request) => enrol::add_client(core, request).await,
        ControlRequest::BeginFlow(request) => enrol::begin(core, request).await,
        ControlRequest::FinishFlow(request) => enrol::finish(core, request).await,
        ControlRequest::Import(batch) => imports::take_in(core, batch).await,
        ControlRequest::Probe { tenant, connection } => probed(core, tenant, connection).await,
        ControlRequest::Remove { tenant, connection } => enrol::remove(core, tenant, connection).await,
        ControlRequest::EndWakes { tenant, task } => {
            wake::end_task(core, tenant, task).await;
            Ok(ControlReply::Done)
        }
        ControlRequest::Keepers => humans::list(core).await,
        ControlRequest::Adopt { keeper, human } => humans::adopt(core, keeper, human).await,
        ControlRequest::Forget { keeper, human } => humans::forget(core, keeper, human).await,
    }
}

/// Enrolments are made from one-time codes, by the keeper alone.
fn attest(core: &Core, statement: Statement) -> Result<ControlReply, ControlRefusal> {
    if matches!(statement, Statement::Enrolment(_)) {
        return Err(ControlRefusal::NotSupported { what: "vouching for an enrolment".to_owned() });
    }
    let attestation = core.parts.keys.attest(&statement).map_err(|_| ControlRefusal::Unavailable)?;
    Ok(ControlReply::Attested { attestation })
}

async fn probed(
    core: &Arc<Core>,
    tenant: TenantId,
    connection: ConnectionId,
) -> Result<ControlReply, ControlRefusal> {
    let row = core.store().connection(tenant, connection).await.map_err(enrol::store_refusal)?;
    let connection = row.ok_or_else(|| enrol::unknown("connection"))?;
    match probe::of_current(core, &connection).await {
        Ok(Probed::NoProbe | Probed::Works) => Ok(ControlReply::Probed { account: None }),
        Ok(Probed::Account { id, label }) => Ok(ControlReply::Probed { account: Some((id, label)) }),
        Err(ProbeError::Rejected { status }) => Err(ControlRefusal::ProbeRejected { status }),
        Err(ProbeError::Unreachable) => Err(ControlRefusal::Unreachable),
    }
}
