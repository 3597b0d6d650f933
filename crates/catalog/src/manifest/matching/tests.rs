//! Proves that a target is one operation, that the narrowest wins, and that whatever is doubtful is `admin` or refused.

use super::MatchError;
use crate::{builtin, canonical, manifest::Manifest};
use nightlatch_domain::{
    exchange::{Matched, Target, Upgrade},
    grant::Selector,
    tool::{Effect, OperationId},
};
use proptest::prelude::{prop_assert, prop_assert_eq, proptest};

const HEAD: &str = "name = 't'\ntitle = 'T'\ndocs = 'https://d.example'\n";
const HOST: &str = "[[host]]\nhost = 'api.example.com'\nkey = { kind = 'bearer' }\n";

fn operation(id: &str, method: &str, path: &str, effect: &str, more: &str) -> String {
    format!(
        "[[operation]]\nid = '{id}'\nmethod = '{method}'\npath = '{path}'\neffect = '{effect}'\npage = 'https://d.example'\n{more}\n"
    )
}

fn manifest(settings: &str, operations: &[String]) -> Manifest {
    let text = format!("{HEAD}{settings}\n{HOST}{}", operations.concat());
    Manifest::parse("t.toml", &text).unwrap_or_else(|error| panic!("{error}"))
}

fn matched(manifest: &Manifest, method: &str, raw: &str) -> Result<Matched, MatchError> {
    manifest.matched("", &canonical::target(method, raw).expect(raw))
}

fn found(manifest: &Manifest, method: &str, raw: &str) -> (String, Effect) {
    let matched = matched(manifest, method, raw).expect(raw);
    (matched.operation.0, matched.effect)
}

#[test]
fn an_unlisted_path_is_admin() {
    let tool = manifest("", &[operation("a", "GET", "/a", "read", "")]);
    for (method, path) in [("GET", "/b"), ("POST", "/a"), ("GET", "/a/b"), ("OPTIONS", "/a"), ("GET", "/")] {
        assert_eq!(found(&tool, method, path), ("unlisted".to_owned(), Effect::Admin), "{method} {path}");
    }
}

#[test]
fn safe_methods_make_unlisted_gets_reads_and_nothing_else() {
    let tool = manifest("safe_methods = true", &[]);
    assert_eq!(found(&tool, "GET", "/b").1, Effect::Read);
    assert_eq!(found(&tool, "HEAD", "/b").1, Effect::Read);
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "PROPFIND"] {
        assert_eq!(found(&tool, method, "/b").1, Effect::Write, "{method}");
    }
}

#[test]
fn an_unlisted_path_never_shows_in_its_template() {
    let tool = manifest("", &[]);
    assert_eq!(matched(&tool, "GET", "/secret/path").unwrap().template, "/{unlisted...}");
}

#[test]
fn the_narrowest_operation_wins_in_any_order() {
    let mut operations = [
        operation("rest", "GET", "/k/{x...}", "read", ""),
        operation("one", "GET", "/k/{x}", "write", ""),
        operation("part", "GET", "/k/{x}.zip", "destructive", ""),
        operation("literal", "GET", "/k/all", "admin", ""),
        operation("query", "GET", "/k/all", "credential", "query = { show = 'secret' }"),
    ];
    for _ in 0..operations.len() {
        operations.rotate_left(1);
        let tool = manifest("", &operations);
        for (target, id) in [
            ("/k/a/b", "rest"),
            ("/k/a", "one"),
            ("/k/a.zip", "part"),
            ("/k/all", "literal"),
            ("/k/all?show=secret", "query"),
        ] {
            assert_eq!(found(&tool, "GET", target).0, id, "{target}");
        }
    }
}

#[test]
fn head_is_get_with_all_that_follows() {
    let tool = manifest("", &[operation("post-by-get", "GET", "/send", "write", "")]);
    assert_eq!(found(&tool, "HEAD", "/send"), ("post-by-get".to_owned(), Effect::Write));
}

