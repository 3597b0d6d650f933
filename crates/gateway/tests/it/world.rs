//! A whole gateway in one process: store, ledger, policy, pool, a keeper that really seals, two tools that
//! record, two agents. And the oracle that every attack ends with.

mod held;
mod rows;

use crate::{
    client::{Answer, Dial, Identity, Wire, careless},
    door::{Door, Rewriting},
    fused::{self, Fuse},
    keeper::{FakeKeeper, Vaulted},
    upstream::Upstream,
};
use nightlatch_catalog::{builtin::Catalogue, profile::Profile};
use nightlatch_custody::{CallKey, GatewayKeys, KeeperKeys, WebhookKey, entropy::SystemEntropy};
use nightlatch_domain::{
    clock::{Boot, Clock, Timestamp, random},
    connection::{Connection, Source},
    grant::Grant,
    id::{ConnectionId, GrantId, PrincipalId, TaskId, TenantId},
    ports::store::{ControlStore, DirectoryStore, KeeperStore, NewConnection, ToolRow},
    principal::EnrolmentCode,
    sealed::Attestation,
    task::{Egress, Task},
    tool::{BoundHost, Placement, Scheme},
};
use nightlatch_egress::{Connector, EgressConfig, Map, Pool, PoolLimits, Resolve};
use nightlatch_gateway::{Directory, Gateway, Limits, Parts, Webhook, brakes::Rule, tls::server_config};
use nightlatch_ledger::{
    Ledger, LedgerKeys,
    read::Filter,
    record::{Entry, Record},
};
use nightlatch_policy::Decider;
use nightlatch_store::SqliteStore;
use rows::{actor, grant, people};
pub(crate) use rows::{enrol_binding, installation, other_secret};
use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};
use tempfile::TempDir;
use tokio::{net::TcpListener, sync::oneshot, task::JoinHandle};

/// What no agent may ever read.
pub(crate) const SECRET: &str = "CANARY-s3cr3t-0123456789-abcdefghij";
/// The host that the connection is bound to.
pub(crate) const HOST: &str = "api.acme.test";
/// The host of its provider's token endpoint. What reaches it reaches `evil`, which never hears of a credential.
pub(crate) const LOGIN: &str = "login.acme.test";
/// A host that nobody confirmed.
pub(crate) const EVIL: &str = "evil.test";

/// Where the tool's provider takes tokens: beside the tool, and at a host of its own.
const PROFILE: &str = r#"
name = "acme"
title = "Acme"
authorization_endpoint = "https://login.acme.test/authorize"
token_endpoint = "https://login.acme.test/token"
token_endpoint_aliases = ["https://api.acme.test/oauth/token", "https://**.tenants.acme.test/token"]
"#;

pub(crate) const MANIFEST: &str = r#"
name = "acme"
title = "Acme"
docs = "https://docs.acme.test"
profile = "acme"
keep_cookies = ["lang"]
safe_methods = true

[[host]]
host = "api.acme.test"
key = { kind = "bearer" }
accepts = [{ kind = "bearer" }, { kind = "basic-password" }, { kind = "header", name = "x-api-key" }]
challenge = 'Basic realm="Acme"'

[[host]]
route = "basic"
host = "api.acme.test"
path_prefix = "/basic"
key = { kind = "basic", user = "robot" }
accepts = [{ kind = "bearer" }]
challenge = 'Basic realm="Acme"'

[[host]]
route = "header"
host = "api.acme.test"
path_prefix = "/header"
key = { kind = "header", name = "x-acme-key", prefix = "key=" }
accepts = [{ kind = "bearer" }]

[[operation]]
id = "secrets.revoke"
method = "DELETE"
path = "/secrets/{name}"
effect = "credential"
answer = "no-secret"
page = "https://docs.acme.test/secrets"

[[operation]]
id = "secrets.show"
method = "GET"
path = "/secrets/{name}"
effect = "credential"
page = "https://docs.acme.test/secrets"

