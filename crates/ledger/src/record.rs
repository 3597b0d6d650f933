//! One line of the ledger, as it is written and read back.
//!
//! These are for reading: only the writer makes records, from [`facts`](crate::facts), which have no
//! field for free text. Fields that do not apply are left out of the line.

use crate::{hash::Digest, words::words};
use nightlatch_domain::{
    clock::Timestamp,
    id::{
        AttemptId, CallId, ConnectionId, GrantId, KeeperId, PrincipalId, TaskId, TenantId, TicketId, WakeId,
    },
    task::Assurance,
    tool::{Effect, Name, OperationId, Scheme, Sensitivity},
};
use serde::{Deserialize, Serialize};

/// A record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Its number, from 1, without gaps.
    pub seq: u64,
    /// SHA-256 of the line before it, without its newline, hexadecimal; zeros for the first.
    pub prev: String,
    /// When it was written.
    pub at: Timestamp,
    /// What it says.
    #[serde(flatten)]
    pub entry: Entry,
}

impl Record {
    /// Writes its line: what [`Serialize`] gives, in a fraction of the steps that a flattened field takes there, since
    /// every call writes two of them.
    pub(crate) fn write(&self, line: &mut Vec<u8>) -> serde_json::Result<()> {
        serde_json::to_writer(
            &mut *line,
            &Head { seq: self.seq, prev: &self.prev, at: self.at, kind: self.entry.kind() },
        )?;
        // The entry's fields are the head's: `…}` and `{…` become `…,…`.
        line.pop();
        let from = line.len();
        match &self.entry {
            Entry::Intent(entry) => serde_json::to_writer(&mut *line, entry),
            Entry::Outcome(entry) => serde_json::to_writer(&mut *line, entry),
            Entry::Refusal(entry) => serde_json::to_writer(&mut *line, entry),
            Entry::Finding(entry) => serde_json::to_writer(&mut *line, entry),
            Entry::Event(entry) => serde_json::to_writer(&mut *line, entry),
        }?;
        // Every entry has a field that is never left out.
        line.get_mut(from).into_iter().for_each(|begins| *begins = b',');
        Ok(())
    }
}

/// What every line begins with.
#[derive(Serialize)]
struct Head<'a> {
    seq: u64,
    prev: &'a str,
    at: Timestamp,
    kind: Kind,
}

/// What a record says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Entry {
    /// A call is about to leave with a credential.
    Intent(Intent),
    /// What came of it.
    Outcome(Outcome),
    /// A call that was not made.
    Refusal(Refusal),
    /// Something that was noticed in a call.
    Finding(Finding),
    /// Something else that happened.
    Event(Event),
}

words! {
    /// The kinds of record.
    Kind {
        /// [`Entry::Intent`].
        Intent = "intent",
        /// [`Entry::Outcome`].
        Outcome = "outcome",
        /// [`Entry::Refusal`].
        Refusal = "refusal",
        /// [`Entry::Finding`].
        Finding = "finding",
        /// [`Entry::Event`].
        Event = "event",
    }
}

impl Entry {
    /// Its kind.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Intent(_) => Kind::Intent,
            Self::Outcome(_) => Kind::Outcome,
            Self::Refusal(_) => Kind::Refusal,
            Self::Finding(_) => Kind::Finding,
            Self::Event(_) => Kind::Event,
        }
    }

    /// The tenant that it belongs to; none where nobody was proved.
    #[must_use]
    pub const fn tenant(&self) -> Option<TenantId> {
        match self {
            Self::Intent(entry) => Some(entry.tenant),
            Self::Outcome(entry) => Some(entry.tenant),
            Self::Refusal(entry) => entry.tenant,
            Self::Finding(entry) => Some(entry.tenant),
            Self::Event(entry) => entry.tenant,
        }
    }

    /// The call that it is about.
    #[must_use]
    pub const fn call(&self) -> Option<CallId> {
        match self {
            Self::Intent(entry) => Some(entry.call),
            Self::Outcome(entry) => Some(entry.call),
            Self::Refusal(entry) => entry.call,
            Self::Finding(entry) => entry.call,
            Self::Event(entry) => entry.call,
        }
    }

    /// Whether a human should hear of it.
    #[must_use]
    pub fn is_alarm(&self) -> bool {
        matches!(self, Self::Event(event) if event.event.is_alarm())
    }
}

