//! What a start does about the calls that an earlier process left.
//!
//! A mark without an end is a crash: what may not be repeated ends as unknown. A queued call was never marked, if the
//! database is the one that was written; a restored or edited one may say so of a call that was sent. The ledger
//! knows: an intent of a call that counts as queued ends it as unknown too, unless its outcome says that nothing left.
//! A call of a gateway that is gone stands in a ledger that is not here: none of those counts as queued.
//! A row that cannot be read is given up: that is said once, the others go on, and it is forgotten in its time.

use super::{Calls, Ending, worker::end};
use crate::gateway::Shared;
use nightlatch_domain::{
    call::{CallPlace, CallState, Next, Report},
    id::CallId,
    ports::store::{CallRow, StoreError},
    problem::ProblemKind,
    tool::Name,
};
use std::{collections::BTreeSet, time::Duration};
use tokio::time::sleep;

/// More open calls than there can be are not read.
const OPEN_MAX: u32 = 100_000;
/// And no more than these are taken over in one look.
const TAKEN_OVER_MAX: u32 = 1000;
/// Between two tries to reach the store.
const AGAIN: Duration = Duration::from_millis(500);

/// Looks through what was left, and queues what may go on.
pub(super) async fn recover(shared: &Shared) {
    let calls = &shared.calls;
    let nameless = read(|| calls.store.give_up_nameless(calls.clock.now())).await;
    if nameless > 0 {
        tracing::error!(nameless, "rows of calls are damaged beyond their names, and given up");
    }
    let places = read(|| calls.store.open_calls(calls.owner.clone(), OPEN_MAX)).await;
    let mut queued = Vec::new();
    for place in places {
        match row(calls, place).await {
            Ok(Some(row)) => queued.extend(look(calls, row).await),
            Ok(None) => {}
            Err(Unreadable) => {
                read(|| calls.store.give_up_call(place, calls.clock.now())).await;
            }
        }
    }
    let unsent: BTreeSet<CallId> = queued.iter().copied().map(|place| place.call).collect();
    for call in perhaps_sent(shared, unsent).await {
        if let Some(place) = queued.iter().find(|place| place.call == call) {
            end(calls, *place, &Ending::unknown(None)).await;
        }
    }
}

/// Takes over what gateways left that are gone: those that are none of `present`.
pub(crate) async fn take_over(shared: &Shared, present: Vec<Name>) {
    let calls = &shared.calls;
    let Some(own) = &calls.owner else { return };
    let orphaned = match calls.store.orphaned_calls(present, TAKEN_OVER_MAX).await {
        Ok(orphaned) => orphaned,
        Err(error) => {
            tracing::warn!(%error, "it cannot be seen what gateways left that are gone");
            return;
        }
    };
    for (place, from) in orphaned {
        if calls.store.adopt_call(place, from.clone(), own.clone()).await != Ok(true) {
            // Another gateway has it, or the next look finds it.
            continue;
        }
        tracing::warn!(call = %place.call, %from, "a call is taken over from a gateway that is gone");
        match row(calls, place).await {
            // Whether it was sent, only the other's ledger could tell: the adoption marked it, so that it is judged as a
            // crash here, and by the next start too where this one stops now.
            Ok(Some(row)) if !row.state.is_final() => {
                look(calls, CallRow { state: CallState::Attempting, ..row }).await;
            }
            Ok(row) => {
                let hook = row.and_then(|row| row.delivery).map(|delivery| delivery.hook);
                hook.iter().for_each(|hook| calls.hooks.stir(hook));
            }
            Err(Unreadable) => {
                read(|| calls.store.give_up_call(place, calls.clock.now())).await;
            }
        }
    }
}

/// One row. Gives its place where it is queued and may be sent but once.
async fn look(calls: &Calls, row: CallRow) -> Option<CallPlace> {
    let place = row.place;
    let Ok(kept) = calls.kept(&row) else {
        let ending = match row.state {
            CallState::Queued => Ending::refused(&ProblemKind::Internal.into()),
            _ => Ending::unknown(None),
        };
        end(calls, place, &ending).await;
        return None;
    };
    let terms = kept.settled.terms();
    let is_once = !terms.repeatable;
    // One that does not open is none: the call waits for its agent.
    let mandate = calls.signed(&row).ok().flatten().map(|signed| signed.not_after);
    if row.state == CallState::Queued {
        calls.queue(place, kept.settled, row.attempts, false);
        calls.with(place.call, |open| open.mandate = mandate);
        return is_once.then_some(place);
    }
    match terms.next(row.attempts, Report::Crashed, calls.clock.now()) {
        Next::Again { not_before } => {
            read(|| calls.store.requeue_call(place, row.attempts, not_before)).await;
            calls.queue(place, kept.settled, row.attempts, false);
            calls.with(place.call, |open| open.mandate = mandate);
        }
        Next::Done | Next::Refused | Next::OutcomeUnknown => end(calls, place, &Ending::unknown(None)).await,
    }
    None
}

/// Those of these calls that were perhaps sent, by the ledger. Where it cannot be read, all of them may have been.
async fn perhaps_sent(shared: &Shared, calls: BTreeSet<CallId>) -> BTreeSet<CallId> {
    if calls.is_empty() {
        return calls;
    }
    let (ledger, asked) = (shared.corridor.ledger.clone(), calls.clone());
    let found = tokio::task::spawn_blocking(move || ledger.perhaps_sent(&asked)).await;
    match found {
        Ok(Ok(found)) => found,
        _ => {
            tracing::error!("the ledger cannot be read: what was queued may have been sent");
            calls
        }
    }
}

/// A row that stands there and cannot be read, which trying again does not mend.
pub(super) struct Unreadable;

/// The row of a call, once the store answers. One that cannot be read holds up no other.
pub(super) async fn row(calls: &Calls, place: CallPlace) -> Result<Option<CallRow>, Unreadable> {
    read(|| async {
        match calls.store.call(place).await {
            Ok(row) => Ok(Ok(row)),
            Err(StoreError::Unavailable) => Err(StoreError::Unavailable),
            Err(error) => {
                tracing::error!(%error, call = %place.call, "the row of a call is passed over");
                Ok(Err(Unreadable))
            }
        }
    })
    .await
}

/// Asks the store until it answers.
pub(super) async fn read<T, F>(ask: impl Fn() -> F) -> T
where
    F: Future<Output = Result<T, StoreError>>,
{
    loop {
        match ask().await {
            Ok(found) => return found,
            Err(error) => {
                tracing::warn!(%error, "calls that are kept cannot be read; it is tried again")
            }
        }
        sleep(AGAIN).await;
    }
}
