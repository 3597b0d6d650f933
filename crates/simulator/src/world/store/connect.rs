//! Flows, the connections that come of them, and their end.

use super::{
    claims, kills,
    people::{settle_for_chain, settle_for_connection},
    rows::{ConnectionRow, Rows},
};
use nightlatch_domain::{
    chain::{Chain, ChainState, Family, Flow, FlowOutcome, FlowStep, Generation},
    clock::Timestamp,
    connection::{Connection, Source, StaticSecret},
    id::{ChainId, ConnectionId, FlowId, TenantId},
    ports::store::{EntityId, Kill, NewConnection, StoreError},
};

pub(super) fn put_flow(rows: &mut Rows, flow: Flow) -> Result<(), StoreError> {
    let key = (flow.tenant, flow.id);
    let is_taken = rows.tables.flows.values().any(|other| other.state_sha256 == flow.state_sha256);
    if is_taken || rows.tables.flows.holds(&key) {
        return Err(StoreError::Exists("flow"));
    }
    if !rows.tables.clients.holds(&(flow.tenant, flow.client)) {
        return Err(StoreError::Missing("flow"));
    }
    rows.tables.flows.put(key, flow);
    Ok(())
}

pub(super) fn end_flow(
    rows: &mut Rows,
    tenant: TenantId,
    id: FlowId,
    outcome: FlowOutcome,
    makes: Option<&NewConnection>,
) -> Result<(), StoreError> {
    if makes.is_some_and(|makes| makes.connection.tenant != tenant) {
        return Err(StoreError::Missing("flow"));
    }
    match rows.tables.flows.get(&(tenant, id)).map(|flow| flow.step) {
        None => return Err(StoreError::Missing("flow")),
        Some(FlowStep::Ended) => return Ok(()),
        Some(FlowStep::Begun | FlowStep::Redeeming | FlowStep::Answered) => {}
    }
    if let Some(makes) = makes {
        put_connection(rows, makes)?;
    }
    let kept_elsewhere = makes.is_some_and(|makes| makes.tokens.is_some());
    rows.tables.flows.change(&(tenant, id), |flow| {
        flow.step = FlowStep::Ended;
        flow.outcome = Some(outcome);
        if kept_elsewhere {
            flow.answer = None;
        }
    });
    Ok(())
}

pub(super) fn put_connection(rows: &mut Rows, makes: &NewConnection) -> Result<(), StoreError> {
    let connection = &makes.connection;
    let noted = rows.note(connection.tenant, EntityId::Connection(connection.id));
    let before = source_before(rows, connection)?;
    if let Some((chain, family, generation)) = &makes.tokens {
        put_tokens(rows, chain, family, generation)?;
        settle_for_chain(rows, chain.tenant, chain.id, generation.created_at);
    }
    put_row(rows, connection, noted, makes.tokens.is_some())?;
    if let Some(secret) = &makes.secret {
        put_static(rows, secret)?;
    }
    settle_for_connection(rows, connection.tenant, connection.id, stored_at(makes));
    if let Some(Source::Chain { chain }) = before
        && connection.source != (Source::Chain { chain })
    {
        retire_if_last(rows, connection.tenant, chain, stored_at(makes));
    }
    Ok(())
}

/// Marks a connection removed, which is a kill of it.
pub(super) fn remove(rows: &mut Rows, tenant: TenantId, id: ConnectionId, now: Timestamp) {
    let row = rows.tables.connections.get(&(tenant, id)).filter(|row| row.connection.removed_at.is_none());
    let Some(source) = row.map(|row| row.connection.source.clone()) else { return };
    kills::put(rows, Kill::Connection { tenant, connection: id }, now);
    end(rows, tenant, id, now);
    if let Source::Chain { chain } = source {
        retire_if_last(rows, tenant, chain, now);
    }
}

/// Marks a connection removed, and takes the secrets that are its own.
pub(super) fn end(rows: &mut Rows, tenant: TenantId, id: ConnectionId, now: Timestamp) {
    rows.tables.connections.change(&(tenant, id), |row| row.connection.removed_at = Some(now));
    settle_for_connection(rows, tenant, id, now);
    rows.tables.statics.forget(|(own, connection, _), _| (*own, *connection) == (tenant, id));
    kills::take_flow_answers(rows, tenant, id, now);
}

/// Ends a chain that nobody lives on.
pub(super) fn retire_if_last(rows: &mut Rows, tenant: TenantId, chain: ChainId, now: Timestamp) {
    if !kills::living_on(rows, tenant, chain).is_empty() {
        return;
    }
    kills::take_chain(rows, tenant, chain, now);
    rows.tables.chains.change(&(tenant, chain), |chain| {
        chain.fence += 1;
        chain.owner = None;
        chain.state = ChainState::Latched;
        chain.reason = Some("removed".to_owned());
        chain.access_until = None;
        chain.due_at = None;
        chain.ticket = None;
    });
}

