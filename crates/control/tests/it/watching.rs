//! What runs is shown to its own tenant, by names; and metrics are read over loopback by no web page.

use crate::world::World;
use nightlatch_control::api::{DoctorReport, LiveReport, Metrics};
use nightlatch_domain::{
    clock::Timestamp,
    id::{CallId, TaskId, TenantId},
    ports::{
        sight::{Door, LiveCall},
        store::ControlStore as _,
    },
    tool::{Effect, OperationId},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

async fn ask(world: &World, head: &str) -> String {
    let mut stream = TcpStream::connect(&world.metrics).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn what_runs_is_shown_by_name_and_to_its_tenant_alone() {
    let world = World::start().await;
    let agent = world.store.agents(world.tenant).await.unwrap().remove(0);
    let task: TaskId = world.task().await.parse().unwrap();
    let call = |tenant, number| LiveCall {
        call: CallId::new(Timestamp::from_millis(1), [number; 10]),
        tenant,
        door: Door::Route,
        agent: agent.id,
        task,
        tool: "github".parse().unwrap(),
        operation: OperationId("repos.get".into()),
        effect: Effect::Read,
        phase: "hold",
        age_millis: 7,
    };
    let others = TenantId::new(Timestamp::from_millis(1), [9; 10]);
    *world.gateway.calls.lock().unwrap() = vec![call(world.tenant, 1), call(others, 2)];
    let report: LiveReport = world.client.get("/v1/live").await.unwrap();
    assert_eq!(report.calls.len(), 1);
    let shown = &report.calls[0];
    assert_eq!(shown.call, call(world.tenant, 1).call);
    assert_eq!(shown.agent.as_ref().map(|name| name.as_str()), Some("laptop"));
    assert_eq!(shown.door, "route");
    assert_eq!((shown.operation.as_str(), shown.phase.as_str(), shown.age_millis), ("repos.get", "hold", 7));
    assert_eq!((report.tools[0].calls, report.tools[0].refused), (3, 1));
    assert_eq!(report.limits.len(), 1, "a limit that nobody met is shown");
    let metrics: Metrics = world.client.get("/v1/metrics").await.unwrap();
    assert!(metrics.openmetrics.ends_with("# EOF\n"));
}

#[tokio::test]
async fn metrics_are_read_under_our_own_name_and_by_no_web_page() {
    let world = World::start().await;
    let own = &world.metrics;
    let get = |path: &str, host: &str, more: &str| {
        format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n{more}connection: close\r\n\r\n")
    };
    let read = ask(&world, &get("/metrics", own, "")).await;
    assert!(read.starts_with("HTTP/1.1 200") && read.ends_with("# EOF\n"), "{read}");
    assert!(read.contains("content-type: application/openmetrics-text; version=1.0.0"), "{read}");
    for (path, host, more) in [
        ("/metrics", "evil.test", ""),
        ("/metrics", "localhost", ""),
        ("/metrics", own.as_str(), "origin: https://evil.test\r\n"),
        ("/metrics", own.as_str(), "sec-fetch-site: cross-site\r\n"),
    ] {
        let refused = ask(&world, &get(path, host, more)).await;
        assert!(refused.starts_with("HTTP/1.1 403") && !refused.contains("EOF"), "{host} {more}: {refused}");
    }
    let elsewhere = ask(&world, &get("/v1/live", own, "")).await;
    assert!(elsewhere.starts_with("HTTP/1.1 404"), "{elsewhere}");
}

#[tokio::test]
async fn where_no_keeper_answers_the_rest_is_told_all_the_same() {
    let world = World::start().await;
    let report: DoctorReport = world.client.get("/v1/doctor").await.unwrap();
    let found: Vec<_> = report.findings.iter().map(|one| (one.name.as_str(), one.is_wrong())).collect();
    assert_eq!(found, [("test", false), ("keepers-silent", true)]);
}
