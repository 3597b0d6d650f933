//! Hosts that no tool has: refused, or passed through without a credential where a human opened the task for it;
//! recorded by host, bounded, and cut with the wake.

use crate::{
    client::{Wire, careless, trusting},
    upstream::{Reply, Upstream},
    world::{Actor, EVIL, HOST, Twist, World},
};
use nightlatch_domain::{
    ports::store::ControlStore,
    principal::AgentStatus,
    task::{Egress, TaskState},
};
use nightlatch_gateway::Limits;
use nightlatch_ledger::record::{Entry, EventName};
use std::time::Duration;

async fn open() -> World {
    opened(Limits::default()).await
}

async fn opened(limits: Limits) -> World {
    let world = World::twisted(Twist { limits: Some(limits), ..Twist::default() }).await;
    world.set_egress(&world.alice, Egress::Open).await;
    world
}

async fn through(world: &World, actor: &Actor, in_stream: bool) -> Wire {
    let tunnel = world.tunnel(actor, "evil.test:443", in_stream).await.unwrap();
    // TLS is between the two ends: it is the host's own certificate that is trusted.
    tunnel.secured(trusting(&world.evil.root, &["http/1.1"], world.clock.time()), EVIL).await.unwrap()
}

/// The hosts that were opened, as the ledger has them.
async fn recorded(world: &World) -> Vec<String> {
    let records = world.records().await;
    let hosts = records.iter().filter_map(|record| match &record.entry {
        Entry::Event(event) if event.event == EventName::EgressOpened => event.host.clone(),
        _ => None,
    });
    hosts.collect()
}

#[tokio::test]
async fn an_open_task_speaks_to_another_host_end_to_end_and_without_a_credential() {
    let world = open().await;
    for in_stream in [false, true] {
        let mut wire = through(&world, &world.alice, in_stream).await;
        wire.write(format!("GET /hello HTTP/1.1\r\nHost: {EVIL}\r\nAuthorization: Bearer my-own\r\n\r\n"))
            .await;
        let answer = wire.answer().await;
        assert_eq!((answer.status, answer.field("nightlatch-call")), (200, None));
        let seen = world.evil.take().pop().unwrap();
        // Nobody in between can read it, so nobody can add to it.
        assert_eq!(seen.all("authorization"), ["Bearer my-own"]);
    }
    assert_eq!(recorded(&world).await, [EVIL, EVIL]);
    assert!(world.tunnel(&world.mallory, "evil.test:443", false).await.is_err(), "another task is shut");
}

#[tokio::test]
async fn the_server_name_must_be_the_opened_host() {
    let world = open().await;
    for (name, with_name) in [(HOST, true), ("other.test", true), (EVIL, false)] {
        let tunnel = world.tunnel(&world.alice, "evil.test:443", false).await.unwrap();
        assert!(tunnel.secured(careless(&["http/1.1"], with_name), name).await.is_err(), "{name}");
        world
            .eventually("a refusal", || async {
                matches!(&world.decisions().await.last().unwrap().entry, Entry::Refusal(refusal) if refusal.problem == "misdirected-request")
            })
            .await;
    }
    let mut tunnel = world.tunnel(&world.alice, "evil.test:443", false).await.unwrap();
    tunnel.write("GET / HTTP/1.1\r\n\r\n").await;
    assert_eq!(tunnel.answer().await.status, 400);
    assert_eq!(world.evil.count(), 0, "nothing was passed on");
    through(&world, &world.alice, false).await;
}

#[tokio::test]
async fn an_open_task_reaches_no_address_and_no_tools_host_in_another_way() {
    let world = open().await;
    for (authority, problem) in [
        ("127.0.0.1:443", "destination-denied"),
        ("[::1]:443", "destination-denied"),
        ("169.254.169.254:443", "destination-denied"),
        ("api.acme.test:8443", "destination-denied"),
        // Nobody knows this name.
        ("nowhere.test:443", "upstream-unreachable"),
    ] {
        let refused = world.tunnel(&world.alice, authority, false).await.err().unwrap();
        assert_eq!(refused.problem(), problem, "{authority}");
    }
    // A tool's host is intercepted, whatever the egress says: our leaf, and not the host's.
    let tunnel = world.tunnel(&world.alice, "api.acme.test:443", false).await.unwrap();
    assert!(
        tunnel.secured(trusting(&world.tool.root, &["http/1.1"], world.clock.time()), HOST).await.is_err()
    );
}

#[tokio::test]
async fn what_ends_the_task_cuts_what_was_opened() {
    for end in ["sleep", "complete", "kill", "hour"] {
        for in_stream in [false, true] {
            let world = open().await;
            let mut wire = through(&world, &world.alice, in_stream).await;
            wire.write(format!("GET /hello HTTP/1.1\r\nHost: {EVIL}\r\n\r\n")).await;
            assert_eq!(wire.answer().await.status, 200);
            let state = match end {
                "sleep" => TaskState::Dormant,
                "complete" => TaskState::Completed,
                "kill" => TaskState::Killed,
                _ => {
                    world.clock.forward(Duration::from_secs(3601));
                    TaskState::Awake
                }
            };
            world.set_task(&world.alice, |task| task.state = state).await;
            assert!(wire.is_closed().await, "{end}: what was opened outlived the wake");
        }
    }
}

#[tokio::test]
async fn what_was_opened_and_stands_still_is_cut() {
    let world = opened(Limits { body_idle: Duration::from_millis(400), ..Limits::default() }).await;
    for in_stream in [false, true] {
        let mut wire = through(&world, &world.alice, in_stream).await;
        assert!(wire.is_closed().await);
    }
}

