//! The process ends at each step of a refresh; the next one over the same files presents nothing twice, and
//! loses nothing that a provider answered.

use crate::{
    hold::HoldAt,
    second::graceful,
    world::{Ready, Running, World, ten},
};
use nightlatch_domain::{
    clock::Clock as _,
    id::OwnerId,
    ports::{
        gateway_keeper::{GatewayRequest, KeeperRefusal},
        store::ControlStore as _,
    },
};
use nightlatch_keeper::{KeeperError, SystemFiles, Watch, spool::Spool};
use std::{sync::Arc, time::Duration};
use tokio::runtime::Runtime;

pub(crate) fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

pub(crate) struct Before {
    pub(crate) world: World,
    pub(crate) ready: Ready,
}

/// A connected world whose keeper ended in order.
pub(crate) fn before() -> Before {
    before_in(World::new())
}

pub(crate) fn before_in(world: World) -> Before {
    let runtime = runtime();
    let ready = runtime.block_on(async {
        let running = world.start().await;
        let ready = world.ready(&running).await;
        running.end().await;
        ready
    });
    runtime.shutdown_timeout(Duration::from_secs(5));
    world.clock.forward(Duration::from_secs(3600));
    Before { world, ready }
}

/// Runs a refresh up to a step, and ends everything there without a word.
pub(crate) fn crash(before: &Before, step: &'static str) {
    let runtime = runtime();
    let hold = HoldAt::step(step);
    let running = runtime.block_on(async {
        let running = before.world.start_with(Arc::clone(&hold) as Arc<dyn Watch>).await.unwrap();
        let woken = before.world.wake(&running).await.unwrap();
        let asked = woken.lease(&running, before.ready.grant, before.ready.connection, 20_000);
        tokio::select! {
            _ = asked => assert!(step == "release", "the refresh went past `{step}`"),
            () = crate::world::eventually(|| async { hold.is_reached() }) => {}
        }
        running
    });
    assert!(hold.is_reached());
    drop(running);
    runtime.shutdown_timeout(Duration::from_secs(5));
}

/// A lease from the next process; nothing was presented twice.
pub(crate) fn after(before: &Before) -> Result<(), KeeperRefusal> {
    let result = after_whatever(before);
    assert_eq!(before.world.provider.reuses(), 0);
    assert!(before.world.provider.most_presented() <= 1, "presented twice");
    result
}

pub(crate) fn after_whatever(before: &Before) -> Result<(), KeeperRefusal> {
    let runtime = runtime();
    let result = runtime.block_on(async {
        let running: Running = before.world.start().await;
        let woken = before.world.wake(&running).await.unwrap();
        let lease = woken.lease(&running, before.ready.grant, before.ready.connection, 20_000).await;
        let lease = lease.map(|lease| assert!(before.world.provider.knows(lease.secret.expose())));
        running.end().await;
        lease
    });
    runtime.shutdown_timeout(Duration::from_secs(5));
    result
}

fn recovers(step: &'static str) {
    let before = before();
    crash(&before, step);
    after(&before).unwrap();
    assert_eq!(before.world.provider.refreshes(), 1, "{step}");
    // And the family goes on.
    before.world.clock.forward(Duration::from_secs(3600));
    after(&before).unwrap();
    assert_eq!(before.world.provider.refreshes(), 2, "{step}");
}

fn asks_a_human(step: &'static str, presentations: u32) {
    let before = before();
    crash(&before, step);
    for _ in 0..2 {
        let refusal = after(&before).unwrap_err();
        assert!(matches!(refusal, KeeperRefusal::ReauthRequired { ticket: Some(_) }), "{step}: {refusal:?}");
    }
    assert_eq!(before.world.provider.refreshes(), presentations, "{step}");
    // By the keeper's own reckoning, and not because the log stopped a second presentation at the last moment.
    let stands = before.world.look("SELECT state || ' ' || reason FROM chain");
    assert_eq!(stands, "uncertain answer-lost", "{step}");
    assert_eq!(before.world.look("SELECT group_concat(state) FROM attempt"), "uncertain", "{step}");
}

#[test]
fn a_crash_before_the_intent_costs_nothing() {
    recovers("claim");
    recovers("prepare");
    recovers("intend");
}

#[test]
fn an_unanchored_intent_is_retried_as_first() {
    recovers("anchor");
}

