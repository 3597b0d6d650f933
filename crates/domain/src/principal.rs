//! Who acts: tenants, humans, agents, and how an agent proves itself.

use crate::{
    clock::Timestamp,
    id::{EnrolmentId, PrincipalId, TaskId, TenantId},
    sealed::Attestation,
    tool::Name,
};
use serde::{Deserialize, Serialize};

/// Who owns everything below. Comes from the authenticated context, never from a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tenant {
    /// The tenant's id.
    pub id: TenantId,
    /// Its name.
    pub name: Name,
    /// When it was made.
    pub created_at: Timestamp,
}

/// A human: the subject of tasks, the owner of agents.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Human {
    /// The tenant.
    pub tenant: TenantId,
    /// The human's id.
    pub id: PrincipalId,
    /// `USER@HOST`, or a mail address.
    pub label: String,
    /// When the row was made.
    pub created_at: Timestamp,
}

/// How much harm an agent could do; sets how long what it holds may live.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RiskTier {
    /// Reads public material.
    Low,
    /// The ordinary case.
    #[default]
    Medium,
    /// Moves money, deletes, or reads personal data.
    High,
}

/// Whether an agent may act at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AgentStatus {
    /// It may.
    Active,
    /// It may not, until a human enables it again.
    Disabled,
}

/// A principal that chooses its actions at run time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Agent {
    /// The tenant.
    pub tenant: TenantId,
    /// The agent's id.
    pub id: PrincipalId,
    /// Its name, unique in the tenant.
    pub name: Name,
    /// The human who answers for it.
    pub owner: PrincipalId,
    /// What it is for, in its owner's words.
    pub purpose: String,
    /// How much harm it could do.
    pub risk: RiskTier,
    /// Whether it may act.
    pub status: AgentStatus,
    /// When it was added.
    pub created_at: Timestamp,
    /// The keeper's word that control handed this row over as it stands.
    pub attestation: Attestation,
}

/// How an agent proves itself until federated identity arrives.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Binding {
    /// A self-signed TLS client certificate, admitted by the SHA-256 of its public key (SPKI, DER).
    Key {
        /// 64 hexadecimal characters.
        spki_sha256: String,
    },
    /// A local user on a Unix socket that the operator placed (`SO_PEERCRED`).
    Uid {
        /// The user's number.
        uid: u32,
    },
}

/// An agent's proof of identity for one task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enrolment {
    /// The tenant.
    pub tenant: TenantId,
    /// The enrolment's id.
    pub id: EnrolmentId,
    /// The agent that is proved.
    pub agent: PrincipalId,
    /// The task that the proof is good for.
    pub task: TaskId,
    /// What proves it.
    pub binding: Binding,
    /// When it was enrolled.
    pub created_at: Timestamp,
    /// The keeper's word that control handed this row over as it stands.
    pub attestation: Attestation,
}

/// A one-time enrolment code that was handed out; only its hash is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnrolmentCode {
    /// The tenant.
    pub tenant: TenantId,
    /// SHA-256 of the code, in hexadecimal.
    pub code_sha256: String,
    /// The agent to enrol.
    pub agent: PrincipalId,
    /// The task to enrol it for.
    pub task: TaskId,
    /// Ten minutes after it was made.
    pub expires_at: Timestamp,
    /// The keeper's word that control handed this row over as it stands.
    pub attestation: Attestation,
}
