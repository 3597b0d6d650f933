//! What must not come back: the keyed windows of a connection's secrets, made for each lease.
//!
//! A tool may send back more than it was sent just now: a token of an hour ago that still lives, a refresh token
//! that a careless provider shows. The gateway masks them all and learns none but the one it leases: it gets
//! hashes under a key that is drawn for this lease. What goes in: the leased credential; every generation that is
//! stored of the chain, also of families that a human replaced, with its refresh token and with its access token while
//! that lives; our registration's secret; every static secret that the connection had.
//!
//! Where a set cannot hold them all, the newest go in and the number of those left out is logged.

use crate::{core::Core, refresh::material::Registered, wake::unavailable};
use nightlatch_custody::Secret;
use nightlatch_domain::{
    chain::Generation,
    clock::random,
    connection::{Connection, Source},
    id::{ChainId, TenantId},
    ports::gateway_keeper::KeeperRefusal,
    sealed::{SealContext, Wrapped},
};
use nightlatch_scrub::{Sought, WindowSet, set::KEY_BYTES};
use zeroize::Zeroizing;

/// Stored secrets of one connection that are looked at, newest first. A family keeps three generations, and those
/// whose access token lives; a token lives an hour and is renewed at three quarters of it.
const STORED_MAX: u32 = 16;

/// The windows that go with a lease of this credential.
///
/// # Errors
/// [`KeeperRefusal::Unavailable`]: store or generator cannot be reached, and without the set nothing is leased.
pub(crate) async fn windows(
    core: &Core,
    connection: &Connection,
    leased: &Secret,
) -> Result<Zeroizing<Vec<u8>>, KeeperRefusal> {
    let others = match connection.source {
        Source::Chain { chain } => of_chain(core, connection.tenant, chain).await?,
        Source::Static => of_connection(core, connection).await?,
    };
    let sought: Vec<_> = [Sought::Held(leased.expose())]
        .into_iter()
        .chain(others.iter().map(|secret| Sought::Other(secret.expose())))
        .collect();
    let keys =
        Zeroizing::new(random::<KEY_BYTES>(&*core.parts.entropy).map_err(|_| KeeperRefusal::Unavailable)?);
    let (set, left_out) = WindowSet::of(&keys, &sought);
    if left_out > 0 {
        tracing::warn!(connection = %connection.id, left_out, "secrets are too long to be sought in answers");
    }
    Ok(set.encode())
}

async fn of_chain(core: &Core, tenant: TenantId, chain: ChainId) -> Result<Vec<Secret>, KeeperRefusal> {
    let (view, stored) =
        tokio::join!(core.store().chain(tenant, chain), core.store().generations(tenant, chain, STORED_MAX));
    let (view, stored) = (view.map_err(unavailable)?, stored.map_err(unavailable)?);
    let own = |context: &SealContext| context.tenant == tenant && context.chain == Some(chain);
    let mut secrets: Vec<_> = stored.iter().flat_map(|one| living(core, one)).collect();
    secrets.retain(|kept| own(&kept.1));
    let mut opened: Vec<_> = secrets.into_iter().filter_map(|kept| opened(core, kept)).collect();
    let registration = view.and_then(|view| view.client.secret).filter(|kept| kept.1.tenant == tenant);
    opened.extend(registration.and_then(|kept| Registered::secret_of(core, &kept)));
    Ok(opened)
}

/// What of a generation may still serve somebody.
fn living<'a>(core: &Core, generation: &'a Generation) -> Vec<&'a (Wrapped, SealContext)> {
    let lives = generation.access_until.is_none_or(|until| until > core.now().wall);
    generation.refresh.iter().chain(lives.then_some(&generation.access)).collect()
}

async fn of_connection(core: &Core, connection: &Connection) -> Result<Vec<Secret>, KeeperRefusal> {
    let (tenant, id) = (connection.tenant, connection.id);
    let stored = core.store().static_secrets(tenant, id, STORED_MAX).await.map_err(unavailable)?;
    let own = |context: &SealContext| context.tenant == tenant && context.connection == Some(id);
    let secrets = stored.iter().map(|row| &row.secret).filter(|kept| own(&kept.1));
    Ok(secrets.filter_map(|kept| opened(core, kept)).collect())
}

/// An old row that does not open was edited: whatever it held, it is none that this keeper knows.
fn opened(core: &Core, kept: &(Wrapped, SealContext)) -> Option<Secret> {
    core.open(kept).inspect_err(|_| tracing::warn!("a stored secret did not open and is not sought")).ok()
}
