//! Proves that a GraphQL call is what its root fields are: read before anybody decides, refused where it cannot be read,
//! and sent as the very bytes that were read.

use crate::{
    client::Answer,
    world::{MANIFEST, SECRET, Twist, World},
};
use bytes::Bytes;
use http::{HeaderMap, Request, header::ETAG};
use http_body_util::{BodyExt as _, Full};
use nightlatch_domain::{
    grant::Selector,
    tool::{Effect, OperationId},
};
use nightlatch_gateway::Limits;
use nightlatch_ledger::record::{Entry, Intent};
use serde_json::json;
use std::{sync::Arc, time::Duration};
use tokio::sync::Semaphore;

const ENDPOINT: &str = r#"
[[operation]]
id = "graphql"
method = ["GET", "POST"]
path = "/graphql"
body = "graphql"
effect = "admin"
page = "https://docs.acme.test/graphql"

[[graphql]]
id = "things.read"
on = "query"
field = ["thing", "things"]
effect = "read"
page = "https://docs.acme.test/graphql"

[[graphql]]
id = "things.change"
on = "mutation"
field = "thingChange"
effect = "write"
page = "https://docs.acme.test/graphql"

[[graphql]]
id = "keys.rotate"
on = "mutation"
field = "keyRotate"
effect = "credential"
page = "https://docs.acme.test/graphql"
"#;

const QUERY: &str = "{ things { id } }";
const MUTATION: &str = "mutation { thingChange(id: 1) { id } }";

/// A world whose tool has an endpoint, and whose alice may do this.
async fn world(operations: &[Selector], twist: Twist) -> World {
    let world = World::twisted(twist).await;
    world.add_tools(&[("acme", &format!("{MANIFEST}{ENDPOINT}"))]).await;
    world.set_grant(&world.alice, |grant| grant.operations = operations.to_vec()).await;
    world
}

async fn reading() -> World {
    world(&[Selector::Effect(Effect::Read)], Twist::default()).await
}

fn request(world: &World, fields: &[&str], body: &str) -> String {
    let length = format!("Content-Length: {}", body.len());
    let bearer = World::bearer(&world.alice);
    let fields: Vec<&str> = fields.iter().copied().chain([length.as_str(), bearer.as_str()]).collect();
    format!("{}{body}", world.request("POST /acme/graphql", &fields))
}

async fn sent(world: &World, fields: &[&str], body: &str) -> Answer {
    world.send(&world.alice, &request(world, fields, body)).await
}

async fn asked(world: &World, query: &str) -> Answer {
    sent(world, &["Content-Type: application/json"], &json!({ "query": query }).to_string()).await
}

async fn intents(world: &World) -> Vec<Intent> {
    let decisions = world.decisions().await.into_iter();
    let intents = decisions.filter_map(|record| match record.entry {
        Entry::Intent(intent) => Some(intent),
        _ => None,
    });
    intents.collect()
}

#[tokio::test]
async fn a_query_passes_under_a_read_grant_as_the_very_bytes_that_were_read() {
    let world = reading().await;
    let body =
        " {\"variables\":{\"a\":[1]} , \"query\":\"query Q { x: thing(id: 1) { id } things { id } }\"}\n";
    let answer = sent(&world, &["Content-Type: application/json; charset=utf-8"], body).await;
    assert_eq!((answer.status, answer.text()), (200, "{\"fine\":true}".to_owned()));
    let seen = world.tool.take();
    assert_eq!(seen.len(), 1);
    assert_eq!((seen[0].line(), seen[0].body.as_slice()), ("POST /graphql HTTP/1.1", body.as_bytes()));
    assert_eq!(seen[0].all("authorization"), [format!("Bearer {SECRET}")]);
    assert_eq!(seen[0].all("content-length"), [body.len().to_string()]);
    let intents = intents(&world).await;
    assert_eq!((intents[0].operation.0.as_str(), intents[0].effect), ("things.read", Effect::Read));
    let mut digest = world.ledger.body_digest();
    digest.update(body.as_bytes());
    assert_eq!(intents[0].body, Some(digest.finish()));
}

#[tokio::test]
async fn a_body_in_chunks_is_read_as_a_whole() {
    let world = reading().await;
    let chunked = |query: &str| {
        let body = json!({ "query": query }).to_string();
        let (one, two) = body.split_at(7);
        let chunks = format!("{:x}\r\n{one}\r\n{:x}\r\n{two}\r\n0\r\n\r\n", one.len(), two.len());
        let bearer = World::bearer(&world.alice);
        let fields = ["Content-Type: application/json", "Transfer-Encoding: chunked", bearer.as_str()];
        (body.clone(), format!("{}{chunks}", world.request("POST /acme/graphql", &fields)))
    };
    let (body, request) = chunked(QUERY);
    assert_eq!(world.send(&world.alice, &request).await.status, 200);
    assert_eq!(world.tool.take()[0].body, body.as_bytes());
    let refused = world.send(&world.alice, &chunked(MUTATION).1).await;
    assert_eq!((refused.problem().as_str(), world.tool.count()), ("policy-denied", 0));
}

