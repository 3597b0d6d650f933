//! A mandate is worth one lease, once, for the one call that an enrolled key signed: not forged, altered, foreign,
//! expired or replayed, also not from a database or a log that was put back.

use crate::{
    signed::{Key, enrol},
    world::{Running, World},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use nightlatch_custody::{ReplicaKey, entropy::SystemEntropy};
use nightlatch_domain::{
    call::{MANDATE_MAX, Mandate},
    clock::{Clock as _, Timestamp},
    grant::Grant,
    id::{CallId, ConnectionId, GrantId, InstallationId, TaskId, TenantId},
    ports::{
        control_keeper::Statement,
        gateway_keeper::{
            GatewayReply, GatewayRequest, KeeperRefusal, Lease, LeaseRequest, MandatedLease, WakeGranted,
        },
        store::{ControlStore, KeeperStore},
    },
    principal::AgentStatus,
    task::{Task, TaskState},
};
use std::time::Duration;

/// An agent with a key, a static connection that is granted, and a task that sleeps.
struct Case {
    world: World,
    running: Running,
    key: Key,
    mandate: Mandate,
    replica: ReplicaKey,
}

impl Case {
    async fn new() -> Self {
        let world = World::new();
        let running = world.start().await;
        world.settle(&running).await;
        let connection = world.connect_static(&running, "key-dana").await;
        let grant = world.grant(&running, connection).await;
        let key = Key::p256();
        enrol(&world, &running, &key).await;
        set_task(&world, &running, TaskState::Dormant).await;
        let mandate = Mandate {
            installation: running.keeper.installation(),
            tenant: world.tenant,
            task: world.task,
            grant,
            connection,
            call: CallId::new(world.clock.now(), [5; 10]),
            request_sha256: "0a".repeat(32),
            not_after: world.clock.now().plus(Duration::from_secs(600)),
        };
        let replica = ReplicaKey::generate(&SystemEntropy::new()).unwrap();
        Self { world, running, key, mandate, replica }
    }

    /// Another call of the same agent.
    fn another(&self, noise: u8) -> Mandate {
        Mandate { call: CallId::new(self.world.clock.now(), [noise; 10]), ..self.mandate.clone() }
    }

    async fn ask(&self, mandate: &Mandate) -> Result<(WakeGranted, Lease), KeeperRefusal> {
        self.ask_with(mandate.clone(), &self.key.sign(&mandate.statement().unwrap())).await
    }

    async fn ask_with(
        &self,
        mandate: Mandate,
        signature: &[u8],
    ) -> Result<(WakeGranted, Lease), KeeperRefusal> {
        self.ask_by(&self.key, mandate, signature).await
    }

    async fn ask_by(
        &self,
        key: &Key,
        mandate: Mandate,
        signature: &[u8],
    ) -> Result<(WakeGranted, Lease), KeeperRefusal> {
        let asked = MandatedLease {
            mandate,
            public_key_spki: URL_SAFE_NO_PAD.encode(key.spki()),
            signature: URL_SAFE_NO_PAD.encode(signature),
            replica_key: self.replica.sealing_key().clone(),
            patience_millis: 0,
        };
        match self.running.gateway.ask(GatewayRequest::Mandate(asked)).await? {
            GatewayReply::Mandated { wake, lease } => Ok((wake, lease)),
            other => panic!("{other:?}"),
        }
    }

    async fn restart(&mut self, between: impl FnOnce(&World)) {
        let fresh = World::new().start().await;
        std::mem::replace(&mut self.running, fresh).end().await;
        between(&self.world);
        self.running = self.world.start().await;
    }
}

async fn set_task(world: &World, running: &Running, state: TaskState) {
    let row = running.attested_task(world.task_row(state)).await;
    running.store.put_task(row).await.unwrap();
}

fn rejected(answer: Result<(WakeGranted, Lease), KeeperRefusal>) -> bool {
    matches!(answer, Err(KeeperRefusal::MandateRejected))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sleeping_tasks_mandate_gives_one_lease_for_its_request_and_nothing_else() {
    let case = Case::new().await;
    let (wake, lease) = case.ask(&case.mandate).await.unwrap();
    let (body, secret) = case.replica.open_lease(&lease).unwrap();
    assert_eq!(secret.expose(), b"key-dana");
    assert!(!body.hosts.is_empty());
    assert_eq!(lease.binding.request_sha256, Some(case.mandate.request_sha256.clone()));
    // Its wake is good for nothing more.
    let more = LeaseRequest {
        tenant: case.world.tenant,
        wake: wake.wake,
        grant: case.mandate.grant,
        connection: case.mandate.connection,
        patience_millis: 0,
    };
    let more = case.running.gateway.ask(GatewayRequest::Lease(more)).await;
    assert_eq!(more, Err(KeeperRefusal::NotAwake));
    assert!(case.running.store.wakes(case.world.tenant, case.world.task, 9).await.unwrap().is_empty());
    // Another call needs its own.
    assert!(case.ask(&case.another(6)).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mandate_that_was_used_gives_nothing_more_also_after_a_restart_over_an_older_database() {
    let mut case = Case::new().await;
    let older = case.world.path("older.sqlite");
    case.world.forge(&format!("VACUUM INTO '{}'", older.display()));
    assert!(case.ask(&case.mandate).await.is_ok());
    assert!(rejected(case.ask(&case.mandate).await));
    // The same call under another end is the same call.
    let longer =
        Mandate { not_after: case.mandate.not_after.plus(Duration::from_secs(1)), ..case.mandate.clone() };
    assert!(rejected(case.ask(&longer).await));
    case.restart(|world| {
        for side in ["db.sqlite-wal", "db.sqlite-shm"] {
            let _ = std::fs::remove_file(world.path(side));
        }
        std::fs::copy(&older, world.path("db.sqlite")).unwrap();
    })
    .await;
    assert!(rejected(case.ask(&case.mandate).await));
    assert!(case.ask(&case.another(6)).await.is_ok(), "one that was not used is good");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_begins_anew_knows_no_older_mandate_and_gives_none() {
    let mut case = Case::new().await;
    assert!(case.ask(&case.mandate).await.is_ok());
    let unused = case.another(6);
    case.world.clock.forward(Duration::from_secs(1));
    case.restart(|world| std::fs::remove_dir_all(world.path("state")).unwrap()).await;
    assert!(rejected(case.ask(&case.mandate).await));
    assert!(rejected(case.ask(&unused).await));
    case.world.clock.forward(Duration::from_secs(1));
    let younger = case.another(7);
    // A static secret that a new log does not know is not handed out either: what matters here is which no it is.
    assert!(!rejected(case.ask(&younger).await));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_signed_word_for_word_gives_no_lease() {
    let case = Case::new().await;
    let at = case.world.clock.now();
    let signature = case.key.sign(&case.mandate.statement().unwrap());
    let bends: [fn(&mut Mandate, Timestamp); 9] = [
        |one, at| one.installation = InstallationId::new(at, [9; 10]),
        |one, at| one.tenant = TenantId::new(at, [9; 10]),
        |one, at| one.task = TaskId::new(at, [9; 10]),
        |one, at| one.grant = GrantId::new(at, [9; 10]),
        |one, at| one.connection = ConnectionId::new(at, [9; 10]),
        |one, at| one.call = CallId::new(at, [9; 10]),
        |one, _| one.request_sha256 = "0b".repeat(32),
        |one, _| one.request_sha256 = String::new(),
        |one, _| one.not_after = one.not_after.plus(Duration::from_millis(1)),
    ];
    for (place, bend) in bends.into_iter().enumerate() {
        let mut bent = case.mandate.clone();
        bend(&mut bent, at);
        assert!(rejected(case.ask_with(bent, &signature).await), "{place}");
    }
    let bare = case.mandate.statement().unwrap()[b"nightlatch mandate v1\n".len()..].to_vec();
    assert!(rejected(case.ask_with(case.mandate.clone(), &case.key.sign(&bare)).await));
    assert!(rejected(case.ask_with(case.mandate.clone(), &[]).await));
    // Nothing of that used it up.
    assert!(case.ask_with(case.mandate.clone(), &signature).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mandate_that_is_signed_for_what_is_not_its_own_gives_no_lease() {
    let case = Case::new().await;
    let at = case.world.clock.now();
    let signed = |change: fn(&mut Mandate, Timestamp)| {
        let mut one = case.another(6);
        change(&mut one, at);
        one
    };
    // Another installation, tenant, task: whatever the key signs, it was enrolled for one.
    for foreign in [
        signed(|one, at| one.installation = InstallationId::new(at, [9; 10])),
        signed(|one, at| one.tenant = TenantId::new(at, [9; 10])),
        signed(|one, at| one.task = TaskId::new(at, [9; 10])),
        signed(|one, _| one.not_after = Timestamp::from_millis(1)),
        signed(|one, at| one.not_after = at),
        signed(|one, at| one.not_after = at.plus(MANDATE_MAX + Duration::from_secs(1))),
        signed(|one, at| one.call = CallId::new(at.plus(Duration::from_secs(60)), [6; 10])),
    ] {
        assert!(rejected(case.ask(&foreign).await), "{foreign:?}");
    }
    // A grant or connection that is none of this task's.
    for foreign in [
        signed(|one, at| one.grant = GrantId::new(at, [9; 10])),
        signed(|one, at| one.connection = ConnectionId::new(at, [9; 10])),
    ] {
        assert_eq!(case.ask(&foreign).await.unwrap_err(), KeeperRefusal::GrantEnded, "{foreign:?}");
    }
    // A key that nobody enrolled.
    let stranger = Key::ed25519();
    let signature = stranger.sign(&case.mandate.statement().unwrap());
    assert!(rejected(case.ask_by(&stranger, case.mandate.clone(), &signature).await));
    // In its last moment it is good, and at its end it is not.
    case.world.clock.forward(Duration::from_millis(599_999));
    assert!(case.ask(&case.mandate).await.is_ok());
    let (late, call) = (case.mandate.not_after, CallId::new(at, [7; 10]));
    case.world.clock.forward(Duration::from_millis(1));
    assert!(rejected(case.ask(&Mandate { call, not_after: late, ..case.mandate.clone() }).await));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ended_before_the_mandate_is_used_ends_it_and_forged_rows_do_not_help() {
    let case = Case::new().await;
    let (world, running) = (&case.world, &case.running);
    let grants = running.store.grants(world.tenant).await.unwrap();
    let put = |grant: Grant| async {
        let attestation = running.attest(Statement::Grant(grant.clone())).await;
        running.store.put_grant(Grant { attestation, ..grant }).await.unwrap();
    };
    let ended = Grant { expires_at: world.clock.now(), ..grants[0].clone() };
    put(ended).await;
    assert_eq!(case.ask(&case.mandate).await.unwrap_err(), KeeperRefusal::GrantEnded);
    put(grants[0].clone()).await;
    let mut agent = world.agent_row(AgentStatus::Disabled);
    agent.attestation = running.attest(Statement::Agent(agent.clone())).await;
    running.store.put_agent(agent).await.unwrap();
    assert_eq!(case.ask(&case.mandate).await.unwrap_err(), KeeperRefusal::AgentDisabled);
    assert_eq!(world.forge("UPDATE agent SET status = 'active'"), 1);
    assert_eq!(case.ask(&case.mandate).await.unwrap_err(), KeeperRefusal::Unverified);
    let mut agent = world.agent_row(AgentStatus::Active);
    agent.attestation = running.attest(Statement::Agent(agent.clone())).await;
    running.store.put_agent(agent).await.unwrap();
    // A task that is over; and one that was put back without the keeper's word.
    set_task(world, running, TaskState::Completed).await;
    assert_eq!(case.ask(&case.mandate).await.unwrap_err(), KeeperRefusal::TaskEnded);
    assert_eq!(world.forge("UPDATE task SET state = 'dormant'"), 1);
    assert_eq!(case.ask(&case.mandate).await.unwrap_err(), KeeperRefusal::Unverified);
    let row: Task = running.attested_task(world.task_row(TaskState::Dormant)).await;
    let mac = format!("UPDATE task SET attestation = '{}'", row.attestation.0);
    assert_eq!(world.forge(&mac), 1);
    assert!(case.ask(&case.mandate).await.is_ok(), "none of that used it up");
    // An enrolment that somebody wrote.
    let thief = Key::p256();
    let (own, theirs) = (case.key.spki_sha256(), thief.spki_sha256());
    let sql = format!("UPDATE enrolment SET binding_value = '{theirs}' WHERE binding_value = '{own}'");
    assert_eq!(world.forge(&sql), 1);
    let other = case.another(6);
    let signature = thief.sign(&other.statement().unwrap());
    assert_eq!(case.ask_by(&thief, other, &signature).await.unwrap_err(), KeeperRefusal::Unverified);
    assert!(KeeperStore::task(&running.store, world.tenant, world.task).await.unwrap().is_some());
}

/// The log is one keeper's; the row is every keeper's.
#[tokio::test]
async fn a_mandate_that_another_keeper_acted_on_is_rejected() {
    let case = Case::new().await;
    let store = &case.running.store;
    let (tenant, call, until) = (case.mandate.tenant, case.mandate.call, case.mandate.not_after);
    assert_eq!(
        KeeperStore::spend_mandate(store, tenant, call, until, Timestamp::from_millis(0)).await,
        Ok(true)
    );
    assert_eq!(case.ask(&case.mandate).await.map(|_| ()), Err(KeeperRefusal::MandateRejected));
    assert!(case.ask(&case.another(6)).await.is_ok(), "another call's is good");
    // And what this keeper acts on, no other does.
    let other = case.another(6).call;
    assert_eq!(
        KeeperStore::spend_mandate(store, tenant, other, until, Timestamp::from_millis(0)).await,
        Ok(false)
    );
}
