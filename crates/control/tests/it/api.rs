//! The API on its socket: who is let in, that rows are vouched for before they are stored, that what takes
//! something away is in effect before it is confirmed, and that what gives something is recorded first.

use crate::world::{START, TOKEN, World};
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use nightlatch_control::{
    ApiKey, Client, ClientError,
    api::{
        AgentView, EnrolmentIssued, Explanation, GrantView, LedgerRecord, LedgerVerdict, TaskView, ToolView,
    },
    auth::Signed,
};
use nightlatch_custody::entropy::SystemEntropy;
use nightlatch_domain::{
    clock::Timestamp,
    ports::{
        control_keeper::{ControlRequest, Statement},
        store::{ControlStore as _, KeeperStore as _},
    },
};
use serde_json::{Value, json};
use sha2_of::sha256_hex;
use std::{sync::Arc, sync::atomic::Ordering, time::Duration};
use tokio::net::UnixStream;

/// SHA-256 in hexadecimal, to find a code's row.
mod sha2_of {
    pub(super) fn sha256_hex(text: &str) -> String {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
        digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

fn slug(error: ClientError) -> String {
    match error {
        ClientError::Refused(problem) => problem.slug().to_owned(),
        other => panic!("no refusal: {other}"),
    }
}

/// One request with exactly these headers.
async fn raw(world: &World, method: &str, target: &str, headers: &[(&str, &str)]) -> (StatusCode, Value) {
    let stream = UnixStream::connect(world.socket()).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let mut request = Request::builder().method(method).uri(target);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = sender.send_request(request.body(Full::new(Bytes::new())).unwrap()).await.unwrap();
    let status = answer.status();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
}

fn proof(token: &[u8], method: &str, target: &str, at: i64, nonce: u8) -> String {
    let signed = Signed { method, target, body: b"" };
    ApiKey::new(token).header(&signed, Timestamp::from_millis(at), [nonce; 16])
}

#[tokio::test]
async fn a_request_without_a_right_fresh_and_new_mac_is_401() {
    let world = World::start().await;
    let good = proof(TOKEN, "GET", "/v1/ping", START, 1);
    let cases = [
        ("missing", None),
        ("wrong", Some(proof(b"another token", "GET", "/v1/ping", START, 2))),
        ("for another path", Some(proof(TOKEN, "GET", "/v1/health", START, 3))),
        ("stale", Some(proof(TOKEN, "GET", "/v1/ping", START - 61_000, 4))),
    ];
    for (what, header) in cases {
        let header = header.unwrap_or_default();
        let mut headers = vec![("host", "localhost")];
        if !header.is_empty() {
            headers.push(("authorization", &header));
        }
        let (status, problem) = raw(&world, "GET", "/v1/ping", &headers).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{what}: {problem}");
    }
    let headers = [("host", "localhost"), ("authorization", good.as_str())];
    assert_eq!(raw(&world, "GET", "/v1/ping", &headers).await.0, StatusCode::OK);
    assert_eq!(raw(&world, "GET", "/v1/ping", &headers).await.0, StatusCode::UNAUTHORIZED, "replayed");
    let twice = [headers[0], headers[1], headers[1]];
    assert_eq!(raw(&world, "GET", "/v1/ping", &twice).await.0, StatusCode::UNAUTHORIZED, "two headers");
}

#[tokio::test]
async fn a_request_of_a_web_page_or_for_another_host_is_refused() {
    let world = World::start().await;
    for (nonce, extra) in
        [("origin", "https://evil.example"), ("sec-fetch-site", "cross-site")].iter().enumerate()
    {
        let good = proof(TOKEN, "GET", "/v1/ping", START, nonce as u8 + 10);
        let headers = [("host", "localhost"), ("authorization", good.as_str()), *extra];
        assert_eq!(raw(&world, "GET", "/v1/ping", &headers).await.0, StatusCode::FORBIDDEN, "{extra:?}");
    }
    let good = proof(TOKEN, "GET", "/v1/ping", START, 20);
    let headers = [("host", "evil.example"), ("authorization", good.as_str())];
    assert_eq!(raw(&world, "GET", "/v1/ping", &headers).await.0, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn an_unknown_path_is_not_told_apart_without_a_mac() {
    let world = World::start().await;
    let (status, problem) = raw(&world, "GET", "/v1/nothing", &[("host", "localhost")]).await;
    assert_eq!(
        (status, problem["title"].as_str()),
        (StatusCode::UNAUTHORIZED, Some("the request carries no valid MAC"))
    );
    assert_eq!(slug(world.client.get::<Value>("/v1/nothing").await.unwrap_err()), "no-such-path");
    assert_eq!(slug(world.client.delete::<Value>("/v1/ping").await.unwrap_err()), "no-such-path");
}

#[tokio::test]
async fn a_body_beyond_the_limit_or_with_unknown_fields_is_refused() {
    let world = World::start().await;
    let large = json!({ "name": "x", "purpose": "y".repeat(17 * 1024 * 1024) });
    assert!(
        world.client.post::<Value>("/v1/agents", &large).await.is_err_and(|error| slug(error) == "too-large")
    );
    let unknown = json!({ "name": "x", "porpoise": "y" });
    assert_eq!(slug(world.client.post::<Value>("/v1/agents", &unknown).await.unwrap_err()), "bad-request");
}

#[tokio::test]
async fn every_row_that_decides_is_vouched_for_as_it_is_stored() {
    let world = World::start().await;
    let agent: AgentView = world.client.post("/v1/agents", &json!({ "name": "worker" })).await.unwrap();
    world.connect("github", "main").await;
    let task = world.task().await;
    let grant = json!({ "task": task, "grant": "github:read@acme/*" });
    let grant: GrantView = world.client.post("/v1/grants", &grant).await.unwrap();
    let code: EnrolmentIssued =
        world.client.post("/v1/agents/laptop/codes", &json!({ "task": task })).await.unwrap();

    let (store, tenant) = (&world.store, world.tenant);
    let hash = sha256_hex(&code.code.0);
    let mut rows = vec![
        Statement::Agent(store.agent(tenant, agent.id).await.unwrap().unwrap()),
        Statement::Task(store.task(tenant, task.parse().unwrap()).await.unwrap().unwrap()),
        Statement::Grant(store.grant(tenant, grant.id).await.unwrap().unwrap()),
        Statement::EnrolmentCode(store.enrolment_code(hash).await.unwrap().unwrap()),
    ];
    let _: TaskView = world.client.post(&format!("/v1/tasks/{task}/sleep"), &json!({})).await.unwrap();
    rows.push(Statement::Task(store.task(tenant, task.parse().unwrap()).await.unwrap().unwrap()));
    let _: GrantView = world.client.delete(&format!("/v1/grants/{}", grant.id)).await.unwrap();
    rows.push(Statement::Grant(store.grant(tenant, grant.id).await.unwrap().unwrap()));
    for row in rows {
        assert!(world.keeper.keys.verify(&row), "{row:?}");
    }
}

#[tokio::test]
async fn what_the_keeper_does_not_vouch_for_is_not_stored() {
    let world = World::start().await;
    world.keeper.refuses.store(true, Ordering::SeqCst);
    let refused = world.client.post::<Value>("/v1/agents", &json!({ "name": "worker" })).await;
    assert_eq!(slug(refused.unwrap_err()), "keeper-unavailable");
    assert_eq!(world.store.agents(world.tenant).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_secret_crosses_control_sealed_and_only_for_its_tool() {
    let world = World::start().await;
    world.connect("github", "main").await;
    let for_another = json!({ "tool": "openai", "secret": world.sealed("github", "canary-key") });
    let refused = world.client.post::<Value>("/v1/connections", &for_another).await;
    assert_eq!(slug(refused.unwrap_err()), "intake-key-changed");
}

#[tokio::test]
async fn two_connections_that_fit_a_grant_are_listed() {
    let world = World::start().await;
    let task = world.task().await;
    let add = |grant: &str| json!({ "task": task, "grant": grant });
    let none = world.client.post::<Value>("/v1/grants", &add("github")).await.unwrap_err();
    assert!(none.to_string().contains("nightlatch connect github"), "{none}");
    world.connect("github", "one").await;
    world.connect("github", "two").await;
    let both = world.client.post::<Value>("/v1/grants", &add("github")).await.unwrap_err();
    assert!(
        both.to_string().contains("`github/one`, `github/two`")
            || both.to_string().contains("`github/two`, `github/one`"),
        "{both}"
    );
    assert_eq!(slug(both), "ambiguous");
    let grant: GrantView = world.client.post("/v1/grants", &add("github/two:write@Acme/*")).await.unwrap();
    assert!(grant.reference.starts_with("nlr_"));
    assert_eq!(grant.grant, "github/two:write@acme/*");
    assert_eq!(grant.urls.first().map(String::as_str), Some("https://127.0.0.1:8443/github/"));
}

#[tokio::test]
async fn a_grant_ends_with_its_task_and_needs_one_that_is_open() {
    let world = World::start().await;
    world.connect("github", "main").await;
    let task = world.task().await;
    let long = json!({ "task": task, "grant": "github", "for_secs": 1_000_000 });
    let grant: GrantView = world.client.post("/v1/grants", &long).await.unwrap();
    assert_eq!(grant.expires_at, Timestamp::from_millis(START + 3_600_000));
    let _: TaskView = world.client.post(&format!("/v1/tasks/{task}/complete"), &json!({})).await.unwrap();
    let ended = world.client.post::<Value>("/v1/grants", &json!({ "task": task, "grant": "github" })).await;
    assert_eq!(slug(ended.unwrap_err()), "ended");
    let ended = world.client.post::<Value>("/v1/agents/laptop/codes", &json!({ "task": task })).await;
    assert_eq!(slug(ended.unwrap_err()), "ended");
}

/// Runs one command while the gateway lags, and shows that it is durable by then and not yet confirmed.
async fn confirmed_late(
    world: &World,
    durable: impl AsyncFn() -> bool,
    method: &'static str,
    target: String,
) {
    world.gateway.holds.store(true, Ordering::SeqCst);
    let client = world.client.clone();
    let command = tokio::spawn(async move {
        match method {
            "DELETE" => client.delete::<Value>(&target).await,
            _ => client.post::<Value>(&target, &json!({})).await,
        }
    });
    let asked = tokio::time::timeout(Duration::from_secs(5), world.gateway.asked.notified());
    asked.await.expect("the gateway is waited for");
    assert!(durable().await, "not durable when the gateway was waited for");
    assert!(!command.is_finished(), "confirmed before the gateway knew");
    world.gateway.holds.store(false, Ordering::SeqCst);
    world.gateway.released.notify_one();
    command.await.unwrap().unwrap();
}

#[tokio::test]
async fn what_takes_something_away_is_in_effect_before_it_is_confirmed() {
    let world = World::start().await;
    world.connect("github", "main").await;
    let task = world.task().await;
    let grant: GrantView =
        world.client.post("/v1/grants", &json!({ "task": task, "grant": "github" })).await.unwrap();
    let (store, tenant) = (&world.store, world.tenant);

    let revoked = async || store.grant(tenant, grant.id).await.unwrap().unwrap().revoked_at.is_some();
    confirmed_late(&world, revoked, "DELETE", format!("/v1/grants/{}", grant.id)).await;
    let state = async || store.task(tenant, task.parse().unwrap()).await.unwrap().unwrap().state.as_str();
    confirmed_late(&world, async || state().await == "dormant", "POST", format!("/v1/tasks/{task}/sleep"))
        .await;
    confirmed_late(
        &world,
        async || state().await == "completed",
        "POST",
        format!("/v1/tasks/{task}/complete"),
    )
    .await;
    let gone = async || store.connections(tenant).await.unwrap().is_empty();
    confirmed_late(&world, gone, "DELETE", "/v1/connections/github%2Fmain".to_owned()).await;
    let disabled = async || {
        let agents = store.agents(tenant).await.unwrap();
        agents.iter().all(|agent| agent.status == nightlatch_domain::principal::AgentStatus::Disabled)
    };
    confirmed_late(&world, disabled, "POST", "/v1/agents/laptop/disable".to_owned()).await;
}

#[tokio::test]
async fn sleep_complete_and_disable_end_the_wakes_of_their_tasks() {
    let world = World::start().await;
    let (one, two) = (world.task().await, world.task().await);
    let ended = || {
        let asked = world.keeper.asked.lock().unwrap();
        asked.iter().filter(|request| matches!(request, ControlRequest::EndWakes { .. })).count()
    };
    let _: TaskView = world.client.post(&format!("/v1/tasks/{one}/sleep"), &json!({})).await.unwrap();
    assert_eq!(ended(), 1);
    let _: TaskView = world.client.post(&format!("/v1/tasks/{two}/complete"), &json!({})).await.unwrap();
    assert_eq!(ended(), 2);
    // Said again, since the first time may have been cut off before it was in effect.
    let _: TaskView = world.client.post(&format!("/v1/tasks/{two}/complete"), &json!({})).await.unwrap();
    assert_eq!(ended(), 3);
    let _: AgentView = world.client.post("/v1/agents/laptop/disable", &json!({})).await.unwrap();
    assert_eq!(ended(), 4, "the sleeping task is the one that is left");
}

#[tokio::test]
async fn without_a_ledger_nothing_is_given_and_everything_can_be_taken_back() {
    let world = World::start().await;
    world.connect("github", "main").await;
    let task = world.task().await;
    let body = json!({ "task": task, "grant": "github" });
    let grant: GrantView = world.client.post("/v1/grants", &body).await.unwrap();
    world.ledger.close().await.unwrap();
    assert_eq!(
        slug(world.client.post::<Value>("/v1/grants", &body).await.unwrap_err()),
        "ledger-unavailable"
    );
    assert_eq!(world.store.grants(world.tenant).await.unwrap().len(), 1);
    let revoked: GrantView = world.client.delete(&format!("/v1/grants/{}", grant.reference)).await.unwrap();
    assert_eq!(revoked.state, "revoked");
    let done: TaskView = world.client.post(&format!("/v1/tasks/{task}/complete"), &json!({})).await.unwrap();
    assert_eq!(done.state, "completed");
}

#[tokio::test]
async fn a_code_is_kept_as_its_hash_and_is_good_for_ten_minutes() {
    let world = World::start().await;
    let code: EnrolmentIssued = world.client.post("/v1/agents/laptop/codes", &json!({})).await.unwrap();
    let row = world.store.enrolment_code(sha256_hex(&code.code.0)).await.unwrap().unwrap();
    assert_eq!(row.expires_at, Timestamp::from_millis(START + 600_000));
    assert_eq!(row.task, code.task);
    assert!(!format!("{row:?}{code:?}").contains(&code.code.0), "the code shows");
}

#[tokio::test]
async fn a_disabled_agent_gets_no_task_and_no_code() {
    let world = World::start().await;
    let _: AgentView = world.client.post("/v1/agents/laptop/disable", &json!({})).await.unwrap();
    let task = json!({ "agent": "laptop", "for_secs": 60 });
    assert_eq!(slug(world.client.post::<Value>("/v1/tasks", &task).await.unwrap_err()), "ended");
    assert_eq!(
        slug(world.client.post::<Value>("/v1/agents/laptop/codes", &json!({})).await.unwrap_err()),
        "ended"
    );
    let enabled: AgentView = world.client.post("/v1/agents/laptop/enable", &json!({})).await.unwrap();
    assert_eq!(enabled.status, "active");
}

#[tokio::test]
async fn an_explained_call_is_judged_as_the_corridor_would() {
    let world = World::start().await;
    world.connect("github", "main").await;
    let task = world.task().await;
    let explain = |method: &str, path: &str| json!({ "task": task, "target": "github", "method": method, "path": path });
    let none = world.client.post::<Value>("/v1/policy/explain", &explain("GET", "/repos/acme/site")).await;
    assert_eq!(slug(none.unwrap_err()), "not-found");
    let grant = json!({ "task": task, "grant": "github:read@acme/*" });
    let _: GrantView = world.client.post("/v1/grants", &grant).await.unwrap();
    let inside: Explanation =
        world.client.post("/v1/policy/explain", &explain("GET", "/repos/acme/site")).await.unwrap();
    assert!(inside.allowed && inside.resource.as_deref() == Some("acme/site"), "{inside:?}");
    let outside: Explanation =
        world.client.post("/v1/policy/explain", &explain("GET", "/repos/evil/site")).await.unwrap();
    assert!(!outside.allowed, "{outside:?}");
    let unlisted: Explanation =
        world.client.post("/v1/policy/explain", &explain("DELETE", "/no/such/thing")).await.unwrap();
    assert!(!unlisted.allowed && unlisted.effect == "admin", "{unlisted:?}");
}

#[tokio::test]
async fn a_tool_is_added_replaced_and_never_takes_a_builtin_name() {
    let world = World::start().await;
    let manifest = |name: &str, title: &str| {
        let text = format!(
            "name = \"{name}\"\ntitle = \"{title}\"\ndocs = \"https://example.com\"\n\n[[host]]\nhost = \"api.example.com\"\nkey = {{ kind = \"bearer\" }}\n"
        );
        json!({ "file": "x.toml", "manifest": text })
    };
    let added: ToolView = world.client.post("/v1/tools", &manifest("acme", "One")).await.unwrap();
    assert_eq!((added.tool.title.as_str(), added.tool.origin.as_str()), ("One", "added"));
    let replaced: ToolView = world.client.post("/v1/tools", &manifest("acme", "Two")).await.unwrap();
    assert_eq!(replaced.tool.title, "Two");
    assert_eq!(
        slug(world.client.post::<Value>("/v1/tools", &manifest("github", "Mine")).await.unwrap_err()),
        "bad-file"
    );
    let malformed = json!({ "file": "x.toml", "manifest": "name = \"x\"\ntitel = \"X\"\n" });
    let refused = world.client.post::<Value>("/v1/tools", &malformed).await.unwrap_err().to_string();
    assert!(refused.contains("x.toml:2"), "{refused}");
}

#[tokio::test]
async fn what_a_human_did_is_in_the_ledger_and_the_ledger_is_whole() {
    let world = World::start().await;
    let task = world.task().await;
    let _: TaskView = world.client.post(&format!("/v1/tasks/{task}/complete"), &json!({})).await.unwrap();
    let records: Vec<LedgerRecord> = world.client.get("/v1/ledger?last=10").await.unwrap();
    let events: Vec<&str> = records.iter().filter_map(|record| record.record["event"].as_str()).collect();
    assert_eq!(events, ["started", "task-opened", "task-completed"]);
    let first: LedgerRecord = world.client.get("/v1/ledger/1").await.unwrap();
    assert_eq!(first.seq, 1);
    let verdict: LedgerVerdict = world.client.post("/v1/ledger/verify", &json!({})).await.unwrap();
    assert!(verdict.whole && verdict.records == 3, "{verdict:?}");
}

#[tokio::test]
async fn stop_is_heard_and_a_silent_socket_is_named() {
    let world = World::start().await;
    let mut stopped = world.stop.subscribe();
    let _: Value = world.client.post("/v1/stop", &json!({})).await.unwrap();
    assert!(*stopped.wait_for(|stopped| *stopped).await.unwrap());
    let nowhere = world.socket().with_file_name("nowhere.sock");
    let client =
        Client::new(&nowhere, ApiKey::new(TOKEN), world.clock.clone(), Arc::new(SystemEntropy::new()));
    let silent = client.get::<Value>("/v1/ping").await.unwrap_err();
    assert!(matches!(silent, ClientError::Silent) && silent.to_string().contains("nightlatch up"));
}

#[tokio::test]
async fn a_tasks_end_date_ends_it() {
    let world = World::start().await;
    let task = world.task().await;
    world.clock.advance(Duration::from_secs(3600));
    let shown: TaskView = world.client.get(&format!("/v1/tasks/{task}")).await.unwrap();
    assert_eq!(shown.state, "over");
    let asleep = world.client.post::<Value>(&format!("/v1/tasks/{task}/sleep"), &json!({})).await;
    assert_eq!(slug(asleep.unwrap_err()), "ended");
}
