//! Proves what holds of rows that humans arrange: agents, tasks, grants, enrolments, wakes.

use super::{
    Place,
    world::{NOW, World, later, name},
};
use nightlatch_domain::{
    clock::Timestamp,
    grant::Grant,
    id::{ContextId, GrantId, InstallationId, PrincipalId, TaskId, TenantId},
    ports::store::{Entity, EntityId, LedgerHead, StoreError},
    principal::{Agent, Binding, Enrolment},
    sealed::Attestation,
    task::{Egress, Task, TaskState, WakeNote},
};
use std::slice::from_ref;

fn key(spki: &str) -> Binding {
    Binding::Key { spki_sha256: spki.into() }
}

/// Bootstrap writes nothing where a tenant exists.
pub async fn the_first_start_happens_once(place: &dyn Place) {
    let world = World::new(place).await;
    let second = world.tenant_row(world.id(TenantId::new));
    world.control.bootstrap(second, world.human_row(), world.agent("other")).await.unwrap();
    assert_eq!(world.control.tenant(name("default")).await.unwrap().unwrap().id, world.tenant);
    assert_eq!(world.control.tenant(name("other")).await.unwrap(), None);
    assert_eq!(world.control.agents(world.tenant).await.unwrap(), [world.agent("laptop")]);
    assert_eq!(world.control.humans(world.tenant).await.unwrap(), [world.human_row()]);
}

/// Every field of every kind survives the way in and out.
pub async fn rows_come_back_as_they_were(place: &dyn Place) {
    let world = World::new(place).await;
    let task = world.task(Some("named"));
    world.control.put_task(task.clone()).await.unwrap();
    assert_eq!(world.control.tasks(world.tenant).await.unwrap(), from_ref(&task));
    assert_eq!(world.keeper.task(world.tenant, task.id).await.unwrap(), Some(task.clone()));

    let keyed = world.keyed("key").await;
    assert_eq!(world.control.connections(world.tenant).await.unwrap(), from_ref(&keyed));
    assert_eq!(world.keeper.connection(world.tenant, keyed.id).await.unwrap(), Some(keyed.clone()));
    let secret = world.keeper.static_secret(world.tenant, keyed.id).await.unwrap();
    assert_eq!(secret, Some(world.secret(keyed.id, 1)));

    let grant = world.grant(task.id, keyed.id);
    world.control.put_grant(grant.clone()).await.unwrap();
    assert_eq!(world.control.grants(world.tenant).await.unwrap(), from_ref(&grant));
    assert_eq!(world.keeper.grant(world.tenant, grant.id).await.unwrap(), Some(grant));

    let code = world.code(task.id, "c0de");
    world.control.put_enrolment_code(code.clone()).await.unwrap();
    assert_eq!(world.keeper.enrolment_code("c0de".into()).await.unwrap(), Some(code));
    let enrolment = world.enrolment(task.id, key("ab"));
    assert!(world.keeper.enrol("c0de".into(), enrolment.clone()).await.unwrap());
    assert_eq!(world.control.enrolments(world.tenant, world.agent).await.unwrap(), from_ref(&enrolment));
    assert_eq!(world.keeper.enrolment(key("ab")).await.unwrap(), Some(enrolment));
    assert_eq!(world.keeper.enrolment(key("cd")).await.unwrap(), None);

    let client = world.registered().await;
    assert_eq!(world.control.clients(world.tenant, name("github")).await.unwrap(), from_ref(&client));
    assert_eq!(world.keeper.client(world.tenant, client.id).await.unwrap(), Some(client.clone()));
    let flow = world.flow(client.id, "57a7e");
    world.keeper.put_flow(flow.clone()).await.unwrap();
    assert_eq!(world.keeper.flow_by_state("57a7e".into()).await.unwrap(), Some(flow.clone()));
    assert_eq!(world.control.flow(world.tenant, flow.id).await.unwrap(), Some(flow));

    let made = world.tokens("dana", client.id, "583231");
    world.keeper.put_connection(made.clone()).await.unwrap();
    let (chain, family, generation) = made.tokens.unwrap();
    let view = world.keeper.chain(world.tenant, chain.id).await.unwrap().unwrap();
    assert_eq!((view.chain, view.family, view.head), (chain, family, generation));
    assert_eq!((view.client, view.connections), (client, vec![made.connection.id]));
}

