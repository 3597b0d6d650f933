//! Proves that damaged rows stand in no other's way, over each engine: those of durable calls not in what is found, and not
//! for ever in what their task may have kept; those of a chain not in its end.

use crate::conformance::{
    Place,
    calls::{ROOMY, kept, kept_for, row, sealed},
    importing::import,
    world::{World, later},
};
use nightlatch_domain::{
    call::CallState,
    ports::store::{Accepted, CallRoom, StoreError},
};

/// A place whose rows can be edited behind the store's back.
pub(crate) trait Editable: Place {
    /// Runs a statement; answers how many rows it wrote.
    fn edit(&self, sql: &str) -> u64;
}

/// Makes a test of every case over each engine.
macro_rules! cases {
    ($($case:ident)*) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                super::$case(&crate::sqlite::fresh()).await;
            })*
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                super::$case(&crate::postgres::fresh()).await;
            })*
        }
    };
}
cases! {
    what_lies_behind_rows_that_cannot_be_read_is_found_whatever_the_limit
    rows_that_nobody_can_name_are_given_up_and_forgotten_and_their_task_has_its_room_again
    a_damaged_row_is_said_to_be_damaged_and_can_be_given_up_by_its_name
    a_row_that_cannot_be_read_keeps_no_connection_from_being_removed
    an_import_that_cannot_be_read_keeps_no_other_from_its_turn
}

async fn what_lies_behind_rows_that_cannot_be_read_is_found_whatever_the_limit(place: &impl Editable) {
    let world = World::new(place).await;
    let task = world.opened_task().await.id;
    for key in ["a", "b", "c"] {
        let call = kept_for(&world, task, key, "ci").await.place;
        let sql = format!(
            "UPDATE call SET call_id = '{key}', hook_at = 0, accepted_at = 0 WHERE call_id = '{}'",
            call.call
        );
        assert_eq!(place.edit(&sql), 1);
    }
    let whole = kept_for(&world, task, "d", "ci").await.place;
    assert_eq!(world.calls.open_calls(None, 1).await.unwrap(), [whole]);
    assert_eq!(place.edit("UPDATE call SET state = 'done', ended_at = 1"), 4);
    let untold = world.calls.untold_calls(None, "ci".parse().unwrap(), 1, 1).await.unwrap();
    assert_eq!(untold.into_iter().map(|(place, _)| place).collect::<Vec<_>>(), [whole]);
    // Turns are those of what can be read.
    let other = world.opened_task().await.id;
    let [second, theirs] = [(task, "e"), (other, "a")].map(|(task, key)| kept_for(&world, task, key, "ci"));
    let [second, theirs] = [second.await.place, theirs.await.place];
    assert_eq!(place.edit("UPDATE call SET state = 'done', ended_at = 1"), 6);
    let untold = async |each, limit| -> Vec<_> {
        let untold = world.calls.untold_calls(None, "ci".parse().unwrap(), each, limit).await.unwrap();
        untold.into_iter().map(|(place, _)| place).collect()
    };
    assert_eq!(untold(1, 9).await, [whole, theirs]);
    assert_eq!(untold(9, 9).await, [whole, theirs, second]);
    assert_eq!(untold(9, 2).await, [whole, theirs]);
    assert_eq!(place.edit("UPDATE call SET hook = 'No Name' WHERE hook_at = 0"), 3);
    assert_eq!(world.calls.untold_hooks(None).await.unwrap(), ["ci".parse().unwrap()]);
}

