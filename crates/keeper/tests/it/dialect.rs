//! A provider whose token endpoint speaks in its own way is kept alive by what its profile says, and by nothing else.

use crate::{
    provider::{Act, ODD, Provider},
    world::World,
};
use nightlatch_domain::ports::gateway_keeper::KeeperRefusal;
use nightlatch_ledger::{
    read::{Filter, tail},
    record::{Entry, EventName},
};
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);

fn odd() -> World {
    let provider = Provider::start();
    provider.speaks_oddly();
    let refreshes = format!("{}\nrefresh_idle_ttl_secs = 3000\n{ODD}", refreshes_at(&provider));
    World::with_provider(provider, &refreshes)
}

fn refreshes_at(provider: &Provider) -> String {
    format!("refresh_endpoint = \"http://127.0.0.1:{}/refresh\"", provider.port())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registration_is_used_only_at_the_addresses_that_it_was_brought_for() {
    let mut world = World::new();
    let running = world.start().await;
    world.settle(&running).await;
    let client = world.client(&running, Some("client-secret")).await;
    assert!(world.may_begin(&running, client, None, "tool").await.is_ok());
    running.end().await;
    world.profile_extra = refreshes_at(&world.provider);
    let running = world.start().await;
    assert!(world.may_begin(&running, client, None, "tool").await.is_err());
    let again = world.client(&running, Some("client-secret")).await;
    assert!(world.may_begin(&running, again, None, "tool").await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_speaks_oddly_is_connected_and_refreshed() {
    let world = odd();
    let running = world.start().await;
    let ready = world.ready(&running).await;
    assert_eq!(world.provider.last_path(), "/token");
    for _ in 0..3 {
        world.clock.forward(HOUR);
        let woken = world.wake(&running).await.unwrap();
        let lease = woken.lease(&running, ready.grant, ready.connection, 20_000).await.unwrap();
        assert!(world.provider.knows(lease.secret.expose()));
        assert_eq!(world.provider.last_path(), "/refresh");
        assert_eq!(world.provider.last_field("audience").as_deref(), Some("mail"));
    }
    assert_eq!((world.provider.refreshes(), world.provider.most_presented()), (3, 1));
    let lives = "SELECT ((access_until - created_at) / 1000) || ' ' || ((refresh_until - created_at) / 1000)
                 FROM generation ORDER BY number DESC LIMIT 1";
    assert_eq!(world.look(lives), "3600 2592000");
    // What it tells of its end outweighs what is usual.
    let is_by_access = "SELECT CAST((due_at - refreshed_at) / 1000 BETWEEN 2800 AND 3600 AS TEXT) FROM chain";
    assert_eq!(world.look(is_by_access), "1");
    world.provider.revoke_all();
    world.clock.forward(HOUR);
    let woken = world.wake(&running).await.unwrap();
    let refusal = woken.lease(&running, ready.grant, ready.connection, 20_000).await.unwrap_err();
    assert!(matches!(refusal, KeeperRefusal::ReauthRequired { ticket: Some(_) }), "{refusal:?}");
    assert_eq!(world.look("SELECT state || ' ' || reason FROM chain"), "latched GRANT_GONE");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_profile_nothing_of_such_an_answer_is_taken_for_tokens() {
    let world = World::new();
    let running = world.start().await;
    let ready = world.ready(&running).await;
    world.provider.speaks_oddly();
    world.clock.forward(HOUR);
    let woken = world.wake(&running).await.unwrap();
    let refusal = woken.lease(&running, ready.grant, ready.connection, 20_000).await.unwrap_err();
    assert!(matches!(refusal, KeeperRefusal::ReauthRequired { ticket: Some(_) }), "{refusal:?}");
    assert_eq!(world.look("SELECT state || ' ' || reason FROM chain"), "uncertain access-token-missing");
    assert_eq!(world.provider.most_presented(), 1);
}

/// What the ledger was told of profiles that do not hold.
fn contradictions(world: &World) -> Vec<String> {
    let filter = Filter { event: Some(EventName::ProfileContradicted), ..Filter::default() };
    let told = tail(&world.path("ledger"), 100, &filter).unwrap();
    let reason = |entry| match entry {
        Entry::Event(event) => event.reason.unwrap_or_default(),
        other => panic!("{other:?}"),
    };
    told.into_iter().map(|record| reason(record.entry)).collect()
}

/// Refreshes often, and answers what the ledger was told of it.
async fn told_of(profile: &str, rotates: bool) -> Vec<String> {
    let provider = Provider::start();
    provider.access_life(1200);
    let world = World::with_provider(provider, profile);
    let running = world.start().await;
    let ready = world.ready(&running).await;
    for _ in 0..3 {
        world.clock.forward(HOUR);
        let woken = world.wake(&running).await.unwrap();
        if !rotates {
            world.provider.next(Act::KeepRefresh);
        }
        let lease = woken.lease(&running, ready.grant, ready.connection, 20_000).await.unwrap();
        assert!(world.provider.knows(lease.secret.expose()));
    }
    assert_eq!(world.provider.refreshes(), 3);
    running.end().await;
    contradictions(&world)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_that_does_not_hold_is_told_of_once_a_family() {
    assert_eq!(told_of("access_ttl_default_secs = 3600", true).await, ["access-token-ends-sooner"]);
    assert_eq!(told_of("", false).await, ["not-rotated"]);
    assert_eq!(told_of("access_ttl_default_secs = 1200", true).await, [""; 0]);
}
