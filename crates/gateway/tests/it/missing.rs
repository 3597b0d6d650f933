//! Missing means deny: each thing that the corridor depends on is taken away or lies, and nothing leaves.

use crate::{
    client::Identity,
    upstream::Reply,
    world::{Twist, World},
};
use nightlatch_domain::{
    id::TenantId,
    id::{ConnectionId, GrantId, TicketId, WakeId},
    ports::{
        Boxed,
        gateway_keeper::{GatewayReply, KeeperRefusal, LeaseBinding},
        store::{Change, DirectoryStore, Entity, EntityId, StoreError, Stored},
    },
};
use nightlatch_gateway::Limits;
use nightlatch_store::SqliteStore;
use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

/// A feed that can be taken away.
#[derive(Default)]
struct Feed {
    store: OnceLock<SqliteStore>,
    gone: AtomicBool,
}

impl Feed {
    fn store(&self) -> Result<&SqliteStore, StoreError> {
        let store = self.store.get().ok_or(StoreError::Unavailable)?;
        if self.gone.load(Ordering::SeqCst) { Err(StoreError::Unavailable) } else { Ok(store) }
    }
}

impl DirectoryStore for Feed {
    fn snapshot(&self) -> Stored<'_, (u64, Vec<Entity>)> {
        Box::pin(async { self.store()?.snapshot().await })
    }
    fn changes(&self, after: u64, limit: u32) -> Stored<'_, Vec<Change>> {
        Box::pin(async move { self.store()?.changes(after, limit).await })
    }
    fn entity(&self, tenant: TenantId, entity: EntityId) -> Stored<'_, Option<Entity>> {
        Box::pin(async move { self.store()?.entity(tenant, entity).await })
    }
    fn changed(&self, _: u64, _: u64) -> Boxed<'_, ()> {
        // tidy: sleeps because it is the poll of a store that tells nobody of changes
        Box::pin(tokio::time::sleep(Duration::from_millis(5)))
    }
}

async fn refused(world: &World, kind: &str) {
    let answer = world.call(&world.alice, "GET /acme/things", &[]).await;
    assert_eq!(answer.problem(), kind);
    assert_eq!(world.tool.count(), 0, "something left");
}

#[tokio::test]
async fn no_directory_denies_and_its_coming_heals() {
    let feed = Arc::new(Feed::default());
    let world = World::twisted(Twist { feed: Some(Arc::clone(&feed) as _), ..Twist::default() }).await;
    refused(&world, "directory-stale").await;
    assert!(feed.store.set(world.store.clone()).is_ok());
    world.in_effect().await;
    world.still_serves(&world.alice).await;
}

#[tokio::test]
async fn a_directory_past_its_bound_denies_until_the_store_is_back() {
    let feed = Arc::new(Feed::default());
    let world = World::twisted(Twist { feed: Some(Arc::clone(&feed) as _), ..Twist::default() }).await;
    assert!(feed.store.set(world.store.clone()).is_ok());
    world.in_effect().await;
    feed.gone.store(true, Ordering::SeqCst);
    world.clock.forward(Duration::from_secs(29));
    world.still_serves(&world.alice).await;
    world.clock.forward(Duration::from_secs(2));
    refused(&world, "directory-stale").await;
    feed.gone.store(false, Ordering::SeqCst);
    world.eventually("a fresh directory", || async { world.gateway.directory().view().is_ok() }).await;
    world.still_serves(&world.alice).await;
}

#[tokio::test]
async fn a_keeper_that_does_not_answer_denies_at_every_step() {
    let world = World::new().await;
    for step in ["challenge", "wake", "lease"] {
        world.keeper.knobs.lock().unwrap().refuse.insert(step, KeeperRefusal::Unavailable);
        refused(&world, "keeper-unavailable").await;
        world.keeper.knobs.lock().unwrap().refuse.clear();
    }
    world.still_serves(&world.alice).await;
}

#[tokio::test]
async fn a_keeper_that_hangs_is_not_waited_for() {
    let brief = Duration::from_millis(50);
    let limits = Limits { patience: brief, keeper_grace: brief, ..Limits::default() };
    let world = World::twisted(Twist { limits: Some(limits), ..Twist::default() }).await;
    world.keeper.knobs.lock().unwrap().hangs = true;
    tokio::time::timeout(Duration::from_secs(5), refused(&world, "keeper-unavailable")).await.unwrap();
    world.keeper.knobs.lock().unwrap().hangs = false;
    world.still_serves(&world.alice).await;
}

#[tokio::test]
async fn every_no_of_the_keeper_is_its_own_typed_answer() {
    let world = World::new().await;
    let ticket = TicketId::new(crate::keeper::past(), [1; 10]);
    for (refusal, status, kind) in [
        (KeeperRefusal::ReauthRequired { ticket: Some(ticket) }, 424, "reauth-required"),
        (KeeperRefusal::Pending { retry_after_secs: 7 }, 503, "credential-pending"),
        (KeeperRefusal::GrantEnded, 403, "grant-ended"),
        (KeeperRefusal::TaskEnded, 403, "task-ended"),
        (KeeperRefusal::AgentDisabled, 403, "agent-disabled"),
        (KeeperRefusal::Unverified, 403, "lease-refused"),
        (KeeperRefusal::TooMany, 429, "too-many-calls"),
    ] {
        world.keeper.knobs.lock().unwrap().refuse.insert("lease", refusal);
        let answer = world.call(&world.alice, "GET /acme/things", &[]).await;
        assert_eq!((answer.status, answer.problem().as_str()), (status, kind));
        match kind {
            "reauth-required" => {
                assert_eq!(answer.json()["ticket"].as_str(), Some(ticket.to_string().as_str()))
            }
            "credential-pending" => assert_eq!(answer.field("retry-after").as_deref(), Some("7")),
            _ => {}
        }
    }
    assert_eq!(world.tool.count(), 0);
}

