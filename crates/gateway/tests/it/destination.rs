//! A credential goes to the host that its seal names and to no other, whatever the request, the directory,
//! the answer or the network say.

use crate::{
    upstream::Reply,
    world::{EVIL, HOST, MANIFEST, SECRET, Twist, World, bound, hosts},
};
use nightlatch_domain::{
    connection::{Connection, Source},
    ports::store::{ControlStore, KeeperStore, NewConnection, ToolRow},
    tool::{BoundHost, Placement},
};
use nightlatch_ledger::record::{Entry, EventName};

/// Rewrites the directory's row of the connection, as whoever holds the database can.
async fn forge(world: &World, hosts: Vec<BoundHost>) {
    let connection = Connection {
        tenant: world.tenant,
        id: world.connection,
        tool: "acme".parse().unwrap(),
        name: "main".parse().unwrap(),
        account: None,
        account_label: None,
        source: Source::Static,
        hosts,
        created_at: crate::keeper::past(),
        removed_at: None,
    };
    world.store.put_connection(NewConnection { connection, tokens: None, secret: None }).await.unwrap();
    world.in_effect().await;
}

#[tokio::test]
pub(crate) async fn absolute_form_reaches_no_tool_by_its_route() {
    let world = World::new().await;
    let (host, bearer) = (world.host(), World::bearer(&world.alice));
    for (target, kind) in [
        // What needs TLS is asked for by CONNECT.
        ("https://evil.test/acme/things".to_owned(), "bad-request"),
        (format!("https://{host}/acme/things"), "bad-request"),
        // As one speaks to a proxy, with a Host that names another place.
        ("http://evil.test/acme/things".to_owned(), "misdirected-request"),
        // We are no host of any tool.
        (format!("http://{host}/acme/things"), "destination-denied"),
        (format!("http://u:p@{host}/acme/things"), "bad-request"),
        ("//evil.test/acme/things".to_owned(), "bad-request"),
    ] {
        let answer = world.attack(&world.alice, &world.request(&format!("GET {target}"), &[&bearer])).await;
        assert_eq!(answer.problem(), kind, "{target}");
    }
}

#[tokio::test]
pub(crate) async fn two_hosts_are_refused_even_when_they_are_equal() {
    let world = World::new().await;
    let (bearer, own) = (World::bearer(&world.alice), format!("Host: {}", world.host()));
    for second in ["Host: evil.test", own.as_str()] {
        let answer = world.attack(&world.alice, &world.request("GET /acme/things", &[second, &bearer])).await;
        assert_eq!(
            (answer.problem().as_str(), answer.json()["field"].as_str()),
            ("bad-request", Some("host"))
        );
    }
}

#[tokio::test]
pub(crate) async fn a_rebound_or_foreign_name_is_refused() {
    let world = World::new().await;
    let bearer = World::bearer(&world.alice);
    for host in ["evil.test", "api.acme.test", "127.0.0.1", "u@127.0.0.1"] {
        let bytes = format!("GET /acme/things HTTP/1.1\r\nHost: {host}\r\n{bearer}\r\n\r\n");
        assert_eq!(world.attack(&world.alice, &bytes).await.status, 421, "{host}");
    }
    let bytes = format!("GET /acme/things HTTP/1.1\r\n{bearer}\r\n\r\n");
    assert_eq!(world.attack(&world.alice, &bytes).await.problem(), "bad-request");
}

#[tokio::test]
pub(crate) async fn a_server_name_that_is_not_the_host_is_refused() {
    let world = World::new().await;
    let mut dial = world.dial(Some(&world.alice.identity));
    dial.server_name = "evil.test";
    let mut wire = dial.connect().await.unwrap();
    wire.write(world.request("GET /acme/things", &[&World::bearer(&world.alice)])).await;
    assert_eq!(wire.answer().await.problem(), "misdirected-request");
    dial.server_name = "localhost";
    let mut wire = dial.connect().await.unwrap();
    let request = world.request("GET /acme/things", &[&World::bearer(&world.alice)]);
    wire.write(request.replace("127.0.0.1", "localhost")).await;
    assert_eq!(wire.answer().await.status, 200);
}

