//! Each kind of row as the domain's type, read in one place only, whichever engine it comes from.

use crate::record::Record;
use nightlatch_domain::{
    chain::{Attempt, Chain, Client, Family, Flow, Generation},
    connection::{Connection, Source, StaticSecret},
    grant::Grant,
    import::{Import, ImportProgress},
    ports::store::{EntityId, Kill, Killed, Registered, Revocation, StoreError, ToolRow},
    principal::{Agent, Binding, Enrolment, EnrolmentCode, Human, Tenant},
    task::{Task, WakeNote},
    ticket::Ticket,
};

type Read<T> = Result<T, StoreError>;

pub(crate) fn registered(row: &Record<'_>) -> Read<Registered> {
    Ok(Registered {
        keeper: row.word("keeper_id")?,
        compared: row.count("compared")?,
        vouched: row.count("vouched")? == 1,
    })
}

pub(crate) fn tenant(row: &Record<'_>) -> Read<Tenant> {
    Ok(Tenant { id: row.word("tenant_id")?, name: row.word("name")?, created_at: row.time("created_at")? })
}

pub(crate) fn human(row: &Record<'_>) -> Read<Human> {
    Ok(Human {
        tenant: row.word("tenant_id")?,
        id: row.word("human_id")?,
        label: row.text("label")?,
        created_at: row.time("created_at")?,
    })
}

pub(crate) fn agent(row: &Record<'_>) -> Read<Agent> {
    Ok(Agent {
        tenant: row.word("tenant_id")?,
        id: row.word("agent_id")?,
        name: row.word("name")?,
        owner: row.word("owner_id")?,
        purpose: row.text("purpose")?,
        risk: row.word("risk")?,
        status: row.word("status")?,
        created_at: row.time("created_at")?,
        attestation: row.word("attestation")?,
    })
}

pub(crate) fn tool(row: &Record<'_>) -> Read<ToolRow> {
    Ok(ToolRow {
        tenant: row.word("tenant_id")?,
        name: row.word("name")?,
        manifest: row.text("manifest")?,
        added_at: row.time("added_at")?,
    })
}

pub(crate) fn task(row: &Record<'_>) -> Read<Task> {
    Ok(Task {
        tenant: row.word("tenant_id")?,
        id: row.word("task_id")?,
        name: row.word_or_none("name")?,
        agent: row.word("agent_id")?,
        subject: row.word("subject_id")?,
        purpose: row.text("purpose")?,
        egress: row.word("egress")?,
        state: row.word("state")?,
        created_at: row.time("created_at")?,
        ends_at: row.time("ends_at")?,
        attestation: row.word("attestation")?,
    })
}

pub(crate) fn wake(row: &Record<'_>) -> Read<WakeNote> {
    Ok(WakeNote {
        tenant: row.word("tenant_id")?,
        id: row.word("wake_id")?,
        task: row.word("task_id")?,
        assurance: row.word("assurance")?,
        binding: binding(row)?,
        began_at: row.time("began_at")?,
        ends_at: row.time("ends_at")?,
        ended_at: row.time_or_none("ended_at")?,
    })
}

pub(crate) fn grant(row: &Record<'_>) -> Read<Grant> {
    Ok(Grant {
        tenant: row.word("tenant_id")?,
        id: row.word("grant_id")?,
        task: row.word("task_id")?,
        connection: row.word("connection_id")?,
        tool: row.word("tool")?,
        operations: row.doc("operations")?,
        resource: row.word("resource")?,
        reference: row.word("reference")?,
        created_at: row.time("created_at")?,
        expires_at: row.time("expires_at")?,
        revoked_at: row.time_or_none("revoked_at")?,
        budget: row.word_or_none("budget")?,
        attestation: row.word("attestation")?,
    })
}

pub(crate) fn enrolment(row: &Record<'_>) -> Read<Enrolment> {
    Ok(Enrolment {
        tenant: row.word("tenant_id")?,
        id: row.word("enrolment_id")?,
        agent: row.word("agent_id")?,
        task: row.word("task_id")?,
        binding: binding(row)?,
        created_at: row.time("created_at")?,
        attestation: row.word("attestation")?,
    })
}

pub(crate) fn enrolment_code(row: &Record<'_>) -> Read<EnrolmentCode> {
    Ok(EnrolmentCode {
        tenant: row.word("tenant_id")?,
        code_sha256: row.text("code_sha256")?,
        agent: row.word("agent_id")?,
        task: row.word("task_id")?,
        expires_at: row.time("expires_at")?,
        attestation: row.word("attestation")?,
    })
}

