//! Who holds a chain, and what a holder may write.
//!
//! A claim is a row, not a lock: `(fence + 1, owner)`. The claim's own WHERE repeats every precondition, and
//! every later WHERE names fence and owner again, so that a holder that was overtaken writes nothing. Only
//! moving the head is conditional: an answer is kept whoever holds the claim by then, because it may be the
//! only copy of a living refresh token.
//!
//! **What a commit lets go.** The three newest generations of a family stay. An older one is deleted only
//! once its access token is past its end (a generation whose end nobody told us stays): its refresh token was
//! presented at least three times ago, so neither can serve anyone. The raw answers of committed attempts go
//! with the generation that was made of them. Answers of attempts that were not committed are never deleted here.

use super::{
    super::{
        feed,
        record::{self, Doc, Word, millis, number},
    },
    tickets,
};
use crate::rows;
use nightlatch_domain::{
    chain::{Attempt, AttemptState, Chain, ChainState, Generation},
    clock::Timestamp,
    id::{AttemptId, ChainId, ConnectionId, FamilyId, TenantId},
    ports::store::{ChainView, Claim, Committed, NewHead, Seen, Settlement, StoreError},
    sealed::{SealContext, Wrapped},
};
use rusqlite::{Connection as Database, params};

/// Generations of a family that a commit never deletes, the head among them.
const GENERATIONS_KEPT: u64 = 3;

/// Sealed answers with the attempts that they answer.
type Answers = Vec<(AttemptId, (Wrapped, SealContext))>;

/// Chains whose timer is due, soonest first.
pub(super) fn due(
    at: &Database,
    now: Timestamp,
    limit: u32,
) -> Result<Vec<(TenantId, ChainId, Timestamp)>, StoreError> {
    let sql = "SELECT tenant_id, chain_id, due_at FROM chain
         WHERE due_at IS NOT NULL AND due_at <= ?1 AND state NOT IN ('refreshing', 'latched', 'quarantined')
           AND EXISTS (SELECT 1 FROM living_connection AS living
               WHERE living.tenant_id = chain.tenant_id AND living.chain_id = chain.chain_id)
         ORDER BY due_at LIMIT ?2";
    record::all(at, "chain", sql, params![now.millis(), limit], |row| {
        Ok((row.word("tenant_id")?, row.word("chain_id")?, row.time("due_at")?))
    })
}

/// The soonest timer.
pub(super) fn next_due(at: &Database) -> Result<Option<Timestamp>, StoreError> {
    let sql = "SELECT due_at FROM chain
         WHERE due_at IS NOT NULL AND state NOT IN ('refreshing', 'latched', 'quarantined')
           AND EXISTS (SELECT 1 FROM living_connection AS living
               WHERE living.tenant_id = chain.tenant_id AND living.chain_id = chain.chain_id)
         ORDER BY due_at LIMIT 1";
    record::one(at, "chain", sql, [], |row| row.time("due_at"))
}

/// Every chain behind that one, by tenant and id.
pub(super) fn chains(
    at: &Database,
    after: Option<(TenantId, ChainId)>,
    limit: u32,
) -> Result<Vec<(TenantId, ChainId)>, StoreError> {
    let (tenant, chain) =
        after.map(|(tenant, chain)| (tenant.to_string(), chain.to_string())).unwrap_or_default();
    let sql = "SELECT tenant_id, chain_id FROM chain WHERE (tenant_id, chain_id) > (?1, ?2)
         ORDER BY tenant_id, chain_id LIMIT ?3";
    record::all(at, "chain", sql, params![tenant, chain, limit], |row| {
        Ok((row.word("tenant_id")?, row.word("chain_id")?))
    })
}

