//! An installation in the world: a database, keepers on machines of their own, a provider of each class, and
//! people. The rows are made as the program makes them, over the keeper's own ports.

use crate::{
    adapters::{KilledAtStep, LateSends, NothingRuns, OverNet, Steps, TakesOver, Told},
    oracle::{Judge, Judged},
};
use nightlatch_catalog::{builtin::Catalogue, manifest::Manifest, profile::Profile};
use nightlatch_custody::{KeeperKeys, Secret, seal};
use nightlatch_domain::{
    chain::FlowOutcome,
    clock::{Clock as _, Timestamp, random},
    grant::{Grant, GrantText},
    id::{ClientId, ConnectionId, ContextId, GrantId, PrincipalId, TaskId, TenantId},
    ports::{
        control_keeper::{
            AddClient, BeginFlow, ControlRefusal, ControlReply, ControlRequest, FinishFlow, FlowSession,
            Statement, code_context,
        },
        gateway_keeper::{GatewayReply, GatewayRequest, KeeperRefusal},
        store::ControlStore as _,
        work::Work as _,
    },
    principal::{Agent, AgentStatus, Binding, EnrolmentCode, Human, RiskTier, Tenant},
    reference::Reference,
    sealed::{Attestation, ClientAuth, Sealed},
    task::{Egress, Task, TaskState},
    tool::{BoundHost, Name, Placement, Scheme},
};
use nightlatch_egress::Destination;
use nightlatch_keeper::{Keeper, KeeperConfig, KeeperParts};
use nightlatch_simulator::world::{
    Node, Process, World,
    disk::Disk,
    issuer::{Again, Issuer, Reuse, Rotation, Temper},
    net::Net,
    store::{Database, Session},
};
use std::{
    path::PathBuf,
    sync::{Arc, Mutex, atomic::AtomicU32},
    time::Duration,
};
use tempfile::TempDir;
use tokio::sync::oneshot;

/// A keeper's disk has room for more slots than it has refreshes at once.
pub(crate) const DISK_BYTES: u64 = 64 << 20;

/// A provider with its tool.
pub(crate) struct Tool {
    pub(crate) issuer: Arc<Issuer>,
    pub(crate) name: Name,
    pub(crate) host: String,
}

/// One account at one tool.
#[derive(Clone)]
pub(crate) struct Account {
    pub(crate) tool: usize,
    pub(crate) client: ClientId,
    pub(crate) login: String,
    pub(crate) connection: ConnectionId,
    pub(crate) grant: GrantId,
}

/// A machine with a keeper on it, most of the time.
pub(crate) struct Post {
    pub(crate) node: Node,
    pub(crate) disk: Disk,
    running: Mutex<Option<(Process, Arc<Keeper>)>>,
}

/// The installation.
pub(crate) struct House {
    pub(crate) world: World,
    pub(crate) net: Net,
    pub(crate) database: Database,
    pub(crate) tools: Vec<Tool>,
    pub(crate) posts: Vec<Arc<Post>>,
    /// Humans and agents live here; nothing ever happens to it.
    pub(crate) office: Process,
    pub(crate) judge: Arc<Judge>,
    pub(crate) killed_at_step: KilledAtStep,
    /// What kept a keeper, or every one, from its work though its process ran, or from knowing the time: since when and
    /// until when.
    hindered: Mutex<Vec<(Option<usize>, Timestamp, Timestamp)>>,
    pub(crate) late_sends: LateSends,
    pub(crate) takes_over: TakesOver,
    pub(crate) tenant: TenantId,
    pub(crate) agent: PrincipalId,
    pub(crate) task: TaskId,
    pub(crate) human: PrincipalId,
    began: Timestamp,
    keys: TempDir,
}

/// How the agent proves itself.
pub(crate) fn binding() -> Binding {
    Binding::Key { spki_sha256: "ab".repeat(32) }
}

impl House {
    /// Something keeps a keeper, or every one, from its work for so long.
    pub(crate) fn hinders(&self, post: Option<usize>, span: Duration) {
        let from = self.office.now();
        self.hindered.lock().expect("nobody panics with it").push((post, from, from.plus(span)));
    }

