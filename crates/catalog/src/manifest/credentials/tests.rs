//! Proves that a second credential and another method are seen in any spelling, in headers and in a query.

use super::{CREDENTIAL_HEADERS, CREDENTIAL_QUERY, OVERRIDE_QUERY, QueryFault, folded};
use crate::{
    builtin,
    manifest::{Accept, CredentialKind, Manifest},
};
use nightlatch_domain::tool::Placement;
use proptest::prelude::{prop_assert, proptest};

fn tool(name: &str) -> Manifest {
    builtin::manifest(name).unwrap()
}

fn credential(name: &str) -> Option<QueryFault> {
    Some(QueryFault::Credential(name.to_owned()))
}

fn other_method(name: &str) -> Option<QueryFault> {
    Some(QueryFault::Override(name.to_owned()))
}

#[test]
fn twins_of_a_credential_header_are_seen_in_any_spelling() {
    let anthropic = tool("anthropic");
    for twin in ["x-api-key", "X-API-Key", "x_api_key", "X_Api-Key", "Authorization", "COOKIE", "x.api.key"] {
        assert!(anthropic.is_credential_header(twin), "{twin}");
    }
    assert!(!anthropic.is_credential_header("x-request-id"));
}

#[test]
fn well_known_credential_headers_are_carriers_at_every_tool() {
    let all = builtin::Catalogue::builtin().unwrap();
    for name in [
        "x-goog-api-key",
        "X_Auth_Token",
        "x-api-token",
        "x-api-key",
        "x-vault-token",
        "x-github-otp",
        "x-auth-key",
        "x-authorization",
        "x-access-token",
        "Ocp-Apim-Subscription-Key",
        "x-amz-security-token",
        "x-goog-iam-authorization-token",
        "x-forwarded-access-token",
        "private-token",
        "api-key",
    ] {
        assert!(all.manifests().all(|tool| tool.is_credential_header(name)), "{name}");
    }
    for plain in ["accept", "x-github-api-version", "anthropic-version", "idempotency-key", "x-csrf-token"] {
        assert!(!all.manifests().any(|tool| tool.is_credential_header(plain)), "{plain}");
    }
    assert!(tool("gitlab").is_credential_header("Sudo"));
}

#[test]
fn a_tools_own_place_stays_its_place_though_its_name_is_listed() {
    let anthropic = tool("anthropic");
    let bound = anthropic.bound_hosts(CredentialKind::Key, None).unwrap();
    let own = Placement::Header { name: "x-api-key".to_owned(), prefix: String::new() };
    assert_eq!(bound[0].placement, own);
    let host = anthropic.host("").unwrap();
    assert!(host.accepts_beside(&own).contains(&Accept::of(&own)));
}

#[test]
fn a_token_in_the_query_is_seen_in_any_spelling() {
    let gitlab = tool("gitlab");
    for twin in ["access_token", "ACCESS-TOKEN", "private_token", "access_token[]", "X-Amz-Signature"] {
        assert!(gitlab.is_credential_query(twin), "{twin}");
    }
    assert!(!gitlab.is_credential_query("per_page") && !gitlab.is_credential_query("_method"));
}

#[test]
fn a_credential_in_a_raw_query_is_found_however_it_is_split_and_spelled() {
    let anthropic = tool("anthropic");
    for raw in [
        "access_token=stolen",
        "a=b&access_token=stolen",
        "x=1;access_token=stolen",
        "x=1;a&b;access_token",
        "access+token=stolen",
        "access%20token=stolen",
        "access%2Btoken=stolen",
        "+access_token=stolen",
        "access[token=stolen",
        "access%5Btoken=stolen",
        "access.token=stolen",
        "access-token=stolen",
        "ACCESS_TOKEN=stolen",
        "accessToken=stolen",
        "access_token[]=stolen",
        "access_token[a][b]=stolen",
        "access[token]=stolen",
        "a[access_token]=stolen",
        "a%5Baccess_token%5D=stolen",
        "a[b][access.token]=stolen",
        "access%5Ftoken=stolen",
        "access%255Ftoken=stolen",
        "?access_token=stolen",
        "access_token%20=stolen",
    ] {
        assert_eq!(anthropic.query_carrier(raw), credential("access-token"), "{raw}");
    }
}

