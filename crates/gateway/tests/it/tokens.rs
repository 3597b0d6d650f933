//! A provider's token endpoint is answered by us, through every door, and nothing reaches the provider.

use crate::{
    client::{Answer, trusting},
    world::{Actor, HOST, LOGIN, World},
};
use nightlatch_domain::{
    ports::store::{ControlStore, KeeperStore},
    principal::AgentStatus,
    reference::Reference,
    task::TaskState,
    tool::BoundHost,
};
use nightlatch_ledger::record::{Entry, EventName};
use std::time::Duration;

/// The ways to the token endpoint: its own host, an alias beside the tool, and that alias by its route.
const WAYS: [(&str, &str); 3] = [(LOGIN, "/token"), (HOST, "/oauth/token"), ("", "/acme/oauth/token")];

async fn post(world: &World, actor: &Actor, (host, path): (&str, &str), kind: &str, body: &str) -> Answer {
    let own = world.host();
    let (mut wire, host) = match host {
        "" => (world.direct(actor).await, own.as_str()),
        host => {
            let tunnel = world.tunnel(actor, &format!("{host}:443"), true).await.unwrap();
            let trusted = trusting(&world.trust(&world.alice).await, &["http/1.1"], world.clock.time());
            // The authority of the tool stands for its token endpoint too; it is the same for both agents.
            (tunnel.secured(trusted, host).await.unwrap(), host)
        }
    };
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: {kind}\r\nAuthorization: Basic eDp5\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    wire.write(head + body).await;
    wire.answer().await
}

const FORM: &str = "application/x-www-form-urlencoded";

fn refresh(reference: &str) -> String {
    format!("client_id=x&client_secret=y&grant_type=refresh_token&refresh_token={reference}&scope=a")
}

fn events(world_records: &[nightlatch_ledger::record::Record], name: EventName) -> usize {
    let is_one = |record: &&nightlatch_ledger::record::Record| matches!(&record.entry, Entry::Event(event) if event.event == name);
    world_records.iter().filter(is_one).count()
}

async fn nothing_left(world: &World) {
    assert_eq!((world.tool.count(), world.evil.count()), (0, 0), "the provider was spoken to");
}

#[tokio::test]
async fn a_reference_in_gives_the_same_reference_back() {
    let world = World::new().await;
    let json =
        format!("{{\"grant_type\":\"refresh_token\",\"refresh_token\":\"{}\"}}", world.alice.reference);
    for way in WAYS {
        for (kind, body) in [(FORM, refresh(&world.alice.reference)), ("application/json", json.clone())] {
            let answer = post(&world, &world.alice, way, kind, &body).await;
            assert_eq!(
                (answer.status, answer.field("cache-control").as_deref()),
                (200, Some("no-store")),
                "{way:?}"
            );
            let told = answer.json();
            assert_eq!(told["access_token"].as_str(), Some(world.alice.reference.as_str()));
            assert_eq!(told["refresh_token"].as_str(), Some(world.alice.reference.as_str()));
            assert_eq!(
                (told["token_type"].as_str(), told["expires_in"].as_u64()),
                (Some("Bearer"), Some(3600))
            );
        }
    }
    nothing_left(&world).await;
    assert_eq!(events(&world.records().await, EventName::TokenAnswered), 6);
    world.still_serves(&world.alice).await;
}

#[tokio::test]
async fn anything_else_is_an_invalid_grant() {
    let world = World::new().await;
    let own = &world.alice.reference;
    let unknown = Reference::draw(|| Ok::<_, ()>([9; 64])).unwrap().as_str().to_owned();
    let bodies = [
        refresh(&unknown),
        refresh("1//real-looking-refresh-token"),
        refresh(&own[..own.len() - 1]),
        String::new(),
        "grant_type=refresh_token".into(),
        format!("refresh_token={own}"),
        format!("grant_type=authorization_code&code={own}&refresh_token={own}"),
        format!("{}&refresh_token=other", refresh(own)),
        format!("{}&grant_type=refresh_token", refresh(own)),
        "{\"grant_type\":".into(),
        format!("{}&pad={}", refresh(own), "x".repeat(20_000)),
    ];
    for way in WAYS {
        for body in &bodies {
            let before = world.decisions().await.len();
            let answer = post(&world, &world.alice, way, FORM, body).await;
            assert_eq!(
                (answer.status, answer.text().as_str()),
                (400, "{\"error\":\"invalid_grant\"}"),
                "{way:?}"
            );
            assert_eq!(world.decisions().await.len(), before + 1);
        }
    }
    nothing_left(&world).await;
    world.still_serves(&world.alice).await;
}

