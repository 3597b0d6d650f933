//! Chains, families, generations, attempts: the life of a rotating credential as rows.
//!
//! Fence, latch and timer belong to a chain (what the provider sees as one); generations, head and
//! anchor to a family (each human consent starts one). The rules are the keeper's; these are the facts
//! that it stores.

use crate::{
    clock::Timestamp,
    id::{AttemptId, ChainId, ClientId, FamilyId, FlowId, OwnerId, TenantId, TicketId},
    sealed::{ClientAuth, SealContext, Wrapped},
    tool::Name,
};
use serde::{Deserialize, Serialize};

/// Our registration at a provider. Never shared between owners.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Client {
    /// The tenant.
    pub tenant: TenantId,
    /// The registration's id.
    pub id: ClientId,
    /// The provider's profile.
    pub provider: Name,
    /// The provider's issuer, or its token endpoint's origin where it announces none.
    pub issuer: String,
    /// The `client_id` that the provider gave us.
    pub client_id: String,
    /// How we authenticate.
    pub auth: ClientAuth,
    /// The secret, where there is one, with its context.
    pub secret: Option<(Wrapped, SealContext)>,
    /// When it was added.
    pub created_at: Timestamp,
}

/// Where a chain stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChainState {
    /// Its head is good and its timer is set.
    Healthy,
    /// A refresh is under way.
    Refreshing,
    /// The last try was refused before it was processed; the next one waits.
    BackingOff,
    /// A presentation was begun and its answer is not known. Nothing is presented again.
    Uncertain,
    /// The provider ended it for good; one ticket, no more token calls.
    Latched,
    /// What is stored and what was anchored disagree. Nothing is presented.
    Quarantined,
}

/// What a provider sees as one: unique on (issuer, client, account).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chain {
    /// The tenant.
    pub tenant: TenantId,
    /// The chain's id.
    pub id: ChainId,
    /// The provider's profile.
    pub provider: Name,
    /// The issuer.
    pub issuer: String,
    /// Our registration.
    pub client: ClientId,
    /// The account's stable id at the provider.
    pub account: String,
    /// The family that is presented from. A reconnect moves it.
    pub family: FamilyId,
    /// How many families it had: the newest has this number.
    pub families: u64,
    /// Counts claims; every write of a holder names it.
    pub fence: u64,
    /// Who holds the claim, if anyone.
    pub owner: Option<OwnerId>,
    /// Where it stands.
    pub state: ChainState,
    /// Until when the head's access token is good.
    pub access_until: Option<Timestamp>,
    /// When the timer next acts.
    pub due_at: Option<Timestamp>,
    /// When a refresh last succeeded.
    pub refreshed_at: Option<Timestamp>,
    /// When a refresh last failed.
    pub failed_at: Option<Timestamp>,
    /// Failures in a row.
    pub failures: u32,
    /// Why it is not healthy: an error code of RFC 6749 §5.2 or a word of ours, never provider text.
    pub reason: Option<String>,
    /// The ticket that asks a human, if one is open.
    pub ticket: Option<TicketId>,
    /// When the row was made.
    pub created_at: Timestamp,
}

/// The refresh tokens that grew out of one human consent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Family {
    /// The tenant.
    pub tenant: TenantId,
    /// The family's id.
    pub id: FamilyId,
    /// Its chain.
    pub chain: ChainId,
    /// The flow that proved it.
    pub flow: FlowId,
    /// Its place among the families of its chain, from 1: a later consent has a higher number.
    pub number: u64,
    /// The generation that is current.
    pub head: u64,
    /// When the human consented.
    pub created_at: Timestamp,
}

/// One generation: a refresh token and the access token that came with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Generation {
    /// The tenant.
    pub tenant: TenantId,
    /// The family.
    pub family: FamilyId,
    /// Counts from 1.
    pub number: u64,
    /// The refresh token; none where the provider gave none.
    pub refresh: Option<(Wrapped, SealContext)>,
    /// The access token.
    pub access: (Wrapped, SealContext),
    /// Until when the access token is good; none where the provider does not say.
    pub access_until: Option<Timestamp>,
    /// Until when the refresh token is good, where the provider says so.
    pub refresh_until: Option<Timestamp>,
    /// The attempt that brought it; none for the first, which a flow brought.
    pub attempt: Option<AttemptId>,
    /// When it was stored.
    pub created_at: Timestamp,
}