words! {
    /// HTTP methods; whatever is not listed is `OTHER`, so that no caller writes its own word here.
    Method {
        /// GET.
        Get = "GET",
        /// HEAD.
        Head = "HEAD",
        /// POST.
        Post = "POST",
        /// PUT.
        Put = "PUT",
        /// PATCH.
        Patch = "PATCH",
        /// DELETE.
        Delete = "DELETE",
        /// OPTIONS.
        Options = "OPTIONS",
        /// Any other.
        Other = "OTHER",
    }
}

impl Method {
    /// The method of a canonical target.
    #[must_use]
    pub fn of(text: &str) -> Self {
        Self::ALL.iter().copied().find(|known| known.as_str() == text).unwrap_or(Self::Other)
    }
}

/// A call is about to leave with a credential.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// The tenant.
    pub tenant: TenantId,
    /// The call.
    pub call: CallId,
    /// Who calls.
    pub agent: PrincipalId,
    /// For which task.
    pub task: TaskId,
    /// In which wake.
    pub wake: Option<WakeId>,
    /// How sure the keeper is of who woke.
    pub assurance: Option<Assurance>,
    /// Under which grant.
    pub grant: GrantId,
    /// With which connection.
    pub connection: ConnectionId,
    /// The tool.
    pub tool: Name,
    /// The bound host, as its Host header has it.
    pub host: String,
    /// The method.
    pub method: Method,
    /// The path template of the manifest; `*` for what no manifest lists.
    pub template: String,
    /// The operation.
    pub operation: OperationId,
    /// What it does.
    pub effect: Effect,
    /// How bad it would be if it were seen.
    pub sensitivity: Sensitivity,
    /// Keyed hash of the canonical head, as policy saw it.
    pub head: Digest,
    /// Keyed hash of the path.
    pub path: Digest,
    /// Keyed hash of the query, where there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query: Option<Digest>,
    /// Keyed hash of the resource, where one is named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource: Option<Digest>,
    /// What its body asks for besides the operation.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub also: Vec<OperationId>,
    /// Keyed hash of the body, where it was read before it was decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<Digest>,
}

/// What came of a call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// The tenant.
    pub tenant: TenantId,
    /// The call.
    pub call: CallId,
    /// The number of its intent.
    pub intent: u64,
    /// The tool's status; none where no answer came.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The kind of problem that the agent was told of instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// Body bytes to the tool.
    pub sent_bytes: u64,
    /// Body bytes to the agent.
    pub received_bytes: u64,
    /// Whether both bodies came to their end.
    pub complete: bool,
    /// From the head to the end, in milliseconds.
    pub took_millis: u64,
    /// Keyed hash of the body that was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sent: Option<Digest>,
    /// Keyed hash of the body that was received.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub received: Option<Digest>,
}

/// Calls that were not made: one, or many alike that were counted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The tenant; none where nobody was proved.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<TenantId>,
    /// The call; none where many are counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call: Option<CallId>,
    /// The agent, where one was proved.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<PrincipalId>,
    /// The task, where one was proved.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task: Option<TaskId>,
    /// Where an unproved caller came from: an address (IPv6: its /64), a UID, or `others`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The problem's kind.
    pub problem: String,
    /// The reason of policy, where policy refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The policies that refused: names of our own and of the operator's files.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<String>,
    /// The tool.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool: Option<Name>,
    /// The operation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation: Option<OperationId>,
    /// What it would have done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub effect: Option<Effect>,
    /// The grant, where the reference named one of this agent and task.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grant: Option<GrantId>,
    /// The connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connection: Option<ConnectionId>,
    /// The host that it wanted to reach, where no tool has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// By which scheme; `https` for a tunnel, whatever the client speaks in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheme: Option<Scheme>,
    /// At which port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// How many.
    pub count: u64,
    /// The first of them.
    pub first: Timestamp,
    /// The last of them.
    pub last: Timestamp,
}

