//! Proves that words raise an effect, never lower it, and that what speaks of secrets is `credential`.

use super::Said;
use nightlatch_domain::tool::Effect::{self, Admin, Credential, Destructive, Read, Write};
use proptest::prelude::{prop, proptest};

fn said<'d>(method: &'d str, id: &'d str, path: &str) -> Said<'d> {
    let parts = || path.split('/').filter(|part| !part.is_empty());
    let variable = |part: &str| part.strip_prefix('{')?.strip_suffix('}').map(str::to_owned);
    Said {
        method,
        id,
        literals: parts().filter(|part| !part.contains('{')).map(str::to_owned).collect(),
        variables: parts().filter_map(variable).collect(),
        tags: Vec::new(),
        summary: "",
        scopes: Vec::new(),
        stated: None,
    }
}

#[test]
fn names_say_what_an_operation_does() {
    let cases: [(Effect, &str, &str, &str); 40] = [
        (Read, "GET", "repos/get", "/repos/{owner}/{repo}"),
        (Read, "GET", "", "/posts"),
        (Read, "GET", "listUpdates", "/updates"),
        (Read, "GET", "users_profile_get", "/users.profile.get"),
        (Read, "GET", "", "/keyboards/{id}"),
        (Read, "HEAD", "", "/posts/{id}"),
        (Read, "GET", "orgs/list-members", "/orgs/{org}/members"),
        (Write, "POST", "issues/create", "/issues"),
        (Write, "PUT", "", "/posts/{id}"),
        (Write, "GET", "chat_postMessage", "/chat.postMessage"),
        (Write, "GET", "", "/views.open"),
        (Write, "GET", "getViewsOpen", "/views.open"),
        (Write, "GET", "connectGetNamespacedPodExec", "/pods/{name}/exec"),
        (Destructive, "DELETE", "", "/posts/{id}"),
        (Destructive, "POST", "", "/posts/bulk-delete"),
        (Destructive, "GET", "chat_delete", "/chat.delete"),
        (Destructive, "POST", "PostRefunds", "/v1/refunds"),
        (Admin, "PUT", "", "/orgs/{org}/memberships/{user}"),
        (Admin, "POST", "", "/users"),
        (Admin, "POST", "", "/repos/{repo}/hooks"),
        (Admin, "PATCH", "updatePolicy", "/policies/{id}"),
        (Admin, "GET", "", "/admin.users.list"),
        (Admin, "GET", "", "/audit-log"),
        (Admin, "GET", "auth_test", "/auth.test"),
        (Credential, "GET", "auth_revoke", "/auth.revoke"),
        (Credential, "POST", "auth_revoke", "/auth.revoke"),
        (Credential, "POST", "", "/auth.anything"),
        (Credential, "POST", "createToken", "/x"),
        (Credential, "GET", "", "/access_tokens"),
        (Credential, "POST", "", "/api-keys"),
        (Credential, "GET", "listAPIKeys", "/x"),
        (Credential, "DELETE", "", "/apiKeys/{id}"),
        (Credential, "GET", "", "/repos/{repo}/actions/secrets"),
        (Credential, "POST", "", "/oauth/authorize"),
        (Credential, "POST", "", "/sessions"),
        (Credential, "POST", "", "/users/{id}/rotate"),
        (Credential, "POST", "", "/databases/{id}/reset_auth"),
        (Credential, "GET", "", "/kubernetes/clusters/{id}/kubeconfig"),
        (Credential, "GET", "", "/links/{share_token}"),
        (Credential, "POST", "resetPassword", "/users/{id}/reset"),
    ];
    for (effect, method, id, path) in cases {
        assert_eq!(said(method, id, path).effect(), effect, "{method} {path} `{id}`");
    }
}

#[test]
fn tags_summaries_and_scopes_speak_too() {
    let plain = || said("POST", "things_create", "/things");
    assert_eq!(plain().effect(), Write);
    assert_eq!(Said { tags: vec!["OAuth Authorizations"], ..plain() }.effect(), Credential);
    assert_eq!(Said { summary: "Generate a new access token", ..plain() }.effect(), Credential);
    assert_eq!(Said { summary: "Get a project by key", ..plain() }.effect(), Write);
    assert_eq!(Said { scopes: vec!["admin:org"], ..plain() }.effect(), Admin);
}

#[test]
fn what_the_document_states_only_raises() {
    let get = || said("GET", "things_get", "/things");
    assert_eq!(Said { stated: Some(Credential), ..get() }.effect(), Credential);
    let mint = said("POST", "tokens_create", "/tokens");
    assert_eq!(Said { stated: Some(Read), ..mint }.effect(), Credential);
}

proptest! {
    #[test]
    fn no_words_lower_what_the_method_says(
        method in prop::sample::select(vec!["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "OTHER"]),
        id in "[a-zA-Z_./-]{0,30}",
        path in "(/[a-z{}.]{1,10}){1,4}",
        summary in ".{0,40}",
    ) {
        let floor = match method {
            "GET" | "OPTIONS" => Read,
            "DELETE" => Destructive,
            _ => Write,
        };
        let said = Said { summary: &summary, ..said(method, &id, &path) };
        assert!(said.effect() >= floor);
    }

    #[test]
    fn whatever_surrounds_it_a_word_of_secrets_is_heard(
        method in prop::sample::select(vec!["GET", "POST", "DELETE"]),
        word in prop::sample::select(vec!["token", "secret", "password", "api-key", "revoke", "rotate", "oauth", "session"]),
        before in "[a-z]{0,8}", after in "[a-z]{0,8}",
    ) {
        let path = format!("/{before}-{word}.{after}");
        assert_eq!(said(method, "things_get", &path).effect(), Credential, "{path}");
    }
}
