//! Durable calls: kept once a key, each step taken once and from the step before it, final answers final.

use super::{
    Place,
    world::{NOW, World, later},
};
use nightlatch_domain::{
    call::{CallPlace, CallState, Delivery, DeliveryState, Heard},
    clock::Timestamp,
    id::{CallId, TaskId, TenantId},
    ports::store::{Accepted, CallRoom, CallRow},
    sealed::Wrapped,
};

pub(crate) const ROOMY: CallRoom = CallRoom { each_max: 100, each_max_bytes: 1 << 20, open_max: 100 };

pub(crate) fn sealed(text: &str) -> Wrapped {
    Wrapped { format: 1, data_key: "data-key".into(), ciphertext: text.into() }
}

pub(crate) fn row(world: &World, task: TaskId, key: &str) -> CallRow {
    CallRow {
        place: CallPlace { tenant: world.tenant, task, call: world.id(CallId::new) },
        owner: None,
        key_sha256: key.into(),
        request_sha256: "0a".repeat(32),
        state: CallState::Queued,
        attempts: 0,
        not_before: NOW,
        accepted_at: NOW,
        ended_at: None,
        request: sealed("request"),
        mandate: None,
        result: None,
        delivery: None,
    }
}

/// One of which the webhook `name` is to be told.
pub(crate) async fn kept_for(world: &World, task: TaskId, key: &str, name: &str) -> CallRow {
    let delivery = Some(Delivery::waiting(name.parse().unwrap(), NOW));
    let call = CallRow { delivery, ..row(world, task, key) };
    assert_eq!(world.calls.accept_call(call.clone(), ROOMY).await, Ok(Accepted::New));
    call
}

pub(crate) async fn kept(world: &World, task: TaskId, key: &str) -> CallRow {
    let call = row(world, task, key);
    assert_eq!(world.calls.accept_call(call.clone(), ROOMY).await, Ok(Accepted::New));
    call
}

async fn now(world: &World, place: CallPlace) -> CallRow {
    world.calls.call(place).await.unwrap().unwrap()
}

/// Eight agents' threads send the same key at once.
pub async fn of_many_calls_by_one_key_one_is_kept_and_the_others_are_shown_it(place: &dyn Place) {
    let world = World::new(place).await;
    let task = world.opened_task().await.id;
    let tries: Vec<_> = (0..8)
        .map(|_| {
            let (calls, call) = (world.calls.clone(), row(&world, task, "key"));
            tokio::spawn(async move { (call.place, calls.accept_call(call, ROOMY).await.unwrap()) })
        })
        .collect();
    let (mut new, mut known) = (Vec::new(), Vec::new());
    for one in tries {
        let (place, accepted) = one.await.unwrap();
        match accepted {
            Accepted::Known(row) => known.push(row.place),
            other => new.extend((other == Accepted::New).then_some(place)),
        }
    }
    assert_eq!((new.len(), known.len()), (1, 7));
    assert!(known.iter().all(|place| *place == new[0]));
    let by_key = world.calls.call_of_key(world.tenant, task, "key".into()).await.unwrap().unwrap();
    assert_eq!(by_key.place, new[0]);
}

/// The same key in another task is another call.
pub async fn a_key_belongs_to_its_task(place: &dyn Place) {
    let world = World::new(place).await;
    let (one, other) = (world.opened_task().await.id, world.opened_task().await.id);
    let first = kept(&world, one, "key").await;
    assert_eq!(world.calls.call_of_key(world.tenant, other, "key".into()).await, Ok(None));
    let second = kept(&world, other, "key").await;
    assert_ne!(first.place, second.place);
}

