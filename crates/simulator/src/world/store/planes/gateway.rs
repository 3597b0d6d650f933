//! The gateway's part: the directory, durable calls, and what grants have spent.

use super::super::{Session, calls, people, rows::first};
use nightlatch_domain::{
    budget::Spent,
    call::{CallPlace, CallState, Delivery, DeliveryState},
    clock::Timestamp,
    id::{GrantId, TaskId, TenantId},
    ports::{
        Boxed,
        store::{
            Accepted, BudgetStore, CallRoom, CallRow, CallStore, Change, DirectoryStore, Entity, EntityId,
            StoreError, Stored,
        },
        work::within,
    },
    sealed::Wrapped,
    tool::Name,
};
use std::time::Duration;

impl DirectoryStore for Session {
    fn snapshot(&self) -> Stored<'_, (u64, Vec<Entity>)> {
        self.read(|rows| Ok((rows.counter().number, people::everything(rows))))
    }

    fn changes(&self, after: u64, limit: u32) -> Stored<'_, Vec<Change>> {
        self.read(move |rows| {
            let later = rows.tables.feed.range(after.saturating_add(1)..).map(|(_, change)| *change);
            Ok(first(later, limit))
        })
    }

    fn entity(&self, tenant: TenantId, entity: EntityId) -> Stored<'_, Option<Entity>> {
        self.read(move |rows| Ok(people::entity(rows, tenant, entity)))
    }

    fn changed(&self, after: u64, within_millis: u64) -> Boxed<'_, ()> {
        let mut follows = self.database.number.subscribe();
        Box::pin(async move {
            let passed = async {
                let _ = follows.wait_for(|number| *number > after).await;
            };
            let _ = within(&*self.work, Duration::from_millis(within_millis), passed).await;
        })
    }
}

impl CallStore for Session {
    fn accept_call(&self, call: CallRow, room: CallRoom) -> Stored<'_, Accepted> {
        self.write("accept-call", move |rows| calls::accept(rows, call, room))
    }

    fn call(&self, place: CallPlace) -> Stored<'_, Option<CallRow>> {
        self.read(move |rows| Ok(rows.tables.calls.get(&place).cloned()))
    }

    fn call_of_key(&self, tenant: TenantId, task: TaskId, key_sha256: String) -> Stored<'_, Option<CallRow>> {
        self.read(move |rows| Ok(calls::of_key(rows, tenant, task, &key_sha256)))
    }

    fn open_calls(&self, owner: Option<Name>, limit: u32) -> Stored<'_, Vec<CallPlace>> {
        self.read(move |rows| Ok(calls::open(rows, owner.as_ref(), limit)))
    }

    fn orphaned_calls(&self, present: Vec<Name>, limit: u32) -> Stored<'_, Vec<(CallPlace, Name)>> {
        self.read(move |rows| Ok(calls::orphaned(rows, &present, limit)))
    }

    fn adopt_call(&self, place: CallPlace, from: Name, to: Name) -> Stored<'_, bool> {
        self.write("adopt-call", move |rows| {
            let fits = |call: &CallRow| call.owner.as_ref() == Some(&from);
            Ok(calls::step(rows, place, fits, |call| {
                call.owner = Some(to);
                if call.state == CallState::Queued {
                    call.state = CallState::Attempting;
                }
            }))
        })
    }

    fn mark_call(&self, place: CallPlace, attempts: u32) -> Stored<'_, bool> {
        self.write("mark-call", move |rows| {
            let fits = |call: &CallRow| call.state == CallState::Queued && call.attempts == attempts;
            Ok(calls::step(rows, place, fits, |call| {
                call.state = CallState::Attempting;
                call.attempts += 1;
            }))
        })
    }

    fn requeue_call(&self, place: CallPlace, attempts: u32, not_before: Timestamp) -> Stored<'_, bool> {
        self.write("requeue-call", move |rows| {
            let fits = |call: &CallRow| calls::is_open(call) && call.attempts == attempts;
            Ok(calls::step(rows, place, fits, |call| {
                call.state = CallState::Queued;
                call.not_before = not_before;
            }))
        })
    }

    fn mandate_call(&self, place: CallPlace, mandate: Wrapped) -> Stored<'_, bool> {
        self.write("mandate-call", move |rows| {
            Ok(calls::step(rows, place, calls::is_open, |call| call.mandate = Some(mandate)))
        })
    }

    fn end_call(
        &self,
        place: CallPlace,
        state: CallState,
        result: Wrapped,
        at: Timestamp,
    ) -> Stored<'_, bool> {
        self.write("end-call", move |rows| {
            Ok(calls::step(rows, place, calls::is_open, |call| {
                call.state = state;
                call.result = Some(result);
                call.ended_at = Some(at);
            }))
        })
    }

    fn untold_calls(
        &self,
        owner: Option<Name>,
        hook: Name,
        each: u32,
        limit: u32,
    ) -> Stored<'_, Vec<(CallPlace, Timestamp)>> {
        self.read(move |rows| Ok(calls::untold_calls(rows, (owner.as_ref(), &hook), each, limit)))
    }

    fn untold_hooks(&self, owner: Option<Name>) -> Stored<'_, Vec<Name>> {
        self.read(move |rows| Ok(calls::untold_hooks(rows, owner.as_ref())))
    }

    fn tell_call(&self, place: CallPlace, tries: u32, after: Delivery) -> Stored<'_, bool> {
        self.write("tell-call", move |rows| {
            let fits = |call: &CallRow| {
                let is_its = |told: &Delivery| told.hook == after.hook && told.tries == tries;
                calls::waits_to_be_told(call) && call.delivery.as_ref().is_some_and(is_its)
            };
            let told = after.clone();
            Ok(calls::step(rows, place, fits, |call| call.delivery = Some(told)))
        })
    }

    fn give_up_telling(&self, place: CallPlace, at: Timestamp) -> Stored<'_, bool> {
        self.write("give-up-telling", move |rows| {
            Ok(calls::step(rows, place, calls::waits_to_be_told, |call| {
                if let Some(told) = &mut call.delivery {
                    told.state = DeliveryState::GivenUp;
                    told.at = at;
                }
            }))
        })
    }

    fn give_up_call(&self, place: CallPlace, at: Timestamp) -> Stored<'_, bool> {
        self.write("give-up-call", move |rows| {
            Ok(calls::step(rows, place, calls::is_open, |call| {
                call.state = CallState::OutcomeUnknown;
                call.ended_at = Some(at);
            }))
        })
    }

    fn give_up_nameless(&self, _: Timestamp) -> Stored<'_, u64> {
        // A row in memory is what it is: none is damaged, so none is nameless.
        self.write("give-up-nameless", |_| Ok(0))
    }

    fn forget_calls(&self, ended_before: Timestamp) -> Stored<'_, u64> {
        self.write("forget-calls", move |rows| Ok(calls::forget(rows, ended_before)))
    }
}

impl BudgetStore for Session {
    fn reserve(&self, tenant: TenantId, grant: GrantId, more: Spent, ends: Spent) -> Stored<'_, Spent> {
        self.write("reserve", move |rows| {
            let key = (tenant, grant);
            if !rows.tables.grants.holds(&key) {
                return Err(StoreError::Missing("grant_spent"));
            }
            let before = rows.tables.spent.get(&key).copied().unwrap_or_default();
            let given = more.each(ends.each(before, u64::saturating_sub), u64::min);
            rows.tables.spent.put(key, before.each(given, u64::saturating_add));
            Ok(given)
        })
    }
}
