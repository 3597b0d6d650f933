//! The ledger as the rest of the house holds it: a handle, a desk with its courier, one writing thread, one ticker.
//!
//! What must be recorded is queued at once, before the returned future is polled: a caller that goes
//! away cannot take an outcome with it. The queue needs no bound of its own, because what fills it is
//! bounded: intents by [`INTENTS_MAX`], outcomes by their intents, refusals by their budget, and ways out
//! without a credential by the pace that the gateway gives each task.

use crate::{
    LedgerError, LedgerKeys,
    alarms::Alarms,
    budget::{Budget, Count, Owner, TOLD_MAX, Word, source_text},
    courier::{Desk, Gone},
    disk::Disk,
    entries,
    facts::{EventFacts, FindingFacts, IntentFacts, OutcomeFacts, RefusalFacts, Source},
    hash::BodyDigest,
    meters::Meters,
    opening::{lock, outlive_file_size_limits, writer},
    pen::{Command, Pen, Quill, Stand, Write, held},
    read::{self, Filter},
    record::{Entry, EventName, Record, Refusal},
    recover::recover,
    segments::failed,
    verify::{Verified, verify},
};
use nightlatch_domain::{
    clock::{Clock, Timestamp},
    exchange::{Caller, Exchange},
    id::{CallId, TenantId},
    meters::Durations,
    ports::{
        Boxed,
        store::{LedgerHead, LedgerStore},
    },
    problem::ProblemKind,
};
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, Weak, mpsc::channel},
    thread,
    time::Duration,
};
use tokio::{
    sync::{Semaphore, oneshot},
    time::{MissedTickBehavior, interval, timeout},
};

/// Intents that may wait for the disk at one time; further ones wait before the queue.
const INTENTS_MAX: usize = 1024;
/// A disk that does not answer for so long is taken for one that will not.
const DISK_DEADLINE: Duration = Duration::from_secs(10);
/// How often counts are looked at and the head is signed.
const TICK: Duration = Duration::from_secs(1);
/// Alarms that are looked at then; of each name the last are kept.
const ALARMS_MAX: usize = 10_000;
/// How far back alarms are looked for at the start.
const ALARMS_SPAN: Duration = Duration::from_secs(30 * 24 * 3600);

/// The proof that a call's intent is written (and on the disk, where its effect asks for that). Only
/// [`Ledger::intent`] makes one; it cannot be copied. `attach` asks for it, [`Ledger::outcome`] uses it up.
#[derive(Debug)]
#[must_use = "an intent wants its outcome"]
pub struct Recorded {
    pub(crate) tenant: TenantId,
    pub(crate) call: CallId,
    pub(crate) seq: u64,
}

impl Recorded {
    /// The call that was recorded.
    #[must_use]
    pub const fn call(&self) -> CallId {
        self.call
    }

    /// The number of its record.
    #[must_use]
    pub const fn seq(&self) -> u64 {
        self.seq
    }
}

/// A ledger that is written. Clones are the same ledger; when the last goes, the writer ends.
#[derive(Clone)]
pub struct Ledger {
    inner: Arc<Inner>,
}

struct Inner {
    folder: PathBuf,
    keys: Arc<LedgerKeys>,
    clock: Arc<dyn Clock>,
    heads: Arc<dyn LedgerStore>,
    desk: Arc<Desk>,
    intents: Semaphore,
    budget: Mutex<Budget>,
    alarms: Arc<Mutex<Alarms>>,
    meters: Arc<Meters>,
    /// The number of the last head that the store took; held while one is on its way.
    published: tokio::sync::Mutex<u64>,
}

