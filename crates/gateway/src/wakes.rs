//! Wakes: when a task may act, and the leases that it may act with.
//!
//! [`Awake`] is a value that only the keeper's yes to a fresh proof makes, and only here. It holds the
//! ephemeral key that the keeper seals this wake's leases to; when the wake ends (sleep, completion, a
//! disabled agent, its hour) that key is wiped, whoever still holds the value: what is sealed to it is
//! noise from then on. Leases lie here sealed; `attach` opens one at a time, and what it opened once lies here
//! wrapped anew under a cipher of the same key, which costs a call a hundredth of the first opening.
//!
//! One wake for each (task, binding) at a time, one proof and one lease request under way for each,
//! however many calls wait. A wake that has less than a margin left serves no new call: the next one is
//! proved beside it, so a call has at least the margin and at most the hour to run. Where the keeper gives
//! less than the margin (the task ends soon), or two are under way already, the newest serves until it ends.

mod end;
mod mandated;
mod signing;
mod sweep;

use crate::{
    flight::Flights,
    limits::Limits,
    quick::{Quick, QuickSet},
    running::Running,
    turns::Turns,
};
use end::{End, Moment};
use nightlatch_custody::{CustodyError, ReplicaKey, Rewrapped, Secret};
use nightlatch_domain::{
    clock::{Clock, Entropy, Timestamp},
    exchange::{Caller, Exchange},
    id::{GrantId, PrincipalId, TaskId, TenantId, WakeId},
    ports::gateway_keeper::{
        Challenge, Evidence, GatewayReply, GatewayRequest, KeeperForGateway, KeeperRefusal, Lease, LeaseBody,
        LeaseRequest, WakeProof,
    },
    principal::Binding,
    task::Assurance,
};
use nightlatch_egress::Pool;
use nightlatch_scrub::WindowSet;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use tokio::sync::{Notify, broadcast, futures::Notified};

/// Endings that a connection may be behind with; one that missed more closes to be safe.
const ENDINGS_MAX: usize = 256;

/// The bindings whose wake was ended from outside: their connections close, so that the next wake begins
/// with a fresh handshake.
pub(crate) type Endings = broadcast::Receiver<Binding>;

/// A proved wake. Its end takes the key out, so nothing that holds this value can open a lease afterwards.
pub(crate) struct Awake {
    caller: Caller,
    wake: WakeId,
    assurance: Assurance,
    ends: End,
    /// From here on a new call is proved anew, if nothing speaks against it.
    renews: End,
    /// The directory's number when the proof was asked for: a task that is put to sleep later ends it.
    began_after: u64,
    /// SHA-256 of the one request that it is for, where it came of a mandate.
    for_request: Option<String>,
    held: Mutex<Held>,
}

/// A lease, sealed, and the last drain that the keeper knew of when it was asked for it.
pub(crate) struct Kept {
    pub(crate) lease: Lease,
    /// What must not come back, once it was opened. It goes with the lease.
    windows: OnceLock<Arc<WindowSet>>,
    pub(crate) asked_after: u64,
    stale: End,
    /// The lease as the first call left it.
    rewrapped: OnceLock<Rewrapped>,
}

impl Kept {
    fn new(lease: Lease, asked_after: u64, stale: End) -> Self {
        Self { lease, windows: OnceLock::new(), asked_after, stale, rewrapped: OnceLock::new() }
    }

    /// What the lease says, and its secret. Only `attach` calls this.
    ///
    /// # Errors
    /// [`CustodyError::Refused`] where the lease is not this key's, or was altered.
    pub(crate) fn open(&self, key: &ReplicaKey) -> Result<(&LeaseBody, Secret), CustodyError> {
        let rewrapped = match self.rewrapped.get() {
            Some(rewrapped) => rewrapped,
            None => {
                let rewrapped = key.rewrap(&self.lease)?;
                self.rewrapped.get_or_init(|| rewrapped)
            }
        };
        Ok((&rewrapped.body, key.open(rewrapped)?))
    }

    /// What must not come back: opened by the first call, kept for the others. None where it does not open. Only
    /// `attach` calls this.
    pub(crate) fn windows(&self, key: &ReplicaKey) -> Option<Arc<WindowSet>> {
        if let Some(windows) = self.windows.get() {
            return Some(Arc::clone(windows));
        }
        let opened = WindowSet::decode(key.open_windows(&self.lease).ok()?.expose())?;
        Some(Arc::clone(self.windows.get_or_init(|| Arc::new(opened))))
    }
}

/// What a wake holds in memory.
struct Held {
    key: Option<ReplicaKey>,
    leases: Quick<GrantId, Arc<Kept>>,
    /// Every grant that a lease was asked for under, for closing what ran.
    grants: QuickSet<GrantId>,
    /// Whether it is over because the keeper does not know it any more.
    forgotten: bool,
}

