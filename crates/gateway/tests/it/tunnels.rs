//! Destination through CONNECT: what CONNECT, TLS and the requests inside say must be one host, on every stream;
//! no tunnel leads anywhere else. Each attack stands beside what is let through.

use crate::{
    client::{Answer, Wire, careless, empty, trusting},
    door::Door,
    world::{Actor, EVIL, HOST, LOGIN, SECRET, Twist, World},
};
use bytes::Bytes;
use http_body_util::Empty;
use hyper::client::conn::http2::SendRequest;
use nightlatch_domain::ports::store::{ControlStore, KeeperStore};
use nightlatch_gateway::Limits;
use nightlatch_ledger::record::Entry;
use std::time::Duration;

const AUTHORITY: &str = "api.acme.test:443";

/// A tunnel with TLS inside that asks for `name`.
async fn inside(world: &World, in_stream: bool, name: &str) -> Wire {
    let tunnel = world.tunnel(&world.alice, AUTHORITY, in_stream).await.unwrap();
    tunnel.secured(careless(&["http/1.1"], true), name).await.unwrap()
}

async fn inside_http2(world: &World, name: &str) -> SendRequest<Empty<Bytes>> {
    let tunnel = world.tunnel(&world.alice, AUTHORITY, true).await.unwrap();
    tunnel.secured(careless(&["h2"], true), name).await.unwrap().http2().await
}

fn get(host: &str, actor: &Actor) -> String {
    format!("GET /things HTTP/1.1\r\nHost: {host}\r\n{}\r\n\r\n", World::bearer(actor))
}

/// One answer on a wire, and the oracle.
async fn attacked(world: &World, wire: &mut Wire, bytes: &str) -> Answer {
    let before = world.decisions().await.len();
    wire.write(bytes).await;
    let answer = wire.answer().await;
    world.holds(&world.alice, before, &answer).await;
    answer
}

#[tokio::test]
async fn host_and_tunnel_must_agree_on_the_first_request_and_on_the_second() {
    let world = World::new().await;
    for in_stream in [false, true] {
        for host in [
            EVIL,
            "api.acme.test:8443",
            "api.acme.test.evil.test",
            "xapi.acme.test",
            "acme.test",
            "api.acme.test.",
            "u@api.acme.test",
            "127.0.0.1",
            "login.acme.test",
        ] {
            let mut first = inside(&world, in_stream, HOST).await;
            let answer = attacked(&world, &mut first, &get(host, &world.alice)).await;
            assert_eq!((answer.status, answer.problem().as_str()), (421, "misdirected-request"), "{host}");

            let mut second = inside(&world, in_stream, HOST).await;
            second.write(get(HOST, &world.alice)).await;
            assert_eq!(second.answer().await.status, 200);
            let answer = attacked(&world, &mut second, &get(host, &world.alice)).await;
            assert_eq!(answer.status, 421, "{host} as the second request");
        }
        for host in [HOST, "API.acme.test", "api.acme.test:443"] {
            let mut wire = inside(&world, in_stream, HOST).await;
            wire.write(get(host, &world.alice)).await;
            assert_eq!(wire.answer().await.status, 200, "{host}");
        }
    }
}

#[tokio::test]
async fn over_http2_every_stream_must_agree() {
    let world = World::new().await;
    let mut sender = inside_http2(&world, HOST).await;
    let own = format!("https://{HOST}/things");
    for (uri, host, status) in [
        (own.clone(), None, 200),
        (own.clone(), Some(HOST), 200),
        ("https://evil.test/things".into(), None, 421),
        (own.clone(), Some(EVIL), 421),
        ("https://evil.test/things".into(), Some(HOST), 421),
        ("https://api.acme.test:8443/things".into(), None, 421),
        ("http://api.acme.test/things".into(), None, 421),
        ("https://u@api.acme.test/things".into(), None, 421),
        // After all of that the connection still serves its own host.
        (own, None, 200),
    ] {
        let before = (world.decisions().await.len(), world.tool.count());
        let request =
            http::Request::get(&uri).header("authorization", format!("Bearer {}", world.alice.reference));
        let request = host.into_iter().fold(request, |request, host| request.header("host", host));
        let answer = Answer::of(sender.send_request(request.body(empty()).unwrap()).await.unwrap()).await;
        assert_eq!(answer.status, status, "{uri} {host:?}");
        assert_eq!(world.decisions().await.len(), before.0 + 1, "{uri} {host:?}");
        assert_eq!(world.tool.count() - before.1, usize::from(status == 200), "{uri} {host:?}");
    }
    assert_eq!(world.evil.count(), 0);
}

