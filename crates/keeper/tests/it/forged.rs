//! Whoever writes the database gets no lease: each row that decides is forged, moved or put back in turn.

use crate::world::{Ready, Running, World, binding};
use nightlatch_domain::{
    clock::Clock as _,
    id::{ClientId, ConnectionId, ContextId, GrantId, TenantId},
    ports::{
        control_keeper::{BeginFlow, ControlRefusal, ControlRequest},
        gateway_keeper::KeeperRefusal,
        store::{ControlStore, KeeperStore},
    },
    principal::Binding,
};
use std::time::Duration;

async fn ready() -> (World, Running, Ready) {
    let world = World::new();
    let running = world.start().await;
    let ready = world.ready(&running).await;
    assert!(ready.lease(&running).await.is_ok());
    (world, running, ready)
}

async fn unverified(running: &Running, ready: &Ready) {
    assert_eq!(ready.lease(running).await.unwrap_err(), KeeperRefusal::Unverified);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forged_grant_row_yields_no_lease() {
    for edit in [
        "expires_at = expires_at + 1",
        "resource = '\"*/*\"'",
        "operations = '[{\"effect\":\"admin\"}]'",
        "created_at = 1",
        "budget = 'calls=1000000'",
        "attestation = ''",
        "attestation = 'AAAA'",
    ] {
        let (world, running, ready) = ready().await;
        assert_eq!(world.forge(&format!("UPDATE task_grant SET {edit}")), 1);
        unverified(&running, &ready).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_that_was_given_another_connection_yields_no_lease() {
    let (world, running, ready) = ready().await;
    let other = world.connect_static(&running, "key-erin").await;
    world.forge(&format!("UPDATE task_grant SET connection_id = '{other}'"));
    let refusal = ready.woken.lease(&running, ready.grant, other, 0).await.unwrap_err();
    assert_eq!(refusal, KeeperRefusal::Unverified);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_made_up_grant_yields_no_lease() {
    let (world, running, ready) = ready().await;
    let id = GrantId::new(nightlatch_domain::clock::Clock::now(&*world.clock), [5; 10]);
    world.forge(&format!(
        "INSERT INTO task_grant SELECT tenant_id, '{id}', task_id, connection_id, tool, operations, resource,
         substr(reference, 1, 4) || CASE substr(reference, 5, 1) WHEN 'x' THEN 'y' ELSE 'x' END || substr(reference, 6), created_at, expires_at, revoked_at, attestation, budget FROM task_grant"
    ));
    let refusal = ready.woken.lease(&running, id, ready.connection, 0).await.unwrap_err();
    assert!(matches!(refusal, KeeperRefusal::Unverified | KeeperRefusal::Unavailable), "{refusal:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forged_task_row_yields_no_lease_and_no_wake() {
    for edit in [
        "ends_at = ends_at + 1",
        "state = '\"dormant\"'",
        "state = 'dormant'",
        "purpose = 'other'",
        "egress = 'open'",
    ] {
        let (world, running, ready) = ready().await;
        assert_eq!(world.forge(&format!("UPDATE task SET {edit}")), 1);
        let refusal = ready.lease(&running).await.unwrap_err();
        assert!(matches!(refusal, KeeperRefusal::Unverified | KeeperRefusal::Unavailable), "{refusal:?}");
        assert!(world.wake(&running).await.is_err());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forged_agent_row_yields_no_lease_and_no_wake() {
    let (world, running, ready) = ready().await;
    world.forge("UPDATE agent SET risk = 'low'");
    unverified(&running, &ready).await;
    assert_eq!(world.wake(&running).await.err(), Some(KeeperRefusal::Unverified));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forged_enrolment_wakes_nobody() {
    let (world, running, _) = ready().await;
    let forged = "cd".repeat(32);
    assert_eq!(world.forge(&format!("UPDATE enrolment SET binding_value = '{forged}'")), 1);
    let refusal = world.wake_as(&running, Binding::Key { spki_sha256: forged }).await.err();
    assert_eq!(refusal, Some(KeeperRefusal::Unverified));
    assert_eq!(world.wake_as(&running, binding()).await.err(), Some(KeeperRefusal::ProofRejected));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forged_enrolment_code_enrols_nobody() {
    use nightlatch_domain::ports::gateway_keeper::GatewayRequest;
    let (world, running, _) = ready().await;
    world.forge("UPDATE enrolment_code SET used_at = NULL, code_sha256 = 'f0'");
    let ask = GatewayRequest::Enrol { code_sha256: "f0".into(), binding: Binding::Uid { uid: 5 } };
    assert_eq!(running.gateway.ask(ask).await, Err(KeeperRefusal::CodeRejected));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forged_host_or_placement_row_yields_no_lease() {
    for (from, to) in [
        ("127.0.0.1", "127.0.0.2"),
        ("\"bearer\"", "\"basic\",\"user\":\"x\""),
        ("\"path_prefix\":\"/\"", "\"path_prefix\":\"/x\""),
    ] {
        let (world, running, ready) = ready().await;
        let edit = format!("UPDATE connection SET hosts = replace(hosts, '{from}', '{to}')");
        assert_eq!(world.forge(&edit), 1);
        unverified(&running, &ready).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_was_given_another_tool_yields_no_lease() {
    let (world, running, ready) = ready().await;
    assert_eq!(world.forge("UPDATE connection SET tool = 'other'"), 1);
    unverified(&running, &ready).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edited_seal_opens_nothing() {
    for edit in [
        "UPDATE generation SET access = replace(access, '127.0.0.1', '127.0.0.2')",
        "UPDATE generation SET access = replace(access, '\"format\":1', '\"format\":2')",
        "UPDATE generation SET access = refresh",
    ] {
        let (world, running, ready) = ready().await;
        assert_eq!(world.forge(edit), 1, "{edit}");
        assert!(ready.lease(&running).await.is_err(), "{edit}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edited_refresh_token_is_never_presented() {
    let (world, running, ready) = ready().await;
    world.forge("UPDATE generation SET refresh = replace(refresh, '/token', '/stolen')");
    world.clock.forward(Duration::from_secs(3600));
    let woken = world.wake(&running).await.unwrap();
    let calls = world.provider.token_calls();
    let refusal = woken.lease(&running, ready.grant, ready.connection, 20_000).await.unwrap_err();
    assert!(matches!(refusal, KeeperRefusal::ReauthRequired { ticket: Some(_) }), "{refusal:?}");
    assert_eq!(world.provider.token_calls(), calls);
}

async fn second(world: &World, running: &Running, ready: &Ready) -> (ConnectionId, GrantId) {
    let second = world.connect(running, ready.client, "erin", None).await.unwrap();
    (second, world.grant(running, second).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn two_swapped_sealed_rows_yield_no_lease() {
    let (world, running, ready) = ready().await;
    let (other, grant) = second(&world, &running, &ready).await;
    world.forge("CREATE TABLE kept AS SELECT family_id, access FROM generation");
    world.forge(
        "UPDATE generation SET access = (SELECT kept.access FROM kept WHERE kept.family_id <> generation.family_id)",
    );
    unverified(&running, &ready).await;
    let refusal = ready.woken.lease(&running, grant, other, 0).await.unwrap_err();
    assert_eq!(refusal, KeeperRefusal::Unverified);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_was_pointed_at_another_chain_yields_no_lease() {
    let (world, running, ready) = ready().await;
    second(&world, &running, &ready).await;
    let edit = format!(
        "UPDATE connection SET chain_id = (SELECT chain_id FROM connection WHERE connection_id <> '{0}')
         WHERE connection_id = '{0}'",
        ready.connection
    );
    assert_eq!(world.forge(&edit), 1);
    unverified(&running, &ready).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_swapped_static_secrets_yield_no_lease() {
    let (world, running, ready) = ready().await;
    let one = world.connect_static(&running, "key-dana").await;
    let grant = world.grant(&running, one).await;
    assert!(ready.woken.lease(&running, grant, one, 0).await.is_ok());
    let other = world.connect_static_as(&running, "second", "key-erin").await;
    world.forge("CREATE TABLE kept AS SELECT connection_id, secret FROM static_secret");
    world.forge(&format!(
        "UPDATE static_secret SET secret = (SELECT kept.secret FROM kept
         WHERE kept.connection_id <> static_secret.connection_id) WHERE connection_id IN ('{one}', '{other}')"
    ));
    let refusal = ready.woken.lease(&running, grant, one, 0).await.unwrap_err();
    assert_eq!(refusal, KeeperRefusal::Unverified);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_were_moved_to_another_tenant_yield_nothing() {
    let (mut world, running, ready) = ready().await;
    let moved = TenantId::new(nightlatch_domain::clock::Clock::now(&*world.clock), [7; 10]);
    for table in [
        "tenant",
        "human",
        "agent",
        "task",
        "enrolment",
        "client",
        "chain",
        "family",
        "generation",
        "connection",
        "task_grant",
        "attempt",
        "flow",
    ] {
        world.forge(&format!("UPDATE {table} SET tenant_id = '{moved}'"));
    }
    assert_eq!(ready.lease(&running).await.unwrap_err(), KeeperRefusal::GrantEnded);
    world.tenant = moved;
    assert_eq!(world.wake(&running).await.err(), Some(KeeperRefusal::Unverified));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_that_was_moved_to_another_tenants_rows_yields_no_lease() {
    // The grant, task and agent are true; only what is sealed comes from elsewhere.
    let (world, running, ready) = ready().await;
    let moved = TenantId::new(nightlatch_domain::clock::Clock::now(&*world.clock), [7; 10]);
    world.forge(&format!("UPDATE generation SET access = replace(access, '{}', '{moved}')", world.tenant));
    unverified(&running, &ready).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_generation_that_was_put_back_yields_no_lease_and_is_not_presented() {
    let (world, running, ready) = ready().await;
    world.clock.forward(Duration::from_secs(3600));
    let woken = world.wake(&running).await.unwrap();
    assert!(woken.lease(&running, ready.grant, ready.connection, 20_000).await.is_ok());
    assert_eq!(world.forge("UPDATE family SET head = 1"), 1);
    world.forge("UPDATE generation SET access_until = access_until + 86400000");
    let refusal = woken.lease(&running, ready.grant, ready.connection, 0).await.unwrap_err();
    assert_eq!(refusal, KeeperRefusal::Unverified);
    // Nor is its consumed refresh token presented when it seems dead.
    world.forge("UPDATE generation SET access_until = 1");
    let refusal = woken.lease(&running, ready.grant, ready.connection, 20_000).await.unwrap_err();
    assert!(matches!(refusal, KeeperRefusal::ReauthRequired { .. }), "{refusal:?}");
    assert_eq!((world.provider.refreshes(), world.provider.reuses()), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_family_that_was_put_back_yields_no_lease() {
    let (world, running, ready) = ready().await;
    let old = KeeperStore::connection(&running.store, world.tenant, ready.connection).await.unwrap().unwrap();
    let nightlatch_domain::connection::Source::Chain { chain } = old.source else { panic!("no chain") };
    let family = running.store.chain(world.tenant, chain).await.unwrap().unwrap().family.id;
    world.connect(&running, ready.client, "dana", Some(ready.connection)).await.unwrap();
    assert!(ready.lease(&running).await.is_ok());
    assert_eq!(world.forge(&format!("UPDATE chain SET family_id = '{family}'")), 1);
    unverified(&running, &ready).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_static_secret_that_was_put_back_yields_no_lease() {
    use nightlatch_domain::ports::control_keeper::{AddStatic, Intake, intake_context};
    let (world, running, ready) = ready().await;
    let one = world.connect_static(&running, "key-dana").await;
    let grant = world.grant(&running, one).await;
    let tool: nightlatch_domain::tool::Name = "tool".parse().unwrap();
    let again = AddStatic {
        tenant: world.tenant,
        name: "key".parse().unwrap(),
        reconnect: Some(one),
        hosts: world.hosts(),
        secret: running.seal(&intake_context(world.tenant, Intake::ToolKey(&tool)), "key-dana").await,
        tool,
    };
    running.control.ask(ControlRequest::AddStatic(again)).await.unwrap();
    let lease = ready.woken.lease(&running, grant, one, 0).await.unwrap();
    assert_eq!(lease.lease.binding.generation, 2);
    assert_eq!(world.forge("DELETE FROM static_secret WHERE generation = 2"), 1);
    let refusal = ready.woken.lease(&running, grant, one, 0).await.unwrap_err();
    assert_eq!(refusal, KeeperRefusal::Unverified);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_connection_that_was_put_back_yields_no_lease() {
    let (world, running, ready) = ready().await;
    let one = world.connect_static(&running, "key-dana").await;
    let grant = world.grant(&running, one).await;
    world.forge("CREATE TABLE kept AS SELECT * FROM static_secret");
    let ask = ControlRequest::Remove { tenant: world.tenant, connection: one };
    running.control.ask(ask).await.unwrap();
    let refusal = ready.woken.lease(&running, grant, one, 0).await.unwrap_err();
    assert_eq!(refusal, KeeperRefusal::GrantEnded);
    world.forge("INSERT INTO static_secret SELECT * FROM kept");
    world.forge("UPDATE connection SET removed_at = NULL");
    let refusal = ready.woken.lease(&running, grant, one, 0).await.unwrap_err();
    assert_eq!(refusal, KeeperRefusal::GrantEnded, "its kill stands");
    assert_eq!(world.forge("DELETE FROM kill"), 1);
    let refusal = ready.woken.lease(&running, grant, one, 0).await.unwrap_err();
    assert_eq!(refusal, KeeperRefusal::Unverified, "the keeper's own log knows of the end");
    assert!(running.store.tickets(world.tenant).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_cannot_be_read_keeps_no_connection_from_being_removed() {
    let (world, running, ready) = ready().await;
    let broken = "INSERT INTO answer (tenant_id, attempt_id, chain_id, sealed)
         SELECT tenant_id, 'no attempt', chain_id, 'no seal' FROM chain";
    assert!(world.forge(broken) > 0);
    let ask = ControlRequest::Remove { tenant: world.tenant, connection: ready.connection };
    running.control.ask(ask).await.unwrap();
    let refusal = ready.woken.lease(&running, ready.grant, ready.connection, 0).await.unwrap_err();
    assert_eq!(refusal, KeeperRefusal::GrantEnded);
    assert_eq!(world.forge("DELETE FROM answer"), 0, "it went with the others");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_that_was_edited_presents_nothing_twice() {
    use crate::provider::Act;
    let (world, running, ready) = ready().await;
    world.clock.forward(Duration::from_secs(3600));
    let woken = world.wake(&running).await.unwrap();
    world.provider.next(Act::Vanish);
    assert!(woken.lease(&running, ready.grant, ready.connection, 20_000).await.is_err());
    // As if nothing had been presented.
    world.forge("UPDATE chain SET state = 'healthy', due_at = 1");
    world.forge("DELETE FROM attempt");
    assert!(woken.lease(&running, ready.grant, ready.connection, 20_000).await.is_err());
    assert_eq!((world.provider.most_presented(), world.provider.reuses()), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registration_that_was_edited_changes_nothing_that_is_sent() {
    let (world, running, ready) = ready().await;
    assert_eq!(world.forge("UPDATE client SET registered_id = 'stranger', auth = 'client_secret_post'"), 1);
    let begun = world.begin(&running, ready.client, None, "tool").await;
    assert_eq!(begun.parameter("client_id").as_deref(), Some("our-id"));
    running.finish(begun.finish(&running, "code-dana").await).await.unwrap();
    assert_eq!(world.provider.last_field("client_id").as_deref(), Some("our-id"));
    world.clock.forward(Duration::from_secs(3600));
    let woken = world.wake(&running).await.unwrap();
    assert!(woken.lease(&running, ready.grant, ready.connection, 20_000).await.is_ok());
    assert_eq!(world.provider.last_field("client_id").as_deref(), Some("our-id"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registration_without_its_seal_presents_nothing() {
    let (world, running, ready) = ready().await;
    assert_eq!(world.forge("UPDATE client SET secret = NULL"), 1);
    world.clock.forward(Duration::from_secs(3600));
    let woken = world.wake(&running).await.unwrap();
    let calls = world.provider.token_calls();
    assert!(woken.lease(&running, ready.grant, ready.connection, 20_000).await.is_err());
    assert_eq!(world.provider.token_calls(), calls);
}

/// What the keeper says to a flow with a registration that is not there.
async fn is_no_client(world: &World, running: &Running, client: ClientId) -> bool {
    let context = ContextId::new(world.clock.now(), [4; 10]);
    let request = BeginFlow {
        tenant: world.tenant,
        tool: "tool".parse().unwrap(),
        name: "dana".parse().unwrap(),
        client,
        reconnect: None,
        context,
        redirect_uri: format!("http://127.0.0.1:8444/oauth/callback/{context}"),
        scopes: Vec::new(),
        hosts: world.hosts(),
    };
    let begun = running.control.ask(ControlRequest::BeginFlow(request)).await;
    matches!(begun, Err(ControlRefusal::Unknown { what }) if what == "client")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registration_that_was_moved_from_another_tenant_is_used_by_nobody() {
    let mut world = World::new();
    let running = world.start().await;
    world.settle(&running).await;
    let own = world.tenant;
    world.tenant = TenantId::new(world.clock.now(), [7; 10]);
    let theirs = world.client(&running, Some("their-secret")).await;
    world.tenant = own;
    assert!(is_no_client(&world, &running, theirs).await, "it is none of ours");
    assert_eq!(world.forge(&format!("UPDATE client SET tenant_id = '{own}'")), 1);
    assert!(is_no_client(&world, &running, theirs).await, "and is not, though its row says so");
    // Nor is it presented for a flow that was begun with a registration of our own, nor for a chain of ours.
    let client = world.client(&running, Some("our-secret")).await;
    assert!(!is_no_client(&world, &running, client).await);
    let flow = world.begin(&running, client, None, "tool").await;
    let connection = world.connect(&running, client, "dana", None).await.unwrap();
    let (grant, woken) = (world.grant(&running, connection).await, world.wake(&running).await.unwrap());
    assert!(woken.lease(&running, grant, connection, 20_000).await.is_ok());
    let calls = world.provider.token_calls();
    let seal = format!("(SELECT secret FROM client WHERE client_id = '{theirs}')");
    assert_eq!(world.forge(&format!("UPDATE client SET secret = {seal} WHERE client_id = '{client}'")), 1);
    assert!(running.finish(flow.finish(&running, "code-dana").await).await.is_err());
    world.clock.forward(Duration::from_secs(3600));
    let woken = world.wake(&running).await.unwrap();
    assert!(woken.lease(&running, grant, connection, 20_000).await.is_err());
    assert_eq!(world.provider.token_calls(), calls);
}
