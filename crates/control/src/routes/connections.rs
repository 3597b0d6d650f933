//! Connections: one account at one tool.

use super::input::Input;
use crate::{
    api::{AddConnection, Connected, ConnectionView, Removed, TestResult},
    control::Control,
    error::ControlError,
    find::missing,
};
use axum::{
    Json,
    extract::{Path, State},
};
use nightlatch_catalog::{
    builtin::Catalogue,
    manifest::{ChosenHost, CredentialKind, Manifest},
};
use nightlatch_domain::{
    id::ConnectionId,
    ports::control_keeper::{AddStatic, ControlRefusal, ControlReply, ControlRequest},
    tool::{BoundHost, Name, Placement},
};
use std::sync::Arc;

/// What a connection is called where nobody says.
const DEFAULT_NAME: &str = "main";

pub(super) async fn list(
    State(control): State<Arc<Control>>,
) -> Result<Json<Vec<ConnectionView>>, ControlError> {
    Ok(Json(control.connections().await?))
}

pub(super) async fn show(
    State(control): State<Arc<Control>>,
    Path(key): Path<String>,
) -> Result<Json<ConnectionView>, ControlError> {
    Ok(Json(control.connection(&key).await?))
}

pub(super) async fn add(
    State(control): State<Arc<Control>>,
    Input(asked): Input<AddConnection>,
) -> Result<Json<Connected>, ControlError> {
    let catalogue = control.catalogue().await?;
    let manifest = tool(&catalogue, &asked.tool)?;
    let place = control.place(&asked.tool, asked.name, asked.reconnect.as_deref()).await?;
    let hosts = hosts(manifest, CredentialKind::Key, asked.host.as_deref(), asked.placement.as_deref())?;
    let request = AddStatic {
        tenant: control.tenant.id,
        tool: asked.tool,
        name: place.name,
        reconnect: place.reconnect,
        hosts,
        secret: asked.secret,
    };
    match control.keeper.ask(ControlRequest::AddStatic(request)).await? {
        ControlReply::Connected { connection, .. } => control.connected(connection).await,
        _ => Err(ControlError::Internal),
    }
}

pub(super) async fn test(
    State(control): State<Arc<Control>>,
    Path(key): Path<String>,
) -> Result<Json<TestResult>, ControlError> {
    let connection = control.connection(&key).await?;
    let probe = ControlRequest::Probe { tenant: control.tenant.id, connection: connection.id };
    let (works, probed, detail) = match control.keeper.ask(probe).await {
        Ok(ControlReply::Probed { account: Some((id, label)) }) => {
            (true, true, format!("the tool took the credential; it is the account {label} (id {id})"))
        }
        Ok(ControlReply::Probed { account: None }) => (
            true,
            false,
            "this tool has no way to ask whose account it is; nothing was found wrong".to_owned(),
        ),
        Ok(_) => return Err(ControlError::Internal),
        Err(refusal @ (ControlRefusal::ProbeRejected { .. } | ControlRefusal::WrongAccount { .. })) => {
            (false, true, refusal.to_string())
        }
        Err(refusal) => return Err(refusal.into()),
    };
    // The probe may have changed how the connection is.
    let connection = control.connection(&connection.id.to_string()).await?;
    Ok(Json(TestResult { connection, works, probed, detail }))
}

pub(super) async fn remove(
    State(control): State<Arc<Control>>,
    Path(key): Path<String>,
) -> Result<Json<Removed>, ControlError> {
    let view = control.connection(&key).await?;
    control.keeper.ask(ControlRequest::Remove { tenant: control.tenant.id, connection: view.id }).await?;
    control.settle().await?;
    Ok(Json(Removed { id: view.id, connection: format!("{}/{}", view.tool, view.name) }))
}

/// Where a credential is put: under a new name, or in an existing connection. Its hosts come from the
/// manifest and the human each time, and never from the row of the connection: a row can be forged.
pub(super) struct Place {
    pub(super) name: Name,
    pub(super) reconnect: Option<ConnectionId>,
}

impl Control {
    pub(super) async fn place(
        &self,
        tool: &Name,
        name: Option<Name>,
        reconnect: Option<&str>,
    ) -> Result<Place, ControlError> {
        let Some(key) = reconnect else {
            let name = name.map_or_else(|| DEFAULT_NAME.parse(), Ok).map_err(|_| ControlError::Internal)?;
            return Ok(Place { name, reconnect: None });
        };
        let view = self.connection(key).await?;
        if view.tool != *tool {
            let text = format!("`{key}` is a connection of `{}` and not of `{tool}`", view.tool);
            return Err(ControlError::CannotConnect(text));
        }
        Ok(Place { name: view.name, reconnect: Some(view.id) })
    }

    /// The answer for a connection that was just made; the gateway knows it by then.
    pub(super) async fn connected(&self, id: ConnectionId) -> Result<Json<Connected>, ControlError> {
        self.settle().await?;
        Ok(Json(Connected { connection: self.connection(&id.to_string()).await? }))
    }
}

/// The manifest of a tool that a human named.
pub(super) fn tool<'a>(catalogue: &'a Catalogue, name: &Name) -> Result<&'a Manifest, ControlError> {
    catalogue.manifest(name).ok_or_else(|| {
        missing(
            "tool",
            name.as_str(),
            "`nightlatch tool list` shows them, `nightlatch tool add FILE` adds one",
        )
    })
}

/// The hosts that a human confirms by this command.
pub(super) fn hosts(
    manifest: &Manifest,
    kind: CredentialKind,
    host: Option<&str>,
    placement: Option<&str>,
) -> Result<Vec<BoundHost>, ControlError> {
    let refuse = |error: &dyn std::fmt::Display| ControlError::CannotConnect(error.to_string());
    let chosen = host.map(ChosenHost::parse).transpose().map_err(|error| refuse(&error))?;
    let chosen = match (chosen, placement) {
        (Some(chosen), Some(text)) => Some(chosen.placed(placed(text)?)),
        (None, Some(_)) => {
            return Err(ControlError::CannotConnect(
                "a placement is only chosen together with `--host`".to_owned(),
            ));
        }
        (chosen, None) => chosen,
    };
    manifest.bound_hosts(kind, chosen.as_ref()).map_err(|error| refuse(&error))
}

fn placed(text: &str) -> Result<Placement, ControlError> {
    let header_name = |name: &str| {
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    match text.split_once(':') {
        None if text == "bearer" => Ok(Placement::Bearer),
        Some(("basic", user)) if !user.contains(':') => Ok(Placement::Basic { user: user.to_owned() }),
        Some(("header", name)) if header_name(name) => {
            Ok(Placement::Header { name: name.to_ascii_lowercase(), prefix: String::new() })
        }
        _ => Err(ControlError::CannotConnect(format!(
            "`{text}` is no placement: write `bearer`, `basic:USER` or `header:NAME`"
        ))),
    }
}
