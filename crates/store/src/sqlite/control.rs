//! Control's part: what a human arranges, and no secret.

use super::{
    SqliteStore, budgets, directory, feed,
    record::{self, Doc, Word, millis},
};
use crate::{health, rows};
use nightlatch_domain::{
    budget::Spent,
    chain::{Client, Flow},
    connection::{Connection, ConnectionHealth},
    grant::Grant,
    id::{ContextId, FlowId, GrantId, PrincipalId, TaskId, TenantId},
    import::Import,
    ports::store::{ControlStore, EntityId, StoreError, Stored, ToolRow},
    principal::{Agent, Enrolment, EnrolmentCode, Human, Tenant},
    task::{Task, WakeNote},
    ticket::Ticket,
    tool::Name,
};
use rusqlite::{Connection as Database, params};

impl ControlStore for SqliteStore {
    fn bootstrap(&self, tenant: Tenant, human: Human, agent: Agent) -> Stored<'_, ()> {
        self.engine.write(move |at| {
            if record::holds(at, "tenant", "SELECT 1 FROM tenant LIMIT 1")? {
                return Ok(());
            }
            put_agent(at, &agent)?;
            let sql = "INSERT INTO tenant (tenant_id, name, created_at) VALUES (?1, ?2, ?3)";
            let values = params![Word(&tenant.id), Word(&tenant.name), tenant.created_at.millis()];
            record::write(at, "tenant", sql, values)?;
            let sql = "INSERT INTO human (tenant_id, human_id, label, created_at) VALUES (?1, ?2, ?3, ?4)";
            let values =
                params![Word(&human.tenant), Word(&human.id), human.label, human.created_at.millis()];
            record::write(at, "human", sql, values)?;
            Ok(())
        })
    }

    fn tenant(&self, name: Name) -> Stored<'_, Option<Tenant>> {
        self.engine.read(move |at| {
            let sql = "SELECT * FROM tenant WHERE name = ?1";
            record::one(at, "tenant", sql, params![Word(&name)], rows::tenant)
        })
    }

    fn humans(&self, tenant: TenantId) -> Stored<'_, Vec<Human>> {
        self.engine.read(move |at| {
            let sql = "SELECT * FROM human WHERE tenant_id = ?1 ORDER BY human_id";
            record::all(at, "human", sql, params![Word(&tenant)], rows::human)
        })
    }

    fn put_tool(&self, tool: ToolRow) -> Stored<'_, ()> {
        self.engine.write(move |at| {
            feed::note(at, tool.tenant, EntityId::Tools)?;
            let sql = "INSERT INTO tool (tenant_id, name, manifest, added_at) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (tenant_id, name)
                 DO UPDATE SET manifest = excluded.manifest, added_at = excluded.added_at";
            let values = params![Word(&tool.tenant), Word(&tool.name), tool.manifest, tool.added_at.millis()];
            record::write(at, "tool", sql, values)?;
            Ok(())
        })
    }

    fn tools(&self, tenant: TenantId) -> Stored<'_, Vec<ToolRow>> {
        self.engine.read(move |at| directory::tools(at, tenant))
    }

    fn put_agent(&self, agent: Agent) -> Stored<'_, ()> {
        self.engine.write(move |at| put_agent(at, &agent))
    }

    fn agents(&self, tenant: TenantId) -> Stored<'_, Vec<Agent>> {
        self.engine.read(move |at| {
            let sql = "SELECT * FROM agent WHERE tenant_id = ?1 ORDER BY agent_id";
            record::all(at, "agent", sql, params![Word(&tenant)], rows::agent)
        })
    }

    fn put_task(&self, task: Task) -> Stored<'_, ()> {
        self.engine.write(move |at| put_task(at, &task))
    }

    fn tasks(&self, tenant: TenantId) -> Stored<'_, Vec<Task>> {
        self.engine.read(move |at| {
            let sql = "SELECT * FROM task WHERE tenant_id = ?1 ORDER BY created_at DESC, task_id DESC";
            record::all(at, "task", sql, params![Word(&tenant)], rows::task)
        })
    }

    fn wakes(&self, tenant: TenantId, task: TaskId, limit: u32) -> Stored<'_, Vec<WakeNote>> {
        self.engine.read(move |at| {
            let sql = "SELECT * FROM wake WHERE tenant_id = ?1 AND task_id = ?2
                 ORDER BY began_at DESC, wake_id DESC LIMIT ?3";
            record::all(at, "wake", sql, params![Word(&tenant), Word(&task), limit], rows::wake)
        })
    }

    fn put_grant(&self, grant: Grant) -> Stored<'_, ()> {
        self.engine.write(move |at| put_grant(at, &grant))
    }

    fn spent(&self, tenant: TenantId) -> Stored<'_, Vec<(GrantId, Spent)>> {
        self.engine.read(move |at| {
            let sql = "SELECT * FROM grant_spent WHERE tenant_id = ?1 ORDER BY grant_id";
            let row = |row: &record::Record<'_>| Ok((row.word("grant_id")?, budgets::row(row)?));
            record::all(at, "grant_spent", sql, params![Word(&tenant)], row)
        })
    }

    fn grants(&self, tenant: TenantId) -> Stored<'_, Vec<Grant>> {
        self.engine.read(move |at| {
            let sql = "SELECT * FROM task_grant WHERE tenant_id = ?1 ORDER BY grant_id";
            record::all(at, "task_grant", sql, params![Word(&tenant)], rows::grant)
        })
    }

    fn put_enrolment_code(&self, code: EnrolmentCode) -> Stored<'_, ()> {
        self.engine.write(move |at| {
            record::write(
                at,
                "enrolment_code",
                "INSERT INTO enrolment_code (tenant_id, code_sha256, agent_id, task_id, expires_at, attestation)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                params![
                    Word(&code.tenant),
                    code.code_sha256,
                    Word(&code.agent),
                    Word(&code.task),
                    code.expires_at.millis(),
                    Word(&code.attestation)
                ],
            )?;
            Ok(())
        })
    }

    fn enrolments(&self, tenant: TenantId, agent: PrincipalId) -> Stored<'_, Vec<Enrolment>> {
        self.engine.read(move |at| {
            let sql = "SELECT * FROM enrolment WHERE tenant_id = ?1 AND agent_id = ?2 ORDER BY enrolment_id";
            record::all(at, "enrolment", sql, params![Word(&tenant), Word(&agent)], rows::enrolment)
        })
    }

    fn connections(&self, tenant: TenantId) -> Stored<'_, Vec<Connection>> {
        self.engine.read(move |at| connections(at, tenant))
    }

    fn health(&self, tenant: TenantId) -> Stored<'_, Vec<ConnectionHealth>> {
        self.engine.read(move |at| health(at, tenant))
    }

    fn tickets(&self, tenant: TenantId) -> Stored<'_, Vec<Ticket>> {
        self.engine.read(move |at| open_tickets(at, tenant))
    }

    fn clients(&self, tenant: TenantId, provider: Name) -> Stored<'_, Vec<Client>> {
        self.engine.read(move |at| {
            let sql = "SELECT * FROM client WHERE tenant_id = ?1 AND provider = ?2 ORDER BY client_id";
            record::all(at, "client", sql, params![Word(&tenant), Word(&provider)], rows::client)
        })
    }

    fn context(
        &self,
        tenant: TenantId,
        tool: Name,
        provider: Name,
        fresh: ContextId,
    ) -> Stored<'_, ContextId> {
        self.engine.write(move |at| {
            record::write(
                at,
                "redirect_context",
                "INSERT INTO redirect_context (tenant_id, tool, provider, context_id) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (tenant_id, tool, provider) DO NOTHING",
                params![Word(&tenant), Word(&tool), Word(&provider), Word(&fresh)],
            )?;
            let sql = "SELECT context_id FROM redirect_context
                 WHERE tenant_id = ?1 AND tool = ?2 AND provider = ?3";
            let key = params![Word(&tenant), Word(&tool), Word(&provider)];
            record::one(at, "redirect_context", sql, key, |row| row.word("context_id"))?
                .ok_or(StoreError::Corrupt("redirect_context"))
        })
    }

    fn flow(&self, tenant: TenantId, flow: FlowId) -> Stored<'_, Option<Flow>> {
        self.engine.read(move |at| {
            let sql = "SELECT * FROM flow WHERE tenant_id = ?1 AND flow_id = ?2";
            record::one(at, "flow", sql, params![Word(&tenant), Word(&flow)], rows::flow)
        })
    }

    fn imports(&self, tenant: TenantId, imports: Vec<FlowId>) -> Stored<'_, Vec<Import>> {
        self.engine.read(move |at| {
            let sql = "SELECT * FROM import WHERE tenant_id = ?1 AND flow_id = ?2";
            let one = |id: &FlowId| {
                record::one(at, "import", sql, params![Word(&tenant), Word(id)], rows::import).transpose()
            };
            imports.iter().filter_map(one).collect()
        })
    }
}