#[tokio::test]
async fn a_body_with_trailers_is_not_read() {
    let world = reading().await;
    let mut dial = world.dial(Some(&world.alice.identity));
    dial.alpn = &["h2"];
    let mut sender = dial.connect().await.unwrap().http2().await;
    for (trailers, status) in [(Some(HeaderMap::from_iter([(ETAG, "x".parse().unwrap())])), 400), (None, 200)]
    {
        let body = Full::new(Bytes::from(json!({ "query": QUERY }).to_string()));
        let body = body.with_trailers(std::future::ready(trailers.map(Ok)));
        let request = Request::post(format!("https://{}/acme/graphql", world.host()))
            .header("authorization", format!("Bearer {}", world.alice.reference))
            .header("content-type", "application/json")
            .body(body)
            .unwrap();
        let answer = sender.send_request(request).await.unwrap();
        assert_eq!((answer.status().as_u16(), world.tool.count()), (status, usize::from(status == 200)));
    }
}

#[tokio::test]
async fn a_mutation_is_refused_under_a_read_grant_however_it_is_written() {
    let world = reading().await;
    for query in [
        MUTATION,
        "mutation { things: thingChange(id: 1) { id } }",
        "mutation M { ...F } fragment F on Mutation { thingChange { id } }",
        "mutation { ... @include(if: false) { thingChange { id } } }",
        "mutation { things }",
        "{ things other }",
        "{ other }",
    ] {
        let body = json!({ "query": query }).to_string();
        let answer =
            world.attack(&world.alice, &request(&world, &["Content-Type: application/json"], &body)).await;
        assert_eq!(answer.problem(), "policy-denied", "{query}");
        world.tool.take();
    }
    assert!(intents(&world).await.iter().all(|intent| intent.effect == Effect::Read));
}

#[tokio::test]
async fn every_root_field_must_be_granted_and_the_strictest_says_what_the_call_is() {
    let by_id = |id: &str| Selector::Operation(OperationId(id.into()));
    let both = "mutation { a: thingChange b: other }";
    let some = world(&[Selector::Effect(Effect::Write)], Twist::default()).await;
    assert_eq!(asked(&some, MUTATION).await.status, 200);
    assert_eq!(asked(&some, both).await.problem(), "policy-denied");
    let all = world(&[by_id("things.change"), by_id("graphql")], Twist::default()).await;
    assert_eq!(asked(&all, both).await.status, 200);
    let intents = intents(&all).await;
    let recorded = (intents[0].operation.0.as_str(), intents[0].effect, intents[0].also.clone());
    assert_eq!(recorded, ("graphql", Effect::Admin, vec![OperationId("things.change".into())]));
    // A policy that forbids one of them forbids the call.
    let forbid = "forbid (principal, action, resource in Operation::\"acme/things.change\");";
    let twist = Twist { policies: vec![("own.cedar".into(), forbid.into())], ..Twist::default() };
    let forbidden = world(&[by_id("things.change"), by_id("graphql")], twist).await;
    assert_eq!(asked(&forbidden, both).await.problem(), "policy-denied");
    assert_eq!(asked(&forbidden, "mutation { other }").await.status, 200);
}

#[tokio::test]
async fn a_root_field_of_secrets_is_covered_by_no_wildcard_and_refused_by_name() {
    let wide = [Effect::Write, Effect::Destructive, Effect::Admin].map(Selector::Effect);
    let world = world(&wide, Twist::default()).await;
    for query in
        ["mutation { keyRotate { key } }", "mutation { thingChange apiTokenCreate { t } }", "{ apiTokens }"]
    {
        assert_eq!(asked(&world, query).await.problem(), "policy-denied", "{query}");
    }
    // What a careless server takes for the same endpoint is no way around.
    let bearer = World::bearer(&world.alice);
    let json = ["Content-Type: application/json", "Content-Length: 0", bearer.as_str()];
    for line in ["POST /acme/GraphQL", "POST /acme/graphql/", "PUT /acme/graphql"] {
        let answer = world.send(&world.alice, &world.request(line, &json)).await;
        assert_eq!(answer.problem(), "policy-denied", "{line}");
    }
    let named = [Selector::Operation(OperationId("keys.rotate".into()))];
    world.set_grant(&world.alice, |grant| grant.operations = named.to_vec()).await;
    assert_eq!(asked(&world, "mutation { keyRotate { key } }").await.problem(), "not-supported");
    assert_eq!(world.tool.count(), 0);
}