#[test]
fn a_request_on_which_two_operations_are_at_odds_is_admin() {
    let tool = manifest(
        "safe_methods = true",
        &[operation("a", "GET", "/a/{x}", "read", ""), operation("b", "GET", "/{y}/b", "read", "")],
    );
    assert_eq!(found(&tool, "GET", "/a/c").0, "a");
    assert_eq!(found(&tool, "GET", "/c/b").0, "b");
    assert_eq!(found(&tool, "GET", "/a/b"), ("unlisted".to_owned(), Effect::Admin));
}

#[test]
fn a_path_that_only_looks_like_a_listed_one_is_admin() {
    let listed = [
        operation("revoke", "POST", "/api/auth.revoke", "destructive", ""),
        operation("file", "GET", "/api/{x...}", "read", ""),
    ];
    let tool = manifest("safe_methods = true", &listed);
    for path in [
        "/api/AUTH.revoke",
        "/api/auth.revoke/",
        "/api/auth.revoke;x",
        "/API/auth.revoke",
        "/api;v=1/auth.revoke",
    ] {
        for method in ["GET", "POST"] {
            assert_eq!(found(&tool, method, path), ("unlisted".to_owned(), Effect::Admin), "{method} {path}");
        }
    }
    assert_eq!(found(&tool, "GET", "/api/other").0, "file");
}

#[test]
fn what_may_be_a_credential_operation_is_never_less_though_it_is_not_listed() {
    for settings in ["", "safe_methods = true"] {
        let tool = manifest(
            settings,
            &[
                operation("show", "GET", "/secrets/{x}", "credential", ""),
                operation("list", "GET", "/secrets", "credential", ""),
                operation("all", "GET", "/{k}/{x}", "admin", ""),
            ],
        );
        assert_eq!(found(&tool, "GET", "/secrets/x"), ("show".to_owned(), Effect::Credential));
        for raw in [
            "/secrets/x/",
            "/Secrets/x",
            "/secrets;v=1/x",
            "/secrets%3Bv=1/x",
            "/secrets%20/x",
            "/secrets./x",
            "/SECRETS/x/",
            "/secrets.json",
            "/Secrets.JSON/",
            "/secrets/",
        ] {
            for method in ["GET", "POST", "HEAD", "DELETE"] {
                let found = found(&tool, method, raw);
                assert_eq!(found, ("unlisted".to_owned(), Effect::Credential), "{settings} {method} {raw}");
            }
        }
        assert_eq!(found(&tool, "POST", "/secrets/x").1, Effect::Credential, "{settings}");
        assert_eq!(found(&tool, "GET", "/other/x"), ("all".to_owned(), Effect::Admin), "{settings}");
        assert_ne!(found(&tool, "POST", "/other").1, Effect::Credential, "{settings}");
    }
}

#[test]
fn a_grant_of_admin_does_not_reach_a_credential_operation_by_misspelling() {
    let github = builtin::manifest("github").unwrap();
    let admin = Selector::Effect(Effect::Admin);
    for raw in [
        "/repos/acme/x/keys",
        "/repos/acme/x/keys/",
        "/repos/acme/x/Keys",
        "/repos/acme/x/keys;a",
        "/repos/acme/x/keys.json",
        "/Repos/acme/x/keys",
    ] {
        let matched = matched(&github, "GET", raw).unwrap();
        assert!(!admin.covers(&matched.operation, matched.effect), "{raw}");
        let unlisted = Selector::Operation(OperationId::unlisted());
        assert!(!unlisted.covers(&matched.operation, matched.effect), "{raw}");
    }
}

#[test]
fn a_credential_operation_at_odds_with_another_one_stays_credential() {
    let tool = manifest(
        "safe_methods = true",
        &[
            operation("a", "GET", "/a/{x}", "admin", ""),
            operation("b", "GET", "/{y}/secret", "credential", ""),
            operation("q", "GET", "/q", "credential", "query = { show = '1' }"),
        ],
    );
    assert_eq!(found(&tool, "GET", "/a/c").0, "a");
    for raw in ["/a/secret", "/a/Secret", "/a/secret;x", "/q", "/q?show=2"] {
        assert_eq!(found(&tool, "GET", raw), ("unlisted".to_owned(), Effect::Credential), "{raw}");
    }
}

