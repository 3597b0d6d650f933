//! The gateway's part: the directory whole, its feed, and one entity at a time.

use super::link::Link;
use super::{
    PostgresStore, feed,
    record::{self, Word, params},
};
use crate::rows;
use nightlatch_domain::{
    id::TenantId,
    ports::{
        Boxed,
        store::{Change, DirectoryStore, Entity, EntityId, StoreError, Stored, ToolRow},
    },
};
use std::time::Duration;

/// Between two looks at the feed's number.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

impl DirectoryStore for PostgresStore {
    fn snapshot(&self) -> Stored<'_, (u64, Vec<Entity>)> {
        self.read_moment((), |at, ()| {
            Box::pin(async move { Ok((feed::number(at).await?, everything(at).await?)) })
        })
    }

    fn changes(&self, after: u64, limit: u32) -> Stored<'_, Vec<Change>> {
        self.read((after, limit), |at, (after, limit)| {
            Box::pin(async move {
                let (after, limit) = (*after, *limit);
                feed::after(at, after, limit).await
            })
        })
    }

    fn entity(&self, tenant: TenantId, entity: EntityId) -> Stored<'_, Option<Entity>> {
        self.read((tenant, entity), |at, (tenant, entity)| {
            Box::pin(async move {
                let (tenant, entity) = (*tenant, *entity);
                one(at, tenant, entity).await
            })
        })
    }

    fn changed(&self, after: u64, within_millis: u64) -> Boxed<'_, ()> {
        Box::pin(async move {
            let passed = async {
                // A notification would have every commit wait for one lock of the whole server, so it is looked instead.
                while self
                    .read((), |at, ()| Box::pin(feed::number(at)))
                    .await
                    .is_ok_and(|number| number <= after)
                {
                    tokio::time::sleep(LOOK_AGAIN).await;
                }
            };
            let _ = tokio::time::timeout(Duration::from_millis(within_millis), passed).await;
        })
    }
}

/// Ended tasks and grants that were taken back are in it: their references get a refusal of their own.
/// Removed connections are not.
async fn everything(at: &Link) -> Result<Vec<Entity>, StoreError> {
    let mut found =
        record::all(at, "agent", "SELECT * FROM agent", &[], |row| rows::agent(row).map(Entity::Agent))
            .await?;
    found.extend(
        record::all(at, "task", "SELECT * FROM task", &[], |row| rows::task(row).map(Entity::Task)).await?,
    );
    found.extend(
        record::all(at, "task_grant", "SELECT * FROM task_grant", &[], |row| {
            rows::grant(row).map(Entity::Grant)
        })
        .await?,
    );
    let living = "SELECT * FROM living_connection";
    found.extend(
        record::all(at, "connection", living, &[], |row| rows::connection(row).map(Entity::Connection))
            .await?,
    );
    found.extend(
        record::all(at, "enrolment", "SELECT * FROM enrolment", &[], |row| {
            rows::enrolment(row).map(Entity::Enrolment)
        })
        .await?,
    );
    let tools =
        record::all(at, "tool", "SELECT * FROM tool ORDER BY tenant_id, name", &[], rows::tool).await?;
    let by_tenant = tools.chunk_by(|one, next| one.tenant == next.tenant);
    found.extend(by_tenant.map(|tools| Entity::Tools(tools.to_vec())));
    Ok(found)
}

async fn one(at: &Link, tenant: TenantId, entity: EntityId) -> Result<Option<Entity>, StoreError> {
    Ok(match entity {
        EntityId::Agent(id) => {
            let sql = "SELECT * FROM agent WHERE tenant_id = $1 AND agent_id = $2";
            record::one(at, "agent", sql, params![Word(&tenant), Word(&id)], rows::agent)
                .await?
                .map(Entity::Agent)
        }
        EntityId::Task(id) => {
            let sql = "SELECT * FROM task WHERE tenant_id = $1 AND task_id = $2";
            record::one(at, "task", sql, params![Word(&tenant), Word(&id)], rows::task)
                .await?
                .map(Entity::Task)
        }
        EntityId::Grant(id) => {
            let sql = "SELECT * FROM task_grant WHERE tenant_id = $1 AND grant_id = $2";
            record::one(at, "task_grant", sql, params![Word(&tenant), Word(&id)], rows::grant)
                .await?
                .map(Entity::Grant)
        }
        EntityId::Connection(id) => {
            let sql = "SELECT * FROM living_connection WHERE tenant_id = $1 AND connection_id = $2";
            record::one(at, "connection", sql, params![Word(&tenant), Word(&id)], rows::connection)
                .await?
                .map(Entity::Connection)
        }
        EntityId::Enrolment(id) => {
            let sql = "SELECT * FROM enrolment WHERE tenant_id = $1 AND enrolment_id = $2";
            record::one(at, "enrolment", sql, params![Word(&tenant), Word(&id)], rows::enrolment)
                .await?
                .map(Entity::Enrolment)
        }
        EntityId::Tools => Some(Entity::Tools(tools(at, tenant).await?)),
        EntityId::Everything => None,
    })
}

/// The added tools of a tenant.
pub(super) async fn tools(at: &Link, tenant: TenantId) -> Result<Vec<ToolRow>, StoreError> {
    let sql = "SELECT * FROM tool WHERE tenant_id = $1 ORDER BY name";
    record::all(at, "tool", sql, params![Word(&tenant)], rows::tool).await
}