#[test]
fn an_answer_outlives_a_start_without_its_profile() {
    let mut before = before();
    crash(&before, "read");
    before.world.has_profile = false;
    assert!(after(&before).is_err());
    before.world.has_profile = true;
    before.world.clock.forward(Duration::from_secs(900));
    after(&before).unwrap();
    assert_eq!(before.world.provider.refreshes(), 1);
}

#[test]
fn an_anchored_intent_without_an_answer_is_never_presented_again() {
    asks_a_human("send", 0);
    asks_a_human("spool", 1);
}

#[test]
fn a_spooled_answer_is_never_lost() {
    recovers("insert");
}

#[test]
fn a_journaled_answer_is_never_lost() {
    recovers("read");
    recovers("commit");
}

#[test]
fn a_committed_head_is_vouched_for_by_its_presentation() {
    recovers("anchor-head");
    recovers("release");
}

#[test]
fn no_slot_outlives_its_answer_being_read_and_the_newest_answer_is_kept() {
    for step in ["read", "commit", "anchor-head", "release"] {
        let before = before();
        let copy = back_up(&before);
        crash(&before, step);
        assert_eq!(before.world.spooled("slot").len(), 1, "{step}");
        after(&before).unwrap();
        assert_eq!(
            (before.world.spooled("slot").len(), before.world.spooled("kept").len()),
            (0, 1),
            "{step}"
        );
        restore_another(&before, &copy);
        after(&before).unwrap();
        assert_eq!(
            before.world.look("SELECT state || ' ' || head FROM chain, family"),
            "healthy 2",
            "{step}"
        );
    }
}

#[test]
fn the_new_refresh_token_is_durable_before_the_access_token_is_leased() {
    // Until the commit was asked for, nobody holds the new access token; whoever holds it finds its refresh
    // token after any crash.
    for step in ["spool", "insert", "read", "commit"] {
        let before = before();
        let runtime = runtime();
        let hold = HoldAt::step(step);
        let running = runtime.block_on(async {
            let running = before.world.start_with(Arc::clone(&hold) as Arc<dyn Watch>).await.unwrap();
            let woken = before.world.wake(&running).await.unwrap();
            let refusal = woken.lease(&running, before.ready.grant, before.ready.connection, 500).await;
            assert!(matches!(refusal, Err(KeeperRefusal::Pending { .. })), "{step}");
            running
        });
        drop(running);
        runtime.shutdown_timeout(Duration::from_secs(5));
    }
}

#[test]
fn a_second_keeper_over_the_same_state_is_refused() {
    let world = World::new();
    runtime().block_on(async {
        let running = world.start().await;
        running.ledger.close().await.unwrap();
        let second = world.start_with(Arc::new(nightlatch_keeper::Unwatched)).await;
        assert!(matches!(second, Err(KeeperError::AnchorHeld { .. })));
    });
}

#[test]
fn a_log_that_was_lost_vouches_for_nothing() {
    let before = before();
    std::fs::remove_dir_all(before.world.path("state")).unwrap();
    let refusal = after(&before).unwrap_err();
    assert!(matches!(refusal, KeeperRefusal::ReauthRequired { ticket: Some(_) }), "{refusal:?}");
    assert_eq!(before.world.provider.refreshes(), 0);
}

#[test]
fn a_cloned_machine_presents_nothing() {
    let mut before = before();
    before.world.machine = "clone";
    let refusal = after(&before).unwrap_err();
    assert!(matches!(refusal, KeeperRefusal::ReauthRequired { ticket: Some(_) }), "{refusal:?}");
    assert_eq!(before.world.provider.refreshes(), 0);
}

/// Puts a copy of the database back. The ledger would notice; here only the keeper is asked.
pub(crate) fn restore(before: &Before, copy: &std::path::Path) {
    for side in ["db.sqlite-wal", "db.sqlite-shm"] {
        let _ = std::fs::remove_file(before.world.path(side));
    }
    std::fs::copy(copy, before.world.path("db.sqlite")).unwrap();
    let _ = std::fs::remove_dir_all(before.world.path("ledger"));
    before.world.forge("DELETE FROM ledger_head");
}

pub(crate) fn back_up(before: &Before) -> std::path::PathBuf {
    let copy = before.world.path("backup.sqlite");
    std::fs::copy(before.world.path("db.sqlite"), &copy).unwrap();
    copy
}

