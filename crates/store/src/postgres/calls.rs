//! The gateway's durable calls. Every step names the step before it in its WHERE, so of many at once one is taken.

use super::link::Link;
use super::{
    PostgresStore,
    record::{self, Doc, Record, Word, millis, number, params},
};
use crate::call_rows::{in_turns, is_nameless, owned, place, row, size};
use nightlatch_domain::{
    call::{CallPlace, CallState, Delivery, DeliveryState},
    clock::Timestamp,
    id::{TaskId, TenantId},
    ports::store::{Accepted, CallRoom, CallRow, CallStore, StoreError, Stored},
    sealed::Wrapped,
    tool::Name,
};

/// Rows that are forgotten in one transaction: what is longer is forgotten in the next.
const FORGOTTEN_AT_ONCE: u32 = 1000;

impl PostgresStore {
    /// Whether any durable call is stored: then the key that sealed it must not be replaced by a new one.
    #[must_use]
    pub fn holds_calls(&self) -> Stored<'_, bool> {
        self.read((), move |at, ()| {
            Box::pin(async move { record::holds(at, "call", "SELECT 1 FROM call LIMIT 1", &[]).await })
        })
    }
}

impl CallStore for PostgresStore {
    fn accept_call(&self, call: CallRow, room: CallRoom) -> Stored<'_, Accepted> {
        self.write((call, room), move |at, (call, room)| {
            Box::pin(async move {
                let room = *room;
                let CallPlace { tenant, task, .. } = call.place;
                // Whoever keeps a call holds this row: together no more are kept than there is room for.
                record::holds(at, "call_room", "SELECT one FROM call_room FOR UPDATE", &[]).await?;
                if let Some(known) = of_key(at, tenant, task, &call.key_sha256).await? {
                    return Ok(Accepted::Known(Box::new(known)));
                }
                if !has_room(at, call, room).await? {
                    return Ok(Accepted::Full);
                }
                insert(at, call).await?;
                Ok(Accepted::New)
            })
        })
    }

    fn call(&self, place: CallPlace) -> Stored<'_, Option<CallRow>> {
        self.read(place, move |at, place| {
            Box::pin(async move {
                let place = *place;
                let sql = "SELECT * FROM call WHERE tenant_id = $1 AND task_id = $2 AND call_id = $3";
                let values = params![Word(&place.tenant), Word(&place.task), Word(&place.call)];
                record::one(at, "call", sql, values, row).await
            })
        })
    }

    fn call_of_key(&self, tenant: TenantId, task: TaskId, key_sha256: String) -> Stored<'_, Option<CallRow>> {
        self.read((tenant, task, key_sha256), move |at, (tenant, task, key_sha256)| {
            Box::pin(async move {
                let (tenant, task) = (*tenant, *task);
                of_key(at, tenant, task, key_sha256).await
            })
        })
    }

    fn open_calls(&self, owner: Option<Name>, limit: u32) -> Stored<'_, Vec<CallPlace>> {
        self.read((owner, limit), move |at, (owner, limit)| {
            Box::pin(async move {
                let sql = "SELECT tenant_id, task_id, call_id FROM call
                 WHERE state IN ('queued', 'attempting') AND owner IS NOT DISTINCT FROM $1
                 ORDER BY accepted_at, call_id";
                let params = params![owner.as_ref().map(Word)];
                record::readable(at, "call", (sql, *limit), params, place).await
            })
        })
    }

    fn orphaned_calls(&self, present: Vec<Name>, limit: u32) -> Stored<'_, Vec<(CallPlace, Name)>> {
        let present: Vec<String> = present.iter().map(Name::to_string).collect();
        self.read((present, limit), move |at, (present, limit)| {
            Box::pin(async move {
                let sql = "SELECT tenant_id, task_id, call_id, owner FROM call
                 WHERE (state IN ('queued', 'attempting') OR hook_state = 'waiting' AND ended_at IS NOT NULL)
                   AND owner <> ALL ($1) ORDER BY accepted_at, call_id";
                record::readable(at, "call", (sql, *limit), params![present], owned).await
            })
        })
    }

    fn adopt_call(&self, place: CallPlace, from: Name, to: Name) -> Stored<'_, bool> {
        let sql =
            "UPDATE call SET owner = $5, state = CASE state WHEN 'queued' THEN 'attempting' ELSE state END
             WHERE tenant_id = $1 AND task_id = $2 AND call_id = $3 AND owner = $4";
        self.write((place, from, to), move |at, (place, from, to)| {
            Box::pin(async move {
                let (tenant, task, call) = (Word(&place.tenant), Word(&place.task), Word(&place.call));
                let values = params![tenant, task, call, Word(from), Word(to)];
                Ok(record::write(at, "call", sql, values).await? == 1)
            })
        })
    }

    fn mark_call(&self, place: CallPlace, attempts: u32) -> Stored<'_, bool> {
        let sql = "UPDATE call SET state = 'attempting', attempts = attempts + 1
             WHERE tenant_id = $1 AND task_id = $2 AND call_id = $3 AND state = 'queued' AND attempts = $4";
        self.write((place, attempts), move |at, (place, attempts)| {
            Box::pin(async move {
                let (place, attempts) = (*place, *attempts);
                let values =
                    params![Word(&place.tenant), Word(&place.task), Word(&place.call), i64::from(attempts)];
                Ok(record::write(at, "call", sql, values).await? == 1)
            })
        })
    }

    fn requeue_call(&self, place: CallPlace, attempts: u32, not_before: Timestamp) -> Stored<'_, bool> {
        let sql = "UPDATE call SET state = 'queued', not_before = $5
             WHERE tenant_id = $1 AND task_id = $2 AND call_id = $3 AND attempts = $4
               AND state IN ('queued', 'attempting')";
        self.write((place, attempts, not_before), move |at, (place, attempts, not_before)| {
            Box::pin(async move {
                let (place, attempts, not_before) = (*place, *attempts, *not_before);
                let (tenant, task, call) = (Word(&place.tenant), Word(&place.task), Word(&place.call));
                let values = params![tenant, task, call, i64::from(attempts), not_before.millis()];
                Ok(record::write(at, "call", sql, values).await? == 1)
            })
        })
    }

    fn mandate_call(&self, place: CallPlace, mandate: Wrapped) -> Stored<'_, bool> {
        let sql = "UPDATE call SET mandate = $4, bytes = bytes + $5
             WHERE tenant_id = $1 AND task_id = $2 AND call_id = $3 AND state IN ('queued', 'attempting')";
        self.write((place, mandate), move |at, (place, mandate)| {
            Box::pin(async move {
                let place = *place;
                let (tenant, task, call) = (Word(&place.tenant), Word(&place.task), Word(&place.call));
                let values = params![tenant, task, call, Doc(&mandate), number(size(mandate))];
                Ok(record::write(at, "call", sql, values).await? == 1)
            })
        })
    }

    fn end_call(
        &self,
        place: CallPlace,
        state: CallState,
        result: Wrapped,
        at: Timestamp,
    ) -> Stored<'_, bool> {
        let sql = "UPDATE call SET state = $4, result = $5, ended_at = $6, bytes = bytes + $7
             WHERE tenant_id = $1 AND task_id = $2 AND call_id = $3 AND state IN ('queued', 'attempting')";
        self.write((place, state, result, at), move |database, (place, state, result, at)| {
            Box::pin(async move {
                let (place, state, at) = (*place, *state, *at);
                let (tenant, task, call) = (Word(&place.tenant), Word(&place.task), Word(&place.call));
                let (state, bytes) = (Word(&state), number(size(result)));
                let values = params![tenant, task, call, state, Doc(&result), at.millis(), bytes];
                Ok(record::write(database, "call", sql, values).await? == 1)
            })
        })
    }

    fn untold_calls(
        &self,
        owner: Option<Name>,
        hook: Name,
        each: u32,
        limit: u32,
    ) -> Stored<'_, Vec<(CallPlace, Timestamp)>> {
        self.read((owner, hook, each, limit), move |at, (owner, hook, each, limit)| {
            Box::pin(async move {
                let (each, limit) = (*each, *limit);
                let mut damaged = 0;
                loop {
                    let (each_now, limit_now) = (each.saturating_add(damaged), limit.saturating_add(damaged));
                    let untold = untold(at, (owner.as_ref(), hook), each_now, limit_now).await?;
                    let met =
                        u32::try_from(untold.iter().filter(|one| one.is_none()).count()).unwrap_or(u32::MAX);
                    if met <= damaged {
                        return Ok(in_turns(untold.into_iter().flatten(), each, limit));
                    }
                    // They take no other's place: it is looked so much further.
                    damaged = met;
                }
            })
        })
    }

    fn untold_hooks(&self, owner: Option<Name>) -> Stored<'_, Vec<Name>> {
        self.read(owner, move |at, owner| {
            Box::pin(async move {
                let sql = "SELECT DISTINCT hook FROM call
                 WHERE hook_state = 'waiting' AND ended_at IS NOT NULL
                   AND state NOT IN ('queued', 'attempting') AND owner IS NOT DISTINCT FROM $1 ORDER BY hook";
                let params = params![owner.as_ref().map(Word)];
                record::readable(at, "call", (sql, u32::MAX), params, |row| row.word("hook")).await
            })
        })
    }

    fn tell_call(&self, place: CallPlace, tries: u32, after: Delivery) -> Stored<'_, bool> {
        let sql = "UPDATE call SET hook_state = $6, hook_tries = $7, hook_at = $8
             WHERE tenant_id = $1 AND task_id = $2 AND call_id = $3 AND hook = $4 AND hook_tries = $5
               AND hook_state = 'waiting' AND state NOT IN ('queued', 'attempting')";
        self.write((place, tries, after), move |at, (place, tries, after)| {
            Box::pin(async move {
                let (place, tries) = (*place, *tries);
                let Delivery { hook, state, tries: done, at: when } = after;
                let (tenant, task, call) = (Word(&place.tenant), Word(&place.task), Word(&place.call));
                let (hook, state) = (Word(hook), Word(state));
                let values = params![
                    tenant,
                    task,
                    call,
                    hook,
                    i64::from(tries),
                    state,
                    i64::from(*done),
                    when.millis()
                ];
                Ok(record::write(at, "call", sql, values).await? == 1)
            })
        })
    }

    fn give_up_telling(&self, place: CallPlace, at: Timestamp) -> Stored<'_, bool> {
        let sql = "UPDATE call SET hook_state = $4, hook_at = $5
             WHERE tenant_id = $1 AND task_id = $2 AND call_id = $3
               AND hook_state = 'waiting' AND state NOT IN ('queued', 'attempting')";
        self.write((place, at), move |database, (place, at)| {
            Box::pin(async move {
                let (place, at) = (*place, *at);
                let (tenant, task, call) = (Word(&place.tenant), Word(&place.task), Word(&place.call));
                let values = params![tenant, task, call, Word(&DeliveryState::GivenUp), at.millis()];
                Ok(record::write(database, "call", sql, values).await? == 1)
            })
        })
    }

    fn give_up_call(&self, place: CallPlace, at: Timestamp) -> Stored<'_, bool> {
        let sql = "UPDATE call SET state = 'outcome-unknown', ended_at = $4
             WHERE tenant_id = $1 AND task_id = $2 AND call_id = $3
               AND state NOT IN ('done', 'refused', 'outcome-unknown')";
        self.write((place, at), move |database, (place, at)| {
            Box::pin(async move {
                let (place, at) = (*place, *at);
                let (tenant, task, call) = (Word(&place.tenant), Word(&place.task), Word(&place.call));
                Ok(record::write(database, "call", sql, params![tenant, task, call, at.millis()]).await? == 1)
            })
        })
    }

    fn give_up_nameless(&self, at: Timestamp) -> Stored<'_, u64> {
        self.write(at, move |database, at| {
            Box::pin(async move {
                let at = *at;
                give_up_nameless(database, at).await
            })
        })
    }

    fn forget_calls(&self, ended_before: Timestamp) -> Stored<'_, u64> {
        let sql = "DELETE FROM call WHERE ctid IN
             (SELECT ctid FROM call WHERE ended_at < $1 AND state NOT IN ('queued', 'attempting')
                 AND (hook_state IS NULL OR hook_state != 'waiting' AND hook_at < $1) LIMIT $2)";
        self.write(ended_before, move |at, ended_before| {
            Box::pin(async move {
                let ended_before = *ended_before;
                let forgotten = record::write(
                    at,
                    "call",
                    sql,
                    params![ended_before.millis(), i64::from(FORGOTTEN_AT_ONCE)],
                )
                .await?;
                Ok(forgotten)
            })
        })
    }
}

