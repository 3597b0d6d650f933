//! Who holds a chain, and what a holder may write.

use super::{
    kills,
    people::{raise_for_chain, settle_for_chain},
    rows::{AnswerRow, Rows, Secret, first, newest_first},
    standing,
};
use nightlatch_domain::{
    chain::{Attempt, AttemptState, Chain, ChainState, Generation},
    clock::Timestamp,
    id::{AttemptId, ChainId, FamilyId, TenantId},
    ports::store::{ChainView, Claim, Committed, Healed, NewHead, Seen, Settlement, StoreError},
    ticket::Ticket,
};

/// Generations of a family that a commit never deletes, the head among them.
const GENERATIONS_KEPT: u64 = 3;
/// Attempts at older generations than this below the head are forgotten once they were committed: a real
/// database keeps them, and a simulated year has no room for them.
const ATTEMPTS_KEPT: u64 = 64;

const OPEN: [AttemptState; 2] = [AttemptState::Intended, AttemptState::Answered];

/// When a chain's timer is due; none where nothing would come of it.
fn timer(rows: &Rows, chain: &Chain) -> Option<Timestamp> {
    let is_out =
        |state| matches!(state, ChainState::Refreshing | ChainState::Latched | ChainState::Quarantined);
    chain
        .due_at
        .filter(|_| !is_out(chain.state) && !kills::living_on(rows, chain.tenant, chain.id).is_empty())
}

pub(super) fn due(rows: &Rows, now: Timestamp, limit: u32) -> Vec<(TenantId, ChainId, Timestamp)> {
    let early = rows.tables.chains.values().filter(|chain| chain.due_at.is_some_and(|at| at <= now));
    let timers = early.filter_map(|chain| Some((timer(rows, chain)?, chain)));
    let mut due: Vec<_> = timers.map(|(at, chain)| (chain.tenant, chain.id, at)).collect();
    due.sort_by_key(|(_, _, at)| *at);
    first(due.into_iter(), limit)
}

pub(super) fn next_due(rows: &Rows) -> Option<Timestamp> {
    let mut timers: Vec<_> = rows.tables.chains.values().filter(|chain| chain.due_at.is_some()).collect();
    timers.sort_by_key(|chain| chain.due_at);
    timers.into_iter().find_map(|chain| timer(rows, chain))
}

pub(super) fn view(rows: &Rows, tenant: TenantId, id: ChainId) -> Result<Option<ChainView>, StoreError> {
    let Some(chain) = rows.tables.chains.get(&(tenant, id)) else { return Ok(None) };
    let family = rows.tables.families.get(&(tenant, chain.family)).filter(|family| family.chain == id);
    let family = family.ok_or(StoreError::Corrupt("chain"))?;
    let Some(head) = rows.tables.generations.get(&(tenant, family.id, family.head)) else { return Ok(None) };
    let client = rows.tables.clients.get(&(tenant, chain.client)).ok_or(StoreError::Corrupt("chain"))?;
    let connections = kills::living_on(rows, tenant, id);
    if connections.is_empty() {
        return Ok(None);
    }
    let (chain, family, head, client) = (chain.clone(), family.clone(), head.clone(), client.clone());
    Ok(Some(ChainView { chain, family, head, client, connections }))
}

pub(super) fn generations(rows: &Rows, tenant: TenantId, chain: ChainId, limit: u32) -> Vec<Generation> {
    let of_chain = |family: &FamilyId| {
        rows.tables.families.get(&(tenant, *family)).is_some_and(|family| family.chain == chain)
    };
    let all =
        rows.tables.generations.iter().filter(|((own, family, _), _)| *own == tenant && of_chain(family));
    let mut found: Vec<_> = all.map(|(_, generation)| generation.clone()).collect();
    found.sort_by_key(|one| (newest_first(one.created_at), std::cmp::Reverse(one.number)));
    first(found.into_iter(), limit)
}

fn is_era(rows: &Rows, era: u64) -> bool {
    let is_era = rows.tables.installation.get(&()).is_some_and(|installation| installation.era == era);
    is_era && standing::is_incarnation(rows)
}

