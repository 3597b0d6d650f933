//! What humans arrange, what the keeper vouches for, tickets, and how connections are shown.

use super::{
    kills,
    rows::{CodeRow, Rows, newest_first},
};
use nightlatch_domain::{
    clock::Timestamp,
    connection::{Connection, ConnectionHealth, Source},
    grant::Grant,
    id::{ChainId, ConnectionId, TaskId, TenantId, TicketId},
    ports::store::{Entity, EntityId, StoreError, ToolRow},
    principal::{Agent, Enrolment, EnrolmentCode},
    task::{Task, TaskState, WakeNote},
    ticket::Ticket,
};

pub(super) fn put_agent(rows: &mut Rows, agent: Agent) -> Result<(), StoreError> {
    rows.note(agent.tenant, EntityId::Agent(agent.id));
    let is_twin =
        |other: &Agent| (other.tenant, &other.name) == (agent.tenant, &agent.name) && other.id != agent.id;
    if rows.tables.agents.values().any(is_twin) {
        return Err(StoreError::Exists("agent"));
    }
    rows.tables.agents.put((agent.tenant, agent.id), agent);
    Ok(())
}

fn is_open(task: &Task) -> bool {
    matches!(task.state, TaskState::Awake | TaskState::Dormant)
}

pub(super) fn put_task(rows: &mut Rows, task: Task) -> Result<(), StoreError> {
    rows.note(task.tenant, EntityId::Task(task.id));
    let key = (task.tenant, task.id);
    if rows.tables.tasks.get(&key).is_some_and(|known| !is_open(known)) {
        return Ok(());
    }
    if !rows.tables.agents.holds(&(task.tenant, task.agent)) {
        return Err(StoreError::Missing("task"));
    }
    let is_twin = |other: &Task| {
        is_open(other) && other.id != task.id && (other.tenant, &other.name) == (task.tenant, &task.name)
    };
    if is_open(&task) && task.name.is_some() && rows.tables.tasks.values().any(is_twin) {
        return Err(StoreError::Exists("task"));
    }
    rows.tables.tasks.put(key, task);
    Ok(())
}

pub(super) fn put_grant(rows: &mut Rows, grant: Grant) -> Result<(), StoreError> {
    rows.note(grant.tenant, EntityId::Grant(grant.id));
    let key = (grant.tenant, grant.id);
    if rows.tables.grants.get(&key).is_some_and(|known| known.revoked_at.is_some()) {
        return Ok(());
    }
    let is_twin = |other: &Grant| other.reference == grant.reference && (other.tenant, other.id) != key;
    if rows.tables.grants.values().any(is_twin) {
        return Err(StoreError::Exists("task_grant"));
    }
    let is_there = rows.tables.tasks.holds(&(grant.tenant, grant.task))
        && rows.tables.connections.holds(&(grant.tenant, grant.connection));
    if !is_there {
        return Err(StoreError::Missing("task_grant"));
    }
    rows.tables.grants.put(key, grant);
    Ok(())
}

pub(super) fn put_code(rows: &mut Rows, code: EnrolmentCode) -> Result<(), StoreError> {
    if rows.tables.codes.holds(&code.code_sha256) {
        return Err(StoreError::Exists("enrolment_code"));
    }
    let is_there = rows.tables.agents.holds(&(code.tenant, code.agent))
        && rows.tables.tasks.holds(&(code.tenant, code.task));
    if !is_there {
        return Err(StoreError::Missing("enrolment_code"));
    }
    rows.tables.codes.put(code.code_sha256.clone(), CodeRow { code, is_used: false });
    Ok(())
}

pub(super) fn enrol(rows: &mut Rows, sha256: &str, enrolment: Enrolment) -> Result<bool, StoreError> {
    let fits = rows.tables.codes.get(&sha256.to_owned()).is_some_and(|row| {
        let code = &row.code;
        !row.is_used
            && code.expires_at > enrolment.created_at
            && (code.tenant, code.agent, code.task) == (enrolment.tenant, enrolment.agent, enrolment.task)
    });
    if !fits {
        return Ok(false);
    }
    rows.tables.codes.change(&sha256.to_owned(), |row| row.is_used = true);
    rows.note(enrolment.tenant, EntityId::Enrolment(enrolment.id));
    if rows.tables.enrolments.values().any(|other| other.binding == enrolment.binding) {
        return Err(StoreError::Exists("enrolment"));
    }
    rows.tables.enrolments.put((enrolment.tenant, enrolment.id), enrolment);
    Ok(true)
}