fn put_agent(at: &Database, agent: &Agent) -> Result<(), StoreError> {
    feed::note(at, agent.tenant, EntityId::Agent(agent.id))?;
    record::write(
        at,
        "agent",
        "INSERT INTO agent
             (tenant_id, agent_id, name, owner_id, purpose, risk, status, created_at, attestation)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
         ON CONFLICT (tenant_id, agent_id) DO UPDATE SET name = excluded.name, owner_id = excluded.owner_id,
             purpose = excluded.purpose, risk = excluded.risk, status = excluded.status,
             created_at = excluded.created_at, attestation = excluded.attestation",
        params![
            Word(&agent.tenant),
            Word(&agent.id),
            Word(&agent.name),
            Word(&agent.owner),
            agent.purpose,
            Word(&agent.risk),
            Word(&agent.status),
            agent.created_at.millis(),
            Word(&agent.attestation)
        ],
    )?;
    Ok(())
}

fn put_task(at: &Database, task: &Task) -> Result<(), StoreError> {
    feed::note(at, task.tenant, EntityId::Task(task.id))?;
    record::write(
        at,
        "task",
        "INSERT INTO task (tenant_id, task_id, name, agent_id, subject_id, purpose, egress, state, created_at,
             ends_at, attestation)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)
         ON CONFLICT (tenant_id, task_id) DO UPDATE SET name = excluded.name, agent_id = excluded.agent_id,
             subject_id = excluded.subject_id, purpose = excluded.purpose, egress = excluded.egress,
             state = excluded.state, created_at = excluded.created_at, ends_at = excluded.ends_at,
             attestation = excluded.attestation
         WHERE task.state NOT IN ('completed', 'killed')",
        params![
            Word(&task.tenant),
            Word(&task.id),
            task.name.as_ref().map(Word),
            Word(&task.agent),
            Word(&task.subject),
            task.purpose,
            Word(&task.egress),
            Word(&task.state),
            task.created_at.millis(),
            task.ends_at.millis(),
            Word(&task.attestation)
        ],
    )?;
    Ok(())
}

