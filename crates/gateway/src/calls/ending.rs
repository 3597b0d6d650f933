//! The final answer of a durable call, as it is kept.
//!
//! It is what the corridor gave, scrubbed there; a secret never comes this far. What stands in the row beside it is
//! for finding only: what an agent is told is read from here, out of the seal.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use nightlatch_domain::{
    call::CallState,
    clock::Timestamp,
    id::{CallId, TicketId},
    problem::{Problem, ProblemKind},
    tool::Name,
};
use serde::{Deserialize, Serialize};

/// A final answer as its seal has it.
pub(crate) struct Ended {
    pub(crate) ending: Ending,
    /// When it came.
    pub(crate) at: Timestamp,
}

/// A final answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ending", rename_all = "kebab-case")]
pub(crate) enum Ending {
    /// The tool answered.
    Done(ToolAnswer),
    /// It was not carried out.
    Refused(Reason),
    /// Nobody knows whether it was.
    OutcomeUnknown(Reason),
}

/// What a tool answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ToolAnswer {
    /// Its status.
    pub(crate) status: u16,
    /// Its fields, in their order. RFC 9110 §5.5: bytes beyond ASCII are taken for ISO 8859-1.
    pub(crate) headers: Vec<(String, String)>,
    /// Its body, in base64.
    pub(crate) body: String,
    /// There was more than is kept.
    pub(crate) truncated: bool,
}

/// A problem, as far as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Reason {
    kind: String,
    tool: Option<Name>,
    ticket: Option<TicketId>,
    field: Option<String>,
}

impl Ending {
    /// The state that a call with it is in.
    pub(crate) const fn state(&self) -> CallState {
        match self {
            Self::Done(_) => CallState::Done,
            Self::Refused(_) => CallState::Refused,
            Self::OutcomeUnknown(_) => CallState::OutcomeUnknown,
        }
    }

    /// A refusal.
    pub(crate) fn refused(problem: &Problem) -> Self {
        Self::Refused(Reason::of(problem))
    }

    /// Nobody knows, whatever was told of it.
    pub(crate) fn unknown(tool: Option<&Name>) -> Self {
        let problem = Problem::new(ProblemKind::OutcomeUnknown);
        Self::OutcomeUnknown(Reason::of(&tool.map_or(problem.clone(), |tool| problem.of_tool(tool))))
    }

    /// What an agent is told of a call that was not carried out, or of which nobody knows.
    pub(crate) fn problem(&self, call: CallId) -> Option<Problem> {
        match self {
            Self::Done(_) => None,
            Self::Refused(reason) | Self::OutcomeUnknown(reason) => Some(reason.problem(call)),
        }
    }
}

impl ToolAnswer {
    pub(crate) fn new(status: StatusCode, headers: &HeaderMap, body: &[u8], truncated: bool) -> Self {
        let latin = |bytes: &[u8]| bytes.iter().copied().map(char::from).collect::<String>();
        let headers = headers.iter().map(|(name, value)| (name.to_string(), latin(value.as_bytes())));
        Self { status: status.as_u16(), headers: headers.collect(), body: STANDARD.encode(body), truncated }
    }

    /// Its body.
    pub(crate) fn bytes(&self) -> Bytes {
        STANDARD.decode(&self.body).unwrap_or_default().into()
    }
}

impl Reason {
    fn of(problem: &Problem) -> Self {
        Self {
            kind: problem.kind.slug().to_owned(),
            tool: problem.tool.clone(),
            ticket: problem.ticket,
            field: problem.field.clone(),
        }
    }

    fn problem(&self, call: CallId) -> Problem {
        Problem {
            // A word of a newer version is nothing that this one can say.
            kind: ProblemKind::of_slug(&self.kind).unwrap_or(ProblemKind::Internal),
            call: Some(call),
            tool: self.tool.clone(),
            ticket: self.ticket,
            field: self.field.clone(),
            retry_after_secs: None,
        }
    }
}
