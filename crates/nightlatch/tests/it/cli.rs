//! The command line as a surface: its help is what the golden files say, its exit codes are the documented
//! ones, results are all that standard output holds, and `connect` starts what it needs.
//! `UPDATE_GOLDEN=1` writes the golden files anew.

use crate::world::{eventually, install::Install, recorder::Recorder};
use serde_json::Value;
use std::{fs, path::Path, process::Output, time::Duration};

const COMMANDS: &[&str] = &[
    "",
    "up",
    "serve",
    "demo",
    "stop",
    "connect",
    "run",
    "companion",
    "connection",
    "connection list",
    "connection show",
    "connection test",
    "connection remove",
    "connection import",
    "keeper",
    "keeper list",
    "keeper adopt",
    "store",
    "store check",
    "store backup",
    "store restore",
    "tool",
    "tool list",
    "tool show",
    "tool add",
    "tool check",
    "profile",
    "profile list",
    "profile show",
    "profile check",
    "agent",
    "agent add",
    "agent list",
    "agent show",
    "agent enrol",
    "agent disable",
    "agent enable",
    "task",
    "task open",
    "task list",
    "task show",
    "task sleep",
    "task complete",
    "grant",
    "grant add",
    "grant list",
    "grant revoke",
    "policy",
    "policy show",
    "policy explain",
    "ledger",
    "ledger tail",
    "ledger show",
    "ledger verify",
    "health",
    "doctor",
    "top",
    "metrics",
    "webhook",
    "webhook secret",
    "why",
];

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn help(install: &Install, command: &str) -> String {
    let mut words: Vec<&str> = command.split_whitespace().collect();
    words.push("--help");
    let output = install.run(&words);
    assert_eq!(output.status.code(), Some(0), "{command}");
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn the_help_of_every_command_is_its_golden_file() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/help");
    let install = Install::prepared("");
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    for command in COMMANDS {
        let name = if command.is_empty() { "nightlatch".to_owned() } else { command.replace(' ', "-") };
        let path = folder.join(format!("{name}.txt"));
        let shown = help(&install, command);
        if update {
            fs::create_dir_all(&folder).expect("a folder");
            fs::write(&path, &shown).expect("a golden file");
        }
        let golden = fs::read_to_string(&path).unwrap_or_default();
        assert!(
            golden == shown,
            "the help of `{command}` is not {}; UPDATE_GOLDEN=1 writes it:\n{shown}",
            path.display()
        );
    }
}

#[test]
fn every_command_has_a_golden_file_and_examples() {
    let install = Install::prepared("");
    for command in COMMANDS {
        let shown = help(&install, command);
        let Some((_, listed)) = shown.split_once("\nCommands:\n") else {
            assert!(shown.contains("Examples:"), "`{command}` has no examples");
            continue;
        };
        let listed = listed.split("\n\n").next().unwrap_or_default().lines();
        for line in listed.filter(|line| line.starts_with("  ") && !line.starts_with("   ")) {
            let name = line.split_whitespace().next().expect("a command");
            let whole = format!("{command} {name}");
            assert!(COMMANDS.contains(&whole.trim()), "`{whole}` is not in the list of this test");
        }
    }
}

#[test]
fn exit_codes_are_the_documented_ones_and_a_failure_prints_no_result() {
    let install = Install::prepared("");
    for (line, code) in [
        (&["healht"][..], 2),
        (&["connect", "github", "--key", "--oauth"], 2),
        (&["task", "open", "--agent", "a", "--for", "never"], 2),
        (&["grant", "add", "--task", "t", "github:credential"], 2),
        (&["health"], 1),
        (&["stop"], 1),
        (&["tool", "check", "nowhere.toml"], 1),
    ] {
        let output = install.run(line);
        assert_eq!(output.status.code(), Some(code), "{line:?}: {}", said(&output));
        assert!(output.stdout.is_empty(), "{line:?}");
        assert!(!said(&output).is_empty() && !said(&output).contains("panicked"), "{line:?}");
    }
}

