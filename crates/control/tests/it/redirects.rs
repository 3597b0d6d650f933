//! The redirect listener: a flow ends with the human who began it, a code is sealed as it is read, and
//! nothing that came in goes out again.

use crate::world::World;
use nightlatch_control::api::{FlowStarted, RedirectView};
use nightlatch_domain::{
    chain::FlowOutcome,
    clock::Timestamp,
    id::{ClientId, ConnectionId},
    ports::control_keeper::{ControlRefusal, FlowSession, code_context},
};
use serde_json::json;
use std::time::Duration;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// One request on a raw socket, and all that came back.
async fn send(world: &World, head: &str) -> String {
    let mut stream = TcpStream::connect(&world.redirects).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8(answer).unwrap()
}

async fn get(world: &World, target: &str, more: &str) -> String {
    let host = &world.redirects;
    send(world, &format!("GET {target} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n{more}\r\n")).await
}

fn status(answer: &str) -> u16 {
    answer
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
        .unwrap_or_else(|| panic!("no status: {answer}"))
}

fn header<'a>(answer: &'a str, name: &str) -> Option<&'a str> {
    let head = answer.split("\r\n\r\n").next()?;
    head.split("\r\n").find_map(|line| line.strip_prefix(&format!("{name}: ")))
}

/// Begins a flow for gitlab, and answers its start path.
async fn begun(world: &World) -> (FlowStarted, String) {
    let client = ClientId::new(Timestamp::from_millis(1), [1; 10]);
    let begin = json!({ "tool": "gitlab", "client": client, "scopes": ["api"], "host": null });
    let started: FlowStarted = world.client.post("/v1/flows", &begin).await.unwrap();
    let path = started.start_url.0.strip_prefix(&format!("http://{}", world.redirects)).unwrap().to_owned();
    (started, path)
}

async fn callback(world: &World) -> String {
    let redirect: RedirectView = world.client.get("/v1/tools/gitlab/redirect").await.unwrap();
    redirect.redirect_uri.strip_prefix(&format!("http://{}", world.redirects)).unwrap().to_owned()
}

#[tokio::test]
async fn a_start_link_works_once_and_sets_a_cookie_for_its_own_callback() {
    let world = World::start().await;
    let (_, path) = begun(&world).await;
    let answer = get(&world, &path, "").await;
    assert_eq!(status(&answer), 303, "{answer}");
    assert_eq!(header(&answer, "location"), Some("https://as.example/authorize?state=s"));
    let cookie = header(&answer, "set-cookie").unwrap();
    for part in ["nightlatch-flow=cookie-value", "HttpOnly", "SameSite=Lax", "Max-Age=600"] {
        assert!(cookie.contains(part), "{cookie}");
    }
    assert!(cookie.contains(&format!("Path={}", callback(&world).await)), "{cookie}");
    let again = get(&world, &path, "").await;
    assert_eq!(status(&again), 410);
    assert_eq!(header(&again, "set-cookie"), None);
}

#[tokio::test]
async fn a_start_link_with_another_key_or_too_late_leads_nowhere() {
    let world = World::start().await;
    let (_, path) = begun(&world).await;
    let bare = path.split('?').next().unwrap();
    for wrong in [bare.to_owned(), format!("{bare}?key="), format!("{bare}?key=AAAA"), format!("{path}A")] {
        let answer = get(&world, &wrong, "").await;
        assert_eq!((status(&answer), header(&answer, "set-cookie")), (410, None), "{wrong}");
    }
    world.clock.advance(Duration::from_secs(600));
    assert_eq!(status(&get(&world, &path, "").await), 410);
}

#[tokio::test]
async fn a_start_link_that_a_page_opened_is_refused_and_still_good_for_its_human() {
    let world = World::start().await;
    let (_, path) = begun(&world).await;
    for opened in
        ["sec-fetch-site: cross-site\r\n", "sec-fetch-site: same-site\r\n", "sec-purpose: prefetch\r\n"]
    {
        let answer = get(&world, &path, opened).await;
        assert_eq!((status(&answer), header(&answer, "set-cookie")), (403, None), "{opened}");
    }
    let host = &world.redirects;
    let head =
        send(&world, &format!("HEAD {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n")).await;
    assert_eq!(status(&head), 405);
    assert_eq!(status(&get(&world, &path, "sec-fetch-site: none\r\n").await), 303);
}

