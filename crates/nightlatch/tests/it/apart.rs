//! What lies between the processes and what they need, broken in turn: a provider that answers after its keeper's claim is
//! over, or commits and is not heard; a path that takes the bytes and delivers them when nobody waits any more; a database
//! that is away for a minute; a disk without room for an answer. The provider counts, and all is well again by itself.

use crate::world::{
    eventually,
    install::fill,
    provider::{Counters, Kind},
    relay::{Place, Silencing, Then},
    rotating::{Rotating, TIMER_ON},
    served::Told,
};
use http::StatusCode;
use serde_json::json;
use std::time::{Duration, Instant};

/// A claim that was seen for so long may be taken over.
const CLAIM: Duration = Duration::from_secs(60);
/// A directory that is older decides nothing.
const STALENESS_BOUND: Duration = Duration::from_secs(30);
/// What was under way when the database fell silent may arrive so much later.
const UNDER_WAY: Duration = Duration::from_secs(1);

fn told() -> Told {
    Told { log_level: "info", ..Told::all(TIMER_ON) }
}

/// The head of the one family, and how many humans are asked.
fn standing(world: &Rotating) -> (u64, u64) {
    let row = world.sql(
        "SELECT concat_ws(' ', head, (SELECT count(*) FROM ticket WHERE settled_at IS NULL)) FROM family",
    );
    let (head, tickets) = row.split_once(' ').expect("one family");
    (head.parse().expect("a number"), tickets.parse().expect("a number"))
}

/// The moment after a refresh, when the next one is not due for a while: what the provider counted, and the head.
async fn quiet(world: &Rotating) -> (Counters, u64) {
    const YOUNG_MILLIS: i64 = 3000;
    eventually("the head is young and the newest that there is", CLAIM, async || {
        let row = world.sql(
            "SELECT concat_ws(' ', head, (extract(epoch FROM clock_timestamp()) * 1000)::bigint
                - (SELECT max(created_at) FROM generation))
             FROM family JOIN chain USING (tenant_id, family_id) WHERE state = 'healthy'",
        );
        let (head, age) = row.split_once(' ')?;
        let (head, age): (u64, i64) = (head.parse().ok()?, age.parse().ok()?);
        let counters = world.registration.counters().await;
        // The code brought the first one.
        (age < YOUNG_MILLIS && head == counters.refreshes_ok + 1).then_some((counters, head))
    })
    .await
}

/// Waits until a human is asked, which is before the claim is over, and watches that nothing is presented meanwhile.
async fn asked_while_it_is_awaited(world: &Rotating, before: &Counters) {
    eventually("a human is asked", CLAIM, async || (standing(world).1 == 1).then_some(())).await;
    assert_eq!(world.registration.counters().await.token_requests, before.token_requests + 1);
}

/// The answer came: the head has moved, nobody is asked any more, and the provider saw one request.
async fn the_answer_became_the_head(world: &Rotating, (before, head): (&Counters, u64)) {
    eventually("the answer becomes the head, and nobody is asked", CLAIM, async || {
        (standing(world) == (head + 1, 0)).then_some(())
    })
    .await;
    let after = world.registration.counters().await;
    assert_eq!(after.token_requests, before.token_requests + 1, "{after:?}");
    assert_eq!((after.presented_twice, after.refreshes_ok), (0, before.refreshes_ok + 1), "{after:?}");
    after.expect_the_family_lives();
    world.works_within(Duration::from_secs(20)).await;
}

