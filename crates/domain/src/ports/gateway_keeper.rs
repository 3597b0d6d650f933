//! What the gateway asks of the keeper: challenge, wake, lease, sleep.
//!
//! Every message is serialisable and every request may be repeated. In one process the adaptor really
//! encodes and decodes them; over a socket nothing changes. The gateway never learns how a credential
//! is kept alive, and a lease is only ever sealed to the gateway's key of one wake.

use super::Boxed;
use crate::{
    call::Mandate,
    clock::Timestamp,
    id::{ChainId, ConnectionId, FamilyId, GrantId, TaskId, TenantId, TicketId, WakeId},
    principal::Binding,
    problem::ProblemKind,
    sealed::{Sealed, SealingKey},
    task::Assurance,
    tool::BoundHost,
};
use serde::{Deserialize, Serialize};

/// The keeper as the gateway sees it.
pub trait KeeperForGateway: Send + Sync {
    /// Asks, and waits for the answer; the keeper's own deadline bounds the wait.
    fn ask(&self, request: GatewayRequest) -> Boxed<'_, Result<GatewayReply, KeeperRefusal>>;
}

/// A request of the gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "kebab-case")]
pub enum GatewayRequest {
    /// A nonce for a proof. → [`GatewayReply::Challenge`]
    Challenge {
        /// The tenant.
        tenant: TenantId,
        /// The task that is to wake.
        task: TaskId,
    },
    /// A proof. → [`GatewayReply::Awake`]
    Wake(WakeProof),
    /// A credential for one connection within a wake. → [`GatewayReply::Lease`]
    Lease(LeaseRequest),
    /// A credential for one call that goes on without its agent. → [`GatewayReply::Mandated`]
    Mandate(MandatedLease),
    /// The upstream answered 401 to a credential. → [`GatewayReply::Done`]
    Unauthorized {
        /// The tenant.
        tenant: TenantId,
        /// The wake.
        wake: WakeId,
        /// The connection.
        connection: ConnectionId,
        /// The generation that was used.
        generation: u64,
    },
    /// The wake is over; its leases are wiped. → [`GatewayReply::Done`]
    Sleep {
        /// The tenant.
        tenant: TenantId,
        /// The wake.
        wake: WakeId,
    },
    /// A one-time code and the key that presented it. → [`GatewayReply::Enrolled`]
    Enrol {
        /// SHA-256 of the code, hexadecimal.
        code_sha256: String,
        /// What the TLS handshake proved.
        binding: Binding,
    },
}

/// An answer to the gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "kebab-case")]
pub enum GatewayReply {
    /// A challenge.
    Challenge(Challenge),
    /// A wake began.
    Awake(WakeGranted),
    /// A lease.
    Lease(Lease),
    /// A lease for one call, and the wake that is that call's alone.
    Mandated {
        /// Nothing else can be asked for in it.
        wake: WakeGranted,
        /// The lease.
        lease: Lease,
    },
    /// An agent's key was enrolled.
    Enrolled {
        /// The tenant.
        tenant: TenantId,
        /// For this agent.
        agent: crate::id::PrincipalId,
        /// And this task.
        task: TaskId,
    },
    /// It was noted.
    Done,
}

/// A nonce and a wake id, good for one proof.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Challenge {
    /// The wake that the proof will begin.
    pub wake: WakeId,
    /// 32 random bytes, hexadecimal; single use, kept in memory only.
    pub nonce: String,
    /// A minute later.
    pub expires_at: Timestamp,
}

/// What is put before the keeper to begin a wake.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WakeProof {
    /// The tenant.
    pub tenant: TenantId,
    /// The agent that was proved.
    pub agent: crate::id::PrincipalId,
    /// The task that is to wake.
    pub task: TaskId,
    /// The wake id of the challenge.
    pub wake: WakeId,
    /// The nonce of the challenge.
    pub nonce: String,
    /// The gateway's ephemeral key for this wake: leases are sealed to it.
    pub replica_key: SealingKey,
    /// What proves it.
    pub evidence: Evidence,
}

/// The proof itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Evidence {
    /// The gateway states what it verified itself. Lower assurance, and shown as such.
    Stated {
        /// What the handshake or the socket proved.
        binding: Binding,
        /// When.
        verified_at: Timestamp,
    },
    /// The agent's own key signed the challenge. The keeper finds the enrolment by this key, and believes
    /// the gateway nothing but what the signature covers.
    Signed {
        /// The public key (SPKI, DER), base64url. Its SHA-256 is what was enrolled.
        public_key_spki: String,
        /// The signature over [`crate::companion::statement`], base64url.
        signature: String,
    },
}

/// A wake that began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WakeGranted {
    /// Its id.
    pub wake: WakeId,
    /// How sure the keeper is.
    pub assurance: Assurance,
    /// When it must be proved again; an hour later at most.
    pub ends_at: Timestamp,
}

/// A request for a credential.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseRequest {
    /// The tenant.
    pub tenant: TenantId,
    /// The wake.
    pub wake: WakeId,
    /// The grant under which it is asked for.
    pub grant: GrantId,
    /// The connection.
    pub connection: ConnectionId,
    /// How long the caller can wait for a refresh, in milliseconds.
    pub patience_millis: u64,
}

