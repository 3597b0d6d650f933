//! The store over one SQLite file: opening it, and what `up` asks before anything else.

mod budgets;
mod calls;
mod control;
mod directory;
mod engine;
mod feed;
mod keeper;
mod ledger;
mod mailbox;
mod migrate;
mod record;
mod upkeep;

use crate::durability::Weakness;
use engine::Engine;
use nightlatch_domain::{clock::Timestamp, ports::store::Stored};
use rusqlite::{Connection, ErrorCode, OpenFlags, config::DbConfig};
use std::{
    fs::{OpenOptions, Permissions},
    io,
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::Path,
    sync::Arc,
    time::Duration,
};
pub use upkeep::SqliteFile;

/// How long one connection waits for another's lock before it gives up.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Threads that read.
const READERS: usize = 2;
/// Connections for what is read where it is asked for.
const AT_HAND: usize = 4;

/// How SQLite counts `synchronous`: FULL, above it EXTRA.
const SYNCHRONOUS_FULL: u64 = 2;

/// Why the database could not be opened. The caller knows its path and says it.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file cannot be made, read or written.
    #[error("the database file cannot be opened: {0}")]
    Io(#[from] io::Error),
    /// It is something else.
    #[error("the file is not a database: move it away, or put the right one back from a backup")]
    NotADatabase,
    /// It is a database, but another program's.
    #[error("the database is another program's: point `--data` at a folder of Nightlatch")]
    Foreign,
    /// A newer version wrote it.
    #[error("the database has schema {found}, this version knows up to {known}: run the newer version")]
    NewerVersion {
        /// The highest migration in the file.
        found: u32,
        /// The highest that this version knows.
        known: u32,
    },
    /// A migration that was applied is not the one that this version has under its number.
    #[error("migration {number} of the database is not this version's: run the version that made it")]
    OtherHistory {
        /// The migration.
        number: u32,
    },
    /// The file is damaged.
    #[error("the database is damaged: put it back from a backup")]
    Damaged,
    /// `SQLite` could not work with the file: no room, no permission, or another process holds it.
    #[error(
        "the database cannot be used ({0:?}): look for a full disk, a read-only mount, or another process"
    )]
    Unusable(ErrorCode),
}

impl From<rusqlite::Error> for OpenError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::NotADatabase) => Self::NotADatabase,
            Some(ErrorCode::DatabaseCorrupt) => Self::Damaged,
            Some(code) => Self::Unusable(code),
            None => Self::Damaged,
        }
    }
}

/// The store over one SQLite file. Cheap to clone; the last clone's end closes the file cleanly.
#[derive(Clone)]
pub struct SqliteStore {
    engine: Arc<Engine>,
}

impl SqliteStore {
    /// Opens the database at `path`, makes it (mode 0600) where there is none, and brings its schema up to
    /// this version's. `now` is noted beside each migration that is applied.
    ///
    /// # Errors
    /// [`OpenError`]; the file is then as it was.
    pub fn open(path: &Path, now: Timestamp) -> Result<Self, OpenError> {
        keep_private(path)?;
        let mut writer = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        migrate::refuse_foreign(&writer)?;
        writer.pragma_update(None, "journal_mode", "WAL")?;
        migrate::apply(&mut writer, migrate::MIGRATIONS, now)?;
        let number = feed::number(&writer).map_err(|_| OpenError::Damaged)?;
        let connections = |count| {
            (0..count).map(|_| connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY)).collect::<Result<Vec<_>, _>>()
        };
        let (readers, at_hand) = (connections(READERS)?, connections(AT_HAND)?);
        // Nobody waits for a lock where it is asked for.
        at_hand.iter().try_for_each(|one| one.busy_timeout(Duration::ZERO))?;
        Ok(Self { engine: Arc::new(Engine::start(writer, readers, at_hand, number)?) })
    }

    /// Whether nobody has lived here yet: there is no tenant.
    #[must_use]
    pub fn is_new(&self) -> Stored<'_, bool> {
        self.engine.read(|at| Ok(!record::holds(at, "tenant", "SELECT 1 FROM tenant LIMIT 1")?))
    }

    /// What makes an answer of this store less durable than it is said to be; nothing where all is as it should be. Asked
    /// of the connection that writes.
    #[must_use]
    pub fn weaknesses(&self) -> Stored<'_, Vec<Weakness>> {
        self.engine.write(|at| {
            let asked = "SELECT synchronous, journal_mode FROM pragma_synchronous, pragma_journal_mode";
            let found = record::one(at, "pragma", asked, [], |row| {
                let synchronous = row.count("synchronous")? >= SYNCHRONOUS_FULL;
                let write_ahead = row.text("journal_mode")? == "wal";
                Ok([
                    (!synchronous).then_some(Weakness::SynchronousBelowFull),
                    (!write_ahead).then_some(Weakness::NoWriteAhead),
                ])
            })?;
            Ok(found.into_iter().flatten().flatten().collect())
        })
    }
}

/// Only our user may read the file; SQLite gives its side files the same mode.
fn keep_private(path: &Path) -> io::Result<()> {
    let file =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
    file.set_permissions(Permissions::from_mode(0o600))
}

fn connect(path: &Path, mode: OpenFlags) -> Result<Connection, OpenError> {
    let connection = Connection::open_with_flags(path, mode | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(128);
    // A plan follows from its statement alone: else each new value of a parameter has some of them prepared anew.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    for (name, value) in [
        ("synchronous", "FULL"),
        ("foreign_keys", "ON"),
        ("secure_delete", "ON"),
        ("temp_store", "MEMORY"),
        ("trusted_schema", "OFF"),
    ] {
        connection.pragma_update(None, name, value)?;
    }
    Ok(connection)
}

#[cfg(test)]
mod tests;
