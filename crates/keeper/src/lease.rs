//! Leases: a credential for one connection, sealed to the key of one wake.
//!
//! The order of the checks is the argument. The wake is one that this process verified; the grant bears
//! the keeper's word and is this task's; the task and its agent may still act; the secret opens only with
//! the context that names this very connection, chain, family and generation; and that generation is the
//! one that the keeper's own log has. All of it is held again when the wait for a refresh is over. Where the
//! credential may go is read from the opened seal, and from nowhere else.

use crate::{
    core::Core,
    credential,
    flights::outcome,
    history,
    machine::Outcome,
    probe::{self, ProbeError, Probed},
    refresh::{Wanted, refresh, wait_secs},
    schedule,
    wake::{self, Actor, Awake, unavailable},
    windows,
};
use nightlatch_catalog::profile::OldAccess;
use nightlatch_custody::Secret;
use nightlatch_domain::{
    chain::ChainState,
    clock::Timestamp,
    connection::{Connection, Source},
    grant::Grant,
    id::{ChainId, ConnectionId, TenantId, TicketId, WakeId},
    ports::{
        control_keeper::Statement,
        gateway_keeper::{
            GatewayReply, KeeperRefusal, Lease, LeaseBinding, LeaseBody, LeaseKind, LeaseRequest,
        },
        store::{ChainView, StoreError},
        work::Patience,
    },
    sealed::{SealContext, Wrapped},
    ticket::{Ticket, TicketKind},
};
use std::{sync::Arc, time::Duration};
use zeroize::Zeroizing;

/// No caller holds a request open longer than this.
const PATIENCE_MAX: Duration = Duration::from_secs(60);
/// A credential without an end is asked for again after this, so that a removal is noticed.
const FRESH_MAX: Duration = Duration::from_secs(300);
/// The first look into a 401 comes when the generation is at least this old.
const YOUNG: Duration = Duration::from_secs(60);

/// A credential for a connection, if everything that decides holds.
pub(crate) async fn lease(core: &Arc<Core>, request: LeaseRequest) -> Result<GatewayReply, KeeperRefusal> {
    let live = || live(core, &request);
    let (asked, ready) = find(core, &request, &live).await?;
    seal(core, &asked, &ready, None).map(GatewayReply::Lease)
}

/// A credential for one call, and no other: `spend` is asked last, and makes durable that it was given. `holds` says
/// whether the mandate still does.
pub(crate) async fn lease_once(
    core: &Arc<Core>,
    request: &LeaseRequest,
    request_sha256: String,
    holds: impl Fn() -> Result<Arc<Awake>, KeeperRefusal>,
    spend: impl Future<Output = Result<(), KeeperRefusal>>,
) -> Result<Lease, KeeperRefusal> {
    let (before, ready) = find(core, request, &holds).await?;
    spend.await?;
    // The disk took a moment too.
    let asked = allowed(core, request, &holds).await?;
    if asked.connection != before.connection {
        return Err(KeeperRefusal::Pending { retry_after_secs: 1 });
    }
    seal(core, &asked, &ready, Some(request_sha256))
}

async fn find(
    core: &Arc<Core>,
    request: &LeaseRequest,
    holds: &impl Fn() -> Result<Arc<Awake>, KeeperRefusal>,
) -> Result<(Asked, Ready), KeeperRefusal> {
    let before = allowed(core, request, holds).await?;
    let found = match before.connection.source {
        Source::Static => fixed(core, &before).await?,
        Source::Chain { chain } => {
            let patience = Duration::from_millis(request.patience_millis).min(PATIENCE_MAX);
            rotating(core, &before, chain, &mut Patience::of(&*core.parts.work, patience)).await?
        }
    };
    let Ok(secret) = core.open(&found.kept) else {
        return Err(before.unverified(core, "seal-broken").await);
    };
    // What was true when the wait for a refresh began need not be true at its end.
    let (windows, asked) =
        tokio::join!(windows::windows(core, &before.connection, &secret), permitted(core, request, holds));
    let windows = windows?;
    let asked = settled(core, asked?, holds).await?;
    if asked.connection != before.connection {
        return Err(KeeperRefusal::Pending { retry_after_secs: 1 });
    }
    Ok((asked, Ready { found, secret, windows }))
}

/// What decides, of a database that is the one that every log knows.
async fn allowed(
    core: &Arc<Core>,
    request: &LeaseRequest,
    holds: &impl Fn() -> Result<Arc<Awake>, KeeperRefusal>,
) -> Result<Asked, KeeperRefusal> {
    let asked = permitted(core, request, holds).await?;
    settled(core, asked, holds).await
}

