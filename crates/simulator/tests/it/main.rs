//! Proves the face of HTTP around the provider: a login from page to page, the API with and without a token,
//! the admin port, and what is refused.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test that cannot go on says so and ends; it lives in real time"
)]

mod memory;
mod world;

use http::Method;
use serde_json::{Value, json};
use world::World;

#[tokio::test]
async fn a_human_logs_in_from_page_to_page_and_the_client_gets_tokens_that_the_api_takes() {
    let world = World::new().await;
    let tokens: Value = world.tokens().await.json();
    let bearer = format!("Bearer {}", tokens["access_token"].as_str().expect("a token"));
    let me = world.get("/api/me", &[("authorization", &bearer)]).await;
    assert_eq!((me.status, me.json()["login"].clone()), (200, json!("dana")));
    let shown = world.get("/api/debug/request", &[("authorization", &bearer)]).await;
    assert_eq!(shown.json()["you_sent"]["authorization"], json!(bearer), "a careless API shows what it got");
    assert_eq!(tokens["token_type"], "Bearer");
    assert!(tokens["refresh_token"].is_string() && tokens["expires_in"] == 10, "{tokens}");
}

#[tokio::test]
async fn the_api_answers_nobody_without_a_living_token_and_says_how_to_ask() {
    let world = World::new().await;
    for headers in [&[][..], &[("authorization", "Bearer sim_at_guess")], &[("authorization", "Basic eDp5")]]
    {
        let refused = world.get("/api/me", headers).await;
        assert_eq!((refused.status, refused.json()), (401, json!({ "error": "invalid_token" })));
        assert!(refused.header("www-authenticate").starts_with("Bearer "), "RFC 6750 §3");
    }
}

#[tokio::test]
async fn pages_are_not_kept_not_framed_and_their_cookie_is_for_http_alone() {
    let world = World::new().await;
    let login = world.get(&world.authorize_path(), &[]).await;
    assert_eq!(login.header("cache-control"), "no-store");
    assert!(login.header("content-security-policy").contains("frame-ancestors 'none'"));
    let logged_in = world.log_in(&login).await;
    assert_eq!(logged_in.status, 303);
    let cookie = logged_in.header("set-cookie");
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Lax"), "{cookie}");
}

#[tokio::test]
async fn what_a_request_brings_is_not_run_in_a_page() {
    let world = World::new().await;
    let evil = form_urlencoded::byte_serialize(b"\"><script>").collect::<String>();
    let login = world.get(&world.authorize_path().replace("scope=mail", &format!("scope={evil}")), &[]).await;
    let logged_in = world.log_in(&login).await;
    let consent = world.follow(&logged_in).await;
    assert!(
        consent.text().contains("Allow access?") && !consent.text().contains("<script"),
        "{}",
        consent.text()
    );
}

#[tokio::test]
async fn the_admin_port_counts_lists_and_takes_back() {
    let world = World::new().await;
    let tokens = world.tokens().await.json();
    let query = format!("?client_id={}", world.client.client_id);
    let counters = world.admin(Method::GET, &format!("/counters{query}"), "").await.json();
    assert_eq!((&counters["code_exchanges"], &counters["token_requests"]), (&json!(1), &json!(1)));
    let issued = world.admin(Method::GET, &format!("/issued{query}"), "").await.json();
    assert!(
        issued.as_array().expect("a list").contains(&tokens["access_token"]),
        "{}",
        issued.as_array().map_or(0, Vec::len)
    );
    assert_eq!(world.admin(Method::POST, &format!("/revoke{query}"), "").await.json(), json!(1));
    let bearer = format!("Bearer {}", tokens["access_token"].as_str().expect("a token"));
    assert_eq!(world.get("/api/me", &[("authorization", &bearer)]).await.status, 401);
    assert_eq!(world.admin(Method::GET, "/counters?client_id=x", "").await.status, 404);
    let new = json!({ "redirect_uris": ["http://127.0.0.1:1/"], "policy": {
        "access": { "secs": 1, "nanos": 0 }, "refresh_idle": { "secs": 1, "nanos": 0 } } });
    let new = world.admin(Method::POST, "/clients", &new.to_string()).await;
    assert!(new.json()["client_id"].is_string() && new.status == 200);
}

#[tokio::test]
async fn the_admin_port_is_another_one_than_the_public() {
    let world = World::new().await;
    for path in ["/issued", "/counters", "/revoke"] {
        assert_eq!(world.get(path, &[]).await.status, 404, "{path}");
    }
}

#[tokio::test]
async fn a_body_without_end_is_refused_and_a_client_without_proof_is_challenged() {
    let world = World::new().await;
    let long = world.send(Method::POST, "/token", &[], &"x".repeat(65 * 1024)).await;
    assert_eq!(long.status, 413);
    let stranger = world.send(Method::POST, "/token", &[], "grant_type=refresh_token&refresh_token=x").await;
    assert_eq!((stranger.status, stranger.json()), (401, json!({ "error": "invalid_client" })));
    assert!(stranger.header("www-authenticate").starts_with("Basic "), "RFC 6749 §5.2");
}

#[tokio::test]
async fn its_metadata_names_its_endpoints() {
    let world = World::new().await;
    let metadata = world.get("/.well-known/oauth-authorization-server", &[]).await;
    let metadata = metadata.json();
    assert_eq!(metadata["issuer"], json!(world.simulator.base()));
    assert_eq!(metadata["token_endpoint"], json!(format!("{}/token", world.simulator.base())));
}
