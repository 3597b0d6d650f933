//! Control's part, and the ledger's.

use super::super::{Session, imports, people};
use nightlatch_domain::{
    budget::Spent,
    chain::{Client, Flow},
    connection::{Connection, ConnectionHealth},
    grant::Grant,
    id::{ContextId, FlowId, GrantId, PrincipalId, TaskId, TenantId},
    import::Import,
    ports::store::{ControlStore, EntityId, LedgerHead, LedgerStore, Stored, ToolRow},
    principal::{Agent, Enrolment, EnrolmentCode, Human, Tenant},
    task::{Task, WakeNote},
    ticket::Ticket,
    tool::Name,
};

impl ControlStore for Session {
    fn bootstrap(&self, tenant: Tenant, human: Human, agent: Agent) -> Stored<'_, ()> {
        self.write("bootstrap", move |rows| {
            if rows.tables.tenants.values().next().is_some() {
                return Ok(());
            }
            people::put_agent(rows, agent)?;
            rows.tables.tenants.put(tenant.id, tenant);
            rows.tables.humans.put((human.tenant, human.id), human);
            Ok(())
        })
    }

    fn tenant(&self, name: Name) -> Stored<'_, Option<Tenant>> {
        self.read(move |rows| Ok(rows.tables.tenants.values().find(|tenant| tenant.name == name).cloned()))
    }

    fn humans(&self, tenant: TenantId) -> Stored<'_, Vec<Human>> {
        self.read(move |rows| {
            Ok(rows.tables.humans.values().filter(|human| human.tenant == tenant).cloned().collect())
        })
    }

    fn put_tool(&self, tool: ToolRow) -> Stored<'_, ()> {
        self.write("put-tool", move |rows| {
            rows.note(tool.tenant, EntityId::Tools);
            rows.tables.tools.put((tool.tenant, tool.name.clone()), tool);
            Ok(())
        })
    }

    fn tools(&self, tenant: TenantId) -> Stored<'_, Vec<ToolRow>> {
        self.read(move |rows| Ok(people::tools(rows, tenant)))
    }

    fn put_agent(&self, agent: Agent) -> Stored<'_, ()> {
        self.write("put-agent", move |rows| people::put_agent(rows, agent))
    }

    fn agents(&self, tenant: TenantId) -> Stored<'_, Vec<Agent>> {
        self.read(move |rows| {
            Ok(rows.tables.agents.values().filter(|agent| agent.tenant == tenant).cloned().collect())
        })
    }

    fn put_task(&self, task: Task) -> Stored<'_, ()> {
        self.write("put-task", move |rows| people::put_task(rows, task))
    }

    fn tasks(&self, tenant: TenantId) -> Stored<'_, Vec<Task>> {
        self.read(move |rows| {
            let all = rows.tables.tasks.values().filter(|task| task.tenant == tenant);
            let mut tasks: Vec<_> = all.cloned().collect();
            tasks.sort_by_key(|task| std::cmp::Reverse((task.created_at, task.id)));
            Ok(tasks)
        })
    }

    fn wakes(&self, tenant: TenantId, task: TaskId, limit: u32) -> Stored<'_, Vec<WakeNote>> {
        self.read(move |rows| {
            let mut wakes = people::wakes(rows, tenant, task);
            wakes.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
            Ok(wakes)
        })
    }

    fn put_grant(&self, grant: Grant) -> Stored<'_, ()> {
        self.write("put-grant", move |rows| people::put_grant(rows, grant))
    }

    fn grants(&self, tenant: TenantId) -> Stored<'_, Vec<Grant>> {
        self.read(move |rows| {
            Ok(rows.tables.grants.values().filter(|grant| grant.tenant == tenant).cloned().collect())
        })
    }

    fn put_enrolment_code(&self, code: EnrolmentCode) -> Stored<'_, ()> {
        self.write("put-enrolment-code", move |rows| people::put_code(rows, code))
    }

    fn enrolments(&self, tenant: TenantId, agent: PrincipalId) -> Stored<'_, Vec<Enrolment>> {
        self.read(move |rows| {
            let all = rows.tables.enrolments.values();
            Ok(all.filter(|one| (one.tenant, one.agent) == (tenant, agent)).cloned().collect())
        })
    }

    fn connections(&self, tenant: TenantId) -> Stored<'_, Vec<Connection>> {
        self.read(move |rows| Ok(people::connections(rows, tenant)))
    }

    fn health(&self, tenant: TenantId) -> Stored<'_, Vec<ConnectionHealth>> {
        self.read(move |rows| people::health(rows, tenant))
    }

    fn spent(&self, tenant: TenantId) -> Stored<'_, Vec<(GrantId, Spent)>> {
        self.read(move |rows| {
            let all = rows.tables.spent.iter().filter(|((own, _), _)| *own == tenant);
            Ok(all.map(|((_, grant), spent)| (*grant, *spent)).collect())
        })
    }

    fn tickets(&self, tenant: TenantId) -> Stored<'_, Vec<Ticket>> {
        self.read(move |rows| Ok(people::open_tickets(rows, tenant)))
    }

    fn clients(&self, tenant: TenantId, provider: Name) -> Stored<'_, Vec<Client>> {
        self.read(move |rows| {
            let all = rows.tables.clients.values();
            Ok(all.filter(|one| one.tenant == tenant && one.provider == provider).cloned().collect())
        })
    }

    fn context(
        &self,
        tenant: TenantId,
        tool: Name,
        provider: Name,
        fresh: ContextId,
    ) -> Stored<'_, ContextId> {
        self.write("context", move |rows| {
            let key = (tenant, tool, provider);
            if let Some(known) = rows.tables.contexts.get(&key) {
                return Ok(*known);
            }
            rows.tables.contexts.put(key, fresh);
            Ok(fresh)
        })
    }

    fn flow(&self, tenant: TenantId, flow: FlowId) -> Stored<'_, Option<Flow>> {
        self.read(move |rows| Ok(rows.tables.flows.get(&(tenant, flow)).cloned()))
    }

    fn imports(&self, tenant: TenantId, imports: Vec<FlowId>) -> Stored<'_, Vec<Import>> {
        self.read(move |rows| {
            Ok(imports.into_iter().filter_map(|id| imports::one(rows, tenant, id).cloned()).collect())
        })
    }
}

impl LedgerStore for Session {
    fn put_head(&self, head: LedgerHead) -> Stored<'_, ()> {
        self.write("put-head", move |rows| {
            let is_later = rows.tables.ledger_head.get(&()).is_none_or(|known| head.seq >= known.seq);
            if is_later {
                rows.tables.ledger_head.put((), head);
            }
            Ok(())
        })
    }

    fn head(&self) -> Stored<'_, Option<LedgerHead>> {
        self.read(|rows| Ok(rows.tables.ledger_head.get(&()).cloned()))
    }
}