fn head_of(rows: &Rows, tenant: TenantId, family: FamilyId) -> Option<u64> {
    rows.tables.families.get(&(tenant, family)).map(|family| family.head)
}

pub(super) fn claim(rows: &mut Rows, claim: Claim, seen: Seen, from: &[ChainState]) -> Option<Claim> {
    let key = (claim.tenant, claim.chain);
    let chain = rows.tables.chains.get(&key)?;
    let is_as_seen = chain.fence == seen.fence
        && from.contains(&chain.state)
        && chain.family == seen.family
        && head_of(rows, claim.tenant, seen.family) == Some(seen.head)
        && is_era(rows, seen.era)
        && standing::is_settled(rows, seen.era);
    if !is_as_seen || kills::living_on(rows, claim.tenant, claim.chain).is_empty() {
        return None;
    }
    rows.tables.chains.change(&key, |chain| {
        chain.fence = claim.fence;
        chain.owner = Some(claim.owner);
        chain.state = ChainState::Refreshing;
    });
    Some(claim)
}

/// The chain under a claim that stands.
fn held(rows: &Rows, claim: Claim) -> Option<&Chain> {
    rows.tables.chains.get(&(claim.tenant, claim.chain)).filter(|chain| {
        chain.fence == claim.fence
            && chain.owner == Some(claim.owner)
            && chain.state == ChainState::Refreshing
    })
}

/// `of` is the attempt whose answer is lost, where this is the one retry.
pub(super) fn intend(
    rows: &mut Rows,
    claim: Claim,
    attempt: &Attempt,
    of: Option<AttemptId>,
) -> Result<bool, StoreError> {
    let Some(chain) = held(rows, claim) else { return Ok(false) };
    let chain_provider = chain.provider.clone();
    let is_head = chain.family == attempt.family
        && head_of(rows, claim.tenant, attempt.family) == Some(attempt.generation);
    let presented = at_generation(rows, claim.tenant, attempt.family, attempt.generation)
        .filter(|other| other.state != AttemptState::NotPresented);
    let presented: Vec<_> = presented.map(|other| (other.id, other.state)).collect();
    let may = match of {
        None => presented.is_empty(),
        Some(first) => presented == [(first, AttemptState::Uncertain)],
    };
    let lives = !kills::living_on(rows, claim.tenant, claim.chain).is_empty();
    if !is_head || !may || !lives || !is_era(rows, attempt.era) {
        return Ok(false);
    }
    if rows.tables.attempts.holds(&(claim.tenant, attempt.id)) {
        return Err(StoreError::Exists("attempt"));
    }
    rows.go_on();
    if of.is_some() {
        rows.declared.entry(chain_provider).or_default().push(attempt.id);
    }
    let row = Attempt {
        tenant: claim.tenant,
        chain: claim.chain,
        fence: claim.fence,
        owner: claim.owner,
        state: AttemptState::Intended,
        answer: None,
        ..attempt.clone()
    };
    rows.tables.presented.put((claim.tenant, row.family, row.generation, row.id), ());
    rows.tables.attempts.put((claim.tenant, row.id), row);
    Ok(true)
}

fn at_generation(
    rows: &Rows,
    tenant: TenantId,
    family: FamilyId,
    generation: u64,
) -> impl Iterator<Item = &Attempt> {
    let from = rows.tables.presented.range((tenant, family, generation, lowest())..);
    let here = from.map(|(key, ())| *key).take_while(move |key| (key.1, key.2) == (family, generation));
    here.filter_map(|(tenant, _, _, attempt)| rows.tables.attempts.get(&(tenant, attempt)))
}

/// Sorts before every attempt's id that was drawn.
fn lowest() -> AttemptId {
    AttemptId::new(Timestamp::from_millis(0), [0; 10])
}

pub(super) fn answer(rows: &mut Rows, tenant: TenantId, attempt: AttemptId, secret: Secret) {
    let key = (tenant, attempt);
    if !rows.tables.answers.holds(&key) {
        let of_attempt = rows.tables.attempts.get(&key).map(|row| row.chain);
        rows.tables.answers.put(key, AnswerRow { chain: secret.1.chain.or(of_attempt), secret });
    }
    rows.tables.attempts.change(&key, |row| {
        if !matches!(row.state, AttemptState::Committed | AttemptState::Refused) {
            row.state = AttemptState::Answered;
        }
    });
}

