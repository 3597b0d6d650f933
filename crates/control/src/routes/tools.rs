//! Tools and provider profiles, as the catalogue has them.

pub(super) mod compare;

use super::input::Input;
use crate::{
    api::{AddTool, OperationView, ProfileSummary, ProfileView, SourceView, ToolSummary, ToolView},
    control::Control,
    error::ControlError,
    find::missing,
};
use axum::{
    Json,
    extract::{Path, State},
};
use nightlatch_catalog::{
    builtin,
    manifest::{Manifest, Operation, Provenance, Root},
    profile::{Endpoint, Profile},
};
use nightlatch_domain::{
    ports::store::ToolRow,
    sealed::ClientAuth,
    tool::{Name, Sensitivity},
};
use nightlatch_ledger::{facts::EventFacts, record::EventName};
use std::sync::Arc;

pub(super) async fn list(
    State(control): State<Arc<Control>>,
) -> Result<Json<Vec<ToolSummary>>, ControlError> {
    let catalogue = control.catalogue().await?;
    Ok(Json(
        catalogue
            .manifests()
            .map(|manifest| summary(manifest, catalogue.profile_of(&manifest.name)))
            .collect(),
    ))
}

pub(super) async fn show(
    State(control): State<Arc<Control>>,
    Path(name): Path<Name>,
) -> Result<Json<ToolView>, ControlError> {
    Ok(Json(control.tool_view(&name).await?))
}

pub(super) async fn add(
    State(control): State<Arc<Control>>,
    Input(asked): Input<AddTool>,
) -> Result<Json<ToolView>, ControlError> {
    let refuse = |error: &dyn std::fmt::Display| ControlError::BadFile(error.to_string());
    let manifest = Manifest::parse(&asked.file, &asked.manifest).map_err(|error| refuse(&error))?;
    let name = manifest.name.clone();
    let there = control.added_text(&name).await?;
    let fingerprint = there.as_deref().map_or_else(|| compare::NOTHING.to_owned(), compare::fingerprint);
    if asked.replaces.is_some_and(|replaces| replaces != fingerprint) {
        let what = format!("`{name}` is not what it was when you looked; look at the difference again");
        return Err(ControlError::BadRequest(what));
    }
    if there.is_some() {
        return control.replace_tool(manifest, asked.manifest).await;
    }
    let mut catalogue = control.catalogue().await?;
    catalogue.add_manifest(manifest).map_err(|error| refuse(&error))?;
    control.store_tool(name, asked.manifest).await
}

pub(super) async fn profiles(
    State(control): State<Arc<Control>>,
) -> Result<Json<Vec<ProfileSummary>>, ControlError> {
    Ok(Json(control.catalogue().await?.profiles().map(profile_summary).collect()))
}

pub(super) async fn profile(
    State(control): State<Arc<Control>>,
    Path(name): Path<Name>,
) -> Result<Json<ProfileView>, ControlError> {
    let catalogue = control.catalogue().await?;
    let found = catalogue.profile(&name);
    let profile =
        found.ok_or_else(|| missing("profile", name.as_str(), "`nightlatch profile list` shows them"))?;
    let own = control.own_profiles.iter().find(|(own, _)| own == name.as_str()).map(|(_, text)| text.clone());
    Ok(Json(ProfileView {
        profile: profile_summary(profile),
        facts: serde_json::to_value(profile).map_err(|_| ControlError::Internal)?,
        text: own,
    }))
}

impl Control {
    /// A newer manifest in the place of one that was added before. Existing connections keep the hosts
    /// that they were confirmed for.
    async fn replace_tool(&self, manifest: Manifest, text: String) -> Result<Json<ToolView>, ControlError> {
        let mut others = self.catalogue_without(&manifest.name).await?;
        let name = manifest.name.clone();
        others.add_manifest(manifest).map_err(|error| ControlError::BadFile(error.to_string()))?;
        self.store_tool(name, text).await
    }

    async fn store_tool(&self, name: Name, manifest: String) -> Result<Json<ToolView>, ControlError> {
        let added = EventFacts { tool: Some(name.clone()), ..self.event(EventName::ToolAdded) };
        self.record_before(added).await?;
        let row = ToolRow { tenant: self.tenant.id, name: name.clone(), manifest, added_at: self.now() };
        self.store.put_tool(row).await?;
        self.settle().await?;
        Ok(Json(self.tool_view(&name).await?))
    }

