//! Proves that the feed is gapless and the directory of one moment, whoever writes meanwhile.

use super::{
    Place,
    world::{World, later},
};
use nightlatch_domain::{
    grant::Grant,
    id::{ConnectionId, TaskId},
    ports::store::{Entity, EntityId, StoreError},
    principal::{Agent, Binding},
    task::{Task, TaskState},
};
use std::{collections::HashSet, time::Duration};

/// Eight writers, each with twenty tasks: every number once, in order, none missing.
pub async fn the_feed_is_gapless_under_eight_writers(place: &dyn Place) {
    let world = World::new(place).await;
    let tasks: Vec<Vec<Task>> = (0..8).map(|_| (0..20).map(|_| world.task(None)).collect()).collect();
    let written: HashSet<TaskId> = tasks.iter().flatten().map(|task| task.id).collect();
    let writers: Vec<_> = tasks
        .into_iter()
        .map(|tasks| {
            let control = world.control.clone();
            tokio::spawn(async move {
                for task in tasks {
                    control.put_task(task).await.unwrap();
                }
            })
        })
        .collect();
    let (mut seen, mut tasks_seen) = (0, HashSet::new());
    while tasks_seen.len() < written.len() {
        world.directory.changed(seen, 1000).await;
        for change in world.directory.changes(seen, 7).await.unwrap() {
            assert_eq!(change.number, seen + 1, "a gap");
            seen = change.number;
            if let EntityId::Task(task) = change.entity {
                assert!(tasks_seen.insert(task));
            }
        }
    }
    for writer in writers {
        writer.await.unwrap();
    }
    assert_eq!(tasks_seen, written);
    assert!(world.directory.changes(seen, 100).await.unwrap().is_empty());
}

/// While tasks are written one by one, a snapshot holds exactly what its number says.
pub async fn a_snapshot_is_of_the_moment_of_its_number(place: &dyn Place) {
    let world = World::new(place).await;
    let tasks: Vec<Task> = (0..50).map(|_| world.task(None)).collect();
    let control = world.control.clone();
    let writer = tokio::spawn(async move {
        for task in tasks {
            control.put_task(task).await.unwrap();
        }
    });
    loop {
        let (number, entities) = world.directory.snapshot().await.unwrap();
        assert_eq!(entities.len() as u64, number, "one agent at number 1, then a task a number");
        if number == 51 {
            break;
        }
    }
    writer.await.unwrap();
}

/// Each kind of write is followed by its change.
pub async fn every_write_of_the_directory_is_in_the_feed(place: &dyn Place) {
    let world = World::new(place).await;
    let task = world.opened_task().await.id;
    let connection = world.keyed("key").await.id;
    let grant = world.grant(task, connection);
    world.control.put_grant(grant.clone()).await.unwrap();
    world.control.put_tool(world.tool("jira", "manifest")).await.unwrap();
    world.control.put_enrolment_code(world.code(task, "c0de")).await.unwrap();
    let enrolment = world.enrolment(task, Binding::Uid { uid: 7 });
    world.keeper.enrol("c0de".into(), enrolment.clone()).await.unwrap();
    world.keeper.remove_connection(world.tenant, connection, later(1)).await.unwrap();
    world.keeper.remove_connection(world.tenant, connection, later(2)).await.unwrap();
    let changes = world.directory.changes(0, 100).await.unwrap();
    assert!(changes.iter().all(|change| change.tenant == world.tenant));
    let entities: Vec<EntityId> = changes.iter().map(|change| change.entity).collect();
    let expected = [
        EntityId::Agent(world.agent),
        EntityId::Task(task),
        EntityId::Connection(connection),
        EntityId::Grant(grant.id),
        EntityId::Tools,
        EntityId::Enrolment(enrolment.id),
        EntityId::Connection(connection),
    ];
    assert_eq!(entities, expected);
    assert_eq!(world.directory.snapshot().await.unwrap().0, 7);
}

/// A transaction that is rolled back takes its number with it.
pub async fn a_refused_write_leaves_no_number(place: &dyn Place) {
    let world = World::new(place).await;
    let dangling = world.grant(world.id(TaskId::new), world.id(ConnectionId::new));
    assert_eq!(world.control.put_grant(dangling).await, Err(StoreError::Missing("task_grant")));
    let twin = Agent { id: world.human, ..world.agent("laptop") };
    assert_eq!(world.control.put_agent(twin).await, Err(StoreError::Exists("agent")));
    assert_eq!(world.directory.snapshot().await.unwrap().0, 1);
    world.opened_task().await;
    assert_eq!(world.directory.changes(0, 9).await.unwrap().len(), 2);
}

/// Who waits for the next number is woken long before the deadline.
pub async fn a_waiter_is_woken_by_a_change(place: &dyn Place) {
    let world = World::new(place).await;
    let directory = world.directory.clone();
    let waiter = tokio::spawn(async move { directory.changed(1, 600_000).await });
    world.opened_task().await;
    tokio::time::timeout(Duration::from_secs(30), waiter).await.unwrap().unwrap();
    let passed = world.directory.changed(1, 600_000);
    tokio::time::timeout(Duration::from_secs(30), passed).await.unwrap();
}

/// Where nothing changes the wait ends by itself.
pub async fn a_waiter_is_not_kept_past_its_time(place: &dyn Place) {
    let world = World::new(place).await;
    tokio::time::timeout(Duration::from_secs(30), world.directory.changed(1, 5)).await.unwrap();
}

/// The gateway must tell an ended task from an unknown one; a removed connection is simply gone.
pub async fn ended_rows_are_in_the_directory_and_removed_connections_are_not(place: &dyn Place) {
    let world = World::new(place).await;
    let task = Task { state: TaskState::Killed, ..world.opened_task().await };
    world.control.put_task(task.clone()).await.unwrap();
    let (gone, stays) = (world.keyed("gone").await, world.keyed("stays").await);
    let grant = Grant { revoked_at: Some(later(1)), ..world.grant(task.id, gone.id) };
    world.control.put_grant(grant.clone()).await.unwrap();
    world.control.put_tool(world.tool("jira", "manifest")).await.unwrap();
    world.keeper.remove_connection(world.tenant, gone.id, later(2)).await.unwrap();
    let expected = [
        Entity::Agent(world.agent("laptop")),
        Entity::Task(task),
        Entity::Grant(grant),
        Entity::Connection(stays.clone()),
        Entity::Tools(vec![world.tool("jira", "manifest")]),
    ];
    assert_eq!(world.directory.snapshot().await.unwrap().1, expected);
    let entity = |id| world.directory.entity(world.tenant, EntityId::Connection(id));
    assert_eq!(entity(gone.id).await.unwrap(), None);
    assert_eq!(entity(stays.id).await.unwrap(), Some(Entity::Connection(stays)));
    for entity in &expected[..3] {
        let id = match entity {
            Entity::Agent(agent) => EntityId::Agent(agent.id),
            Entity::Task(task) => EntityId::Task(task.id),
            Entity::Grant(grant) => EntityId::Grant(grant.id),
            other => unreachable!("{other:?}"),
        };
        assert_eq!(world.directory.entity(world.tenant, id).await.unwrap().as_ref(), Some(entity));
    }
}
