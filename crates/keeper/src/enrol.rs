//! Credentials come in: registrations, static secrets, and the flows that end in tokens.
//!
//! - here: our registrations, static secrets, one-time codes of agents;
//! - [`flow`]: an authorization code flow from its beginning to the code;
//! - [`redeem`]: the exchange of the code, journaled before anything is known about it;
//! - [`conclude`]: from a journaled answer to a connection.

mod conclude;
mod flow;
mod redeem;
mod target;

pub(crate) use conclude::{conclude, fail, resume};
pub(crate) use flow::{begin, finish};
pub(crate) use target::{By, Exchanged, Mark, Target};

use crate::{
    core::Core,
    error::KeeperError,
    probe::{self, ProbeError, Probed},
    refresh::material::Registered,
    wake,
};
use nightlatch_catalog::profile::{Endpoint, Profile};
use nightlatch_custody::Secret;
use nightlatch_domain::{
    chain::Client,
    connection::{Connection, Source, StaticSecret},
    id::{ClientId, ConnectionId, EnrolmentId, TenantId},
    ports::{
        control_keeper::{
            AddClient, AddStatic, ControlRefusal, ControlReply, Intake, Statement, intake_context,
        },
        gateway_keeper::{GatewayReply, KeeperRefusal},
        store::{NewConnection, StoreError},
    },
    principal::{Binding, Enrolment},
    sealed::{Attestation, ClientAuth, SealContext, Sealed, SecretKind},
    tool::Name,
};
use nightlatch_ledger::{facts::EventFacts, record::EventName};
use std::sync::Arc;

/// The most that a human types: a long JSON key of a service account has 2.4 KiB.
const SECRET_MAX_BYTES: usize = 16 * 1024;

pub(crate) fn unknown(what: &str) -> ControlRefusal {
    ControlRefusal::Unknown { what: what.to_owned() }
}

pub(crate) fn store_refusal(error: StoreError) -> ControlRefusal {
    match error {
        StoreError::Missing(what) => unknown(what),
        _ => ControlRefusal::Unavailable,
    }
}

pub(crate) fn refusal(error: KeeperError) -> ControlRefusal {
    match error {
        KeeperError::Store(error) => store_refusal(error),
        _ => ControlRefusal::Unavailable,
    }
}

/// What a human typed, cut of the line's end that a terminal or a file adds.
fn open_intake(
    core: &Core,
    sealed: &Sealed,
    tenant: TenantId,
    intake: Intake<'_>,
) -> Result<Secret, ControlRefusal> {
    let aad = intake_context(tenant, intake);
    let secret = core.parts.keys.open_intake(sealed, aad.as_bytes()).map_err(|_| ControlRefusal::Intake)?;
    let bytes = secret.expose().trim_ascii();
    if bytes.is_empty() || bytes.len() > SECRET_MAX_BYTES {
        return Err(ControlRefusal::Intake);
    }
    Ok(Secret::new(bytes.to_vec()))
}

/// Stores our registration at a provider.
pub(crate) async fn add_client(core: &Core, request: AddClient) -> Result<ControlReply, ControlRefusal> {
    let profile = core.profile(&request.provider).ok_or_else(|| unknown("provider"))?;
    let issuer = profile.issuer_or_origin().ok_or_else(|| unknown("token endpoint"))?;
    let now = core.now().wall;
    let id = ClientId::new(now, core.ten().map_err(|_| ControlRefusal::Unavailable)?);
    let context = SealContext {
        kind: SecretKind::ClientSecret,
        client: Some(id),
        client_auth: Some(request.auth),
        ..provider_context(request.tenant, profile)
    };
    let secret = match (&request.secret, request.auth) {
        (Some(sealed), ClientAuth::ClientSecretBasic | ClientAuth::ClientSecretPost) => {
            Some(open_intake(core, sealed, request.tenant, Intake::ClientSecret(&request.provider))?)
        }
        (None, ClientAuth::None) => None,
        // A secret without a use, or a use without a secret: the registration would never work.
        (Some(_), ClientAuth::None) | (None, _) => return Err(ControlRefusal::Intake),
    };
    let whole = Registered::seal(&request.client_id, secret.as_ref()).map_err(refusal)?;
    let wrapped = core.parts.keys.wrap(&whole, &context).map_err(|error| refusal(error.into()))?;
    let client = Client {
        tenant: request.tenant,
        id,
        provider: request.provider,
        issuer,
        client_id: request.client_id,
        auth: request.auth,
        secret: Some((wrapped, context)),
        created_at: now,
    };
    core.store().put_client(client).await.map_err(store_refusal)?;
    let tenant = Some(request.tenant);
    core.note(EventFacts { tenant, ..EventFacts::new(EventName::ClientAdded) }).await;
    Ok(ControlReply::Client { client: id })
}