    /// Nothing hinders anybody any more.
    pub(crate) fn clears(&self) {
        let now = self.office.now();
        let mut spells = self.hindered.lock().expect("nobody panics with it");
        spells.iter_mut().for_each(|(.., until)| *until = now.min(*until));
    }

    /// Since when and until when something kept the keeper on a machine from its work.
    pub(crate) fn hindrances(&self, machine: &str) -> Vec<(Timestamp, Timestamp)> {
        let named = self.posts.iter().enumerate().find(|(_, post)| post.node.name() == machine);
        let Some((number, post)) = named else { return Vec::new() };
        let spells = self.hindered.lock().expect("nobody panics with it");
        let own = spells.iter().filter(|(whom, ..)| whom.is_none_or(|whom| whom == number));
        own.map(|(_, from, until)| (*from, *until)).chain(post.node.stood_still()).collect()
    }

    pub(crate) fn new(seed: u64, keepers: usize, tempers: Vec<Temper>) -> Arc<Self> {
        let world = World::new(seed);
        let (net, database) = (Net::new(&world), Database::new(&world));
        // Several keepers share a server, and one alone has a file.
        let database = if keepers > 1 { database.with_clock() } else { database };
        let judge = Arc::new(Judge::default());
        let office = world.node("office").start();
        let tools: Vec<Tool> = tempers.into_iter().map(|temper| tool(&world, temper)).collect();
        for tool in &tools {
            let judged = Judged {
                issuer: Arc::clone(&tool.issuer),
                judge: Arc::clone(&judge),
                database: database.clone(),
                name: tool.name.clone(),
            };
            net.serve(&destination(&tool.host).authority(), Arc::new(judged));
        }
        let posts = (0..keepers).map(|number| {
            let node = world.node(&format!("keeper-{number}"));
            let disk = Disk::new(&node, DISK_BYTES);
            Arc::new(Post { node, disk, running: Mutex::default() })
        });
        let posts = posts.collect();
        let began = office.now();
        let ten = || random::<10>(&office).expect("randomness");
        Arc::new(Self {
            tenant: TenantId::new(began, ten()),
            human: PrincipalId::new(began, ten()),
            agent: PrincipalId::new(began, ten()),
            task: TaskId::new(began, ten()),
            killed_at_step: Arc::new(AtomicU32::new(0)),
            hindered: Mutex::default(),
            late_sends: LateSends::default(),
            takes_over: TakesOver::default(),
            keys: tempfile::tempdir().expect("a folder for the key"),
            world,
            net,
            database,
            tools,
            posts,
            office,
            judge,
            began,
        })
    }

    /// The database as humans look at it.
    pub(crate) fn at_hand(&self) -> Session {
        self.database.at_hand(Arc::new(self.office.clone()))
    }

    /// The keeper's own keys, for whoever judges.
    pub(crate) fn keys(&self) -> KeeperKeys {
        KeeperKeys::load_or_create(self.keys.path(), true, Arc::new(self.office.clone()))
            .expect("the keeper's key")
    }

    /// Lets time pass for whoever waits in the office.
    pub(crate) async fn pause(&self, span: Duration) {
        self.office.sleep(span).await;
    }

    fn ten(&self) -> [u8; 10] {
        random(&self.office).expect("randomness")
    }

    /// Starts a keeper on a machine, and again as long as it does not come up.
    pub(crate) fn start(self: &Arc<Self>, number: usize) {
        let post = Arc::clone(&self.posts[number]);
        *post.running.lock().expect("nobody panics with it") = None;
        let process = post.node.start();
        let parts = self.parts(&post, &process);
        let config = KeeperConfig {
            state_folder: PathBuf::from("/state"),
            spool_folder: PathBuf::from("/data/spool"),
            machine: post.node.name(),
            boot: Some(post.node.boot()),
            alone: self.posts.len() == 1,
            refresh_timer: true,
        };
        let (house, own) = (Arc::downgrade(self), process.clone());
        process.spawn(Box::pin(async move {
            match Keeper::start(config, parts).await {
                Ok(keeper) => {
                    own.world().note(format_args!("{} is at work", own.node().name()));
                    *post.running.lock().expect("nobody panics with it") =
                        Some((own.clone(), Arc::new(keeper)));
                }
                Err(error) => {
                    let world = own.world().clone();
                    world.note(format_args!("{} does not start: {error}", own.node().name()));
                    world.after(Duration::from_secs(5), move |_| {
                        if let Some(house) = house.upgrade().filter(|_| own.lives()) {
                            house.start(number);
                        }
                    });
                }
            }
        }));
    }