async fn rows_that_nobody_can_name_are_given_up_and_forgotten_and_their_task_has_its_room_again(
    place: &impl Editable,
) {
    let world = World::new(place).await;
    let task = world.opened_task().await.id;
    let spoilt = [
        "call_id = 'x'",
        "call_id = 'y', state = 'done', ended_at = 1",
        "state = 'x'",
        "state = 'done', hook = 'No Name', ended_at = 1",
        "state = 'done', hook = NULL, ended_at = 1",
        "state = 'refused', ended_at = NULL",
    ];
    let room = CallRoom { each_max: 7, ..ROOMY };
    for (key, spoilt) in ["a", "b", "c", "d", "e", "f"].into_iter().zip(spoilt) {
        let call = kept_for(&world, task, key, "ci").await.place.call;
        assert_eq!(place.edit(&format!("UPDATE call SET {spoilt} WHERE call_id = '{call}'")), 1, "{spoilt}");
    }
    let whole = kept(&world, task, "g").await.place;
    assert_eq!(world.calls.accept_call(row(&world, task, "h"), room).await, Ok(Accepted::Full));
    assert_eq!(world.calls.forget_calls(later(9)).await, Ok(0), "each stands there for ever");
    assert_eq!(world.calls.give_up_nameless(later(1)).await, Ok(6));
    assert_eq!(world.calls.give_up_nameless(later(1)).await, Ok(0));
    assert_eq!(world.calls.forget_calls(later(1)).await, Ok(0), "they have the time of any other");
    assert_eq!(world.calls.forget_calls(later(2)).await, Ok(6));
    assert_eq!(world.calls.open_calls(None, 9).await.unwrap(), [whole]);
    assert_eq!(world.calls.accept_call(row(&world, task, "h"), room).await, Ok(Accepted::New));
}

async fn a_damaged_row_is_said_to_be_damaged_and_can_be_given_up_by_its_name(place: &impl Editable) {
    let world = World::new(place).await;
    let task = world.opened_task().await.id;
    let call = kept(&world, task, "a").await.place;
    assert_eq!(place.edit("UPDATE call SET request = 'x'"), 1);
    assert_eq!(world.calls.call(call).await, Err(StoreError::Corrupt("call")));
    let by_key = world.calls.call_of_key(world.tenant, task, "a".into()).await;
    assert_eq!(by_key, Err(StoreError::Corrupt("call")));
    assert_eq!(world.calls.give_up_nameless(later(1)).await, Ok(0), "it has its name");
    assert!(world.calls.give_up_call(call, later(1)).await.unwrap());
    assert!(!world.calls.end_call(call, CallState::Done, sealed("late"), later(2)).await.unwrap());
    assert_eq!(world.calls.forget_calls(later(2)).await, Ok(1));
}

async fn a_row_that_cannot_be_read_keeps_no_connection_from_being_removed(place: &impl Editable) {
    let world = World::new(place).await;
    let on = world.connected("a", "1").await;
    let broken = "INSERT INTO answer (tenant_id, attempt_id, chain_id, sealed)
         SELECT tenant_id, 'no attempt', chain_id, 'no seal' FROM chain";
    assert_eq!(place.edit(broken), 1);
    assert_eq!(place.edit("UPDATE generation SET access = 'no seal'"), 1);
    assert!(world.keeper.answers(world.tenant, on.chain).await.is_err(), "it is damaged");
    world.keeper.remove_connection(world.tenant, on.connection, later(1)).await.unwrap();
    assert_eq!(world.keeper.connection(world.tenant, on.connection).await, Ok(None));
    assert_eq!(place.edit("DELETE FROM answer") + place.edit("DELETE FROM generation"), 0, "they went too");
}

async fn an_import_that_cannot_be_read_keeps_no_other_from_its_turn(place: &impl Editable) {
    let world = World::new(place).await;
    let client = world.registered().await.id;
    let [first, second, third] = ["a", "b", "c"].map(|hash| import(&world, client, hash));
    world.keeper.put_imports(vec![first.clone(), second, third.clone()]).await.unwrap();
    assert_eq!(place.edit("UPDATE import SET plan = 'no seal', due_at = 0 WHERE token_hash <> 'c'"), 2);
    assert!(world.keeper.import(world.tenant, first.id).await.is_err(), "it is damaged");
    assert_eq!(world.keeper.due_imports(later(1), 1).await, Ok(vec![third]));
}
