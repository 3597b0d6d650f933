//! Kills, and what becomes of the tokens that they end.
//!
//! A kill is one row under the feed's counter row, whatever its width: whoever takes that row first is first, and a commit
//! reads the kills after it has taken it. What a kill ends is found by `living_connection`. Its secrets are taken
//! afterwards, at leisure: what names a revocation endpoint in its seal becomes a revocation, the rest is deleted.

use super::{
    super::{
        feed,
        record::{self, Doc, Word, number},
    },
    connect, imports,
};
use crate::rows;
use nightlatch_domain::{
    chain::{AttemptState, Generation},
    clock::Timestamp,
    id::{ChainId, ConnectionId, RevocationId, TenantId},
    ports::store::{EntityId, Kill, Killed, REDEEMED_WITHIN, Revocation, StoreError, Whose},
    sealed::{SealContext, Wrapped},
};
use rusqlite::{Connection as Database, params};
use std::sync::atomic::AtomicBool;

/// That a revocation cannot be read.
static SAID: AtomicBool = AtomicBool::new(false);

/// Writes a kill; answers its number.
pub(super) fn put(at: &Database, kill: Kill, now: Timestamp) -> Result<u64, StoreError> {
    let moved = match kill {
        Kill::Connection { tenant, connection } => feed::note(at, tenant, EntityId::Connection(connection)),
        Kill::Chain { tenant, .. } | Kill::Client { tenant, .. } | Kill::Tenant { tenant } => {
            feed::note(at, tenant, EntityId::Everything)
        }
        // A change belongs to a tenant: this one to none that can be.
        Kill::Installation => {
            feed::note(at, TenantId::new(Timestamp::from_millis(0), [0; 10]), EntityId::Everything)
        }
    }?;
    let (scope, tenant, target) = rows::kill_columns(kill);
    let sql = "INSERT INTO kill (scope, tenant_id, target_id, number, killed_at) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (scope, tenant_id, target_id)
         DO UPDATE SET number = excluded.number, killed_at = excluded.killed_at";
    record::write(at, "kill", sql, params![scope, tenant, target, number(moved), now.millis()])?;
    Ok(moved)
}

/// The kills after a number, in order.
pub(super) fn after(at: &Database, moved: u64, limit: u32) -> Result<Vec<Killed>, StoreError> {
    let sql = "SELECT * FROM kill WHERE number > ?1 ORDER BY number LIMIT ?2";
    record::all(at, "kill", sql, params![number(moved), limit], rows::kill)
}

// Chains that nobody lives on any more, and of which there still are secrets.
const CHAINS_LEFT: &str = "SELECT tenant_id, chain_id FROM chain
         WHERE NOT EXISTS (SELECT 1 FROM living_connection AS living
             WHERE living.tenant_id = chain.tenant_id AND living.chain_id = chain.chain_id)
           AND (EXISTS (SELECT 1 FROM generation JOIN family ON family.tenant_id = generation.tenant_id
                   AND family.family_id = generation.family_id
               WHERE family.tenant_id = chain.tenant_id AND family.chain_id = chain.chain_id)
             OR EXISTS (SELECT 1 FROM answer
               WHERE answer.tenant_id = chain.tenant_id AND answer.chain_id = chain.chain_id))
         ORDER BY tenant_id, chain_id LIMIT ?1";
const CONNECTIONS_LEFT: &str = "SELECT tenant_id, connection_id FROM connection
         WHERE removed_at IS NULL AND NOT EXISTS (SELECT 1 FROM living_connection AS living
             WHERE living.tenant_id = connection.tenant_id AND living.connection_id = connection.connection_id)
         ORDER BY tenant_id, connection_id LIMIT ?1";

/// Whether there is anything for [`clear`] to take.
pub(super) fn is_left(at: &Database) -> Result<bool, StoreError> {
    let any = |table, sql| Ok(record::one(at, table, sql, [1], |_| Ok(()))?.is_some());
    Ok(any("chain", CHAINS_LEFT)? || any("connection", CONNECTIONS_LEFT)? || any("import", imports::LEFT)?)
}

/// Takes the secrets of chains, connections and imports that kills ended, and marks those connections removed; and answers
/// that came to a chain that nobody lives on any more.
pub(super) fn clear(at: &Database, now: Timestamp, limit: u32) -> Result<u32, StoreError> {
    let chains: Vec<(TenantId, ChainId)> = record::all(at, "chain", CHAINS_LEFT, [limit], |row| {
        Ok((row.word("tenant_id")?, row.word("chain_id")?))
    })?;
    for (tenant, chain) in &chains {
        connect::retire_if_last(at, *tenant, *chain, now)?;
    }
    let connections: Vec<(TenantId, ConnectionId)> =
        record::all(at, "connection", CONNECTIONS_LEFT, [limit], |row| {
            Ok((row.word("tenant_id")?, row.word("connection_id")?))
        })?;
    for (tenant, connection) in &connections {
        connect::end(at, *tenant, *connection, now)?;
    }
    let imports = imports::clear(at, now, limit)?;
    Ok(u32::try_from(chains.len() + connections.len() + imports).unwrap_or(u32::MAX))
}