    fn parts(&self, post: &Post, process: &Process) -> KeeperParts {
        let entropy = Arc::new(process.clone());
        let keys =
            KeeperKeys::load_or_create(self.keys.path(), true, entropy.clone()).expect("the keeper's key");
        let steps = Steps {
            process: process.clone(),
            killed: Arc::clone(&self.killed_at_step),
            takes_over: Arc::clone(&self.takes_over),
            database: self.database.clone(),
            dice: Mutex::new(self.world.dice()),
        };
        KeeperParts {
            store: Arc::new(self.database.session(process)),
            keys: Arc::new(keys),
            wire: Arc::new(OverNet { net: self.net.clone(), process: process.clone() }),
            catalogue: Arc::new(catalogue(&self.tools)),
            notes: Arc::new(Told { process: process.clone(), late_sends: Arc::clone(&self.late_sends) }),
            clock: Arc::new(process.clone()),
            entropy,
            work: Arc::new(process.clone()),
            files: Arc::new(post.disk.mount(process)),
            drains: Arc::new(NothingRuns),
            watch: Arc::new(steps),
        }
    }

    /// First start: tenant, human, agent, task, and the agent's key enrolled.
    pub(crate) async fn settle(&self) {
        let now = self.began;
        let tenant = Tenant { id: self.tenant, name: name("default"), created_at: now };
        let human =
            Human { tenant: self.tenant, id: self.human, label: "dana@example.com".into(), created_at: now };
        let agent = Agent {
            tenant: self.tenant,
            id: self.agent,
            name: name("laptop"),
            owner: self.human,
            purpose: "to be simulated".into(),
            risk: RiskTier::Medium,
            status: AgentStatus::Active,
            created_at: now,
            attestation: Attestation::default(),
        };
        let agent = Agent { attestation: self.attest(Statement::Agent(agent.clone())).await, ..agent };
        self.at_hand().bootstrap(tenant, human, agent).await.expect("a tenant");
        let task = Task {
            tenant: self.tenant,
            id: self.task,
            name: None,
            agent: self.agent,
            subject: self.human,
            purpose: "to be simulated".into(),
            egress: Egress::Tools,
            state: TaskState::Awake,
            created_at: now,
            ends_at: now.plus(Duration::from_secs(20 * 365 * 86_400)),
            attestation: Attestation::default(),
        };
        let task = Task { attestation: self.attest(Statement::Task(task.clone())).await, ..task };
        self.at_hand().put_task(task).await.expect("a task");
        let code = EnrolmentCode {
            tenant: self.tenant,
            code_sha256: "c0de".to_owned(),
            agent: self.agent,
            task: self.task,
            expires_at: now.plus(Duration::from_secs(600)),
            attestation: Attestation::default(),
        };
        let attestation = self.attest(Statement::EnrolmentCode(code.clone())).await;
        self.at_hand().put_enrolment_code(EnrolmentCode { attestation, ..code }).await.expect("a code");
        let enrol = GatewayRequest::Enrol { code_sha256: "c0de".into(), binding: binding() };
        assert!(matches!(self.posts[0].gateway(enrol).await, Some(Ok(GatewayReply::Enrolled { .. }))));
    }

    /// One account of a tool, connected and granted.
    pub(crate) async fn move_in(&self, tool: usize, login: String) -> Account {
        let provider = self.tools[tool].name.clone();
        let request = AddClient {
            tenant: self.tenant,
            provider,
            client_id: format!("client-of-{login}"),
            auth: ClientAuth::None,
            secret: None,
        };
        let client = match self.posts[0].control(ControlRequest::AddClient(request)).await {
            Some(Ok(ControlReply::Client { client })) => client,
            other => panic!("no client: {other:?}"),
        };
        // A provider that is slow or flaky is so from the first day.
        let connection = loop {
            if let Some(Ok(connection)) = self.connect(&self.posts[0], tool, client, &login, None).await {
                break connection;
            }
            self.pause(Duration::from_secs(20)).await;
        };
        let grant = self.grant(tool, connection).await;
        Account { tool, client, login, connection, grant }
    }