/// I5: what a log knows to be ended is applied to a database that was put back before anything of it is leased. Asked last:
/// the rows may have come from another database than the one before.
async fn settled(
    core: &Arc<Core>,
    asked: Asked,
    holds: &impl Fn() -> Result<Arc<Awake>, KeeperRefusal>,
) -> Result<Asked, KeeperRefusal> {
    match history::settle(core).await {
        Ok(true) if core.anchor.has_ended(asked.connection.id) => Err(KeeperRefusal::GrantEnded),
        Ok(true) => Ok(Asked { awake: holds()?, ..asked }),
        Ok(false) | Err(_) => Err(KeeperRefusal::Unavailable),
    }
}

/// Everything that decides about a lease, read afresh at the same time, and verified one after the other.
async fn permitted(
    core: &Core,
    request: &LeaseRequest,
    holds: &impl Fn() -> Result<Arc<Awake>, KeeperRefusal>,
) -> Result<Asked, KeeperRefusal> {
    let awake = holds()?;
    let (grant, actor, connection) = tokio::join!(
        core.store().grant(request.tenant, request.grant),
        Actor::read(core, awake.tenant(), awake.agent(), awake.task()),
        core.store().connection(request.tenant, request.connection)
    );
    let grant = granted(core, &awake, request, grant).await?;
    actor.may_act(core).await?;
    let connection = connection.map_err(unavailable)?.ok_or(KeeperRefusal::GrantEnded)?;
    if connection.tool != grant.tool || connection.tenant != grant.tenant {
        return Err(wake::refused(core, request.tenant, awake.task(), "connection-unverified").await);
    }
    if core.anchor.has_ended(connection.id) {
        return Err(wake::refused(core, request.tenant, awake.task(), "connection-ended").await);
    }
    // Last, and without an await behind it: the rows took a moment to read.
    let awake = holds()?;
    Ok(Asked { awake, grant, connection })
}

fn live(core: &Core, request: &LeaseRequest) -> Result<Arc<Awake>, KeeperRefusal> {
    core.wakes.live(request.tenant, request.wake, core.now().boot).ok_or(KeeperRefusal::NotAwake)
}

struct Asked {
    awake: Arc<Awake>,
    grant: Grant,
    connection: Connection,
}

impl Asked {
    async fn unverified(&self, core: &Core, reason: &'static str) -> KeeperRefusal {
        wake::refused(core, self.awake.tenant(), self.awake.task(), reason).await
    }
}

/// A credential that was opened, and what must not come back of its connection.
struct Ready {
    found: FoundCredential,
    secret: Secret,
    windows: Zeroizing<Vec<u8>>,
}

/// A stored credential that was found to be this connection's, still closed.
struct FoundCredential {
    kept: (Wrapped, SealContext),
    kind: LeaseKind,
    good_until: Timestamp,
}

/// The grant, if it stands as control handed it over and is this task's for this connection.
async fn granted(
    core: &Core,
    awake: &Awake,
    request: &LeaseRequest,
    row: Result<Option<Grant>, StoreError>,
) -> Result<Grant, KeeperRefusal> {
    let grant = row.map_err(unavailable)?.ok_or(KeeperRefusal::GrantEnded)?;
    let own = grant.tenant == awake.tenant() && grant.id == request.grant;
    if !own || !core.vouches(Statement::Grant(grant.clone())) {
        return Err(wake::refused(core, awake.tenant(), awake.task(), "grant-unverified").await);
    }
    let covers = grant.task == awake.task() && grant.connection == request.connection;
    if covers && grant.is_live(core.now().wall) { Ok(grant) } else { Err(KeeperRefusal::GrantEnded) }
}

/// A secret that does not change by itself.
async fn fixed(core: &Core, asked: &Asked) -> Result<FoundCredential, KeeperRefusal> {
    let connection = &asked.connection;
    let row = core.store().static_secret(connection.tenant, connection.id).await.map_err(unavailable)?;
    let row = row.ok_or(KeeperRefusal::GrantEnded)?;
    if let Some(fault) = credential::static_fault(core, connection, &row) {
        return Err(asked.unverified(core, fault).await);
    }
    let good_until = core.now().wall.plus(FRESH_MAX);
    Ok(FoundCredential { kept: row.secret, kind: LeaseKind::Static, good_until })
}

