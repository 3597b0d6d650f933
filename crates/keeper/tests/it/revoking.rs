//! What nobody lives on any more ends at its provider, and nothing else does.

use crate::{
    importing::{At, accepted, bring, ended, held, line, waits},
    provider::{Act, Provider},
    world::{Running, World, eventually},
};
use nightlatch_domain::{
    clock::Clock as _,
    id::{ClientId, ConnectionId, KeeperId},
    ports::store::{KeeperStore as _, Kill},
};
use nightlatch_ledger::{
    read::Filter,
    record::{Entry, EventName},
};
use std::{collections::BTreeSet, sync::atomic::Ordering, time::Duration};

const HOUR: Duration = Duration::from_secs(3600);

/// A world whose provider says where tokens are revoked.
fn world() -> World {
    let provider = Provider::start();
    let endpoint = provider.revocation_endpoint();
    World::with_provider(provider, &endpoint)
}

/// One account, connected.
async fn connected(world: &World, secret: Option<&str>) -> (Running, ClientId, ConnectionId) {
    let running = world.start().await;
    world.settle(&running).await;
    let client = world.client(&running, secret).await;
    let connection = world.connect(&running, client, "dana", None).await.unwrap();
    (running, client, connection)
}

fn rows(world: &World) -> String {
    world.look("SELECT CAST(count(*) AS TEXT) FROM revocation")
}

async fn until_no_row_waits(world: &World) {
    eventually(|| async { rows(world) == "0" }).await;
}

/// Each row's turn came so often.
async fn until_tried(world: &World, times: u32) {
    let least = || world.look("SELECT CAST(coalesce(min(tries), 99) AS TEXT) FROM revocation");
    eventually(|| async { least().parse::<u32>().unwrap() >= times }).await;
}

/// A later start, when everything that waits is due.
async fn restarted(world: &World, running: Running, later: Duration) -> Running {
    running.end().await;
    world.clock.forward(later);
    world.start().await
}

fn told(running: &Running, event: EventName) -> Vec<Option<String>> {
    let records = running.ledger.tail(500, &Filter::default()).unwrap();
    let told = records.into_iter().filter_map(|record| match record.entry {
        Entry::Event(told) if told.event == event => Some(told.reason.map(|reason| reason.to_string())),
        _ => None,
    });
    told.collect()
}

fn kinds(world: &World) -> Vec<(String, String)> {
    let mut revoked = world.provider.revoked();
    revoked.sort();
    revoked
}

fn first_tokens() -> Vec<(String, String)> {
    let of = |kind: &str| (format!("canary-{kind}-1"), format!("{kind}_token"));
    vec![of("access"), of("refresh")]
}

const BUSY: Act = Act::Answer(503, &[], "");

