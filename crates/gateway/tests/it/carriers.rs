//! One reference in its place, and no other credential, hop, method, path or framing beside it.

use crate::world::{SECRET, World};
use base64::{Engine as _, engine::general_purpose::STANDARD};

#[tokio::test]
pub(crate) async fn a_second_credential_is_refused_in_any_carrier_by_the_name_of_its_field() {
    let world = World::new().await;
    let bearer = World::bearer(&world.alice);
    let reference = &world.alice.reference;
    let api_key = format!("X-Api-Key: {reference}");
    for (field, name) in [
        ("Authorization: Bearer other", "authorization"),
        ("authorization: Basic eDp5", "authorization"),
        (api_key.as_str(), "x-api-key"),
        ("x_api_key: k", "x-api-key"),
        ("X-API_Key: k", "x-api-key"),
        ("x-acme-key: k", "x-acme-key"),
        ("X_Acme_Key: k", "x-acme-key"),
        ("Proxy-Authorization: Basic eDp5", "proxy-authorization"),
        ("proxy_authorization: x", "proxy-authorization"),
        ("Cookie: session=1", "cookie"),
        ("Cookie: lang=en; session=1", "cookie"),
        ("X-Amz-Security-Token: x", "x-amz-security-token"),
        ("X-Amz-Signature: x", "x-amz-signature"),
    ] {
        // What one tells a proxy is no second credential to it, and goes no further.
        if world.door.is_plain() && field.starts_with("Proxy-Authorization") {
            continue;
        }
        let answer = world.attack(&world.alice, &world.request("GET /acme/things", &[&bearer, field])).await;
        assert_eq!(
            (answer.problem().as_str(), answer.json()["field"].as_str()),
            ("second-credential", Some(name)),
            "{field}"
        );
    }
    for (query, name) in [
        ("access_token=x", "access-token"),
        ("a=b&api_key=x", "api-key"),
        ("X-Amz-Signature=x", "x-amz-signature"),
        ("access%5ftoken=x", "access-token"),
    ] {
        let answer = world
            .attack(&world.alice, &world.request(&format!("GET /acme/things?{query}"), &[&bearer]))
            .await;
        assert_eq!(
            (answer.problem().as_str(), answer.json()["field"].as_str()),
            ("second-credential", Some(name)),
            "{query}"
        );
    }
}

#[tokio::test]
pub(crate) async fn a_twin_header_is_no_place_for_the_reference_either() {
    let world = World::new().await;
    for field in [
        format!("x_api_key: {}", world.alice.reference),
        format!("Cookie: authorization={}", world.alice.reference),
    ] {
        let answer = world.attack(&world.alice, &world.request("GET /acme/things", &[&field])).await;
        assert_eq!(answer.problem(), "second-credential", "{field}");
    }
}

#[tokio::test]
pub(crate) async fn two_references_in_one_basic_pair_are_refused() {
    let world = World::new().await;
    let reference = &world.alice.reference;
    let pair = STANDARD.encode(format!("{reference}:{reference}"));
    let answer = world
        .attack(&world.alice, &world.request("GET /acme/things", &[&format!("Authorization: Basic {pair}")]))
        .await;
    assert_eq!(answer.problem(), "second-credential");
}

#[tokio::test]
pub(crate) async fn connection_cannot_name_the_credential_away() {
    let world = World::new().await;
    let bearer = World::bearer(&world.alice);
    for value in ["authorization", "close, Authorization", "keep-alive, x_api_key", "x-acme-key", "host"] {
        let answer = world
            .attack(
                &world.alice,
                &world.request("GET /acme/things", &[&bearer, &format!("Connection: {value}")]),
            )
            .await;
        assert_eq!(
            (answer.problem().as_str(), answer.json()["field"].as_str()),
            ("bad-request", Some("connection")),
            "{value}"
        );
    }
}