#[tokio::test]
async fn the_server_name_must_be_the_tunnels_host() {
    let world = World::new().await;
    for in_stream in [false, true] {
        for name in [EVIL, "api.acme.test.evil.test", LOGIN] {
            for host in [HOST, name] {
                let mut wire = inside(&world, in_stream, name).await;
                let answer = attacked(&world, &mut wire, &get(host, &world.alice)).await;
                assert_eq!(answer.status, 421, "{name} {host}");
            }
        }
        let mut wire = inside(&world, in_stream, "API.acme.test").await;
        wire.write(get(HOST, &world.alice)).await;
        assert_eq!(wire.answer().await.status, 200);
    }
}

#[tokio::test]
async fn without_a_server_name_there_is_no_handshake() {
    let world = World::new().await;
    for in_stream in [false, true] {
        let before = world.decisions().await.len();
        let tunnel = world.tunnel(&world.alice, AUTHORITY, in_stream).await.unwrap();
        assert!(tunnel.secured(careless(&["http/1.1"], false), HOST).await.is_err());
        refused_once(&world, before, "misdirected-request").await;
        world.still_serves(&world.alice).await;
    }
}

/// One refusal more, under the agent that was admitted.
async fn refused_once(world: &World, before: usize, problem: &str) {
    world.eventually("the refusal", || async { world.decisions().await.len() == before + 1 }).await;
    let decisions = world.decisions().await;
    let Entry::Refusal(refusal) = &decisions.last().unwrap().entry else { panic!("{decisions:?}") };
    assert_eq!((refusal.problem.as_str(), refusal.agent), (problem, Some(world.alice.agent)));
}

#[tokio::test]
async fn bytes_that_are_not_tls_end_the_tunnel() {
    let world = World::new().await;
    for in_stream in [false, true] {
        for bytes in [
            &get(HOST, &world.alice),
            "SSH-2.0-x\r\n",
            "CONNECT evil.test:443 HTTP/1.1\r\n\r\n",
            "\u{16}junk-that-is-no-record",
        ] {
            let before = world.decisions().await.len();
            let mut tunnel = world.tunnel(&world.alice, AUTHORITY, in_stream).await.unwrap();
            tunnel.write(bytes).await;
            let answer = tunnel.answer().await;
            assert_eq!((answer.status, answer.problem().as_str()), (400, "bad-request"), "{bytes}");
            assert!(tunnel.is_closed().await, "{bytes}");
            refused_once(&world, before, "bad-request").await;
            assert_eq!((world.tool.count(), world.evil.count()), (0, 0));
        }
    }
    world.still_serves(&world.alice).await;
}

