//! Lookups of names: who may have how many of them under way.
//!
//! A lookup is the system's (`getaddrinfo`), and nothing ends it early: neither a deadline nor the leaving of
//! whoever asked. A name whose servers never answer holds its thread for half a minute. So a lookup runs on a
//! thread of its own, never on the runtime's, behind which the keeper's disk would wait; and its place is given
//! back by that thread once the lookup has really ended.
//!
//! Places are divided by kind, and again within: what an agent chooses to ask for takes nothing from tools, what
//! tools are asked for takes nothing from the keeper, what webhooks are told takes nothing from either, and no agent
//! or host takes all places of its kind; of webhooks' hosts not all others together take those of one.

use crate::{error::EgressError, resolve::Resolve};
use nightlatch_domain::id::{PrincipalId, TenantId};
use std::{
    collections::HashMap,
    io,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, oneshot},
    time::timeout,
};

/// More webhooks than these no configuration may name: each host of one has lookups of its own.
pub const WEBHOOKS_MAX: usize = 64;
/// For one host of a webhook: its four messages share what is had for milliseconds, and one name server that does not
/// answer leaves a second place.
const WEBHOOK_EACH_MAX: usize = 2;

/// A lookup's stack: name service modules use more than a little, and the default of 2 MiB is not needed.
const STACK_BYTES: usize = 1024 * 1024;

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asker {
    /// The keeper, for a provider's host.
    Keeper,
    /// A call, for a tool's host.
    Tool,
    /// A message, for a webhook's host.
    Webhook,
    /// An agent, for a host of its own choice.
    Agent(TenantId, PrincipalId),
}

/// Lookups at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LookupLimits {
    /// Of the keeper, and for one host: it refreshes eight of one provider at a time.
    pub(crate) keeper: (usize, usize),
    /// For calls to tools, and for one host.
    pub(crate) tools: (usize, usize),
    /// For messages to webhooks, and for one host: there is room for all hosts, so that none waits for another's.
    pub(crate) webhooks: (usize, usize),
    /// For all agents, and for one.
    pub(crate) agents: (usize, usize),
    /// How long a place is waited for: a resolver that works gives one in milliseconds.
    pub(crate) place_within: Duration,
}

impl Default for LookupLimits {
    fn default() -> Self {
        Self {
            keeper: (32, 8),
            tools: (64, 16),
            webhooks: (WEBHOOKS_MAX * WEBHOOK_EACH_MAX, WEBHOOK_EACH_MAX),
            agents: (64, 8),
            place_within: Duration::from_secs(5),
        }
    }
}

/// The resolver, and the places before it.
pub(crate) struct Lookups {
    resolver: Arc<dyn Resolve>,
    keeper: Lane<String>,
    tools: Lane<String>,
    webhooks: Lane<String>,
    agents: Lane<(TenantId, PrincipalId)>,
    place_within: Duration,
}

/// The places of one kind, and those of each within it.
struct Lane<K> {
    all: Arc<Semaphore>,
    each_max: usize,
    /// Of whoever has a place or waits for one.
    each: Mutex<HashMap<K, Arc<Semaphore>>>,
}

/// A lookup's place. The thread holds it.
type Place = (OwnedSemaphorePermit, OwnedSemaphorePermit);

impl Lookups {
    pub(crate) fn new(resolver: Arc<dyn Resolve>, limits: LookupLimits) -> Self {
        let LookupLimits { keeper, tools, webhooks, agents, place_within } = limits;
        let (keeper, tools) = (Lane::new(keeper), Lane::new(tools));
        let (webhooks, agents) = (Lane::new(webhooks), Lane::new(agents));
        Self { resolver, keeper, tools, webhooks, agents, place_within }
    }

    /// The addresses of a host.
    ///
    /// # Errors
    /// [`EgressError::LookupsFull`] where whoever asks has all places that are to be had;
    /// [`EgressError::Unresolved`].
    pub(crate) async fn resolve(&self, asker: Asker, host: &str) -> Result<Vec<IpAddr>, EgressError> {
        let full = || EgressError::LookupsFull(host.to_owned());
        let place =
            timeout(self.place_within, self.place(asker, host)).await.ok().flatten().ok_or_else(full)?;
        let found = self.begin(place, host.to_owned()).map_err(|_| full())?;
        let unresolved = |kind| EgressError::Unresolved { host: host.to_owned(), kind };
        // A thread that ended without a word has panicked.
        let found = found.await.map_err(|_| unresolved(io::ErrorKind::Other))?;
        let found = found.map_err(|error| unresolved(error.kind()))?;
        if found.is_empty() { Err(unresolved(io::ErrorKind::NotFound)) } else { Ok(found) }
    }

    async fn place(&self, asker: Asker, host: &str) -> Option<Place> {
        match asker {
            Asker::Keeper => self.keeper.place(host.to_owned()).await,
            Asker::Tool => self.tools.place(host.to_owned()).await,
            Asker::Webhook => self.webhooks.place(host.to_owned()).await,
            Asker::Agent(tenant, agent) => self.agents.place((tenant, agent)).await,
        }
    }

    fn begin(&self, place: Place, host: String) -> io::Result<oneshot::Receiver<io::Result<Vec<IpAddr>>>> {
        let (answer, found) = oneshot::channel();
        let resolver = Arc::clone(&self.resolver);
        let lookup = move || {
            let found = resolver.resolve(&host);
            drop(place);
            // Whoever asked may have left.
            let _ = answer.send(found);
        };
        thread::Builder::new().name("lookup".to_owned()).stack_size(STACK_BYTES).spawn(lookup)?;
        Ok(found)
    }
}

impl<K: std::hash::Hash + Eq> Lane<K> {
    fn new((all, each_max): (usize, usize)) -> Self {
        Self { all: Arc::new(Semaphore::new(all)), each_max, each: Mutex::default() }
    }

    /// Its own place first: who has none waits for no other.
    async fn place(&self, key: K) -> Option<Place> {
        let own = self.of(key).acquire_owned().await.ok()?;
        let of_all = Arc::clone(&self.all).acquire_owned().await.ok()?;
        Some((own, of_all))
    }

    fn of(&self, key: K) -> Arc<Semaphore> {
        let mut each = self.each.lock().unwrap_or_else(PoisonError::into_inner);
        // Nobody holds these: neither a place nor the wish for one.
        each.retain(|_, places| Arc::strong_count(places) > 1);
        Arc::clone(each.entry(key).or_insert_with(|| Arc::new(Semaphore::new(self.each_max))))
    }
}

#[cfg(test)]
mod tests;