/// `how` holds the provider's answer back for longer than the claim lasts.
async fn an_answer_after_the_claim_becomes_the_head(kind: Kind, username: &str, how: &str) {
    let world = Rotating::started((3, kind), (username, 12), told()).await;
    let (before, head) = quiet(&world).await;
    world.registration.behave(json!({ how: 70_000, "times": 1 })).await;
    let begun = Instant::now();
    asked_while_it_is_awaited(&world, &before).await;
    the_answer_became_the_head(&world, (&before, head)).await;
    assert!(begun.elapsed() > CLAIM);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_comes_after_the_claim_becomes_the_head_at_oidc_provider() {
    an_answer_after_the_claim_becomes_the_head(Kind::Oidc, "slow-oidc", "delay_ms").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_comes_after_the_claim_becomes_the_head_at_django() {
    an_answer_after_the_claim_becomes_the_head(Kind::Dot0, "slow-dot0", "delay_after_ms").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_that_arrive_after_their_chain_was_left_are_one_presentation() {
    let (world, paths) = Rotating::on_paths((3, Kind::Oidc), ("late-bytes", 12), told()).await;
    let (before, head) = quiet(&world).await;
    let mut stopped = paths.stop_at(Place::Asked);
    // The path takes the request, and the provider has none of it.
    let stopped = tokio::time::timeout(CLAIM, stopped.recv()).await.expect("it is due").expect("a path");
    let asked = paths.asked();
    eventually("a human is asked", CLAIM, async || (standing(&world).1 == 1).then_some(())).await;
    assert_eq!(world.registration.counters().await, before, "nothing arrived");
    assert_eq!(paths.asked(), asked, "nothing more was sent");
    stopped.then(Then::On);
    the_answer_became_the_head(&world, (&before, head)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_is_lost_asks_once_where_there_is_no_grace() {
    let mut world = Rotating::started((3, Kind::Oidc), ("reset-oidc", 12), told()).await;
    let (before, _) = quiet(&world).await;
    world.registration.behave(json!({ "drop_after_commit": true, "times": 1 })).await;
    asked_after_a_loss(&world, &before).await;
    // The token is dead, and whoever calls presents nothing.
    world.registration.until_the_token_died().await;
    for agent in world.agents() {
        assert_eq!(world.call(&agent, world.kind.me()).await.problem(), "reauth-required");
    }
    let after = world.registration.counters().await;
    assert_eq!((after.presented_twice, after.refreshes_ok), (0, before.refreshes_ok + 1), "{after:?}");
    after.expect_the_family_lives();
    world.reconnect().await;
    world.works_within(Duration::from_secs(20)).await;
}

async fn asked_after_a_loss(world: &Rotating, before: &Counters) {
    eventually("a human is asked", CLAIM, async || (standing(world).1 == 1).then_some(())).await;
    assert_eq!(world.registration.counters().await.refreshes_ok, before.refreshes_ok + 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_is_lost_is_asked_for_once_more_inside_a_grace() {
    let (world, _paths) = Rotating::on_paths((3, Kind::Dot30), ("reset-dot30", 12), told()).await;
    let (before, head) = quiet(&world).await;
    world.registration.behave(json!({ "drop_after_commit": true, "times": 1 })).await;
    eventually("the retry becomes the head", CLAIM, async || (standing(&world).0 == head + 1).then_some(()))
        .await;
    assert_eq!(standing(&world).1, 0, "nobody was asked");
    let after = world.registration.counters().await;
    let counted =
        (after.token_requests - before.token_requests, after.presented_twice, after.replays_in_grace);
    assert_eq!(counted, (2, 1, 1), "{after:?}");
    after.expect_the_family_lives();
    world.works_within(Duration::from_secs(20)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_away_for_a_minute_is_outlived() {
    let server = &crate::world::parts::parts().postgres.address;
    let (_, server) = server.split_once('@').expect("an address");
    let way = Silencing::to(server);
    let told = Told { database_at: Some(way.address.to_string()), ..told() };
    // Its timer falls into the minute.
    let world = Rotating::started((3, Kind::Oidc), ("away-oidc", 90), told).await;
    world.works_within(Duration::from_secs(20)).await;
    let (before, agents) = (world.registration.counters().await, world.agents());
    way.fall_silent();
    let begun = Instant::now();
    let mut refused = 0;
    while begun.elapsed() < Duration::from_secs(60) {
        for agent in &agents {
            let asked = begun.elapsed();
            let answer = world.call(agent, world.kind.me()).await;
            let answered = begun.elapsed();
            if answer.status == StatusCode::OK {
                assert!(
                    asked <= STALENESS_BOUND + UNDER_WAY,
                    "a call was decided on by what is {asked:?} old"
                );
                continue;
            }
            // What was seen last is at most a look older than the silence.
            assert!(answered + Duration::from_secs(5) > STALENESS_BOUND, "{answered:?}: {}", answer.text());
            assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{}", answer.text());
            assert_eq!(
                (answer.problem(), answer.json::<serde_json::Value>()["retryable"].clone()),
                ("directory-stale".to_owned(), json!(true))
            );
            refused += 1;
        }
        // tidy: sleeps because a caller of a minute calls now and then.
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    assert!(refused > agents.len(), "{refused}");
    assert_eq!(world.registration.counters().await, before, "nothing is presented that is not written down");
    way.open();
    world.works_within(Duration::from_secs(60)).await;
    let after = eventually("what was due is refreshed", Duration::from_secs(60), async || {
        let after = world.registration.counters().await;
        (after.refreshes_ok > before.refreshes_ok).then_some(after)
    })
    .await;
    assert_eq!((after.token_requests, after.presented_twice), (before.token_requests + 1, 0), "{after:?}");
    after.expect_the_family_lives();
    assert_eq!(standing(&world).1, 0, "nobody was asked");
    assert_eq!(world.served.install.json(&["health"])["tickets"], json!([]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_without_room_for_an_answer_presents_nothing_and_heals() {
    let told = Told { small: Some(("spool", "1m")), ..told() };
    let world = Rotating::started((3, Kind::Oidc), ("full-spool", 30), told).await;
    let keepers = world.served.named("keeper");
    let fillers: Vec<_> =
        keepers.iter().map(|name| world.served.folder_of(name, "spool").join("filler")).collect();
    let (before, head) = quiet(&world).await;
    fillers.iter().for_each(|filler| fill(filler));
    // The token lives, and serves; then it is dead, and no keeper has presented anything.
    world.works_within(Duration::from_secs(10)).await;
    world.registration.until_the_token_died().await;
    let refused = world.call(&world.agents()[0], world.kind.me()).await;
    assert_eq!(
        (refused.status, refused.problem()),
        (StatusCode::SERVICE_UNAVAILABLE, "credential-pending".to_owned())
    );
    assert_eq!((world.registration.counters().await, standing(&world)), (before.clone(), (head, 0)));
    fillers.iter().for_each(|filler| std::fs::remove_file(filler).expect("room"));
    world.works_within(CLAIM).await;
    let after = world.registration.counters().await;
    assert!(after.refreshes_ok > before.refreshes_ok && after.presented_twice == 0, "{after:?}");
    after.expect_the_family_lives();
}
