//! What is removed ends at its provider too: the provider itself refuses every token that it gave out for that account, and no
//! other's.

use crate::world::{
    eventually,
    human::Browser,
    install::Install,
    provider::{Kind, Registration},
    rotating::{Rotating, TIMER_OFF},
    served::Told,
};
use std::time::Duration;

/// Nothing dies of age here.
const ACCESS_SECS: u32 = 3600;
const WITHIN: Duration = Duration::from_secs(60);

/// The provider answers none of these access tokens any more, and refreshes with none of these refresh tokens.
async fn until_revoked(registration: &Registration, tokens: &[String]) {
    eventually("the provider knows none of these access tokens", WITHIN, async || {
        for token in tokens {
            if registration.ask_resource(token).await.status.is_success() {
                return None;
            }
        }
        Some(())
    })
    .await;
    for token in tokens {
        assert!(!registration.refreshes(token).await, "a refresh token outlived its connection");
    }
}

async fn is_any_alive(registration: &Registration, tokens: &[String]) -> bool {
    for token in tokens {
        if registration.ask_resource(token).await.status.is_success() {
            return true;
        }
    }
    false
}

async fn a_removed_connections_tokens_are_worth_nothing_at(kind: Kind) {
    let install = Install::with_provider(kind, "refresh_timer = \"off\"").await;
    let registration = install.register(kind, "gone", ACCESS_SECS).await;
    install.connect(&registration, &mut registration.browser(), &[]).await.json();
    let gone = registration.issued().await;
    assert!(is_any_alive(&registration, &gone).await);
    install.json(&["connection", "remove", &format!("{}/main", kind.tool())]);
    until_revoked(&registration, &gone).await;
}

#[tokio::test]
async fn a_removed_connections_tokens_are_worth_nothing_at_oidc_provider() {
    a_removed_connections_tokens_are_worth_nothing_at(Kind::Oidc).await;
}

#[tokio::test]
async fn a_removed_connections_tokens_are_worth_nothing_at_django_oauth_toolkit() {
    a_removed_connections_tokens_are_worth_nothing_at(Kind::Dot0).await;
}

#[tokio::test]
async fn another_accounts_tokens_of_the_same_registration_live_on() {
    let install = Install::with_provider(Kind::Oidc, "refresh_timer = \"off\"").await;
    let registration = install.register(Kind::Oidc, "gone", ACCESS_SECS).await;
    install.connect(&registration, &mut registration.browser(), &[]).await.json();
    let gone = registration.issued().await;
    let mut other = Browser::of("staying", &registration.password);
    install.connect(&registration, &mut other, &["--name", "staying"]).await.json();
    let all = registration.issued().await;
    let staying: Vec<String> = all.into_iter().filter(|token| !gone.contains(token)).collect();
    install.json(&["connection", "remove", "oidc-tool/main"]);
    until_revoked(&registration, &gone).await;
    assert!(is_any_alive(&registration, &staying).await);
    let mut refreshed = 0;
    for token in &staying {
        refreshed += u32::from(registration.refreshes(token).await);
    }
    assert_eq!(refreshed, 1, "the one refresh token of whoever stays");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_three_keepers_one_revokes_what_is_removed() {
    let told = Told { log_level: "info", ..Told::all(TIMER_OFF) };
    let world = Rotating::started((3, Kind::Oidc), ("gone", ACCESS_SECS), told).await;
    let gone = world.registration.issued().await;
    assert!(is_any_alive(&world.registration, &gone).await);
    world.served.install.json(&["connection", "remove", "oidc-tool/main"]);
    until_revoked(&world.registration, &gone).await;
    eventually("nothing waits to be revoked", WITHIN, async || {
        (world.sql("SELECT count(*) FROM revocation") == "0").then_some(())
    })
    .await;
    let told: usize = world.served.whose_ledger_says("token-revoked").len();
    assert_eq!(told, 1, "one keeper was told of the removal, and was there first");
}
