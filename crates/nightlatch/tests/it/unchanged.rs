//! Programs that know nothing of Nightlatch work through it: each reaches a real upstream with the real credential in
//! its place, holds none itself in memory or environment, and is refused what it was not granted.

use crate::world::{
    connect::text,
    install::Install,
    parts::parts,
    unchanged::{GitHub, Ran, Walls, basic, program, python, python_script, script},
    upstream::{Behind, Upstream},
};
use serde::Deserialize;
use std::process::Command;

/// What the scripts of the clients print of one call.
#[derive(Debug, Deserialize)]
struct Call {
    status: u16,
    challenge: Option<String>,
    problem: Option<String>,
    name: Option<String>,
}

const READ: &str = "github:read";
const REPOSITORY: &str = "https://api.github.com/repos/dana/site";

/// The same three calls by every client: one that is granted, one that is not, and one without a reference.
fn assert_three_calls(github: &GitHub, ran: &Ran, process: &str) {
    assert!(ran.ok, "{ran}");
    let calls: Vec<Call> = ran.told();
    let [granted, refused, bare] = calls.as_slice() else { panic!("{ran}") };
    assert_eq!((granted.status, granted.name.as_deref()), (200, Some("dana/site")), "{ran}");
    assert_eq!(refused.status, 403, "{ran}");
    assert!(refused.problem.as_ref().is_some_and(|problem| problem.ends_with("/policy-denied")), "{ran}");
    assert_eq!((bare.status, bare.challenge.as_deref()), (401, Some("Bearer realm=\"GitHub\"")), "{ran}");
    assert_eq!(github.api.asked(), ["GET /repos/dana/site"]);
    github.api.assert_only(&github.bearer(), &ran.reference);
    ran.assert_looked_into(process);
}

#[tokio::test]
async fn curl_works_unchanged() {
    let github = GitHub::connected("with-curl", "canary-key-1c5e9a7d3b60f284").await;
    for walls in Walls::EACH {
        github.api.forget();
        let call = |line: &str| {
            let line = format!("exec curl --silent --show-error --include {line}");
            github.install.run_unchanged("curl", (READ, walls), "GH_TOKEN", &["sh", "-c", &line])
        };
        let granted = call(&format!("-H \"Authorization: Bearer $GH_TOKEN\" {REPOSITORY}"));
        assert!(granted.ok && granted.stdout.contains("\"full_name\":\"dana/site\""), "{granted}");
        granted.assert_looked_into("curl");
        github.api.assert_only(&github.bearer(), &granted.reference);

        let refused = call(&format!("-H \"Authorization: Bearer $GH_TOKEN\" -d '{{}}' {REPOSITORY}/issues"));
        assert!(refused.stdout.contains(" 403") && refused.stdout.contains("policy-denied"), "{refused}");
        let bare = call(REPOSITORY).stdout.to_ascii_lowercase();
        assert!(bare.contains(" 401"), "{bare}");
        assert!(bare.contains("www-authenticate: bearer realm=\"github\""), "{bare}");
        assert_eq!(github.api.asked(), ["GET /repos/dana/site"], "a refused call reached the upstream");
    }
}

#[tokio::test]
async fn git_clones_and_pushes_unchanged() {
    let github = GitHub::connected("with-git", "canary-key-8d4f0b2e6a91c753").await;
    let noise = noise();
    clone_and_push(&github, "walled", Walls::Best, (b"hello\n", &noise), &["first"]).await;
    clone_and_push(&github, "open", Walls::None, (&noise, b"bye\n"), &["from walled", "first"]).await;
}

/// More than git sends in one piece (`http.postBuffer`, 1 MiB), and nothing that can be compressed.
fn noise() -> Vec<u8> {
    let mut state = 1_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..3 << 20).map(|_| next()).collect()
}