[[operation]]
id = "live.open"
method = "GET"
path = "/live/{name}"
upgrade = "websocket"
effect = "write"
page = "https://docs.acme.test/live"
"#;

/// A clock that moves when it is told to, and can hold the ledger's writer, which asks it for the time
/// before each write: a slow disk.
#[derive(Default)]
pub(crate) struct Hand {
    ran: AtomicI64,
    set_back: AtomicI64,
    writer: Mutex<Writer>,
    released: Condvar,
}

#[derive(Default)]
struct Writer {
    held: bool,
    waits: bool,
}

impl Hand {
    pub(crate) fn forward(&self, span: Duration) {
        self.ran.fetch_add(i64::try_from(span.as_millis()).unwrap(), Ordering::SeqCst);
    }

    /// Sets the wall clock back; time since the start goes on.
    pub(crate) fn set_back(&self, span: Duration) {
        self.set_back.fetch_add(i64::try_from(span.as_millis()).unwrap(), Ordering::SeqCst);
    }

    /// Sets the wall clock forward, and nothing else.
    pub(crate) fn set_ahead(&self, span: Duration) {
        self.set_back.fetch_sub(i64::try_from(span.as_millis()).unwrap(), Ordering::SeqCst);
    }

    /// The time in this world.
    pub(crate) fn time(&self) -> Timestamp {
        self.now()
    }

    pub(crate) fn hold_writer(&self, held: bool) {
        self.writer.lock().unwrap().held = held;
        self.released.notify_all();
    }

    /// Whether the writer has something to write and is held.
    pub(crate) fn writer_waits(&self) -> bool {
        self.writer.lock().unwrap().waits
    }

    fn pass_writer(&self) {
        if std::thread::current().name() != Some("ledger") {
            return;
        }
        let mut writer = self.writer.lock().unwrap();
        writer.waits = writer.held;
        self.released.wait_while(writer, |writer| writer.held).unwrap().waits = false;
    }
}

impl Clock for Hand {
    fn now(&self) -> Timestamp {
        self.pass_writer();
        let moved = self.ran.load(Ordering::SeqCst) - self.set_back.load(Ordering::SeqCst);
        Timestamp::from_millis(1_795_302_000_000 + moved)
    }
    fn boot(&self) -> Boot {
        Boot::from_millis(1_000_000 + u64::try_from(self.ran.load(Ordering::SeqCst)).unwrap())
    }
}

/// A name server that knows nothing, since every host of a test is mapped, and remembers what it was asked for.
#[derive(Clone, Default)]
pub(crate) struct Nowhere(Arc<Mutex<Vec<String>>>);