pub(super) fn put_wake(rows: &mut Rows, wake: WakeNote) -> Result<(), StoreError> {
    if !rows.tables.tasks.holds(&(wake.tenant, wake.task)) {
        return Err(StoreError::Missing("wake"));
    }
    let key = (wake.tenant, wake.id);
    if !rows.tables.wakes.holds(&key) {
        rows.tables.wakes.put(key, wake);
    }
    Ok(())
}

/// The wakes of a task, newest first.
pub(super) fn wakes(rows: &Rows, tenant: TenantId, task: TaskId) -> Vec<WakeNote> {
    let all = rows.tables.wakes.values().filter(|wake| (wake.tenant, wake.task) == (tenant, task));
    let mut wakes: Vec<_> = all.cloned().collect();
    wakes.sort_by_key(|wake| (newest_first(wake.began_at), std::cmp::Reverse(wake.id)));
    wakes
}

/// Every wake that lasts by its note is over.
pub(super) fn end_all_wakes(rows: &mut Rows, at: Timestamp) {
    let lasting = rows.tables.wakes.iter().filter(|(_, wake)| wake.ended_at.is_none() && wake.ends_at > at);
    let lasting: Vec<_> = lasting.map(|(key, _)| *key).collect();
    for key in lasting {
        rows.tables.wakes.change(&key, |wake| wake.ended_at = Some(at));
    }
}

pub(super) fn prune_wakes(rows: &mut Rows, tenant: TenantId, task: TaskId, keep: u32, before: Timestamp) {
    let kept = usize::try_from(keep).unwrap_or(usize::MAX);
    for wake in wakes(rows, tenant, task).into_iter().skip(kept) {
        if wake.began_at < before && wake.ended_at.unwrap_or(wake.ends_at) < before {
            rows.tables.wakes.take(&(tenant, wake.id));
        }
    }
}

/// Raises a ticket unless one of its kind is open for the connection; answers the open one.
pub(super) fn raise(rows: &mut Rows, ticket: Ticket) -> Result<TicketId, StoreError> {
    let is_open = |other: &&Ticket| {
        other.settled_at.is_none()
            && (other.tenant, other.connection, other.kind) == (ticket.tenant, ticket.connection, ticket.kind)
    };
    if let Some(open) = rows.tables.tickets.values().find(is_open) {
        return Ok(open.id);
    }
    if kills::living_one(rows, ticket.tenant, ticket.connection).is_none() {
        return Err(StoreError::Missing("ticket"));
    }
    let id = ticket.id;
    rows.tables.tickets.put((ticket.tenant, id), ticket);
    Ok(id)
}

/// A ticket for each living connection of a chain that has none open.
pub(super) fn raise_for_chain(
    rows: &mut Rows,
    tenant: TenantId,
    chain: ChainId,
    ticket: &Ticket,
) -> Result<(), StoreError> {
    let mut connections = kills::living_on(rows, tenant, chain);
    connections.sort_by_key(|connection| *connection != ticket.connection);
    let mut noted = None;
    for (place, connection) in connections.into_iter().enumerate() {
        let id = if place == 0 { ticket.id } else { TicketId::new(ticket.raised_at, rows.ten()) };
        let raised = raise(rows, Ticket { tenant, id, connection, ..ticket.clone() })?;
        noted = noted.or(Some(raised));
    }
    rows.tables.chains.change(&(tenant, chain), |chain| chain.ticket = noted);
    Ok(())
}

pub(super) fn settle_for_chain(rows: &mut Rows, tenant: TenantId, chain: ChainId, now: Timestamp) {
    let on_chain =
        rows.tables.connections.values().filter(|row| {
            row.connection.tenant == tenant && row.connection.source == (Source::Chain { chain })
        });
    let connections: Vec<_> = on_chain.map(|row| row.connection.id).collect();
    for connection in connections {
        settle_for_connection(rows, tenant, connection, now);
    }
}

