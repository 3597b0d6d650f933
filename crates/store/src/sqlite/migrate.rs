//! Forward migrations of our own.
//!
//! Each is one SQL file that is part of the program, applied once, in order, in one transaction with the
//! note of its number, checksum and kind. A database that knows something else under the same number is refused
//! rather than guessed at, and so is one that knows more than this version, unless all that it knows more is marked
//! `expand`: so old and new versions run side by side while a newer one comes in. There is no way back: that is what
//! backups are for.

use super::OpenError;
use crate::migration::{Migration, checksum, contract, expand};
use nightlatch_domain::clock::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, Transaction, TransactionBehavior, params};

/// The first six were applied before there were marks. The mailbox and the imports stand in tables of their own, which an older
/// version leaves as they are; its kills end imports as well. The last two only add, and yet an older version must not run on
/// what a newer one left: it does not know which mandates were acted on, and claims in a new era before the logs were compared.
pub(super) const MIGRATIONS: &[Migration] = &[
    contract(include_str!("../../migrations/sqlite/0001_first.sql")),
    contract(include_str!("../../migrations/sqlite/0002_task_egress.sql")),
    contract(include_str!("../../migrations/sqlite/0003_calls.sql")),
    contract(include_str!("../../migrations/sqlite/0004_budgets.sql")),
    contract(include_str!("../../migrations/sqlite/0005_webhooks.sql")),
    contract(include_str!("../../migrations/sqlite/0006_turns.sql")),
    expand(include_str!("../../migrations/sqlite/0007_keepers.sql")),
    expand(include_str!("../../migrations/sqlite/0008_mailbox.sql")),
    expand(include_str!("../../migrations/sqlite/0009_imports.sql")),
    contract(include_str!("../../migrations/sqlite/0010_owners.sql")),
    contract(include_str!("../../migrations/sqlite/0011_standing.sql")),
    expand(include_str!("../../migrations/sqlite/0012_ticket_era.sql")),
    expand(include_str!("../../migrations/sqlite/0013_intended_by.sql")),
];

/// Refuses a database that has tables, but not our note of migrations.
pub(super) fn refuse_foreign(connection: &Connection) -> Result<(), OpenError> {
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if tables > 0 && !has_notes(connection)? {
        return Err(OpenError::Foreign);
    }
    Ok(())
}

/// Refuses what this version cannot read. Whether the schema is this version's: an older one is read, and not understood
/// in all of it.
pub(super) fn is_current(connection: &Connection, migrations: &[Migration]) -> Result<bool, OpenError> {
    if !has_notes(connection)? {
        return Err(OpenError::Foreign);
    }
    if !has_kinds(connection)? {
        return Ok(false);
    }
    refuse_newer(connection, migrations)?;
    for (number, migration) in (1u32..).zip(migrations) {
        let sql = "SELECT checksum FROM schema_migration WHERE number = ?1";
        let noted: Option<String> = connection.query_row(sql, [number], |row| row.get(0)).optional()?;
        match noted {
            Some(sum) if sum == checksum(migration.sql) => {}
            Some(_) => return Err(OpenError::OtherHistory { number }),
            None => return Ok(false),
        }
    }
    Ok(true)
}

/// Applies what is missing of `migrations`.
pub(super) fn apply(
    connection: &mut Connection,
    migrations: &[Migration],
    now: Timestamp,
) -> Result<(), OpenError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.execute_batch(
        "CREATE TABLE IF NOT EXISTS schema_migration (
            number INTEGER PRIMARY KEY, checksum TEXT NOT NULL, applied_at INTEGER NOT NULL) STRICT",
    )?;
    note_kinds(&transaction)?;
    refuse_newer(&transaction, migrations)?;
    for (number, migration) in (1u32..).zip(migrations) {
        let noted = transaction
            .query_row("SELECT checksum FROM schema_migration WHERE number = ?1", [number], |row| row.get(0))
            .optional()?;
        match noted {
            Some(sum) if checksum(migration.sql) == String::as_str(&sum) => {}
            Some(_) => return Err(OpenError::OtherHistory { number }),
            None => run(&transaction, number, migration, now)?,
        }
    }
    Ok(transaction.commit()?)
}

fn has_notes(connection: &Connection) -> Result<bool, OpenError> {
    let sql = "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'schema_migration'";
    Ok(connection.query_row(sql, [], |_| Ok(())).optional()?.is_some())
}

/// The column came with the seventh migration; what stood before it has no mark.
fn note_kinds(transaction: &Transaction<'_>) -> Result<(), OpenError> {
    if !has_kinds(transaction)? {
        let sql = "ALTER TABLE schema_migration ADD COLUMN kind TEXT NOT NULL DEFAULT 'contract'";
        transaction.execute_batch(sql)?;
    }
    Ok(())
}

fn has_kinds(connection: &Connection) -> Result<bool, OpenError> {
    let sql = "SELECT 1 FROM pragma_table_info('schema_migration') WHERE name = 'kind'";
    Ok(connection.query_row(sql, [], |_| Ok(())).optional()?.is_some())
}

fn refuse_newer(connection: &Connection, migrations: &[Migration]) -> Result<(), OpenError> {
    let known = u32::try_from(migrations.len()).unwrap_or(u32::MAX);
    let sql = "SELECT max(number) FROM schema_migration WHERE number > ?1 AND kind <> 'expand'";
    let found: Option<u32> = connection.query_row(sql, [known], |row| row.get(0))?;
    found.map_or(Ok(()), |found| Err(OpenError::NewerVersion { found, known }))
}

fn run(
    transaction: &Transaction<'_>,
    number: u32,
    migration: &Migration,
    now: Timestamp,
) -> Result<(), OpenError> {
    transaction.execute_batch(migration.sql)?;
    transaction.execute(
        "INSERT INTO schema_migration (number, checksum, applied_at, kind) VALUES (?1, ?2, ?3, ?4)",
        params![number, checksum(migration.sql), now.millis(), migration.kind.word()],
    )?;
    Ok(())
}