/// What was written is read, also after the store was opened again.
pub async fn a_call_comes_back_as_it_was_written(place: &dyn Place) {
    let world = World::new(place).await;
    let task = world.opened_task().await.id;
    let call = kept(&world, task, "key").await;
    assert!(world.calls.mandate_call(call.place, sealed("mandate")).await.unwrap());
    assert!(world.calls.mark_call(call.place, 0).await.unwrap());
    assert!(world.calls.end_call(call.place, CallState::Done, sealed("result"), later(7)).await.unwrap());
    let expected = CallRow {
        state: CallState::Done,
        attempts: 1,
        ended_at: Some(later(7)),
        mandate: Some(sealed("mandate")),
        result: Some(sealed("result")),
        ..call.clone()
    };
    let world = world.reopened(place);
    assert_eq!(now(&world, call.place).await, expected);
}

/// A mark is what stands between a call and its being sent twice.
pub async fn of_eight_marks_one_is_taken(place: &dyn Place) {
    let world = World::new(place).await;
    let task = world.opened_task().await.id;
    let call = kept(&world, task, "key").await;
    let tries: Vec<_> = (0..8)
        .map(|_| {
            let (calls, place) = (world.calls.clone(), call.place);
            tokio::spawn(async move { calls.mark_call(place, 0).await.unwrap() })
        })
        .collect();
    let mut taken = 0;
    for one in tries {
        taken += usize::from(one.await.unwrap());
    }
    assert_eq!(taken, 1);
    let row = now(&world, call.place).await;
    assert_eq!((row.state, row.attempts), (CallState::Attempting, 1));
}

/// Marked once more only after it was put back, and by the count that it has then.
pub async fn a_step_is_taken_from_the_step_before_it_alone(place: &dyn Place) {
    let world = World::new(place).await;
    let task = world.opened_task().await.id;
    let call = kept(&world, task, "key").await.place;
    let calls = &world.calls;
    assert!(!calls.mark_call(call, 1).await.unwrap(), "it was never marked");
    assert!(calls.mark_call(call, 0).await.unwrap());
    assert!(!calls.requeue_call(call, 0, later(5)).await.unwrap(), "by an older count");
    assert!(calls.requeue_call(call, 1, later(5)).await.unwrap());
    let row = now(&world, call).await;
    assert_eq!((row.state, row.attempts, row.not_before), (CallState::Queued, 1, later(5)));
    assert!(!calls.mark_call(call, 0).await.unwrap(), "by an older count");
    assert!(calls.mark_call(call, 1).await.unwrap());
    assert_eq!(now(&world, call).await.attempts, 2);
}

/// Nothing leads out of a final state.
pub async fn a_final_answer_stays(place: &dyn Place) {
    let world = World::new(place).await;
    let task = world.opened_task().await.id;
    for (key, state) in [("a", CallState::Done), ("b", CallState::Refused), ("c", CallState::OutcomeUnknown)]
    {
        let call = kept(&world, task, key).await.place;
        assert!(world.calls.mark_call(call, 0).await.unwrap());
        assert!(world.calls.end_call(call, state, sealed("first"), later(1)).await.unwrap());
        let before = now(&world, call).await;
        assert!(!world.calls.end_call(call, CallState::Done, sealed("second"), later(2)).await.unwrap());
        assert!(!world.calls.requeue_call(call, 1, later(2)).await.unwrap());
        assert!(!world.calls.mark_call(call, 1).await.unwrap());
        assert!(!world.calls.mandate_call(call, sealed("late")).await.unwrap());
        assert!(!world.calls.give_up_call(call, later(2)).await.unwrap());
        assert_eq!(now(&world, call).await, before);
        let again = world.calls.accept_call(row(&world, task, key), ROOMY).await.unwrap();
        assert_eq!(again, Accepted::Known(Box::new(before)), "and its key is its own");
    }
}

