//! Heads that the database lost.

use super::{
    super::{
        feed,
        record::{self, Word, millis, number},
    },
    claims, tickets,
};
use nightlatch_domain::ports::store::{Healed, StoreError};
use rusqlite::{Connection as Database, params};

pub(super) fn heal(at: &Database, healed: &Healed) -> Result<bool, StoreError> {
    let Healed { fence, attempt, generation, due_at, refreshed_at } = healed;
    if claims::living_connections(at, attempt.tenant, attempt.chain)?.is_empty() {
        return Ok(false);
    }
    let sql = "UPDATE chain SET fence = fence + 1, owner_id = NULL, state = 'healthy', access_until = ?6, due_at = ?7,
             refreshed_at = ?8, failures = 0, reason = NULL, ticket_id = NULL
         WHERE tenant_id = ?1 AND chain_id = ?2 AND fence = ?3 AND family_id = ?4
           AND EXISTS (SELECT 1 FROM installation WHERE era = ?5)
           AND EXISTS (SELECT 1 FROM family WHERE family.tenant_id = chain.tenant_id
               AND family.family_id = chain.family_id AND family.head < ?9)";
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
    if record::write(at, "chain", sql, values)? == 0 {
        return Ok(false);
    }
    feed::go_on(at)?;
    let sql = "INSERT INTO attempt
             (tenant_id, attempt_id, chain_id, family_id, generation, fence, owner_id, era, state, intended_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 'committed', ?9)
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
    record::write(at, "attempt", sql, values)?;
    claims::put_generation(at, generation)?;
    tickets::settle_for_chain(at, attempt.tenant, attempt.chain, *refreshed_at)?;
    let sql = "UPDATE family SET head = ?3 WHERE tenant_id = ?1 AND family_id = ?2";
    let values = params![Word(&attempt.tenant), Word(&attempt.family), number(generation.number)];
    Ok(record::write(at, "family", sql, values)? == 1)
}
