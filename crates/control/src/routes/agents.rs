//! Agents, and the one-time codes with which their keys are enrolled.

use super::input::Input;
use crate::{
    api::{AddAgent, AgentView, EnrolmentIssued, IssueEnrolment, OneTime, OpenTask},
    control::Control,
    error::ControlError,
    views,
};
use aws_lc_rs::digest::{SHA256, digest};
use axum::{
    Json,
    extract::{Path, State},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use nightlatch_domain::{
    id::PrincipalId,
    ports::control_keeper::{ControlRequest, Statement},
    principal::{Agent, AgentStatus, EnrolmentCode, RiskTier},
    sealed::Attestation,
};
use nightlatch_ledger::{facts::EventFacts, record::EventName};
use std::{fmt::Write as _, sync::Arc, time::Duration};

/// How long a code is good for.
const CODE_TTL: Duration = Duration::from_secs(600);
/// How long the task lasts that is opened where none was named.
const TASK_SECS: u64 = 24 * 3600;

pub(super) async fn list(State(control): State<Arc<Control>>) -> Result<Json<Vec<AgentView>>, ControlError> {
    let mut views = Vec::new();
    for agent in control.store.agents(control.tenant.id).await? {
        views.push(control.agent_view(agent).await?);
    }
    Ok(Json(views))
}

pub(super) async fn show(
    State(control): State<Arc<Control>>,
    Path(key): Path<String>,
) -> Result<Json<AgentView>, ControlError> {
    let agent = control.agent(&key).await?;
    Ok(Json(control.agent_view(agent).await?))
}

pub(super) async fn add(
    State(control): State<Arc<Control>>,
    Input(asked): Input<AddAgent>,
) -> Result<Json<AgentView>, ControlError> {
    if control.store.agents(control.tenant.id).await?.iter().any(|agent| agent.name == asked.name) {
        return Err(ControlError::Taken { what: "agent", name: asked.name });
    }
    let agent = Agent {
        tenant: control.tenant.id,
        id: PrincipalId::new(control.now(), control.random()?),
        name: asked.name,
        owner: control.human.id,
        purpose: asked.purpose.unwrap_or_default(),
        risk: risk(asked.risk.as_deref())?,
        status: AgentStatus::Active,
        created_at: control.now(),
        attestation: Attestation::default(),
    };
    control
        .record_before(EventFacts { agent: Some(agent.id), ..control.event(EventName::AgentAdded) })
        .await?;
    control.store_agent(agent).await
}

pub(super) async fn disable(
    State(control): State<Arc<Control>>,
    Path(key): Path<String>,
) -> Result<Json<AgentView>, ControlError> {
    let agent = control.agent(&key).await?;
    let id = agent.id;
    let stored = control.store_agent(Agent { status: AgentStatus::Disabled, ..agent }).await;
    if let Err(error) = &stored
        && !matches!(error, ControlError::Unsettled)
    {
        return stored;
    }
    let ended = control.end_wakes_of(id).await;
    control.record_after(EventFacts { agent: Some(id), ..control.event(EventName::AgentDisabled) }).await;
    ended?;
    stored
}

pub(super) async fn enable(
    State(control): State<Arc<Control>>,
    Path(key): Path<String>,
) -> Result<Json<AgentView>, ControlError> {
    let agent = control.agent(&key).await?;
    control
        .record_before(EventFacts { agent: Some(agent.id), ..control.event(EventName::AgentEnabled) })
        .await?;
    control.store_agent(Agent { status: AgentStatus::Active, ..agent }).await
}

pub(super) async fn issue(
    State(control): State<Arc<Control>>,
    Path(key): Path<String>,
    Input(asked): Input<IssueEnrolment>,
) -> Result<Json<EnrolmentIssued>, ControlError> {
    let agent = control.agent(&key).await?;
    if agent.status == AgentStatus::Disabled {
        let text =
            format!("the agent `{}` is disabled; `nightlatch agent enable {}` first", agent.name, agent.name);
        return Err(ControlError::Ended(text));
    }
    let task = match asked.task {
        Some(task) => control.open_task(&task).await?,
        None => {
            control
                .open(
                    &agent,
                    OpenTask { agent: key, name: None, purpose: None, for_secs: TASK_SECS, egress: None },
                )
                .await?
        }
    };
    if task.agent != agent.id {
        return Err(ControlError::BadRequest(format!("the task {} belongs to another agent", task.id)));
    }
    let code = format!("nle_{}", URL_SAFE_NO_PAD.encode(control.random::<24>()?));
    let expires_at = control.now().plus(CODE_TTL);
    let mut row = EnrolmentCode {
        tenant: control.tenant.id,
        code_sha256: sha256_hex(code.as_bytes()),
        agent: agent.id,
        task: task.id,
        expires_at,
        attestation: Attestation::default(),
    };
    row.attestation = control.attest(Statement::EnrolmentCode(row.clone())).await?;
    let offered = control.event(EventName::EnrolmentOffered);
    control.record_before(EventFacts { agent: Some(agent.id), task: Some(task.id), ..offered }).await?;
    control.store.put_enrolment_code(row).await?;
    Ok(Json(EnrolmentIssued {
        code: OneTime(code),
        expires_at,
        agent: agent.name,
        task: task.id,
        gateway_url: control.facts.gateway_url.clone(),
        gateway_pin: control.facts.gateway_pin.clone(),
    }))
}

impl Control {
    /// Ends the wakes of every open task of an agent; each is tried whatever became of the others.
    async fn end_wakes_of(&self, agent: PrincipalId) -> Result<(), ControlError> {
        let now = self.now();
        let mut ended = Ok(());
        let tasks = self.store.tasks(self.tenant.id).await?;
        for task in tasks.into_iter().filter(|task| task.agent == agent && task.is_open(now)) {
            let asked =
                self.keeper.ask(ControlRequest::EndWakes { tenant: task.tenant, task: task.id }).await;
            ended = ended.and(asked.map(drop));
        }
        Ok(ended?)
    }
    async fn store_agent(&self, mut agent: Agent) -> Result<Json<AgentView>, ControlError> {
        agent.attestation = self.attest(Statement::Agent(agent.clone())).await?;
        self.store.put_agent(agent.clone()).await?;
        self.settle().await?;
        Ok(Json(self.agent_view(agent).await?))
    }

    async fn agent_view(&self, agent: Agent) -> Result<AgentView, ControlError> {
        let enrolments = self.store.enrolments(self.tenant.id, agent.id).await?;
        Ok(AgentView {
            owner: self.human_label(agent.owner).await?,
            id: agent.id,
            name: agent.name,
            purpose: agent.purpose,
            risk: views::risk(agent.risk).to_owned(),
            status: views::status(agent.status).to_owned(),
            enrolments: enrolments.into_iter().map(views::enrolment).collect(),
            created_at: agent.created_at,
        })
    }

    /// A human by how people know them.
    pub(super) async fn human_label(&self, id: PrincipalId) -> Result<String, ControlError> {
        let humans = self.store.humans(self.tenant.id).await?;
        Ok(humans
            .into_iter()
            .find(|human| human.id == id)
            .map_or_else(|| id.to_string(), |human| human.label))
    }
}

fn risk(word: Option<&str>) -> Result<RiskTier, ControlError> {
    match word {
        Some("low") => Ok(RiskTier::Low),
        None | Some("medium") => Ok(RiskTier::Medium),
        Some("high") => Ok(RiskTier::High),
        Some(other) => {
            Err(ControlError::BadRequest(format!("`{other}` is no risk; write `low`, `medium` or `high`")))
        }
    }
}

/// SHA-256 in hexadecimal: how a code is found again without being kept.
fn sha256_hex(bytes: &[u8]) -> String {
    digest(&SHA256, bytes).as_ref().iter().fold(String::with_capacity(64), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
