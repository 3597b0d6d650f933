//! One control in a temporary folder, with everything around it real but the keeper's providers and the
//! gateway: the keeper vouches and opens with real keys, and writes down what it is asked.

use nightlatch_catalog::builtin::Catalogue;
use nightlatch_control::{
    ApiKey, Checkup, Client, Control, Exposition, Facts, Parts, Settled, Standing, api::Finding, server,
};
use nightlatch_custody::{KeeperKeys, entropy::SystemEntropy, seal};
use nightlatch_domain::{
    chain::FlowOutcome,
    clock::{Boot, Clock, Timestamp},
    connection::{Connection, Source, StaticSecret},
    id::{ConnectionId, FlowId, PrincipalId, TenantId},
    ports::{
        Boxed,
        control_keeper::{
            AddStatic, ControlRefusal, ControlReply, ControlRequest, FinishFlow, Intake, KeeperForControl,
            Statement, intake_context,
        },
        sight::{LiveCall, Sight, Total},
        store::{ControlStore, KeeperStore, LedgerStore, NewConnection},
    },
    principal::{Agent, AgentStatus, Human, RiskTier, Tenant},
    sealed::{Attestation, SealContext, Sealed, SecretKind},
    tool::Name,
};
use nightlatch_ledger::{Ledger, LedgerKeys};
use nightlatch_policy::Decider;
use nightlatch_store::SqliteStore;
use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::Duration,
};
use tokio::{
    net::{TcpListener, UnixListener},
    sync::{Notify, watch},
};

pub(crate) const START: i64 = 1_700_000_000_000;

/// A clock that stands until it is moved.
pub(crate) struct TestClock(AtomicI64);

impl TestClock {
    pub(crate) fn advance(&self, span: Duration) {
        self.0.fetch_add(span.as_millis() as i64, Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::SeqCst))
    }

    fn boot(&self) -> Boot {
        Boot::from_millis(0)
    }
}

/// The keeper's port with real keys and no providers.
pub(crate) struct TestKeeper {
    pub(crate) keys: KeeperKeys,
    pub(crate) store: Arc<SqliteStore>,
    /// What was asked, but for keys and rows.
    pub(crate) asked: Mutex<Vec<ControlRequest>>,
    /// Refuses to vouch.
    pub(crate) refuses: AtomicBool,
    /// What a flow ends with.
    pub(crate) flow_ends: Mutex<Result<FlowOutcome, ControlRefusal>>,
}

impl TestKeeper {
    pub(crate) fn finished(&self) -> FinishFlow {
        let asked = self.asked.lock().unwrap();
        let finish = asked.iter().rev().find_map(|request| match request {
            ControlRequest::FinishFlow(finish) => Some(finish.clone()),
            _ => None,
        });
        finish.expect("no flow was finished")
    }

    pub(crate) fn was_asked_to_finish(&self) -> bool {
        self.asked.lock().unwrap().iter().any(|request| matches!(request, ControlRequest::FinishFlow(_)))
    }

    async fn connect(&self, asked: AddStatic) -> Result<ControlReply, ControlRefusal> {
        let context = intake_context(asked.tenant, Intake::ToolKey(&asked.tool));
        let secret =
            self.keys.open_intake(&asked.secret, context.as_bytes()).map_err(|_| ControlRefusal::Intake)?;
        let id = ConnectionId::new(Timestamp::from_millis(START), random());
        let bound = SealContext {
            tenant: asked.tenant,
            kind: SecretKind::Static,
            chain: None,
            family: None,
            family_number: None,
            connection: Some(id),
            generation: 1,
            provider: None,
            client: None,
            token_endpoint: None,
            refresh_endpoint: None,
            revocation_endpoint: None,
            client_auth: None,
            hosts: asked.hosts.clone(),
        };
        let wrapped = self.keys.wrap(&secret, &bound).unwrap();
        let created_at = Timestamp::from_millis(START);
        let connection = Connection {
            tenant: asked.tenant,
            id,
            tool: asked.tool,
            name: asked.name,
            account: None,
            account_label: None,
            source: Source::Static,
            hosts: asked.hosts,
            created_at,
            removed_at: None,
        };
        let secret = StaticSecret {
            tenant: asked.tenant,
            connection: id,
            generation: 1,
            secret: (wrapped, bound),
            created_at,
        };
        let makes = NewConnection { connection, tokens: None, secret: Some(secret) };
        self.store.put_connection(makes).await.map_err(|_| ControlRefusal::Unavailable)?;
        Ok(ControlReply::Connected { connection: id, account: None })
    }
}