#[tokio::test]
async fn a_tunnel_leads_to_a_tools_host_at_its_port_and_nowhere_else() {
    let world = World::new().await;
    // A tunnel that ends unused is a record of its own.
    let mut stand = Vec::new();
    for in_stream in [false, true] {
        for (authority, status, problem) in [
            (EVIL.to_owned() + ":443", 403, "egress-denied"),
            ("api.acme.test.evil.test:443".into(), 403, "egress-denied"),
            ("xapi.acme.test:443".into(), 403, "egress-denied"),
            ("x.api.acme.test:443".into(), 403, "egress-denied"),
            ("acme.test:443".into(), 403, "egress-denied"),
            ("api.acme.test:8443".into(), 403, "destination-denied"),
            ("api.acme.test:80".into(), 403, "destination-denied"),
            ("127.0.0.1:443".into(), 403, "destination-denied"),
            ("[::1]:443".into(), 403, "destination-denied"),
            ("169.254.169.254:80".into(), 403, "destination-denied"),
            (world.host(), 403, "destination-denied"),
            ("2130706433:443".into(), 400, "bad-request"),
            ("127.1:443".into(), 400, "bad-request"),
            ("api.acme.test.:443".into(), 400, "bad-request"),
            ("u:p@api.acme.test:443".into(), 400, "bad-request"),
            ("api.acme.test".into(), 400, "bad-request"),
            ("api.acme.test:0443".into(), 400, "bad-request"),
        ] {
            let before = world.decisions().await.len();
            let refused = world.tunnel(&world.alice, &authority, in_stream).await.err().unwrap();
            assert_eq!((refused.status, refused.problem().as_str()), (status, problem), "{authority}");
            world.holds(&world.alice, before, &refused).await;
        }
        for authority in [AUTHORITY, "API.acme.test:443"] {
            stand.push(world.tunnel(&world.alice, authority, in_stream).await.unwrap());
        }
    }
}

#[tokio::test]
async fn what_was_refused_is_in_the_ledger_with_its_host_and_nothing_more() {
    let world = World::new().await;
    world.tunnel(&world.alice, "files.evil.test:443", false).await.err().unwrap();
    let decisions = world.decisions().await;
    let Entry::Refusal(refusal) = &decisions.last().unwrap().entry else { panic!("{decisions:?}") };
    assert_eq!((refusal.host.as_deref(), refusal.agent), (Some("files.evil.test"), Some(world.alice.agent)));
}

#[tokio::test]
async fn a_tunnel_inside_of_a_tunnel_is_refused() {
    let world = World::new().await;
    for in_stream in [false, true] {
        for authority in [AUTHORITY, "evil.test:443", "plain-http.invalid:80"] {
            let mut wire = inside(&world, in_stream, HOST).await;
            let nested = format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n");
            let answer = attacked(&world, &mut wire, &nested).await;
            assert_eq!(answer.problem(), "not-supported", "{authority}");
            let mut plain = world.tunnel(&world.alice, "plain-http.invalid:80", in_stream).await.unwrap();
            let answer = attacked(&world, &mut plain, &nested).await;
            assert_eq!(answer.problem(), "not-supported", "{authority}");
        }
    }
    let mut sender = inside_http2(&world, HOST).await;
    let request = http::Request::connect(AUTHORITY).body(empty()).unwrap();
    assert_eq!(sender.send_request(request).await.unwrap().status(), 501);
}

#[tokio::test]
async fn absolute_form_inside_of_a_tunnel_leads_nowhere_else() {
    let world = World::new().await;
    let bearer = World::bearer(&world.alice);
    for (target, host, status) in [
        (format!("https://{HOST}/things"), HOST, 400),
        ("https://evil.test/things".into(), EVIL, 421),
        ("https://evil.test/things".into(), HOST, 421),
        ("http://evil.test/things".into(), EVIL, 421),
        ("//evil.test/things".into(), HOST, 400),
    ] {
        let mut wire = inside(&world, false, HOST).await;
        let request = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n{bearer}\r\n\r\n");
        let answer = attacked(&world, &mut wire, &request).await;
        assert_eq!(answer.status, status, "{target}");
    }
}

#[tokio::test]
async fn an_extended_connect_and_a_connect_with_content_are_refused() {
    let world = World::new().await;
    for field in
        ["Content-Length: 5", "Transfer-Encoding: chunked", "Expect: 100-continue", "Upgrade: websocket"]
    {
        let mut wire = world.direct(&world.alice).await;
        let request = format!("CONNECT {AUTHORITY} HTTP/1.1\r\nHost: {AUTHORITY}\r\n{field}\r\n\r\n");
        let answer = attacked(&world, &mut wire, &request).await;
        assert!(answer.status == 400 || answer.status == 501, "{field}: {answer:?}");
    }
    for host in ["Host: evil.test:443", "Host: api.acme.test:8443"] {
        let mut wire = world.direct(&world.alice).await;
        let request = format!("CONNECT {AUTHORITY} HTTP/1.1\r\n{host}\r\n\r\n");
        assert_eq!(attacked(&world, &mut wire, &request).await.status, 421, "{host}");
    }
    let mut dial = world.dial(Some(&world.alice.identity));
    dial.alpn = &["h2"];
    let mut sender = dial.connect().await.unwrap().http2::<Empty<Bytes>>().await;
    let mut request = http::Request::connect(format!("https://{AUTHORITY}/chat")).body(empty()).unwrap();
    request.extensions_mut().insert(hyper::ext::Protocol::from_static("websocket"));
    // A client of its own accord sends none before the server has said that it takes them.
    if let Ok(answer) = sender.send_request(request).await {
        assert_eq!(answer.status(), 501);
    }
}

