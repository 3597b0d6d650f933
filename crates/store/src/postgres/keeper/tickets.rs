//! Tickets, raised and settled in the transaction that gives them their reason.

use super::super::link::Link;
use super::{
    super::record::{self, Word, millis, number, params},
    claims,
};
use nightlatch_domain::{
    clock::Timestamp,
    id::{ChainId, ConnectionId, TenantId, TicketId},
    ports::store::StoreError,
    ticket::{Ticket, TicketKind},
};

/// Raises a ticket unless one of its kind is open for the connection; answers the open one.
pub(super) async fn raise(at: &Link, ticket: &Ticket) -> Result<TicketId, StoreError> {
    if let Some(open) = open_one(at, ticket.tenant, ticket.connection, ticket.kind).await? {
        return Ok(open);
    }
    let sql =
        "INSERT INTO ticket (tenant_id, ticket_id, kind, connection_id, reason, raised_at, settled_at, era)
         SELECT tenant_id, $2, $3, connection_id, $5, $6, $7, $8 FROM living_connection
         WHERE tenant_id = $1 AND connection_id = $4
         ON CONFLICT (tenant_id, connection_id, kind) WHERE settled_at IS NULL DO NOTHING";
    let values = params![
        Word(&ticket.tenant),
        Word(&ticket.id),
        Word(&ticket.kind),
        Word(&ticket.connection),
        ticket.reason,
        ticket.raised_at.millis(),
        millis(ticket.settled_at),
        ticket.era.map(number)
    ];
    match record::write(at, "ticket", sql, values).await? {
        1 => Ok(ticket.id),
        // Another one came between, or there is no such connection.
        _ => open_one(at, ticket.tenant, ticket.connection, ticket.kind)
            .await?
            .ok_or(StoreError::Missing("ticket")),
    }
}

/// Raises a ticket for each living connection of a chain that has none open, and notes on the chain the one
/// of the connection that the ticket names (else the first). The given id serves one connection; the others
/// get ids of their own, of the same time and PostgreSQL's randomness (a ticket's id is no secret).
pub(super) async fn raise_for_chain(
    at: &Link,
    tenant: TenantId,
    chain: ChainId,
    ticket: &Ticket,
) -> Result<(), StoreError> {
    let mut connections = claims::living_connections(at, tenant, chain).await?;
    connections.sort_by_key(|connection| *connection != ticket.connection);
    let mut noted = None;
    for (place, connection) in connections.into_iter().enumerate() {
        let id = if place == 0 { ticket.id } else { fresh_id(at, ticket.raised_at).await? };
        match raise(at, &Ticket { tenant, id, connection, ..ticket.clone() }).await {
            Ok(raised) => noted = noted.or(Some(raised)),
            // It ended in between: nobody is to be asked for it.
            Err(StoreError::Missing(_)) => {}
            Err(error) => return Err(error),
        }
    }
    let sql = "UPDATE chain SET ticket_id = $3 WHERE tenant_id = $1 AND chain_id = $2";
    record::write(at, "chain", sql, params![Word(&tenant), Word(&chain), noted.as_ref().map(Word)]).await?;
    Ok(())
}

/// Settles every open ticket of a chain's connections.
pub(super) async fn settle_for_chain(
    at: &Link,
    tenant: TenantId,
    chain: ChainId,
    now: Timestamp,
) -> Result<(), StoreError> {
    let (table, sql) = SETTLED_FOR_CHAIN;
    record::write(at, table, sql, params![Word(&tenant), Word(&chain), now.millis()]).await?;
    Ok(())
}

pub(super) const SETTLED_FOR_CHAIN: (&str, &str) = (
    "ticket",
    "UPDATE ticket SET settled_at = $3
     WHERE tenant_id = $1 AND settled_at IS NULL AND connection_id IN
         (SELECT connection_id FROM connection WHERE tenant_id = $1 AND chain_id = $2 AND removed_at IS NULL)",
);

/// Settles every open ticket of one connection.
pub(super) async fn settle_for_connection(
    at: &Link,
    tenant: TenantId,
    connection: ConnectionId,
    now: Timestamp,
) -> Result<(), StoreError> {
    let sql = "UPDATE ticket SET settled_at = $3
         WHERE tenant_id = $1 AND connection_id = $2 AND settled_at IS NULL";
    record::write(at, "ticket", sql, params![Word(&tenant), Word(&connection), now.millis()]).await?;
    Ok(())
}

async fn open_one(
    at: &Link,
    tenant: TenantId,
    connection: ConnectionId,
    kind: TicketKind,
) -> Result<Option<TicketId>, StoreError> {
    let sql = "SELECT ticket_id FROM ticket
         WHERE tenant_id = $1 AND connection_id = $2 AND kind = $3 AND settled_at IS NULL";
    let key = params![Word(&tenant), Word(&connection), Word(&kind)];
    record::one(at, "ticket", sql, key, |row| row.word("ticket_id")).await
}

async fn fresh_id(at: &Link, now: Timestamp) -> Result<TicketId, StoreError> {
    let random = record::one(
        at,
        "ticket",
        "SELECT substring(uuid_send(gen_random_uuid()) FOR 10) AS random",
        &[],
        |row| row.bytes("random"),
    )
    .await?;
    Ok(TicketId::new(now, random.ok_or(StoreError::Corrupt("ticket"))?))
}
