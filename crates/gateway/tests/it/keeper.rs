//! A keeper that seals real leases, and lies, refuses or dawdles where a test says so.

use nightlatch_custody::{KeeperKeys, Secret};
use nightlatch_domain::{
    clock::{Clock, Timestamp},
    id::{CallId, ConnectionId, FamilyId, TaskId, TenantId, WakeId},
    ports::{
        Boxed,
        gateway_keeper::{
            Challenge, Evidence, GatewayReply, GatewayRequest, KeeperForGateway, KeeperRefusal, Lease,
            LeaseBinding, LeaseBody, LeaseKind, LeaseRequest, MandatedLease, WakeGranted, WakeProof,
        },
        store::KeeperStore,
    },
    principal::{Binding, Enrolment},
    sealed::{Attestation, SealingKey},
    task::Assurance,
    tool::BoundHost,
};
use nightlatch_scrub::{Sought, WindowSet, set::KEY_BYTES};
use nightlatch_store::SqliteStore;
use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::sync::Semaphore;

/// What a connection's seal holds.
#[derive(Clone)]
pub(crate) struct Vaulted {
    pub(crate) hosts: Vec<BoundHost>,
    pub(crate) secret: String,
    /// What else must not come back.
    pub(crate) others: Vec<String>,
    pub(crate) family: Option<FamilyId>,
    pub(crate) generation: u64,
}

/// What a test can make it do.
#[derive(Default)]
pub(crate) struct Knobs {
    /// Refuse every request of this kind: `challenge`, `wake`, `lease`, `enrol`.
    pub(crate) refuse: HashMap<&'static str, KeeperRefusal>,
    /// Seal a lease with this change to its binding.
    pub(crate) rebind: Option<fn(&mut LeaseBinding)>,
    /// Say another binding beside the sealed one.
    pub(crate) claim: Option<fn(&mut LeaseBinding)>,
    /// Put these windows beside a lease in place of its own.
    pub(crate) windows: Option<Windows>,
    /// Answer every request with this.
    pub(crate) answer: Option<GatewayReply>,
    /// Grant every wake under this id.
    pub(crate) wakes_as: Option<WakeId>,
    /// Never answer a request of this kind.
    pub(crate) hangs_at: Option<&'static str>,
    /// Never answer.
    pub(crate) hangs: bool,
    /// Seal a lease before waiting for a permit to hand it out.
    pub(crate) seals_before_it_waits: bool,
    /// How long a wake is given for.
    pub(crate) wake_for: Option<Duration>,
    /// How long a lease is fresh.
    pub(crate) fresh_for: Option<Duration>,
}

/// Windows that are not those of their lease.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Windows {
    /// Sealed for another lease of the same wake.
    OfAnotherLease,
    /// Sealed for this one, and no set.
    NoSet,
    /// The sealed credential.
    TheCredential,
}

pub(crate) struct FakeKeeper {
    keys: KeeperKeys,
    store: SqliteStore,
    clock: Arc<dyn Clock>,
    pub(crate) vault: Mutex<HashMap<ConnectionId, Vaulted>>,
    pub(crate) knobs: Mutex<Knobs>,
    pub(crate) asked: Mutex<Vec<String>>,
    /// Leases wait here for a permit.
    pub(crate) leases: Semaphore,
    awake: Mutex<HashMap<WakeId, (TaskId, SealingKey)>>,
    proved: Mutex<Option<WakeProof>>,
    drawn: Mutex<u8>,
    spent: Mutex<HashSet<CallId>>,
}

impl FakeKeeper {
    pub(crate) fn new(keys: KeeperKeys, store: SqliteStore, clock: Arc<dyn Clock>) -> Self {
        let leases = Semaphore::new(Semaphore::MAX_PERMITS);
        let (vault, knobs, asked, awake, proved, drawn, spent) = Default::default();
        Self { keys, store, clock, vault, knobs, asked, leases, awake, proved, drawn, spent }
    }

    /// How often a kind of request came.
    pub(crate) fn count(&self, kind: &str) -> usize {
        self.asked.lock().unwrap().iter().filter(|asked| *asked == kind).count()
    }

    /// What was put before it last.
    pub(crate) fn last_proof(&self) -> WakeProof {
        self.proved.lock().unwrap().clone().unwrap()
    }

