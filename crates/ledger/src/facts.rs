//! What callers hand in. There is no field for free text: ids, names, closed words, numbers, hashes.
//!
//! A reason is a `&'static str`, so it stands in our source; an error code of a provider goes through
//! [`oauth_error`], which knows the registered ones and calls every other `other`.

use crate::{
    hash::Digest,
    record::{EventName, FindingKind},
};
use nightlatch_domain::{
    id::{
        AttemptId, CallId, ConnectionId, GrantId, KeeperId, PrincipalId, TaskId, TenantId, TicketId, WakeId,
    },
    problem::ProblemKind,
    task::Assurance,
    tool::{Effect, Name, OperationId, Scheme},
};
use std::net::{IpAddr, Ipv6Addr};

/// The longest host name (RFC 1035 §2.3.4).
const HOST_NAME_MAX_BYTES: usize = 253;

/// The host that a caller wanted to reach. The one text of a caller's choice that a record holds, so it is one
/// host name in lower case, or nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostName(String);

impl HostName {
    /// A host name; none where the text is anything else.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let inner = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b':');
        let sound = !text.is_empty() && text.len() <= HOST_NAME_MAX_BYTES && text.bytes().all(inner);
        sound.then(|| Self(text.to_owned()))
    }

    pub(crate) fn into_text(self) -> String {
        self.0
    }
}

/// What an intent says besides the exchange.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct IntentFacts {
    /// The wake that the lease belongs to.
    pub wake: Option<WakeId>,
    /// How sure the keeper is of who woke.
    pub assurance: Option<Assurance>,
    /// Keyed hash of the body, where it was read before it was decided.
    pub body: Option<Digest>,
}

/// What came of a call.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OutcomeFacts {
    /// The tool's status; none where no answer came.
    pub status: Option<u16>,
    /// What the agent was told instead of the tool's answer.
    pub problem: Option<ProblemKind>,
    /// Body bytes to the tool.
    pub sent_bytes: u64,
    /// Body bytes to the agent.
    pub received_bytes: u64,
    /// Whether both bodies came to their end.
    pub complete: bool,
    /// From the head to the end, in milliseconds.
    pub took_millis: u64,
    /// Keyed hash of the body that was sent ([`BodyDigest`](crate::BodyDigest)).
    pub sent: Option<Digest>,
    /// Keyed hash of the body that was received.
    pub received: Option<Digest>,
}

/// A refused call of an admitted agent, as far as it was understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusalFacts {
    /// The call.
    pub call: Option<CallId>,
    /// What the agent is told.
    pub problem: ProblemKind,
    /// The reason of policy, where policy refused.
    pub reason: Option<&'static str>,
    /// The policies that refused: our own names and those of the operator's files.
    pub policies: Vec<String>,
    /// The tool.
    pub tool: Option<Name>,
    /// The operation.
    pub operation: Option<OperationId>,
    /// What it would have done.
    pub effect: Option<Effect>,
    /// The grant, where the reference named one of this agent and task.
    pub grant: Option<GrantId>,
    /// The connection.
    pub connection: Option<ConnectionId>,
    /// The host that it wanted to reach, where no tool has it.
    pub host: Option<HostName>,
    /// By which scheme.
    pub scheme: Option<Scheme>,
    /// At which port.
    pub port: Option<u16>,
    /// How many alike are told of at once; else 1. What is beyond 10 000 is not believed.
    pub count: u64,
}

impl RefusalFacts {
    /// A refusal of which nothing more is known.
    #[must_use]
    pub const fn new(problem: ProblemKind) -> Self {
        Self {
            call: None,
            problem,
            reason: None,
            policies: Vec::new(),
            tool: None,
            operation: None,
            effect: None,
            grant: None,
            connection: None,
            host: None,
            scheme: None,
            port: None,
            count: 1,
        }
    }
}

/// Where a caller that proved nothing came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// A network address.
    Address(IpAddr),
    /// A local user.
    Uid(u32),
}

impl Source {
    /// The source as it is counted: one IPv6 caller has a /64 to choose from.
    #[must_use]
    pub(crate) fn counted(self) -> Self {
        match self {
            Self::Address(IpAddr::V6(address)) if address.to_ipv4_mapped().is_none() => {
                let network = u128::from(address) & !u128::from(u64::MAX);
                Self::Address(IpAddr::V6(Ipv6Addr::from(network)))
            }
            other => other,
        }
    }
}

impl std::fmt::Display for Source {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Address(address) => address.fmt(out),
            Self::Uid(uid) => write!(out, "uid {uid}"),
        }
    }
}

/// Something that was noticed in a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FindingFacts {
    /// The tenant.
    pub tenant: TenantId,
    /// The call.
    pub call: Option<CallId>,
    /// The connection.
    pub connection: Option<ConnectionId>,
    /// What.
    pub finding: FindingKind,
    /// How often.
    pub count: u64,
}

/// Something else that happened, and whom it is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventFacts {
    /// What.
    pub event: EventName,
    /// The tenant.
    pub tenant: Option<TenantId>,
    /// The call.
    pub call: Option<CallId>,
    /// The human who did it.
    pub human: Option<PrincipalId>,
    /// The agent.
    pub agent: Option<PrincipalId>,
    /// The task.
    pub task: Option<TaskId>,
    /// The grant.
    pub grant: Option<GrantId>,
    /// The connection.
    pub connection: Option<ConnectionId>,
    /// The tool.
    pub tool: Option<Name>,
    /// The wake.
    pub wake: Option<WakeId>,
    /// How sure the keeper is of who woke.
    pub assurance: Option<Assurance>,
    /// The presentation of a refresh token.
    pub attempt: Option<AttemptId>,
    /// The keeper that it is about.
    pub keeper: Option<KeeperId>,
    /// The ticket that asks a human.
    pub ticket: Option<TicketId>,
    /// Why, in one of our words.
    pub reason: Option<&'static str>,
    /// The host that was reached, where no tool has it.
    pub host: Option<HostName>,
    /// By which scheme.
    pub scheme: Option<Scheme>,
    /// At which port.
    pub port: Option<u16>,
    /// How many, where something is counted; else 1.
    pub count: u64,
}

impl EventFacts {
    /// An event of which nothing more is known; fill in the rest with struct update.
    #[must_use]
    pub const fn new(event: EventName) -> Self {
        Self {
            event,
            tenant: None,
            call: None,
            human: None,
            agent: None,
            task: None,
            grant: None,
            connection: None,
            tool: None,
            wake: None,
            assurance: None,
            attempt: None,
            keeper: None,
            ticket: None,
            reason: None,
            host: None,
            scheme: None,
            port: None,
            count: 1,
        }
    }
}

/// The registered error codes of RFC 6749 §4.1.2.1 and §5.2, RFC 7009 §2.2.1, RFC 9126 and OpenID
/// Connect Core §3.1.2.6.
const OAUTH_ERRORS: [&str; 16] = [
    "invalid_request",
    "invalid_client",
    "invalid_grant",
    "unauthorized_client",
    "unsupported_grant_type",
    "unsupported_response_type",
    "unsupported_token_type",
    "invalid_scope",
    "access_denied",
    "server_error",
    "temporarily_unavailable",
    "interaction_required",
    "login_required",
    "account_selection_required",
    "consent_required",
    "invalid_token",
];

/// A provider's error code as one of our words; `other` for what is not registered.
#[must_use]
pub fn oauth_error(code: &str) -> &'static str {
    OAUTH_ERRORS.iter().copied().find(|known| *known == code).unwrap_or("other")
}
