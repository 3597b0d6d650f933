//! The feed: which entity changed, in the order in which it became true.
//!
//! A number comes from one counter row that the writing transaction moves. A sequence would hand out
//! numbers before the commit and so skip what commits late; a row makes writers queue up instead, and the
//! feed is gapless. Each move of the row, also one that is no change of the directory, is counted and draws a random
//! value: a database that was put back from a copy and went on has other values under the same moves.

use super::record::{self, Word};
use crate::rows;
use nightlatch_domain::{
    id::TenantId,
    ports::store::{Change, EntityId, FeedMark, Recalled, StoreError},
};
use rusqlite::{Connection, params};

/// Moves that are remembered: at a hundred refreshes a second, more than an hour.
const MARKS_KEPT: u64 = 1_000_000;

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

/// Moves the counter row without a change that the gateways follow; answers the move's number.
pub(super) fn go_on(at: &Connection) -> Result<u64, StoreError> {
    let sql = "UPDATE feed_counter SET moved = moved + 1, random = randomblob(16) WHERE one = 1";
    record::write(at, "feed_counter", sql, [])?;
    remember(at)
}

/// Moves the counter and notes a change; answers the move's number. The first statement of a transaction that writes
/// the entity.
pub(super) fn note(at: &Connection, tenant: TenantId, entity: EntityId) -> Result<u64, StoreError> {
    let (kind, id) = rows::entity_columns(entity);
    let sql = "UPDATE feed_counter SET number = number + 1, moved = moved + 1, random = randomblob(16)
         WHERE one = 1";
    record::write(at, "feed_counter", sql, [])?;
    record::write(
        at,
        "feed",
        "INSERT INTO feed (number, tenant_id, kind, entity_id, random)
         SELECT number, ?1, ?2, ?3, random FROM feed_counter WHERE one = 1",
        params![Word(&tenant), kind, id],
    )?;
    remember(at)
}

fn remember(at: &Connection) -> Result<u64, StoreError> {
    let sql = "INSERT INTO feed_mark (number, random) SELECT moved, random FROM feed_counter WHERE one = 1";
    record::write(at, "feed_mark", sql, [])?;
    let moved = last(at)?.number;
    let forgotten = record::number(moved.saturating_sub(MARKS_KEPT));
    record::write(at, "feed_mark", "DELETE FROM feed_mark WHERE number <= ?1", [forgotten])?;
    Ok(moved)
}

/// The last move.
pub(super) fn last(at: &Connection) -> Result<FeedMark, StoreError> {
    let sql = "SELECT moved, random FROM feed_counter WHERE one = 1";
    record::one(at, "feed_counter", sql, [], |row| {
        Ok(FeedMark { number: row.count("moved")?, random: row.bytes("random")? })
    })?
    .ok_or(StoreError::Corrupt("feed_counter"))
}

/// What this history says of a move.
pub(super) fn recall(at: &Connection, mark: FeedMark) -> Result<Recalled, StoreError> {
    let last = last(at)?;
    if mark.number >= last.number {
        return Ok(if mark == last { Recalled::Held } else { Recalled::Other });
    }
    let sql = "SELECT random FROM feed_mark WHERE number = ?1";
    let number = record::number(mark.number);
    let random = record::one(at, "feed_mark", sql, [number], |row| row.bytes("random"))?;
    Ok(match random {
        Some(random) if random == mark.random => Recalled::Held,
        Some(_) => Recalled::Other,
        None => Recalled::TooOld,
    })
}

/// The changes after a number, in order.
pub(super) fn after(at: &Connection, number: u64, limit: u32) -> Result<Vec<Change>, StoreError> {
    let sql = "SELECT * FROM feed WHERE number > ?1 ORDER BY number LIMIT ?2";
    record::all(at, "feed", sql, params![record::number(number), limit], |row| {
        Ok(Change {
            number: row.count("number")?,
            tenant: row.word("tenant_id")?,
            entity: rows::entity(row)?,
        })
    })
}
