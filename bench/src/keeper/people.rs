//! Whoever there must be before a call may wait for a credential: a human, an agent with a task, accounts that were connected
//! by whole OAuth flows, a grant of each.

use crate::{
    Fault, Ground,
    calls::{Call, Calls},
    providers::{hosts, provider, tool},
    refused,
    running::{Counted, Running},
};
use nightlatch_custody::ReplicaKey;
use nightlatch_domain::{
    chain::FlowOutcome,
    clock::random,
    grant::{Grant, GrantText},
    id::{ClientId, ConnectionId, ContextId, GrantId, PrincipalId, TaskId, TenantId},
    ports::{
        control_keeper::{
            AddClient, BeginFlow, ControlReply, ControlRequest, FinishFlow, FlowSession, Statement,
            code_context,
        },
        gateway_keeper::{Evidence, GatewayReply, GatewayRequest, KeeperForGateway, WakeProof},
    },
    principal::{Agent, AgentStatus, Binding, EnrolmentCode, Human, RiskTier, Tenant},
    reference::Reference,
    sealed::{Attestation, ClientAuth},
    task::{Egress, Task, TaskState},
    tool::Name,
};
use std::{sync::Arc, time::Duration};

/// What everything of a run outlives.
const LONG: Duration = Duration::from_secs(30 * 86_400);
const TENANT: &str = "bench";

pub(crate) struct People {
    tenant: TenantId,
    agent: PrincipalId,
    task: TaskId,
    binding: Binding,
    /// Our registration with the provider at each address.
    clients: Vec<ClientId>,
}

impl People {
    /// Beside those of an earlier process, if there are.
    pub(crate) async fn settle(ground: &Ground, running: &Running) -> Result<Self, Fault> {
        let (now, control) = (ground.now(), &ground.stores.control);
        let spki_sha256: String =
            random::<32>(&*ground.entropy)?.iter().map(|byte| format!("{byte:02x}")).collect();
        let name: Name = format!("a{}", spki_sha256.get(..12).unwrap_or_default()).parse()?;
        let known = control.tenant(TENANT.parse()?).await?;
        let tenant = known.as_ref().map_or_else(|| ground.id(TenantId::new), |known| Ok(known.id))?;
        let human = ground.id(PrincipalId::new)?;
        let mut agent = Agent {
            tenant,
            id: ground.id(PrincipalId::new)?,
            name,
            owner: human,
            purpose: "to be measured".to_owned(),
            risk: RiskTier::Medium,
            status: AgentStatus::Active,
            created_at: now,
            attestation: Attestation::default(),
        };
        agent.attestation = running.attest(Statement::Agent(agent.clone())).await?;
        let id = agent.id;
        if known.is_some() {
            control.put_agent(agent).await?;
        } else {
            let human = Human { tenant, id: human, label: "dana@example.com".to_owned(), created_at: now };
            control
                .bootstrap(Tenant { id: tenant, name: TENANT.parse()?, created_at: now }, human, agent)
                .await?;
        }
        let (task, binding) = (ground.id(TaskId::new)?, Binding::Key { spki_sha256 });
        let mut people = Self { tenant, agent: id, task, binding, clients: Vec::new() };
        people.open_task(ground, running, human).await?;
        people.enrol(ground, running).await?;
        for port in &ground.ports {
            people.clients.push(people.register(running, *port).await?);
        }
        Ok(people)
    }

    async fn open_task(&self, ground: &Ground, running: &Running, human: PrincipalId) -> Result<(), Fault> {
        let now = ground.now();
        let mut task = Task {
            tenant: self.tenant,
            id: self.task,
            name: None,
            agent: self.agent,
            subject: human,
            purpose: "to be measured".to_owned(),
            egress: Egress::Tools,
            state: TaskState::Awake,
            created_at: now,
            ends_at: now.plus(LONG),
            attestation: Attestation::default(),
        };
        task.attestation = running.attest(Statement::Task(task.clone())).await?;
        Ok(ground.stores.control.put_task(task).await?)
    }

    async fn enrol(&self, ground: &Ground, running: &Running) -> Result<(), Fault> {
        let code_sha256 = format!("code-{}", self.task);
        let mut code = EnrolmentCode {
            tenant: self.tenant,
            code_sha256: code_sha256.clone(),
            agent: self.agent,
            task: self.task,
            expires_at: ground.now().plus(Duration::from_secs(600)),
            attestation: Attestation::default(),
        };
        code.attestation = running.attest(Statement::EnrolmentCode(code.clone())).await?;
        ground.stores.control.put_enrolment_code(code).await?;
        let enrol = GatewayRequest::Enrol { code_sha256, binding: self.binding.clone() };
        running.gateway.ask(enrol).await.map(drop).map_err(refused)
    }

