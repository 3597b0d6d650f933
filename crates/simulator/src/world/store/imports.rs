//! Refresh tokens that are brought in: kept once, presented once, ended once.

use super::{
    connect, kills,
    rows::{ImportRow, Rows, Secret, first},
};
use nightlatch_domain::{
    chain::{FlowOutcome, FlowStep},
    clock::Timestamp,
    id::{FlowId, TenantId},
    import::{Import, ImportProgress},
    ports::store::{Brought, ImportEnd, ImportSeen, Kill, StoreError},
};

pub(super) fn put(rows: &mut Rows, imports: Vec<Import>) -> Result<Vec<Brought>, StoreError> {
    imports.into_iter().map(|import| put_one(rows, import)).collect()
}

fn put_one(rows: &mut Rows, import: Import) -> Result<Brought, StoreError> {
    let is_it = |row: &&ImportRow| row.import.token_hash == import.token_hash;
    let all = || rows.tables.imports.values();
    if all().any(|row| is_it(&row) && row.import.tenant != import.tenant) {
        return Ok(Brought::Elsewhere);
    }
    let known = all().find(is_it).map(|row| (row.import.id, row.import.gives_way_to(import.client)));
    match known {
        Some((known, false)) => return Ok(Brought::Known(known)),
        Some((known, true)) => drop(rows.tables.imports.take(&(import.tenant, known))),
        None => {}
    }
    if !rows.tables.clients.holds(&(import.tenant, import.client)) {
        return Err(StoreError::Missing("import"));
    }
    let noted = rows.counter().mark.number;
    rows.tables.imports.put((import.tenant, import.id), ImportRow { import, noted });
    Ok(Brought::New)
}

pub(super) fn one(rows: &Rows, tenant: TenantId, id: FlowId) -> Option<&Import> {
    rows.tables.imports.get(&(tenant, id)).map(|row| &row.import)
}

/// Those that neither ended nor were killed.
pub(super) fn open(rows: &Rows) -> Vec<&Import> {
    let open = rows.tables.imports.values();
    let open = open.filter(|row| row.import.progress.step != FlowStep::Ended && lives(rows, row));
    let mut open: Vec<_> = open.map(|row| &row.import).collect();
    open.sort_by_key(|import| (import.progress.due_at, import.id));
    open
}

pub(super) fn due(rows: &Rows, now: Timestamp, limit: u32) -> Vec<Import> {
    first(open(rows).into_iter().filter(|import| import.progress.due_at <= now).cloned(), limit)
}

pub(super) fn next(rows: &Rows) -> Option<Timestamp> {
    open(rows).first().map(|import| import.progress.due_at)
}

fn lives(rows: &Rows, row: &ImportRow) -> bool {
    let (tenant, client) = (row.import.tenant, row.import.client);
    let scopes = [Kill::Client { tenant, client }, Kill::Tenant { tenant }, Kill::Installation];
    !scopes.into_iter().any(|scope| kills::is_later(rows, scope, row.noted))
}

pub(super) fn advance(
    rows: &mut Rows,
    (tenant, id): (TenantId, FlowId),
    seen: ImportSeen,
    to: ImportProgress,
    answer: Option<Secret>,
) -> bool {
    let key = (tenant, id);
    let Some(row) = rows.tables.imports.get(&key) else { return false };
    let now = &row.import.progress;
    let is_seen = (now.step, now.attempt) == (seen.step, seen.attempt) && now.step != FlowStep::Ended;
    let presents = to.step == FlowStep::Redeeming && to.attempt != seen.attempt;
    if !is_seen || (presents && !may_be_presented(rows, row, to.again)) {
        return false;
    }
    rows.tables.imports.change(&key, |row| {
        let before = row.import.answer.take().filter(|_| to.step != FlowStep::Begun);
        row.import.answer = answer.or(before);
        row.import.progress = to;
    });
    if presents {
        rows.go_on();
    }
    true
}

fn may_be_presented(rows: &Rows, row: &ImportRow, again: bool) -> bool {
    let Import { progress, era, token, .. } = &row.import;
    let is_there = match progress.step {
        FlowStep::Begun => !again,
        FlowStep::Redeeming | FlowStep::Answered => again,
        FlowStep::Ended => false,
    };
    let is_era = rows.tables.installation.get(&()).is_some_and(|known| known.era == *era);
    let is_era = is_era && super::standing::is_incarnation(rows);
    is_there && !progress.again && token.is_some() && is_era && lives(rows, row)
}

fn may_be_ended(row: &ImportRow, seen: ImportSeen) -> bool {
    row.import.progress.step != FlowStep::Ended && row.import.is_at(seen)
}

pub(super) fn end(
    rows: &mut Rows,
    (tenant, id): (TenantId, FlowId),
    seen: ImportSeen,
    outcome: FlowOutcome,
    end: &ImportEnd,
) -> Result<(), StoreError> {
    let makes = match end {
        ImportEnd::Made(makes) => Some(makes),
        ImportEnd::Refused | ImportEnd::Failed => None,
    };
    if makes.is_some_and(|makes| makes.connection.tenant != tenant) {
        return Err(StoreError::Missing("import"));
    }
    let key = (tenant, id);
    match rows.tables.imports.get(&key) {
        Some(row) if row.import.has_ended_with(&outcome) => return Ok(()),
        Some(row) if may_be_ended(row, seen) && (makes.is_none() || lives(rows, row)) => {}
        None | Some(_) => return Err(StoreError::Missing("import")),
    }
    if let Some(makes) = makes {
        connect::put_connection(rows, makes)?;
    }
    let kept_elsewhere = makes.is_some_and(|makes| makes.tokens.is_some());
    rows.tables.imports.change(&key, |row| {
        row.import.progress.step = FlowStep::Ended;
        row.import.progress.reason = None;
        row.import.outcome = Some(outcome);
        if kept_elsewhere {
            (row.import.token, row.import.access) = (None, None);
        }
        if kept_elsewhere || *end == ImportEnd::Refused {
            row.import.answer = None;
        }
    });
    Ok(())
}

/// Takes the secrets of imports that kills ended. One whose token is on its way at this moment keeps its step.
pub(super) fn clear(rows: &mut Rows, now: Timestamp, limit: u32) -> usize {
    let has_secrets =
        |import: &Import| import.token.is_some() || import.access.is_some() || import.answer.is_some();
    let killed = rows.tables.imports.iter();
    let killed = killed.filter(|(_, row)| has_secrets(&row.import) && !lives(rows, row));
    let killed = first(killed.map(|(key, row)| (*key, row.import.clone())), limit);
    for (key, import) in &killed {
        for secret in [&import.token, &import.access, &import.answer].into_iter().flatten() {
            kills::take(rows, import.tenant, None, secret.clone(), now);
        }
        rows.tables.imports.change(key, |row| {
            let import = &mut row.import;
            (import.token, import.access, import.answer) = (None, None, None);
            import.outcome.get_or_insert(FlowOutcome::Failed { reason: "killed".to_owned() });
            if import.progress.step != FlowStep::Redeeming {
                import.progress.step = FlowStep::Ended;
            }
        });
    }
    killed.len()
}
