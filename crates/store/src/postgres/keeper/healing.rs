//! Heads that the database lost.

use super::{
    super::{
        feed,
        link::Link,
        record::{self, Word, millis, number, params},
    },
    claims, tickets,
};
use nightlatch_domain::ports::store::{Healed, StoreError};
use std::sync::atomic::Ordering;

/// All that can be done before the counter row is done before; then comes the statement that reads what kills wrote.
pub(super) async fn heal(at: &Link, healed: &Healed) -> Result<bool, StoreError> {
    let Healed { fence, attempt, generation, due_at, refreshed_at } = healed;
    claims::take(at, attempt.tenant, attempt.chain).await?;
    let sql = "UPDATE chain SET fence = fence + 1, owner_id = NULL, state = 'healthy', access_until = $6, due_at = $7,
             refreshed_at = $8, failures = 0, reason = NULL, ticket_id = NULL
         WHERE tenant_id = $1 AND chain_id = $2 AND fence = $3 AND family_id = $4
           AND EXISTS (SELECT 1 FROM era_in_force WHERE era = $5)
           AND EXISTS (SELECT 1 FROM family WHERE family.tenant_id = chain.tenant_id
               AND family.family_id = chain.family_id AND family.head < $9)";
    let values = params![
        Word(&attempt.tenant),
        Word(&attempt.chain),
        number(*fence),
        Word(&attempt.family),
        number(attempt.era),
        millis(generation.access_until),
        millis(*due_at),
        refreshed_at.millis(),
        number(generation.number)
    ];
    if record::write(at, "chain", sql, values).await? == 0 {
        return Ok(false);
    }
    let sql = "INSERT INTO attempt
             (tenant_id, attempt_id, chain_id, family_id, generation, fence, owner_id, era, state, intended_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 'committed', $9)
         ON CONFLICT (tenant_id, attempt_id) DO UPDATE SET state = 'committed'";
    let values = params![
        Word(&attempt.tenant),
        Word(&attempt.id),
        Word(&attempt.chain),
        Word(&attempt.family),
        number(attempt.generation),
        number(attempt.fence),
        Word(&attempt.owner),
        number(attempt.era),
        attempt.intended_at.millis()
    ];
    record::write(at, "attempt", sql, values).await?;
    claims::put_generation(at, generation).await?;
    tickets::settle_for_chain(at, attempt.tenant, attempt.chain, *refreshed_at).await?;
    feed::go_on(at).await?;
    let sql = "UPDATE family SET head = $4
         WHERE tenant_id = $1 AND family_id = $3 AND chain_id = $2 AND head < $4
           AND EXISTS (SELECT 1 FROM era_in_force WHERE era = $5)
           AND EXISTS (SELECT 1 FROM living_connection AS living WHERE living.tenant_id = family.tenant_id
               AND living.chain_id = family.chain_id)";
    let values = params![
        Word(&attempt.tenant),
        Word(&attempt.chain),
        Word(&attempt.family),
        number(generation.number),
        number(attempt.era)
    ];
    let moved = record::write(at, "family", sql, values).await? == 1;
    at.undo.store(!moved, Ordering::SeqCst);
    Ok(moved)
}
