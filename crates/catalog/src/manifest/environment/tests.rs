//! Proves that a manifest can name only variables that hold a credential, and none that steers a program.

use super::{EnvironmentError, variable};
use crate::{builtin, manifest::Manifest};

const HEAD: &str = r#"name = "t"
title = "T"
docs = "https://d.example"
"#;

fn parse(line: &str) -> Result<Manifest, String> {
    let text = format!("{HEAD}{line}\n[[host]]\nhost = \"api.example.com\"\nkey = {{ kind = \"bearer\" }}\n");
    Manifest::parse("t.toml", &text).map_err(|error| error.to_string())
}

#[test]
fn what_programs_call_a_credential_may_be_set() {
    for name in
        ["GH_TOKEN", "OPENAI_API_KEY", "PGPASSWORD", "STRIPE_SECRET_KEY", "JIRA_PAT", "NODE_AUTH_TOKEN"]
    {
        assert_eq!(variable(name).as_deref(), Ok(name));
    }
}

#[test]
fn what_steers_a_program_is_never_set() {
    for name in [
        "PATH",
        "HOME",
        "SHELL",
        "IFS",
        "BASH_ENV",
        "ENV",
        "EDITOR",
        "PAGER",
        "TMPDIR",
        "LD_PRELOAD",
        "LD_LIBRARY_PATH",
        "DYLD_INSERT_LIBRARIES",
        "HTTPS_PROXY",
        "ALL_PROXY",
        "NO_PROXY",
        "NODE_OPTIONS",
        "NODE_EXTRA_CA_CERTS",
        "PYTHONPATH",
        "PYTHONSTARTUP",
        "PERL5OPT",
        "RUBYOPT",
        "JAVA_TOOL_OPTIONS",
        "GIT_ASKPASS",
        "GIT_SSH_COMMAND",
        "GIT_CONFIG_GLOBAL",
        "SSL_CERT_FILE",
        "CURL_CA_BUNDLE",
        "NETRC",
        "SSLKEYLOGFILE",
        "GOOGLE_APPLICATION_CREDENTIALS",
        "RUSTC_WRAPPER",
        "XDG_CONFIG_HOME",
        "SSH_AUTH_SOCK",
    ] {
        assert_eq!(variable(name), Err(EnvironmentError::Steers(name.to_owned())));
    }
}

#[test]
fn a_family_that_steers_is_refused_whatever_it_ends_with() {
    for name in [
        "GIT_TOKEN",
        "GIT_SSL_KEY",
        "LD_TOKEN",
        "DYLD_KEY",
        "PYTHON_TOKEN",
        "NIGHTLATCH_TOKEN",
        "SSH_KEY",
        "NPM_CONFIG_KEY",
        "CURL_KEY",
        "SSL_CLIENT_KEY",
    ] {
        assert_eq!(variable(name), Err(EnvironmentError::Steers(name.to_owned())));
    }
}

#[test]
fn a_name_is_capital_letters_digits_and_underscores() {
    let long = format!("{}_TOKEN", "A".repeat(60));
    for name in
        ["", "gh_token", "GH-TOKEN", "GH TOKEN", "_TOKEN", "9_TOKEN", "A=TOKEN", "Ä_TOKEN", "A\0TOKEN", &long]
    {
        assert!(matches!(variable(name), Err(EnvironmentError::Malformed(_))), "{name}");
    }
}

#[test]
fn a_manifest_with_a_wrong_name_is_refused_by_line() {
    let refused = parse(r#"placeholder_env = ["GH_TOKEN", "PATH"]"#).unwrap_err();
    assert!(refused.starts_with("t.toml:4: `PATH` may steer a program"), "{refused}");
    let refused = parse(r#"placeholder_env = "gh_token""#).unwrap_err();
    assert!(refused.starts_with("t.toml:4: `gh_token` is no name of an environment variable"), "{refused}");
    let refused = parse(r#"placeholder_env = ["A_TOKEN", "A_TOKEN"]"#).unwrap_err();
    assert!(refused.starts_with("t.toml:4: `A_TOKEN` stands twice"), "{refused}");
}

#[test]
fn a_manifest_names_a_bounded_number_of_variables() {
    let names = |count: usize| {
        let names: Vec<String> = (0..count).map(|index| format!("\"A{index}_TOKEN\"")).collect();
        parse(&format!("placeholder_env = [{}]", names.join(", ")))
    };
    assert_eq!(names(8).unwrap().placeholder_env.len(), 8);
    assert!(names(9).unwrap_err().contains("t.toml:4: `placeholder_env` holds at most 8 names"));
    assert!(parse("").unwrap().placeholder_env.is_empty());
}

#[test]
fn the_built_in_tools_name_what_their_programs_read() {
    for (tool, first) in [
        ("anthropic", "ANTHROPIC_API_KEY"),
        ("github", "GH_TOKEN"),
        ("jira", "JIRA_API_TOKEN"),
        ("linear", "LINEAR_API_KEY"),
        ("notion", "NOTION_TOKEN"),
        ("salesforce", "SF_ACCESS_TOKEN"),
        ("stripe", "STRIPE_API_KEY"),
        ("gitlab", "GITLAB_TOKEN"),
        ("openai", "OPENAI_API_KEY"),
        ("slack", "SLACK_BOT_TOKEN"),
    ] {
        assert_eq!(builtin::manifest(tool).unwrap().placeholder_env.first().map(String::as_str), Some(first));
    }
    assert!(builtin::manifest("generic").unwrap().placeholder_env.is_empty());
}
