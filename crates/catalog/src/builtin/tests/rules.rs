//! Proves the rules that every operation of the built-in tools keeps, whichever tool it is.

use super::effect;
use crate::{
    builtin::{Catalogue, MANIFESTS, manifest},
    canonical,
    manifest::{Accept, Operation},
};
use nightlatch_domain::{exchange::Target, grant::GrantText, tool::Effect};

/// Where each vendor documents its API.
const DOCUMENTED_AT: &[(&str, &[&str])] = &[
    ("anthropic", &["docs.anthropic.com", "docs.claude.com"]),
    ("generic", &["nightlatch.dev"]),
    ("github", &["docs.github.com", "git-scm.com"]),
    ("gitlab", &["docs.gitlab.com", "git-scm.com"]),
    ("gmail", &["developers.google.com"]),
    ("google-drive", &["developers.google.com"]),
    ("jira", &["developer.atlassian.com"]),
    ("linear", &["linear.app"]),
    ("microsoft-graph", &["learn.microsoft.com"]),
    ("notion", &["developers.notion.com"]),
    ("openai", &["developers.openai.com", "platform.openai.com"]),
    ("salesforce", &["developer.salesforce.com", "help.salesforce.com"]),
    ("slack", &["docs.slack.dev"]),
    ("stripe", &["docs.stripe.com"]),
];

#[test]
fn every_operation_cites_a_page_of_its_tools_maker() {
    let catalogue = Catalogue::builtin().unwrap();
    assert_eq!(catalogue.manifests().count(), DOCUMENTED_AT.len());
    for (tool, domains) in DOCUMENTED_AT {
        let manifest = manifest(tool).unwrap();
        let pages = manifest.operations.iter().map(|operation| operation.page.as_str());
        for page in pages.chain([manifest.docs.as_str()]) {
            let domain = page.strip_prefix("https://").and_then(|rest| rest.split('/').next());
            assert!(domain.is_some_and(|own| domains.contains(&own)), "{tool}: {page}");
        }
    }
}

#[test]
fn no_wildcard_covers_a_credential_operation() {
    for manifest in Catalogue::builtin().unwrap().manifests() {
        let all: GrantText = format!("{}:read,write,destructive,admin", manifest.name).parse().unwrap();
        for operation in manifest.operations.iter().filter(|own| own.effect == Effect::Credential) {
            let covered = all.operations.iter().any(|own| own.covers(&operation.id, operation.effect));
            assert!(!covered, "{}: {}", manifest.name, operation.id);
        }
    }
}

/// Words of a path that mint, show or end a secret wherever they stand.
const SECRET_WORDS: &[&str] = &[
    "access_tokens",
    "addkey",
    "addpassword",
    "api_keys",
    "changepassword",
    "connection_tokens",
    "ephemeral_keys",
    "login_links",
    "oauth",
    "oauth2",
    "password",
    "registration-token",
    "revokesigninsessions",
    "secrets",
    "session",
    "smimeinfo",
];

#[test]
fn a_path_with_a_word_for_a_secret_is_a_credential_operation() {
    // These only name an account, or the sites that a token opens.
    let harmless = ["userinfo.get", "cloud.sites.list"];
    for manifest in Catalogue::builtin().unwrap().manifests() {
        for operation in manifest.operations.iter().filter(|own| !harmless.contains(&own.id.0.as_str())) {
            let paths = operation.paths.iter().map(|path| path.as_str().to_lowercase());
            let names = |path: &str| path.split('/').any(|part| SECRET_WORDS.contains(&part));
            let names_secret = paths.into_iter().any(|path| names(&path));
            assert!(
                !names_secret || operation.effect == Effect::Credential,
                "{}: {} names a secret and is {}",
                manifest.name,
                operation.id,
                operation.effect
            );
        }
    }
}

/// The tools whose classification follows rules that can be said of every operation.
const BY_RULE: &[&str] =
    &["gmail", "google-drive", "jira", "linear", "microsoft-graph", "notion", "salesforce", "stripe"];

#[test]
fn every_host_says_how_to_ask_and_takes_a_reference_where_the_credential_stands() {
    for tool in BY_RULE {
        for host in &manifest(tool).unwrap().hosts {
            assert!(host.challenge.is_some() && !host.accepts.is_empty(), "{tool}: {}", host.host);
            assert!(host.key.is_some() || host.oauth.is_some(), "{tool}: {}", host.host);
            for placement in [&host.key, &host.oauth].into_iter().flatten() {
                assert!(host.accepts.contains(&Accept::of(placement)), "{tool}: {}", host.host);
            }
        }
    }
}

#[test]
fn what_only_deletes_is_no_write() {
    for tool in BY_RULE {
        for operation in manifest(tool).unwrap().operations.iter().filter(|own| own.methods == ["DELETE"]) {
            assert!(operation.effect >= Effect::Destructive, "{tool}: {}", operation.id);
        }
    }
}

/// Words of a path that say who may see or do what, or who is told of it.
const SHARING_WORDS: &[&str] = &[
    "createlink",
    "delegates",
    "file_links",
    "filters",
    "forwardingaddresses",
    "group",
    "invite",
    "messagerules",
    "permissions",
    "role",
    "sendas",
    "watch",
    "webhook",
    "webhook_endpoints",
];

