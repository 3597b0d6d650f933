//! `connection import`, as an operator runs it: ten thousand tokens that another system held, killed and resumed; tokens
//! of real providers; every kind of bad line; Ctrl-C. What the oracle of each installation is asked in the end: no token in
//! any file, log, database or message.

use crate::world::{
    connect::text,
    eventually,
    hoard::{Hoard, held},
    http,
    human::Landed,
    install::Install,
    provider::{Kind, Registration},
};
use ::http::Method;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use std::{
    io::{Read as _, Write as _},
    process::Output,
    time::Duration,
};

const IMPORT: [&str; 3] = ["connection", "import", "--old-system-stopped"];
const CLIENT: [&str; 5] = ["--tool", "hoard", "--client-id", "old-client", "--public-client"];

/// An installation that knows the hoard's provider.
async fn beside(hoard: &Hoard, level: &'static str) -> Install {
    let mut install = Install::prepared(
        "[[allow]]\nhost = \"127.0.0.1\"\naddress = \"127.0.0.1\"\n\n[keeper]\nrefresh_timer = \"off\"\n",
    );
    install.log_level = level;
    install.write("profiles/hoard.toml", &hoard.profile());
    install.write("tool.toml", &hoard.manifest());
    install.up().await;
    let file = install.data().join("tool.toml");
    install.json(&["tool", "add", file.to_str().expect("a path")]);
    install
}

