//! What the control API speaks: the bodies of its requests and answers.
//!
//! The command line uses these very types, so the two cannot drift apart. Times are milliseconds since
//! the epoch. A secret is only ever a [`Sealed`](nightlatch_domain::sealed::Sealed) here; what is shown
//! once to a human and must not lie in a log is [`OneTime`].

mod connections;
mod doctor;
mod imports;
mod keepers;
mod ledger;
mod policy;
pub(crate) mod schema;
mod server;
mod tools;
mod watch;
mod work;

pub use connections::{
    AddClientRequest, AddConnection, BeginFlowRequest, ClientView, Connected, ConnectionView, FlowStarted,
    FlowView, PastedAnswer, RedirectView, Removed, TestResult,
};
pub use doctor::{DoctorReport, Finding};
pub use imports::{
    ImportAnswer, ImportAnswers, ImportItem, ImportRequest, ImportView, ImportViews, ImportsAsked,
};
pub use keepers::{KeeperAdopted, KeeperForgotten, KeeperView, KeepersReport};
pub use ledger::{CallStory, LedgerRecord, LedgerVerdict};
pub use policy::{Explain, Explanation, PolicyView};
pub use server::{AlarmView, ApiProblem, HealthReport, IntakeKey, Ping, Stopping, TicketView};
pub use tools::{
    ActView, AddTool, ChangedAct, GrantChange, OperationView, ProfileSummary, ProfileView, SourceView,
    ToolDifference, ToolSummary, ToolView,
};
pub use watch::{AgentTotal, LimitMet, LiveCallView, LiveReport, Metrics, ToolTotal};
pub use work::{
    AddAgent, AddGrant, AgentView, EnrolmentIssued, EnrolmentView, GrantView, IssueEnrolment, OpenTask,
    SpentView, TaskView, WakeView,
};

use serde::{Deserialize, Serialize};
use std::fmt;

/// A text that is shown to a human once and good for one use: it prints nowhere by accident.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct OneTime(pub String);

impl fmt::Debug for OneTime {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("OneTime")
    }
}
