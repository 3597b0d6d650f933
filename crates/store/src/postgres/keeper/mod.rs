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

use super::link::Link;
use super::{
    PostgresStore, directory, feed,
    record::{self, Doc, Word, params},
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

impl KeeperStore for PostgresStore {
    fn installation(&self, fresh: InstallationId) -> Stored<'_, Installation> {
        self.write(fresh, |at, fresh| Box::pin(installation(at, *fresh)))
    }

    fn standing(&self) -> Stored<'_, Standing> {
        self.read((), |at, ()| Box::pin(standing::standing(at)))
    }

    fn register(&self, keeper: KeeperId, fresh: bool, alone: bool) -> Stored<'_, ()> {
        self.write((keeper, fresh, alone), |at, (keeper, fresh, alone)| {
            Box::pin(standing::register(at, *keeper, *fresh, *alone))
        })
    }

    fn compared(&self, keeper: KeeperId, era: u64) -> Stored<'_, bool> {
        self.write((keeper, era), |at, (keeper, era)| Box::pin(standing::compared(at, *keeper, *era)))
    }

    fn quarantine(&self, seen: (TenantId, ChainId, u64), reason: String, ticket: Ticket) -> Stored<'_, bool> {
        self.write((seen, reason, ticket), |at, (seen, reason, ticket)| {
            Box::pin(standing::quarantine(at, *seen, reason, ticket))
        })
    }

    fn heal(&self, healed: Healed) -> Stored<'_, bool> {
        self.write(healed, |at, healed| Box::pin(healing::heal(at, healed)))
    }

    fn vouch(&self, keeper: KeeperId) -> Stored<'_, ()> {
        self.write(keeper, |at, keeper| Box::pin(standing::vouch(at, *keeper)))
    }

    fn release(
        &self,
        seen: (TenantId, ChainId, u64),
        reason: String,
        due_at: Timestamp,
        now: Timestamp,
    ) -> Stored<'_, bool> {
        self.write((seen, reason, due_at, now), |at, (seen, reason, due_at, now)| {
            Box::pin(standing::release(at, *seen, reason, *due_at, *now))
        })
    }

    fn forget(&self, seen: Registered, era: u64) -> Stored<'_, bool> {
        self.write((seen, era), |at, (seen, era)| Box::pin(standing::forget(at, *seen, *era)))
    }

    fn raise_era(&self, from: u64) -> Stored<'_, bool> {
        self.write(from, |at, from| {
            Box::pin(async move {
                let from = *from;
                let sql = "UPDATE installation SET era = era + 1, incarnation = incarnation()
                     WHERE one = 1 AND era = $1";
                if record::write(at, "installation", sql, params![record::number(from)]).await? == 0 {
                    return Ok(false);
                }
                feed::go_on(at).await?;
                Ok(true)
            })
        })
    }

    fn last_change(&self) -> Stored<'_, FeedMark> {
        self.read((), |at, ()| Box::pin(async move { feed::last(at).await }))
    }

    fn standing_and_recall(&self, mark: FeedMark) -> Stored<'_, (Standing, Recalled)> {
        self.read(mark, |at, mark| Box::pin(standing::standing_and_recall(at, *mark)))
    }

    fn due(&self, now: Timestamp, limit: u32) -> Stored<'_, Vec<(TenantId, ChainId, Timestamp)>> {
        self.read((now, limit), |at, (now, limit)| Box::pin(claims::due(at, *now, *limit)))
    }

    fn next_due(&self) -> Stored<'_, Option<Timestamp>> {
        self.read((), |at, ()| Box::pin(async move { claims::next_due(at).await }))
    }

    fn chains(&self, after: Option<(TenantId, ChainId)>, limit: u32) -> Stored<'_, Vec<(TenantId, ChainId)>> {
        self.read((after, limit), |at, (after, limit)| Box::pin(claims::chains(at, *after, *limit)))
    }

    fn chain(&self, tenant: TenantId, chain: ChainId) -> Stored<'_, Option<ChainView>> {
        self.read((tenant, chain), |at, (tenant, chain)| Box::pin(claims::view(at, *tenant, *chain)))
    }

    fn generations(&self, tenant: TenantId, chain: ChainId, limit: u32) -> Stored<'_, Vec<Generation>> {
        self.read((tenant, chain, limit), |at, (tenant, chain, limit)| {
            Box::pin(claims::generations(at, *tenant, *chain, *limit))
        })
    }

    fn chain_of_account(
        &self,
        tenant: TenantId,
        issuer: String,
        client: ClientId,
        account: String,
    ) -> Stored<'_, Option<Chain>> {
        self.read((tenant, issuer, client, account), |at, (tenant, issuer, client, account)| {
            Box::pin(async move {
                let (tenant, client) = (*tenant, *client);
                let sql = "SELECT * FROM chain
                 WHERE tenant_id = $1 AND issuer = $2 AND client_id = $3 AND account = $4";
                let key = params![Word(&tenant), issuer, Word(&client), account];
                record::one(at, "chain", sql, key, rows::chain).await
            })
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
        self.alone((tenant, chain, seen, owner, from), |at, (tenant, chain, seen, owner, from)| {
            Box::pin(async move {
                let (tenant, chain, seen, owner) = (*tenant, *chain, *seen, *owner);
                let claim = Claim { tenant, chain, fence: seen.fence.saturating_add(1), owner };
                Ok(claims::claim(at, claim, seen, from).await?.then_some(claim))
            })
        })
    }

    fn intend(&self, claim: Claim, attempt: Attempt) -> Stored<'_, bool> {
        self.begun((claim, attempt), |at, (claim, attempt)| Box::pin(claims::intend(at, *claim, attempt)))
    }

    fn intend_again(&self, claim: Claim, attempt: Attempt, of: AttemptId) -> Stored<'_, bool> {
        self.begun((claim, attempt, of), |at, (claim, attempt, of)| {
            Box::pin(claims::intend_again(at, *claim, attempt, *of))
        })
    }

    fn answer(&self, tenant: TenantId, attempt: AttemptId, answer: (Wrapped, SealContext)) -> Stored<'_, ()> {
        self.alone((tenant, attempt, answer), |at, (tenant, attempt, answer)| {
            Box::pin(claims::answer(at, *tenant, *attempt, answer))
        })
    }

    fn answers(
        &self,
        tenant: TenantId,
        chain: ChainId,
    ) -> Stored<'_, Vec<(AttemptId, (Wrapped, SealContext))>> {
        self.read((tenant, chain), |at, (tenant, chain)| Box::pin(claims::answers(at, *tenant, *chain)))
    }

    fn commit(&self, claim: Claim, head: NewHead) -> Stored<'_, Committed> {
        self.begun((claim, head), |at, (claim, head)| Box::pin(claims::commit(at, *claim, head)))
    }

    fn settle(&self, claim: Claim, settlement: Settlement) -> Stored<'_, bool> {
        self.write((claim, settlement), |at, (claim, settlement)| {
            Box::pin(claims::settle(at, *claim, settlement))
        })
    }

    fn open_attempts(&self) -> Stored<'_, Vec<Attempt>> {
        self.read((), |at, ()| Box::pin(claims::open_attempts(at)))
    }

    fn attempts(&self, tenant: TenantId, family: FamilyId, from: u64) -> Stored<'_, Vec<Attempt>> {
        self.read((tenant, family, from), |at, (tenant, family, from)| {
            Box::pin(claims::attempts(at, *tenant, *family, *from))
        })
    }

    fn withdraw(&self, tenant: TenantId, attempt: AttemptId) -> Stored<'_, bool> {
        self.write((tenant, attempt), |at, (tenant, attempt)| {
            Box::pin(claims::withdraw(at, *tenant, *attempt))
        })
    }

    fn clock(&self) -> Stored<'_, Option<Timestamp>> {
        self.read((), |at, ()| {
            Box::pin(async move {
                let sql = "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint AS now";
                record::one(at, "clock", sql, &[], |row| row.time("now")).await
            })
        })
    }

    fn attempt(&self, tenant: TenantId, attempt: AttemptId) -> Stored<'_, Option<Attempt>> {
        self.read((tenant, attempt), |at, (tenant, attempt)| {
            Box::pin(async move {
                let (tenant, attempt) = (*tenant, *attempt);
                let sql = "SELECT attempt.*, answer.sealed FROM attempt LEFT JOIN answer
                     ON answer.tenant_id = attempt.tenant_id AND answer.attempt_id = attempt.attempt_id
                 WHERE attempt.tenant_id = $1 AND attempt.attempt_id = $2";
                record::one(at, "attempt", sql, params![Word(&tenant), Word(&attempt)], rows::attempt).await
            })
        })
    }

    fn claimed(&self) -> Stored<'_, Vec<Chain>> {
        self.read((), |at, ()| {
            Box::pin(async move {
                let sql = "SELECT * FROM chain WHERE state = 'refreshing'";
                record::all(at, "chain", sql, &[], rows::chain).await
            })
        })
    }

    fn hasten(&self, tenant: TenantId, chain: ChainId, now: Timestamp) -> Stored<'_, ()> {
        self.write((tenant, chain, now), |at, (tenant, chain, now)| {
            Box::pin(claims::hasten(at, *tenant, *chain, *now))
        })
    }

    fn put_client(&self, client: Client) -> Stored<'_, ()> {
        self.write(client, |at, client| Box::pin(async move { put_client(at, client).await }))
    }

    fn client(&self, tenant: TenantId, client: ClientId) -> Stored<'_, Option<Client>> {
        self.read((tenant, client), |at, (tenant, client)| {
            Box::pin(async move {
                let (tenant, client) = (*tenant, *client);
                let sql = "SELECT * FROM client WHERE tenant_id = $1 AND client_id = $2";
                record::one(at, "client", sql, params![Word(&tenant), Word(&client)], rows::client).await
            })
        })
    }

    fn put_flow(&self, flow: Flow) -> Stored<'_, ()> {
        self.write(flow, |at, flow| Box::pin(async move { connect::put_flow(at, flow).await }))
    }

    fn flow_by_state(&self, state_sha256: String) -> Stored<'_, Option<Flow>> {
        self.read(state_sha256, |at, state_sha256| {
            Box::pin(async move {
                let sql = "SELECT * FROM flow WHERE state_sha256 = $1";
                record::one(at, "flow", sql, params![state_sha256], rows::flow).await
            })
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
        self.write((tenant, flow, from, to, answer), |at, (tenant, flow, from, to, answer)| {
            Box::pin(async move {
                let (tenant, flow, from, to) = (*tenant, *flow, *from, *to);
                let sql = "UPDATE flow SET step = $4, answer = coalesce($5, answer)
                 WHERE tenant_id = $1 AND flow_id = $2 AND step = $3";
                let values =
                    params![Word(&tenant), Word(&flow), Word(&from), Word(&to), answer.as_ref().map(Doc)];
                Ok(record::write(at, "flow", sql, values).await? == 1)
            })
        })
    }

    fn end_flow(
        &self,
        tenant: TenantId,
        flow: FlowId,
        outcome: FlowOutcome,
        makes: Option<NewConnection>,
    ) -> Stored<'_, ()> {
        self.write((tenant, flow, outcome, makes), |at, (tenant, flow, outcome, makes)| {
            Box::pin(async move {
                let (tenant, flow) = (*tenant, *flow);
                connect::end_flow(at, tenant, flow, outcome, makes.as_ref()).await
            })
        })
    }

    fn open_flows(&self) -> Stored<'_, Vec<Flow>> {
        self.read((), |at, ()| Box::pin(async move {
            let sql =
                "SELECT * FROM flow WHERE step <> 'ended' AND answer IS NOT NULL ORDER BY created_at, flow_id";
            record::all(at, "flow", sql, &[], rows::flow).await
         }))
    }

    fn has_read_flow(&self, tenant: TenantId, flow: FlowId) -> Stored<'_, bool> {
        self.read((tenant, flow), |at, (tenant, flow)| {
            Box::pin(async move {
                let (tenant, flow) = (*tenant, *flow);
                let sql = "SELECT * FROM flow WHERE tenant_id = $1 AND flow_id = $2";
                let row =
                    record::one(at, "flow", sql, params![Word(&tenant), Word(&flow)], rows::flow).await?;
                if let Some(row) = row {
                    return Ok(row.is_read());
                }
                Ok(imports::one(at, tenant, flow).await?.is_some_and(|import| import.is_read()))
            })
        })
    }

    fn put_imports(&self, imports: Vec<Import>) -> Stored<'_, Vec<Brought>> {
        self.write(imports, |at, imports| Box::pin(imports::put(at, imports)))
    }

    fn import(&self, tenant: TenantId, import: FlowId) -> Stored<'_, Option<Import>> {
        self.read((tenant, import), |at, (tenant, import)| Box::pin(imports::one(at, *tenant, *import)))
    }

    fn due_imports(&self, now: Timestamp, limit: u32) -> Stored<'_, Vec<Import>> {
        self.read((now, limit), |at, (now, limit)| Box::pin(imports::due(at, *now, *limit)))
    }

    fn next_import(&self) -> Stored<'_, Option<Timestamp>> {
        self.read((), |at, ()| Box::pin(imports::next(at)))
    }

    fn advance_import(
        &self,
        tenant: TenantId,
        import: FlowId,
        seen: ImportSeen,
        to: ImportProgress,
        answer: Option<(Wrapped, SealContext)>,
    ) -> Stored<'_, bool> {
        self.write((tenant, import, seen, to, answer), |at, (tenant, import, seen, to, answer)| {
            Box::pin(imports::advance(at, *tenant, *import, *seen, to, answer.as_ref()))
        })
    }

    fn end_import(
        &self,
        tenant: TenantId,
        import: FlowId,
        seen: ImportSeen,
        outcome: FlowOutcome,
        end: ImportEnd,
    ) -> Stored<'_, ()> {
        self.write((tenant, import, seen, outcome, end), |at, (tenant, import, seen, outcome, end)| {
            Box::pin(imports::end(at, *tenant, *import, *seen, (outcome, end)))
        })
    }

    fn put_connection(&self, makes: NewConnection) -> Stored<'_, ()> {
        self.write(makes, |at, makes| Box::pin(async move { connect::put_connection(at, makes).await }))
    }

    fn connection(&self, tenant: TenantId, connection: ConnectionId) -> Stored<'_, Option<Connection>> {
        self.read((tenant, connection), |at, (tenant, connection)| {
            Box::pin(async move {
                let (tenant, connection) = (*tenant, *connection);
                let sql = "SELECT * FROM living_connection WHERE tenant_id = $1 AND connection_id = $2";
                record::one(
                    at,
                    "connection",
                    sql,
                    params![Word(&tenant), Word(&connection)],
                    rows::connection,
                )
                .await
            })
        })
    }

    fn static_secret(&self, tenant: TenantId, connection: ConnectionId) -> Stored<'_, Option<StaticSecret>> {
        self.read((tenant, connection), |at, (tenant, connection)| {
            Box::pin(async move {
                let (tenant, connection) = (*tenant, *connection);
                let sql = "SELECT static_secret.* FROM static_secret JOIN living_connection AS living
                     ON living.tenant_id = static_secret.tenant_id
                        AND living.connection_id = static_secret.connection_id
                 WHERE static_secret.tenant_id = $1 AND static_secret.connection_id = $2
                 ORDER BY static_secret.generation DESC LIMIT 1";
                let key = params![Word(&tenant), Word(&connection)];
                record::one(at, "static_secret", sql, key, rows::static_secret).await
            })
        })
    }

    fn static_secrets(
        &self,
        tenant: TenantId,
        connection: ConnectionId,
        limit: u32,
    ) -> Stored<'_, Vec<StaticSecret>> {
        self.read((tenant, connection, limit), |at, (tenant, connection, limit)| {
            Box::pin(async move {
                let (tenant, connection, limit) = (*tenant, *connection, *limit);
                let sql = "SELECT static_secret.* FROM static_secret JOIN living_connection AS living
                     ON living.tenant_id = static_secret.tenant_id
                        AND living.connection_id = static_secret.connection_id
                 WHERE static_secret.tenant_id = $1 AND static_secret.connection_id = $2
                 ORDER BY static_secret.generation DESC LIMIT $3";
                let key = params![Word(&tenant), Word(&connection), i64::from(limit)];
                record::all(at, "static_secret", sql, key, rows::static_secret).await
            })
        })
    }

    fn remove_connection(&self, tenant: TenantId, connection: ConnectionId, at: Timestamp) -> Stored<'_, ()> {
        self.write((tenant, connection, at), |database, (tenant, connection, at)| {
            Box::pin(async move {
                let (tenant, connection, at) = (*tenant, *connection, *at);
                connect::remove(database, tenant, connection, at).await
            })
        })
    }

    fn kill(&self, kill: Kill, at: Timestamp) -> Stored<'_, u64> {
        self.kill_first((kill, at), |database, (kill, at)| {
            Box::pin(async move {
                let (kill, at) = (*kill, *at);
                kills::put(database, kill, at).await
            })
        })
    }

    fn kills(&self, after: u64, limit: u32) -> Stored<'_, Vec<Killed>> {
        self.read((after, limit), |at, (after, limit)| Box::pin(kills::after(at, *after, *limit)))
    }

    fn clear_killed(&self, now: Timestamp, limit: u32) -> Stored<'_, u32> {
        self.write((now, limit), |at, (now, limit)| Box::pin(kills::clear(at, *now, *limit)))
    }

    fn put_revocation(&self, revocation: Revocation) -> Stored<'_, ()> {
        self.write(revocation, |at, revocation| {
            Box::pin(async move { kills::put_revocation(at, revocation).await })
        })
    }

    fn revocations(&self, now: Timestamp, limit: u32) -> Stored<'_, Vec<Revocation>> {
        self.read((now, limit), |at, (now, limit)| Box::pin(kills::revocations(at, *now, *limit)))
    }

    fn postpone_revocation(
        &self,
        tenant: TenantId,
        revocation: RevocationId,
        tries: u32,
        not_before: Timestamp,
    ) -> Stored<'_, bool> {
        self.write((tenant, revocation, tries, not_before), |at, (tenant, revocation, tries, not_before)| {
            Box::pin(kills::postpone(at, *tenant, *revocation, *tries, *not_before))
        })
    }

    fn may_be_lived_on(&self, whose: Whose, now: Timestamp) -> Stored<'_, bool> {
        self.read((whose, now), |at, (whose, now)| Box::pin(kills::may_be_lived_on(at, *whose, *now)))
    }

    fn confirm_revocation(&self, tenant: TenantId, revocation: RevocationId) -> Stored<'_, ()> {
        self.write((tenant, revocation), |at, (tenant, revocation)| {
            Box::pin(kills::confirm(at, *tenant, *revocation))
        })
    }

    fn spend_mandate(
        &self,
        tenant: TenantId,
        call: CallId,
        not_after: Timestamp,
        forget_before: Timestamp,
    ) -> Stored<'_, bool> {
        self.write((tenant, call, not_after, forget_before), |at, (tenant, call, not_after, before)| {
            Box::pin(async move {
                let forgotten = "DELETE FROM mandate_spent WHERE not_after < $1";
                record::write(at, "mandate_spent", forgotten, params![before.millis()]).await?;
                let sql = "INSERT INTO mandate_spent (tenant_id, call_id, not_after) VALUES ($1, $2, $3)
                     ON CONFLICT (tenant_id, call_id) DO NOTHING";
                let values = params![Word(tenant), Word(call), not_after.millis()];
                Ok(record::write(at, "mandate_spent", sql, values).await? == 1)
            })
        })
    }

    fn raise(&self, ticket: Ticket) -> Stored<'_, TicketId> {
        self.write(ticket, |at, ticket| Box::pin(async move { tickets::raise(at, ticket).await }))
    }

    fn agent(&self, tenant: TenantId, agent: PrincipalId) -> Stored<'_, Option<Agent>> {
        self.read((tenant, agent), |at, (tenant, agent)| {
            Box::pin(async move {
                let (tenant, agent) = (*tenant, *agent);
                let sql = "SELECT * FROM agent WHERE tenant_id = $1 AND agent_id = $2";
                record::one(at, "agent", sql, params![Word(&tenant), Word(&agent)], rows::agent).await
            })
        })
    }

    fn task(&self, tenant: TenantId, task: TaskId) -> Stored<'_, Option<Task>> {
        self.read((tenant, task), |at, (tenant, task)| {
            Box::pin(async move {
                let (tenant, task) = (*tenant, *task);
                let sql = "SELECT * FROM task WHERE tenant_id = $1 AND task_id = $2";
                record::one(at, "task", sql, params![Word(&tenant), Word(&task)], rows::task).await
            })
        })
    }

    fn grant(&self, tenant: TenantId, grant: GrantId) -> Stored<'_, Option<Grant>> {
        self.read((tenant, grant), |at, (tenant, grant)| {
            Box::pin(async move {
                let (tenant, grant) = (*tenant, *grant);
                let sql = "SELECT * FROM task_grant WHERE tenant_id = $1 AND grant_id = $2";
                record::one(at, "task_grant", sql, params![Word(&tenant), Word(&grant)], rows::grant).await
            })
        })
    }

    fn tools(&self, tenant: TenantId) -> Stored<'_, Vec<ToolRow>> {
        self.read(tenant, |at, tenant| Box::pin(directory::tools(at, *tenant)))
    }

    fn enrolment(&self, binding: Binding) -> Stored<'_, Option<Enrolment>> {
        self.read(binding, |at, binding| {
            Box::pin(async move {
                let (kind, value) = rows::binding_columns(binding);
                let sql = "SELECT * FROM enrolment WHERE binding_kind = $1 AND binding_value = $2";
                record::one(at, "enrolment", sql, params![kind, value], rows::enrolment).await
            })
        })
    }

    fn enrolment_code(&self, code_sha256: String) -> Stored<'_, Option<EnrolmentCode>> {
        self.read(code_sha256, |at, code_sha256| {
            Box::pin(async move {
                let sql = "SELECT * FROM enrolment_code WHERE code_sha256 = $1 AND used_at IS NULL";
                record::one(at, "enrolment_code", sql, params![code_sha256], rows::enrolment_code).await
            })
        })
    }

    fn enrol(&self, code_sha256: String, enrolment: Enrolment) -> Stored<'_, bool> {
        self.write((code_sha256, enrolment), |at, (code_sha256, enrolment)| {
            Box::pin(async move { vouched::enrol(at, code_sha256, enrolment).await })
        })
    }

    fn put_wake(&self, wake: WakeNote) -> Stored<'_, ()> {
        self.write(wake, |at, wake| Box::pin(async move { vouched::put_wake(at, wake).await }))
    }

    fn end_wake(&self, tenant: TenantId, wake: WakeId, at: Timestamp) -> Stored<'_, ()> {
        self.write((tenant, wake, at), |database, (tenant, wake, at)| {
            Box::pin(async move {
                let (tenant, wake, at) = (*tenant, *wake, *at);
                let sql = "UPDATE wake SET ended_at = $3
                 WHERE tenant_id = $1 AND wake_id = $2 AND ended_at IS NULL";
                record::write(database, "wake", sql, params![Word(&tenant), Word(&wake), at.millis()])
                    .await?;
                Ok(())
            })
        })
    }

    fn end_all_wakes(&self, at: Timestamp) -> Stored<'_, ()> {
        self.write(at, |database, at| {
            Box::pin(async move {
                let at = *at;
                let sql = "UPDATE wake SET ended_at = $1 WHERE ended_at IS NULL AND ends_at > $1";
                record::write(database, "wake", sql, params![at.millis()]).await?;
                Ok(())
            })
        })
    }

    fn prune_wakes(&self, tenant: TenantId, task: TaskId, keep: u32, before: Timestamp) -> Stored<'_, ()> {
        self.write((tenant, task, keep, before), |at, (tenant, task, keep, before)| {
            Box::pin(vouched::prune_wakes(at, *tenant, *task, *keep, *before))
        })
    }

    fn heads(&self) -> Stored<'_, Vec<(TenantId, FamilyId, u64)>> {
        self.read((), |at, ()| {
            Box::pin(async move {
                record::all(at, "family", "SELECT * FROM family", &[], |row| {
                    rows::family(row).map(|family| (family.tenant, family.id, family.head))
                })
                .await
            })
        })
    }
}

async fn installation(at: &Link, fresh: InstallationId) -> Result<Installation, StoreError> {
    let sql =
        "INSERT INTO installation (one, installation_id, era, incarnation) VALUES (1, $1, 1, incarnation())
             ON CONFLICT (one) DO NOTHING";
    record::write(at, "installation", sql, params![Word(&fresh)]).await?;
    record::one(at, "installation", "SELECT * FROM installation WHERE one = 1", &[], |row| {
        Ok(Installation { id: row.word("installation_id")?, era: row.count("era")? })
    })
    .await?
    .ok_or(StoreError::Corrupt("installation"))
}

async fn put_client(at: &Link, client: &Client) -> Result<(), StoreError> {
    record::write(
        at,
        "client",
        "INSERT INTO client (tenant_id, client_id, provider, issuer, registered_id, auth, secret, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
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
    ).await?;
    Ok(())
}
