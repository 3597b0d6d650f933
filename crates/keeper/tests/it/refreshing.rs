//! One refresh for everybody, ahead of time, and never twice.

use crate::{
    provider::Act,
    world::{Ready, Running, Woken, World, eventually},
};
use nightlatch_domain::{
    connection::Health,
    ports::{
        Boxed,
        control_keeper::{ControlReply, ControlRequest},
        gateway_keeper::{GatewayReply, GatewayRequest, KeeperRefusal},
        store::ControlStore,
    },
};
use nightlatch_keeper::{Watch, machine::Action};
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::time::Instant;

const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_waiters_refresh_once() {
    let world = World::new();
    let running = world.start().await;
    let ready = world.ready(&running).await;
    world.clock.forward(HOUR);
    let woken = world.wake(&running).await.unwrap();
    world.provider.next(Act::Late(Duration::from_millis(300)));
    let asked = (0..200).map(|_| woken.lease(&running, ready.grant, ready.connection, 20_000));
    let leases: Vec<_> = futures(asked).await;
    assert_eq!((world.provider.refreshes(), world.provider.reuses()), (1, 0));
    for lease in leases {
        let lease = lease.unwrap();
        assert!(world.provider.knows(lease.secret.expose()));
        assert_eq!(lease.lease.binding.generation, 2);
    }
}