#[tokio::test]
async fn who_is_not_admitted_gets_no_tunnel() {
    let world = World::new().await;
    let stranger = crate::client::Identity::new();
    for identity in [None, Some(&stranger)] {
        for (alpn, in_stream) in [(&["http/1.1"][..], false), (&["h2"][..], true)] {
            for authority in [AUTHORITY, "evil.test:443", "plain-http.invalid:80"] {
                let mut dial = world.dial(identity);
                dial.alpn = alpn;
                let wire = dial.connect().await.unwrap();
                let refused = match in_stream {
                    true => wire.tunnelled_in_stream(authority).await,
                    false => wire.tunnelled(authority).await,
                };
                let refused = refused.err().unwrap();
                // Bound or not, a stranger learns the same.
                assert_eq!(
                    (refused.status, refused.problem().as_str()),
                    (401, "not-admitted"),
                    "{authority}"
                );
            }
        }
    }
}

#[tokio::test]
async fn who_calls_is_what_the_connection_around_the_tunnel_proved() {
    let world = World::new().await;
    // Mallory's tunnel with Alice's reference: mallory's call, and an alarm.
    let tunnel = world.tunnel(&world.mallory, AUTHORITY, true).await.unwrap();
    let mut wire = tunnel.secured(careless(&["http/1.1"], true), HOST).await.unwrap();
    let before = world.decisions().await.len();
    wire.write(get(HOST, &world.alice)).await;
    let answer = wire.answer().await;
    assert_eq!(answer.problem(), "reference-unknown");
    let decisions = world.decisions().await;
    let Entry::Refusal(refusal) = &decisions[before].entry else { panic!("{decisions:?}") };
    assert_eq!(refusal.agent, Some(world.mallory.agent));
    wire.write(get(HOST, &world.mallory)).await;
    assert_eq!(wire.answer().await.status, 200);
}

#[tokio::test]
async fn a_certificate_is_good_for_its_tool_and_no_other() {
    let world = World::new().await;
    let trust = world.trust(&world.alice).await;
    assert_eq!(trust.matches("BEGIN CERTIFICATE").count(), 1, "one granted tool, one authority");
    let tunnel = world.tunnel(&world.alice, AUTHORITY, false).await.unwrap();
    let mut wire = tunnel.secured(trusting(&trust, &["http/1.1"], world.clock.time()), HOST).await.unwrap();
    wire.write(get(HOST, &world.alice)).await;
    assert_eq!(wire.answer().await.status, 200);
    // A tool that the catalogue knows and nobody granted: a tunnel, a name, and nobody who trusts it.
    let tunnel = world.tunnel(&world.alice, "api.openai.com:443", false).await.unwrap();
    assert!(
        tunnel.secured(trusting(&trust, &["http/1.1"], world.clock.time()), "api.openai.com").await.is_err()
    );
    let tunnel = world.tunnel(&world.alice, "api.openai.com:443", false).await.unwrap();
    assert!(tunnel.secured(careless(&["http/1.1"], true), "api.openai.com").await.is_ok());
    // The grant ends, and with it the trust.
    world.set_grant(&world.alice, |grant| grant.revoked_at = Some(grant.created_at)).await;
    assert_eq!(world.trust(&world.alice).await, "");
}