impl KeeperForControl for TestKeeper {
    fn ask(&self, request: ControlRequest) -> Boxed<'_, Result<ControlReply, ControlRefusal>> {
        Box::pin(async move {
            if !matches!(request, ControlRequest::Attest(_) | ControlRequest::IntakeKey) {
                self.asked.lock().unwrap().push(request.clone());
            }
            match request {
                ControlRequest::IntakeKey => Ok(ControlReply::IntakeKey { key: self.keys.intake_key() }),
                ControlRequest::Attest(_) if self.refuses.load(Ordering::SeqCst) => {
                    Err(ControlRefusal::Unavailable)
                }
                ControlRequest::Attest(row) => {
                    Ok(ControlReply::Attested { attestation: self.keys.attest(&row).unwrap() })
                }
                ControlRequest::AddStatic(asked) => self.connect(asked).await,
                ControlRequest::Remove { tenant, connection } => {
                    let removed =
                        self.store.remove_connection(tenant, connection, Timestamp::from_millis(START));
                    removed.await.map_err(|_| ControlRefusal::Unavailable)?;
                    Ok(ControlReply::Done)
                }
                ControlRequest::EndWakes { .. } => Ok(ControlReply::Done),
                ControlRequest::Keepers | ControlRequest::Adopt { .. } | ControlRequest::Forget { .. } => {
                    Err(ControlRefusal::Unavailable)
                }
                ControlRequest::FinishFlow(_) => {
                    let outcome = self.flow_ends.lock().unwrap().clone()?;
                    Ok(ControlReply::FlowEnded {
                        flow: FlowId::new(Timestamp::from_millis(START), [1; 10]),
                        outcome,
                    })
                }
                ControlRequest::BeginFlow(_) => Ok(ControlReply::FlowBegun {
                    flow: FlowId::new(Timestamp::from_millis(START), [1; 10]),
                    start_path: String::new(),
                    authorize_url: "https://as.example/authorize?state=s".to_owned(),
                    cookie: ("nightlatch-flow".to_owned(), "cookie-value".to_owned()),
                    expires_at: Timestamp::from_millis(START + 600_000),
                }),
                ControlRequest::AddClient(_) | ControlRequest::Import(_) | ControlRequest::Probe { .. } => {
                    Err(ControlRefusal::NotSupported { what: "this test".to_owned() })
                }
            }
        })
    }
}

/// A gateway that takes changes over at once, or when it is let.
#[derive(Default)]
pub(crate) struct TestGateway {
    pub(crate) holds: AtomicBool,
    pub(crate) asked: Notify,
    pub(crate) released: Notify,
    /// What is under way.
    pub(crate) calls: Mutex<Vec<LiveCall>>,
}

impl Settled for TestGateway {
    fn settled(&self) -> Boxed<'_, ()> {
        Box::pin(async {
            if self.holds.load(Ordering::SeqCst) {
                self.asked.notify_one();
                self.released.notified().await;
            }
        })
    }
}

pub(crate) struct World {
    folder: tempfile::TempDir,
    pub(crate) tenant: TenantId,
    pub(crate) clock: Arc<TestClock>,
    pub(crate) keeper: Arc<TestKeeper>,
    pub(crate) gateway: Arc<TestGateway>,
    pub(crate) store: Arc<SqliteStore>,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) client: Client,
    pub(crate) redirects: String,
    pub(crate) metrics: String,
    pub(crate) stop: watch::Sender<bool>,
}

pub(crate) const TOKEN: &[u8] = b"the token of this test";

