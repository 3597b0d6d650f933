//! A grant's budget ends its next call, over the real corridor: by calls, by writes, by bytes of bodies either way.
//! What reached no tool has used none of it, and a crash gives nothing back.

use crate::{client::Answer, upstream::Reply, world::World};
use nightlatch_domain::{grant::Selector, ports::gateway_keeper::KeeperRefusal, tool::Effect};

/// A world whose alice may write, within this.
async fn within(budget: &str) -> World {
    let world = World::new().await;
    world
        .set_grant(&world.alice, |grant| {
            grant.operations = vec![Selector::Effect(Effect::Write)];
            grant.budget = Some(budget.parse().unwrap());
        })
        .await;
    world
}

async fn get(world: &World) -> Answer {
    world.call(&world.alice, "GET /acme/things", &[]).await
}

async fn post(world: &World, body: &str) -> Answer {
    let (length, bearer) = (format!("Content-Length: {}", body.len()), World::bearer(&world.alice));
    let head = world.request("POST /acme/things", &[&length, &bearer]);
    world.send(&world.alice, &format!("{head}{body}")).await
}

/// The next call is refused for this part, and reaches no tool.
async fn is_over(world: &World, answer: Answer, part: &str) {
    let told = (answer.status, answer.problem(), answer.json()["field"].as_str().map(str::to_owned));
    assert_eq!(told, (403, "budget-exhausted".to_owned(), Some(part.to_owned())));
    assert_eq!(answer.field("x-should-retry").as_deref(), Some("false"));
    assert_eq!(world.tool.count(), 0, "a call beyond the budget was sent");
}

#[tokio::test]
async fn calls_and_writes_end_where_the_budget_says_and_reads_go_on_without_writes() {
    let world = within("calls=2").await;
    assert_eq!((get(&world).await.status, post(&world, "x").await.status), (200, 200));
    world.tool.take();
    is_over(&world, get(&world).await, "calls").await;
    assert_eq!(
        world.call(&world.mallory, "GET /acme/things", &[]).await.status,
        200,
        "it is another grant's"
    );
    let world = within("writes=1").await;
    assert_eq!(post(&world, "x").await.status, 200);
    world.tool.take();
    is_over(&world, post(&world, "x").await, "writes").await;
    assert_eq!(get(&world).await.status, 200);
}

#[tokio::test]
async fn bytes_count_both_ways_together_and_end_the_next_call() {
    let (up, down) = ("u".repeat(600), "d".repeat(600));
    for (sent, received, ends) in
        [(&up, "", false), (&String::new(), down.as_str(), false), (&up, &down, true)]
    {
        let world = within("bytes=1000").await;
        let answer = received.to_owned();
        world.tool.answers(move |_| Reply::ok(&answer));
        let passed = post(&world, sent).await;
        assert_eq!((passed.status, passed.body.len()), (200, received.len()), "the last one goes to its end");
        world.tool.take();
        let next = get(&world).await;
        match ends {
            true => is_over(&world, next, "bytes").await,
            false => assert_eq!(next.status, 200, "sent {}, received {}", sent.len(), received.len()),
        }
    }
}

#[tokio::test]
async fn what_reached_no_tool_has_used_none_of_it() {
    let world = within("calls=2,writes=2").await;
    world.keeper.knobs.lock().unwrap().refuse.insert("lease", KeeperRefusal::Unavailable);
    for _ in 0..5 {
        assert_eq!(post(&world, "x").await.problem(), "keeper-unavailable");
    }
    world.keeper.knobs.lock().unwrap().refuse.clear();
    assert_eq!((post(&world, "x").await.status, post(&world, "y").await.status), (200, 200));
    world.tool.take();
    is_over(&world, post(&world, "z").await, "calls").await;
}

#[tokio::test]
async fn a_crash_gives_nothing_back() {
    let mut world = within("calls=3,bytes=1000").await;
    assert_eq!((get(&world).await.status, get(&world).await.status), (200, 200));
    world.crash(async |_| {}).await;
    assert_eq!(get(&world).await.status, 200);
    world.tool.take();
    is_over(&world, get(&world).await, "calls").await;
    let mut world = within("bytes=1000").await;
    assert_eq!(post(&world, &"u".repeat(5000)).await.status, 200);
    world.tool.take();
    is_over(&world, get(&world).await, "bytes").await;
    world.crash(async |_| {}).await;
    is_over(&world, get(&world).await, "bytes").await;
}
