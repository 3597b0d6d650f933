//! Everything that Cedar sees of a call but the time: the content of the entities and the context.
//!
//! The entities are built from [`Facts`] and from nothing else, and [`Facts`] is the key of the decision
//! cache, compared by value. So no attribute can be read that the key does not hold, and a row that
//! changed is another key: there is no version number that could be forgotten.

use crate::question::{Question, Sandbox};
use nightlatch_domain::{
    connection::Source,
    exchange::Matched,
    id::{ConnectionId, GrantId, PrincipalId, TaskId, TenantId},
    principal::{AgentStatus, RiskTier},
    task::Assurance,
    tool::Name,
};

/// The facts of one call. Ids under `asked` come from admission and the exchange, the others from rows:
/// where they disagree, what was asked for names no entity, and that denies.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Facts {
    /// What the call claims.
    pub asked: Asked,
    /// The agent's row.
    pub agent: AgentFacts,
    /// The task's row.
    pub task: TaskFacts,
    /// The grant's row.
    pub grant: GrantFacts,
    /// The connection's row.
    pub connection: ConnectionFacts,
    /// Whether the grant covers the operation on the resource.
    pub covered: bool,
    /// Whether the connection was confirmed for the host and the path.
    pub bound: bool,
    /// How well the agent is shut in.
    pub sandbox: Sandbox,
    /// How its wake was proved.
    pub assurance: Assurance,
}

/// What a call claims.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Asked {
    /// The tenant that admission proved.
    pub tenant: TenantId,
    /// The agent that admission proved.
    pub agent: PrincipalId,
    /// The task that admission proved.
    pub task: TaskId,
    /// The grant that the reference named.
    pub grant: GrantId,
    /// The connection of that grant.
    pub connection: ConnectionId,
    /// The tool that was addressed.
    pub tool: Name,
    /// The host that it goes to.
    pub host: String,
    /// The method.
    pub method: String,
    /// What the catalogue made of it.
    pub matched: Matched,
}

/// What policies may read of an agent.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AgentFacts {
    /// Its id.
    pub id: PrincipalId,
    /// Its tenant.
    pub tenant: TenantId,
    /// Its name.
    pub name: Name,
    /// Who answers for it.
    pub owner: PrincipalId,
    /// How much harm it could do.
    pub risk: RiskTier,
    /// Whether it may act at all.
    pub active: bool,
}

/// What policies may read of a task.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TaskFacts {
    /// Its id.
    pub id: TaskId,
    /// Its tenant.
    pub tenant: TenantId,
    /// Its agent.
    pub agent: PrincipalId,
    /// On whose behalf it acts.
    pub subject: PrincipalId,
    /// Its name.
    pub name: Option<Name>,
    /// Whether it may act now.
    pub open: bool,
}

/// What policies may read of a grant.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct GrantFacts {
    /// Its id.
    pub id: GrantId,
    /// Its tenant.
    pub tenant: TenantId,
    /// Its task.
    pub task: TaskId,
    /// Its connection.
    pub connection: ConnectionId,
    /// Its tool.
    pub tool: Name,
    /// Whether it is good now.
    pub live: bool,
    /// Its resource pattern.
    pub resources: String,
}

/// What policies may read of a connection.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ConnectionFacts {
    /// Its id.
    pub id: ConnectionId,
    /// Its tenant.
    pub tenant: TenantId,
    /// Its tool.
    pub tool: Name,
    /// Its name.
    pub name: Name,
    /// Its account at the tool.
    pub account: Option<String>,
    /// `chain` or `static`.
    pub source: &'static str,
    /// Whether it was not removed.
    pub present: bool,
}

impl Facts {
    /// The facts of a question about one of the things that the call asks for; none where a row is missing. Time is turned into facts here, before the
    /// cache is asked, so nothing remembered outlives an end.
    pub(crate) fn of(question: &Question<'_>, matched: &Matched) -> Option<Self> {
        let exchange = question.exchange;
        let (agent, task) = (question.agent?, question.task?);
        let (grant, connection) = (question.grant?, question.connection?);
        let covered = grant.covers(&matched.operation, matched.effect, matched.resource.as_deref());
        let bound =
            connection.hosts.contains(&exchange.host) && exchange.host.covers_path(&exchange.target.path);
        Some(Self {
            asked: Asked::of(question, matched),
            agent: AgentFacts {
                id: agent.id,
                tenant: agent.tenant,
                name: agent.name.clone(),
                owner: agent.owner,
                risk: agent.risk,
                active: agent.status == AgentStatus::Active,
            },
            task: TaskFacts {
                id: task.id,
                tenant: task.tenant,
                agent: task.agent,
                subject: task.subject,
                name: task.name.clone(),
                open: task.is_open(question.now),
            },
            grant: GrantFacts {
                id: grant.id,
                tenant: grant.tenant,
                task: grant.task,
                connection: grant.connection,
                tool: grant.tool.clone(),
                live: grant.is_live(question.now),
                resources: grant.resource.as_str().to_owned(),
            },
            connection: ConnectionFacts {
                id: connection.id,
                tenant: connection.tenant,
                tool: connection.tool.clone(),
                name: connection.name.clone(),
                account: connection.account.clone(),
                source: match connection.source {
                    Source::Chain { .. } => "chain",
                    Source::Static => "static",
                },
                present: connection.removed_at.is_none(),
            },
            covered,
            bound,
            sandbox: question.sandbox,
            assurance: question.assurance,
        })
    }
}

impl Asked {
    fn of(question: &Question<'_>, matched: &Matched) -> Self {
        let exchange = question.exchange;
        Self {
            tenant: exchange.caller.tenant,
            agent: exchange.caller.agent,
            task: exchange.caller.task,
            grant: exchange.grant,
            connection: exchange.connection,
            tool: exchange.tool.clone(),
            host: exchange.host.host.clone(),
            method: exchange.target.method.clone(),
            matched: matched.clone(),
        }
    }
}
