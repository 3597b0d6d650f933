//! A budget holds over restarts and crashes, is shown, and says what a human must do when it is used up.

use crate::world::{connect::text, install::Install, recorder::Recorder};
use serde_json::Value;

const KEY: &str = "canary-budget-60b2d4f8a1c3e597";

#[tokio::test]
async fn what_is_spent_stays_spent_over_a_crash_and_says_what_a_human_must_do() {
    let recorder = Recorder::start("api.budget.test");
    let mut install = Install::started(&recorder.config()).await;
    install.write("tool.toml", &recorder.manifest("budget"));
    install.json(&["tool", "add", install.data().join("tool.toml").to_str().expect("a path")]);
    install.json_with(&["connect", "budget", "--key", "--name", "one"], KEY, &[]);
    let worker = install.granted("worker", "budget/one:read").await;
    let given =
        install.json(&["grant", "add", "budget/one:read", "--task", &worker.task, "--budget", "calls=3"]);
    let (reference, id) = (text(&given, "reference"), text(&given, "id"));
    assert_eq!(given["budget"], "calls=3", "{given}");

    for _ in 0..2 {
        assert_eq!(worker.agent.get("/budget/repos/acme/site", &reference).await.status.as_u16(), 200);
    }
    assert_eq!(recorder.last().values("authorization"), [format!("Bearer {KEY}")]);
    install.kill();
    install.up().await;
    assert_eq!(worker.agent.get("/budget/repos/acme/site", &reference).await.status.as_u16(), 200);

    let before = recorder.count();
    let refused = worker.agent.get("/budget/repos/acme/site", &reference).await;
    assert_eq!(refused.status.as_u16(), 403, "{}", refused.text());
    let problem: Value = refused.json();
    assert!(text(&problem, "type").ends_with("/budget-exhausted"), "{problem}");
    assert_eq!((text(&problem, "field").as_str(), &problem["retryable"]), ("calls", &Value::Bool(false)));
    assert!(text(&problem, "detail").contains("nightlatch grant add"), "{problem}");
    assert_eq!(recorder.count(), before, "a call beyond the budget was sent");
    // The same task's grant without one goes on.
    assert_eq!(worker.agent.get("/budget/repos/acme/site", &worker.reference).await.status.as_u16(), 200);

    let grants = install.json(&["grant", "list"]);
    let shown = grants.as_array().expect("a list").iter().find(|grant| grant["id"] == id.as_str());
    assert_eq!(shown.expect("it is listed")["spent"]["calls"], 3, "{grants}");
    let listed = String::from_utf8(install.run(&["grant", "list"]).stdout).expect("text");
    assert!(listed.contains("calls 3 of 3"), "{listed}");

    let wrong =
        install.run(&["grant", "add", "budget/one:read", "--task", &worker.task, "--budget", "call=3"]);
    assert!(!wrong.status.success());
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("calls=100,writes=5,bytes=1G"));
}