/// Calls, bytes and what is open in all are bounded; a task that is full stands in nobody's way.
pub async fn a_full_task_takes_no_further_call_and_others_are_not_full(place: &dyn Place) {
    let world = World::new(place).await;
    let (one, other) = (world.opened_task().await.id, world.opened_task().await.id);
    let two = CallRoom { each_max: 2, ..ROOMY };
    for key in ["a", "b"] {
        assert_eq!(world.calls.accept_call(row(&world, one, key), two).await, Ok(Accepted::New));
    }
    assert_eq!(world.calls.accept_call(row(&world, one, "c"), two).await, Ok(Accepted::Full));
    assert_eq!(world.calls.call_of_key(world.tenant, one, "c".into()).await, Ok(None));
    assert_eq!(world.calls.accept_call(row(&world, other, "c"), two).await, Ok(Accepted::New));
    let held = 3 * ("request".len() + "data-key".len()) as u64;
    let narrow = CallRoom { each_max_bytes: held - 1, ..ROOMY };
    assert_eq!(world.calls.accept_call(row(&world, one, "d"), narrow).await, Ok(Accepted::Full));
    let enough = CallRoom { each_max_bytes: held, ..ROOMY };
    assert_eq!(world.calls.accept_call(row(&world, one, "d"), enough).await, Ok(Accepted::New));
    let four = CallRoom { open_max: 4, ..ROOMY };
    assert_eq!(world.calls.accept_call(row(&world, other, "e"), four).await, Ok(Accepted::Full));
}

/// Whatever its age, a call without a final answer is kept and found.
pub async fn what_is_open_is_found_and_never_forgotten(place: &dyn Place) {
    let world = World::new(place).await;
    let task = world.opened_task().await.id;
    let (queued, marked) = (kept(&world, task, "a").await.place, kept(&world, task, "b").await.place);
    let (ended, young) = (kept(&world, task, "c").await.place, kept(&world, task, "d").await.place);
    assert!(world.calls.mark_call(marked, 0).await.unwrap());
    assert!(world.calls.end_call(ended, CallState::Refused, sealed("no"), later(1)).await.unwrap());
    assert!(world.calls.end_call(young, CallState::Refused, sealed("no"), later(50)).await.unwrap());
    assert_eq!(world.calls.open_calls(None, 9).await.unwrap(), [queued, marked]);
    assert_eq!(world.calls.open_calls(None, 1).await.unwrap(), [queued]);
    assert_eq!(world.calls.forget_calls(later(50)).await, Ok(1));
    assert_eq!(world.calls.call(ended).await, Ok(None));
    assert!(world.calls.call(young).await.unwrap().is_some());
    assert_eq!(world.calls.forget_calls(Timestamp::from_millis(i64::MAX)).await, Ok(1));
    assert_eq!(world.calls.open_calls(None, 9).await.unwrap(), [queued, marked]);
}

/// A call that is given up is over, marked or not, and forgotten in its time; a row that can be read is not given up
/// for being nameless.
pub async fn what_is_given_up_is_over(place: &dyn Place) {
    let world = World::new(place).await;
    let task = world.opened_task().await.id;
    let (queued, marked) =
        (kept(&world, task, "a").await.place, kept_for(&world, task, "b", "ci").await.place);
    assert!(world.calls.mark_call(marked, 0).await.unwrap());
    assert_eq!(world.calls.give_up_nameless(later(1)).await, Ok(0));
    for call in [queued, marked] {
        assert!(world.calls.give_up_call(call, later(2)).await.unwrap());
        let row = now(&world, call).await;
        assert_eq!((row.state, row.ended_at, row.result), (CallState::OutcomeUnknown, Some(later(2)), None));
    }
    assert_eq!(world.calls.give_up_nameless(later(3)).await, Ok(0));
    assert_eq!(world.calls.open_calls(None, 9).await.unwrap(), []);
    let untold = world.calls.untold_calls(None, "ci".parse().unwrap(), 9, 9).await.unwrap();
    assert_eq!(untold, [(marked, NOW)], "who waits for its end is told");
    assert_eq!(world.calls.forget_calls(later(3)).await, Ok(1));
    assert_eq!(world.calls.call(queued).await, Ok(None));
}