#[tokio::test]
async fn what_cannot_be_read_is_refused_whatever_is_granted() {
    let all = [Effect::Write, Effect::Destructive, Effect::Admin].map(Selector::Effect);
    let world = world(&all, Twist::default()).await;
    let json = "Content-Type: application/json";
    let good = json!({ "query": QUERY }).to_string();
    let twice = format!("{{\"query\":\"{QUERY}\",\"query\":\"{MUTATION}\"}}");
    let persisted = r#"{"query":"{ things }","extensions":{"persistedQuery":{"sha256Hash":"x"}}}"#;
    let subscription = r#"{"query":"subscription { things }"}"#;
    let batch = format!("[{good}]");
    for (fields, body, problem, field) in [
        (vec![json], twice.as_str(), "bad-request", "body"),
        (vec![json], persisted, "bad-request", "body"),
        (vec![json], batch.as_str(), "bad-request", "body"),
        (vec![json], "{\"query\":\"{\"}", "bad-request", "body"),
        (vec![json], "", "bad-request", "body"),
        (vec![json], subscription, "not-supported", "body"),
        (vec![], good.as_str(), "not-supported", "content-type"),
        (vec!["Content-Type: application/graphql"], QUERY, "not-supported", "content-type"),
        (
            vec!["Content-Type: application/json; charset=utf-16"],
            good.as_str(),
            "not-supported",
            "content-type",
        ),
        (
            vec!["Content-Type: multipart/form-data; boundary=x"],
            good.as_str(),
            "not-supported",
            "content-type",
        ),
        (vec![json, "Content-Type: text/plain"], good.as_str(), "not-supported", "content-type"),
        (vec![json, "Content-Encoding: gzip"], good.as_str(), "not-supported", "content-encoding"),
    ] {
        let answer = sent(&world, &fields, body).await;
        assert_eq!(
            (answer.problem().as_str(), answer.json()["field"].as_str()),
            (problem, Some(field)),
            "{body}"
        );
    }
    let bearer = World::bearer(&world.alice);
    for (line, field) in
        [("GET /acme/graphql?query={things}", "method"), ("POST /acme/graphql?query={things}", "query")]
    {
        let length = format!("Content-Length: {}", good.len());
        let head = world.request(line, &[json, &length, &bearer]);
        let answer = world.send(&world.alice, &format!("{head}{good}")).await;
        assert_eq!(
            (answer.problem().as_str(), answer.json()["field"].as_str()),
            ("not-supported", Some(field))
        );
    }
    assert_eq!(world.tool.count(), 0);
    assert_eq!(asked(&world, QUERY).await.status, 200);
}

#[tokio::test]
async fn a_body_that_is_read_is_bounded_in_size_time_and_number() {
    let limits = Limits {
        read_max_bytes: 1024,
        read_within: Duration::from_secs(2),
        readings_max: 1,
        ..Limits::default()
    };
    let world =
        world(&[Selector::Effect(Effect::Read)], Twist { limits: Some(limits), ..Twist::default() }).await;
    let long = format!("{{ things {} }}", " ".repeat(1024));
    assert_eq!(asked(&world, &long).await.problem(), "too-large");
    let whole = request(&world, &["Content-Type: application/json"], &json!({ "query": QUERY }).to_string());
    let begun = &whole[..whole.len() - 5];
    let slow = tokio::sync::Mutex::new(Vec::new());
    // One that comes while another is read finds the place taken, whichever of the two that is.
    let is_held = || async {
        let mut wire = world.connect(&world.alice).await;
        wire.write(begun).await;
        slow.lock().await.push(wire);
        asked(&world, QUERY).await.status == 429
    };
    world.eventually("the one place is taken", is_held).await;
    let mut told = Vec::new();
    for mut wire in slow.into_inner() {
        told.push(wire.answer().await.problem());
    }
    assert!(told.contains(&"bad-request".to_owned()), "{told:?}");
    assert_eq!(asked(&world, QUERY).await.status, 200);
}

#[tokio::test]
async fn a_call_that_waited_is_decided_anew_on_what_was_read() {
    for (is_narrowed, told) in [(false, (200, 1)), (true, (403, 0))] {
        let world = Arc::new(world(&[Selector::Effect(Effect::Write)], Twist::default()).await);
        world.keeper.leases.forget_permits(Semaphore::MAX_PERMITS);
        let calling = Arc::clone(&world);
        let call = tokio::spawn(async move { asked(&calling, MUTATION).await });
        world.eventually("the request for a lease", || async { world.keeper.count("lease") == 1 }).await;
        if is_narrowed {
            let reads = vec![Selector::Effect(Effect::Read)];
            world.set_grant(&world.alice, |grant| grant.operations = reads).await;
        } else {
            world.set_task(&world.mallory, |task| task.purpose = "another change".into()).await;
        }
        world.keeper.leases.add_permits(1);
        let answer = call.await.unwrap();
        assert_eq!((answer.status, world.tool.count()), told, "{answer:?}");
        assert!(!is_narrowed || answer.problem() == "policy-denied");
    }
}

#[tokio::test]
async fn a_body_that_nobody_must_read_still_streams() {
    let world = reading().await;
    world.set_grant(&world.alice, |grant| grant.operations = vec![Selector::Effect(Effect::Write)]).await;
    let body = "x".repeat(512 * 1024);
    let length = format!("Content-Length: {}", body.len());
    let bearer = World::bearer(&world.alice);
    let head = world.request("POST /acme/things", &[&length, &bearer]);
    assert_eq!(world.send(&world.alice, &format!("{head}{body}")).await.status, 200);
    assert_eq!(world.tool.take()[0].body.len(), body.len());
    assert_eq!(intents(&world).await[0].body, None);
}
