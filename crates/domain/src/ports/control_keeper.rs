//! What control asks of the keeper: take in what a human typed, vouch for rows, run OAuth flows.
//!
//! What a human types is sealed to the keeper's intake key by the first process that reads it; control
//! carries it and cannot open it. Only the keeper makes `state`, nonce and PKCE verifiers, redeems
//! codes and writes credential rows.

use super::{Boxed, store::Registered};
use crate::{chain::FlowOutcome, clock::Timestamp, grant::Grant};
use crate::{
    id::{ClientId, ConnectionId, ContextId, FlowId, KeeperId, PrincipalId, TenantId},
    principal::{Agent, EnrolmentCode},
    sealed::{Attestation, ClientAuth, Sealed, SealingKey},
    task::Task,
    tool::{BoundHost, Name},
};
use serde::{Deserialize, Serialize};

/// The keeper as control sees it.
pub trait KeeperForControl: Send + Sync {
    /// Asks, and waits for the answer.
    fn ask(&self, request: ControlRequest) -> Boxed<'_, Result<ControlReply, ControlRefusal>>;
}

/// A request of control.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "kebab-case")]
pub enum ControlRequest {
    /// The key that secrets are sealed to on their way in. → [`ControlReply::IntakeKey`]
    IntakeKey,
    /// Vouch for a row. → [`ControlReply::Attested`]
    Attest(Box<Statement>),
    /// Store a static secret, probe it, make or reconnect a connection. → [`ControlReply::Connected`]
    AddStatic(AddStatic),
    /// Store our registration at a provider. → [`ControlReply::Client`]
    AddClient(AddClient),
    /// Begin a flow. → [`ControlReply::FlowBegun`]
    BeginFlow(BeginFlow),
    /// What came back in the browser. → [`ControlReply::FlowEnded`]
    FinishFlow(FinishFlow),
    /// Take in refresh tokens that another system held. → [`ControlReply::Imported`]
    Import(ImportBatch),
    /// Ask the tool whose account a connection is. → [`ControlReply::Probed`]
    Probe {
        /// The tenant.
        tenant: TenantId,
        /// The connection.
        connection: ConnectionId,
    },
    /// A human removes a connection: its secrets are deleted. → [`ControlReply::Done`]
    Remove {
        /// The tenant.
        tenant: TenantId,
        /// The connection.
        connection: ConnectionId,
    },
    /// A task sleeps or ends: its wakes end now. → [`ControlReply::Done`]
    EndWakes {
        /// The tenant.
        tenant: TenantId,
        /// The task.
        task: crate::id::TaskId,
    },
    /// Which keepers are registered. → [`ControlReply::Keepers`]
    Keepers,
    /// A human vouches for a keeper whose log is empty or was copied. → [`ControlReply::Adopted`]
    Adopt {
        /// Which.
        keeper: KeeperId,
        /// Who says so.
        human: (TenantId, PrincipalId),
    },
    /// A human says that a keeper never comes back. → [`ControlReply::Forgotten`]
    Forget {
        /// Which.
        keeper: KeeperId,
        /// Who says so.
        human: (TenantId, PrincipalId),
    },
}

/// The registered keepers, as one of them sees them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeeperRoll {
    /// Who answers.
    pub own: KeeperId,
    /// The era of the database.
    pub era: u64,
    /// Every registered keeper, oldest first.
    pub keepers: Vec<KeeperSeen>,
}

/// A registered keeper.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeeperSeen {
    /// Its row.
    pub row: Registered,
    /// Whether it answers.
    pub at_work: bool,
    /// What its operator calls it, where it answers by letters.
    pub name: Option<Name>,
}

/// A row that decides who may do what. The keeper's MAC covers all of it but its own attestation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "row", rename_all = "kebab-case")]
pub enum Statement {
    /// An agent.
    Agent(Agent),
    /// A task.
    Task(Task),
    /// A grant: a task's connection.
    Grant(Grant),
    /// An enrolment code.
    EnrolmentCode(EnrolmentCode),
    /// An enrolled key. Only the keeper makes these; asking for one over the port is refused.
    Enrolment(crate::principal::Enrolment),
}

impl Statement {
    /// The same row without its attestation: what the MAC is made over.
    #[must_use]
    pub fn bare(mut self) -> Self {
        match &mut self {
            Self::Agent(row) => row.attestation = Attestation::default(),
            Self::Task(row) => row.attestation = Attestation::default(),
            Self::Grant(row) => row.attestation = Attestation::default(),
            Self::EnrolmentCode(row) => row.attestation = Attestation::default(),
            Self::Enrolment(row) => row.attestation = Attestation::default(),
        }
        self
    }

    /// The keeper's word that the row came with.
    #[must_use]
    pub fn attestation(&self) -> &Attestation {
        match self {
            Self::Agent(row) => &row.attestation,
            Self::Task(row) => &row.attestation,
            Self::Grant(row) => &row.attestation,
            Self::EnrolmentCode(row) => &row.attestation,
            Self::Enrolment(row) => &row.attestation,
        }
    }
}