/// What is not final, or waits to be told, is looked at; what can be told apart is left alone.
async fn give_up_nameless(at: &Link, when: Timestamp) -> Result<u64, StoreError> {
    let sql = "SELECT tenant_id, task_id, call_id, state, ended_at, hook, hook_state FROM call
         WHERE state NOT IN ('done', 'refused', 'outcome-unknown') OR ended_at IS NULL OR hook_state = 'waiting'
         FOR UPDATE";
    let nameless = record::all(at, "call", sql, &[], |row| {
        let key = [row.text("tenant_id")?, row.text("task_id")?, row.text("call_id")?];
        Ok(is_nameless(row).then_some(key))
    })
    .await?;
    let nameless: Vec<_> = nameless.into_iter().flatten().collect();
    let sql = "UPDATE call SET ended_at = coalesce(ended_at, $4),
             state = CASE WHEN state IN ('done', 'refused') THEN state ELSE 'outcome-unknown' END,
             hook_state = CASE WHEN hook_state IS NULL THEN NULL ELSE $5 END, hook_at = $4
         WHERE tenant_id = $1 AND task_id = $2 AND call_id = $3";
    for [tenant, task, call] in &nameless {
        let values = params![tenant, task, call, when.millis(), Word(&DeliveryState::GivenUp)];
        record::write(at, "call", sql, values).await?;
    }
    Ok(nameless.len() as u64)
}