/// A chain with all that a refresh needs; none where there is no such chain, its secrets are gone, or nobody lives on it.
pub(super) fn view(at: &Database, tenant: TenantId, id: ChainId) -> Result<Option<ChainView>, StoreError> {
    let Some(chain) = chain(at, tenant, id)? else { return Ok(None) };
    let sql = "SELECT * FROM family WHERE tenant_id = ?1 AND family_id = ?2 AND chain_id = ?3";
    let key = params![Word(&tenant), Word(&chain.family), Word(&id)];
    let family = record::one(at, "family", sql, key, rows::family)?.ok_or(StoreError::Corrupt("chain"))?;
    let sql = "SELECT * FROM generation WHERE tenant_id = ?1 AND family_id = ?2 AND number = ?3";
    let key = params![Word(&tenant), Word(&family.id), number(family.head)];
    let Some(head) = record::one(at, "generation", sql, key, rows::generation)? else { return Ok(None) };
    let sql = "SELECT * FROM client WHERE tenant_id = ?1 AND client_id = ?2";
    let key = params![Word(&tenant), Word(&chain.client)];
    let client = record::one(at, "client", sql, key, rows::client)?.ok_or(StoreError::Corrupt("chain"))?;
    let connections = living_connections(at, tenant, id)?;
    if connections.is_empty() {
        return Ok(None);
    }
    Ok(Some(ChainView { chain, family, head, client, connections }))
}

/// The chain's row.
pub(super) fn chain(at: &Database, tenant: TenantId, id: ChainId) -> Result<Option<Chain>, StoreError> {
    let sql = "SELECT * FROM chain WHERE tenant_id = ?1 AND chain_id = ?2";
    record::one(at, "chain", sql, params![Word(&tenant), Word(&id)], rows::chain)
}

/// The generations of a chain, of every family that it had, newest first.
pub(super) fn generations(
    at: &Database,
    tenant: TenantId,
    chain: ChainId,
    limit: u32,
) -> Result<Vec<Generation>, StoreError> {
    record::all(
        at,
        "generation",
        GENERATIONS_OF_CHAIN,
        params![Word(&tenant), Word(&chain), limit],
        rows::generation,
    )
}

// The sign in these, and the order of the joins, keep SQLite from going through all that the tenant has because it is in that
// order: it is to find the few of the chain, and sort those.
const GENERATIONS_OF_CHAIN: &str = "SELECT generation.* FROM family CROSS JOIN generation
         ON generation.tenant_id = family.tenant_id AND generation.family_id = family.family_id
     WHERE family.tenant_id = ?1 AND family.chain_id = ?2
     ORDER BY generation.created_at DESC, generation.number DESC LIMIT ?3";
const ANSWERS_OF_CHAIN: &str = "SELECT attempt_id, sealed FROM answer
     WHERE tenant_id = ?1 AND chain_id = ?2 ORDER BY +attempt_id";

/// What lives on a chain.
pub(super) const LIVING_OF_CHAIN: &str = "SELECT connection_id FROM living_connection
     WHERE tenant_id = ?1 AND chain_id = ?2 ORDER BY +connection_id";

/// The connections of a chain that were neither removed nor killed, oldest first.
pub(super) fn living_connections(
    at: &Database,
    tenant: TenantId,
    chain: ChainId,
) -> Result<Vec<ConnectionId>, StoreError> {
    let key = params![Word(&tenant), Word(&chain)];
    record::all(at, "connection", LIVING_OF_CHAIN, key, |row| row.word("connection_id"))
}

/// Takes the chain out of one state, if everything is still as it was seen.
pub(super) fn claim(at: &Database, claim: Claim, seen: Seen, from: ChainState) -> Result<bool, StoreError> {
    let sql = "UPDATE chain SET fence = ?3, owner_id = ?4, state = 'refreshing'
         WHERE tenant_id = ?1 AND chain_id = ?2 AND fence = ?5 AND state = ?6 AND family_id = ?7
           AND EXISTS (SELECT 1 FROM family WHERE family.tenant_id = chain.tenant_id
               AND family.family_id = chain.family_id AND family.head = ?8)
           AND EXISTS (SELECT 1 FROM installation WHERE era = ?9)
           AND NOT EXISTS (SELECT 1 FROM keeper WHERE compared < ?9)
           AND EXISTS (SELECT 1 FROM living_connection AS living WHERE living.tenant_id = chain.tenant_id
               AND living.chain_id = chain.chain_id)";
    let values = params![
        Word(&claim.tenant),
        Word(&claim.chain),
        number(claim.fence),
        Word(&claim.owner),
        number(seen.fence),
        Word(&from),
        Word(&seen.family),
        number(seen.head),
        number(seen.era)
    ];
    Ok(record::write(at, "chain", sql, values)? == 1)
}

