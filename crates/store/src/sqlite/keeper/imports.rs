//! Refresh tokens that are brought in: kept once, presented once, ended once.

use super::{
    super::{
        feed,
        record::{self, Doc, Word, millis, number},
    },
    connect, kills,
};
use crate::{imports::told, rows};
use nightlatch_domain::{
    chain::{FlowOutcome, FlowStep},
    clock::Timestamp,
    id::{FlowId, TenantId},
    import::{Import, ImportProgress},
    ports::store::{Brought, ImportEnd, ImportSeen, StoreError},
    sealed::{SealContext, Wrapped},
};
use rusqlite::{Connection as Database, params};
use std::sync::atomic::AtomicBool;

/// That an import cannot be read.
static SAID: AtomicBool = AtomicBool::new(false);

/// Keeps those that are new.
pub(super) fn put(at: &Database, imports: &[Import]) -> Result<Vec<Brought>, StoreError> {
    let noted = feed::last(at)?.number;
    imports.iter().map(|import| put_one(at, import, noted)).collect()
}

fn put_one(at: &Database, import: &Import, noted: u64) -> Result<Brought, StoreError> {
    let sql = "SELECT * FROM import WHERE token_hash = ?1";
    if let Some(known) = record::one(at, "import", sql, [&import.token_hash], rows::import)? {
        match told(&known, import) {
            Brought::New => {}
            told => return Ok(told),
        }
        let sql = "DELETE FROM import WHERE tenant_id = ?1 AND flow_id = ?2";
        record::write(at, "import", sql, params![Word(&known.tenant), Word(&known.id)])?;
    }
    insert(at, import, noted)?;
    Ok(Brought::New)
}

fn insert(at: &Database, import: &Import, noted: u64) -> Result<(), StoreError> {
    let Import { progress, .. } = import;
    record::write(
        at,
        "import",
        "INSERT INTO import (tenant_id, flow_id, token_hash, client_id, tool, token, access, plan, era, step,
             attempt_id, owner_id, again, presented_at, due_at, failures, reason, answer, outcome, created_at, noted)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20,
             ?21)",
        params![
            Word(&import.tenant),
            Word(&import.id),
            import.token_hash,
            Word(&import.client),
            Word(&import.tool),
            import.token.as_ref().map(Doc),
            import.access.as_ref().map(Doc),
            Doc(&import.plan),
            number(import.era),
            Word(&progress.step),
            progress.attempt.as_ref().map(Word),
            progress.owner.as_ref().map(Word),
            progress.again,
            millis(progress.presented_at),
            progress.due_at.millis(),
            progress.failures,
            progress.reason,
            import.answer.as_ref().map(Doc),
            import.outcome.as_ref().map(Doc),
            import.created_at.millis(),
            number(noted)
        ],
    )?;
    Ok(())
}

/// One import.
pub(super) fn one(at: &Database, tenant: TenantId, id: FlowId) -> Result<Option<Import>, StoreError> {
    let sql = "SELECT * FROM import WHERE tenant_id = ?1 AND flow_id = ?2";
    record::one(at, "import", sql, params![Word(&tenant), Word(&id)], rows::import)
}

/// Those whose time has come. One that cannot be read keeps no other waiting.
pub(super) fn due(at: &Database, now: Timestamp, limit: u32) -> Result<Vec<Import>, StoreError> {
    let sql = "SELECT * FROM living_import WHERE step <> 'ended' AND due_at <= ?1 ORDER BY due_at, flow_id";
    record::readable(at, "import", (sql, limit), [now.millis()], rows::import)
}

/// The soonest time.
pub(super) fn next(at: &Database) -> Result<Option<Timestamp>, StoreError> {
    let sql = "SELECT due_at FROM living_import WHERE step <> 'ended' ORDER BY due_at LIMIT 1";
    record::one(at, "import", sql, [], |row| row.time("due_at"))
}

/// Takes an import on. What presents its token moves the counter row first, and then sees every kill that was before.
pub(super) fn advance(
    at: &Database,
    tenant: TenantId,
    id: FlowId,
    seen: ImportSeen,
    to: &ImportProgress,
    answer: Option<&(Wrapped, SealContext)>,
) -> Result<bool, StoreError> {
    let presents = to.step == FlowStep::Redeeming && to.attempt != seen.attempt;
    if presents && !may_be_presented(at, tenant, id, seen, to.again)? {
        return Ok(false);
    }
    let sql = "UPDATE import SET step = ?5, attempt_id = ?6, owner_id = ?7, again = ?8, presented_at = ?9, due_at = ?10,
             failures = ?11, reason = ?12, 
             answer = CASE WHEN ?5 = 'begun' THEN NULL ELSE coalesce(?13, answer) END
         WHERE tenant_id = ?1 AND flow_id = ?2 AND step = ?3 AND attempt_id IS ?4 AND step <> 'ended'";
    let values = params![
        Word(&tenant),
        Word(&id),
        Word(&seen.step),
        seen.attempt.as_ref().map(Word),
        Word(&to.step),
        to.attempt.as_ref().map(Word),
        to.owner.as_ref().map(Word),
        to.again,
        millis(to.presented_at),
        to.due_at.millis(),
        to.failures,
        to.reason,
        answer.map(Doc)
    ];
    let is_done = record::write(at, "import", sql, values)? == 1;
    if is_done && presents {
        feed::go_on(at)?;
    }
    Ok(is_done)
}