/// An access token that the keeper keeps alive: the living one, or the one that a refresh brings in time.
async fn rotating(
    core: &Arc<Core>,
    asked: &Asked,
    chain: ChainId,
    patience: &mut Patience,
) -> Result<FoundCredential, KeeperRefusal> {
    let mut doubted = None;
    loop {
        let (view, good_until) = alive(core, asked.connection.tenant, chain, patience).await?;
        let fault = credential::token_fault(core, &asked.connection, &view).await.map_err(unavailable)?;
        let Some(fault) = fault else {
            return Ok(FoundCredential { kept: view.head.access, kind: LeaseKind::Bearer, good_until });
        };
        // A head that moved between the row's reading and the log's looks put back: it is looked at again.
        let seen = Some((view.family.id, view.head.number));
        if doubted == seen {
            return Err(asked.unverified(core, fault).await);
        }
        doubted = seen;
    }
}

/// The chain with a living access token, refreshed where that is needed and possible while `patience` lasts.
pub(crate) async fn alive(
    core: &Arc<Core>,
    tenant: TenantId,
    chain: ChainId,
    patience: &mut Patience,
) -> Result<(ChainView, Timestamp), KeeperRefusal> {
    loop {
        let view = core.store().chain(tenant, chain).await.map_err(unavailable)?;
        let view = view.ok_or(KeeperRefusal::GrantEnded)?;
        match standing(core, &view).await {
            Standing::Good(until) => return Ok((view, until)),
            Standing::NeedsHuman(ticket) => return Err(KeeperRefusal::ReauthRequired { ticket }),
            Standing::Waits(until) => {
                return Err(KeeperRefusal::Pending { retry_after_secs: wait_secs(core, until) });
            }
            Standing::Dead => {}
        }
        let wanted = Wanted::Instead { family: view.family.id, generation: view.head.number, refused: false };
        let waiting = refresh(core, tenant, chain, wanted);
        // The refresh goes on: nobody who stops waiting stops it.
        let pending = || KeeperRefusal::Pending { retry_after_secs: 1 };
        match patience.lasts(outcome(waiting)).await.ok_or_else(pending)? {
            Some(Outcome::Unavailable) | None => return Err(KeeperRefusal::Unavailable),
            Some(Outcome::Removed) => return Err(KeeperRefusal::GrantEnded),
            Some(Outcome::Superseded) => {
                patience.lasts(core.pause(schedule::local_retry(2))).await.ok_or_else(pending)?;
            }
            // Nobody says until when: whoever asked again at once would hear the same.
            Some(Outcome::Waiting { until: None }) => {
                return Err(KeeperRefusal::Pending { retry_after_secs: wait_secs(core, None) });
            }
            Some(Outcome::Refreshed | Outcome::Waiting { .. } | Outcome::NeedsHuman) => {}
        }
    }
}

/// What a chain's row says about its access token.
enum Standing {
    /// It may be handed out, until then.
    Good(Timestamp),
    /// It is dead, and a refresh may help.
    Dead,
    /// It is dead, and the next try waits.
    Waits(Option<Timestamp>),
    /// Only a human can help.
    NeedsHuman(Option<TicketId>),
}

async fn standing(core: &Core, view: &ChainView) -> Standing {
    let now = core.now();
    let (chain, head) = (&view.chain, &view.head);
    let ended = matches!(chain.state, ChainState::Latched | ChainState::Quarantined);
    if ended {
        return Standing::NeedsHuman(chain.ticket);
    }
    let good_until = match head.access_until {
        None => now.wall.plus(FRESH_MAX),
        Some(until) => until.minus(schedule::skew(head.created_at, until)),
    };
    // Where the old token dies with a refresh, one that is under way is waited for.
    let dying = chain.state == ChainState::Refreshing && core.flights.has(chain.id) && dies(core, view);
    // Reckoned by a clock that was ahead: nobody knows until when it is good, and a refresh finds out.
    let ahead = head.refresh.is_some() && core.is_of_the_future(head.created_at).await;
    let may_find_out = matches!(chain.state, ChainState::Healthy | ChainState::Refreshing);
    if good_until > now.wall && !dying && !(ahead && may_find_out) {
        return Standing::Good(good_until.min(now.wall.plus(FRESH_MAX)));
    }
    match chain.state {
        // It is quietly presented again: nobody was asked.
        ChainState::Uncertain if chain.ticket.is_none() && chain.due_at.is_some() => {
            let waits = chain.due_at.is_some_and(|due| schedule::waits(due, now.wall));
            if waits { Standing::Waits(chain.due_at) } else { Standing::Dead }
        }
        ChainState::Uncertain => Standing::NeedsHuman(chain.ticket),
        ChainState::BackingOff if chain.due_at.is_some_and(|due| schedule::waits(due, now.wall)) => {
            let stopped = core.pace.client_stopped(view.client.id, now, false);
            stopped.map_or(Standing::Waits(chain.due_at), |stopped| {
                Standing::NeedsHuman(chain.ticket.or(stopped.ticket))
            })
        }
        _ => Standing::Dead,
    }
}