/// The intent of a presentation, if the claim stands, the generation is the head of the chain's current family, and no
/// other attempt at it could have been sent (I1) but, where one is named, the one whose answer is lost.
const INTENT: &str = "INSERT INTO attempt
         (tenant_id, attempt_id, chain_id, family_id, generation, fence, owner_id, era, state, intended_at, intended_by)
     SELECT chain.tenant_id, ?5, chain.chain_id, family.family_id, family.head, chain.fence, chain.owner_id,
         ?8, 'intended', ?9, ?9
     FROM chain JOIN family
         ON family.tenant_id = chain.tenant_id AND family.family_id = chain.family_id
     WHERE chain.tenant_id = ?1 AND chain.chain_id = ?2 AND chain.fence = ?3 AND chain.owner_id = ?4
       AND chain.state = 'refreshing' AND family.family_id = ?6 AND family.head = ?7
       AND EXISTS (SELECT 1 FROM installation WHERE era = ?8)
       AND EXISTS (SELECT 1 FROM living_connection AS living WHERE living.tenant_id = chain.tenant_id
           AND living.chain_id = chain.chain_id)
       AND NOT EXISTS (SELECT 1 FROM attempt AS other
           WHERE other.tenant_id = family.tenant_id AND other.family_id = family.family_id
             AND other.generation = family.head AND other.state <> 'not-presented'
             AND other.attempt_id IS NOT ?10)
       AND (?10 IS NULL OR EXISTS (SELECT 1 FROM attempt AS first
           WHERE first.tenant_id = family.tenant_id AND first.family_id = family.family_id
             AND first.generation = family.head AND first.state = 'uncertain' AND first.attempt_id = ?10))";

/// Writes the intent of a first presentation, if the claim stands, the generation is the head of the chain's current
/// family, and nothing of it was presented. It moves the feed's counter row: a history that lost it is another one.
pub(super) fn intend(at: &Database, claim: Claim, attempt: &Attempt) -> Result<bool, StoreError> {
    write_intent(at, claim, attempt, None)
}

/// Writes the intent of the one retry.
pub(super) fn intend_again(
    at: &Database,
    claim: Claim,
    attempt: &Attempt,
    of: AttemptId,
) -> Result<bool, StoreError> {
    write_intent(at, claim, attempt, Some(of))
}

fn write_intent(
    at: &Database,
    claim: Claim,
    attempt: &Attempt,
    of: Option<AttemptId>,
) -> Result<bool, StoreError> {
    let values = params![
        Word(&claim.tenant),
        Word(&claim.chain),
        number(claim.fence),
        Word(&claim.owner),
        Word(&attempt.id),
        Word(&attempt.family),
        number(attempt.generation),
        number(attempt.era),
        attempt.intended_at.millis(),
        of.as_ref().map(Word)
    ];
    let made = record::write(at, "attempt", INTENT, values)? == 1;
    if made {
        feed::go_on(at)?;
    }
    Ok(made)
}

/// Every attempt at this generation of a family or a later one.
pub(super) fn attempts(
    at: &Database,
    tenant: TenantId,
    family: FamilyId,
    from: u64,
) -> Result<Vec<Attempt>, StoreError> {
    let sql = "SELECT attempt.*, answer.sealed FROM attempt LEFT JOIN answer
             ON answer.tenant_id = attempt.tenant_id AND answer.attempt_id = attempt.attempt_id
         WHERE attempt.tenant_id = ?1 AND attempt.family_id = ?2 AND attempt.generation >= ?3
         ORDER BY attempt.intended_at, attempt.attempt_id";
    record::all(at, "attempt", sql, params![Word(&tenant), Word(&family), number(from)], rows::attempt)
}

/// Looked for every few seconds: found among what is open, however many chains and attempts there are.
const OPEN_ATTEMPTS: &str = "SELECT attempt.*, answer.sealed FROM attempt INDEXED BY attempt_open
     CROSS JOIN family ON family.tenant_id = attempt.tenant_id AND family.family_id = attempt.family_id
         AND family.head IN (attempt.generation, attempt.generation + 1)
     CROSS JOIN chain ON chain.tenant_id = attempt.tenant_id AND chain.chain_id = attempt.chain_id
         AND chain.family_id = attempt.family_id
     LEFT JOIN answer ON answer.tenant_id = attempt.tenant_id AND answer.attempt_id = attempt.attempt_id
     WHERE attempt.state IN ('intended', 'answered')
         AND (family.head = attempt.generation OR attempt.state = 'answered' AND chain.state = 'latched')
     ORDER BY attempt.intended_at, attempt.attempt_id";

