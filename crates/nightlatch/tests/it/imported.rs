//! Proves that OpenAPI documents of real tools become manifests: nothing of them is lost in silence, what is about a secret
//! is covered by no wildcard, and a real request is the operation that its document says.

use crate::world::{install::Install, parts::folders};
use nightlatch_catalog::{
    canonical,
    manifest::{ChosenHost, Manifest},
    openapi::{Asked, Imported, by_effect, import},
};
use nightlatch_domain::{
    exchange::Matched,
    grant::GrantText,
    tool::{Effect, Placement},
};
use serde_json::Value;
use std::{collections::BTreeMap, fs, path::PathBuf, sync::LazyLock};

/// A document, and where its tool is, where it does not say that plainly.
const DOCUMENTS: [(&str, Option<&str>, bool); 6] = [
    ("digitalocean", None, false),
    ("directus", Some("https://directus.example.com"), false),
    ("github", None, true),
    ("slack", None, false),
    ("stripe", None, false),
    ("twilio", None, true),
];

fn document(name: &str) -> PathBuf {
    folders().1.join("openapi").join(format!("{name}.json"))
}

fn text(name: &str) -> String {
    fs::read_to_string(document(name)).expect("`cargo xtask parts` installs the documents")
}

/// Every document's import, made once.
static IMPORTED: LazyLock<BTreeMap<&str, Imported>> =
    LazyLock::new(|| DOCUMENTS.map(|(name, host, is_unplaced)| (name, made(name, host, is_unplaced))).into());

fn made(name: &str, host: Option<&str>, is_unplaced: bool) -> Imported {
    let host = host.map(|host| ChosenHost::parse(host).expect("a host"));
    let placement = is_unplaced.then_some(Placement::Bearer);
    let (tool, sha256) = (name.parse().expect("a name"), "0".repeat(64));
    let asked = Asked {
        name: &tool,
        file: "document.json",
        sha256: &sha256,
        host: host.as_ref(),
        placement: placement.as_ref(),
    };
    import(&text(name), asked).expect("a real document")
}

fn imported(name: &str) -> &'static Imported {
    IMPORTED.get(name).expect("a document of the parts")
}

fn matched(manifest: &Manifest, method: &str, target: &str) -> Matched {
    manifest
        .matched("", &canonical::target(method, target).expect("it is as the test set it up"))
        .expect("it is as the test set it up")
}

/// Whether a grant of everything that has a word covers it.
fn is_covered_by_a_wildcard(matched: &Matched) -> bool {
    let grant: GrantText = "any:read,write,destructive,admin".parse().expect("it is as the test set it up");
    grant.operations.iter().any(|selector| selector.covers(&matched.operation, matched.effect))
}

/// Every method of every path of a document, counted without our own reader.
fn listed(name: &str) -> usize {
    const METHODS: [&str; 8] = ["get", "put", "post", "delete", "options", "head", "patch", "trace"];
    let document: Value = serde_json::from_str(&text(name)).expect("it is as the test set it up");
    let items = document["paths"].as_object().expect("it is as the test set it up").values();
    items.map(|item| METHODS.iter().filter(|method| item.get(**method).is_some()).count()).sum()
}

#[test]
fn every_operation_of_a_real_document_is_listed_or_named_as_skipped() {
    let expected = [
        ("digitalocean", 290),
        ("directus", 136),
        ("github", 845),
        ("slack", 174),
        ("stripe", 452),
        ("twilio", 195),
    ];
    for (name, count) in expected {
        let made = imported(name);
        assert_eq!(listed(name), count, "{name}");
        let held = made.manifest.operations.len();
        let standing =
            made.skipped.iter().filter(|one| one.reason.contains("is held where it is one")).count();
        let guards = made.skipped.iter().filter(|one| one.reason.contains("stands for it")).count();
        assert!(held + made.skipped.len() >= count, "{name}: {held} and {} of {count}", made.skipped.len());
        assert!(held + made.skipped.len() <= count + standing + guards, "{name}: counted twice");
    }
}

#[test]
fn operations_of_real_documents_have_all_effects() {
    // What a change of the words that are read would change is seen here.
    let expected = [
        ("digitalocean", [131, 80, 43, 25, 11]),
        ("directus", [43, 42, 19, 21, 11]),
        ("github", [391, 125, 53, 178, 97]),
        ("slack", [39, 51, 11, 65, 8]),
        ("stripe", [198, 146, 52, 21, 34]),
        ("twilio", [87, 39, 20, 14, 35]),
    ];
    let counted =
        expected.map(|(name, _)| (name, by_effect(&imported(name).manifest).map(|(_, count)| count)));
    assert_eq!(counted, expected);
}