pub(super) fn answers(rows: &Rows, tenant: TenantId, chain: ChainId) -> Vec<(AttemptId, Secret)> {
    let all = rows.tables.answers.iter().filter(|((own, _), row)| *own == tenant && row.chain == Some(chain));
    all.map(|((_, attempt), row)| (*attempt, row.secret.clone())).collect()
}

/// An attempt with the answer that is kept of it.
pub(super) fn attempt(rows: &Rows, tenant: TenantId, id: AttemptId) -> Option<Attempt> {
    let row = rows.tables.attempts.get(&(tenant, id))?;
    let answer = rows.tables.answers.get(&(tenant, id)).map(|row| row.secret.clone());
    Some(Attempt { answer, ..row.clone() })
}

pub(super) fn open_attempts(rows: &Rows) -> Vec<Attempt> {
    let at_the_head = |chain: &Chain| {
        let (tenant, family, state) = (chain.tenant, chain.family, chain.state);
        let Some(head) = head_of(rows, tenant, family) else { return Vec::new() };
        let newest = attempts(rows, tenant, family, head.saturating_sub(1)).into_iter().filter(move |row| {
            let is_beside = row.state == AttemptState::Answered && state == ChainState::Latched;
            OPEN.contains(&row.state) && (head == row.generation || head == row.generation + 1 && is_beside)
        });
        newest.collect()
    };
    in_order(rows.tables.chains.values().flat_map(at_the_head).collect())
}

pub(super) fn attempts(rows: &Rows, tenant: TenantId, family: FamilyId, from: u64) -> Vec<Attempt> {
    let presented = rows.tables.presented.range((tenant, family, from, lowest())..);
    let here = presented.map(|(key, ())| *key).take_while(|key| (key.0, key.1) == (tenant, family));
    in_order(here.filter_map(|(tenant, _, _, id)| attempt(rows, tenant, id)).collect())
}

fn in_order(mut attempts: Vec<Attempt>) -> Vec<Attempt> {
    attempts.sort_by_key(|row| (row.intended_at, row.id));
    attempts
}

pub(super) fn withdraw(rows: &mut Rows, tenant: TenantId, id: AttemptId) -> bool {
    let Some(row) = rows.tables.attempts.get(&(tenant, id)) else { return false };
    let is_open = matches!(row.state, AttemptState::Intended | AttemptState::Uncertain);
    let is_alone = at_generation(rows, tenant, row.family, row.generation)
        .all(|other| other.id == id || other.state == AttemptState::NotPresented);
    let may = is_open && is_alone && !rows.tables.answers.holds(&(tenant, id));
    may && rows.tables.attempts.change(&(tenant, id), |row| row.state = AttemptState::NotPresented)
}

/// First the counter row, then what a kill wrote, then the head.
pub(super) fn commit(rows: &mut Rows, claim: Claim, head: &NewHead) -> Result<Committed, StoreError> {
    rows.go_on();
    if kills::living_on(rows, claim.tenant, claim.chain).is_empty() {
        return Ok(Committed::Removed);
    }
    if !move_head(rows, claim, head) {
        return Ok(Committed::Lost);
    }
    put_generation(rows, &head.generation)?;
    let mut close = |id, state| rows.tables.attempts.change(&(claim.tenant, id), |row| row.state = state);
    if head.adopts.is_some() {
        close(head.attempt, AttemptState::Refused);
    }
    close(head.adopts.unwrap_or(head.attempt), AttemptState::Committed);
    rows.tables.chains.change(&(claim.tenant, claim.chain), |chain| {
        chain.owner = None;
        chain.state = ChainState::Healthy;
        chain.access_until = head.generation.access_until;
        chain.due_at = head.due_at;
        chain.refreshed_at = Some(head.refreshed_at);
        chain.failures = 0;
        chain.reason = None;
        chain.ticket = None;
    });
    settle_for_chain(rows, claim.tenant, claim.chain, head.refreshed_at);
    let_go(rows, head);
    Ok(Committed::Moved)
}

