//! Proves that what comes with the program loads whole, classifies as its pages say, and that every fact has a source.

use super::{Catalogue, CatalogueError, MANIFESTS, PROFILES, manifest, profile};
use crate::{
    canonical,
    manifest::{Accept, ChosenHost, CredentialKind, Manifest},
    profile::{AfterGrace, Blast, OldAccess, Profile, Rotation, SecondPresentation},
};
use nightlatch_domain::{
    exchange::Matched,
    tool::{Effect, Placement, Sensitivity},
};

mod rules;
mod tables;

fn matched(tool: &str, route: &str, method: &str, target: &str) -> Matched {
    let target = canonical::target(method, target).unwrap();
    manifest(tool).unwrap().matched(route, &target).unwrap()
}

fn effect(tool: &str, route: &str, method: &str, target: &str) -> Effect {
    matched(tool, route, method, target).effect
}

#[test]
fn every_built_in_file_loads() {
    for (_, file, text) in MANIFESTS {
        if let Err(error) = Manifest::parse(file, text) {
            panic!("{error}");
        }
    }
    for (_, file, text) in PROFILES {
        if let Err(error) = Profile::parse(file, text) {
            panic!("{error}");
        }
    }
    let catalogue = Catalogue::builtin().unwrap();
    assert_eq!(catalogue.manifests().count(), MANIFESTS.len());
    assert_eq!(catalogue.profiles().count(), PROFILES.len());
}

#[test]
fn a_file_is_named_as_its_tool() {
    assert!(MANIFESTS.iter().all(|(name, _, _)| manifest(name).unwrap().name.as_str() == *name));
    assert!(PROFILES.iter().all(|(name, _, _)| profile(name).unwrap().name.as_str() == *name));
}

#[test]
fn fetching_by_git_is_a_read_and_pushing_a_write() {
    let read = [
        ("GET", "/acme/x.git/info/refs?service=git-upload-pack"),
        ("GET", "/acme/x/info/refs?service=git-upload-pack"),
        ("POST", "/acme/x.git/git-upload-pack"),
    ];
    for (method, target) in read {
        let matched = matched("github", "git", method, target);
        assert_eq!((matched.effect, matched.resource.as_deref()), (Effect::Read, Some("acme/x")), "{target}");
    }
    assert_eq!(
        effect("github", "git", "GET", "/acme/x.git/info/refs?service=git-receive-pack"),
        Effect::Write
    );
    assert_eq!(effect("github", "git", "POST", "/acme/x.git/git-receive-pack"), Effect::Write);
    assert_eq!(effect("github", "git", "GET", "/acme/x.git/info/refs"), Effect::Admin);
    assert_eq!(effect("github", "git", "GET", "/acme/x.git/info/refs?service=git-other"), Effect::Admin);
    assert_eq!(effect("gitlab", "git", "POST", "/acme/team/x.git/git-upload-pack"), Effect::Read);
}

#[test]
fn one_repository_has_one_resource_name_at_both_hosts() {
    let api = matched("github", "", "GET", "/repos/ACME/X");
    let git = matched("github", "git", "POST", "/Acme/x.git/git-upload-pack");
    assert_eq!(api.resource.as_deref(), Some("acme/x"));
    assert_eq!(api.resource, git.resource);
}

#[test]
fn github_is_classified_as_its_pages_say() {
    assert_eq!(matched("github", "", "GET", "/repos/acme/x").operation.0, "repos.get");
    assert_eq!(effect("github", "", "DELETE", "/repos/acme/x"), Effect::Destructive);
    assert_eq!(effect("github", "", "PATCH", "/repos/acme/x"), Effect::Admin);
    assert_eq!(effect("github", "", "POST", "/graphql"), Effect::Admin);
    assert_eq!(effect("github", "", "POST", "/repos/acme/x/keys"), Effect::Credential);
    assert_eq!(effect("github", "", "POST", "/app/installations/7/access_tokens"), Effect::Credential);
    assert_eq!(effect("github", "", "GET", "/repositories/1"), Effect::Admin);
    assert_eq!(effect("github", "uploads", "POST", "/repos/acme/x/releases/1/assets?name=a"), Effect::Write);
}

