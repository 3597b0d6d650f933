//! What surrounds a send: everything that its answer needs is ready before it, and one that left late is told.

use crate::{
    meddling::Meddling,
    provider::Act,
    world::{Ready, Running, World, eventually},
};
use nightlatch_domain::{
    clock::Timestamp,
    ports::{Boxed, control_keeper::ControlRefusal, gateway_keeper::KeeperRefusal},
};
use nightlatch_keeper::{SystemFiles, Watch, machine::Action, spool::Spool};
use nightlatch_ledger::record::{Entry, EventName};
use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_becomes_the_head_though_the_randomness_is_gone() {
    let world = World::new();
    let running = world.start().await;
    let ready = world.ready(&running).await;
    world.clock.forward(HOUR);
    let woken = world.wake(&running).await.unwrap();
    world.meddling.dries_at_send.store(true, Ordering::SeqCst);
    // A lease needs some; the refresh before it does not.
    let refusal = woken.lease(&running, ready.grant, ready.connection, 20_000).await.unwrap_err();
    assert_eq!(refusal, KeeperRefusal::Unavailable);
    assert!(world.meddling.is_dry.load(Ordering::SeqCst), "it was gone in time");
    let stands = world.look("SELECT state || ' ' || head FROM chain JOIN family USING (family_id)");
    assert_eq!(stands, "healthy 2");
    world.meddling.is_dry.store(false, Ordering::SeqCst);
    let lease = woken.lease(&running, ready.grant, ready.connection, 0).await.unwrap();
    assert!(world.provider.knows(lease.secret.expose()));
    assert_eq!(world.provider.refreshes(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_randomness_nothing_is_sent() {
    let world = World::new();
    let running = world.start().await;
    let ready = world.ready(&running).await;
    world.clock.forward(HOUR);
    let woken = world.wake(&running).await.unwrap();
    let calls = world.provider.token_calls();
    world.meddling.is_dry.store(true, Ordering::SeqCst);
    assert!(woken.lease(&running, ready.grant, ready.connection, 2000).await.is_err());
    assert_eq!(world.provider.token_calls(), calls);
    // And when there is some again, nothing was lost.
    world.meddling.is_dry.store(false, Ordering::SeqCst);
    world.clock.forward(HOUR / 4);
    assert!(woken.lease(&running, ready.grant, ready.connection, 20_000).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_room_for_its_answer_nothing_is_sent() {
    let world = World::new();
    let running = world.start().await;
    let ready = world.ready(&running).await;
    world.clock.forward(HOUR);
    let calls = world.provider.token_calls();
    world.meddling.spool_is_full.store(true, Ordering::SeqCst);
    assert!(ready_again(&world, &running, &ready).await.is_err());
    assert_eq!(world.provider.token_calls(), calls);
    assert_eq!(world.look("SELECT state || ' ' || reason FROM chain"), "backing-off spool-unavailable");
    assert_eq!(world.look("SELECT count(*) || '' FROM attempt"), "0");
    // And when there is some again, nothing was lost.
    world.meddling.spool_is_full.store(false, Ordering::SeqCst);
    world.clock.forward(HOUR / 4);
    assert!(ready_again(&world, &running, &ready).await.is_ok());
}

/// A keeper that puts the answer of a refresh away just then, after it was told.
async fn putting_away() -> (World, Running, Ready) {
    let world = World::new();
    let running = world.start().await;
    let ready = world.ready(&running).await;
    world.clock.forward(HOUR);
    world.meddling.rename_millis.store(2000, Ordering::SeqCst);
    ready_again(&world, &running, &ready).await.unwrap();
    assert_eq!(world.spooled("slot").len(), 1, "nobody waited for that");
    (world, running, ready)
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_waits_for_an_answer_to_be_put_away_but_the_end() {
    let (world, running, _) = putting_away().await;
    // The end waits for it.
    running.end().await;
    assert_eq!((world.spooled("slot").len(), world.spooled("kept").len()), (0, 1));
    assert_eq!(kept_generation(&world), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_removed_while_its_answer_is_put_away_keeps_none() {
    let (world, running, ready) = putting_away().await;
    world.remove(&running, ready.connection).await;
    running.end().await;
    assert_eq!((world.spooled("slot").len(), world.spooled("kept").len()), (0, 0));
}

/// The generation whose refresh token the kept answer answers.
fn kept_generation(world: &World) -> u64 {
    let spool = Spool::open(&(Arc::new(SystemFiles) as _), &world.path("spool")).unwrap();
    let family = world.look("SELECT family_id FROM family").parse().unwrap();
    spool.kept(family).unwrap().unwrap().context.generation
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_put_away_late_overtakes_no_newer_one() {
    let (world, running, ready) = putting_away().await;
    world.clock.forward(HOUR);
    ready_again(&world, &running, &ready).await.unwrap();
    eventually(|| async { world.spooled("slot").is_empty() }).await;
    assert_eq!(kept_generation(&world), 2);
}

/// With what a refresh prepares the randomness ends.
struct DriesAtPrepare(Arc<Meddling>);

impl Watch for DriesAtPrepare {
    fn before(&self, action: &Action) -> Boxed<'_, ()> {
        if matches!(action, Action::Prepare { .. }) {
            self.0.is_dry.store(true, Ordering::SeqCst);
        }
        Box::pin(std::future::ready(()))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_randomness_ends_just_before_it_nothing_is_sent() {
    let world = World::new();
    let watch = Arc::new(DriesAtPrepare(Arc::clone(&world.meddling)));
    let running = world.start_with(watch).await.unwrap();
    let ready = world.ready(&running).await;
    let calls = world.provider.token_calls();
    world.clock.forward(HOUR);
    assert!(ready_again(&world, &running, &ready).await.is_err());
    assert_eq!(world.provider.token_calls(), calls);
    assert_eq!(world.look("SELECT state || ' ' || reason FROM chain"), "backing-off no-randomness");
    assert_eq!(world.look("SELECT count(*) || '' FROM attempt"), "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_answer_to_a_code_is_kept_though_the_randomness_is_gone() {
    let world = World::new();
    let running = world.start().await;
    world.settle(&running).await;
    let client = world.client(&running, None).await;
    world.meddling.dries_at_send.store(true, Ordering::SeqCst);
    let connected = world.connect(&running, client, "dana", None).await;
    assert_eq!(connected, Err(ControlRefusal::Unavailable));
    assert_eq!(world.look("SELECT step FROM flow"), "answered");
    running.end().await;
    world.meddling.is_dry.store(false, Ordering::SeqCst);
    let running = world.start().await;
    eventually(|| async { world.look("SELECT CAST(count(*) AS TEXT) FROM connection") == "1" }).await;
    assert_eq!(world.provider.codes(), 1);
    running.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_token_that_left_late_is_told_and_counted() {
    let world = World::new();
    let running = world.start().await;
    let ready = world.ready(&running).await;
    let told = || {
        let alarms = running.ledger.alarms(Timestamp::from_millis(0)).into_iter();
        let of = |entry: &Entry| matches!(entry, Entry::Event(event) if event.event == EventName::LateSend);
        alarms.filter(|record| of(&record.entry)).count()
    };
    let counted = running.keeper.late_sends();
    world.clock.forward(HOUR);
    assert!(ready_again(&world, &running, &ready).await.is_ok());
    assert_eq!((counted(), told()), (0, 0), "in time");
    world.meddling.late_millis.store(1, Ordering::SeqCst);
    world.clock.forward(HOUR);
    assert!(ready_again(&world, &running, &ready).await.is_ok());
    eventually(|| async { told() == 1 }).await;
    assert_eq!(counted(), 1);
    // It is told as well where the answer is lost.
    world.provider.next(Act::Vanish);
    world.clock.forward(HOUR);
    assert!(ready_again(&world, &running, &ready).await.is_err());
    eventually(|| async { told() == 2 }).await;
    assert_eq!(counted(), 2);
}

async fn ready_again(world: &World, running: &Running, ready: &Ready) -> Result<(), KeeperRefusal> {
    let woken = world.wake(running).await.unwrap();
    woken.lease(running, ready.grant, ready.connection, 20_000).await.map(|_| ())
}