/// What an existing connection lives on now. One that was removed does not come back.
fn source_before(rows: &Rows, connection: &Connection) -> Result<Option<Source>, StoreError> {
    match rows.tables.connections.get(&(connection.tenant, connection.id)) {
        Some(row) if row.connection.removed_at.is_some() => Err(StoreError::Missing("connection")),
        row => Ok(row.map(|row| row.connection.source.clone())),
    }
}

/// Without tokens of its own it joins a chain that somebody lives on.
fn put_row(rows: &mut Rows, connection: &Connection, noted: u64, consented: bool) -> Result<(), StoreError> {
    let tenant = connection.tenant;
    if let Source::Chain { chain } = connection.source {
        let is_there = rows.tables.chains.holds(&(tenant, chain));
        if !is_there || (!consented && kills::living_on(rows, tenant, chain).is_empty()) {
            return Err(StoreError::Missing("connection"));
        }
    }
    let is_twin = |row: &ConnectionRow| {
        let other = &row.connection;
        other.removed_at.is_none()
            && other.id != connection.id
            && (other.tenant, &other.tool, &other.name) == (tenant, &connection.tool, &connection.name)
    };
    if rows.tables.connections.values().any(is_twin) {
        return Err(StoreError::Exists("connection"));
    }
    let created_at =
        rows.tables.connections.get(&(tenant, connection.id)).map(|row| row.connection.created_at);
    let connection = Connection {
        created_at: created_at.unwrap_or(connection.created_at),
        removed_at: None,
        ..connection.clone()
    };
    rows.tables.connections.put((tenant, connection.id), ConnectionRow { connection, noted });
    Ok(())
}

/// A new family under a chain, which is made where the account has none. Its number must be above every other's.
fn put_tokens(
    rows: &mut Rows,
    chain: &Chain,
    family: &Family,
    generation: &Generation,
) -> Result<(), StoreError> {
    let key = (chain.tenant, chain.id);
    match rows.tables.chains.get(&key).map(|known| known.families) {
        Some(families) if families >= family.number => return Err(StoreError::Exists("family")),
        Some(_) => {
            rows.tables.chains.change(&key, |known| {
                known.family = family.id;
                known.fence += 1;
                known.owner = None;
                known.state = ChainState::Healthy;
                known.access_until = generation.access_until;
                known.due_at = chain.due_at;
                known.failures = 0;
                known.reason = None;
                known.ticket = None;
                known.families = family.number;
            });
        }
        None => put_chain(rows, chain, family, generation)?,
    }
    if rows.tables.families.holds(&(chain.tenant, family.id)) {
        return Err(StoreError::Exists("family"));
    }
    let row = Family { tenant: chain.tenant, chain: chain.id, head: generation.number, ..family.clone() };
    rows.tables.families.put((chain.tenant, family.id), row);
    claims::put_generation(rows, generation)
}

fn put_chain(
    rows: &mut Rows,
    chain: &Chain,
    family: &Family,
    generation: &Generation,
) -> Result<(), StoreError> {
    let is_twin = |other: &Chain| {
        (other.tenant, &other.issuer, other.client, &other.account)
            == (chain.tenant, &chain.issuer, chain.client, &chain.account)
    };
    if rows.tables.chains.values().any(is_twin) {
        return Err(StoreError::Exists("chain"));
    }
    if !rows.tables.clients.holds(&(chain.tenant, chain.client)) {
        return Err(StoreError::Missing("chain"));
    }
    let row = Chain {
        family: family.id,
        families: family.number,
        owner: None,
        access_until: generation.access_until,
        failed_at: None,
        failures: 0,
        reason: None,
        ticket: None,
        ..chain.clone()
    };
    rows.tables.chains.put((chain.tenant, chain.id), row);
    Ok(())
}

fn put_static(rows: &mut Rows, secret: &StaticSecret) -> Result<(), StoreError> {
    let key = (secret.tenant, secret.connection, secret.generation);
    if rows.tables.statics.holds(&key) {
        return Err(StoreError::Exists("static_secret"));
    }
    if !rows.tables.connections.holds(&(secret.tenant, secret.connection)) {
        return Err(StoreError::Missing("static_secret"));
    }
    rows.tables.statics.put(key, secret.clone());
    Ok(())
}

fn stored_at(makes: &NewConnection) -> Timestamp {
    let token = makes.tokens.as_ref().map(|(_, _, generation)| generation.created_at);
    let secret = makes.secret.as_ref().map(|secret| secret.created_at);
    token.or(secret).unwrap_or(makes.connection.created_at)
}

/// The static secrets of a connection that lives, newest first.
pub(super) fn statics(rows: &Rows, tenant: TenantId, id: ConnectionId, limit: u32) -> Vec<StaticSecret> {
    if kills::living_one(rows, tenant, id).is_none() {
        return Vec::new();
    }
    let all = rows.tables.statics.range((tenant, id, 0)..=(tenant, id, u64::MAX)).rev();
    super::rows::first(all.map(|(_, secret)| secret.clone()), limit)
}
