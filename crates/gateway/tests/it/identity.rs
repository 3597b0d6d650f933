//! Who calls is what the handshake proved; a reference identifies nobody, and tells strangers nothing.

use crate::{
    client::{Answer, Identity},
    world::{Twist, World},
};
use nightlatch_domain::{
    clock::Clock,
    ports::store::ControlStore,
    principal::{AgentStatus, Binding},
    task::TaskState,
};
use nightlatch_ledger::record::{Entry, EventName};
use std::sync::Arc;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{UnixListener, UnixStream},
};

/// An answer without what belongs to one call only: its id, and the second in which it came.
fn without_call(answer: &Answer) -> (u16, String, String) {
    let (call, date) = (answer.field("nightlatch-call").unwrap(), answer.field("date").unwrap());
    let head = answer.head.replace(&call, "CALL").replace(&date, "DATE");
    (answer.status, head, answer.text().replace(&call, "CALL"))
}

#[tokio::test]
pub(crate) async fn nobody_is_told_no_more_than_that() {
    let world = World::new().await;
    let request = world.request("GET /acme/things", &[&World::bearer(&world.alice)]);
    for identity in [None, Some(&Identity::new())] {
        let before = world.decisions().await.len();
        let mut wire = world.dial(identity).connect().await.unwrap();
        wire.write(&request).await;
        let answer = wire.answer().await;
        assert_eq!((answer.status, answer.problem().as_str()), (401, "not-admitted"));
        assert!(answer.field("www-authenticate").is_some());
        world.holds(&world.alice, before, &answer).await;
    }
}

#[tokio::test]
pub(crate) async fn a_certificate_without_its_key_is_refused_in_the_handshake() {
    let world = World::new().await;
    let stolen = world.alice.identity.with_key_of(&Identity::new());
    for versions in [&[&rustls::version::TLS13][..], &[&rustls::version::TLS12][..]] {
        let versions: &'static [&'static rustls::SupportedProtocolVersion] =
            Box::leak(versions.to_vec().into_boxed_slice());
        let mut dial = world.dial(Some(&stolen));
        dial.versions = versions;
        // With TLS 1.3 the client has finished before the server looks; the refusal comes as silence.
        if let Ok(mut wire) = dial.connect().await {
            wire.write(world.request("GET /acme/things", &[&World::bearer(&world.alice)])).await;
            assert_eq!(wire.answer().await.status, 0);
        }
        dial.identity = Some(&world.alice.identity);
        let mut wire = dial.connect().await.unwrap();
        wire.write(world.request("GET /acme/things", &[&World::bearer(&world.alice)])).await;
        assert_eq!(wire.answer().await.status, 200);
    }
}

#[tokio::test]
pub(crate) async fn no_session_is_resumed_so_every_connection_proves_the_key() {
    let world = World::new().await;
    for versions in [&[&rustls::version::TLS13][..], &[&rustls::version::TLS12][..]] {
        let mut dial = world.dial(Some(&world.alice.identity));
        dial.versions = Box::leak(versions.to_vec().into_boxed_slice());
        dial.server_name = "localhost";
        let config = Arc::new(dial.config());
        for _ in 0..3 {
            let mut wire = dial.connect_with(Arc::clone(&config)).await.unwrap();
            let request = world.request("GET /acme/things", &[&World::bearer(&world.alice)]);
            wire.write(request.replace("127.0.0.1", "localhost")).await;
            assert_eq!(wire.answer().await.status, 200);
            assert!(wire.was_whole_handshake());
        }
    }
}

#[tokio::test]
pub(crate) async fn a_foreign_and_an_unknown_reference_are_one_answer() {
    let world = World::new().await;
    let of =
        |reference: &str| world.request("GET /acme/things", &[&format!("Authorization: Bearer {reference}")]);
    let foreign = world.attack(&world.mallory, &of(&world.alice.reference)).await;
    let never_drawn = nightlatch_domain::reference::Reference::draw(|| Ok::<_, ()>([9; 64])).unwrap();
    let unknown = world.attack(&world.mallory, &of(never_drawn.as_str())).await;
    let nonsense = world.attack(&world.mallory, &of("sk-live-something")).await;
    assert_eq!((foreign.status, foreign.problem().as_str()), (403, "reference-unknown"));
    assert_eq!(without_call(&foreign), without_call(&unknown));
    assert_eq!(without_call(&foreign), without_call(&nonsense));
    let misused = |record: &nightlatch_ledger::record::Record| match &record.entry {
        Entry::Event(event) if event.event == EventName::ReferenceMisused => {
            assert_eq!((event.agent, event.grant), (Some(world.mallory.agent), Some(world.alice.grant)));
            true
        }
        _ => false,
    };
    world.eventually("an alarm", || async { world.records().await.iter().any(misused) }).await;
    assert_eq!(world.records().await.iter().filter(|record| misused(record)).count(), 1);
}

