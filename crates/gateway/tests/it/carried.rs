//! Proves that what the corridor cannot read, name or keep is refused before anything comes of it: coded
//! answers, new secrets, second credentials in a query, another host in a field, cookies inside cookies.

use crate::{
    client::Identity,
    upstream::Reply,
    world::{SECRET, World, enrol_binding},
};
use nightlatch_domain::{
    grant::Selector,
    principal::Binding,
    tool::{Effect, OperationId},
};
use nightlatch_ledger::record::{Entry, FindingKind};
use rcgen::{CertificateParams, DistinguishedName, KeyPair};
use std::time::Duration;
use tokio::time::timeout;

const SOON: Duration = Duration::from_secs(5);

#[tokio::test]
pub(crate) async fn an_answer_that_is_coded_for_its_transfer_is_refused_whole() {
    let world = World::new().await;
    let coded = |codings: &str| format!("HTTP/1.1 200 OK\r\n{codings}\r\n\r\n4\r\nGZIP\r\n0\r\n\r\n");
    let cases = [
        "transfer-encoding: gzip, chunked",
        "transfer-encoding: gzip\r\ntransfer-encoding: chunked",
        "transfer-encoding: chunked\r\ntransfer-encoding: chunked",
        "transfer-encoding: x, CHUNKED",
    ];
    // Each at a path of its own: what fails in the same way again is held back.
    for (number, codings) in cases.into_iter().enumerate() {
        let bytes = coded(codings);
        world.tool.answers(move |_| Reply::of(bytes.clone()));
        let answer = world.call(&world.alice, &format!("GET /acme/things/{number}"), &[]).await;
        assert_eq!(
            (answer.problem().as_str(), answer.json()["field"].as_str()),
            ("not-supported", Some("transfer-encoding")),
            "{codings}"
        );
        assert!(!answer.text().contains("GZIP"), "{codings}");
        // It was carried out, so nobody may be told that it was not.
        let post =
            world.call(&world.alice, &format!("POST /acme/things/{number}"), &["Content-Length: 0"]).await;
        assert_eq!(post.problem(), "outcome-unknown", "{codings}");
    }
    let plain = coded("Transfer-Encoding: Chunked");
    world.tool.answers(move |_| Reply::of(plain.clone()));
    assert_eq!(world.call(&world.alice, "GET /acme/things", &[]).await.text(), "GZIP");
}

#[tokio::test]
pub(crate) async fn a_new_secret_does_not_come_into_being_whatever_was_granted() {
    let world = World::new().await;
    world.tool.answers(|_| Reply::ok("{\"token\":\"minted\"}"));
    for by in [Selector::Operation(OperationId("secrets.show".into())), Selector::Effect(Effect::Admin)] {
        let is_by_id = matches!(by, Selector::Operation(_));
        world.set_grant(&world.alice, |grant| grant.operations = vec![by]).await;
        let answer = world.call(&world.alice, "GET /acme/secrets/x", &[]).await;
        let told = if is_by_id { "not-supported" } else { "policy-denied" };
        assert_eq!(answer.problem(), told);
    }
    assert_eq!((world.tool.count(), world.keeper.count("wake"), world.keeper.count("lease")), (0, 0, 0));
}

/// What revokes a secret shows none, where its manifest says so: then it is allowed by its id, and held to that.
#[tokio::test]
pub(crate) async fn what_shows_no_secret_is_allowed_by_its_id_and_its_answer_is_held_to_that() {
    let world = World::new().await;
    world.tool.answers(|_| Reply::ok("{\"revoked\":true}"));
    let revoke = ["Content-Length: 0"];
    for by in [Selector::Effect(Effect::Admin), Selector::Effect(Effect::Destructive)] {
        world.set_grant(&world.alice, |grant| grant.operations = vec![by]).await;
        let answer = world.call(&world.alice, "DELETE /acme/secrets/x", &revoke).await;
        assert_eq!(answer.problem(), "policy-denied");
    }
    assert_eq!(world.tool.count(), 0);
    let by_id = vec![Selector::Operation(OperationId("secrets.revoke".into()))];
    world.set_grant(&world.alice, |grant| grant.operations = by_id).await;
    let answer = world.call(&world.alice, "DELETE /acme/secrets/x", &revoke).await;
    assert_eq!((answer.status, answer.text().as_str(), answer.whole), (200, "{\"revoked\":true}", true));
    assert_eq!(world.call(&world.alice, "GET /acme/secrets/x", &[]).await.problem(), "policy-denied");
    // A tool that rotates where it says that it revokes.
    // Put together here, so that nobody who searches this file for secrets finds one.
    let behind_another = format!("-----BEGIN AKIA{}", "QWERTYUIOPASDFGH");
    for minted in ["{\"revoked\":true,\"access_token\":\"minted-anew-0123\"}".to_owned(), behind_another] {
        world.tool.answers(move |_| Reply::ok(&minted));
        let answer = world.call(&world.alice, "DELETE /acme/secrets/x", &revoke).await;
        assert!(!answer.whole && answer.body.is_empty(), "{answer:?}");
    }
    let long = format!("{{\"revoked\":\"{}\"}}", "-".repeat(70_000));
    world.tool.answers(move |_| Reply::ok(&long));
    let answer = world.call(&world.alice, "DELETE /acme/secrets/x", &revoke).await;
    assert!(!answer.whole && answer.body.is_empty());
    let revealed = || async {
        let records = world.records().await;
        let of = |entry: &Entry| matches!(entry, Entry::Finding(own) if own.finding == FindingKind::SecretRevealed);
        records.iter().filter(|record| of(&record.entry)).count() == 2
    };
    world.eventually("findings that a secret was revealed", revealed).await;
}

