//! Bodies about the ledger.

use super::schema::dto;
use nightlatch_domain::id::CallId;
use serde_json::Value;

dto! {
    /// One record of the ledger, as it was written.
    LedgerRecord {
        /// Its number.
        seq: u64,
        /// The line as JSON.
        record: Value,
    }

    /// Whether the ledger is whole.
    LedgerVerdict {
        /// Whether it is.
        whole: bool,
        /// How many records were read.
        records: u64,
        /// The last sequence number.
        last_seq: u64,
        /// The first record that does not fit.
        first_bad: Option<u64>,
        /// What is wrong with it, in words.
        detail: String,
    }

    /// All that the ledger knows of one call.
    CallStory {
        /// The call.
        call: CallId,
        /// In words: what it was, what was decided, what came of it.
        summary: Vec<String>,
        /// The records.
        records: Vec<LedgerRecord>,
    }
}