/// Every attempt at a head that nobody finished, and answers that nobody read beside a head that was refused.
pub(super) fn open_attempts(at: &Database) -> Result<Vec<Attempt>, StoreError> {
    record::all(at, "attempt", OPEN_ATTEMPTS, [], rows::attempt)
}

/// Takes an attempt back, while nothing else was presented of its generation.
pub(super) fn withdraw(at: &Database, tenant: TenantId, id: AttemptId) -> Result<bool, StoreError> {
    let sql = "UPDATE attempt SET state = 'not-presented'
         WHERE tenant_id = ?1 AND attempt_id = ?2 AND state IN ('intended', 'uncertain')
           AND NOT EXISTS (SELECT 1 FROM answer
               WHERE answer.tenant_id = attempt.tenant_id AND answer.attempt_id = attempt.attempt_id)
           AND NOT EXISTS (SELECT 1 FROM attempt AS other
               WHERE other.tenant_id = attempt.tenant_id AND other.family_id = attempt.family_id
                 AND other.generation = attempt.generation AND other.attempt_id <> attempt.attempt_id
                 AND other.state <> 'not-presented')";
    Ok(record::write(at, "attempt", sql, params![Word(&tenant), Word(&id)])? == 1)
}

/// Keeps an answer by the attempt's id alone. It takes back no state that was reached with another answer.
pub(super) fn answer(
    at: &Database,
    tenant: TenantId,
    attempt: AttemptId,
    answer: &(Wrapped, SealContext),
) -> Result<(), StoreError> {
    let sql = "INSERT INTO answer (tenant_id, attempt_id, chain_id, sealed)
         VALUES (?1, ?2, coalesce(?3, (SELECT chain_id FROM attempt WHERE tenant_id = ?1 AND attempt_id = ?2)), ?4)
         ON CONFLICT (tenant_id, attempt_id) DO NOTHING";
    let chain = answer.1.chain.as_ref().map(Word);
    record::write(at, "answer", sql, params![Word(&tenant), Word(&attempt), chain, Doc(answer)])?;
    let sql = "UPDATE attempt SET state = 'answered'
         WHERE tenant_id = ?1 AND attempt_id = ?2 AND state NOT IN ('committed', 'refused')";
    record::write(at, "attempt", sql, params![Word(&tenant), Word(&attempt)])?;
    Ok(())
}

/// The answers that are kept of a chain.
pub(super) fn answers(at: &Database, tenant: TenantId, chain: ChainId) -> Result<Answers, StoreError> {
    record::all(at, "answer", ANSWERS_OF_CHAIN, params![Word(&tenant), Word(&chain)], |row| {
        Ok((row.word("attempt_id")?, row.doc("sealed")?))
    })
}

/// Moves the head: first the feed's counter row, then what a kill or a removal wrote, then the head itself.
pub(super) fn commit(at: &Database, claim: Claim, head: &NewHead) -> Result<Committed, StoreError> {
    feed::go_on(at)?;
    if living_connections(at, claim.tenant, claim.chain)?.is_empty() {
        return Ok(Committed::Removed);
    }
    if !move_head(at, claim, head)? {
        return Ok(Committed::Lost);
    }
    put_generation(at, &head.generation)?;
    if head.adopts.is_some() {
        close_attempt(at, claim, head.attempt, AttemptState::Refused)?;
    }
    close_attempt(at, claim, head.adopts.unwrap_or(head.attempt), AttemptState::Committed)?;
    release_healthy(at, claim, head)?;
    tickets::settle_for_chain(at, claim.tenant, claim.chain, head.refreshed_at)?;
    let_go(at, claim.chain, head)?;
    Ok(Committed::Moved)
}

fn close_attempt(
    at: &Database,
    claim: Claim,
    attempt: AttemptId,
    state: AttemptState,
) -> Result<(), StoreError> {
    let sql = "UPDATE attempt SET state = ?3 WHERE tenant_id = ?1 AND attempt_id = ?2";
    record::write(at, "attempt", sql, params![Word(&claim.tenant), Word(&attempt), Word(&state)])?;
    Ok(())
}

