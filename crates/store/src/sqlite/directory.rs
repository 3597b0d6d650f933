//! The gateway's part: the directory whole, its feed, and one entity at a time.

use super::{
    SqliteStore, feed,
    record::{self, Word},
};
use crate::rows;
use nightlatch_domain::{
    id::TenantId,
    ports::{
        Boxed,
        store::{Change, DirectoryStore, Entity, EntityId, StoreError, Stored, ToolRow},
    },
};
use rusqlite::{Connection, params};
use std::time::Duration;

impl DirectoryStore for SqliteStore {
    fn snapshot(&self) -> Stored<'_, (u64, Vec<Entity>)> {
        self.engine.read(|at| Ok((feed::number(at)?, everything(at)?)))
    }

    fn changes(&self, after: u64, limit: u32) -> Stored<'_, Vec<Change>> {
        self.engine.read(move |at| feed::after(at, after, limit))
    }

    fn entity(&self, tenant: TenantId, entity: EntityId) -> Stored<'_, Option<Entity>> {
        self.engine.read(move |at| one(at, tenant, entity))
    }

    fn changed(&self, after: u64, within_millis: u64) -> Boxed<'_, ()> {
        let mut feed = self.engine.follow();
        Box::pin(async move {
            let passed = feed.wait_for(|number| *number > after);
            let _ = tokio::time::timeout(Duration::from_millis(within_millis), passed).await;
        })
    }
}

/// Ended tasks and grants that were taken back are in it: their references get a refusal of their own.
/// Removed connections are not.
fn everything(at: &Connection) -> Result<Vec<Entity>, StoreError> {
    let mut found =
        record::all(at, "agent", "SELECT * FROM agent", [], |row| rows::agent(row).map(Entity::Agent))?;
    found.extend(record::all(at, "task", "SELECT * FROM task", [], |row| rows::task(row).map(Entity::Task))?);
    found.extend(record::all(at, "task_grant", "SELECT * FROM task_grant", [], |row| {
        rows::grant(row).map(Entity::Grant)
    })?);
    let living = "SELECT * FROM living_connection";
    found.extend(record::all(at, "connection", living, [], |row| {
        rows::connection(row).map(Entity::Connection)
    })?);
    found.extend(record::all(at, "enrolment", "SELECT * FROM enrolment", [], |row| {
        rows::enrolment(row).map(Entity::Enrolment)
    })?);
    let tools = record::all(at, "tool", "SELECT * FROM tool ORDER BY tenant_id, name", [], rows::tool)?;
    let by_tenant = tools.chunk_by(|one, next| one.tenant == next.tenant);
    found.extend(by_tenant.map(|tools| Entity::Tools(tools.to_vec())));
    Ok(found)
}

fn one(at: &Connection, tenant: TenantId, entity: EntityId) -> Result<Option<Entity>, StoreError> {
    Ok(match entity {
        EntityId::Agent(id) => {
            let sql = "SELECT * FROM agent WHERE tenant_id = ?1 AND agent_id = ?2";
            record::one(at, "agent", sql, params![Word(&tenant), Word(&id)], rows::agent)?.map(Entity::Agent)
        }
        EntityId::Task(id) => {
            let sql = "SELECT * FROM task WHERE tenant_id = ?1 AND task_id = ?2";
            record::one(at, "task", sql, params![Word(&tenant), Word(&id)], rows::task)?.map(Entity::Task)
        }
        EntityId::Grant(id) => {
            let sql = "SELECT * FROM task_grant WHERE tenant_id = ?1 AND grant_id = ?2";
            record::one(at, "task_grant", sql, params![Word(&tenant), Word(&id)], rows::grant)?
                .map(Entity::Grant)
        }
        EntityId::Connection(id) => {
            let sql = "SELECT * FROM living_connection WHERE tenant_id = ?1 AND connection_id = ?2";
            record::one(at, "connection", sql, params![Word(&tenant), Word(&id)], rows::connection)?
                .map(Entity::Connection)
        }
        EntityId::Enrolment(id) => {
            let sql = "SELECT * FROM enrolment WHERE tenant_id = ?1 AND enrolment_id = ?2";
            record::one(at, "enrolment", sql, params![Word(&tenant), Word(&id)], rows::enrolment)?
                .map(Entity::Enrolment)
        }
        EntityId::Tools => Some(Entity::Tools(tools(at, tenant)?)),
        EntityId::Everything => None,
    })
}

/// The added tools of a tenant.
pub(super) fn tools(at: &Connection, tenant: TenantId) -> Result<Vec<ToolRow>, StoreError> {
    let sql = "SELECT * FROM tool WHERE tenant_id = ?1 ORDER BY name";
    record::all(at, "tool", sql, params![Word(&tenant)], rows::tool)
}