#[test]
fn a_database_from_a_backup_presents_nothing() {
    let before = before();
    let copy = back_up(&before);
    after(&before).unwrap();
    restore(&before, &copy);
    before.world.clock.forward(Duration::from_secs(3600));
    let refusal = after(&before).unwrap_err();
    assert!(matches!(refusal, KeeperRefusal::ReauthRequired { ticket: Some(_) }), "{refusal:?}");
    // The same database as far as its keeper can see: only the log's word for this one chain.
    assert_eq!(before.world.look("SELECT reason || ' ' || era FROM ticket"), "anchor-mismatch 1");
    assert_eq!(before.world.provider.refreshes(), 1);
}

/// A copy that is known for one: its moves are another history's.
pub(crate) fn restore_another(before: &Before, copy: &std::path::Path) {
    restore(before, copy);
    for statement in crate::history::ANOTHER_HISTORY {
        before.world.forge(statement);
    }
}

#[test]
fn a_database_from_a_backup_is_healed_by_the_answer_that_was_kept() {
    let before = before();
    let copy = back_up(&before);
    after(&before).unwrap();
    restore_another(&before, &copy);
    after(&before).unwrap();
    assert_eq!((before.world.provider.refreshes(), before.world.provider.reuses()), (1, 0));
    assert_eq!(before.world.look("SELECT state || ' ' || head FROM chain, family"), "healthy 2");
    before.world.clock.forward(Duration::from_secs(3600));
    after(&before).unwrap();
    assert_eq!((before.world.provider.refreshes(), before.world.provider.reuses()), (2, 0));
}

fn kept(before: &Before) -> std::path::PathBuf {
    let mut files = std::fs::read_dir(before.world.path("spool")).unwrap().map(|file| file.unwrap().path());
    files.find(|path| path.extension().is_some_and(|ending| ending == "kept")).unwrap()
}

/// A human is asked, and nothing more is presented.
pub(crate) fn heals_nothing(before: &Before, presented: u32) {
    let refusal = after(before).unwrap_err();
    assert!(matches!(refusal, KeeperRefusal::ReauthRequired { ticket: Some(_) }), "{refusal:?}");
    assert_eq!(before.world.look("SELECT state || ' ' || head FROM chain, family"), "quarantined 1");
    assert_eq!(before.world.look("SELECT reason || ' ' || era FROM ticket"), "anchor-mismatch 2");
    assert_eq!(before.world.provider.refreshes(), presented);
}

/// Refreshed twice since the copy that is put back; of the two answers the older one was kept.
pub(crate) fn put_back_with_an_older_answer(world: World) -> Before {
    let before = before_in(world);
    let copy = back_up(&before);
    after(&before).unwrap();
    let older = std::fs::read(kept(&before)).unwrap();
    before.world.clock.forward(Duration::from_secs(3600));
    after(&before).unwrap();
    restore_another(&before, &copy);
    std::fs::write(kept(&before), older).unwrap();
    before
}

#[test]
fn an_answer_that_is_not_the_newest_heals_nothing() {
    heals_nothing(&put_back_with_an_older_answer(World::new()), 2);
}

#[test]
fn an_answer_that_does_not_open_heals_nothing_and_holds_nobody_up() {
    let before = before();
    let copy = back_up(&before);
    after(&before).unwrap();
    let spool = Spool::open(&(Arc::new(SystemFiles) as _), &before.world.path("spool")).unwrap();
    let family = kept(&before).file_stem().unwrap().to_str().unwrap().parse().unwrap();
    let mut answer = spool.kept(family).unwrap().unwrap();
    let other = if answer.answer.ciphertext.starts_with('A') { "B" } else { "A" };
    answer.answer.ciphertext.replace_range(..1, other);
    spool.reserve(answer.asked).unwrap().write(&answer).unwrap();
    restore_another(&before, &copy);
    heals_nothing(&before, 1);
    assert_eq!(before.world.look("SELECT era || ' ' || compared FROM installation, keeper"), "2 2");
}

#[test]
fn a_generation_that_stands_where_none_may_be_heals_nothing_and_holds_nobody_up() {
    let before = before();
    let copy = back_up(&before);
    after(&before).unwrap();
    restore_another(&before, &copy);
    before.world.forge(
        "INSERT INTO generation SELECT tenant_id, family_id, 2, refresh, access, access_until, refresh_until,
             attempt_id, created_at FROM generation WHERE number = 1",
    );
    heals_nothing(&before, 1);
    assert_eq!(before.world.look("SELECT era || ' ' || compared FROM installation, keeper"), "2 2");
}

