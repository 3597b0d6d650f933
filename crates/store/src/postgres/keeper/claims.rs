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

use super::super::link::Link;
use super::{
    super::{
        feed,
        record::{self, Doc, Parted, Record, Value, Word, millis, number, params},
    },
    tickets,
};
use crate::{record::Columns as _, rows};
use nightlatch_domain::{
    chain::{Attempt, AttemptState, Chain, ChainState, Generation},
    clock::Timestamp,
    id::{AttemptId, ChainId, ConnectionId, FamilyId, TenantId},
    ports::store::{ChainView, Claim, Committed, NewHead, Seen, Settlement, StoreError},
    sealed::{SealContext, Wrapped},
};
use std::sync::atomic::Ordering;
use tokio_postgres::Row;

/// Generations of a family that a commit never deletes, the head among them.
const GENERATIONS_KEPT: u64 = 3;

/// What [`GENERATION`] stores of a generation.
macro_rules! generation_values {
    ($generation:expr) => {
        params![
            Word(&$generation.tenant),
            Word(&$generation.family),
            number($generation.number),
            $generation.refresh.as_ref().map(Doc),
            Doc(&$generation.access),
            millis($generation.access_until),
            millis($generation.refresh_until),
            $generation.attempt.as_ref().map(Word),
            $generation.created_at.millis()
        ]
    };
}

/// Sealed answers with the attempts that they answer.
type Answers = Vec<(AttemptId, (Wrapped, SealContext))>;

/// Chains whose timer is due, soonest first.
pub(super) async fn due(
    at: &Link,
    now: Timestamp,
    limit: u32,
) -> Result<Vec<(TenantId, ChainId, Timestamp)>, StoreError> {
    let sql = "SELECT tenant_id, chain_id, due_at FROM chain
         WHERE due_at IS NOT NULL AND due_at <= $1 AND state NOT IN ('refreshing', 'latched', 'quarantined')
           AND EXISTS (SELECT 1 FROM living_connection AS living
               WHERE living.tenant_id = chain.tenant_id AND living.chain_id = chain.chain_id)
         ORDER BY due_at LIMIT $2";
    record::all(at, "chain", sql, params![now.millis(), i64::from(limit)], |row| {
        Ok((row.word("tenant_id")?, row.word("chain_id")?, row.time("due_at")?))
    })
    .await
}

/// The soonest timer.
pub(super) async fn next_due(at: &Link) -> Result<Option<Timestamp>, StoreError> {
    let sql = "SELECT due_at FROM chain
         WHERE due_at IS NOT NULL AND state NOT IN ('refreshing', 'latched', 'quarantined')
           AND EXISTS (SELECT 1 FROM living_connection AS living
               WHERE living.tenant_id = chain.tenant_id AND living.chain_id = chain.chain_id)
         ORDER BY due_at LIMIT 1";
    record::one(at, "chain", sql, &[], |row| row.time("due_at")).await
}

/// Every chain behind that one, by tenant and id.
pub(super) async fn chains(
    at: &Link,
    after: Option<(TenantId, ChainId)>,
    limit: u32,
) -> Result<Vec<(TenantId, ChainId)>, StoreError> {
    let (tenant, chain) =
        after.map(|(tenant, chain)| (tenant.to_string(), chain.to_string())).unwrap_or_default();
    let sql = "SELECT tenant_id, chain_id FROM chain WHERE (tenant_id, chain_id) > ($1, $2)
         ORDER BY tenant_id, chain_id LIMIT $3";
    record::all(at, "chain", sql, params![tenant, chain, i64::from(limit)], |row| {
        Ok((row.word("tenant_id")?, row.word("chain_id")?))
    })
    .await
}

