//! Tasks: opened for one agent, asleep when nothing is to be done, over for good when completed.

use super::input::Input;
use crate::{
    api::{OpenTask, TaskView},
    control::Control,
    error::ControlError,
    views,
};
use axum::{
    Json,
    extract::{Path, State},
};
use nightlatch_domain::{
    id::TaskId,
    ports::control_keeper::{ControlRequest, Statement},
    principal::{Agent, AgentStatus},
    sealed::Attestation,
    task::{Task, TaskState},
};
use nightlatch_ledger::{facts::EventFacts, record::EventName};
use std::{sync::Arc, time::Duration};

/// The longest task: a year. What lasts longer is opened again by a human.
const TASK_MAX_SECS: u64 = 366 * 24 * 3600;
/// How many wakes are shown.
const WAKES_SHOWN: u32 = 10;

pub(super) async fn list(State(control): State<Arc<Control>>) -> Result<Json<Vec<TaskView>>, ControlError> {
    let mut views = Vec::new();
    for task in control.store.tasks(control.tenant.id).await? {
        views.push(control.task_view(task).await?);
    }
    Ok(Json(views))
}

pub(super) async fn show(
    State(control): State<Arc<Control>>,
    Path(key): Path<String>,
) -> Result<Json<TaskView>, ControlError> {
    let task = control.task(&key).await?;
    Ok(Json(control.task_view(task).await?))
}

pub(super) async fn open(
    State(control): State<Arc<Control>>,
    Input(asked): Input<OpenTask>,
) -> Result<Json<TaskView>, ControlError> {
    let agent = control.agent(&asked.agent).await?;
    let task = control.open(&agent, asked).await?;
    Ok(Json(control.task_view(task).await?))
}

pub(super) async fn sleep(
    State(control): State<Arc<Control>>,
    Path(key): Path<String>,
) -> Result<Json<TaskView>, ControlError> {
    let task = control.open_task(&key).await?;
    control.quieten(Task { state: TaskState::Dormant, ..task }).await
}

pub(super) async fn complete(
    State(control): State<Arc<Control>>,
    Path(key): Path<String>,
) -> Result<Json<TaskView>, ControlError> {
    let task = control.task(&key).await?;
    if !task.state.may_wake() {
        // Said again: the first time may have been cut off before it was in effect everywhere.
        return control.quieted(task).await;
    }
    control.quieten(Task { state: TaskState::Completed, ..task }).await
}

impl Control {
    /// Opens a task for an agent that may act.
    pub(super) async fn open(&self, agent: &Agent, asked: OpenTask) -> Result<Task, ControlError> {
        if agent.status == AgentStatus::Disabled {
            let text = format!(
                "the agent `{}` is disabled; `nightlatch agent enable {}` first",
                agent.name, agent.name
            );
            return Err(ControlError::Ended(text));
        }
        if !(1..=TASK_MAX_SECS).contains(&asked.for_secs) {
            return Err(ControlError::BadRequest("a task lasts from one second to 366 days".to_owned()));
        }
        let now = self.now();
        self.free_task_name(&asked).await?;
        let mut task = Task {
            tenant: self.tenant.id,
            id: TaskId::new(now, self.random()?),
            name: asked.name,
            agent: agent.id,
            subject: self.human.id,
            purpose: asked.purpose.unwrap_or_default(),
            egress: asked.egress.unwrap_or_default(),
            state: TaskState::Awake,
            created_at: now,
            ends_at: now.plus(Duration::from_secs(asked.for_secs)),
            attestation: Attestation::default(),
        };
        task.attestation = self.attest(Statement::Task(task.clone())).await?;
        self.record_before(self.event_of(&task, EventName::TaskOpened)).await?;
        self.store.put_task(task.clone()).await?;
        self.settle().await?;
        Ok(task)
    }

    async fn free_task_name(&self, asked: &OpenTask) -> Result<(), ControlError> {
        let Some(name) = &asked.name else { return Ok(()) };
        let now = self.now();
        let tasks = self.store.tasks(self.tenant.id).await?;
        if tasks.iter().any(|task| task.name.as_ref() == Some(name) && task.is_open(now)) {
            return Err(ControlError::Taken { what: "task", name: name.clone() });
        }
        Ok(())
    }

    /// Stores a task that may do less than before, ends its wakes, and waits until the gateway knows.
    async fn quieten(&self, mut task: Task) -> Result<Json<TaskView>, ControlError> {
        task.attestation = self.attest(Statement::Task(task.clone())).await?;
        self.store.put_task(task.clone()).await?;
        self.quieted(task).await
    }

    /// Puts into effect what is stored. May be repeated; each part is tried whatever became of the others.
    async fn quieted(&self, task: Task) -> Result<Json<TaskView>, ControlError> {
        let ended = self.keeper.ask(ControlRequest::EndWakes { tenant: task.tenant, task: task.id }).await;
        let slept = task.state == TaskState::Dormant;
        let name = if slept { EventName::TaskSlept } else { EventName::TaskCompleted };
        self.record_after(self.event_of(&task, name)).await;
        self.settle().await?;
        ended?;
        Ok(Json(self.task_view(task).await?))
    }

    fn event_of(&self, task: &Task, name: EventName) -> EventFacts {
        EventFacts { agent: Some(task.agent), task: Some(task.id), ..self.event(name) }
    }

    async fn task_view(&self, task: Task) -> Result<TaskView, ControlError> {
        let now = self.now();
        let wakes = self.store.wakes(self.tenant.id, task.id, WAKES_SHOWN).await?;
        let wakes: Vec<_> = wakes.iter().map(|note| views::wake(note, now)).collect();
        Ok(TaskView {
            agent: self.agent(&task.agent.to_string()).await?.name,
            subject: self.human_label(task.subject).await?,
            state: views::task_state(&task, &wakes, now).to_owned(),
            grants: self.grant_views(Some(task.id)).await?,
            id: task.id,
            name: task.name,
            purpose: task.purpose,
            egress: task.egress,
            created_at: task.created_at,
            ends_at: task.ends_at,
            wakes,
        })
    }
}
