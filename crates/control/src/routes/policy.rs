//! Policy: what is in force, and what would be decided of a call.

use super::{connections::tool, input::Input};
use crate::{
    api::{Explain, Explanation, PolicyView},
    control::Control,
    error::ControlError,
    find::missing,
};
use axum::{Json, extract::State};
use nightlatch_catalog::{builtin::Catalogue, canonical};
use nightlatch_domain::{
    connection::Connection,
    exchange::{Caller, Exchange},
    grant::Grant,
    id::{CallId, GrantId},
    principal::{Agent, Binding},
    task::{Assurance, Task},
    tool::BoundHost,
};
use nightlatch_policy::{Question, Sandbox};
use std::sync::Arc;

pub(super) async fn show(State(control): State<Arc<Control>>) -> Json<PolicyView> {
    Json(PolicyView { text: control.decider.show() })
}

pub(super) async fn explain(
    State(control): State<Arc<Control>>,
    Input(asked): Input<Explain>,
) -> Result<Json<Explanation>, ControlError> {
    let task = control.task(&asked.task).await?;
    let agent = control.agent(&task.agent.to_string()).await?;
    let connections = control.store.connections(control.tenant.id).await?;
    let grants = control.candidates(&task, &asked.target, &connections).await?;
    let catalogue = control.catalogue().await?;
    let mut judged = Vec::new();
    for grant in &grants {
        let connection = connections.iter().find(|row| row.id == grant.connection);
        let scene = Scene { agent: &agent, task: &task, grant, connection };
        judged.push(control.judge(&scene, &catalogue, &asked)?);
    }
    let allowed = judged.iter().position(|explanation| explanation.allowed).unwrap_or(0);
    judged.into_iter().nth(allowed).map(Json).ok_or(ControlError::Internal)
}

/// The rows that one judgement is made on.
struct Scene<'a> {
    agent: &'a Agent,
    task: &'a Task,
    grant: &'a Grant,
    connection: Option<&'a Connection>,
}

impl Control {
    /// The grants of a task that a call to `target` could be made with, live ones first.
    async fn candidates(
        &self,
        task: &Task,
        target: &str,
        connections: &[Connection],
    ) -> Result<Vec<Grant>, ControlError> {
        let id = target.parse::<GrantId>().ok();
        let (tool, name) = target.split_once('/').map_or((target, None), |(tool, name)| (tool, Some(name)));
        let named = |grant: &Grant| {
            let connection = connections.iter().find(|row| row.id == grant.connection);
            name.is_none_or(|name| connection.is_some_and(|row| row.name.as_str() == name))
        };
        let mut grants = self.store.grants(self.tenant.id).await?;
        grants.retain(|grant| grant.task == task.id);
        grants.retain(|grant| Some(grant.id) == id || (grant.tool.as_str() == tool && named(grant)));
        let now = self.now();
        grants.sort_by_key(|grant| !grant.is_live(now));
        if grants.is_empty() {
            let hint = format!(
                "without one every call is refused; `nightlatch grant add --task {} {target}` gives one",
                task.id
            );
            return Err(missing("grant of this task for", target, hint));
        }
        Ok(grants)
    }

    fn judge(
        &self,
        scene: &Scene<'_>,
        catalogue: &Catalogue,
        asked: &Explain,
    ) -> Result<Explanation, ControlError> {
        let exchange = Arc::new(self.exchange(scene, catalogue, asked)?);
        let question = Question {
            exchange: &exchange,
            agent: Some(scene.agent),
            task: Some(scene.task),
            grant: Some(scene.grant),
            connection: scene.connection,
            now: self.now(),
            sandbox: Sandbox::None,
            assurance: Assurance::Stated,
        };
        let explained = self.decider.explain(&question);
        Ok(Explanation {
            allowed: explained.denied.is_none(),
            operation: exchange.matched.operation.to_string(),
            effect: exchange.matched.effect.to_string(),
            resource: exchange.matched.resource.clone(),
            grant: Some(scene.grant.id.to_string()),
            detail: explained.to_string(),
            policies: explained.policies,
        })
    }

    /// The call as the corridor would see it after `resolve`.
    fn exchange(
        &self,
        scene: &Scene<'_>,
        catalogue: &Catalogue,
        asked: &Explain,
    ) -> Result<Exchange, ControlError> {
        let manifest = tool(catalogue, &scene.grant.tool)?;
        let (route, path) = route_of(&asked.path);
        let refuse = |error: &dyn std::fmt::Display| ControlError::BadRequest(error.to_string());
        let target = canonical::target(&asked.method, path).map_err(|error| refuse(&error))?;
        let matched = manifest.matched(route, &target).map_err(|error| refuse(&error))?;
        let connection = scene.connection.ok_or_else(|| {
            missing(
                "connection",
                &scene.grant.connection.to_string(),
                "it was removed; connect again and give a new grant",
            )
        })?;
        let host = connection.hosts.iter().find(|host: &&BoundHost| host.route == route).cloned();
        Ok(Exchange {
            call: CallId::new(self.now(), self.random()?),
            at: self.now(),
            caller: Caller {
                tenant: self.tenant.id,
                agent: scene.agent.id,
                task: scene.task.id,
                binding: Binding::Key { spki_sha256: String::new() },
            },
            tool: scene.grant.tool.clone(),
            grant: scene.grant.id,
            connection: connection.id,
            host: host
                .ok_or_else(|| ControlError::BadRequest(format!("the connection has no host `~{route}`")))?,
            target,
            matched,
            also: Vec::new(),
        })
    }
}

/// `/~route/path` as the route door has it: route and path.
fn route_of(path: &str) -> (&str, &str) {
    let Some(rest) = path.strip_prefix("/~") else { return ("", path) };
    match rest.find('/') {
        Some(end) => rest.split_at(end),
        None => (rest, "/"),
    }
}