#[test]
fn a_change_of_who_may_see_or_hears_of_it_is_admin() {
    for tool in BY_RULE {
        let manifest = manifest(tool).unwrap();
        let changing = manifest.operations.iter().filter(|own| own.methods != ["GET"]);
        for operation in changing {
            let mut words = operation.paths.iter().flat_map(|path| path.as_str().split('/'));
            let shares = words.any(|word| SHARING_WORDS.contains(&word.to_lowercase().as_str()));
            assert!(!shares || operation.effect >= Effect::Admin, "{tool}: {}", operation.id);
        }
    }
}

#[test]
fn jira_is_classified_alike_at_both_its_hosts() {
    let jira = manifest("jira").unwrap();
    let twin = |operation: &Operation| {
        let id = operation.id.0.strip_prefix("cloud.")?;
        jira.operations.iter().find(|own| own.id.0 == id)
    };
    let cloud: Vec<_> = jira.operations.iter().filter(|own| own.route == "cloud").collect();
    let twins = cloud.iter().filter_map(|own| Some((own, twin(own)?)));
    let alike = twins.inspect(|(own, twin)| {
        let facts = |own: &Operation| (own.effect, own.sensitivity, own.methods.clone(), own.page.clone());
        assert_eq!(facts(own), facts(twin), "{}", own.id);
    });
    assert_eq!(alike.count(), cloud.len() - 2);
}

/// What many calls travel in, or a language of queries: nobody reads the body yet.
#[test]
fn what_carries_many_calls_is_admin() {
    for (tool, route, target) in [
        ("github", "", "/graphql"),
        ("gmail", "", "/batch/gmail/v1"),
        ("jira", "", "/gateway/api/graphql"),
        ("jira", "cloud", "/graphql"),
        ("jira", "", "/rest/api/3/bulk/issues/move"),
        ("linear", "", "/graphql"),
        ("microsoft-graph", "", "/v1.0/$batch"),
        ("openai", "", "/v1/batches"),
        ("salesforce", "", "/services/data/v62.0/composite"),
        ("salesforce", "", "/services/data/v62.0/composite/graph"),
        ("salesforce", "", "/services/data/v62.0/graphql"),
    ] {
        assert_eq!(effect(tool, route, "POST", target), Effect::Admin, "{tool} {target}");
    }
}

#[test]
fn what_leaves_for_good_is_no_write() {
    for (tool, target) in [
        ("gmail", "/gmail/v1/users/me/messages/send"),
        ("gmail", "/gmail/v1/users/me/drafts/send"),
        ("microsoft-graph", "/v1.0/me/sendMail"),
        ("microsoft-graph", "/v1.0/me/messages/1/reply"),
        ("jira", "/rest/api/3/issue/A-1/notify"),
        ("stripe", "/v1/refunds"),
        ("stripe", "/v1/payouts"),
        ("stripe", "/v1/transfers"),
        ("stripe", "/v1/charges"),
    ] {
        assert_eq!(effect(tool, "", "POST", target), Effect::Destructive, "{tool} {target}");
    }
}

#[test]
fn what_was_never_tried_says_so() {
    for (name, _, text) in MANIFESTS.iter().filter(|(name, _, _)| BY_RULE.contains(name)) {
        let operations = &manifest(name).unwrap().operations;
        assert!(operations.iter().all(|operation| !operation.exercised), "{name}");
        assert_eq!(text.matches("\nexercised = false\n").count(), operations.len(), "{name}");
    }
}

/// A path that fits a template.
fn filled(template: &str) -> String {
    let parts = template.split('{').map(|part| match part.split_once('}') {
        Some((name, rest)) => format!("{}{rest}", if name.ends_with("...") { "x1/y1" } else { "x1" }),
        None => part.to_owned(),
    });
    parts.collect()
}

#[test]
fn every_listed_path_is_its_own_operation() {
    for manifest in Catalogue::builtin().unwrap().manifests() {
        for operation in &manifest.operations {
            let query: Vec<String> =
                operation.query.iter().map(|(name, value)| format!("{name}={value}")).collect();
            for (path, method) in
                operation.paths.iter().flat_map(|path| operation.methods.iter().map(move |own| (path, own)))
            {
                let line = format!("{}?{}", filled(path.as_str()), query.join("&"));
                let target = canonical::target(method, &line).unwrap();
                let target = Target { upgrade: operation.upgrade, ..target };
                let matched = manifest.matched(&operation.route, &target).unwrap();
                assert_eq!(matched.operation, operation.id, "{}: {method} {line}", manifest.name);
            }
        }
    }
}

#[test]
fn no_spelling_makes_a_credential_operation_milder() {
    let spellings: [fn(&str) -> String; 6] = [
        |path| path.to_owned(),
        |path| path.to_uppercase(),
        |path| format!("{path}/"),
        |path| format!("{path}.json"),
        |path| format!("{path};v=1"),
        |path| format!("{path}%20"),
    ];
    for manifest in Catalogue::builtin().unwrap().manifests() {
        for operation in manifest.operations.iter().filter(|own| own.effect == Effect::Credential) {
            let paths = operation.paths.iter().map(|path| filled(path.as_str()));
            for path in paths.flat_map(|path| spellings.iter().map(move |spell| spell(&path))) {
                for method in &operation.methods {
                    let Ok(target) = canonical::target(method, &path) else { continue };
                    let Ok(matched) = manifest.matched(&operation.route, &target) else { continue };
                    assert_eq!(matched.effect, Effect::Credential, "{}: {method} {path}", manifest.name);
                }
            }
        }
    }
}
