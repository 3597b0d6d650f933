//! Proves what a store lets be presented a second time, and what it takes back: once, and over nothing that stands.

use super::{
    Place,
    world::{Connected, World, later},
};
use nightlatch_domain::{
    chain::{AttemptState, ChainState},
    id::{AttemptId, OwnerId},
    ports::store::{Claim, Committed, NewHead, Settlement},
};

/// A claim on a chain in whatever state.
async fn claimed_from(world: &World, on: &Connected, state: ChainState) -> Claim {
    let (seen, owner) = (world.seen(on.chain).await, world.id(OwnerId::new));
    let claim = world.keeper.claim(world.tenant, on.chain, seen, owner, vec![state]).await;
    claim.unwrap().unwrap()
}

async fn left(world: &World, claim: Claim, attempt: AttemptId, attempted: AttemptState, state: ChainState) {
    let settlement = Settlement { attempt: Some((attempt, attempted)), ..world.settlement(state) };
    assert!(world.keeper.settle(claim, settlement).await.unwrap());
}

/// An attempt whose answer is lost, and the chain claimed again.
async fn lost(world: &World, on: &Connected) -> (AttemptId, Claim) {
    let claim = world.claimed(on.chain).await;
    let first = world.intended(claim, on.family, 1).await;
    left(world, claim, first, AttemptState::Uncertain, ChainState::Uncertain).await;
    (first, claimed_from(world, on, ChainState::Uncertain).await)
}

/// Over a lost answer no first presentation is intended, and one retry; over the retry nothing.
pub async fn a_retry_is_intended_once_and_only_over_a_lost_answer(place: &dyn Place) {
    let world = World::new(place).await;
    let on = world.connected("dana", "583231").await;
    let keeper = &world.keeper;
    let untouched = world.claimed(on.chain).await;
    let again = |claim, of| keeper.intend_again(claim, world.attempt(claim, on.family, 1), of);
    assert_eq!(again(untouched, world.id(AttemptId::new)).await, Ok(false), "nothing was presented");
    let first = world.intended(untouched, on.family, 1).await;
    assert_eq!(again(untouched, first).await, Ok(false), "its answer is not lost");
    left(&world, untouched, first, AttemptState::Uncertain, ChainState::Uncertain).await;
    let claim = claimed_from(&world, &on, ChainState::Uncertain).await;
    assert_eq!(keeper.intend(claim, world.attempt(claim, on.family, 1)).await, Ok(false));
    assert_eq!(again(untouched, first).await, Ok(false), "its claim is over");
    assert_eq!(again(claim, world.id(AttemptId::new)).await, Ok(false), "it is another's");
    let retry = world.attempt(claim, on.family, 1);
    assert_eq!(keeper.intend_again(claim, retry.clone(), first).await, Ok(true));
    assert_eq!(again(claim, first).await, Ok(false), "it is spent");
    // One that turned out to be none did not spend it.
    left(&world, claim, retry.id, AttemptState::NotPresented, ChainState::Uncertain).await;
    let claim = claimed_from(&world, &on, ChainState::Uncertain).await;
    assert_eq!(again(claim, first).await, Ok(true));
    let found = keeper.attempts(world.tenant, on.family, 1).await.unwrap();
    let states: Vec<_> = found.iter().map(|attempt| attempt.state).collect();
    assert_eq!(states.len(), 3);
    assert_eq!(states.iter().filter(|state| **state == AttemptState::NotPresented).count(), 1);
    assert_eq!(keeper.attempts(world.tenant, on.family, 2).await.unwrap(), []);
}

/// An overtaken owner may take its attempt back, and not once it was retried, answered or refused.
pub async fn an_attempt_is_withdrawn_only_while_nothing_else_was_presented(place: &dyn Place) {
    let world = World::new(place).await;
    let (keeper, tenant) = (&world.keeper, world.tenant);
    let on = world.connected("taken-back", "1").await;
    let (first, claim) = lost(&world, &on).await;
    assert_eq!(keeper.withdraw(tenant, first).await, Ok(true));
    assert_eq!(keeper.withdraw(tenant, first).await, Ok(false), "it is taken back");
    assert_eq!(keeper.intend(claim, world.attempt(claim, on.family, 1)).await, Ok(true));

    let on = world.connected("retried", "2").await;
    let (first, claim) = lost(&world, &on).await;
    let retry = world.attempt(claim, on.family, 1);
    assert_eq!(keeper.intend_again(claim, retry, first).await, Ok(true));
    assert_eq!(keeper.withdraw(tenant, first).await, Ok(false));

    let on = world.connected("answered", "3").await;
    let (first, _) = lost(&world, &on).await;
    world.answered(first, "late").await;
    assert_eq!(keeper.withdraw(tenant, first).await, Ok(false));
    assert_eq!(keeper.withdraw(tenant, world.id(AttemptId::new)).await, Ok(false));

    // What was read and said nothing clear left its answer behind, though the attempt is uncertain again.
    let on = world.connected("unclear", "4").await;
    let claim = world.claimed(on.chain).await;
    let first = world.intended(claim, on.family, 1).await;
    world.answered(first, "unclear").await;
    left(&world, claim, first, AttemptState::Uncertain, ChainState::Uncertain).await;
    assert_eq!(keeper.withdraw(tenant, first).await, Ok(false));
}