    /// Forgets every wake, as a restart does.
    pub(crate) fn forget(&self) {
        self.awake.lock().unwrap().clear();
    }

    fn is_hung(&self, kind: &str) -> bool {
        let knobs = self.knobs.lock().unwrap();
        knobs.hangs || knobs.hangs_at == Some(kind)
    }

    fn ten(&self) -> [u8; 10] {
        let mut drawn = self.drawn.lock().unwrap();
        *drawn += 1;
        [*drawn; 10]
    }

    async fn answer(&self, request: GatewayRequest) -> Result<GatewayReply, KeeperRefusal> {
        let kind = kind(&request);
        self.asked.lock().unwrap().push(kind.to_owned());
        if let Some(refusal) = self.knobs.lock().unwrap().refuse.get(kind) {
            return Err(refusal.clone());
        }
        if self.is_hung(kind) {
            return std::future::pending().await;
        }
        if let Some(answer) = &self.knobs.lock().unwrap().answer {
            return Ok(answer.clone());
        }
        match request {
            GatewayRequest::Challenge { .. } => Ok(GatewayReply::Challenge(self.challenge())),
            GatewayRequest::Wake(proof) => Ok(self.wake(&proof)),
            GatewayRequest::Lease(asked) => {
                let seals_now = self.knobs.lock().unwrap().seals_before_it_waits;
                let early = seals_now.then(|| self.lease(&asked));
                self.leases.acquire().await.unwrap().forget();
                self.leases.add_permits(1);
                early.unwrap_or_else(|| self.lease(&asked))
            }
            GatewayRequest::Mandate(asked) => self.mandated(&asked),
            GatewayRequest::Enrol { code_sha256, binding } => self.enrol(code_sha256, binding).await,
            GatewayRequest::Sleep { wake, .. } => {
                self.awake.lock().unwrap().remove(&wake);
                Ok(GatewayReply::Done)
            }
            GatewayRequest::Unauthorized { .. } => Ok(GatewayReply::Done),
        }
    }

    fn challenge(&self) -> Challenge {
        let at = self.clock.now();
        Challenge {
            wake: WakeId::new(at, self.ten()),
            nonce: "aa".repeat(32),
            expires_at: at.plus(Duration::from_secs(60)),
        }
    }

    fn wake(&self, proof: &WakeProof) -> GatewayReply {
        self.awake.lock().unwrap().insert(proof.wake, (proof.task, proof.replica_key.clone()));
        *self.proved.lock().unwrap() = Some(proof.clone());
        let assurance = match proof.evidence {
            Evidence::Stated { .. } => Assurance::Stated,
            Evidence::Signed { .. } => Assurance::Signed,
        };
        let knobs = self.knobs.lock().unwrap();
        let ends_at = self.clock.now().plus(knobs.wake_for.unwrap_or(Duration::from_secs(3600)));
        let wake = knobs.wakes_as.unwrap_or(proof.wake);
        GatewayReply::Awake(WakeGranted { wake, assurance, ends_at })
    }

    fn lease(&self, asked: &LeaseRequest) -> Result<GatewayReply, KeeperRefusal> {
        let awake = self.awake.lock().unwrap().get(&asked.wake).cloned();
        let (_, to) = awake.ok_or(KeeperRefusal::NotAwake)?;
        Ok(GatewayReply::Lease(self.sealed(asked, &to, None)?))
    }

    /// One lease for each call; the signature is the real keeper's to judge.
    fn mandated(&self, asked: &MandatedLease) -> Result<GatewayReply, KeeperRefusal> {
        let mandate = &asked.mandate;
        if !self.spent.lock().unwrap().insert(mandate.call) {
            return Err(KeeperRefusal::MandateRejected);
        }
        let wake = WakeId::new(self.clock.now(), self.ten());
        let request = LeaseRequest {
            tenant: mandate.tenant,
            wake,
            grant: mandate.grant,
            connection: mandate.connection,
            patience_millis: 0,
        };
        let lease = self.sealed(&request, &asked.replica_key, Some(mandate.request_sha256.clone()))?;
        let ends_at = self.clock.now().plus(Duration::from_secs(900));
        let wake = WakeGranted { wake, assurance: Assurance::Signed, ends_at };
        Ok(GatewayReply::Mandated { wake, lease })
    }