#[tokio::test]
async fn a_task_opens_many_ways_at_once_and_then_one_at_a_time() {
    let limits = Limits { openings_at_once: 3, opening_every: Duration::from_secs(10), ..Limits::default() };
    let world = opened(limits).await;
    world.set_egress(&world.mallory, Egress::Open).await;
    let open = |actor| world.tunnel(actor, "evil.test:443", false);
    for _ in 0..3 {
        open(&world.alice).await.unwrap();
    }
    // A request in plain HTTP has no other pace.
    let mut wire = world.direct(&world.alice).await;
    wire.write("GET http://evil.test/ HTTP/1.1\r\nHost: evil.test\r\n\r\n").await;
    let refused = wire.answer().await;
    assert_eq!((refused.status, refused.problem().as_str()), (429, "too-many-calls"));
    assert_eq!(refused.field("retry-after").as_deref(), Some("10"));
    assert_eq!(open(&world.alice).await.err().unwrap().problem(), "too-many-calls");
    assert_eq!(recorded(&world).await.len(), 3, "what was not opened was recorded as if it were");
    open(&world.mallory).await.unwrap();
    world.clock.forward(Duration::from_secs(10));
    open(&world.alice).await.unwrap();
    assert!(open(&world.alice).await.is_err());
}

#[tokio::test]
async fn no_record_no_wake_no_way_out() {
    let world = open().await;
    world.keeper.knobs.lock().unwrap().hangs = false;
    world
        .keeper
        .knobs
        .lock()
        .unwrap()
        .refuse
        .insert("wake", nightlatch_domain::ports::gateway_keeper::KeeperRefusal::ProofRejected);
    let refused = world.tunnel(&world.alice, "evil.test:443", false).await.err().unwrap();
    assert_eq!(refused.problem(), "lease-refused");
    world.keeper.knobs.lock().unwrap().refuse.clear();
    through(&world, &world.alice, false).await;
    world.ledger.close().await.unwrap();
    let refused = world.tunnel(&world.alice, "evil.test:443", false).await.err().unwrap();
    assert_eq!(refused.problem(), "ledger-unavailable");
    assert_eq!(world.evil.count(), 0);
}

#[tokio::test]
async fn plain_http_passes_on_without_what_belongs_to_a_hop() {
    let plain = Upstream::start_plain().await;
    plain.answers(|_| Reply::with("200 OK", &["Connection: x-hop", "X-Hop: 1", "X-End: 2"], "hello"));
    let world = World::twisted(Twist { plainly: Some(plain.address), ..Twist::default() }).await;
    let request = "POST http://plain.test/a?b=c HTTP/1.1\r\nHost: plain.test\r\nProxy-Authorization: Basic eDp5\r\nConnection: x-mine\r\nX-Mine: 1\r\nAuthorization: Bearer my-own\r\nContent-Length: 4\r\n\r\nbody";
    let mut wire = world.direct(&world.alice).await;
    wire.write(request).await;
    assert_eq!(wire.answer().await.problem(), "egress-denied");
    world.set_egress(&world.alice, Egress::Open).await;
    for in_stream in [false, true] {
        let mut wire = match in_stream {
            true => world.tunnel(&world.alice, "plain-http.invalid:80", true).await.unwrap(),
            false => world.direct(&world.alice).await,
        };
        wire.write(request).await;
        let answer = wire.answer().await;
        assert_eq!((answer.status, answer.text().as_str()), (200, "hello"), "{answer:?}");
        assert_eq!((answer.field("x-hop"), answer.field("x-end").as_deref()), (None, Some("2")));
        let seen = plain.take().pop().unwrap();
        assert_eq!((seen.line(), seen.body.as_slice()), ("POST /a?b=c HTTP/1.1", &b"body"[..]));
        assert_eq!(
            (seen.all("host"), seen.all("authorization")),
            (vec!["plain.test".into()], vec!["Bearer my-own".into()])
        );
        assert!(seen.all("proxy-authorization").is_empty() && seen.all("x-mine").is_empty());
    }
    assert_eq!(recorded(&world).await, ["plain.test", "plain.test"]);
}

#[tokio::test]
async fn whoever_may_not_act_reaches_nothing_although_its_task_was_opened() {
    for end in ["complete", "disable"] {
        let world = open().await;
        match end {
            "complete" => world.set_task(&world.alice, |task| task.state = TaskState::Completed).await,
            _ => {
                let agents = world.store.agents(world.tenant).await.unwrap();
                let mut row = agents.into_iter().find(|row| row.id == world.alice.agent).unwrap();
                row.status = AgentStatus::Disabled;
                world.store.put_agent(row).await.unwrap();
                world.in_effect().await;
            }
        }
        let refused = world.tunnel(&world.alice, "evil.test:443", false).await.err().unwrap();
        assert_eq!(refused.problem(), "egress-denied", "{end}");
        assert_eq!((world.keeper.count("challenge"), recorded(&world).await.len()), (0, 0), "{end}");
    }
}

#[tokio::test]
async fn a_tunnel_keeps_the_connection_around_it() {
    let brief = Duration::from_millis(300);
    let limits = Limits { head_within: brief, stranger_within: brief, ..Limits::default() };
    let world = opened(limits).await;
    let mut wire = through(&world, &world.alice, true).await;
    // Longer than a connection that asks nothing may stand.
    assert!(tokio::time::timeout(brief * 4, wire.is_closed()).await.is_err());
    wire.write(format!("GET /hello HTTP/1.1\r\nHost: {EVIL}\r\n\r\n")).await;
    assert_eq!(wire.answer().await.status, 200);
}
