//! Grants: what a task may do with a connection, and the reference that its agent holds.

use super::{
    connections::tool,
    input::{Asked, Input},
};
use crate::{
    api::{AddGrant, ConnectionView, GrantView, SpentView},
    control::Control,
    error::ControlError,
    find::one_connection,
};
use axum::{
    Json,
    extract::{Path, State},
};
use nightlatch_catalog::{builtin::Catalogue, manifest::Manifest};
use nightlatch_domain::{
    budget::Spent,
    clock::Timestamp,
    grant::{Grant, GrantText},
    id::{GrantId, TaskId},
    ports::control_keeper::Statement,
    reference::Reference,
    sealed::Attestation,
    task::Task,
};
use nightlatch_ledger::{facts::EventFacts, record::EventName};
use serde::Deserialize;
use std::{collections::BTreeMap, sync::Arc, time::Duration};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Of {
    task: Option<String>,
}

pub(super) async fn list(
    State(control): State<Arc<Control>>,
    Asked(of): Asked<Of>,
) -> Result<Json<Vec<GrantView>>, ControlError> {
    let task = match of.task {
        Some(key) => Some(control.task(&key).await?.id),
        None => None,
    };
    Ok(Json(control.grant_views(task).await?))
}

pub(super) async fn add(
    State(control): State<Arc<Control>>,
    Input(asked): Input<AddGrant>,
) -> Result<Json<GrantView>, ControlError> {
    let task = control.open_task(&asked.task).await?;
    let catalogue = control.catalogue().await?;
    let manifest = tool(&catalogue, &asked.grant.tool)?;
    // Stored in the tool's one spelling: what decides must not depend on how a human wrote it.
    let text =
        manifest.check_grant(&asked.grant).map_err(|error| ControlError::BadRequest(error.to_string()))?;
    let connection = control.granted_connection(&text).await?;
    let expires_at = asked.for_secs.map(|secs| control.now().plus(Duration::from_secs(secs)));
    let mut grant = control.new_grant(&task, &connection, text, expires_at.unwrap_or(task.ends_at))?;
    grant.budget = asked.budget;
    control.record_before(control.event_of_grant(&grant, EventName::GrantAdded)).await?;
    control.store_grant(grant).await
}

pub(super) async fn revoke(
    State(control): State<Arc<Control>>,
    Path(key): Path<String>,
) -> Result<Json<GrantView>, ControlError> {
    let grant = control.grant(&key).await?;
    let revoked_at = grant.revoked_at.unwrap_or_else(|| control.now());
    let revoked = control.event_of_grant(&grant, EventName::GrantRevoked);
    let stored = control.store_grant(Grant { revoked_at: Some(revoked_at), ..grant }).await;
    if matches!(stored, Ok(_) | Err(ControlError::Unsettled)) {
        control.record_after(revoked).await;
    }
    stored
}

impl Control {
    async fn granted_connection(&self, text: &GrantText) -> Result<ConnectionView, ControlError> {
        let fits = |view: &ConnectionView| {
            view.tool == text.tool && text.connection.as_ref().is_none_or(|name| view.name == *name)
        };
        let fitting = self.connections().await?.into_iter().filter(fits).collect();
        let key = text
            .connection
            .as_ref()
            .map_or_else(|| text.tool.to_string(), |name| format!("{}/{name}", text.tool));
        one_connection(&key, text.tool.as_str(), fitting)
    }

    fn event_of_grant(&self, grant: &Grant, name: EventName) -> EventFacts {
        EventFacts {
            task: Some(grant.task),
            grant: Some(grant.id),
            connection: Some(grant.connection),
            tool: Some(grant.tool.clone()),
            ..self.event(name)
        }
    }

