//! The store of each plane: parts of one SQLite database, or roles of one PostgreSQL database.

use crate::Fault;
use nightlatch_domain::{
    clock::Timestamp,
    ports::store::{ControlStore, KeeperStore, LedgerStore},
};
use nightlatch_store::{Address, Plane, PostgresStore, SqliteStore};
use serde_json::{Value, json};
use std::{path::Path, sync::Arc};

pub(crate) struct Stores {
    pub(crate) keeper: Arc<dyn KeeperStore>,
    pub(crate) control: Arc<dyn ControlStore>,
    pub(crate) heads: Arc<dyn LedgerStore>,
    /// Whether a keeper of this store is the only one that there can be.
    pub(crate) alone: bool,
}

impl Stores {
    pub(crate) async fn open(at: &str, folder: &Path, now: Timestamp) -> Result<Self, Fault> {
        std::fs::create_dir_all(folder)?;
        if at == "sqlite" {
            let store = Arc::new(SqliteStore::open(&folder.join("db.sqlite"), now)?);
            return Ok(Self {
                keeper: Arc::clone(&store) as _,
                control: Arc::clone(&store) as _,
                heads: store,
                alone: true,
            });
        }
        let address = Address::new(at, None)?;
        PostgresStore::migrate(&address, now).await?;
        let plane = |plane| PostgresStore::new(&address, plane);
        Ok(Self {
            keeper: Arc::new(plane(Plane::Keeper)),
            control: Arc::new(plane(Plane::Control)),
            heads: Arc::new(plane(Plane::Ledger).heads_of(&"bench".parse()?)),
            alone: false,
        })
    }

    /// How often a head was moved since its family began.
    pub(crate) async fn heads_moved(&self) -> Result<Value, Fault> {
        let moved: u64 = self.keeper.heads().await?.iter().map(|(_, _, head)| head - 1).sum();
        Ok(json!({ "moved": moved }))
    }
}