impl Ledger {
    /// Opens the ledger in `folder`, which is made where it is missing. Checks the chain from the last
    /// signed head on, moves a torn last line aside, and records that it began. Runs inside a tokio
    /// runtime; installs a handler for `SIGXFSZ`.
    ///
    /// # Errors
    /// [`LedgerError::InUse`] where another process writes it; [`LedgerError::Broken`] where what is
    /// there is not what was written; [`LedgerError::NotWritten`] where there is no room to begin.
    pub async fn open(
        folder: &Path,
        keys: LedgerKeys,
        heads: Arc<dyn LedgerStore>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, LedgerError> {
        outlive_file_size_limits()?;
        let lock = lock(folder)?;
        let head = heads.head().await?;
        let recovered = recover(folder, keys.public_key(), head.as_ref())?;
        let alarms = earlier_alarms(folder, clock.now().minus(ALARMS_SPAN))?;
        let writer = writer(folder, recovered.position)?;
        let pen = Pen {
            writer,
            clock: Arc::clone(&clock),
            alarms: Arc::clone(&alarms),
            meters: Arc::default(),
            _lock: lock,
        };
        let ledger = Self::start(folder, keys, heads, clock, alarms, pen, head)?;
        if recovered.torn_bytes > 0 {
            let torn =
                EventFacts { count: recovered.torn_bytes, ..EventFacts::new(EventName::LedgerRecovered) };
            ledger.event(torn).await?;
        }
        ledger.event(EventFacts::new(EventName::Started)).await?;
        Ok(ledger)
    }

    fn start<D: Disk + 'static>(
        folder: &Path,
        keys: LedgerKeys,
        heads: Arc<dyn LedgerStore>,
        clock: Arc<dyn Clock>,
        alarms: Arc<Mutex<Alarms>>,
        pen: Pen<D>,
        head: Option<LedgerHead>,
    ) -> Result<Self, LedgerError> {
        let (to, commands) = channel();
        let (meters, stand) = (Arc::clone(&pen.meters), Stand::new(pen));
        let quill = Arc::clone(&stand) as Arc<dyn Quill>;
        thread::Builder::new()
            .name("ledger".to_owned())
            .spawn(move || stand.run(&commands))
            .map_err(|error| failed(folder, &error))?;
        let inner = Arc::new(Inner {
            folder: folder.to_owned(),
            keys: Arc::new(keys),
            clock,
            heads,
            desk: Desk::open(to, Arc::clone(&meters), Some(quill)),
            intents: Semaphore::new(INTENTS_MAX),
            budget: Mutex::default(),
            alarms,
            meters,
            published: tokio::sync::Mutex::new(head.map_or(0, |head| head.seq)),
        });
        tokio::spawn(tick(Arc::downgrade(&inner)));
        Ok(Self { inner })
    }