/// Of each task so many, and so many in all; none in the place of a row that cannot be read.
async fn untold(
    at: &Link,
    (owner, hook): (Option<&Name>, &Name),
    each: u32,
    limit: u32,
) -> Result<Vec<Option<(CallPlace, Timestamp)>>, StoreError> {
    // All of it is in the index `call_untold`: no row is read, and none is sorted within its task.
    let sql = "SELECT tenant_id, task_id, call_id, hook_at FROM
         (SELECT tenant_id, task_id, call_id, hook_at, row_number() OVER
             (PARTITION BY tenant_id, task_id ORDER BY hook_at, call_id) AS turn
          FROM call WHERE hook = $1 AND hook_state = 'waiting' AND ended_at IS NOT NULL
             AND state NOT IN ('queued', 'attempting') AND owner IS NOT DISTINCT FROM $4) AS waiting
         WHERE turn <= $2 ORDER BY turn, hook_at, call_id LIMIT $3";
    let read = |row: &Record<'_>| Ok(place(row).ok().zip(row.time("hook_at").ok()));
    let params = params![Word(hook), i64::from(each), i64::from(limit), owner.map(Word)];
    record::all(at, "call", sql, params, read).await
}

async fn of_key(
    at: &Link,
    tenant: TenantId,
    task: TaskId,
    key_sha256: &str,
) -> Result<Option<CallRow>, StoreError> {
    let sql = "SELECT * FROM call WHERE tenant_id = $1 AND task_id = $2 AND key_sha256 = $3";
    record::one(at, "call", sql, params![Word(&tenant), Word(&task), key_sha256], row).await
}

