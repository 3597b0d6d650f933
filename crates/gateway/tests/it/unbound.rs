//! The edges of what no tool has: hosts that only a provider's pattern admits, hosts that are not reached, what is looked
//! at beside a token endpoint, and answers that outlive their wake.

use crate::{
    client::{Answer, Wire, careless},
    upstream::{Reply, Upstream},
    world::{EVIL, HOST, LOGIN, Twist, World},
};
use nightlatch_domain::{
    ports::store::ControlStore,
    principal::{Agent, AgentStatus},
    task::{Egress, TaskState},
    tool::Scheme,
};
use nightlatch_gateway::Limits;
use nightlatch_ledger::record::{Entry, EventName};
use std::{sync::Arc, time::Duration};
use tokio::sync::Notify;

/// The ways that were opened, as the ledger has them.
async fn recorded(world: &World) -> Vec<(Option<String>, Option<Scheme>, Option<u16>)> {
    let records = world.records().await;
    let ways = records.iter().filter_map(|record| match &record.entry {
        Entry::Event(event) if event.event == EventName::EgressOpened => {
            Some((event.host.clone(), event.scheme, event.port))
        }
        _ => None,
    });
    ways.collect()
}

async fn opened(twist: Twist) -> World {
    let world = World::twisted(twist).await;
    world.set_egress(&world.alice, Egress::Open).await;
    world
}

async fn plainly(world: &World, request: &str) -> Answer {
    let mut wire = world.direct(&world.alice).await;
    wire.write(request).await;
    wire.answer().await
}

/// The last decision is a refusal with this problem, of this host.
async fn refused(world: &World, problem: &str, host: &str, port: u16) {
    let decisions = world.decisions().await;
    let Entry::Refusal(refusal) = &decisions.last().unwrap().entry else { panic!("{decisions:?}") };
    assert_eq!(
        (refusal.problem.as_str(), refusal.host.as_deref(), refusal.port),
        (problem, Some(host), Some(port))
    );
}

#[tokio::test]
async fn a_host_that_only_a_pattern_of_token_endpoints_admits_is_reached_in_no_way() {
    let world = World::new().await;
    for egress in [Egress::Tools, Egress::Open] {
        world.set_egress(&world.alice, egress).await;
        for host in ["a.tenants.acme.test", "a.b.tenants.acme.test", LOGIN] {
            for port in [443, 8443, 80] {
                if host == LOGIN && port == 443 {
                    continue;
                }
                let to = format!("{host}:{port}");
                let answer = world.tunnel(&world.alice, &to, false).await.err().unwrap();
                assert_eq!(answer.problem(), "destination-denied", "{to}");
                refused(&world, "destination-denied", host, port).await;
            }
            for at in [host.to_owned(), format!("{host}:443"), format!("{host}:8443")] {
                let body = format!("grant_type=refresh_token&refresh_token={}", world.alice.reference);
                let request = format!(
                    "POST http://{at}/token HTTP/1.1\r\nHost: {at}\r\nContent-Length: {}\r\n\r\n{body}",
                    body.len()
                );
                assert_eq!(plainly(&world, &request).await.problem(), "destination-denied", "{at}");
            }
        }
    }
    assert!(recorded(&world).await.is_empty());
    assert_eq!(world.evil.count(), 0);
}

#[tokio::test]
async fn a_way_that_nobody_answers_has_one_entry_with_host_scheme_and_port() {
    let world = opened(Twist::default()).await;
    let before = world.decisions().await.len();
    let answer = world.tunnel(&world.alice, "nowhere.test:8443", false).await.err().unwrap();
    assert_eq!((answer.status, answer.problem().as_str()), (502, "upstream-unreachable"));
    let request = "GET http://nowhere.test:81/ HTTP/1.1\r\nHost: nowhere.test:81\r\n\r\n";
    assert_eq!(plainly(&world, request).await.problem(), "upstream-unreachable");
    assert_eq!(world.decisions().await.len(), before);
    let nowhere = || Some("nowhere.test".to_owned());
    assert_eq!(
        recorded(&world).await,
        [(nowhere(), Some(Scheme::Https), Some(8443)), (nowhere(), Some(Scheme::Http), Some(81))]
    );
}

#[tokio::test]
async fn what_may_not_be_dialled_is_told_like_what_is_not_there_and_recorded_as_what_it_is() {
    let world = opened(Twist { elsewhere: vec!["shut.test"], ..Twist::default() }).await;
    let said = |answer: Answer| {
        let mut body = answer.json();
        body.as_object_mut().unwrap().remove("call").unwrap();
        (answer.status, body)
    };
    let nowhere = world.tunnel(&world.alice, "nowhere.test:443", false).await.err().unwrap();
    let shut = world.tunnel(&world.alice, "shut.test:443", false).await.err().unwrap();
    assert_eq!(said(*shut), said(*nowhere));
    refused(&world, "destination-denied", "shut.test", 443).await;
    let plain = |host: &str| format!("GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\n\r\n");
    let nowhere = plainly(&world, &plain("nowhere.test")).await;
    assert_eq!(said(plainly(&world, &plain("shut.test")).await), said(nowhere));
    refused(&world, "destination-denied", "shut.test", 80).await;
    assert_eq!(world.evil.count(), 0);
}