impl Awake {
    /// Its id.
    pub(crate) const fn wake(&self) -> WakeId {
        self.wake
    }

    /// Whose it is.
    pub(crate) const fn agent(&self) -> (TenantId, PrincipalId) {
        (self.caller.tenant, self.caller.agent)
    }

    /// Its tenant.
    pub(crate) const fn tenant(&self) -> TenantId {
        self.caller.tenant
    }

    /// How sure the keeper is.
    pub(crate) const fn assurance(&self) -> Assurance {
        self.assurance
    }

    /// The one request that it is for, where it came of a mandate.
    pub(crate) fn for_request(&self) -> Option<&str> {
        self.for_request.as_deref()
    }

    /// Runs `open` with the wake's key; none where the wake is over. Only `attach` calls this.
    pub(crate) fn with_key<T>(&self, open: impl FnOnce(&ReplicaKey) -> T) -> Option<T> {
        self.held().key.as_ref().map(open)
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it was ended here.
    pub(crate) fn is_over(&self) -> bool {
        self.held().key.is_none()
    }

    /// Whether it still stands for this grant.
    pub(crate) fn serves(&self, grant: GrantId) -> bool {
        let held = self.held();
        held.key.is_some() && held.grants.contains(&grant)
    }

    fn lease(&self, grant: GrantId, now: Moment) -> Option<Arc<Kept>> {
        self.held().leases.get(&grant).filter(|kept| !kept.stale.has_come(now)).cloned()
    }

    /// A lease is asked for: from now on the end of its grant concerns this wake.
    fn acts_under(&self, grant: GrantId) {
        let mut held = self.held();
        if held.key.is_some() {
            held.grants.insert(grant);
        }
    }

    /// Keeps a lease, unless its grant or the wake ended meanwhile.
    fn keep(&self, grant: GrantId, kept: &Arc<Kept>) {
        let mut held = self.held();
        if held.grants.contains(&grant) {
            held.leases.insert(grant, Arc::clone(kept));
        }
    }

    /// Notes that the keeper does not know it any more, where it was not ended here. Whether that is why it ends.
    fn note_forgotten(&self) -> bool {
        let mut held = self.held();
        held.forgotten |= held.key.is_some();
        held.forgotten
    }

    /// Wipes key and leases; gives the grants that it acted under, once.
    fn wipe(&self) -> Option<QuickSet<GrantId>> {
        let mut held = self.held();
        held.key.take()?;
        held.leases.clear();
        Some(std::mem::take(&mut held.grants))
    }
}

/// Who wakes what. One agent may be enrolled for a task by several keys; each proves for itself.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct WakeKey {
    tenant: TenantId,
    task: TaskId,
    binding: Binding,
}

impl WakeKey {
    fn of(caller: &Caller) -> Self {
        Self { tenant: caller.tenant, task: caller.task, binding: caller.binding.clone() }
    }
}

/// All wakes of this gateway.
pub(crate) struct Wakes {
    keeper: Arc<dyn KeeperForGateway>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    pool: Pool,
    running: Arc<Running>,
    limits: Limits,
    endings: broadcast::Sender<Binding>,
    /// Told when a wake begins: calls may wait for one.
    began: Notify,
    /// By key, the newest last.
    live: Mutex<Quick<WakeKey, Vec<Arc<Awake>>>>,
    /// Those of one call each, for as long as the call runs. No other call finds them.
    mandated: Mutex<Vec<Weak<Awake>>>,
    proofs: Flights<WakeKey, Result<Arc<Awake>, KeeperRefusal>>,
    requests: Flights<(WakeId, GrantId), Result<Arc<Kept>, KeeperRefusal>>,
    /// Challenges that an agent's own key is to sign, the last one of each.
    signing: Mutex<Quick<WakeKey, Offered>>,
    /// How often each key asks for them.
    turns: Turns<WakeKey>,
}

/// A challenge that was handed out, and the key that its wake's leases will be sealed to.
struct Offered {
    challenge: Challenge,
    replica: ReplicaKey,
    /// The directory's number when it was asked for.
    applied: u64,
}

impl Wakes {
    pub(crate) fn new(
        keeper: Arc<dyn KeeperForGateway>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        pool: Pool,
        running: Arc<Running>,
        limits: Limits,
    ) -> Self {
        let endings = broadcast::channel(ENDINGS_MAX).0;
        let (live, proofs, requests) = (Mutex::default(), Flights::default(), Flights::default());
        let (signing, mandated, began) = (Mutex::default(), Mutex::default(), Notify::new());
        let turns = Turns::new(signing::TURNS_AT_ONCE, signing::TURN_EVERY);
        Self {
            keeper,
            clock,
            entropy,
            pool,
            running,
            limits,
            endings,
            began,
            live,
            mandated,
            proofs,
            requests,
            signing,
            turns,
        }
    }

