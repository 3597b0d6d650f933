//! How the history stands, and which keepers' logs were held against it.

use super::{
    super::{
        feed,
        link::Link,
        record::{self, Record, Word, millis, number, params},
    },
    tickets,
};
use crate::rows;
use nightlatch_domain::{
    clock::Timestamp,
    id::{ChainId, KeeperId, TenantId},
    ports::store::{FeedMark, Recalled, Registered, Standing, StoreError},
    ticket::Ticket,
};

/// How it stands.
pub(super) async fn standing(at: &Link) -> Result<Standing, StoreError> {
    // Of which move it is asked makes no difference to how it stands.
    let any = FeedMark { number: 0, random: [0; 16] };
    Ok(standing_and_recall(at, any).await?.0)
}

/// One statement: everything in it is of one moment.
pub(super) async fn standing_and_recall(
    at: &Link,
    mark: FeedMark,
) -> Result<(Standing, Recalled), StoreError> {
    let sql = "SELECT installation.era, (installation.incarnation <> incarnation())::int::bigint AS is_other,
             counter.moved, counter.random, kept.number AS kept, kept.random AS kept_random, keeper.*
         FROM installation LEFT JOIN feed_counter AS counter ON counter.one = 1
             LEFT JOIN feed_mark AS kept ON kept.number = $1 LEFT JOIN keeper ON true
         ORDER BY keeper.keeper_id";
    let asked: &[record::Value<'_>] = params![number(mark.number)];
    let rows = record::all(at, "installation", sql, asked, |row| {
        let counter = Record { table: "feed_counter", row: row.row };
        let last = FeedMark { number: counter.count("moved")?, random: counter.bytes("random")? };
        let recalled = feed::recalled(&counter, mark, last)?;
        let keeper = Record { table: "keeper", row: row.row };
        let is_there = keeper.text_or_none("keeper_id")?.is_some();
        let keeper = is_there.then(|| rows::registered(&keeper)).transpose()?;
        Ok((row.count("era")?, row.count("is_other")? != 0, (last, recalled), keeper))
    });
    let rows = rows.await?;
    let &(era, took_over, (mark, recalled), _) = rows.first().ok_or(StoreError::Missing("installation"))?;
    let keepers = rows.into_iter().filter_map(|row| row.3).collect();
    Ok((Standing { era, took_over, mark, keepers }, recalled))
}

pub(super) async fn register(
    at: &Link,
    keeper: KeeperId,
    fresh: bool,
    alone: bool,
) -> Result<(), StoreError> {
    if alone {
        let sql = "DELETE FROM keeper WHERE keeper_id <> $1";
        record::write(at, "keeper", sql, params![Word(&keeper)]).await?;
    }
    let sql = "INSERT INTO keeper (keeper_id, compared, vouched)
         SELECT $1, CASE WHEN $2 THEN era ELSE 0 END,
             CASE WHEN NOT $2 OR (NOT EXISTS (SELECT 1 FROM family) AND NOT EXISTS (SELECT 1 FROM import))
                 THEN 1 ELSE 0 END FROM installation
         ON CONFLICT (keeper_id) DO NOTHING";
    if record::write(at, "keeper", sql, params![Word(&keeper), fresh]).await? == 1 {
        feed::go_on(at).await?;
    }
    Ok(())
}

pub(super) async fn compared(at: &Link, keeper: KeeperId, era: u64) -> Result<bool, StoreError> {
    let sql = "UPDATE keeper SET compared = $2
         WHERE keeper_id = $1 AND EXISTS (SELECT 1 FROM era_in_force WHERE era = $2)";
    let done = record::write(at, "keeper", sql, params![Word(&keeper), number(era)]).await? == 1;
    if done {
        feed::go_on(at).await?;
    }
    Ok(done)
}

pub(super) async fn vouch(at: &Link, keeper: KeeperId) -> Result<(), StoreError> {
    let sql = "UPDATE keeper SET vouched = 1 WHERE keeper_id = $1";
    record::write(at, "keeper", sql, params![Word(&keeper)]).await?;
    Ok(())
}

/// The fence moves: whoever held the chain holds it no longer.
pub(super) async fn quarantine(
    at: &Link,
    (tenant, chain, fence): (TenantId, ChainId, u64),
    reason: &str,
    ticket: &Ticket,
) -> Result<bool, StoreError> {
    let sql = "UPDATE chain SET fence = fence + 1, owner_id = NULL, state = 'quarantined', due_at = NULL,
             failures = failures + 1, failed_at = $4, reason = $5
         WHERE tenant_id = $1 AND chain_id = $2 AND fence = $3";
    let values = params![Word(&tenant), Word(&chain), number(fence), millis(Some(ticket.raised_at)), reason];
    if record::write(at, "chain", sql, values).await? == 0 {
        return Ok(false);
    }
    tickets::raise_for_chain(at, tenant, chain, ticket).await?;
    Ok(true)
}

pub(super) async fn release(
    at: &Link,
    (tenant, chain, fence): (TenantId, ChainId, u64),
    reason: &str,
    due_at: Timestamp,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let sql =
        "UPDATE chain SET fence = fence + 1, state = 'healthy', due_at = $5, failures = 0, failed_at = NULL,
             reason = NULL, ticket_id = NULL
         WHERE tenant_id = $1 AND chain_id = $2 AND fence = $3 AND state = 'quarantined' AND reason = $4";
    let values = params![Word(&tenant), Word(&chain), number(fence), reason, due_at.millis()];
    if record::write(at, "chain", sql, values).await? == 0 {
        return Ok(false);
    }
    tickets::settle_for_chain(at, tenant, chain, now).await?;
    Ok(true)
}

pub(super) async fn forget(at: &Link, seen: Registered, era: u64) -> Result<bool, StoreError> {
    let sql = "DELETE FROM keeper WHERE keeper_id = $1 AND compared = $2 AND vouched = $3
             AND EXISTS (SELECT 1 FROM installation WHERE era = $4)";
    let vouched = i64::from(seen.vouched);
    let values = params![Word(&seen.keeper), number(seen.compared), vouched, number(era)];
    let done = record::write(at, "keeper", sql, values).await? == 1;
    if done {
        feed::go_on(at).await?;
    }
    Ok(done)
}