/// From a repository with these commits: a clone, a push that is not granted, and one that is. The one file changes
/// from `old` to `new`.
async fn clone_and_push(
    github: &GitHub,
    here: &str,
    walls: Walls,
    (old, new): (&[u8], &[u8]),
    before: &[&str],
) {
    github.git.forget();
    let url = format!("https://github.com/dana/{}.git", github.repository);
    let git = |here: &str, grant: &str, words: &[&str]| {
        let name = ["git", "-c", "user.name=Dana", "-c", "user.email=dana@example.com"];
        github.install.run_unchanged(here, (grant, walls), "GH_TOKEN", &[&name, words].concat())
    };
    let cloned = git(here, READ, &["clone", &url, "site"]);
    assert!(cloned.ok, "{cloned}");
    let readme = github.install.work(here).join("site/README");
    assert!(std::fs::read(&readme).expect("a clone") == old, "another file arrived");
    std::fs::write(&readme, new).expect("a clone");
    cloned.assert_looked_into("git-remote-http");
    github.git.assert_only(&github.basic(), &cloned.reference);

    let (site, subject) = (format!("{here}/site"), format!("from {here}"));
    let committed = git(&site, READ, &["commit", "--quiet", "--all", "-m", &subject]);
    assert!(committed.ok, "{committed}");
    // Who may clone may not push: refused for good, which git does not take for a wrong password.
    let arrived = github.git.count();
    let refused = git(&site, READ, &["push", "origin", "main"]);
    assert!(!refused.ok && refused.stderr.contains("403"), "{refused}");
    assert_eq!(github.git.count(), arrived, "a refused push reached the upstream");
    assert_eq!(github.told().await.subjects, before);

    let pushed = git(&site, "github:write", &["push", "origin", "main"]);
    assert!(pushed.ok, "{pushed}");
    github.git.assert_only(&github.basic(), &pushed.reference);
    let told = github.told().await;
    assert_eq!(told.subjects, [&[subject.as_str()], before].concat());
    assert_eq!((told.refused, told.served > 3), (0, true), "{told:?}");
}

#[tokio::test]
async fn gh_and_with_it_gos_own_client_work_unchanged() {
    let github = GitHub::connected("with-gh", "canary-key-5a9e1d7c3f80b264").await;
    let gh = program(&parts().agents.bin, "gh");
    for walls in Walls::EACH {
        github.api.forget();
        let call = |words: &[&str]| {
            let words = [&[gh.as_str(), "api", "--include"], words].concat();
            github.install.run_unchanged("gh", (READ, walls), "GH_TOKEN", &words)
        };
        let granted = call(&["repos/dana/site"]);
        assert!(granted.ok && granted.stdout.contains("\"full_name\":\"dana/site\""), "{granted}");
        granted.assert_looked_into("gh");
        github.api.assert_only(&github.bearer(), &granted.reference);

        let refused = call(&["repos/dana/site/issues", "-f", "title=not granted"]);
        assert!(!refused.ok && refused.stdout.contains("policy-denied"), "{refused}");
        // A credential that the program brought itself goes nowhere.
        let own = ["env", "GH_TOKEN=ghp_someoneelsestoken", &gh, "api", "--include", "user"];
        let own = github.install.run_unchanged("gh", (READ, walls), "GITHUB_TOKEN", &own);
        assert!(!own.ok && own.stdout.contains("403"), "{own}");
        assert_eq!(github.api.asked(), ["GET /repos/dana/site"], "a refused call reached the upstream");
    }
}

/// A client whose script makes the three calls.
async fn assert_works(client: &'static str, key: &'static str, words: &[String], process: &str) {
    let github = GitHub::connected(client, key).await;
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    for walls in Walls::EACH {
        github.api.forget();
        let ran = github.install.run_unchanged(client, (READ, walls), "GH_TOKEN", &words);
        assert_three_calls(&github, &ran, process);
    }
}

#[tokio::test]
async fn python_requests_works_unchanged() {
    let words = python_script("with_requests.py");
    assert_works("requests", "canary-key-3e7b1f9d5c82a046", &words, "python").await;
}

#[tokio::test]
async fn python_httpx_works_unchanged() {
    let words = python_script("with_httpx.py");
    assert_works("httpx", "canary-key-94c0e6a2b8d13f57", &words, "python").await;
}

#[tokio::test]
async fn python_aiohttp_works_with_trust_env() {
    let words = python_script("with_aiohttp.py");
    assert_works("aiohttp", "canary-key-b1d75f3908e2c64a", &words, "python").await;
}

#[tokio::test]
async fn the_fetch_of_node_24_works_unchanged() {
    let words = [program(&parts().agents.node, "node"), script("with_fetch.mjs")];
    assert_works("fetch", "canary-key-6f2a8c4e0b9d7135", &words, "MainThread").await;
}

/// A private registry of packages that takes a token as `key` says and as `accepts` lets clients send it.
fn registry(name: &str, key: &str, accepts: &str, variable: &str) -> String {
    format!(
        r#"name = "{name}"
title = "A private registry"
docs = "https://example.com/docs"
safe_methods = true
placeholder_env = ["{variable}"]

[[host]]
host = "{name}.registry.test"
key = {key}
accepts = [{accepts}]
challenge = 'Basic realm="{name}"'

[account]
probe = "/me"
id = "/id"
label = "/id"
"#
    )
}

/// An installation with this tool and its key.
async fn connected(upstream: &Upstream, manifest: &str, tool: &str, key: &str) -> Install {
    let install = Install::started(&upstream.config()).await;
    install.write("tool.toml", manifest);
    install.json(&["tool", "add", install.data().join("tool.toml").to_str().expect("a path")]);
    install.json_with(&["connect", tool, "--key"], key, &[]);
    upstream.forget();
    install
}

