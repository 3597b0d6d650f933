//! Three processes of each plane over PostgreSQL, and real providers that rotate: whoever calls, wherever, at the instant of
//! expiry, the provider counts one refresh, and every call has its answer.

use crate::world::{
    http::Answer,
    provider::Kind,
    rotating::{Rotating, TIMER_OFF},
    served::Told,
};
use http::{Method, StatusCode};
use serde_json::json;
use std::{collections::BTreeSet, sync::Arc};
use tokio::{
    sync::{Barrier, Mutex},
    task::JoinSet,
};

const CALLS: usize = 600;
const ACCESS_SECS: u32 = 20;
static CROWDS: Mutex<()> = Mutex::const_new(());

/// Below here only these calls come to the resource server.
const CROWD: &str = "/things/crowd";

async fn six_hundred_calls_at_expiry_refresh_once(kind: Kind, username: &str) {
    let told = Told { log_level: "info", ..Told::all(TIMER_OFF) };
    let mut world = Rotating::started((3, kind), (username, ACCESS_SECS), told).await;
    // Each gateway has a wake, of a keeper that no other one has, and the lease of a token that lived when it asked.
    world.spread().await;
    let agents = world.agents();
    assert_eq!(world.served.whose_ledger_says("task-woke").len(), 3);
    let issued: BTreeSet<String> = world.registration.issued().await.into_iter().collect();
    world.registration.until_the_token_died().await;
    let before = world.registration.counters().await;

    // Every line is there before the first call goes out. One crowd at a time: a caller's patience is 20 seconds.
    let _alone = CROWDS.lock().await;
    let crowd = world.me(&format!("{CROWD}/{}", world.registration.client_id));
    let (world, barrier) = (Arc::new(world), Arc::new(Barrier::new(CALLS)));
    let mut calls = JoinSet::new();
    for number in 0..CALLS {
        let agent = world.granted.agent.at(&world.served.gateways()[number % agents.len()]);
        let (world, barrier, crowd) = (Arc::clone(&world), Arc::clone(&barrier), crowd.clone());
        calls.spawn(async move {
            let mut line = agent.connect().await;
            barrier.wait().await;
            let (path, bearer) =
                (format!("/{}{crowd}", kind.tool()), format!("Bearer {}", world.granted.reference));
            agent.call_on(&mut line, Method::GET, &path, &[("authorization", &bearer)], "").await
        });
    }
    let begun = std::time::Instant::now();
    let answers = calls.join_all().await;
    println!("{}: {CALLS} answers in {:?}", kind.tool(), begun.elapsed());
    assert_eq!(answers.len(), CALLS);
    let refused: Vec<&Answer> = answers.iter().filter(|answer| answer.status != StatusCode::OK).collect();
    assert!(refused.is_empty(), "{} of {CALLS}, one of them: {}", refused.len(), refused[0].text());
    for answer in answers {
        assert_eq!(answer.json::<serde_json::Value>()[kind.login()], json!(world.registration.username));
    }

    let after = world.registration.counters().await;
    assert_eq!(after.refreshes_ok - before.refreshes_ok, 1, "{after:?}");
    assert_eq!(after.token_requests - before.token_requests, 1, "{after:?}");
    let bad = [after.reuse_detected, after.families_revoked, after.refreshes_failed, after.presented_twice];
    assert_eq!(bad, [0; 4], "{after:?}");

    // Each of them brought the one access token that this refresh yielded, and nothing else came.
    let seen = world.registration.seen(&crowd).await;
    assert_eq!((seen.calls, seen.ok), (CALLS as u64, CALLS as u64));
    let yielded = world.registration.issued().await.into_iter().filter(|token| !issued.contains(token));
    let bearers: BTreeSet<String> = yielded.map(|token| sha256(&format!("Bearer {token}"))).collect();
    assert_eq!(bearers.len(), 2, "a refresh token and an access token");
    let [only] = seen.authorizations_sha256.as_slice() else { panic!("{seen:?}") };
    assert!(bearers.contains(only), "another credential than the newest arrived");
}

fn sha256(text: &str) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn six_hundred_calls_at_three_gateways_refresh_once_at_oidc_provider() {
    six_hundred_calls_at_expiry_refresh_once(Kind::Oidc, "six-hundred-oidc").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn six_hundred_calls_at_three_gateways_refresh_once_at_django_without_grace() {
    six_hundred_calls_at_expiry_refresh_once(Kind::Dot0, "six-hundred-dot0").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn six_hundred_calls_at_three_gateways_refresh_once_at_django_with_grace() {
    six_hundred_calls_at_expiry_refresh_once(Kind::Dot30, "six-hundred-dot30").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn six_hundred_calls_at_three_gateways_refresh_once_at_synapse() {
    six_hundred_calls_at_expiry_refresh_once(Kind::Synapse, "six-hundred-synapse").await;
}