words! {
    /// What can be noticed in a call.
    FindingKind {
        /// A living secret of the connection stood in the answer and was masked.
        SecretMasked = "secret-masked",
        /// What has the shape of a secret, and is none of the connection's, stood in the answer. It passed: it is the tool's own.
        SecretRevealed = "secret-revealed",
        /// A cookie of the tool was not handed on.
        CookieDropped = "cookie-dropped",
        /// The tool answered 401 to a credential that should be good.
        CredentialRejected = "credential-rejected",
        /// An answer was larger or slower than a limit and was cut.
        AnswerCut = "answer-cut",
    }
}

/// Something that was noticed in a call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The tenant.
    pub tenant: TenantId,
    /// The call.
    pub call: Option<CallId>,
    /// The connection.
    pub connection: Option<ConnectionId>,
    /// What.
    pub finding: FindingKind,
    /// How often in this call.
    pub count: u64,
}

words! {
    /// What can happen besides calls. Others depend on these words: the list is a golden file.
    EventName {
        /// The program began to write this ledger.
        Started = "started",
        /// It was closed in order.
        Stopped = "stopped",
        /// At the start, a last line that was never finished was moved aside.
        LedgerRecovered = "ledger-recovered",
        /// A reference was used by an agent or task that it does not belong to.
        ReferenceMisused = "reference-misused",
        /// A task reached a host that no tool has, without a credential.
        EgressOpened = "egress-opened",
        /// A refresh of a client's own was answered with the reference that it came with.
        TokenAnswered = "token-answered",
        /// The keeper refused a lease, because what is stored could not be verified.
        LeaseRefused = "lease-refused",
        /// A call went on without its agent, by the agent's signed word for it.
        MandateUsed = "mandate-used",
        /// A webhook took the end of a call.
        WebhookDelivered = "webhook-delivered",
        /// A webhook did not take the end of a call, and is not told any more.
        WebhookGivenUp = "webhook-given-up",
        /// A human was added.
        HumanAdded = "human-added",
        /// An agent was added.
        AgentAdded = "agent-added",
        /// An agent's key was enrolled.
        AgentEnrolled = "agent-enrolled",
        /// An enrolment code was handed out.
        EnrolmentOffered = "enrolment-offered",
        /// An agent was disabled.
        AgentDisabled = "agent-disabled",
        /// An agent was enabled again.
        AgentEnabled = "agent-enabled",
        /// A task was opened.
        TaskOpened = "task-opened",
        /// A wake began.
        TaskWoke = "task-woke",
        /// A task was put to sleep.
        TaskSlept = "task-slept",
        /// A task was completed.
        TaskCompleted = "task-completed",
        /// A grant was given.
        GrantAdded = "grant-added",
        /// A grant was taken back.
        GrantRevoked = "grant-revoked",
        /// A tool's manifest was added.
        ToolAdded = "tool-added",
        /// Our registration at a provider was stored.
        ClientAdded = "client-added",
        /// A flow was begun.
        FlowBegun = "flow-begun",
        /// Refresh tokens that another system held were taken in.
        ImportTaken = "import-taken",
        /// A flow or an import failed.
        FlowFailed = "flow-failed",
        /// An account was connected.
        ConnectionMade = "connection-made",
        /// The same account was connected again.
        ConnectionReconnected = "connection-reconnected",
        /// A connection was removed, and its secrets with it.
        ConnectionRemoved = "connection-removed",
        /// A provider confirmed the end of a token that nobody lives on any more.
        TokenRevoked = "token-revoked",
        /// A token that nobody lives on any more could not be revoked, and was deleted; at its provider it may live on.
        RevocationGivenUp = "revocation-given-up",
        /// The provider ended a connection for good; a human is asked.
        RefreshLatched = "refresh-latched",
        /// A refresh token was perhaps presented, and no answer is known; a human is asked.
        RefreshUncertain = "refresh-uncertain",
        /// A refresh token may have left after its send deadline: the process was stopped between the look at the
        /// clock and the write, and another keeper may have taken the chain over by then.
        LateSend = "late-send",
        /// What is stored and what was anchored disagree; nothing is presented.
        ChainQuarantined = "chain-quarantined",
        /// A provider's answer showed something else than its profile says.
        ProfileContradicted = "profile-contradicted",
        /// A human vouched for a keeper whose log is empty or was copied.
        KeeperAdopted = "keeper-adopted",
        /// A human said that a keeper never comes back.
        KeeperForgotten = "keeper-forgotten",
    }
}

