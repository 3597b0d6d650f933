//! The keeper's part: everything that holds or makes a credential, and the rows that it vouches for.
//!
//! - [`claims`]: who holds a chain, and what it may write while it does;
//! - [`connect`]: flows, connections and their end;
//! - [`imports`]: refresh tokens that are brought in;
//! - [`kills`]: what is ended for good, and the tokens that are to be revoked for it;
//! - [`tickets`]: raised and settled with the state that needs them;
//! - [`vouched`]: enrolments and wakes.

mod claims;
mod connect;
mod healing;
mod imports;
mod kills;
mod standing;
mod tickets;
mod vouched;

use super::{
    SqliteStore, directory, feed,
    record::{self, Doc, Word},
};
use crate::rows;
use nightlatch_domain::{
    chain::{Attempt, Chain, ChainState, Client, Flow, FlowOutcome, FlowStep, Generation},
    clock::Timestamp,
    connection::{Connection, StaticSecret},
    grant::Grant,
    id::{
        AttemptId, CallId, ChainId, ClientId, ConnectionId, FamilyId, FlowId, GrantId, InstallationId,
        KeeperId, OwnerId, PrincipalId, RevocationId, TaskId, TenantId, TicketId, WakeId,
    },
    import::{Import, ImportProgress},
    ports::store::{
        Brought, ChainView, Claim, Committed, FeedMark, Healed, ImportEnd, ImportSeen, Installation,
        KeeperStore, Kill, Killed, NewConnection, NewHead, Recalled, Registered, Revocation, Seen,
        Settlement, Standing, StoreError, Stored, ToolRow, Whose,
    },
    principal::{Agent, Binding, Enrolment, EnrolmentCode},
    sealed::{SealContext, Wrapped},
    task::{Task, WakeNote},
    ticket::Ticket,
};
use rusqlite::{Connection as Database, params};

