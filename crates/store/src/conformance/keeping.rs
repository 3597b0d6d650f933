//! Proves the keeper's rules: one holder, one presentation, one head, and nothing lost on the way.

use super::{
    Place,
    world::{CLAIMABLE, Connected, NOW, World, later},
};
use nightlatch_domain::{
    chain::{Attempt, AttemptState, Chain, ChainState, Generation},
    id::{AttemptId, ChainId, FamilyId, InstallationId, OwnerId, TenantId},
    ports::store::{Claim, Committed, FeedMark, NewConnection, NewHead, Recalled, Seen, Settlement},
    sealed::{SealContext, SecretKind},
};

/// Eight owners see the same fence; one gets the chain.
pub async fn of_eight_claimers_one_wins(place: &dyn Place) {
    let world = World::new(place).await;
    let on = world.connected("dana", "583231").await;
    let (tenant, chain, seen) = (world.tenant, on.chain, world.seen(on.chain).await);
    let racers: Vec<_> = (0..8)
        .map(|_| {
            let (keeper, owner) = (world.keeper.clone(), world.id(OwnerId::new));
            let racer =
                async move { keeper.claim(tenant, chain, seen, owner, CLAIMABLE.to_vec()).await.unwrap() };
            tokio::spawn(racer)
        })
        .collect();
    let mut winners = Vec::new();
    for racer in racers {
        winners.extend(racer.await.unwrap());
    }
    assert_eq!(winners.len(), 1);
    let row = world.chain_row(chain).await;
    assert_eq!((row.fence, row.owner, row.state), (1, Some(winners[0].owner), ChainState::Refreshing));
    assert_eq!(winners[0], Claim { tenant, chain, fence: 1, owner: winners[0].owner });
}

/// Fence, state, era, family, head and a living connection: each alone refuses a claim.
pub async fn a_claim_repeats_every_precondition(place: &dyn Place) {
    let world = World::new(place).await;
    let on = world.connected("dana", "583231").await;
    let owner = world.id(OwnerId::new);
    let seen = world.seen(on.chain).await;
    let claim =
        |seen, from: &[ChainState]| world.keeper.claim(world.tenant, on.chain, seen, owner, from.to_vec());
    let otherwise = [
        Seen { fence: 1, ..seen },
        Seen { era: 2, ..seen },
        Seen { era: 0, ..seen },
        Seen { family: world.id(FamilyId::new), ..seen },
        Seen { head: 0, ..seen },
        Seen { head: 2, ..seen },
    ];
    for other in otherwise {
        assert_eq!(claim(other, &CLAIMABLE).await.unwrap(), None, "{other:?}");
    }
    assert_eq!(claim(seen, &[ChainState::BackingOff, ChainState::Latched]).await.unwrap(), None);
    assert_eq!(claim(seen, &[]).await.unwrap(), None);
    let row = world.chain_row(on.chain).await;
    assert_eq!((row.fence, row.owner, row.state), (0, None, ChainState::Healthy));
    assert!(claim(seen, &CLAIMABLE).await.unwrap().is_some());
    let held = Seen { fence: 1, ..seen };
    assert!(claim(held, &[ChainState::Refreshing]).await.unwrap().is_some(), "a dead holder is taken over");

    let gone = world.connected("gone", "1").await;
    let seen = world.seen(gone.chain).await;
    world.keeper.remove_connection(world.tenant, gone.connection, later(1)).await.unwrap();
    let every = [ChainState::Healthy, ChainState::Latched, ChainState::Refreshing];
    for fence in 0..3 {
        let seen = Seen { fence, ..seen };
        let claim = world.keeper.claim(world.tenant, gone.chain, seen, owner, every.to_vec()).await;
        assert_eq!(claim.unwrap(), None);
    }
}