    /// Tells of bindings whose wake was ended from outside.
    pub(crate) fn endings(&self) -> Endings {
        self.endings.subscribe()
    }

    /// The wake in which this caller acts: the one under way, or a new one. `verified_at` is when the
    /// call came in over the connection whose key the handshake proved: its record layer proves that anew.
    ///
    /// # Errors
    /// The keeper's refusal of the proof.
    pub(crate) async fn awake(
        self: &Arc<Self>,
        caller: &Caller,
        verified_at: Timestamp,
        applied: u64,
    ) -> Result<Arc<Awake>, KeeperRefusal> {
        let key = WakeKey::of(caller);
        if let Some(awake) = self.current(&key) {
            return Ok(awake);
        }
        let (wakes, caller, errand_key) = (Arc::clone(self), caller.clone(), key.clone());
        let errand = async move {
            // Another errand may have landed between the look above and the start of this one.
            match wakes.current(&errand_key) {
                Some(awake) => Ok(awake),
                None => wakes.prove(errand_key, caller, verified_at, applied).await,
            }
        };
        self.proofs.join(key, errand).await.unwrap_or(Err(KeeperRefusal::Unavailable))
    }

    /// The newest wake of this caller that runs, however little of it is left; none is begun.
    pub(crate) fn running(&self, caller: &Caller) -> Option<Arc<Awake>> {
        let now = self.now();
        let live = self.live();
        let mut newest = live.get(&WakeKey::of(caller))?.iter().rev();
        newest.find(|awake| !awake.is_over() && !awake.ends.has_come(now)).cloned()
    }