/// A chain with all that a refresh needs; none where there is no such chain, its secrets are gone, or nobody lives on it. One
/// statement: everything in it is of one moment.
pub(super) async fn view(at: &Link, tenant: TenantId, id: ChainId) -> Result<Option<ChainView>, StoreError> {
    let sql = r#"SELECT chain.*, 0 AS "|", family.*, 0 AS "|", generation.*, 0 AS "|", client.*, 0 AS "|",
             (SELECT string_agg(living.connection_id, ' ' ORDER BY living.connection_id) FROM living_connection AS living
              WHERE living.tenant_id = chain.tenant_id AND living.chain_id = chain.chain_id) AS connections
         FROM chain
         LEFT JOIN family ON family.tenant_id = chain.tenant_id AND family.family_id = chain.family_id
             AND family.chain_id = chain.chain_id
         LEFT JOIN generation ON generation.tenant_id = family.tenant_id AND generation.family_id = family.family_id
             AND generation.number = family.head
         LEFT JOIN client ON client.tenant_id = chain.tenant_id AND client.client_id = chain.client_id
         WHERE chain.tenant_id = $1 AND chain.chain_id = $2"#;
    let row = record::row(at, "chain", sql, params![Word(&tenant), Word(&id)]).await?;
    row.as_ref().map_or(Ok(None), viewed)
}

fn viewed(row: &Row) -> Result<Option<ChainView>, StoreError> {
    let part = |part| Parted::of(row, part);
    let (chain, family, head, client, living) = (part(0), part(1), part(2), part(3), part(4));
    let of = |table, row| Record { table, row };
    let is_there = |row: &Parted<'_>| row.text("tenant_id").flatten().is_some();
    if !is_there(&family) {
        return Err(StoreError::Corrupt("chain"));
    }
    if !is_there(&head) {
        return Ok(None);
    }
    if !is_there(&client) {
        return Err(StoreError::Corrupt("chain"));
    }
    let Some(living) = of("connection", &living).text_or_none("connections")? else { return Ok(None) };
    let living = living.split(' ').map(|id| id.parse().map_err(|_| StoreError::Corrupt("connection")));
    Ok(Some(ChainView {
        chain: rows::chain(&of("chain", &chain))?,
        family: rows::family(&of("family", &family))?,
        head: rows::generation(&of("generation", &head))?,
        client: rows::client(&of("client", &client))?,
        connections: living.collect::<Result<_, _>>()?,
    }))
}

/// The chain's row.
pub(super) async fn chain(at: &Link, tenant: TenantId, id: ChainId) -> Result<Option<Chain>, StoreError> {
    let sql = "SELECT * FROM chain WHERE tenant_id = $1 AND chain_id = $2";
    record::one(at, "chain", sql, params![Word(&tenant), Word(&id)], rows::chain).await
}

/// The generations of a chain, of every family that it had, newest first.
pub(super) async fn generations(
    at: &Link,
    tenant: TenantId,
    chain: ChainId,
    limit: u32,
) -> Result<Vec<Generation>, StoreError> {
    let sql = "SELECT generation.* FROM generation JOIN family
             ON family.tenant_id = generation.tenant_id AND family.family_id = generation.family_id
         WHERE family.tenant_id = $1 AND family.chain_id = $2
         ORDER BY generation.created_at DESC, generation.number DESC LIMIT $3";
    record::all(
        at,
        "generation",
        sql,
        params![Word(&tenant), Word(&chain), i64::from(limit)],
        rows::generation,
    )
    .await
}

/// The connections of a chain that were neither removed nor killed, oldest first.
pub(super) async fn living_connections(
    at: &Link,
    tenant: TenantId,
    chain: ChainId,
) -> Result<Vec<ConnectionId>, StoreError> {
    let sql = "SELECT connection_id FROM living_connection
         WHERE tenant_id = $1 AND chain_id = $2 ORDER BY connection_id";
    record::all(at, "connection", sql, params![Word(&tenant), Word(&chain)], |row| row.word("connection_id"))
        .await
}

