//! The rows of a world: a tenant, its tool and connection, two agents with a task, a grant and a key each.

use super::{Actor, HOST, MANIFEST, PLAIN_HOST, SECRET, hosts, ten};
use crate::{
    client::Identity,
    keeper::{FakeKeeper, Vaulted},
};
use nightlatch_custody::entropy::SystemEntropy;
use nightlatch_domain::{
    clock::{Timestamp, random},
    connection::{Connection, Source},
    grant::{Grant, ResourcePattern, Selector},
    id::{ConnectionId, EnrolmentId, GrantId, InstallationId, PrincipalId, TaskId, TenantId},
    ports::store::{ControlStore, KeeperStore, NewConnection, ToolRow},
    principal::{Agent, AgentStatus, Binding, Enrolment, EnrolmentCode, Human, RiskTier, Tenant},
    reference::Reference,
    sealed::Attestation,
    task::{Egress, Task, TaskState},
    tool::{BoundHost, Effect, Scheme},
};
use nightlatch_store::SqliteStore;
use std::time::Duration;

/// The tool's manifest; with the port where it speaks plain HTTP.
fn manifest(plain: Option<u16>) -> String {
    let secure = format!("host = \"{HOST}\"");
    match plain {
        None => MANIFEST.to_owned(),
        Some(port) => {
            let plain = format!("host = \"{PLAIN_HOST}\"\nscheme = \"http\"\nport = {port}");
            MANIFEST.replace(&secure, &plain)
        }
    }
}

/// The hosts of the connection; with the port where the tool speaks plain HTTP.
fn confirmed(plain: Option<u16>) -> Vec<BoundHost> {
    let Some(port) = plain else { return hosts() };
    let on_port = |host: BoundHost| BoundHost { scheme: Scheme::Http, host: PLAIN_HOST.into(), port, ..host };
    hosts().into_iter().map(on_port).collect()
}

pub(super) async fn people(
    store: &SqliteStore,
    keeper: &FakeKeeper,
    plain: Option<u16>,
    now: Timestamp,
) -> (TenantId, PrincipalId, ConnectionId) {
    let (tenant, human) = (TenantId::new(now, ten()), PrincipalId::new(now, ten()));
    let agent = agent_row(tenant, human, PrincipalId::new(now, ten()), "laptop", now);
    let human_row = Human { tenant, id: human, label: "dana@host".into(), created_at: now };
    let tenant_row = Tenant { id: tenant, name: "default".parse().unwrap(), created_at: now };
    store.bootstrap(tenant_row, human_row, agent).await.unwrap();
    let tool = ToolRow { tenant, name: "acme".parse().unwrap(), manifest: manifest(plain), added_at: now };
    store.put_tool(tool).await.unwrap();
    let id = ConnectionId::new(now, ten());
    let connection = Connection {
        tenant,
        id,
        tool: "acme".parse().unwrap(),
        name: "main".parse().unwrap(),
        account: None,
        account_label: None,
        source: Source::Static,
        hosts: confirmed(plain),
        created_at: now,
        removed_at: None,
    };
    store.put_connection(NewConnection { connection, tokens: None, secret: None }).await.unwrap();
    let vaulted = Vaulted {
        hosts: confirmed(plain),
        secret: SECRET.into(),
        others: Vec::new(),
        family: None,
        generation: 1,
    };
    keeper.vault.lock().unwrap().insert(id, vaulted);
    (tenant, human, id)
}

fn agent_row(tenant: TenantId, owner: PrincipalId, id: PrincipalId, name: &str, now: Timestamp) -> Agent {
    Agent {
        tenant,
        id,
        name: name.parse().unwrap(),
        owner,
        purpose: "tests".into(),
        risk: RiskTier::Medium,
        status: AgentStatus::Active,
        created_at: now,
        attestation: Attestation("test".into()),
    }
}

pub(super) async fn actor(
    store: &SqliteStore,
    tenant: TenantId,
    human: PrincipalId,
    connection: ConnectionId,
    name: &str,
    now: Timestamp,
) -> Actor {
    let (agent, task) = (PrincipalId::new(now, ten()), TaskId::new(now, ten()));
    let ends_at = now.plus(Duration::from_secs(24 * 3600));
    store.put_agent(agent_row(tenant, human, agent, name, now)).await.unwrap();
    let task_row = Task {
        tenant,
        id: task,
        name: None,
        agent,
        subject: human,
        purpose: "tests".into(),
        egress: Egress::Tools,
        state: TaskState::Awake,
        created_at: now,
        ends_at,
        attestation: Attestation("test".into()),
    };
    store.put_task(task_row).await.unwrap();
    let (grant, reference) = grant(store, tenant, task, connection, "acme", now).await;
    let identity = Identity::new();
    let binding = Binding::Key { spki_sha256: identity.spki_sha256.clone() };
    enrol(store, tenant, agent, task, binding, now).await;
    Actor { identity, agent, task, grant, reference }
}

/// What the connections of other tools hold.
pub(crate) fn other_secret(tool: &str) -> String {
    format!("CANARY-of-{tool}-0123456789-abcdefghij")
}

pub(super) async fn grant(
    store: &SqliteStore,
    tenant: TenantId,
    task: TaskId,
    connection: ConnectionId,
    tool: &str,
    now: Timestamp,
) -> (GrantId, String) {
    let (id, reference) =
        (GrantId::new(now, ten()), Reference::draw(|| random::<64>(&SystemEntropy::new())).unwrap());
    let row = Grant {
        tenant,
        id,
        task,
        connection,
        tool: tool.parse().unwrap(),
        operations: vec![Selector::Effect(Effect::Write)],
        resource: ResourcePattern::all(),
        reference: reference.clone(),
        created_at: now,
        expires_at: now.plus(Duration::from_secs(24 * 3600)),
        revoked_at: None,
        budget: None,
        attestation: Attestation("test".into()),
    };
    store.put_grant(row).await.unwrap();
    (id, reference.as_str().to_owned())
}

/// Enrols a binding by the store's own way: a code, used up.
pub(crate) async fn enrol_binding(
    store: &SqliteStore,
    tenant: TenantId,
    actor: &Actor,
    binding: Binding,
    now: Timestamp,
) {
    enrol(store, tenant, actor.agent, actor.task, binding, now).await;
}

async fn enrol(
    store: &SqliteStore,
    tenant: TenantId,
    agent: PrincipalId,
    task: TaskId,
    binding: Binding,
    now: Timestamp,
) {
    let code_sha256: String = ten().iter().map(|byte| format!("{byte:02x}")).collect();
    let code = EnrolmentCode {
        tenant,
        code_sha256: code_sha256.clone(),
        agent,
        task,
        expires_at: now.plus(Duration::from_secs(600)),
        attestation: Attestation("test".into()),
    };
    store.put_enrolment_code(code).await.unwrap();
    let enrolment = Enrolment {
        tenant,
        id: EnrolmentId::new(now, ten()),
        agent,
        task,
        binding,
        created_at: now,
        attestation: Attestation("test".into()),
    };
    assert!(store.enrol(code_sha256, enrolment).await.unwrap());
}

/// Whose keeper a world's is.
pub(crate) fn installation() -> InstallationId {
    InstallationId::new(Timestamp::from_millis(1_795_302_000_000), [7; 10])
}
