//! From rows to what a human is shown.

use crate::api::{ClientView, ConnectionView, EnrolmentView, TicketView, WakeView};
use nightlatch_domain::{
    chain::Client,
    clock::Timestamp,
    connection::{ConnectionHealth, Health, Source},
    principal::{AgentStatus, Binding, Enrolment, RiskTier},
    task::{Assurance, Task, TaskState, WakeNote},
    ticket::{Ticket, TicketKind},
    tool::BoundHost,
};

/// A connection with how it is.
pub(crate) fn connection(row: ConnectionHealth) -> ConnectionView {
    let connection = row.connection;
    let needs_you = row.health == Health::NeedsYou;
    ConnectionView {
        command: needs_you
            .then(|| format!("nightlatch connect {} --reconnect {}", connection.tool, connection.id)),
        id: connection.id,
        tool: connection.tool,
        name: connection.name,
        account: connection.account,
        label: connection.account_label,
        source: match connection.source {
            Source::Chain { .. } => "tokens".to_owned(),
            Source::Static => "static".to_owned(),
        },
        hosts: connection.hosts.iter().map(base_url).collect(),
        state: health(row.health).to_owned(),
        reason: row.reason,
        access_until: row.access_until,
        refreshed_at: row.refreshed_at,
        failed_at: row.failed_at,
        due_at: row.due_at,
        ticket: row.ticket,
        created_at: connection.created_at,
    }
}

const fn health(health: Health) -> &'static str {
    match health {
        Health::Healthy => "healthy",
        Health::Recovering => "recovering",
        Health::NeedsYou => "needs-you",
    }
}

/// `https://host[:port]/prefix`.
pub(crate) fn base_url(host: &BoundHost) -> String {
    let scheme = if host.scheme == nightlatch_domain::tool::Scheme::Https { "https" } else { "http" };
    let prefix = if host.path_prefix == "/" { "" } else { host.path_prefix.as_str() };
    format!("{scheme}://{}{prefix}", host.authority())
}

/// A ticket; `connection` is `tool/name`.
pub(crate) fn ticket(ticket: Ticket, connection: &ConnectionView) -> TicketView {
    TicketView {
        id: ticket.id,
        kind: match ticket.kind {
            TicketKind::Reauthorize => "reauthorize".to_owned(),
        },
        connection: format!("{}/{}", connection.tool, connection.name),
        reason: ticket.reason,
        raised_at: ticket.raised_at,
        era: ticket.era,
        command: format!("nightlatch connect {} --reconnect {}", connection.tool, connection.id),
    }
}

/// Our registration, without its secret.
pub(crate) fn client(client: Client) -> ClientView {
    ClientView {
        id: client.id,
        provider: client.provider,
        issuer: client.issuer,
        client_id: client.client_id,
        auth: client.auth,
        created_at: client.created_at,
    }
}

/// An enrolment.
pub(crate) fn enrolment(row: Enrolment) -> EnrolmentView {
    let binding = match row.binding {
        Binding::Key { spki_sha256 } => format!("key {spki_sha256}"),
        Binding::Uid { uid } => format!("uid {uid}"),
    };
    EnrolmentView { id: row.id, task: row.task, binding, created_at: row.created_at }
}

/// A wake, as it is at `now`.
pub(crate) fn wake(note: &WakeNote, now: Timestamp) -> WakeView {
    WakeView {
        id: note.id,
        assurance: match note.assurance {
            Assurance::Stated => "stated".to_owned(),
            Assurance::Signed => "signed".to_owned(),
        },
        began_at: note.began_at,
        ends_at: note.ended_at.unwrap_or(note.ends_at),
        lasts: note.ended_at.is_none() && now < note.ends_at,
    }
}

/// Where a task stands at `now`. A row says whether it may act; whether it does, its wakes say.
pub(crate) fn task_state(task: &Task, wakes: &[WakeView], now: Timestamp) -> &'static str {
    match task.state {
        TaskState::Completed | TaskState::Killed => task.state.as_str(),
        _ if task.ends_at <= now => "over",
        _ if wakes.iter().any(|wake| wake.lasts) => TaskState::Awake.as_str(),
        _ => TaskState::Dormant.as_str(),
    }
}

pub(crate) const fn risk(risk: RiskTier) -> &'static str {
    match risk {
        RiskTier::Low => "low",
        RiskTier::Medium => "medium",
        RiskTier::High => "high",
    }
}

pub(crate) const fn status(status: AgentStatus) -> &'static str {
    match status {
        AgentStatus::Active => "active",
        AgentStatus::Disabled => "disabled",
    }
}
