//! The environment of a program under `run`: what it may keep of its user's, and what its clients must find to come
//! to the companion with the reference.
//!
//! Nothing is inherited but a list: a shell's environment is full of tokens. Names stand in both cases where clients
//! differ in which one they read (curl reads `http_proxy` in lower case only).

use super::{scratch::Scratch, tools::Tool};
use crate::adapters::variable;
use std::{collections::BTreeMap, ffi::OsString, path::Path};

/// What a program keeps.
const KEPT: &[&str] = &[
    "PATH",
    "HOME",
    "LANG",
    "LANGUAGE",
    "TERM",
    "COLORTERM",
    "USER",
    "LOGNAME",
    "SHELL",
    "TZ",
    "LC_ADDRESS",
    "LC_ALL",
    "LC_COLLATE",
    "LC_CTYPE",
    "LC_IDENTIFICATION",
    "LC_MEASUREMENT",
    "LC_MESSAGES",
    "LC_MONETARY",
    "LC_NAME",
    "LC_NUMERIC",
    "LC_PAPER",
    "LC_TELEPHONE",
    "LC_TIME",
];

/// Where clients look for their proxy.
const PROXY: &[&str] = &["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"];

/// Where they look for hosts that they reach without one: none.
const NO_PROXY: &[&str] = &["NO_PROXY", "no_proxy"];

/// Where they look for the roots that they trust. OpenSSL, Go and Python's `ssl`; curl; requests; git; Node; pip; npm;
/// cargo; the AWS tools; Deno; uv (which takes `SSL_CERT_FILE` too); Google's tools; gRPC.
const TRUST: &[&str] = &[
    "SSL_CERT_FILE",
    "CURL_CA_BUNDLE",
    "REQUESTS_CA_BUNDLE",
    "GIT_SSL_CAINFO",
    "NODE_EXTRA_CA_CERTS",
    "PIP_CERT",
    "npm_config_cafile",
    "CARGO_HTTP_CAINFO",
    "AWS_CA_BUNDLE",
    "DENO_CERT",
    "CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE",
    "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",
];

/// Said to programs as it is. `NODE_USE_ENV_PROXY`: Node reads no proxy variables otherwise. `NETRC`: curl and Python's
/// requests. `GIT_TERMINAL_PROMPT`: git fails where it would ask for a password.
const FIXED: &[(&str, &str)] = &[
    ("NODE_USE_ENV_PROXY", "1"),
    ("NETRC", "/dev/null"),
    ("GIT_TERMINAL_PROMPT", "0"),
    ("GH_PROMPT_DISABLED", "1"),
    ("GH_NO_UPDATE_NOTIFIER", "1"),
];

/// What a program finds around it.
#[derive(Debug)]
pub(super) struct Surroundings {
    pub(super) environment: Vec<(OsString, OsString)>,
    /// Base URLs at the `route` door.
    pub(super) routes: Vec<String>,
    /// What its user should know of the names.
    pub(super) notes: Vec<String>,
}

impl Surroundings {
    pub(super) fn new(proxy: &str, bundle: &Path, scratch: &Scratch, tools: &[Tool]) -> Self {
        let mut set: BTreeMap<OsString, OsString> = BTreeMap::new();
        // A manifest says these; whatever else is set here comes after, and wins.
        let (placeholders, notes) = placeholders(tools);
        set.extend(placeholders.into_iter().map(|(name, value)| (name.into(), value.into())));
        for name in KEPT {
            if let Some(value) = variable(name) {
                set.insert(name.into(), value);
            }
        }
        for (names, value) in [(PROXY, proxy), (NO_PROXY, "")] {
            set.extend(names.iter().map(|name| (name.into(), value.into())));
        }
        set.extend(TRUST.iter().map(|name| (name.into(), bundle.into())));
        set.extend(FIXED.iter().map(|(name, value)| (name.into(), value.into())));
        let folders = [
            ("TMPDIR", scratch.temporary()),
            ("GH_CONFIG_DIR", scratch.folder_of("gh")),
            ("XDG_CACHE_HOME", scratch.folder_of("cache")),
            ("npm_config_cache", scratch.folder_of("cache").join("npm")),
        ];
        set.extend(folders.map(|(name, folder)| (name.into(), folder.into())));
        set.extend(git(tools).into_iter().map(|(name, value)| (name.into(), value.into())));
        let routes = tools.iter().filter_map(|tool| tool.url.clone()).collect();
        Self { environment: set.into_iter().collect(), routes, notes }
    }
}

/// Each tool's reference under the names of its credential. Of two grants the first one has a name, and the reference
/// of the other is said.
fn placeholders(tools: &[Tool]) -> (BTreeMap<&str, &str>, Vec<String>) {
    let (mut found, mut notes) = (BTreeMap::new(), Vec::new());
    for tool in tools {
        let mut nameless = !tool.variables.is_empty();
        for name in &tool.variables {
            let entry = found.entry(name.as_str()).or_insert(tool.reference.as_str());
            nameless &= *entry != tool.reference;
        }
        if nameless {
            let (names, reference) = (tool.variables.join(", "), &tool.reference);
            notes.push(format!(
                "{names} stands for an earlier grant; {} is reached with {reference}",
                tool.connection
            ));
        }
    }
    (found, notes)
}

