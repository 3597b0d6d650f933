//! What refuses while tokens are brought in: a history that is not settled, a log or a spool that cannot be written or read,
//! a profile that is away. Nothing is presented in doubt, nothing is lost, and nothing is tried without a pause.

use crate::{
    importing::{At, accepted, at, bring, ended, graceful, held, line, now, waits},
    provider::Act,
    world::{World, eventually},
};
use nightlatch_domain::{
    chain::FlowStep,
    clock::{Clock as _, Timestamp},
    id::{KeeperId, OwnerId},
    ports::store::KeeperStore as _,
};
use std::{sync::atomic::Ordering, time::Duration};

const MINUTE: Duration = Duration::from_secs(60);

/// Long enough for what would come at once.
async fn a_while() {
    // tidy: sleeps because that nothing comes shows only in time
    tokio::time::sleep(Duration::from_millis(700)).await;
}

fn dials(world: &World) -> u64 {
    world.meddling.dials.load(Ordering::SeqCst)
}

/// I2: a token that another history says was never presented may have been.
#[tokio::test(flavor = "multi_thread")]
async fn a_history_that_is_unsettled_meanwhile_presents_nothing() {
    // Another keeper has yet to compare; and one of which nobody can say whether it has.
    for other in [KeeperId::new(Timestamp::from_millis(0), [9; 10]).to_string(), "damaged".to_owned()] {
        let At { world, running, client } = at(false, "").await;
        world.provider.next(Act::Late(Duration::from_millis(1500)));
        let lines: Vec<_> = ["a", "b"].map(|one| line(client, &world.provider.hands_out(one))).into();
        let flows = accepted(&bring(&world, &running, &lines).await);
        // While one is tried the other waits for its turn, beyond the look that every round begins with.
        eventually(|| async { world.provider.token_calls() == 1 }).await;
        world.forge(&format!("INSERT INTO keeper VALUES ('{other}', 0, 1)"));
        let how_many_ended = "SELECT count(*) || '' FROM import WHERE step = 'ended'";
        eventually(|| async { world.look(how_many_ended) == "1" }).await;
        a_while().await;
        let mut reasons = Vec::new();
        for flow in &flows {
            reasons.extend(now(&world, &running, *flow).await.progress.reason);
        }
        assert_eq!(
            (reasons, world.provider.token_calls()),
            (vec!["history-unsettled".to_owned()], 1),
            "{other}"
        );
        world.forge(&format!("DELETE FROM keeper WHERE keeper_id = '{other}'"));
        world.clock.forward(MINUTE);
        assert!(ended(&world, &running, &flows).await.iter().all(Result::is_ok));
        assert_eq!(world.provider.most_presented(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nobody_can_say_whether_the_history_stands_nothing_is_begun() {
    let At { world, running, client } = at(false, "").await;
    world.forge("INSERT INTO keeper VALUES ('damaged', 0, 1)");
    let lines = [line(client, &world.provider.hands_out("a"))];
    let flows = accepted(&bring(&world, &running, &lines).await);
    a_while().await;
    let row = now(&world, &running, flows[0]).await;
    assert_eq!((row.progress.step, row.progress.reason, dials(&world)), (FlowStep::Begun, None, 0));
    world.forge("DELETE FROM keeper WHERE keeper_id = 'damaged'");
    bring(&world, &running, &[line(client, &world.provider.hands_out("b"))]).await;
    assert_eq!(ended(&world, &running, &flows).await, [Ok("a@example.com".to_owned())]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_of_an_older_era_ends_at_once() {
    let At { world, running, client } = at(false, &graceful("verified")).await;
    world.provider.is_graceful();
    world.provider.next(Act::Vanish);
    let lines = [line(client, &world.provider.hands_out("dana"))];
    let flows = accepted(&bring(&world, &running, &lines).await);
    waits(&world, &running, flows[0], "answer-lost").await;
    assert_eq!(running.store.raise_era(1).await, Ok(true));
    let before = dials(&world);
    world.clock.forward(Duration::from_secs(8));
    assert_eq!(ended(&world, &running, &flows).await, [Err("answer-lost".to_owned())]);
    assert_eq!((world.provider.most_presented(), dials(&world)), (1, before));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_cannot_be_written_is_waited_for() {
    let At { world, running, client } = at(false, "").await;
    let full = |is| world.meddling.log_is_full.store(is, Ordering::SeqCst);
    // Before an owner was drawn, and again when the next one would be marked.
    full(true);
    let first = [line(client, &world.provider.hands_out("a"))];
    let first = accepted(&bring(&world, &running, &first).await);
    waits(&world, &running, first[0], "anchor-log-unavailable").await;
    let before = dials(&world);
    a_while().await;
    assert_eq!((dials(&world), world.provider.token_calls()), (before, 0));
    full(false);
    world.clock.forward(MINUTE);
    assert_eq!(ended(&world, &running, &first).await, [Ok("a@example.com".to_owned())]);

    full(true);
    let second = [line(client, &world.provider.hands_out("b"))];
    let second = accepted(&bring(&world, &running, &second).await);
    waits(&world, &running, second[0], "anchor-log-unavailable").await;
    let before = dials(&world);
    a_while().await;
    assert_eq!((dials(&world), world.provider.token_calls()), (before, 1));
    assert_eq!(now(&world, &running, second[0]).await.progress.step, FlowStep::Redeeming);
    // It was never sent, and begins anew, but not at once.
    world.clock.forward(MINUTE);
    bring(&world, &running, &[line(client, "dead")]).await;
    eventually(|| async { now(&world, &running, second[0]).await.progress.step == FlowStep::Begun }).await;
    let row = now(&world, &running, second[0]).await.progress;
    assert!(row.failures > 0 && row.due_at > world.clock.now(), "{row:?}");
    full(false);
    world.clock.forward(MINUTE);
    assert_eq!(ended(&world, &running, &second).await, [Ok("b@example.com".to_owned())]);
    assert_eq!((world.provider.most_presented(), world.provider.reuses()), (1, 0));
}

/// What the database does not take is due still; without a pause the provider would be dialled again and again.
#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_takes_nothing_is_waited_for() {
    let At { world, running, client } = at(false, "").await;
    world.forge("CREATE TRIGGER full BEFORE UPDATE ON import BEGIN SELECT RAISE(FAIL, 'full'); END");
    let lines = [line(client, &world.provider.hands_out("a"))];
    let flows = accepted(&bring(&world, &running, &lines).await);
    eventually(|| async { dials(&world) > 0 }).await;
    a_while().await;
    assert!(dials(&world) <= 2, "{} times", dials(&world));
    world.forge("DROP TRIGGER full");
    assert_eq!(ended(&world, &running, &flows).await, [Ok("a@example.com".to_owned())]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_keeper_answered_is_its_own_until_it_is_gone() {
    let At { world, running, client } = at(false, "").await;
    world.provider.probe_answers(Some(500));
    let lines = [line(client, &world.provider.hands_out("a"))];
    let flows = accepted(&bring(&world, &running, &lines).await);
    waits(&world, &running, flows[0], "account-not-probed").await;
    world.provider.probe_answers(None);
    let other = OwnerId::new(world.clock.now(), [9; 10]);
    assert_eq!(world.forge(&format!("UPDATE import SET owner_id = '{other}'")), 1);
    world.clock.forward(MINUTE);
    let next = accepted(&bring(&world, &running, &[line(client, &world.provider.hands_out("b"))]).await);
    assert!(ended(&world, &running, &next).await[0].is_ok());
    a_while().await;
    assert_eq!(now(&world, &running, flows[0]).await.progress.step, FlowStep::Answered);
    world.clock.forward(10 * MINUTE);
    assert_eq!(ended(&world, &running, &flows).await, [Ok("a@example.com".to_owned())]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_without_tokens_that_stays_in_its_room_holds_nothing_up() {
    let at = at(false, "").await;
    at.world.meddling.spool_renames_nothing.store(true, Ordering::SeqCst);
    let flows = held(&at, &["a"]).await;
    let At { world, running, .. } = &at;
    world.clock.forward(15 * MINUTE);
    assert_eq!(ended(world, running, &flows).await, [Ok("a@example.com".to_owned())]);
    assert_eq!(world.provider.most_presented(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_that_is_taken_is_waited_for() {
    let at = at(false, "").await;
    let removes_nothing = |is| at.world.meddling.spool_removes_nothing.store(is, Ordering::SeqCst);
    let flows = held(&at, &["a"]).await;
    let At { world, running, .. } = &at;
    std::fs::write(world.path("spool").join(format!("{}.slot", flows[0])), "left behind").unwrap();
    removes_nothing(true);
    world.clock.forward(15 * MINUTE);
    waits(world, running, flows[0], "disk-or-key-unavailable").await;
    let row = now(world, running, flows[0]).await.progress;
    assert!(row.failures > 1 && row.due_at > world.clock.now(), "{row:?}");
    removes_nothing(false);
    world.clock.forward(15 * MINUTE);
    // The first look clears it, the next one presents.
    eventually(|| async { now(world, running, flows[0]).await.progress.failures > row.failures }).await;
    world.clock.forward(15 * MINUTE);
    assert_eq!(ended(world, running, &flows).await, [Ok("a@example.com".to_owned())]);
    assert_eq!(world.provider.most_presented(), 1);
}

/// Whatever it waits for before it is sent, its room for that grows no longer.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_must_leave_by_when_it_was_dialled_for() {
    let At { world, running, client } = at(true, "").await;
    let lines = [line(client, &world.provider.hands_out("a"))];
    let flows = accepted(&bring(&world, &running, &lines).await);
    assert_eq!(ended(&world, &running, &flows).await, [Ok("a@example.com".to_owned())]);
    let posted = world.meddling.send_by.lock().unwrap().clone();
    assert!(matches!(posted[..], [(dialled, sent)] if dialled == sent), "{posted:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spool_that_cannot_be_read_is_not_no_answer() {
    let At { world, running, client } = at(true, "").await;
    let unreadable = |is| world.meddling.spool_is_unreadable.store(is, Ordering::SeqCst);
    unreadable(true);
    world.provider.next(Act::Vanish);
    let lines = [line(client, &world.provider.hands_out("dana"))];
    let flows = accepted(&bring(&world, &running, &lines).await);
    waits(&world, &running, flows[0], "disk-or-key-unavailable").await;
    unreadable(false);
    world.clock.forward(MINUTE);
    assert_eq!(ended(&world, &running, &flows).await, [Err("answer-lost".to_owned())]);
    assert_eq!(world.provider.most_presented(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_profile_an_import_is_left_as_it_stands() {
    let At { mut world, running, client } = at(false, "").await;
    world.provider.probe_answers(Some(500));
    let lines = [line(client, &world.provider.hands_out("dana"))];
    let flows = accepted(&bring(&world, &running, &lines).await);
    waits(&world, &running, flows[0], "account-not-probed").await;
    running.end().await;
    world.provider.probe_answers(None);
    world.clock.forward(MINUTE);
    world.has_profile = false;
    let running = world.start().await;
    waits(&world, &running, flows[0], "profile-missing").await;
    assert_eq!(now(&world, &running, flows[0]).await.progress.step, FlowStep::Answered);
    running.end().await;
    world.clock.forward(MINUTE);
    world.has_profile = true;
    let running = world.start().await;
    assert_eq!(ended(&world, &running, &flows).await, [Ok("dana@example.com".to_owned())]);
    assert_eq!(world.provider.most_presented(), 1);
}

/// I2: what a lost log knew of them nobody knows, though their rows say that they were never presented.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_was_lost_presents_nothing_that_was_brought_before() {
    let at = at(false, "").await;
    let flows = held(&at, &["a", "b"]).await;
    let At { world, running, client } = at;
    running.end().await;
    std::fs::remove_dir_all(world.path("state")).unwrap();
    let before = world.provider.token_calls();
    let running = world.start().await;
    world.clock.forward(15 * MINUTE);
    let put_back = || Err("database-put-back".to_owned());
    assert_eq!(ended(&world, &running, &flows).await, [put_back(), put_back()]);
    assert_eq!(world.provider.token_calls(), before);
    let next = accepted(&bring(&world, &running, &[line(client, &world.provider.hands_out("c"))]).await);
    assert_eq!(ended(&world, &running, &next).await, [Ok("c@example.com".to_owned())]);
}
