//! The decision, and its proof.
//!
//! Cedar's own rule is that a policy whose evaluation fails is left out; for a `forbid` that means it is
//! open. Here any such failure denies. Cedar denies where nothing permits; what the reason is, the
//! names of the policies in `base.cedar` say.

use crate::{
    error::PolicyError,
    facts::Facts,
    policies::{Policies, Slice},
    question::Question,
    world::World,
};
use cedar_policy::{Authorizer, Decision};
use nightlatch_domain::{
    clock::Timestamp,
    exchange::Exchange,
    id::{CallId, GrantId},
    problem::ProblemKind,
    tool::{BoundHost, OperationId},
};
use quick_cache::sync::Cache;
use std::sync::Arc;

/// Remembered decisions: at about 1 KiB each, some MiB. Calls of one task repeat few keys.
const CACHE_MAX_ENTRIES: usize = 8192;

/// Why a call is not allowed. The list is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// A row that the decision needs was not found.
    Missing,
    /// Something could not be evaluated.
    EvaluationFailed,
    /// A row belongs to another tenant.
    Tenant,
    /// The agent was disabled.
    AgentDisabled,
    /// The task is over.
    TaskEnded,
    /// No grant of this task is about this.
    NoGrant,
    /// The grant was taken back or ran out.
    GrantEnded,
    /// The connection was removed.
    ConnectionRemoved,
    /// The connection was not confirmed for this host and path.
    HostNotBound,
    /// The grant does not cover this operation on this resource.
    NotCovered,
    /// A policy of the data folder forbids it.
    Forbidden,
}

impl Reason {
    /// The word for it in the ledger.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::EvaluationFailed => "evaluation-failed",
            Self::Tenant => "tenant",
            Self::AgentDisabled => "agent-disabled",
            Self::TaskEnded => "task-ended",
            Self::NoGrant => "no-grant",
            Self::GrantEnded => "grant-ended",
            Self::ConnectionRemoved => "connection-removed",
            Self::HostNotBound => "host-not-bound",
            Self::NotCovered => "not-covered",
            Self::Forbidden => "forbidden",
        }
    }

    /// What the caller is told. What it must not learn (that a foreign grant exists) looks unknown.
    #[must_use]
    pub const fn problem(self) -> ProblemKind {
        match self {
            Self::Missing | Self::Tenant | Self::NoGrant => ProblemKind::ReferenceUnknown,
            Self::EvaluationFailed => ProblemKind::Internal,
            Self::AgentDisabled => ProblemKind::AgentDisabled,
            Self::TaskEnded => ProblemKind::TaskEnded,
            Self::GrantEnded | Self::ConnectionRemoved => ProblemKind::GrantEnded,
            Self::HostNotBound => ProblemKind::DestinationDenied,
            Self::NotCovered | Self::Forbidden => ProblemKind::PolicyDenied,
        }
    }

    /// The reasons that a policy of `base.cedar` stands for, the one that is told first.
    const BASE: [Self; 7] = [
        Self::Tenant,
        Self::AgentDisabled,
        Self::TaskEnded,
        Self::GrantEnded,
        Self::ConnectionRemoved,
        Self::HostNotBound,
        Self::NotCovered,
    ];
}

/// A refusal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("denied: {}", reason.as_str())]
pub struct Denied {
    /// Why.
    pub reason: Reason,
    /// The policies that decided, sorted. Names of our own and of the operator's files.
    pub policies: Vec<String>,
}

impl Denied {
    pub(crate) const fn because(reason: Reason) -> Self {
        Self { reason, policies: Vec::new() }
    }
}

/// The proof that a call may happen. Only [`Decider::decide`] makes one; it cannot be copied, and it is
/// good for the very call that was asked about.
///
/// ```compile_fail,E0451
/// use nightlatch_domain::{clock::Timestamp, exchange::Exchange};
/// fn forged(exchange: std::sync::Arc<Exchange>, at: Timestamp) -> nightlatch_policy::Permit {
///     nightlatch_policy::Permit { exchange, at, until: at }
/// }
/// ```
/// ```compile_fail,E0599
/// fn doubled(permit: nightlatch_policy::Permit) -> [nightlatch_policy::Permit; 2] {
///     [permit.clone(), permit]
/// }
/// ```
#[derive(Debug)]
pub struct Permit {
    exchange: Arc<Exchange>,
    at: Timestamp,
    until: Timestamp,
}

impl Permit {
    /// The call.
    #[must_use]
    pub fn call(&self) -> CallId {
        self.exchange.call
    }

