//! Standing for a tool inside of a tunnel: its authority, and short-lived leaves for its hosts.
//!
//! Leaves are kept in memory only, each with a key of its own, and made anew when half of their day is over.
//! The authority is the tool's (`custody`); which hosts it is good for is what the directory says at the
//! moment, so that a host which a human bound just now is served, and one that was taken back is not.

use nightlatch_custody::{Authority, CustodyError, Interception};
use nightlatch_domain::{
    clock::{Clock, Timestamp},
    id::TenantId,
    tool::Name,
};
use quick_cache::sync::Cache;
use rustls::{
    ServerConfig,
    server::NoServerSessionStorage,
    version::{TLS12, TLS13},
};
use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, PoisonError},
};

/// Leaves in memory: more hosts than this are in use nowhere at once. Each is some KiB.
const LEAVES_MAX: usize = 256;

type Tool = (TenantId, Name);

/// Every authority that was asked for, and its leaves.
pub(crate) struct Standing {
    files: Interception,
    clock: Arc<dyn Clock>,
    authorities: Mutex<HashMap<Tool, Arc<Authority>>>,
    leaves: Cache<(Tool, String), Arc<Leaf>>,
}

/// What is shown for one host.
struct Leaf {
    config: Arc<ServerConfig>,
    renews_at: Timestamp,
}

impl Standing {
    pub(crate) fn new(files: Interception, clock: Arc<dyn Clock>) -> Self {
        Self { files, clock, authorities: Mutex::default(), leaves: Cache::new(LEAVES_MAX) }
    }

    /// TLS for one host of a tool, whose hosts are `names`.
    ///
    /// # Errors
    /// [`CustodyError`] where a key file is none that may be trusted, or `host` is none of them.
    pub(crate) async fn server(
        self: &Arc<Self>,
        tool: Tool,
        names: BTreeSet<String>,
        host: &str,
    ) -> Result<Arc<ServerConfig>, CustodyError> {
        let key = (tool.clone(), host.to_owned());
        let is_fresh = |leaf: &Arc<Leaf>| self.clock.now() < leaf.renews_at;
        if let Some(leaf) = self.leaves.get(&key).filter(|leaf| names.contains(host) && is_fresh(leaf)) {
            return Ok(Arc::clone(&leaf.config));
        }
        let (standing, host) = (Arc::clone(self), host.to_owned());
        // Files and keys: not on a thread that serves.
        let made = tokio::task::spawn_blocking(move || standing.leaf(tool, &names, &host)).await;
        let leaf = made.map_err(|_| CustodyError::SealFailed)??;
        self.leaves.insert(key, Arc::clone(&leaf));
        Ok(Arc::clone(&leaf.config))
    }

    /// The certificate of a tool's authority, whose hosts are `names`; for whoever is to trust it.
    ///
    /// # Errors
    /// As [`Standing::server`].
    pub(crate) async fn trust(
        self: &Arc<Self>,
        tool: Tool,
        names: BTreeSet<String>,
    ) -> Result<String, CustodyError> {
        let standing = Arc::clone(self);
        let made = tokio::task::spawn_blocking(move || standing.authority(tool, &names)).await;
        Ok(made.map_err(|_| CustodyError::SealFailed)??.pem().to_owned())
    }

    fn authority(&self, tool: Tool, names: &BTreeSet<String>) -> Result<Arc<Authority>, CustodyError> {
        let mut authorities = self.authorities.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = authorities.get(&tool).filter(|known| known.names() == names) {
            return Ok(Arc::clone(known));
        }
        let authority = Arc::new(self.files.authority(tool.0, &tool.1, names)?);
        authorities.insert(tool, Arc::clone(&authority));
        Ok(authority)
    }

    fn leaf(&self, tool: Tool, names: &BTreeSet<String>, host: &str) -> Result<Arc<Leaf>, CustodyError> {
        let now = self.clock.now();
        let leaf = self.authority(tool, names)?.leaf(host, now)?;
        let failed = |_| CustodyError::SealFailed;
        let builder = ServerConfig::builder_with_provider(nightlatch_egress::tls::provider());
        let builder =
            builder.with_protocol_versions(&[&TLS13, &TLS12]).map_err(failed)?.with_no_client_auth();
        let mut config = builder.with_single_cert(leaf.chain(), leaf.key()).map_err(failed)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        let renews_at = now.plus(leaf.not_after().since(now) / 2);
        Ok(Arc::new(Leaf { config: Arc::new(config), renews_at }))
    }
}