#[tokio::test]
async fn whoever_has_no_place_opens_no_way() {
    let limits = Limits { tunnels_each_max: 1, ..Limits::default() };
    let world = opened(Twist { limits: Some(limits), ..Twist::default() }).await;
    let _held = world.tunnel(&world.alice, "evil.test:443", false).await.unwrap();
    let refused = world.tunnel(&world.alice, "evil.test:443", false).await.err().unwrap();
    assert_eq!(refused.problem(), "too-many-calls");
    assert_eq!(recorded(&world).await.len(), 1);
}

#[tokio::test]
async fn an_expectation_that_we_answer_goes_no_further() {
    let plain = Upstream::start_plain().await;
    let world = opened(Twist { plainly: Some(plain.address), ..Twist::default() }).await;
    let mut wire = world.direct(&world.alice).await;
    wire.write("POST http://plain.test/ HTTP/1.1\r\nHost: plain.test\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\nbody")
        .await;
    let mut answer = wire.answer().await;
    if answer.status == 100 {
        answer = wire.answer().await;
    }
    assert_eq!(answer.status, 200);
    let seen = plain.take().pop().unwrap();
    assert!(seen.all("expect").is_empty() && seen.body == b"body");
}

/// A host that begins an answer and never ends it; or does not begin.
async fn endless(begins: bool) -> (World, Upstream) {
    let plain = Upstream::start_plain().await;
    let gate = Arc::new(Notify::new());
    plain.answers(move |_| {
        let head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n".to_vec();
        let first = if begins { head } else { Vec::new() };
        Reply { pieces: vec![first, Vec::new()], gate: Some(Arc::clone(&gate)), ..Reply::default() }
    });
    let world = opened(Twist { plainly: Some(plain.address), ..Twist::default() }).await;
    (world, plain)
}

async fn sent(world: &World) -> Wire {
    let mut wire = world.direct(&world.alice).await;
    wire.write("GET http://plain.test/ HTTP/1.1\r\nHost: plain.test\r\n\r\n").await;
    wire
}

/// Ends the wake that alice acts in: by a human, which ends her connections too; or by its hour, when she has the
/// next one already, and her connections stay.
async fn wake_ends(world: &World, by_its_hour: bool) {
    if !by_its_hour {
        return world.set_task(&world.alice, |task| task.state = TaskState::Dormant).await;
    }
    // It is renewed a quarter of an hour before its end.
    for secs in [2701, 900] {
        world.clock.forward(Duration::from_secs(secs));
        world.eventually("a fresh look", || async { world.gateway.directory().view().is_ok() }).await;
        world.still_serves(&world.alice).await;
    }
    assert_eq!(world.keeper.count("wake"), 2);
}

#[tokio::test]
async fn an_answer_in_plain_http_that_stands_still_is_cut_with_its_wake() {
    for by_its_hour in [false, true] {
        let (world, _plain) = endless(true).await;
        let mut wire = sent(&world).await;
        assert!(wire.head().await.unwrap().starts_with("HTTP/1.1 200"));
        assert_eq!(wire.chunk().await.unwrap(), b"first");
        wake_ends(&world, by_its_hour).await;
        assert!(wire.is_closed().await, "it outlived its wake");
    }
}

#[tokio::test]
async fn a_request_in_plain_http_that_is_not_answered_ends_with_its_wake() {
    for by_its_hour in [false, true] {
        let (world, plain) = endless(false).await;
        let mut wire = sent(&world).await;
        world.eventually("it arrived", || async { plain.count() == 1 }).await;
        wake_ends(&world, by_its_hour).await;
        let answer = tokio::time::timeout(Duration::from_secs(5), wire.answer()).await.expect("it goes on");
        let is_cut = answer.status == 0 && !by_its_hour;
        assert!(is_cut || answer.problem() == "outcome-unknown", "{answer:?}");
    }
}

/// One request inside of a tunnel to the provider's host.
async fn asked(world: &World, request: &str) -> Answer {
    let tunnel = world.tunnel(&world.alice, &format!("{LOGIN}:443"), true).await.unwrap();
    let mut wire = tunnel.secured(careless(&["http/1.1"], true), LOGIN).await.unwrap();
    wire.write(request).await;
    wire.answer().await
}