pub(super) fn settle_for_connection(
    rows: &mut Rows,
    tenant: TenantId,
    connection: ConnectionId,
    now: Timestamp,
) {
    let open = rows.tables.tickets.iter().filter(|(_, ticket)| {
        ticket.settled_at.is_none() && (ticket.tenant, ticket.connection) == (tenant, connection)
    });
    let open: Vec<_> = open.map(|(key, _)| *key).collect();
    for key in open {
        rows.tables.tickets.change(&key, |ticket| ticket.settled_at = Some(now));
    }
}

/// The open tickets, oldest first.
pub(super) fn open_tickets(rows: &Rows, tenant: TenantId) -> Vec<Ticket> {
    let open = rows.tables.tickets.values();
    let mut open: Vec<_> =
        open.filter(|ticket| ticket.tenant == tenant && ticket.settled_at.is_none()).cloned().collect();
    open.sort_by_key(|ticket| (ticket.raised_at, ticket.id));
    open
}

pub(super) fn connections(rows: &Rows, tenant: TenantId) -> Vec<Connection> {
    let mut living: Vec<_> = kills::living(rows).filter(|one| one.tenant == tenant).cloned().collect();
    living.sort_by(|one, other| (&one.tool, &one.name).cmp(&(&other.tool, &other.name)));
    living
}

pub(super) fn tools(rows: &Rows, tenant: TenantId) -> Vec<ToolRow> {
    rows.tables.tools.values().filter(|tool| tool.tenant == tenant).cloned().collect()
}

pub(super) fn health(rows: &Rows, tenant: TenantId) -> Result<Vec<ConnectionHealth>, StoreError> {
    let tickets = open_tickets(rows, tenant);
    connections(rows, tenant)
        .into_iter()
        .map(|connection| {
            let ticket = tickets.iter().find(|ticket| ticket.connection == connection.id);
            match connection.source {
                Source::Static => Ok(ConnectionHealth::of_static(connection, ticket)),
                Source::Chain { chain } => {
                    let chain =
                        rows.tables.chains.get(&(tenant, chain)).ok_or(StoreError::Corrupt("connection"))?;
                    Ok(ConnectionHealth::of_chain(connection, chain, ticket))
                }
            }
        })
        .collect()
}

/// The directory whole.
pub(super) fn everything(rows: &Rows) -> Vec<Entity> {
    let tables = &rows.tables;
    let mut found: Vec<_> = tables.agents.values().cloned().map(Entity::Agent).collect();
    found.extend(tables.tasks.values().cloned().map(Entity::Task));
    found.extend(tables.grants.values().cloned().map(Entity::Grant));
    found.extend(kills::living(rows).cloned().map(Entity::Connection));
    found.extend(tables.enrolments.values().cloned().map(Entity::Enrolment));
    let mut tenants: Vec<_> = tables.tools.values().map(|tool| tool.tenant).collect();
    tenants.dedup();
    found.extend(tenants.into_iter().map(|tenant| Entity::Tools(tools(rows, tenant))));
    found
}

/// One entity as it is now.
pub(super) fn entity(rows: &Rows, tenant: TenantId, entity: EntityId) -> Option<Entity> {
    let tables = &rows.tables;
    match entity {
        EntityId::Agent(id) => tables.agents.get(&(tenant, id)).cloned().map(Entity::Agent),
        EntityId::Task(id) => tables.tasks.get(&(tenant, id)).cloned().map(Entity::Task),
        EntityId::Grant(id) => tables.grants.get(&(tenant, id)).cloned().map(Entity::Grant),
        EntityId::Connection(id) => kills::living_one(rows, tenant, id).cloned().map(Entity::Connection),
        EntityId::Enrolment(id) => tables.enrolments.get(&(tenant, id)).cloned().map(Entity::Enrolment),
        EntityId::Tools => Some(Entity::Tools(tools(rows, tenant))),
        EntityId::Everything => None,
    }
}