/// How long ago an intent was is reckoned by its keeper's clock and by the store's, where it has one.
pub async fn an_intent_says_what_both_clocks_said(place: &dyn Place) {
    let world = World::new(place).await;
    let on = world.connected("dana", "583231").await;
    let claim = world.claimed(on.chain).await;
    let before = world.keeper.clock().await.unwrap();
    let id = world.intended(claim, on.family, 1).await;
    let after = world.keeper.clock().await.unwrap();
    let attempt = world.keeper.attempt(world.tenant, id).await.unwrap().unwrap();
    let (Some(before), Some(after)) = (before, after) else {
        assert_eq!((attempt.intended_at, attempt.intended_by), (NOW, NOW));
        return;
    };
    let by_store = if attempt.intended_at == NOW { attempt.intended_by } else { attempt.intended_at };
    assert!((before..=after).contains(&by_store), "{before:?} {attempt:?} {after:?}");
    assert_eq!(attempt.intended_at, by_store.min(NOW));
    assert_eq!(attempt.intended_by, by_store.max(NOW));
}

/// After a take-over the old holder's intent, commit and settlement do nothing.
pub async fn a_holder_that_was_overtaken_writes_nothing(place: &dyn Place) {
    let world = World::new(place).await;
    let on = world.connected("dana", "583231").await;
    let old = world.claimed(on.chain).await;
    let attempt = world.intended(old, on.family, 1).await;
    world.answered(attempt, "answer").await;
    let new = taken_over(&world, on.chain, old.fence).await;
    assert_nothing_is_written(&world, &on, old, attempt).await;
    assert_eq!(world.chain_row(on.chain).await.owner, Some(new.owner));
}

/// A claim with the right fence and another owner, or the right owner and another fence, is no claim.
pub async fn the_fence_alone_and_the_owner_alone_do_not_suffice(place: &dyn Place) {
    let world = World::new(place).await;
    let on = world.connected("dana", "583231").await;
    let claim = world.claimed(on.chain).await;
    let attempt = world.intended(claim, on.family, 1).await;
    world.answered(attempt, "answer").await;
    let stranger = Claim { owner: world.id(OwnerId::new), ..claim };
    let earlier = Claim { fence: claim.fence - 1, ..claim };
    for wrong in [stranger, earlier] {
        assert_nothing_is_written(&world, &on, wrong, attempt).await;
    }
    let released = Settlement { failures: 0, ..world.settlement(ChainState::BackingOff) };
    assert!(world.keeper.settle(claim, released).await.unwrap());
    assert_nothing_is_written(&world, &on, claim, attempt).await;
}

/// With no attempt in the way: an intent needs the fence, the owner, and a claim that was not released.
pub async fn an_intent_of_a_lost_claim_is_not_written(place: &dyn Place) {
    let world = World::new(place).await;
    let on = world.connected("dana", "583231").await;
    let old = world.claimed(on.chain).await;
    let claim = taken_over(&world, on.chain, old.fence).await;
    let fence_only = Claim { owner: old.owner, ..claim };
    let owner_only = Claim { fence: old.fence, ..claim };
    for wrong in [old, fence_only, owner_only] {
        let attempt = world.attempt(wrong, on.family, 1);
        assert_eq!(world.keeper.intend(wrong, attempt.clone()).await, Ok(false));
        assert_eq!(world.keeper.attempt(world.tenant, attempt.id).await, Ok(None));
    }
    assert!(world.keeper.settle(claim, world.settlement(ChainState::Healthy)).await.unwrap());
    assert_eq!(world.keeper.intend(claim, world.attempt(claim, on.family, 1)).await, Ok(false));
}

