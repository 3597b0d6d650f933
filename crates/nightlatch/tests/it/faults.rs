//! When something else is broken: a clear error, nothing lost, and nobody else disturbed.

use crate::world::{
    connect::{Granted, text},
    eventually,
    install::{Install, fill, on_a_small_disk},
    provider::{Kind, Registration},
    recorder::Recorder,
    tools::{manifest, profile},
};
use http::StatusCode;
use serde_json::json;
use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf, time::Duration};

const KEY: &str = "canary-faults-2d4f6a8c0e1b3957";

/// Two connections, one agent that may use both: an OAuth account at a real provider, and a key at the
/// recording tool.
struct Pair {
    _install: Install,
    _recorder: Recorder,
    registration: Registration,
    oauth: Granted,
    steady: Granted,
}

impl Pair {
    async fn new(username: &str, access_secs: u32) -> Self {
        let kind = Kind::Oidc;
        let recorder = Recorder::start("steady.canary.test");
        let allow = "[[allow]]\nhost = \"127.0.0.1\"\naddress = \"127.0.0.1\"\n";
        let mut install = Install::prepared(&format!("{allow}\n{}", recorder.config()));
        install.write("profiles/test.toml", &profile(kind));
        install.write("oidc.toml", &manifest(kind));
        install.write("steady.toml", &recorder.manifest("steady"));
        install.up().await;
        for file in ["oidc.toml", "steady.toml"] {
            install.json(&["tool", "add", install.data().join(file).to_str().expect("a path")]);
        }
        let registration = install.register(kind, username, access_secs).await;
        install.connect(&registration, &mut registration.browser(), &[]).await.json();
        install.json_with(&["connect", "steady", "--key"], KEY, &[]);
        let oauth = install.granted("first", "oidc-tool:read").await;
        let steady = install.granted("second", "steady:read").await;
        Self { _install: install, _recorder: recorder, registration, oauth, steady }
    }

    async fn oauth_call(&self) -> crate::world::http::Answer {
        self.oauth.agent.get("/oidc-tool/me", &self.oauth.reference).await
    }

    async fn steady_call(&self) -> crate::world::http::Answer {
        self.steady.agent.get("/steady/repos/acme/site", &self.steady.reference).await
    }
}

/// While a provider misbehaves for longer than an access token lives, the other connection's calls succeed
/// without exception; when it is well again, so is the connection, by itself.
async fn the_other_connection_is_not_disturbed(username: &str, behaviour: serde_json::Value, heals: bool) {
    let pair = Pair::new(username, 4).await;
    assert_eq!(pair.oauth_call().await.status, StatusCode::OK);
    pair.registration.behave(behaviour).await;
    let mut steady = 0;
    let refused = eventually("the misbehaviour is felt", Duration::from_secs(40), async || {
        let answer = pair.steady_call().await;
        assert_eq!(answer.status, StatusCode::OK, "the other connection: {}", answer.text());
        steady += 1;
        let answer = pair.oauth_call().await;
        // What does not heal by itself is told as such in the end; until then a call may find a dying token.
        let felt = if heals { !answer.status.is_success() } else { answer.status.as_u16() == 424 };
        felt.then_some(answer)
    })
    .await;
    assert!(steady > 1);
    assert!(matches!(refused.status.as_u16(), 401 | 424 | 503), "{} {}", refused.status, refused.text());
    pair.registration.behave(json!({})).await;
    if heals {
        eventually("the connection heals by itself", Duration::from_secs(60), async || {
            pair.oauth_call().await.status.is_success().then_some(())
        })
        .await;
    } else {
        // The answer was lost after the provider may have taken the token: a human is asked, nothing is risked.
        assert_eq!(pair.oauth_call().await.problem(), "reauth-required");
        assert_eq!(pair.registration.counters().await.reuse_detected, 0);
    }
}

#[tokio::test]
async fn a_provider_that_is_overloaded_disturbs_nobody_else_and_heals() {
    let busy = json!({ "status": 503, "retry_after": 1 });
    the_other_connection_is_not_disturbed("busy", busy, true).await;
}

#[tokio::test]
async fn a_provider_that_answers_garbage_disturbs_nobody_else() {
    the_other_connection_is_not_disturbed("garbage", json!({ "garbage": true }), false).await;
}

#[tokio::test]
async fn a_provider_whose_answer_is_lost_disturbs_nobody_else() {
    the_other_connection_is_not_disturbed("lost", json!({ "drop_after_commit": true }), false).await;
}

#[tokio::test]
async fn a_slow_provider_disturbs_nobody_else_and_is_waited_for() {
    let pair = Pair::new("slow", 4).await;
    pair.registration.behave(json!({ "delay_ms": 2500 })).await;
    let before = pair.registration.counters().await.refreshes_ok;
    eventually("two slow refreshes", Duration::from_secs(40), async || {
        let answer = pair.steady_call().await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        (pair.registration.counters().await.refreshes_ok >= before + 2).then_some(())
    })
    .await;
    assert_eq!(pair.oauth_call().await.status, StatusCode::OK);
    assert_eq!(pair.registration.counters().await.reuse_detected, 0);
}

