//! What ends, ends: a wake with its key, its leases and its streams; a generation with its calls.

use crate::{
    upstream::Reply,
    world::{Actor, Twist, World},
};
use nightlatch_domain::{
    id::FamilyId,
    ports::{
        gateway_keeper::DrainNotice,
        sight::Sight as _,
        store::{ControlStore, KeeperStore},
    },
    principal::AgentStatus,
    task::TaskState,
};
use nightlatch_gateway::Limits;
use std::{sync::Arc, time::Duration};
use tokio::sync::{Notify, Semaphore};

/// An answer that begins and goes on when the gate opens.
fn endless(world: &World) -> Arc<Notify> {
    let gate = Arc::new(Notify::new());
    let held = Arc::clone(&gate);
    world.tool.answers(move |seen| match seen.line().contains("/stream") {
        true => Reply {
            pieces: vec![
                b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n6\r\nfirst\n\r\n".to_vec(),
                b"4\r\nlast\r\n0\r\n\r\n".to_vec(),
            ],
            gate: Some(Arc::clone(&held)),
            ..Reply::default()
        },
        false => Reply::ok("fine"),
    });
    gate
}

/// A running stream of an actor.
async fn stream(world: &World, actor: &Actor) -> crate::client::Wire {
    let mut wire = world.connect(actor).await;
    wire.write(world.request("GET /acme/stream", &[&World::bearer(actor)])).await;
    assert!(wire.head().await.unwrap().starts_with("HTTP/1.1 200"));
    assert_eq!(wire.chunk().await.unwrap(), b"first\n");
    wire
}

async fn disable(world: &World, actor: &Actor) {
    let agents = world.store.agents(world.tenant).await.unwrap();
    let mut row = agents.into_iter().find(|row| row.id == actor.agent).unwrap();
    row.status = AgentStatus::Disabled;
    world.store.put_agent(row).await.unwrap();
}

#[tokio::test]
pub(crate) async fn what_ends_a_task_cuts_its_streams_and_nobody_elses() {
    for end in ["sleep", "complete", "disable", "revoke", "kill"] {
        let world = World::new().await;
        let gate = endless(&world);
        let (mut cut, mut kept) = (stream(&world, &world.mallory).await, stream(&world, &world.alice).await);
        match end {
            "sleep" => world.set_task(&world.mallory, |task| task.state = TaskState::Dormant).await,
            "complete" => world.set_task(&world.mallory, |task| task.state = TaskState::Completed).await,
            "kill" => world.set_task(&world.mallory, |task| task.state = TaskState::Killed).await,
            "revoke" => {
                world.set_grant(&world.mallory, |grant| grant.revoked_at = Some(grant.created_at)).await
            }
            _ => disable(&world, &world.mallory).await,
        }
        let within = tokio::time::timeout(Duration::from_secs(2), cut.chunk()).await;
        assert_eq!(within.expect("the stream was not cut"), None, "{end}");
        gate.notify_waiters();
        gate.notify_one();
        assert_eq!(kept.chunk().await.as_deref(), Some(&b"last"[..]), "{end}");
    }
}

#[tokio::test]
pub(crate) async fn a_removed_connection_cuts_every_stream_on_it() {
    let world = World::new().await;
    let _gate = endless(&world);
    let mut wire = stream(&world, &world.alice).await;
    world.store.remove_connection(world.tenant, world.connection, crate::keeper::past()).await.unwrap();
    let cut = tokio::time::timeout(Duration::from_secs(2), wire.chunk()).await;
    assert_eq!(cut.expect("the stream was not cut"), None);
    assert_eq!(world.call(&world.alice, "GET /acme/things", &[]).await.problem(), "grant-ended");
}

#[tokio::test]
pub(crate) async fn sleep_ends_the_wake_and_the_next_one_begins_with_a_handshake() {
    let world = World::new().await;
    let mut wire = world.connect(&world.alice).await;
    let request = world.request("GET /acme/things", &[&World::bearer(&world.alice)]);
    wire.write(&request).await;
    assert_eq!(wire.answer().await.status, 200);
    world.set_task(&world.alice, |task| task.state = TaskState::Dormant).await;
    world.eventually("the keeper is told", || async { world.keeper.count("sleep") == 1 }).await;
    assert!(wire.is_closed().await, "the connection outlived its wake");
    world.still_serves(&world.alice).await;
    assert_eq!((world.keeper.count("wake"), world.keeper.count("lease")), (2, 2));
    // The new wake is not ended by the sleep that came before it.
    world.set_task(&world.mallory, |task| task.purpose = "another change".into()).await;
    world.still_serves(&world.alice).await;
    assert_eq!(world.keeper.count("wake"), 2);
}

