//! How the history stands, and which keepers' logs were held against it.

use super::{
    super::{
        feed,
        record::{self, Word, millis, number},
    },
    tickets,
};
use crate::rows;
use nightlatch_domain::{
    clock::Timestamp,
    id::{ChainId, KeeperId, TenantId},
    ports::store::{Registered, Standing, StoreError},
    ticket::Ticket,
};
use rusqlite::{Connection as Database, params};

pub(super) fn standing(at: &Database) -> Result<Standing, StoreError> {
    let era = record::one(at, "installation", "SELECT era FROM installation", [], |row| row.count("era"))?;
    let sql = "SELECT * FROM keeper ORDER BY keeper_id";
    let keepers = record::all(at, "keeper", sql, [], rows::registered)?;
    let era = era.ok_or(StoreError::Missing("installation"))?;
    Ok(Standing { era, took_over: false, mark: feed::last(at)?, keepers })
}

pub(super) fn register(at: &Database, keeper: KeeperId, fresh: bool, alone: bool) -> Result<(), StoreError> {
    if alone {
        record::write(at, "keeper", "DELETE FROM keeper WHERE keeper_id <> ?1", [Word(&keeper)])?;
    }
    let sql = "INSERT INTO keeper (keeper_id, compared, vouched)
         SELECT ?1, CASE WHEN ?2 THEN era ELSE 0 END, NOT ?2
             OR (NOT EXISTS (SELECT 1 FROM family) AND NOT EXISTS (SELECT 1 FROM import)) FROM installation
         WHERE true ON CONFLICT (keeper_id) DO NOTHING";
    if record::write(at, "keeper", sql, params![Word(&keeper), fresh])? == 1 {
        feed::go_on(at)?;
    }
    Ok(())
}

pub(super) fn compared(at: &Database, keeper: KeeperId, era: u64) -> Result<bool, StoreError> {
    let sql = "UPDATE keeper SET compared = ?2
         WHERE keeper_id = ?1 AND EXISTS (SELECT 1 FROM installation WHERE era = ?2)";
    let done = record::write(at, "keeper", sql, params![Word(&keeper), number(era)])? == 1;
    if done {
        feed::go_on(at)?;
    }
    Ok(done)
}

pub(super) fn vouch(at: &Database, keeper: KeeperId) -> Result<(), StoreError> {
    record::write(at, "keeper", "UPDATE keeper SET vouched = 1 WHERE keeper_id = ?1", [Word(&keeper)])?;
    Ok(())
}

/// The fence moves: whoever held the chain holds it no longer.
pub(super) fn quarantine(
    at: &Database,
    (tenant, chain, fence): (TenantId, ChainId, u64),
    reason: &str,
    ticket: &Ticket,
) -> Result<bool, StoreError> {
    let sql = "UPDATE chain SET fence = fence + 1, owner_id = NULL, state = 'quarantined', due_at = NULL,
             failures = failures + 1, failed_at = ?4, reason = ?5
         WHERE tenant_id = ?1 AND chain_id = ?2 AND fence = ?3";
    let values = params![Word(&tenant), Word(&chain), number(fence), millis(Some(ticket.raised_at)), reason];
    if record::write(at, "chain", sql, values)? == 0 {
        return Ok(false);
    }
    tickets::raise_for_chain(at, tenant, chain, ticket)?;
    Ok(true)
}

pub(super) fn release(
    at: &Database,
    (tenant, chain, fence): (TenantId, ChainId, u64),
    reason: &str,
    due_at: Timestamp,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let sql =
        "UPDATE chain SET fence = fence + 1, state = 'healthy', due_at = ?5, failures = 0, failed_at = NULL,
             reason = NULL, ticket_id = NULL
         WHERE tenant_id = ?1 AND chain_id = ?2 AND fence = ?3 AND state = 'quarantined' AND reason = ?4";
    let values = params![Word(&tenant), Word(&chain), number(fence), reason, due_at.millis()];
    if record::write(at, "chain", sql, values)? == 0 {
        return Ok(false);
    }
    tickets::settle_for_chain(at, tenant, chain, now)?;
    Ok(true)
}

pub(super) fn forget(at: &Database, seen: Registered, era: u64) -> Result<bool, StoreError> {
    let sql = "DELETE FROM keeper WHERE keeper_id = ?1 AND compared = ?2 AND vouched = ?3
             AND EXISTS (SELECT 1 FROM installation WHERE era = ?4)";
    let values = params![Word(&seen.keeper), number(seen.compared), seen.vouched, number(era)];
    let done = record::write(at, "keeper", sql, values)? == 1;
    if done {
        feed::go_on(at)?;
    }
    Ok(done)
}