/// The smallest package of a kind.
fn package(kind: &str) -> Vec<u8> {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("package");
    let made = Command::new(python()).arg(script("package.py")).arg(kind).arg(&file).status();
    assert!(made.expect("python runs").success());
    std::fs::read(file).expect("a package")
}

const ACCOUNT: &str = r#"{"id":"dana"}"#;

#[tokio::test]
async fn pip_installs_unchanged_from_a_private_index() {
    const KEY: &str = "canary-key-e8b3d5f1720c9a46";
    const INDEX: &str = r#"<a href="/files/tiny-1.0-py3-none-any.whl">tiny</a>"#;
    let behind = Behind::nothing()
        .answering("/me", "application/json", ACCOUNT)
        .answering("/simple/tiny/", "text/html", INDEX)
        .answering("/files/tiny-1.0-py3-none-any.whl", "application/zip", package("wheel"));
    let upstream = Upstream::start("pip.registry.test", behind);
    let manifest = registry(
        "pip",
        r#"{ kind = "basic", user = "__token__" }"#,
        r#"{ kind = "basic-password" }"#,
        "INDEX_TOKEN",
    );
    let install = connected(&upstream, &manifest, "pip", KEY).await;
    let pip = format!(
        "exec {} -m pip install --no-cache-dir --disable-pip-version-check --target here tiny --index-url",
        python()
    );
    let run = |here: &str, walls, token: &str| {
        let line = format!("{pip} https://__token__:{token}@pip.registry.test/simple/");
        install.run_unchanged(here, ("pip:read", walls), "INDEX_TOKEN", &["sh", "-c", &line])
    };
    let ran = run("pip", Walls::Best, "$INDEX_TOKEN");
    assert!(ran.ok && install.work("pip/here").join("tiny.py").exists(), "{ran}");
    ran.assert_looked_into("python");
    assert_eq!(upstream.asked(), ["GET /simple/tiny/", "GET /files/tiny-1.0-py3-none-any.whl"]);
    upstream.assert_only(&basic("__token__", KEY), &ran.reference);

    let other = run("other", Walls::Best, "pypi-someoneelses");
    assert!(!other.ok, "{other}");
    assert_eq!(upstream.count(), 2, "a refused call reached the index");
    let open = run("open", Walls::None, "$INDEX_TOKEN");
    assert!(open.ok && install.work("open/here").join("tiny.py").exists(), "{open}");
}

#[tokio::test]
async fn npm_installs_unchanged_from_a_private_registry() {
    const KEY: &str = "canary-key-0d6c8a2e4f71b593";
    const TINY: &str = r#"{"name":"tiny","dist-tags":{"latest":"1.0.0"},"versions":{"1.0.0":{"name":"tiny",
        "version":"1.0.0","dist":{"tarball":"https://npm.registry.test/tiny/-/tiny-1.0.0.tgz"}}}}"#;
    let behind = Behind::nothing()
        .answering("/me", "application/json", ACCOUNT)
        .answering("/tiny", "application/json", TINY)
        .answering("/tiny/-/tiny-1.0.0.tgz", "application/octet-stream", package("tarball"));
    let upstream = Upstream::start("npm.registry.test", behind);
    let manifest = registry("npm", r#"{ kind = "bearer" }"#, r#"{ kind = "bearer" }"#, "NPM_TOKEN");
    let install = connected(&upstream, &manifest, "npm", KEY).await;
    let folder = install.work("npm");
    std::fs::create_dir_all(&folder).expect("a folder");
    // As npm's own documentation has it for private registries: the file names the variable.
    let npmrc = "registry=https://npm.registry.test/\n//npm.registry.test/:_authToken=${NPM_TOKEN}\n\
        update-notifier=false\n";
    std::fs::write(folder.join(".npmrc"), npmrc).expect("a file");
    std::fs::write(folder.join("package.json"), "{\"private\":true}").expect("a file");
    let node = program(&parts().agents.node, "node");
    let npm = program(&parts().agents.node, "../lib/node_modules/npm/bin/npm-cli.js");
    let words = [&node, &npm, "install", "tiny", "--no-audit", "--no-fund", "--cache", "cache"];
    let ran = install.run_unchanged("npm", ("npm:read", Walls::Best), "NPM_TOKEN", &words);
    assert!(ran.ok && folder.join("node_modules/tiny/package.json").exists(), "{ran}");
    // npm names its process by what it does; Linux keeps 15 bytes of it.
    ran.assert_looked_into("npm install tin");
    assert_eq!(upstream.asked(), ["GET /tiny", "GET /tiny/-/tiny-1.0.0.tgz"]);
    upstream.assert_only(&format!("Bearer {KEY}"), &ran.reference);

    std::fs::remove_dir_all(folder.join("node_modules")).expect("it was installed");
    let open = [&words[..], &["--prefer-online"]].concat();
    let open = install.run_unchanged("npm", ("npm:read", Walls::None), "NPM_TOKEN", &open);
    assert!(open.ok && folder.join("node_modules/tiny/package.json").exists(), "{open}");

    let refused = [&node, &npm, "publish", "--no-audit"];
    std::fs::write(folder.join("package.json"), "{\"name\":\"tiny\",\"version\":\"2.0.0\"}").expect("a file");
    let refused = install.run_unchanged("npm", ("npm:read", Walls::Best), "NPM_TOKEN", &refused);
    assert!(!refused.ok && refused.stderr.contains("403"), "{refused}");
    assert!(
        upstream.asked().iter().all(|asked| asked.starts_with("GET ")),
        "a refused call reached the registry"
    );
}

