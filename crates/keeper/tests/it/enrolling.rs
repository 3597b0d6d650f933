//! Codes are redeemed once and only for the flow that was begun; nothing that a provider gave is lost; an
//! account never turns into another.

use crate::{
    provider::{Act, Provider},
    world::{Begun, Running, World, eventually},
};
use nightlatch_domain::{
    chain::{FlowOutcome, FlowStep},
    clock::Clock,
    id::{ConnectionId, ContextId},
    ports::{
        control_keeper::{
            AddStatic, ControlRefusal, ControlReply, ControlRequest, FinishFlow, FlowSession, Intake,
            Statement, intake_context,
        },
        gateway_keeper::{GatewayRequest, KeeperRefusal},
        store::{ControlStore, KeeperStore},
    },
    principal::Binding,
};
use std::time::Duration;

async fn begun(world: &World, running: &Running) -> Begun {
    world.settle(running).await;
    let client = world.client(running, None).await;
    world.begin(running, client, None, "tool").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flow_asks_for_a_code_with_pkce_and_state() {
    let world =
        World::with(false, "scope_separator = \",\"\nextra_authorize_params = { prompt = \"consent\" }");
    let running = world.start().await;
    let begun = begun(&world, &running).await;
    assert!(
        begun.authorize_url.starts_with(&format!("http://127.0.0.1:{}/authorize?", world.provider.port()))
    );
    let is = |name: &str, value: &str| assert_eq!(begun.parameter(name).as_deref(), Some(value), "{name}");
    is("response_type", "code");
    is("client_id", "our-id");
    is("scope", "read,write");
    is("prompt", "consent");
    is("code_challenge_method", "S256");
    is("redirect_uri", &format!("http://127.0.0.1:8444/oauth/callback/{}", begun.context));
    assert_eq!(begun.parameter("state").unwrap().len(), 43);
    let challenge = begun.parameter("code_challenge").unwrap();
    running.finish(begun.finish(&running, "code-dana").await).await.unwrap();
    let verifier = world.provider.last_field("code_verifier").unwrap();
    assert_eq!(sha256_base64url(&verifier), challenge);
}

/// RFC 7636 §4.2.
fn sha256_base64url(text: &str) -> String {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    URL_SAFE_NO_PAD.encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes()))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_belong_to_the_flow_is_refused_and_redeems_nothing() {
    let world = World::new();
    let running = world.start().await;
    let begun = begun(&world, &running).await;
    let right = begun.finish(&running, "code-dana").await;
    let other = world.begin(&running, world.client(&running, None).await, None, "tool").await;
    let now = world.clock.now();
    let bent = [
        FinishFlow { state: "x".repeat(43), ..right.clone() },
        FinishFlow { state: other.parameter("state").unwrap(), ..right.clone() },
        FinishFlow { context: ContextId::new(now, [3; 10]), ..right.clone() },
        FinishFlow { session: FlowSession::Cookie { value: other.cookie.clone() }, ..right.clone() },
        FinishFlow { session: FlowSession::Cookie { value: String::new() }, ..right.clone() },
        FinishFlow { session: FlowSession::Pasted { flow: other.flow }, ..right.clone() },
        FinishFlow { iss: Some("http://evil.example".into()), ..right.clone() },
    ];
    for (place, finish) in bent.into_iter().enumerate() {
        assert_eq!(running.finish(finish).await.unwrap_err(), ControlRefusal::FlowMismatch, "{place}");
    }
    assert_eq!(world.provider.codes(), 0);
    // The right one still works, by the CLI that began it.
    let pasted = FinishFlow { session: FlowSession::Pasted { flow: begun.flow }, ..right.clone() };
    running.finish(pasted).await.unwrap();
    // And only once.
    assert_eq!(running.finish(right).await.unwrap_err(), ControlRefusal::FlowMismatch);
    assert_eq!(world.provider.codes(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_answers_at_once_redeem_once() {
    let world = World::new();
    let running = world.start().await;
    let begun = begun(&world, &running).await;
    let finish = begun.finish(&running, "code-dana").await;
    let (one, other) = tokio::join!(running.finish(finish.clone()), running.finish(finish));
    assert_eq!((u32::from(one.is_ok()) + u32::from(other.is_ok()), world.provider.codes()), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_issuer_that_was_announced_must_be_sent_and_be_right() {
    let provider = Provider::start();
    let issuer = format!("http://127.0.0.1:{}", provider.port());
    let world = World::with_provider(provider, &format!("issuer = \"{issuer}\"\niss_announced = true"));
    let running = world.start().await;
    let begun = begun(&world, &running).await;
    let silent = begun.finish(&running, "code-dana").await;
    assert_eq!(running.finish(silent.clone()).await.unwrap_err(), ControlRefusal::FlowMismatch);
    let wrong = FinishFlow { iss: Some(format!("{issuer}/")), ..silent.clone() };
    assert_eq!(running.finish(wrong).await.unwrap_err(), ControlRefusal::FlowMismatch);
    running.finish(FinishFlow { iss: Some(issuer), ..silent }).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flow_is_void_after_ten_minutes() {
    let world = World::new();
    let running = world.start().await;
    let begun = begun(&world, &running).await;
    let finish = begun.finish(&running, "code-dana").await;
    world.clock.forward(Duration::from_secs(600));
    assert_eq!(running.finish(finish).await.unwrap_err(), ControlRefusal::FlowMismatch);
    assert_eq!(world.provider.codes(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flow_row_that_was_edited_decides_nothing() {
    let world = World::new();
    let running = world.start().await;
    let ready = world.ready(&running).await;
    // A flow for a new account, made into a reconnect of an existing connection by whoever writes rows.
    let begun = world.begin(&running, ready.client, None, "tool").await;
    world.forge(&format!("UPDATE flow SET reconnect_id = '{}', tool = 'other'", ready.connection));
    let made = running.finish(begun.finish(&running, "code-erin").await).await.unwrap();
    assert_ne!(made, ready.connection);
    let row = KeeperStore::connection(&running.store, world.tenant, made).await.unwrap().unwrap();
    assert_eq!(row.tool.as_str(), "tool");
}

#[tokio::test(flavor = "multi_thread")]
async fn reconnect_with_another_account_keeps_the_old_one() {
    let world = World::new();
    let running = world.start().await;
    let ready = world.ready(&running).await;
    let refused = world.connect(&running, ready.client, "erin", Some(ready.connection)).await.unwrap_err();
    assert_eq!(refused, ControlRefusal::WrongAccount { expected: "dana@example.com".into() });
    let lease = ready.lease(&running).await.unwrap();
    assert_eq!((lease.secret.expose(), lease.lease.binding.generation), (&b"canary-access-1"[..], 1));
    // What was redeemed is not thrown away.
    assert!(kept_answers(&world) >= 1);
    assert_eq!(
        (world.spooled("slot").len(), world.spooled("kept").len()),
        (0, 1),
        "its answer takes no room"
    );
}

fn kept_answers(world: &World) -> i64 {
    let database = rusqlite::Connection::open(world.path("db.sqlite")).unwrap();
    let sql = "SELECT count(*) FROM flow WHERE step = 'ended' AND answer IS NOT NULL";
    database.query_row(sql, [], |row| row.get(0)).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_account_again_moves_its_connection_to_the_new_family() {
    let world = World::new();
    let running = world.start().await;
    let ready = world.ready(&running).await;
    for reconnect in [Some(ready.connection), None] {
        let again = world.connect(&running, ready.client, "dana", reconnect).await.unwrap();
        assert_eq!(again, ready.connection);
        let lease = ready.lease(&running).await.unwrap();
        assert_eq!(lease.lease.binding.generation, 1);
    }
    assert_eq!(ready.lease(&running).await.unwrap().secret.expose(), b"canary-access-3");
    assert_eq!(running.store.connections(world.tenant).await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_account_at_two_tools_of_one_registration_is_refused() {
    let world = World::new();
    let running = world.start().await;
    let ready = world.ready(&running).await;
    let begun = world.begin(&running, ready.client, None, "other").await;
    let refused = running.finish(begun.finish(&running, "code-dana").await).await.unwrap_err();
    assert!(matches!(refused, ControlRefusal::NotSupported { .. }), "{refused:?}");
    assert_eq!(ready.lease(&running).await.unwrap().secret.expose(), b"canary-access-1");
    assert_eq!(kept_answers(&world), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_account_can_be_connected_anew() {
    let world = World::new();
    let running = world.start().await;
    let ready = world.ready(&running).await;
    let ask = ControlRequest::Remove { tenant: world.tenant, connection: ready.connection };
    assert_eq!(running.control.ask(ask).await, Ok(ControlReply::Done));
    assert_eq!(ready.lease(&running).await.unwrap_err(), KeeperRefusal::GrantEnded);
    let again = world.connect(&running, ready.client, "dana", None).await.unwrap();
    assert_ne!(again, ready.connection);
    let grant = world.grant(&running, again).await;
    let lease = ready.woken.lease(&running, grant, again, 0).await.unwrap();
    assert!(world.provider.knows(lease.secret.expose()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_is_taken_costs_no_consent() {
    let world = World::new();
    let running = world.start().await;
    let ready = world.ready(&running).await;
    let second = world.connect(&running, ready.client, "erin", None).await.unwrap();
    let row = KeeperStore::connection(&running.store, world.tenant, second).await.unwrap().unwrap();
    assert_eq!(row.name.as_str(), "dana-2");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tool_without_a_probe_gets_a_chain_of_its_own() {
    let world = World::new();
    let running = world.start().await;
    world.settle(&running).await;
    let client = world.client(&running, None).await;
    let mut made: Vec<ConnectionId> = Vec::new();
    for account in ["dana", "erin"] {
        let begun = world.begin(&running, client, None, "mute").await;
        made.push(running.finish(begun.finish(&running, &format!("code-{account}")).await).await.unwrap());
    }
    assert_ne!(made[0], made[1]);
    let begun = world.begin(&running, client, Some(made[0]), "mute").await;
    assert_eq!(running.finish(begun.finish(&running, "code-dana").await).await.unwrap(), made[0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_exchange_says_so_and_is_not_tried_again() {
    let world = World::new();
    let running = world.start().await;
    world.settle(&running).await;
    let client = world.client(&running, None).await;
    for (act, reason) in [
        (Act::Answer(400, &[], r#"{"error":"invalid_grant"}"#), "invalid_grant"),
        (Act::Vanish, "answer-lost"),
        (Act::Garble("{}"), "access-token-missing"),
    ] {
        let begun = world.begin(&running, client, None, "tool").await;
        world.provider.next(act);
        let finish = begun.finish(&running, "code-dana").await;
        assert!(running.finish(finish.clone()).await.is_err());
        let flow = running.store.flow(world.tenant, begun.flow).await.unwrap().unwrap();
        assert_eq!(flow.step, FlowStep::Ended);
        assert_eq!(flow.outcome, Some(FlowOutcome::Failed { reason: reason.into() }));
        let calls = world.provider.token_calls();
        assert_eq!(running.finish(finish).await.unwrap_err(), ControlRefusal::FlowMismatch);
        assert_eq!(world.provider.token_calls(), calls);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_exchange_leaves_no_room_taken() {
    let world = World::new();
    let running = world.start().await;
    let begun = begun(&world, &running).await;
    world.provider.next(Act::Vanish);
    assert!(running.finish(begun.finish(&running, "code-dana").await).await.is_err());
    assert_eq!(std::fs::read_dir(world.path("spool")).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_says_no_ends_the_flow_with_a_clean_code() {
    let world = World::new();
    let running = world.start().await;
    let begun = begun(&world, &running).await;
    let finish = begun.finish(&running, "x").await;
    let refused = FinishFlow { result: Err("access_denied".into()), ..finish };
    let refusal = running.finish(refused).await.unwrap_err();
    assert_eq!(refusal, ControlRefusal::Provider { code: "access_denied".into() });
    let begun = world.begin(&running, world.client(&running, None).await, None, "tool").await;
    let finish = begun.finish(&running, "x").await;
    let refused = FinishFlow { result: Err("access_denied\"\u{7}<script>".into()), ..finish };
    let refusal = running.finish(refused).await.unwrap_err();
    assert_eq!(refusal, ControlRefusal::Provider { code: "error-not-registered".into() });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_that_was_sealed_for_another_flow_does_not_open() {
    let world = World::new();
    let running = world.start().await;
    let begun = begun(&world, &running).await;
    let other = world.begin(&running, world.client(&running, None).await, None, "tool").await;
    let right = begun.finish(&running, "code-dana").await;
    let strange = other.finish(&running, "code-erin").await.result;
    let refusal = running.finish(FinishFlow { result: strange, ..right }).await.unwrap_err();
    assert_eq!(refusal, ControlRefusal::Intake);
    assert_eq!(world.provider.codes(), 0);
}

#[test]
fn a_flow_that_a_crash_cut_off_is_finished_from_its_answer() {
    let runtime =
        || tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let world = World::new();
    let first = runtime();
    let flow = first.block_on(async {
        let running = world.start().await;
        let begun = begun(&world, &running).await;
        // The account cannot be told, and is asked for a few times: the process ends in between.
        world.provider.probe_answers(Some(500));
        let finish = running.finish(begun.finish(&running, "code-dana").await);
        let ended = tokio::time::timeout(Duration::from_millis(300), finish).await;
        assert!(ended.is_err());
        begun.flow
    });
    first.shutdown_timeout(Duration::from_secs(5));
    world.provider.probe_answers(None);
    runtime().block_on(async {
        let running = world.start().await;
        eventually(|| async {
            let flow = running.store.flow(world.tenant, flow).await.unwrap().unwrap();
            matches!(flow.outcome, Some(FlowOutcome::Connected { .. }))
        })
        .await;
        assert_eq!(world.provider.codes(), 1);
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_static_secret_is_taken_in_only_when_its_tool_knows_it() {
    let world = World::new();
    let running = world.start().await;
    world.settle(&running).await;
    let tool: nightlatch_domain::tool::Name = "tool".parse().unwrap();
    let add = async |secret: &str, aad: &str, reconnect| {
        let request = AddStatic {
            tenant: world.tenant,
            tool: "tool".parse().unwrap(),
            name: "key".parse().unwrap(),
            reconnect,
            hosts: world.hosts(),
            secret: running.seal(aad, secret).await,
        };
        running.control.ask(ControlRequest::AddStatic(request)).await
    };
    let aad = intake_context(world.tenant, Intake::ToolKey(&tool));
    assert_eq!(add("unknown", &aad, None).await.unwrap_err(), ControlRefusal::ProbeRejected { status: 401 });
    let other = "other".parse().unwrap();
    for elsewhere in [Intake::ToolKey(&other), Intake::ClientSecret(&tool)] {
        let elsewhere = intake_context(world.tenant, elsewhere);
        assert_eq!(add("key-dana", &elsewhere, None).await.unwrap_err(), ControlRefusal::Intake);
    }
    assert_eq!(add("  \n", &aad, None).await.unwrap_err(), ControlRefusal::Intake);
    let ControlReply::Connected { connection, account } = add("key-dana\n", &aad, None).await.unwrap() else {
        panic!("not connected")
    };
    assert_eq!(account, Some(("dana".into(), "dana@example.com".into())));
    assert!(matches!(add("key-erin", &aad, None).await, Err(ControlRefusal::NameTaken { .. })));
    let wrong = add("key-erin", &aad, Some(connection)).await.unwrap_err();
    assert_eq!(wrong, ControlRefusal::WrongAccount { expected: "dana@example.com".into() });
    let ask = ControlRequest::Probe { tenant: world.tenant, connection };
    let probed = running.control.ask(ask).await.unwrap();
    assert_eq!(probed, ControlReply::Probed { account: Some(("dana".into(), "dana@example.com".into())) });
}

#[tokio::test(flavor = "multi_thread")]
async fn an_enrolment_is_made_from_a_code_once_and_vouched_for_by_the_keeper_alone() {
    let world = World::new();
    let running = world.start().await;
    world.settle(&running).await;
    let enrol = |code: &str, uid| {
        let ask = GatewayRequest::Enrol { code_sha256: code.to_owned(), binding: Binding::Uid { uid } };
        running.gateway.ask(ask)
    };
    assert_eq!(enrol("c0de", 4).await, Err(KeeperRefusal::CodeRejected));
    assert_eq!(enrol("nothing", 4).await, Err(KeeperRefusal::CodeRejected));
    let made = running.store.enrolment(crate::world::binding()).await.unwrap().unwrap();
    let ask = ControlRequest::Attest(Box::new(Statement::Enrolment(made)));
    assert!(matches!(running.control.ask(ask).await, Err(ControlRefusal::NotSupported { .. })));
}
