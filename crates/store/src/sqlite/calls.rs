//! The gateway's durable calls. Every step names the step before it in its WHERE, so of many at once one is taken.

use super::{
    SqliteStore,
    record::{self, Doc, Record, Word, millis, number},
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
use rusqlite::{Connection as Database, params};

/// Rows that are forgotten in one transaction: what is longer is forgotten in the next.
const FORGOTTEN_AT_ONCE: u32 = 1000;

impl SqliteStore {
    /// Whether any durable call is stored: then the key that sealed it must not be replaced by a new one.
    #[must_use]
    pub fn holds_calls(&self) -> Stored<'_, bool> {
        self.engine.read(|at| record::holds(at, "call", "SELECT 1 FROM call LIMIT 1"))
    }
}

impl CallStore for SqliteStore {
    fn accept_call(&self, call: CallRow, room: CallRoom) -> Stored<'_, Accepted> {
        self.engine.write(move |at| {
            let CallPlace { tenant, task, .. } = call.place;
            if let Some(known) = of_key(at, tenant, task, &call.key_sha256)? {
                return Ok(Accepted::Known(Box::new(known)));
            }
            if !has_room(at, &call, room)? {
                return Ok(Accepted::Full);
            }
            insert(at, &call)?;
            Ok(Accepted::New)
        })
    }

    fn call(&self, place: CallPlace) -> Stored<'_, Option<CallRow>> {
        self.engine.read(move |at| {
            let sql = "SELECT * FROM call WHERE tenant_id = ?1 AND task_id = ?2 AND call_id = ?3";
            let values = params![Word(&place.tenant), Word(&place.task), Word(&place.call)];
            record::one(at, "call", sql, values, row)
        })
    }

    fn call_of_key(&self, tenant: TenantId, task: TaskId, key_sha256: String) -> Stored<'_, Option<CallRow>> {
        self.engine.read(move |at| of_key(at, tenant, task, &key_sha256))
    }

    fn open_calls(&self, owner: Option<Name>, limit: u32) -> Stored<'_, Vec<CallPlace>> {
        self.engine.read(move |at| {
            let sql = "SELECT tenant_id, task_id, call_id FROM call
                 WHERE state IN ('queued', 'attempting') AND owner IS ?1 ORDER BY accepted_at, call_id";
            record::readable(at, "call", (sql, limit), params![owner.as_ref().map(Word)], place)
        })
    }

    fn orphaned_calls(&self, present: Vec<Name>, limit: u32) -> Stored<'_, Vec<(CallPlace, Name)>> {
        self.engine.read(move |at| {
            let sql = "SELECT tenant_id, task_id, call_id, owner FROM call
                 WHERE (state IN ('queued', 'attempting') OR hook_state = 'waiting' AND ended_at IS NOT NULL)
                   AND owner NOT IN (SELECT value FROM json_each(?1)) ORDER BY accepted_at, call_id";
            record::readable(at, "call", (sql, limit), params![Doc(&present)], owned)
        })
    }

    fn adopt_call(&self, place: CallPlace, from: Name, to: Name) -> Stored<'_, bool> {
        let sql =
            "UPDATE call SET owner = ?5, state = CASE state WHEN 'queued' THEN 'attempting' ELSE state END
             WHERE tenant_id = ?1 AND task_id = ?2 AND call_id = ?3 AND owner = ?4";
        self.engine.write(move |at| {
            let (tenant, task, call) = (Word(&place.tenant), Word(&place.task), Word(&place.call));
            Ok(record::write(at, "call", sql, params![tenant, task, call, Word(&from), Word(&to)])? == 1)
        })
    }

    fn mark_call(&self, place: CallPlace, attempts: u32) -> Stored<'_, bool> {
        let sql = "UPDATE call SET state = 'attempting', attempts = attempts + 1
             WHERE tenant_id = ?1 AND task_id = ?2 AND call_id = ?3 AND state = 'queued' AND attempts = ?4";
        self.engine.write(move |at| {
            let values = params![Word(&place.tenant), Word(&place.task), Word(&place.call), attempts];
            Ok(record::write(at, "call", sql, values)? == 1)
        })
    }

    fn requeue_call(&self, place: CallPlace, attempts: u32, not_before: Timestamp) -> Stored<'_, bool> {
        let sql = "UPDATE call SET state = 'queued', not_before = ?5
             WHERE tenant_id = ?1 AND task_id = ?2 AND call_id = ?3 AND attempts = ?4
               AND state IN ('queued', 'attempting')";
        self.engine.write(move |at| {
            let (tenant, task, call) = (Word(&place.tenant), Word(&place.task), Word(&place.call));
            let values = params![tenant, task, call, attempts, not_before.millis()];
            Ok(record::write(at, "call", sql, values)? == 1)
        })
    }

    fn mandate_call(&self, place: CallPlace, mandate: Wrapped) -> Stored<'_, bool> {
        let sql = "UPDATE call SET mandate = ?4, bytes = bytes + ?5
             WHERE tenant_id = ?1 AND task_id = ?2 AND call_id = ?3 AND state IN ('queued', 'attempting')";
        self.engine.write(move |at| {
            let (tenant, task, call) = (Word(&place.tenant), Word(&place.task), Word(&place.call));
            let values = params![tenant, task, call, Doc(&mandate), number(size(&mandate))];
            Ok(record::write(at, "call", sql, values)? == 1)
        })
    }

    fn end_call(
        &self,
        place: CallPlace,
        state: CallState,
        result: Wrapped,
        at: Timestamp,
    ) -> Stored<'_, bool> {
        let sql = "UPDATE call SET state = ?4, result = ?5, ended_at = ?6, bytes = bytes + ?7
             WHERE tenant_id = ?1 AND task_id = ?2 AND call_id = ?3 AND state IN ('queued', 'attempting')";
        self.engine.write(move |database| {
            let (tenant, task, call) = (Word(&place.tenant), Word(&place.task), Word(&place.call));
            let (state, bytes) = (Word(&state), number(size(&result)));
            let values = params![tenant, task, call, state, Doc(&result), at.millis(), bytes];
            Ok(record::write(database, "call", sql, values)? == 1)
        })
    }

    fn untold_calls(
        &self,
        owner: Option<Name>,
        hook: Name,
        each: u32,
        limit: u32,
    ) -> Stored<'_, Vec<(CallPlace, Timestamp)>> {
        self.engine.read(move |at| {
            let mut damaged = 0;
            loop {
                let (each_now, limit_now) = (each.saturating_add(damaged), limit.saturating_add(damaged));
                let untold = untold(at, (owner.as_ref(), &hook), each_now, limit_now)?;
                let met =
                    u32::try_from(untold.iter().filter(|one| one.is_none()).count()).unwrap_or(u32::MAX);
                if met <= damaged {
                    return Ok(in_turns(untold.into_iter().flatten(), each, limit));
                }
                // They take no other's place: it is looked so much further.
                damaged = met;
            }
        })
    }

    fn untold_hooks(&self, owner: Option<Name>) -> Stored<'_, Vec<Name>> {
        self.engine.read(move |at| {
            let sql = "SELECT DISTINCT hook FROM call
                 WHERE hook_state = 'waiting' AND ended_at IS NOT NULL
                   AND state NOT IN ('queued', 'attempting') AND owner IS ?1 ORDER BY hook";
            let params = params![owner.as_ref().map(Word)];
            record::readable(at, "call", (sql, u32::MAX), params, |row| row.word("hook"))
        })
    }

    fn tell_call(&self, place: CallPlace, tries: u32, after: Delivery) -> Stored<'_, bool> {
        let sql = "UPDATE call SET hook_state = ?6, hook_tries = ?7, hook_at = ?8
             WHERE tenant_id = ?1 AND task_id = ?2 AND call_id = ?3 AND hook = ?4 AND hook_tries = ?5
               AND hook_state = 'waiting' AND state NOT IN ('queued', 'attempting')";
        self.engine.write(move |at| {
            let Delivery { hook, state, tries: done, at: when } = after;
            let (tenant, task, call) = (Word(&place.tenant), Word(&place.task), Word(&place.call));
            let (hook, state) = (Word(&hook), Word(&state));
            let values = params![tenant, task, call, hook, tries, state, done, when.millis()];
            Ok(record::write(at, "call", sql, values)? == 1)
        })
    }

    fn give_up_telling(&self, place: CallPlace, at: Timestamp) -> Stored<'_, bool> {
        let sql = "UPDATE call SET hook_state = ?4, hook_at = ?5
             WHERE tenant_id = ?1 AND task_id = ?2 AND call_id = ?3
               AND hook_state = 'waiting' AND state NOT IN ('queued', 'attempting')";
        self.engine.write(move |database| {
            let (tenant, task, call) = (Word(&place.tenant), Word(&place.task), Word(&place.call));
            let values = params![tenant, task, call, Word(&DeliveryState::GivenUp), at.millis()];
            Ok(record::write(database, "call", sql, values)? == 1)
        })
    }

    fn give_up_call(&self, place: CallPlace, at: Timestamp) -> Stored<'_, bool> {
        let sql = "UPDATE call SET state = 'outcome-unknown', ended_at = ?4
             WHERE tenant_id = ?1 AND task_id = ?2 AND call_id = ?3
               AND state NOT IN ('done', 'refused', 'outcome-unknown')";
        self.engine.write(move |database| {
            let (tenant, task, call) = (Word(&place.tenant), Word(&place.task), Word(&place.call));
            Ok(record::write(database, "call", sql, params![tenant, task, call, at.millis()])? == 1)
        })
    }

    fn give_up_nameless(&self, at: Timestamp) -> Stored<'_, u64> {
        self.engine.write(move |database| give_up_nameless(database, at))
    }

    fn forget_calls(&self, ended_before: Timestamp) -> Stored<'_, u64> {
        let sql = "DELETE FROM call WHERE rowid IN
             (SELECT rowid FROM call WHERE ended_at < ?1 AND state NOT IN ('queued', 'attempting')
                 AND (hook_state IS NULL OR hook_state != 'waiting' AND hook_at < ?1) LIMIT ?2)";
        self.engine.write(move |at| {
            let forgotten =
                record::write(at, "call", sql, params![ended_before.millis(), FORGOTTEN_AT_ONCE])?;
            Ok(forgotten as u64)
        })
    }
}