impl Nowhere {
    pub(crate) fn asked(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

impl Resolve for Nowhere {
    fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        self.0.lock().unwrap().push(host.to_owned());
        Err(io::ErrorKind::NotFound.into())
    }
}

/// An agent with its key, its task and its reference for `acme`.
pub(crate) struct Actor {
    pub(crate) identity: Identity,
    pub(crate) agent: PrincipalId,
    pub(crate) task: TaskId,
    pub(crate) grant: GrantId,
    pub(crate) reference: String,
}

/// How a world differs from the ordinary one.
#[derive(Default)]
pub(crate) struct Twist {
    pub(crate) policies: Vec<(String, String)>,
    pub(crate) limits: Option<Limits>,
    /// What the operator limits.
    pub(crate) rules: Vec<Rule>,
    /// Feed the directory from here instead of the store.
    pub(crate) feed: Option<Arc<dyn DirectoryStore>>,
    /// The name in the tool's certificate.
    pub(crate) certified: Option<&'static str>,
    /// More hosts that are answered by `evil`, for tools alone, and nothing else about them is known.
    pub(crate) elsewhere: Vec<&'static str>,
    /// What answers at `plain.test`, in plain HTTP.
    pub(crate) plainly: Option<SocketAddr>,
    /// What answers at [`LOGIN`] in place of `evil`: where, and under which root.
    pub(crate) login: Option<(SocketAddr, String)>,
    /// The webhooks that the operator has, by name and address.
    pub(crate) webhooks: Vec<(&'static str, String)>,
    /// Where the store of durable calls panics.
    pub(crate) fuse: Fuse,
}

pub(crate) struct World {
    pub(crate) folder: TempDir,
    pub(crate) store: SqliteStore,
    pub(crate) keeper: Arc<FakeKeeper>,
    pub(crate) clock: Arc<Hand>,
    pub(crate) ledger: Ledger,
    pub(crate) gateway: Alive,
    pub(crate) tool: Upstream,
    pub(crate) evil: Upstream,
    pub(crate) resolver: Nowhere,
    pub(crate) address: SocketAddr,
    pub(crate) tenant: TenantId,
    pub(crate) connection: ConnectionId,
    pub(crate) alice: Actor,
    pub(crate) mallory: Actor,
    pub(crate) door: Door,
    stop: Option<oneshot::Sender<()>>,
    tls: Arc<rustls::ServerConfig>,
    serving: JoinHandle<()>,
    rebuild: Rebuild,
}

/// A webhook as the operator configures it.
fn webhook(keys: &std::path::Path, (name, url): &(&str, String)) -> Webhook {
    let (name, url): (_, http::Uri) = (name.parse().unwrap(), url.parse().unwrap());
    let key = WebhookKey::load_or_create(keys, &name, &SystemEntropy::new()).unwrap();
    let path = url.path_and_query().unwrap().to_string();
    Webhook { name, to: nightlatch_egress::Destination::of_url(&url).unwrap(), path, key }
}

/// The gateway, but for the moment of a crash.
pub(crate) struct Alive(Option<Arc<Gateway>>);

impl Alive {
    pub(crate) fn shared(&self) -> Arc<Gateway> {
        Arc::clone(self.0.as_ref().unwrap())
    }
}

impl std::ops::Deref for Alive {
    type Target = Gateway;
    fn deref(&self) -> &Gateway {
        self.0.as_ref().unwrap()
    }
}

type Rebuild = Box<dyn Fn() -> Parts + Send + Sync>;

/// Serves a gateway at a port of its own.
async fn serve(
    gateway: &Arc<Gateway>,
    tls: Arc<rustls::ServerConfig>,
) -> (SocketAddr, oneshot::Sender<()>, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = Arc::clone(gateway);
    let serving = tokio::spawn(async move {
        serving.serve(listener, tls, async move { drop(stopped.await) }).await.unwrap();
    });
    (address, stop, serving)
}

/// The host of the tool where it speaks plain HTTP.
pub(crate) const PLAIN_HOST: &str = "localhost";

pub(crate) fn ten() -> [u8; 10] {
    random(&SystemEntropy::new()).unwrap()
}

pub(crate) fn bound(route: &str, prefix: &str, placement: Placement) -> BoundHost {
    BoundHost {
        scheme: Scheme::Https,
        host: HOST.into(),
        port: 443,
        path_prefix: prefix.into(),
        placement,
        route: route.into(),
    }
}

pub(crate) fn hosts() -> Vec<BoundHost> {
    vec![
        bound("", "/", Placement::Bearer),
        bound("basic", "/basic", Placement::Basic { user: "robot".into() }),
        bound("header", "/header", Placement::Header { name: "x-acme-key".into(), prefix: "key=".into() }),
    ]
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::twisted(Twist::default()).await
    }

