//! From a journaled answer to a connection: whose account is it, and what becomes of it.
//!
//! The chain is (issuer, client, account), and a connection keeps one chain. The same account again, by
//! whatever flow, therefore moves the existing connection to the new family: its grants and references go
//! on, and nobody ends up with two connections that refresh each other to death. Another account under
//! `--reconnect`, and one account at two tools of one registration, are refused; what was redeemed stays
//! sealed with the ended flow.

use super::{
    flow::remembered,
    note_connected, same_account, store_refusal,
    target::{By, Exchanged},
    unknown,
};
use crate::{
    anchor::Head,
    core::Core,
    error::KeeperError,
    machine::Reading,
    probe::{self, ProbeError, Probed},
    refresh::brought::{self, Before},
    schedule,
    spool::Asked,
    token::{self, Parsed, Tokens},
};
use nightlatch_catalog::profile::Profile;
use nightlatch_custody::Secret;
use nightlatch_domain::{
    chain::{Chain, ChainState, Family, Flow, FlowOutcome},
    connection::{Connection, Source},
    id::{ChainId, FamilyId, TenantId},
    ports::{
        control_keeper::{ControlRefusal, ControlReply},
        store::{ImportEnd, NewConnection, StoreError},
    },
    sealed::SealContext,
    tool::Name,
};
use nightlatch_ledger::{facts::EventFacts, record::EventName};
use std::sync::Arc;

/// A tool that does not answer is asked for the account this often before the flow is given up.
const PROBES_MAX: u32 = 4;
/// A name that was taken meanwhile gets a number rather than costing a consent.
const NAMES_MAX: u32 = 9;
/// What is left of a name that something is added to.
const NAME_STEM: usize = 24;
/// So much of an id tells it from every other.
const UNIQUE_TAIL: usize = 12;
/// Where the tokens go is looked up again this often, when another consent for the account came first.
const PLACES_MAX: u32 = 3;

/// Finishes a flow that a crash left with its answer.
pub(crate) async fn resume(core: &Arc<Core>, flow: Flow) {
    let opened = remembered(core, &flow).and_then(|remembered| {
        let answer = flow.answer.as_ref()?;
        let own = SealContext { kind: flow.secrets.1.kind, ..answer.1.clone() } == flow.secrets.1;
        own.then(|| core.open(answer).ok()).flatten().map(|raw| (remembered, raw))
    });
    let id = flow.id;
    let ended = match opened {
        Some((remembered, raw)) => {
            let Flow { tenant, secrets: (_, context), .. } = flow;
            let exchanged = Exchanged { tenant, context, target: remembered.target, by: By::Login };
            conclude(core, exchanged, &raw).await
        }
        None => unreadable(core, flow).await,
    };
    tracing::info!(flow = %id, connected = ended.is_ok(), "a flow that was cut off is finished");
}

async fn unreadable(core: &Core, flow: Flow) -> Result<ControlReply, ControlRefusal> {
    let outcome = FlowOutcome::Failed { reason: "answer-unreadable".to_owned() };
    core.store().end_flow(flow.tenant, flow.id, outcome, None).await.map_err(store_refusal)?;
    note_failed(core, flow.tenant, flow.tool).await;
    Err(ControlRefusal::FlowMismatch)
}

/// Ends an exchange without a connection. Its answer stays where it is, sealed.
pub(crate) async fn fail(
    core: &Core,
    exchanged: &Exchanged,
    reason: &str,
    refusal: ControlRefusal,
) -> Result<ControlReply, ControlRefusal> {
    let outcome = FlowOutcome::Failed { reason: reason.to_owned() };
    exchanged.end(core, outcome, None).await.map_err(store_refusal)?;
    if matches!(exchanged.by, By::Login) {
        core.spool.forget(Asked::Flow(exchanged.target.flow));
    }
    note_failed(core, exchanged.tenant, exchanged.target.tool.clone()).await;
    Err(refusal)
}