/// Takes every secret of a chain: the refresh tokens at the heads of its families, access tokens that are not past their
/// end, and answers that nobody made a generation of. A row that cannot be read goes with the others: it keeps nothing
/// alive that is to end.
pub(super) fn take_chain(
    at: &Database,
    tenant: TenantId,
    chain: ChainId,
    now: Timestamp,
) -> Result<(), StoreError> {
    for secret in living_tokens(at, tenant, chain, now)? {
        take(at, tenant, Some(chain), secret, now)?;
    }
    let key = || params_of(tenant, chain);
    let sql = "DELETE FROM generation WHERE tenant_id = ?1 AND family_id IN
             (SELECT family_id FROM family WHERE tenant_id = ?1 AND chain_id = ?2)";
    record::write(at, "generation", sql, key())?;
    record::write(at, "answer", "DELETE FROM answer WHERE tenant_id = ?1 AND chain_id = ?2", key())?;
    Ok(())
}

fn params_of(tenant: TenantId, chain: ChainId) -> [String; 2] {
    [tenant.to_string(), chain.to_string()]
}

fn living_tokens(
    at: &Database,
    tenant: TenantId,
    chain: ChainId,
    now: Timestamp,
) -> Result<Vec<(Wrapped, SealContext)>, StoreError> {
    let sql = "SELECT generation.*, family.head FROM generation JOIN family
             ON family.tenant_id = generation.tenant_id AND family.family_id = generation.family_id
         WHERE family.tenant_id = ?1 AND family.chain_id = ?2";
    let generations = record::readable(at, "generation", (sql, u32::MAX), params_of(tenant, chain), |row| {
        Ok((rows::generation(row)?, row.count("head")?))
    })?;
    let mut living = Vec::new();
    for (Generation { number, refresh, access, access_until, .. }, head) in generations {
        living.extend(refresh.filter(|_| number == head));
        living.extend(Some(access).filter(|_| access_until.is_none_or(|until| until > now)));
    }
    let sql = "SELECT answer.sealed, attempt.state FROM answer LEFT JOIN attempt
             ON attempt.tenant_id = answer.tenant_id AND attempt.attempt_id = answer.attempt_id
         WHERE answer.tenant_id = ?1 AND answer.chain_id = ?2";
    let answers = record::readable(at, "answer", (sql, u32::MAX), params_of(tenant, chain), |row| {
        Ok((row.doc("sealed")?, row.word_or_none("state")?))
    })?;
    let read = [AttemptState::Committed, AttemptState::Refused];
    living.extend(answers.into_iter().filter_map(|(secret, state): (_, Option<AttemptState>)| {
        state.is_none_or(|state| !read.contains(&state)).then_some(secret)
    }));
    Ok(living)
}

/// Takes the answers of flows that were to reconnect a connection and failed: they may hold living tokens.
pub(super) fn take_flow_answers(
    at: &Database,
    tenant: TenantId,
    connection: ConnectionId,
    now: Timestamp,
) -> Result<(), StoreError> {
    let sql = "SELECT answer FROM flow
         WHERE tenant_id = ?1 AND reconnect_id = ?2 AND step = 'ended' AND answer IS NOT NULL";
    let key = || [tenant.to_string(), connection.to_string()];
    for answer in record::readable(at, "flow", (sql, u32::MAX), key(), |row| row.doc("answer"))? {
        take(at, tenant, None, answer, now)?;
    }
    let sql = "UPDATE flow SET answer = NULL
         WHERE tenant_id = ?1 AND reconnect_id = ?2 AND step = 'ended' AND answer IS NOT NULL";
    record::write(at, "flow", sql, key())?;
    Ok(())
}

/// Keeps what can be revoked. What no endpoint is named for can only end by itself.
pub(super) fn take(
    at: &Database,
    tenant: TenantId,
    chain: Option<ChainId>,
    secret: (Wrapped, SealContext),
    now: Timestamp,
) -> Result<(), StoreError> {
    if secret.1.revocation_endpoint.is_none() {
        return Ok(());
    }
    let id = fresh_id(at, now)?;
    put_revocation(at, &Revocation { tenant, id, chain, secret, tries: 0, not_before: now })
}

fn fresh_id(at: &Database, now: Timestamp) -> Result<RevocationId, StoreError> {
    let random =
        record::one(at, "revocation", "SELECT randomblob(10) AS random", [], |row| row.bytes("random"))?;
    Ok(RevocationId::new(now, random.ok_or(StoreError::Corrupt("revocation"))?))
}