/// Nobody is told of what is not final; a call waits to be told until somebody says otherwise, once.
pub async fn the_end_of_a_call_is_told_from_its_end_until_that_is_settled(place: &dyn Place) {
    let world = World::new(place).await;
    let task = world.opened_task().await.id;
    let (first, second) = (kept_for(&world, task, "a", "ci").await, kept_for(&world, task, "b", "ci").await);
    let other = kept_for(&world, task, "c", "other").await;
    let hook = |name: &str| name.parse().unwrap();
    let waiting = first.delivery.clone().unwrap();
    assert!(
        !world
            .calls
            .tell_call(first.place, 0, waiting.after(Heard::Taken, later(1), later(1)))
            .await
            .unwrap()
    );
    assert_eq!(world.calls.untold_calls(None, hook("ci"), 9, 9).await.unwrap(), [], "neither has ended");
    assert_eq!(world.calls.untold_hooks(None).await.unwrap(), []);
    for call in [&first, &second, &other] {
        assert!(world.calls.end_call(call.place, CallState::Done, sealed("result"), later(1)).await.unwrap());
    }
    // The first fails and has to wait: the second comes before it.
    let failed = waiting.after(Heard::Failed { retry_after: None }, later(1), later(1));
    assert!(world.calls.tell_call(first.place, 0, failed.clone()).await.unwrap());
    assert!(!world.calls.tell_call(first.place, 0, failed.clone()).await.unwrap(), "by an older count");
    let world = world.reopened(place);
    let untold = [(second.place, NOW), (first.place, failed.at)];
    assert_eq!(world.calls.untold_calls(None, hook("ci"), 9, 9).await.unwrap(), untold);
    assert_eq!(world.calls.untold_calls(None, hook("ci"), 9, 1).await.unwrap(), untold[..1]);
    assert_eq!(world.calls.untold_hooks(None).await.unwrap(), [hook("ci"), hook("other")]);
    let elsewhere = Delivery { hook: hook("other"), ..failed.after(Heard::Taken, later(1), later(2)) };
    assert!(!world.calls.tell_call(first.place, 1, elsewhere).await.unwrap(), "another webhook's");
    let taken = failed.after(Heard::Taken, later(1), later(2));
    let stranger = CallPlace { tenant: world.id(TenantId::new), ..first.place };
    assert!(!world.calls.tell_call(stranger, 1, taken.clone()).await.unwrap(), "another tenant's");
    assert!(world.calls.tell_call(first.place, 1, taken.clone()).await.unwrap());
    assert_eq!(now(&world, first.place).await.delivery, Some(taken.clone()));
    let again = taken.after(Heard::Failed { retry_after: None }, later(1), later(3));
    assert!(!world.calls.tell_call(first.place, 2, again).await.unwrap(), "it is settled");
    assert_eq!(world.calls.untold_calls(None, hook("ci"), 9, 9).await.unwrap(), untold[..1]);
    let open = kept_for(&world, task, "d", "ci").await;
    assert!(!world.calls.give_up_telling(open.place, later(3)).await.unwrap(), "it is not final");
    assert!(!world.calls.give_up_telling(first.place, later(3)).await.unwrap(), "nobody waits");
    assert!(world.calls.give_up_telling(second.place, later(3)).await.unwrap());
    let given_up = now(&world, second.place).await.delivery.unwrap();
    assert_eq!((given_up.state, given_up.at), (DeliveryState::GivenUp, later(3)));
    assert_eq!(world.calls.untold_calls(None, hook("ci"), 9, 9).await.unwrap(), []);
}