/// That an answer is lost is not said over one that came in the meantime.
pub async fn an_answer_that_came_is_not_settled_as_lost(place: &dyn Place) {
    let world = World::new(place).await;
    let on = world.connected("dana", "583231").await;
    let claim = world.claimed(on.chain).await;
    let attempt = world.intended(claim, on.family, 1).await;
    let lost = Settlement {
        attempt: Some((attempt, AttemptState::Uncertain)),
        unanswered: true,
        ..world.settlement(ChainState::Uncertain)
    };
    world.answered(attempt, "late").await;
    assert_eq!(world.keeper.settle(claim, lost.clone()).await, Ok(false));
    let stands = world.keeper.attempt(world.tenant, attempt).await.unwrap().unwrap();
    assert_eq!(stands.state, AttemptState::Answered);
    // What was read and brought nothing is.
    let read = Settlement { unanswered: false, ..lost };
    assert_eq!(world.keeper.settle(claim, read).await, Ok(true));
}

/// The head moves to an unused answer of an earlier generation, once, and its attempt is the committed one.
pub async fn an_unused_answer_is_adopted_once(place: &dyn Place) {
    let world = World::new(place).await;
    let on = world.connected("dana", "583231").await;
    let keeper = &world.keeper;
    let (first, claim) = lost(&world, &on).await;
    let retry = world.attempt(claim, on.family, 1);
    assert_eq!(keeper.intend_again(claim, retry.clone(), first).await, Ok(true));
    world.answered(retry.id, "answer").await;
    assert_eq!(keeper.commit(claim, world.head(retry.id, on.family, 2)).await, Ok(Committed::Moved));
    let claim = world.claimed(on.chain).await;
    let refused = world.intended(claim, on.family, 2).await;
    world.answered(refused, "refused").await;
    let adopting = |adopts| NewHead { adopts: Some(adopts), ..world.head(refused, on.family, 3) };
    assert_eq!(keeper.commit(claim, adopting(first)).await, Ok(Committed::Lost), "it has no answer");
    world.answered(first, "late").await;
    for used in [retry.id, refused, world.id(AttemptId::new)] {
        assert_eq!(keeper.commit(claim, adopting(used)).await, Ok(Committed::Lost), "{used}");
    }
    assert_eq!(keeper.commit(claim, adopting(first)).await, Ok(Committed::Moved));
    let state = async |id| keeper.attempt(world.tenant, id).await.unwrap().unwrap().state;
    assert_eq!((state(first).await, state(refused).await), (AttemptState::Committed, AttemptState::Refused));
    assert_eq!(keeper.heads().await.unwrap(), [(world.tenant, on.family, 3)]);
}

/// What somebody holds is not due; what nobody finished is found as long as it is at a head.
pub async fn what_is_held_is_not_due_and_what_lies_below_a_head_is_not_open(place: &dyn Place) {
    let world = World::new(place).await;
    let on = world.connected("dana", "583231").await;
    let due = async || world.keeper.due(later(9000), 9).await.unwrap().len();
    assert_eq!(due().await, 1);
    let (first, claim) = lost(&world, &on).await;
    assert_eq!((due().await, world.keeper.next_due().await), (0, Ok(None)));
    let retry = world.attempt(claim, on.family, 1);
    assert_eq!(world.keeper.intend_again(claim, retry.clone(), first).await, Ok(true));
    world.answered(retry.id, "answer").await;
    world.answered(first, "late").await;
    assert_eq!(world.keeper.open_attempts().await.unwrap().len(), 2);
    let head = world.head(retry.id, on.family, 2);
    assert_eq!(world.keeper.commit(claim, head).await, Ok(Committed::Moved));
    assert_eq!((due().await, world.keeper.open_attempts().await), (1, Ok(Vec::new())));
    // Beside a head that was refused, what nobody read is open again.
    let claim = world.claimed(on.chain).await;
    let refused = world.intended(claim, on.family, 2).await;
    world.answered(refused, "refused").await;
    left(&world, claim, refused, AttemptState::Refused, ChainState::Latched).await;
    let open = world.keeper.open_attempts().await.unwrap();
    assert_eq!(open.iter().map(|one| one.id).collect::<Vec<_>>(), [first]);
}