#[test]
fn a_listed_path_with_another_query_is_admin_even_where_methods_are_trusted() {
    let tool = manifest(
        "safe_methods = true",
        &[operation("kill", "GET", "/do", "destructive", "query = { action = 'kill' }")],
    );
    assert_eq!(found(&tool, "GET", "/do?action=kill").0, "kill");
    for raw in ["/do", "/do?action=Kill", "/do?action=kill%20", "/do?action=", "/do?x=1"] {
        for method in ["GET", "HEAD"] {
            assert_eq!(found(&tool, method, raw), ("unlisted".to_owned(), Effect::Admin), "{method} {raw}");
        }
    }
    assert_eq!(found(&tool, "GET", "/other").1, Effect::Read);
}

#[test]
fn an_encoded_literal_does_not_slip_into_a_variable() {
    let tool = manifest(
        "",
        &[
            operation("kill", "POST", "/u/me:kill", "destructive", ""),
            operation("put", "POST", "/u/{x}", "write", ""),
        ],
    );
    assert_eq!(found(&tool, "POST", "/u/me%3Akill").0, "kill");
    assert_eq!(found(&tool, "POST", "/u/%6de%3akill").0, "kill");
}

#[test]
fn a_query_name_that_decides_has_one_reading_or_is_refused() {
    let tool = manifest("", &[operation("fetch", "GET", "/refs", "read", "query = { service = 'up' }")]);
    assert_eq!(found(&tool, "GET", "/refs?service=up&x=1").0, "fetch");
    assert_eq!(found(&tool, "GET", "/refs?%73ervice=%75p").0, "fetch");
    assert_eq!(found(&tool, "GET", "/refs?service=down").1, Effect::Admin);
    assert_eq!(found(&tool, "GET", "/refs").1, Effect::Admin);
    for raw in [
        "/refs?service=up&service=down",
        "/refs?service=up&service=up",
        "/refs?service=up&Service=down",
        "/refs?service=up&service[]=down",
        "/refs?service[0]=down",
        "/refs?service=up&%20service=down",
        "/refs?x=1;service=down&service=up",
    ] {
        let refused = matched(&tool, "GET", raw);
        assert_eq!(refused, Err(MatchError::AmbiguousQuery("service".to_owned())), "{raw}");
    }
    assert_eq!(found(&tool, "GET", "/other?service=1&service=2").1, Effect::Admin);
}

#[test]
fn a_resource_has_one_spelling() {
    let rule = "resource = { case = 'insensitive', strip_suffix = '.git' }";
    let tool =
        manifest(rule, &[operation("get", "GET", "/{owner}/{repo}", "read", "resource = '{owner}/{repo}'")]);
    for raw in ["/acme/x", "/ACME/X", "/acme/x.git", "/acme/x.GIT.git", "/%61cme/x"] {
        assert_eq!(matched(&tool, "GET", raw).unwrap().resource.as_deref(), Some("acme/x"), "{raw}");
    }
}

#[test]
fn a_resource_that_means_something_to_a_pattern_is_refused() {
    let rule = "resource = { case = 'insensitive' }";
    let tool =
        manifest(rule, &[operation("get", "GET", "/{owner}/{repo}", "read", "resource = '{owner}/{repo}'")]);
    for raw in
        ["/acme/*", "/acme/%2A", "/a*b/x", "/acme/x;y", "/acme/a%20b", "/acme/%C3%A4", "/acme/%E2%84%AA"]
    {
        assert_eq!(matched(&tool, "GET", raw), Err(MatchError::Resource), "{raw}");
    }
}