/// Of each task the first are found, however much of another's stands before them.
pub async fn every_tasks_first_message_comes_before_any_tasks_second(place: &dyn Place) {
    let world = World::new(place).await;
    let (crowded, other) = (world.opened_task().await.id, world.opened_task().await.id);
    let mut crowd = Vec::new();
    for key in ["a", "b", "c", "d"] {
        crowd.push(kept_for(&world, crowded, key, "ci").await);
    }
    let (late, elsewhere) =
        (kept_for(&world, other, "a", "ci").await, kept_for(&world, other, "b", "else").await);
    for call in crowd.iter().chain([&late, &elsewhere]) {
        assert!(world.calls.end_call(call.place, CallState::Done, sealed("result"), later(1)).await.unwrap());
    }
    let failed = |call: &CallRow, at| {
        let delivery = call.delivery.clone().unwrap();
        Delivery { tries: 1, at: later(at), ..delivery }
    };
    assert!(world.calls.tell_call(late.place, 0, failed(&late, 50)).await.unwrap());
    assert!(world.calls.tell_call(crowd[0].place, 0, failed(&crowd[0], 40)).await.unwrap());
    let untold = async |each, limit| {
        let found = world.calls.untold_calls(None, "ci".parse().unwrap(), each, limit).await.unwrap();
        found.into_iter().map(|(place, _)| place).collect::<Vec<_>>()
    };
    let [a, b, c, d] = [0, 1, 2, 3].map(|number: usize| crowd[number].place);
    assert_eq!(untold(2, 9).await, [b, late.place, c]);
    assert_eq!(untold(9, 9).await, [b, late.place, c, d, a]);
    assert_eq!(untold(9, 2).await, [b, late.place]);
}

/// Whoever is told of an end finds the call: it is kept until then, and as long again.
pub async fn what_is_still_to_be_told_is_not_forgotten(place: &dyn Place) {
    let world = World::new(place).await;
    let task = world.opened_task().await.id;
    let call = kept_for(&world, task, "a", "ci").await;
    assert!(world.calls.end_call(call.place, CallState::Refused, sealed("no"), later(1)).await.unwrap());
    assert_eq!(world.calls.forget_calls(later(1000)).await, Ok(0));
    let taken = call.delivery.clone().unwrap().after(Heard::Taken, later(1), later(90));
    assert_eq!(taken.state, DeliveryState::Delivered);
    assert!(world.calls.tell_call(call.place, 0, taken).await.unwrap());
    assert_eq!(world.calls.forget_calls(later(90)).await, Ok(0), "it was told only then");
    assert_eq!(world.calls.forget_calls(later(91)).await, Ok(1));
}

/// Tenant and task are part of the key: with another's, nothing is read and nothing is written.
pub async fn a_call_is_nobody_elses(place: &dyn Place) {
    let world = World::new(place).await;
    let task = world.opened_task().await.id;
    let call = kept(&world, task, "key").await;
    let stranger = CallPlace { tenant: world.id(TenantId::new), ..call.place };
    let elsewhere = CallPlace { task: world.opened_task().await.id, ..call.place };
    for wrong in [stranger, elsewhere] {
        assert_eq!(world.calls.call(wrong).await, Ok(None));
        assert_eq!(world.calls.call_of_key(wrong.tenant, wrong.task, "key".into()).await, Ok(None));
        assert_eq!(world.calls.mark_call(wrong, 0).await, Ok(false));
        assert_eq!(world.calls.requeue_call(wrong, 0, later(5)).await, Ok(false));
        assert_eq!(world.calls.mandate_call(wrong, sealed("forged")).await, Ok(false));
        assert_eq!(world.calls.end_call(wrong, CallState::Done, sealed("forged"), later(1)).await, Ok(false));
        assert_eq!(world.calls.give_up_call(wrong, later(1)).await, Ok(false));
    }
    assert_eq!(now(&world, call.place).await, call);
    let unowned = CallRow { place: stranger, key_sha256: "other".into(), ..call };
    assert!(world.calls.accept_call(unowned, ROOMY).await.is_err(), "a call belongs to a task of its tenant");
}

