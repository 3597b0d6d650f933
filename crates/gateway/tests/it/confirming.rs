//! Proves that what a human ended is ended for calls that were waiting too: no credential leaves after it.

use crate::{
    client::Answer,
    world::{Twist, World, bound},
};
use nightlatch_domain::{
    clock::Clock,
    ports::store::{ControlStore, DirectoryStore, Entity, KeeperStore, NewConnection},
    principal::AgentStatus,
    task::TaskState,
    tool::Placement,
};
use nightlatch_ledger::record::{Entry, Record};
use std::{sync::Arc, time::Duration};
use tokio::{sync::Semaphore, task::JoinHandle};

fn calling(world: &Arc<World>) -> JoinHandle<Answer> {
    let world = Arc::clone(world);
    tokio::spawn(async move { world.call(&world.mallory, "POST /acme/things", &["Content-Length: 0"]).await })
}

/// What can end while a call waits, and what the call is told.
const ENDS: [(&str, &str); 6] = [
    ("grant", "grant-ended"),
    ("connection", "grant-ended"),
    ("expiry", "grant-ended"),
    ("task", "task-ended"),
    ("agent", "agent-disabled"),
    ("host", "credential-pending"),
];

async fn end(world: &World, what: &str) {
    match what {
        "grant" => world.set_grant(&world.mallory, |grant| grant.revoked_at = Some(grant.created_at)).await,
        "connection" => {
            let removed =
                world.store.remove_connection(world.tenant, world.connection, crate::keeper::past()).await;
            removed.unwrap();
        }
        "expiry" => {
            world.clock.forward(Duration::from_secs(60));
            world.eventually("a fresh look", || async { world.gateway.directory().view().is_ok() }).await;
        }
        "task" => world.set_task(&world.mallory, |task| task.state = TaskState::Completed).await,
        "agent" => {
            let agents = world.store.agents(world.tenant).await.unwrap();
            let mut row = agents.into_iter().find(|row| row.id == world.mallory.agent).unwrap();
            row.status = AgentStatus::Disabled;
            world.store.put_agent(row).await.unwrap();
        }
        _ => {
            let rows = world.store.snapshot().await.unwrap().1;
            let row = rows.into_iter().find_map(|entity| match entity {
                Entity::Connection(row) => Some(row),
                _ => None,
            });
            let mut row = row.unwrap();
            row.hosts = vec![bound("", "/", Placement::Header { name: "x-other".into(), prefix: "".into() })];
            let written = NewConnection { connection: row, tokens: None, secret: None };
            world.store.put_connection(written).await.unwrap();
        }
    }
    world.in_effect().await;
}

/// A world in which mallory's grant ends in half a minute.
async fn world() -> Arc<World> {
    let world = Arc::new(World::new().await);
    world
        .set_grant(&world.mallory, |grant| grant.expires_at = grant.created_at.plus(Duration::from_secs(30)))
        .await;
    world
}

#[tokio::test]
pub(crate) async fn what_ends_while_a_call_waits_for_its_lease_ends_the_call() {
    for (what, told) in ENDS {
        let world = world().await;
        world.keeper.leases.forget_permits(Semaphore::MAX_PERMITS);
        let call = calling(&world);
        world.eventually("the request", || async { world.keeper.count("lease") == 1 }).await;
        end(&world, what).await;
        world.keeper.leases.add_permits(1);
        let answer = call.await.unwrap();
        assert_eq!(world.tool.count(), 0, "a credential left after the end of its {what}");
        let intents = |record: &Record| matches!(record.entry, Entry::Intent(_));
        assert!(!world.records().await.iter().any(intents), "{what}: an intent that was none");
        let told = if ["task", "agent"].contains(&what) && answer.problem() == "credential-pending" {
            // The wake ended with them, and was noticed first.
            "credential-pending"
        } else {
            told
        };
        assert_eq!(answer.problem(), told, "{what}");
    }
}

#[tokio::test]
pub(crate) async fn what_ends_while_the_intent_is_being_written_ends_the_call() {
    for (what, told) in ENDS {
        let world = world().await;
        assert_eq!(world.call(&world.mallory, "GET /acme/things", &[]).await.status, 200);
        world.tool.take();
        let outcomes = |record: &Record| matches!(record.entry, Entry::Outcome(_));
        world.eventually("its outcome", || async { world.records().await.iter().any(outcomes) }).await;
        world.hold_ledger().await;
        let call = calling(&world);
        world.eventually("the intent", || async { world.ledger_holds_another() }).await;
        end(&world, what).await;
        world.clock.hold_writer(false);
        let answer = call.await.unwrap();
        assert_eq!((answer.problem().as_str(), world.tool.count()), (told, 0), "{what}");
    }
}

#[tokio::test]
pub(crate) async fn a_lease_that_comes_after_the_end_of_its_grant_is_not_kept() {
    let world = Arc::new(World::new().await);
    world.still_serves(&world.alice).await;
    world.keeper.leases.forget_permits(Semaphore::MAX_PERMITS);
    let call = calling(&world);
    world.eventually("the request", || async { world.keeper.count("lease") == 2 }).await;
    world.set_grant(&world.mallory, |grant| grant.expires_at = crate::keeper::past()).await;
    // One look at everything ends both.
    world.set_task(&world.alice, |task| task.state = TaskState::Dormant).await;
    world.eventually("the look", || async { world.keeper.count("sleep") == 1 }).await;
    world.keeper.leases.add_permits(1);
    assert_eq!(call.await.unwrap().problem(), "grant-ended");
    let later = world.clock.now().plus(Duration::from_secs(3600));
    world.set_grant(&world.mallory, |grant| grant.expires_at = later).await;
    assert_eq!(world.call(&world.mallory, "GET /acme/things", &[]).await.status, 200);
    assert_eq!(world.keeper.count("lease"), 3, "what came late was used");
}

#[tokio::test]
pub(crate) async fn a_change_of_something_else_ends_no_call() {
    let world = Arc::new(World::new().await);
    world.keeper.leases.forget_permits(Semaphore::MAX_PERMITS);
    let call = calling(&world);
    world.eventually("the request", || async { world.keeper.count("lease") == 1 }).await;
    world.set_task(&world.alice, |task| task.purpose = "another change".into()).await;
    world.clock.forward(Duration::from_secs(1));
    world.keeper.leases.add_permits(1);
    assert_eq!(call.await.unwrap().status, 200);
}

#[tokio::test]
async fn a_call_is_decided_by_the_wake_that_it_is_held_in() {
    let only_signed =
        "forbid(principal, action, resource) unless { context.assurance == \"signed\" };".to_owned();
    let policies = vec![("signed.cedar".to_owned(), only_signed)];
    let world = World::twisted(Twist { policies, ..Twist::default() }).await;
    crate::own::wake_by_signature(&world, &world.alice).await;
    world.still_serves(&world.alice).await;
    // The keeper forgot it: the next call is held in a wake that nobody signed.
    world.keeper.forget();
    world.clock.forward(Duration::from_secs(601));
    world.eventually("a fresh look", || async { world.gateway.directory().view().is_ok() }).await;
    world.tool.take();
    let before = world.keeper.count("wake");
    let answer = world.call(&world.alice, "GET /acme/things", &[]).await;
    assert_eq!((answer.problem().as_str(), world.tool.count()), ("policy-denied", 0));
    assert_eq!(world.keeper.count("wake"), before + 1, "it was held in the wake that was gone");
}