    /// Records that a call is about to leave. Resolves after `write(2)` for reads and after `fdatasync`
    /// for everything else (one for all that wait).
    ///
    /// # Errors
    /// Any: then nothing may leave for this call. (Its line may yet come to be written, if the disk only
    /// was slow: an intent without an outcome.)
    pub fn intent(
        &self,
        exchange: &Exchange,
        facts: IntentFacts,
    ) -> Boxed<'static, Result<Recorded, LedgerError>> {
        let entry = entries::intent(&self.inner.keys, exchange, facts);
        let durable = exchange.matched.effect.waits_for_disk();
        let (tenant, call) = (exchange.caller.tenant, exchange.call);
        let inner = Arc::clone(&self.inner);
        Box::pin(async move {
            let entry = entry?;
            let written = async {
                let _permit = inner.intents.acquire().await.map_err(|_| LedgerError::Closed)?;
                inner.queue(entry, durable)?.await.map_err(|_| LedgerError::Closed)?
            };
            let seq = timeout(DISK_DEADLINE, written).await.map_err(|_| LedgerError::TimedOut)??;
            Ok(Recorded { tenant, call, seq })
        })
    }

    /// Records what came of a call. Queued before the future is polled.
    ///
    /// # Errors
    /// Any of writing. What happened has happened; the call's intent stands without its outcome.
    pub fn outcome(
        &self,
        recorded: Recorded,
        facts: OutcomeFacts,
    ) -> Boxed<'static, Result<(), LedgerError>> {
        self.write_aside(entries::outcome(&recorded, facts))
    }

    /// Records that a call of an admitted agent was not made: one by one up to the task's budget a
    /// minute, counted from there. Queued before the future is polled.
    ///
    /// # Errors
    /// Any of writing; the call stays refused.
    pub fn refusal(
        &self,
        caller: &Caller,
        mut facts: RefusalFacts,
    ) -> Boxed<'static, Result<(), LedgerError>> {
        facts.count = facts.count.min(TOLD_MAX);
        let owner = Owner::Admitted(caller.tenant, caller.agent, caller.task);
        if !self.inner.spend(owner, Word::Problem(facts.problem), facts.count) {
            return Box::pin(async { Ok(()) });
        }
        self.write(entries::refusal(caller, facts, self.inner.clock.now()), false)
    }

    /// Records that a caller that proved nothing was refused: the first few of a source in a minute one
    /// by one, the rest counted. Queued before the future is polled.
    ///
    /// # Errors
    /// Any of writing; the caller stays refused.
    pub fn refusal_unadmitted(
        &self,
        source: Source,
        problem: ProblemKind,
    ) -> Boxed<'static, Result<(), LedgerError>> {
        let owner = Owner::Unproved(source.counted());
        if !self.inner.spend(owner, Word::Problem(problem), 1) {
            return Box::pin(async { Ok(()) });
        }
        let now = self.inner.clock.now();
        let entry = Refusal { source: source_text(owner), ..Refusal::bare(problem, now, now) };
        self.write(Entry::Refusal(entry), false)
    }

    /// Records something that was noticed in a call. Queued before the future is polled.
    ///
    /// # Errors
    /// Any of writing.
    pub fn finding(&self, facts: FindingFacts) -> Boxed<'static, Result<(), LedgerError>> {
        self.write_aside(entries::finding(facts))
    }

    /// Records that something happened, and waits until that is on the disk (the misuse of a reference: until
    /// it is written). What an agent can provoke has a budget of its own, so that nothing else that it
    /// provokes uses that up. Queued before the future is polled.
    ///
    /// # Errors
    /// Any of writing.
    pub fn event(&self, facts: EventFacts) -> Boxed<'static, Result<(), LedgerError>> {
        let provoked =
            facts.event.is_provoked().then_some(()).and(facts.tenant.zip(facts.agent).zip(facts.task));
        if let Some(((tenant, agent), task)) = provoked
            && !self.inner.spend(Owner::Admitted(tenant, agent, task), Word::Event(facts.event), facts.count)
        {
            return Box::pin(async { Ok(()) });
        }
        let durable = facts.event.waits_for_disk();
        self.write(entries::event(facts), durable)
    }

    /// A keyed hash of a body, to be fed as it streams by.
    #[must_use]
    pub fn body_digest(&self) -> BodyDigest {
        self.inner.keys.body_digest()
    }

    /// How many entries and questions wait for the writing thread.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.inner.meters.queued()
    }

    /// How long the disk took to have what was written.
    #[must_use]
    pub fn sync_durations(&self) -> Durations {
        self.inner.meters.syncs.read()
    }

    /// The folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.inner.folder
    }

    /// The last `limit` records that fit, oldest first. Reads files: not on a thread that serves.
    ///
    /// # Errors
    /// [`LedgerError::File`] or [`LedgerError::Unreadable`].
    pub fn tail(&self, limit: usize, filter: &Filter) -> Result<Vec<Record>, LedgerError> {
        read::tail(&self.inner.folder, limit, filter)
    }

    /// Those of these calls that have an intent, and no outcome which says that nothing left. Reads files: not on a thread that serves.
    ///
    /// # Errors
    /// [`LedgerError::File`] or [`LedgerError::Unreadable`].
    pub fn perhaps_sent(&self, calls: &BTreeSet<CallId>) -> Result<BTreeSet<CallId>, LedgerError> {
        read::perhaps_sent(&self.inner.folder, calls)
    }

    /// What happened since then that a human should hear of, oldest first; of each name the last 64.
    #[must_use]
    pub fn alarms(&self, since: Timestamp) -> Vec<Record> {
        held(&self.inner.alarms).since(since)
    }

    /// Signs the head, hands it to the store, and verifies the whole folder against it.
    ///
    /// # Errors
    /// As [`verify`](crate::verify::verify), and what signing the head can fail with.
    pub async fn verify(&self) -> Result<Verified, LedgerError> {
        self.inner.publish_head().await?;
        let head = self.inner.heads.head().await?;
        let inner = Arc::clone(&self.inner);
        tokio::task::spawn_blocking(move || verify(&inner.folder, inner.keys.public_key(), head.as_ref()))
            .await
            .map_err(|_| LedgerError::Closed)?
    }

    /// Writes what is counted, records the end, signs the head and ends the writer.
    ///
    /// # Errors
    /// What could not be written or signed. The writer has ended all the same.
    pub async fn close(&self) -> Result<(), LedgerError> {
        let counts = held(&self.inner.budget).rest();
        let counted = self.inner.write_counts(counts).await;
        let stopped = self.event(EventFacts::new(EventName::Stopped)).await;
        let published = self.inner.publish_head().await;
        let (reply, ended) = oneshot::channel();
        self.inner.desk.leave(Command::Close(reply)).map_err(|Gone| LedgerError::Closed)?;
        ended.await.map_err(|_| LedgerError::Closed)??;
        counted.and(stopped).and(published)
    }

    fn write(&self, entry: Entry, durable: bool) -> Boxed<'static, Result<(), LedgerError>> {
        Box::pin(written(self.inner.queue(entry, durable)))
    }

    /// The same for what is said after it happened: as a rule nobody waits for it.
    fn write_aside(&self, entry: Entry) -> Boxed<'static, Result<(), LedgerError>> {
        Box::pin(written(self.inner.queue_aside(entry)))
    }
}