/// git's configuration by variables (git-config(1), `GIT_CONFIG_COUNT`): it is read last, so the empty helper ends the
/// list of every file, and only the tools' own hosts get one that answers the reference. Over HTTP/2 a push of more
/// than one piece can hang for ever in git itself: libcurl may ask for more after the end, and git reads on then
/// (git/git pull request 1608).
fn git(tools: &[Tool]) -> Vec<(String, String)> {
    let mut settings = vec![
        ("credential.helper".to_owned(), String::new()),
        ("http.version".to_owned(), "HTTP/1.1".to_owned()),
    ];
    let mut seen: Vec<&str> = Vec::new();
    for tool in tools {
        for host in &tool.git {
            if !seen.contains(&host.as_str()) {
                seen.push(host);
                settings.push((format!("credential.{host}.helper"), helper(&tool.reference)));
            }
        }
    }
    let mut variables = vec![("GIT_CONFIG_COUNT".to_owned(), settings.len().to_string())];
    for (number, (key, value)) in settings.into_iter().enumerate() {
        variables.push((format!("GIT_CONFIG_KEY_{number}"), key));
        variables.push((format!("GIT_CONFIG_VALUE_{number}"), value));
    }
    variables
}

/// A helper (gitcredentials(7)) that answers `get` and forgets the rest. A reference has letters, digits and `_` only.
fn helper(reference: &str) -> String {
    format!("!f() {{ test \"$1\" = get && echo username=nightlatch && echo password={reference}; }}; f")
}

#[cfg(test)]
mod tests {
    //! Proves that each client finds what it looks for, that git has a helper for the tools' hosts alone, and that no
    //! manifest sets what is ours.

    use super::{Surroundings, git};
    use crate::commands::run::{scratch::Scratch, tools::Tool};
    use nightlatch_custody::entropy::SystemEntropy;
    use std::{collections::BTreeMap, ffi::OsString, path::Path};

    fn tool(connection: &str, reference: &str, variables: &[&str], git: &[&str]) -> Tool {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        Tool {
            connection: connection.to_owned(),
            reference: reference.to_owned(),
            url: None,
            variables: owned(variables),
            git: owned(git),
        }
    }

    fn around(tools: &[Tool]) -> BTreeMap<OsString, OsString> {
        let scratch = Scratch::make(&SystemEntropy::new()).unwrap();
        let around = Surroundings::new("http://127.0.0.1:1", Path::new("/b.pem"), &scratch, tools);
        around.environment.into_iter().collect()
    }

    #[test]
    fn of_two_grants_of_one_tool_the_first_has_the_variable() {
        let tools =
            [tool("github/a", "ghp_a", &["GH_TOKEN"], &[]), tool("github/b", "ghp_b", &["GH_TOKEN"], &[])];
        assert_eq!(around(&tools)[&OsString::from("GH_TOKEN")], "ghp_a");
        let (_, notes) = super::placeholders(&tools);
        assert_eq!(notes, ["GH_TOKEN stands for an earlier grant; github/b is reached with ghp_b"]);
    }

    #[test]
    fn a_manifest_sets_nothing_that_is_ours() {
        let set = around(&[tool("x/main", "evil", &["HTTPS_PROXY", "NETRC", "GIT_CONFIG_COUNT"], &[])]);
        assert!(set.values().all(|value| value != "evil"));
    }

    #[test]
    fn every_client_finds_proxy_and_trust_and_no_way_around() {
        let set = around(&[]);
        for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy"] {
            assert_eq!(set[&OsString::from(name)], "http://127.0.0.1:1", "{name}");
        }
        for name in
            ["SSL_CERT_FILE", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "GIT_SSL_CAINFO", "NODE_EXTRA_CA_CERTS"]
        {
            assert_eq!(set[&OsString::from(name)], "/b.pem", "{name}");
        }
        assert_eq!(set[&OsString::from("NO_PROXY")], "");
        assert_eq!(set[&OsString::from("NETRC")], "/dev/null");
        assert!(!set.contains_key(&OsString::from("SSH_AUTH_SOCK")));
    }

    #[test]
    fn git_has_no_helper_but_for_the_tools_own_hosts() {
        let tools = [
            tool("github/a", "ghp_a", &[], &["https://github.com"]),
            tool("github/b", "ghp_b", &[], &["https://github.com"]),
        ];
        let set: BTreeMap<String, String> = git(&tools).into_iter().collect();
        assert_eq!(set["GIT_CONFIG_COUNT"], "3");
        assert_eq!(
            (set["GIT_CONFIG_KEY_0"].as_str(), set["GIT_CONFIG_VALUE_0"].as_str()),
            ("credential.helper", "")
        );
        assert_eq!(set["GIT_CONFIG_KEY_2"], "credential.https://github.com.helper");
        assert!(set["GIT_CONFIG_VALUE_2"].contains("password=ghp_a;"));
    }
}
