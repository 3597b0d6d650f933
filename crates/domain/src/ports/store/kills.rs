//! What is ended for good. A kill is one row, whatever its width, so that it is durable at once; what reads the rows that
//! it ends reads the kills as well.

use crate::{
    clock::Timestamp,
    id::{ChainId, ClientId, ConnectionId, TenantId},
};
use serde::{Deserialize, Serialize};

/// A scope that is ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "scope", rename_all = "kebab-case")]
pub enum Kill {
    /// One connection.
    Connection {
        /// Its tenant.
        tenant: TenantId,
        /// Which.
        connection: ConnectionId,
    },
    /// Every connection of a chain.
    Chain {
        /// Its tenant.
        tenant: TenantId,
        /// Which.
        chain: ChainId,
    },
    /// Every connection of our registration at a provider.
    Client {
        /// Its tenant.
        tenant: TenantId,
        /// Which.
        client: ClientId,
    },
    /// Every connection of a tenant.
    Tenant {
        /// Which.
        tenant: TenantId,
    },
    /// Every connection.
    Installation,
}

/// A kill as it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Killed {
    /// The move of the feed's counter row that it was.
    pub number: u64,
    /// What it ended.
    pub kill: Kill,
    /// When.
    pub at: Timestamp,
}
