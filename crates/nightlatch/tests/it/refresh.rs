//! Refresh on real providers: one refresh for any number of callers, kept alive while nobody calls, an end
//! that is told and mended by a human, and no canary anywhere.

use crate::world::{
    connect::{Granted, text},
    eventually,
    human::Browser,
    install::Install,
    provider::{Kind, Registration},
};
use http::{Method, StatusCode};
use serde_json::json;
use std::{sync::Arc, time::Duration};
use tokio::{sync::Barrier, task::JoinSet};

const TIMER_OFF: &str = "refresh_timer = \"off\"";
const TIMER_ON: &str = "refresh_timer = \"on\"";

/// An installation with one account connected and one agent that may use it.
struct World {
    install: Install,
    registration: Registration,
    browser: Browser,
    granted: Granted,
    kind: Kind,
}

impl World {
    async fn new(kind: Kind, keeper: &str, username: &str, access_secs: u32) -> Self {
        let install = Install::with_provider(kind, keeper).await;
        let registration = install.register(kind, username, access_secs).await;
        let mut browser = registration.browser();
        let connected = install.connect(&registration, &mut browser, &[]).await.json();
        assert_eq!(text(&connected["connection"], "label"), registration.username);
        let granted = install.granted("worker", &format!("{}:read", kind.tool())).await;
        Self { install, registration, browser, granted, kind }
    }

    fn me(&self) -> String {
        format!("/{}{}", self.kind.tool(), self.kind.me())
    }

    async fn call(&self) -> crate::world::http::Answer {
        self.granted.agent.get(&self.me(), &self.granted.reference).await
    }
}