#[test]
fn what_mints_shows_or_revokes_a_secret_is_covered_by_no_wildcard() {
    let sensitive = [
        ("slack", "GET", "/api/auth.revoke"),
        ("slack", "POST", "/api/auth.revoke"),
        ("slack", "GET", "/api/Auth.Revoke"),
        ("slack", "GET", "/api/oauth.v2.access"),
        ("slack", "POST", "/api/admin.users.session.reset"),
        ("github", "POST", "/app/installations/1/access_tokens"),
        ("github", "DELETE", "/installation/token"),
        ("github", "DELETE", "/applications/1/grant"),
        ("github", "PUT", "/repos/acme/site/actions/secrets/KEY"),
        ("github", "POST", "/repos/acme/site/actions/runners/registration-token"),
        ("github", "POST", "/repos/acme/site/keys"),
        ("github", "GET", "/repos/acme/site/secret-scanning/alerts"),
        ("stripe", "POST", "/v1/ephemeral_keys"),
        ("stripe", "POST", "/v1/terminal/connection_tokens"),
        ("stripe", "GET", "/v1/apps/secrets"),
        ("digitalocean", "GET", "/v2/kubernetes/clusters/1/kubeconfig"),
        ("digitalocean", "POST", "/v2/databases/1/users/x/reset_auth"),
        ("digitalocean", "POST", "/v2/account/keys"),
        ("directus", "POST", "/auth/login"),
        ("directus", "POST", "/auth/password/reset"),
        ("directus", "POST", "/users/me/tfa/enable"),
        ("twilio", "POST", "/2010-04-01/Accounts/AC1/Tokens.json"),
        ("twilio", "POST", "/2010-04-01/Accounts/AC1/Keys.json"),
    ];
    for (name, method, target) in sensitive {
        let matched = matched(&imported(name).manifest, method, target);
        assert_eq!(matched.effect, Effect::Credential, "{name}: {method} {target}");
        assert!(!is_covered_by_a_wildcard(&matched), "{name}: {method} {target}");
    }
}

#[test]
fn a_real_request_is_the_operation_that_its_document_says() {
    let requests = [
        ("github", "GET", "/repos/acme/site/issues/7", "issues/get read @repos/acme/site"),
        ("github", "POST", "/repos/acme/site/issues", "issues/create write @repos/acme/site"),
        ("github", "DELETE", "/repos/acme/site", "repos/delete destructive @repos/acme/site"),
        ("github", "PUT", "/orgs/acme/memberships/dana", "orgs/set-membership-for-user admin @orgs/acme"),
        ("github", "GET", "/user/repos", "repos/list-for-authenticated-user read"),
        ("slack", "POST", "/api/chat.postMessage", "chat_postMessage write"),
        ("slack", "POST", "/api/chat.delete", "chat_delete destructive"),
        ("slack", "GET", "/api/conversations.history", "conversations_history read"),
        ("slack", "GET", "/api/views.open", "views_open write"),
        ("stripe", "GET", "/v1/customers/cus_1", "GetCustomersCustomer read @customers/cus_1"),
        ("stripe", "POST", "/v1/refunds", "PostRefunds destructive"),
        ("digitalocean", "GET", "/v2/droplets/3164494", "droplets_get read @droplets/3164494"),
        ("directus", "GET", "/items/articles/1", "getItem read @items/articles/1"),
        ("github", "GET", "/nothing/that/is/there", "unlisted admin"),
    ];
    for (name, method, target, expected) in requests {
        let matched = matched(&imported(name).manifest, method, target);
        let resource = matched.resource.map(|resource| format!(" @{resource}")).unwrap_or_default();
        assert_eq!(
            format!("{} {}{resource}", matched.operation, matched.effect),
            expected,
            "{name}: {target}"
        );
    }
}

#[tokio::test]
async fn a_document_is_shown_asked_about_and_added_once() {
    let install = Install::started("").await;
    let (file, host) = (document("directus"), "https://directus.example.com");
    let file = file.to_str().expect("it is as the test set it up");
    let add = |more: &[&'static str]| {
        let all = ["tool", "add", "--openapi", file, "--name", "directus", "--host", host];
        install.run(&[&all, more].concat())
    };
    let shown = add(&["--dry-run", "--json"]);
    let shown: Value = serde_json::from_slice(&shown.stdout).expect("it is as the test set it up");
    assert_eq!(
        (shown["is_new"].as_bool(), shown["added"].as_array().expect("it is as the test set it up").len()),
        (Some(true), 136)
    );
    // Nobody can be asked here, and nothing took effect.
    let unasked = add(&[]);
    assert!(!unasked.status.success() && String::from_utf8_lossy(&unasked.stderr).contains("--yes"));
    assert!(!install.run(&["tool", "show", "directus"]).status.success());
    assert!(add(&["--yes"]).status.success());
    let again: Value = serde_json::from_slice(&add(&["--json"]).stdout).expect("it is as the test set it up");
    assert_eq!((again["is_same"].as_bool(), again["took_effect"].as_bool()), (Some(true), Some(false)));
}
