//! Proves what holds of grants with a budget, and of what they have spent.

use super::{
    Place,
    world::{World, later},
};
use nightlatch_domain::{budget::Spent, grant::Grant, id::GrantId, ports::store::StoreError};
use std::sync::Arc;

const fn spent(calls: u64, writes: u64, bytes: u64) -> Spent {
    Spent { calls, writes, bytes }
}

const ENDS: Spent = spent(7, u64::MAX, 1024);

async fn granted(world: &World) -> Grant {
    let grant = world.grant(world.opened_task().await.id, world.keyed("key").await.id);
    let grant = Grant { budget: Some("calls=7,bytes=1K".parse().unwrap()), ..grant };
    world.control.put_grant(grant.clone()).await.unwrap();
    grant
}

/// A grant's budget comes back as it was written, to every plane.
pub async fn a_budget_comes_back_as_it_was_written(place: &dyn Place) {
    let world = World::new(place).await;
    let grant = granted(&world).await;
    assert_eq!(world.keeper.grant(world.tenant, grant.id).await.unwrap(), Some(grant.clone()));
    assert_eq!(world.control.grants(world.tenant).await.unwrap(), [grant]);
}

/// No more is given than is left of each part, and what was given is given once, over restarts too.
pub async fn no_more_is_reserved_than_is_left_and_never_twice(place: &dyn Place) {
    let world = World::new(place).await;
    let grant = granted(&world).await;
    let given = world.budgets.reserve(world.tenant, grant.id, spent(5, 2, 1000), ENDS).await.unwrap();
    assert_eq!(given, spent(5, 2, 1000));
    // The row written anew, as a human who takes it back does.
    world.control.put_grant(Grant { revoked_at: Some(later(1)), ..grant.clone() }).await.unwrap();
    let world = world.reopened(place);
    let given = world.budgets.reserve(world.tenant, grant.id, spent(5, 2, 1000), ENDS).await.unwrap();
    assert_eq!(given, spent(2, 2, 24));
    let given = world.budgets.reserve(world.tenant, grant.id, spent(1, 0, 1), ENDS).await.unwrap();
    assert_eq!(given, spent(0, 0, 0));
    assert_eq!(world.control.spent(world.tenant).await.unwrap(), [(grant.id, spent(7, 4, 1024))]);
}

/// Of many reservations at once, together no more is given than there is.
pub async fn of_many_reservations_at_once_no_more_is_given_than_there_is(place: &dyn Place) {
    let world = Arc::new(World::new(place).await);
    let grant = granted(&world).await;
    let asking = (0..8).map(|_| {
        let world = Arc::clone(&world);
        tokio::spawn(async move {
            world.budgets.reserve(world.tenant, grant.id, spent(2, 0, 0), ENDS).await.unwrap().calls
        })
    });
    let mut given = 0;
    for asked in asking.collect::<Vec<_>>() {
        given += asked.await.unwrap();
    }
    assert_eq!(given, 7);
}

/// A count is its own tenant's, and a grant's that is there.
pub async fn a_count_is_its_own_tenants(place: &dyn Place) {
    let world = World::new(place).await;
    let grant = granted(&world).await;
    let neighbour = world.neighbour().await;
    let foreign = neighbour.budgets.reserve(neighbour.tenant, grant.id, spent(1, 0, 0), ENDS).await;
    assert_eq!(foreign, Err(StoreError::Missing("grant_spent")));
    let nobodys = world.id(GrantId::new);
    let missing = world.budgets.reserve(world.tenant, nobodys, spent(1, 0, 0), ENDS).await;
    assert_eq!(missing, Err(StoreError::Missing("grant_spent")));
    world.budgets.reserve(world.tenant, grant.id, spent(1, 0, 0), ENDS).await.unwrap();
    assert_eq!(neighbour.control.spent(neighbour.tenant).await.unwrap(), []);
}