#[tokio::test]
pub(crate) async fn a_web_page_is_refused() {
    let world = World::new().await;
    let bearer = World::bearer(&world.alice);
    for field in [
        "Origin: https://evil.test",
        "Origin: null",
        "Sec-Fetch-Site: cross-site",
        "sec-fetch-site: same-site",
    ] {
        let answer = world.attack(&world.alice, &world.request("GET /acme/things", &[field, &bearer])).await;
        assert_eq!(answer.problem(), "cross-site", "{field}");
    }
}

#[tokio::test]
pub(crate) async fn a_redirect_is_handed_back_and_never_followed() {
    let world = World::new().await;
    for status in ["301 Moved", "302 Found", "307 Temporary", "308 Permanent"] {
        world
            .tool
            .answers(move |_| Reply::with(status, &[&format!("Location: https://{EVIL}/?t={SECRET}")], ""));
        let answer = world.call(&world.alice, "GET /acme/things", &[]).await;
        assert_eq!(answer.status.to_string(), status[..3]);
        assert_eq!(
            answer.field("location").unwrap(),
            format!("https://{EVIL}/?t={}", "*".repeat(SECRET.len()))
        );
        assert_eq!((world.evil.count(), world.tool.take().len()), (0, 1));
    }
}

#[tokio::test]
pub(crate) async fn the_directory_cannot_lead_a_credential_elsewhere() {
    let world = World::new().await;
    let elsewhere = |change: fn(&mut BoundHost)| {
        let mut forged = hosts();
        change(&mut forged[0]);
        forged
    };
    let changes: [fn(&mut BoundHost); 5] = [
        |host| host.host = EVIL.into(),
        |host| host.port = 8443,
        |host| host.host = format!("{HOST}.{EVIL}"),
        |host| host.placement = Placement::Header { name: "x-log-me".into(), prefix: String::new() },
        |host| host.path_prefix = "/things".into(),
    ];
    for change in changes {
        forge(&world, elsewhere(change)).await;
        let answer = world.call(&world.alice, "GET /acme/things", &[]).await;
        assert_eq!(answer.problem(), "destination-denied");
        assert_eq!((world.tool.take().len(), world.evil.count()), (0, 0));
    }
    forge(&world, hosts()).await;
    assert_eq!(world.call(&world.alice, "GET /acme/things", &[]).await.status, 200);
    let alarmed = |record: &nightlatch_ledger::record::Record| matches!(&record.entry, Entry::Event(event) if event.event == EventName::LeaseRefused);
    world.eventually("an alarm", || async { world.records().await.iter().any(alarmed) }).await;
}

#[tokio::test]
pub(crate) async fn the_seal_and_not_the_directory_says_where() {
    let world = World::new().await;
    world.reseal(|held| held.hosts = vec![bound("", "/only-here", Placement::Bearer)]);
    let answer = world.call(&world.alice, "GET /acme/things", &[]).await;
    assert_eq!(answer.problem(), "destination-denied");
    assert_eq!(world.tool.count(), 0);
}

#[tokio::test]
pub(crate) async fn a_path_outside_the_bound_prefix_is_refused_in_every_spelling() {
    let world = World::new().await;
    let bearer = World::bearer(&world.alice);
    for (path, kind) in [
        ("/acme/~basic/other", "destination-denied"),
        ("/acme/~basic/basicx", "destination-denied"),
        ("/acme/~basic/basic/../other", "bad-request"),
        ("/acme/~basic/basic/%2e%2e/other", "bad-request"),
        ("/acme/~basic/basic/.%2E/other", "bad-request"),
        ("/acme/~basic/basic/..;/other", "bad-request"),
        ("/acme/~basic/basic%2f..%2fother", "bad-request"),
        ("/acme/~basic/basic/%252e%252e/other", "bad-request"),
        ("/acme/~basic/basic//x", "bad-request"),
        ("/acme/~basic/basic/%5c..%5cother", "bad-request"),
        ("/acme/~basic/basic/%00", "bad-request"),
        ("/acme/~nowhere/x", "not-found"),
        ("/nothing/x", "not-found"),
    ] {
        let answer = world.attack(&world.alice, &world.request(&format!("GET {path}"), &[&bearer])).await;
        assert_eq!(answer.problem(), kind, "{path}");
    }
}

