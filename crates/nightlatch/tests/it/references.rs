//! A reference identifies nobody: alone it is worth nothing, in foreign hands it is an alarm, after its
//! task it is a typed refusal; and nothing of that reaches the tool.

use crate::world::{
    agent::Agent,
    connect::text,
    http::{self, Answer},
    install::Install,
    parts::parts,
    provider::Kind,
    recorder::Recorder,
};
use ::http::StatusCode;
use serde_json::Value;

/// Calls that the strict verifier saw under a path of this test's own.
async fn seen(path: &str) -> u64 {
    let url = format!("{}/seen?path={path}", parts().oidc.resource_admin);
    http::get(&url).await.json::<Value>()["calls"].as_u64().expect("a count")
}

/// What a caller can tell two refusals apart by: everything but the call's id, the date and the member
/// that repeats the id.
fn without_ids(answer: &Answer) -> (StatusCode, Vec<(String, String)>, Value) {
    let mut headers: Vec<(String, String)> = answer
        .headers
        .iter()
        .filter(|(name, _)| !matches!(name.as_str(), "nightlatch-call" | "date"))
        .map(|(name, value)| (name.to_string(), value.to_str().expect("text").to_owned()))
        .collect();
    headers.sort();
    let mut body: Value = answer.json();
    body.as_object_mut().expect("an object").remove("call");
    (answer.status, headers, body)
}

#[tokio::test]
async fn a_reference_is_worth_nothing_to_anyone_else() {
    let kind = Kind::Oidc;
    let install = Install::with_provider(kind, "refresh_timer = \"on\"").await;
    let registration = install.register(kind, "references", 30).await;
    install.connect(&registration, &mut registration.browser(), &[]).await.json();
    let path = format!("/{}/things/references-own/x", kind.tool());
    let owner = install.granted("owner", "oidc-tool:read").await;
    let other = install.granted("other", "oidc-tool:read").await;

    // Acceptance: the exact credential that the provider gave out arrived, and the reference did not.
    assert_eq!(owner.agent.get(&path, &owner.reference).await.status, StatusCode::OK);
    let url = format!("{}/seen?path=/things/references-own", parts().oidc.resource_admin);
    let arrived = text(&http::get(&url).await.json(), "last_authorization_sha256");
    let issued = registration.issued().await;
    let digest = |token: &String| hex_sha256(&format!("Bearer {token}"));
    assert!(issued.iter().any(|token| digest(token) == arrived), "another credential arrived");
    assert_eq!(seen("/things/references-own").await, 1);

    // Bare, at the strict verifier itself: its own 401.
    let bare = registration.ask_resource(&owner.reference).await;
    assert_eq!(bare.status, StatusCode::UNAUTHORIZED);

    // In another agent's hands, and one that does not exist: the same bytes.
    let foreign = other.agent.get(&path, &owner.reference).await;
    let made_up = "nlr_000000000000000000000000000000000AFRGg";
    let unknown = other.agent.get(&path, made_up).await;
    assert_eq!(foreign.status, StatusCode::FORBIDDEN, "{}", foreign.text());
    assert_eq!(foreign.problem(), "reference-unknown");
    assert_eq!(without_ids(&foreign), without_ids(&unknown));
    let health = install.json(&["health"]);
    let alarms = health["alarms"].as_array().expect("alarms");
    assert!(alarms.iter().any(|alarm| alarm["name"] == "reference-misused"), "{health}");
    let tail = install.json(&["ledger", "tail"]);
    assert!(tail.to_string().contains("reference-misused"), "the ledger does not tell of it");

    // From a key that nobody enrolled.
    let stranger = Agent::stranger(&install).get(&path, &owner.reference).await;
    assert_eq!((stranger.status, stranger.problem()), (StatusCode::UNAUTHORIZED, "not-admitted".to_owned()));

    // The owner is not harmed by any of it.
    assert_eq!(owner.agent.get(&path, &owner.reference).await.status, StatusCode::OK);
    assert_eq!(seen("/things/references-own").await, 2);

    // Revoked, and after its task.
    install.json(&["grant", "revoke", &other.grant]);
    let revoked = other.agent.get(&path, &other.reference).await;
    assert_eq!((revoked.status, revoked.problem()), (StatusCode::FORBIDDEN, "grant-ended".to_owned()));
    install.json(&["task", "complete", &owner.task]);
    let ended = owner.agent.get(&path, &owner.reference).await;
    assert_eq!((ended.status, ended.problem()), (StatusCode::FORBIDDEN, "task-ended".to_owned()));
    assert_eq!(seen("/things/references-own").await, 2, "a refused call reached the verifier");
}

fn hex_sha256(text: &str) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test]
async fn a_sleeping_task_wakes_with_its_next_proof_and_a_disabled_agent_does_not() {
    let kind = Kind::Oidc;
    let install = Install::with_provider(kind, "refresh_timer = \"on\"").await;
    let registration = install.register(kind, "sleeper", 30).await;
    install.connect(&registration, &mut registration.browser(), &[]).await.json();
    let granted = install.granted("sleeper", "oidc-tool:read").await;
    assert_eq!(granted.agent.get("/oidc-tool/me", &granted.reference).await.status, StatusCode::OK);
    install.json(&["task", "sleep", &granted.task]);
    let shown = install.json(&["task", "show", &granted.task]);
    assert_eq!(text(&shown, "state"), "dormant");
    assert!(shown["wakes"].as_array().expect("wakes").iter().all(|wake| wake["lasts"] == false), "{shown}");

    assert_eq!(granted.agent.get("/oidc-tool/me", &granted.reference).await.status, StatusCode::OK);
    let shown = install.json(&["task", "show", &granted.task]);
    assert_eq!(shown["wakes"][0]["assurance"], "stated");

    install.json(&["agent", "disable", "sleeper"]);
    let refused = granted.agent.get("/oidc-tool/me", &granted.reference).await;
    assert_eq!((refused.status, refused.problem()), (StatusCode::FORBIDDEN, "agent-disabled".to_owned()));
}

/// Wakes are in memory: whoever is shown a task after a crash is shown that none of them goes on.
#[tokio::test]
async fn a_task_that_was_awake_when_the_program_was_killed_is_shown_asleep_until_it_wakes_anew() {
    let recorder = Recorder::start("woken.canary.test");
    let mut install = Install::started(&recorder.config()).await;
    install.write("tool.toml", &recorder.manifest("woken"));
    install.json(&["tool", "add", install.data().join("tool.toml").to_str().expect("a path")]);
    install.json_with(&["connect", "woken", "--key"], "canary-key-2b4d6f8091a3c5e7", &[]);
    let granted = install.granted("sleeper", "woken:read").await;
    let task = |install: &Install| install.json(&["task", "show", &granted.task]);
    let call = async || granted.agent.get("/woken/repos/acme/site", &granted.reference).await.status;
    assert_eq!((call().await, text(&task(&install), "state")), (StatusCode::OK, "awake".to_owned()));
    install.kill();
    install.up().await;
    let shown = task(&install);
    assert_eq!(text(&shown, "state"), "dormant", "{shown}");
    assert!(shown["wakes"].as_array().expect("wakes").iter().all(|wake| wake["lasts"] == false), "{shown}");
    assert_eq!((call().await, text(&task(&install), "state")), (StatusCode::OK, "awake".to_owned()));
}
