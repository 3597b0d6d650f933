//! Proves that a pattern only bounds, that a bound host is exact, and that plain HTTP stays on this machine.

use super::{ChosenHost, ChosenHostError, HostError, HostPattern, Origin, is_host, path_prefix};
use crate::{
    builtin,
    manifest::{Accept, CredentialKind, Manifest},
};
use nightlatch_domain::tool::{Placement, Scheme};
use proptest::prelude::{prop_assert, proptest};

fn patterned() -> Manifest {
    let text = "name = 'desk'\ntitle = 'Desk'\ndocs = 'https://d.example'\n[[host]]\nhost = '*.desk.example'\nkey = { kind = 'bearer' }";
    Manifest::parse("desk.toml", text).unwrap()
}

#[test]
fn a_pattern_admits_one_label_and_no_look_alike() {
    let pattern = HostPattern::parse("*.desk.example").unwrap();
    assert!(pattern.admits("acme.desk.example"));
    for host in [
        "desk.example",
        "a.b.desk.example",
        "acme.desk.example.",
        "evildesk.example",
        "acme.desk.example.evil.example",
        "ACME.desk.example",
        ".desk.example",
        "-.desk.example",
    ] {
        assert!(!pattern.admits(host), "{host}");
    }
    assert!(HostPattern::parse("*.example").is_none() && HostPattern::parse("a.*").is_none());
    assert!(HostPattern::parse("*").unwrap().admits("any.example") && !HostPattern::Any.admits("bad host"));
}

#[test]
fn a_pattern_of_two_stars_admits_more_labels_and_no_look_alike() {
    let pattern = HostPattern::parse("**.desk.example").unwrap();
    assert_eq!(pattern.to_string(), "**.desk.example");
    assert!(pattern.admits("acme.desk.example") && pattern.admits("acme.sandbox.desk.example"));
    for host in [
        "desk.example",
        "evildesk.example",
        "acme.desk.example.evil.example",
        "ACME.desk.example",
        ".desk.example",
        "a..desk.example",
        "-.a.desk.example",
    ] {
        assert!(!pattern.admits(host), "{host}");
    }
    assert!(HostPattern::parse("**.example").is_none() && HostPattern::parse("**").is_none());
    assert!(HostPattern::parse("***.desk.example").is_none() && HostPattern::parse("a.**.example").is_none());
}

#[test]
fn host_names_have_one_spelling() {
    for good in ["a.example", "localhost", "127.0.0.1", "xn--bcher-kva.example", "a-b.c1"] {
        assert!(is_host(good), "{good}");
    }
    for bad in [
        "",
        "A.example",
        "a.example.",
        "a..b",
        "-a.b",
        "a_b.c",
        "a:1",
        "[::1]",
        "127.1",
        "0x7f000001",
        "1",
        "010.0.0.1",
        "256.0.0.1",
        "a.1",
        "bücher.example",
        "a/b",
        "user@a",
    ] {
        assert!(!is_host(bad), "{bad}");
    }
}

#[test]
fn a_chosen_host_is_exact_and_confidential() {
    let chosen = ChosenHost::parse("https://api.example.com:8443/v2/").unwrap();
    assert_eq!(
        (chosen.host.as_str(), chosen.port, chosen.path_prefix.as_str()),
        ("api.example.com", 8443, "/v2")
    );
    assert_eq!(ChosenHost::parse("https://api.example.com").unwrap().path_prefix, "/");
    assert_eq!(ChosenHost::parse("http://127.0.0.1:3301").unwrap().scheme, Scheme::Http);
    assert!(matches!(ChosenHost::parse("http://api.example.com"), Err(ChosenHostError::Plain(_))));
    assert!(matches!(ChosenHost::parse("http://127.0.0.1.evil.example"), Err(ChosenHostError::Plain(_))));
    for bad in [
        "api.example.com",
        "ftp://a.example",
        "https://u@a.example",
        "https://a.example?x",
        "https://a.example/#x",
        "https://a.example:0",
        "https://a.example:99999",
        "https://a.example:+1",
        "https://a.example/a/../b",
        "HTTPS://a.example",
    ] {
        assert!(matches!(ChosenHost::parse(bad), Err(ChosenHostError::Malformed(_))), "{bad}");
    }
}

