//! The gateway's calls that outlive their caller. It is the only plane that reads or writes them.
//!
//! What was asked for, a mandate and a result are sealed under a key of the gateway's; what stands beside them in
//! clear is for finding rows and for the one rule that must hold under a race: each step of a call is taken once,
//! from the very step before it.

use super::Stored;
use crate::{
    call::{CallPlace, CallState, Delivery},
    clock::Timestamp,
    id::{TaskId, TenantId},
    sealed::Wrapped,
    tool::Name,
};
use serde::{Deserialize, Serialize};

/// A durable call as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallRow {
    /// Which call.
    pub place: CallPlace,
    /// The gateway that keeps it, carries it out and tells of its end; none where there is one gateway.
    pub owner: Option<Name>,
    /// SHA-256 of its idempotency key, hexadecimal; unique in its task.
    pub key_sha256: String,
    /// SHA-256 of the request, hexadecimal.
    pub request_sha256: String,
    /// Where it stands.
    pub state: CallState,
    /// How often it was marked.
    pub attempts: u32,
    /// Before this it is not tried again.
    pub not_before: Timestamp,
    /// When it was accepted.
    pub accepted_at: Timestamp,
    /// When it came to its final state.
    pub ended_at: Option<Timestamp>,
    /// Who asked, and for what.
    pub request: Wrapped,
    /// The agent's word that it may go on without it.
    pub mandate: Option<Wrapped>,
    /// The final answer.
    pub result: Option<Wrapped>,
    /// How far a webhook was told of the end, where one is to be.
    pub delivery: Option<Delivery>,
}

/// How much room there is for durable calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallRoom {
    /// Calls of one task, final ones that are still kept included.
    pub each_max: u32,
    /// Bytes of what is sealed of one task's calls.
    pub each_max_bytes: u64,
    /// Calls of all tasks that are not final.
    pub open_max: u32,
}

/// What became of a call that was to be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Accepted {
    /// It is kept.
    New,
    /// Its task has one by this key already; here it is, and nothing was written.
    Known(Box<CallRow>),
    /// There is no room, and nothing was written.
    Full,
}

/// The gateway's durable calls. What was answered is on the disk.
pub trait CallStore: Send + Sync {
    /// Keeps a call, if its task has none by its key and there is room. Of many by one key at once, one is kept.
    fn accept_call(&self, call: CallRow, room: CallRoom) -> Stored<'_, Accepted>;
    /// One call.
    fn call(&self, place: CallPlace) -> Stored<'_, Option<CallRow>>;
    /// The call of a task by its key.
    fn call_of_key(&self, tenant: TenantId, task: TaskId, key_sha256: String) -> Stored<'_, Option<CallRow>>;
    /// The calls of this gateway that are not final, oldest first, at most `limit`. A row whose place cannot be read is none
    /// of them, and takes no other's place.
    fn open_calls(&self, owner: Option<Name>, limit: u32) -> Stored<'_, Vec<CallPlace>>;
    /// The calls that are not final, or of whose end somebody waits to be told, of gateways that are none of these, with
    /// those, at most `limit`. What nobody is said to keep is none of them.
    fn orphaned_calls(&self, present: Vec<Name>, limit: u32) -> Stored<'_, Vec<(CallPlace, Name)>>;
    /// Gives a call to another gateway; `false`, and nothing written, where it is no longer `from`'s. One that was `queued` is
    /// `attempting` by the same write: only `from` could say that it was not sent.
    fn adopt_call(&self, place: CallPlace, from: Name, to: Name) -> Stored<'_, bool>;
    /// Marks a queued call that was marked `attempts` times so far: it is `attempting` and has one more. `false`, and
    /// nothing written, where it is not that.
    fn mark_call(&self, place: CallPlace, attempts: u32) -> Stored<'_, bool>;
    /// Puts a call back that was marked `attempts` times in all; `false` where it is final or was marked again.
    fn requeue_call(&self, place: CallPlace, attempts: u32, not_before: Timestamp) -> Stored<'_, bool>;
    /// Keeps a mandate for a call that is not final, in the place of an earlier one; `false` where it is final.
    fn mandate_call(&self, place: CallPlace, mandate: Wrapped) -> Stored<'_, bool>;
    /// Ends a call with its final answer, once: `false`, and nothing written, where it is final.
    fn end_call(
        &self,
        place: CallPlace,
        state: CallState,
        result: Wrapped,
        at: Timestamp,
    ) -> Stored<'_, bool>;
    /// The calls of this gateway of which this webhook is still to be told the end, and when: of each task the `each` that are to be
    /// tried first, and of all of these at most `limit`, every task's first one before any task's second. A call that is
    /// not final is none of them, nor is a row whose place cannot be read, which takes no other's place.
    fn untold_calls(
        &self,
        owner: Option<Name>,
        hook: Name,
        each: u32,
        limit: u32,
    ) -> Stored<'_, Vec<(CallPlace, Timestamp)>>;
    /// The webhooks that are still to be told of something of this gateway's, but for those whose name cannot be read.
    fn untold_hooks(&self, owner: Option<Name>) -> Stored<'_, Vec<Name>>;
    /// Keeps what follows from a try to tell, of a final call that waited and was told `tries` times so far; `false`,
    /// and nothing written, where it is not that.
    fn tell_call(&self, place: CallPlace, tries: u32, after: Delivery) -> Stored<'_, bool>;
    /// Nobody is told of a final call any more, whatever else its row says; `false` where nobody waited to be.
    fn give_up_telling(&self, place: CallPlace, at: Timestamp) -> Stored<'_, bool>;
    /// Ends a call whose row cannot be read, with no answer, so that it is forgotten in its time like any other;
    /// `false`, and nothing written, where it is final.
    fn give_up_call(&self, place: CallPlace, at: Timestamp) -> Stored<'_, bool>;
    /// The same for every row of which nobody can tell which call it is, where it stands or whom it is told to: nobody
    /// would ever end it, nor be told of it. Answers how many there were.
    fn give_up_nameless(&self, at: Timestamp) -> Stored<'_, u64>;
    /// Forgets calls that came to their end before then, and of which nobody waits to be told, nor was told since.
    /// What is not final is never forgotten.
    fn forget_calls(&self, ended_before: Timestamp) -> Stored<'_, u64>;
}
