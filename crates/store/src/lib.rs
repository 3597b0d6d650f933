//! Where the rows live: the store's ports over SQLite and over PostgreSQL.
//!
//! [`SqliteStore`] is one process's: one type, which each plane gets as the trait of its own part (control, gateway's
//! directory, keeper, ledger). [`PostgresStore`] is one plane's part under that plane's own database role, so that
//! planes can be processes, several of each; the server refuses a plane every table that is not its own.
//!
//! **How, over SQLite.** One thread owns the only connection that writes, and every request is one savepoint of a transaction
//! that begins `IMMEDIATE` and that it shares with what is queued behind it; two more threads read, each request in one read transaction. A request is queued
//! when the method is called: dropping its future does not take it back, so that a caller who goes away
//! interrupts nothing half-way. No lock is ever held while anything else is awaited.
//!
//! **How, over PostgreSQL.** A request is one transaction of its own task, at READ COMMITTED. Rows are the only locks: a
//! chain's first, the feed's counter row last, and what is read after that one sees all that committed before. What the
//! server refuses in favour of another transaction is begun again. A kill has a connection of its own. Nothing goes to another machine
//! but over TLS, to a server that the given trust vouches for.
//!
//! **Promises.** What was answered is on the disk (`synchronous=FULL`; `synchronous_commit=on`, whatever the server's
//! default, and a warning while it commits is an unknown outcome). The feed is gapless: its number
//! comes from one counter row that the writing transaction moves. A holder's write names fence and owner
//! and does nothing where they no longer fit. A kill is one row under the same counter row. No credential is
//! deleted but with its last connection, and then only if nobody could revoke it or its provider confirmed that it is
//! revoked, or when it was consumed long ago and its access token is dead. A write whose answer is lost is said to be of
//! unknown outcome. What was deleted leaves no trace in SQLite's
//! file (`secure_delete`, and the write-ahead file is emptied before a removal is confirmed); PostgreSQL keeps it, sealed as
//! it was, until its vacuum and in the logs that it has archived.
//!
//! **Never.** No clear secret comes here, only what is wrapped. No value and no SQL text leaves in an error
//! or a log line. No read crosses a tenant where the port takes one.

mod call_rows;
#[cfg(feature = "conformance")]
pub mod conformance;
mod durability;
mod health;
mod imports;
mod invariants;
mod letters;
mod migration;
mod postgres;
mod record;
mod rows;
mod sqlite;

pub use durability::Weakness;
pub use invariants::Fault;
pub use postgres::{Address, Plane, PostgresError, PostgresHeads, PostgresStore};
pub use sqlite::{OpenError, SqliteFile, SqliteStore};
