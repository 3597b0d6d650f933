//! The first start: tenant `default`, the human who runs this, and agent `laptop`, owned by that human.

use crate::{adapters::variable, error::Failure};
use nightlatch_domain::{
    clock::{Clock, Entropy, random},
    id::{PrincipalId, TenantId},
    ports::{
        control_keeper::{ControlReply, ControlRequest, KeeperForControl, Statement},
        store::ControlStore,
    },
    principal::{Agent, AgentStatus, Human, RiskTier, Tenant},
    sealed::Attestation,
    tool::Name,
};
use std::fs;

const TENANT: &str = "default";
const AGENT: &str = "laptop";

/// What the first start is made with.
pub(super) struct Ports<'a> {
    pub(super) store: &'a dyn ControlStore,
    pub(super) keeper: &'a dyn KeeperForControl,
    pub(super) clock: &'a dyn Clock,
    pub(super) entropy: &'a dyn Entropy,
}

/// The tenant of this installation and its human, made where there are none yet.
pub(super) async fn tenant(ports: &Ports<'_>) -> Result<(Tenant, Human), Failure> {
    let name = name(TENANT)?;
    if ports.store.tenant(name.clone()).await.map_err(failed)?.is_none() {
        bootstrap(ports, name.clone()).await?;
    }
    let tenant = ports.store.tenant(name).await.map_err(failed)?;
    let tenant = tenant.ok_or_else(|| failed("the tenant `default` is not there"))?;
    let humans = ports.store.humans(tenant.id).await.map_err(failed)?;
    let human = humans.into_iter().next().ok_or_else(|| failed("the tenant has no human"))?;
    Ok((tenant, human))
}

async fn bootstrap(ports: &Ports<'_>, tenant_name: Name) -> Result<(), Failure> {
    let now = ports.clock.now();
    let random = || random::<10>(ports.entropy).map_err(failed);
    let tenant = Tenant { id: TenantId::new(now, random()?), name: tenant_name, created_at: now };
    let human =
        Human { tenant: tenant.id, id: PrincipalId::new(now, random()?), label: label(), created_at: now };
    let mut agent = Agent {
        tenant: tenant.id,
        id: PrincipalId::new(now, random()?),
        name: name(AGENT)?,
        owner: human.id,
        purpose: "made at the first start".to_owned(),
        risk: RiskTier::Medium,
        status: AgentStatus::Active,
        created_at: now,
        attestation: Attestation::default(),
    };
    let vouch = ControlRequest::Attest(Box::new(Statement::Agent(agent.clone())));
    match ports.keeper.ask(vouch).await.map_err(failed)? {
        ControlReply::Attested { attestation } => agent.attestation = attestation,
        _ => return Err(failed("the keeper answered something else")),
    }
    ports.store.bootstrap(tenant, human, agent).await.map_err(failed)
}

fn name(text: &str) -> Result<Name, Failure> {
    text.parse().map_err(failed)
}

fn failed(error: impl std::fmt::Display) -> Failure {
    Failure::Start(format!("the first start failed: {error}"))
}

/// `USER@HOST`, as far as this machine says.
fn label() -> String {
    let user = variable("USER").or_else(|| variable("LOGNAME")).and_then(|user| user.into_string().ok());
    let user = user.unwrap_or_else(|| format!("uid{}", rustix::process::getuid().as_raw()));
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_else(|_| "localhost".to_owned());
    format!("{user}@{}", host.trim())
}
