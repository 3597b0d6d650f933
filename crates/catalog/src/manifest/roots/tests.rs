//! Proves that a request is what its root fields are, and that what no manifest lists is no less than `admin`.

use crate::{
    builtin, canonical, graphql,
    manifest::{BodyKind, Manifest},
};
use nightlatch_domain::{exchange::Matched, grant::GrantText};
use serde_json::json;

const TEXT: &str = r#"
name = "example"
title = "Example"
docs = "https://example.com"
[[host]]
host = "api.example.com"
key = { kind = "bearer" }
[[operation]]
id = "graphql"
method = "POST"
path = "/graphql"
body = "graphql"
effect = "admin"
page = "https://example.com"
[[graphql]]
id = "things.read"
on = "query"
field = ["thing", "things"]
effect = "read"
page = "https://example.com"
[[graphql]]
id = "things.change"
on = "mutation"
field = "thing"
effect = "write"
page = "https://example.com"
[[graphql]]
id = "secrets"
on = "mutation"
field = "harmlessName"
effect = "credential"
page = "https://example.com"
"#;

fn endpoint(manifest: &Manifest) -> Matched {
    manifest.matched("", &canonical::target("POST", "/graphql").unwrap()).unwrap()
}

fn said(manifest: &Manifest, query: &str) -> String {
    let asked = graphql::read(json!({ "query": query }).to_string().as_bytes()).unwrap();
    let all = manifest.roots_asked(&endpoint(manifest), &asked);
    all.iter().map(|one| format!("{} {}", one.operation, one.effect)).collect::<Vec<_>>().join(", ")
}

#[test]
fn a_request_is_what_its_root_fields_are_the_strictest_first() {
    let manifest = Manifest::parse("x", TEXT).unwrap();
    assert_eq!(manifest.body_of(&endpoint(&manifest)), Some(BodyKind::Graphql));
    for (query, expected) in [
        ("{ thing things }", "things.read read"),
        ("{ other }", "graphql admin"),
        ("{ thing other another }", "graphql admin, things.read read"),
        ("mutation { thing }", "things.change write"),
        ("mutation { thing: harmlessName x: thing }", "secrets credential, things.change write"),
        // Of the other root.
        ("mutation { things }", "graphql admin"),
        // Not listed, and named like what is never covered by a wildcard.
        ("mutation { apiKeyCreate }", "graphql credential"),
        ("mutation { rotateThing }", "graphql credential"),
        ("{ accessTokens }", "graphql credential"),
    ] {
        assert_eq!(said(&manifest, query), expected, "{query}");
    }
}

#[test]
fn a_field_is_what_its_own_endpoint_says_of_it() {
    let second = r#"
[[operation]]
id = "internal"
method = "POST"
path = "/internal"
body = "graphql"
effect = "admin"
page = "https://example.com"
[[graphql]]
id = "internal.things"
endpoint = "internal"
on = "query"
field = "things"
effect = "write"
page = "https://example.com"
"#;
    let manifest = Manifest::parse("x", &format!("{TEXT}{second}")).unwrap();
    let asked = graphql::read(json!({ "query": "{ thing things }" }).to_string().as_bytes()).unwrap();
    for (path, expected) in [
        ("/graphql", vec!["things.read read"]),
        ("/internal", vec!["internal admin", "internal.things write"]),
    ] {
        let endpoint = manifest.matched("", &canonical::target("POST", path).unwrap()).unwrap();
        let all = manifest.roots_asked(&endpoint, &asked);
        let all: Vec<_> = all.iter().map(|one| format!("{} {}", one.operation, one.effect)).collect();
        assert_eq!(all, expected, "{path}");
    }
}

