//! An installation in a temporary folder: real store, keys, ledger, log and spool; a clock that a test
//! moves; an agent with an open task, enrolled, and grants for whatever is connected.

use crate::{
    meddling::{MeddledFiles, MeddledWire, Meddling, Source},
    provider::Provider,
};
use nightlatch_catalog::{builtin::Catalogue, manifest::Manifest, profile::Profile};
use nightlatch_custody::{KeeperKeys, RecordKeys, ReplicaKey, Secret, entropy::SystemEntropy, seal};
use nightlatch_domain::{
    chain::FlowOutcome,
    clock::{Boot, Clock, Entropy, Timestamp},
    connection::{ConnectionHealth, Health},
    grant::{Grant, GrantText},
    id::{ClientId, ConnectionId, ContextId, FlowId, GrantId, PrincipalId, TaskId, TenantId, WakeId},
    ports::{
        Boxed,
        control_keeper::{
            AddClient, AddStatic, BeginFlow, ControlRefusal, ControlReply, ControlRequest, FinishFlow,
            FlowSession, Intake, KeeperForControl, Statement, code_context, intake_context,
        },
        gateway_keeper::{
            DrainNotice, Drains, Evidence, GatewayReply, GatewayRequest, KeeperForGateway, KeeperRefusal,
            Lease, LeaseBody, LeaseRequest, WakeProof,
        },
        store::{ControlStore, LedgerStore},
    },
    principal::{Agent, AgentStatus, Binding, EnrolmentCode, Human, RiskTier, Tenant},
    reference::Reference,
    sealed::{Attestation, ClientAuth, SealingKey},
    task::{Egress, Task, TaskState},
    tool::{BoundHost, Placement, Scheme},
};
use nightlatch_egress::{Allow, Connector, EgressConfig, SystemResolver};
use nightlatch_keeper::{Keeper, KeeperConfig, KeeperError, KeeperParts, TokioWork, Unwatched, Watch};
use nightlatch_ledger::{Ledger, LedgerKeys};
use nightlatch_store::SqliteStore;
use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tempfile::TempDir;

const NOW_MILLIS: i64 = 1_795_302_000_000;

/// A clock that moves when it is told to, or with real time on top of that.
pub(crate) struct Hand {
    moved: AtomicU64,
    /// How far the wall clock alone is wrong.
    ahead: AtomicU64,
    runs: bool,
    began: tokio::time::Instant,
}

impl Hand {
    fn new(runs: bool) -> Self {
        Self { moved: AtomicU64::new(0), ahead: AtomicU64::new(0), runs, began: tokio::time::Instant::now() }
    }

    pub(crate) fn forward(&self, span: Duration) {
        self.moved.fetch_add(u64::try_from(span.as_millis()).unwrap(), Ordering::SeqCst);
    }

    /// Sets the wall clock wrong, and right again.
    pub(crate) fn wall_ahead(&self, span: Duration) {
        self.ahead.store(u64::try_from(span.as_millis()).unwrap(), Ordering::SeqCst);
    }

    fn millis(&self) -> u64 {
        let real = if self.runs { u64::try_from(self.began.elapsed().as_millis()).unwrap() } else { 0 };
        self.moved.load(Ordering::SeqCst) + real
    }
}

impl Clock for Hand {
    fn now(&self) -> Timestamp {
        let ahead = self.ahead.load(Ordering::SeqCst);
        Timestamp::from_millis(NOW_MILLIS).plus(Duration::from_millis(self.millis() + ahead))
    }
    fn boot(&self) -> Boot {
        Boot::from_millis(1_000_000 + self.millis())
    }
}

/// Remembers what was to be drained.
#[derive(Default)]
pub(crate) struct Drained(pub(crate) Mutex<Vec<DrainNotice>>);

impl Drains for Drained {
    fn drain(&self, notice: DrainNotice) -> Boxed<'_, ()> {
        self.0.lock().unwrap().push(notice);
        Box::pin(std::future::ready(()))
    }
}

