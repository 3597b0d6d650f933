//! The keeper's part.

use super::super::{Session, claims, connect, imports, kills, people, standing};
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
        Settlement, Standing, Stored, ToolRow, Whose,
    },
    principal::{Agent, Binding, Enrolment, EnrolmentCode},
    sealed::{SealContext, Wrapped},
    task::{Task, WakeNote},
    ticket::Ticket,
};

impl KeeperStore for Session {
    fn installation(&self, fresh: InstallationId) -> Stored<'_, Installation> {
        self.write("installation", move |rows| {
            if let Some(known) = rows.tables.installation.get(&()) {
                return Ok(known.clone());
            }
            let made = Installation { id: fresh, era: 1 };
            rows.tables.installation.put((), made.clone());
            Ok(made)
        })
    }

    fn standing(&self) -> Stored<'_, Standing> {
        self.read(standing::standing)
    }

    fn register(&self, keeper: KeeperId, fresh: bool, alone: bool) -> Stored<'_, ()> {
        self.write("register", move |rows| standing::register(rows, keeper, fresh, alone))
    }

    fn compared(&self, keeper: KeeperId, era: u64) -> Stored<'_, bool> {
        self.write("compared", move |rows| standing::compared(rows, keeper, era))
    }

    fn quarantine(&self, seen: (TenantId, ChainId, u64), reason: String, ticket: Ticket) -> Stored<'_, bool> {
        self.write("quarantine", move |rows| claims::quarantine(rows, seen, &reason, &ticket))
    }

    fn heal(&self, healed: Healed) -> Stored<'_, bool> {
        self.write("heal", move |rows| claims::heal(rows, &healed))
    }

    fn vouch(&self, keeper: KeeperId) -> Stored<'_, ()> {
        self.write("vouch", move |rows| {
            rows.tables.keepers.change(&keeper, |row| row.vouched = true);
            Ok(())
        })
    }

    fn release(
        &self,
        seen: (TenantId, ChainId, u64),
        reason: String,
        due_at: Timestamp,
        now: Timestamp,
    ) -> Stored<'_, bool> {
        self.write("release", move |rows| Ok(claims::release(rows, seen, &reason, due_at, now)))
    }

    fn forget(&self, seen: Registered, era: u64) -> Stored<'_, bool> {
        self.write("forget", move |rows| standing::forget(rows, seen, era))
    }

    fn raise_era(&self, from: u64) -> Stored<'_, bool> {
        self.write("raise-era", move |rows| {
            let is_from = rows.tables.installation.get(&()).is_some_and(|known| known.era == from);
            let raised = is_from && rows.tables.installation.change(&(), |known| known.era += 1);
            if raised {
                rows.tables.incarnation.put((), rows.incarnation);
                rows.go_on();
            }
            Ok(raised)
        })
    }

    fn last_change(&self) -> Stored<'_, FeedMark> {
        self.read(|rows| Ok(rows.counter().mark))
    }

    fn standing_and_recall(&self, mark: FeedMark) -> Stored<'_, (Standing, Recalled)> {
        self.read(move |rows| Ok((standing::standing(rows)?, rows.recall(mark))))
    }

    fn clock(&self) -> Stored<'_, Option<Timestamp>> {
        let database = self.database.clone();
        self.read(move |_| Ok(database.now()))
    }

    fn due(&self, now: Timestamp, limit: u32) -> Stored<'_, Vec<(TenantId, ChainId, Timestamp)>> {
        self.read(move |rows| Ok(claims::due(rows, now, limit)))
    }

    fn next_due(&self) -> Stored<'_, Option<Timestamp>> {
        self.read(|rows| Ok(claims::next_due(rows)))
    }

    fn chains(&self, after: Option<(TenantId, ChainId)>, limit: u32) -> Stored<'_, Vec<(TenantId, ChainId)>> {
        self.read(move |rows| Ok(claims::chains(rows, after, limit)))
    }

    fn chain(&self, tenant: TenantId, chain: ChainId) -> Stored<'_, Option<ChainView>> {
        self.read(move |rows| claims::view(rows, tenant, chain))
    }

    fn generations(&self, tenant: TenantId, chain: ChainId, limit: u32) -> Stored<'_, Vec<Generation>> {
        self.read(move |rows| Ok(claims::generations(rows, tenant, chain, limit)))
    }

    fn chain_of_account(
        &self,
        tenant: TenantId,
        issuer: String,
        client: ClientId,
        account: String,
    ) -> Stored<'_, Option<Chain>> {
        self.read(move |rows| {
            let is_it = |chain: &&Chain| {
                (chain.tenant, &chain.issuer, chain.client, &chain.account)
                    == (tenant, &issuer, client, &account)
            };
            Ok(rows.tables.chains.values().find(is_it).cloned())
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
        self.write("claim", move |rows| {
            let claim = Claim { tenant, chain, fence: seen.fence.saturating_add(1), owner };
            Ok(claims::claim(rows, claim, seen, &from))
        })
    }

    fn intend(&self, claim: Claim, attempt: Attempt) -> Stored<'_, bool> {
        self.writes(&attempt.id.to_string());
        let database = self.database.clone();
        self.write("intend", move |rows| claims::intend(rows, claim, &database.timed(attempt), None))
    }

    fn intend_again(&self, claim: Claim, attempt: Attempt, of: AttemptId) -> Stored<'_, bool> {
        self.writes(&attempt.id.to_string());
        let database = self.database.clone();
        self.write("intend-again", move |rows| {
            claims::intend(rows, claim, &database.timed(attempt), Some(of))
        })
    }

    fn answer(&self, tenant: TenantId, attempt: AttemptId, answer: (Wrapped, SealContext)) -> Stored<'_, ()> {
        self.write("answer", move |rows| {
            claims::answer(rows, tenant, attempt, answer);
            Ok(())
        })
    }

    fn answers(
        &self,
        tenant: TenantId,
        chain: ChainId,
    ) -> Stored<'_, Vec<(AttemptId, (Wrapped, SealContext))>> {
        self.read(move |rows| Ok(claims::answers(rows, tenant, chain)))
    }

    fn commit(&self, claim: Claim, head: NewHead) -> Stored<'_, Committed> {
        self.write("commit", move |rows| claims::commit(rows, claim, &head))
    }

    fn settle(&self, claim: Claim, settlement: Settlement) -> Stored<'_, bool> {
        if let Some(ticket) = &settlement.ticket {
            self.writes(&ticket.id.to_string());
        }
        self.write("settle", move |rows| claims::settle(rows, claim, &settlement))
    }

    fn open_attempts(&self) -> Stored<'_, Vec<Attempt>> {
        self.read(|rows| Ok(claims::open_attempts(rows)))
    }

    fn attempts(&self, tenant: TenantId, family: FamilyId, from: u64) -> Stored<'_, Vec<Attempt>> {
        self.read(move |rows| Ok(claims::attempts(rows, tenant, family, from)))
    }

    fn withdraw(&self, tenant: TenantId, attempt: AttemptId) -> Stored<'_, bool> {
        self.write("withdraw", move |rows| Ok(claims::withdraw(rows, tenant, attempt)))
    }

    fn attempt(&self, tenant: TenantId, attempt: AttemptId) -> Stored<'_, Option<Attempt>> {
        self.read(move |rows| Ok(claims::attempt(rows, tenant, attempt)))
    }

    fn claimed(&self) -> Stored<'_, Vec<Chain>> {
        self.read(|rows| {
            let all = rows.tables.chains.values();
            Ok(all.filter(|chain| chain.state == ChainState::Refreshing).cloned().collect())
        })
    }

    fn hasten(&self, tenant: TenantId, chain: ChainId, now: Timestamp) -> Stored<'_, ()> {
        self.write("hasten", move |rows| {
            claims::hasten(rows, tenant, chain, now);
            Ok(())
        })
    }

    fn put_client(&self, client: Client) -> Stored<'_, ()> {
        self.write("put-client", move |rows| {
            rows.tables.clients.put((client.tenant, client.id), client);
            Ok(())
        })
    }

    fn client(&self, tenant: TenantId, client: ClientId) -> Stored<'_, Option<Client>> {
        self.read(move |rows| Ok(rows.tables.clients.get(&(tenant, client)).cloned()))
    }

    fn put_flow(&self, flow: Flow) -> Stored<'_, ()> {
        self.write("put-flow", move |rows| connect::put_flow(rows, flow))
    }

    fn flow_by_state(&self, state_sha256: String) -> Stored<'_, Option<Flow>> {
        self.read(move |rows| {
            Ok(rows.tables.flows.values().find(|flow| flow.state_sha256 == state_sha256).cloned())
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
        self.write("advance-flow", move |rows| {
            let key = (tenant, flow);
            let is_from = rows.tables.flows.get(&key).is_some_and(|flow| flow.step == from);
            Ok(is_from
                && rows.tables.flows.change(&key, |flow| {
                    flow.step = to;
                    flow.answer = answer.or(flow.answer.take());
                }))
        })
    }

    fn end_flow(
        &self,
        tenant: TenantId,
        flow: FlowId,
        outcome: FlowOutcome,
        makes: Option<NewConnection>,
    ) -> Stored<'_, ()> {
        self.write("end-flow", move |rows| connect::end_flow(rows, tenant, flow, outcome, makes.as_ref()))
    }

    fn open_flows(&self) -> Stored<'_, Vec<Flow>> {
        self.read(|rows| {
            let open = rows.tables.flows.values();
            let mut open: Vec<_> =
                open.filter(|flow| flow.step != FlowStep::Ended && flow.answer.is_some()).cloned().collect();
            open.sort_by_key(|flow| (flow.created_at, flow.id));
            Ok(open)
        })
    }

    fn has_read_flow(&self, tenant: TenantId, flow: FlowId) -> Stored<'_, bool> {
        self.read(move |rows| {
            Ok(match rows.tables.flows.get(&(tenant, flow)) {
                Some(row) => row.is_read(),
                None => imports::one(rows, tenant, flow).is_some_and(Import::is_read),
            })
        })
    }

    fn put_imports(&self, imports: Vec<Import>) -> Stored<'_, Vec<Brought>> {
        self.write("put-imports", move |rows| imports::put(rows, imports))
    }

    fn import(&self, tenant: TenantId, import: FlowId) -> Stored<'_, Option<Import>> {
        self.read(move |rows| Ok(imports::one(rows, tenant, import).cloned()))
    }

    fn due_imports(&self, now: Timestamp, limit: u32) -> Stored<'_, Vec<Import>> {
        self.read(move |rows| Ok(imports::due(rows, now, limit)))
    }

    fn next_import(&self) -> Stored<'_, Option<Timestamp>> {
        self.read(|rows| Ok(imports::next(rows)))
    }

    fn advance_import(
        &self,
        tenant: TenantId,
        import: FlowId,
        seen: ImportSeen,
        to: ImportProgress,
        answer: Option<(Wrapped, SealContext)>,
    ) -> Stored<'_, bool> {
        self.write("advance-import", move |rows| {
            Ok(imports::advance(rows, (tenant, import), seen, to, answer))
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
        self.write("end-import", move |rows| imports::end(rows, (tenant, import), seen, outcome, &end))
    }

    fn put_connection(&self, makes: NewConnection) -> Stored<'_, ()> {
        self.write("put-connection", move |rows| connect::put_connection(rows, &makes))
    }

    fn connection(&self, tenant: TenantId, connection: ConnectionId) -> Stored<'_, Option<Connection>> {
        self.read(move |rows| Ok(kills::living_one(rows, tenant, connection).cloned()))
    }

    fn static_secret(&self, tenant: TenantId, connection: ConnectionId) -> Stored<'_, Option<StaticSecret>> {
        self.read(move |rows| Ok(connect::statics(rows, tenant, connection, 1).pop()))
    }

    fn static_secrets(
        &self,
        tenant: TenantId,
        connection: ConnectionId,
        limit: u32,
    ) -> Stored<'_, Vec<StaticSecret>> {
        self.read(move |rows| Ok(connect::statics(rows, tenant, connection, limit)))
    }

    fn remove_connection(&self, tenant: TenantId, connection: ConnectionId, at: Timestamp) -> Stored<'_, ()> {
        self.write("remove-connection", move |rows| {
            connect::remove(rows, tenant, connection, at);
            Ok(())
        })
    }

    fn kill(&self, kill: Kill, at: Timestamp) -> Stored<'_, u64> {
        self.write("kill", move |rows| Ok(kills::put(rows, kill, at)))
    }

    fn kills(&self, after: u64, limit: u32) -> Stored<'_, Vec<Killed>> {
        self.read(move |rows| Ok(kills::after(rows, after, limit)))
    }

    fn clear_killed(&self, now: Timestamp, limit: u32) -> Stored<'_, u32> {
        self.write("clear-killed", move |rows| Ok(kills::clear(rows, now, limit)))
    }

    fn put_revocation(&self, revocation: Revocation) -> Stored<'_, ()> {
        self.write("put-revocation", move |rows| {
            kills::put_revocation(rows, revocation);
            Ok(())
        })
    }

    fn revocations(&self, now: Timestamp, limit: u32) -> Stored<'_, Vec<Revocation>> {
        self.read(move |rows| Ok(kills::revocations(rows, now, limit)))
    }

    fn postpone_revocation(
        &self,
        tenant: TenantId,
        revocation: RevocationId,
        tries: u32,
        not_before: Timestamp,
    ) -> Stored<'_, bool> {
        self.write("postpone-revocation", move |rows| {
            Ok(kills::postpone(rows, tenant, revocation, tries, not_before))
        })
    }

    fn may_be_lived_on(&self, whose: Whose, now: Timestamp) -> Stored<'_, bool> {
        self.read(move |rows| Ok(kills::may_be_lived_on(rows, whose, now)))
    }

    fn confirm_revocation(&self, tenant: TenantId, revocation: RevocationId) -> Stored<'_, ()> {
        self.write("confirm-revocation", move |rows| {
            rows.tables.revocations.take(&(tenant, revocation));
            Ok(())
        })
    }

    fn spend_mandate(
        &self,
        tenant: TenantId,
        call: CallId,
        not_after: Timestamp,
        forget_before: Timestamp,
    ) -> Stored<'_, bool> {
        self.write("spend-mandate", move |rows| {
            rows.tables.mandates.forget(|_, until| *until < forget_before);
            let is_new = !rows.tables.mandates.holds(&(tenant, call));
            if is_new {
                rows.tables.mandates.put((tenant, call), not_after);
            }
            Ok(is_new)
        })
    }

    fn raise(&self, ticket: Ticket) -> Stored<'_, TicketId> {
        self.write("raise", move |rows| people::raise(rows, ticket))
    }

    fn agent(&self, tenant: TenantId, agent: PrincipalId) -> Stored<'_, Option<Agent>> {
        self.read(move |rows| Ok(rows.tables.agents.get(&(tenant, agent)).cloned()))
    }

    fn task(&self, tenant: TenantId, task: TaskId) -> Stored<'_, Option<Task>> {
        self.read(move |rows| Ok(rows.tables.tasks.get(&(tenant, task)).cloned()))
    }

    fn grant(&self, tenant: TenantId, grant: GrantId) -> Stored<'_, Option<Grant>> {
        self.read(move |rows| Ok(rows.tables.grants.get(&(tenant, grant)).cloned()))
    }

    fn tools(&self, tenant: TenantId) -> Stored<'_, Vec<ToolRow>> {
        self.read(move |rows| Ok(people::tools(rows, tenant)))
    }

    fn enrolment(&self, binding: Binding) -> Stored<'_, Option<Enrolment>> {
        self.read(move |rows| {
            Ok(rows.tables.enrolments.values().find(|enrolment| enrolment.binding == binding).cloned())
        })
    }

    fn enrolment_code(&self, code_sha256: String) -> Stored<'_, Option<EnrolmentCode>> {
        self.read(move |rows| {
            let unused = rows.tables.codes.get(&code_sha256).filter(|row| !row.is_used);
            Ok(unused.map(|row| row.code.clone()))
        })
    }

    fn enrol(&self, code_sha256: String, enrolment: Enrolment) -> Stored<'_, bool> {
        self.write("enrol", move |rows| people::enrol(rows, &code_sha256, enrolment))
    }

    fn put_wake(&self, wake: WakeNote) -> Stored<'_, ()> {
        self.write("put-wake", move |rows| people::put_wake(rows, wake))
    }

    fn end_wake(&self, tenant: TenantId, wake: WakeId, at: Timestamp) -> Stored<'_, ()> {
        self.write("end-wake", move |rows| {
            rows.tables.wakes.change(&(tenant, wake), |wake| {
                wake.ended_at.get_or_insert(at);
            });
            Ok(())
        })
    }

    fn end_all_wakes(&self, at: Timestamp) -> Stored<'_, ()> {
        self.write("end-all-wakes", move |rows| {
            people::end_all_wakes(rows, at);
            Ok(())
        })
    }

    fn prune_wakes(&self, tenant: TenantId, task: TaskId, keep: u32, before: Timestamp) -> Stored<'_, ()> {
        self.write("prune-wakes", move |rows| {
            people::prune_wakes(rows, tenant, task, keep, before);
            Ok(())
        })
    }

    fn heads(&self) -> Stored<'_, Vec<(TenantId, FamilyId, u64)>> {
        self.read(|rows| {
            Ok(rows.tables.families.values().map(|family| (family.tenant, family.id, family.head)).collect())
        })
    }
}