#[tokio::test]
async fn plain_http_never_reaches_a_host_that_a_tool_has_over_tls() {
    let world = World::new().await;
    let bearer = World::bearer(&world.alice);
    for egress in [nightlatch_domain::task::Egress::Tools, nightlatch_domain::task::Egress::Open] {
        world.set_egress(&world.alice, egress).await;
        for authority in [HOST, "api.acme.test:443", LOGIN] {
            for in_stream in [false, true] {
                let mut wire = match in_stream {
                    true => world.tunnel(&world.alice, "plain-http.invalid:80", true).await.unwrap(),
                    false => world.direct(&world.alice).await,
                };
                let request = format!(
                    "GET http://{authority}/things HTTP/1.1\r\nHost: {authority}\r\n{bearer}\r\n\r\n"
                );
                let answer = attacked(&world, &mut wire, &request).await;
                assert_eq!(answer.problem(), "destination-denied", "{authority}");
            }
        }
    }
}

#[tokio::test]
async fn one_key_holds_no_more_tunnels_than_its_own() {
    let limits = Limits { tunnels_each_max: 2, ..Limits::default() };
    let world = World::twisted(Twist { limits: Some(limits), ..Twist::default() }).await;
    let first = world.tunnel(&world.alice, AUTHORITY, false).await.unwrap();
    let second = world.tunnel(&world.alice, AUTHORITY, true).await.unwrap();
    let refused = world.tunnel(&world.alice, AUTHORITY, true).await.err().unwrap();
    assert_eq!((refused.status, refused.problem().as_str()), (429, "too-many-calls"));
    assert!(world.tunnel(&world.mallory, AUTHORITY, false).await.is_ok(), "another key has its own");
    drop((first, second));
    world
        .eventually("their places are free", || async {
            world.tunnel(&world.alice, AUTHORITY, false).await.is_ok()
        })
        .await;
}

#[tokio::test]
async fn a_tunnel_that_says_nothing_ends() {
    let brief = Duration::from_millis(300);
    let limits = Limits { handshake_within: brief, head_within: brief, ..Limits::default() };
    let world = World::twisted(Twist { limits: Some(limits), ..Twist::default() }).await;
    for in_stream in [false, true] {
        let mut silent = world.tunnel(&world.alice, AUTHORITY, in_stream).await.unwrap();
        assert!(silent.is_closed().await, "before TLS");
        let mut idle = inside(&world, in_stream, HOST).await;
        assert!(idle.is_closed().await, "after TLS");
    }
}

#[tokio::test]
async fn a_tunnel_that_ends_before_a_request_leaves_a_record_of_its_host() {
    let world = World::new().await;
    for in_stream in [false, true] {
        for leaves in [true, false] {
            let before = world.decisions().await.len();
            let tunnel = world.tunnel(&world.alice, AUTHORITY, in_stream).await.unwrap();
            if leaves {
                drop(tunnel);
            } else {
                // It trusts the tool itself, and not whoever stands for it.
                let distrusting = trusting(&world.tool.root, &["http/1.1"], world.clock.time());
                assert!(tunnel.secured(distrusting, HOST).await.is_err());
            }
            refused_once(&world, before, "bad-request").await;
            let decisions = world.decisions().await;
            let Entry::Refusal(refusal) = &decisions.last().unwrap().entry else { panic!("{decisions:?}") };
            assert_eq!(refusal.host.as_deref(), Some(HOST));
        }
    }
}

#[tokio::test]
async fn sleep_closes_every_tunnel_of_the_task_and_nobody_elses() {
    let world = World::new().await;
    let mut closed = [inside(&world, false, HOST).await, inside(&world, true, HOST).await];
    let tunnel = world.tunnel(&world.mallory, AUTHORITY, true).await.unwrap();
    let mut kept = tunnel.secured(careless(&["http/1.1"], true), HOST).await.unwrap();
    for wire in &mut closed {
        wire.write(get(HOST, &world.alice)).await;
        assert_eq!(wire.answer().await.status, 200);
    }
    world.set_task(&world.alice, |task| task.state = nightlatch_domain::task::TaskState::Dormant).await;
    for wire in &mut closed {
        assert!(wire.is_closed().await, "a tunnel outlived its wake");
    }
    kept.write(get(HOST, &world.mallory)).await;
    assert_eq!(kept.answer().await.status, 200);
}