async fn two_hundred_calls_at_expiry_refresh_once(kind: Kind, username: &str) {
    let world = World::new(kind, TIMER_OFF, username, 30).await;
    assert_eq!(world.call().await.status, StatusCode::OK);
    world.registration.until_the_token_died().await;
    let before = world.registration.counters().await;

    let world = Arc::new(world);
    let barrier = Arc::new(Barrier::new(200));
    let mut calls = JoinSet::new();
    for _ in 0..200 {
        let (world, barrier) = (world.clone(), barrier.clone());
        calls.spawn(async move {
            let mut line = world.granted.agent.connect().await;
            barrier.wait().await;
            let bearer = format!("Bearer {}", world.granted.reference);
            let headers = [("authorization", bearer.as_str())];
            world.granted.agent.call_on(&mut line, Method::GET, &world.me(), &headers, "").await
        });
    }
    for answer in calls.join_all().await {
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        assert_eq!(answer.json::<serde_json::Value>()["login"], json!(world.registration.username));
    }
    let after = world.registration.counters().await;
    assert_eq!(after.refreshes_ok - before.refreshes_ok, 1, "{after:?}");
    assert_eq!(after.token_requests - before.token_requests, 1, "{after:?}");
    after.expect_the_family_lives();

    // The family lives: the next expiry is survived as well.
    world.registration.until_the_token_died().await;
    assert_eq!(world.call().await.status, StatusCode::OK);
    world.registration.counters().await.expect_the_family_lives();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_calls_at_expiry_refresh_once_at_oidc_provider() {
    two_hundred_calls_at_expiry_refresh_once(Kind::Oidc, "crowd-oidc").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_calls_at_expiry_refresh_once_at_django_without_grace() {
    two_hundred_calls_at_expiry_refresh_once(Kind::Dot0, "crowd-dot0").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_calls_at_expiry_refresh_once_at_django_with_grace() {
    two_hundred_calls_at_expiry_refresh_once(Kind::Dot30, "crowd-dot30").await;
}

async fn the_timer_keeps_an_idle_connection_alive(kind: Kind, username: &str) {
    let access_secs = 6;
    let world = World::new(kind, TIMER_ON, username, access_secs).await;
    assert_eq!(world.call().await.status, StatusCode::OK);
    let first = world.registration.counters().await;
    // Five access-token lives in which nobody calls: the provider counts at least five refreshes.
    let lives = Duration::from_secs(u64::from(access_secs) * 5);
    eventually("five refreshes without a call", lives * 2, async || {
        (world.registration.counters().await.refreshes_ok >= first.refreshes_ok + 5).then_some(())
    })
    .await;
    let idle = world.registration.counters().await;
    let answer = world.call().await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    idle.expect_the_family_lives();
    assert_eq!(text(&world.install.only_connection(), "state"), "healthy");
}

#[tokio::test]
async fn the_timer_keeps_an_idle_connection_alive_at_oidc_provider() {
    the_timer_keeps_an_idle_connection_alive(Kind::Oidc, "idle-oidc").await;
}

#[tokio::test]
async fn the_timer_keeps_an_idle_connection_alive_at_django_without_grace() {
    the_timer_keeps_an_idle_connection_alive(Kind::Dot0, "idle-dot0").await;
}

#[tokio::test]
async fn the_timer_keeps_an_idle_connection_alive_at_django_with_grace() {
    the_timer_keeps_an_idle_connection_alive(Kind::Dot30, "idle-dot30").await;
}

async fn a_revoked_connection_waits_for_its_human(kind: Kind, username: &str, repeats: u32) {
    let mut world = World::new(kind, TIMER_ON, username, 10).await;
    assert_eq!(world.call().await.status, StatusCode::OK);
    world.registration.revoke().await;

    // Within one access-token life; until then at worst the tool's own 401.
    let refusal = eventually("the refusal is typed", Duration::from_secs(11), async || {
        let answer = world.call().await;
        if answer.status == StatusCode::UNAUTHORIZED {
            return None;
        }
        assert_eq!(answer.status, StatusCode::FAILED_DEPENDENCY, "{}", answer.text());
        Some(answer)
    })
    .await;
    assert_eq!(refusal.problem(), "reauth-required");
    let body: serde_json::Value = refusal.json();
    assert!(body["ticket"].as_str().is_some_and(|ticket| ticket.starts_with("tkt_")), "{body}");
    assert_eq!(body["retryable"], json!(false));

    let before = world.registration.counters().await.token_requests;
    let mut line = world.granted.agent.connect().await;
    let bearer = format!("Bearer {}", world.granted.reference);
    for _ in 0..repeats {
        let headers = [("authorization", bearer.as_str())];
        let answer = world.granted.agent.call_on(&mut line, Method::GET, &world.me(), &headers, "").await;
        assert!(matches!(answer.status.as_u16(), 424 | 429), "{}", answer.text());
    }
    assert_eq!(
        world.registration.counters().await.token_requests,
        before,
        "a repeat reached the token endpoint"
    );

    let sick = world.install.only_connection();
    assert_eq!(text(&sick, "state"), "needs-you");
    let id = text(&sick, "id");

    // Another account is refused, and nothing changes.
    let mut foreign = other_account(&world, username).await;
    let refused = world.install.connect(&world.registration, &mut foreign, &["--reconnect", &id]).await;
    assert!(!refused.status.success(), "another account was taken: {}", refused.stdout);
    assert!(refused.page.is_some_and(|page| !page.is_success()), "the human was told that it worked");
    assert_eq!(world.call().await.problem(), "reauth-required");

    let again =
        world.install.connect(&world.registration, &mut world.browser, &["--reconnect", &id]).await.json();
    assert_eq!(text(&again["connection"], "id"), id);
    let answer = world.call().await;
    assert_eq!(answer.status, StatusCode::OK, "the same reference works again: {}", answer.text());
}

/// A human with another account at the same provider.
async fn other_account(world: &World, username: &str) -> Browser {
    let redirect_uri = &world.registration.redirect_uri;
    Registration::new(world.kind, redirect_uri, &format!("{username}-other"), 10).await.browser()
}

#[tokio::test]
async fn a_revoked_connection_waits_for_its_human_at_oidc_provider() {
    a_revoked_connection_waits_for_its_human(Kind::Oidc, "revoked-oidc", 10_000).await;
}

#[tokio::test]
async fn a_revoked_connection_waits_for_its_human_at_django_without_grace() {
    a_revoked_connection_waits_for_its_human(Kind::Dot0, "revoked-dot0", 500).await;
}

#[tokio::test]
async fn a_revoked_connection_waits_for_its_human_at_django_with_grace() {
    a_revoked_connection_waits_for_its_human(Kind::Dot30, "revoked-dot30", 500).await;
}
