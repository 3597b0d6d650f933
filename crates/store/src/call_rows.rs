//! What the rows of durable calls say, whichever engine they come from.

use crate::record::Record;
use nightlatch_domain::{
    call::{CallPlace, CallState, Delivery, DeliveryState},
    clock::Timestamp,
    id::{TaskId, TenantId},
    ports::store::{CallRow, StoreError},
    sealed::Wrapped,
    tool::Name,
};
use std::collections::HashMap;

/// Whether nobody can say which call this is, where it stands, or whom it is told to.
pub(crate) fn is_nameless(row: &Record<'_>) -> bool {
    let (Ok(_), Ok(state)) = (place(row), row.word::<CallState>("state")) else { return true };
    let waits = row.text_or_none("hook_state").is_ok_and(|state| state.as_deref() == Some("waiting"));
    let has_ended = row.time_or_none("ended_at").is_ok_and(|at| at.is_some());
    (state.is_final() && !has_ended) || (waits && row.word::<Name>("hook").is_err())
}

/// Those that can be read, each in its turn of its task.
pub(crate) fn in_turns(
    untold: impl Iterator<Item = (CallPlace, Timestamp)>,
    each: u32,
    limit: u32,
) -> Vec<(CallPlace, Timestamp)> {
    let mut turns: HashMap<(TenantId, TaskId), u32> = HashMap::new();
    let turn = |(place, at): (CallPlace, Timestamp)| {
        let turn = turns.entry((place.tenant, place.task)).or_default();
        *turn += 1;
        (*turn, at, place)
    };
    let mut found: Vec<_> = untold.map(turn).filter(|(turn, ..)| *turn <= each).collect();
    found.sort_by_key(|(turn, at, place)| (*turn, *at, place.call));
    let found = found.into_iter().map(|(_, at, place)| (place, at));
    found.take(usize::try_from(limit).unwrap_or(usize::MAX)).collect()
}

/// What is sealed, without the few bytes around it.
pub(crate) fn size(sealed: &Wrapped) -> u64 {
    (sealed.ciphertext.len() + sealed.data_key.len()) as u64
}

pub(crate) fn place(row: &Record<'_>) -> Result<CallPlace, StoreError> {
    Ok(CallPlace { tenant: row.word("tenant_id")?, task: row.word("task_id")?, call: row.word("call_id")? })
}

/// A call and whose it is; none where either cannot be read.
pub(crate) fn owned(row: &Record<'_>) -> Result<(CallPlace, Name), StoreError> {
    Ok((place(row)?, row.word("owner")?))
}

pub(crate) fn row(row: &Record<'_>) -> Result<CallRow, StoreError> {
    Ok(CallRow {
        place: place(row)?,
        owner: row.word_or_none("owner")?,
        key_sha256: row.text("key_sha256")?,
        request_sha256: row.text("request_sha256")?,
        state: row.word("state")?,
        attempts: row.count_of_32_bits("attempts")?,
        not_before: row.time("not_before")?,
        accepted_at: row.time("accepted_at")?,
        ended_at: row.time_or_none("ended_at")?,
        request: row.doc("request")?,
        mandate: row.doc_or_none("mandate")?,
        result: row.doc_or_none("result")?,
        delivery: delivery(row)?,
    })
}

fn delivery(row: &Record<'_>) -> Result<Option<Delivery>, StoreError> {
    let named: Option<(Name, DeliveryState)> = row.word_or_none("hook")?.zip(row.word_or_none("hook_state")?);
    let Some((hook, state)) = named else { return Ok(None) };
    Ok(Some(Delivery { hook, state, tries: row.count_of_32_bits("hook_tries")?, at: row.time("hook_at")? }))
}