#[test]
fn what_may_be_taken_for_an_endpoint_with_secrets_is_never_covered_by_a_wildcard() {
    let manifest = Manifest::parse("x", TEXT).unwrap();
    let of = |method: &str, target: &str| {
        let matched = manifest.matched("", &canonical::target(method, target).unwrap()).unwrap();
        format!("{} {}", matched.operation, matched.effect)
    };
    for (method, target) in [("POST", "/GraphQL"), ("POST", "/graphql/"), ("GET", "/graphql?query={thing}")] {
        assert_eq!(of(method, target), "unlisted credential", "{method} {target}");
    }
    assert_eq!(of("POST", "/elsewhere"), "unlisted admin");
}

#[test]
fn a_grant_may_name_the_operation_of_a_root_field() {
    let manifest = Manifest::parse("x", TEXT).unwrap();
    let check = |text: &str| manifest.check_grant(&text.parse::<GrantText>().unwrap());
    assert!(check("example:things.read,graphql").is_ok());
    assert!(check("example:things.raed").unwrap_err().to_string().contains("`things.read`"));
    // It names no resource.
    assert!(check("example:things.read@acme").is_err());
}

#[test]
fn each_mistake_is_named_with_its_remedy() {
    for (from, to, wanted) in [
        ("on = \"query\"", "on = \"quarry\"", "did you mean `query`?"),
        ("field = \"thing\"", "field = \"the thing\"", "no name of a field"),
        ("id = \"things.change\"", "id = \"things.read\"", "`things.read` stands twice"),
        ("id = \"things.change\"", "id = \"graphql\"", "`graphql` stands twice"),
        ("[\"thing\", \"things\"]", "[\"thing\", \"thing\"]", "the field `thing` stands twice"),
        ("body = \"graphql\"\n", "", "no operation `graphql` has a body of GraphQL"),
        (
            "id = \"things.change\"",
            "endpoint = \"grahpql\"\nid = \"things.change\"",
            "did you mean `graphql`?",
        ),
    ] {
        let refused = Manifest::parse("x", &TEXT.replace(from, to)).expect_err(to).to_string();
        assert!(refused.contains(wanted), "{to}: {refused}");
    }
    let bare = TEXT.split("[[graphql]]").next().unwrap();
    let refused = Manifest::parse("x", bare).expect_err("no roots").to_string();
    assert!(refused.contains("list its root fields"), "{refused}");
}

/// What the real endpoints have, by the pages of their manifests.
#[test]
fn what_agents_do_over_graphql_is_told_apart() {
    let github = builtin::manifest("github").unwrap();
    let linear = builtin::manifest("linear").unwrap();
    for (manifest, query, expected) in [
        (&github, "{ viewer { login } repository(owner: \"a\", name: \"b\") { id } }", "graphql.read read"),
        (&github, "query { __schema { types { name } } __typename }", "graphql.introspection read"),
        (&github, "mutation { createIssue(input: {}) { id } }", "graphql.issues.change write"),
        (&github, "mutation { addStar(input: {}) { id } }", "graphql.stars.change write"),
        (&github, "mutation { x: deleteIssue(input: {}) { id } }", "graphql.issues.delete destructive"),
        (&github, "mutation { inviteEnterpriseAdmin(input: {}) { id } }", "graphql admin"),
        (&github, "{ enterprise(slug: \"x\") { id } }", "graphql admin"),
        (
            &github,
            "mutation { regenerateVerifiableDomainToken(input: {}) { t } }",
            "graphql.secrets.regenerate credential",
        ),
        (&github, "{ enterpriseMemberInvitationByToken(t: 1) { id } }", "graphql credential"),
        (&linear, "{ viewer { id } issues { nodes { id } } }", "graphql.read read"),
        (&linear, "mutation { issueCreate(input: {}) { success } }", "issues.change write"),
        (&linear, "mutation { issueDelete(id: 1) { success } }", "issues.delete destructive"),
        (&linear, "mutation { organizationInviteCreate(input: {}) { success } }", "graphql admin"),
        (&linear, "mutation { apiKeyCreate(input: {}) { success } }", "secrets.change credential"),
        (&linear, "mutation { webhookRotateSecret(id: 1) { secret } }", "secrets.change credential"),
    ] {
        assert_eq!(said(manifest, query), expected, "{query}");
    }
}