    /// Answers when a wake begins after this was asked.
    pub(crate) fn begins(&self) -> Notified<'_> {
        self.began.notified()
    }

    fn current(&self, key: &WakeKey) -> Option<Arc<Awake>> {
        let now = self.now();
        let live = self.live();
        let mut running =
            live.get(key)?.iter().rev().filter(|awake| !awake.is_over() && !awake.ends.has_come(now));
        let newest = running.next()?;
        // Two are enough, whatever the keeper grants: nobody's calls may use up everybody's wakes.
        let serves = !newest.renews.has_come(now) || running.next().is_some();
        serves.then(|| Arc::clone(newest))
    }

    async fn prove(
        &self,
        key: WakeKey,
        caller: Caller,
        verified_at: Timestamp,
        applied: u64,
    ) -> Result<Arc<Awake>, KeeperRefusal> {
        let offered = self.offer(&caller, applied).await?;
        let evidence = Evidence::Stated { binding: caller.binding.clone(), verified_at };
        let awake = self.begin_with(caller, offered, evidence).await?;
        Ok(self.begin(key, awake))
    }

    /// A fresh challenge of the keeper, and a fresh key.
    async fn offer(&self, caller: &Caller, applied: u64) -> Result<Offered, KeeperRefusal> {
        let replica = ReplicaKey::generate(self.entropy.as_ref()).map_err(|_| KeeperRefusal::Unavailable)?;
        let challenge = self.challenge(caller).await?;
        Ok(Offered { challenge, replica, applied })
    }

    /// Puts a proof before the keeper.
    async fn begin_with(
        &self,
        caller: Caller,
        offered: Offered,
        evidence: Evidence,
    ) -> Result<Awake, KeeperRefusal> {
        let Offered { challenge, replica, applied } = offered;
        let asked = self.now();
        let proof = WakeProof {
            tenant: caller.tenant,
            agent: caller.agent,
            task: caller.task,
            wake: challenge.wake,
            nonce: challenge.nonce,
            replica_key: replica.sealing_key().clone(),
            evidence,
        };
        let granted = match self.ask(GatewayRequest::Wake(proof)).await? {
            GatewayReply::Awake(granted) if granted.wake == challenge.wake => granted,
            _ => return Err(KeeperRefusal::Unavailable),
        };
        let ends = End::new(granted.ends_at, asked);
        let is_brief = granted.ends_at.since(asked.wall) <= self.limits.wake_margin;
        let renews = if is_brief { ends } else { ends.minus(self.limits.wake_margin) };
        let held = Held {
            key: Some(replica),
            leases: Quick::default(),
            grants: QuickSet::default(),
            forgotten: false,
        };
        let (wake, assurance, held) = (granted.wake, granted.assurance, Mutex::new(held));
        Ok(Awake { caller, wake, assurance, ends, renews, began_after: applied, for_request: None, held })
    }

    async fn challenge(&self, caller: &Caller) -> Result<Challenge, KeeperRefusal> {
        let ask = GatewayRequest::Challenge { tenant: caller.tenant, task: caller.task };
        match self.ask(ask).await? {
            GatewayReply::Challenge(challenge) => Ok(challenge),
            _ => Err(KeeperRefusal::Unavailable),
        }
    }

    fn begin(&self, key: WakeKey, awake: Awake) -> Arc<Awake> {
        let awake = Arc::new(awake);
        self.live().entry(key).or_default().push(Arc::clone(&awake));
        self.began.notify_waiters();
        awake
    }

    /// The lease of one grant within a wake: the one that is still fresh, or a new one.
    ///
    /// # Errors
    /// The keeper's refusal.
    pub(crate) async fn lease(
        self: &Arc<Self>,
        awake: &Arc<Awake>,
        exchange: &Exchange,
    ) -> Result<Arc<Kept>, KeeperRefusal> {
        let grant = exchange.grant;
        if let Some(lease) = awake.lease(grant, self.now()) {
            return Ok(lease);
        }
        let request = LeaseRequest {
            tenant: awake.tenant(),
            wake: awake.wake,
            grant,
            connection: exchange.connection,
            patience_millis: u64::try_from(self.limits.patience.as_millis()).unwrap_or(u64::MAX),
        };
        let (wakes, holder) = (Arc::clone(self), Arc::clone(awake));
        let errand = async move {
            match holder.lease(grant, wakes.now()) {
                Some(lease) => Ok(lease),
                None => wakes.request(&holder, grant, request).await,
            }
        };
        let joined = self.requests.join((awake.wake, grant), errand).await;
        joined.unwrap_or(Err(KeeperRefusal::Unavailable))
    }

    async fn request(
        &self,
        awake: &Awake,
        grant: GrantId,
        request: LeaseRequest,
    ) -> Result<Arc<Kept>, KeeperRefusal> {
        awake.acts_under(grant);
        let (asked_after, asked) = (self.running.notices(), self.now());
        match self.ask(GatewayRequest::Lease(request)).await? {
            GatewayReply::Lease(lease) => {
                let stale = End::new(lease.fresh_until, asked);
                let kept = Arc::new(Kept::new(lease, asked_after, stale));
                awake.keep(grant, &kept);
                Ok(kept)
            }
            _ => Err(KeeperRefusal::Unavailable),
        }
    }

    /// The keeper bounds its own wait; one that hangs is bounded here.
    pub(crate) async fn ask(&self, request: GatewayRequest) -> Result<GatewayReply, KeeperRefusal> {
        let bound = self.limits.patience + self.limits.keeper_grace;
        let answered = tokio::time::timeout(bound, self.keeper.ask(request)).await;
        answered.unwrap_or(Err(KeeperRefusal::Unavailable))
    }

    /// Takes a lease out of use: the next call asks for another.
    pub(crate) fn drop_lease(&self, awake: &Awake, grant: GrantId, used: &Arc<Kept>) {
        let mut held = awake.held();
        if held.leases.get(&grant).is_some_and(|kept| Arc::ptr_eq(kept, used)) {
            held.leases.remove(&grant);
        }
    }

    /// Ends a wake: key and leases are wiped now, what runs is cut after the bound, the keeper is told.
    pub(crate) fn end(self: &Arc<Self>, awake: &Awake) {
        if awake.wipe().is_none() {
            return;
        }
        self.forget(awake.wake);
        let (wakes, tenant, wake) = (Arc::clone(self), awake.tenant(), awake.wake);
        tokio::spawn(async move {
            // The keeper forgets what it gave; where it cannot be told, the wake's own end does that.
            let _ = wakes.ask(GatewayRequest::Sleep { tenant, wake }).await;
        });
        let wakes = Arc::clone(self);
        tokio::spawn(async move {
            tokio::time::sleep(wakes.limits.cut_after).await;
            wakes.pool.close_wake(tenant, wake);
        });
    }

    /// Ends a wake that the keeper does not know any more. False where it was ended here, before the keeper said so.
    pub(crate) fn end_forgotten(self: &Arc<Self>, awake: &Awake) -> bool {
        let is_forgotten = awake.note_forgotten();
        self.end(awake);
        is_forgotten
    }

    /// How many run.
    pub(crate) fn live_count(&self) -> usize {
        let now = self.now();
        self.all().iter().filter(|awake| !awake.is_over() && !awake.ends.has_come(now)).count()
    }

    fn forget(&self, wake: WakeId) {
        let mut live = self.live();
        live.retain(|_, wakes| {
            wakes.retain(|awake| awake.wake != wake);
            !wakes.is_empty()
        });
    }

    fn now(&self) -> Moment {
        Moment::now(self.clock.as_ref())
    }

    fn live(&self) -> MutexGuard<'_, Quick<WakeKey, Vec<Arc<Awake>>>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn all(&self) -> Vec<Arc<Awake>> {
        let mut all: Vec<_> = self.live().values().flatten().cloned().collect();
        all.extend(self.mandated().iter().filter_map(Weak::upgrade));
        all
    }
}
