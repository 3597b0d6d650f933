//! Tickets, raised and settled in the transaction that gives them their reason.

use super::{
    super::record::{self, Word, millis, number},
    claims,
};
use nightlatch_domain::{
    clock::Timestamp,
    id::{ChainId, ConnectionId, TenantId, TicketId},
    ports::store::StoreError,
    ticket::{Ticket, TicketKind},
};
use rusqlite::{Connection as Database, params};

/// Raises a ticket unless one of its kind is open for the connection; answers the open one.
pub(super) fn raise(at: &Database, ticket: &Ticket) -> Result<TicketId, StoreError> {
    if let Some(open) = open_one(at, ticket.tenant, ticket.connection, ticket.kind)? {
        return Ok(open);
    }
    let sql =
        "INSERT INTO ticket (tenant_id, ticket_id, kind, connection_id, reason, raised_at, settled_at, era)
         SELECT tenant_id, ?2, ?3, connection_id, ?5, ?6, ?7, ?8 FROM living_connection
         WHERE tenant_id = ?1 AND connection_id = ?4";
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
    match record::write(at, "ticket", sql, values)? {
        1 => Ok(ticket.id),
        _ => Err(StoreError::Missing("ticket")),
    }
}

/// Raises a ticket for each living connection of a chain that has none open, and notes on the chain the one
/// of the connection that the ticket names (else the first). The given id serves one connection; the others
/// get ids of their own, of the same time and SQLite's randomness (a ticket's id is no secret).
pub(super) fn raise_for_chain(
    at: &Database,
    tenant: TenantId,
    chain: ChainId,
    ticket: &Ticket,
) -> Result<(), StoreError> {
    let mut connections = claims::living_connections(at, tenant, chain)?;
    connections.sort_by_key(|connection| *connection != ticket.connection);
    let mut noted = None;
    for (place, connection) in connections.into_iter().enumerate() {
        let id = if place == 0 { ticket.id } else { fresh_id(at, ticket.raised_at)? };
        let raised = raise(at, &Ticket { tenant, id, connection, ..ticket.clone() })?;
        noted = noted.or(Some(raised));
    }
    let sql = "UPDATE chain SET ticket_id = ?3 WHERE tenant_id = ?1 AND chain_id = ?2";
    record::write(at, "chain", sql, params![Word(&tenant), Word(&chain), noted.as_ref().map(Word)])?;
    Ok(())
}

/// Those of a connection that was removed are settled; so only the others are looked for, by an index that has no more.
pub(super) const SETTLE_FOR_CHAIN: &str = "UPDATE ticket SET settled_at = ?3
     WHERE tenant_id = ?1 AND settled_at IS NULL AND connection_id IN
         (SELECT connection_id FROM connection WHERE tenant_id = ?1 AND chain_id = ?2 AND removed_at IS NULL)";

/// Settles every open ticket of a chain's connections.
pub(super) fn settle_for_chain(
    at: &Database,
    tenant: TenantId,
    chain: ChainId,
    now: Timestamp,
) -> Result<(), StoreError> {
    record::write(at, "ticket", SETTLE_FOR_CHAIN, params![Word(&tenant), Word(&chain), now.millis()])?;
    Ok(())
}

/// Settles every open ticket of one connection.
pub(super) fn settle_for_connection(
    at: &Database,
    tenant: TenantId,
    connection: ConnectionId,
    now: Timestamp,
) -> Result<(), StoreError> {
    let sql = "UPDATE ticket SET settled_at = ?3
         WHERE tenant_id = ?1 AND connection_id = ?2 AND settled_at IS NULL";
    record::write(at, "ticket", sql, params![Word(&tenant), Word(&connection), now.millis()])?;
    Ok(())
}

fn open_one(
    at: &Database,
    tenant: TenantId,
    connection: ConnectionId,
    kind: TicketKind,
) -> Result<Option<TicketId>, StoreError> {
    let sql = "SELECT ticket_id FROM ticket
         WHERE tenant_id = ?1 AND connection_id = ?2 AND kind = ?3 AND settled_at IS NULL";
    let key = params![Word(&tenant), Word(&connection), Word(&kind)];
    record::one(at, "ticket", sql, key, |row| row.word("ticket_id"))
}

fn fresh_id(at: &Database, now: Timestamp) -> Result<TicketId, StoreError> {
    let random = record::one(at, "ticket", "SELECT randomblob(10) AS random", [], |row| row.bytes("random"))?;
    Ok(TicketId::new(now, random.ok_or(StoreError::Corrupt("ticket"))?))
}