    fn sealed(
        &self,
        asked: &LeaseRequest,
        to: &SealingKey,
        request_sha256: Option<String>,
    ) -> Result<Lease, KeeperRefusal> {
        let held =
            self.vault.lock().unwrap().get(&asked.connection).cloned().ok_or(KeeperRefusal::GrantEnded)?;
        let mut binding = LeaseBinding {
            tenant: asked.tenant,
            wake: asked.wake,
            grant: asked.grant,
            connection: asked.connection,
            family: held.family,
            generation: held.generation,
            request_sha256,
        };
        let knobs = self.knobs.lock().unwrap();
        if let Some(rebind) = knobs.rebind {
            rebind(&mut binding);
        }
        let body = LeaseBody { hosts: held.hosts, chain: None };
        let others = held.others.iter().map(|secret| Sought::Other(secret.as_bytes()));
        let sought: Vec<_> = [Sought::Held(held.secret.as_bytes())].into_iter().chain(others).collect();
        let set = WindowSet::of(&[7; KEY_BYTES], &sought).0.encode();
        let windows = self.keys.seal_windows(to, &binding, &set).unwrap();
        let sealed = self.keys.seal_lease(to, &binding, &body, &Secret::from_string(held.secret)).unwrap();
        let windows = match knobs.windows {
            None => windows,
            Some(Windows::NoSet) => self.keys.seal_windows(to, &binding, b"no set").unwrap(),
            Some(Windows::TheCredential) => sealed.clone(),
            Some(Windows::OfAnotherLease) => {
                let other = LeaseBinding { generation: binding.generation + 1, ..binding.clone() };
                self.keys.seal_windows(to, &other, &set).unwrap()
            }
        };
        if let Some(claim) = knobs.claim {
            claim(&mut binding);
        }
        let fresh_until = self.clock.now().plus(knobs.fresh_for.unwrap_or(Duration::from_secs(600)));
        Ok(Lease { sealed, windows, binding, kind: LeaseKind::Static, fresh_until })
    }

    async fn enrol(&self, code_sha256: String, binding: Binding) -> Result<GatewayReply, KeeperRefusal> {
        let code = self
            .store
            .enrolment_code(code_sha256.clone())
            .await
            .unwrap()
            .ok_or(KeeperRefusal::CodeRejected)?;
        let enrolment = Enrolment {
            tenant: code.tenant,
            id: nightlatch_domain::id::EnrolmentId::new(self.clock.now(), self.ten()),
            agent: code.agent,
            task: code.task,
            binding,
            created_at: self.clock.now(),
            attestation: Attestation("test".into()),
        };
        match self.store.enrol(code_sha256, enrolment).await {
            Ok(true) => {
                Ok(GatewayReply::Enrolled { tenant: code.tenant, agent: code.agent, task: code.task })
            }
            Ok(false) => Err(KeeperRefusal::CodeRejected),
            Err(_) => Err(KeeperRefusal::AlreadyEnrolled),
        }
    }
}

fn kind(request: &GatewayRequest) -> &'static str {
    match request {
        GatewayRequest::Challenge { .. } => "challenge",
        GatewayRequest::Wake(_) => "wake",
        GatewayRequest::Lease(_) => "lease",
        GatewayRequest::Mandate(_) => "mandate",
        GatewayRequest::Unauthorized { .. } => "unauthorized",
        GatewayRequest::Sleep { .. } => "sleep",
        GatewayRequest::Enrol { .. } => "enrol",
    }
}

impl KeeperForGateway for FakeKeeper {
    fn ask(&self, request: GatewayRequest) -> Boxed<'_, Result<GatewayReply, KeeperRefusal>> {
        // Over the port everything is really encoded and decoded.
        let request = serde_json::from_str(&serde_json::to_string(&request).unwrap()).unwrap();
        Box::pin(async move { self.answer(request).await })
    }
}

/// A time that is long over.
pub(crate) fn past() -> Timestamp {
    Timestamp::from_millis(1)
}

/// Another tenant than any of a test's.
pub(crate) fn stranger() -> TenantId {
    TenantId::new(past(), [0xEE; 10])
}
