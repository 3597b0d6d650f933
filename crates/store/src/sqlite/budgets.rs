//! What grants have spent: one row a grant, which only grows.

use super::{
    SqliteStore,
    record::{self, Record, Word, number},
};
use nightlatch_domain::{
    budget::Spent,
    id::{GrantId, TenantId},
    ports::store::{BudgetStore, StoreError, Stored},
};
use rusqlite::{Connection as Database, params};

impl BudgetStore for SqliteStore {
    fn reserve(&self, tenant: TenantId, grant: GrantId, more: Spent, ends: Spent) -> Stored<'_, Spent> {
        self.engine.write(move |at| {
            let before = spent(at, tenant, grant)?;
            let left = ends.each(before, u64::saturating_sub);
            let given = more.each(left, u64::min);
            put(at, tenant, grant, before.each(given, u64::saturating_add))?;
            Ok(given)
        })
    }
}

fn put(at: &Database, tenant: TenantId, grant: GrantId, all: Spent) -> Result<(), StoreError> {
    record::write(
        at,
        "grant_spent",
        "INSERT INTO grant_spent (tenant_id, grant_id, calls, writes, bytes) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (tenant_id, grant_id) DO UPDATE SET calls = excluded.calls,
             writes = excluded.writes, bytes = excluded.bytes",
        params![Word(&tenant), Word(&grant), number(all.calls), number(all.writes), number(all.bytes)],
    )?;
    Ok(())
}

fn spent(at: &Database, tenant: TenantId, grant: GrantId) -> Result<Spent, StoreError> {
    let sql = "SELECT * FROM grant_spent WHERE tenant_id = ?1 AND grant_id = ?2";
    let found = record::one(at, "grant_spent", sql, params![Word(&tenant), Word(&grant)], row)?;
    Ok(found.unwrap_or_default())
}

/// What one row says.
pub(super) fn row(row: &Record<'_>) -> Result<Spent, StoreError> {
    Ok(Spent { calls: row.count("calls")?, writes: row.count("writes")?, bytes: row.count("bytes")? })
}