#[test]
fn a_presentation_that_the_database_forgot_is_noticed_at_the_start() {
    let before = before();
    let copy = back_up(&before);
    before.world.provider.next(crate::provider::Act::Vanish);
    after(&before).unwrap_err();
    restore(&before, &copy);
    let runtime = runtime();
    runtime.block_on(async { before.world.start().await.end().await });
    runtime.shutdown_timeout(Duration::from_secs(5));
    assert_eq!(before.world.look("SELECT state || ' ' || reason FROM chain"), "quarantined anchor-mismatch");
}

/// An answer that nobody read lies in a database that was put back, and what it brought was presented since, without an
/// answer: reading it would have that presented again.
fn put_back_with_an_unread_answer(forged: Option<&str>) -> Before {
    let before = before();
    crash(&before, "read");
    if let Some(statement) = forged {
        before.world.forge(statement);
    }
    let copy = back_up(&before);
    before.world.forge("UPDATE chain SET state = 'healthy', reason = NULL WHERE state <> 'refreshing'");
    after(&before).unwrap();
    before.world.clock.forward(Duration::from_secs(3600));
    before.world.provider.next(crate::provider::Act::Vanish);
    after(&before).unwrap_err();
    restore_another(&before, &copy);
    before
}

#[test]
fn an_unread_answer_is_not_read_whose_token_was_presented_since() {
    for forged in
        [None, Some("UPDATE chain SET state = 'latched', reason = 'invalid_grant', owner_id = NULL")]
    {
        let before = put_back_with_an_unread_answer(forged);
        after(&before).unwrap_err();
        let stands = before.world.look("SELECT state || ' ' || reason || ' ' || head FROM chain, family");
        assert_eq!(stands, "quarantined anchor-mismatch 1", "{forged:?}");
        assert_eq!(before.world.provider.refreshes(), 2);
    }
}

#[test]
fn beside_others_an_answer_leads_out_of_no_quarantine_that_a_log_began() {
    let mut world = World::new();
    world.alone = false;
    let before = before_in(world);
    crash(&before, "read");
    before.world.forge("UPDATE chain SET state = 'quarantined', reason = 'anchor-mismatch', owner_id = NULL");
    let other = nightlatch_domain::id::KeeperId::new(before.world.clock.now(), [9; 10]);
    before.world.forge(&format!("INSERT INTO keeper VALUES ('{other}', 1, 1)"));
    after(&before).unwrap_err();
    let stands = before.world.look("SELECT state || ' ' || head FROM chain, family");
    assert_eq!(stands, "quarantined 1");
}

#[test]
fn a_retry_that_the_database_forgot_is_not_presented_again() {
    let before = before_in(World::with(false, &graceful("verified")));
    let world = &before.world;
    world.provider.is_graceful();
    world.provider.next(crate::provider::Act::Vanish);
    world.provider.next(crate::provider::Act::Vanish);
    assert!(matches!(after(&before), Err(KeeperRefusal::Pending { .. })));
    let copy = back_up(&before);
    world.clock.forward(Duration::from_secs(2));
    assert!(matches!(after_whatever(&before), Err(KeeperRefusal::ReauthRequired { .. })));
    assert_eq!(world.provider.most_presented(), 2);
    restore(&before, &copy);
    assert!(matches!(after_whatever(&before), Err(KeeperRefusal::ReauthRequired { .. })));
    assert_eq!(world.provider.most_presented(), 2);
    // By what the log says of it, and not because it stopped another one at the last moment.
    assert_eq!(world.look("SELECT state || ' ' || reason FROM chain"), "uncertain answer-lost");
}

#[test]
fn a_committed_head_is_vouched_for_by_its_retry() {
    let before = before_in(World::with(false, &graceful("verified")));
    before.world.provider.is_graceful();
    before.world.provider.next(crate::provider::Act::Vanish);
    assert!(matches!(after(&before), Err(KeeperRefusal::Pending { .. })));
    before.world.clock.forward(Duration::from_secs(2));
    crash(&before, "anchor-head");
    after_whatever(&before).unwrap();
    assert_eq!((before.world.provider.refreshes(), before.world.provider.most_presented()), (2, 2));
}