impl World {
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(TestClock(AtomicI64::new(START)));
        let entropy = Arc::new(SystemEntropy::new());
        let store = Arc::new(SqliteStore::open(&folder.path().join("db.sqlite"), clock.now()).unwrap());
        let keys = KeeperKeys::load_or_create(&folder.path().join("keys"), true, entropy.clone()).unwrap();
        let keeper = Arc::new(TestKeeper {
            keys,
            store: store.clone(),
            asked: Mutex::default(),
            refuses: AtomicBool::new(false),
            flow_ends: Mutex::new(Ok(FlowOutcome::Failed { reason: "test".to_owned() })),
        });
        let (tenant, human) = bootstrap(&store, &keeper).await;
        let ledger = Arc::new(ledger(&folder, &store, &clock).await);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let redirects = listener.local_addr().unwrap().to_string();
        let (stop, stopped) = watch::channel(false);
        let gateway = Arc::new(TestGateway::default());
        let control = Control::new(Parts {
            tenant: tenant.clone(),
            human,
            store: store.clone(),
            keeper: keeper.clone(),
            settled: gateway.clone(),
            sight: gateway.clone(),
            exposition: gateway.clone(),
            checkup: gateway.clone(),
            decider: Arc::new(Decider::new(&[]).unwrap()),
            ledger: ledger.clone(),
            catalogue: Catalogue::builtin().unwrap(),
            own_profiles: Vec::new(),
            key: ApiKey::new(TOKEN),
            clock: clock.clone(),
            entropy: entropy.clone(),
            facts: Facts {
                version: "test".to_owned(),
                gateway_url: "https://127.0.0.1:8443".to_owned(),
                gateway_pin: "sha256//x".to_owned(),
                redirect_url: format!("http://{redirects}"),
                warnings: Vec::new(),
            },
            stop: stop.clone(),
        });
        let socket = folder.path().join("api.sock");
        tokio::spawn(server::serve(UnixListener::bind(&socket).unwrap(), control.api(), stopped.clone()));
        tokio::spawn(server::serve(listener, control.redirects(), stopped.clone()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let metrics = listener.local_addr().unwrap().to_string();
        tokio::spawn(server::serve(listener, control.metrics(metrics.clone()), stopped));
        let client = Client::new(&socket, ApiKey::new(TOKEN), clock.clone(), entropy);
        Self {
            folder,
            tenant: tenant.id,
            clock,
            keeper,
            gateway,
            store,
            ledger,
            client,
            redirects,
            metrics,
            stop,
        }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("api.sock")
    }

    /// A secret as the command line seals it.
    pub(crate) fn sealed(&self, tool: &str, secret: &str) -> Sealed {
        let context = intake_context(self.tenant, Intake::ToolKey(&tool.parse().unwrap()));
        let secret = nightlatch_custody::Secret::from_string(secret.to_owned());
        seal::to(&self.keeper.keys.intake_key(), context.as_bytes(), &secret).unwrap()
    }

    /// A connection with a static secret.
    pub(crate) async fn connect(&self, tool: &str, name: &str) {
        let body = serde_json::json!({
            "tool": tool, "name": name, "secret": self.sealed(tool, "canary-key"),
        });
        let connected: serde_json::Value = self.client.post("/v1/connections", &body).await.unwrap();
        assert_eq!(connected["connection"]["name"], name);
    }

    /// A task for the first agent.
    pub(crate) async fn task(&self) -> String {
        let body = serde_json::json!({ "agent": "laptop", "for_secs": 3600 });
        let task: serde_json::Value = self.client.post("/v1/tasks", &body).await.unwrap();
        task["id"].as_str().unwrap().to_owned()
    }
}

/// What a gateway of a test has under way, and counted.
impl Sight for TestGateway {
    fn live(&self, tenant: TenantId) -> Vec<LiveCall> {
        let calls = self.calls.lock().unwrap();
        calls.iter().filter(|call| call.tenant == tenant).cloned().collect()
    }

    fn by_tool(&self, _: TenantId) -> Vec<(Name, Total)> {
        vec![("github".parse().unwrap(), Total { calls: 3, refused: 1 })]
    }

    fn by_agent(&self, _: TenantId) -> Vec<(PrincipalId, Total)> {
        self.calls.lock().unwrap().iter().map(|call| (call.agent, Total { calls: 3, refused: 1 })).collect()
    }

    fn limits_met(&self) -> Vec<(&'static str, u64)> {
        vec![("agent.at_once", 0), ("tool.at_once", 2)]
    }
}

impl Checkup for TestGateway {
    fn findings(&self) -> Boxed<'_, Vec<Finding>> {
        Box::pin(std::future::ready(vec![Finding::limit("test", "it is a test")]))
    }
}

impl Exposition for TestGateway {
    fn openmetrics(&self, standing: &Standing) -> Result<String, std::fmt::Error> {
        Ok(format!("# {standing:?}\n# EOF\n"))
    }
}

fn random() -> [u8; 10] {
    nightlatch_domain::clock::random(&SystemEntropy::new()).unwrap()
}

async fn bootstrap(store: &Arc<SqliteStore>, keeper: &TestKeeper) -> (Tenant, Human) {
    let now = Timestamp::from_millis(START);
    let tenant =
        Tenant { id: TenantId::new(now, random()), name: "default".parse().unwrap(), created_at: now };
    let human = Human {
        tenant: tenant.id,
        id: PrincipalId::new(now, random()),
        label: "dana@test".to_owned(),
        created_at: now,
    };
    let mut agent = Agent {
        tenant: tenant.id,
        id: PrincipalId::new(now, random()),
        name: "laptop".parse().unwrap(),
        owner: human.id,
        purpose: String::new(),
        risk: RiskTier::Medium,
        status: AgentStatus::Active,
        created_at: now,
        attestation: Attestation::default(),
    };
    agent.attestation = keeper.keys.attest(&Statement::Agent(agent.clone())).unwrap();
    store.bootstrap(tenant.clone(), human.clone(), agent).await.unwrap();
    (tenant, human)
}

async fn ledger(folder: &tempfile::TempDir, store: &Arc<SqliteStore>, clock: &Arc<TestClock>) -> Ledger {
    let keys = nightlatch_custody::GatewayKeys::load_or_create(
        &folder.path().join("keys"),
        true,
        &SystemEntropy::new(),
    );
    let keys = keys.unwrap();
    let keys = LedgerKeys::new(keys.record().ledger_signer().unwrap(), keys.record().query_hash_key());
    let heads = store.clone() as Arc<dyn LedgerStore>;
    Ledger::open(&folder.path().join("ledger"), keys, heads, clock.clone()).await.unwrap()
}