fn move_head(rows: &mut Rows, claim: Claim, head: &NewHead) -> bool {
    let (family, number) = (head.generation.family, head.generation.number);
    let is_current = held(rows, claim).is_some_and(|chain| chain.family == family);
    let now = head_of(rows, claim.tenant, family);
    let is_next = now.is_some_and(|now| now + 1 == number);
    let presented = rows.tables.attempts.get(&(claim.tenant, head.attempt));
    let is_its = presented.is_some_and(|row| row.family == family && Some(row.generation) == now);
    let is_unused = head.adopts.is_none_or(|id| {
        let row = rows.tables.attempts.get(&(claim.tenant, id));
        let waits = |row: &Attempt| matches!(row.state, AttemptState::Answered | AttemptState::Uncertain);
        let is_older = |row: &Attempt| row.family == family && Some(row.generation) < now;
        row.is_some_and(|row| waits(row) && is_older(row)) && rows.tables.answers.holds(&(claim.tenant, id))
    });
    let moves = is_current && is_next && is_its && is_unused;
    if moves {
        rows.tables.families.change(&(claim.tenant, family), |family| family.head += 1);
    }
    moves
}

/// What was consumed and is dead goes.
fn let_go(rows: &mut Rows, head: &NewHead) {
    let generation = &head.generation;
    let (tenant, family) = (generation.tenant, generation.family);
    let kept_from = (generation.number + 1).saturating_sub(GENERATIONS_KEPT);
    let older = rows.tables.generations.range((tenant, family, 0)..(tenant, family, kept_from));
    let dead: Vec<_> = older
        .filter(|(_, row)| row.access_until.is_some_and(|until| until < head.refreshed_at))
        .map(|(key, _)| *key)
        .collect();
    for key in dead {
        rows.tables.generations.take(&key);
    }
    let presented = rows.tables.presented.range((tenant, family, 0, lowest())..);
    let presented: Vec<_> = presented.map(|(key, ())| *key).take_while(|key| key.1 == family).collect();
    for key @ (_, _, number, id) in presented {
        let is_committed =
            rows.tables.attempts.get(&(tenant, id)).is_some_and(|row| row.state == AttemptState::Committed);
        if is_committed && !rows.tables.generations.holds(&(tenant, family, number + 1)) {
            rows.tables.answers.take(&(tenant, id));
            if number + ATTEMPTS_KEPT < generation.number {
                rows.tables.presented.take(&key);
                rows.tables.attempts.take(&(tenant, id));
            }
        }
    }
}

pub(super) fn settle(rows: &mut Rows, claim: Claim, settlement: &Settlement) -> Result<bool, StoreError> {
    let unanswered = settlement.attempt.filter(|_| settlement.unanswered);
    let came = unanswered.and_then(|(id, _)| rows.tables.attempts.get(&(claim.tenant, id)));
    if held(rows, claim).is_none() || came.is_some_and(|row| row.state == AttemptState::Answered) {
        return Ok(false);
    }
    rows.tables.chains.change(&(claim.tenant, claim.chain), |chain| {
        chain.owner = None;
        chain.state = settlement.state;
        chain.due_at = settlement.due_at;
        chain.failures = settlement.failures;
        chain.failed_at = settlement.failed_at.or(chain.failed_at);
        chain.reason.clone_from(&settlement.reason);
    });
    if let Some((attempt, state)) = settlement.attempt {
        rows.tables.attempts.change(&(claim.tenant, attempt), |row| {
            if row.chain == claim.chain && row.state != AttemptState::Committed {
                row.state = state;
            }
        });
    }
    if let Some(ticket) = &settlement.ticket {
        raise_for_chain(rows, claim.tenant, claim.chain, ticket)?;
    }
    Ok(true)
}

pub(super) fn quarantine(
    rows: &mut Rows,
    (tenant, chain, fence): (TenantId, ChainId, u64),
    reason: &str,
    ticket: &Ticket,
) -> Result<bool, StoreError> {
    if rows.tables.chains.get(&(tenant, chain)).is_none_or(|row| row.fence != fence) {
        return Ok(false);
    }
    rows.tables.chains.change(&(tenant, chain), |row| {
        row.fence += 1;
        row.owner = None;
        row.state = ChainState::Quarantined;
        row.due_at = None;
        row.failures += 1;
        row.failed_at = Some(ticket.raised_at);
        row.reason = Some(reason.to_owned());
    });
    raise_for_chain(rows, tenant, chain, ticket)?;
    Ok(true)
}

