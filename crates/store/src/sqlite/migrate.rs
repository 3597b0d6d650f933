//! Forward migrations of our own.
//!
//! Each is one SQL file that is part of the program, applied once, in order, in one transaction with the
//! note of its number and checksum. A database that knows more than this version, or something else under
//! the same number, is refused rather than guessed at. There is no way back: that is what backups are for.

use super::OpenError;
use nightlatch_domain::clock::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, Transaction, TransactionBehavior, params};

const MIGRATIONS: &[&str] = &[
    include_str!("../../migrations/sqlite/0001_first.sql"),
    include_str!("../../migrations/sqlite/0002_task_egress.sql"),
    include_str!("../../migrations/sqlite/0003_calls.sql"),
    include_str!("../../migrations/sqlite/0004_budgets.sql"),
    include_str!("../../migrations/sqlite/0005_webhooks.sql"),
    include_str!("../../migrations/sqlite/0006_turns.sql"),
];

/// Refuses a database that has tables, but not our note of migrations.
pub(super) fn refuse_foreign(connection: &Connection) -> Result<(), OpenError> {
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if tables > 0 && !has_notes(connection)? {
        return Err(OpenError::Foreign);
    }
    Ok(())
}

/// Applies what is missing.
pub(super) fn apply(connection: &mut Connection, now: Timestamp) -> Result<(), OpenError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.execute_batch(
        "CREATE TABLE IF NOT EXISTS schema_migration (
            number INTEGER PRIMARY KEY, checksum TEXT NOT NULL, applied_at INTEGER NOT NULL) STRICT",
    )?;
    refuse_newer(&transaction)?;
    for (number, sql) in (1u32..).zip(MIGRATIONS) {
        let noted = transaction
            .query_row("SELECT checksum FROM schema_migration WHERE number = ?1", [number], |row| row.get(0))
            .optional()?;
        match noted {
            Some(sum) if checksum(sql) == String::as_str(&sum) => {}
            Some(_) => return Err(OpenError::OtherHistory { number }),
            None => run(&transaction, number, sql, now)?,
        }
    }
    Ok(transaction.commit()?)
}

fn has_notes(connection: &Connection) -> Result<bool, OpenError> {
    let sql = "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'schema_migration'";
    Ok(connection.query_row(sql, [], |_| Ok(())).optional()?.is_some())
}

fn refuse_newer(transaction: &Transaction<'_>) -> Result<(), OpenError> {
    let sql = "SELECT coalesce(max(number), 0) FROM schema_migration";
    let found: u32 = transaction.query_row(sql, [], |row| row.get(0))?;
    let known = u32::try_from(MIGRATIONS.len()).unwrap_or(u32::MAX);
    if found > known {
        return Err(OpenError::NewerVersion { found, known });
    }
    Ok(())
}

fn run(transaction: &Transaction<'_>, number: u32, sql: &str, now: Timestamp) -> Result<(), OpenError> {
    transaction.execute_batch(sql)?;
    transaction.execute(
        "INSERT INTO schema_migration (number, checksum, applied_at) VALUES (?1, ?2, ?3)",
        params![number, checksum(sql), now.millis()],
    )?;
    Ok(())
}

/// FNV-1a of 64 bits: it tells an edited file from the one that was applied; it defends against nobody.
fn checksum(text: &str) -> String {
    let sum = text
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |sum, byte| (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    format!("{sum:016x}")
}