#[tokio::test]
async fn a_foreign_reference_is_an_invalid_grant_and_alarms() {
    let world = World::new().await;
    let unknown = Reference::draw(|| Ok::<_, ()>([9; 64])).unwrap().as_str().to_owned();
    let none = post(&world, &world.mallory, WAYS[0], FORM, &refresh(&unknown)).await;
    let foreign = post(&world, &world.mallory, WAYS[0], FORM, &refresh(&world.alice.reference)).await;
    assert_eq!((none.status, none.body), (foreign.status, foreign.body));
    world
        .eventually("the alarm", || async {
            events(&world.records().await, EventName::ReferenceMisused) == 1
        })
        .await;
    nothing_left(&world).await;
    // Its owner is not touched.
    assert_eq!(post(&world, &world.alice, WAYS[0], FORM, &refresh(&world.alice.reference)).await.status, 200);
}

#[tokio::test]
async fn what_a_careless_server_takes_for_its_token_endpoint_is_answered_too() {
    let world = World::new().await;
    for path in ["/token/", "/Token", "/token;v=1", "/token?x=1"] {
        let answer = post(&world, &world.alice, (LOGIN, path), FORM, &refresh("x")).await;
        assert_eq!((answer.status, answer.text().as_str()), (400, "{\"error\":\"invalid_grant\"}"), "{path}");
    }
    // Nothing else is served at that host: no connection was confirmed for it.
    let answer = post(&world, &world.alice, (LOGIN, "/other"), FORM, "").await;
    assert_eq!(answer.problem(), "destination-denied");
    nothing_left(&world).await;
}

#[tokio::test]
async fn what_has_ended_gets_nothing_and_what_ends_soon_says_so() {
    let world = World::new().await;
    let at = world.clock.time();
    world.set_task(&world.alice, |task| task.ends_at = at.plus(Duration::from_secs(100))).await;
    let answer = post(&world, &world.alice, WAYS[0], FORM, &refresh(&world.alice.reference)).await;
    assert_eq!(answer.json()["expires_in"].as_u64(), Some(100));
    world.set_grant(&world.alice, |grant| grant.expires_at = at.plus(Duration::from_secs(50))).await;
    let answer = post(&world, &world.alice, WAYS[0], FORM, &refresh(&world.alice.reference)).await;
    assert_eq!(answer.json()["expires_in"].as_u64(), Some(50));
    world.set_task(&world.alice, |task| task.state = TaskState::Completed).await;
    let answer = post(&world, &world.alice, WAYS[0], FORM, &refresh(&world.alice.reference)).await;
    assert_eq!(answer.status, 400);
    world.set_grant(&world.mallory, |grant| grant.revoked_at = Some(grant.created_at)).await;
    let answer = post(&world, &world.mallory, WAYS[0], FORM, &refresh(&world.mallory.reference)).await;
    assert_eq!(answer.status, 400);
}

#[tokio::test]
async fn a_reference_that_serves_nothing_at_this_provider_gets_nothing() {
    let world = World::new().await;
    // Of a tool whose provider takes its tokens elsewhere.
    let manifest = "name = \"zeta\"\ntitle = \"Z\"\ndocs = \"https://d.test\"\nsafe_methods = true\n[[host]]\nhost = \"api.zeta.test\"\nkey = { kind = \"bearer\" }\n";
    world.add_tools(&[("zeta", manifest)]).await;
    let host = BoundHost { host: "api.zeta.test".into(), ..crate::world::hosts()[0].clone() };
    let other = world.granted(&world.alice, "zeta", vec![host]).await;
    assert_eq!(post(&world, &world.alice, WAYS[0], FORM, &refresh(&other)).await.status, 400);
    assert_eq!(post(&world, &world.alice, WAYS[0], FORM, &refresh(&world.alice.reference)).await.status, 200);
    // Of an agent that was disabled, and of a connection that was removed.
    let agents = world.store.agents(world.tenant).await.unwrap();
    let mut row = agents.into_iter().find(|row| row.id == world.mallory.agent).unwrap();
    row.status = AgentStatus::Disabled;
    world.store.put_agent(row).await.unwrap();
    world.in_effect().await;
    assert_eq!(
        post(&world, &world.mallory, WAYS[0], FORM, &refresh(&world.mallory.reference)).await.status,
        400
    );
    world.store.remove_connection(world.tenant, world.connection, crate::keeper::past()).await.unwrap();
    world.in_effect().await;
    assert_eq!(post(&world, &world.alice, WAYS[0], FORM, &refresh(&world.alice.reference)).await.status, 400);
    nothing_left(&world).await;
}

#[tokio::test]
async fn what_cannot_be_recorded_is_not_answered() {
    let world = World::new().await;
    world.ledger.close().await.unwrap();
    let answer = post(&world, &world.alice, WAYS[0], FORM, &refresh(&world.alice.reference)).await;
    assert_eq!(answer.problem(), "ledger-unavailable");
    let answer = post(&world, &world.alice, WAYS[0], FORM, &refresh("unknown")).await;
    assert_eq!(answer.problem(), "ledger-unavailable");
}