async fn note_failed(core: &Core, tenant: TenantId, tool: Name) {
    let facts = EventFacts::new(EventName::FlowFailed);
    core.note(EventFacts { tenant: Some(tenant), tool: Some(tool), ..facts }).await;
}

impl Exchanged {
    async fn end(
        &self,
        core: &Core,
        outcome: FlowOutcome,
        makes: Option<NewConnection>,
    ) -> Result<(), StoreError> {
        match self.by {
            By::Login => core.store().end_flow(self.tenant, self.target.flow, outcome, makes).await,
            By::Import { seen, .. } => {
                let end = makes.map_or(ImportEnd::Failed, |makes| ImportEnd::Made(Box::new(makes)));
                core.store().end_import(self.tenant, self.target.flow, seen, outcome, end).await
            }
        }
    }
}

pub(crate) async fn conclude(
    core: &Arc<Core>,
    flow: Exchanged,
    raw: &Secret,
) -> Result<ControlReply, ControlRefusal> {
    let profile = flow.context.provider.as_ref().and_then(|name| core.profile(name));
    let Some(profile) = profile.cloned() else {
        return fail(core, &flow, "profile-missing", unknown("provider")).await;
    };
    let tokens = match token::parse(raw, &profile) {
        Parsed::Tokens(tokens) => tokens,
        Parsed::Failed(
            Reading::Permanent { code }
            | Reading::Client { code }
            | Reading::NotProcessed { code, .. }
            | Reading::Unclear { code },
        ) => return fail(core, &flow, &code.clone(), ControlRefusal::Provider { code }).await,
        Parsed::Failed(Reading::Tokens) => return Err(ControlRefusal::Unavailable),
    };
    let account = match account(core, &flow, &tokens).await {
        Ok(account) => account,
        Err(ProbeError::Rejected { status }) => {
            return fail(core, &flow, "account-refused", ControlRefusal::ProbeRejected { status }).await;
        }
        // Nobody waits for an import: whose account it is can be asked again.
        Err(ProbeError::Unreachable) if matches!(flow.by, By::Import { .. }) => {
            return Err(ControlRefusal::Unreachable);
        }
        Err(ProbeError::Unreachable) => {
            return fail(core, &flow, "account-not-probed", ControlRefusal::Unreachable).await;
        }
    };
    if let Some(refusal) = other_account(&flow, account.as_ref()) {
        return fail(core, &flow, "wrong-account", refusal).await;
    }
    let mut tries = 1;
    let refusal = loop {
        match place(core, &flow, account.as_ref()).await {
            Err(refusal) => break refusal,
            Ok(place) => match connect(core, &flow, &profile, &tokens, account.clone(), place).await {
                Err(ControlRefusal::Unavailable) if tries < PLACES_MAX => tries += 1,
                ended => return ended,
            },
        }
    };
    let reason = match &refusal {
        ControlRefusal::WrongAccount { .. } => "wrong-account",
        ControlRefusal::NotSupported { .. } => "account-connected-elsewhere",
        ControlRefusal::Unknown { .. } => "connection-removed",
        _ => return Err(refusal),
    };
    fail(core, &flow, reason, refusal).await
}

type Account = (String, String);

/// The account that whoever brought a token named is the tool's, by id or label, or nothing is connected under it.
fn other_account(flow: &Exchanged, found: Option<&Account>) -> Option<ControlRefusal> {
    let By::Import { account: Some(named), .. } = &flow.by else { return None };
    let (id, label) = found?;
    let differs = named != id && !named.eq_ignore_ascii_case(label);
    differs.then(|| ControlRefusal::WrongAccount { expected: named.clone() })
}

async fn account(core: &Core, flow: &Exchanged, tokens: &Tokens) -> Result<Option<Account>, ProbeError> {
    let manifest =
        core.manifest(flow.tenant, &flow.target.tool).await.map_err(|_| ProbeError::Unreachable)?;
    let manifest = manifest.ok_or(ProbeError::Unreachable)?;
    let mut tries = 0;
    loop {
        match probe::of(core, &manifest, &flow.context.hosts, &tokens.access).await {
            Ok(Probed::Account { id, label }) => return Ok(Some((id, label))),
            Ok(Probed::NoProbe | Probed::Works) => return Ok(None),
            Err(ProbeError::Unreachable) if tries + 1 < PROBES_MAX => {
                core.pause(schedule::local_retry(tries + 3)).await;
                tries += 1;
            }
            Err(error) => return Err(error),
        }
    }
}

