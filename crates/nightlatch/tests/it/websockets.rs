//! A real WebSocket client and a real WebSocket server, neither of which knows of us: under `run`, through the proxy
//! door, and at the `route` door over mutual TLS, until the task ends.

use crate::world::{
    install::Install,
    parts::parts,
    unchanged::{Ran, Walls, python_script},
    upstream::{Behind, Upstream},
};
use serde::Deserialize;
use std::{
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
};

const HOST: &str = "live.canary.test";
const KEY: &str = "canary-live-key-5d2b8f0a7c4e9136";

const MANIFEST: &str = r#"name = "live"
title = "A service that is spoken to by WebSocket"
docs = "https://example.com/docs"
placeholder_env = ["LIVE_TOKEN"]

[[host]]
host = "live.canary.test"
key = { kind = "bearer" }
challenge = 'Bearer realm="live"'

[account]
probe = "/me"
id = ["/id"]

[[operation]]
id = "live.open"
method = "GET"
path = "/live/{room}"
upgrade = "websocket"
effect = "write"
page = "https://example.com/docs/live"
"#;

/// What the client prints of one thing.
#[derive(Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
struct Line {
    message: Option<String>,
    agreed: Option<String>,
    extensions: Option<Vec<String>>,
    code: Option<u16>,
    reason: Option<String>,
    status: Option<u16>,
    problem: Option<String>,
}

/// The server behind its recorder, and an account there.
async fn connected() -> (Install, Upstream) {
    let behind = Behind::server(&parts().websockets.base);
    let upstream = Upstream::start(HOST, behind.answering("/me", "application/json", "{\"id\":\"1\"}"));
    let install = Install::started(&upstream.config()).await;
    install.write("tool.toml", MANIFEST);
    install.json(&["tool", "add", install.data().join("tool.toml").to_str().expect("a path")]);
    install.json_with(&["connect", "live", "--key"], KEY, &[]);
    upstream.forget();
    (install, upstream)
}

/// The messages of one conversation: everything comes back but what was the credential.
fn assert_spoken(lines: &[Line]) {
    let masked = format!("you sent Bearer {}", "*".repeat(KEY.len()));
    let messages: Vec<&str> = lines.iter().filter_map(|line| line.message.as_deref()).collect();
    let [hello, whole, fragments, agreed, large] = messages.as_slice() else { panic!("{lines:?}") };
    assert_eq!((*hello, *whole, *fragments), ("hello", masked.as_str(), masked.as_str()));
    assert_eq!((large.len(), large.trim_matches('x')), (300_000, ""));
    // Both sides would compress, and neither was asked to.
    assert_eq!(*agreed, "{\"extensions\": [], \"offered\": [], \"subprotocol\": \"chat\"}");
    let own = lines.iter().find(|line| line.agreed.is_some()).expect("what the client agreed upon");
    assert_eq!((own.agreed.as_deref(), own.extensions.as_deref()), (Some("chat"), Some(&[][..])));
}

#[tokio::test]
async fn pythons_websockets_works_unchanged() {
    let (install, upstream) = connected().await;
    let words = [&python_script("with_websockets.py")[..], &[format!("wss://{HOST}/live/room")]].concat();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    for walls in Walls::EACH {
        upstream.forget();
        let ran: Ran = install.run_unchanged("websockets", ("live:write", walls), "LIVE_TOKEN", &words);
        assert!(ran.ok, "{ran}");
        let lines: Vec<Line> = ran.told();
        assert_spoken(&lines);
        let ended = lines.iter().find(|line| line.code.is_some()).expect("an end");
        assert_eq!(ended.code, Some(1000), "{ran}");
        let refused: Vec<_> = lines.iter().filter_map(|line| line.status.zip(line.problem.clone())).collect();
        let [unlisted, bare] = refused.as_slice() else { panic!("{ran}") };
        assert!(unlisted.0 == 501 && unlisted.1.ends_with("/not-supported"), "{ran}");
        assert!(bare.0 == 401 && bare.1.ends_with("/reference-missing"), "{ran}");
        assert_eq!(upstream.asked(), ["GET /live/room"], "a refused handshake reached the upstream");
        upstream.assert_only(&format!("Bearer {KEY}"), &ran.reference);
        ran.assert_looked_into("python");
    }
}

#[tokio::test]
async fn over_mutual_tls_a_websocket_lives_until_its_task_sleeps() {
    let (install, upstream) = connected().await;
    let granted = install.granted("listener", "live:write").await;
    let file = |name: &str| install.root().join(name);
    std::fs::write(file("agent.pem"), &granted.agent.certificate_pem).expect("a file");
    std::fs::write(file("agent.key"), &granted.agent.key_pem).expect("a file");
    let [python, flag, script] = python_script("with_websockets.py");
    let mut client = Command::new(python)
        .args([flag, script, format!("wss://{}/live/live/room", install.gateway())])
        .args([file("agent.pem"), file("agent.key")])
        .env("LIVE_TOKEN", &granted.reference)
        .stdout(Stdio::piped())
        .stdin(Stdio::null())
        .spawn()
        .expect("python starts");
    let mut printed = BufReader::new(client.stdout.take().expect("it is piped")).lines();
    let mut next = || -> Line {
        let line = printed.next().expect("a line").expect("text");
        granted.agent.note(line.as_bytes());
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
    };
    let spoken: Vec<Line> = (0..6).map(|_| next()).collect();
    assert_spoken(&spoken);
    upstream.assert_only(&format!("Bearer {KEY}"), &granted.reference);
    install.json(&["task", "sleep", &granted.task]);
    let ended = next();
    assert_eq!(ended.code, Some(1008), "{ended:?}");
    assert!(ended.reason.as_deref().is_some_and(|reason| reason.contains("has ended")), "{ended:?}");
    assert!(client.wait().expect("it ends").success());
}
