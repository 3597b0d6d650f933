//! An authorization code flow, from its beginning to the code that comes back.
//!
//! Everything that decides later is sealed when the flow begins: the tool and the hosts that a human
//! confirmed, the redirect URI, the verifier, `state`, the cookie. What comes back must fit all of it:
//! `state`, the context in the path, the session (the browser's cookie, or the CLI's own flow), and `iss`
//! where it was sent or announced. A code is taken once.

use super::{existing, provider_context, redeem, refusal, store_refusal, target::Target, unknown};
use crate::{
    core::Core,
    refresh::material::{Registered, registered},
    token,
    wake::{hex, same},
};
use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use nightlatch_catalog::profile::{Pkce, Profile};
use nightlatch_custody::Secret;
use nightlatch_domain::{
    chain::{Flow, FlowOutcome, FlowStep},
    clock::random,
    id::{ChainId, ConnectionId, ContextId, FamilyId, FlowId, TenantId},
    ports::control_keeper::{BeginFlow, ControlRefusal, ControlReply, FinishFlow, FlowSession, code_context},
    sealed::{ClientAuth, SealContext, Sealed, SecretKind},
    tool::Name,
};
use nightlatch_ledger::{facts::EventFacts, record::EventName};
use serde::{Deserialize, Serialize};
use std::{sync::Arc, time::Duration};

/// A human gets this long for the provider's pages.
const FLOW_WITHIN: Duration = Duration::from_secs(600);
/// The cookie of the session that began a flow.
const COOKIE: &str = "nightlatch_flow";

/// What a flow remembers, sealed. The row beside it is for people; this decides.
#[derive(Serialize, Deserialize)]
pub(crate) struct Remembered {
    #[serde(flatten)]
    pub(crate) target: Target,
    pub(crate) context: ContextId,
    pub(crate) redirect_uri: String,
    pub(crate) verifier: Option<String>,
    pub(crate) state: String,
    pub(crate) cookie: String,
}

/// Begins a flow: draws its secrets, stores it, and says where the human goes.
pub(crate) async fn begin(core: &Core, request: BeginFlow) -> Result<ControlReply, ControlRefusal> {
    let manifest = core.manifest(request.tenant, &request.tool).await.map_err(store_refusal)?;
    let manifest = manifest.ok_or_else(|| unknown("tool"))?;
    let profile = manifest.profile.as_ref().and_then(|name| core.profile(name));
    let profile =
        profile.ok_or_else(|| ControlRefusal::NotSupported { what: "oauth for this tool".to_owned() })?;
    let client = core.store().client(request.tenant, request.client).await.map_err(store_refusal)?;
    let client = client.ok_or_else(|| unknown("client"))?;
    let registered = registered(core, &client, &provider_context(request.tenant, profile));
    let registered = registered.map_err(|_| unknown("client"))?;
    if request.hosts.is_empty() {
        return Err(unknown("host"));
    }
    let before = existing(core, request.tenant, request.reconnect, &request.tool).await?;
    let name = before.map_or_else(|| request.name.clone(), |before| before.name);
    let remembered = draw(core, &request, name.clone(), profile).map_err(refusal)?;
    let authorize_url = authorize_url(profile, &registered, &request, &remembered)?;
    let (flow, expires_at) = (remembered.target.flow, core.now().wall.plus(FLOW_WITHIN));
    let cookie = (COOKIE.to_owned(), remembered.cookie.clone());
    let row = row(core, &request, &name, (registered.auth, profile), remembered).map_err(refusal)?;
    core.store().put_flow(row).await.map_err(store_refusal)?;
    core.note(EventFacts {
        tenant: Some(request.tenant),
        tool: Some(request.tool),
        ..EventFacts::new(EventName::FlowBegun)
    })
    .await;
    let start_path = format!("/oauth/start/{flow}");
    Ok(ControlReply::FlowBegun { flow, start_path, authorize_url, cookie, expires_at })
}

fn draw(
    core: &Core,
    request: &BeginFlow,
    name: Name,
    profile: &Profile,
) -> Result<Remembered, crate::KeeperError> {
    let now = core.now().wall;
    // RFC 7636 §4.1: 32 random bytes in base64url make 43 characters. RFC 6749 §10.10: 256 bits for state.
    let word = || random::<32>(&*core.parts.entropy).map(|bytes| URL_SAFE_NO_PAD.encode(bytes));
    Ok(Remembered {
        target: Target {
            flow: FlowId::new(now, core.ten()?),
            tool: request.tool.clone(),
            name: Some(name),
            reconnect: request.reconnect,
            family: FamilyId::new(now, core.ten()?),
            chain: ChainId::new(now, core.ten()?),
            connection: ConnectionId::new(now, core.ten()?),
        },
        context: request.context,
        redirect_uri: request.redirect_uri.clone(),
        verifier: if profile.pkce == Pkce::S256 { Some(word()?) } else { None },
        state: word()?,
        cookie: word()?,
    })
}

/// RFC 6749 §4.1.1, RFC 7636 §4.3.
fn authorize_url(
    profile: &Profile,
    client: &Registered,
    request: &BeginFlow,
    remembered: &Remembered,
) -> Result<String, ControlRefusal> {
    let endpoint =
        profile.authorization_endpoint.as_ref().ok_or_else(|| unknown("authorization endpoint"))?;
    let endpoint = endpoint.to_string();
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("response_type", "code");
    query.append_pair("client_id", &client.client_id);
    query.append_pair("redirect_uri", &remembered.redirect_uri);
    if !request.scopes.is_empty() {
        query.append_pair("scope", &request.scopes.join(&profile.scope_separator));
    }
    query.append_pair("state", &remembered.state);
    if let Some(verifier) = &remembered.verifier {
        query.append_pair("code_challenge", &challenge_of(verifier));
        query.append_pair("code_challenge_method", "S256");
    }
    query.extend_pairs(&profile.extra_authorize_params);
    let joint = if endpoint.contains('?') { '&' } else { '?' };
    Ok(format!("{endpoint}{joint}{}", query.finish()))
}