async fn assert_nothing_is_written(world: &World, on: &Connected, claim: Claim, attempt: AttemptId) {
    let before = world.keeper.chain(world.tenant, on.chain).await.unwrap();
    let fresh = world.attempt(claim, on.family, 1);
    assert_eq!(world.keeper.intend(claim, fresh.clone()).await, Ok(false));
    assert_eq!(world.keeper.attempt(world.tenant, fresh.id).await, Ok(None));
    assert_eq!(world.keeper.commit(claim, world.head(attempt, on.family, 2)).await, Ok(Committed::Lost));
    let settlement = Settlement {
        attempt: Some((attempt, AttemptState::Refused)),
        ticket: Some(world.ticket(on.connection)),
        ..world.settlement(ChainState::Latched)
    };
    assert_eq!(world.keeper.settle(claim, settlement).await, Ok(false));
    assert_eq!(world.keeper.chain(world.tenant, on.chain).await.unwrap(), before);
    let kept = world.keeper.attempt(world.tenant, attempt).await.unwrap().unwrap();
    assert_eq!(kept.state, AttemptState::Answered);
    assert!(kept.answer.is_some());
    assert!(world.control.tickets(world.tenant).await.unwrap().is_empty());
}

async fn taken_over(world: &World, chain: ChainId, fence: u64) -> Claim {
    let owner = world.id(OwnerId::new);
    let from = vec![ChainState::Refreshing, ChainState::Uncertain];
    let seen = Seen { fence, ..world.seen(chain).await };
    world.keeper.claim(world.tenant, chain, seen, owner, from).await.unwrap().unwrap()
}

/// Another generation, or a family that is no longer current, is not presented.
pub async fn an_intent_needs_the_head_of_the_current_family(place: &dyn Place) {
    let world = World::new(place).await;
    let on = world.connected("dana", "583231").await;
    let again = world.again(&on.made);
    world.keeper.put_connection(again.clone()).await.unwrap();
    let current = again.tokens.unwrap().1.id;
    let claim = world.claimed(on.chain).await;
    for (family, generation) in [(on.family, 1), (current, 0), (current, 2), (world.id(FamilyId::new), 1)] {
        let attempt = world.attempt(claim, family, generation);
        assert_eq!(world.keeper.intend(claim, attempt).await, Ok(false), "{family} {generation}");
    }
    let attempt = world.attempt(claim, current, 1);
    assert_eq!(world.keeper.intend(claim, attempt.clone()).await, Ok(true));
    let stored = world.keeper.attempt(world.tenant, attempt.id).await.unwrap().unwrap();
    // The store's own clock is beside the keeper's there: see `an_intent_says_what_both_clocks_said`.
    let Attempt { intended_at, intended_by, .. } = stored;
    assert_eq!(stored, Attempt { intended_at, intended_by, ..attempt });
}

/// I1: while an attempt is intended or answered, the generation is not presented by another.
pub async fn no_second_intent_while_one_may_have_been_sent(place: &dyn Place) {
    let world = World::new(place).await;
    let on = world.connected("dana", "583231").await;
    let first = world.claimed(on.chain).await;
    let attempt = world.intended(first, on.family, 1).await;
    assert_eq!(world.keeper.intend(first, world.attempt(first, on.family, 1)).await, Ok(false));
    let second = taken_over(&world, on.chain, first.fence).await;
    assert_eq!(world.keeper.intend(second, world.attempt(second, on.family, 1)).await, Ok(false));
    let never_sent = Settlement {
        attempt: Some((attempt, AttemptState::NotPresented)),
        ..world.settlement(ChainState::BackingOff)
    };
    assert!(world.keeper.settle(second, never_sent).await.unwrap());
    let third = world.claimed(on.chain).await;
    world.intended(third, on.family, 1).await;
}

/// The answer of a holder that was overtaken, and of one that had given up, is stored all the same.
pub async fn an_answer_is_kept_whoever_holds_the_claim(place: &dyn Place) {
    let world = World::new(place).await;
    let on = world.connected("dana", "583231").await;
    let old = world.claimed(on.chain).await;
    let attempt = world.intended(old, on.family, 1).await;
    let new = taken_over(&world, on.chain, old.fence).await;
    let gave_up = Settlement {
        attempt: Some((attempt, AttemptState::Uncertain)),
        ..world.settlement(ChainState::Uncertain)
    };
    assert!(world.keeper.settle(new, gave_up).await.unwrap());
    world.answered(attempt, "late").await;
    let kept = world.keeper.attempt(world.tenant, attempt).await.unwrap().unwrap();
    assert_eq!((kept.state, kept.answer.unwrap().0.ciphertext.as_str()), (AttemptState::Answered, "late"));
    assert_eq!(world.keeper.open_attempts().await.unwrap().len(), 1);
}