/// All at once, and each one's result.
async fn futures<T>(all: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut all: Vec<_> = all.map(Box::pin).collect();
    let mut results: Vec<Option<T>> = all.iter().map(|_| None).collect();
    std::future::poll_fn(|cx| {
        for (future, result) in all.iter_mut().zip(&mut results) {
            if result.is_none()
                && let std::task::Poll::Ready(done) = future.as_mut().poll(cx)
            {
                *result = Some(done);
            }
        }
        if results.iter().all(Option::is_some) {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
    results.into_iter().flatten().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_leaves_cancels_nothing() {
    let world = World::new();
    let running = world.start().await;
    let ready = world.ready(&running).await;
    world.clock.forward(HOUR);
    let woken = world.wake(&running).await.unwrap();
    world.provider.next(Act::Late(Duration::from_millis(500)));
    {
        let asked = woken.lease(&running, ready.grant, ready.connection, 20_000);
        let left = tokio::time::timeout(Duration::from_millis(100), asked).await;
        assert!(left.is_err(), "the caller left before the answer");
    }
    let impatient = woken.lease(&running, ready.grant, ready.connection, 10).await;
    assert!(matches!(impatient, Err(KeeperRefusal::Pending { .. })));
    eventually(|| async {
        world.health(&running).await.refreshed_at == Some(nightlatch_domain::clock::Clock::now(&*world.clock))
    })
    .await;
    assert!(woken.lease(&running, ready.grant, ready.connection, 0).await.is_ok());
    assert_eq!((world.provider.refreshes(), world.provider.reuses()), (1, 0));
}

/// Begins a refresh whose answer comes late, and leaves it under way.
async fn slow_refresh(world: &World, running: &Running, ready: &Ready) -> Woken {
    world.clock.forward(HOUR);
    let woken = world.wake(running).await.unwrap();
    world.provider.next(Act::Late(Duration::from_millis(700)));
    let impatient = woken.lease(running, ready.grant, ready.connection, 20).await;
    assert!(matches!(impatient, Err(KeeperRefusal::Pending { .. })));
    eventually(|| async { world.provider.refreshes() == 1 }).await;
    woken
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removal_during_a_refresh_wins() {
    let world = World::new();
    let running = world.start().await;
    let ready = world.ready(&running).await;
    let woken = slow_refresh(&world, &running, &ready).await;
    let ask = ControlRequest::Remove { tenant: world.tenant, connection: ready.connection };
    assert_eq!(running.control.ask(ask).await, Ok(ControlReply::Done));
    running.keeper.stop().await;
    let refusal = woken.lease(&running, ready.grant, ready.connection, 0).await.unwrap_err();
    assert_eq!(refusal, KeeperRefusal::GrantEnded);
    assert_eq!(world.look("SELECT CAST(count(*) AS TEXT) FROM generation"), "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reconnect_during_a_refresh_wins_and_stays() {
    let world = World::new();
    let running = world.start().await;
    let ready = world.ready(&running).await;
    let woken = slow_refresh(&world, &running, &ready).await;
    world.connect(&running, ready.client, "dana", Some(ready.connection)).await.unwrap();
    let newest = world.look("SELECT family_id FROM chain");
    running.keeper.stop().await;
    assert_eq!(world.look("SELECT family_id || ' ' || state FROM chain"), format!("{newest} healthy"));
    let lease = woken.lease(&running, ready.grant, ready.connection, 0).await.unwrap();
    assert_eq!(lease.lease.binding.family.unwrap().to_string(), newest);
    assert!(world.provider.knows(lease.secret.expose()));
    assert_eq!(world.provider.reuses(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_timer_keeps_a_connection_alive_that_nobody_uses() {
    let mut world = World::with(true, "");
    world.timer = true;
    world.provider.access_life(2);
    let running = world.start().await;
    let ready = world.ready(&running).await;
    eventually(|| async { world.provider.refreshes() >= 5 }).await;
    let lease = ready.lease(&running).await.unwrap();
    assert!(world.provider.knows(lease.secret.expose()));
    assert_eq!((world.provider.reuses(), world.provider.most_presented()), (0, 1));
}

/// When claims were asked for.
#[derive(Default)]
struct Claims(Mutex<Vec<Instant>>);

impl Watch for Claims {
    fn before(&self, action: &Action) -> Boxed<'_, ()> {
        if *action == Action::Claim {
            self.0.lock().unwrap().push(Instant::now());
        }
        Box::pin(std::future::ready(()))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_timer_asks_a_store_that_refuses_ever_more_slowly() {
    let mut world = World::new();
    world.timer = true;
    let running = world.start().await;
    world.ready(&running).await;
    running.end().await;
    world.clock.forward(HOUR);
    world.forge(
        "CREATE TRIGGER refuses BEFORE UPDATE ON chain WHEN NEW.state = 'refreshing'
         BEGIN SELECT RAISE(FAIL, 'refused'); END",
    );
    let claims = Arc::new(Claims::default());
    let running = world.start_with(Arc::clone(&claims) as Arc<dyn Watch>).await.unwrap();
    eventually(|| async { claims.0.lock().unwrap().len() >= 6 }).await;
    let asked = claims.0.lock().unwrap().clone();
    let pause = asked[5].duration_since(asked[4]);
    assert!(pause >= Duration::from_millis(600), "{pause:?}");
    assert_eq!(world.provider.refreshes(), 0);
    // When it is back, so is the timer.
    world.forge("DROP TRIGGER refuses");
    eventually(|| async { world.provider.refreshes() == 1 }).await;
    running.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_claim_has_an_owner_of_its_own() {
    let world = World::new();
    let running = world.start().await;
    let ready = world.ready(&running).await;
    for _ in 0..3 {
        world.clock.forward(HOUR);
        let woken = world.wake(&running).await.unwrap();
        woken.lease(&running, ready.grant, ready.connection, 20_000).await.unwrap();
    }
    // A claim that a restored database brings back is nobody's who works now.
    assert_eq!(world.look("SELECT CAST(count(DISTINCT owner_id) AS TEXT) FROM attempt"), "3");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_latched_chain_makes_no_token_call() {
    let world = World::new();
    let running = world.start().await;
    let ready = world.ready(&running).await;
    world.provider.revoke_all();
    world.clock.forward(HOUR);
    let woken = world.wake(&running).await.unwrap();
    let first = woken.lease(&running, ready.grant, ready.connection, 20_000).await.unwrap_err();
    let KeeperRefusal::ReauthRequired { ticket: Some(ticket) } = first else { panic!("{first:?}") };
    let calls = world.provider.token_calls();
    for _ in 0..10_000 / 50 {
        let asked = (0..50).map(|_| woken.lease(&running, ready.grant, ready.connection, 20_000));
        for refusal in futures(asked).await {
            assert_eq!(refusal.unwrap_err(), KeeperRefusal::ReauthRequired { ticket: Some(ticket) });
        }
    }
    assert_eq!(world.provider.token_calls(), calls);
    let tickets = running.store.tickets(world.tenant).await.unwrap();
    let why: Vec<_> = tickets.iter().map(|ticket| (ticket.reason.as_str(), ticket.era)).collect();
    assert_eq!(why, [("invalid_grant", None)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reconnect_heals_a_latched_chain_and_the_same_grant_goes_on() {
    let world = World::new();
    let running = world.start().await;
    let ready = world.ready(&running).await;
    world.provider.revoke_all();
    world.clock.forward(HOUR);
    let woken = world.wake(&running).await.unwrap();
    assert!(woken.lease(&running, ready.grant, ready.connection, 20_000).await.is_err());
    let again = world.connect(&running, ready.client, "dana", Some(ready.connection)).await.unwrap();
    assert_eq!(again, ready.connection);
    let lease = woken.lease(&running, ready.grant, ready.connection, 20_000).await.unwrap();
    assert!(world.provider.knows(lease.secret.expose()));
    assert_eq!(world.health(&running).await.health, Health::Healthy);
    assert!(running.store.tickets(world.tenant).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_is_presented_never_again_and_a_human_is_asked() {
    for lost in [Act::Vanish, Act::Garble("<html>"), Act::Answer(502, &[], "bad gateway")] {
        let world = World::new();
        let running = world.start().await;
        let ready = world.ready(&running).await;
        world.clock.forward(HOUR);
        let woken = world.wake(&running).await.unwrap();
        world.provider.next(lost);
        for _ in 0..5 {
            let refusal = woken.lease(&running, ready.grant, ready.connection, 20_000).await.unwrap_err();
            assert!(matches!(refusal, KeeperRefusal::ReauthRequired { ticket: Some(_) }), "{refusal:?}");
        }
        assert!(world.provider.most_presented() <= 1 && world.provider.reuses() == 0);
        assert!(world.needs_human(&running).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_uncertain_chain_serves_its_living_access_token() {
    let world = World::new();
    let running = world.start().await;
    let ready = world.ready(&running).await;
    world.clock.forward(Duration::from_secs(120));
    world.provider.probe_answers(Some(401));
    world.provider.next(Act::Vanish);
    report(&world, &running, &ready, 1).await;
    eventually(|| async { world.needs_human(&running).await }).await;
    let lease = ready.lease(&running).await.unwrap();
    assert_eq!(lease.lease.binding.generation, 1);
    world.clock.forward(HOUR);
    let woken = world.wake(&running).await.unwrap();
    let refusal = woken.lease(&running, ready.grant, ready.connection, 20_000).await.unwrap_err();
    assert!(matches!(refusal, KeeperRefusal::ReauthRequired { ticket: Some(_) }), "{refusal:?}");
    assert_eq!(world.provider.most_presented(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_before_processing_is_waited_out_and_tried_again() {
    let world = World::new();
    let running = world.start().await;
    let ready = world.ready(&running).await;
    world.clock.forward(HOUR);
    let woken = world.wake(&running).await.unwrap();
    world.provider.next(Act::Answer(429, &[("retry-after", "120")], "{}"));
    let refusal = woken.lease(&running, ready.grant, ready.connection, 20_000).await.unwrap_err();
    assert!(matches!(refusal, KeeperRefusal::Pending { retry_after_secs: 120..=130 }), "{refusal:?}");
    // Impatience costs the provider nothing.
    let calls = world.provider.token_calls();
    for _ in 0..20 {
        assert!(woken.lease(&running, ready.grant, ready.connection, 20_000).await.is_err());
    }
    assert_eq!(world.provider.token_calls(), calls);
    world.clock.forward(Duration::from_secs(130));
    let lease = woken.lease(&running, ready.grant, ready.connection, 20_000).await.unwrap();
    assert!(world.provider.knows(lease.secret.expose()));
    assert_eq!(world.provider.most_presented(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_verified_as_unprocessed_is_uncertain_and_not_presented_again() {
    // A proxy before the provider may say either, after the provider consumed the token.
    let lists =
        "not_processed_errors = [\"slow_down\"]\nclient_errors = [\"invalid_client\", \"invalid_request\"]";
    for (code, answer) in
        [("slow_down", r#"{"error":"slow_down"}"#), ("invalid_request", r#"{"error":"invalid_request"}"#)]
    {
        let world = World::with(false, lists);
        let running = world.start().await;
        let ready = world.ready(&running).await;
        world.clock.forward(HOUR);
        let woken = world.wake(&running).await.unwrap();
        world.provider.next(Act::Answer(400, &[], answer));
        let calls = world.provider.token_calls();
        for _ in 0..5 {
            let refusal = woken.lease(&running, ready.grant, ready.connection, 20_000).await.unwrap_err();
            assert!(matches!(refusal, KeeperRefusal::ReauthRequired { ticket: Some(_) }), "{refusal:?}");
            world.clock.forward(Duration::from_secs(600));
        }
        assert_eq!(world.look("SELECT state || ' ' || reason FROM chain"), format!("uncertain {code}"));
        assert_eq!(world.provider.token_calls(), calls + 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_registration_stops_all_its_chains_with_one_incident() {
    let world = World::new();
    let running = world.start().await;
    let ready = world.ready(&running).await;
    let second = world.connect(&running, ready.client, "erin", None).await.unwrap();
    let grant = world.grant(&running, second).await;
    world.clock.forward(HOUR);
    let woken = world.wake(&running).await.unwrap();
    world.provider.next(Act::Answer(401, &[], r#"{"error":"invalid_client"}"#));
    let first = woken.lease(&running, ready.grant, ready.connection, 20_000).await.unwrap_err();
    assert!(matches!(first, KeeperRefusal::ReauthRequired { ticket: Some(_) }), "{first:?}");
    let calls = world.provider.token_calls();
    let other = woken.lease(&running, grant, second, 20_000).await.unwrap_err();
    assert_eq!(other, first);
    assert_eq!(world.provider.token_calls(), calls);
    assert_eq!(running.store.tickets(world.tenant).await.unwrap().len(), 1);
    // An hour later one tries, and its success frees both.
    world.clock.forward(HOUR + Duration::from_secs(60));
    let woken = world.wake(&running).await.unwrap();
    assert!(woken.lease(&running, ready.grant, ready.connection, 20_000).await.is_ok());
    eventually(|| async {
        world.clock.forward(Duration::from_secs(5));
        woken.lease(&running, grant, second, 20_000).await.is_ok()
    })
    .await;
    assert_eq!(world.provider.reuses(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_that_swallows_answers_costs_a_few_families_and_not_all() {
    let world = World::new();
    let running = world.start().await;
    let ready = world.ready(&running).await;
    let mut all = vec![(ready.connection, ready.grant)];
    for number in 1..20 {
        let account = format!("account-{number}");
        world.forge("UPDATE connection SET name = 'n' || lower(hex(randomblob(6)))");
        let connection = world.connect(&running, ready.client, &account, None).await.unwrap();
        all.push((connection, world.grant(&running, connection).await));
    }
    world.clock.forward(HOUR);
    let woken = world.wake(&running).await.unwrap();
    (0..20).for_each(|_| world.provider.next(Act::Garble("<html>")));
    let asked = all.iter().map(|(connection, grant)| woken.lease(&running, *grant, *connection, 20_000));
    assert!(futures(asked).await.iter().all(Result::is_err));
    let lost = "SELECT CAST(count(*) AS TEXT) FROM chain WHERE state = 'uncertain'";
    let lost: usize = world.look(lost).parse().unwrap();
    assert!((1..=8).contains(&lost), "{lost}");
    // One finds out that it is over, and all the others go on.
    world.provider.recovers();
    eventually(|| async {
        world.clock.forward(Duration::from_secs(20));
        let woken = world.wake(&running).await.unwrap();
        let asked = all.iter().map(|(connection, grant)| woken.lease(&running, *grant, *connection, 20_000));
        futures(asked).await.iter().filter(|lease| lease.is_ok()).count() == 20 - lost
    })
    .await;
    assert_eq!((world.provider.reuses(), world.provider.most_presented()), (0, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_token_that_is_not_replaced_is_kept() {
    let world = World::new();
    let running = world.start().await;
    let ready = world.ready(&running).await;
    for round in 2..5 {
        world.provider.next(Act::KeepRefresh);
        world.clock.forward(HOUR);
        let woken = world.wake(&running).await.unwrap();
        let lease = woken.lease(&running, ready.grant, ready.connection, 20_000).await.unwrap();
        assert_eq!(lease.lease.binding.generation, round);
    }
    assert_eq!(world.provider.refreshes(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn running_calls_are_drained_only_where_the_old_token_dies() {
    for (extra, drains) in [("old_access = \"dies\"", 1), ("old_access = \"survives\"", 0)] {
        let mut world = World::with(true, extra);
        world.timer = true;
        world.provider.access_life(4);
        let running = world.start().await;
        world.ready(&running).await;
        eventually(|| async { world.provider.refreshes() >= 1 }).await;
        assert!(world.drained.0.lock().unwrap().len() >= drains, "{extra}");
        assert!(drains == 1 || world.drained.0.lock().unwrap().is_empty(), "{extra}");
    }
}

/// Reports a 401, and waits until whatever follows from it is over.
async fn report(world: &World, running: &Running, ready: &Ready, generation: u64) {
    let metrics = tokio::runtime::Handle::current().metrics();
    let before = metrics.num_alive_tasks();
    let ask = GatewayRequest::Unauthorized {
        tenant: world.tenant,
        wake: ready.woken.wake,
        connection: ready.connection,
        generation,
    };
    assert_eq!(running.gateway.ask(ask).await.unwrap(), GatewayReply::Done);
    eventually(|| async { metrics.num_alive_tasks() <= before }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_401_refreshes_only_a_grown_current_generation_that_the_tool_refuses_too() {
    let world = World::new();
    let running = world.start().await;
    let ready = world.ready(&running).await;
    let probes = world.provider.probes();
    world.provider.probe_answers(Some(401));
    // Young, or of another generation: not even asked about.
    report(&world, &running, &ready, 1).await;
    world.clock.forward(Duration::from_secs(120));
    report(&world, &running, &ready, 7).await;
    assert_eq!(world.provider.probes(), probes);
    // The tool takes it: the agent asked for something that nobody may.
    world.provider.probe_answers(None);
    report(&world, &running, &ready, 1).await;
    assert_eq!((world.provider.probes(), world.provider.refreshes()), (probes + 1, 0));
    // The tool refuses it too.
    world.provider.probe_answers(Some(401));
    world.clock.forward(Duration::from_secs(120));
    report(&world, &running, &ready, 1).await;
    assert_eq!((world.provider.probes(), world.provider.refreshes()), (probes + 2, 1));
    // From here on it is rare, however often it is reported.
    world.clock.forward(Duration::from_secs(90));
    for _ in 0..50 {
        report(&world, &running, &ready, 2).await;
    }
    assert_eq!((world.provider.probes(), world.provider.refreshes()), (probes + 2, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_revoked_is_found_out_by_the_first_401() {
    let world = World::new();
    let running = world.start().await;
    let ready = world.ready(&running).await;
    world.provider.revoke_all();
    world.clock.forward(Duration::from_secs(120));
    report(&world, &running, &ready, 1).await;
    eventually(|| async { world.needs_human(&running).await }).await;
    assert!(matches!(ready.lease(&running).await, Err(KeeperRefusal::ReauthRequired { ticket: Some(_) })));
    // Nor does a later 401 lead anywhere but to the human who was asked.
    let calls = world.provider.token_calls();
    world.clock.forward(Duration::from_secs(600));
    report(&world, &running, &ready, 1).await;
    running.keeper.stop().await;
    assert_eq!(world.provider.token_calls(), calls);
    assert_eq!(world.look("SELECT state || ' ' || reason FROM chain"), "latched invalid_grant");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_secret_reaches_the_provider_and_nobody_else() {
    let world = World::new();
    let running = world.start().await;
    world.settle(&running).await;
    let client = world.client(&running, Some("canary-client-secret\n")).await;
    world.connect(&running, client, "dana", None).await.unwrap();
    // base64 of `our-id:canary-client-secret`.
    let sent = world.provider.last_authorization().unwrap();
    assert_eq!(sent, "Basic b3VyLWlkOmNhbmFyeS1jbGllbnQtc2VjcmV0");
    running.end().await;
    no_canary_in(world.folder.path());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_that_is_over_when_it_is_told_starts_no_storm() {
    let world = World::new();
    world.provider.access_life(0);
    let running = world.start().await;
    let ready = world.ready(&running).await;
    for _ in 0..5 {
        assert!(ready.lease(&running).await.is_ok());
    }
    assert_eq!(world.provider.refreshes(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_reckoned_by_a_clock_that_was_ahead_is_found_out_anew() {
    let world = World::new();
    world.clock.wall_ahead(Duration::from_secs(100 * 86_400));
    let running = world.start().await;
    let ready = world.ready(&running).await;
    world.clock.wall_ahead(Duration::ZERO);
    let woken = world.wake(&running).await.unwrap();
    let lease = woken.lease(&running, ready.grant, ready.connection, 20_000).await.unwrap();
    assert_eq!(lease.lease.binding.generation, 2);
    // Once: the new head is of this time.
    assert!(woken.lease(&running, ready.grant, ready.connection, 20_000).await.is_ok());
    assert_eq!((world.provider.refreshes(), world.provider.reuses()), (1, 0));
    assert_eq!(world.look("SELECT CAST((due_at - refreshed_at) / 3600000 AS TEXT) FROM chain"), "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_timer_that_was_set_by_a_clock_that_was_ahead_is_set_anew() {
    let mut world = World::new();
    world.timer = true;
    world.clock.wall_ahead(Duration::from_secs(100 * 86_400));
    let running = world.start().await;
    let ready = world.ready(&running).await;
    world.clock.wall_ahead(Duration::ZERO);
    // Another connection only makes the timer look at once.
    world.connect(&running, ready.client, "erin", None).await.unwrap();
    eventually(|| async { world.provider.refreshes() == 1 }).await;
    assert_eq!(world.provider.reuses(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_quotes_what_was_presented_has_it_written_nowhere() {
    let world = World::new();
    let running = world.start().await;
    let ready = world.ready(&running).await;
    world.clock.forward(HOUR);
    let woken = world.wake(&running).await.unwrap();
    world.provider.next(Act::Answer(400, &[], r#"{"error":"canary-refresh-1"}"#));
    assert!(woken.lease(&running, ready.grant, ready.connection, 20_000).await.is_err());
    assert_eq!(world.look("SELECT reason FROM chain"), "error-not-registered");
    running.end().await;
    no_canary_in(world.folder.path());
}

/// Every file of the folder, the database and its log among them.
fn no_canary_in(folder: &std::path::Path) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            no_canary_in(&path);
        } else {
            let bytes = std::fs::read(&path).unwrap();
            assert!(!bytes.windows(7).any(|window| window == b"canary-"), "{}", path.display());
        }
    }
}