#[tokio::test]
pub(crate) async fn a_keeper_that_restarted_is_shown_a_new_proof() {
    let world = World::twisted(Twist::default()).await;
    world.keeper.knobs.lock().unwrap().fresh_for = Some(Duration::ZERO);
    world.still_serves(&world.alice).await;
    world.keeper.forget();
    world.still_serves(&world.alice).await;
    assert_eq!(world.keeper.count("wake"), 2);
}

#[tokio::test]
async fn a_keeper_that_restarted_is_shown_a_new_proof_by_all_who_wait_for_one_lease() {
    let world = World::twisted(Twist::default()).await;
    world.keeper.knobs.lock().unwrap().fresh_for = Some(Duration::ZERO);
    world.still_serves(&world.alice).await;
    world.keeper.leases.forget_permits(Semaphore::MAX_PERMITS);
    let request = world.request("GET /acme/things", &[&World::bearer(&world.alice)]);
    let mut wires = Vec::new();
    for _ in 0..8 {
        let mut wire = world.connect(&world.alice).await;
        wire.write(&request).await;
        wires.push(wire);
    }
    let sight = world.gateway.sight();
    let held = || sight.live(world.tenant).iter().filter(|call| call.phase == "hold").count();
    world.eventually("all wait for one lease", || async { held() == 8 }).await;
    world.keeper.forget();
    world.keeper.leases.add_permits(1);
    for wire in &mut wires {
        assert_eq!(wire.answer().await.status, 200);
    }
    assert_eq!(world.keeper.count("wake"), 2, "one new proof is enough for them");
}

#[tokio::test]
pub(crate) async fn a_lease_is_used_until_it_is_stale_and_a_wake_until_its_margin() {
    let world = World::new().await;
    world.still_serves(&world.alice).await;
    world.clock.forward(Duration::from_secs(599));
    world.eventually("a fresh look", || async { world.gateway.directory().view().is_ok() }).await;
    world.still_serves(&world.alice).await;
    assert_eq!((world.keeper.count("wake"), world.keeper.count("lease")), (1, 1));
    world.clock.forward(Duration::from_secs(2));
    world.still_serves(&world.alice).await;
    assert_eq!((world.keeper.count("wake"), world.keeper.count("lease")), (1, 2));
    // 3600 s less the margin of 900 s.
    world.clock.forward(Duration::from_secs(2100));
    world.eventually("a fresh look", || async { world.gateway.directory().view().is_ok() }).await;
    world.still_serves(&world.alice).await;
    assert_eq!(world.keeper.count("wake"), 2);
    world.clock.forward(Duration::from_secs(901));
    world.eventually("the first wake's end", || async { world.keeper.count("sleep") == 1 }).await;
}

#[tokio::test]
pub(crate) async fn a_drain_lets_running_calls_finish_and_starts_none() {
    let world = World::new().await;
    let family = FamilyId::new(crate::keeper::past(), [5; 10]);
    world.reseal(|held| (held.family, held.generation) = (Some(family), 3));
    let gate = endless(&world);
    let mut running = stream(&world, &world.alice).await;
    let leases = world.keeper.count("lease");
    let notice = DrainNotice { tenant: world.tenant, family, generation: 3, within_millis: 10_000 };
    let drains = world.gateway.drains();
    let draining = tokio::spawn(async move { drains.drain(notice).await });
    assert!(!draining.is_finished());
    gate.notify_one();
    assert_eq!(running.chunk().await.as_deref(), Some(&b"last"[..]));
    tokio::time::timeout(Duration::from_secs(5), draining).await.expect("the drain never ended").unwrap();
    world.reseal(|held| held.generation = 4);
    assert_eq!(world.call(&world.alice, "GET /acme/things", &[]).await.status, 200);
    assert_eq!(world.keeper.count("lease"), leases + 1, "a drained lease was used on");
}