    /// A whole flow; none where the keeper went away meanwhile.
    pub(crate) async fn connect(
        &self,
        post: &Post,
        tool: usize,
        client: ClientId,
        login: &str,
        reconnect: Option<ConnectionId>,
    ) -> Option<Result<ConnectionId, ControlRefusal>> {
        let context = ContextId::new(self.office.now(), self.ten());
        let begin = BeginFlow {
            tenant: self.tenant,
            tool: self.tools[tool].name.clone(),
            name: name(login),
            client,
            reconnect,
            context,
            redirect_uri: format!("http://127.0.0.1:8444/oauth/callback/{context}"),
            scopes: vec!["read".into()],
            hosts: vec![bound(&self.tools[tool].host)],
        };
        let (authorize_url, cookie) = match post.control(ControlRequest::BeginFlow(begin)).await? {
            Ok(ControlReply::FlowBegun { authorize_url, cookie, .. }) => (authorize_url, cookie.1),
            Ok(other) => panic!("no flow: {other:?}"),
            Err(refusal) => return Some(Err(refusal)),
        };
        let code = self.tools[tool].issuer.books().consent(login);
        let state = parameter(&authorize_url, "state");
        let sealed = self.seal(post, &code_context(context), code).await?;
        let finish = FinishFlow {
            state,
            context,
            iss: None,
            result: Ok(sealed),
            session: FlowSession::Cookie { value: cookie },
        };
        match post.control(ControlRequest::FinishFlow(finish)).await? {
            Ok(ControlReply::FlowEnded { outcome: FlowOutcome::Connected { connection, .. }, .. }) => {
                Some(Ok(connection))
            }
            Ok(ControlReply::FlowEnded { outcome: FlowOutcome::Failed { reason }, .. }) => {
                self.world.note(format_args!("a flow of {login} fails: {reason}"));
                Some(Err(ControlRefusal::Unavailable))
            }
            Ok(other) => panic!("no end: {other:?}"),
            Err(refusal) => Some(Err(refusal)),
        }
    }

    async fn seal(&self, post: &Post, aad: &str, secret: String) -> Option<Sealed> {
        match post.control(ControlRequest::IntakeKey).await? {
            Ok(ControlReply::IntakeKey { key }) => {
                Some(seal::to(&key, aad.as_bytes(), &Secret::from_string(secret)).expect("sealed"))
            }
            _ => None,
        }
    }

    async fn grant(&self, tool: usize, connection: ConnectionId) -> GrantId {
        let now = self.office.now();
        let text: GrantText = format!("{}:read", self.tools[tool].name.as_str()).parse().expect("a grant");
        let mut grant = Grant {
            tenant: self.tenant,
            id: GrantId::new(now, self.ten()),
            task: self.task,
            connection,
            tool: text.tool,
            operations: text.operations,
            resource: text.resource,
            reference: Reference::draw(|| random::<64>(&self.office)).expect("randomness"),
            created_at: now,
            expires_at: now.plus(Duration::from_secs(20 * 365 * 86_400)),
            revoked_at: None,
            budget: None,
            attestation: Attestation::default(),
        };
        grant.attestation = self.attest(Statement::Grant(grant.clone())).await;
        let id = grant.id;
        self.at_hand().put_grant(grant).await.expect("a grant");
        id
    }

    async fn attest(&self, statement: Statement) -> Attestation {
        match self.posts[0].control(ControlRequest::Attest(Box::new(statement))).await {
            Some(Ok(ControlReply::Attested { attestation })) => attestation,
            other => panic!("not attested: {other:?}"),
        }
    }
}

impl Post {
    /// The keeper at work here, if one is.
    pub(crate) fn keeper(&self) -> Option<(Process, Arc<Keeper>)> {
        let running = self.running.lock().expect("nobody panics with it").clone();
        running.filter(|(process, _)| process.lives())
    }

    /// Asks the keeper as its gateway does: in its own process, which may end meanwhile.
    pub(crate) async fn gateway(
        &self,
        request: GatewayRequest,
    ) -> Option<Result<GatewayReply, KeeperRefusal>> {
        let (process, keeper) = self.keeper()?;
        let (answered, waits) = oneshot::channel();
        process.spawn(Box::pin(async move {
            let _ = answered.send(keeper.gateway_port().ask(request).await);
        }));
        waits.await.ok()
    }

