//! Refusals: every answer that is not a 2xx, as RFC 9457 problem details.
//!
//! The set of kinds is closed and each has its own stable `type`, status and one sentence that tells
//! a language model what to do. What an agent reads is built from our own words and ids only: nothing
//! that a provider, an upstream or another agent wrote comes through here.

use crate::{
    id::{CallId, TicketId},
    tool::Name,
};
use serde::Serialize;

/// Where the fault lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// The caller sent what cannot be accepted.
    Caller,
    /// It was understood, and it is not allowed.
    Policy,
    /// The tool or its provider failed.
    Upstream,
    /// We did.
    Us,
}

macro_rules! problems {
    ($($(#[$doc:meta])* $name:ident = $slug:literal, $status:literal, $origin:ident, $retryable:literal, $title:literal, $detail:literal;)*) => {
        /// The kinds of refusal. The list is closed; a kind's `type` never changes its meaning.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum ProblemKind { $($(#[$doc])* $name,)* }

        impl ProblemKind {
            /// Every kind.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The kebab-case word at the end of `type`.
            #[must_use]
            pub const fn slug(self) -> &'static str { match self { $(Self::$name => $slug,)* } }
            /// The HTTP status.
            #[must_use]
            pub const fn status(self) -> u16 { match self { $(Self::$name => $status,)* } }
            /// Where the fault lies.
            #[must_use]
            pub const fn origin(self) -> Origin { match self { $(Self::$name => Origin::$origin,)* } }
            /// Whether the same call may succeed later without anybody changing anything.
            #[must_use]
            pub const fn retryable(self) -> bool { match self { $(Self::$name => $retryable,)* } }
            /// A short name for people.
            #[must_use]
            pub const fn title(self) -> &'static str { match self { $(Self::$name => $title,)* } }
            /// One sentence or two that say what to do.
            #[must_use]
            pub const fn detail(self) -> &'static str { match self { $(Self::$name => $detail,)* } }
        }
    };
}

problems! {
    /// The request could be read in two ways, or breaks a rule of framing.
    BadRequest = "bad-request", 400, Caller, false, "the request is ambiguous or malformed",
        "Do not retry. Nightlatch refuses what two parsers could read in two ways; send a plain HTTP request.";
    /// No agent was proved on this connection.
    NotAdmitted = "not-admitted", 401, Caller, false, "no agent is proved on this connection",
        "Do not retry. Connect with the TLS client certificate that was enrolled for this task (`nightlatch agent enrol`).";
    /// No reference came with a call to a bound host.
    ReferenceMissing = "reference-missing", 401, Caller, false, "no reference came with the call",
        "Send the reference of your grant where the tool expects its own credential.";
    /// The reference is not known for this agent and task.
    ReferenceUnknown = "reference-unknown", 403, Policy, false, "this reference is not known here",
        "Do not retry and do not try other references. Use the reference that your own task was given.";
    /// The grant was taken back or has ended.
    GrantEnded = "grant-ended", 403, Policy, false, "the grant has ended",
        "Do not retry. The human who gave this grant took it back or it ran out; ask for a new one.";
    /// The task is completed, killed or over.
    TaskEnded = "task-ended", 403, Policy, false, "the task has ended",
        "Do not retry. The task that this reference belongs to is over; work goes on in a new task.";
    /// The agent was disabled.
    AgentDisabled = "agent-disabled", 403, Policy, false, "the agent is disabled",
        "Do not retry. A human disabled this agent.";
    /// Policy or grant does not allow this operation on this resource.
    PolicyDenied = "policy-denied", 403, Policy, false, "this action is not allowed for this task",
        "Do not retry and do not look for another way. If the task needs this action, ask its human for a grant that covers it.";
    /// A credential stands where only the reference may.
    SecondCredential = "second-credential", 403, Caller, false, "another credential came beside the reference",
        "Do not retry as it is. Remove the field that is named here: exactly one reference, in its place, is allowed.";
    /// The host or path is none that the connection was confirmed for.
    DestinationDenied = "destination-denied", 403, Policy, false, "the connection was not confirmed for this destination",
        "Do not retry. A credential goes only where its connection was confirmed for.";
    /// A host that no tool has, for a task that reaches its tools only.
    EgressDenied = "egress-denied", 403, Policy, false, "this task reaches the hosts of its tools only",
        "Do not retry and do not look for another way. No tool of this task has this host; a human can add a tool for it, or open the task with `--egress open`.";
    /// Host, SNI and request disagree.
    Misdirected = "misdirected-request", 421, Caller, false, "host and connection disagree",
        "Do not retry on this connection. Host header, TLS server name and request target must name the same host.";
    /// A web page of another site sent it.
    CrossSite = "cross-site", 403, Caller, false, "a web page may not call this gateway",
        "Do not retry. Send the request from a program, without Origin and fetch metadata.";
    /// The tool has no such host or the path belongs to nothing.
    NotFound = "not-found", 404, Caller, false, "no such tool or path here",
        "Do not retry. Paths are `/TOOL/…`; `nightlatch tool list` shows the tools.";
    /// Something that is not built.
    NotSupported = "not-supported", 501, Us, false, "this is not supported yet",
        "Do not retry. This version does not do this; the documentation lists what it does.";
    /// A limit on size was passed.
    TooLarge = "too-large", 413, Caller, false, "the request is larger than the limit",
        "Do not retry as it is. Send less at once.";
    /// Too many calls at once.
    TooManyCalls = "too-many-calls", 429, Policy, true, "too many calls at once",
        "Wait for the stated time, then go on more slowly.";
    /// The tool's provider asked to be left alone for a while.
    ProviderLimit = "provider-limit", 429, Upstream, true, "the tool asked to wait",
        "Wait for the stated time, then go on more slowly. The tool limits this account, whoever calls it, and no other way to it is faster. Nothing was sent.";
    /// The same request failed for the same reason before.
    RepeatedFailure = "repeated-failure", 429, Policy, false, "the same request keeps failing for the same reason",
        "Do not send it again as it is: repeating this will fail for the same reason. Read the earlier answer and change the request, or tell your human. Nothing was sent.";
    /// What the grant was good for is used up.
    BudgetExhausted = "budget-exhausted", 403, Policy, false, "the budget of this grant is used up",
        "Do not retry and do not look for another way. What this grant was good for is used up, and nothing was sent. Tell your human: a new grant with a new budget (`nightlatch grant add … --budget …`) is theirs to give.";
    /// A human must connect the account again.
    ReauthRequired = "reauth-required", 424, Upstream, false, "a human must reconnect the account",
        "Do not retry and do not look for another way. The provider ended this connection; its human was asked, and the same reference will work again afterwards. Sleep until then.";
    /// The credential is being renewed and was not ready in time.
    CredentialPending = "credential-pending", 503, Upstream, true, "the credential is being renewed",
        "Wait for the stated time, then send the same call again.";
    /// The keeper refused the lease: what is stored does not bear its signature.
    LeaseRefused = "lease-refused", 403, Us, false, "no credential is given for this call",
        "Do not retry. What is stored about this connection, task or agent could not be verified; a human must look at it.";
    /// The tool could not be reached.
    UpstreamUnreachable = "upstream-unreachable", 502, Upstream, true, "the tool could not be reached",
        "Wait for the stated time, then try again. Nothing was sent.";
    /// The tool's answer broke off or could not be read; what happened there is not known.
    OutcomeUnknown = "outcome-unknown", 502, Upstream, false, "what happened at the tool is not known",
        "The call was sent and no whole answer came. Look at the tool before you repeat it.";
    /// The tool took too long.
    UpstreamTimeout = "upstream-timeout", 504, Upstream, false, "the tool did not answer in time",
        "The call was sent and no answer came in time. Look at the tool before you repeat it.";
    /// The record could not be written.
    LedgerUnavailable = "ledger-unavailable", 503, Us, true, "the record cannot be written",
        "Nothing was sent. Wait for the stated time, then send the same call again.";
    /// The gateway's view of grants is older than it may be.
    DirectoryStale = "directory-stale", 503, Us, true, "the directory is too old to decide on",
        "Nothing was sent. Wait for the stated time, then send the same call again.";
    /// The keeper does not answer.
    KeeperUnavailable = "keeper-unavailable", 503, Us, true, "the keeper does not answer",
        "Nothing was sent. Wait for the stated time, then send the same call again.";
    /// A local program that did not show the password of its run.
    ProxyPassword = "proxy-password", 407, Caller, false, "the local proxy asks for its password",
        "Send the password that stands in the proxy's URL (`http://nightlatch:PASSWORD@…`). It belongs to one run: do not try others.";
    /// A process of another local user, or of one that the kernel does not name.
    PeerRefused = "peer-refused", 403, Policy, false, "the local proxy serves another user",
        "Do not retry and do not look for another way. This proxy serves the programs of one user and one task.";
    /// A request for a server came to the local proxy.
    ProxyOnly = "proxy-only", 400, Caller, false, "this is a proxy and no server",
        "Do not retry as it is. Set this address as the proxy (`HTTPS_PROXY`, `HTTP_PROXY`) and ask for the host that you mean.";
    /// A host under `invalid`, the companion's own among them, where it is not the companion that is asked.
    CompanionOnly = "companion-only", 403, Caller, false, "no host is reached by this name",
        "Do not retry as it is. Nothing under `invalid` is ever reached. The companion answers `http://nightlatch.invalid/v1/calls` itself: ask over plain HTTP, not in a tunnel, by the proxy that the companion is, and on a connection of its own.";
    /// The companion has no connection to its gateway.
    GatewayUnreachable = "gateway-unreachable", 503, Us, true, "the gateway cannot be reached",
        "Nothing was sent. Wait for the stated time, then send the same call again.";
    /// The companion's connection to its gateway broke off under a durable call.
    GatewayLost = "gateway-lost", 503, Us, true, "the connection to the gateway was lost",
        "Wait for the stated time, then send exactly the same request again: with the same idempotency key and bytes it is the same call, carried out once.";
    /// A durable call came without a key of its own.
    IdempotencyKeyMissing = "idempotency-key-missing", 400, Caller, false, "a durable call needs a key of its own",
        "Send the same request again with a header `Idempotency-Key: \"…\"` (in quotes, new for each call that you mean, the same when you repeat one).";
    /// The key belongs to another request.
    IdempotencyKeyReused = "idempotency-key-reused", 422, Caller, false, "this key belongs to another request",
        "Do not retry with this key. It was sent with other bytes before; send exactly those again, or use a new key for a new call.";
    /// No durable call of this task has this id.
    CallUnknown = "call-unknown", 404, Caller, false, "no call of this task has this id",
        "Do not retry and do not try other ids. A call is known to the agent and task that asked for it, and is forgotten a day after its end.";
    /// A durable call that could not be begun in its time.
    CallExpired = "call-expired", 504, Policy, false, "the call was not begun before its deadline",
        "Nothing was sent. Until its deadline the task was asleep or the credential was out of reach; ask again with a new key if it is still wanted.";
    /// A mandate that the keeper does not act on.
    MandateRejected = "mandate-rejected", 403, Policy, false, "the mandate is not accepted",
        "Do not retry with this mandate. It must be signed by the key of this connection over this very call, end within a day, and it is good once.";
    /// The webhook that a durable call names is none of the operator's.
    WebhookUnknown = "webhook-unknown", 422, Caller, false, "no webhook has this name",
        "Do not retry as it is, and do not try other names or addresses: webhooks are the operator's, in nightlatch.toml. Nothing was accepted; leave `webhook` out and ask for the call's end by GET.";
    /// Something of ours failed.
    Internal = "internal", 500, Us, false, "something failed inside Nightlatch",
        "Do not retry. A human must look at the log of Nightlatch.";
}

impl ProblemKind {
    /// The kind with this word.
    #[must_use]
    pub fn of_slug(slug: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.slug() == slug)
    }

    /// Whether a call that ended so may have been sent.
    #[must_use]
    pub const fn perhaps_sent(self) -> bool {
        matches!(self, Self::OutcomeUnknown | Self::UpstreamTimeout)
    }
}

/// A refusal of one call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Which.
    pub kind: ProblemKind,
    /// The call, where there was one.
    pub call: Option<CallId>,
    /// The tool, where it was known.
    pub tool: Option<Name>,
    /// The ticket that asks a human, where there is one.
    pub ticket: Option<TicketId>,
    /// The offending field, from a closed list or a manifest: never a value.
    pub field: Option<String>,
    /// After how many seconds to try again.
    pub retry_after_secs: Option<u64>,
}

