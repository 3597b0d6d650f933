//! A batch of sealed rows becomes rows of the store.
//!
//! Each row is checked by itself, and what is wrong with it is its own answer. Those that are sound are stored in one
//! transaction, under the keyed hash of their token: whoever sends a batch again is told what was there.

use super::plan::Plan;
use crate::{
    core::Core,
    enrol::{Target, provider_context, refusal, store_refusal, unknown},
    refresh::material::registered,
};
use nightlatch_catalog::{
    manifest::{ChosenHost, CredentialKind},
    profile::Profile,
};
use nightlatch_custody::Secret;
use nightlatch_domain::{
    id::{ChainId, ClientId, ConnectionId, FamilyId, FlowId, TenantId},
    import::{Import, ImportProgress},
    ports::{
        control_keeper::{
            ControlRefusal, ControlReply, ImportBatch, ImportFacts, ImportPart, ImportRow, Imported,
            import_context,
        },
        store::Brought,
    },
    sealed::{ClientAuth, SealContext, Sealed, SecretKind},
    tool::{BoundHost, Name},
};
use nightlatch_ledger::{facts::EventFacts, record::EventName};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// The longest token: what a provider answers fits four times.
const TOKEN_MAX_BYTES: usize = 16 * 1024;

/// Takes a batch in. The answers come in the order of the rows.
pub(crate) async fn take_in(core: &Arc<Core>, batch: ImportBatch) -> Result<ControlReply, ControlRefusal> {
    let (mut told, mut sound) = (Vec::with_capacity(batch.rows.len()), Vec::new());
    let mut ways = Ways::default();
    for row in &batch.rows {
        match read(core, batch.tenant, row, &mut ways).await {
            Ok(import) => {
                told.push(Imported::Accepted { flow: import.id });
                sound.push(import);
            }
            Err(why) => told.push(Imported::Refused { why }),
        }
    }
    let tools: BTreeSet<Name> = sound.iter().map(|import| import.tool.clone()).collect();
    let brought = core.store().put_imports(sound).await.map_err(store_refusal)?;
    let kept = told.iter_mut().filter(|one| matches!(one, Imported::Accepted { .. }));
    for (one, brought) in kept.zip(brought) {
        match brought {
            Brought::New => {}
            Brought::Known(flow) => *one = Imported::Known { flow },
            Brought::Elsewhere => *one = Imported::Refused { why: ControlRefusal::Elsewhere },
        }
    }
    if told.iter().any(|one| matches!(one, Imported::Accepted { .. })) {
        core.imports.tell();
        for tool in tools {
            let facts = EventFacts::new(EventName::ImportTaken);
            core.note(EventFacts { tenant: Some(batch.tenant), tool: Some(tool), ..facts }).await;
        }
    }
    Ok(ControlReply::Imported { rows: told })
}

/// What rows of one kind have in common.
#[derive(Clone)]
struct Way {
    profile: Profile,
    auth: ClientAuth,
    client_id: String,
    hosts: Vec<BoundHost>,
}

type Ways = BTreeMap<(Name, ClientId, Option<String>), Result<Way, ControlRefusal>>;

async fn way(core: &Core, tenant: TenantId, facts: &ImportFacts) -> Result<Way, ControlRefusal> {
    let manifest = core.manifest(tenant, &facts.tool).await.map_err(store_refusal)?;
    let manifest = manifest.ok_or_else(|| unknown("tool"))?;
    let profile = manifest.profile.as_ref().and_then(|name| core.profile(name));
    let profile =
        profile.ok_or_else(|| ControlRefusal::NotSupported { what: "oauth for this tool".to_owned() })?;
    let client = core.store().client(tenant, facts.client).await.map_err(store_refusal)?;
    let client = client.ok_or_else(|| unknown("client"))?;
    let registered = registered(core, &client, &provider_context(tenant, profile));
    let registered = registered.map_err(|_| unknown("client"))?;
    let chosen = facts.host.as_deref().map(ChosenHost::parse).transpose();
    let chosen = chosen.map_err(|_| ControlRefusal::Host)?;
    let hosts = manifest.bound_hosts(CredentialKind::OAuth, chosen.as_ref());
    let hosts = hosts.map_err(|_| ControlRefusal::Host)?;
    Ok(Way { profile: profile.clone(), auth: registered.auth, client_id: registered.client_id, hosts })
}

async fn read(
    core: &Core,
    tenant: TenantId,
    row: &ImportRow,
    ways: &mut Ways,
) -> Result<Import, ControlRefusal> {
    let facts = &row.facts;
    let key = (facts.tool.clone(), facts.client, facts.host.clone());
    let way = match ways.get(&key) {
        Some(known) => known.clone()?,
        None => ways.entry(key).or_insert(way(core, tenant, facts).await).clone()?,
    };
    let token = open(core, tenant, ImportPart::Refresh, facts, &row.token)?;
    let access = row.access.as_ref().map(|sealed| open(core, tenant, ImportPart::Access, facts, sealed));
    let access = access.transpose()?;
    made(core, tenant, row, &way, (&token, access.as_ref())).map_err(refusal)
}

fn open(
    core: &Core,
    tenant: TenantId,
    part: ImportPart,
    facts: &ImportFacts,
    sealed: &Sealed,
) -> Result<Secret, ControlRefusal> {
    let context = import_context(tenant, part, facts);
    let secret =
        core.parts.keys.open_intake(sealed, context.as_bytes()).map_err(|_| ControlRefusal::Intake)?;
    // RFC 6749 appendix A.12, A.17: tokens are visible characters.
    let is_token = secret.expose().iter().all(|byte| (0x21..0x7f).contains(byte));
    if secret.is_empty() || secret.len() > TOKEN_MAX_BYTES || !is_token {
        return Err(ControlRefusal::NoToken);
    }
    Ok(secret)
}

fn made(
    core: &Core,
    tenant: TenantId,
    row: &ImportRow,
    way: &Way,
    (token, access): (&Secret, Option<&Secret>),
) -> Result<Import, crate::KeeperError> {
    let now = core.now().wall;
    let ImportFacts { tool, client, name, account, .. } = row.facts.clone();
    let target = Target {
        flow: FlowId::new(now, core.ten()?),
        tool: tool.clone(),
        name,
        reconnect: None,
        family: FamilyId::new(now, core.ten()?),
        chain: ChainId::new(now, core.ten()?),
        connection: ConnectionId::new(now, core.ten()?),
    };
    let context = SealContext {
        chain: Some(target.chain),
        family: Some(target.family),
        client: Some(client),
        client_auth: Some(way.auth),
        hosts: way.hosts.clone(),
        ..provider_context(tenant, &way.profile)
    };
    let wrap = |kind, secret: &Secret| {
        let context = SealContext { kind, ..context.clone() };
        Ok::<_, crate::KeeperError>((core.parts.keys.wrap(secret, &context)?, context))
    };
    let id = target.flow;
    let client_id = way.client_id.clone();
    let plan = Plan { target, account, client_id, access_until: row.access_until };
    let invalid = |_| crate::KeeperError::Registration("the import cannot be written");
    let plan = Secret::new(serde_json::to_vec(&plan).map_err(invalid)?);
    Ok(Import {
        tenant,
        id,
        token_hash: core.parts.keys.recognise(token),
        client,
        tool,
        token: Some(wrap(SecretKind::Refresh, token)?),
        access: access.map(|access| wrap(SecretKind::Access, access)).transpose()?,
        plan: wrap(SecretKind::Flow, &plan)?,
        era: core.history.era(),
        progress: ImportProgress::begun(now),
        answer: None,
        outcome: None,
        created_at: now,
    })
}