#[test]
fn a_late_answer_that_only_the_spool_has_outlives_its_process() {
    let before = before_in(World::with(false, &graceful("verified")));
    let world = &before.world;
    world.forge("CREATE TRIGGER refuses BEFORE INSERT ON answer BEGIN SELECT RAISE(FAIL, 'refused'); END");
    world.provider.next(crate::provider::Act::Late(Duration::from_secs(2)));
    let runtime = runtime();
    let running = runtime.block_on(async {
        let running = world.start().await;
        let woken = world.wake(&running).await.unwrap();
        let refusal = woken.lease(&running, before.ready.grant, before.ready.connection, 20_000).await;
        assert!(matches!(refusal, Err(KeeperRefusal::Pending { .. })));
        let is_whole = |slot: &Vec<u8>| slot.starts_with(b"NLSPOOL");
        crate::world::eventually(|| async { world.spooled("slot").iter().any(is_whole) }).await;
        running
    });
    drop(running);
    runtime.shutdown_timeout(Duration::from_secs(5));
    world.forge("DROP TRIGGER refuses");
    after(&before).unwrap();
    assert_eq!(world.provider.refreshes(), 1);
}

#[test]
fn an_answer_in_another_ones_place_is_not_read() {
    let before = before();
    after(&before).unwrap();
    before.world.clock.forward(Duration::from_secs(3600));
    crash(&before, "read");
    // The answer before this one: its refresh token is the one that was presented just now.
    before.world.forge(
        "UPDATE answer SET sealed = (SELECT sealed FROM answer ORDER BY attempt_id LIMIT 1)
         WHERE attempt_id = (SELECT max(attempt_id) FROM answer)",
    );
    let refusal = after(&before).unwrap_err();
    assert!(matches!(refusal, KeeperRefusal::ReauthRequired { ticket: Some(_) }), "{refusal:?}");
    assert_eq!(before.world.look("SELECT state || ' ' || reason FROM chain"), "uncertain answer-unreadable");
    assert_eq!(before.world.look("SELECT head || '' FROM family"), "2");
}

#[test]
fn a_start_condemns_nothing_that_somebody_is_at_work_on() {
    let before = before();
    after(&before).unwrap();
    // Another keeper went on from there, and refreshes.
    let other = OwnerId::new(before.world.clock.now(), ten());
    before.world.forge("UPDATE generation SET number = 6 WHERE number = 2");
    before.world.forge("UPDATE family SET head = 6");
    before
        .world
        .forge(&format!("UPDATE chain SET state = 'refreshing', owner_id = '{other}', fence = fence + 1"));
    let stands = || before.world.look("SELECT state || ' ' || fence || ' ' || owner_id FROM chain");
    let claim = stands();
    let runtime = runtime();
    runtime.block_on(async { before.world.start().await.end().await });
    runtime.shutdown_timeout(Duration::from_secs(5));
    assert_eq!(stands(), claim);
}

#[test]
fn a_wake_of_a_process_that_died_is_over_at_the_next_start_and_its_task_wakes_anew() {
    let before = before();
    let without_end = || before.world.look("SELECT count(*) || '' FROM wake WHERE ended_at IS NULL");
    crash(&before, "claim");
    assert_eq!(without_end(), "2", "an hour ago one began, and one in the process that died");
    let runtime = runtime();
    let shown = runtime.block_on(async {
        let running = before.world.start().await;
        let shown = running.store.wakes(before.world.tenant, before.world.task, 9).await.unwrap();
        before.world.wake(&running).await.unwrap();
        running.end().await;
        shown
    });
    runtime.shutdown_timeout(Duration::from_secs(5));
    let ends: Vec<_> = shown.iter().map(|wake| wake.ended_at).collect();
    assert_eq!(ends, [Some(before.world.clock.now()), None], "the older one was over at its own time");
    assert_eq!(without_end(), "2", "the older one, and the new one");
}

#[test]
fn a_back_off_survives_a_restart() {
    let before = before();
    let provider = &before.world.provider;
    provider.next(crate::provider::Act::Answer(429, &[("retry-after", "600")], "{}"));
    let refusal = after(&before).unwrap_err();
    assert!(matches!(refusal, KeeperRefusal::Pending { .. }), "{refusal:?}");
    let calls = provider.token_calls();
    provider.probe_answers(Some(401));
    let runtime = runtime();
    runtime.block_on(async {
        let running = before.world.start().await;
        let woken = before.world.wake(&running).await.unwrap();
        // Neither a lease nor a 401 hurries it.
        let (tenant, connection) = (before.world.tenant, before.ready.connection);
        let ask = GatewayRequest::Unauthorized { tenant, wake: woken.wake, connection, generation: 1 };
        running.gateway.ask(ask).await.unwrap();
        for _ in 0..20 {
            assert!(woken.lease(&running, before.ready.grant, connection, 20_000).await.is_err());
        }
        running.end().await;
    });
    runtime.shutdown_timeout(Duration::from_secs(5));
    assert_eq!(provider.token_calls(), calls);
}