#[tokio::test]
pub(crate) async fn a_reference_of_another_task_is_unknown() {
    let world = World::new().await;
    world.set_grant(&world.alice, |grant| grant.task = world.mallory.task).await;
    assert_eq!(world.call(&world.alice, "GET /acme/things", &[]).await.problem(), "reference-unknown");
    assert_eq!(world.tool.count(), 0);
}

#[tokio::test]
pub(crate) async fn a_completed_task_is_told_so_and_reaches_nothing() {
    let world = World::new().await;
    world.set_task(&world.mallory, |task| task.state = TaskState::Completed).await;
    let answer = world
        .attack(&world.mallory, &world.request("GET /acme/things", &[&World::bearer(&world.mallory)]))
        .await;
    assert_eq!((answer.status, answer.problem().as_str()), (403, "task-ended"));
    let over = World::new().await;
    over.set_task(&over.mallory, |task| task.ends_at = crate::keeper::past()).await;
    assert_eq!(over.call(&over.mallory, "GET /acme/things", &[]).await.problem(), "task-ended");
}

#[tokio::test]
pub(crate) async fn a_revoked_or_expired_grant_is_told_so() {
    let world = World::new().await;
    world.set_grant(&world.alice, |grant| grant.expires_at = crate::keeper::past()).await;
    world.set_grant(&world.mallory, |grant| grant.revoked_at = Some(crate::keeper::past())).await;
    assert_eq!(world.call(&world.alice, "GET /acme/things", &[]).await.problem(), "grant-ended");
    assert_eq!(world.call(&world.mallory, "GET /acme/things", &[]).await.problem(), "grant-ended");
    assert_eq!(world.tool.count(), 0);
}

#[tokio::test]
pub(crate) async fn a_disabled_agent_does_nothing() {
    let world = World::new().await;
    let agents = world.store.agents(world.tenant).await.unwrap();
    let mut mallory = agents.into_iter().find(|agent| agent.id == world.mallory.agent).unwrap();
    mallory.status = AgentStatus::Disabled;
    world.store.put_agent(mallory).await.unwrap();
    world.in_effect().await;
    let answer = world
        .attack(&world.mallory, &world.request("GET /acme/things", &[&World::bearer(&world.mallory)]))
        .await;
    assert_eq!(answer.problem(), "agent-disabled");
}

#[tokio::test]
pub(crate) async fn no_reference_is_answered_with_the_challenge_of_the_host() {
    let world = World::new().await;
    let answer = world.attack(&world.alice, &world.request("GET /acme/things", &[])).await;
    assert_eq!((answer.status, answer.problem().as_str()), (401, "reference-missing"));
    assert_eq!(answer.field("www-authenticate").as_deref(), Some("Basic realm=\"Acme\""));
}

#[tokio::test]
pub(crate) async fn policy_has_the_last_word() {
    let policies = vec![(
        "own.cedar".to_owned(),
        "@id(\"no-writes\") forbid (principal, action == Action::\"write\", resource);".to_owned(),
    )];
    let world = World::twisted(Twist { policies, ..Twist::default() }).await;
    let denied = world
        .attack(
            &world.alice,
            &world.request("POST /acme/things", &[&World::bearer(&world.alice), "Content-Length: 0"]),
        )
        .await;
    assert_eq!((denied.status, denied.problem().as_str()), (403, "policy-denied"));
    let Entry::Refusal(refusal) = world
        .decisions()
        .await
        .into_iter()
        .find_map(|record| matches!(record.entry, Entry::Refusal(_)).then_some(record.entry))
        .unwrap()
    else {
        unreachable!()
    };
    assert_eq!(refusal.reason.as_deref(), Some("forbidden"));
}

#[tokio::test]
pub(crate) async fn a_code_enrols_the_key_of_this_connection_once() {
    let world = World::new().await;
    world.code(&world.alice, "code-1").await;
    let fresh = Identity::new();
    let body = "{\"code\":\"code-1\"}";
    let enrol =
        format!("{}{body}", world.request("POST /v1/enrol", &[&format!("Content-Length: {}", body.len())]));
    let mut nobody = world.dial(None).connect().await.unwrap();
    nobody.write(&enrol).await;
    assert_eq!(nobody.answer().await.problem(), "not-admitted");
    let mut wire = world.dial(Some(&fresh)).connect().await.unwrap();
    wire.write(&enrol).await;
    let answer = wire.answer().await;
    assert_eq!(
        (answer.status, answer.json()["agent"].as_str(), answer.json()["task"].as_str()),
        (200, Some(world.alice.agent.to_string().as_str()), Some(world.alice.task.to_string().as_str()))
    );
    // The very next call on the same connection is admitted.
    wire.write(world.request("GET /acme/things", &[&World::bearer(&world.alice)])).await;
    assert_eq!(wire.answer().await.status, 200);
    let mut second = world.dial(Some(&Identity::new())).connect().await.unwrap();
    second.write(&enrol).await;
    assert_eq!(second.answer().await.problem(), "not-admitted");
}

