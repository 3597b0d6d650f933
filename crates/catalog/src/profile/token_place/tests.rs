//! Proves that whatever a server could take for its token endpoint is told as such, and nothing else is.

use super::{TokenPlace, TokenPlaceError};
use crate::profile::Profile;
use nightlatch_domain::tool::Scheme;
use proptest::prelude::{prop_assert, proptest};

fn profile() -> Profile {
    let text = r#"name = "t"
title = "T"
authorization_endpoint = "https://login.example.com/authorize"
token_endpoint = "https://login.example.com/oauth/token?v=2"
refresh_endpoint = "https://api.example.com/oauth/refresh"
token_endpoint_aliases = [
  "https://old.example.com/{tenant}/oauth2/token",
  "https://*.tenants.example.com:8443/services/oauth2/token",
]
[[fact]]
covers = "token_endpoint_aliases"
source = "https://d.example"
confidence = "verified"
checked_at = "2026-11-21"
"#;
    Profile::parse("t.toml", text).unwrap()
}

#[test]
fn the_endpoint_and_its_aliases_are_told() {
    let profile = profile();
    for (host, port, path) in [
        ("login.example.com", 443, "/oauth/token"),
        ("api.example.com", 443, "/oauth/refresh"),
        ("old.example.com", 443, "/common/oauth2/token"),
        ("old.example.com", 443, "/8f3c/oauth2/token"),
        ("acme.tenants.example.com", 8443, "/services/oauth2/token"),
    ] {
        assert!(profile.takes_tokens_at(host, port, path), "{host}{path}");
        assert!(profile.has_token_host(host), "{host}");
    }
}

#[test]
fn what_a_careless_server_takes_for_it_is_told_too() {
    let profile = profile();
    for (host, path) in [
        ("login.example.com", "/oauth/token/"),
        ("login.example.com", "/OAuth/Token"),
        ("login.example.com", "/oauth/token;v=1"),
        ("login.example.com", "/oauth/token.json"),
        ("login.example.com", "/oauth/token%20"),
        ("old.example.com", "/common/OAUTH2/token/"),
    ] {
        assert!(profile.takes_tokens_at(host, 443, path), "{host}{path}");
    }
}

#[test]
fn neither_another_host_nor_port_nor_path_is_told() {
    let profile = profile();
    for (host, port, path) in [
        ("example.com", 443, "/oauth/token"),
        ("evil-login.example.com", 443, "/oauth/token"),
        ("login.example.com.evil.example", 443, "/oauth/token"),
        ("login.example.com", 8443, "/oauth/token"),
        ("login.example.com", 443, "/oauth/tokens"),
        ("login.example.com", 443, "/oauth"),
        ("login.example.com", 443, "/oauth/token/x"),
        ("old.example.com", 443, "/oauth2/token"),
        ("old.example.com", 443, "/a/b/oauth2/token"),
        ("tenants.example.com", 8443, "/services/oauth2/token"),
        ("a.b.tenants.example.com", 8443, "/services/oauth2/token"),
        ("acme.tenants.example.com", 443, "/services/oauth2/token"),
    ] {
        assert!(!profile.takes_tokens_at(host, port, path), "{host}:{port}{path}");
    }
    for host in ["example.com", "evil-login.example.com", "a.b.tenants.example.com", "tenants.example.com"] {
        assert!(!profile.has_token_host(host), "{host}");
    }
}

#[test]
fn only_exact_hosts_are_named() {
    let profile = profile();
    let origins: Vec<_> = profile.token_origins().collect();
    let at = |host| (Scheme::Https, host, 443);
    assert_eq!(origins, [at("login.example.com"), at("api.example.com"), at("old.example.com")]);
}

#[test]
fn an_alias_reads_back_and_a_wide_one_is_refused() {
    for text in ["https://a.example.com/token", "https://*.example.com:444/{tenant}/token"] {
        assert_eq!(TokenPlace::parse(text).map(|place| place.to_string()).as_deref(), Ok(text));
    }
    for text in [
        "http://a.example.com/token",
        "https://*/token",
        "https://*.com/token",
        "https://a.example.com",
        "https://a.example.com/{rest...}",
        "https://a.example.com/{any}",
        "https://a.example.com/oauth/{any}",
        "https://a.example.com/",
        "https://a.example.com:0/token",
        "https://A.example.com/token",
        "https://user@a.example.com/token",
        "https://a.example.com/token?x=1",
    ] {
        assert_eq!(TokenPlace::parse(text), Err(TokenPlaceError(text.to_owned())), "{text}");
    }
}

#[test]
fn a_profile_names_a_bounded_number_of_aliases() {
    let with = |count: usize| {
        let aliases: Vec<String> =
            (0..count).map(|index| format!("\"https://a{index}.example.com/t\"")).collect();
        let text =
            format!("name = \"t\"\ntitle = \"T\"\ntoken_endpoint_aliases = [{}]\n", aliases.join(", "));
        Profile::parse("t.toml", &text).map_err(|error| error.to_string())
    };
    assert_eq!(with(16).unwrap().token_endpoint_aliases.len(), 16);
    assert!(with(17).unwrap_err().contains("`token_endpoint_aliases` holds at most 16 addresses"));
}

proptest! {
    #[test]
    fn no_text_makes_the_reader_fail(text in "(https://)?[a-z*.{}/:0-9é]{0,40}") {
        if let Ok(place) = TokenPlace::parse(&text) {
            prop_assert!(TokenPlace::parse(&place.to_string()) == Ok(place));
        }
    }
}