type Queued = Result<oneshot::Receiver<Result<u64, LedgerError>>, LedgerError>;

async fn written(queued: Queued) -> Result<(), LedgerError> {
    let answered = timeout(DISK_DEADLINE, queued?).await.map_err(|_| LedgerError::TimedOut)?;
    answered.map_err(|_| LedgerError::Closed)?.map(|_| ())
}

impl Inner {
    fn queue(&self, entry: Entry, durable: bool) -> Queued {
        let (reply, written) = oneshot::channel();
        let write = Command::Write(Box::new(Write { entry, durable, reply }));
        self.desk.leave(write).map_err(|Gone| LedgerError::Closed)?;
        Ok(written)
    }

    fn queue_aside(&self, entry: Entry) -> Queued {
        let (reply, written) = oneshot::channel();
        let write = Command::Write(Box::new(Write { entry, durable: false, reply }));
        self.desk.leave_aside(write).map_err(|Gone| LedgerError::Closed)?;
        Ok(written)
    }

    fn spend(&self, owner: Owner, word: Word, count: u64) -> bool {
        held(&self.budget).spend(owner, word, count, self.clock.now(), self.clock.boot())
    }

    /// Counts that could not be written are counted on.
    async fn write_counts(&self, counts: Vec<Count>) -> Result<(), LedgerError> {
        let mut first_failure = Ok(());
        for count in counts {
            let written = match self.queue(count.entry(), false) {
                Ok(written) => written.await.unwrap_or(Err(LedgerError::Closed)),
                Err(closed) => Err(closed),
            };
            if let Err(failure) = written {
                held(&self.budget).put_back(vec![count]);
                first_failure = first_failure.and(Err(failure));
            }
        }
        first_failure
    }

    async fn publish_head(&self) -> Result<(), LedgerError> {
        let mut published = self.published.lock().await;
        let (reply, synced) = oneshot::channel();
        self.desk.leave(Command::Head(reply)).map_err(|Gone| LedgerError::Closed)?;
        let link = synced.await.map_err(|_| LedgerError::Closed)??;
        if link.seq > *published {
            self.heads.put_head(self.keys.sign(&link, self.clock.now())).await?;
            *published = link.seq;
        }
        Ok(())
    }
}

/// What was counted must not be lost because nobody closed in order.
impl Drop for Inner {
    fn drop(&mut self) {
        for count in held(&self.budget).rest() {
            // The queue is still there, or the writer has ended and there is nowhere to write.
            let _ = self.queue(count.entry(), false);
        }
    }
}

/// Ends with the last handle. A store that cannot be reached is tried again: calls do not depend on it.
async fn tick(inner: Weak<Inner>) {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(inner) = inner.upgrade() else { return };
        let due = held(&inner.budget).due(inner.clock.boot());
        let counted = inner.write_counts(due).await;
        match counted.and(inner.publish_head().await) {
            Err(LedgerError::Closed) => return,
            Err(error) => tracing::warn!(%error, "the ledger's head is not signed"),
            Ok(()) => {}
        }
    }
}

fn earlier_alarms(folder: &Path, since: Timestamp) -> Result<Arc<Mutex<Alarms>>, LedgerError> {
    let mut alarms = Alarms::default();
    read::alarms(folder, since, ALARMS_MAX)?.iter().for_each(|record| alarms.note(record));
    Ok(Arc::new(Mutex::new(alarms)))
}

#[cfg(test)]
mod tests;