#[test]
fn slack_posts_by_get_and_it_is_a_write() {
    for method in ["GET", "POST"] {
        assert_eq!(effect("slack", "", method, "/api/chat.postMessage?channel=C1&text=hi"), Effect::Write);
        assert_eq!(effect("slack", "", method, "/api/auth.revoke"), Effect::Credential);
        assert_eq!(effect("slack", "", method, "/api/chat.delete"), Effect::Destructive);
        assert_eq!(effect("slack", "", method, "/api/conversations.history?channel=C1"), Effect::Read);
        assert_eq!(effect("slack", "", method, "/api/admin.users.remove"), Effect::Admin);
    }
}

#[test]
fn keys_of_model_providers_are_credential_operations() {
    assert_eq!(effect("openai", "", "POST", "/v1/organization/admin_api_keys"), Effect::Credential);
    assert_eq!(effect("openai", "", "POST", "/v1/chat/completions"), Effect::Write);
    assert_eq!(effect("openai", "", "POST", "/v1/batches"), Effect::Admin);
    assert_eq!(effect("openai", "", "GET", "/v1/organization/users"), Effect::Admin);
    assert_eq!(effect("anthropic", "", "GET", "/v1/organizations/api_keys"), Effect::Credential);
    assert_eq!(effect("anthropic", "", "POST", "/v1/messages"), Effect::Write);
}

#[test]
fn only_the_generic_tool_goes_by_method() {
    assert_eq!(effect("generic", "", "GET", "/anything"), Effect::Read);
    assert_eq!(effect("generic", "", "DELETE", "/anything"), Effect::Write);
    let catalogue = Catalogue::builtin().unwrap();
    let by_method: Vec<_> = catalogue.manifests().filter(|manifest| manifest.safe_methods).collect();
    assert_eq!(by_method.len(), 1);
}

#[test]
fn credentials_stand_where_each_host_wants_them() {
    let github = manifest("github").unwrap();
    let hosts = github.bound_hosts(CredentialKind::Key, None).unwrap();
    assert_eq!(hosts[0].placement, Placement::Bearer);
    assert_eq!(hosts[1].placement, Placement::Basic { user: "x-access-token".to_owned() });
    let anthropic = manifest("anthropic").unwrap().bound_hosts(CredentialKind::Key, None).unwrap();
    assert_eq!(
        anthropic[0].placement,
        Placement::Header { name: "x-api-key".to_owned(), prefix: String::new() }
    );
    let gitlab = manifest("gitlab").unwrap();
    let key = gitlab.bound_hosts(CredentialKind::Key, None).unwrap();
    let oauth = gitlab.bound_hosts(CredentialKind::OAuth, None).unwrap();
    assert!(matches!(key[0].placement, Placement::Header { .. }));
    assert_eq!(oauth[0].placement, Placement::Bearer);
}

#[test]
fn plain_reads_that_show_a_secret_are_marked_high() {
    for (tool, target) in [
        ("github", "/repos/acme/x"),
        ("github", "/user/repos"),
        ("github", "/orgs/acme/repos"),
        ("github", "/search/repositories?q=x"),
        ("gitlab", "/api/v4/projects/1"),
        ("gitlab", "/api/v4/projects"),
    ] {
        let matched = matched(tool, "", "GET", target);
        assert_eq!((matched.effect, matched.sensitivity), (Effect::Read, Sensitivity::High), "{target}");
    }
}

#[test]
fn git_hosts_ask_with_basic() {
    for tool in ["github", "gitlab"] {
        let manifest = manifest(tool).unwrap();
        let git = manifest.host("git").unwrap();
        assert!(git.challenge.as_deref().unwrap().starts_with("Basic realm="));
        assert!(git.accepts.contains(&Accept::BasicPassword));
    }
}