/// What every secret of a provider is bound to.
pub(crate) fn provider_context(tenant: TenantId, profile: &Profile) -> SealContext {
    SealContext {
        tenant,
        kind: SecretKind::Flow,
        chain: None,
        family: None,
        family_number: None,
        connection: None,
        generation: 0,
        provider: Some(profile.name.clone()),
        client: None,
        token_endpoint: profile.token_endpoint.as_ref().map(Endpoint::to_string),
        refresh_endpoint: profile.refresh_endpoint.as_ref().map(Endpoint::to_string),
        revocation_endpoint: profile.revocation_endpoint.as_ref().map(Endpoint::to_string),
        client_auth: None,
        hosts: Vec::new(),
    }
}

/// Stores a secret that does not change by itself, once the tool said whose it is.
pub(crate) async fn add_static(core: &Arc<Core>, request: AddStatic) -> Result<ControlReply, ControlRefusal> {
    let manifest = core.manifest(request.tenant, &request.tool).await.map_err(store_refusal)?;
    let manifest = manifest.ok_or_else(|| unknown("tool"))?;
    if request.hosts.is_empty() {
        return Err(unknown("host"));
    }
    let secret = open_intake(core, &request.secret, request.tenant, Intake::ToolKey(&request.tool))?;
    let before = existing(core, request.tenant, request.reconnect, &request.tool).await?;
    let account = match probe::of(core, &manifest, &request.hosts, &secret).await {
        Ok(Probed::Account { id, label }) => Some((id, label)),
        Ok(Probed::NoProbe | Probed::Works) => None,
        Err(ProbeError::Rejected { status }) => return Err(ControlRefusal::ProbeRejected { status }),
        Err(ProbeError::Unreachable) => return Err(ControlRefusal::Unreachable),
    };
    if let Some(before) = &before {
        same_account(before, account.as_ref().map(|(id, _)| id.as_str()))?;
    }
    let made = static_connection(core, &request, before, account.clone(), &secret).await?;
    Ok(ControlReply::Connected { connection: made, account })
}

/// The connection to put new credentials under; it must be this tool's.
pub(crate) async fn existing(
    core: &Core,
    tenant: TenantId,
    connection: Option<ConnectionId>,
    tool: &Name,
) -> Result<Option<Connection>, ControlRefusal> {
    let Some(id) = connection else { return Ok(None) };
    let row = core.store().connection(tenant, id).await.map_err(store_refusal)?;
    let row = row.filter(|row| row.tool == *tool && row.tenant == tenant);
    row.map(Some).ok_or_else(|| unknown("connection"))
}

/// Another account is refused, and the old one stays. An account that nobody could name is no proof of
/// sameness either way; the human who reconnects answers for it.
pub(crate) fn same_account(before: &Connection, account: Option<&str>) -> Result<(), ControlRefusal> {
    match (before.account.as_deref(), account) {
        (Some(old), Some(new)) if old != new => Err(ControlRefusal::WrongAccount {
            expected: before.account_label.clone().unwrap_or_else(|| old.to_owned()),
        }),
        _ => Ok(()),
    }
}

async fn static_connection(
    core: &Arc<Core>,
    request: &AddStatic,
    before: Option<Connection>,
    account: Option<(String, String)>,
    secret: &Secret,
) -> Result<ConnectionId, ControlRefusal> {
    let now = core.now().wall;
    let unavailable = |_| ControlRefusal::Unavailable;
    let reconnects = before.is_some();
    let fresh = ConnectionId::new(now, core.ten().map_err(unavailable)?);
    let id = before.as_ref().map_or(fresh, |before| before.id);
    let stored = core.store().static_secret(request.tenant, id).await.map_err(store_refusal)?;
    let stored = stored.map_or(0, |row| row.generation);
    let generation = stored.max(core.anchor.static_generation(id).unwrap_or(0)) + 1;
    let context = SealContext {
        tenant: request.tenant,
        kind: SecretKind::Static,
        chain: None,
        family: None,
        family_number: None,
        connection: Some(id),
        generation,
        provider: None,
        client: None,
        token_endpoint: None,
        refresh_endpoint: None,
        revocation_endpoint: None,
        client_auth: None,
        hosts: request.hosts.clone(),
    };
    let wrapped = core.parts.keys.wrap(secret, &context).map_err(|error| refusal(error.into()))?;
    let (account, account_label) = account.unzip();
    let connection = Connection {
        tenant: request.tenant,
        id,
        tool: request.tool.clone(),
        name: before.as_ref().map_or(&request.name, |before| &before.name).clone(),
        account,
        account_label,
        source: Source::Static,
        hosts: request.hosts.clone(),
        created_at: before.map_or(now, |before| before.created_at),
        removed_at: None,
    };
    let secret = StaticSecret {
        tenant: request.tenant,
        connection: id,
        generation,
        secret: (wrapped, context),
        created_at: now,
    };
    let makes = NewConnection { connection: connection.clone(), tokens: None, secret: Some(secret) };
    core.store().put_connection(makes).await.map_err(|error| match error {
        StoreError::Exists(_) => ControlRefusal::NameTaken { name: request.name.to_string() },
        other => store_refusal(other),
    })?;
    // The row is older than the anchor for a moment; a row above its anchor is the newer one.
    core.on_disk(move |core| core.anchor.set_static(id, generation)).await.map_err(refusal)?;
    core.pace.forget_reports(id);
    note_connected(core, &connection, reconnects).await;
    Ok(id)
}