/// The attempt's own row went with a database that was put back; the answer is not lost with it. The first one stays.
pub async fn an_answer_without_its_attempt_is_kept(place: &dyn Place) {
    let world = World::new(place).await;
    let on = world.connected("dana", "583231").await;
    let unknown = world.id(AttemptId::new);
    let (wrapped, context) = world.wrapped(SecretKind::Answer, "living tokens");
    let answer = (wrapped, SealContext { chain: Some(on.chain), ..context });
    world.keeper.answer(world.tenant, unknown, answer.clone()).await.unwrap();
    let second = world.wrapped(SecretKind::Answer, "second");
    let second = (second.0, answer.1.clone());
    world.keeper.answer(world.tenant, unknown, second).await.unwrap();
    assert_eq!(world.keeper.attempt(world.tenant, unknown).await, Ok(None));
    let world = world.reopened(place);
    assert_eq!(world.keeper.answers(world.tenant, on.chain).await, Ok(vec![(unknown, answer)]));
    assert_eq!(world.keeper.answers(world.tenant, world.id(ChainId::new)).await, Ok(vec![]));
    assert_eq!(world.keeper.answers(world.id(TenantId::new), on.chain).await, Ok(vec![]));
}

/// A history that lost a refresh is another one: each intent and each commit moves the row, with a value of its own.
pub async fn an_intent_and_a_commit_move_the_feeds_row(place: &dyn Place) {
    let world = World::new(place).await;
    let on = world.connected("dana", "583231").await;
    let changes = world.directory.snapshot().await.unwrap().0;
    let claim = world.claimed(on.chain).await;
    let mut seen = vec![world.keeper.last_change().await.unwrap()];
    let attempt = world.intended(claim, on.family, 1).await;
    seen.push(world.keeper.last_change().await.unwrap());
    assert!(!world.keeper.intend(claim, world.attempt(claim, on.family, 1)).await.unwrap());
    assert_eq!(world.keeper.last_change().await.unwrap(), seen[1], "a refused intent moves nothing");
    world.answered(attempt, "answer").await;
    assert_eq!(world.keeper.commit(claim, world.head(attempt, on.family, 2)).await, Ok(Committed::Moved));
    seen.push(world.keeper.last_change().await.unwrap());
    let numbers: Vec<_> = seen.iter().map(|mark| mark.number).collect();
    assert_eq!(numbers, [numbers[0], numbers[0] + 1, numbers[0] + 2]);
    assert!(seen[0].random != seen[1].random && seen[1].random != seen[2].random);
    assert_eq!(world.directory.snapshot().await.unwrap().0, changes, "no gateway has anything to read anew");

    let keeper = &world.keeper;
    for mark in &seen {
        assert_eq!(keeper.recall(*mark).await, Ok(Recalled::Held));
        let other = FeedMark { random: [7; 16], ..*mark };
        assert_eq!(keeper.recall(other).await, Ok(Recalled::Other));
    }
    let beyond = FeedMark { number: seen[2].number + 1, ..seen[2] };
    assert_eq!(keeper.recall(beyond).await, Ok(Recalled::Other), "it has not come so far");
}