#[tokio::test]
pub(crate) async fn a_path_trick_does_not_pass_policy() {
    let world = World::new().await;
    let bearer = World::bearer(&world.alice);
    // `secrets.show` has the effect `credential`, which no wildcard covers.
    for path in
        ["/acme/secrets/x", "/acme/Secrets/x", "/acme/secrets/x/", "/acme/%73ecrets/x", "/acme/secrets;a=b/x"]
    {
        let answer = world.attack(&world.alice, &world.request(&format!("GET {path}"), &[&bearer])).await;
        assert_eq!(answer.problem(), "policy-denied", "{path}");
    }
}

#[tokio::test]
pub(crate) async fn what_is_sent_is_what_was_decided_on() {
    let world = World::new().await;
    world.call(&world.alice, "GET /acme/x%7E/%41?q=%2e%2e/%2f", &[]).await;
    assert_eq!(world.tool.take()[0].line(), "GET /x~/A?q=%2e%2e/%2f HTTP/1.1");
}

#[tokio::test]
pub(crate) async fn a_tool_with_another_names_certificate_gets_nothing() {
    let world = World::twisted(Twist { certified: Some("other.test"), ..Twist::default() }).await;
    let answer = world.call(&world.alice, "GET /acme/things", &[]).await;
    assert_eq!(
        (answer.problem().as_str(), answer.field("x-should-retry").as_deref()),
        ("upstream-unreachable", Some("true"))
    );
    assert_eq!(world.tool.count(), 0);
}

#[tokio::test]
pub(crate) async fn trace_is_refused() {
    let world = World::new().await;
    let bearer = World::bearer(&world.alice);
    for line in ["TRACE /acme/things", "TRACK /acme/things"] {
        let answer = world.attack(&world.alice, &world.request(line, &[&bearer])).await;
        assert_eq!(answer.problem(), "not-supported", "{line}");
    }
}

#[tokio::test]
pub(crate) async fn over_http2_host_and_authority_must_agree() {
    let world = World::new().await;
    let mut dial = world.dial(Some(&world.alice.identity));
    dial.alpn = &["h2"];
    let mut sender = dial.connect().await.unwrap().http2().await;
    for (authority, host, status) in [
        (world.host(), None, 200),
        (world.host(), Some(world.host()), 200),
        (world.host(), Some(EVIL.to_owned()), 421),
        (EVIL.to_owned(), None, 421),
        (EVIL.to_owned(), Some(world.host()), 421),
    ] {
        let mut request = http::Request::get(format!("https://{authority}/acme/things"))
            .header("authorization", format!("Bearer {}", world.alice.reference));
        if let Some(host) = &host {
            request = request.header("host", host);
        }
        let answer = sender.send_request(request.body(crate::client::empty()).unwrap()).await.unwrap();
        assert_eq!(answer.status().as_u16(), status, "{authority} {host:?}");
    }
    assert_eq!(world.evil.count(), 0);
}

#[tokio::test]
pub(crate) async fn a_reference_is_good_for_its_own_tool_only() {
    let world = World::new().await;
    let manifest = MANIFEST.replace("name = \"acme\"", "name = \"other\"");
    let row = |name: &str, manifest: &str| ToolRow {
        tenant: world.tenant,
        name: name.parse().unwrap(),
        manifest: manifest.to_owned(),
        added_at: crate::keeper::past(),
    };
    world.store.put_tool(row("other", &manifest)).await.unwrap();
    world.in_effect().await;
    let bytes = world.request("GET /other/things", &[&World::bearer(&world.alice)]);
    assert_eq!(world.attack(&world.alice, &bytes).await.problem(), "destination-denied");
}
