//! Statements and their values: the only place that speaks to PostgreSQL about them, and that reads its errors.
//!
//! Whatever goes wrong becomes one of the words of the port; the code of PostgreSQL and the name of the table go to the
//! log, never a value and never SQL text.

use super::{engine::WRITE, link::Link};
pub(super) use crate::record::{Doc, Record, Word, millis, number, or_say_once};
use crate::record::{doc_text, word_text};
use bytes::BytesMut;
use nightlatch_domain::ports::store::StoreError;
use serde::Serialize;
use std::{error::Error, fmt, future::poll_fn, sync::atomic::Ordering, task::Poll};
use tokio_postgres::{
    Row, Statement,
    error::SqlState,
    types::{FromSql, IsNull, ToSql, Type, to_sql_checked},
};

/// A value of a statement.
pub(super) type Value<'a> = &'a (dyn ToSql + Sync);

/// The values of a statement, in its order.
macro_rules! params {
    ($($value:expr),* $(,)?) => { &[$(&$value as $crate::postgres::record::Value<'_>),*] };
}
pub(super) use params;

macro_rules! as_text {
    ($kind:ident, $text:ident) => {
        impl<T: Serialize + Sync> ToSql for $kind<'_, T> {
            fn to_sql(
                &self,
                kind: &Type,
                out: &mut BytesMut,
            ) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
                $text(self.0)?.to_sql(kind, out)
            }

            fn accepts(kind: &Type) -> bool {
                <String as ToSql>::accepts(kind)
            }

            to_sql_checked!();
        }

        impl<T> fmt::Debug for $kind<'_, T> {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str(stringify!($kind))
            }
        }
    };
}
as_text!(Word, word_text);
as_text!(Doc, doc_text);

impl crate::record::Columns for Row {
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

/// A row of several tables, each with all of its columns: between two of them stands a column of the name of [`BETWEEN`].
pub(super) struct Parted<'a> {
    row: &'a Row,
    part: usize,
}

/// What the column between two tables is called; no column of a table is.
pub(super) const BETWEEN: &str = "|";

impl<'a> Parted<'a> {
    pub(super) const fn of(row: &'a Row, part: usize) -> Self {
        Self { row, part }
    }

    /// Where a column of this part is.
    fn place(&self, column: &str) -> Option<usize> {
        let mut part = 0;
        self.row.columns().iter().position(|there| {
            part += usize::from(there.name() == BETWEEN);
            part == self.part && there.name() == column
        })
    }
}

impl crate::record::Columns for Parted<'_> {
    fn text(&self, column: &str) -> Option<Option<String>> {
        self.row.try_get(self.place(column)?).ok()
    }

    fn integer(&self, column: &str) -> Option<Option<i64>> {
        self.row.try_get(self.place(column)?).ok()
    }

    fn bytes(&self, column: &str) -> Option<Vec<u8>> {
        self.row.try_get(self.place(column)?).ok()
    }
}

fn value<'a, T: FromSql<'a>>(row: &'a Row, column: &str) -> Option<T> {
    row.try_get(column).ok()
}