/// Where new tokens go.
struct Place {
    /// The connection that is reconnected.
    before: Option<Connection>,
    /// The chain of the account.
    chain: Option<Chain>,
}

async fn place(core: &Core, flow: &Exchanged, account: Option<&Account>) -> Result<Place, ControlRefusal> {
    if let Some(wanted) = flow.target.reconnect {
        let row = core.store().connection(flow.tenant, wanted).await.map_err(store_refusal)?;
        let before = row.filter(|row| row.tool == flow.target.tool).ok_or_else(|| unknown("connection"))?;
        same_account(&before, account.map(|(id, _)| id.as_str()))?;
        let chain = chain_of(core, flow, account).await?;
        let chain = match (chain, account, &before.source) {
            // An account that nobody can name has its chain only through its connection.
            (None, None, Source::Chain { chain }) => current_chain(core, flow, *chain).await?,
            (chain, _, _) => chain,
        };
        if let Some(chain) = &chain {
            only_on(core, flow, chain, &before).await?;
        }
        return Ok(Place { before: Some(before), chain });
    }
    let chain = chain_of(core, flow, account).await?;
    let before = match &chain {
        Some(chain) => living_connection(core, flow, chain).await?,
        None => None,
    };
    match before {
        Some(before) if before.tool != flow.target.tool => Err(elsewhere()),
        before => Ok(Place { before, chain }),
    }
}

fn elsewhere() -> ControlRefusal {
    ControlRefusal::NotSupported { what: "one account at two tools of one registration".to_owned() }
}

async fn chain_of(
    core: &Core,
    flow: &Exchanged,
    account: Option<&Account>,
) -> Result<Option<Chain>, ControlRefusal> {
    let (Some((id, _)), Some(client)) = (account, flow.context.client) else { return Ok(None) };
    let issuer = issuer(core, flow)?;
    core.store().chain_of_account(flow.tenant, issuer, client, id.clone()).await.map_err(store_refusal)
}

fn issuer(core: &Core, flow: &Exchanged) -> Result<String, ControlRefusal> {
    let profile = flow.context.provider.as_ref().and_then(|name| core.profile(name));
    profile.and_then(Profile::issuer_or_origin).ok_or_else(|| unknown("provider"))
}

/// The chain that a connection has now, if it is still this registration's.
async fn current_chain(
    core: &Core,
    flow: &Exchanged,
    chain: ChainId,
) -> Result<Option<Chain>, ControlRefusal> {
    let view = core.store().chain(flow.tenant, chain).await.map_err(store_refusal)?;
    Ok(view.map(|view| view.chain).filter(|chain| Some(chain.client) == flow.context.client))
}

async fn living_connection(
    core: &Core,
    flow: &Exchanged,
    chain: &Chain,
) -> Result<Option<Connection>, ControlRefusal> {
    let view = core.store().chain(flow.tenant, chain.id).await.map_err(store_refusal)?;
    let Some(id) = view.and_then(|view| view.connections.first().copied()) else { return Ok(None) };
    core.store().connection(flow.tenant, id).await.map_err(store_refusal)
}

async fn only_on(
    core: &Core,
    flow: &Exchanged,
    chain: &Chain,
    before: &Connection,
) -> Result<(), ControlRefusal> {
    match living_connection(core, flow, chain).await? {
        Some(other) if other.id != before.id => Err(elsewhere()),
        _ => Ok(()),
    }
}