pub(crate) fn connection(row: &Record<'_>) -> Read<Connection> {
    let chain = row.word_or_none("chain_id")?;
    Ok(Connection {
        tenant: row.word("tenant_id")?,
        id: row.word("connection_id")?,
        tool: row.word("tool")?,
        name: row.word("name")?,
        account: row.text_or_none("account")?,
        account_label: row.text_or_none("account_label")?,
        source: chain.map_or(Source::Static, |chain| Source::Chain { chain }),
        hosts: row.doc("hosts")?,
        created_at: row.time("created_at")?,
        removed_at: row.time_or_none("removed_at")?,
    })
}

pub(crate) fn static_secret(row: &Record<'_>) -> Read<StaticSecret> {
    Ok(StaticSecret {
        tenant: row.word("tenant_id")?,
        connection: row.word("connection_id")?,
        generation: row.count("generation")?,
        secret: row.doc("secret")?,
        created_at: row.time("created_at")?,
    })
}

pub(crate) fn client(row: &Record<'_>) -> Read<Client> {
    Ok(Client {
        tenant: row.word("tenant_id")?,
        id: row.word("client_id")?,
        provider: row.word("provider")?,
        issuer: row.text("issuer")?,
        client_id: row.text("registered_id")?,
        auth: row.word("auth")?,
        secret: row.doc_or_none("secret")?,
        created_at: row.time("created_at")?,
    })
}

pub(crate) fn chain(row: &Record<'_>) -> Read<Chain> {
    Ok(Chain {
        tenant: row.word("tenant_id")?,
        id: row.word("chain_id")?,
        provider: row.word("provider")?,
        issuer: row.text("issuer")?,
        client: row.word("client_id")?,
        account: row.text("account")?,
        family: row.word("family_id")?,
        families: row.count("families")?,
        fence: row.count("fence")?,
        owner: row.word_or_none("owner_id")?,
        state: row.word("state")?,
        access_until: row.time_or_none("access_until")?,
        due_at: row.time_or_none("due_at")?,
        refreshed_at: row.time_or_none("refreshed_at")?,
        failed_at: row.time_or_none("failed_at")?,
        failures: row.count_of_32_bits("failures")?,
        reason: row.text_or_none("reason")?,
        ticket: row.word_or_none("ticket_id")?,
        created_at: row.time("created_at")?,
    })
}

pub(crate) fn family(row: &Record<'_>) -> Read<Family> {
    Ok(Family {
        tenant: row.word("tenant_id")?,
        id: row.word("family_id")?,
        chain: row.word("chain_id")?,
        flow: row.word("flow_id")?,
        number: row.count("number")?,
        head: row.count("head")?,
        created_at: row.time("created_at")?,
    })
}

pub(crate) fn generation(row: &Record<'_>) -> Read<Generation> {
    Ok(Generation {
        tenant: row.word("tenant_id")?,
        family: row.word("family_id")?,
        number: row.count("number")?,
        refresh: row.doc_or_none("refresh")?,
        access: row.doc("access")?,
        access_until: row.time_or_none("access_until")?,
        refresh_until: row.time_or_none("refresh_until")?,
        attempt: row.word_or_none("attempt_id")?,
        created_at: row.time("created_at")?,
    })
}

pub(crate) fn attempt(row: &Record<'_>) -> Read<Attempt> {
    Ok(Attempt {
        tenant: row.word("tenant_id")?,
        id: row.word("attempt_id")?,
        chain: row.word("chain_id")?,
        family: row.word("family_id")?,
        generation: row.count("generation")?,
        fence: row.count("fence")?,
        owner: row.word("owner_id")?,
        era: row.count("era")?,
        state: row.word("state")?,
        intended_at: row.time("intended_at")?,
        intended_by: row.time_or_none("intended_by")?.map_or_else(|| row.time("intended_at"), Ok)?,
        answer: row.doc_or_none("sealed")?,
    })
}

pub(crate) fn revocation(row: &Record<'_>) -> Read<Revocation> {
    Ok(Revocation {
        tenant: row.word("tenant_id")?,
        id: row.word("revocation_id")?,
        chain: row.word_or_none("chain_id")?,
        secret: row.doc("sealed")?,
        tries: row.count_of_32_bits("tries")?,
        not_before: row.time("not_before")?,
    })
}

pub(crate) fn kill(row: &Record<'_>) -> Read<Killed> {
    let kill = match row.text("scope")?.as_str() {
        "connection" => {
            Kill::Connection { tenant: row.word("tenant_id")?, connection: row.word("target_id")? }
        }
        "chain" => Kill::Chain { tenant: row.word("tenant_id")?, chain: row.word("target_id")? },
        "client" => Kill::Client { tenant: row.word("tenant_id")?, client: row.word("target_id")? },
        "tenant" => Kill::Tenant { tenant: row.word("tenant_id")? },
        "installation" => Kill::Installation,
        _ => return Err(row.corrupt()),
    };
    Ok(Killed { number: row.count("number")?, kill, at: row.time("killed_at")? })
}

