//! Proves what a manifest's reader refuses, with the line and the remedy, and that grants are checked against a tool.

use super::{GrantError, Manifest, ResourceRule};
use crate::{builtin, reading::FileError};
use nightlatch_domain::grant::GrantText;
use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

const SOUND: &str = r#"name = "t"
title = "T"
docs = "https://d.example"
[[host]]
host = "api.example.com"
key = { kind = "bearer" }
[[operation]]
id = "a.get"
method = "GET"
path = "/a/{x}"
effect = "read"
resource = "{x}"
page = "https://d.example/a"
"#;

fn parse(text: &str) -> Result<Manifest, FileError> {
    Manifest::parse("t.toml", text)
}

/// The refusal of the sound manifest with one text replaced.
fn refusal(from: &str, to: &str) -> String {
    assert!(SOUND.contains(from), "{from}");
    parse(&SOUND.replacen(from, to, 1)).expect_err(to).to_string()
}

#[test]
fn the_sound_manifest_is_read() {
    let manifest = parse(SOUND).unwrap();
    assert_eq!((manifest.hosts.len(), manifest.operations.len(), manifest.safe_methods), (1, 1, false));
}

#[test]
fn each_mistake_is_named_with_line_and_remedy() {
    for (from, to, told) in [
        (
            "effect = \"read\"",
            "efect = \"read\"",
            "t.toml:11: this operation has no key `efect`: did you mean `effect`?",
        ),
        (
            "effect = \"read\"",
            "effect = \"reed\"",
            "t.toml:11: `reed` is no value of `effect`: did you mean `read`?",
        ),
        ("page = \"https://d.example/a\"", "", "this operation has no `page`"),
        (
            "page = \"https://d.example/a\"",
            "page = \"http://d.example\"",
            "t.toml:13: `http://d.example` is no page",
        ),
        ("id = \"a.get\"", "id = \"unlisted\"", "t.toml:8: `unlisted` is no operation's id"),
        ("id = \"a.get\"", "id = \"read\"", "t.toml:8: `read` is no operation's id"),
        (
            "method = \"GET\"",
            "method = \"GET\"\nupgrade = \"h2c\"",
            "t.toml:10: `h2c` is no value of `upgrade`",
        ),
        (
            "method = \"GET\"",
            "method = [\"GET\", \"POST\"]\nupgrade = \"websocket\"",
            "t.toml:10: a WebSocket begins with a GET: write `method = \"GET\"` and nothing beside it",
        ),
        (
            "effect = \"read\"",
            "effect = \"credential\"\nupgrade = \"websocket\"\nanswer = \"no-secret\"",
            "t.toml:13: `answer` is held to what comes over HTTP",
        ),
        ("method = \"GET\"", "method = \"get\"", "t.toml:9: the method must be one word of capital letters"),
        ("method = \"GET\"", "method = \"TRACE\"", "are refused"),
        ("path = \"/a/{x}\"", "path = \"a/{x}\"", "t.toml:10: `a/{x}` is no path template"),
        ("resource = \"{x}\"", "resource = \"{y}\"", "t.toml:12: `/a/{x}` has no variable `y`"),
        ("resource = \"{x}\"", "resource = \"x*\"", "is no resource template"),
        ("/a/{x}", "/a/{x...}", "has no variable `x` of one segment"),
        (
            "host = \"api.example.com\"",
            "host = \"API.example.com\"",
            "t.toml:5: `API.example.com` is no host",
        ),
        (
            "host = \"api.example.com\"",
            "host = \"api.example.com\"\nscheme = \"http\"",
            "plain HTTP is for a loopback host only",
        ),
        (
            "host = \"api.example.com\"",
            "host = \"api.example.com\"\nport = 70000",
            "`port` must be from 0 to 65535",
        ),
        (
            "host = \"api.example.com\"",
            "host = \"api.example.com\"\nport = 0",
            "`port` must be from 1 to 65535",
        ),
        (
            "host = \"api.example.com\"",
            "host = \"api.example.com\"\npath_prefix = \"/v1\"",
            "`/a/{x}` lies outside the host's `path_prefix`",
        ),
        (
            "host = \"api.example.com\"",
            "host = \"api.example.com\"\nroute = \"x\"",
            "the first host is reached without a route",
        ),
        ("kind = \"bearer\"", "kind = \"header\", name = \"Host\"", "is no name of a header"),
        ("kind = \"bearer\"", "kind = \"header\", name = \"content-length\"", "is no name of a header"),
        ("kind = \"bearer\"", "kind = \"basic\", user = \"a:b\"", "holds no colon"),
        ("id = \"a.get\"", "id = \"a.get\"\nroute = \"git\"", "no host has the route `git`"),
        ("title = \"T\"", "title = \"T\"\nshapes = [\"x{core:9}\"]", "is no shape"),
        ("title = \"T\"", "title = \"T\"\naccount = { probe = \"user\" }", "`user` cannot be asked for"),
        (
            "title = \"T\"",
            "title = \"T\"\naccount = { probe = \"/u\", id = \"id\" }",
            "`id` is no JSON pointer",
        ),
        (
            "title = \"T\"",
            "title = \"T\"\naccount = { probe = \"/u\", headers = { authorization = \"x\" } }",
            "`authorization` may not be set here",
        ),
        (
            "title = \"T\"",
            "title = \"T\"\naccount = { probe = \"/u\", json = \"{}\" }",
            "t.toml:3: `json` is one object in `{` and `}`, and goes with `method = \"POST\"`",
        ),
        (
            "title = \"T\"",
            "title = \"T\"\naccount = { probe = \"/u\", method = \"POST\", json = \"[]\" }",
            "t.toml:3: `json` is one object",
        ),
        ("name = \"t\"", "name = \"v1\"", "t.toml:1: `v1` is not a name"),
    ] {
        let all = refusal(from, to);
        assert!(all.contains(told), "{told}\nnot in\n{all}");
    }
}