#[test]
fn every_tool_can_say_whose_account_it_is() {
    for (tool, kind) in [
        ("gmail", CredentialKind::OAuth),
        ("google-drive", CredentialKind::OAuth),
        ("jira", CredentialKind::OAuth),
        ("jira", CredentialKind::Key),
        ("linear", CredentialKind::OAuth),
        ("linear", CredentialKind::Key),
        ("microsoft-graph", CredentialKind::OAuth),
        ("notion", CredentialKind::OAuth),
        ("salesforce", CredentialKind::OAuth),
        ("stripe", CredentialKind::Key),
    ] {
        let manifest = manifest(tool).unwrap();
        let chosen = match tool {
            "jira" => Some("https://acme.atlassian.net"),
            "salesforce" => Some("https://acme--dev.sandbox.my.salesforce.com"),
            _ => None,
        };
        let chosen = chosen.map(|text| ChosenHost::parse(text).unwrap());
        let hosts = manifest.bound_hosts(kind, chosen.as_ref()).unwrap();
        let asked = manifest.accounts.iter().find(|own| hosts.iter().any(|host| host.route == own.route));
        assert!(asked.is_some_and(|account| !account.id.is_empty()), "{tool}");
    }
}

#[test]
fn a_site_of_jira_gets_the_key_and_never_the_token() {
    let jira = manifest("jira").unwrap();
    let site = ChosenHost::parse("https://acme.atlassian.net").unwrap();
    let placed = site.clone().placed(Placement::Basic { user: "dana@example.com".to_owned() });
    let key = jira.bound_hosts(CredentialKind::Key, Some(&placed)).unwrap();
    assert_eq!((key.len(), key[0].host.as_str()), (1, "acme.atlassian.net"));
    assert_eq!(key[0].placement, Placement::Basic { user: "dana@example.com".to_owned() });
    let oauth = jira.bound_hosts(CredentialKind::OAuth, None).unwrap();
    assert_eq!((oauth.len(), oauth[0].host.as_str()), (1, "api.atlassian.com"));
    assert!(
        jira.bound_hosts(CredentialKind::Key, ChosenHost::parse("https://evil.example").ok().as_ref())
            .is_err()
    );
}

#[test]
fn the_generic_profile_assumes_the_worst() {
    let generic = profile("generic").unwrap();
    assert_eq!(generic.rotation, Rotation::Sometimes);
    assert_eq!((generic.reuse.grace_secs, generic.reuse.after_grace), (0, AfterGrace::RevokeFamilyAndAccess));
    assert_eq!(generic.second_presentation, SecondPresentation::Unknown);
    assert_eq!((generic.old_access, generic.blast), (OldAccess::Dies, Blast::Wider));
    assert_eq!(generic.not_processed_statuses, [429]);
    assert!(!generic.is_connectable());
}

/// The keys of a profile's text as facts name them.
fn stated(text: &str) -> Vec<String> {
    let table: toml::Table = text.parse().unwrap();
    let own = table.iter().filter(|(key, _)| !["name", "title", "fact"].contains(&key.as_str()));
    let parts = |(key, value): (&String, &toml::Value)| match value.as_table().filter(|_| key == "reuse") {
        Some(parts) => parts.keys().map(|part| format!("{key}.{part}")).collect(),
        None => vec![key.clone()],
    };
    own.flat_map(parts).collect()
}

#[test]
fn every_statement_of_a_built_in_profile_has_a_source() {
    for (name, _, text) in PROFILES {
        let profile = profile(name).unwrap();
        for key in stated(text) {
            let covered = profile.facts.iter().any(|fact| fact.covers.contains(&key));
            assert!(covered, "{name}: `{key}` has no fact");
        }
    }
}

#[test]
fn every_provider_that_was_looked_up_has_a_profile() {
    let listed = include_str!("../../testdata/providers.txt").lines().filter(|line| !line.starts_with('#'));
    let listed: Vec<&str> = listed.collect();
    let own: Vec<&str> =
        PROFILES.iter().map(|(name, _, _)| *name).filter(|name| *name != "generic").collect();
    assert_eq!(own, listed);
}

