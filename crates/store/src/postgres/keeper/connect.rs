//! Flows, the connections that come of them, and their end.
//!
//! A removal is a kill in the words of the design: it notes the feed first, so that a refresh that commits
//! afterwards sees it, and it takes the chain's fence, so that a holder's claim no longer fits.

use super::super::link::Link;
use super::{
    super::{
        feed,
        record::{self, Doc, Word, millis, number, params},
    },
    claims, kills, tickets,
};
use crate::rows;
use nightlatch_domain::{
    chain::{Chain, Family, Flow, FlowOutcome, FlowStep, Generation},
    clock::Timestamp,
    connection::{Connection, Source, StaticSecret},
    id::{ChainId, ConnectionId, FlowId, TenantId},
    ports::store::{EntityId, Kill, NewConnection, StoreError},
};

/// Stores a flow that begins.
pub(super) async fn put_flow(at: &Link, flow: &Flow) -> Result<(), StoreError> {
    record::write(
        at,
        "flow",
        "INSERT INTO flow (tenant_id, flow_id, context_id, tool, name, client_id, reconnect_id, state_sha256,
             secrets, step, answer, outcome, created_at, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)",
        params![
            Word(&flow.tenant),
            Word(&flow.id),
            Word(&flow.context),
            Word(&flow.tool),
            Word(&flow.name),
            Word(&flow.client),
            flow.reconnect.as_ref().map(Word),
            flow.state_sha256,
            Doc(&flow.secrets),
            Word(&flow.step),
            flow.answer.as_ref().map(Doc),
            flow.outcome.as_ref().map(Doc),
            flow.created_at.millis(),
            flow.expires_at.millis()
        ],
    )
    .await?;
    Ok(())
}

/// Ends a flow once, with what it makes; a flow that ended stays as it ended. The raw answer goes when its
/// tokens became a generation, and stays where the flow failed: it may be the only copy of living tokens.
pub(super) async fn end_flow(
    at: &Link,
    tenant: TenantId,
    flow: FlowId,
    outcome: &FlowOutcome,
    makes: Option<&NewConnection>,
) -> Result<(), StoreError> {
    if makes.is_some_and(|makes| makes.connection.tenant != tenant) {
        return Err(StoreError::Missing("flow"));
    }
    let sql = "SELECT step FROM flow WHERE tenant_id = $1 AND flow_id = $2 FOR UPDATE";
    match record::one(at, "flow", sql, params![Word(&tenant), Word(&flow)], |row| row.word("step")).await? {
        None => return Err(StoreError::Missing("flow")),
        Some(FlowStep::Ended) => return Ok(()),
        Some(FlowStep::Begun | FlowStep::Redeeming | FlowStep::Answered) => {}
    }
    if let Some(makes) = makes {
        put_connection(at, makes).await?;
    }
    let sql = "UPDATE flow SET step = 'ended', outcome = $3, answer = CASE WHEN $4 THEN NULL ELSE answer END
         WHERE tenant_id = $1 AND flow_id = $2 AND step <> 'ended'";
    let kept_elsewhere = makes.is_some_and(|makes| makes.tokens.is_some());
    record::write(at, "flow", sql, params![Word(&tenant), Word(&flow), Doc(outcome), kept_elsewhere]).await?;
    Ok(())
}

/// Makes a connection, or puts new credentials under one, and settles its tickets.
pub(super) async fn put_connection(at: &Link, makes: &NewConnection) -> Result<(), StoreError> {
    let connection = &makes.connection;
    let before = source_before(at, connection, SEEN).await?;
    take_chains(at, connection.tenant, [before.as_ref(), Some(&connection.source)]).await?;
    if source_before(at, connection, HELD).await? != before {
        return Err(at.begin_again());
    }
    if let Some((chain, family, generation)) = &makes.tokens {
        put_tokens(at, chain, family, generation).await?;
        tickets::settle_for_chain(at, chain.tenant, chain.id, generation.created_at).await?;
    }
    let joins = match connection.source {
        Source::Chain { chain } if makes.tokens.is_none() => Some(chain),
        _ => None,
    };
    refuse_dead(at, connection.tenant, joins).await?;
    put_row(at, connection).await?;
    if let Some(secret) = &makes.secret {
        put_static(at, secret).await?;
    }
    tickets::settle_for_connection(at, connection.tenant, connection.id, stored_at(makes)).await?;
    match before {
        Some(Source::Chain { chain }) if connection.source != (Source::Chain { chain }) => {
            retire_if_last(at, connection.tenant, chain, stored_at(makes)).await?;
        }
        _ => {}
    }
    let noted = feed::note(at, connection.tenant, EntityId::Connection(connection.id)).await?;
    // A kill that took the counter row before is seen only now.
    refuse_dead(at, connection.tenant, joins).await?;
    let sql = "UPDATE connection SET noted = $3 WHERE tenant_id = $1 AND connection_id = $2";
    let values = params![Word(&connection.tenant), Word(&connection.id), number(noted)];
    record::write(at, "connection", sql, values).await?;
    Ok(())
}