/// The era is raised once by whoever saw the old one; what was claimed in the old one intends nothing any more.
pub async fn an_era_is_raised_once_and_ends_older_claims(place: &dyn Place) {
    let world = World::new(place).await;
    let on = world.connected("dana", "583231").await;
    let old = world.claimed(on.chain).await;
    assert_eq!(world.keeper.raise_era(1).await, Ok(true));
    assert_eq!(world.keeper.raise_era(1).await, Ok(false));
    assert_eq!(world.keeper.installation(world.id(InstallationId::new)).await.unwrap().era, 2);
    assert_eq!(world.keeper.intend(old, world.attempt(old, on.family, 1)).await, Ok(false));
    let seen = Seen { fence: old.fence, ..world.seen(on.chain).await };
    let owner = world.id(OwnerId::new);
    let refreshing = vec![ChainState::Refreshing];
    let claim = |era| {
        let seen = Seen { era, ..seen };
        world.keeper.claim(world.tenant, on.chain, seen, owner, refreshing.clone())
    };
    assert_eq!(claim(1).await, Ok(None));
    let claim = claim(2).await.unwrap().unwrap();
    let attempt = Attempt { era: 2, ..world.attempt(claim, on.family, 1) };
    assert_eq!(world.keeper.intend(claim, attempt).await, Ok(true));
}

/// From generation 1 to 2, once; never to 3, never again to 2.
pub async fn the_head_moves_once_and_by_one(place: &dyn Place) {
    let world = World::new(place).await;
    let on = world.connected("dana", "583231").await;
    let claim = world.claimed(on.chain).await;
    let attempt = world.intended(claim, on.family, 1).await;
    world.answered(attempt, "answer").await;
    let leap = world.head(attempt, on.family, 3);
    assert_eq!(world.keeper.commit(claim, leap).await, Ok(Committed::Lost));
    let unknown = world.head(world.id(AttemptId::new), on.family, 2);
    assert_eq!(world.keeper.commit(claim, unknown).await, Ok(Committed::Lost));
    let head = world.head(attempt, on.family, 2);
    assert_eq!(world.keeper.commit(claim, head.clone()).await, Ok(Committed::Moved));
    let view = world.keeper.chain(world.tenant, on.chain).await.unwrap().unwrap();
    assert_eq!((view.family.head, view.head), (2, head.generation.clone()));
    let row = view.chain;
    assert_eq!((row.owner, row.state, row.fence), (None, ChainState::Healthy, claim.fence));
    assert_eq!((row.due_at, row.refreshed_at), (head.due_at, Some(head.refreshed_at)));
    assert_eq!(world.keeper.commit(claim, head).await, Ok(Committed::Lost));
    let next = world.claimed(on.chain).await;
    let stale = world.head(attempt, on.family, 3);
    assert_eq!(world.keeper.commit(next, stale).await, Ok(Committed::Lost), "the attempt presented 1");
    assert_eq!(world.keeper.heads().await.unwrap(), [(world.tenant, on.family, 2)]);
    let committed = world.keeper.attempt(world.tenant, attempt).await.unwrap().unwrap();
    assert_eq!(committed.state, AttemptState::Committed);
}

/// The next holder adopts what the dead one had answered.
pub async fn an_answer_of_a_dead_holder_is_committed_by_the_next(place: &dyn Place) {
    let world = World::new(place).await;
    let on = world.connected("dana", "583231").await;
    let dead = world.claimed(on.chain).await;
    let attempt = world.intended(dead, on.family, 1).await;
    world.answered(attempt, "answer").await;
    let next = taken_over(&world, on.chain, dead.fence).await;
    assert_eq!(world.keeper.commit(next, world.head(attempt, on.family, 2)).await, Ok(Committed::Moved));
    assert!(world.keeper.open_attempts().await.unwrap().is_empty());
}

/// I5: after the last connection's removal no head moves, and the chain is nobody's.
pub async fn a_commit_after_the_removal_moves_nothing(place: &dyn Place) {
    let world = World::new(place).await;
    let on = world.connected("dana", "583231").await;
    let claim = world.claimed(on.chain).await;
    let attempt = world.intended(claim, on.family, 1).await;
    world.keeper.remove_connection(world.tenant, on.connection, later(1)).await.unwrap();
    world.answered(attempt, "late").await;
    assert_eq!(world.keeper.commit(claim, world.head(attempt, on.family, 2)).await, Ok(Committed::Removed));
    assert_eq!(world.keeper.heads().await.unwrap(), [(world.tenant, on.family, 1)]);
    assert_eq!(world.keeper.chain(world.tenant, on.chain).await.unwrap(), None);
    assert_eq!(world.keeper.settle(claim, world.settlement(ChainState::Healthy)).await, Ok(false));
    assert_eq!(world.keeper.intend(claim, world.attempt(claim, on.family, 1)).await, Ok(false));
    let kept = world.keeper.attempt(world.tenant, attempt).await.unwrap().unwrap();
    assert_eq!(kept.answer.unwrap().0.ciphertext, "late");
}