impl EventName {
    /// Whether a human should hear of it: shown by `health`.
    #[must_use]
    pub const fn is_alarm(self) -> bool {
        matches!(
            self,
            Self::LedgerRecovered
                | Self::ReferenceMisused
                | Self::LeaseRefused
                | Self::WebhookGivenUp
                | Self::RefreshLatched
                | Self::RefreshUncertain
                | Self::LateSend
                | Self::ChainQuarantined
                | Self::RevocationGivenUp
        )
    }

    /// Whether whoever records it waits for the disk. The misuse of a reference is on it with the next signed
    /// head: a sync that only a foreign reference brings about would tell it from an unknown one, to
    /// whoever asks next. What goes with no credential waits no longer than a read does.
    #[must_use]
    pub const fn waits_for_disk(self) -> bool {
        !matches!(
            self,
            Self::ReferenceMisused | Self::EgressOpened | Self::TokenAnswered | Self::WebhookDelivered
        )
    }

    /// Whether an agent can cause it as often as it likes and a number says enough: then it has a budget, one
    /// for each name. A permission is never counted, however often it is given: what was reached, and when, is
    /// what the record is for. So it is the gateway that paces them, for each task.
    #[must_use]
    pub const fn is_provoked(self) -> bool {
        matches!(
            self,
            Self::ReferenceMisused
                | Self::LeaseRefused
                | Self::TaskWoke
                | Self::TokenAnswered
                | Self::WebhookGivenUp
        )
    }
}

/// Something else that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// What.
    pub event: EventName,
    /// The tenant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<TenantId>,
    /// The call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call: Option<CallId>,
    /// The human who did it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub human: Option<PrincipalId>,
    /// The agent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<PrincipalId>,
    /// The task.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task: Option<TaskId>,
    /// The grant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grant: Option<GrantId>,
    /// The connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connection: Option<ConnectionId>,
    /// The tool.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool: Option<Name>,
    /// The wake.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wake: Option<WakeId>,
    /// How sure the keeper is of who woke.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub assurance: Option<Assurance>,
    /// The presentation of a refresh token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempt: Option<AttemptId>,
    /// The keeper that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keeper: Option<KeeperId>,
    /// The ticket that asks a human.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ticket: Option<TicketId>,
    /// Why, in one of our words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The host that was reached, where no tool has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// By which scheme; `https` for a tunnel, whatever the client speaks in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheme: Option<Scheme>,
    /// At which port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// How many alike, where they were counted.
    pub count: u64,
}

#[cfg(test)]
mod tests {
    use super::{Entry, Record};
    use crate::{
        Recorded, entries,
        facts::{EventFacts, FindingFacts, IntentFacts, OutcomeFacts, RefusalFacts},
        record::{EventName, FindingKind, Refusal},
        testing::{exchange, keys},
    };
    use nightlatch_domain::{clock::Timestamp, problem::ProblemKind, tool::Effect};

    #[test]
    fn a_line_is_what_serde_writes_of_its_record() {
        let (now, call) = (Timestamp::from_millis(7), exchange(1, Effect::Write));
        let intent = entries::intent(&keys(), &call, IntentFacts::default()).unwrap();
        let recorded = Recorded { tenant: call.caller.tenant, call: call.call, seq: 3 };
        let finding = FindingFacts {
            tenant: call.caller.tenant,
            call: None,
            connection: None,
            finding: FindingKind::SecretMasked,
            count: 2,
        };
        let all = [
            intent,
            entries::outcome(&recorded, OutcomeFacts::default()),
            entries::refusal(&call.caller, RefusalFacts::new(ProblemKind::TooLarge), now),
            Entry::Refusal(Refusal::bare(ProblemKind::NotAdmitted, now, now)),
            entries::finding(finding),
            entries::event(EventFacts::new(EventName::Stopped)),
        ];
        for entry in all {
            let record = Record { seq: 9, prev: "0".repeat(64), at: now, entry };
            let mut line = b"before\n".to_vec();
            record.write(&mut line).unwrap();
            assert_eq!(
                String::from_utf8(line).unwrap(),
                format!("before\n{}", serde_json::to_string(&record).unwrap())
            );
        }
    }
}
