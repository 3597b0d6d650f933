//! Users of this machine: admitted at the gateway's socket by the kernel's word, enrolled by a one-time code, and
//! never as the user that runs the program, unless the operator says so.

use crate::world::{connect::text, install::Install, recorder::Recorder};
use serde_json::Value;
use std::process::Command;

const KEY: &str = "canary-key-51d0c7be93a24f68";
/// Nobody, on Debian and everywhere else.
const NOBODY: &str = "65534";

/// curl at the socket, as another user where one is named: status and body.
fn curl(install: &Install, user: Option<&str>, arguments: &[&str]) -> (String, String) {
    let mut command = match user {
        Some(user) => {
            let mut other = Command::new("setpriv");
            other.args(["--reuid", user, "--regid", user, "--clear-groups", "--", "curl"]);
            other
        }
        None => Command::new("curl"),
    };
    command.args(["--silent", "--show-error", "--write-out", "\n%{http_code}", "--unix-socket"]);
    let output = command.arg(install.gateway_socket()).args(arguments).output().expect("curl is installed");
    install.oracle.note("what an agent saw", &output.stdout);
    assert!(output.status.success(), "curl: {}", String::from_utf8_lossy(&output.stderr));
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let (body, status) = printed.rsplit_once('\n').expect("a status");
    (status.to_owned(), body.to_owned())
}

/// A tool that is connected, and a task with a grant for it: the grant.
fn granted(install: &Install, recorder: &Recorder) -> Value {
    install.write("tool.toml", &recorder.manifest("canary"));
    let file = install.data().join("tool.toml");
    install.json(&["tool", "add", file.to_str().expect("a path")]);
    install.json_with(&["connect", "canary", "--key"], KEY, &[]);
    install.json(&["task", "open", "--agent", "laptop", "--name", "work"]);
    install.json(&["grant", "add", "canary:read", "--task", "work"])
}

fn enrol(install: &Install, user: Option<&str>) -> String {
    let issued = install.json(&["agent", "enrol", "laptop", "--task", "work"]);
    let body = format!("{{\"code\":\"{}\"}}", text(&issued, "code"));
    curl(install, user, &["-d", &body, "http://localhost/v1/enrol"]).0
}

fn call(install: &Install, user: Option<&str>, grant: &Value) -> String {
    let bearer = format!("authorization: Bearer {}", text(grant, "reference"));
    curl(install, user, &["-H", &bearer, "http://localhost/canary/repos/acme/site"]).0
}

fn is_root() -> bool {
    Command::new("id").arg("-u").output().expect("id").stdout.trim_ascii() == b"0"
}

#[tokio::test]
async fn the_user_that_runs_it_is_no_agent_at_the_socket_and_another_is_once_it_enrolled() {
    let recorder = Recorder::start("api.canary.test");
    let install = Install::with_socket(&recorder.config(), "").await;
    let grant = granted(&install, &recorder);
    let before = recorder.count();
    assert_eq!(enrol(&install, None), "401");
    assert_eq!(call(&install, None, &grant), "401");
    assert_eq!(recorder.count(), before);
    // Only root can be somebody else.
    if is_root() {
        assert_eq!(call(&install, Some(NOBODY), &grant), "401");
        assert_eq!(enrol(&install, Some(NOBODY)), "200");
        assert_eq!(call(&install, Some(NOBODY), &grant), "200");
        assert_eq!(recorder.last().values("authorization"), [format!("Bearer {KEY}")]);
        let shown = install.json(&["agent", "show", "laptop"]);
        assert!(shown.to_string().contains(&format!("uid {NOBODY}")), "{shown}");
        // Another user who holds the reference is still nobody.
        assert_eq!(call(&install, Some("65533"), &grant), "401");
    }
}

#[tokio::test]
async fn the_user_that_runs_it_is_an_agent_where_the_operator_says_so_and_health_tells() {
    let recorder = Recorder::start("api.canary.test");
    let install = Install::with_socket(&recorder.config(), "own_user = true\n").await;
    let grant = granted(&install, &recorder);
    assert_eq!(call(&install, None, &grant), "401", "not enrolled yet");
    assert_eq!(enrol(&install, None), "200");
    assert_eq!(call(&install, None, &grant), "200");
    assert_eq!(recorder.last().values("authorization"), [format!("Bearer {KEY}")]);
    let health = install.json(&["health"]);
    assert!(health.to_string().contains("own_user"), "{health}");
}
