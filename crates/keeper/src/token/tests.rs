//! What is sent is what the standards say, and what is read errs to the side of not knowing.

use super::{Parsed, Presented, Registration, parse, raw, request};
use crate::machine::Reading;
use http::{HeaderMap, header};
use nightlatch_catalog::profile::{BodyFormat, Endpoint, Profile};
use nightlatch_custody::Secret;
use nightlatch_domain::{clock::Timestamp, sealed::ClientAuth};
use proptest::{
    collection::vec,
    prelude::{any, proptest},
};
use std::{collections::BTreeMap, time::Duration};

fn secret(text: &str) -> Secret {
    Secret::from_string(text.to_owned())
}

fn profile() -> Profile {
    Profile::parse(
        "test.toml",
        r#"
name = "test"
title = "Test"
authorization_endpoint = "https://id.example/authorize"
token_endpoint = "https://id.example/token"
client_auth = ["none"]
refresh_expires_field = "refresh_token_expires_in"
permanent_errors = ["invalid_grant"]
client_errors = ["invalid_client"]
not_processed_errors = ["slow_down"]
not_processed_statuses = [429, 503]
[[fact]]
covers = ["not_processed_statuses"]
source = "tried"
confidence = "verified"
checked_at = "2026-11-29"
"#,
    )
    .unwrap()
}

fn body_of(auth: ClientAuth, body: BodyFormat) -> (http::request::Parts, String) {
    let (token, hidden) = (secret("r t&1"), secret("s:e c"));
    let client = Registration { client_id: "id 1", auth, secret: Some(&hidden) };
    let endpoint = Endpoint::parse("https://id.example/token?v=1").unwrap();
    let extra = BTreeMap::from([("audience".to_owned(), "a b".to_owned())]);
    let presented = Presented::Refresh { token: &token, extra: &extra };
    let made = request(&endpoint, body, &client, &presented).unwrap();
    let (parts, body) = made.into_parts();
    (parts, String::from_utf8(body.to_vec()).unwrap())
}

#[test]
fn a_client_authenticates_as_it_was_registered() {
    let (_, body) = body_of(ClientAuth::None, BodyFormat::Form);
    assert_eq!(body, "grant_type=refresh_token&refresh_token=r+t%261&audience=a+b&client_id=id+1");
    let (parts, body) = body_of(ClientAuth::ClientSecretPost, BodyFormat::Form);
    assert!(body.ends_with("client_id=id+1&client_secret=s%3Ae+c"));
    assert!(parts.headers.get(header::AUTHORIZATION).is_none());
    let (parts, body) = body_of(ClientAuth::ClientSecretBasic, BodyFormat::Form);
    // RFC 6749 §2.3.1: `id+1:s%3Ae+c`, each part encoded by itself.
    assert_eq!(parts.headers[header::AUTHORIZATION], "Basic aWQrMTpzJTNBZStj");
    assert!(parts.headers[header::AUTHORIZATION].is_sensitive());
    assert!(!body.contains("client"));
}

#[test]
fn the_request_keeps_the_endpoints_query_and_asks_for_json() {
    let (parts, body) = body_of(ClientAuth::None, BodyFormat::Json);
    assert_eq!(parts.uri, "/token?v=1");
    assert_eq!(
        (parts.headers[header::ACCEPT].as_bytes(), parts.method.as_str()),
        (&b"application/json"[..], "POST")
    );
    let body: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!((&body["refresh_token"], &body["audience"]), (&"r t&1".into(), &"a b".into()));
}

#[test]
fn a_code_is_presented_with_its_verifier_and_redirect_uri() {
    let (code, verifier) = (secret("c"), secret("v"));
    let client = Registration { client_id: "id", auth: ClientAuth::None, secret: None };
    let endpoint = Endpoint::parse("https://id.example/token").unwrap();
    let presented =
        Presented::Code { code: &code, redirect_uri: "http://127.0.0.1:8444/x", verifier: Some(&verifier) };
    let body = request(&endpoint, BodyFormat::Form, &client, &presented).unwrap().into_body();
    let text = String::from_utf8(body.to_vec()).unwrap();
    assert_eq!(
        text,
        "grant_type=authorization_code&code=c&redirect_uri=http%3A%2F%2F127.0.0.1%3A8444%2Fx&code_verifier=v&client_id=id"
    );
}

#[test]
fn a_registration_without_its_secret_sends_nothing() {
    let token = secret("r");
    let client = Registration { client_id: "id", auth: ClientAuth::ClientSecretPost, secret: None };
    let endpoint = Endpoint::parse("https://id.example/token").unwrap();
    let presented = Presented::Refresh { token: &token, extra: &BTreeMap::new() };
    assert!(request(&endpoint, BodyFormat::Form, &client, &presented).is_err());
}

