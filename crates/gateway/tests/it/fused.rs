//! A store of durable calls that panics where a test says so, once.

use nightlatch_custody::CallKey;
use nightlatch_domain::{
    call::{CallPlace, CallState, Delivery},
    clock::Timestamp,
    id::{TaskId, TenantId},
    ports::store::{Accepted, CallRoom, CallRow, CallStore, Stored},
    sealed::Wrapped,
    tool::Name,
};
use nightlatch_store::SqliteStore;
use std::sync::{Arc, Mutex};

/// Where it panics next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// When it is asked what is still to be told.
    Untold,
    /// When it is to keep what came of a try.
    Tell,
}

/// What a test sets.
#[derive(Clone, Default)]
pub(crate) struct Fuse(Arc<Mutex<Option<Step>>>);

impl Fuse {
    pub(crate) fn set(&self, step: Step) {
        *self.0.lock().unwrap() = Some(step);
    }

    pub(crate) fn has_blown(&self) -> bool {
        self.0.lock().unwrap().is_none()
    }

    fn blows_at(&self, step: Step) {
        let taken = self.0.lock().unwrap().take_if(|set| *set == step);
        assert_ne!(taken, Some(step), "as the test says");
    }
}

struct Fused {
    store: SqliteStore,
    fuse: Fuse,
}

/// What the gateway of these tests is called among others.
pub(crate) const OWNER: &str = "one";

/// The calls of a gateway, over a store that panics where `fuse` says so.
pub(crate) fn calls(
    store: &SqliteStore,
    fuse: &Fuse,
    key: CallKey,
) -> (Arc<dyn CallStore>, CallKey, Option<Name>) {
    let fused = Fused { store: store.clone(), fuse: fuse.clone() };
    (Arc::new(fused), key, Some(OWNER.parse().unwrap()))
}

impl CallStore for Fused {
    fn accept_call(&self, call: CallRow, room: CallRoom) -> Stored<'_, Accepted> {
        self.store.accept_call(call, room)
    }
    fn call(&self, place: CallPlace) -> Stored<'_, Option<CallRow>> {
        self.store.call(place)
    }
    fn call_of_key(&self, tenant: TenantId, task: TaskId, key_sha256: String) -> Stored<'_, Option<CallRow>> {
        self.store.call_of_key(tenant, task, key_sha256)
    }
    fn open_calls(&self, owner: Option<Name>, limit: u32) -> Stored<'_, Vec<CallPlace>> {
        self.store.open_calls(owner, limit)
    }
    fn orphaned_calls(&self, present: Vec<Name>, limit: u32) -> Stored<'_, Vec<(CallPlace, Name)>> {
        self.store.orphaned_calls(present, limit)
    }
    fn adopt_call(&self, place: CallPlace, from: Name, to: Name) -> Stored<'_, bool> {
        self.store.adopt_call(place, from, to)
    }
    fn mark_call(&self, place: CallPlace, attempts: u32) -> Stored<'_, bool> {
        self.store.mark_call(place, attempts)
    }
    fn requeue_call(&self, place: CallPlace, attempts: u32, not_before: Timestamp) -> Stored<'_, bool> {
        self.store.requeue_call(place, attempts, not_before)
    }
    fn mandate_call(&self, place: CallPlace, mandate: Wrapped) -> Stored<'_, bool> {
        self.store.mandate_call(place, mandate)
    }
    fn end_call(
        &self,
        place: CallPlace,
        state: CallState,
        result: Wrapped,
        at: Timestamp,
    ) -> Stored<'_, bool> {
        self.store.end_call(place, state, result, at)
    }
    fn untold_calls(
        &self,
        owner: Option<Name>,
        hook: Name,
        each: u32,
        limit: u32,
    ) -> Stored<'_, Vec<(CallPlace, Timestamp)>> {
        self.fuse.blows_at(Step::Untold);
        self.store.untold_calls(owner, hook, each, limit)
    }
    fn untold_hooks(&self, owner: Option<Name>) -> Stored<'_, Vec<Name>> {
        self.store.untold_hooks(owner)
    }
    fn tell_call(&self, place: CallPlace, tries: u32, after: Delivery) -> Stored<'_, bool> {
        self.fuse.blows_at(Step::Tell);
        self.store.tell_call(place, tries, after)
    }
    fn give_up_telling(&self, place: CallPlace, at: Timestamp) -> Stored<'_, bool> {
        self.store.give_up_telling(place, at)
    }
    fn give_up_call(&self, place: CallPlace, at: Timestamp) -> Stored<'_, bool> {
        self.store.give_up_call(place, at)
    }
    fn give_up_nameless(&self, at: Timestamp) -> Stored<'_, u64> {
        self.store.give_up_nameless(at)
    }
    fn forget_calls(&self, ended_before: Timestamp) -> Stored<'_, u64> {
        self.store.forget_calls(ended_before)
    }
}