/// A head passes before its body is known, so it is looked through first.
#[tokio::test]
async fn a_new_secret_in_the_head_of_such_an_answer_is_not_shown_either() {
    let world = World::new().await;
    let by_id = vec![Selector::Operation(OperationId("secrets.revoke".into()))];
    world.set_grant(&world.alice, |grant| grant.operations = by_id).await;
    // Put together here, so that nobody who searches this file for secrets finds one.
    let new = format!("ghp_{}", "0a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R");
    let percent: String = new.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let fields = [
        format!("X-Next-Key: {new}"),
        format!("Location: https://api.acme.test/?key={new}&x=1"),
        format!("Location: https://api.acme.test/?key={percent}&x=1"),
        format!("Location: https://api.acme.test/?key={}", new.replace('_', "%5f")),
    ];
    for (place, field) in fields.into_iter().enumerate() {
        world.tool.answers(move |_| Reply::with("201 Created", &[&field], "{\"revoked\":true}"));
        let line = format!("DELETE /acme/secrets/x{place}");
        let answer = world.call(&world.alice, &line, &["Content-Length: 0"]).await;
        let told = (answer.problem(), answer.json()["field"].as_str().map(str::to_owned));
        assert_eq!(told, ("outcome-unknown".to_owned(), Some("head".to_owned())));
        assert!(
            !answer.head.contains("key=") && !answer.head.contains(&new) && !answer.text().contains(&new)
        );
    }
    let revealed = || async {
        let records = world.records().await;
        let of = |entry: &Entry| matches!(entry, Entry::Finding(own) if own.finding == FindingKind::SecretRevealed);
        records.iter().filter(|record| of(&record.entry)).count() == 4
    };
    world.eventually("findings that a secret was revealed", revealed).await;
    // What we sent ourselves is masked, and no new secret.
    world.tool.answers(|_| Reply::with("200 OK", &[&format!("X-Echo: {SECRET}")], "{\"revoked\":true}"));
    let answer = world.call(&world.alice, "DELETE /acme/secrets/y", &["Content-Length: 0"]).await;
    assert_eq!((answer.status, answer.field("x-echo")), (200, Some("*".repeat(SECRET.len()))));
}

#[tokio::test]
pub(crate) async fn a_second_credential_in_the_query_is_seen_however_it_is_split_and_spelled() {
    let world = World::new().await;
    let bearer = World::bearer(&world.alice);
    for (query, told) in [
        ("x=1;access_token=stolen", "second-credential"),
        ("access+token=stolen", "second-credential"),
        ("access%20token=stolen", "second-credential"),
        ("access[token=stolen", "second-credential"),
        ("access.token=stolen", "second-credential"),
        ("a=1;_method=DELETE", "bad-request"),
        ("X-HTTP-Method-Override=DELETE", "bad-request"),
    ] {
        let line = format!("GET /acme/things?{query}");
        let answer = world.attack(&world.alice, &world.request(&line, &[&bearer])).await;
        assert_eq!(answer.problem(), told, "{query}");
        assert!(!answer.text().contains("stolen"), "{query}");
    }
}

