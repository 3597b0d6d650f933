//! Proves that both stores keep what the store's ports promise, and what each promises besides.

#![expect(clippy::unwrap_used, reason = "tests and their worlds: a failure is a panic")]

#[path = "../../src/conformance/mod.rs"]
pub mod conformance;
mod damaged;
mod file;
mod postgres;
mod shredding;
mod upkeep;

/// The suite that every store runs, over SQLite.
mod sqlite {
    use crate::conformance::{Place, Planes, mailbox::MailPlace};
    use nightlatch_domain::{clock::Timestamp, ports::mailbox::Mailbox};
    use nightlatch_store::SqliteStore;
    use rusqlite::Connection;
    use std::{path::Path, sync::Arc, time::Duration};
    use tempfile::TempDir;

    pub(crate) struct Folder(TempDir);

    impl Folder {
        pub(crate) fn path(&self) -> &Path {
            self.0.path()
        }
    }

    impl Place for Folder {
        fn open(&self) -> Planes {
            let now = Timestamp::from_millis(1_750_000_000_000);
            let store = Arc::new(SqliteStore::open(&self.0.path().join("db.sqlite"), now).unwrap());
            Planes {
                control: store.clone(),
                directory: store.clone(),
                calls: store.clone(),
                budgets: store.clone(),
                keeper: store.clone(),
                ledger: store,
            }
        }
    }

    impl crate::damaged::Editable for Folder {
        fn edit(&self, sql: &str) -> u64 {
            let database = Connection::open(self.0.path().join("db.sqlite")).unwrap();
            database.busy_timeout(Duration::from_secs(5)).unwrap();
            database.execute(sql, []).unwrap().try_into().unwrap()
        }
    }

    pub(crate) fn fresh() -> Folder {
        Folder(tempfile::tempdir().unwrap())
    }

    impl MailPlace for Folder {
        fn open_mailbox(&self) -> Arc<dyn Mailbox> {
            let now = Timestamp::from_millis(1_750_000_000_000);
            Arc::new(SqliteStore::open(&self.0.path().join("db.sqlite"), now).unwrap())
        }
    }

    crate::conformance!(crate::sqlite::fresh);
    crate::mailbox_conformance!(crate::sqlite::fresh);
}