impl Problem {
    /// A refusal of a kind, with nothing more said.
    #[must_use]
    pub const fn new(kind: ProblemKind) -> Self {
        Self { kind, call: None, tool: None, ticket: None, field: None, retry_after_secs: None }
    }

    /// The same, of a tool.
    #[must_use]
    pub fn of_tool(mut self, tool: &Name) -> Self {
        self.tool = Some(tool.clone());
        self
    }

    /// The same, naming the field at fault.
    #[must_use]
    pub fn at_field(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }

    /// The same, with the ticket that asks a human.
    #[must_use]
    pub fn with_ticket(mut self, ticket: Option<TicketId>) -> Self {
        self.ticket = ticket;
        self
    }

    /// The same, with a time to wait.
    #[must_use]
    pub const fn retry_after(mut self, secs: u64) -> Self {
        self.retry_after_secs = Some(secs);
        self
    }

    /// What is sent as `application/problem+json`.
    #[must_use]
    pub fn body(&self) -> ProblemBody {
        ProblemBody {
            kind: format!("https://nightlatch.dev/problems/{}", self.kind.slug()),
            title: self.kind.title(),
            status: self.kind.status(),
            detail: self.kind.detail(),
            retryable: self.kind.retryable(),
            retry_after: self.retry_after_secs.or(self.kind.retryable().then_some(1)),
            call: self.call,
            tool: self.tool.clone(),
            ticket: self.ticket,
            field: self.field.clone(),
        }
    }
}