/// What is not final, or waits to be told, is looked at; what can be told apart is left alone.
fn give_up_nameless(at: &Database, when: Timestamp) -> Result<u64, StoreError> {
    let sql = "SELECT rowid AS at_row, tenant_id, task_id, call_id, state, ended_at, hook, hook_state FROM call
         WHERE state NOT IN ('done', 'refused', 'outcome-unknown') OR ended_at IS NULL OR hook_state = 'waiting'";
    let nameless = record::all(at, "call", sql, [], |row| {
        let at_row = row.count("at_row")?;
        Ok(is_nameless(row).then_some(at_row))
    })?;
    let nameless: Vec<u64> = nameless.into_iter().flatten().collect();
    let sql = "UPDATE call SET ended_at = coalesce(ended_at, ?2),
             state = CASE WHEN state IN ('done', 'refused') THEN state ELSE 'outcome-unknown' END,
             hook_state = CASE WHEN hook_state IS NULL THEN NULL ELSE ?3 END, hook_at = ?2
         WHERE rowid = ?1";
    for at_row in &nameless {
        let values = params![number(*at_row), when.millis(), Word(&DeliveryState::GivenUp)];
        record::write(at, "call", sql, values)?;
    }
    Ok(nameless.len() as u64)
}

/// Of each task so many, and so many in all; none in the place of a row that cannot be read.
fn untold(
    at: &Database,
    (owner, hook): (Option<&Name>, &Name),
    each: u32,
    limit: u32,
) -> Result<Vec<Option<(CallPlace, Timestamp)>>, StoreError> {
    // All of it is in the index `call_untold`: no row is read, and none is sorted within its task.
    let sql = "SELECT tenant_id, task_id, call_id, hook_at FROM
         (SELECT tenant_id, task_id, call_id, hook_at, row_number() OVER
             (PARTITION BY tenant_id, task_id ORDER BY hook_at, call_id) AS turn
          FROM call WHERE hook = ?1 AND hook_state = 'waiting' AND ended_at IS NOT NULL
             AND state NOT IN ('queued', 'attempting') AND owner IS ?4)
         WHERE turn <= ?2 ORDER BY turn, hook_at, call_id LIMIT ?3";
    let read = |row: &Record<'_>| Ok(place(row).ok().zip(row.time("hook_at").ok()));
    record::all(at, "call", sql, params![Word(hook), each, limit, owner.map(Word)], read)
}