    pub(crate) async fn twisted(twist: Twist) -> Self {
        let folder = TempDir::new().unwrap();
        let clock = Arc::new(Hand::default());
        let (now, entropy) = (clock.now(), Arc::new(SystemEntropy::new()));
        let store = SqliteStore::open(&folder.path().join("db.sqlite"), now).unwrap();
        let keys = folder.path().join("keys");
        let keeper_keys = KeeperKeys::load_or_create(&keys, true, Arc::clone(&entropy) as _).unwrap();
        let gateway_keys = GatewayKeys::load_or_create(&keys, true, entropy.as_ref()).unwrap();
        let record = gateway_keys.record();
        let ledger_keys = LedgerKeys::new(record.ledger_signer().unwrap(), record.query_hash_key());
        let ledger = folder.path().join("ledger");
        let ledger =
            Ledger::open(&ledger, ledger_keys, Arc::new(store.clone()), Arc::clone(&clock) as Arc<dyn Clock>)
                .await
                .unwrap();
        let door = Door::current();
        let tool = match door.is_plain() {
            true => Upstream::start_plain().await,
            false => Upstream::start(twist.certified.unwrap_or(HOST)).await,
        };
        let evil = Upstream::start(EVIL).await;
        let more = twist.elsewhere.iter().map(|host| (*host, &evil));
        let maps = [(HOST, &tool), (PLAIN_HOST, &tool)].into_iter().chain(more);
        let maps = maps.map(|(host, to)| Map::new(host, to.address, Some(to.root.as_bytes())).unwrap());
        let (login, root) = twist.login.unwrap_or((evil.address, evil.root.clone()));
        let opened = [
            Some(Map::new(EVIL, evil.address, Some(evil.root.as_bytes())).unwrap()),
            Some(Map::new(LOGIN, login, Some(root.as_bytes())).unwrap()),
            twist.plainly.map(|to| Map::new("plain.test", to, None).unwrap()),
        ];
        let opened = opened.into_iter().flatten().map(Map::for_open_egress);
        let maps = maps.chain(opened).collect();
        let resolver = Nowhere::default();
        let connector = Connector::new(
            EgressConfig { maps, allows: Vec::new() },
            Arc::new(resolver.clone()),
            Arc::clone(&clock) as Arc<dyn Clock>,
        );
        let pool = Pool::new(Arc::new(connector), PoolLimits::default());
        let keeper =
            Arc::new(FakeKeeper::new(keeper_keys, store.clone(), Arc::clone(&clock) as Arc<dyn Clock>));
        let limits = twist.limits.unwrap_or_default();
        let mut catalogue = Catalogue::builtin().unwrap();
        catalogue.add_profile(Profile::parse("acme.toml", PROFILE).unwrap()).unwrap();
        let plain = door.is_plain().then(|| tool.address.port());
        let (tenant, human, connection) = people(&store, &keeper, plain, now).await;
        let alice = actor(&store, tenant, human, connection, "alice", now).await;
        let mallory = actor(&store, tenant, human, connection, "mallory", now).await;
        let tls = server_config(gateway_keys.tls().chain(), gateway_keys.tls().key()).unwrap();
        let rebuild: Rebuild = {
            let (store, keeper, ledger) = (store.clone(), Arc::clone(&keeper), ledger.clone());
            let (clock, gateway_keys) = (Arc::clone(&clock), gateway_keys);
            Box::new(move || {
                let directory =
                    Directory::new(&catalogue, Arc::clone(&clock) as Arc<dyn Clock>, limits.staleness_bound);
                let feed = twist.feed.clone();
                let call_key = CallKey::load_or_create(&keys, true, Arc::clone(&entropy) as _).unwrap();
                Parts {
                    directory: Arc::new(directory),
                    store: feed.unwrap_or_else(|| Arc::new(store.clone())),
                    keeper: Arc::clone(&keeper) as _,
                    decider: Arc::new(Decider::new(&twist.policies).unwrap()),
                    ledger: ledger.clone(),
                    pool: pool.clone(),
                    clock: Arc::clone(&clock) as _,
                    entropy: Arc::clone(&entropy) as _,
                    interception: gateway_keys.interception().clone(),
                    key_sha256: gateway_keys.tls().spki_sha256().to_owned(),
                    calls: fused::calls(&store, &twist.fuse, call_key),
                    webhooks: twist.webhooks.iter().map(|one| webhook(&keys, one)).collect(),
                    installation: installation(),
                    limits,
                    budgets: Arc::new(store.clone()),
                    rules: twist.rules.clone(),
                    follower: None,
                    names: Vec::new(),
                }
            })
        };
        let gateway = Arc::new(Gateway::new(rebuild()));
        let (address, stop, serving) = serve(&gateway, Arc::clone(&tls)).await;
        let (stop, gateway) = (Some(stop), Alive(Some(gateway)));
        let world = Self {
            folder,
            store,
            keeper,
            clock,
            ledger,
            gateway,
            tool,
            evil,
            resolver,
            address,
            tenant,
            connection,
            alice,
            mallory,
            door,
            stop,
            tls,
            serving,
            rebuild,
        };
        world.in_effect().await;
        world
    }