#[test]
fn a_number_has_one_spelling_and_any_other_names_nothing() {
    let get = [operation("get", "GET", "/p/{id}", "read", "resource = '{id}'")];
    let ids = manifest("resource = { strip_suffix = '.git' }", &get);
    for raw in [
        "/p/01",
        "/p/001",
        "/p/00",
        "/p/%30%31",
        "/p/+1",
        "/p/%2B1",
        "/p/-01",
        "/p/-0",
        "/p/01.git",
        "/p/%D9%A1",
    ] {
        assert_eq!(matched(&ids, "GET", raw), Err(MatchError::Resource), "{raw}");
    }
    for raw in ["/p/0", "/p/1", "/p/10", "/p/-1", "/p/0a", "/p/1.git", "/p/0.1", "/p/-", "/p/x01"] {
        assert!(matched(&ids, "GET", raw).is_ok(), "{raw}");
    }
    let names = manifest("resource = { digits = 'name' }", &get);
    assert_eq!(matched(&names, "GET", "/p/007").unwrap().resource.as_deref(), Some("007"));
}

#[test]
fn gitlabs_project_1_is_not_reached_as_01() {
    let gitlab = builtin::manifest("gitlab").unwrap();
    let of = |raw: &str| matched(&gitlab, "GET", raw).map(|matched| matched.resource);
    assert_eq!(of("/api/v4/projects/1"), Ok(Some("1".to_owned())));
    assert_eq!(of("/api/v4/projects/01"), Err(MatchError::Resource));
    assert_eq!(of("/api/v4/projects/+1"), Err(MatchError::Resource));
    assert!(gitlab.check_grant(&"gitlab:read@01".parse().unwrap()).is_err());
    let github = builtin::manifest("github").unwrap();
    assert_eq!(matched(&github, "GET", "/repos/007/x").unwrap().resource.as_deref(), Some("007/x"));
}

#[test]
fn an_unknown_route_is_refused() {
    let target = canonical::target("GET", "/a").unwrap();
    assert_eq!(manifest("", &[]).matched("git", &target), Err(MatchError::Route("git".to_owned())));
}

proptest! {
    #[test]
    fn a_target_is_always_the_same_operation(path in "/[ak](/[abk.]{1,3}){0,2}", method in "(GET|POST|HEAD)") {
        let mut operations = [
            operation("rest", "GET", "/k/{x...}", "read", ""),
            operation("one", "GET", "/k/{x}", "write", ""),
            operation("cross", "GET", "/{y}/a", "destructive", ""),
            operation("literal", "GET", "/k/a", "admin", ""),
        ];
        if let Ok(target) = canonical::target(&method, &path) {
            let first = manifest("", &operations).matched("", &target);
            operations.reverse();
            prop_assert_eq!(manifest("", &operations).matched("", &target), first);
        }
    }

    #[test]
    fn no_target_gets_less_than_the_listed_effect(raw in "/(k|K|%6b)(/|//|;x/|%2f)(all|ALL|%61ll|all;x|all/|a%6cl)") {
        let tool = manifest("safe_methods = true", &[operation("all", "GET", "/k/all", "admin", "")]);
        if let Ok(target) = canonical::target("GET", &raw) {
            prop_assert!(tool.matched("", &target).unwrap().effect >= Effect::Admin, "{raw}");
        }
    }
}

#[test]
fn another_spelling_of_the_same_call_raises_no_doubt_and_one_of_another_resource_does() {
    let two = |first: &str, second: &str, more: &str| {
        let text =
            operation("a", "GET", "@", "read", more).replace("'@'", &format!("['{first}', '{second}']"));
        manifest("resource = { case = 'insensitive' }", &[text])
    };
    let slash = two("/a/{x}", "/a/{x}/", "resource = '{x}'");
    for path in ["/a/B", "/a/B/"] {
        assert_eq!(found(&slash, "GET", path), ("a".to_owned(), Effect::Read), "{path}");
    }
    let format = two("/a/{x}", "/a/{x}.json", "resource = '{x}'");
    assert_eq!(found(&format, "GET", "/a/b.json").0, "a");
    assert_eq!(found(&format, "GET", "/a/b.JSON").1, Effect::Admin);
    let bare = two("/a/{x}", "/a/{x}.json", "");
    assert_eq!(found(&bare, "GET", "/a/b.JSON").0, "a");
    for (method, wanted) in [("GET", Effect::Admin), ("POST", Effect::Admin)] {
        let others = manifest(
            "",
            &[operation("a", "GET", "/a/{x}", "read", ""), operation("b", method, "/a/{x}/", "write", "")],
        );
        assert_eq!(found(&others, "GET", "/a/B").1, wanted, "{method}");
    }
    let both = |method: &str| {
        let b = operation("b", method, "@", "write", "").replace("'@'", "['/a/{x...}', '/a/{x}/']");
        manifest("", &[operation("a", "GET", "/a/{x}", "read", ""), b])
    };
    assert_eq!(found(&both("GET"), "GET", "/a/B").1, Effect::Admin);
    assert_eq!(found(&both("POST"), "GET", "/a/B").1, Effect::Read);
}