#[test]
fn another_method_in_a_raw_query_is_found_however_it_is_spelled() {
    let anthropic = tool("anthropic");
    for (raw, name) in [
        ("_method=DELETE", "-method"),
        ("a=b;_METHOD=DELETE", "-method"),
        (".method=DELETE", "-method"),
        ("[method=DELETE", "-method"),
        ("%5Fmethod=DELETE", "-method"),
        ("_method[]=DELETE", "-method"),
        ("+_method=DELETE", "-method"),
        ("%20_method=DELETE", "-method"),
        ("_HttpMethod=PATCH", "-httpmethod"),
        ("X-HTTP-Method-Override=DELETE", "x-http-method-override"),
        ("x_http_method_override=DELETE", "x-http-method-override"),
        ("X+HTTP+Method+Override=DELETE", "x-http-method-override"),
        ("x-http-method=DELETE", "x-http-method"),
        ("a=1&x.method.override=DELETE", "x-method-override"),
    ] {
        assert_eq!(anthropic.query_carrier(raw), other_method(name), "{raw}");
    }
}

#[test]
fn gitlabs_own_query_carriers_are_found() {
    let gitlab = tool("gitlab");
    for (raw, name) in [
        ("sudo=root", "sudo"),
        ("page=1;SUDO=1", "sudo"),
        ("private_token=x", "private-token"),
        ("job_token=x", "job-token"),
        ("feed.token=x", "feed-token"),
    ] {
        assert_eq!(gitlab.query_carrier(raw), credential(name), "{raw}");
    }
    assert_eq!(tool("github").query_carrier("sudo=root"), None);
}

#[test]
fn an_ordinary_query_is_no_carrier() {
    let gitlab = tool("gitlab");
    for raw in [
        "",
        "&;&",
        "=access_token",
        "q=access_token",
        "q=a%26access_token%3Db",
        "method=x&http_method=y",
        "per_page=100&order_by=id&sort=asc",
        "filter[state]=open&labels[]=bug",
        "page_token=x&next_page_token=y&max_tokens=1",
        "tokens=1&my_access_token_count=2",
        "service=git-upload-pack",
    ] {
        assert_eq!(gitlab.query_carrier(raw), None, "{raw}");
    }
}

#[test]
fn the_lists_are_folded_and_hold_no_name_twice() {
    for list in [CREDENTIAL_HEADERS, CREDENTIAL_QUERY, OVERRIDE_QUERY] {
        for (index, name) in list.iter().enumerate() {
            assert!(folded(name) == *name && !list[..index].contains(name), "{name}");
        }
    }
}

#[test]
fn folding_is_idempotent() {
    assert_eq!(folded(&folded("X_Api.Key")), folded("X_Api.Key"));
}

proptest! {
    #[test]
    fn no_query_makes_the_search_fail_and_a_fault_tells_a_listed_name_only(raw in ".{0,60}") {
        let slack = tool("slack");
        match slack.query_carrier(&raw) {
            Some(QueryFault::Credential(name)) => {
                let own = slack.credential_query.iter().any(|own| folded(own) == name);
                prop_assert!(own || CREDENTIAL_QUERY.contains(&name.as_str()));
            }
            Some(QueryFault::Override(name)) => prop_assert!(OVERRIDE_QUERY.contains(&name.as_str())),
            None => {}
        }
    }

    #[test]
    fn what_the_decoded_name_shows_the_raw_query_shows(name in "[a-zA-Z_.-]{1,14}|a?(access|api)[_.-]?(token|key)") {
        let gitlab = tool("gitlab");
        let found = matches!(gitlab.query_carrier(&format!("{name}=1")), Some(QueryFault::Credential(_)));
        prop_assert!(found == gitlab.is_credential_query(&name));
    }
}

#[test]
fn a_credential_in_a_subprotocol_is_seen_and_an_ordinary_one_is_none() {
    let openai = tool("openai");
    let core = "A".repeat(32);
    for token in [
        "openai-insecure-api-key.sk-x",
        "OpenAI_Insecure.API-Key",
        "base64url.bearer.authorization.k8s.io.abc",
        "Bearer",
        "token",
        "access_token.x",
        "header-eyJob3N0Ijoi",
        &format!("sk-proj-{core}"),
        &format!("key.sk-{core}"),
    ] {
        assert!(openai.is_credential_subprotocol(token), "{token}");
    }
    for token in
        ["realtime", "openai-beta.realtime-v1", "graphql-transport-ws", "chat", "tokens", "v4.channel.k8s.io"]
    {
        assert!(!openai.is_credential_subprotocol(token), "{token}");
    }
}