#[tokio::test]
async fn what_is_public_beside_a_token_endpoint_is_looked_at_where_egress_is_open() {
    let login = Upstream::start(LOGIN).await;
    let twist = Twist { login: Some((login.address, login.root.clone())), ..Twist::default() };
    let world = World::twisted(twist).await;
    let look = format!(
        "GET /common/.well-known/openid-configuration?p=1 HTTP/1.1\r\nHost: {LOGIN}\r\nConnection: x-mine\r\nX-Mine: 1\r\n\r\n"
    );
    assert_eq!(asked(&world, &look).await.problem(), "destination-denied");
    world.set_egress(&world.alice, Egress::Open).await;
    let answer = asked(&world, &look).await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "{\"fine\":true}"), "{answer:?}");
    let seen = login.take().pop().unwrap();
    assert_eq!(seen.line(), "GET /common/.well-known/openid-configuration?p=1 HTTP/1.1");
    assert!(seen.all("x-mine").is_empty() && seen.all("authorization").is_empty());
    assert_eq!(seen.all("host"), [LOGIN]);
    assert_eq!(recorded(&world).await, [(Some(LOGIN.to_owned()), Some(Scheme::Https), Some(443))]);
    // Whoever was disabled looks at nothing, and neither does whose task has ended.
    let agents = world.store.agents(world.tenant).await.unwrap();
    let alice = agents.into_iter().find(|row| row.id == world.alice.agent).unwrap();
    for (status, allowed) in [(AgentStatus::Disabled, false), (AgentStatus::Active, true)] {
        world.store.put_agent(Agent { status, ..alice.clone() }).await.unwrap();
        world.in_effect().await;
        assert_eq!(asked(&world, &look).await.status == 200, allowed, "{status:?}");
    }
    login.take();
    world.set_task(&world.alice, |task| task.state = TaskState::Completed).await;
    assert_eq!(asked(&world, &look).await.problem(), "destination-denied");
    assert_eq!(login.count(), 0);
}

#[tokio::test]
async fn what_is_more_than_a_look_is_refused_at_a_token_endpoints_host_whatever_the_egress() {
    let login = Upstream::start(LOGIN).await;
    let twist = Twist { login: Some((login.address, login.root.clone())), ..Twist::default() };
    let world = opened(twist).await;
    let reference = &world.alice.reference;
    for (line, field) in [
        ("POST /keys", "Content-Length: 0".to_owned()),
        ("GET /keys", "Content-Length: 1".to_owned()),
        ("DELETE /keys", "Accept: x".to_owned()),
        ("GET /keys", format!("Authorization: Bearer {reference}")),
        ("GET /keys", "Authorization: Basic eDp5".to_owned()),
        ("GET /keys", "X-Api-Key: x".to_owned()),
        ("GET /keys", "Cookie: session=x".to_owned()),
        ("GET /keys?access_token=x", "Accept: x".to_owned()),
    ] {
        let answer = asked(&world, &format!("{line} HTTP/1.1\r\nHost: {LOGIN}\r\n{field}\r\n\r\n")).await;
        assert_eq!(answer.problem(), "destination-denied", "{line} {field}");
    }
    for line in ["GET /token", "GET /Token/", "HEAD /token"] {
        let answer = asked(&world, &format!("{line} HTTP/1.1\r\nHost: {LOGIN}\r\n\r\n")).await;
        assert_eq!(answer.status, 400, "{line}");
    }
    // A host that a tool serves is that tool's, for every path and every method.
    let tunnel = world.tunnel(&world.alice, &format!("{HOST}:443"), true).await.unwrap();
    let mut wire = tunnel.secured(careless(&["http/1.1"], true), HOST).await.unwrap();
    wire.write(format!("GET /things HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).await;
    assert_eq!(wire.answer().await.problem(), "reference-missing");
    assert_eq!((login.count(), world.tool.count(), recorded(&world).await.len()), (0, 0, 0));
    assert_eq!(world.evil.count(), 0, "{EVIL}");
}

#[tokio::test]
async fn a_host_under_invalid_is_neither_resolved_nor_reached_though_the_task_was_opened() {
    let world = opened(Twist { elsewhere: vec!["other.invalid"], ..Twist::default() }).await;
    let plain = |host: &str| {
        format!("POST http://{host}/v1/calls HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\n\r\n")
    };
    for host in ["nightlatch.invalid", "NightLatch.Invalid", "other.invalid", "invalid"] {
        for port in [443, 80, 8443] {
            let answer = world.tunnel(&world.alice, &format!("{host}:{port}"), false).await.err().unwrap();
            assert_eq!((answer.status, answer.problem().as_str()), (403, "companion-only"), "{host}:{port}");
            assert!(answer.text().contains("on a connection of its own"), "{answer:?}");
            refused(&world, "companion-only", &host.to_ascii_lowercase(), port).await;
        }
        assert_eq!(plainly(&world, &plain(host)).await.problem(), "companion-only", "{host}");
        refused(&world, "companion-only", &host.to_ascii_lowercase(), 80).await;
    }
    // With its final dot no name is read at all.
    assert_eq!(plainly(&world, &plain("nightlatch.invalid.")).await.problem(), "bad-request");
    assert!(world.tunnel(&world.alice, "nightlatch.invalid.:443", false).await.is_err());
    // A pooled client: the companion's first head was another host's.
    let mut wire = world.tunnel(&world.alice, "plain-http.invalid:80", false).await.unwrap();
    wire.write(plain("nightlatch.invalid")).await;
    assert_eq!(wire.answer().await.problem(), "companion-only");
    assert_eq!((world.resolver.asked(), recorded(&world).await), (vec![], vec![]));
    assert_eq!(world.evil.count(), 0);
    // What only looks like it is looked up as any other.
    plainly(&world, &plain("invalid.nowhere.test")).await;
    assert_eq!(world.resolver.asked(), ["invalid.nowhere.test"]);
}