fn of_key(
    at: &Database,
    tenant: TenantId,
    task: TaskId,
    key_sha256: &str,
) -> Result<Option<CallRow>, StoreError> {
    let sql = "SELECT * FROM call WHERE tenant_id = ?1 AND task_id = ?2 AND key_sha256 = ?3";
    record::one(at, "call", sql, params![Word(&tenant), Word(&task), key_sha256], row)
}

fn has_room(at: &Database, call: &CallRow, room: CallRoom) -> Result<bool, StoreError> {
    let sql = "SELECT count(*) AS calls, coalesce(sum(bytes), 0) AS bytes FROM call
         WHERE tenant_id = ?1 AND task_id = ?2";
    let values = params![Word(&call.place.tenant), Word(&call.place.task)];
    let held = record::one(at, "call", sql, values, |row| Ok((row.count("calls")?, row.count("bytes")?)))?;
    let sql = "SELECT count(*) AS calls FROM call WHERE state IN ('queued', 'attempting')";
    let open = record::one(at, "call", sql, [], |row| row.count("calls"))?.unwrap_or_default();
    let (calls, bytes) = held.unwrap_or_default();
    let fits = bytes.saturating_add(size(&call.request)) <= room.each_max_bytes;
    Ok(calls < u64::from(room.each_max) && fits && open < u64::from(room.open_max))
}