    /// The gateway ends where it stands, and nothing of it is finished; then another takes its place, over the same
    /// rows and files, after what is done to them in between. The keeper forgets its wakes too.
    pub(crate) async fn crash(&mut self, between: impl AsyncFnOnce(&Self)) {
        self.serving.abort();
        let _ = (&mut self.serving).await;
        self.gateway = Alive(None);
        self.keeper.forget();
        between(self).await;
        let gateway = Arc::new(Gateway::new((self.rebuild)()));
        let (address, stop, serving) = serve(&gateway, Arc::clone(&self.tls)).await;
        (self.address, self.stop, self.serving) = (address, Some(stop), serving);
        self.gateway = Alive(Some(gateway));
        self.in_effect().await;
    }

    /// Waits until everything that was written is in effect at the gateway. A feed that never loads is not
    /// waited for.
    pub(crate) async fn in_effect(&self) {
        let (number, _) = self.store.snapshot().await.unwrap();
        self.gateway.directory().wait_applied(number, Duration::from_secs(2)).await;
    }

    /// A connection of an actor, over HTTP/1.1, by the world's door.
    pub(crate) async fn connect(&self, actor: &Actor) -> Wire {
        let in_stream = matches!(self.door, Door::Stream | Door::AbsoluteInStream);
        let mut wire = match self.door {
            Door::Route | Door::Absolute => self.direct(actor).await,
            Door::Tunnel | Door::Stream => {
                let tunnel = self.tunnel(actor, &format!("{HOST}:443"), in_stream).await.unwrap();
                tunnel.secured(careless(&["http/1.1"], true), HOST).await.unwrap()
            }
            Door::AbsoluteInStream => self.tunnel(actor, "plain-http.invalid:80", true).await.unwrap(),
        };
        let (tool, before) = match self.door.is_plain() {
            true => (self.plain_authority(), format!("http://{}", self.plain_authority())),
            false => (HOST.to_owned(), String::new()),
        };
        if self.door != Door::Route {
            wire.rewriting = Some(Rewriting { gateway: self.host(), tool, before });
        }
        wire
    }

    /// A connection of an actor to the gateway itself.
    pub(crate) async fn direct(&self, actor: &Actor) -> Wire {
        self.dial(Some(&actor.identity)).connect().await.unwrap()
    }

    /// Tells the gateway to close.
    pub(crate) fn close(&mut self) {
        drop(self.stop.take());
    }

    /// Where the tool is, where it speaks plain HTTP.
    pub(crate) fn plain_authority(&self) -> String {
        format!("{PLAIN_HOST}:{}", self.tool.address.port())
    }