#[test]
fn all_mistakes_are_told_at_once() {
    let text = SOUND.replace("\"read\"", "\"reed\"").replace("\"GET\"", "\"get\"").replace("title", "titel");
    assert_eq!(parse(&text).unwrap_err().findings.len(), 4);
}

#[test]
fn two_equally_narrow_operations_do_not_load() {
    let twin = |id: &str, more: &str| {
        format!(
            "[[operation]]\nid = \"{id}\"\nmethod = [\"HEAD\", \"POST\"]\npath = \"/a/{{y}}\"\neffect = \"write\"\npage = \"https://d.example\"\n{more}\n"
        )
    };
    let all = parse(&format!("{SOUND}{}", twin("b", ""))).unwrap_err().to_string();
    assert!(all.contains("t.toml:14: `/a/{y}` and `/a/{x}` fit the same request equally well"), "{all}");
    assert!(all.contains("(`a.get` in line 7)"), "{all}");
    assert!(parse(&format!("{SOUND}{}", twin("b", "query = { q = \"1\" }"))).is_ok());
    let same = parse(&format!("{SOUND}{}", twin("a.get", ""))).unwrap_err().to_string();
    assert!(same.contains("the id `a.get` stands twice"), "{same}");
    let apart =
        format!("{SOUND}{}{}", twin("b", "query = { q = \"1\" }"), twin("c", "query = { q = \"2\" }"));
    assert!(parse(&apart).is_ok());
    let own = refusal("path = \"/a/{x}\"", "path = [\"/a/{x}\", \"/a/{x}\"]");
    assert!(own.contains("says the same as another path"), "{own}");
}

fn checked(grant: &str) -> Result<String, GrantError> {
    let grant: GrantText = grant.parse().unwrap();
    builtin::manifest("github").unwrap().check_grant(&grant).map(|grant| grant.to_string())
}

#[test]
fn an_unknown_operation_in_a_grant_is_refused_with_the_nearest_one() {
    let error = checked("github:issues.creat").unwrap_err().to_string();
    assert_eq!(error, "`github` has no operation `issues.creat`: did you mean `issues.create`?");
    assert!(checked("github:zzzzzzzz").unwrap_err().to_string().contains("nightlatch tool show github"));
    assert_eq!(checked("github:read,issues.create").unwrap(), "github:read,issues.create");
}