#[test]
fn no_unverified_fact_is_milder_than_the_worst() {
    for (name, _, _) in PROFILES {
        let (own, worst) = (profile(name).unwrap(), profile("generic").unwrap());
        let sure = |key| own.may_decide(key);
        let (reuse, nothing) = (own.reuse, worst.reuse);
        assert!(sure("reuse.grace_secs") || reuse.grace_secs == nothing.grace_secs, "{name}");
        assert!(sure("reuse.after_grace") || reuse.after_grace == nothing.after_grace, "{name}");
        assert!(
            sure("second_presentation") || own.second_presentation == worst.second_presentation,
            "{name}"
        );
        assert!(sure("old_access") || own.old_access == worst.old_access, "{name}");
        assert!(sure("blast") || own.blast == worst.blast, "{name}");
        assert!(sure("not_processed_statuses") || own.not_processed_statuses == worst.not_processed_statuses);
    }
}

#[test]
fn a_name_is_taken_once_and_a_profile_must_be_there() {
    let mut catalogue = Catalogue::builtin().unwrap();
    let taken = catalogue.add_manifest(manifest("github").unwrap());
    assert!(matches!(taken, Err(CatalogueError::Taken { kind: "tool", .. })));
    let taken = catalogue.add_profile(profile("github").unwrap());
    assert!(matches!(taken, Err(CatalogueError::Taken { kind: "profile", .. })));
    let mut lonely = Catalogue::default();
    let missing = lonely.add_manifest(manifest("github").unwrap());
    assert!(matches!(missing, Err(CatalogueError::NoProfile { .. })));
    let github = "github".parse().unwrap();
    assert_eq!(catalogue.profile_of(&github).unwrap().name, github);
}

fn name(text: &str) -> nightlatch_domain::tool::Name {
    text.parse().unwrap()
}

#[test]
fn a_tools_token_endpoint_is_told_and_no_other_tools() {
    let catalogue = Catalogue::builtin().unwrap();
    let profile = |tool: &str| catalogue.profile_of(&name(tool));
    let takes = |tool: &str, host: &str, path: &str| {
        profile(tool).is_some_and(|own| own.takes_tokens_at(host, 443, path))
    };
    for (tool, host, path) in [
        ("github", "github.com", "/login/oauth/access_token"),
        ("gitlab", "gitlab.com", "/oauth/token"),
        ("slack", "slack.com", "/api/oauth.v2.access"),
        ("gmail", "oauth2.googleapis.com", "/token"),
        ("gmail", "www.googleapis.com", "/oauth2/v4/token"),
        ("google-drive", "oauth2.googleapis.com", "/token"),
        ("jira", "auth.atlassian.com", "/oauth/token"),
        ("linear", "api.linear.app", "/oauth/token"),
        ("microsoft-graph", "login.microsoftonline.com", "/common/oauth2/v2.0/token"),
        ("microsoft-graph", "login.microsoftonline.com", "/8f1c-tenant/oauth2/v2.0/token"),
        ("microsoft-graph", "login.microsoftonline.com", "/8f1c-tenant/oauth2/token"),
        ("notion", "api.notion.com", "/v1/oauth/token"),
        ("salesforce", "login.salesforce.com", "/services/oauth2/token"),
        ("salesforce", "acme--dev.sandbox.my.salesforce.com", "/services/oauth2/token"),
        ("stripe", "api.stripe.com", "/v1/oauth/token"),
    ] {
        assert!(takes(tool, host, path), "{tool}");
        assert!(!takes(tool, host, "/other"), "{tool}");
        assert!(!takes("openai", host, path) && !takes("generic", host, path), "{tool}");
        assert!(profile(tool).unwrap().has_token_host(host), "{tool}");
    }
    assert!(!takes("gmail", "gitlab.com", "/oauth/token"));
    let salesforce = profile("salesforce").unwrap();
    let hosts: Vec<&str> = salesforce.token_origins().map(|(_, host, _)| host).collect();
    assert_eq!(hosts, ["login.salesforce.com", "test.salesforce.com"]);
}