    pub(crate) fn dial<'a>(&self, identity: Option<&'a Identity>) -> Dial<'a> {
        Dial {
            to: self.address,
            identity,
            server_name: "",
            alpn: &["http/1.1"],
            versions: rustls::ALL_VERSIONS,
        }
    }

    /// The authorities that an actor is given to trust.
    pub(crate) async fn trust(&self, actor: &Actor) -> String {
        let mut wire = self.direct(actor).await;
        wire.write(self.request("GET /v1/trust", &[])).await;
        let answer = wire.answer().await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.text()
    }

    /// A tunnel of an actor, over HTTP/1.1 or in a stream of HTTP/2.
    pub(crate) async fn tunnel(
        &self,
        actor: &Actor,
        authority: &str,
        in_stream: bool,
    ) -> Result<Wire, Box<Answer>> {
        let mut dial = self.dial(Some(&actor.identity));
        if in_stream {
            dial.alpn = &["h2"];
            return dial.connect().await.unwrap().tunnelled_in_stream(authority).await;
        }
        dial.connect().await.unwrap().tunnelled(authority).await
    }

    /// `Host: …` for this gateway.
    pub(crate) fn host(&self) -> String {
        format!("127.0.0.1:{}", self.address.port())
    }

    /// A request's bytes, with this gateway's Host.
    pub(crate) fn request(&self, line: &str, fields: &[&str]) -> String {
        let fields: String = fields.iter().map(|field| format!("{field}\r\n")).collect();
        format!("{line} HTTP/1.1\r\nHost: {}\r\n{fields}\r\n", self.host())
    }

    /// `Authorization: Bearer …` of an actor.
    pub(crate) fn bearer(actor: &Actor) -> String {
        format!("Authorization: Bearer {}", actor.reference)
    }

    /// One call on a connection of its own.
    pub(crate) async fn call(&self, actor: &Actor, line: &str, fields: &[&str]) -> Answer {
        let bearer = Self::bearer(actor);
        let fields: Vec<&str> = fields.iter().copied().chain([bearer.as_str()]).collect();
        self.send(actor, &self.request(line, &fields)).await
    }

    /// Raw bytes on a connection of their own, and the first answer.
    pub(crate) async fn send(&self, actor: &Actor, bytes: &str) -> Answer {
        let mut wire = self.connect(actor).await;
        wire.write(bytes).await;
        wire.answer().await
    }

    /// Raw bytes as an attack, and everything that must hold after any of them.
    pub(crate) async fn attack(&self, actor: &Actor, bytes: &str) -> Answer {
        let before = self.decisions().await.len();
        self.tool.take();
        let answer = self.send(actor, bytes).await;
        self.holds(actor, before, &answer).await;
        answer
    }

    /// The oracle: no canary in what the agent reads or in any file, no other host saw a credential, one
    /// decision in the ledger, the process lives and serves another call, and the answer is typed.
    pub(crate) async fn holds(&self, actor: &Actor, decisions_before: usize, answer: &Answer) {
        assert!(!answer.head.contains("CANARY") && !answer.text().contains("CANARY"), "{answer:?}");
        assert_eq!(self.evil.count(), 0, "another host was spoken to");
        let decided = self.decisions().await;
        assert_eq!(decided.len(), decisions_before + 1, "{decided:?}");
        if answer.status >= 400 {
            assert!(!answer.problem().is_empty());
            assert!(answer.field("nightlatch-call").is_some());
        }
        self.no_canary_at_rest();
        self.still_serves(actor).await;
    }

    /// The ordinary call goes through, with the exact credential.
    pub(crate) async fn still_serves(&self, _: &Actor) {
        let before = self.tool.take();
        drop(before);
        let answer = self.call(&self.alice, "GET /acme/things", &[]).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let seen = self.tool.take();
        assert_eq!(seen.last().unwrap().all("authorization"), [format!("Bearer {SECRET}")]);
    }

    /// Every file of the installation, raw.
    pub(crate) fn no_canary_at_rest(&self) {
        let mut folders = vec![self.folder.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if let Ok(bytes) = std::fs::read(&path) {
                    let found = bytes.windows(6).any(|window| window == b"CANARY");
                    assert!(!found, "a secret lies in {}", path.display());
                }
            }
        }
    }

    pub(crate) async fn records(&self) -> Vec<Record> {
        let ledger = self.ledger.clone();
        tokio::task::spawn_blocking(move || ledger.tail(10_000, &Filter::default()).unwrap()).await.unwrap()
    }

    /// Intents and refusals.
    pub(crate) async fn decisions(&self) -> Vec<Record> {
        let all = self.records().await;
        all.into_iter()
            .filter(|record| matches!(record.entry, Entry::Intent(_) | Entry::Refusal(_)))
            .collect()
    }

    /// Waits for something that comes about by itself.
    pub(crate) async fn eventually<F: Future<Output = bool>>(&self, what: &str, is_so: impl Fn() -> F) {
        let held = async {
            while !is_so().await {
                // tidy: sleeps because it polls until a deadline
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), held).await.unwrap_or_else(|_| panic!("never: {what}"));
    }

    /// Writes a task's row anew.
    pub(crate) async fn set_task(&self, actor: &Actor, change: impl FnOnce(&mut Task)) {
        let tasks = self.store.tasks(self.tenant).await.unwrap();
        let mut task = tasks.into_iter().find(|task| task.id == actor.task).unwrap();
        change(&mut task);
        self.store.put_task(task).await.unwrap();
        self.in_effect().await;
    }

    /// Opens or shuts the way to hosts that no tool has.
    pub(crate) async fn set_egress(&self, actor: &Actor, egress: Egress) {
        self.set_task(actor, |task| task.egress = egress).await;
    }

    /// Adds tools to the tenant, by their names and manifests, beside the one that is there.
    pub(crate) async fn add_tools(&self, tools: &[(&str, &str)]) {
        for (name, manifest) in tools {
            let row = ToolRow {
                tenant: self.tenant,
                name: name.parse().unwrap(),
                manifest: (*manifest).to_owned(),
                added_at: self.clock.now(),
            };
            self.store.put_tool(row).await.unwrap();
        }
        self.in_effect().await;
    }

    /// A connection of a tool, and a grant of it to an actor; gives the reference.
    pub(crate) async fn granted(&self, actor: &Actor, tool: &str, hosts: Vec<BoundHost>) -> String {
        let (now, id) = (self.clock.now(), ConnectionId::new(self.clock.now(), ten()));
        let vaulted = Vaulted {
            hosts: hosts.clone(),
            secret: other_secret(tool),
            others: Vec::new(),
            family: None,
            generation: 1,
        };
        self.keeper.vault.lock().unwrap().insert(id, vaulted);
        let connection = Connection {
            tenant: self.tenant,
            id,
            tool: tool.parse().unwrap(),
            // A name of its own among the tool's connections.
            name: id.to_string().to_lowercase().parse().unwrap(),
            account: None,
            account_label: None,
            source: Source::Static,
            hosts,
            created_at: now,
            removed_at: None,
        };
        self.store.put_connection(NewConnection { connection, tokens: None, secret: None }).await.unwrap();
        let reference = grant(&self.store, self.tenant, actor.task, id, tool, now).await.1;
        self.in_effect().await;
        reference
    }

    /// Writes a grant's row anew.
    pub(crate) async fn set_grant(&self, actor: &Actor, change: impl FnOnce(&mut Grant)) {
        let grants = self.store.grants(self.tenant).await.unwrap();
        let mut grant = grants.into_iter().find(|grant| grant.id == actor.grant).unwrap();
        change(&mut grant);
        self.store.put_grant(grant).await.unwrap();
        self.in_effect().await;
    }

    /// A one-time code for an actor's agent and task.
    pub(crate) async fn code(&self, actor: &Actor, code: &str) {
        let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, code.as_bytes());
        let row = EnrolmentCode {
            tenant: self.tenant,
            code_sha256: hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect(),
            agent: actor.agent,
            task: actor.task,
            expires_at: self.clock.now().plus(Duration::from_secs(600)),
            attestation: Attestation("test".into()),
        };
        self.store.put_enrolment_code(row).await.unwrap();
    }

    /// Changes what the keeper seals for the connection.
    pub(crate) fn reseal(&self, change: impl FnOnce(&mut Vaulted)) {
        change(self.keeper.vault.lock().unwrap().get_mut(&self.connection).unwrap());
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
    }
}