/// What a GET is that asks for a WebSocket.
fn by_websocket(manifest: &Manifest, raw: &str) -> Result<String, MatchError> {
    let target = canonical::target("GET", raw).expect(raw);
    let target = Target { upgrade: Some(Upgrade::WebSocket), ..target };
    manifest.matched("", &target).map(|matched| matched.operation.0)
}

const BY_WEBSOCKET: &str = "upgrade = 'websocket'";

#[test]
fn a_websocket_is_its_own_operation_and_only_where_it_is_listed() {
    for settings in ["", "safe_methods = true"] {
        let watch = operation("watch", "GET", "/things/{x}", "write", BY_WEBSOCKET);
        let tool = manifest(settings, &[watch, operation("get", "GET", "/things/{x}", "read", "")]);
        assert_eq!(by_websocket(&tool, "/things/1"), Ok("watch".to_owned()));
        assert_eq!(found(&tool, "GET", "/things/1"), ("get".to_owned(), Effect::Read));
        for unlisted in ["/others/1", "/things", "/Things/1", "/things/1/", "/"] {
            assert_eq!(by_websocket(&tool, unlisted), Err(MatchError::Upgrade), "{settings} {unlisted}");
        }
        assert_eq!(found(&tool, "HEAD", "/things/1").0, "get");
    }
}

#[test]
fn a_plain_call_is_no_websocket_and_none_makes_it_doubtful() {
    let open = operation("open", "GET", "/{path...}", "write", BY_WEBSOCKET);
    let tool = manifest("safe_methods = true", &[open]);
    for plain in ["/", "/x", "/x/", "/X.json"] {
        assert_eq!(found(&tool, "GET", plain), ("unlisted".to_owned(), Effect::Read), "{plain}");
    }
    let live = manifest("safe_methods = true", &[operation("watch", "GET", "/live", "write", BY_WEBSOCKET)]);
    for near in ["/live", "/Live", "/live/", "/live.json"] {
        assert_eq!(found(&live, "GET", near), ("unlisted".to_owned(), Effect::Read), "{near}");
    }
    let only = manifest("", &[operation("watch", "GET", "/live", "write", BY_WEBSOCKET)]);
    assert_eq!(found(&only, "GET", "/live"), ("unlisted".to_owned(), Effect::Admin));
}

/// A server that takes no notice of the upgrade answers the plain call.
#[test]
fn a_websocket_that_would_be_more_where_the_upgrade_is_ignored_is_refused() {
    let open = operation("open", "GET", "/{path...}", "write", BY_WEBSOCKET);
    let with = |effect: &str| {
        manifest("safe_methods = true", &[open.clone(), operation("keys", "GET", "/keys/{id}", effect, "")])
    };
    for (effect, wanted) in [
        ("read", Ok("open".to_owned())),
        ("write", Ok("open".to_owned())),
        ("destructive", Err(MatchError::Upgrade)),
        ("admin", Err(MatchError::Upgrade)),
        ("credential", Err(MatchError::Upgrade)),
    ] {
        assert_eq!(by_websocket(&with(effect), "/keys/1"), wanted, "{effect}");
    }
    assert_eq!(by_websocket(&with("credential"), "/Keys/1.json"), Err(MatchError::Upgrade));
    assert_eq!(by_websocket(&with("credential"), "/other"), Ok("open".to_owned()));
}