/// A static secret on its way in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddStatic {
    /// The tenant.
    pub tenant: TenantId,
    /// The tool.
    pub tool: Name,
    /// The connection's name.
    pub name: Name,
    /// The connection to reconnect, if this is a reconnect.
    pub reconnect: Option<ConnectionId>,
    /// The hosts that a human confirmed.
    pub hosts: Vec<BoundHost>,
    /// The secret, sealed to the intake key with [`intake_context`] as associated data.
    pub secret: Sealed,
}

/// Our registration at a provider.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddClient {
    /// The tenant.
    pub tenant: TenantId,
    /// The provider's profile.
    pub provider: Name,
    /// The `client_id`.
    pub client_id: String,
    /// How we authenticate.
    pub auth: ClientAuth,
    /// The client secret, sealed to the intake key; none for a public client.
    pub secret: Option<Sealed>,
}

/// The beginning of a flow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BeginFlow {
    /// The tenant.
    pub tenant: TenantId,
    /// The tool.
    pub tool: Name,
    /// The connection's name.
    pub name: Name,
    /// Our registration.
    pub client: ClientId,
    /// The connection to reconnect, if this is a reconnect.
    pub reconnect: Option<ConnectionId>,
    /// The context of this tenant, tool and provider.
    pub context: ContextId,
    /// The exact redirect URI, which ends in the context.
    pub redirect_uri: String,
    /// The scopes to ask for.
    pub scopes: Vec<String>,
    /// The hosts that a human confirmed.
    pub hosts: Vec<BoundHost>,
}

/// What came back, by browser or pasted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FinishFlow {
    /// `state` as it came back.
    pub state: String,
    /// The context in the path that was called.
    pub context: ContextId,
    /// `iss` as it came back (RFC 9207).
    pub iss: Option<String>,
    /// The code, sealed to the intake key with [`code_context`] as associated data; or the provider's error code.
    pub result: Result<Sealed, String>,
    /// What binds the answer to the session that began the flow.
    pub session: FlowSession,
}

/// The session that a flow's answer belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum FlowSession {
    /// The browser's cookie, as it came.
    Cookie {
        /// Its value.
        value: String,
    },
    /// The redirected address was pasted into the CLI that began this flow, over the authenticated API.
    Pasted {
        /// The flow that the CLI began.
        flow: FlowId,
    },
}

/// Refresh tokens on their way in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportBatch {
    /// The tenant.
    pub tenant: TenantId,
    /// They. Whatever is wrong with one stops no other.
    pub rows: Vec<ImportRow>,
}

/// One refresh token on its way in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportRow {
    /// What it is, and what is to become of it.
    pub facts: ImportFacts,
    /// The refresh token, sealed to the intake key with [`import_context`] as associated data.
    pub token: Sealed,
    /// An access token that came with it, sealed likewise.
    pub access: Option<Sealed>,
    /// Until when that one is good, where that is known.
    pub access_until: Option<Timestamp>,
}

/// What a refresh token that is brought in is, and what is to become of it. The seal names all of it: whoever carries the
/// row cannot give one account's token another's place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportFacts {
    /// The tool.
    pub tool: Name,
    /// Our registration, which the token was given to.
    pub client: ClientId,
    /// The connection's name; none where the account is to give it.
    pub name: Option<Name>,
    /// Whose account it is said to be.
    pub account: Option<String>,
    /// The base address, for a tool whose manifest leaves it open.
    pub host: Option<String>,
}

/// What was done with one refresh token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "done", rename_all = "kebab-case")]
pub enum Imported {
    /// It is kept, and presented when its turn comes.
    Accepted {
        /// As this flow.
        flow: FlowId,
    },
    /// It was brought before.
    Known {
        /// As this flow.
        flow: FlowId,
    },
    /// It is not kept.
    Refused {
        /// Why.
        why: ControlRefusal,
    },
}

/// An answer to control.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "kebab-case")]
pub enum ControlReply {
    /// The intake key.
    IntakeKey {
        /// It.
        key: SealingKey,
    },
    /// The keeper's MAC over a row.
    Attested {
        /// It.
        attestation: Attestation,
    },
    /// Our registration is stored.
    Client {
        /// Its id.
        client: ClientId,
    },
    /// A flow was begun.
    FlowBegun {
        /// Its id.
        flow: FlowId,
        /// A page of ours that sets the session's cookie and leads on to the provider.
        start_path: String,
        /// The provider's page, for a human without that browser.
        authorize_url: String,
        /// The cookie that the start page sets: name and value.
        cookie: (String, String),
        /// When the flow is void.
        expires_at: Timestamp,
    },
    /// A flow ended.
    FlowEnded {
        /// Which.
        flow: FlowId,
        /// How.
        outcome: FlowOutcome,
    },
    /// A connection is there.
    Connected {
        /// Which.
        connection: ConnectionId,
        /// The account, where the tool has a probe.
        account: Option<(String, String)>,
    },
    /// What was done with each refresh token, in the order in which they came.
    Imported {
        /// It.
        rows: Vec<Imported>,
    },
    /// The registered keepers.
    Keepers(KeeperRoll),
    /// A human vouched for a keeper.
    Adopted {
        /// So many connections' chains were let out of quarantine.
        released: u64,
        /// So many are left to a human: the log knows of something that the database does not.
        contradicted: u64,
    },
    /// A keeper is forgotten.
    Forgotten {
        /// Whether its log had not been held against the database as it is now.
        behind: bool,
        /// So many chains are left to a human for it.
        quarantined: u64,
    },
    /// The tool answered a probe.
    Probed {
        /// The account's id and label; none where the tool has no probe.
        account: Option<(String, String)>,
    },
    /// It is done.
    Done,
}