/// Two agents of a tenant cannot have one name; the same agent may be written anew.
pub async fn an_agents_name_is_unique_in_its_tenant(place: &dyn Place) {
    let world = World::new(place).await;
    let second = Agent { id: world.id(PrincipalId::new), ..world.agent("laptop") };
    assert_eq!(world.control.put_agent(second).await, Err(StoreError::Exists("agent")));
    world.control.put_agent(world.agent("renamed")).await.unwrap();
    let renamed = world.keeper.agent(world.tenant, world.agent).await.unwrap();
    assert_eq!(renamed, Some(world.agent("renamed")));
}

/// Completed and killed are final, whatever is written over them.
pub async fn a_task_that_ended_stays_ended(place: &dyn Place) {
    let world = World::new(place).await;
    for (end, over) in [
        (TaskState::Completed, TaskState::Awake),
        (TaskState::Killed, TaskState::Dormant),
        (TaskState::Killed, TaskState::Completed),
    ] {
        let task = world.opened_task().await;
        let ended = Task { state: end, ..task.clone() };
        world.control.put_task(ended.clone()).await.unwrap();
        let woken = Task { state: over, ends_at: later(999_999), ..task.clone() };
        world.control.put_task(woken).await.unwrap();
        assert_eq!(world.keeper.task(world.tenant, task.id).await.unwrap(), Some(ended));
    }
}

/// What a task may do is what was written last.
pub async fn a_task_is_as_it_was_written_last(place: &dyn Place) {
    let world = World::new(place).await;
    let task = world.opened_task().await;
    let narrower = Task {
        egress: Egress::Tools,
        purpose: "less".into(),
        ends_at: later(1),
        attestation: Attestation("another-mac".into()),
        ..task.clone()
    };
    assert_ne!(narrower.egress, task.egress);
    world.control.put_task(narrower.clone()).await.unwrap();
    assert_eq!(world.keeper.task(world.tenant, task.id).await.unwrap(), Some(narrower));
}

/// Open tasks do not share a name; an ended one gives it back.
pub async fn a_name_is_free_again_when_its_task_ended(place: &dyn Place) {
    let world = World::new(place).await;
    let first = world.task(Some("nightly"));
    world.control.put_task(first.clone()).await.unwrap();
    let second = world.task(Some("nightly"));
    assert_eq!(world.control.put_task(second.clone()).await, Err(StoreError::Exists("task")));
    world.control.put_task(Task { state: TaskState::Dormant, ..first.clone() }).await.unwrap();
    assert_eq!(world.control.put_task(second.clone()).await, Err(StoreError::Exists("task")));
    world.control.put_task(Task { state: TaskState::Completed, ..first }).await.unwrap();
    world.control.put_task(second.clone()).await.unwrap();
    let newest: Vec<TaskId> =
        world.control.tasks(world.tenant).await.unwrap().iter().map(|task| task.id).collect();
    assert_eq!(newest[0], second.id);
}

/// A revoked grant is not given again by writing its row.
pub async fn a_grant_that_was_taken_back_stays_so(place: &dyn Place) {
    let world = World::new(place).await;
    let (task, connection) = (world.opened_task().await, world.keyed("key").await);
    let grant = world.grant(task.id, connection.id);
    world.control.put_grant(grant.clone()).await.unwrap();
    let revoked = Grant { revoked_at: Some(later(5)), ..grant.clone() };
    world.control.put_grant(revoked.clone()).await.unwrap();
    world.control.put_grant(grant.clone()).await.unwrap();
    let moved = Grant { revoked_at: Some(later(9)), ..grant.clone() };
    world.control.put_grant(moved).await.unwrap();
    assert_eq!(world.keeper.grant(world.tenant, grant.id).await.unwrap(), Some(revoked));
}