/// How far a presentation came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AttemptState {
    /// The intent is durable; whether it was sent, the keeper's own log knows.
    Intended,
    /// The sealed raw answer is durable.
    Answered,
    /// The head moved to what it brought.
    Committed,
    /// The provider refused before processing, or nothing was written: not a presentation.
    NotPresented,
    /// The provider answered with an error.
    Refused,
    /// The answer is not known, and a human was asked.
    Uncertain,
}

/// One presentation of a refresh token, or the intent of one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// The tenant.
    pub tenant: TenantId,
    /// Random, never reused.
    pub id: AttemptId,
    /// The chain.
    pub chain: ChainId,
    /// The family.
    pub family: FamilyId,
    /// The generation whose refresh token is presented.
    pub generation: u64,
    /// The fence of the claim.
    pub fence: u64,
    /// The holder of the claim.
    pub owner: OwnerId,
    /// The era of the installation.
    pub era: u64,
    /// How far it came.
    pub state: AttemptState,
    /// Just before the intent was made durable, by its keeper's wall clock, or by the store's where that has one and
    /// it said less.
    pub intended_at: Timestamp,
    /// The same by whichever of the two said more.
    pub intended_by: Timestamp,
    /// The sealed raw answer, with its context.
    pub answer: Option<(Wrapped, SealContext)>,
}

/// An OAuth flow from its beginning to its account. Written before the human is sent anywhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flow {
    /// The tenant.
    pub tenant: TenantId,
    /// The flow's id.
    pub id: FlowId,
    /// The opaque context that stands in the redirect path.
    pub context: crate::id::ContextId,
    /// The tool to connect.
    pub tool: Name,
    /// The connection's name.
    pub name: Name,
    /// Our registration.
    pub client: ClientId,
    /// The connection to reconnect, if this is a reconnect.
    pub reconnect: Option<crate::id::ConnectionId>,
    /// SHA-256 of `state`, hexadecimal: the flow is found by it, the value itself is sealed.
    pub state_sha256: String,
    /// What must be remembered in secret: PKCE verifier, `state`, cookie.
    pub secrets: (Wrapped, SealContext),
    /// Where the flow stands.
    pub step: FlowStep,
    /// The sealed raw answer of the code exchange, journaled before the account is known.
    pub answer: Option<(Wrapped, SealContext)>,
    /// What came of it, for the CLI that waits.
    pub outcome: Option<FlowOutcome>,
    /// When it was begun.
    pub created_at: Timestamp,
    /// Ten minutes later; then it is void.
    pub expires_at: Timestamp,
}

/// Where a flow stands. Each step is taken once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FlowStep {
    /// The human was shown where to go.
    Begun,
    /// A code came back and is being redeemed; no second one is.
    Redeeming,
    /// The provider answered, and the answer is journaled.
    Answered,
    /// It became a connection, or it failed: see the outcome.
    Ended,
}

impl Flow {
    /// Whether its answer need not be kept anywhere else: it has ended, and the answer stands here or became a connection.
    #[must_use]
    pub const fn is_read(&self) -> bool {
        is_read(self.step, self.answer.is_some(), self.outcome.as_ref())
    }
}

pub(crate) const fn is_read(step: FlowStep, has_answer: bool, outcome: Option<&FlowOutcome>) -> bool {
    matches!(step, FlowStep::Ended) && (has_answer || matches!(outcome, Some(FlowOutcome::Connected { .. })))
}

/// What came of a flow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum FlowOutcome {
    /// A connection.
    Connected {
        /// Which.
        connection: crate::id::ConnectionId,
        /// The account's id at the provider.
        account: String,
        /// The account as people know it.
        label: String,
    },
    /// A refusal, with a word of ours.
    Failed {
        /// A kebab-case word, for example `wrong-account`.
        reason: String,
    },
}
