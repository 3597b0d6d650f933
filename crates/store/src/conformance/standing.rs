//! Proves that nothing is claimed in an era before every registered keeper's log was held against the database.

use super::{Place, world::World};
use nightlatch_domain::{
    chain::ChainState,
    id::{KeeperId, OwnerId},
    ports::store::{Recalled, Registered},
};

/// A keeper with an empty log has nothing to compare, and knows a history that is empty as well; any other must compare.
pub async fn a_keeper_is_registered_once(place: &dyn Place) {
    let world = World::new(place).await;
    let (first, fresh, old) = (world.id(KeeperId::new), world.id(KeeperId::new), world.id(KeeperId::new));
    world.keeper.register(first, true, false).await.unwrap();
    world.connected("dana", "583231").await;
    world.keeper.register(fresh, true, false).await.unwrap();
    world.keeper.register(old, false, false).await.unwrap();
    world.keeper.register(first, false, false).await.unwrap();
    let era = world.keeper.standing().await.unwrap().era;
    let row = |keeper, compared, vouched| Registered { keeper, compared, vouched };
    let mut rows = [row(first, era, true), row(fresh, era, false), row(old, 0, true)];
    rows.sort_by_key(|row| row.keeper);
    assert_eq!(world.keeper.standing().await.unwrap().keepers, rows);
    world.keeper.vouch(fresh).await.unwrap();
    assert!(world.keeper.standing().await.unwrap().keepers.iter().all(|row| row.vouched));
    world.keeper.register(first, false, true).await.unwrap();
    assert_eq!(world.keeper.standing().await.unwrap().keepers, [row(first, era, true)]);
}

/// A chain that a log contradicts is left to a human in any era, and whoever held it holds it no longer.
pub async fn a_quarantine_needs_no_claim_and_ends_one(place: &dyn Place) {
    let world = World::new(place).await;
    let on = world.connected("dana", "583231").await;
    let claim = world.claimed(on.chain).await;
    world.keeper.register(world.id(KeeperId::new), false, false).await.unwrap();
    let ticket = world.ticket(on.connection);
    let seen = |fence| (world.tenant, on.chain, fence);
    let put = |fence| world.keeper.quarantine(seen(fence), "anchor-mismatch".to_owned(), ticket.clone());
    assert_eq!(put(claim.fence - 1).await, Ok(false), "somebody was there since");
    assert_eq!(put(claim.fence).await, Ok(true));
    let view = world.keeper.chain(world.tenant, on.chain).await.unwrap().unwrap();
    let (state, reason) = (view.chain.state, view.chain.reason.as_deref());
    assert_eq!((state, reason, view.chain.due_at), (ChainState::Quarantined, Some("anchor-mismatch"), None));
    assert!(view.chain.ticket.is_some());
    assert_eq!(world.keeper.settle(claim, world.settlement(ChainState::Healthy)).await, Ok(false));
}

/// In a new era, and beside a log that was not compared yet, nothing is claimed.
pub async fn nothing_is_claimed_before_every_log_was_compared(place: &dyn Place) {
    let world = World::new(place).await;
    let on = world.connected("dana", "583231").await;
    let (first, second) = (world.id(KeeperId::new), world.id(KeeperId::new));
    let claimed = async || {
        let (seen, owner) = (world.seen(on.chain).await, world.id(OwnerId::new));
        let claim = world.keeper.claim(world.tenant, on.chain, seen, owner, vec![ChainState::Healthy]).await;
        claim.unwrap()
    };
    world.keeper.register(first, false, false).await.unwrap();
    assert_eq!(claimed().await, None, "its log was not compared");
    let before = world.keeper.standing().await.unwrap();
    assert_eq!(world.keeper.compared(first, before.era).await, Ok(true));
    assert!(world.keeper.raise_era(before.era).await.unwrap());
    assert_eq!(claimed().await, None, "it was compared in the era before");
    assert_eq!(world.keeper.compared(first, before.era).await, Ok(false), "that era is over");
    world.keeper.register(second, false, false).await.unwrap();
    let standing = world.keeper.standing().await.unwrap();
    assert_eq!(standing.era, before.era + 1);
    assert_eq!(world.keeper.compared(first, standing.era).await, Ok(true));
    assert_eq!(claimed().await, None, "one was not");
    assert_eq!(world.keeper.compared(second, standing.era).await, Ok(true));
    assert!(claimed().await.is_some());
    // Each of it moved the counter row: a history that lost one is another.
    assert_ne!(standing.mark, world.keeper.standing().await.unwrap().mark);
    assert_eq!(world.keeper.recall(before.mark).await, Ok(Recalled::Held));
}

/// A database that was put back to before it is another history, though nothing else was written since.
pub async fn an_era_that_is_raised_moves_the_feeds_row(place: &dyn Place) {
    let world = World::new(place).await;
    let before = world.keeper.standing().await.unwrap();
    assert_eq!(world.keeper.raise_era(before.era + 1).await, Ok(false));
    assert_eq!(world.keeper.last_change().await, Ok(before.mark), "it is another era");
    assert_eq!(world.keeper.raise_era(before.era).await, Ok(true));
    let after = world.keeper.last_change().await.unwrap();
    assert_eq!(after.number, before.mark.number + 1);
    assert_ne!(after.random, before.mark.random);
}