#[tokio::test]
async fn a_lease_of_something_else_is_refused() {
    fn other_grant(binding: &mut LeaseBinding) {
        binding.grant = GrantId::new(crate::keeper::past(), [9; 10]);
    }
    fn other_connection(binding: &mut LeaseBinding) {
        binding.connection = ConnectionId::new(crate::keeper::past(), [9; 10]);
    }
    fn other_wake(binding: &mut LeaseBinding) {
        binding.wake = WakeId::new(crate::keeper::past(), [9; 10]);
    }
    fn other_tenant(binding: &mut LeaseBinding) {
        binding.tenant = crate::keeper::stranger();
    }
    fn older(binding: &mut LeaseBinding) {
        binding.generation = 0;
    }
    for lie in [other_grant, other_connection, other_wake, other_tenant] {
        // Sealed so, through and through; and only said so beside what is sealed.
        for (rebind, claim) in
            [(Some(lie as fn(&mut LeaseBinding)), None), (None, Some(lie as fn(&mut LeaseBinding)))]
        {
            let world = World::new().await;
            {
                let mut knobs = world.keeper.knobs.lock().unwrap();
                (knobs.rebind, knobs.claim) = (rebind, claim);
            }
            refused(&world, "lease-refused").await;
        }
    }
    let world = World::new().await;
    world.keeper.knobs.lock().unwrap().claim = Some(older);
    refused(&world, "lease-refused").await;
}

#[tokio::test]
async fn an_answer_to_another_question_is_none() {
    let world = World::new().await;
    world.keeper.knobs.lock().unwrap().answer = Some(GatewayReply::Done);
    refused(&world, "keeper-unavailable").await;
    world.keeper.knobs.lock().unwrap().answer = None;
    world.keeper.knobs.lock().unwrap().wakes_as = Some(WakeId::new(crate::keeper::past(), [9; 10]));
    refused(&world, "keeper-unavailable").await;
    world.keeper.knobs.lock().unwrap().wakes_as = None;
    world.still_serves(&world.alice).await;
}

#[tokio::test]
async fn a_ledger_that_cannot_be_written_refuses_everything() {
    let world = World::new().await;
    world.still_serves(&world.alice).await;
    world.ledger.close().await.unwrap();
    refused(&world, "ledger-unavailable").await;
    // A refusal that cannot be recorded is one more reason, and the same answer.
    let unknown = world.request("GET /acme/things", &["Authorization: Bearer nobody"]);
    assert_eq!(world.send(&world.alice, &unknown).await.problem(), "ledger-unavailable");
}

#[tokio::test]
async fn an_answer_that_never_came_is_said_to_be_unknown() {
    let limits = Limits { answer_within: Duration::from_millis(200), ..Limits::default() };
    let world = World::twisted(Twist { limits: Some(limits), ..Twist::default() }).await;
    world.tool.answers(|_| Reply { closes: true, ..Reply::default() });
    let answer = world.call(&world.alice, "POST /acme/things", &["Content-Length: 0"]).await;
    assert_eq!(
        (answer.status, answer.problem().as_str(), answer.field("x-should-retry").as_deref()),
        (502, "outcome-unknown", Some("false"))
    );
    assert_eq!(world.tool.take().len(), 1, "it was sent again");
    world.tool.answers(|_| Reply::default());
    let answer = world.call(&world.alice, "POST /acme/things", &["Content-Length: 0"]).await;
    assert_eq!((answer.status, answer.problem().as_str()), (504, "upstream-timeout"));
    assert_eq!(world.tool.take().len(), 1);
}

#[tokio::test]
async fn an_enrolment_is_answered_once_it_is_in_effect() {
    let feed = Arc::new(Feed::default());
    let world =
        Arc::new(World::twisted(Twist { feed: Some(Arc::clone(&feed) as _), ..Twist::default() }).await);
    assert!(feed.store.set(world.store.clone()).is_ok());
    world.in_effect().await;
    world.code(&world.alice, "code-1").await;
    feed.gone.store(true, Ordering::SeqCst);
    let fresh = Identity::new();
    let mut wire = world.dial(Some(&fresh)).connect().await.unwrap();
    wire.write(world.request("POST /v1/enrol", &["Content-Length: 17"])).await;
    wire.write("{\"code\":\"code-1\"}").await;
    let early = tokio::time::timeout(Duration::from_millis(100), wire.answer()).await;
    assert!(early.is_err(), "it was answered before its key would be admitted: {early:?}");
    feed.gone.store(false, Ordering::SeqCst);
    assert_eq!(wire.answer().await.status, 200);
    wire.write(world.request("GET /acme/things", &[&World::bearer(&world.alice)])).await;
    assert_eq!(wire.answer().await.status, 200);
}
