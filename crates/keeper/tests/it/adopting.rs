//! What a human may say about keepers: that a log is to be believed, that a keeper never comes back; and what no human can
//! talk a log out of.

use crate::{
    crash::{Before, after, back_up, before, before_in, crash, restore, runtime},
    world::{Ready, Running, World},
};
use nightlatch_domain::{
    clock::Clock as _,
    id::KeeperId,
    ports::{
        control_keeper::{ControlRefusal, ControlReply, ControlRequest, KeeperRoll},
        gateway_keeper::KeeperRefusal,
    },
};
use nightlatch_ledger::{
    read::Filter,
    record::{Entry, EventName},
};
use std::time::Duration;

async fn roll(running: &Running) -> KeeperRoll {
    match running.control.ask(ControlRequest::Keepers).await.unwrap() {
        ControlReply::Keepers(roll) => roll,
        other => panic!("{other:?}"),
    }
}

async fn adopt(world: &World, running: &Running, keeper: KeeperId) -> Result<(u64, u64), ControlRefusal> {
    let human = (world.tenant, world.human);
    match running.control.ask(ControlRequest::Adopt { keeper, human }).await? {
        ControlReply::Adopted { released, contradicted } => Ok((released, contradicted)),
        other => panic!("{other:?}"),
    }
}

pub(crate) async fn forget(
    world: &World,
    running: &Running,
    keeper: KeeperId,
) -> Result<(bool, u64), ControlRefusal> {
    let human = (world.tenant, world.human);
    match running.control.ask(ControlRequest::Forget { keeper, human }).await? {
        ControlReply::Forgotten { behind, quarantined } => Ok((behind, quarantined)),
        other => panic!("{other:?}"),
    }
}

/// The task is woken anew: a new era ended its wakes.
pub(crate) async fn leases(world: &World, running: &Running, ready: &Ready) -> Result<(), KeeperRefusal> {
    let woken = world.wake(running).await.unwrap();
    woken.lease(running, ready.grant, ready.connection, 20_000).await.map(drop)
}

fn asks_a_human(refusal: &KeeperRefusal) -> bool {
    matches!(refusal, KeeperRefusal::ReauthRequired { ticket: Some(_) })
}

/// Whether the ledger says that this human did it with this keeper.
fn is_recorded(world: &World, running: &Running, event: EventName, keeper: KeeperId) -> bool {
    let records = running.ledger.tail(500, &Filter::default()).unwrap();
    records.iter().any(|record| match &record.entry {
        Entry::Event(told) => {
            (told.event, told.keeper, told.human) == (event, Some(keeper), Some(world.human))
        }
        _ => false,
    })
}

/// Over what `before` left: the chain waits for a log, and comes out at a human's word without a login.
fn comes_out(before: &Before) {
    let (world, ready) = (&before.world, &before.ready);
    runtime().block_on(async {
        let running = world.start().await;
        let refusal = leases(world, &running, ready).await.unwrap_err();
        assert!(asks_a_human(&refusal), "{refusal:?}");
        assert_eq!(world.look("SELECT state || ' ' || reason FROM chain"), "quarantined unvouched");
        assert_eq!(world.provider.refreshes(), 0);
        let own = roll(&running).await.own;
        assert_eq!(adopt(world, &running, own).await, Ok((1, 0)));
        assert_eq!(world.look("SELECT count(*) || '' FROM ticket WHERE settled_at IS NULL"), "0");
        leases(world, &running, ready).await.unwrap();
        assert!(is_recorded(world, &running, EventName::KeeperAdopted, own));
        running.end().await;
    });
    // Its log says so from now on.
    world.clock.forward(Duration::from_secs(3600));
    after(before).unwrap();
    assert_eq!(world.provider.refreshes(), 2);
}

#[test]
fn what_a_copied_log_left_in_quarantine_comes_out_where_a_human_vouches_for_it() {
    let mut before = before();
    before.world.machine = "clone";
    comes_out(&before);
}

#[test]
fn what_a_lost_log_left_in_quarantine_comes_out_where_a_human_vouches_for_the_empty_one() {
    let before = before();
    std::fs::remove_dir_all(before.world.path("state")).unwrap();
    comes_out(&before);
}

#[test]
fn no_human_talks_a_log_out_of_what_it_knows() {
    let mut before = before();
    let copy = back_up(&before);
    after(&before).unwrap();
    restore(&before, &copy);
    before.world.machine = "clone";
    before.world.clock.forward(Duration::from_secs(3600));
    let (world, ready) = (&before.world, &before.ready);
    runtime().block_on(async {
        let running = world.start().await;
        assert_eq!(world.look("SELECT state || ' ' || reason FROM chain"), "quarantined unvouched");
        let own = roll(&running).await.own;
        assert_eq!(adopt(world, &running, own).await, Ok((0, 1)));
        let refusal = leases(world, &running, ready).await.unwrap_err();
        assert!(asks_a_human(&refusal), "{refusal:?}");
        running.end().await;
    });
    assert_eq!((world.provider.refreshes(), world.provider.reuses()), (1, 0));
}

/// A world that another keeper was at work in, and whose log is gone for good.
fn beside_one_that_is_gone() -> (Before, KeeperId) {
    let mut world = World::new();
    world.alone = false;
    let before = before_in(world);
    let gone = before.world.look("SELECT keeper_id FROM keeper").parse().unwrap();
    std::fs::remove_dir_all(before.world.path("state")).unwrap();
    (before, gone)
}