pub(super) fn release(
    rows: &mut Rows,
    (tenant, chain, fence): (TenantId, ChainId, u64),
    reason: &str,
    due_at: Timestamp,
    now: Timestamp,
) -> bool {
    let is_it = |row: &Chain| {
        row.fence == fence && row.state == ChainState::Quarantined && row.reason.as_deref() == Some(reason)
    };
    if !rows.tables.chains.get(&(tenant, chain)).is_some_and(is_it) {
        return false;
    }
    rows.tables.chains.change(&(tenant, chain), |row| {
        row.fence += 1;
        row.state = ChainState::Healthy;
        row.due_at = Some(due_at);
        row.failures = 0;
        (row.failed_at, row.reason, row.ticket) = (None, None, None);
    });
    settle_for_chain(rows, tenant, chain, now);
    true
}

pub(super) fn chains(
    rows: &Rows,
    after: Option<(TenantId, ChainId)>,
    limit: u32,
) -> Vec<(TenantId, ChainId)> {
    let keys = rows.tables.chains.iter().map(|(key, _)| *key);
    first(keys.filter(|key| after.is_none_or(|after| *key > after)), limit)
}

/// A head that was lost moves to where it was.
pub(super) fn heal(rows: &mut Rows, healed: &Healed) -> Result<bool, StoreError> {
    let Healed { fence, attempt, generation, due_at, refreshed_at } = healed;
    let (tenant, chain) = (attempt.tenant, attempt.chain);
    let row = rows.tables.chains.get(&(tenant, chain));
    let is_seen = row.is_some_and(|row| row.fence == *fence && row.family == attempt.family);
    let is_above = head_of(rows, tenant, attempt.family).is_some_and(|head| head < generation.number);
    let lives = !kills::living_on(rows, tenant, chain).is_empty();
    if !is_seen || !is_above || !lives || !is_era(rows, attempt.era) {
        return Ok(false);
    }
    put_generation(rows, generation)?;
    rows.go_on();
    rows.tables.presented.put((tenant, attempt.family, attempt.generation, attempt.id), ());
    let known = rows.tables.attempts.get(&(tenant, attempt.id)).unwrap_or(attempt).clone();
    let row = Attempt { state: AttemptState::Committed, answer: None, ..known };
    rows.tables.attempts.put((tenant, attempt.id), row);
    rows.tables.families.change(&(tenant, attempt.family), |family| family.head = generation.number);
    rows.tables.chains.change(&(tenant, chain), |chain| {
        chain.fence += 1;
        chain.owner = None;
        chain.state = ChainState::Healthy;
        chain.access_until = generation.access_until;
        chain.due_at = *due_at;
        chain.refreshed_at = Some(*refreshed_at);
        chain.failures = 0;
        chain.reason = None;
        chain.ticket = None;
    });
    settle_for_chain(rows, tenant, chain, *refreshed_at);
    Ok(true)
}

pub(super) fn hasten(rows: &mut Rows, tenant: TenantId, chain: ChainId, now: Timestamp) {
    rows.tables.chains.change(&(tenant, chain), |chain| {
        let is_later = match chain.due_at {
            Some(due) => due > now,
            None => chain.state == ChainState::Healthy,
        };
        let acts =
            matches!(chain.state, ChainState::Healthy | ChainState::Refreshing | ChainState::BackingOff);
        if is_later && acts {
            chain.due_at = Some(now);
        }
    });
}

pub(super) fn put_generation(rows: &mut Rows, generation: &Generation) -> Result<(), StoreError> {
    let key = (generation.tenant, generation.family, generation.number);
    if rows.tables.generations.holds(&key) {
        return Err(StoreError::Exists("generation"));
    }
    if !rows.tables.families.holds(&(generation.tenant, generation.family)) {
        return Err(StoreError::Missing("generation"));
    }
    rows.tables.generations.put(key, generation.clone());
    Ok(())
}