#[test]
fn a_claim_of_ours_that_nobody_carries_is_taken_up() {
    let before = before();
    let runtime = runtime();
    runtime.block_on(async {
        let running = before.world.start().await;
        let woken = before.world.wake(&running).await.unwrap();
        let lease = async || woken.lease(&running, before.ready.grant, before.ready.connection, 20_000).await;
        assert!(lease().await.is_ok());
        // As a claim that was written while its answer was lost; the owner of the last attempt is this process.
        let owner = "SELECT owner_id FROM attempt ORDER BY intended_at DESC LIMIT 1";
        before.world.forge(&format!(
            "UPDATE chain SET state = 'refreshing', owner_id = ({owner}), fence = fence + 1"
        ));
        before.world.clock.forward(Duration::from_secs(3600));
        let woken = before.world.wake(&running).await.unwrap();
        assert!(woken.lease(&running, before.ready.grant, before.ready.connection, 20_000).await.is_ok());
        running.end().await;
    });
    runtime.shutdown_timeout(Duration::from_secs(5));
    assert_eq!((before.world.provider.refreshes(), before.world.provider.most_presented()), (2, 1));
}

#[test]
fn a_stop_lets_a_refresh_finish() {
    let before = before();
    let runtime = runtime();
    runtime.block_on(async {
        let running = before.world.start().await;
        let woken = before.world.wake(&running).await.unwrap();
        before.world.provider.next(crate::provider::Act::Late(Duration::from_millis(500)));
        let _ = woken.lease(&running, before.ready.grant, before.ready.connection, 50).await;
        running.end().await;
    });
    runtime.shutdown_timeout(Duration::from_secs(5));
    after(&before).unwrap();
    assert_eq!(before.world.provider.refreshes(), 1);
}

/// Two keepers of one installation: one is held at a step of a refresh, the other starts beside it.
fn a_start_beside_one_held_at(step: &'static str) {
    let mut before = before();
    before.world.alone = false;
    let runtime = runtime();
    let hold = HoldAt::step(step);
    runtime.block_on(async {
        let world = &before.world;
        let held = world.start_with(Arc::clone(&hold) as Arc<dyn Watch>).await.unwrap();
        let woken = world.wake(&held).await.unwrap();
        let asked = woken.lease(&held, before.ready.grant, before.ready.connection, 20_000);
        tokio::select! {
            _ = asked => panic!("the refresh went past `{step}`"),
            () = crate::world::eventually(|| async { hold.is_reached() }) => {}
        }
        held.ledger.close().await.unwrap();
        let stands = || world.look("SELECT state || ' ' || fence || ' ' || owner_id FROM chain");
        let attempts = || world.look("SELECT ifnull(group_concat(state), 'none') FROM attempt");
        let (claim, intents) = (stands(), attempts());
        assert!(claim.starts_with("refreshing "), "{claim}");
        let other = world.start().await;
        assert_ne!(other.keeper.id(), held.keeper.id());
        let woken = world.wake(&other).await.unwrap();
        let refusal =
            woken.lease(&other, before.ready.grant, before.ready.connection, 500).await.unwrap_err();
        // Its log is empty, and nobody vouched for it yet.
        assert!(matches!(refusal, KeeperRefusal::Unavailable), "{refusal:?}");
        assert_eq!((stands(), attempts()), (claim, intents), "what another keeper claimed is that one's");
        other.end().await;
    });
    runtime.shutdown_timeout(Duration::from_secs(5));
    assert_eq!(before.world.provider.token_calls(), 1, "the code and nothing else");
}

#[test]
fn a_start_leaves_alone_what_another_keeper_claimed() {
    a_start_beside_one_held_at("intend");
    a_start_beside_one_held_at("anchor");
    a_start_beside_one_held_at("send");
}

#[test]
fn a_keeper_takes_up_what_its_own_log_claimed() {
    let mut before = before();
    before.world.alone = false;
    crash(&before, "anchor");
    after(&before).unwrap();
    assert_eq!(before.world.provider.refreshes(), 1);
    before.world.clock.forward(Duration::from_secs(3600));
    crash(&before, "commit");
    after(&before).unwrap();
    assert_eq!(before.world.provider.refreshes(), 2);
}