    /// Asks the keeper as control does.
    pub(crate) async fn control(
        &self,
        request: ControlRequest,
    ) -> Option<Result<ControlReply, ControlRefusal>> {
        let (process, keeper) = self.keeper()?;
        let (answered, waits) = oneshot::channel();
        process.spawn(Box::pin(async move {
            let _ = answered.send(keeper.control_port().ask(request).await);
        }));
        waits.await.ok()
    }
}

pub(crate) fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

fn parameter(url: &str, name: &str) -> String {
    let query = url.split_once('?').expect("a query").1;
    let found = form_urlencoded::parse(query.as_bytes()).find(|(own, _)| own == name);
    found.expect("a parameter").1.into_owned()
}

fn destination(host: &str) -> Destination {
    Destination::new(Scheme::Https, host, 443).expect("a destination")
}

fn bound(host: &str) -> BoundHost {
    BoundHost {
        scheme: Scheme::Https,
        host: host.to_owned(),
        port: 443,
        path_prefix: "/".to_owned(),
        placement: Placement::Bearer,
        route: String::new(),
    }
}

fn tool(world: &World, temper: Temper) -> Tool {
    let (own, host) = (name(temper.name), format!("{}.example", temper.name));
    Tool { issuer: Arc::new(Issuer::new(temper, world.dice())), name: own, host }
}

fn catalogue(tools: &[Tool]) -> Catalogue {
    let mut catalogue = Catalogue::default();
    for tool in tools {
        let temper = tool.issuer.books().temper().clone();
        let profile = Profile::parse("profile.toml", &profile(&temper, &tool.host)).expect("a profile");
        catalogue.add_profile(profile).expect("a new profile");
        let manifest = Manifest::parse("tool.toml", &manifest(&tool.name, &tool.host)).expect("a manifest");
        catalogue.add_manifest(manifest).expect("a new manifest");
    }
    catalogue
}

/// What the operator would have written who knows this provider well.
fn profile(temper: &Temper, host: &str) -> String {
    let rotation = match temper.rotation {
        Rotation::Always => "always",
        Rotation::Never => "none",
        Rotation::SometimesNone(_) => "sometimes",
    };
    let second = match (temper.grace.is_zero() && temper.rotation == Rotation::Always, temper.again) {
        (true, _) => "unknown",
        (false, Again::Same) => "same",
        (false, Again::BothLive) => "both_live",
        (false, Again::LastWins) => "last_wins",
    };
    let after = match temper.reuse {
        Reuse::Refused => "reject",
        Reuse::EndsFamily => "revoke_family",
    };
    let grace = temper.grace.as_secs().min(86_400);
    let old = if temper.old_access_dies { "dies" } else { "survives" };
    let statuses = if temper.turns_away > 0 { "[429, 503]" } else { "[429]" };
    let name = temper.name;
    format!(
        r#"
name = "{name}"
title = "{name}"
authorization_endpoint = "https://{host}/authorize"
token_endpoint = "https://{host}/token"
revocation_endpoint = "https://{host}/revoke"
client_auth = ["none"]
access_ttl_default_secs = 3600
rotation = "{rotation}"
reuse = {{ grace_secs = {grace}, after_grace = "{after}" }}
second_presentation = "{second}"
old_access = "{old}"
blast = "chain"
not_processed_statuses = {statuses}

[[fact]]
covers = ["rotation", "reuse.grace_secs", "reuse.after_grace", "second_presentation", "old_access", "blast", "not_processed_statuses", "access_ttl_default_secs"]
source = "https://{host}/docs"
confidence = "verified"
checked_at = "2026-01-01"
"#
    )
}

fn manifest(tool: &Name, host: &str) -> String {
    let tool = tool.as_str();
    format!(
        r#"
name = "{tool}"
title = "{tool}"
docs = "https://docs.example"
profile = "{tool}"

[[host]]
host = "{host}"
key = {{ kind = "bearer" }}
oauth = {{ kind = "bearer" }}
accepts = [{{ kind = "bearer" }}]

[account]
probe = "/me"
id = "/id"
label = "/login"

[[operation]]
id = "me"
method = "GET"
path = "/me"
effect = "read"
page = "https://docs.example/me"
"#
    )
}
