//! A keeper that runs: the real one with its real shell, its timer off, so that nothing is refreshed but what is asked for.

use crate::{Fault, Ground, providers, refused};
use nightlatch_custody::{KeeperKeys, RecordKeys, Secret, seal};
use nightlatch_domain::{
    clock::{Clock, Entropy},
    ports::{
        Boxed,
        control_keeper::{ControlReply, ControlRequest, KeeperForControl, Statement},
        gateway_keeper::{DrainNotice, Drains, KeeperForGateway},
    },
    sealed::{Attestation, Sealed},
};
use nightlatch_egress::{Allow, Connector, EgressConfig, SystemResolver};
use nightlatch_keeper::{
    Keeper, KeeperConfig, KeeperParts, SystemFiles, TokioWork, Watch, boot_id,
    machine::{Action, Outcome},
};
use nightlatch_ledger::{Ledger, LedgerKeys};
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// What tells this machine from another: it is the only one.
pub(crate) const MACHINE: &str = "bench";

pub(crate) struct Running {
    keeper: Keeper,
    ledger: Ledger,
    pub(crate) gateway: Arc<dyn KeeperForGateway>,
    control: Arc<dyn KeeperForControl>,
    pub(crate) counted: Arc<Counted>,
}

/// Counts refreshes that are done: the head is moved, and anchored.
#[derive(Default)]
pub(crate) struct Counted(AtomicU64);

impl Counted {
    pub(crate) fn refreshes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Watch for Counted {
    fn before(&self, action: &Action) -> Boxed<'_, ()> {
        if matches!(action, Action::Release(Outcome::Refreshed)) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
        Box::pin(std::future::ready(()))
    }
}

/// No gateway is there, so no call runs.
struct NoCalls;

impl Drains for NoCalls {
    fn drain(&self, _: DrainNotice) -> Boxed<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}

impl Running {
    pub(crate) async fn start(ground: &Ground) -> Result<Self, Fault> {
        let path = |name: &str| ground.folder.join(name);
        let entropy: Arc<dyn Entropy> = Arc::clone(&ground.entropy) as _;
        let clock: Arc<dyn Clock> = Arc::clone(&ground.clock) as _;
        let record = RecordKeys::load_or_create(&path("keys"), true, &*entropy)?;
        let ledger_keys = LedgerKeys::new(record.ledger_signer()?, record.query_hash_key());
        let heads = Arc::clone(&ground.stores.heads);
        let ledger = Ledger::open(&path("ledger"), ledger_keys, heads, Arc::clone(&clock)).await?;
        let allows = vec![Allow::new("127.0.0.1", "127.0.0.1")?];
        let egress = EgressConfig { allows, ..EgressConfig::default() };
        let counted = Arc::new(Counted::default());
        let config = KeeperConfig {
            state_folder: path("state"),
            spool_folder: path("spool"),
            machine: MACHINE.to_owned(),
            boot: boot_id(),
            alone: ground.stores.alone,
            refresh_timer: false,
        };
        let parts = KeeperParts {
            store: Arc::clone(&ground.stores.keeper),
            keys: Arc::new(KeeperKeys::load_or_create(&path("keys"), true, Arc::clone(&entropy))?),
            wire: Arc::new(Connector::new(egress, Arc::new(SystemResolver), Arc::clone(&clock))),
            catalogue: Arc::new(providers::catalogue(&ground.ports)?),
            notes: Arc::new(ledger.clone()),
            clock,
            entropy,
            work: Arc::new(TokioWork),
            files: Arc::new(SystemFiles),
            drains: Arc::new(NoCalls),
            watch: Arc::clone(&counted) as _,
        };
        let keeper = Keeper::start(config, parts).await?;
        let (gateway, control) = (keeper.gateway_port(), keeper.control_port());
        Ok(Self { keeper, ledger, gateway, control, counted })
    }

    /// Asks as control does.
    pub(crate) async fn ask(&self, request: ControlRequest) -> Result<ControlReply, Fault> {
        self.control.ask(request).await.map_err(refused)
    }

    /// The keeper's word for a row.
    pub(crate) async fn attest(&self, statement: Statement) -> Result<Attestation, Fault> {
        match self.ask(ControlRequest::Attest(Box::new(statement))).await? {
            ControlReply::Attested { attestation } => Ok(attestation),
            other => Err(refused(other)),
        }
    }

    /// A secret that only the keeper opens.
    pub(crate) async fn sealed(&self, context: &str, secret: &str) -> Result<Sealed, Fault> {
        match self.ask(ControlRequest::IntakeKey).await? {
            ControlReply::IntakeKey { key } => {
                Ok(seal::to(&key, context.as_bytes(), &Secret::from_string(secret.to_owned()))?)
            }
            other => Err(refused(other)),
        }
    }

    pub(crate) async fn end(self) -> Result<(), Fault> {
        self.keeper.stop().await;
        Ok(self.ledger.close().await?)
    }
}
