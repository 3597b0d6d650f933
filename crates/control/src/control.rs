//! What every route works with: the tenant of this socket, the ports, the catalogue, the clocks.

use crate::{
    api::{ConnectionView, Finding, Ping},
    auth::{ApiKey, Gatekeeper},
    error::ControlError,
    oauth::StartLinks,
};
use nightlatch_catalog::{builtin::Catalogue, manifest::Manifest};
use nightlatch_domain::{
    clock::{Clock, Entropy, Timestamp, random},
    ports::{
        Boxed,
        control_keeper::{ControlReply, ControlRequest, KeeperForControl, Statement},
        sight::Sight,
        store::ControlStore,
    },
    principal::{Human, Tenant},
    sealed::{Attestation, SealingKey},
    tool::Name,
};
use nightlatch_ledger::Ledger;
use nightlatch_policy::Decider;
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::sync::watch;

/// How long a command waits until the gateway has taken a change over.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(10);

/// The gateway, as far as control must wait for it.
pub trait Settled: Send + Sync {
    /// Answers as soon as the gateway decides on everything that was stored before this was called.
    fn settled(&self) -> Boxed<'_, ()>;
}

/// What only the database knows, for the metrics.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standing {
    /// The connections, by how they are.
    pub connections: BTreeMap<String, u64>,
    /// Questions that wait for a human: the tickets of one era and reason are one.
    pub tickets_open: u64,
}

/// Everything that is counted, as text.
pub trait Exposition: Send + Sync {
    /// As OpenMetrics 1.0.
    ///
    /// # Errors
    /// Where the text cannot be written.
    fn openmetrics(&self, standing: &Standing) -> Result<String, std::fmt::Error>;
}

/// What only the program knows of how it stands: its database's settings, its folders, its bounds.
pub trait Checkup: Send + Sync {
    /// All of it, as it is now.
    fn findings(&self) -> Boxed<'_, Vec<Finding>>;
}

/// Where the other listeners are, as they were bound.
#[derive(Debug, Clone)]
pub struct Facts {
    /// The program's version.
    pub version: String,
    /// The base URL of the gateway.
    pub gateway_url: String,
    /// `sha256//BASE64` of the gateway's public key.
    pub gateway_pin: String,
    /// The base URL of the redirect listener.
    pub redirect_url: String,
    /// What a human should know about this installation, for `health`.
    pub warnings: Vec<String>,
}

/// What control is given.
pub struct Parts {
    /// The tenant that the socket speaks for.
    pub tenant: Tenant,
    /// The human who runs it: the subject of tasks, the owner of agents.
    pub human: Human,
    /// Control's part of the store.
    pub store: Arc<dyn ControlStore>,
    /// The keeper.
    pub keeper: Arc<dyn KeeperForControl>,
    /// The gateway's directory.
    pub settled: Arc<dyn Settled>,
    /// The gateway's calls, as they may be seen.
    pub sight: Arc<dyn Sight>,
    /// What is counted.
    pub exposition: Arc<dyn Exposition>,
    /// How the program stands.
    pub checkup: Arc<dyn Checkup>,
    /// Policy.
    pub decider: Arc<Decider>,
    /// The ledger.
    pub ledger: Arc<Ledger>,
    /// Built-in tools, and all profiles.
    pub catalogue: Catalogue,
    /// The operator's own profiles: name and text.
    pub own_profiles: Vec<(String, String)>,
    /// The key of the API's MACs.
    pub key: ApiKey,
    /// The clocks.
    pub clock: Arc<dyn Clock>,
    /// The system's generator.
    pub entropy: Arc<dyn Entropy>,
    /// Where the listeners are.
    pub facts: Facts,
    /// Becomes true when a human says stop.
    pub stop: watch::Sender<bool>,
}

/// The plane through which a human arranges everything.
pub struct Control {
    pub(crate) tenant: Tenant,
    pub(crate) human: Human,
    pub(crate) store: Arc<dyn ControlStore>,
    pub(crate) keeper: Arc<dyn KeeperForControl>,
    settled: Arc<dyn Settled>,
    pub(crate) sight: Arc<dyn Sight>,
    pub(crate) exposition: Arc<dyn Exposition>,
    pub(crate) checkup: Arc<dyn Checkup>,
    pub(crate) decider: Arc<Decider>,
    pub(crate) ledger: Arc<Ledger>,
    catalogue: Catalogue,
    pub(crate) own_profiles: Vec<(String, String)>,
    pub(crate) gatekeeper: Gatekeeper,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) facts: Facts,
    pub(crate) stop: watch::Sender<bool>,
    pub(crate) starts: StartLinks,
}

