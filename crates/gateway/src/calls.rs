//! Calls that outlive their caller: accepted once, carried out at most once, answered in the end.
//!
//! ```text
//!  POST /v1/calls ─► accept (durable) ─► queue ─► worker ─► corridor ─► mark (durable) ─► intent ─► … ─► end (durable)
//! ```
//!
//! The rule by which a call goes on is `domain::call`; this is the shell around it. A call is kept before its agent
//! hears of it, marked before the ledger's intent, and ended before anybody is told of its end. What is queued lies
//! in memory: the store is read at the start, and what somebody writes into it later moves nothing. Who found a mark
//! and no end says `outcome-unknown`; so does who found a queued call whose intent the ledger has, which is what a
//! restored database looks like.
//!
//! Where there are several gateways each keeps the calls that it accepted, by its name, and moves no other's. Of one that
//! is gone for good another takes them over: what may have been sent and must not be repeated ends as unknown there, since
//! only the other's ledger could tell.
//!
//! A call acts by the wake of its task that runs, and begins none. While there is none it waits, until its deadline, or
//! goes on by the mandate that its agent gave it: the keeper gives one lease for it, once, and for these bytes only.

mod asked;
mod attempt;
mod ending;
mod hooks;
mod limits;
mod recover;
mod vault;
mod worker;

pub(crate) use asked::{Asked, webhook_unknown};
pub(crate) use ending::{Ended, Ending, ToolAnswer};
pub use hooks::Webhook;
pub(crate) use hooks::{Hooks, tell};
pub use limits::CallLimits;
pub(crate) use recover::take_over;
pub(crate) use vault::{Kept, Settled, Signed};
pub(crate) use worker::work;

use nightlatch_custody::{CallKey, signature};
use nightlatch_domain::{
    call::{CallPlace, CallState, Delivery, Mandate, Progress, Terms, Turn},
    clock::{Clock, Timestamp},
    exchange::Caller,
    id::{CallId, InstallationId, TaskId, TenantId},
    ports::store::{Accepted, CallRow, CallStore, StoreError},
    problem::{Problem, ProblemKind},
    tool::Name,
};
use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    sync::{Notify, watch},
    time::timeout,
};
use vault::Vault;

/// How long a request waits for what an earlier process left to be looked through.
const READY_WITHIN: Duration = Duration::from_secs(10);

/// The durable calls of this gateway.
pub(crate) struct Calls {
    store: Arc<dyn CallStore>,
    /// Whose calls these are, where there are several gateways.
    owner: Option<Name>,
    vault: Vault,
    clock: Arc<dyn Clock>,
    /// Whose keeper a mandate is for.
    installation: InstallationId,
    pub(crate) limits: CallLimits,
    /// Who may be told of an end.
    pub(crate) hooks: Hooks,
    /// Those that are not final, by age.
    open: Mutex<BTreeMap<CallId, Open>>,
    /// Something may be due.
    stirred: Notify,
    /// An errand is over.
    settled: Notify,
    /// What an earlier process left has been looked through.
    ready: watch::Sender<bool>,
    closing: watch::Sender<bool>,
}

/// A call that is not final.
struct Open {
    place: CallPlace,
    caller: Caller,
    terms: Terms,
    progress: Progress,
    /// How often it was tried, marked or not.
    tries: u32,
    /// An errand is under way, or it is not in the store yet.
    is_running: bool,
    /// Until when it may go on by its agent's mandate; none once that was used.
    mandate: Option<Timestamp>,
    /// Why it was not carried out so far.
    reason: Option<Problem>,
    /// Dropped with the end.
    told: watch::Sender<CallState>,
}

/// What the worker does about a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Errand {
    Try,
    Expire,
}

impl Calls {
    pub(crate) fn new(
        (store, key): (Arc<dyn CallStore>, CallKey),
        owner: Option<Name>,
        clock: Arc<dyn Clock>,
        installation: InstallationId,
        limits: CallLimits,
        hooks: Hooks,
    ) -> Self {
        let (open, stirred, settled) = (Mutex::default(), Notify::new(), Notify::new());
        let (ready, closing) = (watch::channel(false).0, watch::channel(false).0);
        let vault = Vault::new(key);
        Self {
            store,
            owner,
            vault,
            clock,
            installation,
            limits,
            hooks,
            open,
            stirred,
            settled,
            ready,
            closing,
        }
    }

    /// The call of a task by its key, if it has one.
    ///
    /// # Errors
    /// [`ProblemKind::LedgerUnavailable`] where the store is out of reach; [`ProblemKind::Internal`] where the row
    /// cannot be read.
    pub(crate) async fn of_key(
        &self,
        tenant: TenantId,
        task: TaskId,
        key_sha256: &str,
    ) -> Result<Option<CallRow>, Problem> {
        self.ready().await?;
        self.store.call_of_key(tenant, task, key_sha256.to_owned()).await.map_err(|error| unavailable(&error))
    }

