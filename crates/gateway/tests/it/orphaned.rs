//! Several gateways keep calls in one store: a gateway that starts leaves the others' alone, and takes over those of one that is
//! gone, of which nothing is sent again that may have been sent.

use crate::{
    calls::{asked, edit, ended, location, post, silent, slug},
    client::Answer,
    fused::OWNER,
    upstream::Reply,
    world::World,
};
use nightlatch_domain::ports::store::CallStore as _;

fn id(answer: &Answer) -> String {
    location(answer).rsplit('/').next().unwrap().to_owned()
}

/// A write and a read that are out when the gateway dies, as another gateway's.
async fn left_by_another(world: &mut World) -> (Answer, Answer) {
    silent(world);
    let write =
        post(world, &world.alice, "w", "respond-async", &asked(&world.alice, "POST", "/things")).await;
    let read = post(world, &world.alice, "r", "respond-async", &asked(&world.alice, "GET", "/things")).await;
    world.eventually("both are out", || async { world.tool.count() == 2 }).await;
    world.crash(async |world| assert_eq!(edit(world, "UPDATE call SET owner = 'two'"), 2)).await;
    world.tool.answers(|_| Reply::ok("fine"));
    (write, read)
}

/// A write that waits to be sent, as another gateway's; what `meanwhile` does is done while no gateway runs.
async fn queued_by_another(world: &mut World, meanwhile: impl AsyncFnOnce(&World)) -> Answer {
    let refusal = nightlatch_domain::ports::gateway_keeper::KeeperRefusal::Unavailable;
    world.keeper.knobs.lock().unwrap().refuse.insert("lease", refusal);
    let queued =
        post(world, &world.alice, "q", "respond-async", &asked(&world.alice, "POST", "/queued")).await;
    world
        .crash(async |world| {
            let sql = format!("UPDATE call SET owner = 'two' WHERE call_id = '{}'", id(&queued));
            assert_eq!(edit(world, &sql), 1);
            world.keeper.knobs.lock().unwrap().refuse.clear();
            meanwhile(world).await;
        })
        .await;
    queued
}

async fn state(world: &World, answer: &Answer) -> String {
    let shown = crate::calls::get(world, &world.alice, &location(answer)).await.json();
    shown["state"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_gateway_that_starts_leaves_the_calls_of_others_alone() {
    let mut world = World::new().await;
    let (write, read) = left_by_another(&mut world).await;
    let own = post(&world, &world.alice, "own", "wait=30", &asked(&world.alice, "POST", "/own")).await;
    assert_eq!(own.status, 200, "it has been looked through");
    for call in [&write, &read] {
        assert_eq!(state(&world, call).await, "attempting", "its gateway may be at it");
    }
    // Also while the other is there.
    let present = vec![OWNER.parse().unwrap(), "two".parse().unwrap()];
    world.gateway.shared().take_over(present).await;
    assert_eq!(state(&world, &write).await, "attempting");
    assert_eq!(world.tool.take().len(), 3, "nothing was sent again");
}

#[tokio::test]
async fn what_a_gateway_left_that_is_gone_comes_to_an_end_and_no_write_is_sent_again() {
    let mut world = World::new().await;
    let (write, read) = left_by_another(&mut world).await;
    // One that was never marked, by its row: only its own gateway's ledger could tell.
    let queued = queued_by_another(&mut world, async |_| {}).await;
    world.gateway.shared().take_over(vec![OWNER.parse().unwrap()]).await;
    for once in [&write, &queued] {
        let shown = ended(&world, &world.alice, &location(once)).await;
        assert_eq!(
            (shown["state"].as_str(), slug(&shown["problem"])),
            (Some("outcome-unknown"), "outcome-unknown")
        );
    }
    let reads = || async {
        world.clock.forward(std::time::Duration::from_secs(1));
        state(&world, &read).await == "done"
    };
    world.eventually("what may be repeated is", reads).await;
    let lines: Vec<String> = world.tool.take().iter().map(|seen| seen.line().to_owned()).collect();
    assert_eq!(lines.iter().filter(|line| line.starts_with("POST")).count(), 1, "{lines:?}");
    assert_eq!(lines.iter().filter(|line| line.starts_with("GET")).count(), 2, "{lines:?}");
    let left = world.store.orphaned_calls(vec![OWNER.parse().unwrap()], 9).await.unwrap();
    assert_eq!(left, [], "they are this gateway's now");
}

#[tokio::test]
async fn a_stop_right_after_a_call_was_adopted_sends_no_write() {
    let mut world = World::new().await;
    let queued = queued_by_another(&mut world, async |world| {
        let orphaned = world.store.orphaned_calls(vec![OWNER.parse().unwrap()], 9).await.unwrap();
        let (place, from) = orphaned.into_iter().next().unwrap();
        assert_eq!(world.store.adopt_call(place, from, OWNER.parse().unwrap()).await, Ok(true));
    })
    .await;
    let shown = ended(&world, &world.alice, &location(&queued)).await;
    assert_eq!(shown["state"].as_str(), Some("outcome-unknown"));
    assert_eq!(world.tool.count(), 0, "this gateway's ledger knows nothing of it");
}