/// Whoever is first, in the end nothing is left that could be used.
pub async fn a_commit_and_a_removal_at_once_leave_no_credential(place: &dyn Place) {
    let world = World::new(place).await;
    for round in 0..10 {
        let on = world.connected(&format!("c{round}"), &round.to_string()).await;
        let claim = world.claimed(on.chain).await;
        let attempt = world.intended(claim, on.family, 1).await;
        let (keeper, head) = (world.keeper.clone(), world.head(attempt, on.family, 2));
        let commit = tokio::spawn(async move { keeper.commit(claim, head).await.unwrap() });
        world.keeper.remove_connection(world.tenant, on.connection, later(1)).await.unwrap();
        assert_ne!(commit.await.unwrap(), Committed::Lost);
        assert_eq!(world.keeper.chain(world.tenant, on.chain).await.unwrap(), None);
    }
}

/// A human's new consent wins over a refresh of the old family, which then changes nothing.
pub async fn a_reconnect_takes_the_chain_from_a_running_refresh(place: &dyn Place) {
    let world = World::new(place).await;
    let on = world.connected("dana", "583231").await;
    let claim = world.claimed(on.chain).await;
    let attempt = world.intended(claim, on.family, 1).await;
    let again = world.again(&on.made);
    world.keeper.put_connection(again.clone()).await.unwrap();
    world.answered(attempt, "answer of the old family").await;
    assert_nothing_is_written(&world, &on, claim, attempt).await;
    let view = world.keeper.chain(world.tenant, on.chain).await.unwrap().unwrap();
    assert_eq!((view.chain.fence, view.family.id), (claim.fence + 1, again.tokens.unwrap().1.id));
    assert_eq!((view.chain.state, view.family.head), (ChainState::Healthy, 1));
}

/// What was wrong is over with the head that moved, for every connection of the chain.
pub async fn a_commit_settles_tickets_and_failures(place: &dyn Place) {
    let world = World::new(place).await;
    let on = world.connected("dana", "583231").await;
    world.second_connection(&on, "dana-2").await;
    let claim = world.claimed(on.chain).await;
    let asked =
        Settlement { ticket: Some(world.ticket(on.connection)), ..world.settlement(ChainState::BackingOff) };
    world.keeper.settle(claim, asked).await.unwrap();
    assert_eq!(world.control.tickets(world.tenant).await.unwrap().len(), 2);
    let claim = world.claimed(on.chain).await;
    let attempt = world.intended(claim, on.family, 1).await;
    world.keeper.commit(claim, world.head(attempt, on.family, 2)).await.unwrap();
    assert!(world.control.tickets(world.tenant).await.unwrap().is_empty());
    let row = world.chain_row(on.chain).await;
    assert_eq!((row.failures, row.reason, row.ticket), (0, None, None));
    assert_eq!(row.failed_at, Some(later(10)), "when it last failed stays known");
}

