//! What grants have spent: one row a grant, which only grows.

use super::link::Link;
use super::{
    PostgresStore,
    record::{self, Record, Word, number, params},
};
use nightlatch_domain::{
    budget::Spent,
    id::{GrantId, TenantId},
    ports::store::{BudgetStore, StoreError, Stored},
};

impl BudgetStore for PostgresStore {
    fn reserve(&self, tenant: TenantId, grant: GrantId, more: Spent, ends: Spent) -> Stored<'_, Spent> {
        self.write((tenant, grant, more, ends), |at, (tenant, grant, more, ends)| {
            Box::pin(async move {
                let (tenant, grant, more, ends) = (*tenant, *grant, *more, *ends);
                let before = spent(at, tenant, grant).await?;
                let left = ends.each(before, u64::saturating_sub);
                let given = more.each(left, u64::min);
                put(at, tenant, grant, before.each(given, u64::saturating_add)).await?;
                Ok(given)
            })
        })
    }
}

async fn put(at: &Link, tenant: TenantId, grant: GrantId, all: Spent) -> Result<(), StoreError> {
    let sql = "UPDATE grant_spent SET calls = $3, writes = $4, bytes = $5
         WHERE tenant_id = $1 AND grant_id = $2";
    let values =
        params![Word(&tenant), Word(&grant), number(all.calls), number(all.writes), number(all.bytes)];
    record::write(at, "grant_spent", sql, values).await?;
    Ok(())
}

/// What was spent so far. The row is there afterwards, and ours until the end: of many at once one goes after the other.
async fn spent(at: &Link, tenant: TenantId, grant: GrantId) -> Result<Spent, StoreError> {
    let sql = "INSERT INTO grant_spent (tenant_id, grant_id, calls, writes, bytes) VALUES ($1, $2, 0, 0, 0)
         ON CONFLICT (tenant_id, grant_id) DO NOTHING";
    record::write(at, "grant_spent", sql, params![Word(&tenant), Word(&grant)]).await?;
    let sql = "SELECT * FROM grant_spent WHERE tenant_id = $1 AND grant_id = $2 FOR UPDATE";
    let found = record::one(at, "grant_spent", sql, params![Word(&tenant), Word(&grant)], row).await?;
    Ok(found.unwrap_or_default())
}

/// What one row says.
pub(super) fn row(row: &Record<'_>) -> Result<Spent, StoreError> {
    Ok(Spent { calls: row.count("calls")?, writes: row.count("writes")?, bytes: row.count("bytes")? })
}