#[tokio::test]
pub(crate) async fn an_enrolment_that_reads_in_two_ways_is_refused() {
    let world = World::new().await;
    world.code(&world.alice, "code-1").await;
    for body in [
        "",
        "[]",
        "{\"code\":\"a\",\"code\":\"code-1\"}",
        "{\"code\":\"code-1\",\"task\":\"x\"}",
        "{\"code\":7}",
    ] {
        let mut wire = world.dial(Some(&Identity::new())).connect().await.unwrap();
        wire.write(format!(
            "{}{body}",
            world.request("POST /v1/enrol", &[&format!("Content-Length: {}", body.len())])
        ))
        .await;
        assert_eq!(wire.answer().await.problem(), "bad-request", "{body}");
    }
    assert_eq!(world.keeper.count("enrol"), 0);
    let mut wire = world.dial(Some(&Identity::new())).connect().await.unwrap();
    wire.write(world.request("POST /v1/enrol", &["Content-Length: 100000"])).await;
    wire.write("x".repeat(100_000)).await;
    assert_eq!(wire.answer().await.problem(), "too-large");
    for line in ["GET /v1/enrol", "POST /v1/call", "GET /v1"] {
        assert_eq!(world.call(&world.alice, line, &[]).await.problem(), "not-supported", "{line}");
    }
}

#[tokio::test]
pub(crate) async fn a_local_user_is_admitted_by_the_kernels_word_and_never_as_ourselves() {
    let world = World::new().await;
    let uid = own_uid(&world);
    let binding = Binding::Uid { uid };
    crate::world::enrol_binding(&world.store, world.tenant, &world.alice, binding, world.clock.now()).await;
    world.in_effect().await;
    for (own, status) in [(None, 200), (Some(uid), 401)] {
        let path = world.folder.path().join(format!("gateway-{status}.sock"));
        let listener = UnixListener::bind(&path).unwrap();
        let gateway = world.gateway.shared();
        let serving =
            tokio::spawn(async move { gateway.serve_unix(listener, own, std::future::pending()).await });
        let mut stream = UnixStream::connect(&path).await.unwrap();
        let bytes = format!(
            "GET /acme/things HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{}\r\n\r\n",
            World::bearer(&world.alice)
        );
        stream.write_all(bytes.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
        serving.abort();
    }
}

/// The status of an ordinary call of alice at a socket of the gateway, as the user that runs this test.
async fn status_at_socket(world: &World) -> String {
    let path = world.folder.path().join("gateway.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let gateway = world.gateway.shared();
    let serving =
        tokio::spawn(async move { gateway.serve_unix(listener, None, std::future::pending()).await });
    let mut stream = UnixStream::connect(&path).await.unwrap();
    let bearer = World::bearer(&world.alice);
    let call =
        format!("GET /acme/things HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{bearer}\r\n\r\n");
    stream.write_all(call.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    serving.abort();
    std::fs::remove_file(path).unwrap();
    answer.split(' ').nth(1).unwrap().to_owned()
}

#[tokio::test]
async fn a_user_is_nobody_over_tls_and_a_key_is_nobody_at_the_socket() {
    let world = World::new().await;
    assert_eq!(status_at_socket(&world).await, "401", "alice is enrolled by her key alone");
    let uid = own_uid(&world);
    let enrol = async |uid| {
        let binding = Binding::Uid { uid };
        let now = world.clock.now();
        crate::world::enrol_binding(&world.store, world.tenant, &world.alice, binding, now).await;
        world.in_effect().await;
    };
    enrol(uid + 1).await;
    assert_eq!(status_at_socket(&world).await, "401", "it is another user that is enrolled");
    enrol(uid).await;
    assert_eq!(status_at_socket(&world).await, "200");
    for identity in [None, Some(&Identity::new())] {
        let mut wire = world.dial(identity).connect().await.unwrap();
        wire.write(world.request("GET /acme/things", &[&World::bearer(&world.alice)])).await;
        assert_eq!(
            wire.answer().await.problem(),
            "not-admitted",
            "with a certificate: {}",
            identity.is_some()
        );
    }
}

/// The user that runs this test: who owns what it makes.
fn own_uid(world: &World) -> u32 {
    std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(world.folder.path()).unwrap())
}