    async fn tool_view(&self, name: &Name) -> Result<ToolView, ControlError> {
        let catalogue = self.catalogue().await?;
        let manifest = super::connections::tool(&catalogue, name)?;
        let rows = self.store.tools(self.tenant.id).await?;
        let added = rows.into_iter().find(|row| row.name == *name).map(|row| row.manifest);
        Ok(ToolView {
            tool: summary(manifest, catalogue.profile_of(name)),
            docs: manifest.docs.clone(),
            scopes: manifest.scopes.clone(),
            needs_host: manifest.hosts.iter().any(|host| host.host.exact().is_none()),
            source: manifest.source.as_ref().map(source_view),
            operations: operations(manifest),
            facts: serde_json::to_value(manifest).map_err(|_| ControlError::Internal)?,
            text: added,
        })
    }
}

fn summary(manifest: &Manifest, profile: Option<&Profile>) -> ToolSummary {
    let keys = manifest.hosts.iter().any(|host| host.key.is_some());
    let oauth = manifest.hosts.iter().any(|host| host.oauth.is_some())
        && profile.is_some_and(Profile::is_connectable);
    let ways = [(keys, "key"), (oauth, "oauth")];
    let builtin = builtin::manifest(manifest.name.as_str()).is_some();
    ToolSummary {
        name: manifest.name.clone(),
        title: manifest.title.clone(),
        origin: if builtin { "built-in" } else { "added" }.to_owned(),
        hosts: manifest.hosts.iter().map(|host| host.host.to_string()).collect(),
        connect: ways.iter().filter(|(there, _)| *there).map(|(_, way)| (*way).to_owned()).collect(),
        profile: manifest.profile.clone(),
        operations: u32::try_from(manifest.operations.len() + manifest.roots.len()).unwrap_or(u32::MAX),
    }
}

fn source_view(source: &Provenance) -> SourceView {
    SourceView {
        kind: source.kind.clone(),
        file: source.file.clone(),
        title: source.title.clone(),
        version: source.version.clone(),
        sha256: source.sha256.clone(),
    }
}

/// What a request line says, then what the root fields of a GraphQL body say.
fn operations(manifest: &Manifest) -> Vec<OperationView> {
    manifest.operations.iter().map(operation).chain(manifest.roots.iter().map(root)).collect()
}

const fn sensitivity(of: Sensitivity) -> &'static str {
    match of {
        Sensitivity::Low => "low",
        Sensitivity::Medium => "medium",
        Sensitivity::High => "high",
    }
}

fn root(root: &Root) -> OperationView {
    OperationView {
        id: root.id.to_string(),
        effect: root.effect.to_string(),
        sensitivity: sensitivity(root.sensitivity).to_owned(),
        methods: vec![root.on.as_str().to_owned()],
        paths: root.fields.clone(),
        resource: None,
        page: root.page.clone(),
        upgrade: None,
        deprecated: false,
    }
}

fn operation(operation: &Operation) -> OperationView {
    OperationView {
        id: operation.id.to_string(),
        effect: operation.effect.to_string(),
        sensitivity: sensitivity(operation.sensitivity).to_owned(),
        methods: operation.methods.clone(),
        paths: operation.paths.iter().map(ToString::to_string).collect(),
        upgrade: operation.upgrade.map(|upgrade| upgrade.as_str().to_owned()),
        resource: operation.resource.as_ref().map(|resource| resource.as_str().to_owned()),
        page: operation.page.clone(),
        deprecated: operation.deprecated,
    }
}

fn profile_summary(profile: &Profile) -> ProfileSummary {
    let builtin = builtin::profile(profile.name.as_str()).is_some();
    let public = profile.client_auth.contains(&ClientAuth::None);
    ProfileSummary {
        name: profile.name.clone(),
        title: profile.title.clone(),
        origin: if builtin { "built-in" } else { "operator" }.to_owned(),
        token_endpoint: profile.token_endpoint.as_ref().or(profile.refreshed_at()).map(Endpoint::to_string),
        public_clients: public,
    }
}