/// RFC 7636 §4.2: BASE64URL(SHA256(ASCII(verifier))).
fn challenge_of(verifier: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest(&SHA256, verifier.as_bytes()))
}

fn sha256_hex(text: &str) -> String {
    hex(digest(&SHA256, text.as_bytes()).as_ref())
}

fn row(
    core: &Core,
    request: &BeginFlow,
    name: &Name,
    (auth, profile): (ClientAuth, &Profile),
    remembered: Remembered,
) -> Result<Flow, crate::KeeperError> {
    let now = core.now().wall;
    let context = SealContext {
        chain: Some(remembered.target.chain),
        family: Some(remembered.target.family),
        client: Some(request.client),
        client_auth: Some(auth),
        hosts: request.hosts.clone(),
        ..provider_context(request.tenant, profile)
    };
    let invalid = |_| crate::KeeperError::Registration("the flow cannot be written");
    let secrets = Secret::new(serde_json::to_vec(&remembered).map_err(invalid)?);
    let wrapped = core.parts.keys.wrap(&secrets, &context)?;
    Ok(Flow {
        tenant: request.tenant,
        id: remembered.target.flow,
        context: remembered.context,
        tool: remembered.target.tool,
        name: name.clone(),
        client: request.client,
        reconnect: remembered.target.reconnect,
        state_sha256: sha256_hex(&remembered.state),
        secrets: (wrapped, context),
        step: FlowStep::Begun,
        answer: None,
        outcome: None,
        created_at: now,
        expires_at: now.plus(FLOW_WITHIN),
    })
}

/// Opens what a flow remembers, if the row is the one that it was sealed for.
pub(crate) fn remembered(core: &Core, flow: &Flow) -> Option<Remembered> {
    let context = &flow.secrets.1;
    if context.kind != SecretKind::Flow || context.tenant != flow.tenant {
        return None;
    }
    let opened = core.open(&flow.secrets).ok()?;
    let remembered: Remembered = serde_json::from_slice(opened.expose()).ok()?;
    (remembered.target.flow == flow.id).then_some(remembered)
}

/// What came back: refused, or redeemed to its end, whoever stops waiting.
pub(crate) async fn finish(core: &Arc<Core>, request: FinishFlow) -> Result<ControlReply, ControlRefusal> {
    let found = core.store().flow_by_state(sha256_hex(&request.state)).await.map_err(store_refusal)?;
    let flow = found.ok_or(ControlRefusal::FlowMismatch)?;
    let remembered = remembered(core, &flow).ok_or(ControlRefusal::FlowMismatch)?;
    if !fits(core, &flow, &remembered, &request) {
        return Err(ControlRefusal::FlowMismatch);
    }
    let code = match request.result {
        Err(code) => return refused_by_provider(core, flow.tenant, flow.id, &code).await,
        Ok(sealed) => code(core, &sealed, remembered.context)?,
    };
    let own = Arc::clone(core);
    let work = core.carried(async move { redeem::redeem(&own, flow, remembered, code).await });
    work.await.unwrap_or(Err(ControlRefusal::Unavailable))
}

fn fits(core: &Core, flow: &Flow, remembered: &Remembered, request: &FinishFlow) -> bool {
    let session = match &request.session {
        FlowSession::Cookie { value } => same(value.as_bytes(), remembered.cookie.as_bytes()),
        FlowSession::Pasted { flow: pasted } => *pasted == remembered.target.flow,
    };
    flow.step == FlowStep::Begun
        && core.now().wall < flow.expires_at
        && request.context == remembered.context
        && same(request.state.as_bytes(), remembered.state.as_bytes())
        && session
        && issuer_fits(core, flow, request.iss.as_deref())
}

/// RFC 9207 §2.4: an `iss` that was sent must be the issuer; one that was announced must be sent.
fn issuer_fits(core: &Core, flow: &Flow, sent: Option<&str>) -> bool {
    let profile = flow.secrets.1.provider.as_ref().and_then(|name| core.profile(name));
    let Some(profile) = profile else { return false };
    match sent {
        Some(sent) => profile.issuer.as_deref() == Some(sent),
        None => !profile.iss_announced,
    }
}

/// The code, sealed by the first process that read it.
fn code(core: &Core, sealed: &Sealed, context: ContextId) -> Result<Secret, ControlRefusal> {
    let opened = core.parts.keys.open_intake(sealed, code_context(context).as_bytes());
    opened.map_err(|_| ControlRefusal::Intake)
}

/// RFC 6749 §4.1.2.1: the human said no, or the provider did.
async fn refused_by_provider(
    core: &Core,
    tenant: TenantId,
    flow: FlowId,
    code: &str,
) -> Result<ControlReply, ControlRefusal> {
    let code = token::plain_word(code);
    let taken = core.store().advance_flow(tenant, flow, FlowStep::Begun, FlowStep::Redeeming, None).await;
    if !taken.map_err(store_refusal)? {
        return Err(ControlRefusal::FlowMismatch);
    }
    let outcome = FlowOutcome::Failed { reason: code.clone() };
    core.store().end_flow(tenant, flow, outcome, None).await.map_err(store_refusal)?;
    Err(ControlRefusal::Provider { code })
}