    async fn register(&self, running: &Running, port: u16) -> Result<ClientId, Fault> {
        let request = AddClient {
            tenant: self.tenant,
            provider: provider(port).parse()?,
            client_id: "bench".to_owned(),
            auth: ClientAuth::None,
            secret: None,
        };
        match running.ask(ControlRequest::AddClient(request)).await? {
            ControlReply::Client { client } => Ok(client),
            other => Err(refused(other)),
        }
    }

    /// Connects so many accounts, one after the other, at one provider after the other.
    pub(crate) async fn connect(
        &self,
        ground: &Ground,
        running: &Running,
        accounts: usize,
    ) -> Result<Vec<(GrantId, ConnectionId)>, Fault> {
        let mut connected = Vec::with_capacity(accounts);
        let providers = ground.ports.iter().zip(&self.clients).cycle();
        for (_, (port, client)) in (0..accounts).zip(providers) {
            let connection = self.flow(ground, running, (*port, *client)).await?;
            let grant = self.grant(ground, running, (*port, connection)).await?;
            connected.push((grant, connection));
        }
        Ok(connected)
    }

    /// A human's whole way through the provider, for an account of its own.
    async fn flow(
        &self,
        ground: &Ground,
        running: &Running,
        (port, client): (u16, ClientId),
    ) -> Result<ConnectionId, Fault> {
        let context = ground.id(ContextId::new)?;
        let request = BeginFlow {
            tenant: self.tenant,
            tool: tool(port).parse()?,
            name: format!("c{}", context.value() & 0xFFFF_FFFF_FFFF).parse()?,
            client,
            reconnect: None,
            context,
            redirect_uri: format!("http://127.0.0.1:8444/oauth/callback/{context}"),
            scopes: vec!["read".to_owned()],
            hosts: hosts(port),
        };
        let ControlReply::FlowBegun { authorize_url, cookie, .. } =
            running.ask(ControlRequest::BeginFlow(request)).await?
        else {
            return Err("the flow did not begin".into());
        };
        let query = authorize_url.split_once('?').map(|(_, query)| query).unwrap_or_default();
        let state = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "state");
        let finish = FinishFlow {
            state: state.map(|(_, state)| state.into_owned()).unwrap_or_default(),
            context,
            iss: None,
            // The issuer takes any code for the name of an account.
            result: Ok(running.sealed(&code_context(context), &context.to_string()).await?),
            session: FlowSession::Cookie { value: cookie.1 },
        };
        match running.ask(ControlRequest::FinishFlow(finish)).await? {
            ControlReply::FlowEnded { outcome: FlowOutcome::Connected { connection, .. }, .. } => {
                Ok(connection)
            }
            other => Err(refused(other)),
        }
    }

    async fn grant(
        &self,
        ground: &Ground,
        running: &Running,
        (port, connection): (u16, ConnectionId),
    ) -> Result<GrantId, Fault> {
        let now = ground.now();
        let text: GrantText = format!("{}:read", tool(port)).parse()?;
        let mut grant = Grant {
            tenant: self.tenant,
            id: ground.id(GrantId::new)?,
            task: self.task,
            connection,
            tool: text.tool,
            operations: text.operations,
            resource: text.resource,
            reference: Reference::draw(|| random::<64>(&*ground.entropy))?,
            created_at: now,
            expires_at: now.plus(LONG),
            revoked_at: None,
            budget: None,
            attestation: Attestation::default(),
        };
        grant.attestation = running.attest(Statement::Grant(grant.clone())).await?;
        let id = grant.id;
        ground.stores.control.put_grant(grant).await?;
        Ok(id)
    }

    /// The task is woken, and calls.
    pub(crate) async fn awake(
        &self,
        ground: &Ground,
        gateway: Arc<dyn KeeperForGateway>,
        counted: Arc<Counted>,
        connected: Vec<(GrantId, ConnectionId)>,
    ) -> Result<Calls, Fault> {
        let (tenant, task) = (self.tenant, self.task);
        let challenge = GatewayRequest::Challenge { tenant, task };
        let GatewayReply::Challenge(challenge) = gateway.ask(challenge).await.map_err(refused)? else {
            return Err("there was no challenge".into());
        };
        let replica = ReplicaKey::generate(&*ground.entropy)?;
        let proof = WakeProof {
            tenant,
            agent: self.agent,
            task,
            wake: challenge.wake,
            nonce: challenge.nonce,
            replica_key: replica.sealing_key().clone(),
            evidence: Evidence::Stated { binding: self.binding.clone(), verified_at: ground.now() },
        };
        gateway.ask(GatewayRequest::Wake(proof)).await.map_err(refused)?;
        let call = |(grant, connection)| Call { tenant, wake: challenge.wake, grant, connection };
        let clock = Arc::clone(&ground.clock);
        Ok(Calls { clock, gateway, counted, replica, calls: connected.into_iter().map(call).collect() })
    }
}