#[tokio::test]
pub(crate) async fn another_host_or_path_in_a_field_is_refused() {
    let world = World::new().await;
    let bearer = World::bearer(&world.alice);
    for name in [
        "X-HTTP-Host-Override",
        "X-Original-Host",
        "X-Host-Override",
        "X-Original-Path",
        "X-Original-URL",
        "X-Rewrite-URL",
        "X-HTTP-Path-Override",
        "x_http_host_override",
    ] {
        let field = format!("{name}: evil.test");
        let answer = world.attack(&world.alice, &world.request("GET /acme/things", &[&bearer, &field])).await;
        assert_eq!(answer.problem(), "bad-request", "{name}");
    }
}

#[tokio::test]
pub(crate) async fn a_cookie_inside_a_kept_cookie_is_refused() {
    let world = World::new().await;
    let bearer = World::bearer(&world.alice);
    for cookie in
        ["lang=en,session=stolen", "lang=en session=stolen", "lang=\"en,session=stolen\"", "lang=a\\b"]
    {
        let field = format!("Cookie: {cookie}");
        let answer = world.attack(&world.alice, &world.request("GET /acme/things", &[&bearer, &field])).await;
        assert_eq!(answer.problem(), "second-credential", "{cookie}");
    }
    for cookie in ["lang=en", "lang=\"en\"; lang=de-CH"] {
        world.tool.take();
        let answer = world.call(&world.alice, "GET /acme/things", &[&format!("Cookie: {cookie}")]).await;
        assert_eq!((answer.status, world.tool.take()[0].all("cookie")), (200, vec![cookie.to_owned()]));
    }
}

#[tokio::test]
pub(crate) async fn a_cookie_of_the_older_kind_does_not_reach_the_agent() {
    let world = World::new().await;
    world.tool.answers(|_| Reply::with("200 OK", &["Set-Cookie2: session=abc"], "fine"));
    let answer = world.call(&world.alice, "GET /acme/things", &[]).await;
    assert_eq!((answer.status, answer.field("set-cookie2")), (200, None));
}

#[tokio::test]
pub(crate) async fn bodies_that_do_not_come_block_no_enrolment() {
    let world = World::new().await;
    let mut held = Vec::new();
    for _ in 0..8 {
        let mut wire = world.dial(Some(&Identity::new())).connect().await.unwrap();
        wire.write(world.request("POST /v1/enrol", &["Content-Length: 20", "Expect: 100-continue"])).await;
        // The body is asked for, so the request is under way.
        assert_eq!(wire.answer().await.status, 100);
        held.push(wire);
    }
    world.code(&world.alice, "code-1").await;
    let body = "{\"code\":\"code-1\"}";
    let enrol =
        format!("{}{body}", world.request("POST /v1/enrol", &[&format!("Content-Length: {}", body.len())]));
    let mut wire = world.dial(Some(&Identity::new())).connect().await.unwrap();
    wire.write(&enrol).await;
    assert_eq!(timeout(SOON, wire.answer()).await.unwrap().status, 200);
}

#[tokio::test]
pub(crate) async fn a_stranger_who_was_led_here_is_told_so() {
    let world = World::new().await;
    let stranger = Identity::new();
    for identity in [None, Some(&stranger), Some(&world.alice.identity)] {
        let mut dial = world.dial(identity);
        dial.server_name = "evil.test";
        let mut wire = dial.connect().await.unwrap();
        wire.write(world.request("GET /acme/things", &[])).await;
        let answer = wire.answer().await;
        assert_eq!((answer.status, answer.problem().as_str()), (421, "misdirected-request"));
    }
    // Who comes to the right place is nobody as ever.
    let mut wire = world.dial(None).connect().await.unwrap();
    wire.write(world.request("GET /acme/things", &[])).await;
    assert_eq!(wire.answer().await.problem(), "not-admitted");
}

#[tokio::test]
pub(crate) async fn a_certificate_without_extensions_is_as_good_as_any() {
    let world = World::new().await;
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name = DistinguishedName::new();
    let bare = Identity::certified(&params.self_signed(&key).unwrap(), &key);
    let binding = Binding::Key { spki_sha256: bare.spki_sha256.clone() };
    enrol_binding(&world.store, world.tenant, &world.alice, binding, crate::keeper::past()).await;
    world.in_effect().await;
    let mut wire = world.dial(Some(&bare)).connect().await.unwrap();
    wire.write(world.request("GET /acme/things", &[&World::bearer(&world.alice)])).await;
    assert_eq!(wire.answer().await.status, 200);
    assert_eq!(world.tool.take()[0].all("authorization"), [format!("Bearer {SECRET}")]);
}