    /// A call as it is stored.
    ///
    /// # Errors
    /// As [`Calls::of_key`]; [`ProblemKind::CallUnknown`].
    pub(crate) async fn row(&self, place: CallPlace) -> Result<CallRow, Problem> {
        self.ready().await?;
        let row = self.store.call(place).await.map_err(|error| unavailable(&error))?;
        row.ok_or_else(|| ProblemKind::CallUnknown.into())
    }

    /// Who asked, and for what.
    ///
    /// # Errors
    /// [`ProblemKind::Internal`] where the row is not as it was written.
    pub(crate) fn kept(&self, row: &CallRow) -> Result<Kept, Problem> {
        self.vault.open_request(row)
    }

    /// The final answer of a call, and when it came, if it has one.
    ///
    /// # Errors
    /// As [`Calls::kept`].
    pub(crate) fn ending(&self, row: &CallRow) -> Result<Option<Ended>, Problem> {
        match self.vault.open_ending(row)? {
            // What was given up has an end, and nothing to say of it.
            None if row.state.is_final() => Err(ProblemKind::Internal.into()),
            ending => Ok(ending),
        }
    }

    /// What an agent signs so that a call may go on without it, but for the end, which it chooses.
    pub(crate) fn mandate(&self, row: &CallRow, settled: &Settled, not_after: Timestamp) -> Mandate {
        Mandate {
            installation: self.installation,
            tenant: row.place.tenant,
            task: row.place.task,
            grant: settled.grant,
            connection: settled.connection,
            call: row.place.call,
            request_sha256: row.request_sha256.clone(),
            not_after,
        }
    }

    /// Keeps a mandate for a call, durably; a final call needs none any more. It is the keeper who acts on it: what is
    /// looked at here is that an agent hears of a mistake while it is there.
    ///
    /// # Errors
    /// [`ProblemKind::MandateRejected`], and as [`Calls::row`].
    pub(crate) async fn give_mandate(&self, row: &CallRow, signed: Signed) -> Result<(), Problem> {
        let mandate = self.mandate(row, &self.kept(row)?.settled, signed.not_after);
        let rejected = || Problem::new(ProblemKind::MandateRejected);
        let key = signature::decoded(&signed.public_key_spki).ok_or_else(rejected)?;
        let by = signature::decoded(&signed.signature).ok_or_else(rejected)?;
        let text = mandate.statement().ok_or_else(rejected)?;
        if !mandate.is_timely(self.clock.now()) || !signature::is_signed(&text, &key, &by) {
            return Err(rejected());
        }
        let sealed = self.vault.seal_mandate(row, &signed)?;
        self.store.mandate_call(row.place, sealed).await.map_err(|error| unavailable(&error))?;
        self.with(row.place.call, |open| open.mandate = Some(signed.not_after));
        self.stirred.notify_one();
        Ok(())
    }

    /// The mandate of a call, if it was given one.
    ///
    /// # Errors
    /// As [`Calls::kept`].
    pub(crate) fn signed(&self, row: &CallRow) -> Result<Option<Signed>, Problem> {
        self.vault.open_mandate(row)
    }

    /// Keeps a call, durably, and queues it; the call that has this key already where there is one.
    ///
    /// # Errors
    /// [`ProblemKind::TooManyCalls`] where there is no room, [`ProblemKind::IdempotencyKeyReused`], and as
    /// [`Calls::of_key`].
    pub(crate) async fn accept(
        &self,
        place: CallPlace,
        settled: Settled,
        key_sha256: String,
        (request, request_sha256): (&[u8], String),
    ) -> Result<CallPlace, Problem> {
        let row = CallRow {
            place,
            owner: self.owner.clone(),
            key_sha256,
            request: self.vault.seal_request(place, &request_sha256, &settled, request)?,
            request_sha256: request_sha256.clone(),
            state: CallState::Queued,
            attempts: 0,
            not_before: settled.accepted_at,
            accepted_at: settled.accepted_at,
            ended_at: None,
            mandate: None,
            result: None,
            delivery: settled.webhook.clone().map(|hook| Delivery::waiting(hook, settled.accepted_at)),
        };
        // It is in the queue before it is in the store, and held back: whoever is shown its row can follow it.
        self.queue(place, settled, 0, true);
        let mut accepted = self.store.accept_call(row, self.limits.room).await;
        if accepted == Err(StoreError::Unknown) && self.store.call(place).await.is_ok_and(|row| row.is_some())
        {
            // Only the answer was lost.
            accepted = Ok(Accepted::New);
        }
        if accepted == Ok(Accepted::New) {
            self.with(place.call, |open| open.is_running = false);
            self.stirred.notify_one();
            return Ok(place);
        }
        self.open().remove(&place.call);
        match accepted.map_err(|error| unavailable(&error))? {
            Accepted::Known(known) => same_request(&known, &request_sha256),
            Accepted::New | Accepted::Full => Err(Problem::new(ProblemKind::TooManyCalls).retry_after(60)),
        }
    }