fn put_grant(at: &Database, grant: &Grant) -> Result<(), StoreError> {
    feed::note(at, grant.tenant, EntityId::Grant(grant.id))?;
    record::write(
        at,
        "task_grant",
        "INSERT INTO task_grant (tenant_id, grant_id, task_id, connection_id, tool, operations, resource,
             reference, created_at, expires_at, revoked_at, attestation, budget)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)
         ON CONFLICT (tenant_id, grant_id) DO UPDATE SET task_id = excluded.task_id,
             connection_id = excluded.connection_id, tool = excluded.tool, operations = excluded.operations,
             resource = excluded.resource, reference = excluded.reference, created_at = excluded.created_at,
             expires_at = excluded.expires_at, revoked_at = excluded.revoked_at,
             attestation = excluded.attestation, budget = excluded.budget
         WHERE task_grant.revoked_at IS NULL",
        params![
            Word(&grant.tenant),
            Word(&grant.id),
            Word(&grant.task),
            Word(&grant.connection),
            Word(&grant.tool),
            Doc(&grant.operations),
            Word(&grant.resource),
            Word(&grant.reference),
            grant.created_at.millis(),
            grant.expires_at.millis(),
            millis(grant.revoked_at),
            Word(&grant.attestation),
            grant.budget.map(|budget| budget.to_string())
        ],
    )?;
    Ok(())
}

fn connections(at: &Database, tenant: TenantId) -> Result<Vec<Connection>, StoreError> {
    let sql = "SELECT * FROM living_connection WHERE tenant_id = ?1 ORDER BY tool, name";
    record::all(at, "connection", sql, params![Word(&tenant)], rows::connection)
}

fn open_tickets(at: &Database, tenant: TenantId) -> Result<Vec<Ticket>, StoreError> {
    let sql =
        "SELECT * FROM ticket WHERE tenant_id = ?1 AND settled_at IS NULL ORDER BY raised_at, ticket_id";
    record::all(at, "ticket", sql, params![Word(&tenant)], rows::ticket)
}

fn health(at: &Database, tenant: TenantId) -> Result<Vec<ConnectionHealth>, StoreError> {
    let sql = "SELECT * FROM chain WHERE tenant_id = ?1";
    let chains = record::all(at, "chain", sql, params![Word(&tenant)], rows::chain)?;
    health::of(connections(at, tenant)?, chains, open_tickets(at, tenant)?)
}