#[tokio::test]
async fn an_answer_reaches_the_keeper_with_its_cookie_and_its_code_sealed() {
    let world = World::start().await;
    let connected = FlowOutcome::Connected {
        connection: ConnectionId::new(Timestamp::from_millis(1), [2; 10]),
        account: "1".to_owned(),
        label: "dana".to_owned(),
    };
    *world.keeper.flow_ends.lock().unwrap() = Ok(connected);
    let path = callback(&world).await;
    let target = format!("{path}?code=canary-code&state=the-state&iss=https%3A%2F%2Fas.example");
    let answer = get(&world, &target, "cookie: other=1; nightlatch-flow=cookie-value\r\n").await;
    assert_eq!(status(&answer), 200, "{answer}");
    assert!(answer.contains("It worked"));
    assert!(header(&answer, "set-cookie").unwrap().contains("Max-Age=0"));

    let finish = world.keeper.finished();
    assert_eq!((finish.state.as_str(), finish.iss.as_deref()), ("the-state", Some("https://as.example")));
    assert!(path.ends_with(&finish.context.to_string()));
    assert_eq!(finish.session, FlowSession::Cookie { value: "cookie-value".to_owned() });
    let code = finish.result.unwrap();
    let opened = world.keeper.keys.open_intake(&code, code_context(finish.context).as_bytes()).unwrap();
    assert_eq!(opened.expose(), b"canary-code");
}

#[tokio::test]
async fn a_page_says_nothing_of_the_request_and_loads_nothing() {
    let world = World::start().await;
    let path = callback(&world).await;
    *world.keeper.flow_ends.lock().unwrap() = Err(ControlRefusal::FlowMismatch);
    let target =
        format!("{path}?error=access_denied&error_description=%3Cscript%3Ecanary&state=canary-state");
    for target in [target.as_str(), "/canary", "/oauth/callback/canary?code=canary&state=canary"] {
        let answer = get(&world, target, "").await;
        assert!(!answer.contains("canary"), "{answer}");
        assert!(
            header(&answer, "content-security-policy").unwrap().starts_with("default-src 'none'"),
            "{answer}"
        );
        assert_eq!(header(&answer, "cache-control"), Some("no-store"));
        assert_eq!(header(&answer, "referrer-policy"), Some("no-referrer"));
        assert_eq!(header(&answer, "x-content-type-options"), Some("nosniff"));
    }
    assert_eq!(world.keeper.finished().result, Err("access_denied".to_owned()));
}

#[tokio::test]
async fn an_answer_that_can_be_read_in_two_ways_is_refused() {
    let world = World::start().await;
    let path = callback(&world).await;
    let queries = [
        "",
        "?code=c",
        "?state=s",
        "?code=c&code=d&state=s",
        "?code=c&state=s&state=t",
        "?code=c&error=e&state=s",
    ];
    for query in queries {
        assert_eq!(status(&get(&world, &format!("{path}{query}"), "").await), 400, "{query}");
    }
    assert!(!world.keeper.was_asked_to_finish());
}

#[tokio::test]
async fn two_session_cookies_are_no_session() {
    let world = World::start().await;
    let target = format!("{}?code=c&state=s", callback(&world).await);
    get(&world, &target, "cookie: nightlatch-flow=a; nightlatch-flow=b\r\n").await;
    assert_eq!(world.keeper.finished().session, FlowSession::Cookie { value: String::new() });
}

#[tokio::test]
async fn another_host_or_method_is_refused_before_anything_is_read() {
    let world = World::start().await;
    let target = format!("{}?code=c&state=s", callback(&world).await);
    let rebound =
        send(&world, &format!("GET {target} HTTP/1.1\r\nhost: evil.example\r\nconnection: close\r\n\r\n"))
            .await;
    assert_eq!(status(&rebound), 421);
    let host = &world.redirects;
    let two = format!("GET {target} HTTP/1.1\r\nhost: {host}\r\nhost: {host}\r\nconnection: close\r\n\r\n");
    assert_eq!(status(&send(&world, &two).await), 421);
    let absolute = format!("GET http://{host}{target} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
    assert_eq!(status(&send(&world, &absolute).await), 421);
    for method in ["POST", "PUT", "OPTIONS", "HEAD"] {
        let head = format!(
            "{method} {target} HTTP/1.1\r\nhost: {host}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        );
        assert_eq!(status(&send(&world, &head).await), 405, "{method}");
    }
    assert!(!world.keeper.was_asked_to_finish());
}

#[tokio::test]
async fn what_is_registered_is_the_same_each_time_and_another_for_each_tool() {
    let world = World::start().await;
    let one = callback(&world).await;
    assert_eq!(callback(&world).await, one);
    let other: RedirectView = world.client.get("/v1/tools/slack/redirect").await.unwrap();
    assert!(!other.redirect_uri.ends_with(&one), "{one}");
}
