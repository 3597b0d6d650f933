//! The store over PostgreSQL: one plane's part of it, under that plane's role.
//!
//! What SQLite's one writer gives for nothing is written out here. Whoever changes a chain takes its row first; the
//! feed's counter row comes last, since all wait for it, and what is read after it (kills, the era) is read by a statement
//! of its own, which sees all that committed before. Rows are the only locks. A transaction that another one had to go
//! before is begun again.

mod address;
mod budgets;
mod calls;
mod control;
mod directory;
mod durability;
mod engine;
mod feed;
mod keeper;
mod ledger;
mod link;
mod mailbox;
mod migrate;
mod record;

use crate::invariants::Fault;
pub use address::Address;
use engine::Engine;
pub use ledger::PostgresHeads;
use link::{Link, Pool};
use mailbox::Ears;
use nightlatch_domain::{
    clock::Timestamp,
    ports::{
        Boxed,
        store::{StoreError, Stored},
    },
};
use std::sync::Arc;

/// Transactions of one plane that run at the same time; more wait.
const LINKS_MAX: usize = 8;
/// Whoever stops in the middle of a transaction (a paused process, a lost network) holds up the others this long. A
/// statement that is a transaction by itself is as isolated and as durable as any other, whatever the defaults are.
const SESSION: &str = "-c idle_in_transaction_session_timeout=1000 -c synchronous_commit=on \
    -c default_transaction_isolation=read\\ committed";

/// Whose part of the store: each is a role of its own in the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plane {
    /// What a human arranges.
    Control,
    /// The directory, durable calls, what grants have spent.
    Gateway,
    /// Everything that holds or makes a credential.
    Keeper,
    /// The ledger's signed head.
    Ledger,
}

impl Plane {
    /// The role that has the rights of this plane, and no others.
    #[must_use]
    pub const fn role(self) -> &'static str {
        match self {
            Self::Control => "nightlatch_control",
            Self::Gateway => "nightlatch_gateway",
            Self::Keeper => "nightlatch_keeper",
            Self::Ledger => "nightlatch_ledger",
        }
    }
}

/// Why a database cannot be used. No value of it and no password comes through.
#[derive(Debug, thiserror::Error)]
pub enum PostgresError {
    /// The text that says where it is cannot be read.
    #[error("the database's address cannot be read: write `postgres://USER@HOST:PORT/NAME`")]
    Address,
    /// The address bears a password, which every program that may read the configuration would see.
    #[error(
        "the database's address bears a password: put it into a file of yours alone, and name that by `password_file`"
    )]
    PasswordInAddress,
    /// The database lacks what this version needs.
    #[error(
        "the database has schema {found}, this version needs {known}: run `nightlatch serve --migrate` as its owner"
    )]
    NotMigrated {
        /// The highest migration in the database; 0 where there is none.
        found: i64,
        /// The highest that this version knows.
        known: i64,
    },
    /// It is on another machine, or it demands TLS, and nothing vouches for it.
    #[error(
        "the database would be spoken to in clear: only one on this machine may be; name who vouches for its certificate by `ca_file`"
    )]
    Clear,
    /// The server cannot be reached, or it refused.
    #[error(
        "the database cannot be used (PostgreSQL says `{code}`): look whether it runs, and whom it lets in"
    )]
    Unusable {
        /// The SQLSTATE, or `none` where the server said nothing.
        code: String,
    },
    /// A newer version changed it in a way that this one does not know.
    #[error("the database has schema {found}, this version knows up to {known}: run the newer version")]
    NewerVersion {
        /// The highest such migration in the database.
        found: i64,
        /// The highest that this version knows.
        known: i64,
    },
    /// A migration that was applied is not the one that this version has under its number.
    #[error("migration {number} of the database is not this version's: run the version that made it")]
    OtherHistory {
        /// The migration.
        number: i64,
    },
}

impl From<tokio_postgres::Error> for PostgresError {
    fn from(error: tokio_postgres::Error) -> Self {
        let code = error.code().map_or("none", tokio_postgres::error::SqlState::code);
        Self::Unusable { code: code.to_owned() }
    }
}

/// One plane's part of the store. Cheap to clone.
#[derive(Clone)]
pub struct PostgresStore {
    engine: Arc<Engine>,
}