/// Takes the chain out of one of these states, if everything is still as it was seen.
pub(super) async fn claim(
    at: &Link,
    claim: Claim,
    seen: Seen,
    from: &[ChainState],
) -> Result<bool, StoreError> {
    let sql = "UPDATE chain SET fence = $3, owner_id = $4, state = 'refreshing'
         WHERE tenant_id = $1 AND chain_id = $2 AND fence = $5 AND state = ANY (string_to_array($6, ' ')) AND family_id = $7
           AND EXISTS (SELECT 1 FROM family WHERE family.tenant_id = chain.tenant_id
               AND family.family_id = chain.family_id AND family.head = $8)
           AND EXISTS (SELECT 1 FROM era_in_force WHERE era = $9)
           AND NOT EXISTS (SELECT 1 FROM keeper WHERE compared < $9)
           AND EXISTS (SELECT 1 FROM living_connection AS living WHERE living.tenant_id = chain.tenant_id
               AND living.chain_id = chain.chain_id)";
    let values = params![
        Word(&claim.tenant),
        Word(&claim.chain),
        number(claim.fence),
        Word(&claim.owner),
        number(seen.fence),
        record::words(from)?,
        Word(&seen.family),
        number(seen.head),
        number(seen.era)
    ];
    Ok(record::write(at, "chain", sql, values).await? == 1)
}

/// Takes the chain's row until the end of the transaction: of all that change the chain or who lives on it one goes after
/// the other, and each later statement sees what those before it wrote.
pub(super) async fn take(at: &Link, tenant: TenantId, chain: ChainId) -> Result<(), StoreError> {
    record::holds(at, TAKE.0, TAKE.1, params![Word(&tenant), Word(&chain)]).await?;
    Ok(())
}

const TAKE: (&str, &str) = ("chain", "SELECT 1 FROM chain WHERE tenant_id = $1 AND chain_id = $2 FOR UPDATE");

/// The era is in force, and somebody lives on the chain.
const STANDS: &str = "SELECT 1 FROM era_in_force WHERE era = $3 AND EXISTS (SELECT 1 FROM living_connection
         WHERE tenant_id = $1 AND chain_id = $2)";

/// The intent of a presentation, if the claim stands, the generation is the head of the chain's current family, and no
/// other attempt at it could have been sent (I1) but, where one is named, the one whose answer is lost.
const INTENT: &str = "INSERT INTO attempt
         (tenant_id, attempt_id, chain_id, family_id, generation, fence, owner_id, era, state, intended_at, intended_by)
     SELECT chain.tenant_id, $5, chain.chain_id, family.family_id, family.head, chain.fence, chain.owner_id,
         $8, 'intended', least($9, clock.now), greatest($9, clock.now)
     FROM (SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint AS now) AS clock CROSS JOIN chain JOIN family
         ON family.tenant_id = chain.tenant_id AND family.family_id = chain.family_id
     WHERE chain.tenant_id = $1 AND chain.chain_id = $2 AND chain.fence = $3 AND chain.owner_id = $4
       AND chain.state = 'refreshing' AND family.family_id = $6 AND family.head = $7
       AND EXISTS (SELECT 1 FROM era_in_force WHERE era = $8)
       AND EXISTS (SELECT 1 FROM living_connection AS living WHERE living.tenant_id = chain.tenant_id
           AND living.chain_id = chain.chain_id)
       AND NOT EXISTS (SELECT 1 FROM attempt AS other
           WHERE other.tenant_id = family.tenant_id AND other.family_id = family.family_id
             AND other.generation = family.head AND other.state <> 'not-presented'
             AND other.attempt_id IS DISTINCT FROM $10::text)
       AND ($10::text IS NULL OR EXISTS (SELECT 1 FROM attempt AS first
           WHERE first.tenant_id = family.tenant_id AND first.family_id = family.family_id
             AND first.generation = family.head AND first.state = 'uncertain' AND first.attempt_id = $10))";

/// Writes the intent of a first presentation, if the claim stands, the generation is the head of the chain's current
/// family, and nothing of it was presented. It moves the feed's counter row: a history that lost it is another one.
pub(super) async fn intend(at: &Link, claim: Claim, attempt: &Attempt) -> Result<bool, StoreError> {
    write_intent(at, claim, attempt, None).await
}

