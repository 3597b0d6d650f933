//! Rows as both engines hand them over, and what is written into them.
//!
//! An engine's row is its [`Columns`]; what a column means is decided here, once. Whatever cannot be read is said to be
//! damaged, with the name of the table and no value.

use nightlatch_domain::{clock::Timestamp, ports::store::StoreError};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use std::sync::atomic::{AtomicBool, Ordering};

/// A row of an engine. None where there is no such column, or it is of another type.
pub(crate) trait Columns {
    /// A text, or NULL.
    fn text(&self, column: &str) -> Option<Option<String>>;
    /// A number, or NULL.
    fn integer(&self, column: &str) -> Option<Option<i64>>;
    /// Bytes.
    fn bytes(&self, column: &str) -> Option<Vec<u8>>;
}

/// What is one string in serde's eyes (an id, a name, a state), written as that string.
pub(crate) struct Word<'a, T>(pub(crate) &'a T);

/// What is only carried, written as JSON.
pub(crate) struct Doc<'a, T>(pub(crate) &'a T);

/// What a [`Word`] is written as.
pub(crate) fn word_text(value: &impl Serialize) -> Result<String, serde_json::Error> {
    match serde_json::to_value(value)? {
        Value::String(text) => Ok(text),
        _ => Err(serde::ser::Error::custom("not a word")),
    }
}

/// What a [`Doc`] is written as.
pub(crate) fn doc_text(value: &impl Serialize) -> Result<String, serde_json::Error> {
    serde_json::to_string(value)
}

/// What could be read of a row, of which it is said once that some of its table cannot be: whoever looks each minute would
/// say so each minute.
pub(crate) fn or_say_once<T>(
    read: Result<T, StoreError>,
    table: &'static str,
    said: &AtomicBool,
) -> Result<T, StoreError> {
    read.inspect_err(|_| {
        if !said.swap(true, Ordering::Relaxed) {
            tracing::error!(table, "a row cannot be read: it stays, and nothing is done about what it holds");
        }
    })
}

/// A count as a column has it. What does not fit becomes the largest number, which no row ever holds.
pub(crate) fn number(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// A time that may be missing.
pub(crate) fn millis(at: Option<Timestamp>) -> Option<i64> {
    at.map(Timestamp::millis)
}

/// One row of a table, with what is needed to say that it cannot be read.
pub(crate) struct Record<'a> {
    pub(crate) table: &'static str,
    pub(crate) row: &'a dyn Columns,
}

impl Record<'_> {
    fn integer(&self, column: &str) -> Result<i64, StoreError> {
        self.row.integer(column).flatten().ok_or_else(|| self.corrupt())
    }

    /// A text.
    pub(crate) fn text(&self, column: &str) -> Result<String, StoreError> {
        self.text_or_none(column)?.ok_or_else(|| self.corrupt())
    }

    /// A text that may be missing.
    pub(crate) fn text_or_none(&self, column: &str) -> Result<Option<String>, StoreError> {
        self.row.text(column).ok_or_else(|| self.corrupt())
    }

    /// A number that is never negative.
    pub(crate) fn count(&self, column: &str) -> Result<u64, StoreError> {
        u64::try_from(self.integer(column)?).map_err(|_| self.corrupt())
    }

    /// A number that is never negative and may be missing.
    pub(crate) fn count_or_none(&self, column: &str) -> Result<Option<u64>, StoreError> {
        let number = self.row.integer(column).ok_or_else(|| self.corrupt())?;
        number.map(|number| u64::try_from(number).map_err(|_| self.corrupt())).transpose()
    }

    /// A number that fits 32 bits.
    pub(crate) fn count_of_32_bits(&self, column: &str) -> Result<u32, StoreError> {
        u32::try_from(self.integer(column)?).map_err(|_| self.corrupt())
    }

    /// A time.
    pub(crate) fn time(&self, column: &str) -> Result<Timestamp, StoreError> {
        Ok(Timestamp::from_millis(self.integer(column)?))
    }

    /// A time that may be missing.
    pub(crate) fn time_or_none(&self, column: &str) -> Result<Option<Timestamp>, StoreError> {
        let at = self.row.integer(column).ok_or_else(|| self.corrupt())?;
        Ok(at.map(Timestamp::from_millis))
    }

    /// Exactly `N` bytes.
    pub(crate) fn bytes<const N: usize>(&self, column: &str) -> Result<[u8; N], StoreError> {
        let bytes = self.row.bytes(column).ok_or_else(|| self.corrupt())?;
        bytes.try_into().map_err(|_| self.corrupt())
    }

    /// What [`Word`] wrote.
    pub(crate) fn word<T: DeserializeOwned>(&self, column: &str) -> Result<T, StoreError> {
        self.read_word(self.text(column)?)
    }

    /// What [`Word`] wrote, or nothing.
    pub(crate) fn word_or_none<T: DeserializeOwned>(&self, column: &str) -> Result<Option<T>, StoreError> {
        self.text_or_none(column)?.map(|text| self.read_word(text)).transpose()
    }

    /// What [`Doc`] wrote.
    pub(crate) fn doc<T: DeserializeOwned>(&self, column: &str) -> Result<T, StoreError> {
        self.read_doc(&self.text(column)?)
    }

    /// What [`Doc`] wrote, or nothing.
    pub(crate) fn doc_or_none<T: DeserializeOwned>(&self, column: &str) -> Result<Option<T>, StoreError> {
        self.text_or_none(column)?.map(|text| self.read_doc(&text)).transpose()
    }

    /// The row cannot be read.
    pub(crate) fn corrupt(&self) -> StoreError {
        StoreError::Corrupt(self.table)
    }

    fn read_word<T: DeserializeOwned>(&self, text: String) -> Result<T, StoreError> {
        serde_json::from_value(Value::String(text)).map_err(|_| self.corrupt())
    }

    fn read_doc<T: DeserializeOwned>(&self, text: &str) -> Result<T, StoreError> {
        serde_json::from_str(text).map_err(|_| self.corrupt())
    }
}
