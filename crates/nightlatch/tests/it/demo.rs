//! Proves that the demo holds, tells what it found as one object, can fail, and leaves nothing behind.

use crate::world::eventually;
use serde_json::Value;
use std::{
    fs,
    path::Path,
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

const BREAKS: [&str; 4] = ["two-logins", "no-browser-midnight", "dormancy", "concurrent-rotation"];

/// The demo as a user starts it, with a temporary folder that can be looked at afterwards.
fn demo(temporary: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nightlatch"));
    command
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", temporary)
        .env("TMPDIR", temporary)
        .arg("demo")
        .args(arguments)
        .stdin(Stdio::null());
    command
}

fn played(arguments: &[&str]) -> (Output, Value) {
    let temporary = tempfile::tempdir().expect("a temporary folder");
    let output = demo(temporary.path(), arguments).output().expect("the demo runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(left_in(temporary.path()), Vec::<String>::new(), "something was left behind:\n{said}");
    let told = serde_json::from_slice(&output.stdout);
    let told = told.unwrap_or_else(|error| panic!("no object on standard output: {error}\n{said}"));
    (output, told)
}

fn left_in(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("the folder is there");
    entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect()
}

fn keys(value: &Value) -> Vec<&str> {
    let mut keys: Vec<&str> = value.as_object().expect("an object").keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}

fn one(told: &Value, name: &str) -> Value {
    let breaks = told["breaks"].as_array().expect("an array");
    breaks.iter().find(|broken| broken["name"] == name).unwrap_or_else(|| panic!("no `{name}`")).clone()
}

fn assert_shape(told: &Value) {
    assert_eq!(keys(told), ["breaks", "bytes_scanned", "control_scan_found", "secrets_seen_by_agent"]);
    let names: Vec<&Value> =
        told["breaks"].as_array().expect("an array").iter().map(|one| &one["name"]).collect();
    assert_eq!(names, BREAKS);
    for name in BREAKS {
        let broken = one(told, name);
        assert_eq!(keys(&broken), ["naive", "name", "nightlatch"]);
        for side in [&broken["naive"], &broken["nightlatch"]] {
            assert_eq!(keys(side), ["error", "ok", "provider"]);
            assert_eq!(side["error"].is_null(), side["ok"] == true, "{name}: {side}");
            assert_eq!(keys(&side["provider"]), ["families_revoked", "refreshes", "reuse_detected"]);
            assert!(keys(&side["provider"]).iter().all(|key| side["provider"][key].is_u64()), "{side}");
        }
    }
}

/// Ten times in a row under `cargo xtask torture`, once otherwise.
#[test]
fn torture_the_demo_holds_each_time_and_tells_one_object() {
    let times = if std::env::var_os("NIGHTLATCH_TORTURE").is_some() { 10 } else { 1 };
    for time in 1..=times {
        let (output, told) = played(&["--exit", "--json"]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "run {time}: {told}\n{said}");
        assert_shape(&told);
        for name in BREAKS {
            let broken = one(&told, name);
            assert_eq!(
                (&broken["naive"]["ok"], &broken["nightlatch"]["ok"]),
                (&Value::from(false), &Value::from(true))
            );
        }
        assert_eq!(told["secrets_seen_by_agent"], 0);
        // Its client secret, its code, its tokens.
        assert!(told["control_scan_found"].as_u64() >= Some(4), "{told}");
        assert!(told["bytes_scanned"].as_u64() > Some(1_000_000), "{told}");
        let rotation = one(&told, "concurrent-rotation");
        assert_eq!(rotation["nightlatch"]["provider"]["refreshes"], 1);
        assert!(rotation["naive"]["provider"]["reuse_detected"].as_u64() >= Some(1), "{rotation}");
        assert_eq!(rotation["naive"]["provider"]["families_revoked"], 1);
        assert!(one(&told, "dormancy")["nightlatch"]["provider"]["refreshes"].as_u64() >= Some(3), "{told}");
    }
}

#[test]
fn without_the_keepers_timer_dormancy_breaks_and_the_exit_code_says_so() {
    let (output, told) = played(&["--exit", "--json", "--refresh-timer", "off"]);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert_shape(&told);
    let dormancy = one(&told, "dormancy");
    assert_eq!(dormancy["nightlatch"]["ok"], false, "{dormancy}");
    assert_eq!(dormancy["nightlatch"]["provider"]["refreshes"], 0, "{dormancy}");
    assert_eq!(one(&told, "concurrent-rotation")["nightlatch"]["ok"], true, "{told}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("`dormancy` broke behind Nightlatch"));
}

#[tokio::test]
async fn a_signal_in_the_middle_ends_every_process_and_leaves_no_file() {
    for signal in ["INT", "TERM", "HUP"] {
        let temporary = tempfile::tempdir().expect("a temporary folder");
        let errors = temporary.path().join("errors");
        let mut command = demo(temporary.path(), &[]);
        let child = command.stdout(Stdio::null()).stderr(fs::File::create(&errors).expect("a file")).spawn();
        let mut child = Killed(child.expect("the demo starts"));
        eventually("actors are at work", Duration::from_secs(60), async || {
            let said = fs::read_to_string(&errors).expect("a file");
            (said.contains("nobody calls") && processes_of(temporary.path()).len() > 2).then_some(())
        })
        .await;
        let sent = Command::new("kill").args([&format!("-{signal}"), &child.0.id().to_string()]).status();
        assert!(sent.expect("`kill` runs").success());
        eventually("the demo ends", Duration::from_secs(30), async || child.0.try_wait().expect("a child"))
            .await;
        eventually("nothing of it runs", Duration::from_secs(10), async || {
            processes_of(temporary.path()).is_empty().then_some(())
        })
        .await;
        assert_eq!(left_in(temporary.path()), ["errors"], "{}", fs::read_to_string(&errors).expect("a file"));
    }
}

/// Whose command line or environment names a folder.
fn processes_of(folder: &Path) -> Vec<String> {
    let folder = folder.to_str().expect("text");
    let entries = fs::read_dir("/proc").expect("Linux").filter_map(Result::ok);
    let names = |path: std::path::PathBuf| {
        fs::read(path).is_ok_and(|bytes| String::from_utf8_lossy(&bytes).contains(folder))
    };
    let found =
        entries.filter(|entry| ["cmdline", "environ"].iter().any(|file| names(entry.path().join(file))));
    found.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// Ended with the test, however that ends.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