    fn queue(&self, place: CallPlace, settled: Settled, attempts: u32, is_held: bool) {
        let open = Open {
            place,
            terms: settled.terms(),
            caller: settled.caller,
            progress: Progress { attempts, not_before: settled.accepted_at },
            tries: attempts,
            is_running: is_held,
            mandate: None,
            reason: None,
            told: watch::channel(CallState::Queued).0,
        };
        self.open().insert(place.call, open);
        self.stirred.notify_one();
    }

    /// What a call goes through from now on; none where it is final.
    pub(crate) fn follow(&self, place: CallPlace) -> Option<watch::Receiver<CallState>> {
        self.open().get(&place.call).filter(|open| open.place == place).map(|open| open.told.subscribe())
    }

    /// Waits until a call is final, at most so long.
    pub(crate) async fn ended(&self, place: CallPlace, within: Duration) {
        let Some(mut states) = self.follow(place) else { return };
        let mut closing = self.closing.subscribe();
        let ended = async {
            tokio::select! {
                // A sender that is gone went with the end.
                _ = states.wait_for(|state| state.is_final()) => {}
                _ = closing.wait_for(|closing| *closing) => {}
            }
        };
        let _ = timeout(within, ended).await;
    }

    /// Begins nothing more, and waits for what is under way, at most so long.
    pub(crate) async fn close(&self, within: Duration) {
        self.closing.send_replace(true);
        let ended = async {
            loop {
                let mut settled = std::pin::pin!(self.settled.notified());
                settled.as_mut().enable();
                if !self.open().values().any(|open| open.is_running) {
                    return;
                }
                settled.await;
            }
        };
        let _ = timeout(within, ended).await;
    }

    async fn ready(&self) -> Result<(), Problem> {
        let mut ready = self.ready.subscribe();
        let is_ready = timeout(READY_WITHIN, ready.wait_for(|ready| *ready)).await;
        match is_ready {
            Ok(Ok(_)) => Ok(()),
            _ => Err(Problem::new(ProblemKind::LedgerUnavailable).retry_after(1)),
        }
    }

    fn is_closing(&self) -> bool {
        *self.closing.borrow()
    }

    /// What is to be done now. Each is taken once, until it is let go.
    fn due(&self, now: Timestamp, may_act: impl Fn(&Caller) -> bool) -> Vec<(CallPlace, Errand)> {
        if self.is_closing() {
            return Vec::new();
        }
        let mut open = self.open();
        let mut running: HashMap<(TenantId, TaskId), usize> = HashMap::new();
        for one in open.values().filter(|one| one.is_running) {
            *running.entry((one.place.tenant, one.place.task)).or_default() += 1;
        }
        let mut all: usize = running.values().sum();
        let mut due = Vec::new();
        for one in open.values_mut().filter(|one| !one.is_running) {
            let of_task = running.entry((one.place.tenant, one.place.task)).or_default();
            let errand = match one.terms.turn(one.progress, now) {
                Turn::Over => Errand::Expire,
                Turn::Now
                    if *of_task < self.limits.attempts_each_max
                        && all < self.limits.attempts_max
                        && (may_act(&one.caller) || one.mandate.is_some_and(|until| now < until)) =>
                {
                    Errand::Try
                }
                Turn::Now | Turn::Later(_) => continue,
            };
            (*of_task, all, one.is_running) = (*of_task + 1, all + 1, true);
            due.push((one.place, errand));
        }
        due
    }

    fn with<T>(&self, call: CallId, work: impl FnOnce(&mut Open) -> T) -> Option<T> {
        self.open().get_mut(&call).map(work)
    }

    fn open(&self) -> MutexGuard<'_, BTreeMap<CallId, Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The call that has a key already, if it was asked for with the same bytes.
///
/// # Errors
/// [`ProblemKind::IdempotencyKeyReused`].
pub(crate) fn same_request(known: &CallRow, request_sha256: &str) -> Result<CallPlace, Problem> {
    // draft-ietf-httpapi-idempotency-key-header-07 §2.7: another payload under the same key is an error.
    let is_same = known.request_sha256 == request_sha256;
    if is_same { Ok(known.place) } else { Err(ProblemKind::IdempotencyKeyReused.into()) }
}

/// Nothing was kept, so nothing will be sent; or nobody knows, and who asks again by the same key is shown what was kept.
/// What is damaged does not heal by itself.
fn unavailable(error: &StoreError) -> Problem {
    match error {
        StoreError::Unavailable | StoreError::Unknown => {
            Problem::new(ProblemKind::LedgerUnavailable).retry_after(1)
        }
        StoreError::Exists(_) | StoreError::Missing(_) | StoreError::Corrupt(_) => {
            ProblemKind::Internal.into()
        }
    }
}
