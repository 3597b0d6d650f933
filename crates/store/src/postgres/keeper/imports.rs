//! Refresh tokens that are brought in: kept once, presented once, ended once.

use super::super::link::Link;
use super::{
    super::{
        feed,
        record::{self, Doc, Word, millis, number, params},
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
use std::sync::atomic::{AtomicBool, Ordering};

/// That an import cannot be read.
static SAID: AtomicBool = AtomicBool::new(false);

/// Of two that bring one token at the same time, the later one finds the other's.
const PUT_TRIES: u32 = 3;

/// Keeps those that are new. The counter row is only read: a kill that comes in between ends them too.
pub(super) async fn put(at: &Link, imports: &[Import]) -> Result<Vec<Brought>, StoreError> {
    let noted = feed::last(at).await?.number;
    let mut told = Vec::with_capacity(imports.len());
    for import in imports {
        told.push(put_one(at, import, noted).await?);
    }
    Ok(told)
}

async fn put_one(at: &Link, import: &Import, noted: u64) -> Result<Brought, StoreError> {
    for _ in 0..PUT_TRIES {
        let sql = "SELECT * FROM import WHERE token_hash = $1";
        if let Some(known) = record::one(at, "import", sql, params![import.token_hash], rows::import).await? {
            match told(&known, import) {
                Brought::New => {}
                told => return Ok(told),
            }
            let sql = "DELETE FROM import WHERE tenant_id = $1 AND flow_id = $2 AND step = $3";
            let key = params![Word(&known.tenant), Word(&known.id), Word(&known.progress.step)];
            record::write(at, "import", sql, key).await?;
        }
        if insert(at, import, noted).await? {
            return Ok(Brought::New);
        }
    }
    Err(StoreError::Unavailable)
}

async fn insert(at: &Link, import: &Import, noted: u64) -> Result<bool, StoreError> {
    let Import { progress, .. } = import;
    let written = record::write(
        at,
        "import",
        "INSERT INTO import (tenant_id, flow_id, token_hash, client_id, tool, token, access, plan, era, step,
             attempt_id, owner_id, again, presented_at, due_at, failures, reason, answer, outcome, created_at, noted)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21)
         ON CONFLICT (token_hash) DO NOTHING",
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
            i64::from(progress.again),
            millis(progress.presented_at),
            progress.due_at.millis(),
            i64::from(progress.failures),
            progress.reason,
            import.answer.as_ref().map(Doc),
            import.outcome.as_ref().map(Doc),
            import.created_at.millis(),
            number(noted)
        ],
    )
    .await?;
    Ok(written == 1)
}

/// One import.
pub(super) async fn one(at: &Link, tenant: TenantId, id: FlowId) -> Result<Option<Import>, StoreError> {
    let sql = "SELECT * FROM import WHERE tenant_id = $1 AND flow_id = $2";
    record::one(at, "import", sql, params![Word(&tenant), Word(&id)], rows::import).await
}

/// Those whose time has come. They are read in pages: tens of thousands may be due, and what cannot be read takes no place.
pub(super) async fn due(at: &Link, now: Timestamp, limit: u32) -> Result<Vec<Import>, StoreError> {
    let sql =
        "SELECT * FROM living_import WHERE step <> 'ended' AND due_at <= $1 AND (due_at, flow_id) > ($2, $3)
         ORDER BY due_at, flow_id LIMIT $4";
    let places = usize::try_from(limit).unwrap_or(usize::MAX);
    let (mut found, mut after) = (Vec::new(), (i64::MIN, String::new()));
    loop {
        let values = params![now.millis(), after.0, after.1, i64::from(limit)];
        let page: Vec<_> = record::all(at, "import", sql, values, |row| {
            Ok(((row.time("due_at")?.millis(), row.text("flow_id")?), rows::import(row).ok()))
        })
        .await?;
        let is_last = page.len() < places;
        for (place, import) in page {
            after = place;
            found.extend(import);
        }
        if is_last || found.len() >= places {
            found.truncate(places);
            return Ok(found);
        }
    }
}

/// The soonest time.
pub(super) async fn next(at: &Link) -> Result<Option<Timestamp>, StoreError> {
    let sql = "SELECT due_at FROM living_import WHERE step <> 'ended' ORDER BY due_at LIMIT 1";
    record::one(at, "import", sql, &[], |row| row.time("due_at")).await
}

/// Takes an import on. What presents its token takes its row, then moves the counter row, and then sees every kill that was
/// before.
pub(super) async fn advance(
    at: &Link,
    tenant: TenantId,
    id: FlowId,
    seen: ImportSeen,
    to: &ImportProgress,
    answer: Option<&(Wrapped, SealContext)>,
) -> Result<bool, StoreError> {
    let presents = to.step == FlowStep::Redeeming && to.attempt != seen.attempt;
    if presents && !may_be_presented(at, tenant, id, seen, to.again).await? {
        return Ok(false);
    }
    let sql = "UPDATE import SET step = $5, attempt_id = $6, owner_id = $7, again = $8, presented_at = $9, due_at = $10,
             failures = $11, reason = $12, answer = CASE WHEN $5 = 'begun' THEN NULL ELSE coalesce($13, answer) END
         WHERE tenant_id = $1 AND flow_id = $2 AND step = $3 AND attempt_id IS NOT DISTINCT FROM $4
           AND step <> 'ended'";
    let values = params![
        Word(&tenant),
        Word(&id),
        Word(&seen.step),
        seen.attempt.as_ref().map(Word),
        Word(&to.step),
        to.attempt.as_ref().map(Word),
        to.owner.as_ref().map(Word),
        i64::from(to.again),
        millis(to.presented_at),
        to.due_at.millis(),
        i64::from(to.failures),
        to.reason,
        answer.map(Doc)
    ];
    Ok(record::write(at, "import", sql, values).await? == 1)
}