impl Control {
    /// Control over its parts.
    #[must_use]
    pub fn new(parts: Parts) -> Arc<Self> {
        Arc::new(Self {
            tenant: parts.tenant,
            human: parts.human,
            store: parts.store,
            keeper: parts.keeper,
            settled: parts.settled,
            sight: parts.sight,
            exposition: parts.exposition,
            checkup: parts.checkup,
            decider: parts.decider,
            ledger: parts.ledger,
            catalogue: parts.catalogue,
            own_profiles: parts.own_profiles,
            gatekeeper: Gatekeeper::new(parts.key, parts.clock.now()),
            clock: parts.clock,
            entropy: parts.entropy,
            facts: parts.facts,
            stop: parts.stop,
            starts: StartLinks::default(),
        })
    }

    /// The API, to be served on the socket in the data folder.
    pub fn api(self: &Arc<Self>) -> axum::Router {
        crate::routes::router(Arc::clone(self))
    }

    /// The redirect listener's pages.
    pub fn redirects(self: &Arc<Self>) -> axum::Router {
        crate::oauth::router(Arc::clone(self))
    }

    /// The metrics over plain HTTP, for a listener that is called `own` (`127.0.0.1:9464`).
    pub fn metrics(self: &Arc<Self>, own: String) -> axum::Router {
        axum::Router::new().fallback(crate::routes::watch::face).with_state((Arc::clone(self), own))
    }

    pub(crate) fn ping(&self) -> Ping {
        Ping {
            version: self.facts.version.clone(),
            pid: std::process::id(),
            tenant: self.tenant.id,
            tenant_name: self.tenant.name.to_string(),
            gateway_url: self.facts.gateway_url.clone(),
            gateway_pin: self.facts.gateway_pin.clone(),
            redirect_url: self.facts.redirect_url.clone(),
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(crate) fn random<const N: usize>(&self) -> Result<[u8; N], ControlError> {
        Ok(random(&*self.entropy)?)
    }

    /// Asks the keeper to vouch for a row, before it is stored.
    pub(crate) async fn attest(&self, row: Statement) -> Result<Attestation, ControlError> {
        match self.keeper.ask(ControlRequest::Attest(Box::new(row))).await? {
            ControlReply::Attested { attestation } => Ok(attestation),
            _ => Err(ControlError::Internal),
        }
    }

    /// The key that secrets are sealed to.
    pub(crate) async fn intake_key(&self) -> Result<SealingKey, ControlError> {
        match self.keeper.ask(ControlRequest::IntakeKey).await? {
            ControlReply::IntakeKey { key } => Ok(key),
            _ => Err(ControlError::Internal),
        }
    }

    /// Waits until the gateway decides on what was just stored.
    pub(crate) async fn settle(&self) -> Result<(), ControlError> {
        let settled = tokio::time::timeout(SETTLE_TIMEOUT, self.settled.settled()).await;
        settled.map_err(|_| ControlError::Unsettled)
    }

    /// All tools: the built-in ones and those that were added.
    pub(crate) async fn catalogue(&self) -> Result<Catalogue, ControlError> {
        self.catalogue_of(|_| true).await
    }

    /// All tools but one that was added.
    pub(crate) async fn catalogue_without(&self, tool: &Name) -> Result<Catalogue, ControlError> {
        self.catalogue_of(|name| name != tool).await
    }

    async fn catalogue_of(&self, wanted: impl Fn(&Name) -> bool) -> Result<Catalogue, ControlError> {
        let mut catalogue = self.catalogue.clone();
        for row in self.store.tools(self.tenant.id).await?.into_iter().filter(|row| wanted(&row.name)) {
            let manifest = Manifest::parse(row.name.as_str(), &row.manifest);
            let added = manifest
                .map_err(|error| error.to_string())
                .and_then(|manifest| catalogue.add_manifest(manifest).map_err(|error| error.to_string()));
            if let Err(error) = added {
                tracing::warn!(tool = %row.name, error, "an added tool is left out");
            }
        }
        Ok(catalogue)
    }

    /// How each connection is.
    pub(crate) async fn connections(&self) -> Result<Vec<ConnectionView>, ControlError> {
        let health = self.store.health(self.tenant.id).await?;
        Ok(health.into_iter().map(crate::views::connection).collect())
    }
}
