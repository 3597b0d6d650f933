//! A call goes on without its agent by a mandate alone: one lease, for the bytes that were signed, and nothing else.

use crate::{
    calls::{asked, ended, get, location, post, send, slug, stale_leases},
    client::{Answer, Identity},
    upstream::Reply,
    world::{Actor, SECRET, World},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use nightlatch_domain::{
    call::{MANDATE_MAX, Mandate},
    clock::Timestamp,
    ports::gateway_keeper::KeeperRefusal,
    task::{Assurance, TaskState},
};
use nightlatch_ledger::record::Entry;
use std::{sync::Arc, time::Duration};
use tokio::sync::Notify;

/// What a call says that is to be signed, with an end.
async fn to_sign(world: &World, actor: &Actor, location: &str, not_after: Timestamp) -> Mandate {
    let mut parts = get(world, actor, location).await.json()["mandate"].clone();
    parts["not_after"] = not_after.millis().into();
    serde_json::from_value(parts).unwrap()
}

fn signed(mandate: &Mandate, key: &Identity) -> String {
    let signature = URL_SAFE_NO_PAD.encode(key.sign(&mandate.statement().unwrap()));
    format!(r#"{{"not_after":{},"signature":"{signature}"}}"#, mandate.not_after.millis())
}

async fn give(world: &World, actor: &Actor, location: &str, body: &str) -> Answer {
    send(world, actor, &format!("PUT {location}/mandate"), &[], body).await
}

/// Ten minutes from now.
fn soon(world: &World) -> Timestamp {
    world.clock.time().plus(Duration::from_secs(600))
}

/// A call that waits, for a keeper that gives no lease for now.
async fn waiting(world: &World, key: &str, path: &str) -> String {
    world.keeper.knobs.lock().unwrap().refuse.insert("lease", KeeperRefusal::Unavailable);
    let answer = post(world, &world.alice, key, "respond-async", &asked(&world.alice, "POST", path)).await;
    location(&answer)
}

async fn mandated(world: &World, location: &str) -> Mandate {
    let mandate = to_sign(world, &world.alice, location, soon(world)).await;
    let given = give(world, &world.alice, location, &signed(&mandate, &world.alice.identity)).await;
    assert_eq!(given.status, 204, "{given:?}");
    mandate
}

/// The task sleeps, and the keeper would give leases again.
async fn sleep(world: &World) {
    world.set_task(&world.alice, |task| task.state = TaskState::Dormant).await;
    world.eventually("it sleeps", || async { world.keeper.count("sleep") > 0 }).await;
    world.keeper.knobs.lock().unwrap().refuse.clear();
}

/// Pauses pass until it holds.
async fn in_time(world: &World, what: &str, holds: impl Fn() -> bool) {
    world
        .eventually(what, || async {
            world.clock.forward(Duration::from_secs(1));
            // tidy: sleeps because the worker and the directory look as the clock moves.
            tokio::time::sleep(Duration::from_millis(100)).await;
            holds()
        })
        .await;
}

#[tokio::test]
async fn a_sleeping_task_finishes_the_call_that_it_gave_a_mandate_for_and_no_other() {
    let world = World::new().await;
    let (with, without) = (waiting(&world, "a", "/with").await, waiting(&world, "b", "/without").await);
    let mandate = mandated(&world, &with).await;
    assert_eq!(
        get(&world, &world.alice, &with).await.json()["mandate"]["not_after"],
        mandate.not_after.millis()
    );
    assert_eq!(
        get(&world, &world.alice, &without).await.json()["mandate"]["not_after"],
        serde_json::Value::Null
    );
    assert_eq!(world.keeper.count("mandate"), 0, "as long as it is awake it needs none");
    sleep(&world).await;
    let (wakes, leases) = (world.keeper.count("wake"), world.keeper.count("lease"));
    in_time(&world, "the mandated call arrives", || world.tool.count() > 0).await;
    for _ in 0..20 {
        world.clock.forward(Duration::from_secs(1));
        tokio::task::yield_now().await;
    }
    let seen = world.tool.take();
    assert_eq!(seen.iter().map(|seen| seen.line()).collect::<Vec<_>>(), ["POST /with HTTP/1.1"]);
    assert_eq!(seen[0].all("authorization"), [format!("Bearer {SECRET}")]);
    assert_eq!((world.keeper.count("mandate"), world.keeper.count("wake")), (1, wakes), "nobody was woken");
    assert_eq!(world.keeper.count("lease"), leases);
    let records = world.decisions().await;
    let Entry::Intent(intent) = &records.last().unwrap().entry else { panic!("{records:?}") };
    assert_eq!((intent.assurance, Some(intent.call)), (Some(Assurance::Signed), Some(mandate.call)));
    // The other goes on when its agent is back.
    let shown = ended(&world, &world.alice, &without).await;
    assert_eq!(shown["state"], "done");
    assert_eq!(ended(&world, &world.alice, &with).await["state"], "done");
    assert_eq!(world.keeper.count("mandate"), 1);
    world.no_canary_at_rest();
}

#[tokio::test]
async fn after_a_crash_a_mandate_still_carries_its_call() {
    let mut world = World::new().await;
    let location = waiting(&world, "a", "/things").await;
    mandated(&world, &location).await;
    world.keeper.knobs.lock().unwrap().refuse.clear();
    let wakes = world.keeper.count("wake");
    world.crash(async |_| {}).await;
    in_time(&world, "it arrives", || world.tool.count() > 0).await;
    assert_eq!((world.keeper.count("mandate"), world.keeper.count("wake")), (1, wakes));
    assert_eq!(ended(&world, &world.alice, &location).await["state"], "done");
    assert_eq!(world.tool.take().len(), 1);
}

#[tokio::test]
async fn a_mandate_that_is_not_this_keys_over_this_call_is_refused_while_the_agent_is_there() {
    let world = World::new().await;
    let location = waiting(&world, "a", "/things").await;
    let other = waiting(&world, "b", "/others").await;
    let (alice, mallory) = (&world.alice, &world.mallory);
    let right = to_sign(&world, alice, &location, soon(&world)).await;
    let longer = world.clock.time().plus(MANDATE_MAX + Duration::from_secs(60));
    let of_other = to_sign(&world, alice, &other, soon(&world)).await;
    let bent = Mandate { request_sha256: "0a".repeat(32), ..right.clone() };
    for (what, body) in [
        ("another key", signed(&right, &mallory.identity)),
        ("another call", signed(&of_other, &alice.identity)),
        ("another request", signed(&bent, &alice.identity)),
        ("too long", signed(&Mandate { not_after: longer, ..right.clone() }, &alice.identity)),
        ("over", signed(&Mandate { not_after: Timestamp::from_millis(1), ..right.clone() }, &alice.identity)),
        ("no signature", format!(r#"{{"not_after":{},"signature":""}}"#, right.not_after.millis())),
    ] {
        let answer = give(&world, alice, &location, &body).await;
        assert_eq!((answer.status, answer.problem().as_str()), (403, "mandate-rejected"), "{what}");
    }
    for body in ["", "{}", r#"{"not_after":1,"signature":"","x":1}"#] {
        assert_eq!(give(&world, alice, &location, body).await.problem(), "bad-request", "{body}");
    }
    let theirs = give(&world, mallory, &location, &signed(&right, &alice.identity)).await;
    assert_eq!(theirs.problem(), "call-unknown");
    sleep(&world).await;
    for _ in 0..20 {
        world.clock.forward(Duration::from_secs(1));
        tokio::task::yield_now().await;
    }
    assert_eq!((world.keeper.count("mandate"), world.tool.take().len()), (0, 0));
}

#[tokio::test]
async fn a_lease_that_was_sealed_for_another_request_is_not_attached() {
    let world = World::new().await;
    for (number, rebind) in [
        |binding: &mut nightlatch_domain::ports::gateway_keeper::LeaseBinding| {
            binding.request_sha256 = Some("0a".repeat(32));
        },
        |binding: &mut nightlatch_domain::ports::gateway_keeper::LeaseBinding| binding.request_sha256 = None,
    ]
    .into_iter()
    .enumerate()
    {
        let location = waiting(&world, &number.to_string(), "/things").await;
        mandated(&world, &location).await;
        world.keeper.knobs.lock().unwrap().rebind = Some(rebind);
        sleep(&world).await;
        in_time(&world, "the mandate is used", || world.keeper.count("mandate") > number).await;
        let shown = ended(&world, &world.alice, &location).await;
        assert_eq!((shown["state"].as_str(), slug(&shown["problem"])), (Some("refused"), "lease-refused"));
        world.keeper.knobs.lock().unwrap().rebind = None;
        stale_leases(&world).await;
    }
    // And one that is bound to a request serves no ordinary call.
    world.keeper.knobs.lock().unwrap().rebind =
        Some(|binding| binding.request_sha256 = Some("0a".repeat(32)));
    assert_eq!(world.call(&world.alice, "GET /acme/things", &[]).await.problem(), "lease-refused");
    assert_eq!(world.tool.take().len(), 0);
}

#[tokio::test]
async fn a_mandate_that_the_keeper_refuses_leaves_its_call_waiting_for_its_agent() {
    let world = World::new().await;
    let location = waiting(&world, "a", "/things").await;
    mandated(&world, &location).await;
    sleep(&world).await;
    world.keeper.knobs.lock().unwrap().refuse.insert("mandate", KeeperRefusal::MandateRejected);
    in_time(&world, "the keeper is asked", || world.keeper.count("mandate") > 0).await;
    for _ in 0..20 {
        world.clock.forward(Duration::from_secs(1));
        tokio::task::yield_now().await;
    }
    assert_eq!((world.keeper.count("mandate"), world.tool.take().len()), (1, 0), "and not again");
    let shown = ended(&world, &world.alice, &location).await;
    assert_eq!(shown["state"], "done");
    assert_eq!(world.tool.take().len(), 1);
}

#[tokio::test]
async fn a_row_that_was_edited_carries_no_other_mandate() {
    let mut world = World::new().await;
    let (one, other) = (waiting(&world, "a", "/one").await, waiting(&world, "b", "/other").await);
    mandated(&world, &one).await;
    let id = |location: &str| location.rsplit('/').next().unwrap().to_owned();
    let (one_id, other_id) = (id(&one), id(&other));
    world
        .crash(async |world| {
            let theirs = format!("(SELECT mandate FROM call WHERE call_id = '{one_id}')");
            let moved = format!("UPDATE call SET mandate = {theirs} WHERE call_id = '{other_id}'");
            assert_eq!(crate::calls::edit(world, &moved), 1);
            world.keeper.knobs.lock().unwrap().refuse.clear();
        })
        .await;
    in_time(&world, "the one arrives", || world.tool.count() > 0).await;
    for _ in 0..20 {
        world.clock.forward(Duration::from_secs(1));
        tokio::task::yield_now().await;
    }
    let seen = world.tool.take();
    assert_eq!(seen.iter().map(|seen| seen.line()).collect::<Vec<_>>(), ["POST /one HTTP/1.1"]);
}

/// The wake of a mandated call is in no table of those that calls find, and what ends a task ends it all the same.
#[tokio::test]
async fn what_ends_its_task_or_grant_cuts_a_mandated_call_and_its_sleep_does_not() {
    for end in ["sleep", "kill", "revoke"] {
        let world = World::new().await;
        let gate = Arc::new(Notify::new());
        let reply = Reply {
            pieces: vec![b"HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nhalf".to_vec(), b"more".to_vec()],
            gate: Some(Arc::clone(&gate)),
            ..Reply::default()
        };
        world.tool.answers(move |_| reply.clone());
        let location = waiting(&world, "a", "/things").await;
        mandated(&world, &location).await;
        sleep(&world).await;
        in_time(&world, "it is out", || world.tool.count() > 0).await;
        match end {
            "kill" => world.set_task(&world.alice, |task| task.state = TaskState::Killed).await,
            "revoke" => {
                world.set_grant(&world.alice, |grant| grant.revoked_at = Some(grant.created_at)).await
            }
            _ => world.set_task(&world.alice, |task| task.purpose = "another change".into()).await,
        }
        let place = || crate::calls::edit(&world, "UPDATE call SET bytes = bytes WHERE ended_at IS NOT NULL");
        if end == "sleep" {
            // tidy: sleeps because what must not happen has several looks in which it would.
            tokio::time::sleep(Duration::from_millis(1500)).await;
            gate.notify_one();
            assert_eq!(ended(&world, &world.alice, &location).await["state"], "done");
            continue;
        }
        world.eventually("it is cut", || async { place() == 1 }).await;
        gate.notify_one();
        world.eventually("its way is closed", || async { world.tool.open() == 0 }).await;
    }
}