/// Keeps a revocation; the same twice is one.
pub(super) fn put_revocation(at: &Database, revocation: &Revocation) -> Result<(), StoreError> {
    let sql = "INSERT INTO revocation (tenant_id, revocation_id, chain_id, sealed, tries, not_before)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (tenant_id, revocation_id) DO NOTHING";
    let values = params![
        Word(&revocation.tenant),
        Word(&revocation.id),
        revocation.chain.as_ref().map(Word),
        Doc(&revocation.secret),
        revocation.tries,
        revocation.not_before.millis()
    ];
    record::write(at, "revocation", sql, values)?;
    Ok(())
}

/// The revocations that may be tried by now. One that cannot be read keeps no other waiting.
pub(super) fn revocations(at: &Database, now: Timestamp, limit: u32) -> Result<Vec<Revocation>, StoreError> {
    let sql = "SELECT * FROM revocation WHERE not_before <= ?1 ORDER BY not_before, revocation_id";
    record::readable(at, "revocation", (sql, limit), [now.millis()], |row| {
        record::or_say_once(rows::revocation(row), "revocation", &SAID)
    })
}

/// Notes a try, if it is the next one.
pub(super) fn postpone(
    at: &Database,
    tenant: TenantId,
    revocation: RevocationId,
    tries: u32,
    not_before: Timestamp,
) -> Result<bool, StoreError> {
    let sql = "UPDATE revocation SET tries = ?3, not_before = ?4
         WHERE tenant_id = ?1 AND revocation_id = ?2 AND tries = ?3 - 1";
    let values = params![Word(&tenant), Word(&revocation), tries, not_before.millis()];
    Ok(record::write(at, "revocation", sql, values)? == 1)
}

/// Whether somebody may live on what the revocation of such a token ends. A chain without an account is called by its first
/// family, and that account may be any; of two tools neither's names say anything about the other's.
pub(super) fn may_be_lived_on(at: &Database, whose: Whose, now: Timestamp) -> Result<bool, StoreError> {
    let Whose { tenant, client, chain, connection, family } = whose;
    let (chain, family) = (chain.as_ref().map(Word), family.as_ref().map(Word));
    let (connection, redeeming) = (connection.as_ref().map(Word), now.minus(REDEEMED_WITHIN));
    let key =
        params![Word(&tenant), Word(&client), chain, family, connection, now.millis(), redeeming.millis()];
    Ok(record::one(at, "chain", LIVED_ON, key, |_| Ok(()))?.is_some())
}

const LIVED_ON: &str = "
    WITH own AS (SELECT registered_id FROM client WHERE tenant_id = ?1 AND client_id = ?2),
         beside AS (SELECT client.tenant_id, client.client_id FROM client JOIN own
             ON client.registered_id = own.registered_id),
         known AS (SELECT chain.account, connection.tool FROM chain JOIN connection
             ON connection.tenant_id = chain.tenant_id AND connection.connection_id = ?5
             WHERE chain.tenant_id = ?1 AND chain.chain_id = ?3 AND substr(chain.account, 1, 4) <> 'fam_')
    SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM own)
        OR ?4 IS NOT NULL AND NOT EXISTS (SELECT 1 FROM family
            WHERE tenant_id = ?1 AND family_id = ?4 AND chain_id = ?3)
        OR EXISTS (SELECT 1 FROM flow JOIN beside ON beside.tenant_id = flow.tenant_id
                AND beside.client_id = flow.client_id
            WHERE flow.step = 'begun' AND flow.expires_at > ?6
                OR flow.step = 'redeeming' AND (flow.expires_at > ?7 OR flow.answer IS NOT NULL)
                OR flow.step = 'answered')
        OR EXISTS (SELECT 1 FROM living_import AS import JOIN beside ON beside.tenant_id = import.tenant_id
                AND beside.client_id = import.client_id
            WHERE import.step <> 'ended')
        OR EXISTS (SELECT 1 FROM beside JOIN chain ON chain.tenant_id = beside.tenant_id
                AND chain.client_id = beside.client_id
            JOIN living_connection AS living ON living.tenant_id = chain.tenant_id
                AND living.chain_id = chain.chain_id
            WHERE substr(chain.account, 1, 4) = 'fam_' OR NOT EXISTS (SELECT 1 FROM known
                WHERE known.tool = living.tool AND known.account <> chain.account))";

/// Deletes what is confirmed to be revoked, or given up.
pub(super) fn confirm(at: &Database, tenant: TenantId, revocation: RevocationId) -> Result<(), StoreError> {
    let sql = "DELETE FROM revocation WHERE tenant_id = ?1 AND revocation_id = ?2";
    record::write(at, "revocation", sql, params![Word(&tenant), Word(&revocation)])?;
    Ok(())
}