/// A request for a credential on an agent's signed word for one call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MandatedLease {
    /// What was signed.
    pub mandate: Mandate,
    /// The public key (SPKI, DER), base64url. Its SHA-256 is what was enrolled.
    pub public_key_spki: String,
    /// The signature over [`Mandate::statement`], base64url.
    pub signature: String,
    /// The gateway's ephemeral key for this one call: the lease is sealed to it.
    pub replica_key: SealingKey,
    /// How long the call can wait for a refresh, in milliseconds.
    pub patience_millis: u64,
}

/// What kind of credential a lease holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LeaseKind {
    /// An access token with an end.
    Bearer,
    /// The secret itself: lower assurance.
    Static,
}

/// A credential, sealed to the gateway's key of one wake.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// A serialised [`LeaseBody`] that only the wake's key opens. The associated data is
    /// [`LeaseBinding`] in JSON.
    pub sealed: Sealed,
    /// What must not come back: the keyed windows of every secret of the connection that may still live. Sealed
    /// like the credential, under the same associated data, and apart from it: it is opened once a lease.
    pub windows: Sealed,
    /// What it is bound to.
    pub binding: LeaseBinding,
    /// What kind of credential it is.
    pub kind: LeaseKind,
    /// The gateway asks again after this.
    pub fresh_until: Timestamp,
}

/// What a lease is bound to, as associated data of its seal.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct LeaseBinding {
    /// The tenant.
    pub tenant: TenantId,
    /// The wake.
    pub wake: WakeId,
    /// The grant.
    pub grant: GrantId,
    /// The connection.
    pub connection: ConnectionId,
    /// The family, for tokens.
    pub family: Option<FamilyId>,
    /// The generation.
    pub generation: u64,
    /// SHA-256 of the one request that it is for, where it was given on a mandate, hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_sha256: Option<String>,
}

/// What is inside a lease. Serialised only inside `custody::seal`, read only in `attach`; the secret
/// stands beside it there and not here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseBody {
    /// Where the credential may go and where it stands there, as the opened seal of the secret says.
    pub hosts: Vec<BoundHost>,
    /// The chain, for tokens.
    pub chain: Option<ChainId>,
}

/// The keeper's no. Closed, and fit to become a problem.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "refusal", rename_all = "kebab-case")]
pub enum KeeperRefusal {
    /// The proof does not fit the enrolment, the challenge or the time.
    #[error("the proof was not accepted")]
    ProofRejected,
    /// A row that decides does not bear the keeper's signature.
    #[error("what is stored could not be verified")]
    Unverified,
    /// No such wake, or it is over: prove again.
    #[error("no such wake")]
    NotAwake,
    /// The mandate is not signed by an enrolled key over this very call, not in its time, or was used before.
    #[error("the mandate was not accepted")]
    MandateRejected,
    /// The task may not act.
    #[error("the task has ended")]
    TaskEnded,
    /// The grant does not cover the connection, or has ended.
    #[error("the grant has ended")]
    GrantEnded,
    /// The agent may not act.
    #[error("the agent is disabled")]
    AgentDisabled,
    /// A human must reconnect.
    #[error("a human must reconnect the account")]
    ReauthRequired {
        /// Who asks them.
        ticket: Option<TicketId>,
    },
    /// The refresh was not done within the caller's patience.
    #[error("the credential is being renewed")]
    Pending {
        /// When to ask again, in seconds.
        retry_after_secs: u64,
    },
    /// An enrolment code that is unknown, used or too old.
    #[error("the enrolment code is unknown, used or too old")]
    CodeRejected,
    /// A key that is already bound to another agent or task.
    #[error("the key is already enrolled")]
    AlreadyEnrolled,
    /// A limit was reached.
    #[error("too many at once")]
    TooMany,
    /// The keeper cannot answer now: its store or its keys are out of reach.
    #[error("the keeper cannot answer now")]
    Unavailable,
}

impl KeeperRefusal {
    /// The problem that an agent is shown.
    #[must_use]
    pub const fn problem(&self) -> ProblemKind {
        match self {
            Self::ProofRejected | Self::Unverified | Self::NotAwake => ProblemKind::LeaseRefused,
            Self::MandateRejected => ProblemKind::MandateRejected,
            Self::TaskEnded => ProblemKind::TaskEnded,
            Self::GrantEnded => ProblemKind::GrantEnded,
            Self::AgentDisabled => ProblemKind::AgentDisabled,
            Self::ReauthRequired { .. } => ProblemKind::ReauthRequired,
            Self::Pending { .. } => ProblemKind::CredentialPending,
            Self::CodeRejected | Self::AlreadyEnrolled => ProblemKind::NotAdmitted,
            Self::TooMany => ProblemKind::TooManyCalls,
            Self::Unavailable => ProblemKind::KeeperUnavailable,
        }
    }
}

/// The gateway as the keeper sees it: where an old access token dies with a refresh, calls that use it
/// are let finish first.
pub trait Drains: Send + Sync {
    /// Stops new use of a generation, and answers when the running calls are done or `within_millis`
    /// have passed.
    fn drain(&self, notice: DrainNotice) -> Boxed<'_, ()>;
}

/// What is to be drained.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainNotice {
    /// The tenant.
    pub tenant: TenantId,
    /// The family.
    pub family: FamilyId,
    /// Its generation.
    pub generation: u64,
    /// The bound, in milliseconds.
    pub within_millis: u64,
}