/// Takes the rows of the chains that a connection leaves and comes to, in one order whoever asks.
async fn take_chains(at: &Link, tenant: TenantId, sources: [Option<&Source>; 2]) -> Result<(), StoreError> {
    let mut chains: Vec<ChainId> = sources
        .into_iter()
        .flatten()
        .filter_map(|source| match source {
            Source::Chain { chain } => Some(*chain),
            Source::Static => None,
        })
        .collect();
    chains.sort();
    chains.dedup();
    for chain in chains {
        claims::take(at, tenant, chain).await?;
    }
    Ok(())
}

/// What brings no tokens joins a chain that somebody lives on: a chain that a kill ended comes back by a new consent alone.
async fn refuse_dead(at: &Link, tenant: TenantId, joins: Option<ChainId>) -> Result<(), StoreError> {
    match joins {
        Some(chain) if claims::living_connections(at, tenant, chain).await?.is_empty() => {
            Err(StoreError::Missing("connection"))
        }
        _ => Ok(()),
    }
}

/// Marks a connection removed and deletes its secrets; a chain's with its last connection.
pub(super) async fn remove(
    at: &Link,
    tenant: TenantId,
    id: ConnectionId,
    now: Timestamp,
) -> Result<(), StoreError> {
    let is_there = |found: Option<Connection>| found.filter(|found| found.removed_at.is_none());
    let Some(connection) = is_there(row(at, tenant, id, SEEN).await?) else { return Ok(()) };
    take_chains(at, tenant, [Some(&connection.source), None]).await?;
    match is_there(row(at, tenant, id, HELD).await?) {
        None => return Ok(()),
        Some(now) if now.source != connection.source => return Err(at.begin_again()),
        Some(_) => {}
    }
    end(at, tenant, id, now).await?;
    if let Source::Chain { chain } = connection.source {
        retire_if_last(at, tenant, chain, now).await?;
    }
    kills::put(at, Kill::Connection { tenant, connection: id }, now).await?;
    Ok(())
}

/// Whether a kill ended a connection that is there, asked of its row as it stays until the end of the transaction.
pub(super) async fn is_killed(at: &Link, tenant: TenantId, id: ConnectionId) -> Result<bool, StoreError> {
    let held = "SELECT 1 FROM connection WHERE tenant_id = $1 AND connection_id = $2 AND removed_at IS NULL
         FOR NO KEY UPDATE";
    let living = "SELECT 1 FROM living_connection WHERE tenant_id = $1 AND connection_id = $2";
    let key = params![Word(&tenant), Word(&id)];
    Ok(record::holds(at, "connection", held, key).await?
        && !record::holds(at, "connection", living, key).await?)
}

/// Marks a connection removed, and takes the secrets that are its own.
pub(super) async fn end(
    at: &Link,
    tenant: TenantId,
    id: ConnectionId,
    now: Timestamp,
) -> Result<(), StoreError> {
    let sql = "UPDATE connection SET removed_at = $3 WHERE tenant_id = $1 AND connection_id = $2";
    record::write(at, "connection", sql, params![Word(&tenant), Word(&id), now.millis()]).await?;
    tickets::settle_for_connection(at, tenant, id, now).await?;
    let sql = "DELETE FROM static_secret WHERE tenant_id = $1 AND connection_id = $2";
    record::write(at, "static_secret", sql, params![Word(&tenant), Word(&id)]).await?;
    kills::take_flow_answers(at, tenant, id, now).await
}

/// Ends a chain that nobody lives on: what can be revoked waits for that, its other secrets go, its state says why, and
/// no claim on it fits any more. Families and attempts stay as facts, for the anchors; a later answer is still kept.
pub(super) async fn retire_if_last(
    at: &Link,
    tenant: TenantId,
    chain: ChainId,
    now: Timestamp,
) -> Result<(), StoreError> {
    if !claims::living_connections(at, tenant, chain).await?.is_empty() {
        return Ok(());
    }
    kills::take_chain(at, tenant, chain, now).await?;
    let sql = "UPDATE chain SET fence = fence + 1, owner_id = NULL, state = 'latched', reason = 'removed',
             access_until = NULL, due_at = NULL, ticket_id = NULL
         WHERE tenant_id = $1 AND chain_id = $2";
    record::write(at, "chain", sql, params![Word(&tenant), Word(&chain)]).await?;
    Ok(())
}

/// A connection's row as it is now.
const SEEN: &str = "SELECT * FROM connection WHERE tenant_id = $1 AND connection_id = $2";
/// The same, and as it stays until the end of the transaction. It comes after the chains: which they are is in the row, so
/// that who finds another one than was seen begins again.
const HELD: &str = "SELECT * FROM connection WHERE tenant_id = $1 AND connection_id = $2 FOR NO KEY UPDATE";

async fn row(
    at: &Link,
    tenant: TenantId,
    id: ConnectionId,
    sql: &'static str,
) -> Result<Option<Connection>, StoreError> {
    record::one(at, "connection", sql, params![Word(&tenant), Word(&id)], rows::connection).await
}