/// Several gateways keep calls in one store: each finds its own, and what one left that is gone is found by the others.
pub async fn a_call_is_its_own_gateways(place: &dyn Place) {
    let world = World::new(place).await;
    let task = world.opened_task().await.id;
    let name = |name: &str| -> nightlatch_domain::tool::Name { name.parse().unwrap() };
    let of = |owner: &str, key: &str| {
        let delivery = Some(Delivery::waiting(name("ci"), NOW));
        CallRow { owner: Some(name(owner)), delivery, ..row(&world, task, key) }
    };
    let (nobodys, one, other, told) =
        (row(&world, task, "a"), of("one", "b"), of("other", "c"), of("one", "d"));
    for call in [&nobodys, &one, &other, &told] {
        assert_eq!(world.calls.accept_call(call.clone(), ROOMY).await, Ok(Accepted::New));
        assert_eq!(now(&world, call.place).await, *call);
    }
    world.calls.end_call(told.place, CallState::Done, sealed("result"), later(1)).await.unwrap();
    assert_eq!(world.calls.open_calls(None, 9).await.unwrap(), [nobodys.place]);
    assert_eq!(world.calls.open_calls(Some(name("one")), 9).await.unwrap(), [one.place]);
    assert_eq!(world.calls.open_calls(Some(name("none")), 9).await.unwrap(), []);
    let untold = async |owner: &str| {
        let found = world.calls.untold_calls(Some(name(owner)), name("ci"), 9, 9).await.unwrap();
        found.into_iter().map(|(place, _)| place).collect::<Vec<_>>()
    };
    assert_eq!((untold("one").await, untold("other").await), (vec![told.place], vec![]));
    assert_eq!(world.calls.untold_hooks(Some(name("one"))).await.unwrap(), [name("ci")]);
    assert_eq!(world.calls.untold_hooks(Some(name("other"))).await.unwrap(), []);

    let orphaned = async |present: &[&str]| {
        let present = present.iter().map(|one| name(one)).collect();
        let mut found = world.calls.orphaned_calls(present, 9).await.unwrap();
        found.sort_by_key(|(place, _)| place.call);
        found
    };
    assert_eq!(orphaned(&["one", "other"]).await, []);
    let mut left = vec![(one.place, name("one")), (told.place, name("one"))];
    left.sort_by_key(|(place, _)| place.call);
    assert_eq!(orphaned(&["other"]).await, left);
    assert_eq!(orphaned(&[]).await.len(), 3, "what nobody is said to keep is left alone");
    let adopt = async |from: &str| world.calls.adopt_call(one.place, name(from), name("other")).await;
    assert_eq!(
        (adopt("none").await, adopt("one").await, adopt("one").await),
        (Ok(false), Ok(true), Ok(false))
    );
    // Whether it was sent, the other cannot know: it is none that waits to be sent.
    let adopted = CallRow { owner: Some(name("other")), state: CallState::Attempting, ..one.clone() };
    assert_eq!(now(&world, one.place).await, adopted);
    assert_eq!(world.calls.adopt_call(told.place, name("one"), name("other")).await, Ok(true));
    assert_eq!(now(&world, told.place).await.state, CallState::Done, "what is over stays over");
    assert_eq!(world.calls.open_calls(Some(name("one")), 9).await.unwrap(), []);
}

/// Whichever keeper asks, a mandate is acted on once.
pub async fn of_eight_keepers_one_acts_on_a_mandate(place: &dyn Place) {
    let world = World::new(place).await;
    let call: CallId = world.id(CallId::new);
    let spends = (0..8).map(|_| {
        let (keeper, tenant) = (world.keeper.clone(), world.tenant);
        tokio::spawn(async move { keeper.spend_mandate(tenant, call, later(60), NOW).await.unwrap() })
    });
    let mut spent = Vec::new();
    for spend in spends.collect::<Vec<_>>() {
        spent.push(spend.await.unwrap());
    }
    assert_eq!(spent.iter().filter(|spent| **spent).count(), 1);
    let other: CallId = world.id(CallId::new);
    let again = async |call, before| world.keeper.spend_mandate(world.tenant, call, later(60), before).await;
    assert_eq!((again(other, NOW).await, again(call, later(60)).await), (Ok(true), Ok(false)));
    assert_eq!(again(call, later(61)).await, Ok(true), "it ended long ago, and is forgotten");
}
