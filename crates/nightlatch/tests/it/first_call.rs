//! The path of the README: a key sealed in, an agent enrolled with curl, a call with curl, the record of it.

use crate::world::{connect::text, install::Install, recorder::Recorder};
use std::process::{Command, Output};

const KEY: &str = "canary-key-7f3a9c1e5b2d4860";

/// curl with the agent's certificate and the gateway's pinned key.
fn curl(install: &Install, pin: &str, arguments: &[&str]) -> Output {
    let file = |name: &str| install.root().join(name).to_str().expect("a path").to_owned();
    let output = Command::new("curl")
        .args(["--silent", "--show-error", "--insecure", "--pinnedpubkey", pin])
        .args(["--dump-header", &file("agent.headers")])
        .args(["--cert", &file("agent.pem"), "--key", &file("agent.key"), "--write-out", "\n%{http_code}"])
        .args(arguments)
        .output()
        .expect("curl is installed: run `cargo xtask test`");
    for shown in [&output.stdout, &std::fs::read(file("agent.headers")).unwrap_or_default()] {
        install.oracle.note("what an agent saw", shown);
    }
    output
}

fn answered(output: &Output) -> (String, String) {
    assert!(output.status.success(), "curl: {}", String::from_utf8_lossy(&output.stderr));
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let (body, status) = printed.rsplit_once('\n').expect("a status");
    (status.to_owned(), body.to_owned())
}

#[tokio::test]
async fn curl_calls_with_a_reference_and_the_tool_sees_the_key() {
    let recorder = Recorder::start("api.canary.test");
    let install = Install::started(&recorder.config()).await;
    install.write("tool.toml", &recorder.manifest("canary"));
    let file = install.data().join("tool.toml");
    install.json(&["tool", "add", file.to_str().expect("a path")]);

    // The key comes in by standard input, sealed before it leaves the command.
    let connected = install.json_with(&["connect", "canary", "--key", "--name", "dana"], KEY, &[]);
    assert_eq!(text(&connected["connection"], "label"), "dana-account");

    let key = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "2",
        ])
        .args(["-subj", "/CN=agent", "-keyout"])
        .arg(install.root().join("agent.key"))
        .arg("-out")
        .arg(install.root().join("agent.pem"))
        .output()
        .expect("openssl is installed: run `cargo xtask test`");
    assert!(key.status.success());

    let task = text(&install.json(&["task", "open", "--agent", "laptop"]), "id");
    let enrol = install.json(&["agent", "enrol", "laptop", "--task", &task]);
    let (pin, gateway) = (text(&enrol, "gateway_pin"), text(&enrol, "gateway_url"));
    let body = format!("{{\"code\":\"{}\"}}", text(&enrol, "code"));
    let url = format!("{gateway}/v1/enrol");
    let json = ["-X", "POST", "-H", "content-type: application/json", "-d", &body, &url];
    let (status, answer) = answered(&curl(&install, &pin, &json));
    assert_eq!(status, "200", "{answer}");
    // The code was good once.
    assert_ne!(answered(&curl(&install, &pin, &json)).0, "200");

    let grant = install.json(&["grant", "add", "canary/dana:read@acme/*", "--task", &task]);
    let bearer = format!("authorization: Bearer {}", text(&grant, "reference"));
    let call =
        |path: &str| answered(&curl(&install, &pin, &["-H", &bearer, &format!("{gateway}/canary{path}")]));
    let (status, answer) = call("/repos/acme/site?page=2");
    assert_eq!(status, "200", "{answer}");
    let arrived = recorder.last();
    assert_eq!(arrived.target, "/repos/acme/site?page=2");
    assert_eq!(arrived.values("authorization"), [format!("Bearer {KEY}")]);
    assert_eq!(arrived.values("host"), ["api.canary.test"]);

    // Outside the grant: refused, recorded, explained; the tool saw nothing.
    let before = recorder.count();
    let (status, answer) = call("/repos/evil/site");
    assert_eq!(status, "403", "{answer}");
    assert!(answer.contains("policy-denied"), "{answer}");
    assert_eq!(recorder.count(), before);
    let refused: serde_json::Value = serde_json::from_str(&answer).expect("JSON");
    let why = install.json(&["why", &text(&refused, "call")]);
    assert!(why.to_string().contains("policy-denied"), "{why}");

    // Another server key than the pinned one, and no client key: no call.
    let wrong = format!("sha256//{}", "A".repeat(43) + "=");
    assert!(
        !curl(&install, &wrong, &["-H", &bearer, &format!("{gateway}/canary/repos/acme/site")])
            .status
            .success()
    );

    let verdict = install.json(&["ledger", "verify"]);
    assert_eq!(verdict["whole"], true, "{verdict}");
}