async fn connect(
    core: &Arc<Core>,
    flow: &Exchanged,
    profile: &Profile,
    tokens: &Tokens,
    account: Option<Account>,
    place: Place,
) -> Result<ControlReply, ControlRefusal> {
    let makes = makes(core, flow, profile, tokens, account, &place)?;
    if let Some(chain) = makes.tokens.as_ref().map(|(chain, ..)| chain.id)
        && !vouch(core, flow, chain).await.map_err(super::refusal)?
    {
        return fail(core, flow, "concluded-before", ControlRefusal::FlowMismatch).await;
    }
    let made = end(core, flow, makes).await?;
    let Some((chain, family, _)) = &made.tokens else { return Err(ControlRefusal::Unavailable) };
    let (chain, family) = (chain.id, family.id);
    anchor(core, chain, family).await;
    if let By::Import { mark, .. } = flow.by {
        anchor(core, mark.chain, mark.family).await;
    }
    let asked = Asked::Flow(flow.target.flow);
    let _ = core.on_disk(move |core| core.spool.keep(asked, family)).await;
    core.pace.forget_reports(made.connection.id);
    if let Some(client) = flow.context.client {
        core.pace.free_client(client);
    }
    core.timers.notify_one();
    note_connected(core, &made.connection, place.before.is_some()).await;
    core.tell_contradictions().await;
    Ok(ControlReply::FlowEnded { flow: flow.target.flow, outcome: connected(&made.connection) })
}

fn connected(connection: &Connection) -> FlowOutcome {
    FlowOutcome::Connected {
        connection: connection.id,
        account: connection.account.clone().unwrap_or_default(),
        label: connection.account_label.clone().unwrap_or_default(),
    }
}

fn makes(
    core: &Core,
    flow: &Exchanged,
    profile: &Profile,
    tokens: &Tokens,
    account: Option<Account>,
    place: &Place,
) -> Result<NewConnection, ControlRefusal> {
    let now = core.now().wall;
    let client = flow.context.client.ok_or_else(|| unknown("client"))?;
    let connection = place.before.as_ref().map_or(flow.target.connection, |before| before.id);
    let chain = place.chain.as_ref().map_or(flow.target.chain, |chain| chain.id);
    let number = place.chain.as_ref().map_or(0, |chain| chain.families) + 1;
    let context = SealContext {
        chain: Some(chain),
        family_number: Some(number),
        connection: Some(connection),
        ..flow.context.clone()
    };
    // I4: what was presented lives on where the answer brings nothing in its place. A code does not.
    let refresh = match &flow.by {
        By::Login => None,
        By::Import { token, .. } => Some(token),
    };
    let before = Before { context: &context, refresh, refresh_until: None, attempt: None, sealers: None };
    let (generation, due_at) =
        brought::generation(core, profile, before, tokens, 1).map_err(super::refusal)?;
    let (id, label) = account.unzip();
    let chain = Chain {
        tenant: flow.tenant,
        id: chain,
        provider: profile.name.clone(),
        issuer: issuer(core, flow)?,
        client,
        // Without an identity the chain is provisional: it can be nobody's but this flow's.
        account: id.clone().unwrap_or_else(|| {
            place.chain.as_ref().map_or_else(|| flow.target.family.to_string(), |chain| chain.account.clone())
        }),
        family: flow.target.family,
        families: number,
        fence: 0,
        owner: None,
        state: ChainState::Healthy,
        access_until: generation.access_until,
        due_at,
        refreshed_at: Some(tokens.head.at),
        failed_at: None,
        failures: 0,
        reason: None,
        ticket: None,
        created_at: now,
    };
    let family = Family {
        tenant: flow.tenant,
        id: flow.target.family,
        chain: chain.id,
        flow: flow.target.flow,
        number,
        head: 1,
        created_at: now,
    };
    let old = place.before.as_ref();
    let row = Connection {
        tenant: flow.tenant,
        id: connection,
        tool: flow.target.tool.clone(),
        name: old.map_or_else(|| name(flow, label.as_deref(), id.as_deref()), |old| old.name.clone()),
        account: id.or_else(|| old.and_then(|old| old.account.clone())),
        account_label: label.or_else(|| old.and_then(|old| old.account_label.clone())),
        source: Source::Chain { chain: chain.id },
        hosts: flow.context.hosts.clone(),
        created_at: old.map_or(now, |old| old.created_at),
        removed_at: None,
    };
    Ok(NewConnection { connection: row, tokens: Some((chain, family, generation)), secret: None })
}