    /// The grant that it happens under.
    #[must_use]
    pub fn grant(&self) -> GrantId {
        self.exchange.grant
    }

    /// The operation.
    #[must_use]
    pub fn operation(&self) -> &OperationId {
        &self.exchange.matched.operation
    }

    /// The host that it may go to.
    #[must_use]
    pub fn host(&self) -> &BoundHost {
        &self.exchange.host
    }

    /// When it was decided.
    #[must_use]
    pub const fn decided_at(&self) -> Timestamp {
        self.at
    }

    /// Whether the very same question, put at `now` with the same rows, is known to have this answer: since then
    /// neither task nor grant came to its end, and no policy reads the time.
    #[must_use]
    pub fn holds_at(&self, now: Timestamp) -> bool {
        now == self.at || (self.at < now && now < self.until)
    }

    /// Whether this is the call that was decided on, in every fact of its head.
    #[must_use]
    pub fn fits(&self, exchange: &Exchange) -> bool {
        // The very same is not compared, field by field.
        std::ptr::eq(&*self.exchange, exchange) || *self.exchange == *exchange
    }
}

type Verdict = Result<(), Denied>;

/// Decides. Policies that change are a new decider, which begins with an empty cache.
pub struct Decider {
    policies: Policies,
    authorizer: Authorizer,
    cache: Cache<Facts, Verdict>,
}

impl Decider {
    /// A decider under the house's policies and the given files, as (name, text).
    ///
    /// # Errors
    /// [`PolicyError`] that names file, line, and what to do.
    pub fn new(tenant_policies: &[(String, String)]) -> Result<Self, PolicyError> {
        let policies = Policies::new(tenant_policies)?;
        Ok(Self { policies, authorizer: Authorizer::new(), cache: Cache::new(CACHE_MAX_ENTRIES) })
    }

    /// Decides one call: on everything that it asks for, and it is allowed where all of that is.
    ///
    /// # Errors
    /// [`Denied`], for whatever is not shown to be allowed.
    pub fn decide(&self, question: &Question<'_>) -> Result<Permit, Denied> {
        let mut until = question.changes_at();
        for matched in question.exchange.every() {
            let facts = Facts::of(question, matched).ok_or(Denied::because(Reason::Missing))?;
            if self.slice(&facts).reads_time {
                until = question.now;
            }
            self.verdict(facts, question.now)?;
        }
        Ok(Permit { exchange: Arc::clone(question.exchange), at: question.now, until })
    }

    /// Everything that is in force, as text: schema, the house's policies, the files'.
    #[must_use]
    pub fn show(&self) -> String {
        self.policies.show()
    }

    fn verdict(&self, facts: Facts, now: Timestamp) -> Verdict {
        let slice = self.policies.of(facts.asked.tool.as_str());
        if slice.reads_time {
            return self.evaluate(slice, &facts, now).0;
        }
        if let Some(known) = self.cache.get(&facts) {
            return known;
        }
        let verdict = self.evaluate(slice, &facts, now).0;
        self.cache.insert(facts, verdict.clone());
        verdict
    }

    /// The verdict, and the names of the policies that decided.
    pub(crate) fn evaluate(&self, slice: &Slice, facts: &Facts, now: Timestamp) -> (Verdict, Vec<String>) {
        let Ok(world) = World::of(facts, now, &self.policies.schema) else {
            return (Err(Denied::because(Reason::EvaluationFailed)), Vec::new());
        };
        let response = self.authorizer.is_authorized(&world.request, &slice.policies, &world.entities);
        let mut policies: Vec<String> = response.diagnostics().reason().map(ToString::to_string).collect();
        policies.sort();
        let failed = response.diagnostics().errors().next().is_some();
        let verdict = match response.decision() {
            _ if failed => Err(Denied::because(Reason::EvaluationFailed)),
            Decision::Allow => Ok(()),
            Decision::Deny => Err(Denied { reason: reason_of(&policies), policies: policies.clone() }),
        };
        (verdict, policies)
    }

    pub(crate) fn slice(&self, facts: &Facts) -> &Slice {
        self.policies.of(facts.asked.tool.as_str())
    }
}

/// What the policies that denied stand for; where there is none, nothing permitted.
fn reason_of(policies: &[String]) -> Reason {
    if policies.is_empty() {
        return Reason::NoGrant;
    }
    let named = |reason: &Reason| policies.iter().any(|policy| policy == reason.as_str());
    Reason::BASE.into_iter().find(named).unwrap_or(Reason::Forbidden)
}