/// The head moves by one, under a claim that fits, by an attempt that presented the head it leaves; to an unused answer
/// only if it is one of the same family and still unused.
fn move_head(at: &Database, claim: Claim, head: &NewHead) -> Result<bool, StoreError> {
    let sql = "UPDATE family SET head = head + 1
         WHERE tenant_id = ?1 AND family_id = ?5 AND chain_id = ?2 AND head + 1 = ?6
           AND EXISTS (SELECT 1 FROM chain WHERE chain.tenant_id = family.tenant_id
               AND chain.chain_id = family.chain_id AND chain.family_id = family.family_id
               AND chain.fence = ?3 AND chain.owner_id = ?4 AND chain.state = 'refreshing')
           AND EXISTS (SELECT 1 FROM attempt WHERE attempt.tenant_id = family.tenant_id
               AND attempt.attempt_id = ?7 AND attempt.family_id = family.family_id
               AND attempt.generation = family.head)
           AND (?8 IS NULL OR EXISTS (SELECT 1 FROM attempt AS unused WHERE unused.tenant_id = family.tenant_id
               AND unused.attempt_id = ?8 AND unused.family_id = family.family_id AND unused.generation < family.head
               AND unused.state IN ('answered', 'uncertain')
               AND EXISTS (SELECT 1 FROM answer WHERE answer.tenant_id = unused.tenant_id
                   AND answer.attempt_id = unused.attempt_id)))";
    let values = params![
        Word(&claim.tenant),
        Word(&claim.chain),
        number(claim.fence),
        Word(&claim.owner),
        Word(&head.generation.family),
        number(head.generation.number),
        Word(&head.attempt),
        head.adopts.as_ref().map(Word)
    ];
    Ok(record::write(at, "family", sql, values)? == 1)
}

fn release_healthy(at: &Database, claim: Claim, head: &NewHead) -> Result<(), StoreError> {
    let sql = "UPDATE chain SET owner_id = NULL, state = 'healthy', access_until = ?5, due_at = ?6,
             refreshed_at = ?7, failures = 0, reason = NULL, ticket_id = NULL
         WHERE tenant_id = ?1 AND chain_id = ?2 AND fence = ?3 AND owner_id = ?4";
    let values = params![
        Word(&claim.tenant),
        Word(&claim.chain),
        number(claim.fence),
        Word(&claim.owner),
        millis(head.generation.access_until),
        millis(head.due_at),
        head.refreshed_at.millis()
    ];
    record::write(at, "chain", sql, values)?;
    Ok(())
}

/// Deletes what was consumed and is dead; see the head of this file.
fn let_go(at: &Database, chain: ChainId, head: &NewHead) -> Result<(), StoreError> {
    let generation = &head.generation;
    let kept_from = number((generation.number + 1).saturating_sub(GENERATIONS_KEPT));
    let sql = "DELETE FROM generation
         WHERE tenant_id = ?1 AND family_id = ?2 AND number < ?3 AND access_until < ?4";
    let key =
        params![Word(&generation.tenant), Word(&generation.family), kept_from, head.refreshed_at.millis()];
    record::write(at, "generation", sql, key)?;
    // By the answers that the chain still has, which are few, and not by its attempts, which are all that there ever were.
    let sql = "DELETE FROM answer WHERE tenant_id = ?1 AND chain_id = ?2 AND EXISTS
             (SELECT 1 FROM attempt
              WHERE attempt.tenant_id = answer.tenant_id AND attempt.attempt_id = answer.attempt_id
                AND attempt.family_id = ?3 AND attempt.state = 'committed'
                AND NOT EXISTS (SELECT 1 FROM generation WHERE generation.tenant_id = attempt.tenant_id
                    AND generation.family_id = attempt.family_id
                    AND generation.number = attempt.generation + 1))";
    let key = params![Word(&generation.tenant), Word(&chain), Word(&generation.family)];
    record::write(at, "answer", sql, key)?;
    Ok(())
}