/// Ends the flow with its connection, under a number where the name was taken meanwhile.
async fn end(
    core: &Core,
    flow: &Exchanged,
    mut makes: NewConnection,
) -> Result<NewConnection, ControlRefusal> {
    let wanted = makes.connection.name.clone();
    for number in 1..=NAMES_MAX {
        let outcome = connected(&makes.connection);
        match flow.end(core, outcome, Some(makes.clone())).await {
            Ok(()) => return Ok(makes),
            // Another consent for the account came first: where these tokens go is to be looked up anew.
            Err(StoreError::Exists("chain" | "family")) => return Err(ControlRefusal::Unavailable),
            Err(StoreError::Exists(_)) => makes.connection.name = other_name(flow, &wanted, number + 1),
            Err(error) => return Err(store_refusal(error)),
        }
    }
    Err(ControlRefusal::NameTaken { name: wanted.to_string() })
}

/// The name that was asked for, else what the account is called, as far as that can be a name.
fn name(flow: &Exchanged, label: Option<&str>, id: Option<&str>) -> Name {
    let word = |text: &str| {
        let letters =
            text.chars().map(|one| if one.is_ascii_alphanumeric() { one.to_ascii_lowercase() } else { '-' });
        let word: String = letters.collect();
        word.trim_matches('-').chars().take(NAME_STEM).collect::<String>().parse().ok()
    };
    let own = flow.target.name.clone();
    own.or_else(|| label.and_then(word))
        .or_else(|| id.and_then(word))
        .unwrap_or_else(|| unique(flow, "import"))
}

/// Of many imports more than a few can bear one name; the last try is nobody else's.
fn other_name(flow: &Exchanged, wanted: &Name, number: u32) -> Name {
    if matches!(flow.by, By::Import { .. }) && number == NAMES_MAX {
        let stem: String = wanted.as_str().chars().take(NAME_STEM).collect();
        return unique(flow, &stem);
    }
    numbered(wanted, number)
}

fn unique(flow: &Exchanged, stem: &str) -> Name {
    let id = flow.target.flow.to_string().to_ascii_lowercase();
    let tail = id.get(id.len().saturating_sub(UNIQUE_TAIL)..).unwrap_or_default();
    format!("{stem}-{tail}").parse().unwrap_or_else(|_| flow.target.tool.clone())
}

/// Tells the log of the family that is about to come into being; `false` where it came into being before, and the database
/// was put back since. A login told it before its code was sent.
async fn vouch(core: &Arc<Core>, flow: &Exchanged, chain: ChainId) -> Result<bool, KeeperError> {
    let By::Import { mark, .. } = flow.by else { return Ok(true) };
    let (id, family) = (flow.target.flow, flow.target.family);
    let is_first = core.anchor.head(chain) == Some(Head { family, generation: 1 });
    if core.anchor.head(mark.chain).is_some() && !is_first {
        return Ok(false);
    }
    core.on_disk(move |core| core.anchor.redeem(id, family)).await?;
    Ok(true)
}

fn numbered(name: &Name, number: u32) -> Name {
    let stem: String = name.as_str().chars().take(36).collect();
    format!("{stem}-{number}").parse().unwrap_or_else(|_| name.clone())
}

/// Until the log has it: the redemption vouches for the new family only until something else does.
async fn anchor(core: &Arc<Core>, chain: ChainId, family: FamilyId) {
    for tries in 0.. {
        let head = Head { family, generation: 1 };
        match core.on_disk(move |core| core.anchor.set_head(chain, head)).await {
            Ok(()) => return,
            Err(error) => tracing::warn!(%error, "a new family could not be anchored; trying again"),
        }
        core.pause(schedule::local_retry(tries)).await;
    }
}