fn read(status: u16, body: &str) -> Parsed {
    read_by(&profile(), status, body)
}

fn read_by(profile: &Profile, status: u16, body: &str) -> Parsed {
    let kept = raw(status, &HeaderMap::new(), body.as_bytes().to_vec(), Timestamp::from_millis(5));
    parse(&kept, profile)
}

/// A provider whose messages have names, places and units of their own.
fn dialect() -> Profile {
    let text = r#"
name = "own"
title = "Own"
token_path = ["data", "tokens"]
expires_field = "lives"
expires_unit = "milliseconds"
refresh_expires_field = "refresh_lives"
error_field = "status"
permanent_errors = ["GRANT_GONE"]
"#;
    Profile::parse("own.toml", text).unwrap()
}

fn failed(status: u16, body: &str) -> Reading {
    match read(status, body) {
        Parsed::Failed(reading) => reading,
        Parsed::Tokens(_) => panic!("read as tokens"),
    }
}

#[test]
fn tokens_are_read_with_their_lives() {
    let body = r#"{"access_token":"a","refresh_token":"r","expires_in":"3600","refresh_token_expires_in":7.0,
        "token_type":"Bearer","scope":"x","more":{"deep":[1]}}"#;
    let Parsed::Tokens(tokens) = read(200, body) else { panic!("no tokens") };
    assert_eq!((tokens.access.expose(), tokens.refresh.unwrap().expose()), (&b"a"[..], &b"r"[..]));
    assert_eq!((tokens.expires_in, tokens.refresh_expires_in), (Some(3600), Some(7)));
    assert_eq!(tokens.head.at, Timestamp::from_millis(5));
}

#[test]
fn a_dialect_is_read_where_its_profile_says_and_nowhere_else() {
    let body = r#"{"status":"fine","access_token":"no","lives":1,"data":{"access_token":"nor","tokens":
        {"access_token":"a","refresh_token":"r","lives":3600999,"refresh_lives":"7000","expires_in":5}}}"#;
    let Parsed::Tokens(tokens) = read_by(&dialect(), 200, body) else { panic!("no tokens") };
    assert_eq!((tokens.access.expose(), tokens.refresh.unwrap().expose()), (&b"a"[..], &b"r"[..]));
    assert_eq!((tokens.expires_in, tokens.refresh_expires_in), (Some(3600), Some(7)));
    let unclear = [
        // Tokens at another place than the profile says, or at that place twice.
        r#"{"access_token":"a"}"#,
        r#"{"data":{"access_token":"a"}}"#,
        r#"{"data":{"tokens":{"access_token":"a"}},"data":{"tokens":{"refresh_token":"r"}}}"#,
        r#"{"data":{"tokens":{"access_token":"a"},"tokens":null}}"#,
        r#"{"data":[{"tokens":{"access_token":"a"}}]}"#,
        r#"{"data":{"tokens":{"access_token":"a"}},"error":"odd"}"#,
    ];
    for body in unclear {
        let Parsed::Failed(reading) = read_by(&dialect(), 200, body) else { panic!("{body}") };
        assert!(matches!(reading, Reading::Unclear { .. }), "{body}");
    }
    // What a dialect is for one provider is nothing at another.
    let Parsed::Failed(reading) = read(200, r#"{"data":{"tokens":{"access_token":"a"}}}"#) else { panic!() };
    assert!(matches!(reading, Reading::Unclear { .. }));
}