async fn may_be_presented(
    at: &Link,
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
    let sql = "SELECT 1 FROM import WHERE tenant_id = $1 AND flow_id = $2 AND step = $3
           AND attempt_id IS NOT DISTINCT FROM $4 AND again = 0 AND token IS NOT NULL FOR UPDATE";
    let values = params![Word(&tenant), Word(&id), Word(&seen.step), seen.attempt.as_ref().map(Word)];
    if !is_there || !record::holds(at, "import", sql, values).await? {
        return Ok(false);
    }
    feed::go_on(at).await?;
    let sql = "SELECT 1 FROM living_import AS living JOIN era_in_force ON era_in_force.era = living.era
         WHERE living.tenant_id = $1 AND living.flow_id = $2";
    let stands = record::holds(at, "import", sql, params![Word(&tenant), Word(&id)]).await?;
    at.undo.store(!stands, Ordering::SeqCst);
    Ok(stands)
}

/// Ends an import once, from where it was seen.
pub(super) async fn end(
    at: &Link,
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
    let sql = "SELECT * FROM import WHERE tenant_id = $1 AND flow_id = $2 FOR UPDATE";
    match record::one(at, "import", sql, params![Word(&tenant), Word(&id)], rows::import).await? {
        Some(import) if import.has_ended_with(outcome) => return Ok(()),
        Some(import) if import.progress.step != FlowStep::Ended && import.is_at(seen) => {}
        None | Some(_) => return Err(StoreError::Missing("import")),
    }
    if let Some(makes) = makes {
        // It takes the counter row: every kill that was before is seen from here on.
        connect::put_connection(at, makes).await?;
        let sql = "SELECT 1 FROM living_import WHERE tenant_id = $1 AND flow_id = $2";
        if !record::holds(at, "import", sql, params![Word(&tenant), Word(&id)]).await? {
            return Err(StoreError::Missing("import"));
        }
    }
    let kept_elsewhere = makes.is_some_and(|makes| makes.tokens.is_some());
    let is_void = kept_elsewhere || *end == ImportEnd::Refused;
    let sql = "UPDATE import SET step = 'ended', outcome = $3, reason = NULL,
             token = CASE WHEN $4 THEN NULL ELSE token END, access = CASE WHEN $4 THEN NULL ELSE access END,
             answer = CASE WHEN $5 THEN NULL ELSE answer END
         WHERE tenant_id = $1 AND flow_id = $2 AND step = $6 AND attempt_id IS NOT DISTINCT FROM $7
           AND step <> 'ended'";
    let (step, attempt) = (Word(&seen.step), seen.attempt.as_ref().map(Word));
    let values = params![Word(&tenant), Word(&id), Doc(outcome), kept_elsewhere, is_void, step, attempt];
    match record::write(at, "import", sql, values).await? {
        1 => Ok(()),
        _ => Err(StoreError::Missing("import")),
    }
}

/// Takes the secrets of at most `limit` imports that kills ended; answers how many there were. One whose token is on its
/// way at this moment keeps its step: its answer is still journaled, and taken with the next.
pub(super) async fn clear(at: &Link, now: Timestamp, limit: u32) -> Result<usize, StoreError> {
    let sql = "SELECT * FROM import
         WHERE (token IS NOT NULL OR access IS NOT NULL OR answer IS NOT NULL)
           AND NOT EXISTS (SELECT 1 FROM living_import AS living WHERE living.tenant_id = import.tenant_id
               AND living.flow_id = import.flow_id)
           AND (tenant_id, flow_id) > ($1, $2)
         ORDER BY tenant_id, flow_id LIMIT $3 FOR UPDATE OF import";
    let places = usize::try_from(limit).unwrap_or(usize::MAX);
    let (mut killed, mut after) = (Vec::new(), (String::new(), String::new()));
    loop {
        let values = params![after.0, after.1, i64::from(limit)];
        let page: Vec<_> = record::all(at, "import", sql, values, |row| {
            let place = (row.text("tenant_id")?, row.text("flow_id")?);
            Ok((place, record::or_say_once(rows::import(row), "import", &SAID).ok()))
        })
        .await?;
        let is_last = page.len() < places;
        for (place, import) in page {
            after = place;
            killed.extend(import);
        }
        if is_last || killed.len() >= places {
            killed.truncate(places);
            break;
        }
    }
    for import in &killed {
        for secret in [&import.token, &import.access, &import.answer].into_iter().flatten() {
            kills::take(at, import.tenant, None, secret.clone(), now).await?;
        }
        let sql =
            "UPDATE import SET token = NULL, access = NULL, answer = NULL, outcome = coalesce(outcome, $3),
                 step = CASE WHEN step = 'redeeming' THEN step ELSE 'ended' END
             WHERE tenant_id = $1 AND flow_id = $2";
        let outcome = FlowOutcome::Failed { reason: "killed".to_owned() };
        let values = params![Word(&import.tenant), Word(&import.id), Doc(&outcome)];
        record::write(at, "import", sql, values).await?;
    }
    Ok(killed.len())
}
