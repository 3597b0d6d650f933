//! OAuth flows as the command line sees them: what to register, begin, wait, paste.

use super::{
    connections::{hosts, tool},
    input::{Asked, Input},
};
use crate::{
    api::{
        AddClientRequest, BeginFlowRequest, ClientView, FlowStarted, FlowView, OneTime, PastedAnswer,
        RedirectView,
    },
    control::Control,
    error::ControlError,
    find::missing,
    server::stopped,
    views,
};
use axum::{
    Json,
    extract::{Path, State},
};
use nightlatch_catalog::{builtin::Catalogue, manifest::CredentialKind, profile::Profile};
use nightlatch_domain::{
    chain::{Flow, FlowOutcome, FlowStep},
    id::{ClientId, ContextId, FlowId},
    ports::control_keeper::{AddClient, BeginFlow, ControlReply, ControlRequest, FinishFlow, FlowSession},
    sealed::ClientAuth,
    tool::Name,
};
use serde::Deserialize;
use std::{sync::Arc, time::Duration};

/// The longest wait for a flow's end in one request.
const WAIT_MAX_SECS: u64 = 25;
/// How often a waiting request looks.
const LOOK_EVERY: Duration = Duration::from_millis(250);

pub(super) async fn redirect(
    State(control): State<Arc<Control>>,
    Path(name): Path<Name>,
) -> Result<Json<RedirectView>, ControlError> {
    let catalogue = control.catalogue().await?;
    let manifest = tool(&catalogue, &name)?;
    let profile = known(&catalogue, &name)?;
    let mut clients = control.store.clients(control.tenant.id, profile.name.clone()).await?;
    clients.sort_by_key(|client| std::cmp::Reverse(client.created_at));
    let context = control.context(&name, &profile.name).await?;
    Ok(Json(RedirectView {
        redirect_uri: control.redirect_uri(context),
        tool: name,
        provider: profile.name.clone(),
        register_at: profile.registration_page.clone(),
        scopes: manifest.scopes.clone(),
        clients: clients.into_iter().map(views::client).collect(),
    }))
}

pub(super) async fn add_client(
    State(control): State<Arc<Control>>,
    Input(asked): Input<AddClientRequest>,
) -> Result<Json<ClientView>, ControlError> {
    let catalogue = control.catalogue().await?;
    let profile = catalogue
        .profile(&asked.provider)
        .ok_or_else(|| missing("profile", asked.provider.as_str(), "`nightlatch profile list` shows them"))?;
    let auth = client_auth(profile, &asked)?;
    let request = AddClient {
        tenant: control.tenant.id,
        provider: asked.provider.clone(),
        client_id: asked.client_id,
        auth,
        secret: asked.secret,
    };
    match control.keeper.ask(ControlRequest::AddClient(request)).await? {
        ControlReply::Client { client } => Ok(Json(control.client(&asked.provider, client).await?)),
        _ => Err(ControlError::Internal),
    }
}

/// The way of authenticating that was asked for, or the profile's first that fits what there is.
fn client_auth(profile: &Profile, asked: &AddClientRequest) -> Result<ClientAuth, ControlError> {
    let has_secret = asked.secret.is_some();
    let fits = |auth: &ClientAuth| (*auth != ClientAuth::None) == has_secret;
    let chosen = asked.auth.or_else(|| profile.client_auth.iter().copied().find(fits));
    let listed = chosen.filter(|auth| profile.client_auth.contains(auth) && fits(auth));
    listed.ok_or_else(|| {
        let text = if has_secret {
            "takes no client secret: leave it out (a public client)"
        } else {
            "knows no public clients: give the client secret, `--client-secret-from-env VAR` or at the prompt"
        };
        ControlError::CannotConnect(format!("`{}` {text}", profile.title))
    })
}

