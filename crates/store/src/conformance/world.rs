//! A small world of rows: enough to write any of them in a line.

use super::{Place, Planes};
use nightlatch_domain::{
    chain::{Attempt, AttemptState, Chain, ChainState, Client, Family, Flow, FlowStep, Generation},
    clock::Timestamp,
    connection::{Connection, Source, StaticSecret},
    grant::{Grant, ResourcePattern, Selector},
    id::{
        AttemptId, ChainId, ClientId, ConnectionId, ContextId, EnrolmentId, FamilyId, FlowId, GrantId,
        InstallationId, OwnerId, PrincipalId, TaskId, TenantId, TicketId, WakeId,
    },
    ports::store::{Claim, NewConnection, NewHead, Seen, Settlement, ToolRow},
    principal::{Agent, AgentStatus, Binding, Enrolment, EnrolmentCode, Human, RiskTier, Tenant},
    reference::Reference,
    sealed::{Attestation, ClientAuth, SealContext, SecretKind, Wrapped},
    task::{Assurance, Egress, Task, TaskState, WakeNote},
    ticket::{Ticket, TicketKind},
    tool::{BoundHost, Effect, Name, Placement, Scheme},
};
use std::{
    ops::Deref,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// When everything happens, unless a case says otherwise.
pub(crate) const NOW: Timestamp = Timestamp::from_millis(1_750_000_000_000);
/// The states that an ordinary claim starts from.
pub(crate) const CLAIMABLE: [ChainState; 2] = [ChainState::Healthy, ChainState::BackingOff];

/// `NOW` and so many seconds.
pub(crate) fn later(secs: u64) -> Timestamp {
    NOW.plus(Duration::from_secs(secs))
}

/// A store with one tenant in it.
pub(crate) struct World {
    planes: Planes,
    pub(crate) tenant: TenantId,
    pub(crate) human: PrincipalId,
    pub(crate) agent: PrincipalId,
    drawn: AtomicU64,
}

impl Deref for World {
    type Target = Planes;
    fn deref(&self) -> &Planes {
        &self.planes
    }
}

impl World {
    /// The place's store after its first start.
    pub(crate) async fn new(place: &dyn Place) -> Self {
        let world = Self::of(place.open(), 1);
        world.start(world.tenant).await;
        world
    }

    /// Another tenant of the same store: the port only makes the first, so only what hangs on the tenant.
    pub(crate) async fn neighbour(&self) -> Self {
        let world = Self::of(self.planes.clone(), 1_000_000);
        world.control.put_agent(world.agent("neighbour")).await.unwrap();
        world
    }

    /// A world of the same ids over the store as it is now.
    pub(crate) fn reopened(self, place: &dyn Place) -> Self {
        let Self { planes, tenant, human, agent, drawn } = self;
        drop(planes);
        Self { planes: place.open(), tenant, human, agent, drawn }
    }

    /// As [`World::reopened`], when a neighbour holds the store too.
    pub(crate) fn reopened_beside(self, neighbour: Self, place: &dyn Place) -> Self {
        drop(neighbour);
        self.reopened(place)
    }

    fn of(planes: Planes, first: u64) -> Self {
        let drawn = AtomicU64::new(first);
        let (tenant, human, agent) =
            (id(&drawn, TenantId::new), id(&drawn, PrincipalId::new), id(&drawn, PrincipalId::new));
        Self { planes, tenant, human, agent, drawn }
    }

    async fn start(&self, tenant: TenantId) {
        self.control
            .bootstrap(self.tenant_row(tenant), self.human_row(), self.agent("laptop"))
            .await
            .unwrap();
        self.keeper.installation(self.id(InstallationId::new)).await.unwrap();
    }

    /// A new id of any kind.
    pub(crate) fn id<T>(&self, make: fn(Timestamp, [u8; 10]) -> T) -> T {
        id(&self.drawn, make)
    }

    pub(crate) fn tenant_row(&self, id: TenantId) -> Tenant {
        Tenant { id, name: name("default"), created_at: NOW }
    }

    pub(crate) fn human_row(&self) -> Human {
        Human { tenant: self.tenant, id: self.human, label: "dana@laptop".into(), created_at: NOW }
    }

    pub(crate) fn agent(&self, called: &str) -> Agent {
        Agent {
            tenant: self.tenant,
            id: self.agent,
            name: name(called),
            owner: self.human,
            purpose: "to run".into(),
            risk: RiskTier::High,
            status: AgentStatus::Active,
            created_at: NOW,
            attestation: Attestation("agent-mac".into()),
        }
    }

    pub(crate) fn tool(&self, called: &str, manifest: &str) -> ToolRow {
        ToolRow { tenant: self.tenant, name: name(called), manifest: manifest.into(), added_at: NOW }
    }

    pub(crate) fn task(&self, called: Option<&str>) -> Task {
        Task {
            tenant: self.tenant,
            id: self.id(TaskId::new),
            name: called.map(name),
            agent: self.agent,
            subject: self.human,
            purpose: "to try".into(),
            egress: Egress::Open,
            state: TaskState::Awake,
            created_at: later(self.drawn.load(Ordering::Relaxed)),
            ends_at: later(86_400),
            attestation: Attestation("task-mac".into()),
        }
    }

    /// A stored task.
    pub(crate) async fn opened_task(&self) -> Task {
        let task = self.task(None);
        self.control.put_task(task.clone()).await.unwrap();
        task
    }

    pub(crate) fn grant(&self, task: TaskId, connection: ConnectionId) -> Grant {
        let drawn = self.drawn.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        Grant {
            tenant: self.tenant,
            id: self.id(GrantId::new),
            task,
            connection,
            tool: name("github"),
            operations: vec![Selector::Effect(Effect::Write)],
            resource: ResourcePattern::all(),
            reference: reference(drawn),
            created_at: NOW,
            expires_at: later(3600),
            revoked_at: None,
            budget: None,
            attestation: Attestation("grant-mac".into()),
        }
    }

    pub(crate) fn code(&self, task: TaskId, sha256: &str) -> EnrolmentCode {
        EnrolmentCode {
            tenant: self.tenant,
            code_sha256: sha256.into(),
            agent: self.agent,
            task,
            expires_at: later(600),
            attestation: Attestation("code-mac".into()),
        }
    }

    pub(crate) fn enrolment(&self, task: TaskId, binding: Binding) -> Enrolment {
        Enrolment {
            tenant: self.tenant,
            id: self.id(EnrolmentId::new),
            agent: self.agent,
            task,
            binding,
            created_at: NOW,
            attestation: Attestation("enrolment-mac".into()),
        }
    }

    pub(crate) fn wake(&self, task: TaskId, began_at: Timestamp) -> WakeNote {
        WakeNote {
            tenant: self.tenant,
            id: self.id(WakeId::new),
            task,
            assurance: Assurance::Stated,
            binding: Binding::Uid { uid: 1000 },
            began_at,
            ends_at: began_at.plus(Duration::from_secs(3600)),
            ended_at: None,
        }
    }

    pub(crate) fn client(&self) -> Client {
        Client {
            tenant: self.tenant,
            id: self.id(ClientId::new),
            provider: name("github"),
            issuer: "https://github.com".into(),
            client_id: "Iv1.registered".into(),
            auth: ClientAuth::ClientSecretPost,
            secret: Some(self.wrapped(SecretKind::ClientSecret, "client-secret")),
            created_at: NOW,
        }
    }

    /// A stored registration.
    pub(crate) async fn registered(&self) -> Client {
        let client = self.client();
        self.keeper.put_client(client.clone()).await.unwrap();
        client
    }

    pub(crate) fn flow(&self, client: ClientId, state_sha256: &str) -> Flow {
        Flow {
            tenant: self.tenant,
            id: self.id(FlowId::new),
            context: self.id(ContextId::new),
            tool: name("github"),
            name: name("dana"),
            client,
            reconnect: None,
            state_sha256: state_sha256.into(),
            secrets: self.wrapped(SecretKind::Flow, "flow-secrets"),
            step: FlowStep::Begun,
            answer: None,
            outcome: None,
            created_at: NOW,
            expires_at: later(600),
        }
    }

    pub(crate) fn wrapped(&self, kind: SecretKind, ciphertext: &str) -> (Wrapped, SealContext) {
        let wrapped = Wrapped { format: 1, data_key: "data-key".into(), ciphertext: ciphertext.into() };
        let context = SealContext {
            tenant: self.tenant,
            kind,
            chain: None,
            family: None,
            family_number: None,
            connection: None,
            generation: 1,
            provider: Some(name("github")),
            client: None,
            token_endpoint: Some("https://github.com/login/oauth/access_token".into()),
            refresh_endpoint: None,
            revocation_endpoint: None,
            client_auth: Some(ClientAuth::None),
            hosts: vec![host()],
        };
        (wrapped, context)
    }

    pub(crate) fn connection(&self, called: &str, source: Source) -> Connection {
        Connection {
            tenant: self.tenant,
            id: self.id(ConnectionId::new),
            tool: name("github"),
            name: name(called),
            account: Some("583231".into()),
            account_label: Some("dana".into()),
            source,
            hosts: vec![host()],
            created_at: NOW,
            removed_at: None,
        }
    }

    pub(crate) fn secret(&self, connection: ConnectionId, generation: u64) -> StaticSecret {
        StaticSecret {
            tenant: self.tenant,
            connection,
            generation,
            secret: self.wrapped(SecretKind::Static, &format!("static-{generation}")),
            created_at: NOW,
        }
    }

    /// A stored connection with a static secret.
    pub(crate) async fn keyed(&self, called: &str) -> Connection {
        let connection = self.connection(called, Source::Static);
        let secret = Some(self.secret(connection.id, 1));
        let makes = NewConnection { connection: connection.clone(), tokens: None, secret };
        self.keeper.put_connection(makes).await.unwrap();
        connection
    }

    /// What a finished flow makes: a connection, its chain, a first generation.
    pub(crate) fn tokens(&self, called: &str, client: ClientId, account: &str) -> NewConnection {
        let (chain, family) = (self.id(ChainId::new), self.id(FamilyId::new));
        let chain_row = Chain {
            tenant: self.tenant,
            id: chain,
            provider: name("github"),
            issuer: "https://github.com".into(),
            client,
            account: account.into(),
            family,
            families: 1,
            fence: 0,
            owner: None,
            state: ChainState::Healthy,
            access_until: Some(later(3600)),
            due_at: Some(later(1800)),
            refreshed_at: None,
            failed_at: None,
            failures: 0,
            reason: None,
            ticket: None,
            created_at: NOW,
        };
        NewConnection {
            connection: self.connection(called, Source::Chain { chain }),
            tokens: Some((chain_row, self.family(chain, family, 1), self.generation(family, 1))),
            secret: None,
        }
    }

    /// What a reconnect makes: the same connection and chain, a new family.
    pub(crate) fn again(&self, made: &NewConnection) -> NewConnection {
        let (chain, before, _) = made.tokens.clone().unwrap();
        let (family, number) = (self.id(FamilyId::new), before.number + 1);
        let tokens = (
            Chain { family, families: number, due_at: Some(later(1900)), ..chain.clone() },
            self.family(chain.id, family, number),
            self.generation(family, 1),
        );
        NewConnection { connection: made.connection.clone(), tokens: Some(tokens), secret: None }
    }

    pub(crate) fn family(&self, chain: ChainId, id: FamilyId, number: u64) -> Family {
        let (tenant, flow) = (self.tenant, self.id(FlowId::new));
        Family { tenant, id, chain, flow, number, head: 1, created_at: NOW }
    }

    pub(crate) fn generation(&self, family: FamilyId, number: u64) -> Generation {
        Generation {
            tenant: self.tenant,
            family,
            number,
            refresh: Some(self.wrapped(SecretKind::Refresh, &format!("refresh-{number}"))),
            access: self.wrapped(SecretKind::Access, &format!("access-{number}")),
            access_until: Some(later(3600)),
            refresh_until: None,
            attempt: None,
            created_at: NOW,
        }
    }

    /// A stored connection on a chain of its own.
    pub(crate) async fn connected(&self, called: &str, account: &str) -> Connected {
        let client = self.registered().await;
        let made = self.tokens(called, client.id, account);
        self.keeper.put_connection(made.clone()).await.unwrap();
        let (chain, family, _) = made.tokens.clone().unwrap();
        Connected { connection: made.connection.id, chain: chain.id, family: family.id, made }
    }

    /// A second connection on the same chain.
    pub(crate) async fn second_connection(&self, on: &Connected, called: &str) -> ConnectionId {
        let connection = self.connection(called, Source::Chain { chain: on.chain });
        let id = connection.id;
        self.keeper.put_connection(NewConnection { connection, tokens: None, secret: None }).await.unwrap();
        id
    }

    /// The chain as it is now.
    pub(crate) async fn chain_row(&self, chain: ChainId) -> Chain {
        self.keeper.chain(self.tenant, chain).await.unwrap().unwrap().chain
    }

    /// A claim on a chain as it is now.
    pub(crate) async fn claimed(&self, chain: ChainId) -> Claim {
        let seen = self.seen(chain).await;
        let owner = self.id(OwnerId::new);
        let claim = self.keeper.claim(self.tenant, chain, seen, owner, CLAIMABLE.to_vec()).await;
        claim.unwrap().unwrap()
    }

    /// The chain as whoever claims it sees it.
    pub(crate) async fn seen(&self, chain: ChainId) -> Seen {
        let view = self.keeper.chain(self.tenant, chain).await.unwrap().unwrap();
        let era = self.keeper.standing().await.unwrap().era;
        Seen { era, fence: view.chain.fence, family: view.family.id, head: view.head.number }
    }

    pub(crate) fn attempt(&self, claim: Claim, family: FamilyId, generation: u64) -> Attempt {
        Attempt {
            tenant: claim.tenant,
            id: self.id(AttemptId::new),
            chain: claim.chain,
            family,
            generation,
            fence: claim.fence,
            owner: claim.owner,
            era: 1,
            state: AttemptState::Intended,
            intended_at: NOW,
            intended_by: NOW,
            answer: None,
        }
    }

    /// A stored intent at a head.
    pub(crate) async fn intended(&self, claim: Claim, family: FamilyId, generation: u64) -> AttemptId {
        let attempt = self.attempt(claim, family, generation);
        assert!(self.keeper.intend(claim, attempt.clone()).await.unwrap());
        attempt.id
    }

    /// A stored answer.
    pub(crate) async fn answered(&self, attempt: AttemptId, ciphertext: &str) {
        let answer = self.wrapped(SecretKind::Answer, ciphertext);
        self.keeper.answer(self.tenant, attempt, answer).await.unwrap();
    }

    /// The head that an attempt brings.
    pub(crate) fn head(&self, attempt: AttemptId, family: FamilyId, number: u64) -> NewHead {
        let generation = Generation { attempt: Some(attempt), ..self.generation(family, number) };
        NewHead { attempt, adopts: None, generation, due_at: Some(later(2000)), refreshed_at: later(10) }
    }

    pub(crate) fn settlement(&self, state: ChainState) -> Settlement {
        Settlement {
            unanswered: false,
            attempt: None,
            state,
            due_at: None,
            failures: 1,
            failed_at: Some(later(10)),
            reason: Some("invalid_grant".into()),
            ticket: None,
        }
    }

    pub(crate) fn ticket(&self, connection: ConnectionId) -> Ticket {
        Ticket {
            tenant: self.tenant,
            id: self.id(TicketId::new),
            kind: TicketKind::Reauthorize,
            connection,
            reason: "invalid_grant".into(),
            raised_at: NOW,
            settled_at: None,
            era: None,
        }
    }
}

/// A stored connection on a chain.
pub(crate) struct Connected {
    pub(crate) connection: ConnectionId,
    pub(crate) chain: ChainId,
    pub(crate) family: FamilyId,
    pub(crate) made: NewConnection,
}

pub(crate) fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn host() -> BoundHost {
    BoundHost {
        scheme: Scheme::Https,
        host: "api.github.com".into(),
        port: 443,
        path_prefix: "/".into(),
        placement: Placement::Bearer,
        route: String::new(),
    }
}

fn reference(seed: [u8; 8]) -> Reference {
    let drawn: Result<Reference, ()> = Reference::draw(|| {
        let mut bytes = [0; 64];
        bytes[..8].copy_from_slice(&seed);
        Ok(bytes)
    });
    drawn.unwrap()
}

fn id<T>(drawn: &AtomicU64, make: fn(Timestamp, [u8; 10]) -> T) -> T {
    let mut random = [0; 10];
    random[2..].copy_from_slice(&drawn.fetch_add(1, Ordering::Relaxed).to_be_bytes());
    make(NOW, random)
}