impl From<ProblemKind> for Problem {
    fn from(kind: ProblemKind) -> Self {
        Self::new(kind)
    }
}

/// The JSON of a refusal (RFC 9457 §3, with our extension members).
#[derive(Debug, Clone, Serialize)]
pub struct ProblemBody {
    /// A stable URI.
    #[serde(rename = "type")]
    pub kind: String,
    /// A short name for people.
    pub title: &'static str,
    /// The HTTP status again.
    pub status: u16,
    /// What to do.
    pub detail: &'static str,
    /// Whether the same call may succeed later by itself.
    pub retryable: bool,
    /// Seconds to wait, where it may.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u64>,
    /// The call's id, for `nightlatch why`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call: Option<CallId>,
    /// The tool.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool: Option<Name>,
    /// The ticket that asks a human.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ticket: Option<TicketId>,
    /// The field at fault.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::ProblemKind;
    use std::collections::BTreeSet;

    #[test]
    fn every_kind_has_its_own_slug_and_no_success_status() {
        let slugs: BTreeSet<_> = ProblemKind::ALL.iter().map(|kind| kind.slug()).collect();
        assert_eq!(slugs.len(), ProblemKind::ALL.len());
        for kind in ProblemKind::ALL {
            assert!((400..600).contains(&kind.status()), "{}", kind.slug());
            assert!(kind.slug().bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'));
        }
    }
}