pub(super) async fn begin(
    State(control): State<Arc<Control>>,
    Input(asked): Input<BeginFlowRequest>,
) -> Result<Json<FlowStarted>, ControlError> {
    let catalogue = control.catalogue().await?;
    let manifest = tool(&catalogue, &asked.tool)?;
    let profile = provider(&catalogue, &asked.tool)?;
    let context = control.context(&asked.tool, &profile.name).await?;
    let place = control.place(&asked.tool, asked.name, asked.reconnect.as_deref()).await?;
    let hosts = hosts(manifest, CredentialKind::OAuth, asked.host.as_deref(), asked.placement.as_deref())?;
    let redirect_uri = control.redirect_uri(context);
    let request = BeginFlow {
        tenant: control.tenant.id,
        tool: asked.tool,
        name: place.name,
        client: asked.client,
        reconnect: place.reconnect,
        context,
        redirect_uri: redirect_uri.clone(),
        scopes: if asked.scopes.is_empty() { manifest.scopes.clone() } else { asked.scopes },
        hosts,
    };
    match control.keeper.ask(ControlRequest::BeginFlow(request)).await? {
        ControlReply::FlowBegun { flow, authorize_url, cookie, expires_at, .. } => {
            control.starts.forget(control.now());
            let start_path =
                control.starts.add(control.random()?, flow, context, &authorize_url, cookie, expires_at)?;
            Ok(Json(FlowStarted {
                flow,
                start_url: OneTime(format!("{}{start_path}", control.facts.redirect_url)),
                authorize_url: OneTime(authorize_url),
                redirect_uri,
                expires_at,
            }))
        }
        _ => Err(ControlError::Internal),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wait {
    wait_secs: Option<u64>,
}

pub(super) async fn show(
    State(control): State<Arc<Control>>,
    Path(id): Path<FlowId>,
    Asked(wait): Asked<Wait>,
) -> Result<Json<FlowView>, ControlError> {
    let wait = Duration::from_secs(wait.wait_secs.unwrap_or(0).min(WAIT_MAX_SECS));
    let mut stop = control.stop.subscribe();
    let ended = async {
        loop {
            let flow = control.flow(id).await?;
            if flow.step == FlowStep::Ended || flow.expires_at <= control.now() {
                return Ok::<_, ControlError>(flow);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    let flow = tokio::select! {
        ended = tokio::time::timeout(wait, ended) => match ended {
            Ok(ended) => ended?,
            Err(_) => control.flow(id).await?,
        },
        () = stopped(&mut stop) => control.flow(id).await?,
    };
    Ok(Json(control.flow_view(flow).await?))
}

pub(super) async fn answer(
    State(control): State<Arc<Control>>,
    Path(id): Path<FlowId>,
    Input(pasted): Input<PastedAnswer>,
) -> Result<Json<FlowView>, ControlError> {
    let result = match (pasted.code, pasted.error) {
        (Some(code), None) => Ok(code),
        (None, Some(error)) => Err(error),
        _ => {
            return Err(ControlError::BadRequest("the pasted address holds no code and no error".to_owned()));
        }
    };
    let context = pasted.context.parse::<ContextId>().map_err(|_| {
        ControlError::BadRequest("the pasted address is not the redirect URI of this flow".to_owned())
    })?;
    let session = FlowSession::Pasted { flow: id };
    let finish = FinishFlow { state: pasted.state, context, iss: pasted.iss, result, session };
    control.keeper.ask(ControlRequest::FinishFlow(finish)).await?;
    Ok(Json(control.flow_view(control.flow(id).await?).await?))
}

impl Control {
    async fn context(&self, tool: &Name, provider: &Name) -> Result<ContextId, ControlError> {
        let fresh = ContextId::new(self.now(), self.random()?);
        Ok(self.store.context(self.tenant.id, tool.clone(), provider.clone(), fresh).await?)
    }

    fn redirect_uri(&self, context: ContextId) -> String {
        format!("{}/oauth/callback/{context}", self.facts.redirect_url)
    }

    async fn client(&self, provider: &Name, id: ClientId) -> Result<ClientView, ControlError> {
        let clients = self.store.clients(self.tenant.id, provider.clone()).await?;
        clients.into_iter().find(|client| client.id == id).map(views::client).ok_or(ControlError::Internal)
    }

    async fn flow(&self, id: FlowId) -> Result<Flow, ControlError> {
        let flow = self.store.flow(self.tenant.id, id).await?;
        flow.ok_or_else(|| {
            missing("flow", &id.to_string(), "begin one with `nightlatch connect TOOL --oauth`")
        })
    }

    async fn flow_view(&self, flow: Flow) -> Result<FlowView, ControlError> {
        let mut view = FlowView {
            flow: flow.id,
            state: step(&flow, flow.expires_at <= self.now()).to_owned(),
            connection: None,
            reason: None,
            expires_at: flow.expires_at,
        };
        match flow.outcome {
            Some(FlowOutcome::Connected { connection, .. }) => {
                self.settle().await?;
                view.connection = Some(self.connection(&connection.to_string()).await?);
            }
            Some(FlowOutcome::Failed { reason }) => view.reason = Some(reason),
            None => {}
        }
        Ok(view)
    }
}

const fn step(flow: &Flow, expired: bool) -> &'static str {
    match (&flow.outcome, flow.step) {
        (Some(FlowOutcome::Connected { .. }), _) => "connected",
        (Some(FlowOutcome::Failed { .. }), _) | (None, FlowStep::Ended) => "failed",
        (None, FlowStep::Begun) if expired => "expired",
        (None, FlowStep::Begun) => "begun",
        (None, FlowStep::Redeeming) => "redeeming",
        (None, FlowStep::Answered) => "answered",
    }
}

/// The provider whose page a human is sent to.
fn provider<'a>(catalogue: &'a Catalogue, tool: &Name) -> Result<&'a Profile, ControlError> {
    let profile = known(catalogue, tool)?;
    if profile.is_connectable() {
        return Ok(profile);
    }
    Err(ControlError::CannotConnect(format!(
        "{} has no page that a human could be sent to: log in there by yourself, and bring in the refresh token that came (`nightlatch connection import`)",
        profile.title
    )))
}

/// The provider that gives the tool's tokens.
fn known<'a>(catalogue: &'a Catalogue, tool: &Name) -> Result<&'a Profile, ControlError> {
    let profile = catalogue.profile_of(tool).filter(|profile| profile.refreshed_at().is_some());
    profile.ok_or_else(|| {
        ControlError::CannotConnect(format!(
            "`{tool}` has no provider profile to log in with; connect it with `--key`, or add a profile (`profiles/*.toml` in the data folder) and a manifest that names it"
        ))
    })
}