#[tokio::test]
async fn a_full_ledger_refuses_every_call_and_works_again_once_there_is_room() {
    let recorder = Recorder::start("full.canary.test");
    let mut install = Install::prepared(&recorder.config());
    fs::create_dir_all(install.data().join("ledger")).expect("a folder");
    fs::set_permissions(install.data().join("ledger"), fs::Permissions::from_mode(0o700)).expect("its mode");
    let mut command = on_a_small_disk(&install.up_command(), &install.data().join("ledger"), "256k");
    install.spawn(&mut command);
    install.wait_until_up().await;
    install.write("tool.toml", &recorder.manifest("full"));
    install.json(&["tool", "add", install.data().join("tool.toml").to_str().expect("a path")]);
    install.json_with(&["connect", "full", "--key"], KEY, &[]);
    let granted = install.granted("worker", "full:read").await;
    let call = async || granted.agent.get("/full/repos/acme/site", &granted.reference).await;
    assert_eq!(call().await.status, StatusCode::OK);

    let ledger =
        PathBuf::from(format!("/proc/{}/root{}", install.pid(), install.data().join("ledger").display()));
    fill(&ledger.join("filler"));
    let arrived = recorder.count();
    let refused = eventually("the ledger is full", Duration::from_secs(10), async || {
        let answer = call().await;
        (!answer.status.is_success()).then_some(answer)
    })
    .await;
    assert_eq!(
        (refused.status, refused.problem()),
        (StatusCode::SERVICE_UNAVAILABLE, "ledger-unavailable".to_owned())
    );
    let before = recorder.count();
    for _ in 0..20 {
        assert_eq!(call().await.problem(), "ledger-unavailable");
    }
    assert_eq!(recorder.count(), before, "an unrecorded call reached the tool (after {arrived})");

    fs::remove_file(ledger.join("filler")).expect("room");
    eventually("all works again without a restart", Duration::from_secs(10), async || {
        call().await.status.is_success().then_some(())
    })
    .await;
    assert_eq!(install.json(&["ledger", "verify"])["whole"], true);
    // This ledger lies where only `up` sees it, and ends with it.
    assert_eq!(install.oracle.findings(&ledger).await, Vec::<String>::new());
}

/// What `up` says on standard error when it refuses to start.
fn refusal(install: &Install) -> String {
    let output = install.run(&["up"]);
    assert!(!output.status.success(), "`up` started");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!said.contains("panicked"), "{said}");
    said
}

#[test]
fn a_data_folder_that_others_can_read_is_refused() {
    let install = Install::prepared("");
    fs::set_permissions(install.data(), fs::Permissions::from_mode(0o750)).expect("its mode");
    let said = refusal(&install);
    assert!(said.contains("chmod 700"), "{said}");
}

#[tokio::test]
async fn a_folder_in_use_and_a_busy_port_are_named() {
    let install = Install::started("").await;
    let said = refusal(&install);
    assert!(said.contains(&install.pid().to_string()), "the holder is not named: {said}");

    let other = Install::prepared("");
    let text = fs::read_to_string(other.data().join("nightlatch.toml")).expect("its configuration");
    let busy = text.replace(&other.gateway(), &install.gateway());
    other.write("nightlatch.toml", &busy);
    let said = refusal(&other);
    assert!(said.contains(&install.gateway()) && said.contains("in use"), "{said}");
}

#[tokio::test]
async fn a_missing_key_beside_a_database_is_refused_and_nothing_is_lost() {
    let mut install = Install::started("").await;
    install.kill();
    let key = install.data().join("keys/keeper.key");
    let held = fs::read(&key).expect("the key");
    fs::remove_file(&key).expect("it is there");
    let said = refusal(&install);
    assert!(said.contains("keeper.key"), "{said}");
    assert!(!key.exists(), "a new key was made beside an old database");
    fs::write(&key, held).expect("the key again");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).expect("its mode");
    install.up().await;
}

#[test]
fn a_half_written_configuration_is_named_by_line() {
    for (text, expected) in [
        ("[gateway]\nlisten = \"127.0.0.1:1\"\nlisen = 1\n", "nightlatch.toml:3"),
        ("[gateway\n", "nightlatch.toml:1"),
        ("[gateway]\nlisten = \"0.0.0.0:\n", "nightlatch.toml:2"),
        ("[redirect]\nlisten = \"0.0.0.0:8444\"\n", "loopback"),
    ] {
        let install = Install::prepared("");
        install.write("nightlatch.toml", text);
        let said = refusal(&install);
        assert!(said.contains(expected), "{text:?}: {said}");
    }
}

#[test]
fn a_malformed_manifest_or_profile_is_named_by_file_and_line() {
    let install = Install::prepared("");
    install.write("tool.toml", "name = \"x\"\ntitel = \"X\"\n");
    install.write("profile.toml", "name = \"x\"\nrotation = \"perhaps\"\n");
    for (command, file, line, hint) in
        [("tool", "tool.toml", 2, "title"), ("profile", "profile.toml", 2, "always")]
    {
        let path = install.data().join(file);
        let output = install.run(&[command, "check", path.to_str().expect("a path")]);
        assert!(!output.status.success());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains(&format!("{file}:{line}")) && said.contains(hint), "{said}");
    }
}

#[tokio::test]
async fn a_kill_at_any_time_loses_nothing_that_was_confirmed() {
    let recorder = Recorder::start("killed.canary.test");
    let mut install = Install::started(&recorder.config()).await;
    install.write("tool.toml", &recorder.manifest("killed"));
    install.json(&["tool", "add", install.data().join("tool.toml").to_str().expect("a path")]);
    install.json_with(&["connect", "killed", "--key"], KEY, &[]);
    let granted = install.granted("worker", "killed:read").await;
    for round in 0..5 {
        let answer = granted.agent.get("/killed/repos/acme/site", &granted.reference).await;
        assert_eq!(answer.status, StatusCode::OK, "round {round}: {}", answer.text());
        let task = text(&install.json(&["task", "open", "--agent", "worker"]), "id");
        install.kill();
        install.up().await;
        assert_eq!(text(&install.json(&["task", "show", &task]), "id"), task, "round {round}");
    }
    assert_eq!(install.json(&["ledger", "verify"])["whole"], true);
}