#[test]
fn an_empty_log_beside_one_that_is_gone_waits_for_a_human() {
    let (before, gone) = beside_one_that_is_gone();
    let (world, ready) = (&before.world, &before.ready);
    runtime().block_on(async {
        let running = world.start().await;
        assert_eq!(leases(world, &running, ready).await.unwrap_err(), KeeperRefusal::Unavailable);
        assert_eq!(forget(world, &running, gone).await, Err(ControlRefusal::NoneVouched));
        let own = roll(&running).await.own;
        assert_eq!(adopt(world, &running, own).await, Ok((0, 0)));
        leases(world, &running, ready).await.unwrap();
        running.end().await;
    });
    assert_eq!((world.provider.refreshes(), world.provider.reuses()), (1, 0));
}

#[test]
fn who_is_left_alone_goes_on_with_what_the_forgotten_one_had_refreshed() {
    let (before, gone) = beside_one_that_is_gone();
    let (world, ready) = (&before.world, &before.ready);
    runtime().block_on(async {
        let running = world.start().await;
        // Another one that knows this history vouches for it, and its own log knows no head.
        world.forge("UPDATE keeper SET vouched = 1");
        assert_eq!(forget(world, &running, gone).await, Ok((false, 0)));
        assert_eq!(roll(&running).await.keepers.len(), 1);
        leases(world, &running, ready).await.unwrap();
        assert!(is_recorded(world, &running, EventName::KeeperForgotten, gone));
        running.end().await;
    });
    world.clock.forward(Duration::from_secs(3600));
    after(&before).unwrap();
    assert_eq!(world.provider.refreshes(), 2);
}

/// Beside the keeper another one is registered, whose log was not held against the database as it is now.
pub(crate) fn one_is_behind(world: &World) -> KeeperId {
    let other = KeeperId::new(world.clock.now(), [9; 10]);
    world.forge(&format!("INSERT INTO keeper VALUES ('{other}', 0, 1)"));
    other
}

#[test]
fn with_a_log_that_was_not_compared_every_chain_goes_to_its_human() {
    let mut world = World::new();
    world.alone = false;
    let before = before_in(world);
    let (world, ready) = (&before.world, &before.ready);
    let behind = one_is_behind(world);
    runtime().block_on(async {
        let running = world.start().await;
        let key = world.connect_static(&running, "key-erin").await;
        let grant = world.grant(&running, key).await;
        assert_eq!(leases(world, &running, ready).await.unwrap_err(), KeeperRefusal::Unavailable);
        assert_eq!(forget(world, &running, behind).await, Ok((true, 1)));
        assert_eq!(world.look("SELECT state || ' ' || reason FROM chain"), "quarantined log-lost");
        let refusal = leases(world, &running, ready).await.unwrap_err();
        assert!(asks_a_human(&refusal), "{refusal:?}");
        let woken = world.wake(&running).await.unwrap();
        assert!(woken.lease(&running, grant, key, 20_000).await.is_ok(), "what nobody refreshes goes on");
        // Nobody's word brings it back but a login.
        let own = roll(&running).await.own;
        assert_eq!(adopt(world, &running, own).await.unwrap().0, 0);
        assert_eq!(world.provider.refreshes(), 0);
        world.connect(&running, ready.client, "dana", Some(ready.connection)).await.unwrap();
        leases(world, &running, ready).await.unwrap();
        running.end().await;
    });
    assert_eq!(world.provider.reuses(), 0);
}

#[test]
fn an_answer_from_before_a_log_was_lost_is_not_read() {
    let mut world = World::new();
    world.alone = false;
    let before = before_in(world);
    crash(&before, "read");
    let (world, ready) = (&before.world, &before.ready);
    let behind = one_is_behind(world);
    runtime().block_on(async {
        let running = world.start().await;
        assert_eq!(forget(world, &running, behind).await, Ok((true, 1)));
        let refusal = leases(world, &running, ready).await.unwrap_err();
        assert!(asks_a_human(&refusal), "{refusal:?}");
        running.end().await;
    });
    // A start looks at every answer that nobody read.
    let refusal = after(&before).unwrap_err();
    assert!(asks_a_human(&refusal), "{refusal:?}");
    assert_eq!(world.look("SELECT state || ' ' || reason FROM chain"), "quarantined log-lost");
    assert_eq!(world.look("SELECT head || '' FROM family"), "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_keeper_at_work_is_not_forgotten_and_nobody_is_made_up() {
    let world = World::new();
    let running = world.start().await;
    world.ready(&running).await;
    let stands = roll(&running).await;
    let own = stands.own;
    assert!(stands.keepers.iter().all(|one| one.row.keeper == own && one.at_work));
    assert_eq!(forget(&world, &running, own).await, Err(ControlRefusal::KeeperAtWork));
    let unknown = || Err(ControlRefusal::Unknown { what: "keeper".to_owned() });
    let nobody = KeeperId::new(world.clock.now(), [8; 10]);
    assert_eq!(forget(&world, &running, nobody).await, unknown());
    assert_eq!(adopt(&world, &running, nobody).await, unknown().map(|_: (bool, u64)| (0, 0)));
    assert_eq!(roll(&running).await, stands);
    running.end().await;
}
