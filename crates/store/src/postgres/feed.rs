//! The feed: which entity changed, in the order in which it became true.
//!
//! A number comes from one counter row that the writing transaction moves. A sequence would hand out
//! numbers before the commit and so skip what commits late; a row makes writers queue up instead, and the
//! feed is gapless. Each move of the row, also one that is no change of the directory, is counted and draws a random
//! value: a database that was put back from a copy and went on has other values under the same moves.

use super::link::Link;
use super::record::{self, Record, Word, params};
use crate::rows;
use nightlatch_domain::{
    id::TenantId,
    ports::store::{Change, EntityId, FeedMark, Recalled, StoreError},
};

/// Moves that are remembered: at a hundred refreshes a second, more than an hour.
pub(super) const MARKS_KEPT: i64 = 1_000_000;

/// The feed's number as this transaction sees it.
pub(super) async fn number(at: &Link) -> Result<u64, StoreError> {
    record::one(at, "feed_counter", "SELECT number FROM feed_counter WHERE one = 1", &[], |row| {
        row.count("number")
    })
    .await?
    .ok_or(StoreError::Corrupt("feed_counter"))
}

/// Takes the counter's row without moving it: whoever takes it first is first, and what a kill wrote
/// before is seen by every statement that follows.
pub(super) async fn take(at: &Link) -> Result<(), StoreError> {
    let sql = "SELECT number FROM feed_counter WHERE one = 1 FOR UPDATE";
    record::holds(at, "feed_counter", sql, &[]).await?;
    Ok(())
}

/// Moves the counter row without a change that the gateways follow; answers the move's number. From here on the whole
/// installation waits for this transaction: what can be done before is done before.
pub(super) async fn go_on(at: &Link) -> Result<u64, StoreError> {
    let moved = record::one(at, GO_ON.0, GO_ON.1, params![MARKS_KEPT], |row| row.count("moved")).await?;
    moved.ok_or(StoreError::Corrupt("feed_counter"))
}

/// [`go_on`], with how many moves are remembered.
pub(super) const GO_ON: (&str, &str) = (
    "feed_counter",
    "WITH moved AS (UPDATE feed_counter SET moved = moved + 1, random = uuid_send(gen_random_uuid())
         WHERE one = 1 RETURNING moved, random),
     kept AS (INSERT INTO feed_mark (number, random) SELECT moved, random FROM moved),
     forgotten AS (DELETE FROM feed_mark WHERE number <= (SELECT moved FROM moved) - $1)
     SELECT moved FROM moved",
);

/// Moves the counter and notes a change; answers the move's number. Among the last statements of a transaction, for the
/// reason of [`go_on`].
pub(super) async fn note(at: &Link, tenant: TenantId, entity: EntityId) -> Result<u64, StoreError> {
    let (kind, id) = rows::entity_columns(entity);
    let sql = "WITH moved AS (UPDATE feed_counter SET number = number + 1, moved = moved + 1,
                 random = uuid_send(gen_random_uuid()) WHERE one = 1 RETURNING number, moved, random),
         noted AS (INSERT INTO feed (number, tenant_id, kind, entity_id, random)
             SELECT number, $2, $3, $4, random FROM moved),
         kept AS (INSERT INTO feed_mark (number, random) SELECT moved, random FROM moved),
         forgotten AS (DELETE FROM feed_mark WHERE number <= (SELECT moved FROM moved) - $1)
         SELECT moved FROM moved";
    let values = params![MARKS_KEPT, Word(&tenant), kind, id];
    let moved = record::one(at, "feed_counter", sql, values, |row| row.count("moved")).await?;
    moved.ok_or(StoreError::Corrupt("feed_counter"))
}

/// The last move.
pub(super) async fn last(at: &Link) -> Result<FeedMark, StoreError> {
    let sql = "SELECT moved, random FROM feed_counter WHERE one = 1";
    record::one(at, "feed_counter", sql, &[], |row| {
        Ok(FeedMark { number: row.count("moved")?, random: row.bytes("random")? })
    })
    .await?
    .ok_or(StoreError::Corrupt("feed_counter"))
}

/// What a history whose last move is `last` says of a move, from a row with what it `kept` under that number.
pub(super) fn recalled(row: &Record<'_>, mark: FeedMark, last: FeedMark) -> Result<Recalled, StoreError> {
    if mark.number >= last.number {
        return Ok(if mark == last { Recalled::Held } else { Recalled::Other });
    }
    Ok(match row.count_or_none("kept")? {
        Some(_) if row.bytes("kept_random")? == mark.random => Recalled::Held,
        Some(_) => Recalled::Other,
        None => Recalled::TooOld,
    })
}

/// The changes after a number, in order.
pub(super) async fn after(at: &Link, number: u64, limit: u32) -> Result<Vec<Change>, StoreError> {
    let sql = "SELECT * FROM feed WHERE number > $1 ORDER BY number LIMIT $2";
    record::all(at, "feed", sql, params![record::number(number), i64::from(limit)], |row| {
        Ok(Change {
            number: row.count("number")?,
            tenant: row.word("tenant_id")?,
            entity: rows::entity(row)?,
        })
    })
    .await
}