#[tokio::test]
pub(crate) async fn a_drain_ends_at_its_bound() {
    let world = World::new().await;
    let family = FamilyId::new(crate::keeper::past(), [5; 10]);
    world.reseal(|held| held.family = Some(family));
    let _gate = endless(&world);
    let _running = stream(&world, &world.alice).await;
    let notice = DrainNotice { tenant: world.tenant, family, generation: 1, within_millis: 50 };
    tokio::time::timeout(Duration::from_secs(5), world.gateway.drains().drain(notice))
        .await
        .expect("no bound");
}

#[tokio::test]
pub(crate) async fn an_agent_has_its_share_of_calls_and_the_others_theirs() {
    let limits = Limits { calls_each_max: 1, ..Limits::default() };
    let world = World::twisted(Twist { limits: Some(limits), ..Twist::default() }).await;
    let gate = endless(&world);
    let mut running = stream(&world, &world.mallory).await;
    let refused = world.call(&world.mallory, "GET /acme/things", &[]).await;
    assert_eq!(
        (refused.status, refused.problem().as_str(), refused.field("retry-after").as_deref()),
        (429, "too-many-calls", Some("1"))
    );
    assert_eq!(world.call(&world.alice, "GET /acme/things", &[]).await.status, 200);
    gate.notify_one();
    running.chunk().await;
    world
        .eventually("a free place", || async {
            world.call(&world.mallory, "GET /acme/things", &[]).await.status == 200
        })
        .await;
}

#[tokio::test]
pub(crate) async fn callers_that_wait_for_one_lease_make_one_request() {
    let world = Arc::new(World::new().await);
    world.still_serves(&world.alice).await;
    world.clock.forward(Duration::from_secs(601));
    world.eventually("a fresh look", || async { world.gateway.directory().view().is_ok() }).await;
    world.keeper.leases.forget_permits(Semaphore::MAX_PERMITS);
    let before = world.keeper.count("lease");
    let calls: Vec<_> = (0..20)
        .map(|_| {
            let world = Arc::clone(&world);
            tokio::spawn(async move { world.call(&world.alice, "GET /acme/things", &[]).await.status })
        })
        .collect();
    world.eventually("the one request", || async { world.keeper.count("lease") == before + 1 }).await;
    // One caller that goes away takes nobody's answer along.
    calls[0].abort();
    world.keeper.leases.add_permits(1);
    for call in calls.into_iter().skip(1) {
        assert_eq!(call.await.unwrap(), 200);
    }
    assert_eq!(world.keeper.count("lease"), before + 1);
}

#[tokio::test]
pub(crate) async fn a_lease_that_comes_after_the_end_of_its_wake_opens_nothing() {
    for seals_early in [true, false] {
        let world = Arc::new(World::new().await);
        world.keeper.knobs.lock().unwrap().seals_before_it_waits = seals_early;
        world.keeper.leases.forget_permits(Semaphore::MAX_PERMITS);
        let call = tokio::spawn({
            let world = Arc::clone(&world);
            async move { world.call(&world.alice, "GET /acme/things", &[]).await }
        });
        world.eventually("the request", || async { world.keeper.count("lease") == 1 }).await;
        world.set_task(&world.alice, |task| task.state = TaskState::Dormant).await;
        world.eventually("the wake's end", || async { world.keeper.count("sleep") == 1 }).await;
        world.keeper.leases.add_permits(1);
        let answer = call.await.unwrap();
        assert_eq!((answer.status, answer.problem().as_str()), (503, "credential-pending"));
        assert_eq!((world.tool.count(), world.keeper.count("wake")), (0, 1), "a call outlived its wake");
    }
}

/// A way to the tool that is idle remembers whose it was; it is open no longer than that may call.
#[tokio::test]
async fn what_ends_a_grant_or_a_wake_closes_its_idle_ways_to_the_tool_and_nobody_elses() {
    for end in ["revoke", "sleep"] {
        let world = World::new().await;
        for actor in [&world.mallory, &world.alice] {
            assert_eq!(world.call(actor, "GET /acme/things", &[]).await.status, 200);
        }
        assert_eq!(world.tool.open(), 2);
        match end {
            "revoke" => {
                world.set_grant(&world.mallory, |grant| grant.revoked_at = Some(grant.created_at)).await
            }
            _ => world.set_task(&world.mallory, |task| task.state = TaskState::Dormant).await,
        }
        world.eventually(end, || async { world.tool.open() == 1 }).await;
        assert_eq!(world.call(&world.alice, "GET /acme/things", &[]).await.status, 200);
        assert_eq!(world.tool.open(), 1, "{end}: it was a stranger's that was closed");
    }
}