#[test]
fn a_grant_of_another_tool_is_refused() {
    assert!(matches!(checked("gitlab:read"), Err(GrantError::Tool { .. })));
}

#[test]
fn a_grants_resource_is_brought_to_the_tools_spelling() {
    assert_eq!(checked("github/dana:write@Acme/*").unwrap(), "github/dana:write@acme/*");
    assert_eq!(checked("github@ACME/X.git").unwrap(), "github:read@acme/x");
    assert_eq!(checked("github").unwrap(), "github:read");
}

#[test]
fn a_resource_that_no_selected_operation_names_is_refused() {
    let error = checked("github@acme").unwrap_err().to_string();
    assert!(error.contains("write `{owner}/{repo}` with `*` for a segment"), "{error}");
    assert!(matches!(checked("github:graphql@acme/*"), Err(GrantError::Resource { .. })));
    assert!(matches!(checked("github:read@ac*me/x"), Err(GrantError::Resource { .. })));
}

proptest! {
    #[test]
    fn no_text_makes_the_reader_fail(text in "(?s).{0,300}", at in 0..300_usize, with in ".{0,4}") {
        let _ = parse(&text);
        let mut bent: String = SOUND.to_owned();
        let place = (0..=at.min(bent.len())).rev().find(|index| bent.is_char_boundary(*index)).unwrap_or(0);
        bent.insert_str(place, &with);
        let _ = parse(&bent);
    }

    #[test]
    fn a_manifest_cut_short_never_fails_the_reader(at in 0..SOUND.len()) {
        let _ = parse(SOUND.get(..at).unwrap_or_default());
    }

    #[test]
    fn one_spelling_stays_one_spelling(value in ".{0,20}|[+-]?[0-9]{1,4}(.git)?", ignores_case in any::<bool>()) {
        let strip_suffix = Some(".git".to_owned());
        let rule = ResourceRule { ignores_case, strip_suffix, digits_are_names: false, knows_uuids: ignores_case };
        if let Some(spelled) = rule.spelled(&value) {
            prop_assert!(!spelled.contains(['*', '/']) && !spelled.ends_with(".git"));
            prop_assert_eq!(rule.spelled(&spelled), Some(spelled));
        }
    }
}

#[test]
fn a_uuid_has_one_spelling_where_the_tool_knows_uuids() {
    let dashed = "2f26ee68-df30-4251-aad4-8ddc420cba3d";
    let rule = |knows_uuids| ResourceRule { knows_uuids, ..ResourceRule::default() };
    for given in [dashed, "2f26ee68df304251aad48ddc420cba3d", "2F26EE68-DF30-4251-AAD4-8DDC420CBA3D"] {
        assert_eq!(rule(true).spelled(given).as_deref(), Some(dashed), "{given}");
        assert_eq!(rule(false).spelled(given).as_deref(), Some(given), "{given}");
    }
    for other in [
        "2f26ee68d-f30-4251-aad4-8ddc420cba3d",
        "2f26ee68-df30-4251-aad48ddc420cba3d",
        "2f26ee68df304251aad48ddc420cba3",
        "2f26ee68df304251aad48ddc420cba3g",
        "2f26ee68-df30-4251-aad4-8ddc420cba3d0",
        "--------------------------------",
    ] {
        assert_eq!(rule(true).spelled(other).as_deref(), Some(other), "{other}");
    }
}

#[test]
fn a_manifest_may_ask_for_the_account_in_several_ways() {
    let one = parse(&SOUND.replace("[[op", "[account]\nprobe = \"/me\"\n[[op")).unwrap();
    assert_eq!(one.accounts.len(), 1);
    let two = "[[account]]\nprobe = \"/me\"\n[[account]]\nprobe = \"/you\"\nmethod = \"POST\"\njson = '{\"a\":1}'\n[[op";
    let two = parse(&SOUND.replace("[[op", two)).unwrap();
    assert_eq!(two.accounts.iter().map(|account| account.path.as_str()).collect::<Vec<_>>(), ["/me", "/you"]);
    assert_eq!(two.accounts[1].json.as_deref(), Some("{\"a\":1}"));
}