/// One reference means one grant, over all tenants.
pub async fn a_reference_is_unique_in_the_installation(place: &dyn Place) {
    let world = World::new(place).await;
    let other = world.neighbour().await;
    let grant = world.grant(world.opened_task().await.id, world.keyed("key").await.id);
    world.control.put_grant(grant.clone()).await.unwrap();
    let theirs = other.grant(other.opened_task().await.id, other.keyed("key").await.id);
    let copied = Grant { reference: grant.reference.clone(), ..theirs.clone() };
    assert_eq!(other.control.put_grant(copied).await, Err(StoreError::Exists("task_grant")));
    other.control.put_grant(theirs).await.unwrap();
    let twice = Grant { id: world.id(GrantId::new), ..grant };
    assert_eq!(world.control.put_grant(twice).await, Err(StoreError::Exists("task_grant")));
}

/// A grant, a task, an enrolment cannot hang on what another tenant owns.
pub async fn a_row_points_only_inside_its_tenant(place: &dyn Place) {
    let world = World::new(place).await;
    let other = world.neighbour().await;
    let (task, connection) = (world.opened_task().await, world.keyed("key").await);
    let (their_task, their_connection) = (other.opened_task().await, other.keyed("key").await);
    for grant in [world.grant(their_task.id, connection.id), world.grant(task.id, their_connection.id)] {
        assert_eq!(world.control.put_grant(grant).await, Err(StoreError::Missing("task_grant")));
    }
    let borrowed = Task { agent: other.agent, ..world.task(None) };
    assert_eq!(world.control.put_task(borrowed).await, Err(StoreError::Missing("task")));
    let code = world.code(their_task.id, "c0de");
    assert_eq!(world.control.put_enrolment_code(code).await, Err(StoreError::Missing("enrolment_code")));
    let wake = world.wake(their_task.id, NOW);
    assert_eq!(world.keeper.put_wake(wake).await, Err(StoreError::Missing("wake")));
}

/// A redirect's context is the same for ever, and another for each tool, provider and tenant.
pub async fn a_context_is_made_once(place: &dyn Place) {
    let world = World::new(place).await;
    let fresh = || world.id(ContextId::new);
    let context =
        |tool: &str, provider: &str| world.control.context(world.tenant, name(tool), name(provider), fresh());
    let first = context("github", "github").await.unwrap();
    assert_eq!(context("github", "github").await.unwrap(), first);
    assert_ne!(context("github", "generic").await.unwrap(), first);
    assert_ne!(context("gitlab", "github").await.unwrap(), first);
    let other = world.neighbour().await;
    let theirs =
        other.control.context(other.tenant, name("github"), name("github"), other.id(ContextId::new));
    assert_ne!(theirs.await.unwrap(), first);
}

/// Adding a tool again replaces its manifest.
pub async fn a_newer_manifest_takes_the_place_of_the_older(place: &dyn Place) {
    let world = World::new(place).await;
    world.control.put_tool(world.tool("jira", "old")).await.unwrap();
    world.control.put_tool(world.tool("jira", "new")).await.unwrap();
    world.control.put_tool(world.tool("confluence", "its own")).await.unwrap();
    let tools = [world.tool("confluence", "its own"), world.tool("jira", "new")];
    assert_eq!(world.control.tools(world.tenant).await.unwrap(), tools);
    assert_eq!(world.keeper.tools(world.tenant).await.unwrap(), tools);
    let entity = world.directory.entity(world.tenant, EntityId::Tools).await.unwrap();
    assert_eq!(entity, Some(Entity::Tools(tools.to_vec())));
}

/// Wakes: newest first, no more than asked for, one end each.
pub async fn wakes_come_newest_first_and_end_once(place: &dyn Place) {
    let world = World::new(place).await;
    let task = world.opened_task().await.id;
    let wakes: Vec<_> = (0..3).map(|hour| world.wake(task, later(hour * 3600))).collect();
    for wake in &wakes {
        world.keeper.put_wake(wake.clone()).await.unwrap();
        world.keeper.put_wake(wake.clone()).await.unwrap();
    }
    world.keeper.end_wake(world.tenant, wakes[2].id, later(7300)).await.unwrap();
    world.keeper.end_wake(world.tenant, wakes[2].id, later(9999)).await.unwrap();
    let shown = world.control.wakes(world.tenant, task, 2).await.unwrap();
    assert_eq!(shown.iter().map(|wake| wake.id).collect::<Vec<_>>(), [wakes[2].id, wakes[1].id]);
    assert_eq!(shown[0].ended_at, Some(later(7300)));
    assert_eq!(shown[1], wakes[1]);
}