#[tokio::test(flavor = "multi_thread")]
async fn what_is_removed_is_revoked_at_its_provider_and_leaves_no_trace() {
    for secret in [None, Some("hunter2")] {
        let world = world();
        let (running, _, connection) = connected(&world, secret).await;
        assert!(world.provider.knows(b"canary-access-1"));
        world.remove(&running, connection).await;
        until_no_row_waits(&world).await;
        assert_eq!(kinds(&world), first_tokens());
        assert!(!world.provider.knows(b"canary-access-1"));
        let basic = secret.map(|_| "Basic b3VyLWlkOmh1bnRlcjI=".to_owned());
        assert_eq!(world.provider.last_authorization(), basic);
        assert_eq!(world.provider.last_field("client_id").is_some(), secret.is_none());
        assert_eq!(told(&running, EventName::TokenRevoked), [None, None]);
        assert_eq!(told(&running, EventName::RevocationGivenUp), []);
        running.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_cannot_is_asked_again_when_it_says_and_not_before() {
    let world = world();
    let (running, _, connection) = connected(&world, None).await;
    world.provider.next_revocations(&Act::Answer(503, &[("retry-after", "1800")], ""), 2);
    world.remove(&running, connection).await;
    until_tried(&world, 1).await;
    eventually(|| async { told_of_wait(&world) >= 1_800_000 }).await;
    let running = restarted(&world, running, HOUR / 3).await;
    let came = world.provider.revoked().len();
    world.provider.recovers();
    let running = restarted(&world, running, HOUR).await;
    until_no_row_waits(&world).await;
    assert_eq!(world.provider.revoked().len(), came + 2, "it was asked too early, or twice");
    running.end().await;
}

/// The longest that a row waits from now on.
fn told_of_wait(world: &World) -> i64 {
    let until = world.look("SELECT CAST(max(not_before) AS TEXT) FROM revocation");
    until.parse::<i64>().unwrap() - world.clock.now().millis()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_revoked_is_given_up_at_a_stated_end_and_told() {
    let refusal = Act::Answer(403, &[], r#"{"error":"access_denied"}"#);
    let unsupported = Act::Answer(400, &[], r#"{"error":"unsupported_token_type"}"#);
    let cases = [
        (refusal.clone(), 98, None),
        (refusal, 99, Some("provider-refuses")),
        (BUSY, 98, None),
        (BUSY, 99, Some("provider-busy")),
        (unsupported, 0, Some("unsupported_token_type")),
    ];
    for (act, tries, given_up) in cases {
        let world = world();
        let (running, _, connection) = connected(&world, None).await;
        running.end().await;
        world.forge("UPDATE generation SET access_until = 0");
        let running = world.start().await;
        world.provider.next_revocations(&BUSY, 1);
        world.remove(&running, connection).await;
        until_tried(&world, 1).await;
        running.end().await;
        world.forge(&format!("UPDATE revocation SET tries = {tries}, not_before = 0"));
        world.provider.next_revocations(&act, 1);
        let running = world.start().await;
        let alarms = given_up.map(|why| Some(why.to_owned()));
        match given_up {
            Some(_) => until_no_row_waits(&world).await,
            None => until_tried(&world, tries + 1).await,
        }
        assert_eq!(told(&running, EventName::RevocationGivenUp), Vec::from_iter(alarms), "{act:?} {tries}");
        assert_eq!(told(&running, EventName::TokenRevoked), []);
        running.end().await;
    }
}

/// Something else is removed, so that whoever revokes looks again.
async fn woken(world: &World, running: &Running) {
    let key = world.connect_static(running, "key-erin").await;
    world.remove(running, key).await;
}

/// Waiting and being refused are two things: what waited long is not given up for its first refusal.
#[tokio::test(flavor = "multi_thread")]
async fn only_refusals_come_to_the_end_of_what_is_refused() {
    let world = world();
    let (running, _, connection) = connected(&world, None).await;
    running.end().await;
    world.forge("UPDATE generation SET access_until = 0");
    let running = world.start().await;
    world.provider.next_revocations(&BUSY, 1);
    world.remove(&running, connection).await;
    until_tried(&world, 1).await;
    let asked = || world.provider.revoked().len();
    eventually(|| async { asked() == 1 }).await;
    world.provider.next_revocations(&Act::Answer(403, &[], r#"{"error":"access_denied"}"#), 8);
    world.clock.forward(HOUR);
    world.forge("UPDATE revocation SET tries = 50");
    for times in 1..=8 {
        assert_eq!(told(&running, EventName::RevocationGivenUp), [], "{times}");
        world.forge("UPDATE revocation SET not_before = 0");
        woken(&world, &running).await;
        eventually(|| async { asked() == 1 + times }).await;
    }
    until_no_row_waits(&world).await;
    assert_eq!(told(&running, EventName::RevocationGivenUp), [Some("provider-refuses".to_owned())]);
    running.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_turn_that_passed_while_its_provider_is_left_alone_gives_nothing_up() {
    let world = world();
    let (running, _, connection) = connected(&world, None).await;
    world.provider.next_revocations(&BUSY, 9);
    world.remove(&running, connection).await;
    until_tried(&world, 1).await;
    eventually(|| async { world.provider.revoked().len() == 2 }).await;
    world.forge("UPDATE revocation SET tries = 99, not_before = 0");
    woken(&world, &running).await;
    until_tried(&world, 100).await;
    running.keeper.stop().await;
    assert_eq!((world.provider.revoked().len(), rows(&world)), (2, "2".to_owned()));
    assert_eq!(told(&running, EventName::RevocationGivenUp), []);
    running.ledger.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_while_a_provider_is_dialled_is_seen_before_anything_leaves() {
    let world = world();
    let (running, client, connection) = connected(&world, None).await;
    world.provider.next_revocations(&BUSY, 9);
    world.remove(&running, connection).await;
    until_tried(&world, 1).await;
    running.end().await;
    world.provider.recovers();
    world.clock.forward(HOUR);
    let before = world.provider.revoked().len();
    let dials = || world.meddling.dials.load(Ordering::SeqCst);
    let dialled = dials();
    world.meddling.dial_millis.store(1500, Ordering::SeqCst);
    let running = world.start().await;
    eventually(|| async { dials() > dialled }).await;
    world.begin(&running, client, None, "tool").await;
    until_tried(&world, 2).await;
    // What is on its way is carried to its end.
    running.end().await;
    assert_eq!((world.provider.revoked().len(), rows(&world)), (before, "2".to_owned()));
    // Past its end nobody can come of it any more.
    world.clock.forward(HOUR);
    world.meddling.dial_millis.store(0, Ordering::SeqCst);
    let running = world.start().await;
    until_no_row_waits(&world).await;
    assert_eq!(world.provider.revoked().len(), before + 2);
    running.end().await;
}

/// Refresh tokens that were brought in, at a provider that says where they are revoked.
async fn brought() -> At {
    let world = world();
    let running = world.start().await;
    world.settle(&running).await;
    let client = world.client(&running, None).await;
    At { world, running, client }
}

async fn killed(At { world, running, client }: At) -> (World, Running) {
    let kill = Kill::Client { tenant: world.tenant, client };
    running.store.kill(kill, world.clock.now()).await.unwrap();
    let running = restarted(&world, running, Duration::ZERO).await;
    (world, running)
}

/// The one that was brought was consumed: what the answer holds is all that lives.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_answer_to_a_killed_import_holds_is_revoked() {
    let at = brought().await;
    at.world.provider.probe_answers(Some(500));
    let lines = [line(at.client, &at.world.provider.hands_out("dana"))];
    let flows = accepted(&bring(&at.world, &at.running, &lines).await);
    waits(&at.world, &at.running, flows[0], "account-not-probed").await;
    assert!(at.world.provider.knows(b"canary-access-2"));
    let (world, running) = killed(at).await;
    eventually(|| async { kinds(&world).iter().any(|(token, _)| token == "canary-refresh-2") }).await;
    until_no_row_waits(&world).await;
    assert!(!world.provider.knows(b"canary-access-2"));
    assert_eq!(told(&running, EventName::RevocationGivenUp), []);
    running.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_success_that_nobody_can_read_is_given_up_and_told() {
    let at = brought().await;
    at.world.provider.next(Act::Garble(r#"{"tokens":"elsewhere"}"#));
    let lines = [line(at.client, &at.world.provider.hands_out("dana"))];
    let flows = accepted(&bring(&at.world, &at.running, &lines).await);
    assert_eq!(ended(&at.world, &at.running, &flows).await, [Err("answer-lost".to_owned())]);
    let (world, running) = killed(at).await;
    eventually(|| async { !world.provider.revoked().is_empty() }).await;
    until_no_row_waits(&world).await;
    assert_eq!(told(&running, EventName::RevocationGivenUp), [Some("answer-unreadable".to_owned())]);
    running.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_cannot_be_read_keeps_no_other_from_being_revoked() {
    let world = world();
    let (running, _, connection) = connected(&world, None).await;
    world.provider.next_revocations(&BUSY, 9);
    world.remove(&running, connection).await;
    until_tried(&world, 1).await;
    running.end().await;
    world.provider.recovers();
    let first = "UPDATE revocation SET sealed = '{}', not_before = 0
         WHERE revocation_id = (SELECT min(revocation_id) FROM revocation)";
    assert_eq!(world.forge(first), 1);
    world.clock.forward(HOUR);
    let running = world.start().await;
    eventually(|| async { rows(&world) == "1" }).await;
    assert_eq!(told(&running, EventName::TokenRevoked), [None]);
    running.end().await;

    // Nor from being taken.
    let at = brought().await;
    held(&at, &["a", "b"]).await;
    let first = "UPDATE import SET token = '{}' WHERE flow_id = (SELECT min(flow_id) FROM import)";
    assert_eq!(at.world.forge(first), 1);
    let (world, running) = killed(at).await;
    eventually(|| async { world.provider.revoked().len() == 1 }).await;
    until_no_row_waits(&world).await;
    running.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_access_token_that_its_provider_does_not_revoke_is_left_to_its_end_without_an_alarm() {
    let world = world();
    let (running, _, connection) = connected(&world, None).await;
    running.end().await;
    world.forge("UPDATE generation SET refresh = NULL");
    let running = world.start().await;
    world.provider.next_revocations(&Act::Answer(400, &[], r#"{"error":"unsupported_token_type"}"#), 1);
    world.remove(&running, connection).await;
    until_no_row_waits(&world).await;
    assert_eq!(kinds(&world), first_tokens()[..1]);
    assert_eq!(told(&running, EventName::RevocationGivenUp), []);
    assert_eq!(told(&running, EventName::TokenRevoked), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_is_connected_again_keeps_its_old_tokens_from_being_revoked() {
    let world = world();
    let (running, client, connection) = connected(&world, None).await;
    world.provider.next_revocations(&BUSY, 9);
    world.remove(&running, connection).await;
    until_tried(&world, 1).await;
    let again = world.connect(&running, client, "dana", None).await.unwrap();
    world.provider.recovers();
    let before = world.provider.revoked().len();
    let running = restarted(&world, running, HOUR).await;
    until_tried(&world, 2).await;
    assert_eq!((world.provider.revoked().len(), rows(&world)), (before, "2".to_owned()));
    assert!(world.provider.knows(b"canary-access-2"));
    // When nobody lives on the account any more, everything of it ends.
    let running = restarted(&world, running, HOUR / 8).await;
    world.remove(&running, again).await;
    until_tried(&world, 1).await;
    let running = restarted(&world, running, HOUR).await;
    until_no_row_waits(&world).await;
    let revoked: BTreeSet<_> = world.provider.revoked().into_iter().map(|(token, _)| token).collect();
    assert!(
        ["canary-refresh-1", "canary-refresh-2"].iter().all(|token| revoked.contains(*token)),
        "{revoked:?}"
    );
    running.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_account_of_the_same_registration_is_left_in_peace() {
    let world = world();
    let (running, client, connection) = connected(&world, None).await;
    world.connect(&running, client, "erin", None).await.unwrap();
    world.remove(&running, connection).await;
    until_no_row_waits(&world).await;
    assert_eq!(kinds(&world), first_tokens());
    assert!(world.provider.knows(b"canary-access-2"));
    running.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_revoked_before_every_log_was_compared() {
    let world = world();
    let (running, _, connection) = connected(&world, None).await;
    world.provider.next_revocations(&BUSY, 9);
    world.remove(&running, connection).await;
    until_tried(&world, 1).await;
    running.end().await;
    world.provider.recovers();
    let (before, other) = (world.provider.revoked().len(), KeeperId::new(world.clock.now(), [9; 10]));
    world.forge(&format!("INSERT INTO keeper VALUES ('{other}', 0, 1)"));
    world.clock.forward(HOUR);
    let mut beside = world;
    beside.alone = false;
    let running = beside.start().await;
    let tried = || beside.look("SELECT group_concat(tries) FROM revocation");
    let at_first = tried();
    // tidy: sleeps because nothing shows when whoever revokes has looked
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert_eq!(tried(), at_first);
    assert_eq!(beside.provider.revoked().len(), before);
    beside.forge(&format!("UPDATE keeper SET compared = 1 WHERE keeper_id = '{other}'"));
    let running = restarted(&beside, running, HOUR).await;
    until_no_row_waits(&beside).await;
    running.end().await;
}

/// A database that was put back from before a later consent: only the log knows of it.
#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_only_the_log_knows_to_be_connected_again_is_left_in_peace() {
    for is_connected_again in [true, false] {
        let world = world();
        let (running, client, connection) = connected(&world, None).await;
        world.provider.next_revocations(&BUSY, 9);
        world.remove(&running, connection).await;
        until_tried(&world, 1).await;
        let running = restarted(&world, running, Duration::ZERO).await;
        world.forge(&format!("VACUUM INTO '{}'", world.path("backup.sqlite").display()));
        if is_connected_again {
            world.connect(&running, client, "dana", None).await.unwrap();
        }
        running.end().await;
        put_back(&world);
        world.provider.recovers();
        world.clock.forward(HOUR);
        let before = world.provider.revoked().len();
        let running = world.start().await;
        if is_connected_again {
            until_tried(&world, 2).await;
            assert_eq!(world.provider.revoked().len(), before);
            assert!(world.provider.knows(b"canary-access-2"));
        } else {
            until_no_row_waits(&world).await;
        }
        running.end().await;
    }
}

fn put_back(world: &World) {
    for side in ["db.sqlite-wal", "db.sqlite-shm"] {
        let _ = std::fs::remove_file(world.path(side));
    }
    std::fs::copy(world.path("backup.sqlite"), world.path("db.sqlite")).unwrap();
    let _ = std::fs::remove_dir_all(world.path("ledger"));
    world.forge("DELETE FROM ledger_head");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_kill_ended_gives_its_secrets_up_and_is_revoked_also_after_a_restart() {
    let world = world();
    let (running, client, _) = connected(&world, None).await;
    world.connect(&running, client, "erin", None).await.unwrap();
    running.store.kill(Kill::Tenant { tenant: world.tenant }, world.clock.now()).await.unwrap();
    assert_eq!(world.look("SELECT CAST(count(*) AS TEXT) FROM generation"), "2");
    let running = restarted(&world, running, Duration::ZERO).await;
    eventually(|| async { world.provider.revoked().len() == 4 }).await;
    until_no_row_waits(&world).await;
    assert_eq!(world.look("SELECT CAST(count(*) AS TEXT) FROM generation"), "0");
    assert!(!world.provider.knows(b"canary-access-1") && !world.provider.knows(b"canary-access-2"));
    running.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_refresh_brings_after_the_removal_is_revoked_as_well() {
    let world = world();
    let running = world.start().await;
    let ready = world.ready(&running).await;
    world.clock.forward(HOUR);
    let woken = world.wake(&running).await.unwrap();
    world.provider.next(Act::Late(Duration::from_millis(500)));
    let (gateway, grant, connection) = (woken, ready.grant, ready.connection);
    let leasing = async { gateway.lease(&running, grant, connection, 20_000).await };
    let removing = async {
        eventually(|| async { world.provider.token_calls() == 2 }).await;
        world.remove(&running, connection).await;
    };
    let (leased, ()) = tokio::join!(leasing, removing);
    assert!(leased.is_err());
    let came = || world.provider.revoked().into_iter().map(|(token, _)| token).collect::<BTreeSet<_>>();
    eventually(|| async { came().contains("canary-refresh-2") }).await;
    until_no_row_waits(&world).await;
    assert!(came().contains("canary-refresh-1"));
    assert_eq!(world.look("SELECT CAST(count(*) AS TEXT) FROM answer"), "0");
    running.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn our_secret_goes_to_no_endpoint_that_its_seal_does_not_name() {
    let mut world = world();
    let endpoint = std::mem::take(&mut world.profile_extra);
    let running = world.start().await;
    world.settle(&running).await;
    let client = world.client(&running, Some("hunter2")).await;
    running.end().await;
    world.profile_extra = endpoint;
    let running = world.start().await;
    let connection = world.connect(&running, client, "dana", None).await.unwrap();
    world.remove(&running, connection).await;
    until_tried(&world, 1).await;
    assert_eq!(world.provider.revoked(), []);
    running.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_was_changed_sends_nothing_anywhere() {
    let world = world();
    let (running, _, connection) = connected(&world, None).await;
    world.provider.next_revocations(&BUSY, 2);
    world.remove(&running, connection).await;
    until_tried(&world, 1).await;
    running.end().await;
    let before = world.provider.revoked().len();
    let changed = world.forge("UPDATE revocation SET sealed = replace(sealed, '/revoke', '/elsewhere')");
    assert_eq!(changed, 2);
    world.clock.forward(HOUR);
    let running = world.start().await;
    until_tried(&world, 2).await;
    // What is being sent then has come when it has ended.
    running.end().await;
    assert_eq!((world.provider.revoked().len(), world.provider.strayed()), (before, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_keepers_one_presents_a_token() {
    let mut world = world();
    world.alone = false;
    let (running, client, connection) = connected(&world, None).await;
    let ledger = running.ledger.clone();
    let beside = world.start_beside(&ledger, "spool-beside").await;
    world.forge("UPDATE keeper SET vouched = 1");
    let mut all = vec![connection];
    for account in ["erin", "finn", "gwen", "hugo", "iris"] {
        all.push(world.connect(&running, client, account, None).await.unwrap());
    }
    world.provider.next_revocations(&BUSY, 99);
    for connection in all {
        world.remove(&running, connection).await;
    }
    until_tried(&world, 1).await;
    for ended in [running, beside] {
        ended.keeper.stop().await;
    }
    world.provider.recovers();
    world.clock.forward(HOUR);
    let before = world.provider.revoked().len();
    world.provider.next_revocations(&Act::Late(Duration::from_millis(100)), 99);
    let both =
        tokio::join!(world.start_beside(&ledger, "spool"), world.start_beside(&ledger, "spool-beside"));
    assert_ne!(both.0.keeper.id(), both.1.keeper.id());
    until_no_row_waits(&world).await;
    let mut came = world.provider.revoked().split_off(before);
    let presented = came.len();
    came.sort();
    came.dedup();
    assert_eq!((presented, came.len()), (12, 12));
    for ended in [both.0, both.1] {
        ended.keeper.stop().await;
    }
    ledger.close().await.unwrap();
}
