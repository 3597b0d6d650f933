//! Proves that nothing is claimed in an era before every registered keeper's log was held against the database.

use super::{
    Place,
    world::{World, later},
};
use nightlatch_domain::{
    chain::{Attempt, AttemptState, ChainState},
    id::{KeeperId, OwnerId},
    ports::store::{Healed, Kill, Recalled, Registered},
    ticket::Ticket,
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
    let ticket = Ticket { era: Some(3), ..world.ticket(on.connection) };
    let seen = |fence| (world.tenant, on.chain, fence);
    let put = |fence| world.keeper.quarantine(seen(fence), "anchor-mismatch".to_owned(), ticket.clone());
    assert_eq!(put(claim.fence - 1).await, Ok(false), "somebody was there since");
    assert_eq!(put(claim.fence).await, Ok(true));
    let view = world.keeper.chain(world.tenant, on.chain).await.unwrap().unwrap();
    let (state, reason) = (view.chain.state, view.chain.reason.as_deref());
    assert_eq!((state, reason, view.chain.due_at), (ChainState::Quarantined, Some("anchor-mismatch"), None));
    assert_eq!(view.chain.ticket, Some(ticket.id));
    assert_eq!(world.control.tickets(world.tenant).await.unwrap(), [ticket]);
    assert_eq!(world.keeper.settle(claim, world.settlement(ChainState::Healthy)).await, Ok(false));
}