/// A start over what a dead process left: wakes that would last end, what was over stays as it was noted.
pub async fn wakes_that_last_end_all_at_once_and_the_others_stay_as_they_were(place: &dyn Place) {
    let world = World::new(place).await;
    let (one, other) = (world.opened_task().await.id, world.opened_task().await.id);
    let wakes = [world.wake(one, NOW), world.wake(one, later(10)), world.wake(other, later(20))];
    for wake in &wakes {
        world.keeper.put_wake(wake.clone()).await.unwrap();
    }
    world.keeper.end_wake(world.tenant, wakes[1].id, later(11)).await.unwrap();
    // An hour each: by then the first is over.
    world.keeper.end_all_wakes(later(3600)).await.unwrap();
    let ended = async |task| -> Vec<_> {
        let shown = world.control.wakes(world.tenant, task, 9).await.unwrap();
        shown.iter().map(|wake| wake.ended_at).collect()
    };
    assert_eq!(ended(one).await, [Some(later(11)), None]);
    assert_eq!(ended(other).await, [Some(later(3600))]);
    world.keeper.end_all_wakes(later(3601)).await.unwrap();
    assert_eq!(ended(other).await, [Some(later(3600))], "an end stays");
}

/// Forgetting: what was over before a time, noted or not, but for the newest; and of one task only.
pub async fn ended_wakes_are_forgotten_but_for_the_newest_and_the_young(place: &dyn Place) {
    let world = World::new(place).await;
    let task = world.opened_task().await.id;
    let hours = |hour: u64| later(hour * 3600);
    let wakes: Vec<_> = (0..6).map(|hour| world.wake(task, hours(hour))).collect();
    for wake in &wakes {
        world.keeper.put_wake(wake.clone()).await.unwrap();
    }
    // The first ended late, the second early, of the others nobody noted an end: an hour each.
    world.keeper.end_wake(world.tenant, wakes[0].id, hours(4)).await.unwrap();
    world.keeper.end_wake(world.tenant, wakes[1].id, hours(1)).await.unwrap();
    let left = async || -> Vec<usize> {
        let shown = world.control.wakes(world.tenant, task, 99).await.unwrap();
        let place = |note: &WakeNote| wakes.iter().position(|wake| wake.id == note.id).unwrap();
        shown.iter().map(place).collect()
    };
    let prune = |keep, before| world.keeper.prune_wakes(world.tenant, task, keep, before);
    prune(0, hours(1)).await.unwrap();
    assert_eq!(left().await, [5, 4, 3, 2, 1, 0], "nothing was over before");
    prune(5, hours(3)).await.unwrap();
    assert_eq!(left().await, [5, 4, 3, 2, 1, 0], "one of five is none to forget, and the sixth ended late");
    prune(4, hours(3)).await.unwrap();
    assert_eq!(left().await, [5, 4, 3, 2, 0]);
    prune(0, hours(4)).await.unwrap();
    assert_eq!(left().await, [5, 4, 3, 0], "what ended at that time is not older than it");
    world.keeper.prune_wakes(world.tenant, world.id(TaskId::new), 0, hours(99)).await.unwrap();
    world.keeper.prune_wakes(world.neighbour().await.tenant, task, 0, hours(99)).await.unwrap();
    assert_eq!(left().await, [5, 4, 3, 0]);
    prune(2, hours(99)).await.unwrap();
    assert_eq!(left().await, [5, 4]);
}