/// The keeper's no to control. Closed: no provider text comes through.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "refusal", rename_all = "kebab-case")]
pub enum ControlRefusal {
    /// The sealed secret was made for another key, or was altered.
    #[error("the secret could not be opened: it was sealed to another key; run the command again")]
    Intake,
    /// The tool refused the credential.
    #[error("the tool refused this credential (status {status})")]
    ProbeRejected {
        /// The status of the probe.
        status: u16,
    },
    /// The tool or the provider could not be reached or answered what cannot be read.
    #[error("the tool or its provider could not be reached or did not answer as documented")]
    Unreachable,
    /// The account is not the one that the connection belongs to.
    #[error("another account: the connection belongs to `{expected}`; the old one stays as it is")]
    WrongAccount {
        /// The account's label of the existing connection.
        expected: String,
    },
    /// No such tool, connection, client or flow.
    #[error("no such {what}")]
    Unknown {
        /// What is missing, in one word.
        what: String,
    },
    /// `state`, context, session, issuer or step do not agree with the flow that was begun.
    #[error("the answer does not belong to the flow that was begun here; run `nightlatch connect` again")]
    FlowMismatch,
    /// The provider answered with an error (a code of RFC 6749).
    #[error("the provider answered `{code}`")]
    Provider {
        /// The error code, cut to the characters that RFC 6749 §5.2 allows.
        code: String,
    },
    /// What was asked for is not built.
    #[error("`{what}` is not supported yet")]
    NotSupported {
        /// What.
        what: String,
    },
    /// What was sealed is no token.
    #[error("this is no token: it is empty, longer than 16 KiB, or holds what no token can")]
    NoToken,
    /// The base address is missing, or is not one of the tool's.
    #[error(
        "the base address does not fit the tool: name one with `host`, or leave it out where the tool has one"
    )]
    Host,
    /// Somebody else's token.
    #[error(
        "another tenant of this installation brought this very token in: two would refresh it to death. Decide whose it is, and have the other log in anew"
    )]
    Elsewhere,
    /// The name is taken.
    #[error("the name `{name}` is taken; use --name or --reconnect")]
    NameTaken {
        /// The name.
        name: String,
    },
    /// A keeper that is at work is not forgotten.
    #[error("this keeper is at work: it would register again. Stop its process first")]
    KeeperAtWork,
    /// Without it nobody is left who knows what was presented.
    #[error(
        "no keeper would be left that knows this history; start another one and vouch for it with `nightlatch keeper adopt`, then forget this one"
    )]
    NoneVouched,
    /// What was asked about changed meanwhile.
    #[error("the keepers changed meanwhile; look at `nightlatch keeper list` and run the command again")]
    KeepersChanged,
    /// The keeper cannot answer now.
    #[error("the keeper cannot answer now; is the disk full?")]
    Unavailable,
}

/// What a human's secret is typed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Intake<'a> {
    /// A tool's own key.
    ToolKey(&'a Name),
    /// The secret of our registration at a provider.
    ClientSecret(&'a Name),
}

/// The associated data under which the CLI seals what a human typed: it says what for, so that a sealed
/// secret cannot be handed in for anything else. A tool and a provider may bear one name.
#[must_use]
pub fn intake_context(tenant: TenantId, intake: Intake<'_>) -> String {
    let (kind, name) = match intake {
        Intake::ToolKey(tool) => ("tool-key", tool),
        Intake::ClientSecret(provider) => ("client-secret", provider),
    };
    format!("nightlatch intake v1 {tenant} {kind} {name}")
}

/// Which of a row's secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImportPart {
    /// The refresh token.
    Refresh,
    /// The access token.
    Access,
}

/// The associated data under which the CLI seals a token that is brought in. Free text stands quoted, so that no two facts
/// read alike.
#[must_use]
pub fn import_context(tenant: TenantId, part: ImportPart, facts: &ImportFacts) -> String {
    let ImportFacts { tool, client, name, account, host } = facts;
    let part = match part {
        ImportPart::Refresh => "refresh",
        ImportPart::Access => "access",
    };
    let name = name.as_ref().map(Name::as_str);
    format!("nightlatch import v1 {tenant} {part} {tool} {client} {name:?} {account:?} {host:?}")
}

/// The associated data under which the redirect listener seals an authorization code: it names the
/// context of the path that was called, which [`FinishFlow`] carries and the keeper holds against the flow.
#[must_use]
pub fn code_context(context: ContextId) -> String {
    format!("nightlatch code v1 {context}")
}
