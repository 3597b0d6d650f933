//! One reference, in a place that the host accepts, is read; a credential anywhere else is refused by name.

use super::Carriers;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderName, HeaderValue};
use nightlatch_catalog::{
    builtin,
    manifest::{Accept, Manifest},
};
use nightlatch_domain::{problem::ProblemKind, reference::Reference};

const TEXT: &str = "some-reference";

fn found(
    tool: &Manifest,
    accepts: &[Accept],
    fields: &[(&str, &str)],
    query: Option<&str>,
) -> Result<Option<String>, (ProblemKind, String)> {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap());
    }
    let carriers = Carriers { manifest: tool, accepts: accepts.into() };
    carriers
        .find(&headers, query)
        .map(|found| found.map(|found| found.text))
        .map_err(|problem| (problem.kind, problem.field.unwrap_or_default()))
}

fn key_header() -> Accept {
    Accept::Header { name: "x-api-key".into(), prefix: String::new() }
}

fn anthropic() -> Manifest {
    builtin::manifest("anthropic").unwrap()
}

fn basic(pair: &str) -> String {
    format!("Basic {}", STANDARD.encode(pair))
}

#[test]
fn the_reference_is_read_in_each_place_that_is_accepted() {
    let tool = anthropic();
    let reading =
        |place: Accept, name: &str, value: &str| found(&tool, &[place], &[(name, value)], None).unwrap();
    assert_eq!(reading(Accept::Bearer, "authorization", "bEaReR some-reference").as_deref(), Some(TEXT));
    assert_eq!(
        reading(Accept::Scheme { scheme: "token".into() }, "authorization", "token some-reference")
            .as_deref(),
        Some(TEXT)
    );
    assert_eq!(
        reading(Accept::BasicPassword, "authorization", &basic("x:some-reference")).as_deref(),
        Some(TEXT)
    );
    assert_eq!(
        reading(Accept::BasicUser, "authorization", &basic("some-reference:x")).as_deref(),
        Some(TEXT)
    );
    assert_eq!(reading(key_header(), "x-api-key", TEXT).as_deref(), Some(TEXT));
    assert_eq!(found(&tool, &[Accept::Bearer], &[("accept", "*/*")], None), Ok(None));
}

#[test]
fn a_place_that_is_not_accepted_is_a_second_credential() {
    let tool = anthropic();
    let cases: &[(&[Accept], &str, &str)] = &[
        (&[Accept::Bearer], "authorization", "token some-reference"),
        (&[Accept::Bearer], "authorization", "some-reference"),
        (&[Accept::Bearer], "authorization", "Basic eDp5"),
        (&[Accept::Bearer], "x-api-key", TEXT),
        (&[Accept::BasicPassword], "authorization", "Basic !!!"),
        (&[Accept::Bearer], "proxy-authorization", "Bearer x"),
        (&[Accept::Bearer], "x-amz-security-token", "x"),
    ];
    for (accepts, name, value) in cases {
        assert_eq!(
            found(&tool, accepts, &[(name, value)], None),
            Err((ProblemKind::SecondCredential, (*name).to_owned())),
            "{name}: {value}"
        );
    }
}

#[test]
fn two_filled_carriers_are_one_too_many() {
    let (tool, places) = (anthropic(), [Accept::Bearer, key_header()]);
    let own = ("authorization", "Bearer some-reference");
    for (second, value) in [
        ("authorization", "Bearer other"),
        ("x-api-key", "other"),
        ("x_api_key", "other"),
        ("X-Api_Key", "other"),
        ("proxy-authorization", "x"),
        ("cookie", "session=1"),
    ] {
        let refused = found(&tool, &places, &[own, (second, value)], None).unwrap_err();
        assert_eq!(refused.0, ProblemKind::SecondCredential, "{second}");
        assert!(!refused.1.contains("other"));
    }
}

#[test]
fn a_twin_of_the_placement_is_no_place_for_the_reference() {
    let refused = found(&anthropic(), &[key_header()], &[("x_api_key", TEXT)], None);
    assert_eq!(refused, Err((ProblemKind::SecondCredential, "x-api-key".into())));
}

#[test]
fn a_credential_in_the_query_is_refused_by_name() {
    let own = ("authorization", "Bearer some-reference");
    for query in [
        "access_token=x",
        "a=b&API-KEY=x",
        "access%5Ftoken=x",
        "X-Amz-Signature=x",
        "access_token[]=x",
        "a=b;accessToken=x",
    ] {
        let refused = found(&anthropic(), &[Accept::Bearer], &[own], Some(query)).unwrap_err();
        assert_eq!(refused.0, ProblemKind::SecondCredential, "{query}");
        assert!(!refused.1.contains('x') || refused.1.starts_with("x-amz"), "{query}");
    }
}

#[test]
fn a_second_reference_in_basic_is_refused() {
    let both = Reference::draw(|| Ok::<_, ()>([7; 64])).unwrap();
    let pair = basic(&format!("{both}:{both}"));
    let refused = found(&anthropic(), &[Accept::BasicPassword], &[("authorization", &pair)], None);
    assert_eq!(refused, Err((ProblemKind::SecondCredential, "authorization".into())));
    let places = [Accept::BasicPassword, Accept::BasicUser];
    let user =
        found(&anthropic(), &places, &[("authorization", &basic(&format!("{both}:x-oauth-basic")))], None);
    assert_eq!(user, Ok(Some(both.as_str().to_owned())));
}

#[test]
fn another_method_or_path_in_a_field_is_refused() {
    let own = ("authorization", "Bearer some-reference");
    for name in
        ["x-http-method-override", "X-HTTP-Method", "x_method_override", "x-original-url", "x-rewrite-url"]
    {
        let refused = found(&anthropic(), &[Accept::Bearer], &[own, (name, "DELETE")], None).unwrap_err();
        assert_eq!(refused.0, ProblemKind::BadRequest, "{name}");
    }
    let refused = found(&anthropic(), &[Accept::Bearer], &[own], Some("_method=DELETE")).unwrap_err();
    assert_eq!(refused, (ProblemKind::BadRequest, "-method".into()));
}

#[test]
fn connection_may_not_name_a_carrier() {
    let own = ("authorization", "Bearer some-reference");
    for value in ["authorization", "close, Authorization", "x_api_key", "host"] {
        let refused =
            found(&anthropic(), &[Accept::Bearer], &[own, ("connection", value)], None).unwrap_err();
        assert_eq!(refused, (ProblemKind::BadRequest, "connection".into()), "{value}");
    }
    assert!(found(&anthropic(), &[Accept::Bearer], &[own, ("connection", "close, x-other")], None).is_ok());
}

#[test]
fn only_cookies_that_the_manifest_keeps_come_back() {
    let mut tool = anthropic();
    tool.keep_cookies = vec!["lang".into()];
    let own = ("authorization", "Bearer some-reference");
    assert!(found(&tool, &[Accept::Bearer], &[own, ("cookie", "lang=en")], None).is_ok());
    for cookie in ["session=1", "lang=en; session=1", "Lang=en", "lang=en;", ""] {
        let refused = found(&tool, &[Accept::Bearer], &[own, ("cookie", cookie)], None).unwrap_err();
        assert_eq!(refused, (ProblemKind::SecondCredential, "cookie".into()), "{cookie}");
    }
}
