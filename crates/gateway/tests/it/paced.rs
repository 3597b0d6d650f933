//! What an agent's side asks of the gateway itself has its pace and its share, and takes nothing from others.

use crate::{
    client::{Answer, Identity},
    world::{Actor, Twist, World},
};
use nightlatch_gateway::Limits;
use std::{sync::Arc, time::Duration};

async fn challenged(world: &World, actor: &Actor) -> Answer {
    let mut wire = world.direct(actor).await;
    wire.write(world.request("GET /v1/wake", &[])).await;
    wire.answer().await
}

#[tokio::test]
async fn a_key_has_a_few_challenges_at_once_and_then_one_at_a_time() {
    let world = World::new().await;
    for _ in 0..6 {
        assert_eq!(challenged(&world, &world.alice).await.status, 200);
    }
    for passed in [Duration::ZERO, Duration::from_millis(9_500)] {
        world.clock.forward(passed);
        let refused = challenged(&world, &world.alice).await;
        assert_eq!((refused.status, refused.problem().as_str()), (429, "too-many-calls"));
        let wait = if passed.is_zero() { "10" } else { "1" };
        assert_eq!(refused.field("retry-after").as_deref(), Some(wait));
    }
    assert_eq!(world.keeper.count("challenge"), 6, "the keeper was asked all the same");
    assert_eq!(challenged(&world, &world.mallory).await.status, 200);
    world.clock.forward(Duration::from_millis(500));
    assert_eq!(challenged(&world, &world.alice).await.status, 200);
    assert_eq!(challenged(&world, &world.alice).await.status, 429);
}

#[tokio::test]
async fn wakes_that_wait_for_the_keeper_shut_nobody_out_who_enrols() {
    let world = Arc::new(World::new().await);
    world.code(&world.alice, "a-code").await;
    world.keeper.knobs.lock().unwrap().hangs_at = Some("challenge");
    let waiting: Vec<_> = (0..12)
        .map(|place| {
            let world = Arc::clone(&world);
            tokio::spawn(async move {
                let actor = if place % 2 == 0 { &world.alice } else { &world.mallory };
                challenged(&world, actor).await
            })
        })
        .collect();
    world.eventually("all of them wait", || async { world.keeper.count("challenge") == 12 }).await;
    let identity = Identity::new();
    let mut wire = world.dial(Some(&identity)).connect().await.unwrap();
    let body = "{\"code\":\"a-code\"}";
    let length = format!("Content-Length: {}", body.len());
    wire.write(world.request("POST /v1/enrol", &[&length]) + body).await;
    assert_eq!(wire.answer().await.status, 200);
    waiting.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test]
async fn our_own_paths_count_among_the_calls_of_their_agent() {
    let limits = Limits { calls_each_max: 1, ..Limits::default() };
    let world = Arc::new(World::twisted(Twist { limits: Some(limits), ..Twist::default() }).await);
    world.keeper.knobs.lock().unwrap().hangs_at = Some("challenge");
    let waiting = tokio::spawn({
        let world = Arc::clone(&world);
        async move { challenged(&world, &world.alice).await }
    });
    world.eventually("it waits", || async { world.keeper.count("challenge") == 1 }).await;
    for line in ["GET /v1/trust", "GET /v1/wake", "POST /v1/wake", "POST /v1/refusals"] {
        let mut wire = world.direct(&world.alice).await;
        wire.write(world.request(line, &["Content-Length: 0"])).await;
        assert_eq!(wire.answer().await.problem(), "too-many-calls", "{line}");
    }
    world.trust(&world.mallory).await;
    waiting.abort();
}
