//! Durable calls: each step is taken from the step before it alone.

use super::rows::{Rows, first};
use nightlatch_domain::{
    call::{CallPlace, CallState, Delivery, DeliveryState},
    clock::Timestamp,
    id::{TaskId, TenantId},
    ports::store::{Accepted, CallRoom, CallRow, StoreError},
    sealed::Wrapped,
    tool::Name,
};
use std::collections::BTreeMap;

const OPEN: [CallState; 2] = [CallState::Queued, CallState::Attempting];

fn size(sealed: &Wrapped) -> u64 {
    (sealed.ciphertext.len() + sealed.data_key.len()) as u64
}

fn bytes(call: &CallRow) -> u64 {
    let sealed = [Some(&call.request), call.mandate.as_ref(), call.result.as_ref()];
    sealed.into_iter().flatten().map(size).sum()
}

pub(super) fn accept(rows: &mut Rows, call: CallRow, room: CallRoom) -> Result<Accepted, StoreError> {
    let CallPlace { tenant, task, .. } = call.place;
    if let Some(known) = of_key(rows, tenant, task, &call.key_sha256) {
        return Ok(Accepted::Known(Box::new(known)));
    }
    if !has_room(rows, &call, room) {
        return Ok(Accepted::Full);
    }
    if !rows.tables.tasks.holds(&(tenant, task)) {
        return Err(StoreError::Missing("call"));
    }
    rows.tables.calls.put(call.place, call);
    Ok(Accepted::New)
}

pub(super) fn of_key(rows: &Rows, tenant: TenantId, task: TaskId, key_sha256: &str) -> Option<CallRow> {
    let all = rows.tables.calls.values();
    all.filter(|call| (call.place.tenant, call.place.task) == (tenant, task))
        .find(|call| call.key_sha256 == key_sha256)
        .cloned()
}

fn has_room(rows: &Rows, call: &CallRow, room: CallRoom) -> bool {
    let same =
        |other: &&CallRow| (other.place.tenant, other.place.task) == (call.place.tenant, call.place.task);
    let held: Vec<_> = rows.tables.calls.values().filter(same).collect();
    let open = rows.tables.calls.values().filter(|call| OPEN.contains(&call.state)).count();
    let used: u64 = held.iter().map(|call| bytes(call)).sum();
    held.len() < room.each_max as usize
        && used + size(&call.request) <= room.each_max_bytes
        && open < room.open_max as usize
}

pub(super) fn open(rows: &Rows, owner: Option<&Name>, limit: u32) -> Vec<CallPlace> {
    let of_owner = rows.tables.calls.values().filter(|call| call.owner.as_ref() == owner);
    let mut open: Vec<_> = of_owner.filter(|call| OPEN.contains(&call.state)).collect();
    open.sort_by_key(|call| (call.accepted_at, call.place.call));
    first(open.into_iter().map(|call| call.place), limit)
}

/// What is not done yet, of gateways that are none of these.
pub(super) fn orphaned(rows: &Rows, present: &[Name], limit: u32) -> Vec<(CallPlace, Name)> {
    let undone = rows.tables.calls.values().filter(|call| is_open(call) || untold(call).is_some());
    let owned = undone.filter_map(|call| Some((call, call.owner.clone()?)));
    let mut found: Vec<_> = owned.filter(|(_, owner)| !present.contains(owner)).collect();
    found.sort_by_key(|(call, _)| (call.accepted_at, call.place.call));
    first(found.into_iter().map(|(call, owner)| (call.place, owner)), limit)
}

/// Changes a call of which this holds; `false`, and nothing written, where it does not.
pub(super) fn step(
    rows: &mut Rows,
    place: CallPlace,
    fits: impl FnOnce(&CallRow) -> bool,
    change: impl FnOnce(&mut CallRow),
) -> bool {
    let is_there = rows.tables.calls.get(&place).is_some_and(fits);
    is_there && rows.tables.calls.change(&place, change)
}

pub(super) fn is_open(call: &CallRow) -> bool {
    OPEN.contains(&call.state)
}

/// How far an ended call's webhook was told, where that is still to be done.
fn untold(call: &CallRow) -> Option<&Delivery> {
    let ended = !is_open(call) && call.ended_at.is_some();
    call.delivery.as_ref().filter(|told| ended && told.state == DeliveryState::Waiting)
}

/// Of each task the first `each`; every task's first before any task's second.
pub(super) fn untold_calls(
    rows: &Rows,
    (owner, hook): (Option<&Name>, &Name),
    each: u32,
    limit: u32,
) -> Vec<(CallPlace, Timestamp)> {
    let of_owner = rows.tables.calls.values().filter(|call| call.owner.as_ref() == owner);
    let waiting = of_owner.filter_map(|call| Some((call, untold(call)?)));
    let mut waiting: Vec<_> =
        waiting.filter(|(_, told)| told.hook == *hook).map(|(call, told)| (call.place, told.at)).collect();
    waiting.sort_by_key(|(place, at)| (*at, place.call));
    let mut turns: BTreeMap<(TenantId, TaskId), u32> = BTreeMap::new();
    let mut found: Vec<_> = waiting
        .into_iter()
        .map(|(place, at)| {
            let turn = turns.entry((place.tenant, place.task)).or_default();
            *turn += 1;
            (*turn, at, place)
        })
        .filter(|(turn, ..)| *turn <= each)
        .collect();
    found.sort_by_key(|(turn, at, place)| (*turn, *at, place.call));
    first(found.into_iter().map(|(_, at, place)| (place, at)), limit)
}

pub(super) fn untold_hooks(rows: &Rows, owner: Option<&Name>) -> Vec<Name> {
    let of_owner = rows.tables.calls.values().filter(|call| call.owner.as_ref() == owner);
    let mut hooks: Vec<_> = of_owner.filter_map(|call| Some(untold(call)?.hook.clone())).collect();
    hooks.sort();
    hooks.dedup();
    hooks
}

pub(super) fn waits_to_be_told(call: &CallRow) -> bool {
    !is_open(call) && call.delivery.as_ref().is_some_and(|told| told.state == DeliveryState::Waiting)
}

pub(super) fn forget(rows: &mut Rows, ended_before: Timestamp) -> u64 {
    let goes = |call: &CallRow| {
        let is_told = call
            .delivery
            .as_ref()
            .is_none_or(|told| told.state != DeliveryState::Waiting && told.at < ended_before);
        !is_open(call) && call.ended_at.is_some_and(|at| at < ended_before) && is_told
    };
    let gone = rows.tables.calls.values().filter(|call| goes(call)).count();
    rows.tables.calls.forget(|_, call| goes(call));
    gone as u64
}