/// What an existing connection lives on now. One that was removed does not come back.
async fn source_before(
    at: &Link,
    connection: &Connection,
    sql: &'static str,
) -> Result<Option<Source>, StoreError> {
    match row(at, connection.tenant, connection.id, sql).await? {
        Some(before) if before.removed_at.is_some() => Err(StoreError::Missing("connection")),
        Some(before) => Ok(Some(before.source)),
        None => Ok(None),
    }
}

async fn put_row(at: &Link, connection: &Connection) -> Result<(), StoreError> {
    let chain = match connection.source {
        Source::Chain { chain } => Some(chain),
        Source::Static => None,
    };
    let written = record::write(
        at,
        "connection",
        "INSERT INTO connection (tenant_id, connection_id, tool, name, account, account_label, chain_id, hosts,
             created_at, noted)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 0)
         ON CONFLICT (tenant_id, connection_id) DO UPDATE SET tool = excluded.tool, name = excluded.name,
             account = excluded.account, account_label = excluded.account_label,
             chain_id = excluded.chain_id, hosts = excluded.hosts
         WHERE connection.removed_at IS NULL",
        params![
            Word(&connection.tenant),
            Word(&connection.id),
            Word(&connection.tool),
            Word(&connection.name),
            connection.account,
            connection.account_label,
            chain.as_ref().map(Word),
            Doc(&connection.hosts),
            connection.created_at.millis()
        ],
    ).await?;
    // It was made and removed at this very moment: it does not come back.
    if written == 0 { Err(StoreError::Missing("connection")) } else { Ok(()) }
}

/// A new family under a chain, which is made where the account has none. On one that exists the family
/// becomes current, what went wrong with the old one is over, and the fence moves: a refresh of the old
/// family that is under way loses. Its number must be above every other's: of two consents that saw the same families
/// one is refused, and looks again.
async fn put_tokens(
    at: &Link,
    chain: &Chain,
    family: &Family,
    generation: &Generation,
) -> Result<(), StoreError> {
    let sql = "UPDATE chain SET family_id = $3, fence = fence + 1, owner_id = NULL, state = 'healthy',
             access_until = $4, due_at = $5, failures = 0, reason = NULL, ticket_id = NULL, families = $6
         WHERE tenant_id = $1 AND chain_id = $2 AND families < $6";
    let values = params![
        Word(&chain.tenant),
        Word(&chain.id),
        Word(&family.id),
        millis(generation.access_until),
        millis(chain.due_at),
        number(family.number)
    ];
    if record::write(at, "chain", sql, values).await? == 0 {
        if claims::chain(at, chain.tenant, chain.id).await?.is_some() {
            return Err(StoreError::Exists("family"));
        }
        put_chain(at, chain, family, generation).await?;
    }
    let sql = "INSERT INTO family (tenant_id, family_id, chain_id, flow_id, head, created_at, number)
         VALUES ($1, $2, $3, $4, $5, $6, $7)";
    let values = params![
        Word(&chain.tenant),
        Word(&family.id),
        Word(&chain.id),
        Word(&family.flow),
        number(generation.number),
        family.created_at.millis(),
        number(family.number)
    ];
    record::write(at, "family", sql, values).await?;
    claims::put_generation(at, generation).await
}

async fn put_chain(
    at: &Link,
    chain: &Chain,
    family: &Family,
    generation: &Generation,
) -> Result<(), StoreError> {
    record::write(
        at,
        "chain",
        "INSERT INTO chain (tenant_id, chain_id, provider, issuer, client_id, account, family_id, fence, state,
             access_until, due_at, refreshed_at, failures, created_at, families)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, 0, $13, $14)",
        params![
            Word(&chain.tenant),
            Word(&chain.id),
            Word(&chain.provider),
            chain.issuer,
            Word(&chain.client),
            chain.account,
            Word(&family.id),
            number(chain.fence),
            Word(&chain.state),
            millis(generation.access_until),
            millis(chain.due_at),
            millis(chain.refreshed_at),
            chain.created_at.millis(),
            number(family.number)
        ],
    ).await?;
    Ok(())
}

async fn put_static(at: &Link, secret: &StaticSecret) -> Result<(), StoreError> {
    let sql = "INSERT INTO static_secret (tenant_id, connection_id, generation, secret, created_at)
         VALUES ($1, $2, $3, $4, $5)";
    let values = params![
        Word(&secret.tenant),
        Word(&secret.connection),
        number(secret.generation),
        Doc(&secret.secret),
        secret.created_at.millis()
    ];
    record::write(at, "static_secret", sql, values).await?;
    Ok(())
}

fn stored_at(makes: &NewConnection) -> Timestamp {
    let token = makes.tokens.as_ref().map(|(_, _, generation)| generation.created_at);
    let secret = makes.secret.as_ref().map(|secret| secret.created_at);
    token.or(secret).unwrap_or(makes.connection.created_at)
}
