//! The feed: which entity changed, in the order in which it became true.
//!
//! A number comes from one counter row that the writing transaction moves. A sequence would hand out
//! numbers before the commit and so skip what commits late; a row makes writers queue up instead, and the
//! feed is gapless. Each number carries a random value: a database that was put back from a copy and went
//! on has other values under the same numbers.

use super::record::{self, Word};
use nightlatch_domain::{
    id::TenantId,
    ports::store::{Change, EntityId, StoreError},
};
use rusqlite::{Connection, params};

/// The feed's number as this transaction sees it.
pub(super) fn number(at: &Connection) -> Result<u64, StoreError> {
    record::one(at, "feed_counter", "SELECT number FROM feed_counter WHERE one = 1", [], |row| {
        row.count("number")
    })?
    .ok_or(StoreError::Corrupt("feed_counter"))
}

/// Takes the counter's row without moving it: whoever takes it first is first, and what a kill wrote
/// before is seen by every read that follows.
pub(super) fn take(at: &Connection) -> Result<(), StoreError> {
    record::write(at, "feed_counter", "UPDATE feed_counter SET number = number WHERE one = 1", [])?;
    Ok(())
}

/// Moves the counter and notes a change. The first statement of a transaction that writes the entity.
pub(super) fn note(at: &Connection, tenant: TenantId, entity: EntityId) -> Result<(), StoreError> {
    let (kind, id) = parts(entity);
    let sql = "UPDATE feed_counter SET number = number + 1, random = randomblob(16) WHERE one = 1";
    record::write(at, "feed_counter", sql, [])?;
    record::write(
        at,
        "feed",
        "INSERT INTO feed (number, tenant_id, kind, entity_id, random)
         SELECT number, ?1, ?2, ?3, random FROM feed_counter WHERE one = 1",
        params![Word(&tenant), kind, id],
    )?;
    Ok(())
}

/// The changes after a number, in order.
pub(super) fn after(at: &Connection, number: u64, limit: u32) -> Result<Vec<Change>, StoreError> {
    let sql = "SELECT * FROM feed WHERE number > ?1 ORDER BY number LIMIT ?2";
    record::all(at, "feed", sql, params![record::number(number), limit], |row| {
        Ok(Change { number: row.count("number")?, tenant: row.word("tenant_id")?, entity: entity(row)? })
    })
}

fn parts(entity: EntityId) -> (&'static str, String) {
    match entity {
        EntityId::Agent(id) => ("agent", id.to_string()),
        EntityId::Task(id) => ("task", id.to_string()),
        EntityId::Grant(id) => ("grant", id.to_string()),
        EntityId::Connection(id) => ("connection", id.to_string()),
        EntityId::Enrolment(id) => ("enrolment", id.to_string()),
        EntityId::Tools => ("tools", String::new()),
    }
}

fn entity(row: &record::Record<'_>) -> Result<EntityId, StoreError> {
    Ok(match row.text("kind")?.as_str() {
        "agent" => EntityId::Agent(row.word("entity_id")?),
        "task" => EntityId::Task(row.word("entity_id")?),
        "grant" => EntityId::Grant(row.word("entity_id")?),
        "connection" => EntityId::Connection(row.word("entity_id")?),
        "enrolment" => EntityId::Enrolment(row.word("entity_id")?),
        "tools" => EntityId::Tools,
        _ => return Err(StoreError::Corrupt("feed")),
    })
}