impl KeeperStore for SqliteStore {
    fn installation(&self, fresh: InstallationId) -> Stored<'_, Installation> {
        self.engine.write(move |at| installation(at, fresh))
    }

    fn standing(&self) -> Stored<'_, Standing> {
        self.engine.look_up(standing::standing)
    }

    fn register(&self, keeper: KeeperId, fresh: bool, alone: bool) -> Stored<'_, ()> {
        self.engine.write(move |at| standing::register(at, keeper, fresh, alone))
    }

    fn compared(&self, keeper: KeeperId, era: u64) -> Stored<'_, bool> {
        self.engine.write(move |at| standing::compared(at, keeper, era))
    }

    fn quarantine(&self, seen: (TenantId, ChainId, u64), reason: String, ticket: Ticket) -> Stored<'_, bool> {
        self.engine.write(move |at| standing::quarantine(at, seen, &reason, &ticket))
    }

    fn heal(&self, healed: Healed) -> Stored<'_, bool> {
        self.engine.write(move |at| healing::heal(at, &healed))
    }

    fn vouch(&self, keeper: KeeperId) -> Stored<'_, ()> {
        self.engine.write(move |at| standing::vouch(at, keeper))
    }

    fn release(
        &self,
        seen: (TenantId, ChainId, u64),
        reason: String,
        due_at: Timestamp,
        now: Timestamp,
    ) -> Stored<'_, bool> {
        self.engine.write(move |at| standing::release(at, seen, &reason, due_at, now))
    }

    fn forget(&self, seen: Registered, era: u64) -> Stored<'_, bool> {
        self.engine.write(move |at| standing::forget(at, seen, era))
    }

    fn raise_era(&self, from: u64) -> Stored<'_, bool> {
        self.engine.write(move |at| {
            let sql = "UPDATE installation SET era = era + 1 WHERE one = 1 AND era = ?1";
            let is_raised = record::write(at, "installation", sql, [record::number(from)])? == 1;
            if is_raised {
                feed::go_on(at)?;
            }
            Ok(is_raised)
        })
    }

    fn last_change(&self) -> Stored<'_, FeedMark> {
        self.engine.look_up(feed::last)
    }

    fn standing_and_recall(&self, mark: FeedMark) -> Stored<'_, (Standing, Recalled)> {
        self.engine.look_up(move |at| Ok((standing::standing(at)?, feed::recall(at, mark)?)))
    }

    fn clock(&self) -> Stored<'_, Option<Timestamp>> {
        Box::pin(std::future::ready(Ok(None)))
    }

    fn due(&self, now: Timestamp, limit: u32) -> Stored<'_, Vec<(TenantId, ChainId, Timestamp)>> {
        self.engine.read(move |at| claims::due(at, now, limit))
    }

    fn next_due(&self) -> Stored<'_, Option<Timestamp>> {
        self.engine.read(claims::next_due)
    }

    fn chains(&self, after: Option<(TenantId, ChainId)>, limit: u32) -> Stored<'_, Vec<(TenantId, ChainId)>> {
        self.engine.read(move |at| claims::chains(at, after, limit))
    }

    fn chain(&self, tenant: TenantId, chain: ChainId) -> Stored<'_, Option<ChainView>> {
        self.engine.look_up(move |at| claims::view(at, tenant, chain))
    }

    fn generations(&self, tenant: TenantId, chain: ChainId, limit: u32) -> Stored<'_, Vec<Generation>> {
        self.engine.read(move |at| claims::generations(at, tenant, chain, limit))
    }

    fn chain_of_account(
        &self,
        tenant: TenantId,
        issuer: String,
        client: ClientId,
        account: String,
    ) -> Stored<'_, Option<Chain>> {
        self.engine.read(move |at| {
            let sql = "SELECT * FROM chain
                 WHERE tenant_id = ?1 AND issuer = ?2 AND client_id = ?3 AND account = ?4";
            let key = params![Word(&tenant), issuer, Word(&client), account];
            record::one(at, "chain", sql, key, rows::chain)
        })
    }

    fn claim(
        &self,
        tenant: TenantId,
        chain: ChainId,
        seen: Seen,
        owner: OwnerId,
        from: Vec<ChainState>,
    ) -> Stored<'_, Option<Claim>> {
        self.engine.write(move |at| {
            let claim = Claim { tenant, chain, fence: seen.fence.saturating_add(1), owner };
            for state in from {
                if claims::claim(at, claim, seen, state)? {
                    return Ok(Some(claim));
                }
            }
            Ok(None)
        })
    }

    fn intend(&self, claim: Claim, attempt: Attempt) -> Stored<'_, bool> {
        self.engine.write(move |at| claims::intend(at, claim, &attempt))
    }

    fn intend_again(&self, claim: Claim, attempt: Attempt, of: AttemptId) -> Stored<'_, bool> {
        self.engine.write(move |at| claims::intend_again(at, claim, &attempt, of))
    }

    fn answer(&self, tenant: TenantId, attempt: AttemptId, answer: (Wrapped, SealContext)) -> Stored<'_, ()> {
        self.engine.write(move |at| claims::answer(at, tenant, attempt, &answer))
    }

    fn answers(
        &self,
        tenant: TenantId,
        chain: ChainId,
    ) -> Stored<'_, Vec<(AttemptId, (Wrapped, SealContext))>> {
        self.engine.read(move |at| claims::answers(at, tenant, chain))
    }

    fn commit(&self, claim: Claim, head: NewHead) -> Stored<'_, Committed> {
        self.engine.write(move |at| claims::commit(at, claim, &head))
    }

    fn settle(&self, claim: Claim, settlement: Settlement) -> Stored<'_, bool> {
        self.engine.write(move |at| claims::settle(at, claim, &settlement))
    }

    fn open_attempts(&self) -> Stored<'_, Vec<Attempt>> {
        self.engine.read(claims::open_attempts)
    }

    fn attempts(&self, tenant: TenantId, family: FamilyId, from: u64) -> Stored<'_, Vec<Attempt>> {
        self.engine.look_up(move |at| claims::attempts(at, tenant, family, from))
    }

    fn withdraw(&self, tenant: TenantId, attempt: AttemptId) -> Stored<'_, bool> {
        self.engine.write(move |at| claims::withdraw(at, tenant, attempt))
    }

    fn attempt(&self, tenant: TenantId, attempt: AttemptId) -> Stored<'_, Option<Attempt>> {
        self.engine.look_up(move |at| {
            let sql = "SELECT attempt.*, answer.sealed FROM attempt LEFT JOIN answer
                     ON answer.tenant_id = attempt.tenant_id AND answer.attempt_id = attempt.attempt_id
                 WHERE attempt.tenant_id = ?1 AND attempt.attempt_id = ?2";
            record::one(at, "attempt", sql, params![Word(&tenant), Word(&attempt)], rows::attempt)
        })
    }

    fn claimed(&self) -> Stored<'_, Vec<Chain>> {
        self.engine.read(|at| {
            let sql = "SELECT * FROM chain WHERE state = 'refreshing'";
            record::all(at, "chain", sql, [], rows::chain)
        })
    }

    fn hasten(&self, tenant: TenantId, chain: ChainId, now: Timestamp) -> Stored<'_, ()> {
        self.engine.write(move |at| claims::hasten(at, tenant, chain, now))
    }

    fn put_client(&self, client: Client) -> Stored<'_, ()> {
        self.engine.write(move |at| put_client(at, &client))
    }

    fn client(&self, tenant: TenantId, client: ClientId) -> Stored<'_, Option<Client>> {
        self.engine.look_up(move |at| {
            let sql = "SELECT * FROM client WHERE tenant_id = ?1 AND client_id = ?2";
            record::one(at, "client", sql, params![Word(&tenant), Word(&client)], rows::client)
        })
    }

    fn put_flow(&self, flow: Flow) -> Stored<'_, ()> {
        self.engine.write(move |at| connect::put_flow(at, &flow))
    }

    fn flow_by_state(&self, state_sha256: String) -> Stored<'_, Option<Flow>> {
        self.engine.read(move |at| {
            let sql = "SELECT * FROM flow WHERE state_sha256 = ?1";
            record::one(at, "flow", sql, params![state_sha256], rows::flow)
        })
    }

    fn advance_flow(
        &self,
        tenant: TenantId,
        flow: FlowId,
        from: FlowStep,
        to: FlowStep,
        answer: Option<(Wrapped, SealContext)>,
    ) -> Stored<'_, bool> {
        self.engine.write(move |at| {
            let sql = "UPDATE flow SET step = ?4, answer = coalesce(?5, answer)
                 WHERE tenant_id = ?1 AND flow_id = ?2 AND step = ?3";
            let values =
                params![Word(&tenant), Word(&flow), Word(&from), Word(&to), answer.as_ref().map(Doc)];
            Ok(record::write(at, "flow", sql, values)? == 1)
        })
    }

    fn end_flow(
        &self,
        tenant: TenantId,
        flow: FlowId,
        outcome: FlowOutcome,
        makes: Option<NewConnection>,
    ) -> Stored<'_, ()> {
        self.engine.write_and_shred(move |at| connect::end_flow(at, tenant, flow, &outcome, makes.as_ref()))
    }

    fn open_flows(&self) -> Stored<'_, Vec<Flow>> {
        self.engine.read(|at| {
            let sql =
                "SELECT * FROM flow WHERE step <> 'ended' AND answer IS NOT NULL ORDER BY created_at, flow_id";
            record::all(at, "flow", sql, [], rows::flow)
        })
    }

    fn has_read_flow(&self, tenant: TenantId, flow: FlowId) -> Stored<'_, bool> {
        self.engine.read(move |at| {
            let sql = "SELECT * FROM flow WHERE tenant_id = ?1 AND flow_id = ?2";
            if let Some(row) = record::one(at, "flow", sql, params![Word(&tenant), Word(&flow)], rows::flow)?
            {
                return Ok(row.is_read());
            }
            Ok(imports::one(at, tenant, flow)?.is_some_and(|import| import.is_read()))
        })
    }

    fn put_imports(&self, imports: Vec<Import>) -> Stored<'_, Vec<Brought>> {
        self.engine.write(move |at| imports::put(at, &imports))
    }

    fn import(&self, tenant: TenantId, import: FlowId) -> Stored<'_, Option<Import>> {
        self.engine.read(move |at| imports::one(at, tenant, import))
    }

    fn due_imports(&self, now: Timestamp, limit: u32) -> Stored<'_, Vec<Import>> {
        self.engine.read(move |at| imports::due(at, now, limit))
    }

    fn next_import(&self) -> Stored<'_, Option<Timestamp>> {
        self.engine.read(imports::next)
    }

    fn advance_import(
        &self,
        tenant: TenantId,
        import: FlowId,
        seen: ImportSeen,
        to: ImportProgress,
        answer: Option<(Wrapped, SealContext)>,
    ) -> Stored<'_, bool> {
        self.engine.write(move |at| imports::advance(at, tenant, import, seen, &to, answer.as_ref()))
    }

    fn end_import(
        &self,
        tenant: TenantId,
        import: FlowId,
        seen: ImportSeen,
        outcome: FlowOutcome,
        end: ImportEnd,
    ) -> Stored<'_, ()> {
        self.engine.write(move |at| imports::end(at, tenant, import, seen, (&outcome, &end)))
    }

    fn put_connection(&self, makes: NewConnection) -> Stored<'_, ()> {
        self.engine.write_and_shred(move |at| connect::put_connection(at, &makes))
    }

    fn connection(&self, tenant: TenantId, connection: ConnectionId) -> Stored<'_, Option<Connection>> {
        self.engine.look_up(move |at| {
            let sql = "SELECT * FROM living_connection WHERE tenant_id = ?1 AND connection_id = ?2";
            record::one(at, "connection", sql, params![Word(&tenant), Word(&connection)], rows::connection)
        })
    }

    fn static_secret(&self, tenant: TenantId, connection: ConnectionId) -> Stored<'_, Option<StaticSecret>> {
        self.engine.look_up(move |at| {
            let sql = "SELECT static_secret.* FROM static_secret JOIN living_connection AS living
                     ON living.tenant_id = static_secret.tenant_id
                        AND living.connection_id = static_secret.connection_id
                 WHERE static_secret.tenant_id = ?1 AND static_secret.connection_id = ?2
                 ORDER BY static_secret.generation DESC LIMIT 1";
            let key = params![Word(&tenant), Word(&connection)];
            record::one(at, "static_secret", sql, key, rows::static_secret)
        })
    }

    fn static_secrets(
        &self,
        tenant: TenantId,
        connection: ConnectionId,
        limit: u32,
    ) -> Stored<'_, Vec<StaticSecret>> {
        self.engine.read(move |at| {
            let sql = "SELECT static_secret.* FROM static_secret JOIN living_connection AS living
                     ON living.tenant_id = static_secret.tenant_id
                        AND living.connection_id = static_secret.connection_id
                 WHERE static_secret.tenant_id = ?1 AND static_secret.connection_id = ?2
                 ORDER BY static_secret.generation DESC LIMIT ?3";
            let key = params![Word(&tenant), Word(&connection), limit];
            record::all(at, "static_secret", sql, key, rows::static_secret)
        })
    }

    fn remove_connection(&self, tenant: TenantId, connection: ConnectionId, at: Timestamp) -> Stored<'_, ()> {
        self.engine.write_and_shred(move |database| connect::remove(database, tenant, connection, at))
    }

    fn kill(&self, kill: Kill, at: Timestamp) -> Stored<'_, u64> {
        self.engine.write(move |database| kills::put(database, kill, at))
    }

    fn kills(&self, after: u64, limit: u32) -> Stored<'_, Vec<Killed>> {
        self.engine.read(move |at| kills::after(at, after, limit))
    }

    fn clear_killed(&self, now: Timestamp, limit: u32) -> Stored<'_, u32> {
        Box::pin(async move {
            // To look through everything takes a while, and mostly finds nothing: no writer waits for that.
            if !self.engine.read(kills::is_left).await? {
                return Ok(0);
            }
            self.engine.write_and_shred(move |at| kills::clear(at, now, limit)).await
        })
    }

    fn put_revocation(&self, revocation: Revocation) -> Stored<'_, ()> {
        self.engine.write(move |at| kills::put_revocation(at, &revocation))
    }

    fn revocations(&self, now: Timestamp, limit: u32) -> Stored<'_, Vec<Revocation>> {
        self.engine.read(move |at| kills::revocations(at, now, limit))
    }

    fn postpone_revocation(
        &self,
        tenant: TenantId,
        revocation: RevocationId,
        tries: u32,
        not_before: Timestamp,
    ) -> Stored<'_, bool> {
        self.engine.write(move |at| kills::postpone(at, tenant, revocation, tries, not_before))
    }

    fn may_be_lived_on(&self, whose: Whose, now: Timestamp) -> Stored<'_, bool> {
        self.engine.read(move |at| kills::may_be_lived_on(at, whose, now))
    }

    fn confirm_revocation(&self, tenant: TenantId, revocation: RevocationId) -> Stored<'_, ()> {
        self.engine.write_and_shred(move |at| kills::confirm(at, tenant, revocation))
    }

    fn spend_mandate(
        &self,
        tenant: TenantId,
        call: CallId,
        not_after: Timestamp,
        forget_before: Timestamp,
    ) -> Stored<'_, bool> {
        self.engine.write(move |at| {
            let forgotten = "DELETE FROM mandate_spent WHERE not_after < ?1";
            record::write(at, "mandate_spent", forgotten, [forget_before.millis()])?;
            let sql = "INSERT INTO mandate_spent (tenant_id, call_id, not_after) VALUES (?1, ?2, ?3)
                 ON CONFLICT (tenant_id, call_id) DO NOTHING";
            let values = params![Word(&tenant), Word(&call), not_after.millis()];
            Ok(record::write(at, "mandate_spent", sql, values)? == 1)
        })
    }

    fn raise(&self, ticket: Ticket) -> Stored<'_, TicketId> {
        self.engine.write(move |at| tickets::raise(at, &ticket))
    }

    fn agent(&self, tenant: TenantId, agent: PrincipalId) -> Stored<'_, Option<Agent>> {
        self.engine.look_up(move |at| {
            let sql = "SELECT * FROM agent WHERE tenant_id = ?1 AND agent_id = ?2";
            record::one(at, "agent", sql, params![Word(&tenant), Word(&agent)], rows::agent)
        })
    }

    fn task(&self, tenant: TenantId, task: TaskId) -> Stored<'_, Option<Task>> {
        self.engine.look_up(move |at| {
            let sql = "SELECT * FROM task WHERE tenant_id = ?1 AND task_id = ?2";
            record::one(at, "task", sql, params![Word(&tenant), Word(&task)], rows::task)
        })
    }

    fn grant(&self, tenant: TenantId, grant: GrantId) -> Stored<'_, Option<Grant>> {
        self.engine.look_up(move |at| {
            let sql = "SELECT * FROM task_grant WHERE tenant_id = ?1 AND grant_id = ?2";
            record::one(at, "task_grant", sql, params![Word(&tenant), Word(&grant)], rows::grant)
        })
    }

    fn tools(&self, tenant: TenantId) -> Stored<'_, Vec<ToolRow>> {
        self.engine.read(move |at| directory::tools(at, tenant))
    }

    fn enrolment(&self, binding: Binding) -> Stored<'_, Option<Enrolment>> {
        self.engine.read(move |at| {
            let (kind, value) = rows::binding_columns(&binding);
            let sql = "SELECT * FROM enrolment WHERE binding_kind = ?1 AND binding_value = ?2";
            record::one(at, "enrolment", sql, params![kind, value], rows::enrolment)
        })
    }

    fn enrolment_code(&self, code_sha256: String) -> Stored<'_, Option<EnrolmentCode>> {
        self.engine.read(move |at| {
            let sql = "SELECT * FROM enrolment_code WHERE code_sha256 = ?1 AND used_at IS NULL";
            record::one(at, "enrolment_code", sql, params![code_sha256], rows::enrolment_code)
        })
    }

    fn enrol(&self, code_sha256: String, enrolment: Enrolment) -> Stored<'_, bool> {
        self.engine.write(move |at| vouched::enrol(at, &code_sha256, &enrolment))
    }

    fn put_wake(&self, wake: WakeNote) -> Stored<'_, ()> {
        self.engine.write(move |at| vouched::put_wake(at, &wake))
    }

    fn end_wake(&self, tenant: TenantId, wake: WakeId, at: Timestamp) -> Stored<'_, ()> {
        self.engine.write(move |database| {
            let sql = "UPDATE wake SET ended_at = ?3
                 WHERE tenant_id = ?1 AND wake_id = ?2 AND ended_at IS NULL";
            record::write(database, "wake", sql, params![Word(&tenant), Word(&wake), at.millis()])?;
            Ok(())
        })
    }

    fn end_all_wakes(&self, at: Timestamp) -> Stored<'_, ()> {
        self.engine.write(move |database| {
            let sql = "UPDATE wake SET ended_at = ?1 WHERE ended_at IS NULL AND ends_at > ?1";
            record::write(database, "wake", sql, params![at.millis()])?;
            Ok(())
        })
    }

    fn prune_wakes(&self, tenant: TenantId, task: TaskId, keep: u32, before: Timestamp) -> Stored<'_, ()> {
        self.engine.write(move |at| vouched::prune_wakes(at, tenant, task, keep, before))
    }

    fn heads(&self) -> Stored<'_, Vec<(TenantId, FamilyId, u64)>> {
        self.engine.read(|at| {
            record::all(at, "family", "SELECT * FROM family", [], |row| {
                rows::family(row).map(|family| (family.tenant, family.id, family.head))
            })
        })
    }
}