fn dies(core: &Core, view: &ChainView) -> bool {
    core.profile(&view.chain.provider).is_none_or(|profile| profile.old_access == OldAccess::Dies)
}

/// Seals the secret to the wake's key, and what must not come back beside it. Where it may go comes from the seal
/// that just opened.
fn seal(
    core: &Core,
    asked: &Asked,
    ready: &Ready,
    request_sha256: Option<String>,
) -> Result<Lease, KeeperRefusal> {
    let Ready { found, secret, windows } = ready;
    let context = &found.kept.1;
    let binding = LeaseBinding {
        tenant: asked.awake.tenant(),
        wake: asked.awake.wake(),
        grant: asked.grant.id,
        connection: asked.connection.id,
        family: context.family,
        generation: context.generation,
        request_sha256,
    };
    let body = LeaseBody { hosts: context.hosts.clone(), chain: context.chain };
    let (keys, to) = (&core.parts.keys, asked.awake.replica_key());
    let sealed = keys.seal_lease(to, &binding, &body, secret).map_err(|_| KeeperRefusal::ProofRejected)?;
    let windows = keys.seal_windows(to, &binding, windows).map_err(|_| KeeperRefusal::ProofRejected)?;
    let fresh_until = found.good_until.min(asked.awake.ends_at()).min(asked.grant.expires_at);
    Ok(Lease { sealed, windows, binding, kind: found.kind, fresh_until })
}

/// A tool answered 401. An agent can provoke that as it likes, so a refresh follows only where the current
/// generation was used, is not young, and the manifest's own probe fails too.
pub(crate) async fn unauthorized(
    core: &Arc<Core>,
    tenant: TenantId,
    wake: WakeId,
    connection: ConnectionId,
    generation: u64,
) -> Result<GatewayReply, KeeperRefusal> {
    core.wakes.live(tenant, wake, core.now().boot).ok_or(KeeperRefusal::NotAwake)?;
    let row = core.store().connection(tenant, connection).await.map_err(unavailable)?;
    if let Some(connection) = row {
        let looking = Arc::clone(core);
        let look = async move { look_into(&looking, connection, generation).await };
        core.parts.work.spawn(Box::pin(look));
    }
    Ok(GatewayReply::Done)
}

async fn look_into(core: &Arc<Core>, connection: Connection, generation: u64) {
    let view = match connection.source {
        Source::Static => None,
        Source::Chain { chain } => match core.store().chain(connection.tenant, chain).await {
            Ok(Some(view)) if view.head.number == generation => Some(view),
            _ => return,
        },
    };
    if let Some(view) = &view
        && !is_grown(core, view).await
    {
        return;
    }
    if !core.pace.may_look_into(connection.id, core.now()) || !probe_fails(core, &connection).await {
        return;
    }
    match view {
        Some(view) => {
            let wanted = Wanted::Instead { family: view.family.id, generation, refused: true };
            let _ = outcome(refresh(core, connection.tenant, view.chain.id, wanted)).await;
        }
        None => ask_for_another(core, &connection).await,
    }
}

async fn is_grown(core: &Core, view: &ChainView) -> bool {
    let life = view.head.access_until.map(|until| until.since(view.head.created_at) / 2);
    let now = core.now().wall;
    core.is_of_the_future(view.head.created_at).await
        || now.since(view.head.created_at) > life.map_or(YOUNG, |half| half.min(YOUNG))
}

/// Whether the tool itself refuses the credential. A tool without a probe cannot be asked: then the 401
/// stands alone.
async fn probe_fails(core: &Arc<Core>, connection: &Connection) -> bool {
    match probe::of_current(core, connection).await {
        Ok(Probed::NoProbe) | Err(ProbeError::Rejected { .. }) => true,
        Ok(Probed::Works | Probed::Account { .. }) | Err(ProbeError::Unreachable) => false,
    }
}

async fn ask_for_another(core: &Core, connection: &Connection) {
    let now = core.now().wall;
    let Ok(random) = core.ten() else { return };
    let ticket = Ticket {
        tenant: connection.tenant,
        id: TicketId::new(now, random),
        kind: TicketKind::Reauthorize,
        connection: connection.id,
        reason: "credential-rejected".to_owned(),
        raised_at: now,
        settled_at: None,
        era: None,
    };
    if let Err(error) = core.store().raise(ticket).await {
        tracing::warn!(%error, connection = %connection.id, "a ticket could not be raised");
    }
}