async fn has_room(at: &Link, call: &CallRow, room: CallRoom) -> Result<bool, StoreError> {
    let sql = "SELECT count(*) AS calls, coalesce(sum(bytes), 0)::bigint AS bytes FROM call
         WHERE tenant_id = $1 AND task_id = $2";
    let values = params![Word(&call.place.tenant), Word(&call.place.task)];
    let held =
        record::one(at, "call", sql, values, |row| Ok((row.count("calls")?, row.count("bytes")?))).await?;
    let sql = "SELECT count(*) AS calls FROM call WHERE state IN ('queued', 'attempting')";
    let open = record::one(at, "call", sql, &[], |row| row.count("calls")).await?.unwrap_or_default();
    let (calls, bytes) = held.unwrap_or_default();
    let fits = bytes.saturating_add(size(&call.request)) <= room.each_max_bytes;
    Ok(calls < u64::from(room.each_max) && fits && open < u64::from(room.open_max))
}

async fn insert(at: &Link, call: &CallRow) -> Result<(), StoreError> {
    let sealed = [Some(&call.request), call.mandate.as_ref(), call.result.as_ref()];
    let bytes: u64 = sealed.into_iter().flatten().map(size).sum();
    let told = call.delivery.as_ref();
    record::write(
        at,
        "call",
        "INSERT INTO call (tenant_id, task_id, call_id, key_sha256, request_sha256, state, attempts, not_before,
             accepted_at, ended_at, bytes, request, mandate, result, hook, hook_state, hook_tries, hook_at, owner)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19)",
        params![
            Word(&call.place.tenant),
            Word(&call.place.task),
            Word(&call.place.call),
            call.key_sha256,
            call.request_sha256,
            Word(&call.state),
            i64::from(call.attempts),
            call.not_before.millis(),
            call.accepted_at.millis(),
            millis(call.ended_at),
            number(bytes),
            Doc(&call.request),
            call.mandate.as_ref().map(Doc),
            call.result.as_ref().map(Doc),
            told.map(|told| Word(&told.hook)),
            told.map(|told| Word(&told.state)),
            told.map_or(0, |told| i64::from(told.tries)),
            told.map_or(0, |told| told.at.millis()),
            call.owner.as_ref().map(Word)
        ],
    ).await?;
    Ok(())
}