/// A head that was lost moves upwards alone, as it was seen, in its own era and family, while somebody lives on it.
pub async fn a_head_that_was_lost_is_healed_upwards(place: &dyn Place) {
    let world = World::new(place).await;
    let (on, other) = (world.connected("dana", "583231").await, world.connected("erin", "583232").await);
    let claim = world.claimed(on.chain).await;
    world.keeper.register(world.id(KeeperId::new), false, false).await.unwrap();
    let healed = |presented| Healed {
        fence: claim.fence,
        attempt: world.attempt(claim, on.family, presented),
        generation: world.generation(on.family, presented + 1),
        due_at: Some(later(60)),
        refreshed_at: later(5),
    };
    let refused = [
        Healed { fence: claim.fence - 1, ..healed(4) },
        Healed { attempt: Attempt { era: 2, ..healed(4).attempt }, ..healed(4) },
        Healed { attempt: Attempt { family: other.family, ..healed(4).attempt }, ..healed(4) },
        healed(0),
    ];
    for one in refused {
        assert_eq!(world.keeper.heal(one.clone()).await, Ok(false), "{one:?}");
    }
    let before = world.keeper.last_change().await.unwrap();
    let lost = healed(4);
    assert_eq!(world.keeper.heal(lost.clone()).await, Ok(true));
    assert_ne!(world.keeper.last_change().await.unwrap(), before, "it is a move of its own");
    let view = world.keeper.chain(world.tenant, on.chain).await.unwrap().unwrap();
    assert_eq!((view.head.number, view.chain.state), (5, ChainState::Healthy));
    assert_eq!((view.chain.due_at, view.chain.fence), (Some(later(60)), claim.fence + 1));
    let attempt = world.keeper.attempt(world.tenant, lost.attempt.id).await.unwrap().unwrap();
    assert_eq!((attempt.state, attempt.generation), (AttemptState::Committed, 4));
    assert_eq!(world.keeper.settle(claim, world.settlement(ChainState::Healthy)).await, Ok(false));
    let again = Healed { fence: claim.fence + 1, ..healed(3) };
    assert_eq!(world.keeper.heal(again).await, Ok(false), "it is above that");
    let killed = Healed { fence: claim.fence + 1, ..healed(7) };
    world.keeper.kill(Kill::Chain { tenant: world.tenant, chain: on.chain }, later(9)).await.unwrap();
    assert_eq!(world.keeper.heal(killed).await, Ok(false));
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
    let (stands, recalled) = world.keeper.standing_and_recall(before.mark).await.unwrap();
    assert_eq!((stands, recalled), (world.keeper.standing().await.unwrap(), Recalled::Held));
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

/// A keeper that changed since it was looked at is not forgotten, and one that is gone holds nothing up.
pub async fn a_keeper_is_forgotten_as_it_was_seen(place: &dyn Place) {
    let world = World::new(place).await;
    let on = world.connected("dana", "583231").await;
    let (first, gone) = (world.id(KeeperId::new), world.id(KeeperId::new));
    world.keeper.register(first, false, false).await.unwrap();
    world.keeper.register(gone, false, false).await.unwrap();
    let era = world.keeper.standing().await.unwrap().era;
    assert_eq!(world.keeper.compared(first, era).await, Ok(true));
    let claimed = async || {
        let (seen, owner) = (world.seen(on.chain).await, world.id(OwnerId::new));
        world.keeper.claim(world.tenant, on.chain, seen, owner, vec![ChainState::Healthy]).await.unwrap()
    };
    assert_eq!(claimed().await, None, "one was not compared");
    let before = world.keeper.standing().await.unwrap();
    let seen = Registered { keeper: gone, compared: 0, vouched: true };
    for (other, era) in [
        (Registered { compared: 1, ..seen }, era),
        (Registered { vouched: false, ..seen }, era),
        (seen, era + 1),
        (Registered { keeper: world.id(KeeperId::new), ..seen }, era),
    ] {
        assert_eq!(world.keeper.forget(other, era).await, Ok(false), "{other:?}");
    }
    assert_eq!(world.keeper.standing().await.unwrap(), before);
    assert_eq!(world.keeper.forget(seen, era).await, Ok(true));
    let after = world.keeper.standing().await.unwrap();
    assert_eq!(after.keepers, [Registered { keeper: first, compared: era, vouched: true }]);
    assert_ne!(after.mark, before.mark, "a history that lost this is another");
    assert!(claimed().await.is_some());
}

/// What was left to a human for another reason, or was touched since, stays there.
pub async fn a_quarantine_ends_for_its_own_reason_alone(place: &dyn Place) {
    let world = World::new(place).await;
    let on = world.connected("dana", "583231").await;
    let view = async || world.keeper.chain(world.tenant, on.chain).await.unwrap().unwrap();
    let release = async |fence, reason: &str| {
        let seen = (world.tenant, on.chain, fence);
        world.keeper.release(seen, reason.to_owned(), later(7), later(1)).await
    };
    let fence = view().await.chain.fence;
    assert_eq!(release(fence, "unvouched").await, Ok(false), "it is in no quarantine");
    let seen = (world.tenant, on.chain, fence);
    let ticket = world.ticket(on.connection);
    assert_eq!(world.keeper.quarantine(seen, "unvouched".to_owned(), ticket).await, Ok(true));
    let fence = view().await.chain.fence;
    assert_eq!(release(fence, "anchor-mismatch").await, Ok(false));
    assert_eq!(release(fence - 1, "unvouched").await, Ok(false));
    assert_eq!(view().await.chain.state, ChainState::Quarantined);
    assert_eq!(release(fence, "unvouched").await, Ok(true));
    let chain = view().await.chain;
    assert_eq!((chain.state, chain.due_at, chain.fence), (ChainState::Healthy, Some(later(7)), fence + 1));
    assert_eq!((chain.reason, chain.ticket, chain.failures), (None, None, 0));
    assert_eq!(world.control.tickets(world.tenant).await.unwrap(), []);
    assert_eq!(release(fence, "unvouched").await, Ok(false), "once");
}

/// Each chain comes once, whatever its state.
pub async fn chains_are_listed_in_pages(place: &dyn Place) {
    let world = World::new(place).await;
    let mut all = Vec::new();
    for name in ["dana", "erin", "finn"] {
        all.push((world.tenant, world.connected(name, name).await.chain));
    }
    all.sort_unstable();
    let fence = world.keeper.chain(world.tenant, all[1].1).await.unwrap().unwrap();
    let ticket = world.ticket(fence.connections[0]);
    let seen = (world.tenant, all[1].1, fence.chain.fence);
    world.keeper.quarantine(seen, "unvouched".to_owned(), ticket).await.unwrap();
    assert_eq!(world.keeper.chains(None, 2).await.unwrap(), all[..2]);
    assert_eq!(world.keeper.chains(Some(all[1]), 2).await.unwrap(), all[2..]);
    assert_eq!(world.keeper.chains(Some(all[2]), 2).await.unwrap(), []);
}