/// Writes the intent of the one retry.
pub(super) async fn intend_again(
    at: &Link,
    claim: Claim,
    attempt: &Attempt,
    of: AttemptId,
) -> Result<bool, StoreError> {
    write_intent(at, claim, attempt, Some(of)).await
}

async fn write_intent(
    at: &Link,
    claim: Claim,
    attempt: &Attempt,
    of: Option<AttemptId>,
) -> Result<bool, StoreError> {
    let chain: &[Value<'_>] = params![Word(&claim.tenant), Word(&claim.chain)];
    record::begin_with(at, &[(TAKE.0, TAKE.1, chain)]).await?;
    let of = of.map(|of| of.to_string());
    let intent: &[Value<'_>] = params![
        Word(&claim.tenant),
        Word(&claim.chain),
        number(claim.fence),
        Word(&claim.owner),
        Word(&attempt.id),
        Word(&attempt.family),
        number(attempt.generation),
        number(attempt.era),
        attempt.intended_at.millis(),
        of
    ];
    let stands: &[Value<'_>] = params![Word(&claim.tenant), Word(&claim.chain), number(attempt.era)];
    let steps = [
        ("attempt", INTENT, intent),
        (feed::GO_ON.0, feed::GO_ON.1, params![feed::MARKS_KEPT]),
        // A kill or a new era that took the counter row before is seen only now.
        ("attempt", STANDS, stands),
    ];
    let found = record::together(at, &steps).await?;
    let written = found.first() == Some(&1) && found.last() == Some(&1);
    if found.first() == Some(&1) && found.get(1) != Some(&1) {
        return Err(StoreError::Corrupt("feed_counter"));
    }
    at.undo.store(!written, Ordering::SeqCst);
    Ok(written)
}

/// Every attempt at this generation of a family or a later one.
pub(super) async fn attempts(
    at: &Link,
    tenant: TenantId,
    family: FamilyId,
    from: u64,
) -> Result<Vec<Attempt>, StoreError> {
    let sql = "SELECT attempt.*, answer.sealed FROM attempt LEFT JOIN answer
             ON answer.tenant_id = attempt.tenant_id AND answer.attempt_id = attempt.attempt_id
         WHERE attempt.tenant_id = $1 AND attempt.family_id = $2 AND attempt.generation >= $3
         ORDER BY attempt.intended_at, attempt.attempt_id";
    let key = params![Word(&tenant), Word(&family), number(from)];
    record::all(at, "attempt", sql, key, rows::attempt).await
}

/// Every attempt at a head that nobody finished, and answers that nobody read beside a head that was refused.
pub(super) async fn open_attempts(at: &Link) -> Result<Vec<Attempt>, StoreError> {
    let sql = "SELECT attempt.*, answer.sealed FROM attempt JOIN family
             ON family.tenant_id = attempt.tenant_id AND family.family_id = attempt.family_id
                 AND family.head IN (attempt.generation, attempt.generation + 1)
         JOIN chain ON chain.tenant_id = attempt.tenant_id AND chain.chain_id = attempt.chain_id
             AND chain.family_id = attempt.family_id
         LEFT JOIN answer
             ON answer.tenant_id = attempt.tenant_id AND answer.attempt_id = attempt.attempt_id
         WHERE attempt.state IN ('intended', 'answered')
             AND (family.head = attempt.generation OR attempt.state = 'answered' AND chain.state = 'latched')
         ORDER BY attempt.intended_at, attempt.attempt_id";
    record::all(at, "attempt", sql, &[], rows::attempt).await
}

/// Takes an attempt back, while nothing else was presented of its generation.
pub(super) async fn withdraw(at: &Link, tenant: TenantId, id: AttemptId) -> Result<bool, StoreError> {
    // Whoever intends at the chain, or answers this attempt, goes before or after.
    let sql = "SELECT 1 FROM chain JOIN attempt
             ON attempt.tenant_id = chain.tenant_id AND attempt.chain_id = chain.chain_id
         WHERE attempt.tenant_id = $1 AND attempt.attempt_id = $2 FOR UPDATE";
    if !record::holds(at, "attempt", sql, params![Word(&tenant), Word(&id)]).await? {
        return Ok(false);
    }
    let sql = "UPDATE attempt SET state = 'not-presented'
         WHERE tenant_id = $1 AND attempt_id = $2 AND state IN ('intended', 'uncertain')
           AND NOT EXISTS (SELECT 1 FROM answer
               WHERE answer.tenant_id = attempt.tenant_id AND answer.attempt_id = attempt.attempt_id)
           AND NOT EXISTS (SELECT 1 FROM attempt AS other
               WHERE other.tenant_id = attempt.tenant_id AND other.family_id = attempt.family_id
                 AND other.generation = attempt.generation AND other.attempt_id <> attempt.attempt_id
                 AND other.state <> 'not-presented')";
    Ok(record::write(at, "attempt", sql, params![Word(&tenant), Word(&id)]).await? == 1)
}

/// Keeps an answer by the attempt's id alone. It takes back no state that was reached with another answer.
pub(super) async fn answer(
    at: &Link,
    tenant: TenantId,
    attempt: AttemptId,
    answer: &(Wrapped, SealContext),
) -> Result<(), StoreError> {
    let sql = "WITH kept AS (INSERT INTO answer (tenant_id, attempt_id, chain_id, sealed)
         VALUES ($1, $2, coalesce($3, (SELECT chain_id FROM attempt WHERE tenant_id = $1 AND attempt_id = $2)), $4)
         ON CONFLICT (tenant_id, attempt_id) DO NOTHING)
         UPDATE attempt SET state = 'answered'
         WHERE tenant_id = $1 AND attempt_id = $2 AND state NOT IN ('committed', 'refused')";
    let chain = answer.1.chain.as_ref().map(Word);
    record::write(at, "answer", sql, params![Word(&tenant), Word(&attempt), chain, Doc(answer)]).await?;
    Ok(())
}

/// The answers that are kept of a chain.
pub(super) async fn answers(at: &Link, tenant: TenantId, chain: ChainId) -> Result<Answers, StoreError> {
    let sql =
        "SELECT attempt_id, sealed FROM answer WHERE tenant_id = $1 AND chain_id = $2 ORDER BY attempt_id";
    record::all(at, "answer", sql, params![Word(&tenant), Word(&chain)], |row| {
        Ok((row.word("attempt_id")?, row.doc("sealed")?))
    })
    .await
}

/// Moves the head. All that can be done before is done before; then comes the feed's counter row, then one statement that
/// reads what kills and removals wrote and moves the head where none did.
pub(super) async fn commit(at: &Link, claim: Claim, head: &NewHead) -> Result<Committed, StoreError> {
    if !begin_fitting(at, claim, head).await? {
        return refused(at, claim).await;
    }
    if move_with_all(at, claim, head).await? {
        return Ok(Committed::Moved);
    }
    at.undo.store(true, Ordering::SeqCst);
    refused(at, claim).await
}

async fn refused(at: &Link, claim: Claim) -> Result<Committed, StoreError> {
    let gone = living_connections(at, claim.tenant, claim.chain).await?.is_empty();
    Ok(if gone { Committed::Removed } else { Committed::Lost })
}

/// Takes the chain's row, and sees what the claim fits. The head moves by one, under a claim that fits, by an attempt that
/// presented the head it leaves; to an unused answer only if it is one of the same family and still unused.
async fn begin_fitting(at: &Link, claim: Claim, head: &NewHead) -> Result<bool, StoreError> {
    let sql = "SELECT 1 FROM family
         WHERE tenant_id = $1 AND family_id = $5 AND chain_id = $2 AND head + 1 = $6
           AND EXISTS (SELECT 1 FROM chain WHERE chain.tenant_id = family.tenant_id
               AND chain.chain_id = family.chain_id AND chain.family_id = family.family_id
               AND chain.fence = $3 AND chain.owner_id = $4 AND chain.state = 'refreshing')
           AND EXISTS (SELECT 1 FROM attempt WHERE attempt.tenant_id = family.tenant_id
               AND attempt.attempt_id = $7 AND attempt.family_id = family.family_id
               AND attempt.generation = family.head)
           AND ($8::text IS NULL OR EXISTS (SELECT 1 FROM attempt AS unused
               WHERE unused.tenant_id = family.tenant_id AND unused.attempt_id = $8
               AND unused.family_id = family.family_id AND unused.generation < family.head
               AND unused.state IN ('answered', 'uncertain')
               AND EXISTS (SELECT 1 FROM answer WHERE answer.tenant_id = unused.tenant_id
                   AND answer.attempt_id = unused.attempt_id)))";
    let adopts = head.adopts.map(|adopts| adopts.to_string());
    let chain: &[Value<'_>] = params![Word(&claim.tenant), Word(&claim.chain)];
    let fits: &[Value<'_>] = params![
        Word(&claim.tenant),
        Word(&claim.chain),
        number(claim.fence),
        Word(&claim.owner),
        Word(&head.generation.family),
        number(head.generation.number),
        Word(&head.attempt),
        adopts
    ];
    let found = record::begin_with(at, &[(TAKE.0, TAKE.1, chain), ("family", sql, fits)]).await?;
    Ok(found.last() == Some(&1))
}

/// Everything that goes with the head, in one flight; whether it moved.
async fn move_with_all(at: &Link, claim: Claim, head: &NewHead) -> Result<bool, StoreError> {
    let generation = &head.generation;
    let kept_from = number((generation.number + 1).saturating_sub(GENERATIONS_KEPT));
    let (tenant, family) = (Word(&generation.tenant), Word(&generation.family));
    let stored: &[Value<'_>] = generation_values!(generation);
    let closed: &[Value<'_>] =
        params![tenant, Word(&head.attempt), Word(head.adopts.as_ref().unwrap_or(&head.attempt))];
    let healthy: &[Value<'_>] = params![
        tenant,
        Word(&claim.chain),
        number(claim.fence),
        Word(&claim.owner),
        millis(generation.access_until),
        millis(head.due_at),
        head.refreshed_at.millis()
    ];
    let settled: &[Value<'_>] = params![tenant, Word(&claim.chain), head.refreshed_at.millis()];
    let dead: &[Value<'_>] = params![tenant, family, kept_from, head.refreshed_at.millis()];
    let read: &[Value<'_>] = params![tenant, Word(&claim.chain), family];
    let moved: &[Value<'_>] = params![tenant, Word(&claim.chain), family, number(generation.number)];
    let steps = [
        ("generation", GENERATION, stored),
        ("attempt", CLOSED, closed),
        ("chain", HEALTHY, healthy),
        (tickets::SETTLED_FOR_CHAIN.0, tickets::SETTLED_FOR_CHAIN.1, settled),
        ("generation", DEAD_GENERATIONS, dead),
        ("answer", READ_ANSWERS, read),
        (feed::GO_ON.0, feed::GO_ON.1, params![feed::MARKS_KEPT]),
        ("family", MOVED, moved),
    ];
    let found = record::together(at, &steps).await?;
    if found.iter().rev().nth(1) != Some(&1) {
        return Err(StoreError::Corrupt("feed_counter"));
    }
    Ok(found.last() == Some(&1))
}

/// The attempt whose answer becomes the head, and the one that was refused where that is another.
const CLOSED: &str = "UPDATE attempt SET state = CASE attempt_id WHEN $3 THEN 'committed' ELSE 'refused' END
     WHERE tenant_id = $1 AND attempt_id IN ($2, $3)";

const HEALTHY: &str = "UPDATE chain SET owner_id = NULL, state = 'healthy', access_until = $5, due_at = $6,
         refreshed_at = $7, failures = 0, reason = NULL, ticket_id = NULL
     WHERE tenant_id = $1 AND chain_id = $2 AND fence = $3 AND owner_id = $4";

/// What was consumed and is dead; see the head of this file.
const DEAD_GENERATIONS: &str = "DELETE FROM generation
     WHERE tenant_id = $1 AND family_id = $2 AND number < $3 AND access_until < $4";

/// By the answers that the chain still has, which are few, and not by its attempts, which are all that there ever were.
const READ_ANSWERS: &str = "DELETE FROM answer USING attempt
     WHERE answer.tenant_id = $1 AND answer.chain_id = $2 AND attempt.tenant_id = answer.tenant_id
       AND attempt.attempt_id = answer.attempt_id AND attempt.family_id = $3 AND attempt.state = 'committed'
       AND NOT EXISTS (SELECT 1 FROM generation WHERE generation.tenant_id = attempt.tenant_id
           AND generation.family_id = attempt.family_id AND generation.number = attempt.generation + 1)";

const MOVED: &str = "UPDATE family SET head = head + 1
     WHERE tenant_id = $1 AND family_id = $3 AND chain_id = $2 AND head + 1 = $4
       AND EXISTS (SELECT 1 FROM living_connection AS living WHERE living.tenant_id = family.tenant_id
           AND living.chain_id = family.chain_id)";

/// Leaves the chain without moving the head.
pub(super) async fn settle(at: &Link, claim: Claim, settlement: &Settlement) -> Result<bool, StoreError> {
    let sql = "UPDATE chain SET owner_id = NULL, state = $5, due_at = $6, failures = $7,
             failed_at = coalesce($8, failed_at), reason = $9
         WHERE tenant_id = $1 AND chain_id = $2 AND fence = $3 AND owner_id = $4 AND state = 'refreshing'";
    let values = params![
        Word(&claim.tenant),
        Word(&claim.chain),
        number(claim.fence),
        Word(&claim.owner),
        Word(&settlement.state),
        millis(settlement.due_at),
        i64::from(settlement.failures),
        millis(settlement.failed_at),
        settlement.reason
    ];
    if record::write(at, "chain", sql, values).await? == 0 {
        return Ok(false);
    }
    if let Some((attempt, _)) = settlement.attempt.filter(|_| settlement.unanswered) {
        // Whoever brings its answer goes before, and is seen here, or after, and is not overwritten.
        let sql = "SELECT state FROM attempt WHERE tenant_id = $1 AND attempt_id = $2 FOR UPDATE";
        let key = params![Word(&claim.tenant), Word(&attempt)];
        let stands = record::one(at, "attempt", sql, key, |row| row.word::<AttemptState>("state")).await?;
        if stands == Some(AttemptState::Answered) {
            at.undo.store(true, Ordering::SeqCst);
            return Ok(false);
        }
    }
    if let Some((attempt, state)) = settlement.attempt {
        let sql = "UPDATE attempt SET state = $4
             WHERE tenant_id = $1 AND chain_id = $2 AND attempt_id = $3 AND state <> 'committed'";
        let values = params![Word(&claim.tenant), Word(&claim.chain), Word(&attempt), Word(&state)];
        record::write(at, "attempt", sql, values).await?;
    }
    if let Some(ticket) = &settlement.ticket {
        tickets::raise_for_chain(at, claim.tenant, claim.chain, ticket).await?;
    }
    Ok(true)
}

/// Sets the timer to now where it is later. A healthy chain without a timer is one whose timer never comes.
pub(super) async fn hasten(
    at: &Link,
    tenant: TenantId,
    chain: ChainId,
    now: Timestamp,
) -> Result<(), StoreError> {
    let sql = "UPDATE chain SET due_at = $3
         WHERE tenant_id = $1 AND chain_id = $2
           AND (due_at > $3 OR (due_at IS NULL AND state = 'healthy'))
           AND state IN ('healthy', 'refreshing', 'backing-off')";
    record::write(at, "chain", sql, params![Word(&tenant), Word(&chain), now.millis()]).await?;
    Ok(())
}

/// Stores one generation.
pub(super) async fn put_generation(at: &Link, generation: &Generation) -> Result<(), StoreError> {
    record::write(at, "generation", GENERATION, generation_values!(generation)).await?;
    Ok(())
}

const GENERATION: &str =
    "INSERT INTO generation (tenant_id, family_id, number, refresh, access, access_until, refresh_until,
         attempt_id, created_at)
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
