//! Statements and their values: the only place that speaks to SQLite about them, and that reads its errors.
//!
//! Whatever goes wrong becomes one of the words of the port; the code of SQLite and the name of the
//! table go to the log, never a value and never SQL text.

use crate::record::{Columns, doc_text, word_text};
pub(super) use crate::record::{Doc, Record, Word, millis, number, or_say_once};
use nightlatch_domain::ports::store::StoreError;
use rusqlite::{
    Connection, ErrorCode, Params, Row, ToSql, ffi,
    types::{FromSql, ToSqlOutput},
};
use serde::Serialize;

impl<T: Serialize> ToSql for Word<'_, T> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        written(word_text(self.0))
    }
}

impl<T: Serialize> ToSql for Doc<'_, T> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        written(doc_text(self.0))
    }
}

fn written(text: Result<String, serde_json::Error>) -> rusqlite::Result<ToSqlOutput<'static>> {
    Ok(text.map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?.into())
}

impl Columns for Row<'_> {
    fn text(&self, column: &str) -> Option<Option<String>> {
        value(self, column)
    }

    fn integer(&self, column: &str) -> Option<Option<i64>> {
        value(self, column)
    }

    fn bytes(&self, column: &str) -> Option<Vec<u8>> {
        value(self, column)
    }
}

fn value<T: FromSql>(row: &Row<'_>, column: &str) -> Option<T> {
    row.get(column).ok()
}

/// Every row of a query.
pub(super) fn all<T>(
    at: &Connection,
    table: &'static str,
    sql: &str,
    params: impl Params,
    read: impl Fn(&Record<'_>) -> Result<T, StoreError>,
) -> Result<Vec<T>, StoreError> {
    let refuse = refusal(table);
    let mut statement = at.prepare_cached(sql).map_err(&refuse)?;
    let mut rows = statement.query(params).map_err(&refuse)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next().map_err(&refuse)? {
        found.push(read(&Record { table, row })?);
    }
    Ok(found)
}

/// The first rows of a query that can be read, at most `limit`: what cannot be read takes no place.
pub(super) fn readable<T>(
    at: &Connection,
    table: &'static str,
    (sql, limit): (&str, u32),
    params: impl Params,
    read: impl Fn(&Record<'_>) -> Result<T, StoreError>,
) -> Result<Vec<T>, StoreError> {
    let refuse = refusal(table);
    let mut statement = at.prepare_cached(sql).map_err(&refuse)?;
    let mut rows = statement.query(params).map_err(&refuse)?;
    let (mut found, mut left) = (Vec::new(), limit);
    while left > 0 {
        let Some(row) = rows.next().map_err(&refuse)? else { break };
        if let Ok(one) = read(&Record { table, row }) {
            found.push(one);
            left -= 1;
        }
    }
    Ok(found)
}

/// The first row of a query.
pub(super) fn one<T>(
    at: &Connection,
    table: &'static str,
    sql: &str,
    params: impl Params,
    read: impl Fn(&Record<'_>) -> Result<T, StoreError>,
) -> Result<Option<T>, StoreError> {
    let refuse = refusal(table);
    let mut statement = at.prepare_cached(sql).map_err(&refuse)?;
    let mut rows = statement.query(params).map_err(&refuse)?;
    match rows.next().map_err(&refuse)? {
        Some(row) => read(&Record { table, row }).map(Some),
        None => Ok(None),
    }
}

/// Whether a query has a row.
pub(super) fn holds(at: &Connection, table: &'static str, sql: &str) -> Result<bool, StoreError> {
    Ok(one(at, table, sql, [], |_| Ok(()))?.is_some())
}

/// Runs a statement that writes; answers how many rows it wrote.
pub(super) fn write(
    at: &Connection,
    table: &'static str,
    sql: &str,
    params: impl Params,
) -> Result<usize, StoreError> {
    let refuse = refusal(table);
    at.prepare_cached(sql).map_err(&refuse)?.execute(params).map_err(&refuse)
}

/// What an error of SQLite at this table is to a caller.
pub(super) fn refusal(table: &'static str) -> impl Fn(rusqlite::Error) -> StoreError {
    move |error| {
        let refusal = judge(table, &error);
        if !matches!(refusal, StoreError::Exists(_) | StoreError::Missing(_)) {
            let code = error.sqlite_error().map(|error| error.extended_code);
            tracing::error!(table, code, "the database refused");
        }
        refusal
    }
}

fn judge(table: &'static str, error: &rusqlite::Error) -> StoreError {
    let Some(error) = error.sqlite_error() else { return StoreError::Corrupt(table) };
    match (error.code, error.extended_code) {
        (_, ffi::SQLITE_CONSTRAINT_UNIQUE | ffi::SQLITE_CONSTRAINT_PRIMARYKEY) => StoreError::Exists(table),
        (_, ffi::SQLITE_CONSTRAINT_FOREIGNKEY) => StoreError::Missing(table),
        (ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::ConstraintViolation, _) => {
            StoreError::Corrupt(table)
        }
        _ => StoreError::Unavailable,
    }
}