/// Every row of a query.
pub(super) async fn all<T>(
    at: &Link,
    table: &'static str,
    sql: &'static str,
    params: &[Value<'_>],
    read: impl Fn(&Record<'_>) -> Result<T, StoreError>,
) -> Result<Vec<T>, StoreError> {
    rows(at, table, sql, params).await?.iter().map(|row| read(&Record { table, row })).collect()
}

/// The first rows of a query that can be read, at most `limit`: what cannot be read takes no place.
pub(super) async fn readable<T>(
    at: &Link,
    table: &'static str,
    (sql, limit): (&'static str, u32),
    params: &[Value<'_>],
    read: impl Fn(&Record<'_>) -> Result<T, StoreError>,
) -> Result<Vec<T>, StoreError> {
    let rows = rows(at, table, sql, params).await?;
    let found = rows.iter().filter_map(|row| read(&Record { table, row }).ok());
    Ok(found.take(usize::try_from(limit).unwrap_or(usize::MAX)).collect())
}

/// The first row of a query.
pub(super) async fn one<T>(
    at: &Link,
    table: &'static str,
    sql: &'static str,
    params: &[Value<'_>],
    read: impl Fn(&Record<'_>) -> Result<T, StoreError>,
) -> Result<Option<T>, StoreError> {
    let rows = rows(at, table, sql, params).await?;
    rows.first().map(|row| read(&Record { table, row })).transpose()
}

/// The first row of a query, as it came.
pub(super) async fn row(
    at: &Link,
    table: &'static str,
    sql: &'static str,
    params: &[Value<'_>],
) -> Result<Option<Row>, StoreError> {
    Ok(rows(at, table, sql, params).await?.into_iter().next())
}

/// Whether a query has a row.
pub(super) async fn holds(
    at: &Link,
    table: &'static str,
    sql: &'static str,
    params: &[Value<'_>],
) -> Result<bool, StoreError> {
    Ok(!rows(at, table, sql, params).await?.is_empty())
}

async fn rows(
    at: &Link,
    table: &'static str,
    sql: &'static str,
    params: &[Value<'_>],
) -> Result<Vec<Row>, StoreError> {
    let statement = at.prepared(sql).await.map_err(|error| refusal(at, table, &error))?;
    at.client.query(&statement, params).await.map_err(|error| refusal(at, table, &error))
}

/// Runs a statement that writes; answers how many rows it wrote.
pub(super) async fn write(
    at: &Link,
    table: &'static str,
    sql: &'static str,
    params: &[Value<'_>],
) -> Result<u64, StoreError> {
    let statement = at.prepared(sql).await.map_err(|error| refusal(at, table, &error))?;
    at.client.execute(&statement, params).await.map_err(|error| refusal(at, table, &error))
}

/// Words as one text, for `string_to_array`: none has a blank in it.
pub(super) fn words<T: Serialize>(words: &[T]) -> Result<String, StoreError> {
    let words = words.iter().map(|word| word_text(word).map_err(|_| StoreError::Corrupt("word")));
    Ok(words.collect::<Result<Vec<_>, _>>()?.join(" "))
}

/// A statement among others, with its table and its values.
pub(super) type Step<'a> = (&'static str, &'static str, &'a [Value<'a>]);

/// Runs statements one after the other, and waits for none before the next is on its way; answers how many rows each found or
/// wrote. After one that fails, none does anything.
pub(super) async fn together(at: &Link, steps: &[Step<'_>]) -> Result<Vec<u64>, StoreError> {
    sent(at, &prepared(at, steps).await?, steps).await
}

/// Begins the transaction, and runs statements on the way. They only read, or take rows: where it did not begin, they did
/// nothing that stays.
pub(super) async fn begin_with(at: &Link, steps: &[Step<'_>]) -> Result<Vec<u64>, StoreError> {
    let statements = match prepared(at, steps).await {
        Err(_) if at.lost.load(Ordering::SeqCst) => return Err(at.begin_again()),
        prepared => prepared?,
    };
    let (begun, found) = tokio::join!(biased; at.client.batch_execute(WRITE), sent(at, &statements, steps));
    if begun.is_err() {
        // A link that the server closed while it was idle.
        return Err(at.begin_again());
    }
    found
}

async fn prepared(at: &Link, steps: &[Step<'_>]) -> Result<Vec<Statement>, StoreError> {
    let mut statements = Vec::with_capacity(steps.len());
    for (table, sql, _) in steps {
        statements.push(at.prepared(sql).await.map_err(|error| refusal(at, table, &error))?);
    }
    Ok(statements)
}

/// Each is on its way before the first is waited for: a future of the client hands over its words when it is first looked at.
async fn sent(at: &Link, statements: &[Statement], steps: &[Step<'_>]) -> Result<Vec<u64>, StoreError> {
    let asked =
        statements.iter().zip(steps).map(|(statement, (_, _, values))| at.client.execute(statement, values));
    let mut asked: Vec<_> = asked.map(Box::pin).collect();
    let mut answers: Vec<Option<Result<u64, tokio_postgres::Error>>> = asked.iter().map(|_| None).collect();
    poll_fn(|context| {
        for (asked, answer) in asked.iter_mut().zip(&mut answers).filter(|(_, answer)| answer.is_none()) {
            if let Poll::Ready(ready) = asked.as_mut().poll(context) {
                *answer = Some(ready);
            }
        }
        if answers.iter().all(Option::is_some) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    let answers = answers.into_iter().flatten().zip(steps);
    answers.map(|(answer, (table, ..))| answer.map_err(|error| refusal(at, table, &error))).collect()
}

/// What an error of PostgreSQL at this table is to a caller.
fn refusal(at: &Link, table: &'static str, error: &tokio_postgres::Error) -> StoreError {
    at.failed.store(true, Ordering::SeqCst);
    let refusal = match error.code() {
        Some(&(SqlState::T_R_SERIALIZATION_FAILURE | SqlState::T_R_DEADLOCK_DETECTED)) => {
            return at.begin_again();
        }
        // A table has columns that it had not when the statement was prepared, or somebody between took the statements away.
        Some(&(SqlState::FEATURE_NOT_SUPPORTED | SqlState::INVALID_SQL_STATEMENT_NAME)) => {
            tracing::warn!(
                table,
                code = error.code().map(SqlState::code),
                "a statement does not fit the database"
            );
            at.forget_statements();
            return at.begin_again();
        }
        Some(&SqlState::UNIQUE_VIOLATION) => return StoreError::Exists(table),
        Some(&SqlState::FOREIGN_KEY_VIOLATION) => return StoreError::Missing(table),
        Some(code) if code.code().starts_with("22") || code.code().starts_with("23") => {
            StoreError::Corrupt(table)
        }
        code => {
            at.lost.store(code.is_none_or(ends_the_link), Ordering::SeqCst);
            StoreError::Unavailable
        }
    };
    tracing::error!(table, code = error.code().map(SqlState::code), "the database refused");
    refusal
}

/// Whether the server says it as its last word: it is ended, or this link is, by whoever tends it or for having been idle.
fn ends_the_link(code: &SqlState) -> bool {
    let code = code.code();
    code.starts_with("57P")
        || code.starts_with("08")
        || code.starts_with("25P03")
        || code.starts_with("25P04")
}

/// What a commit that came back with an error is. Only what names a rule that it broke was surely not written.
pub(super) fn of_commit(at: &Link, error: &tokio_postgres::Error) -> StoreError {
    match error.code() {
        Some(&(SqlState::T_R_SERIALIZATION_FAILURE | SqlState::T_R_DEADLOCK_DETECTED)) => at.begin_again(),
        Some(code) if code.code().starts_with("23") => StoreError::Corrupt("transaction"),
        code => {
            tracing::error!(code = code.map(SqlState::code), "the answer of a commit was lost");
            StoreError::Unknown
        }
    }
}