/// One ticket for each connection of a chain, with the state that needs it, and none twice.
pub async fn a_settlement_asks_once_for_each_connection(place: &dyn Place) {
    let world = World::new(place).await;
    let on = world.connected("dana", "583231").await;
    let second = world.second_connection(&on, "dana-2").await;
    let third = world.second_connection(&on, "dana-3").await;
    let open = world.keeper.raise(world.ticket(third)).await.unwrap();
    let gone = world.second_connection(&on, "gone").await;
    world.keeper.remove_connection(world.tenant, gone, later(1)).await.unwrap();
    let ticket = world.ticket(second);
    for _ in 0..2 {
        let claim = world.claimed(on.chain).await;
        let settlement =
            Settlement { ticket: Some(ticket.clone()), ..world.settlement(ChainState::BackingOff) };
        assert!(world.keeper.settle(claim, settlement).await.unwrap());
    }
    let tickets = world.control.tickets(world.tenant).await.unwrap();
    let mut asked: Vec<_> = tickets.iter().map(|ticket| ticket.connection).collect();
    asked.sort();
    assert_eq!(asked, [on.connection, second, third]);
    let of = |connection| tickets.iter().find(|ticket| ticket.connection == connection).unwrap();
    assert_eq!((of(second), of(third).id), (&ticket, open));
    let row = world.chain_row(on.chain).await;
    assert_eq!((row.ticket, row.reason.as_deref()), (Some(ticket.id), Some("invalid_grant")));
    assert_eq!((row.failures, row.failed_at, row.owner), (1, Some(later(10)), None));
}

/// Asking for an early refresh brings the timer forward, never back, and wakes nothing that is latched.
pub async fn a_timer_is_hastened_and_never_delayed(place: &dyn Place) {
    let world = World::new(place).await;
    let on = world.connected("dana", "583231").await;
    assert_eq!(world.keeper.next_due().await.unwrap(), Some(later(1800)));
    world.keeper.hasten(world.tenant, on.chain, later(60)).await.unwrap();
    assert_eq!(world.keeper.next_due().await.unwrap(), Some(later(60)));
    world.keeper.hasten(world.tenant, on.chain, later(90)).await.unwrap();
    assert_eq!(world.keeper.next_due().await.unwrap(), Some(later(60)));
    let claim = world.claimed(on.chain).await;
    let latched = Settlement { due_at: Some(later(5000)), ..world.settlement(ChainState::Latched) };
    world.keeper.settle(claim, latched).await.unwrap();
    world.keeper.hasten(world.tenant, on.chain, later(1)).await.unwrap();
    assert_eq!(world.chain_row(on.chain).await.due_at, Some(later(5000)));
    let timeless = world.tokens("timeless", world.registered().await.id, "2");
    let (chain, family, generation) = timeless.tokens.clone().unwrap();
    let tokens = Some((Chain { due_at: None, ..chain.clone() }, family, generation));
    world.keeper.put_connection(NewConnection { tokens, ..timeless }).await.unwrap();
    assert_eq!(world.keeper.next_due().await.unwrap(), None);
    world.keeper.hasten(world.tenant, chain.id, later(5)).await.unwrap();
    assert_eq!(world.keeper.next_due().await.unwrap(), Some(later(5)));
}

/// Due: soonest first, at most as many as asked for, of living chains only.
pub async fn what_is_latched_is_never_due(place: &dyn Place) {
    let world = World::new(place).await;
    let states =
        [ChainState::Latched, ChainState::Quarantined, ChainState::BackingOff, ChainState::Uncertain];
    let mut due = Vec::new();
    for (number, state) in (0u64..).zip(states) {
        let on = world.connected(&format!("c{number}"), &number.to_string()).await;
        let claim = world.claimed(on.chain).await;
        let at = later(100 - number);
        let settlement = Settlement { due_at: Some(at), ..world.settlement(state) };
        world.keeper.settle(claim, settlement).await.unwrap();
        due.push((world.tenant, on.chain, at));
    }
    let removed = world.connected("gone", "9").await;
    world.keeper.hasten(world.tenant, removed.chain, NOW).await.unwrap();
    world.keeper.remove_connection(world.tenant, removed.connection, NOW).await.unwrap();
    assert_eq!(world.keeper.due(later(100), 9).await.unwrap(), [due[3], due[2]]);
    assert_eq!(world.keeper.due(later(100), 1).await.unwrap(), [due[3]]);
    assert_eq!(world.keeper.due(later(97), 9).await.unwrap(), [due[3]]);
    assert_eq!(world.keeper.due(later(96), 9).await.unwrap(), []);
    assert_eq!(world.keeper.next_due().await.unwrap(), Some(later(97)));
    assert_eq!(world.chain_row(due[0].1).await.state, ChainState::Latched);
}