fn insert(at: &Database, call: &CallRow) -> Result<(), StoreError> {
    let sealed = [Some(&call.request), call.mandate.as_ref(), call.result.as_ref()];
    let bytes: u64 = sealed.into_iter().flatten().map(size).sum();
    let told = call.delivery.as_ref();
    record::write(
        at,
        "call",
        "INSERT INTO call (tenant_id, task_id, call_id, key_sha256, request_sha256, state, attempts, not_before,
             accepted_at, ended_at, bytes, request, mandate, result, hook, hook_state, hook_tries, hook_at, owner)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19)",
        params![
            Word(&call.place.tenant),
            Word(&call.place.task),
            Word(&call.place.call),
            call.key_sha256,
            call.request_sha256,
            Word(&call.state),
            call.attempts,
            call.not_before.millis(),
            call.accepted_at.millis(),
            millis(call.ended_at),
            number(bytes),
            Doc(&call.request),
            call.mandate.as_ref().map(Doc),
            call.result.as_ref().map(Doc),
            told.map(|told| Word(&told.hook)),
            told.map(|told| Word(&told.state)),
            told.map_or(0, |told| told.tries),
            told.map_or(0, |told| told.at.millis()),
            call.owner.as_ref().map(Word)
        ],
    )?;
    Ok(())
}