#[tokio::test]
async fn two_tools_at_one_host_are_told_apart_by_the_reference() {
    let world = World::new().await;
    let other = crate::world::MANIFEST
        .replace("name = \"acme\"", "name = \"zeta\"")
        .replace("Basic realm=\"Acme\"", "Basic realm=\"Zeta\"");
    world.add_tools(&[("zeta", &other)]).await;
    let reference = world.granted(&world.alice, "zeta", crate::world::hosts()).await;
    let mut wire = inside(&world, false, HOST).await;
    for (reference, secret) in
        [(world.alice.reference.clone(), SECRET.to_owned()), (reference, crate::world::other_secret("zeta"))]
    {
        wire.write(format!(
            "GET /things HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {reference}\r\n\r\n"
        ))
        .await;
        assert_eq!(wire.answer().await.status, 200);
        assert_eq!(world.tool.take()[0].all("authorization"), [format!("Bearer {secret}")]);
    }
    // Without one, the first tool that the task has a grant for asks for it.
    wire.write(format!("GET /things HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).await;
    let answer = wire.answer().await;
    assert_eq!(
        (answer.status, answer.field("www-authenticate").as_deref()),
        (401, Some("Basic realm=\"Acme\""))
    );
    world.set_grant(&world.alice, |grant| grant.revoked_at = Some(grant.created_at)).await;
    wire = inside(&world, false, HOST).await;
    wire.write(format!("GET /things HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).await;
    assert_eq!(wire.answer().await.field("www-authenticate").as_deref(), Some("Basic realm=\"Zeta\""));
    // And TLS is spoken in the name of the tool that the task has a grant for.
    let trusted = trusting(&world.trust(&world.alice).await, &["http/1.1"], world.clock.time());
    let tunnel = world.tunnel(&world.alice, AUTHORITY, false).await.unwrap();
    assert!(tunnel.secured(trusted, HOST).await.is_ok());
}

/// Lets time pass, and waits until the directory has been looked at again.
async fn hours_pass(world: &World, hours: u64) {
    world.clock.forward(Duration::from_secs(hours * 3600));
    let is_fresh = || async {
        let mut wire = world.direct(&world.alice).await;
        wire.write(world.request("GET /v1/trust", &[])).await;
        wire.answer().await.status == 200
    };
    world.eventually("the directory is fresh", is_fresh).await;
}

#[tokio::test]
async fn a_leaf_is_made_anew_before_it_ends_and_used_until_then() {
    let world = World::new().await;
    let leaf = async || {
        let trusted = trusting(&world.trust(&world.alice).await, &["http/1.1"], world.clock.time());
        let tunnel = world.tunnel(&world.alice, AUTHORITY, false).await.unwrap();
        tunnel.secured(trusted, HOST).await.unwrap().certificate.unwrap()
    };
    let first = leaf().await;
    hours_pass(&world, 11).await;
    assert_eq!(leaf().await, first);
    hours_pass(&world, 2).await;
    assert_ne!(leaf().await, first);
}

#[tokio::test]
async fn a_host_that_was_confirmed_just_now_is_served_and_one_that_was_taken_back_is_not() {
    let world = World::new().await;
    let manifest = "name = \"zeta\"\ntitle = \"Z\"\ndocs = \"https://d.test\"\nsafe_methods = true\n[[host]]\nhost = \"*.zeta.test\"\nkey = { kind = \"bearer\" }\n";
    world.add_tools(&[("zeta", manifest)]).await;
    let host = |name: &str| nightlatch_domain::tool::BoundHost {
        host: name.into(),
        ..crate::world::hosts()[0].clone()
    };
    for name in ["a.zeta.test", "b.zeta.test"] {
        world.granted(&world.alice, "zeta", vec![host(name)]).await;
        // What the tool's authority is good for grew; its earlier certificate is no longer what is handed out.
        let trusted = trusting(&world.trust(&world.alice).await, &["http/1.1"], world.clock.time());
        let tunnel = world.tunnel(&world.alice, &format!("{name}:443"), false).await.unwrap();
        assert!(tunnel.secured(trusted, name).await.is_ok(), "{name}");
    }
    let connections = world.store.connections(world.tenant).await.unwrap();
    let taken = connections.iter().find(|row| row.hosts[0].host == "a.zeta.test").unwrap();
    world.store.remove_connection(world.tenant, taken.id, crate::keeper::past()).await.unwrap();
    world.in_effect().await;
    assert_eq!(
        world.tunnel(&world.alice, "a.zeta.test:443", false).await.err().unwrap().problem(),
        "egress-denied"
    );
    assert!(world.tunnel(&world.alice, "b.zeta.test:443", false).await.is_ok());
}

#[tokio::test]
async fn who_was_led_to_the_proxy_under_another_name_gets_no_tunnel() {
    let world = World::new().await;
    for (name, opened) in [("evil.test", false), (HOST, false), ("localhost", true)] {
        let mut dial = world.dial(Some(&world.alice.identity));
        dial.server_name = name;
        let tunnel = dial.connect().await.unwrap().tunnelled(AUTHORITY).await;
        assert_eq!(tunnel.as_ref().err().map(|refused| refused.status), (!opened).then_some(421), "{name}");
    }
}

#[tokio::test]
async fn closing_closes_tunnels_whatever_runs_in_them() {
    let brief = Duration::from_millis(500);
    let limits = Limits { close_within: brief, ..Limits::default() };
    let mut world = World::twisted(Twist { limits: Some(limits), ..Twist::default() }).await;
    world.set_egress(&world.alice, nightlatch_domain::task::Egress::Open).await;
    let mut idle = [inside(&world, false, HOST).await, inside(&world, true, HOST).await];
    let opened = world.tunnel(&world.alice, "evil.test:443", true).await.unwrap();
    let mut opened = opened.secured(careless(&["http/1.1"], true), EVIL).await.unwrap();
    world.close();
    for wire in &mut idle {
        assert!(wire.is_closed().await, "an idle tunnel");
    }
    assert!(opened.is_closed().await, "what was passed through");
}

#[tokio::test]
async fn a_reference_goes_to_the_very_host_of_its_connection() {
    let world = World::twisted(Twist { elsewhere: vec!["b.zeta.test"], ..Twist::default() }).await;
    let manifest = "name = \"zeta\"\ntitle = \"Z\"\ndocs = \"https://d.test\"\nsafe_methods = true\n[[host]]\nhost = \"*.zeta.test\"\nkey = { kind = \"bearer\" }\n";
    world.add_tools(&[("zeta", manifest)]).await;
    let host = |name: &str| nightlatch_domain::tool::BoundHost {
        host: name.into(),
        ..crate::world::hosts()[0].clone()
    };
    let of_a = world.granted(&world.alice, "zeta", vec![host("a.zeta.test")]).await;
    let of_b = world.granted(&world.alice, "zeta", vec![host("b.zeta.test")]).await;
    // A pattern binds nothing: only what a connection was confirmed for is a tool's host.
    assert_eq!(
        world.tunnel(&world.alice, "c.zeta.test:443", false).await.err().unwrap().problem(),
        "egress-denied"
    );
    let tunnel = world.tunnel(&world.alice, "b.zeta.test:443", false).await.unwrap();
    let mut wire = tunnel.secured(careless(&["http/1.1"], true), "b.zeta.test").await.unwrap();
    let request = |reference: &str| {
        format!("GET /x HTTP/1.1\r\nHost: b.zeta.test\r\nAuthorization: Bearer {reference}\r\n\r\n")
    };
    wire.write(request(&of_a)).await;
    assert_eq!(wire.answer().await.problem(), "destination-denied");
    assert_eq!(world.evil.count(), 0);
    wire.write(request(&of_b)).await;
    // It is dialled, and the server there has another name in its certificate.
    assert_eq!(wire.answer().await.problem(), "upstream-unreachable");
}

#[tokio::test]
async fn the_worlds_door_is_the_route_unless_a_test_says_otherwise() {
    assert_eq!(World::new().await.door, Door::Route);
}