/// Of eight that show one code at once, one is enrolled.
pub async fn a_code_enrols_once_under_a_race(place: &dyn Place) {
    let world = World::new(place).await;
    let task = world.opened_task().await.id;
    world.control.put_enrolment_code(world.code(task, "c0de")).await.unwrap();
    let racers: Vec<_> = (0..8)
        .map(|number| {
            let enrolment = world.enrolment(task, key(&format!("{number:064}")));
            let keeper = world.keeper.clone();
            tokio::spawn(async move { keeper.enrol("c0de".into(), enrolment).await.unwrap() })
        })
        .collect();
    let mut winners = 0;
    for racer in racers {
        winners += u32::from(racer.await.unwrap());
    }
    assert_eq!(winners, 1);
    assert_eq!(world.control.enrolments(world.tenant, world.agent).await.unwrap().len(), 1);
    assert_eq!(world.keeper.enrolment_code("c0de".into()).await.unwrap(), None);
}

/// A code is good until its end, for the agent and task that it was made for, in its tenant.
pub async fn a_code_enrols_only_in_time_and_whom_it_was_made_for(place: &dyn Place) {
    let world = World::new(place).await;
    let other = world.neighbour().await;
    let (task, another) = (world.opened_task().await.id, world.opened_task().await.id);
    world.control.put_enrolment_code(world.code(task, "c0de")).await.unwrap();
    let right = world.enrolment(task, key("ab"));
    let wrong = [
        Enrolment { created_at: later(600), ..right.clone() },
        Enrolment { task: another, ..right.clone() },
        Enrolment { agent: other.agent, ..right.clone() },
        Enrolment { tenant: other.tenant, ..right.clone() },
    ];
    for enrolment in wrong {
        assert_eq!(world.keeper.enrol("c0de".into(), enrolment).await, Ok(false));
    }
    assert_eq!(world.keeper.enrol("0ther".into(), right.clone()).await, Ok(false));
    assert_eq!(world.keeper.enrolment(key("ab")).await, Ok(None));
    assert_eq!(world.keeper.enrol("c0de".into(), right).await, Ok(true));
}

/// A key or UID proves one agent for one task; a refused enrolment leaves its code unused.
pub async fn a_binding_is_unique_in_the_installation(place: &dyn Place) {
    let world = World::new(place).await;
    let other = world.neighbour().await;
    let (task, theirs) = (world.opened_task().await.id, other.opened_task().await.id);
    world.control.put_enrolment_code(world.code(task, "c0de")).await.unwrap();
    other.control.put_enrolment_code(other.code(theirs, "c0de-2")).await.unwrap();
    assert!(world.keeper.enrol("c0de".into(), world.enrolment(task, key("ab"))).await.unwrap());
    let second = other.keeper.enrol("c0de-2".into(), other.enrolment(theirs, key("ab"))).await;
    assert_eq!(second, Err(StoreError::Exists("enrolment")));
    assert!(other.keeper.enrolment_code("c0de-2".into()).await.unwrap().is_some());
    let uid = Binding::Uid { uid: 1000 };
    assert!(other.keeper.enrol("c0de-2".into(), other.enrolment(theirs, uid.clone())).await.unwrap());
    assert_eq!(world.keeper.enrolment(uid).await.unwrap().unwrap().tenant, other.tenant);
}

/// A signed head is replaced by a later one only.
pub async fn a_ledger_head_never_goes_back(place: &dyn Place) {
    let world = World::new(place).await;
    let head = |seq: u64| LedgerHead {
        seq,
        hash: format!("hash-{seq}"),
        signature: "signature".into(),
        at: Timestamp::from_millis(1),
    };
    assert_eq!(world.ledger.head().await.unwrap(), None);
    for seq in [3, 7, 5] {
        world.ledger.put_head(head(seq)).await.unwrap();
    }
    assert_eq!(world.ledger.head().await.unwrap(), Some(head(7)));
}

/// The installation is made once.
pub async fn the_installation_keeps_its_first_id(place: &dyn Place) {
    let world = World::new(place).await;
    let first = world.keeper.installation(world.id(InstallationId::new)).await.unwrap();
    let second = world.keeper.installation(world.id(InstallationId::new)).await.unwrap();
    assert_eq!((first.clone(), first.era), (second, 1));
}
