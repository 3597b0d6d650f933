//! What a human named: by id, or by the name that they gave it.
//!
//! Whatever is not found, and whatever is found twice, is an error that says what there is.

use crate::{api::ConnectionView, control::Control, error::ControlError};
use nightlatch_domain::{
    grant::Grant,
    id::{ConnectionId, GrantId, PrincipalId, TaskId},
    principal::Agent,
    task::Task,
};

impl Control {
    /// An agent by id or name.
    pub(crate) async fn agent(&self, key: &str) -> Result<Agent, ControlError> {
        let agents = self.store.agents(self.tenant.id).await?;
        let id = key.parse::<PrincipalId>().ok();
        let found = agents.into_iter().find(|agent| Some(agent.id) == id || agent.name.as_str() == key);
        found.ok_or_else(|| {
            missing("agent", key, "`nightlatch agent list` shows them, `nightlatch agent add` makes one")
        })
    }

    /// A task by id, or by its name: the open one of that name, else the newest.
    pub(crate) async fn task(&self, key: &str) -> Result<Task, ControlError> {
        let tasks = self.store.tasks(self.tenant.id).await?;
        let id = key.parse::<TaskId>().ok();
        let named = |task: &&Task| task.name.as_ref().is_some_and(|name| name.as_str() == key);
        let now = self.now();
        let by_id = tasks.iter().find(|task| Some(task.id) == id);
        let open = || tasks.iter().find(|task| named(task) && task.is_open(now));
        let found = by_id.or_else(open).or_else(|| tasks.iter().find(named)).cloned();
        found.ok_or_else(|| {
            missing("task", key, "`nightlatch task list` shows them, `nightlatch task open` makes one")
        })
    }

    /// The same, where it must still be able to act.
    pub(crate) async fn open_task(&self, key: &str) -> Result<Task, ControlError> {
        let task = self.task(key).await?;
        if task.is_open(self.now()) {
            return Ok(task);
        }
        Err(ControlError::Ended(format!(
            "the task `{key}` is over; open another with `nightlatch task open`"
        )))
    }

    /// A connection by id or `TOOL/NAME`; by `TOOL` alone where there is just one.
    pub(crate) async fn connection(&self, key: &str) -> Result<ConnectionView, ControlError> {
        let all = self.connections().await?;
        let id = key.parse::<ConnectionId>().ok();
        let (tool, name) = key.split_once('/').map_or((key, None), |(tool, name)| (tool, Some(name)));
        let fits = |view: &ConnectionView| {
            Some(view.id) == id
                || (view.tool.as_str() == tool && name.is_none_or(|name| view.name.as_str() == name))
        };
        one_connection(key, tool, all.into_iter().filter(fits).collect())
    }

    /// A grant by id or reference.
    pub(crate) async fn grant(&self, key: &str) -> Result<Grant, ControlError> {
        let grants = self.store.grants(self.tenant.id).await?;
        let id = key.parse::<GrantId>().ok();
        let found = grants.into_iter().find(|grant| Some(grant.id) == id || grant.reference.as_str() == key);
        // A reference is not repeated in an error: it may be another installation's.
        let shown = if id.is_some() { key } else { "…" };
        found.ok_or_else(|| missing("grant", shown, "`nightlatch grant list` shows them"))
    }
}

/// The one connection that fits, or what there is.
pub(crate) fn one_connection(
    key: &str,
    tool: &str,
    mut fitting: Vec<ConnectionView>,
) -> Result<ConnectionView, ControlError> {
    if fitting.len() > 1 {
        let candidates = fitting.iter().map(|view| format!("{}/{}", view.tool, view.name)).collect();
        return Err(ControlError::Ambiguous { what: "connections", name: key.to_owned(), candidates });
    }
    let hint = format!("`nightlatch connection list` shows them, `nightlatch connect {tool}` makes one");
    fitting.pop().ok_or_else(|| missing("connection", key, hint))
}

/// Something that is not there.
pub(crate) fn missing(what: &'static str, name: &str, hint: impl Into<String>) -> ControlError {
    ControlError::NotFound { what, name: name.chars().take(80).collect(), hint: hint.into() }
}
