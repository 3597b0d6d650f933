//! A wake follows only from a fresh proof, a lease only from a wake, and both end when they must.

use crate::{
    provider::Act,
    world::{Opened, Ready, Running, World, binding, eventually},
};
use nightlatch_custody::{ReplicaKey, entropy::SystemEntropy};
use nightlatch_domain::{
    clock::Clock,
    grant::Grant,
    id::{KeeperId, TenantId},
    ports::{
        control_keeper::{ControlReply, ControlRequest, Statement},
        gateway_keeper::{Evidence, GatewayReply, GatewayRequest, KeeperRefusal, LeaseKind, WakeProof},
        store::{ControlStore, KeeperStore},
    },
    principal::{Agent, AgentStatus, Binding},
    task::{Assurance, TaskState},
};
use std::{sync::Arc, time::Duration};

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_opens_for_its_wake_and_says_where_it_may_go() {
    let world = World::new();
    let running = world.start().await;
    let ready = world.ready(&running).await;
    let lease = ready.lease(&running).await.unwrap();
    assert_eq!(lease.secret.expose(), b"canary-access-1");
    assert_eq!((lease.body.hosts, lease.lease.kind), (world.hosts(), LeaseKind::Bearer));
    assert_eq!(lease.lease.fresh_until, world.clock.now().plus(Duration::from_secs(300)));
    let other = ReplicaKey::generate(&SystemEntropy::new()).unwrap();
    assert!(other.open_lease(&lease.lease).is_err());
    let note = running.store.wakes(world.tenant, world.task, 1).await.unwrap().remove(0);
    assert_eq!((note.id, note.assurance, note.binding), (ready.woken.wake, Assurance::Stated, binding()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_in_its_last_seconds_is_not_handed_out() {
    let world = World::new();
    let running = world.start().await;
    let ready = world.ready(&running).await;
    world.clock.forward(Duration::from_secs(3594));
    let lease = ready.lease(&running).await.unwrap();
    assert_eq!(lease.lease.binding.generation, 1);
    assert_eq!(lease.lease.fresh_until, world.clock.now().plus(Duration::from_secs(1)));
    world.clock.forward(Duration::from_secs(2));
    assert_eq!(ready.lease(&running).await.unwrap().lease.binding.generation, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_static_secret_is_leased_as_what_it_is() {
    let world = World::new();
    let running = world.start().await;
    world.settle(&running).await;
    let connection = world.connect_static(&running, "key-dana").await;
    let grant = world.grant(&running, connection).await;
    let woken = world.wake(&running).await.unwrap();
    let lease = woken.lease(&running, grant, connection, 0).await.unwrap();
    assert_eq!((lease.secret.expose(), lease.lease.kind), (&b"key-dana"[..], LeaseKind::Static));
    let row = KeeperStore::connection(&running.store, world.tenant, connection).await.unwrap().unwrap();
    assert_eq!(row.account.as_deref(), Some("dana"));
}

async fn proof(world: &World, running: &Running) -> WakeProof {
    let replica = ReplicaKey::generate(&SystemEntropy::new()).unwrap();
    world.proof(running, replica.sealing_key().clone(), binding()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proof_that_does_not_fit_wakes_nobody() {
    let world = World::new();
    let running = world.start().await;
    world.ready(&running).await;
    let bends: Vec<fn(&mut WakeProof)> = vec![
        |proof| proof.nonce = "00".repeat(32),
        |proof| proof.wake = nightlatch_domain::id::WakeId::new(proof_time(proof), [9; 10]),
        |proof| proof.task = nightlatch_domain::id::TaskId::new(proof_time(proof), [9; 10]),
        |proof| proof.agent = nightlatch_domain::id::PrincipalId::new(proof_time(proof), [9; 10]),
        |proof| proof.tenant = TenantId::new(proof_time(proof), [9; 10]),
        |proof| restate(proof, |binding| *binding = Binding::Uid { uid: 7 }, 0),
        |proof| restate(proof, |_| {}, -61),
        |proof| restate(proof, |_| {}, 60),
    ];
    for (place, bend) in bends.into_iter().enumerate() {
        let mut proof = proof(&world, &running).await;
        bend(&mut proof);
        let refusal = running.gateway.ask(GatewayRequest::Wake(proof)).await.unwrap_err();
        assert_eq!(refusal, KeeperRefusal::ProofRejected, "{place}");
    }
}

fn proof_time(proof: &WakeProof) -> nightlatch_domain::clock::Timestamp {
    let Evidence::Stated { verified_at, .. } = &proof.evidence else { panic!("signed") };
    *verified_at
}

fn restate(proof: &mut WakeProof, bend: impl Fn(&mut Binding), secs: i64) {
    let Evidence::Stated { binding, verified_at } = &mut proof.evidence else { panic!("signed") };
    bend(binding);
    *verified_at = nightlatch_domain::clock::Timestamp::from_millis(verified_at.millis() + secs * 1000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nonce_serves_once_and_for_a_minute() {
    let world = World::new();
    let running = world.start().await;
    world.ready(&running).await;
    let mut wrong = proof(&world, &running).await;
    let right = wrong.clone();
    wrong.nonce = "00".repeat(32);
    assert!(running.gateway.ask(GatewayRequest::Wake(wrong)).await.is_err());
    let spent = running.gateway.ask(GatewayRequest::Wake(right)).await;
    assert_eq!(spent, Err(KeeperRefusal::ProofRejected));
    let mut late = proof(&world, &running).await;
    world.clock.forward(Duration::from_secs(61));
    restate(&mut late, |_| {}, 61);
    assert_eq!(running.gateway.ask(GatewayRequest::Wake(late)).await, Err(KeeperRefusal::ProofRejected));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_proof_again_is_the_same_wake_and_no_other_key_slips_in() {
    let world = World::new();
    let running = world.start().await;
    world.ready(&running).await;
    let proof = proof(&world, &running).await;
    let first = running.gateway.ask(GatewayRequest::Wake(proof.clone())).await.unwrap();
    assert_eq!(running.gateway.ask(GatewayRequest::Wake(proof.clone())).await.unwrap(), first);
    let mut other = proof;
    other.replica_key = ReplicaKey::generate(&SystemEntropy::new()).unwrap().sealing_key().clone();
    assert!(running.gateway.ask(GatewayRequest::Wake(other)).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wake_ends_by_its_hour_by_sleep_and_by_its_task() {
    let world = World::new();
    let running = world.start().await;
    let ready = world.ready(&running).await;
    world.provider.access_life(30 * 86_400);
    assert!(ready.lease(&running).await.is_ok());
    // A stranger's tenant puts nobody to sleep.
    let stranger = TenantId::new(world.clock.now(), [9; 10]);
    let ask = GatewayRequest::Sleep { tenant: stranger, wake: ready.woken.wake };
    assert_eq!(running.gateway.ask(ask).await, Ok(GatewayReply::Done));
    assert!(ready.lease(&running).await.is_ok());
    let ask = GatewayRequest::Sleep { tenant: world.tenant, wake: ready.woken.wake };
    assert_eq!(running.gateway.ask(ask).await, Ok(GatewayReply::Done));
    assert_eq!(ready.lease(&running).await.unwrap_err(), KeeperRefusal::NotAwake);

    let woken = world.wake(&running).await.unwrap();
    let ask = ControlRequest::EndWakes { tenant: world.tenant, task: world.task };
    assert_eq!(running.control.ask(ask).await, Ok(ControlReply::Done));
    let refusal = woken.lease(&running, ready.grant, ready.connection, 0).await.unwrap_err();
    assert_eq!(refusal, KeeperRefusal::NotAwake);
    let note = running.store.wakes(world.tenant, world.task, 1).await.unwrap().remove(0);
    assert!(note.ended_at.is_some());

    let woken = world.wake(&running).await.unwrap();
    world.clock.forward(Duration::from_secs(3600));
    let refusal = woken.lease(&running, ready.grant, ready.connection, 0).await.unwrap_err();
    assert_eq!(refusal, KeeperRefusal::NotAwake);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proof_under_way_does_not_outlive_its_tasks_sleep() {
    let world = World::new();
    let running = world.start().await;
    world.ready(&running).await;
    let proof = proof(&world, &running).await;
    let ask = ControlRequest::EndWakes { tenant: world.tenant, task: world.task };
    running.control.ask(ask).await.unwrap();
    assert_eq!(running.gateway.ask(GatewayRequest::Wake(proof)).await, Err(KeeperRefusal::ProofRejected));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_wake_ends_at_once_and_so_does_a_proof_under_way() {
    let world = World::new();
    let running = world.start().await;
    let ready = world.ready(&running).await;
    assert!(ready.lease(&running).await.is_ok());
    let proof = proof(&world, &running).await;
    running.keeper.end_wakes()();
    assert_eq!(ready.lease(&running).await.unwrap_err(), KeeperRefusal::NotAwake);
    assert_eq!(running.gateway.ask(GatewayRequest::Wake(proof)).await, Err(KeeperRefusal::ProofRejected));
    let note = async || running.store.wakes(world.tenant, world.task, 1).await.unwrap().remove(0);
    eventually(|| async { note().await.ended_at.is_some() }).await;
    // Whoever proves itself anew goes on.
    let woken = world.wake(&running).await.unwrap();
    assert!(woken.lease(&running, ready.grant, ready.connection, 0).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ended_task_a_disabled_agent_and_a_revoked_grant_get_nothing() {
    let world = World::new();
    let running = world.start().await;
    let ready = world.ready(&running).await;
    let row = KeeperStore::grant(&running.store, world.tenant, ready.grant).await.unwrap().unwrap();
    let revoked = Grant { revoked_at: Some(world.clock.now()), ..row };
    let attestation = running.attest(Statement::Grant(revoked.clone())).await;
    running.store.put_grant(Grant { attestation, ..revoked }).await.unwrap();
    assert_eq!(ready.lease(&running).await.unwrap_err(), KeeperRefusal::GrantEnded);

    let disabled = world.agent_row(AgentStatus::Disabled);
    let attestation = running.attest(Statement::Agent(disabled.clone())).await;
    let grant = world.grant(&running, ready.connection).await;
    running.store.put_agent(Agent { attestation, ..disabled }).await.unwrap();
    let refusal = ready.woken.lease(&running, grant, ready.connection, 0).await.unwrap_err();
    assert_eq!(refusal, KeeperRefusal::AgentDisabled);
    assert_eq!(world.wake(&running).await.err(), Some(KeeperRefusal::AgentDisabled));

    let active = world.agent_row(AgentStatus::Active);
    let attestation = running.attest(Statement::Agent(active.clone())).await;
    running.store.put_agent(Agent { attestation, ..active }).await.unwrap();
    let completed = running.attested_task(world.task_row(TaskState::Completed)).await;
    running.store.put_task(completed).await.unwrap();
    let refusal = ready.woken.lease(&running, grant, ready.connection, 0).await.unwrap_err();
    assert_eq!(refusal, KeeperRefusal::TaskEnded);
    assert_eq!(world.wake(&running).await.err(), Some(KeeperRefusal::TaskEnded));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_covers_its_own_connection_only() {
    let world = World::new();
    let running = world.start().await;
    let ready = world.ready(&running).await;
    let other = world.connect_static(&running, "key-erin").await;
    let refusal = ready.woken.lease(&running, ready.grant, other, 0).await.unwrap_err();
    assert_eq!(refusal, KeeperRefusal::GrantEnded);
}

/// A lease that waits for a slow refresh while something is taken back.
async fn waited<F: Future<Output = ()>>(
    taken_back: impl FnOnce(Arc<World>, Arc<Running>, Arc<Ready>) -> F,
) -> Result<Opened, KeeperRefusal> {
    let world = Arc::new(World::new());
    let running = Arc::new(world.start().await);
    let mut ready = world.ready(&running).await;
    world.clock.forward(Duration::from_secs(3600));
    ready.woken = world.wake(&running).await.unwrap();
    let ready = Arc::new(ready);
    world.provider.next(Act::Late(Duration::from_millis(700)));
    let (its, own) = (Arc::clone(&running), Arc::clone(&ready));
    let lease = tokio::spawn(async move { own.lease(&its).await });
    eventually(|| async { world.provider.refreshes() == 1 }).await;
    taken_back(Arc::clone(&world), running, ready).await;
    assert!(!lease.is_finished(), "it no longer waited");
    lease.await.unwrap()
}

async fn revoke(world: &World, running: &Running, ready: &Ready) {
    let row = KeeperStore::grant(&running.store, world.tenant, ready.grant).await.unwrap().unwrap();
    let revoked = Grant { revoked_at: Some(world.clock.now()), ..row };
    let attestation = running.attest(Statement::Grant(revoked.clone())).await;
    running.store.put_grant(Grant { attestation, ..revoked }).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_waited_through_a_revocation_is_refused() {
    let refusal = waited(|world, running, ready| async move { revoke(&world, &running, &ready).await }).await;
    assert_eq!(refusal.unwrap_err(), KeeperRefusal::GrantEnded);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_waited_through_its_tasks_sleep_is_refused() {
    let refusal = waited(|world, running, _| async move {
        let ask = ControlRequest::EndWakes { tenant: world.tenant, task: world.task };
        running.control.ask(ask).await.unwrap();
    });
    assert_eq!(refusal.await.unwrap_err(), KeeperRefusal::NotAwake);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_waited_through_a_removal_is_refused() {
    let refusal = waited(|world, running, ready| async move {
        let ask = ControlRequest::Remove { tenant: world.tenant, connection: ready.connection };
        running.control.ask(ask).await.unwrap();
    });
    assert_eq!(refusal.await.unwrap_err(), KeeperRefusal::GrantEnded);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_waited_through_its_agents_end_or_its_tasks_is_refused() {
    let disabled = waited(|world, running, _| async move {
        let disabled = world.agent_row(AgentStatus::Disabled);
        let attestation = running.attest(Statement::Agent(disabled.clone())).await;
        running.store.put_agent(Agent { attestation, ..disabled }).await.unwrap();
    });
    assert_eq!(disabled.await.unwrap_err(), KeeperRefusal::AgentDisabled);
    let ended = waited(|world, running, _| async move {
        let completed = running.attested_task(world.task_row(TaskState::Completed)).await;
        running.store.put_task(completed).await.unwrap();
    });
    assert_eq!(ended.await.unwrap_err(), KeeperRefusal::TaskEnded);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_waited_while_a_log_was_found_uncompared_is_refused() {
    let waited = waited(|world, _, _| async move {
        let other = KeeperId::new(world.clock.now(), [9; 10]);
        world.forge(&format!("INSERT INTO keeper VALUES ('{other}', 0, 1)"));
    });
    assert_eq!(waited.await.unwrap_err(), KeeperRefusal::Unavailable);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_wakes_again_and_again_keeps_four_wakes_and_the_newest() {
    let world = World::new();
    let running = world.start().await;
    let ready = world.ready(&running).await;
    let mut wakes = Vec::new();
    for _ in 0..10 {
        world.clock.forward(Duration::from_secs(1));
        wakes.push(world.wake(&running).await.unwrap());
    }
    assert_eq!(ready.lease(&running).await.unwrap_err(), KeeperRefusal::NotAwake);
    for (place, woken) in wakes.iter().enumerate() {
        let lease = woken.lease(&running, ready.grant, ready.connection, 0).await;
        assert_eq!(lease.is_ok(), place >= 6, "{place}");
    }
    let notes = running.store.wakes(world.tenant, world.task, 100).await.unwrap();
    assert_eq!(notes.iter().filter(|note| note.ended_at.is_none()).count(), 4);
}

/// A gateway that states something fresh about a challenge that is not.
#[tokio::test(flavor = "multi_thread")]
async fn a_challenge_is_good_for_a_minute_whatever_is_stated_about_it() {
    let world = World::new();
    let running = world.start().await;
    world.settle(&running).await;
    let key = ReplicaKey::generate(&SystemEntropy::new()).unwrap().sealing_key().clone();
    for (after, is_good) in [(59_999, true), (60_000, false)] {
        let proof = world.proof(&running, key.clone(), binding()).await;
        world.clock.forward(Duration::from_millis(after));
        let evidence = Evidence::Stated { binding: binding(), verified_at: world.clock.now() };
        let woken = running.gateway.ask(GatewayRequest::Wake(WakeProof { evidence, ..proof })).await;
        assert_eq!(woken.is_ok(), is_good, "{after}");
        assert!(is_good || woken == Err(KeeperRefusal::ProofRejected));
    }
    let notes = running.store.wakes(world.tenant, world.task, 9).await.unwrap();
    assert_eq!(notes.len(), 1, "it is refused before anything is written of it");
}

#[tokio::test(flavor = "multi_thread")]
async fn challenges_are_bounded_and_those_of_one_task_are_nothing_to_another() {
    let world = World::new();
    let running = world.start().await;
    world.settle(&running).await;
    let key = ReplicaKey::generate(&SystemEntropy::new()).unwrap().sealing_key().clone();
    let proof = world.proof(&running, key.clone(), binding()).await;
    let ask = |task| GatewayRequest::Challenge { tenant: world.tenant, task };
    let other = || nightlatch_domain::id::TaskId::new(world.clock.now(), crate::world::ten());
    let greedy: Vec<_> = (0..20).map(|_| other()).collect();
    for _ in 0..20 {
        for task in &greedy {
            running.gateway.ask(ask(*task)).await.unwrap();
        }
    }
    assert!(running.gateway.ask(GatewayRequest::Wake(proof)).await.is_ok());
    // Its own are another matter: the oldest goes.
    let proof = world.proof(&running, key, binding()).await;
    world.clock.forward(Duration::from_millis(1));
    for _ in 0..16 {
        running.gateway.ask(ask(world.task)).await.unwrap();
    }
    assert_eq!(running.gateway.ask(GatewayRequest::Wake(proof)).await, Err(KeeperRefusal::ProofRejected));
}

#[tokio::test(flavor = "multi_thread")]
async fn notes_of_wakes_that_are_over_for_long_are_forgotten_with_the_next_wake() {
    let world = World::new();
    let running = world.start().await;
    world.settle(&running).await;
    for _ in 0..70 {
        world.clock.forward(Duration::from_secs(1));
        world.wake(&running).await.unwrap();
    }
    let notes = async || running.store.wakes(world.tenant, world.task, 1000).await.unwrap().len();
    assert_eq!(notes().await, 70, "the young ones stay");
    world.clock.forward(Duration::from_secs(2 * 24 * 3600));
    world.wake(&running).await.unwrap();
    assert_eq!(notes().await, 64);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rejected_static_secret_asks_a_human() {
    let world = World::new();
    let running = world.start().await;
    world.settle(&running).await;
    let connection = world.connect_static(&running, "key-dana").await;
    let woken = world.wake(&running).await.unwrap();
    world.provider.probe_answers(Some(401));
    let ask =
        GatewayRequest::Unauthorized { tenant: world.tenant, wake: woken.wake, connection, generation: 1 };
    running.gateway.ask(ask).await.unwrap();
    eventually(|| async { !running.store.tickets(world.tenant).await.unwrap().is_empty() }).await;
}