/// The counter row is taken first.
fn may_be_presented(
    at: &Database,
    tenant: TenantId,
    id: FlowId,
    seen: ImportSeen,
    again: bool,
) -> Result<bool, StoreError> {
    let is_there = match seen.step {
        FlowStep::Begun => !again,
        FlowStep::Redeeming | FlowStep::Answered => again,
        FlowStep::Ended => false,
    };
    if !is_there {
        return Ok(false);
    }
    feed::take(at)?;
    let sql = "SELECT 1 FROM living_import AS living JOIN installation ON installation.era = living.era
         WHERE living.tenant_id = ?1 AND living.flow_id = ?2 AND living.again = 0 AND living.token IS NOT NULL";
    Ok(record::one(at, "import", sql, params![Word(&tenant), Word(&id)], |_| Ok(()))?.is_some())
}

/// Ends an import once, from where it was seen.
pub(super) fn end(
    at: &Database,
    tenant: TenantId,
    id: FlowId,
    seen: ImportSeen,
    (outcome, end): (&FlowOutcome, &ImportEnd),
) -> Result<(), StoreError> {
    let makes = match end {
        ImportEnd::Made(makes) => Some(makes),
        ImportEnd::Refused | ImportEnd::Failed => None,
    };
    if makes.is_some_and(|makes| makes.connection.tenant != tenant) {
        return Err(StoreError::Missing("import"));
    }
    let sql = "SELECT * FROM import WHERE tenant_id = ?1 AND flow_id = ?2";
    let key = || [tenant.to_string(), id.to_string()];
    match record::one(at, "import", sql, key(), rows::import)? {
        Some(import) if import.has_ended_with(outcome) => return Ok(()),
        Some(import) if import.progress.step != FlowStep::Ended && import.is_at(seen) => {}
        None | Some(_) => return Err(StoreError::Missing("import")),
    }
    if let Some(makes) = makes {
        // It takes the counter row: every kill that was before is seen from here on.
        connect::put_connection(at, makes)?;
        let sql = "SELECT 1 FROM living_import WHERE tenant_id = ?1 AND flow_id = ?2";
        if record::one(at, "import", sql, key(), |_| Ok(()))?.is_none() {
            return Err(StoreError::Missing("import"));
        }
    }
    let kept_elsewhere = makes.is_some_and(|makes| makes.tokens.is_some());
    let is_void = kept_elsewhere || *end == ImportEnd::Refused;
    let sql = "UPDATE import SET step = 'ended', outcome = ?3, reason = NULL,
             token = CASE WHEN ?4 THEN NULL ELSE token END, access = CASE WHEN ?4 THEN NULL ELSE access END,
             answer = CASE WHEN ?5 THEN NULL ELSE answer END
         WHERE tenant_id = ?1 AND flow_id = ?2 AND step = ?6 AND attempt_id IS ?7 AND step <> 'ended'";
    let (step, attempt) = (Word(&seen.step), seen.attempt.as_ref().map(Word));
    let values = params![Word(&tenant), Word(&id), Doc(outcome), kept_elsewhere, is_void, step, attempt];
    match record::write(at, "import", sql, values)? {
        1 => Ok(()),
        _ => Err(StoreError::Missing("import")),
    }
}

/// Imports that a kill ended and that still have secrets.
pub(super) const LEFT: &str = "SELECT * FROM import
     WHERE (token IS NOT NULL OR access IS NOT NULL OR answer IS NOT NULL)
       AND NOT EXISTS (SELECT 1 FROM living_import AS living WHERE living.tenant_id = import.tenant_id
           AND living.flow_id = import.flow_id)
     ORDER BY tenant_id, flow_id LIMIT ?1";

/// Takes the secrets of at most `limit` imports that kills ended; answers how many there were. One whose token is on its
/// way at this moment keeps its step: its answer is still journaled, and taken with the next. One that cannot be read keeps
/// no other waiting.
pub(super) fn clear(at: &Database, now: Timestamp, limit: u32) -> Result<usize, StoreError> {
    let killed = record::readable(at, "import", (LEFT, limit), [u32::MAX], |row| {
        record::or_say_once(rows::import(row), "import", &SAID)
    })?;
    for import in &killed {
        for secret in [&import.token, &import.access, &import.answer].into_iter().flatten() {
            kills::take(at, import.tenant, None, secret.clone(), now)?;
        }
        let sql =
            "UPDATE import SET token = NULL, access = NULL, answer = NULL, outcome = coalesce(outcome, ?3),
                 step = CASE WHEN step = 'redeeming' THEN step ELSE 'ended' END
             WHERE tenant_id = ?1 AND flow_id = ?2";
        let outcome = FlowOutcome::Failed { reason: "killed".to_owned() };
        record::write(at, "import", sql, params![Word(&import.tenant), Word(&import.id), Doc(&outcome)])?;
    }
    Ok(killed.len())
}
