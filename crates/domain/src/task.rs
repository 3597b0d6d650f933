//! Tasks, and the wakes in which they may act.

use crate::{
    clock::Timestamp,
    id::{PrincipalId, TaskId, TenantId, WakeId},
    principal::Binding,
    sealed::Attestation,
    tool::Name,
};
use serde::{Deserialize, Serialize};

/// Where a task stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TaskState {
    /// It may act: a wake is under way, or begins with the next proof.
    Awake,
    /// It sleeps: no lease exists. The next proof wakes it.
    Dormant,
    /// It is done. Its references answer a typed refusal for good.
    Completed,
    /// It was ended by force.
    Killed,
}

impl TaskState {
    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Awake => "awake",
            Self::Dormant => "dormant",
            Self::Completed => "completed",
            Self::Killed => "killed",
        }
    }

    /// Whether a fresh proof may begin a wake.
    #[must_use]
    pub const fn may_wake(self) -> bool {
        matches!(self, Self::Awake | Self::Dormant)
    }
}

/// Where a task may reach without a tool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Egress {
    /// Only to the hosts that a tool of the tenant binds.
    #[default]
    Tools,
    /// Also elsewhere, without any credential; private addresses stay closed.
    Open,
}

impl Egress {
    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tools => "tools",
            Self::Open => "open",
        }
    }

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives `skip_serializing_if` a reference")]
    const fn is_tools(&self) -> bool {
        matches!(self, Self::Tools)
    }
}

/// A bounded piece of work by one agent on behalf of one subject.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// The tenant.
    pub tenant: TenantId,
    /// The task's id.
    pub id: TaskId,
    /// A name, unique among the tenant's open tasks, where one was given.
    pub name: Option<Name>,
    /// The agent that acts.
    pub agent: PrincipalId,
    /// The human on whose behalf it acts.
    pub subject: PrincipalId,
    /// What it is about, in its opener's words.
    pub purpose: String,
    /// Where it may reach without a tool. The default is not written down, so that the keeper's word for
    /// a row that is older than this field still holds.
    #[serde(default, skip_serializing_if = "Egress::is_tools")]
    pub egress: Egress,
    /// Where it stands.
    pub state: TaskState,
    /// When it was opened.
    pub created_at: Timestamp,
    /// After this it may not act.
    pub ends_at: Timestamp,
    /// The keeper's word that control handed this row over as it stands.
    pub attestation: Attestation,
}

impl Task {
    /// Whether the task may act at `now`, as far as its own row says.
    #[must_use]
    pub fn is_open(&self, now: Timestamp) -> bool {
        self.state.may_wake() && now < self.ends_at
    }
}

/// How sure the keeper is of who woke.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Assurance {
    /// The gateway stated what it verified; the keeper checked that against the enrolment.
    Stated,
    /// The agent's enrolled key signed the keeper's challenge.
    Signed,
}

/// What is known of a wake, for people: never a lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WakeNote {
    /// The tenant.
    pub tenant: TenantId,
    /// The wake's id.
    pub id: WakeId,
    /// The task that woke.
    pub task: TaskId,
    /// How it was proved.
    pub assurance: Assurance,
    /// By what.
    pub binding: Binding,
    /// When it began.
    pub began_at: Timestamp,
    /// An hour later at most; then it is proved again.
    pub ends_at: Timestamp,
    /// When it was cut short, if it was.
    pub ended_at: Option<Timestamp>,
}
