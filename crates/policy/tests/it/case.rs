//! One call that is allowed, as rows; each test spoils one thing.

use nightlatch_domain::{
    clock::Timestamp,
    connection::{Connection, Source},
    exchange::{Caller, Exchange, Matched, Target},
    grant::{Grant, GrantText},
    id::{CallId, ConnectionId, GrantId, PrincipalId, TaskId, TenantId},
    principal::{Agent, AgentStatus, Binding, RiskTier},
    reference::Reference,
    sealed::Attestation,
    task::{Assurance, Egress, Task, TaskState},
    tool::{BoundHost, Effect, Name, OperationId, Placement, Scheme, Sensitivity},
};
use nightlatch_policy::{Decider, Denied, Permit, Question, Sandbox};
use std::{
    ops::{Deref, DerefMut},
    sync::Arc,
};

pub(crate) const NOW: i64 = 1_795_302_000_000;
pub(crate) const HOUR: i64 = 3_600_000;

pub(crate) fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

pub(crate) fn name(text: &str) -> Name {
    text.parse().unwrap()
}

pub(crate) fn files(texts: &[&str]) -> Vec<(String, String)> {
    let named = |(number, text): (usize, &&str)| (format!("f{number}.cedar"), (*text).to_owned());
    texts.iter().enumerate().map(named).collect()
}

pub(crate) fn decider(texts: &[&str]) -> Decider {
    Decider::new(&files(texts)).unwrap()
}

/// The rows of one call.
pub(crate) struct Case {
    pub(crate) exchange: Shared,
    pub(crate) agent: Agent,
    pub(crate) task: Task,
    pub(crate) grant: Grant,
    pub(crate) connection: Connection,
    pub(crate) now: Timestamp,
    pub(crate) sandbox: Sandbox,
}

/// A call that a test can still change.
pub(crate) struct Shared(Arc<Exchange>);

impl Shared {
    fn new(exchange: Exchange) -> Self {
        Self(Arc::new(exchange))
    }
}

impl Deref for Shared {
    type Target = Exchange;
    fn deref(&self) -> &Exchange {
        &self.0
    }
}

impl DerefMut for Shared {
    fn deref_mut(&mut self) -> &mut Exchange {
        Arc::make_mut(&mut self.0)
    }
}

impl Case {
    pub(crate) fn question(&self) -> Question<'_> {
        Question {
            exchange: &self.exchange.0,
            agent: Some(&self.agent),
            task: Some(&self.task),
            grant: Some(&self.grant),
            connection: Some(&self.connection),
            now: self.now,
            sandbox: self.sandbox,
            assurance: Assurance::Stated,
        }
    }

    pub(crate) fn decide(&self, decider: &Decider) -> Result<Permit, Denied> {
        decider.decide(&self.question())
    }

    /// A task of another agent, whole in itself.
    pub(crate) fn foreign_task(&self) -> Task {
        Task { id: TaskId::new(at(9), [9; 10]), agent: PrincipalId::new(at(9), [9; 10]), ..self.task.clone() }
    }
}

pub(crate) fn github() -> BoundHost {
    BoundHost {
        scheme: Scheme::Https,
        host: "api.github.com".into(),
        port: 443,
        path_prefix: "/".into(),
        placement: Placement::Bearer,
        route: String::new(),
    }
}

/// `github:write@acme/*`, and a call that it covers.
pub(crate) fn allowed() -> Case {
    let tenant = TenantId::new(at(1), [1; 10]);
    let (agent, human) = (PrincipalId::new(at(1), [2; 10]), PrincipalId::new(at(1), [3; 10]));
    let (task, grant) = (TaskId::new(at(1), [4; 10]), GrantId::new(at(1), [5; 10]));
    let connection = ConnectionId::new(at(1), [6; 10]);
    let text: GrantText = "github:write@acme/*".parse().unwrap();
    Case {
        exchange: Shared::new(Exchange {
            call: CallId::new(at(2), [7; 10]),
            at: at(NOW),
            caller: Caller { tenant, agent, task, binding: Binding::Uid { uid: 1000 } },
            tool: name("github"),
            grant,
            connection,
            host: github(),
            target: Target {
                method: "PATCH".into(),
                path: "/repos/acme/site".into(),
                query: None,
                upgrade: None,
            },
            matched: Matched {
                operation: OperationId("repos.update".into()),
                effect: Effect::Write,
                sensitivity: Sensitivity::Medium,
                resource: Some("acme/site".into()),
                template: "/repos/{owner}/{repo}".into(),
            },
            also: Vec::new(),
        }),
        agent: Agent {
            tenant,
            id: agent,
            name: name("laptop"),
            owner: human,
            purpose: "tests".into(),
            risk: RiskTier::Medium,
            status: AgentStatus::Active,
            created_at: at(1),
            attestation: Attestation::default(),
        },
        task: Task {
            tenant,
            id: task,
            name: None,
            agent,
            subject: human,
            purpose: "tests".into(),
            egress: Egress::Tools,
            state: TaskState::Awake,
            created_at: at(1),
            ends_at: at(NOW + HOUR),
            attestation: Attestation::default(),
        },
        grant: Grant {
            tenant,
            id: grant,
            task,
            connection,
            tool: name("github"),
            operations: text.operations,
            resource: text.resource,
            reference: Reference::draw(|| Ok::<_, ()>([61; 64])).unwrap(),
            created_at: at(1),
            expires_at: at(NOW + HOUR),
            revoked_at: None,
            budget: None,
            attestation: Attestation::default(),
        },
        connection: Connection {
            tenant,
            id: connection,
            tool: name("github"),
            name: name("dana"),
            account: Some("583231".into()),
            account_label: Some("dana".into()),
            source: Source::Static,
            hosts: vec![github()],
            created_at: at(1),
            removed_at: None,
        },
        now: at(NOW),
        sandbox: Sandbox::None,
    }
}
