//! Rows in and out: the only place that speaks to SQLite about values, and that reads its errors.
//!
//! Whatever goes wrong becomes one of four words of the port; the code of SQLite and the name of the
//! table go to the log, never a value and never SQL text.

use nightlatch_domain::{clock::Timestamp, ports::store::StoreError};
use rusqlite::{
    Connection, ErrorCode, Params, Row, ToSql, ffi,
    types::{FromSql, ToSqlOutput},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

/// What is one string in serde's eyes (an id, a name, a state), written as that string.
pub(super) struct Word<'a, T>(pub(super) &'a T);

impl<T: Serialize> ToSql for Word<'_, T> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        match serde_json::to_value(self.0) {
            Ok(Value::String(text)) => Ok(text.into()),
            Ok(_) => Err(rusqlite::Error::InvalidQuery),
            Err(error) => Err(rusqlite::Error::ToSqlConversionFailure(Box::new(error))),
        }
    }
}

/// What is only carried, written as JSON.
pub(super) struct Doc<'a, T>(pub(super) &'a T);

impl<T: Serialize> ToSql for Doc<'_, T> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        let text = serde_json::to_string(self.0);
        Ok(text.map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?.into())
    }
}

/// A count as SQLite has it. What does not fit becomes the largest number, which no row ever holds.
pub(super) fn number(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// A time that may be missing.
pub(super) fn millis(at: Option<Timestamp>) -> Option<i64> {
    at.map(Timestamp::millis)
}

/// One row of a table, with what is needed to say that it cannot be read.
pub(super) struct Record<'a> {
    table: &'static str,
    row: &'a Row<'a>,
}

impl Record<'_> {
    fn value<T: FromSql>(&self, column: &str) -> Result<T, StoreError> {
        self.row.get(column).map_err(refusal(self.table))
    }

    /// A text.
    pub(super) fn text(&self, column: &str) -> Result<String, StoreError> {
        self.value(column)
    }

    /// A text that may be missing.
    pub(super) fn text_or_none(&self, column: &str) -> Result<Option<String>, StoreError> {
        self.value(column)
    }

    /// A number that is never negative.
    pub(super) fn count(&self, column: &str) -> Result<u64, StoreError> {
        u64::try_from(self.value::<i64>(column)?).map_err(|_| self.corrupt())
    }

    /// A number that fits 32 bits.
    pub(super) fn count_of_32_bits(&self, column: &str) -> Result<u32, StoreError> {
        u32::try_from(self.value::<i64>(column)?).map_err(|_| self.corrupt())
    }

    /// A time.
    pub(super) fn time(&self, column: &str) -> Result<Timestamp, StoreError> {
        Ok(Timestamp::from_millis(self.value(column)?))
    }

    /// A time that may be missing.
    pub(super) fn time_or_none(&self, column: &str) -> Result<Option<Timestamp>, StoreError> {
        Ok(self.value::<Option<i64>>(column)?.map(Timestamp::from_millis))
    }

    /// Exactly `N` bytes.
    pub(super) fn bytes<const N: usize>(&self, column: &str) -> Result<[u8; N], StoreError> {
        self.value(column)
    }

    /// What [`Word`] wrote.
    pub(super) fn word<T: DeserializeOwned>(&self, column: &str) -> Result<T, StoreError> {
        self.read_word(self.text(column)?)
    }

    /// What [`Word`] wrote, or nothing.
    pub(super) fn word_or_none<T: DeserializeOwned>(&self, column: &str) -> Result<Option<T>, StoreError> {
        self.text_or_none(column)?.map(|text| self.read_word(text)).transpose()
    }

    /// What [`Doc`] wrote.
    pub(super) fn doc<T: DeserializeOwned>(&self, column: &str) -> Result<T, StoreError> {
        self.read_doc(&self.text(column)?)
    }

    /// What [`Doc`] wrote, or nothing.
    pub(super) fn doc_or_none<T: DeserializeOwned>(&self, column: &str) -> Result<Option<T>, StoreError> {
        self.text_or_none(column)?.map(|text| self.read_doc(&text)).transpose()
    }

    /// The row cannot be read.
    pub(super) fn corrupt(&self) -> StoreError {
        StoreError::Corrupt(self.table)
    }

    fn read_word<T: DeserializeOwned>(&self, text: String) -> Result<T, StoreError> {
        serde_json::from_value(Value::String(text)).map_err(|_| self.corrupt())
    }

    fn read_doc<T: DeserializeOwned>(&self, text: &str) -> Result<T, StoreError> {
        serde_json::from_str(text).map_err(|_| self.corrupt())
    }
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
