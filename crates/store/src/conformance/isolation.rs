//! Proves that tenants do not see each other, and that a store holds what it answered after it is reopened.

use super::{
    Place,
    world::{CLAIMABLE, Connected, World, later, name},
};
use nightlatch_domain::{
    chain::{ChainState, Flow, FlowOutcome, FlowStep},
    connection::Connection,
    grant::Grant,
    id::{ClientId, ContextId, OwnerId, TenantId},
    ports::store::{Committed, EntityId, NewConnection, Seen, StoreError},
    principal::{Binding, Enrolment},
    sealed::SecretKind,
    task::{Task, WakeNote},
    ticket::Ticket,
};

/// One of everything, in one tenant.
struct Everything {
    task: Task,
    keyed: Connection,
    grant: Grant,
    enrolment: Enrolment,
    wake: WakeNote,
    client: ClientId,
    flow: Flow,
    on: Connected,
    ticket: Ticket,
}

async fn everything(world: &World) -> Everything {
    let task = world.opened_task().await;
    let keyed = world.keyed("key").await;
    let grant = world.grant(task.id, keyed.id);
    world.control.put_grant(grant.clone()).await.unwrap();
    world.control.put_tool(world.tool("jira", "manifest")).await.unwrap();
    world.control.put_enrolment_code(world.code(task.id, "c0de")).await.unwrap();
    let enrolment = world.enrolment(task.id, Binding::Key { spki_sha256: "ab".into() });
    assert!(world.keeper.enrol("c0de".into(), enrolment.clone()).await.unwrap());
    let wake = world.wake(task.id, later(1));
    world.keeper.put_wake(wake.clone()).await.unwrap();
    let on = world.connected("dana", "583231").await;
    let client = on.made.tokens.as_ref().unwrap().0.client;
    let flow = world.flow(client, "57a7e");
    world.keeper.put_flow(flow.clone()).await.unwrap();
    let ticket = world.ticket(keyed.id);
    world.keeper.raise(ticket.clone()).await.unwrap();
    Everything { task, keyed, grant, enrolment, wake, client, flow, on, ticket }
}

/// Every read that takes a tenant, with the ids of one tenant and the name of another.
pub async fn a_read_with_another_tenants_id_finds_nothing(place: &dyn Place) {
    let world = World::new(place).await;
    let all = everything(&world).await;
    let claim = world.claimed(all.on.chain).await;
    let attempt = world.intended(claim, all.on.family, 1).await;
    let stranger = world.id(TenantId::new);
    let (control, keeper) = (&world.control, &world.keeper);

    assert!(control.humans(stranger).await.unwrap().is_empty());
    assert!(control.tools(stranger).await.unwrap().is_empty());
    assert!(control.agents(stranger).await.unwrap().is_empty());
    assert!(control.tasks(stranger).await.unwrap().is_empty());
    assert!(control.wakes(stranger, all.task.id, 9).await.unwrap().is_empty());
    assert!(control.grants(stranger).await.unwrap().is_empty());
    assert!(control.enrolments(stranger, world.agent).await.unwrap().is_empty());
    assert!(control.connections(stranger).await.unwrap().is_empty());
    assert!(control.health(stranger).await.unwrap().is_empty());
    assert!(control.tickets(stranger).await.unwrap().is_empty());
    assert!(control.clients(stranger, name("github")).await.unwrap().is_empty());
    assert_eq!(control.flow(stranger, all.flow.id).await.unwrap(), None);

    for entity in [
        EntityId::Agent(world.agent),
        EntityId::Task(all.task.id),
        EntityId::Grant(all.grant.id),
        EntityId::Connection(all.keyed.id),
        EntityId::Enrolment(all.enrolment.id),
    ] {
        assert!(world.directory.entity(world.tenant, entity).await.unwrap().is_some(), "{entity:?}");
        assert_eq!(world.directory.entity(stranger, entity).await.unwrap(), None, "{entity:?}");
    }

    assert_eq!(keeper.chain(stranger, all.on.chain).await.unwrap(), None);
    let (chain, ..) = all.on.made.tokens.unwrap();
    let account = keeper.chain_of_account(stranger, chain.issuer, chain.client, chain.account);
    assert_eq!(account.await.unwrap(), None);
    assert_eq!(keeper.attempt(stranger, attempt).await.unwrap(), None);
    assert_eq!(keeper.client(stranger, all.client).await.unwrap(), None);
    assert_eq!(keeper.connection(stranger, all.keyed.id).await.unwrap(), None);
    assert_eq!(keeper.static_secret(stranger, all.keyed.id).await.unwrap(), None);
    assert_eq!(keeper.agent(stranger, world.agent).await.unwrap(), None);
    assert_eq!(keeper.task(stranger, all.task.id).await.unwrap(), None);
    assert_eq!(keeper.grant(stranger, all.grant.id).await.unwrap(), None);
    assert!(keeper.tools(stranger).await.unwrap().is_empty());
}