/// What the scripts of the libraries print: whether their reference came back, what a call with it was answered, and
/// how a refresh token that is none was refused.
#[derive(Debug, PartialEq, Eq, Deserialize)]
struct Refreshed {
    same: bool,
    status: u16,
    made_up: Option<String>,
}

/// A library that refreshes by itself gets its reference back, calls with it, and the provider hears of neither.
async fn assert_refreshes_here(
    install: &Install,
    grant: &str,
    (variable, library): (&str, &str),
    [login, api]: [&Upstream; 2],
) {
    let task = text(&install.json(&["task", "open", "--agent", "laptop"]), "id");
    let held = text(&install.json(&["grant", "add", grant, "--task", &task]), "reference");
    let before = login.count();
    api.forget();
    let held = format!("{variable}={held}");
    let [python, option, script] = python_script(library);
    let words = ["env", &held, &python, &option, &script];
    let ran = install.run_watched("sdk", &["--task", &task], variable, &words);
    let refreshed: Vec<Refreshed> = ran.told();
    let expected = Refreshed { same: true, status: 200, made_up: Some("invalid_grant".to_owned()) };
    assert_eq!(refreshed, [expected], "{ran}");
    assert_eq!(login.count(), before, "something reached the provider's token endpoint");
    ran.assert_looked_into("python");

    // The access token that arrived is the provider's own, and it was in no memory of the program's.
    let seen = api.seen();
    let [call] = seen.as_slice() else { panic!("{seen:?}") };
    let [credential] = call.values("authorization").try_into().expect("one credential");
    let token = credential.strip_prefix("Bearer ").expect("a bearer token");
    assert!(token != ran.reference && !token.starts_with("nlr_"), "the reference arrived");
    install.oracle.guard(token);
}

#[tokio::test]
async fn googles_own_library_gets_its_reference_back_from_the_token_endpoint() {
    const PROFILE: &str = r#"{"emailAddress":"dana@example.com","messagesTotal":1}"#;
    let google = &parts().emulate.google;
    let login =
        Upstream::start("oauth2.googleapis.com", Behind::server(google).renaming("/token", "/oauth2/token"));
    let behind = Behind::server(google).answering("/gmail/v1/users/me/profile", "application/json", PROFILE);
    let api = Upstream::start("gmail.googleapis.com", behind);
    let install = Install::started(&format!("{}{}", login.config(), api.config())).await;
    install.connect_at("gmail", "https://accounts.google.com", google).await;
    assert_eq!(login.asked(), ["POST /token"]);
    let library = ("GMAIL_TOKEN", "with_google_auth.py");
    assert_refreshes_here(&install, "gmail:read", library, [&login, &api]).await;
}

#[tokio::test]
async fn microsofts_own_library_gets_its_reference_back_from_the_token_endpoint() {
    let microsoft = &parts().emulate.microsoft;
    let behind = Behind::server(microsoft).renaming("/common/oauth2/v2.0/token", "/oauth2/v2.0/token");
    let login = Upstream::start("login.microsoftonline.com", behind);
    let api = Upstream::start("graph.microsoft.com", Behind::server(microsoft));
    let install = Install::started(&format!("{}{}", login.config(), api.config())).await;
    let (public, own) = ("https://login.microsoftonline.com/common", microsoft);
    install.connect_at("microsoft-graph", public, own).await;
    assert_eq!(login.asked(), ["POST /common/oauth2/v2.0/token"]);
    let library = ("MSGRAPH_TOKEN", "with_msal.py");
    assert_refreshes_here(&install, "microsoft-graph:read", library, [&login, &api]).await;
}