fn lines(accounts: impl Iterator<Item = u32>) -> String {
    accounts
        .map(|account| {
            json!({ "refresh_token": held(account), "name": format!("u{account}") }).to_string() + "\n"
        })
        .collect()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn import(install: &Install, more: &[&str], input: &str) -> (Output, Value) {
    let output = install.run_with(&[&IMPORT[..], more, &["--json"]].concat(), input, &[]);
    let summary = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    (output, summary)
}

fn number(summary: &Value, key: &str) -> u64 {
    summary[key].as_u64().unwrap_or_else(|| panic!("no `{key}` in {summary}"))
}

/// Ten thousand tokens, with the program killed in the middle and the command killed before: the same file again brings in
/// the rest, nothing is presented twice, and what cannot be told after the kill is named line by line.
#[tokio::test]
async fn ten_thousand_tokens_are_killed_and_resumed_and_each_is_presented_once() {
    const ROWS: u32 = 10_000;
    let hoard = Hoard::of(ROWS);
    let mut install = beside(&hoard, "info").await;
    for account in (0..ROWS).step_by(500) {
        install.oracle.guard(&held(account));
    }
    let file = lines(0..ROWS);

    // The command is killed while it hands in.
    let mut command = install.begin(&[&IMPORT[..], &CLIENT].concat(), &[]);
    let mut stdin = command.stdin.take().expect("piped");
    let (first, _) = file.split_at(file.len() / 3);
    stdin.write_all(first.as_bytes()).expect("it reads");
    eventually("some are connected", Duration::from_secs(60), async || {
        (hoard.refreshes() > 50).then_some(())
    })
    .await;
    command.kill().expect("it runs");
    command.wait().expect("it ended");
    drop(stdin);

    // The program is killed while it presents.
    let mut command = install.begin(&[&IMPORT[..], &CLIENT].concat(), &[]);
    let mut stdin = command.stdin.take().expect("piped");
    let whole = file.clone();
    let writer = std::thread::spawn(move || {
        // It closes its end when the program behind it is gone.
        let _ = stdin.write_all(whole.as_bytes());
    });
    eventually("more are connected", Duration::from_secs(120), async || {
        (hoard.refreshes() > 1500).then_some(())
    })
    .await;
    install.kill();
    let ended = command.wait_with_output().expect("it ends");
    writer.join().expect("it wrote");
    install.note_printed(&ended.stderr);
    assert!(!ended.status.success());
    assert!(said(&ended).contains("Run the same command over the same lines"), "{}", said(&ended));
    let at_the_kill = hoard.refreshes();
    install.up().await;

    let (output, summary) = import(&install, &CLIENT, &file);
    let (connected, failed) = (number(&summary, "connected"), number(&summary, "failed"));
    println!(
        "{at_the_kill} were presented at the kill; then {connected} connected, {failed} lost: {}",
        said(&output).lines().last().unwrap_or_default()
    );
    assert_eq!(
        (number(&summary, "rows"), connected + failed),
        (u64::from(ROWS), u64::from(ROWS)),
        "{summary}"
    );
    assert!(number(&summary, "known") > 50, "the first third was there: {summary}");
    // At most those whose answer was on its way when the program died, and each is named.
    assert!(failed <= 4, "{}", summary["errors"]);
    for error in summary["errors"].as_array().expect("errors") {
        assert_eq!(text(error, "error"), "answer-lost", "{error}");
    }
    assert_eq!((hoard.reuses(), hoard.most_presented()), (0, 1));
    assert!(hoard.most_at_once() <= 4, "{} at once", hoard.most_at_once());

    // And once more: all is known, and the provider is not asked.
    let asked = hoard.refreshes();
    let (_, again) = import(&install, &CLIENT, &file);
    assert_eq!((number(&again, "known"), number(&again, "connected")), (u64::from(ROWS), connected));
    assert_eq!((hoard.refreshes(), hoard.reuses()), (asked, 0));
    let shown = install.json(&["connection", "list"]);
    assert_eq!(shown.as_array().expect("connections").len() as u64, connected);
    hoard.some_issued(20).iter().for_each(|token| install.oracle.guard(token));
}

/// What the old system got by a login of its own, without us.
async fn old_login(registration: &Registration, username: &str) -> Value {
    // RFC 7636 appendix B.
    const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
    let (authorize, token, _) = registration.kind.endpoints();
    let scope = if registration.kind == Kind::Oidc { "openid offline_access" } else { "read" };
    let query = form_urlencoded::Serializer::new(String::new())
        .append_pair("response_type", "code")
        .append_pair("client_id", &registration.client_id)
        .append_pair("redirect_uri", &registration.redirect_uri)
        .append_pair("scope", scope)
        .append_pair("prompt", "consent")
        .append_pair("state", "of-the-old-system")
        .append_pair("code_challenge", CHALLENGE)
        .append_pair("code_challenge_method", "S256")
        .finish();
    let password = registration.password.clone();
    let mut browser =
        crate::world::human::Browser::of(username, &password).stopping_before(&registration.redirect_uri);
    let Landed::Before(address) = browser.open(&format!("{authorize}?{query}")).await else {
        panic!("no code came")
    };
    let answer = address.split_once('?').expect("a query").1;
    let code = form_urlencoded::parse(answer.as_bytes()).find(|(name, _)| name == "code");
    let code = code.unwrap_or_else(|| panic!("no code: {address}")).1.into_owned();
    let body = form_urlencoded::Serializer::new(String::new())
        .append_pair("grant_type", "authorization_code")
        .append_pair("code", &code)
        .append_pair("redirect_uri", &registration.redirect_uri)
        .append_pair("code_verifier", VERIFIER)
        .finish();
    let basic = STANDARD.encode(format!("{}:{}", registration.client_id, registration.client_secret));
    let headers = [
        ("authorization", format!("Basic {basic}")),
        ("content-type", "application/x-www-form-urlencoded".to_owned()),
    ];
    let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
    let answer = http::send(Method::POST, &token, &headers, body).await;
    assert!(answer.status.is_success(), "{}", answer.text());
    answer.json()
}

async fn real_tokens_become_connections(kind: Kind, users: &[&str]) {
    let install = Install::with_provider(kind, "refresh_timer = \"off\"").await;
    let registration = install.register(kind, users[0], 3600).await;
    let mut file = String::new();
    for user in users {
        let user = if kind == Kind::Oidc { *user } else { &registration.username };
        let tokens = old_login(&registration, user).await;
        let line = json!({
            "tool": kind.tool(), "client_id": registration.client_id, "refresh_token": tokens["refresh_token"],
            "access_token": tokens["access_token"], "expires_at": 4_102_444_800_u64, "name": "old",
        });
        file.push_str(&(line.to_string() + "\n"));
    }
    let before = registration.counters().await;
    let client = ["--tool", kind.tool(), "--client-id", &registration.client_id];
    let more = [&IMPORT[..], &client, &["--client-secret-from-env", "OLD_SECRET"]].concat();
    let secret = [("OLD_SECRET", registration.client_secret.as_str())];
    let summary = install.json_with(&more, &file, &secret);
    assert_eq!(number(&summary, "connected"), users.len() as u64, "{summary}");
    let after = registration.counters().await;
    assert_eq!(after.refreshes_ok - before.refreshes_ok, users.len() as u64);
    assert_eq!((after.reuse_detected, after.presented_twice), (0, 0));
    let again = install.json_with(&more, &file, &secret);
    assert_eq!(number(&again, "known"), users.len() as u64, "{again}");
    assert_eq!(registration.counters().await, after);

    // It is a connection like any other: an agent uses it, and its token is refreshed.
    let shown = install.json(&["connection", "list"]);
    let first = shown.as_array().expect("connections").iter().find(|row| text(row, "name") == "old");
    let first = text(first.expect("the name of the line"), "id");
    let granted = install.granted("worker", &format!("{}/old:read", kind.tool())).await;
    let path = format!("/{}{}", kind.tool(), kind.me());
    let answer = granted.agent.get(&path, &granted.reference).await;
    assert!(answer.status.is_success(), "{first}: {}", answer.text());
}

#[tokio::test]
async fn tokens_of_a_real_strict_provider_become_connections() {
    real_tokens_become_connections(Kind::Oidc, &["old-ada", "old-bob", "old-cyd", "old-dan", "old-eve"])
        .await;
}

#[tokio::test]
async fn two_tokens_of_one_account_at_a_real_provider_become_one_connection() {
    real_tokens_become_connections(Kind::Dot0, &["old-fay", "old-fay"]).await;
}

#[tokio::test]
async fn each_bad_line_is_named_and_stops_no_other() {
    let hoard = Hoard::of(10);
    let install = beside(&hoard, "trace").await;
    (0..10).for_each(|account| install.oracle.guard(&held(account)));
    let good = |account| json!({ "refresh_token": held(account) }).to_string();
    let file: Vec<Vec<u8>> = vec![
        format!("\u{feff}{}\r", good(0)).into_bytes(),
        b"".to_vec(),
        b"not json at all".to_vec(),
        format!("{{\"refresh_token\":\"{}\",\"refresh_token\":\"x\"}}", held(1)).into_bytes(),
        format!("{{\"refresh_tokens\":\"{}\"}}", held(2)).into_bytes(),
        [format!("{{\"refresh_token\":\"{}", held(3)).as_bytes(), b"\xff\"}"].concat(),
        format!("{{\"refresh_token\":\"{}{}\"}}", held(4), "x".repeat(70_000)).into_bytes(),
        json!({ "refresh_token": held(5), "tenant": "somebody-else" }).to_string().into_bytes(),
        json!({ "refresh_token": held(6), "tool": "nowhere" }).to_string().into_bytes(),
        json!({ "refresh_token": held(7), "client_id": "nobody" }).to_string().into_bytes(),
        good(0).into_bytes(),
        json!({ "refresh_token": "dead-token-0123456789" }).to_string().into_bytes(),
        json!({ "refresh_token": held(8), "tenant": "default", "account": "user-00008" })
            .to_string()
            .into_bytes(),
        json!({ "refresh_token": held(9), "account": "somebody" }).to_string().into_bytes(),
    ];
    let file = file.join(&b"\n"[..]);
    let mut command = install.begin(&[&IMPORT[..], &CLIENT, &["--json"]].concat(), &[]);
    let mut stdin = command.stdin.take().expect("piped");
    stdin.write_all(&file).expect("it reads");
    drop(stdin);
    let output = command.wait_with_output().expect("it ends");
    install.note_printed(&output.stdout);
    install.note_printed(&output.stderr);
    let summary: Value = serde_json::from_slice(&output.stdout).expect("a summary");
    let errors: Vec<(u64, String)> = summary["errors"]
        .as_array()
        .expect("errors")
        .iter()
        .map(|error| {
            assert!(!text(error, "detail").is_empty(), "{error}");
            (number(error, "line"), text(error, "error"))
        })
        .collect();
    let expected = [
        (3, "not-json"),
        (4, "duplicate-key"),
        (5, "unknown-key"),
        (6, "not-utf8"),
        (7, "line-too-long"),
        (8, "other-tenant"),
        (9, "not-found"),
        (10, "client-unknown"),
        (12, "invalid_grant"),
        (14, "wrong-account"),
    ];
    let expected: Vec<_> = expected.into_iter().map(|(line, error)| (line, error.to_owned())).collect();
    assert_eq!(errors, expected, "{}", said(&output));
    assert_eq!(output.status.code(), Some(1));
    let counts =
        ["rows", "connected", "known", "failed", "refused", "waiting"].map(|key| number(&summary, key));
    assert_eq!(counts, [13, 3, 1, 2, 8, 0], "{summary}");
    for (line, _) in &expected {
        assert!(said(&output).contains(&format!("line {line}: ")), "{}", said(&output));
    }
    hoard.some_issued(20).iter().for_each(|token| install.oracle.guard(token));
}

#[tokio::test]
async fn without_the_old_systems_end_nothing_is_taken_in() {
    let hoard = Hoard::of(1);
    let install = beside(&hoard, "trace").await;
    let output = install.run_with(&[&["connection", "import"][..], &CLIENT].concat(), &lines(0..1), &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        said(&output).contains("--old-system-stopped")
            && said(&output).contains("most providers end the connection")
    );
    assert_eq!(hoard.refreshes(), 0);
    assert_eq!(install.json(&["connection", "list"]), json!([]));
}

#[tokio::test]
async fn ctrl_c_ends_the_command_and_what_was_taken_in_goes_on() {
    let hoard = Hoard::of(300);
    let install = beside(&hoard, "info").await;
    let mut command = install.begin(&[&IMPORT[..], &CLIENT].concat(), &[]);
    let mut stdin = command.stdin.take().expect("piped");
    stdin.write_all(lines(0..200).as_bytes()).expect("it reads");
    eventually("the first batch is presented", Duration::from_secs(60), async || {
        (hoard.refreshes() > 5).then_some(())
    })
    .await;
    let pid = rustix::process::Pid::from_child(&command);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("it runs");
    let status =
        eventually("it ends", Duration::from_secs(10), async || command.try_wait().ok().flatten()).await;
    let mut told = String::new();
    command.stderr.take().expect("piped").read_to_string(&mut told).expect("text");
    assert_eq!(status.code(), Some(130), "{told}");
    assert!(told.contains("Run the same command over the same lines"), "{told}");
    drop(stdin);
    eventually("it goes on by itself", Duration::from_secs(60), async || {
        (hoard.refreshes() >= 200).then_some(())
    })
    .await;
    let (_, summary) = import(&install, &CLIENT, &lines(0..300));
    assert_eq!((number(&summary, "connected"), number(&summary, "known")), (300, 200), "{summary}");
    assert_eq!((hoard.refreshes(), hoard.most_presented()), (300, 1));
}

/// A kill at each step of the keeper: never a second presentation, and never more than the one answer that was on its way.
#[tokio::test]
async fn a_kill_at_each_step_presents_nothing_twice() {
    const ROUNDS: u32 = 24;
    const STEPS: [(&str, usize); 12] = [
        ("fdatasync", 1),
        ("fdatasync", 3),
        ("fdatasync", 5),
        ("fdatasync", 8),
        ("fsync", 1),
        ("fsync", 2),
        ("pwrite64", 3),
        ("pwrite64", 9),
        ("sendto,sendmsg,writev", 2),
        ("recvfrom", 2),
        ("renameat,renameat2,rename", 1),
        ("fallocate,ftruncate", 1),
    ];
    let hoard = Hoard::of(ROUNDS * 4);
    let mut install = beside(&hoard, "info").await;
    let (mut lost, mut at_a_step) = (0, 0);
    for round in 0..ROUNDS {
        let mut strace = crate::crash::kill_at(install.pid(), STEPS[round as usize % STEPS.len()]);
        let file = lines(round * 4..round * 4 + 4);
        // It ends by itself, or with the program that it asks.
        let first = install.run_with(&[&IMPORT[..], &CLIENT, &["--no-start"]].concat(), &file, &[]);
        if install.ends_within(Duration::from_secs(1)).await {
            at_a_step += 1;
        } else {
            install.kill();
        }
        let _ = strace.wait();
        install.up().await;
        let (output, summary) = import(&install, &CLIENT, &file);
        let failed = number(&summary, "failed");
        assert_eq!(number(&summary, "connected") + failed, 4, "round {round}: {summary} {}", said(&first));
        for error in summary["errors"].as_array().expect("errors") {
            assert_eq!(text(error, "error"), "answer-lost", "round {round}: {}", said(&output));
        }
        lost += failed;
        assert_eq!((hoard.reuses(), hoard.most_presented()), (0, 1), "round {round}");
    }
    println!("{at_a_step} of {ROUNDS} kills at a step, {lost} answers lost");
    assert!(at_a_step * 2 >= ROUNDS, "{at_a_step}");
    // The first of a start is tried alone, the others four at a time.
    assert!(lost <= u64::from(ROUNDS) * 2, "{lost}");
}