#[test]
fn an_error_stands_in_the_field_of_its_dialect() {
    let gone = Reading::Permanent { code: "GRANT_GONE".into() };
    for body in [
        r#"{"status":"GRANT_GONE"}"#,
        r#"{"status":"GRANT_GONE","data":null}"#,
        r#"{"data":{"status":"GRANT_GONE","tokens":null}}"#,
        r#"{"status":"odd","error":"GRANT_GONE"}"#,
        // A sentence in place of a code, which is not taken for one.
        r#"{"status":"GRANT_GONE","error":"this token is not valid any more"}"#,
    ] {
        let Parsed::Failed(reading) = read_by(&dialect(), 400, body) else { panic!("{body}") };
        assert_eq!(reading, gone, "{body}");
    }
    let Parsed::Failed(reading) = read(400, r#"{"status":"invalid_grant"}"#) else { panic!() };
    assert!(matches!(reading, Reading::Unclear { .. }), "{reading:?}");
}

#[test]
fn what_an_answer_tells_of_ends_is_read_at_every_provider() {
    let ends = |body: &str| {
        let Parsed::Tokens(tokens) = read(200, body) else { panic!("{body}") };
        (tokens.refresh_expires_in, tokens.consent_expires_in)
    };
    let draft = r#"{"access_token":"a","refresh_token_timeout":60,"authorization_expires_in":90}"#;
    assert_eq!(ends(draft), (Some(60), Some(90)));
    // Of two that are told, the earlier.
    let both = r#"{"access_token":"a","refresh_token_timeout":60,"refresh_token_expires_in":50}"#;
    assert_eq!(ends(both), (Some(50), None));
    // A provider that means something else by a draft's name loses no tokens by it.
    let other =
        r#"{"access_token":"a","refresh_token_timeout":{"days":1},"authorization_expires_in":"never"}"#;
    assert_eq!(ends(other), (None, None));
}

#[test]
fn an_omitted_refresh_token_is_no_refresh_token() {
    for body in [
        r#"{"access_token":"a"}"#,
        r#"{"access_token":"a","refresh_token":null}"#,
        r#"{"access_token":"a","refresh_token":""}"#,
    ] {
        let Parsed::Tokens(tokens) = read(200, body) else { panic!("no tokens") };
        assert!(tokens.refresh.is_none());
    }
}

#[test]
fn what_is_not_plainly_tokens_is_unclear() {
    let bodies = [
        "",
        "<html>",
        "[]",
        "{}",
        r#"{"access_token":""}"#,
        r#"{"access_token":7}"#,
        r#"{"access_token":"a","access_token":"b"}"#,
        r#"{"access_token":"a"} x"#,
        r#"{"access_token":"a\nb"}"#,
        r#"{"access_token":"a","token_type":"DPoP"}"#,
        r#"{"access_token":"a","refresh_token":"\u0000"}"#,
        r#"{"access_token":"a","expires_in":{}}"#,
    ];
    for body in bodies {
        assert!(matches!(failed(200, body), Reading::Unclear { .. }), "{body}");
    }
    assert!(matches!(failed(502, "<html>"), Reading::Unclear { .. }));
    assert!(matches!(failed(302, ""), Reading::Unclear { .. }));
    assert!(matches!(failed(500, r#"{"error":"invalid_grant"}"#), Reading::Unclear { .. }));
}

#[test]
fn errors_have_the_profiles_class() {
    let permanent = Reading::Permanent { code: "invalid_grant".into() };
    assert_eq!(failed(400, r#"{"error":"invalid_grant","error_description":"x"}"#), permanent);
    assert_eq!(failed(200, r#"{"error":"invalid_grant"}"#), permanent);
    assert_eq!(
        failed(401, r#"{"error":"invalid_client"}"#),
        Reading::Client { code: "invalid_client".into() }
    );
    assert!(matches!(failed(503, "busy"), Reading::NotProcessed { .. }));
    // Tokens beside an error are not tokens.
    assert!(matches!(failed(200, r#"{"access_token":"a","error":"odd"}"#), Reading::Unclear { .. }));
}

#[test]
fn retry_after_reaches_the_machine() {
    let mut headers = HeaderMap::new();
    headers.insert(header::RETRY_AFTER, "17".parse().unwrap());
    let kept = raw(429, &headers, b"{}".to_vec(), Timestamp::from_millis(0));
    let Parsed::Failed(Reading::NotProcessed { retry_after, .. }) = parse(&kept, &profile()) else {
        panic!("not read as not processed")
    };
    assert_eq!(retry_after, Some(Duration::from_secs(17)));
}

#[test]
fn an_error_code_keeps_only_what_the_standard_allows() {
    let Reading::Unclear { code } = failed(400, r#"{"error":"a\"b\\c\u0007d\u00e9"}"#) else {
        panic!("class")
    };
    assert_eq!(code, "abcd");
    let Reading::Unclear { code } = failed(400, &format!(r#"{{"error":"{}"}}"#, "x".repeat(500))) else {
        panic!("class")
    };
    assert_eq!(code.len(), 64);
}

proptest! {
    #[test]
    fn no_answer_breaks_the_reader(status in 100u16..600, body in vec(any::<u8>(), 0..200)) {
        let kept = raw(status, &HeaderMap::new(), body, Timestamp::from_millis(0));
        let _ = parse(&kept, &profile());
    }

    #[test]
    fn what_is_kept_reads_back(status in 100u16..600, body in vec(any::<u8>(), 0..200)) {
        let kept = raw(status, &HeaderMap::new(), body.clone(), Timestamp::from_millis(9));
        let (head, back) = super::split(&kept).unwrap();
        assert_eq!((head.status, back), (status, body.as_slice()));
    }
}