/// A kill's scope as its three columns.
pub(crate) fn kill_columns(kill: Kill) -> (&'static str, String, String) {
    match kill {
        Kill::Connection { tenant, connection } => ("connection", tenant.to_string(), connection.to_string()),
        Kill::Chain { tenant, chain } => ("chain", tenant.to_string(), chain.to_string()),
        Kill::Client { tenant, client } => ("client", tenant.to_string(), client.to_string()),
        Kill::Tenant { tenant } => ("tenant", tenant.to_string(), String::new()),
        Kill::Installation => ("installation", String::new(), String::new()),
    }
}

pub(crate) fn flow(row: &Record<'_>) -> Read<Flow> {
    Ok(Flow {
        tenant: row.word("tenant_id")?,
        id: row.word("flow_id")?,
        context: row.word("context_id")?,
        tool: row.word("tool")?,
        name: row.word("name")?,
        client: row.word("client_id")?,
        reconnect: row.word_or_none("reconnect_id")?,
        state_sha256: row.text("state_sha256")?,
        secrets: row.doc("secrets")?,
        step: row.word("step")?,
        answer: row.doc_or_none("answer")?,
        outcome: row.doc_or_none("outcome")?,
        created_at: row.time("created_at")?,
        expires_at: row.time("expires_at")?,
    })
}

pub(crate) fn import(row: &Record<'_>) -> Read<Import> {
    Ok(Import {
        tenant: row.word("tenant_id")?,
        id: row.word("flow_id")?,
        token_hash: row.text("token_hash")?,
        client: row.word("client_id")?,
        tool: row.word("tool")?,
        token: row.doc_or_none("token")?,
        access: row.doc_or_none("access")?,
        plan: row.doc("plan")?,
        era: row.count("era")?,
        progress: ImportProgress {
            step: row.word("step")?,
            attempt: row.word_or_none("attempt_id")?,
            owner: row.word_or_none("owner_id")?,
            again: row.count("again")? != 0,
            presented_at: row.time_or_none("presented_at")?,
            due_at: row.time("due_at")?,
            failures: row.count_of_32_bits("failures")?,
            reason: row.text_or_none("reason")?,
        },
        answer: row.doc_or_none("answer")?,
        outcome: row.doc_or_none("outcome")?,
        created_at: row.time("created_at")?,
    })
}

pub(crate) fn ticket(row: &Record<'_>) -> Read<Ticket> {
    Ok(Ticket {
        tenant: row.word("tenant_id")?,
        id: row.word("ticket_id")?,
        kind: row.word("kind")?,
        connection: row.word("connection_id")?,
        reason: row.text("reason")?,
        raised_at: row.time("raised_at")?,
        settled_at: row.time_or_none("settled_at")?,
        era: row.count_or_none("era")?,
    })
}

/// A binding as its two columns.
pub(crate) fn binding_columns(binding: &Binding) -> (&'static str, String) {
    match binding {
        Binding::Key { spki_sha256 } => ("key", spki_sha256.clone()),
        Binding::Uid { uid } => ("uid", uid.to_string()),
    }
}

fn binding(row: &Record<'_>) -> Read<Binding> {
    let value = row.text("binding_value")?;
    match row.text("binding_kind")?.as_str() {
        "key" => Ok(Binding::Key { spki_sha256: value }),
        "uid" => value.parse().map(|uid| Binding::Uid { uid }).map_err(|_| row.corrupt()),
        _ => Err(row.corrupt()),
    }
}

/// What changed, as its two columns.
pub(crate) fn entity_columns(entity: EntityId) -> (&'static str, String) {
    match entity {
        EntityId::Agent(id) => ("agent", id.to_string()),
        EntityId::Task(id) => ("task", id.to_string()),
        EntityId::Grant(id) => ("grant", id.to_string()),
        EntityId::Connection(id) => ("connection", id.to_string()),
        EntityId::Enrolment(id) => ("enrolment", id.to_string()),
        EntityId::Tools => ("tools", String::new()),
        EntityId::Everything => ("everything", String::new()),
    }
}

/// What changed.
pub(crate) fn entity(row: &Record<'_>) -> Result<EntityId, StoreError> {
    Ok(match row.text("kind")?.as_str() {
        "agent" => EntityId::Agent(row.word("entity_id")?),
        "task" => EntityId::Task(row.word("entity_id")?),
        "grant" => EntityId::Grant(row.word("entity_id")?),
        "connection" => EntityId::Connection(row.word("entity_id")?),
        "enrolment" => EntityId::Enrolment(row.word("entity_id")?),
        "tools" => EntityId::Tools,
        "everything" => EntityId::Everything,
        _ => return Err(StoreError::Corrupt("feed")),
    })
}