pub(crate) async fn note_connected(core: &Core, connection: &Connection, reconnects: bool) {
    let event = if reconnects { EventName::ConnectionReconnected } else { EventName::ConnectionMade };
    core.note(EventFacts {
        tenant: Some(connection.tenant),
        connection: Some(connection.id),
        tool: Some(connection.tool.clone()),
        ..EventFacts::new(event)
    })
    .await;
}

/// Deletes a connection's secrets at a human's word, and remembers it where no backup of the database
/// could take it back.
pub(crate) async fn remove(
    core: &Arc<Core>,
    tenant: TenantId,
    id: ConnectionId,
) -> Result<ControlReply, ControlRefusal> {
    let row = core.store().connection(tenant, id).await.map_err(store_refusal)?;
    let connection = row.ok_or_else(|| unknown("connection"))?;
    let family = match connection.source {
        Source::Static => None,
        Source::Chain { chain } => {
            let view = core.store().chain(tenant, chain).await.map_err(store_refusal)?;
            view.filter(|view| view.connections == [id]).map(|view| view.family.id)
        }
    };
    core.store().remove_connection(tenant, id, core.now().wall).await.map_err(store_refusal)?;
    core.revoking.tell();
    let gone = core.on_disk(move |core| {
        // First the log: who puts an answer away just then asks it afterwards.
        let ended = core.anchor.end(tenant, id);
        if let Some(family) = family {
            core.spool.forget_family(family);
        }
        ended
    });
    gone.await.map_err(refusal)?;
    core.note(EventFacts {
        tenant: Some(tenant),
        connection: Some(id),
        tool: Some(connection.tool),
        ..EventFacts::new(EventName::ConnectionRemoved)
    })
    .await;
    Ok(ControlReply::Done)
}

/// Binds the key that presented a one-time code to the agent and task that the code was made for.
pub(crate) async fn enrol_agent(
    core: &Core,
    code_sha256: String,
    binding: Binding,
) -> Result<GatewayReply, KeeperRefusal> {
    let code = core.store().enrolment_code(code_sha256.clone()).await.map_err(wake::unavailable)?;
    let code = code.filter(|code| code.code_sha256 == code_sha256).ok_or(KeeperRefusal::CodeRejected)?;
    let now = core.now().wall;
    if !core.vouches(Statement::EnrolmentCode(code.clone())) || now >= code.expires_at {
        return Err(KeeperRefusal::CodeRejected);
    }
    wake::may_act(core, code.tenant, code.agent, code.task).await?;
    if core.store().enrolment(binding.clone()).await.map_err(wake::unavailable)?.is_some() {
        return Err(KeeperRefusal::AlreadyEnrolled);
    }
    let random = core.ten().map_err(|_| KeeperRefusal::Unavailable)?;
    let mut enrolment = Enrolment {
        tenant: code.tenant,
        id: EnrolmentId::new(now, random),
        agent: code.agent,
        task: code.task,
        binding,
        created_at: now,
        attestation: Attestation::default(),
    };
    let statement = Statement::Enrolment(enrolment.clone());
    enrolment.attestation = core.parts.keys.attest(&statement).map_err(|_| KeeperRefusal::Unavailable)?;
    match core.store().enrol(code_sha256, enrolment).await {
        Ok(true) => {}
        Ok(false) => return Err(KeeperRefusal::CodeRejected),
        Err(StoreError::Exists(_)) => return Err(KeeperRefusal::AlreadyEnrolled),
        Err(_) => return Err(KeeperRefusal::Unavailable),
    }
    let (tenant, agent, task) = (code.tenant, code.agent, code.task);
    core.note(EventFacts {
        tenant: Some(tenant),
        agent: Some(agent),
        task: Some(task),
        ..EventFacts::new(EventName::AgentEnrolled)
    })
    .await;
    Ok(GatewayReply::Enrolled { tenant, agent, task })
}
