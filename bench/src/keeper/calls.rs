//! Calls that need a credential whose access token is dead: each waits for a refresh, as a gateway waits for the keeper.
//!
//! The issuer's tokens live [`LIFE`]. Calls go through all chains in turn, and before they come back to the first, wall time leaps
//! over the life of a token: each finds a dead one, and its chain is refreshed.

use crate::{Fault, clock::SinceStart, quantiles, refused, running::Counted};
use nightlatch_custody::ReplicaKey;
use nightlatch_domain::{
    id::{ConnectionId, GrantId, TenantId, WakeId},
    ports::gateway_keeper::{
        GatewayReply, GatewayRequest, KeeperForGateway, KeeperRefusal, Lease, LeaseRequest,
    },
};
use serde_json::{Value, json};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{task::JoinSet, time::sleep};

/// How long the issuer's tokens live, as it is told; longer than any lap of calls takes is not needed.
pub(crate) const LIFE: Duration = Duration::from_secs(6);
/// By then every one of them is dead.
const LEAP: Duration = Duration::from_secs(7);

/// Before anything is counted: everything is warm by then, and as many are under way as there are to be.
const WARM: Duration = Duration::from_secs(1);
/// How long a call that is to be answered waits.
const PATIENCE_MILLIS: u64 = 20_000;

/// What a call of a gateway names.
#[derive(Clone, Copy)]
pub(crate) struct Call {
    pub(crate) tenant: TenantId,
    pub(crate) wake: WakeId,
    pub(crate) grant: GrantId,
    pub(crate) connection: ConnectionId,
}

/// A call for each chain.
pub(crate) struct Calls {
    pub(crate) clock: Arc<SinceStart>,
    pub(crate) gateway: Arc<dyn KeeperForGateway>,
    pub(crate) counted: Arc<Counted>,
    pub(crate) replica: ReplicaKey,
    pub(crate) calls: Vec<Call>,
}

impl Calls {
    /// So many calls at once, without end; how many refreshes were done in so long.
    pub(crate) async fn refresh(self: Arc<Self>, at_once: usize, span: Duration) -> Result<Value, Fault> {
        if self.calls.len() < at_once * 2 {
            return Err(
                format!("{} chains are connected: too few for {at_once} calls", self.calls.len()).into()
            );
        }
        let (next, over) = (Arc::<AtomicUsize>::default(), Arc::<AtomicBool>::default());
        let mut callers = JoinSet::new();
        for _ in 0..at_once {
            let (calls, next, over) = (Arc::clone(&self), Arc::clone(&next), Arc::clone(&over));
            callers.spawn(async move {
                while !over.load(Ordering::Relaxed) {
                    calls.call(next.fetch_add(1, Ordering::SeqCst)).await?;
                }
                Ok::<(), KeeperRefusal>(())
            });
        }
        sleep(WARM).await;
        let (before, began) = (self.counted.refreshes(), Instant::now());
        sleep(span).await;
        let (refreshes, secs) = (self.counted.refreshes() - before, began.elapsed().as_secs_f64());
        over.store(true, Ordering::Relaxed);
        while let Some(ended) = callers.join_next().await {
            ended?.map_err(refused)?;
        }
        Ok(json!({ "refreshes": refreshes, "secs": secs }))
    }

    /// The call of that number; with each first one of all chains time leaps.
    async fn call(&self, number: usize) -> Result<Lease, KeeperRefusal> {
        let place = number % self.calls.len().max(1);
        if place == 0 {
            self.clock.leap(LEAP);
        }
        let call = self.calls.get(place).copied().ok_or(KeeperRefusal::Unavailable)?;
        self.lease(call, PATIENCE_MILLIS).await
    }

    /// So many calls, one after the other; what each took beside the issuer.
    pub(crate) async fn wait(self: Arc<Self>, calls: usize) -> Result<Value, Fault> {
        let mut added = Vec::with_capacity(calls);
        for call in self.calls.iter().copied().cycle().take(calls) {
            self.clock.leap(LEAP);
            let (before, began) = (self.counted.refreshes(), Instant::now());
            let lease = self.lease(call, PATIENCE_MILLIS).await.map_err(refused)?;
            let took = began.elapsed();
            if self.counted.refreshes() != before + 1 {
                return Err("a call did not wait for a refresh of its own".into());
            }
            let (_, secret) = self.replica.open_lease(&lease)?;
            let issuer = issuer_micros(secret.expose()).ok_or("a token says nothing of what it took")?;
            added.push(took.saturating_sub(issuer));
        }
        let (p50, p99, _) = quantiles(added);
        Ok(json!({ "p50_us": p50, "p99_us": p99 }))
    }

    async fn lease(&self, call: Call, patience_millis: u64) -> Result<Lease, KeeperRefusal> {
        let Call { tenant, wake, grant, connection } = call;
        let request = LeaseRequest { tenant, wake, grant, connection, patience_millis };
        match self.gateway.ask(GatewayRequest::Lease(request)).await? {
            GatewayReply::Lease(lease) => Ok(lease),
            _ => Err(KeeperRefusal::Unavailable),
        }
    }
}

/// How long the issuer took over the answer in which this token came.
fn issuer_micros(token: &[u8]) -> Option<Duration> {
    let micros = std::str::from_utf8(token).ok()?.split('.').nth(1)?.parse().ok()?;
    Some(Duration::from_micros(micros))
}