#[test]
fn a_failure_says_what_to_do_next_and_is_a_problem_with_json() {
    let install = Install::prepared("");
    assert!(said(&install.run(&["health"])).contains("nightlatch up"));
    let output = install.run(&["health", "--json"]);
    let problem: Value = serde_json::from_slice(&output.stderr).expect("a problem");
    assert_eq!(problem["type"], "https://nightlatch.dev/problems/not-running");
    let output = install.run(&["connect", "github", "--client-credentials", "--no-start", "--json"]);
    let problem: Value = serde_json::from_slice(&output.stderr).expect("a problem");
    assert_eq!(problem["type"], "https://nightlatch.dev/problems/not-supported");
}

#[test]
fn a_command_refuses_a_data_folder_that_others_can_read() {
    use std::os::unix::fs::PermissionsExt;
    let install = Install::prepared("");
    fs::set_permissions(install.data(), fs::Permissions::from_mode(0o755)).expect("its mode");
    assert!(said(&install.run(&["health"])).contains("chmod 700"));
}

#[tokio::test]
async fn connect_starts_it_in_the_background_says_so_and_stop_ends_it() {
    const KEY: &str = "canary-key-5e1f0a7b3c9d2468";
    let recorder = Recorder::start("api.background.test");
    let install = Install::prepared(&recorder.config());
    install.write("tool.toml", &recorder.manifest("background"));
    let refused = install.run_with(&["connect", "background", "--key", "--no-start"], KEY, &[]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(!install.data().join("db.sqlite").exists(), "`--no-start` started it");

    // The tool is not known before somebody adds it: this only starts.
    let started = install.run_with(&["connect", "background", "--from-env", "KEY"], "", &[("KEY", KEY)]);
    assert!(said(&started).contains("started nightlatch in the background"), "{}", said(&started));
    let pid: u32 = said(&started)
        .split(['(', ')'])
        .find_map(|word| word.strip_prefix("pid ")?.parse().ok())
        .expect("a pid");
    let inherited = fs::read(format!("/proc/{pid}/environ")).expect("it runs");
    assert!(memchr::memmem::find(&inherited, KEY.as_bytes()).is_none(), "the server inherited the secret");
    assert!(memchr::memmem::find(&inherited, b"HOME=").is_some(), "nothing was looked at");
    let file = install.data().join("tool.toml");
    install.json(&["tool", "add", file.to_str().expect("a path")]);
    let connected = install.run_with(&["connect", "background", "--key", "--json"], KEY, &[]);
    assert!(connected.status.success(), "{}", said(&connected));
    assert!(!said(&connected).contains("started"), "it was started twice");
    let result: Value = serde_json::from_slice(&connected.stdout).expect("one result on standard output");
    assert_eq!(result["connection"]["name"], "main");

    let stopped = install.json(&["stop"]);
    let lock = fs::File::open(install.data().join("run/lock")).expect("the lock's file");
    let free = rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive);
    assert!(free.is_ok(), "`stop` came back while the folder was held");
    assert_eq!(stopped["pid"], pid);
    // It lets go of the folder last, and then ends.
    eventually("it ends", Duration::from_secs(10), async || {
        (!Path::new(&format!("/proc/{pid}/fd/0")).exists()).then_some(())
    })
    .await;
    assert_eq!(install.run(&["health"]).status.code(), Some(1));
}

#[tokio::test]
async fn a_second_connection_of_the_same_name_says_which_options_help() {
    const KEY: &str = "canary-key-7d2c4b6a8e0f1359";
    let recorder = Recorder::start("api.twice.test");
    let install = Install::started(&recorder.config()).await;
    install.write("tool.toml", &recorder.manifest("twice"));
    install.json(&["tool", "add", install.data().join("tool.toml").to_str().expect("a path")]);
    install.json_with(&["connect", "twice", "--key"], KEY, &[]);
    let again = install.run_with(&["connect", "twice", "--key"], KEY, &[]);
    assert!(said(&again).contains("--reconnect"), "{}", said(&again));
    let from_variable = [("SOME_KEY", KEY)];
    install.json_with(&["connect", "twice", "--from-env", "SOME_KEY", "--name", "two"], "", &from_variable);
    let unset = install.run(&["connect", "twice", "--from-env", "NO_SUCH_KEY", "--name", "three"]);
    assert!(said(&unset).contains("`NO_SUCH_KEY`"), "{}", said(&unset));
}