#[test]
fn a_pattern_needs_a_chosen_host_inside_it() {
    let desk = patterned();
    assert!(matches!(desk.bound_hosts(CredentialKind::Key, None), Err(HostError::Needed { .. })));
    let inside = ChosenHost::parse("https://acme.desk.example").unwrap();
    let bound = desk.bound_hosts(CredentialKind::Key, Some(&inside)).unwrap();
    assert_eq!(
        (bound.len(), bound[0].host.as_str(), &bound[0].placement),
        (1, "acme.desk.example", &Placement::Bearer)
    );
    let outside = ChosenHost::parse("https://acme.evil.example").unwrap();
    assert!(matches!(desk.bound_hosts(CredentialKind::Key, Some(&outside)), Err(HostError::Outside { .. })));
    assert!(desk.may_learn("acme.desk.example") && !desk.may_learn("acme.evil.example"));
}

#[test]
fn fixed_hosts_take_no_other() {
    let github = builtin::manifest("github").unwrap();
    let other = ChosenHost::parse("https://evil.example").unwrap();
    assert!(matches!(github.bound_hosts(CredentialKind::Key, Some(&other)), Err(HostError::Fixed(_))));
    let hosts = github.bound_hosts(CredentialKind::OAuth, None).unwrap();
    let names: Vec<&str> = hosts.iter().map(|host| host.host.as_str()).collect();
    assert_eq!(names, ["api.github.com", "github.com", "uploads.github.com"]);
    assert!(github.may_learn("github.com") && !github.may_learn("raw.githubusercontent.com"));
}

#[test]
fn a_kind_that_no_host_takes_is_refused() {
    let openai = builtin::manifest("openai").unwrap();
    assert!(matches!(openai.bound_hosts(CredentialKind::OAuth, None), Err(HostError::Kind { .. })));
}

#[test]
fn a_placement_that_a_human_chose_is_bound_and_its_place_takes_the_reference() {
    let generic = builtin::manifest("generic").unwrap();
    let placement = Placement::Header { name: "x-token".to_owned(), prefix: String::new() };
    let chosen = ChosenHost::parse("http://127.0.0.1:3302").unwrap().placed(placement.clone());
    let bound = generic.bound_hosts(CredentialKind::Key, Some(&chosen)).unwrap();
    assert_eq!(bound[0].placement, placement);
    let accepts = generic.host("").unwrap().accepts_beside(&placement);
    assert_eq!(accepts[0], Accept::Header { name: "x-token".to_owned(), prefix: String::new() });
    assert!(accepts.contains(&Accept::Bearer));
}

#[test]
fn a_prefix_ends_without_a_slash() {
    assert_eq!(path_prefix("").as_deref(), Some("/"));
    assert_eq!(path_prefix("/").as_deref(), Some("/"));
    assert_eq!(path_prefix("/v2").as_deref(), Some("/v2"));
    assert_eq!(path_prefix("/v2/").as_deref(), Some("/v2"));
    assert!(path_prefix("v2").is_none() && path_prefix("/v2?x").is_none() && path_prefix("/%76").is_none());
}

proptest! {
    #[test]
    fn no_text_makes_the_reader_fail(text in ".{0,60}") {
        let _ = (HostPattern::parse(&text), ChosenHost::parse(&text), path_prefix(&text));
        let _ = Origin::parse(&text).map(|origin| origin.is_confidential());
    }

    #[test]
    fn what_is_admitted_is_a_host(host in "[a-z0-9.*:@/-]{1,20}") {
        for pattern in ["*", "*.desk.example"] {
            let admits = HostPattern::parse(pattern).unwrap().admits(&host);
            prop_assert!(!admits || is_host(&host));
        }
    }
}