fn installation(at: &Database, fresh: InstallationId) -> Result<Installation, StoreError> {
    let sql =
        "INSERT INTO installation (one, installation_id, era) VALUES (1, ?1, 1) ON CONFLICT (one) DO NOTHING";
    record::write(at, "installation", sql, params![Word(&fresh)])?;
    record::one(at, "installation", "SELECT * FROM installation WHERE one = 1", [], |row| {
        Ok(Installation { id: row.word("installation_id")?, era: row.count("era")? })
    })?
    .ok_or(StoreError::Corrupt("installation"))
}

fn put_client(at: &Database, client: &Client) -> Result<(), StoreError> {
    record::write(
        at,
        "client",
        "INSERT INTO client (tenant_id, client_id, provider, issuer, registered_id, auth, secret, created_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
         ON CONFLICT (tenant_id, client_id) DO UPDATE SET provider = excluded.provider, issuer = excluded.issuer,
             registered_id = excluded.registered_id, auth = excluded.auth, secret = excluded.secret,
             created_at = excluded.created_at",
        params![
            Word(&client.tenant),
            Word(&client.id),
            Word(&client.provider),
            client.issuer,
            client.client_id,
            Word(&client.auth),
            client.secret.as_ref().map(Doc),
            client.created_at.millis()
        ],
    )?;
    Ok(())
}