/// I4: what a commit lets go was consumed three presentations ago and its access token is past its end.
pub async fn generations_go_only_when_consumed_and_dead(place: &dyn Place) {
    let world = World::new(place).await;
    let on = world.connected("dana", "583231").await;
    let mut attempts = Vec::new();
    for number in 1..6u64 {
        let claim = world.claimed(on.chain).await;
        let attempt = world.intended(claim, on.family, number).await;
        world.answered(attempt, "answer").await;
        attempts.push(attempt);
        let head = world.head(attempt, on.family, number + 1);
        // Generation 2's access token outlives the test; the others end with their hour.
        let outlives = if number == 1 { 999_999 } else { 3600 };
        let generation = Generation { access_until: Some(later(outlives)), ..head.generation };
        let head = NewHead { generation, refreshed_at: later(number * 3000), ..head };
        assert_eq!(world.keeper.commit(claim, head).await, Ok(Committed::Moved));
    }
    // At head 6, refreshed at 15 000: 4, 5, 6 are kept by number, 2 by its living token; 1 and 3 are gone.
    let kept = |attempt: AttemptId| {
        let keeper = world.keeper.clone();
        async move { keeper.attempt(world.tenant, attempt).await.unwrap().unwrap().answer.is_some() }
    };
    let mut answers = Vec::new();
    for attempt in attempts {
        answers.push(kept(attempt).await);
    }
    assert_eq!(answers, [true, false, true, true, true], "the answers that made generations 2 to 6");
    let stored = world.keeper.generations(world.tenant, on.chain, 9).await.unwrap();
    let numbers: Vec<_> = stored.iter().map(|generation| generation.number).collect();
    assert_eq!(numbers, [6, 5, 4, 2]);
    assert_eq!(world.keeper.generations(world.tenant, on.chain, 2).await.unwrap(), stored[..2]);
    assert_eq!(world.keeper.heads().await.unwrap(), [(world.tenant, on.family, 6)]);
    assert_eq!(world.keeper.chain(world.tenant, on.chain).await.unwrap().unwrap().head.number, 6);
}

/// Open attempts and claimed chains, over all tenants.
pub async fn what_a_crash_left_is_found(place: &dyn Place) {
    let world = World::new(place).await;
    let other = world.neighbour().await;
    let (mine, theirs) = (world.connected("a", "1").await, other.connected("a", "1").await);
    world.connected("idle", "2").await;
    let claim = world.claimed(mine.chain).await;
    let intended = world.intended(claim, mine.family, 1).await;
    let their_claim = other.claimed(theirs.chain).await;
    let answered = other.intended(their_claim, theirs.family, 1).await;
    other.answered(answered, "answer").await;
    let world = world.reopened_beside(other, place);
    let open: Vec<_> = world.keeper.open_attempts().await.unwrap();
    let mut found: Vec<_> = open.iter().map(|attempt| (attempt.id, attempt.state)).collect();
    found.sort_by_key(|(id, _)| *id);
    let mut expected = [(intended, AttemptState::Intended), (answered, AttemptState::Answered)];
    expected.sort_by_key(|(id, _)| *id);
    assert_eq!(found, expected);
    let mut claimed: Vec<_> = world.keeper.claimed().await.unwrap();
    claimed.sort_by_key(|chain| chain.id);
    let found: Vec<_> = claimed.iter().map(|chain| (chain.id, chain.fence, chain.owner)).collect();
    assert_eq!(
        found,
        [(mine.chain, claim.fence, Some(claim.owner)), (theirs.chain, 1, Some(their_claim.owner))]
    );
}
