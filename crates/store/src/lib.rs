//! Where the rows live: the store's ports over SQLite.
//!
//! [`SqliteStore`] is the one type; each plane gets it as the trait of its own part (control, gateway's
//! directory, keeper, ledger), which becomes a database role of its own once planes are processes.
//!
//! **How.** One thread owns the only connection that writes, and every request is one transaction that
//! begins `IMMEDIATE`; two more threads read, each request in one read transaction. A request is queued
//! when the method is called: dropping its future does not take it back, so that a caller who goes away
//! interrupts nothing half-way. No lock is ever held while anything else is awaited.
//!
//! **Promises.** What was answered is on the disk (`synchronous=FULL`). The feed is gapless: its number
//! comes from one counter row that the writing transaction moves. A holder's write names fence and owner
//! and does nothing where they no longer fit. A kill is one row under the same counter row. No credential is
//! deleted but with its last connection, and then only if nobody could revoke it or its provider confirmed that it is
//! revoked, or when it was consumed long ago and its access token is dead. A write whose answer is lost is said to be of
//! unknown outcome. What was deleted leaves no trace in the
//! file (`secure_delete`, and the write-ahead file is emptied before a removal is confirmed).
//!
//! **Never.** No clear secret comes here, only what is wrapped. No value and no SQL text leaves in an error
//! or a log line. No read crosses a tenant where the port takes one.

#[cfg(feature = "conformance")]
pub mod conformance;
mod sqlite;

pub use sqlite::{OpenError, SqliteStore};