    fn new_grant(
        &self,
        task: &Task,
        connection: &ConnectionView,
        text: GrantText,
        expires_at: Timestamp,
    ) -> Result<Grant, ControlError> {
        let now = self.now();
        Ok(Grant {
            tenant: self.tenant.id,
            id: GrantId::new(now, self.random()?),
            task: task.id,
            connection: connection.id,
            tool: text.tool,
            operations: text.operations,
            resource: text.resource,
            reference: Reference::draw(|| self.random())?,
            created_at: now,
            expires_at: expires_at.min(task.ends_at),
            revoked_at: None,
            budget: None,
            attestation: Attestation::default(),
        })
    }

    async fn store_grant(&self, mut grant: Grant) -> Result<Json<GrantView>, ControlError> {
        grant.attestation = self.attest(Statement::Grant(grant.clone())).await?;
        self.store.put_grant(grant.clone()).await?;
        self.settle().await?;
        let (catalogue, connections) = (self.catalogue().await?, self.connections().await?);
        let spent = self.spent().await?;
        Ok(Json(self.grant_view(grant, &catalogue, &connections, &spent)))
    }

    /// The grants, newest first.
    pub(super) async fn grant_views(&self, of: Option<TaskId>) -> Result<Vec<GrantView>, ControlError> {
        let (catalogue, connections) = (self.catalogue().await?, self.connections().await?);
        let mut grants = self.store.grants(self.tenant.id).await?;
        grants.retain(|grant| of.is_none_or(|task| grant.task == task));
        grants.sort_by_key(|grant| std::cmp::Reverse(grant.created_at));
        let spent = self.spent().await?;
        Ok(grants.into_iter().map(|grant| self.grant_view(grant, &catalogue, &connections, &spent)).collect())
    }

    async fn spent(&self) -> Result<BTreeMap<GrantId, Spent>, ControlError> {
        Ok(self.store.spent(self.tenant.id).await?.into_iter().collect())
    }

    fn grant_view(
        &self,
        grant: Grant,
        catalogue: &Catalogue,
        connections: &[ConnectionView],
        spent: &BTreeMap<GrantId, Spent>,
    ) -> GrantView {
        let spent = grant.budget.map(|_| spent.get(&grant.id).copied().unwrap_or_default());
        let connection = connections.iter().find(|view| view.id == grant.connection);
        let name = connection.map(|view| view.name.clone());
        let manifest = catalogue.manifest(&grant.tool);
        let text = GrantText {
            tool: grant.tool.clone(),
            connection: name.clone(),
            operations: grant.operations.clone(),
            resource: grant.resource.clone(),
        };
        let shapes = manifest.map(|manifest| manifest.shapes.as_slice()).unwrap_or_default();
        GrantView {
            state: state(&grant, connection.is_some(), self.now()).to_owned(),
            shaped: shapes.iter().map(|shape| grant.reference.shaped(shape)).collect(),
            urls: manifest.map(|manifest| urls(&self.facts.gateway_url, manifest)).unwrap_or_default(),
            connection_name: name
                .map_or_else(|| grant.tool.to_string(), |name| format!("{}/{name}", grant.tool)),
            grant: text.to_string(),
            reference: grant.reference.to_string(),
            id: grant.id,
            task: grant.task,
            connection: grant.connection,
            created_at: grant.created_at,
            expires_at: grant.expires_at,
            budget: grant.budget,
            spent: spent.map(|Spent { calls, writes, bytes }| SpentView { calls, writes, bytes }),
        }
    }
}

fn state(grant: &Grant, connected: bool, now: Timestamp) -> &'static str {
    match grant.revoked_at {
        Some(_) => "revoked",
        None if !connected => "disconnected",
        None if grant.is_live(now) => "live",
        None => "over",
    }
}

/// The tool's base URL at the gateway, then those of its further hosts.
fn urls(gateway_url: &str, manifest: &Manifest) -> Vec<String> {
    let url = |route: &str| match route {
        "" => format!("{gateway_url}/{}/", manifest.name),
        route => format!("{gateway_url}/{}/~{route}/", manifest.name),
    };
    manifest.hosts.iter().map(|host| url(&host.route)).collect()
}
