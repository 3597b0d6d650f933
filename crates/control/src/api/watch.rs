//! Bodies about what runs now and what there was.

use super::schema::dto;
use nightlatch_domain::{
    clock::Timestamp,
    id::{CallId, PrincipalId, TaskId},
    tool::Name,
};

dto! {
    /// What runs now, and what there was since the start.
    LiveReport {
        /// When this was seen.
        at: Timestamp,
        /// The calls that are under way, the oldest first.
        calls: Vec<LiveCallView>,
        /// What there was since the start, by tool.
        tools: Vec<ToolTotal>,
        /// What there was since the start, by agent.
        agents: Vec<AgentTotal>,
        /// How often each limit of calls was met since the start.
        limits: Vec<LimitMet>,
    }

    /// A call that is under way.
    LiveCallView {
        /// Its id.
        call: CallId,
        /// How it came in.
        door: String,
        /// The agent's name; none where it is gone.
        agent: Option<Name>,
        /// The task.
        task: TaskId,
        /// The task's name.
        task_name: Option<Name>,
        /// The tool.
        tool: Name,
        /// The operation, by the tool's manifest.
        operation: String,
        /// What that does.
        effect: String,
        /// The room of the corridor that it is in.
        phase: String,
        /// How long it has been under way, in milliseconds.
        age_millis: u64,
    }

    /// The calls of one tool.
    ToolTotal {
        /// The tool.
        tool: Name,
        /// All that have ended.
        calls: u64,
        /// Those that ended with a refusal of ours.
        refused: u64,
    }

    /// The calls of one agent.
    AgentTotal {
        /// Its id.
        id: PrincipalId,
        /// Its name; none where it is gone.
        agent: Option<Name>,
        /// All that have ended.
        calls: u64,
        /// Those that ended with a refusal of ours.
        refused: u64,
    }

    /// How often a limit of calls was met.
    LimitMet {
        /// The limit, as the configuration calls it.
        limit: String,
        /// How often.
        times: u64,
    }

    /// The metrics of this installation.
    Metrics {
        /// As OpenMetrics text, version 1.0.0.
        openmetrics: String,
    }
}