#[tokio::test]
pub(crate) async fn fields_of_this_hop_go_no_further() {
    let world = World::new().await;
    let fields = [
        "Connection: keep-alive, X-Drop-Me",
        "X-Drop-Me: 1",
        "Keep-Alive: 5",
        "TE: trailers",
        "Proxy-Connection: keep-alive",
        "X-Forwarded-For: 1.2.3.4",
        "X-Forwarded-Host: evil.test",
        "Forwarded: host=evil.test",
        "X-Real-IP: 1.2.3.4",
        "Via: 1.1 evil",
        "Range: bytes=0-1",
        "If-Range: x",
        "Accept-Encoding: gzip, zstd, br",
        "X_Custom: 1",
        "X-Kept: 1",
        "Cookie: lang=en",
    ];
    assert_eq!(world.call(&world.alice, "GET /acme/things", &fields).await.status, 200);
    let seen = world.tool.take();
    let names = [
        "x-drop-me",
        "keep-alive",
        "te",
        "proxy-connection",
        "x-forwarded-for",
        "x-forwarded-host",
        "forwarded",
        "x-real-ip",
        "via",
        "range",
        "if-range",
        "x_custom",
        "connection",
    ];
    for name in names {
        assert!(seen[0].all(name).is_empty(), "{name}: {:?}", seen[0]);
    }
    assert_eq!(seen[0].all("x-kept"), ["1"]);
    assert_eq!(seen[0].all("cookie"), ["lang=en"]);
    assert_eq!(seen[0].all("accept-encoding"), ["gzip, br"]);
    assert_eq!(seen[0].all("authorization"), [format!("Bearer {SECRET}")]);
}

#[tokio::test]
pub(crate) async fn another_method_or_path_in_a_field_is_refused() {
    let world = World::new().await;
    let bearer = World::bearer(&world.alice);
    for field in [
        "X-HTTP-Method-Override: DELETE",
        "x_http_method_override: DELETE",
        "X-Method-Override: PUT",
        "X-HTTP-Method: PUT",
        "X-Original-URL: /secrets/x",
        "X-Rewrite-URL: /secrets/x",
    ] {
        let answer = world.attack(&world.alice, &world.request("GET /acme/things", &[&bearer, field])).await;
        assert_eq!(answer.problem(), "bad-request", "{field}");
    }
    let answer = world
        .attack(
            &world.alice,
            &world.request("POST /acme/things?_method=DELETE", &[&bearer, "Content-Length: 0"]),
        )
        .await;
    assert_eq!(answer.problem(), "bad-request");
}

#[tokio::test]
pub(crate) async fn upgrades_trailers_and_grpc_are_not_carried() {
    let world = World::new().await;
    let bearer = World::bearer(&world.alice);
    for fields in [
        ["Upgrade: h2c", "Connection: upgrade, http2-settings"],
        ["Trailer: x-sum", "Content-Length: 0"],
        ["Content-Type: application/grpc", "Content-Length: 0"],
    ] {
        let answer = world
            .attack(&world.alice, &world.request("POST /acme/things", &[&bearer, fields[0], fields[1]]))
            .await;
        assert_eq!(answer.problem(), "not-supported", "{fields:?}");
    }
}

#[tokio::test]
pub(crate) async fn trailers_that_nobody_announced_break_the_call() {
    let world = World::new().await;
    let mut wire = world.connect(&world.alice).await;
    wire.write(
        world.request("POST /acme/things", &[&World::bearer(&world.alice), "Transfer-Encoding: chunked"]),
    )
    .await;
    wire.write("2\r\nab\r\n0\r\nX-Sum: 1\r\nAuthorization: Bearer x\r\n\r\n").await;
    let answer = wire.answer().await;
    assert_eq!(answer.problem(), "outcome-unknown");
    assert!(world.tool.take().iter().all(|seen| !String::from_utf8_lossy(&seen.body).contains("X-Sum")));
    world.still_serves(&world.alice).await;
}

#[tokio::test]
pub(crate) async fn what_follows_a_refused_body_is_no_request() {
    let world = World::new().await;
    let (host, bearer) = (format!("Host: {}", world.host()), World::bearer(&world.alice));
    let smuggled = format!("GET /acme/smuggled HTTP/1.1\r\n{host}\r\n{bearer}\r\n\r\n");
    let mut wire = world.connect(&world.alice).await;
    let refused = format!(
        "POST /acme/things HTTP/1.1\r\n{host}\r\nAuthorization: Bearer nobody\r\nContent-Length: {}\r\n\r\n{smuggled}",
        smuggled.len()
    );
    wire.write(format!("{refused}{smuggled}")).await;
    let answer = wire.answer().await;
    assert_eq!(
        (answer.problem().as_str(), answer.field("connection").as_deref()),
        ("reference-unknown", Some("close"))
    );
    assert!(wire.is_closed().await);
    assert_eq!(world.tool.count(), 0);
}