/// Every write that takes a tenant, likewise: whatever it answers, the rows are as before.
pub async fn a_write_with_another_tenants_id_changes_nothing(place: &dyn Place) {
    let world = World::new(place).await;
    let all = everything(&world).await;
    let claim = world.claimed(all.on.chain).await;
    let attempt = world.intended(claim, all.on.family, 1).await;
    let before = rows_of_tenant(&world, &all).await;
    let stranger = world.id(TenantId::new);
    let keeper = &world.keeper;

    let states = [CLAIMABLE.to_vec(), vec![ChainState::Refreshing]].concat();
    for fence in 0..3 {
        let seen = Seen { era: 1, fence, family: all.on.family, head: 1 };
        let taken = keeper.claim(stranger, all.on.chain, seen, world.id(OwnerId::new), states.clone()).await;
        assert_eq!(taken, Ok(None));
    }
    let mut theirs = claim;
    theirs.tenant = stranger;
    assert_eq!(keeper.intend(theirs, world.attempt(theirs, all.on.family, 1)).await, Ok(false));
    let answer = world.wrapped(SecretKind::Answer, "forged");
    keeper.answer(stranger, attempt, answer.clone()).await.unwrap();
    let moved = keeper.commit(theirs, world.head(attempt, all.on.family, 2)).await;
    assert_ne!(moved, Ok(Committed::Moved));
    let settlement = world.settlement(ChainState::Latched);
    assert_eq!(keeper.settle(theirs, settlement).await, Ok(false));
    keeper.hasten(stranger, all.on.chain, later(1)).await.unwrap();
    let step = keeper.advance_flow(stranger, all.flow.id, FlowStep::Begun, FlowStep::Ended, Some(answer));
    assert_eq!(step.await, Ok(false));
    let outcome = FlowOutcome::Failed { reason: "forged".into() };
    assert!(keeper.end_flow(stranger, all.flow.id, outcome, None).await.is_err());
    let mut made = world.keyed("elsewhere").await;
    made.name = name("renamed");
    let makes = NewConnection { connection: made.clone(), tokens: None, secret: None };
    let neighbour = world.neighbour().await;
    let their_flow = neighbour.flow(neighbour.registered().await.id, "their-57a7e");
    keeper.put_flow(their_flow.clone()).await.unwrap();
    let outcome = FlowOutcome::Failed { reason: "forged".into() };
    let across = keeper.end_flow(neighbour.tenant, their_flow.id, outcome, Some(makes)).await;
    assert_eq!(across, Err(StoreError::Missing("flow")), "a flow makes nothing in another tenant");
    assert_eq!(keeper.connection(world.tenant, made.id).await.unwrap().unwrap().name, name("elsewhere"));
    keeper.remove_connection(world.tenant, made.id, later(1)).await.unwrap();
    keeper.remove_connection(stranger, all.keyed.id, later(1)).await.unwrap();
    keeper.remove_connection(stranger, all.on.connection, later(1)).await.unwrap();
    keeper.end_wake(stranger, all.wake.id, later(1)).await.unwrap();
    keeper.prune_wakes(stranger, all.task.id, 0, later(99_999)).await.unwrap();
    let mut ticket = world.ticket(all.keyed.id);
    ticket.tenant = stranger;
    assert_eq!(keeper.raise(ticket).await, Err(StoreError::Missing("ticket")));
    world.control.context(stranger, name("github"), name("github"), world.id(ContextId::new)).await.unwrap();

    assert_eq!(rows_of_tenant(&world, &all).await, before);
    let kept = keeper.attempt(world.tenant, attempt).await.unwrap().unwrap();
    assert_eq!(kept.answer, None);
}

/// Everything that was answered is there after the store was dropped and opened again.
pub async fn a_reopened_store_holds_all_that_was_answered(place: &dyn Place) {
    let world = World::new(place).await;
    let all = everything(&world).await;
    let before = picture(&world, &all).await;
    let world = world.reopened(place);
    assert_eq!(picture(&world, &all).await, before);
    assert_eq!(world.keeper.enrolment(all.enrolment.binding.clone()).await.unwrap(), Some(all.enrolment));
    assert_eq!(world.control.tickets(world.tenant).await.unwrap(), [all.ticket]);
}

/// The directory with its feed, and all rows of the tenant, as text that can be compared.
async fn picture(world: &World, all: &Everything) -> String {
    let directory = &world.directory;
    let (snapshot, changes) = (directory.snapshot().await.unwrap(), directory.changes(0, 100).await.unwrap());
    format!("{snapshot:?} {changes:?} {}", rows_of_tenant(world, all).await)
}

async fn rows_of_tenant(world: &World, all: &Everything) -> String {
    let (control, keeper, tenant) = (&world.control, &world.keeper, world.tenant);
    format!(
        "{:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?}",
        control.tasks(tenant).await.unwrap(),
        control.agents(tenant).await.unwrap(),
        control.grants(tenant).await.unwrap(),
        control.tools(tenant).await.unwrap(),
        control.humans(tenant).await.unwrap(),
        control.wakes(tenant, all.task.id, 9).await.unwrap(),
        control.health(tenant).await.unwrap(),
        control.tickets(tenant).await.unwrap(),
        control.flow(tenant, all.flow.id).await.unwrap(),
        keeper.chain(tenant, all.on.chain).await.unwrap(),
        keeper.static_secret(tenant, all.keyed.id).await.unwrap(),
        keeper.heads().await.unwrap(),
    )
}