impl PostgresStore {
    /// The store at `address`, for one plane. Connects when it is first asked for something.
    #[must_use]
    pub fn new(address: &Address, plane: Plane) -> Self {
        let address = address.with(&format!("{SESSION} -c role={}", plane.role()));
        let (work, kills) = (Pool::new(address.clone(), LINKS_MAX), Pool::new(address.clone(), 1));
        let engine = Engine { work, kills, ears: Ears::new(address.clone()), address };
        Self { engine: Arc::new(engine) }
    }

    /// Brings the schema of the database at `address` up to this version's, as whoever owns it. Several may do so at the
    /// same time. `now` is noted beside each migration that is applied.
    ///
    /// # Errors
    /// [`PostgresError`]; the database is then as it was.
    pub async fn migrate(address: &Address, now: Timestamp) -> Result<(), PostgresError> {
        migrate::apply(address, migrate::MIGRATIONS, now).await
    }

    /// Whether the database is one that this version may work with, asked as this plane.
    ///
    /// # Errors
    /// [`PostgresError::NotMigrated`], [`PostgresError::NewerVersion`], [`PostgresError::Unusable`].
    pub async fn check(&self) -> Result<(), PostgresError> {
        migrate::check(&self.engine.address, migrate::MIGRATIONS).await
    }

    /// What does not hold between rows, asked as whoever owns the database.
    ///
    /// # Errors
    /// As [`PostgresStore::check`].
    pub async fn look_through(address: &Address) -> Result<Vec<Fault>, PostgresError> {
        migrate::check(address, migrate::MIGRATIONS).await?;
        migrate::look_through(address).await
    }

    fn write<A, T, F>(&self, given: A, work: F) -> Stored<'_, T>
    where
        A: Send + Sync + 'static,
        T: Send + 'static,
        F: for<'a> Fn(&'a Link, &'a A) -> Boxed<'a, Result<T, StoreError>> + Send + Sync + 'static,
    {
        self.engine.write(given, work)
    }

    /// As [`PostgresStore::write`]; the work begins it.
    fn begun<A, T, F>(&self, given: A, work: F) -> Stored<'_, T>
    where
        A: Send + Sync + 'static,
        T: Send + 'static,
        F: for<'a> Fn(&'a Link, &'a A) -> Boxed<'a, Result<T, StoreError>> + Send + Sync + 'static,
    {
        self.engine.write_begun(given, work)
    }

    /// As [`PostgresStore::write`], of a single statement.
    fn alone<A, T, F>(&self, given: A, work: F) -> Stored<'_, T>
    where
        A: Send + Sync + 'static,
        T: Send + 'static,
        F: for<'a> Fn(&'a Link, &'a A) -> Boxed<'a, Result<T, StoreError>> + Send + Sync + 'static,
    {
        self.engine.write_alone(given, work)
    }

    /// As [`PostgresStore::write`], for what need not outlive a crash of the server.
    fn lightly<A, T, F>(&self, given: A, work: F) -> Stored<'_, T>
    where
        A: Send + Sync + 'static,
        T: Send + 'static,
        F: for<'a> Fn(&'a Link, &'a A) -> Boxed<'a, Result<T, StoreError>> + Send + Sync + 'static,
    {
        self.engine.write_lightly(given, work)
    }

    fn kill_first<A, T, F>(&self, given: A, work: F) -> Stored<'_, T>
    where
        A: Send + Sync + 'static,
        T: Send + 'static,
        F: for<'a> Fn(&'a Link, &'a A) -> Boxed<'a, Result<T, StoreError>> + Send + Sync + 'static,
    {
        self.engine.kill(given, work)
    }

    fn read<A, T, F>(&self, given: A, work: F) -> Stored<'_, T>
    where
        A: Send + Sync + 'static,
        T: Send + 'static,
        F: for<'a> Fn(&'a Link, &'a A) -> Boxed<'a, Result<T, StoreError>> + Send + Sync + 'static,
    {
        self.engine.read(given, work)
    }

    fn read_moment<A, T, F>(&self, given: A, work: F) -> Stored<'_, T>
    where
        A: Send + Sync + 'static,
        T: Send + 'static,
        F: for<'a> Fn(&'a Link, &'a A) -> Boxed<'a, Result<T, StoreError>> + Send + Sync + 'static,
    {
        self.engine.read_moment(given, work)
    }
}