#[tokio::test]
async fn a_grant_that_was_over_and_is_given_anew_asks_for_a_lease_of_its_own() {
    let world = World::new().await;
    assert_eq!(world.call(&world.alice, "GET /acme/things", &[]).await.status, 200);
    let until = world.clock.time().plus(Duration::from_secs(3600));
    world.set_grant(&world.alice, |grant| grant.expires_at = grant.created_at).await;
    world.eventually("its way is closed", || async { world.tool.open() == 0 }).await;
    assert_eq!(world.call(&world.alice, "GET /acme/things", &[]).await.problem(), "grant-ended");
    world.set_grant(&world.alice, |grant| grant.expires_at = until).await;
    assert_eq!(world.call(&world.alice, "GET /acme/things", &[]).await.status, 200);
    assert_eq!(
        (world.keeper.count("wake"), world.keeper.count("lease")),
        (1, 2),
        "the old lease was used on"
    );
}

#[tokio::test]
async fn a_key_that_is_enrolled_no_more_or_for_another_task_ends_its_wake() {
    for end in ["DELETE FROM enrolment WHERE", "UPDATE enrolment SET task_id = ALICE WHERE"] {
        let world = World::new().await;
        let gate = endless(&world);
        let (mut cut, mut kept) = (stream(&world, &world.mallory).await, stream(&world, &world.alice).await);
        let (task, alice) = (world.mallory.task, world.alice.task);
        let id = format!("(SELECT enrolment_id FROM enrolment WHERE task_id = '{task}')");
        let noted = "UPDATE feed_counter SET number = number + 1, random = randomblob(16)".to_owned();
        let fed = format!(
            "INSERT INTO feed (number, tenant_id, kind, entity_id, random)
             SELECT number, '{}', 'enrolment', {id}, random FROM feed_counter",
            world.tenant
        );
        let ended = format!("{} task_id = '{task}'", end.replace("ALICE", &format!("'{alice}'")));
        for sql in [noted, fed, ended] {
            assert_eq!(crate::calls::edit(&world, &sql), 1, "{sql}");
        }
        world.eventually("the keeper is told", || async { world.keeper.count("sleep") == 1 }).await;
        let within = tokio::time::timeout(Duration::from_secs(2), cut.chunk()).await;
        assert_eq!(within.expect("the stream was not cut"), None, "{end}");
        gate.notify_waiters();
        gate.notify_one();
        assert_eq!(kept.chunk().await.as_deref(), Some(&b"last"[..]), "{end}");
    }
}

/// A no that comes late is about the lease that its call had.
#[tokio::test]
async fn a_401_to_a_call_with_an_older_lease_takes_no_newer_one_out_of_use() {
    let world = Arc::new(World::new().await);
    let gate = Arc::new(Notify::new());
    let held = Arc::clone(&gate);
    world.tool.answers(move |seen| match seen.line().contains("/slow") {
        true => Reply {
            pieces: vec![Vec::new(), b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n".to_vec()],
            gate: Some(Arc::clone(&held)),
            ..Reply::default()
        },
        false => Reply::ok("fine"),
    });
    let slow = tokio::spawn({
        let world = Arc::clone(&world);
        async move { world.call(&world.alice, "GET /acme/slow", &[]).await.status }
    });
    world.eventually("it is out", || async { world.tool.count() == 1 }).await;
    crate::calls::stale_leases(&world).await;
    assert_eq!(world.call(&world.alice, "GET /acme/things", &[]).await.status, 200);
    assert_eq!(world.keeper.count("lease"), 2);
    gate.notify_one();
    assert_eq!(slow.await.unwrap(), 401);
    world.eventually("the keeper hears", || async { world.keeper.count("unauthorized") == 1 }).await;
    assert_eq!(world.call(&world.alice, "GET /acme/things", &[]).await.status, 200);
    assert_eq!(world.keeper.count("lease"), 2, "the newer lease was dropped");
    // One to a call with the lease that there is takes that out.
    world.tool.answers(|_| Reply::with("401 Unauthorized", &[], ""));
    assert_eq!(world.call(&world.alice, "GET /acme/things", &[]).await.status, 401);
    world.tool.answers(|_| Reply::ok("fine"));
    assert_eq!(world.call(&world.alice, "GET /acme/things", &[]).await.status, 200);
    assert_eq!(world.keeper.count("lease"), 3);
}
