//! Wakes: from a challenge to an [`Awake`], which only verification makes.
//!
//! The database cannot wake anybody. A wake begins when the agent's enrolled key signs a nonce that this
//! keeper drew a moment ago, or, for less assurance, when the gateway states what it verified itself (a key
//! by its TLS handshake, a local user by the kernel); and when the enrolment, the task and the agent that
//! this leads to each bear the keeper's own word.
//! Everything here lives in memory: after a restart every task proves itself again.

mod evidence;

pub(crate) use evidence::sha256;

use crate::{core::Core, machine::Moment};
use nightlatch_domain::{
    clock::{Boot, Timestamp, random},
    id::{PrincipalId, TaskId, TenantId, WakeId},
    ports::{
        control_keeper::Statement,
        gateway_keeper::{Challenge, GatewayReply, KeeperRefusal, WakeGranted, WakeProof},
        store::StoreError,
    },
    principal::{Agent, AgentStatus, Binding, Enrolment},
    sealed::SealingKey,
    task::{Task, WakeNote},
};
use nightlatch_ledger::{facts::EventFacts, record::EventName};
use std::{
    collections::BTreeMap,
    fmt::Write as _,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// A challenge is answered within this, and what the gateway states is no older.
const PROOF_WITHIN: Duration = Duration::from_secs(60);
/// A wake is proved again after this.
const WAKE_MAX: Duration = Duration::from_secs(3600);
/// An agent can ask for challenges as it likes: unanswered ones are bounded, for each task and in all, and
/// whoever has more gives way. A task needs one for each gateway and key at a time.
const CHALLENGES_MAX: usize = 4096;
const CHALLENGES_OF_TASK: usize = 16;
/// Wakes at once; one for each task at work and gateway that serves it.
const WAKES_MAX: usize = 16_384;
/// Wakes at once of one task by one key: its gateways, and a renewal. The oldest ends for another.
const WAKES_OF_KEY: usize = 4;
/// Notes of wakes that are over: so many of a task are kept, and what is younger than this.
const NOTES_KEPT: u32 = 64;
const NOTES_KEPT_FOR: Duration = Duration::from_secs(24 * 3600);

/// A task that may act, as the keeper itself verified it.
#[derive(Debug)]
pub(crate) struct Awake {
    wake: WakeId,
    tenant: TenantId,
    agent: PrincipalId,
    task: TaskId,
    binding: Binding,
    replica_key: SealingKey,
    granted: WakeGranted,
    ends_boot: Boot,
}

impl Awake {
    pub(crate) const fn wake(&self) -> WakeId {
        self.wake
    }

    pub(crate) const fn tenant(&self) -> TenantId {
        self.tenant
    }

    pub(crate) const fn agent(&self) -> PrincipalId {
        self.agent
    }

    pub(crate) const fn task(&self) -> TaskId {
        self.task
    }

    /// The gateway's key of this wake: the only one that a lease is sealed to.
    pub(crate) const fn replica_key(&self) -> &SealingKey {
        &self.replica_key
    }

    /// The wake of one call that goes on without its agent. It is none of [`Wakes`]: nothing can be asked for in it.
    pub(crate) fn of_one_call(
        (tenant, agent, task): (TenantId, PrincipalId, TaskId),
        (binding, replica_key): (Binding, SealingKey),
        granted: WakeGranted,
        ends_boot: Boot,
    ) -> Self {
        Self { wake: granted.wake, tenant, agent, task, binding, replica_key, granted, ends_boot }
    }

    /// What the gateway was told of it.
    pub(crate) const fn granted(&self) -> &WakeGranted {
        &self.granted
    }

    /// When it must be proved again.
    pub(crate) const fn ends_at(&self) -> Timestamp {
        self.granted.ends_at
    }
}

#[derive(Debug, Clone)]
struct Asked {
    tenant: TenantId,
    task: TaskId,
    nonce: String,
    until: Boot,
    /// What was told of `until`: a signature covers it.
    expires_at: Timestamp,
    /// The nonce was presented, and the proof is being verified.
    spent: bool,
}

/// Challenges and wakes, in memory only.
#[derive(Debug, Default)]
pub(crate) struct Wakes {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// Ids grow with time: the oldest come first.
    challenges: BTreeMap<WakeId, Asked>,
    awake: BTreeMap<WakeId, Arc<Awake>>,
}

impl Inner {
    fn forget_old(&mut self, now: Boot) {
        self.challenges.retain(|_, asked| asked.until > now);
        self.awake.retain(|_, awake| awake.ends_boot > now);
    }

    /// Makes room for a challenge. A task that has its share gives its own oldest up; where everything is
    /// taken, the task that has more than others does. One whose proof is being verified stays.
    fn make_room(&mut self, tenant: TenantId, task: TaskId) -> Result<(), KeeperRefusal> {
        let is_own = |asked: &&Asked| (asked.tenant, asked.task) == (tenant, task);
        let own = self.challenges.values().filter(is_own).count();
        let giving = if self.challenges.len() >= CHALLENGES_MAX {
            self.greediest_beyond(own + 1).unwrap_or((tenant, task))
        } else if own >= CHALLENGES_OF_TASK {
            (tenant, task)
        } else {
            return Ok(());
        };
        let is_idle = |asked: &Asked| (asked.tenant, asked.task) == giving && !asked.spent;
        let oldest = self.challenges.iter().find(|(_, asked)| is_idle(asked)).map(|(wake, _)| *wake);
        self.challenges.remove(&oldest.ok_or(KeeperRefusal::TooMany)?);
        Ok(())
    }

    /// The task with the most challenges, if those are more than `count`.
    fn greediest_beyond(&self, count: usize) -> Option<(TenantId, TaskId)> {
        let mut counts: BTreeMap<(TenantId, TaskId), usize> = BTreeMap::new();
        for asked in self.challenges.values() {
            *counts.entry((asked.tenant, asked.task)).or_default() += 1;
        }
        let (task, most) = counts.into_iter().max_by_key(|(_, most)| *most)?;
        (most > count).then_some(task)
    }

    /// Takes a verified wake in, and answers those that end for it. None where there is no room, or the
    /// task was put to sleep while the proof was being verified.
    fn take_in(&mut self, awake: &Arc<Awake>) -> Result<Vec<Arc<Awake>>, KeeperRefusal> {
        self.challenges.remove(&awake.wake).ok_or(KeeperRefusal::ProofRejected)?;
        let own = |one: &&Arc<Awake>| {
            (one.tenant, one.task, &one.binding) == (awake.tenant, awake.task, &awake.binding)
        };
        let own: Vec<WakeId> = self.awake.values().filter(own).map(|one| one.wake).collect();
        let surplus = (own.len() + 1).saturating_sub(WAKES_OF_KEY);
        let mut over: Vec<WakeId> = own.into_iter().take(surplus).collect();
        if over.is_empty() && self.awake.len() >= WAKES_MAX {
            over.push(self.oldest_of_the_greediest(awake.tenant).ok_or(KeeperRefusal::TooMany)?);
        }
        let over = over.iter().filter_map(|wake| self.awake.remove(wake)).collect();
        self.awake.insert(awake.wake, Arc::clone(awake));
        Ok(over)
    }

    /// Where everything is taken, whoever has the most gives way to those who have less.
    fn oldest_of_the_greediest(&self, asking: TenantId) -> Option<WakeId> {
        let mut counts: BTreeMap<TenantId, usize> = BTreeMap::new();
        for one in self.awake.values() {
            *counts.entry(one.tenant).or_default() += 1;
        }
        let (greediest, most) = counts.iter().max_by_key(|(_, count)| **count)?;
        let has = counts.get(&asking).copied().unwrap_or(0);
        (has + 1 < *most)
            .then(|| self.awake.values().find(|one| one.tenant == *greediest))?
            .map(|one| one.wake)
    }
}

impl Wakes {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The wake, if it is one of this tenant and not over.
    pub(crate) fn live(&self, tenant: TenantId, wake: WakeId, now: Boot) -> Option<Arc<Awake>> {
        let awake = self.inner().awake.get(&wake).cloned()?;
        (awake.tenant == tenant && awake.ends_boot > now).then_some(awake)
    }

    fn end(&self, wanted: impl Fn(&Awake) -> bool) -> Vec<Arc<Awake>> {
        let mut inner = self.inner();
        let over: Vec<WakeId> =
            inner.awake.values().filter(|awake| wanted(awake)).map(|awake| awake.wake).collect();
        over.iter().filter_map(|wake| inner.awake.remove(wake)).collect()
    }

    /// Ends every wake, and every proof that is under way.
    pub(crate) fn end_all(&self) -> Vec<Arc<Awake>> {
        std::mem::take(&mut *self.inner()).awake.into_values().collect()
    }

    fn forget_challenges(&self, tenant: TenantId, task: TaskId) {
        self.inner().challenges.retain(|_, asked| asked.tenant != tenant || asked.task != task);
    }

    fn forget_challenge(&self, tenant: TenantId, wake: WakeId) {
        self.inner().challenges.retain(|id, asked| asked.tenant != tenant || *id != wake);
    }
}

/// Draws a nonce for a proof.
pub(crate) fn challenge(core: &Core, tenant: TenantId, task: TaskId) -> Result<GatewayReply, KeeperRefusal> {
    let now = core.now();
    let unavailable = |_| KeeperRefusal::Unavailable;
    let wake = WakeId::new(now.wall, core.ten().map_err(unavailable)?);
    let nonce = hex(&random::<32>(&*core.parts.entropy).map_err(unavailable)?);
    let (until, expires_at) = (now.boot.plus(PROOF_WITHIN), now.wall.plus(PROOF_WITHIN));
    let mut inner = core.wakes.inner();
    inner.forget_old(now.boot);
    inner.make_room(tenant, task)?;
    let asked = Asked { tenant, task, nonce: nonce.clone(), until, expires_at, spent: false };
    inner.challenges.insert(wake, asked);
    Ok(GatewayReply::Challenge(Challenge { wake, nonce, expires_at }))
}

/// Begins a wake, if the proof holds.
pub(crate) async fn wake(core: &Core, proof: WakeProof) -> Result<GatewayReply, KeeperRefusal> {
    let now = core.now();
    if let Some(awake) = core.wakes.live(proof.tenant, proof.wake, now.boot) {
        return repeated(&awake, &proof);
    }
    let expires_at = spend(core, &proof, now.boot)?;
    let begun = begin(core, &proof, expires_at, now).await;
    if begun.is_err() {
        core.wakes.forget_challenge(proof.tenant, proof.wake);
    }
    begun
}

async fn begin(
    core: &Core,
    proof: &WakeProof,
    expires_at: Timestamp,
    now: Moment,
) -> Result<GatewayReply, KeeperRefusal> {
    let (binding, assurance) =
        evidence::proved(proof, expires_at, now.wall).ok_or(KeeperRefusal::ProofRejected)?;
    let task = verified(core, proof, &binding).await?;
    let ends_at = now.wall.plus(WAKE_MAX).min(task.ends_at);
    let awake = Arc::new(Awake {
        wake: proof.wake,
        tenant: proof.tenant,
        agent: proof.agent,
        task: proof.task,
        binding,
        replica_key: proof.replica_key.clone(),
        granted: WakeGranted { wake: proof.wake, assurance, ends_at },
        ends_boot: now.boot.plus(ends_at.since(now.wall)),
    });
    note_begin(core, &awake, now.wall).await?;
    let taken = {
        let mut inner = core.wakes.inner();
        inner.forget_old(core.now().boot);
        inner.take_in(&awake)
    };
    match taken {
        Ok(over) => note_ends(core, over).await,
        Err(refusal) => {
            note_ends(core, vec![awake]).await;
            return Err(refusal);
        }
    }
    Ok(GatewayReply::Awake(awake.granted.clone()))
}

/// The same proof again, for whoever lost the answer.
fn repeated(awake: &Awake, proof: &WakeProof) -> Result<GatewayReply, KeeperRefusal> {
    let same =
        awake.task == proof.task && awake.agent == proof.agent && awake.replica_key == proof.replica_key;
    if same { Ok(GatewayReply::Awake(awake.granted.clone())) } else { Err(KeeperRefusal::ProofRejected) }
}

/// A nonce serves once, whatever comes of it. Until the wake begins its challenge stays, so that whoever
/// ends the task's wakes meanwhile ends this one too. Answers when the challenge expires, in its own words.
fn spend(core: &Core, proof: &WakeProof, now: Boot) -> Result<Timestamp, KeeperRefusal> {
    let mut inner = core.wakes.inner();
    let asked = inner.challenges.get_mut(&proof.wake).ok_or(KeeperRefusal::ProofRejected)?;
    let fits = !std::mem::replace(&mut asked.spent, true)
        && asked.tenant == proof.tenant
        && asked.task == proof.task
        && asked.until > now
        && same(asked.nonce.as_bytes(), proof.nonce.as_bytes());
    if fits { Ok(asked.expires_at) } else { Err(KeeperRefusal::ProofRejected) }
}

/// The enrolment that the statement leads to, the task and the agent: each with the keeper's own word.
async fn verified(core: &Core, proof: &WakeProof, binding: &Binding) -> Result<Task, KeeperRefusal> {
    let enrolment = core.store().enrolment(binding.clone()).await.map_err(unavailable)?;
    let enrolment = enrolment.ok_or(KeeperRefusal::ProofRejected)?;
    if !core.vouches(Statement::Enrolment(enrolment.clone())) {
        return Err(refused(core, proof.tenant, proof.task, "enrolment-unverified").await);
    }
    if !belongs(&enrolment, proof, binding) {
        return Err(KeeperRefusal::ProofRejected);
    }
    may_act(core, proof.tenant, proof.agent, proof.task).await
}

fn belongs(enrolment: &Enrolment, proof: &WakeProof, binding: &Binding) -> bool {
    enrolment.tenant == proof.tenant
        && enrolment.agent == proof.agent
        && enrolment.task == proof.task
        && enrolment.binding == *binding
}

/// The task, if it is open and its agent active, and both rows stand as control handed them over.
pub(crate) async fn may_act(
    core: &Core,
    tenant: TenantId,
    agent: PrincipalId,
    task: TaskId,
) -> Result<Task, KeeperRefusal> {
    Actor::read(core, tenant, agent, task).await.may_act(core).await
}

/// Who acts, as it was read at the same time and not verified yet.
pub(crate) struct Actor {
    tenant: TenantId,
    agent: PrincipalId,
    task: TaskId,
    rows: (Result<Option<Task>, StoreError>, Result<Option<Agent>, StoreError>),
}

impl Actor {
    pub(crate) async fn read(core: &Core, tenant: TenantId, agent: PrincipalId, task: TaskId) -> Self {
        let rows = tokio::join!(core.store().task(tenant, task), core.store().agent(tenant, agent));
        Self { tenant, agent, task, rows }
    }

    /// The task, as [`may_act`] says.
    pub(crate) async fn may_act(self, core: &Core) -> Result<Task, KeeperRefusal> {
        let Self { tenant, agent, task, rows } = self;
        let row = rows.0.map_err(unavailable)?.ok_or(KeeperRefusal::TaskEnded)?;
        if !core.vouches(Statement::Task(row.clone())) || !is_own(&row, tenant, agent, task) {
            return Err(refused(core, tenant, task, "task-unverified").await);
        }
        if !row.is_open(core.now().wall) {
            return Err(KeeperRefusal::TaskEnded);
        }
        let actor = rows.1.map_err(unavailable)?.ok_or(KeeperRefusal::AgentDisabled)?;
        if !core.vouches(Statement::Agent(actor.clone())) || !is_agent(&actor, tenant, agent) {
            return Err(refused(core, tenant, task, "agent-unverified").await);
        }
        match actor.status {
            AgentStatus::Active => Ok(row),
            AgentStatus::Disabled => Err(KeeperRefusal::AgentDisabled),
        }
    }
}

/// A row that bears our word under another row's key was copied there.
fn is_own(row: &Task, tenant: TenantId, agent: PrincipalId, task: TaskId) -> bool {
    row.tenant == tenant && row.agent == agent && row.id == task
}

fn is_agent(row: &Agent, tenant: TenantId, agent: PrincipalId) -> bool {
    row.tenant == tenant && row.id == agent
}

/// Says in the ledger that something stored did not bear our word.
pub(crate) async fn refused(
    core: &Core,
    tenant: TenantId,
    task: TaskId,
    reason: &'static str,
) -> KeeperRefusal {
    let (tenant, task) = (Some(tenant), Some(task));
    core.note(EventFacts { tenant, task, reason: Some(reason), ..EventFacts::new(EventName::LeaseRefused) })
        .await;
    KeeperRefusal::Unverified
}

pub(crate) fn unavailable(_: StoreError) -> KeeperRefusal {
    KeeperRefusal::Unavailable
}

async fn note_begin(core: &Core, awake: &Awake, now: Timestamp) -> Result<(), KeeperRefusal> {
    let note = WakeNote {
        tenant: awake.tenant,
        id: awake.wake,
        task: awake.task,
        assurance: awake.granted.assurance,
        binding: awake.binding.clone(),
        began_at: now,
        ends_at: awake.granted.ends_at,
        ended_at: None,
    };
    core.store().put_wake(note).await.map_err(unavailable)?;
    prune(core, awake, now).await;
    core.note(EventFacts {
        tenant: Some(awake.tenant),
        agent: Some(awake.agent),
        task: Some(awake.task),
        wake: Some(awake.wake),
        assurance: Some(awake.granted.assurance),
        ..EventFacts::new(EventName::TaskWoke)
    })
    .await;
    Ok(())
}

/// An agent that wakes again and again fills no disk. What could not be forgotten now is with the next wake.
async fn prune(core: &Core, awake: &Awake, now: Timestamp) {
    let before = now.minus(NOTES_KEPT_FOR);
    if let Err(error) = core.store().prune_wakes(awake.tenant, awake.task, NOTES_KEPT, before).await {
        tracing::warn!(%error, task = %awake.task, "old notes of wakes could not be forgotten");
    }
}

/// Ends one wake.
pub(crate) async fn sleep(core: &Core, tenant: TenantId, wake: WakeId) {
    core.wakes.forget_challenge(tenant, wake);
    end(core, |awake| awake.tenant == tenant && awake.wake == wake).await;
}

/// Ends every wake of a task, and every proof that is under way.
pub(crate) async fn end_task(core: &Core, tenant: TenantId, task: TaskId) {
    core.wakes.forget_challenges(tenant, task);
    end(core, |awake| awake.tenant == tenant && awake.task == task).await;
}

/// Ends every wake, and every proof that is under way. What is noted of that is noted when the store answers.
pub(crate) fn end_every(core: &Arc<Core>) {
    let (over, own) = (core.wakes.end_all(), Arc::clone(core));
    core.parts.work.spawn(Box::pin(async move { note_ends(&own, over).await }));
}

/// Gone from memory first: the note is for people.
async fn end(core: &Core, wanted: impl Fn(&Awake) -> bool) {
    note_ends(core, core.wakes.end(wanted)).await;
}

async fn note_ends(core: &Core, over: Vec<Arc<Awake>>) {
    let now = core.now().wall;
    for awake in over {
        if let Err(error) = core.store().end_wake(awake.tenant, awake.wake, now).await {
            tracing::warn!(%error, wake = %awake.wake, "the end of a wake could not be noted");
        }
    }
}

/// Equality that takes the same time wherever the two differ.
pub(crate) fn same(one: &[u8], other: &[u8]) -> bool {
    aws_lc_rs::constant_time::verify_slices_are_equal(one, other).is_ok()
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests;
