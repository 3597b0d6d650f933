//! What an operator does with the file as a whole: look it through, copy it, fold it, ask whose it is. All of it on a connection of
//! its own, beside a program that may be at work on the file.

use super::{OpenError, connect, migrate};
use crate::invariants::{Fault, INVARIANTS};
use nightlatch_domain::id::InstallationId;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension as _};
use std::{collections::BTreeMap, fs::File, io::Read as _, path::Path};

/// What is wrong with pages and indexes is said a hundred times, and no oftener.
const INTEGRITY: &str = "PRAGMA integrity_check(100)";

/// How each database begins, and the smallest page that there is (fileformat2, section 1.3).
const MAGIC: &[u8] = b"SQLite format 3\0";
const PAGE_BYTES_MIN: u64 = 512;

/// The database file as an operator sees it.
pub struct SqliteFile {
    connection: Connection,
    /// Whether its schema is this version's.
    is_current: bool,
}

impl OpenError {
    /// Whether the file may be sound, and another process, or a full disk, is in the way now.
    #[must_use]
    pub const fn is_of_the_moment(&self) -> bool {
        matches!(
            self,
            Self::Unusable(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::DiskFull)
        )
    }
}

impl SqliteFile {
    /// Opens the file to read it.
    ///
    /// # Errors
    /// [`OpenError`]: it is no database of this program, or from a newer version.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        look_like_one(path)?;
        // A file that is not there is not made.
        let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        let is_current = migrate::is_current(&connection, migrate::MIGRATIONS)?;
        Ok(Self { connection, is_current })
    }

    /// Brings what its write-ahead file holds into the file itself, so that it is whole without one. Of a newer version it
    /// may be.
    ///
    /// # Errors
    /// [`OpenError`]: it cannot be opened, or another process is at work on it.
    pub fn fold(path: &Path) -> Result<(), OpenError> {
        look_like_one(path)?;
        let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        migrate::refuse_foreign(&connection)?;
        let busy: i64 = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
        match busy {
            0 => Ok(()),
            _ => Err(OpenError::Unusable(ErrorCode::DatabaseBusy)),
        }
    }

    /// Whose database it is; none where nobody has lived there yet.
    ///
    /// # Errors
    /// [`OpenError::Damaged`], [`OpenError::Unusable`].
    pub fn installation(&self) -> Result<Option<InstallationId>, OpenError> {
        let sql = "SELECT installation_id FROM installation WHERE one = 1";
        let id: Option<String> = self.connection.query_row(sql, [], |row| row.get(0)).optional()?;
        id.map(|id| id.parse().map_err(|_| OpenError::Damaged)).transpose()
    }

    /// Everything that is wrong: pages, indexes, rows that point nowhere, and what must hold between rows.
    ///
    /// # Errors
    /// [`OpenError`] where the file cannot be read at all.
    pub fn check(&self) -> Result<Vec<Fault>, OpenError> {
        let mut faults = self.damages()?;
        // Questions about rows mean nothing where pages are damaged.
        if !faults.is_empty() {
            return Ok(faults);
        }
        for (table, count) in self.orphans()? {
            faults.extend(Fault::counted("row-without-its-parent", count, Some(table)));
        }
        // An older schema lacks what they ask for.
        for (name, sql) in INVARIANTS.into_iter().filter(|_| self.is_current) {
            let count: i64 = self.connection.query_row(sql, [], |row| row.get(0))?;
            faults.extend(Fault::counted(name, count, None));
        }
        Ok(faults)
    }

    fn damages(&self) -> Result<Vec<Fault>, OpenError> {
        let mut statement = self.connection.prepare(INTEGRITY)?;
        let said = statement.query_map([], |row| row.get::<_, String>(0))?;
        let said = said.collect::<Result<Vec<_>, _>>()?;
        let wrong = said.into_iter().filter(|line| line != "ok");
        Ok(wrong.filter_map(|line| Fault::counted("damaged", 1, Some(line))).collect())
    }

    /// Rows whose parent is not there, by their tables.
    fn orphans(&self) -> Result<BTreeMap<String, i64>, OpenError> {
        let mut statement = self.connection.prepare("PRAGMA foreign_key_check")?;
        let mut rows = statement.query([])?;
        let mut orphans = BTreeMap::new();
        while let Some(row) = rows.next()? {
            *orphans.entry(row.get("table")?).or_default() += 1;
        }
        Ok(orphans)
    }

    /// Writes all of it, as it is at one moment, into a file that is empty. What was deleted does not come along.
    ///
    /// # Errors
    /// [`OpenError`]: no room, or a damaged page.
    pub fn copy_to(&self, empty: &Path) -> Result<(), OpenError> {
        let to = empty.to_str().ok_or(OpenError::NotADatabase)?;
        self.connection.execute("VACUUM INTO ?1", [to])?;
        Ok(())
    }
}

/// SQLite takes a file that is cut short for a new one, and deletes the write-ahead file that lies beside it, whoever only
/// reads: so it is not shown such a file.
fn look_like_one(path: &Path) -> Result<(), OpenError> {
    let mut begins = Vec::new();
    File::open(path)?.take(PAGE_BYTES_MIN).read_to_end(&mut begins)?;
    let is_whole = u64::try_from(begins.len()).is_ok_and(|read| read == PAGE_BYTES_MIN);
    if is_whole && begins.starts_with(MAGIC) { Ok(()) } else { Err(OpenError::NotADatabase) }
}