/// Waits until something holds, at most ten seconds.
pub(crate) async fn eventually<F: Future<Output = bool>>(mut holds: impl FnMut() -> F) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while !holds().await {
        assert!(tokio::time::Instant::now() < deadline, "it never came to hold");
        // tidy: sleeps because it polls until a deadline
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// What outlives a keeper: the folder, the provider, the clock, the ids.
pub(crate) struct World {
    pub(crate) folder: TempDir,
    pub(crate) provider: Provider,
    pub(crate) clock: Arc<Hand>,
    pub(crate) drained: Arc<Drained>,
    pub(crate) meddling: Arc<Meddling>,
    pub(crate) machine: &'static str,
    /// Which boot of the machine it is; none where the system does not tell.
    pub(crate) boot: Option<&'static str>,
    /// Whether its keepers know of no other.
    pub(crate) alone: bool,
    pub(crate) timer: bool,
    /// Whether the operator's profile can be read.
    pub(crate) has_profile: bool,
    pub(crate) profile_extra: String,
    pub(crate) tenant: TenantId,
    pub(crate) human: PrincipalId,
    pub(crate) agent: PrincipalId,
    pub(crate) task: TaskId,
}

/// A keeper at work in a world.
pub(crate) struct Running {
    pub(crate) keeper: Keeper,
    pub(crate) gateway: Arc<dyn KeeperForGateway>,
    pub(crate) control: Arc<dyn KeeperForControl>,
    pub(crate) store: SqliteStore,
    pub(crate) ledger: Ledger,
}

pub(crate) fn ten() -> [u8; 10] {
    nightlatch_domain::clock::random(&SystemEntropy::new()).unwrap()
}

pub(crate) fn binding() -> Binding {
    Binding::Key { spki_sha256: "ab".repeat(32) }
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(false, "")
    }

    /// A world whose clock runs with real time, or whose profile says more.
    pub(crate) fn with(runs: bool, profile_extra: &str) -> Self {
        Self::build(Provider::start(), runs, profile_extra)
    }

    /// A world around a provider whose address the profile needs to know.
    pub(crate) fn with_provider(provider: Provider, profile_extra: &str) -> Self {
        Self::build(provider, false, profile_extra)
    }

    fn build(provider: Provider, runs: bool, profile_extra: &str) -> Self {
        let clock = Arc::new(Hand::new(runs));
        let at = clock.now();
        Self {
            folder: tempfile::tempdir().unwrap(),
            provider,
            drained: Arc::default(),
            meddling: Arc::default(),
            machine: "machine",
            boot: Some("first"),
            alone: true,
            timer: false,
            has_profile: true,
            profile_extra: profile_extra.to_owned(),
            tenant: TenantId::new(at, ten()),
            human: PrincipalId::new(at, ten()),
            agent: PrincipalId::new(at, ten()),
            task: TaskId::new(at, ten()),
            clock,
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn hosts(&self) -> Vec<BoundHost> {
        vec![BoundHost {
            scheme: Scheme::Http,
            host: "127.0.0.1".to_owned(),
            port: self.provider.port(),
            path_prefix: "/".to_owned(),
            placement: Placement::Bearer,
            route: String::new(),
        }]
    }

    fn catalogue(&self) -> Catalogue {
        let port = self.provider.port();
        let manifest = |tool: &str, account: &str| {
            format!(
                r#"
name = "{tool}"
title = "Tool"
docs = "https://docs.example"
profile = "test"

[[host]]
host = "127.0.0.1"
scheme = "http"
port = {port}
key = {{ kind = "bearer" }}
oauth = {{ kind = "bearer" }}
accepts = [{{ kind = "bearer" }}]
{account}

[[operation]]
id = "me"
method = "GET"
path = "/me"
effect = "read"
page = "https://docs.example/me"
"#
            )
        };
        let account = "[account]\nprobe = \"/me\"\nid = \"/id\"\nlabel = \"/login\"\n";
        let mut catalogue = Catalogue::default();
        if !self.has_profile {
            return catalogue;
        }
        catalogue
            .add_profile(Profile::parse("test.toml", &self.provider.profile(&self.profile_extra)).unwrap())
            .unwrap();
        for (tool, account) in [("tool", account), ("other", account), ("mute", "")] {
            catalogue.add_manifest(Manifest::parse("tool.toml", &manifest(tool, account)).unwrap()).unwrap();
        }
        catalogue
    }

    pub(crate) async fn start(&self) -> Running {
        self.start_with(Arc::new(Unwatched)).await.unwrap()
    }

    pub(crate) async fn start_with(&self, watch: Arc<dyn Watch>) -> Result<Running, KeeperError> {
        self.start_as(watch, None, "spool").await
    }

    /// One that tells a ledger which is open, and has a spool of its own.
    pub(crate) async fn start_beside(&self, told: &Ledger, spool: &str) -> Running {
        self.start_as(Arc::new(Unwatched), Some(told.clone()), spool).await.unwrap()
    }

    async fn start_as(
        &self,
        watch: Arc<dyn Watch>,
        told: Option<Ledger>,
        spool: &str,
    ) -> Result<Running, KeeperError> {
        let entropy: Arc<dyn Entropy> = Arc::new(Source(Arc::clone(&self.meddling)));
        let clock: Arc<dyn Clock> = Arc::clone(&self.clock) as _;
        let store = SqliteStore::open(&self.path("db.sqlite"), clock.now()).unwrap();
        let record_keys = RecordKeys::load_or_create(&self.path("keys"), true, &*entropy).unwrap();
        let keeper_keys = KeeperKeys::load_or_create(&self.path("keys"), true, Arc::clone(&entropy)).unwrap();
        let ledger = match told {
            Some(ledger) => ledger,
            None => self.ledger(&record_keys, &store, &clock).await,
        };
        let allow = Allow::new("127.0.0.1", "127.0.0.1").unwrap();
        let egress = EgressConfig { allows: vec![allow], ..EgressConfig::default() };
        let connector = Connector::new(egress, Arc::new(SystemResolver), Arc::clone(&clock));
        let config = KeeperConfig {
            state_folder: self.path("state"),
            spool_folder: self.path(spool),
            machine: self.machine.to_owned(),
            boot: self.boot.map(str::to_owned),
            alone: self.alone,
            refresh_timer: self.timer,
        };
        let parts = KeeperParts {
            store: Arc::new(store.clone()),
            keys: Arc::new(keeper_keys),
            wire: Arc::new(MeddledWire { wire: Arc::new(connector), meddling: Arc::clone(&self.meddling) }),
            catalogue: Arc::new(self.catalogue()),
            notes: Arc::new(ledger.clone()),
            clock,
            entropy,
            work: Arc::new(TokioWork),
            files: Arc::new(MeddledFiles(Arc::clone(&self.meddling))),
            drains: Arc::clone(&self.drained) as _,
            watch,
        };
        let keeper = Keeper::start(config, parts).await?;
        let (gateway, control) = (keeper.gateway_port(), keeper.control_port());
        Ok(Running { keeper, gateway, control, store, ledger })
    }

    /// The one before may still be closing.
    async fn ledger(&self, keys: &RecordKeys, store: &SqliteStore, clock: &Arc<dyn Clock>) -> Ledger {
        let opened = Mutex::new(None);
        eventually(|| async {
            let keys = LedgerKeys::new(keys.ledger_signer().unwrap(), keys.query_hash_key());
            let heads: Arc<dyn LedgerStore> = Arc::new(store.clone());
            let ledger = Ledger::open(&self.path("ledger"), keys, heads, Arc::clone(clock)).await;
            let is_open = ledger.is_ok();
            *opened.lock().unwrap() = ledger.ok();
            is_open
        })
        .await;
        opened.into_inner().unwrap().unwrap()
    }

    /// Removes a connection, as control does for a human.
    pub(crate) async fn remove(&self, running: &Running, connection: ConnectionId) {
        let ask = ControlRequest::Remove { tenant: self.tenant, connection };
        assert!(matches!(running.control.ask(ask).await.unwrap(), ControlReply::Done));
    }

    /// The database, for whoever forges rows.
    pub(crate) fn forge(&self, sql: &str) -> usize {
        let database = rusqlite::Connection::open(self.path("db.sqlite")).unwrap();
        database.busy_timeout(Duration::from_secs(5)).unwrap();
        database.pragma_update(None, "foreign_keys", "OFF").unwrap();
        database.execute(sql, []).unwrap()
    }

    /// One text of the database.
    pub(crate) fn look(&self, sql: &str) -> String {
        let database = rusqlite::Connection::open(self.path("db.sqlite")).unwrap();
        database.query_row(sql, [], |row| row.get(0)).unwrap()
    }

    /// What lies in the spool's files of this kind.
    pub(crate) fn spooled(&self, kind: &str) -> Vec<Vec<u8>> {
        let files = std::fs::read_dir(self.path("spool")).unwrap().map(|file| file.unwrap().path());
        let of_kind = files.filter(|path| path.extension().is_some_and(|own| own == kind));
        of_kind.map(|path| std::fs::read(path).unwrap()).collect()
    }

    /// First start: tenant, human, agent, task, and the agent's key enrolled.
    pub(crate) async fn settle(&self, running: &Running) {
        let now = self.clock.now();
        let tenant = Tenant { id: self.tenant, name: "default".parse().unwrap(), created_at: now };
        let human =
            Human { tenant: self.tenant, id: self.human, label: "dana@example.com".into(), created_at: now };
        let agent = self.agent_row(AgentStatus::Active);
        let agent = Agent { attestation: running.attest(Statement::Agent(agent.clone())).await, ..agent };
        running.store.bootstrap(tenant, human, agent).await.unwrap();
        let task = self.task_row(TaskState::Awake);
        running.store.put_task(running.attested_task(task).await).await.unwrap();
        self.enrol(running).await;
    }

    pub(crate) fn agent_row(&self, status: AgentStatus) -> Agent {
        Agent {
            tenant: self.tenant,
            id: self.agent,
            name: "laptop".parse().unwrap(),
            owner: self.human,
            purpose: "tests".into(),
            risk: RiskTier::Medium,
            status,
            created_at: Timestamp::from_millis(NOW_MILLIS),
            attestation: Attestation::default(),
        }
    }

    pub(crate) fn task_row(&self, state: TaskState) -> Task {
        Task {
            tenant: self.tenant,
            id: self.task,
            name: None,
            agent: self.agent,
            subject: self.human,
            purpose: "tests".into(),
            egress: Egress::Tools,
            state,
            created_at: Timestamp::from_millis(NOW_MILLIS),
            ends_at: Timestamp::from_millis(NOW_MILLIS).plus(Duration::from_secs(365 * 86_400)),
            attestation: Attestation::default(),
        }
    }

    async fn enrol(&self, running: &Running) {
        let code = EnrolmentCode {
            tenant: self.tenant,
            code_sha256: "c0de".to_owned(),
            agent: self.agent,
            task: self.task,
            expires_at: self.clock.now().plus(Duration::from_secs(600)),
            attestation: Attestation::default(),
        };
        let attestation = running.attest(Statement::EnrolmentCode(code.clone())).await;
        running.store.put_enrolment_code(EnrolmentCode { attestation, ..code }).await.unwrap();
        let ask = GatewayRequest::Enrol { code_sha256: "c0de".into(), binding: binding() };
        assert!(matches!(running.gateway.ask(ask).await.unwrap(), GatewayReply::Enrolled { .. }));
    }

    pub(crate) async fn client(&self, running: &Running, secret: Option<&str>) -> ClientId {
        self.client_called(running, "our-id", secret).await
    }

    pub(crate) async fn client_called(
        &self,
        running: &Running,
        called: &str,
        secret: Option<&str>,
    ) -> ClientId {
        let provider = "test".parse().unwrap();
        let sealed = match secret {
            None => None,
            Some(secret) => Some(
                running.seal(&intake_context(self.tenant, Intake::ClientSecret(&provider)), secret).await,
            ),
        };
        let auth = if secret.is_some() { ClientAuth::ClientSecretBasic } else { ClientAuth::None };
        let request =
            AddClient { tenant: self.tenant, provider, client_id: called.into(), auth, secret: sealed };
        match running.control.ask(ControlRequest::AddClient(request)).await.unwrap() {
            ControlReply::Client { client } => client,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn begin(
        &self,
        running: &Running,
        client: ClientId,
        reconnect: Option<ConnectionId>,
        tool: &str,
    ) -> Begun {
        self.may_begin(running, client, reconnect, tool).await.unwrap()
    }

    pub(crate) async fn may_begin(
        &self,
        running: &Running,
        client: ClientId,
        reconnect: Option<ConnectionId>,
        tool: &str,
    ) -> Result<Begun, ControlRefusal> {
        let context = ContextId::new(self.clock.now(), ten());
        let request = BeginFlow {
            tenant: self.tenant,
            tool: tool.parse().unwrap(),
            name: "dana".parse().unwrap(),
            client,
            reconnect,
            context,
            redirect_uri: format!("http://127.0.0.1:8444/oauth/callback/{context}"),
            scopes: vec!["read".into(), "write".into()],
            hosts: self.hosts(),
        };
        match running.control.ask(ControlRequest::BeginFlow(request)).await? {
            ControlReply::FlowBegun { flow, authorize_url, cookie, .. } => {
                Ok(Begun { flow, authorize_url, cookie: cookie.1, context })
            }
            other => panic!("{other:?}"),
        }
    }

    /// A whole flow for an account.
    pub(crate) async fn connect(
        &self,
        running: &Running,
        client: ClientId,
        account: &str,
        reconnect: Option<ConnectionId>,
    ) -> Result<ConnectionId, ControlRefusal> {
        let begun = self.begin(running, client, reconnect, "tool").await;
        let finish = begun.finish(running, &format!("code-{account}")).await;
        running.finish(finish).await
    }

    pub(crate) async fn connect_static(&self, running: &Running, key: &str) -> ConnectionId {
        self.connect_static_as(running, "key", key).await
    }

    pub(crate) async fn connect_static_as(&self, running: &Running, name: &str, key: &str) -> ConnectionId {
        let tool: nightlatch_domain::tool::Name = "tool".parse().unwrap();
        let request = AddStatic {
            tenant: self.tenant,
            name: name.parse().unwrap(),
            reconnect: None,
            hosts: self.hosts(),
            secret: running.seal(&intake_context(self.tenant, Intake::ToolKey(&tool)), key).await,
            tool,
        };
        match running.control.ask(ControlRequest::AddStatic(request)).await.unwrap() {
            ControlReply::Connected { connection, .. } => connection,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn grant(&self, running: &Running, connection: ConnectionId) -> GrantId {
        let now = self.clock.now();
        let text: GrantText = "tool:read".parse().unwrap();
        let entropy = SystemEntropy::new();
        let mut grant = Grant {
            tenant: self.tenant,
            id: GrantId::new(now, ten()),
            task: self.task,
            connection,
            tool: text.tool,
            operations: text.operations,
            resource: text.resource,
            reference: Reference::draw(|| nightlatch_domain::clock::random::<64>(&entropy)).unwrap(),
            created_at: now,
            expires_at: now.plus(Duration::from_secs(300 * 86_400)),
            revoked_at: None,
            budget: None,
            attestation: Attestation::default(),
        };
        grant.attestation = running.attest(Statement::Grant(grant.clone())).await;
        let id = grant.id;
        running.store.put_grant(grant).await.unwrap();
        id
    }

    pub(crate) async fn wake(&self, running: &Running) -> Result<Woken, KeeperRefusal> {
        self.wake_as(running, binding()).await
    }

    pub(crate) async fn wake_as(&self, running: &Running, binding: Binding) -> Result<Woken, KeeperRefusal> {
        let replica = ReplicaKey::generate(&SystemEntropy::new()).unwrap();
        let proof = self.proof(running, replica.sealing_key().clone(), binding).await;
        let wake = proof.wake;
        match running.gateway.ask(GatewayRequest::Wake(proof)).await? {
            GatewayReply::Awake(_) => Ok(Woken { wake, replica, tenant: self.tenant }),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn proof(
        &self,
        running: &Running,
        replica_key: SealingKey,
        binding: Binding,
    ) -> WakeProof {
        let ask = GatewayRequest::Challenge { tenant: self.tenant, task: self.task };
        let GatewayReply::Challenge(challenge) = running.gateway.ask(ask).await.unwrap() else {
            panic!("no challenge")
        };
        WakeProof {
            tenant: self.tenant,
            agent: self.agent,
            task: self.task,
            wake: challenge.wake,
            nonce: challenge.nonce,
            replica_key,
            evidence: Evidence::Stated { binding, verified_at: self.clock.now() },
        }
    }

    /// One account connected by OAuth, granted, and the task awake.
    pub(crate) async fn ready(&self, running: &Running) -> Ready {
        self.settle(running).await;
        let client = self.client(running, None).await;
        let connection = self.connect(running, client, "dana", None).await.unwrap();
        let grant = self.grant(running, connection).await;
        let woken = self.wake(running).await.unwrap();
        Ready { client, connection, grant, woken }
    }

    pub(crate) async fn health(&self, running: &Running) -> ConnectionHealth {
        running.store.health(self.tenant).await.unwrap().remove(0)
    }

    pub(crate) async fn needs_human(&self, running: &Running) -> bool {
        self.health(running).await.health == Health::NeedsYou
    }
}

pub(crate) struct Ready {
    pub(crate) client: ClientId,
    pub(crate) connection: ConnectionId,
    pub(crate) grant: GrantId,
    pub(crate) woken: Woken,
}

impl Ready {
    pub(crate) async fn lease(&self, running: &Running) -> Result<Opened, KeeperRefusal> {
        self.woken.lease(running, self.grant, self.connection, 20_000).await
    }
}

pub(crate) struct Woken {
    pub(crate) wake: WakeId,
    replica: ReplicaKey,
    tenant: TenantId,
}

/// An opened lease, as `attach` would see it.
pub(crate) struct Opened {
    pub(crate) lease: Lease,
    pub(crate) body: LeaseBody,
    pub(crate) secret: Secret,
    /// What must not come back.
    pub(crate) windows: Secret,
}

impl std::fmt::Debug for Opened {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Opened({:?})", self.lease.binding)
    }
}

impl Woken {
    pub(crate) async fn lease(
        &self,
        running: &Running,
        grant: GrantId,
        connection: ConnectionId,
        patience_millis: u64,
    ) -> Result<Opened, KeeperRefusal> {
        let request =
            LeaseRequest { tenant: self.tenant, wake: self.wake, grant, connection, patience_millis };
        match running.gateway.ask(GatewayRequest::Lease(request)).await? {
            GatewayReply::Lease(lease) => {
                let (body, secret) = self.replica.open_lease(&lease).unwrap();
                let windows = self.replica.open_windows(&lease).unwrap();
                Ok(Opened { lease, body, secret, windows })
            }
            other => panic!("{other:?}"),
        }
    }
}

pub(crate) struct Begun {
    pub(crate) flow: FlowId,
    pub(crate) authorize_url: String,
    pub(crate) cookie: String,
    pub(crate) context: ContextId,
}

impl Begun {
    pub(crate) fn parameter(&self, name: &str) -> Option<String> {
        let query = self.authorize_url.split_once('?').unwrap().1;
        form_urlencoded::parse(query.as_bytes())
            .find(|(own, _)| own == name)
            .map(|(_, value)| value.into_owned())
    }

    pub(crate) async fn finish(&self, running: &Running, code: &str) -> FinishFlow {
        FinishFlow {
            state: self.parameter("state").unwrap(),
            context: self.context,
            iss: None,
            result: Ok(running.seal(&code_context(self.context), code).await),
            session: FlowSession::Cookie { value: self.cookie.clone() },
        }
    }
}

impl Running {
    pub(crate) async fn attest(&self, statement: Statement) -> Attestation {
        match self.control.ask(ControlRequest::Attest(Box::new(statement))).await.unwrap() {
            ControlReply::Attested { attestation } => attestation,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn attested_task(&self, task: Task) -> Task {
        Task { attestation: self.attest(Statement::Task(task.clone())).await, ..task }
    }

    pub(crate) async fn seal(&self, aad: &str, secret: &str) -> nightlatch_domain::sealed::Sealed {
        match self.control.ask(ControlRequest::IntakeKey).await.unwrap() {
            ControlReply::IntakeKey { key } => {
                seal::to(&key, aad.as_bytes(), &Secret::from_string(secret.to_owned())).unwrap()
            }
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn finish(&self, finish: FinishFlow) -> Result<ConnectionId, ControlRefusal> {
        match self.control.ask(ControlRequest::FinishFlow(finish)).await? {
            ControlReply::FlowEnded { outcome: FlowOutcome::Connected { connection, .. }, .. } => {
                Ok(connection)
            }
            other => panic!("{other:?}"),
        }
    }

    /// Ends in order, so that another keeper can start over the same folder.
    pub(crate) async fn end(self) {
        self.keeper.stop().await;
        self.ledger.close().await.unwrap();
    }
}