/// Leaves the chain without moving the head.
pub(super) fn settle(at: &Database, claim: Claim, settlement: &Settlement) -> Result<bool, StoreError> {
    let sql = "UPDATE chain SET owner_id = NULL, state = ?5, due_at = ?6, failures = ?7,
             failed_at = coalesce(?8, failed_at), reason = ?9
         WHERE tenant_id = ?1 AND chain_id = ?2 AND fence = ?3 AND owner_id = ?4 AND state = 'refreshing'
           AND NOT EXISTS (SELECT 1 FROM attempt WHERE attempt.tenant_id = chain.tenant_id
               AND attempt.attempt_id = ?10 AND attempt.state = 'answered')";
    let unanswered = settlement.attempt.filter(|_| settlement.unanswered);
    let values = params![
        Word(&claim.tenant),
        Word(&claim.chain),
        number(claim.fence),
        Word(&claim.owner),
        Word(&settlement.state),
        millis(settlement.due_at),
        settlement.failures,
        millis(settlement.failed_at),
        settlement.reason,
        unanswered.map(|(attempt, _)| attempt.to_string())
    ];
    if record::write(at, "chain", sql, values)? == 0 {
        return Ok(false);
    }
    if let Some((attempt, state)) = settlement.attempt {
        let sql = "UPDATE attempt SET state = ?4
             WHERE tenant_id = ?1 AND chain_id = ?2 AND attempt_id = ?3 AND state <> 'committed'";
        let values = params![Word(&claim.tenant), Word(&claim.chain), Word(&attempt), Word(&state)];
        record::write(at, "attempt", sql, values)?;
    }
    if let Some(ticket) = &settlement.ticket {
        tickets::raise_for_chain(at, claim.tenant, claim.chain, ticket)?;
    }
    Ok(true)
}

/// Sets the timer to now where it is later. A healthy chain without a timer is one whose timer never comes.
pub(super) fn hasten(
    at: &Database,
    tenant: TenantId,
    chain: ChainId,
    now: Timestamp,
) -> Result<(), StoreError> {
    let sql = "UPDATE chain SET due_at = ?3
         WHERE tenant_id = ?1 AND chain_id = ?2
           AND (due_at > ?3 OR (due_at IS NULL AND state = 'healthy'))
           AND state IN ('healthy', 'refreshing', 'backing-off')";
    record::write(at, "chain", sql, params![Word(&tenant), Word(&chain), now.millis()])?;
    Ok(())
}

/// Stores one generation.
pub(super) fn put_generation(at: &Database, generation: &Generation) -> Result<(), StoreError> {
    record::write(
        at,
        "generation",
        "INSERT INTO generation (tenant_id, family_id, number, refresh, access, access_until, refresh_until,
             attempt_id, created_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        params![
            Word(&generation.tenant),
            Word(&generation.family),
            number(generation.number),
            generation.refresh.as_ref().map(Doc),
            Doc(&generation.access),
            millis(generation.access_until),
            millis(generation.refresh_until),
            generation.attempt.as_ref().map(Word),
            generation.created_at.millis()
        ],
    )?;
    Ok(())
}

#[cfg(test)]
mod tests {
    //! Proves that what belongs to one chain is found by that chain, and what is open by that, among however many.

    use super::{
        super::tickets::SETTLE_FOR_CHAIN, ANSWERS_OF_CHAIN, GENERATIONS_OF_CHAIN, LIVING_OF_CHAIN,
        OPEN_ATTEMPTS,
    };
    use crate::sqlite::migrate::{self, MIGRATIONS};
    use nightlatch_domain::clock::Timestamp;
    use rusqlite::{Connection, params_from_iter};

    #[test]
    fn a_chain_among_many_is_found_by_an_index() {
        let mut database = Connection::open_in_memory().unwrap();
        migrate::apply(&mut database, MIGRATIONS, Timestamp::from_millis(1)).unwrap();
        let grows = ["connection", "attempt", "generation", "answer", "family", "chain"];
        for sql in [LIVING_OF_CHAIN, SETTLE_FOR_CHAIN, GENERATIONS_OF_CHAIN, ANSWERS_OF_CHAIN, OPEN_ATTEMPTS]
        {
            let mut plan = database.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
            let values = params_from_iter(vec!["x"; plan.parameter_count()]);
            let steps = plan.query_map(values, |row| row.get::<_, String>("detail")).unwrap();
            let steps: Vec<String> = steps.map(Result::unwrap).collect();
            let of = |step: &str, table: &str| step.split_whitespace().nth(1) == Some(table);
            let steps: Vec<_> =
                steps.iter().filter(|step| grows.iter().any(|table| of(step, table))).collect();
            assert!(!steps.is_empty(), "{sql}");
            let all = |step: &str| step.starts_with("SCAN") || step.ends_with("(tenant_id=?)");
            assert!(!steps.iter().any(|step| all(step)), "{sql}: {steps:#?}");
        }
    }
}
