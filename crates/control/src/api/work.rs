//! Bodies about agents, tasks and grants.

use super::{OneTime, schema::dto};
use nightlatch_domain::{
    budget::Budget,
    clock::Timestamp,
    grant::GrantText,
    id::{ConnectionId, EnrolmentId, GrantId, PrincipalId, TaskId, WakeId},
    task::Egress,
    tool::Name,
};

dto! {
    /// An agent that is to be added.
    AddAgent {
        /// Its name.
        name: Name,
        /// What it is for.
        purpose: Option<String>,
        /// `low`, `medium` or `high`.
        risk: Option<String>,
    }

    /// An agent.
    AgentView {
        /// Its id.
        id: PrincipalId,
        /// Its name.
        name: Name,
        /// The human who answers for it.
        owner: String,
        /// What it is for.
        purpose: String,
        /// `low`, `medium` or `high`.
        risk: String,
        /// `active` or `disabled`.
        status: String,
        /// How it proves itself, and for which task.
        enrolments: Vec<EnrolmentView>,
        /// When it was added.
        created_at: Timestamp,
    }

    /// One way in which an agent proves itself for one task.
    EnrolmentView {
        /// Its id.
        id: EnrolmentId,
        /// The task.
        task: TaskId,
        /// `key SHA-256` or `uid N`.
        binding: String,
        /// When it was enrolled.
        created_at: Timestamp,
    }

    /// A one-time code that is to be made.
    IssueEnrolment {
        /// The task, by id or name; a new one of 24 hours where it is absent.
        task: Option<String>,
    }

    /// A one-time code, and what the agent's side needs beside it.
    EnrolmentIssued {
        /// The code. It is shown once and good for ten minutes.
        code: OneTime,
        /// When it is void.
        expires_at: Timestamp,
        /// The agent.
        agent: Name,
        /// The task.
        task: TaskId,
        /// Where the gateway listens.
        gateway_url: String,
        /// The gateway's key: `sha256//BASE64`, as curl's `--pinnedpubkey` takes it.
        gateway_pin: String,
    }

    /// A task that is to be opened.
    OpenTask {
        /// The agent, by id or name.
        agent: String,
        /// The task's name.
        name: Option<Name>,
        /// What it is about.
        purpose: Option<String>,
        /// How long it may last.
        for_secs: u64,
        /// Where it may reach without a tool: nowhere else (`tools`) where it is absent.
        egress: Option<Egress>,
    }

    /// A task.
    TaskView {
        /// Its id.
        id: TaskId,
        /// Its name.
        name: Option<Name>,
        /// The agent that acts.
        agent: Name,
        /// The human on whose behalf it acts.
        subject: String,
        /// What it is about.
        purpose: String,
        /// Where it may reach without a tool: nowhere else (`tools`), or anywhere without a credential (`open`).
        egress: Egress,
        /// `awake`, `dormant`, `completed`, `killed` or `over` (its end date has passed).
        state: String,
        /// When it was opened.
        created_at: Timestamp,
        /// After this it may not act.
        ends_at: Timestamp,
        /// Its last wakes, newest first.
        wakes: Vec<WakeView>,
        /// Its grants.
        grants: Vec<GrantView>,
    }

    /// A time in which a task could act.
    WakeView {
        /// Its id.
        id: WakeId,
        /// `signed` (the agent's key signed the keeper's challenge) or `stated` (the gateway said what it saw; lower assurance).
        assurance: String,
        /// When it began.
        began_at: Timestamp,
        /// When it must be proved again, or ended.
        ends_at: Timestamp,
        /// Whether it still lasts.
        lasts: bool,
    }

    /// A grant that is to be given.
    AddGrant {
        /// The task, by id or name.
        task: String,
        /// `TOOL[/CONNECTION][:OPS][@RESOURCE]`.
        grant: GrantText,
        /// How long it may last; as long as its task where it is absent.
        for_secs: Option<u64>,
        /// How much it is good for: `calls=100,writes=5,bytes=1G`; without an end where it is absent.
        budget: Option<Budget>,
    }

    /// What a grant with a budget has spent.
    SpentView {
        /// Calls that left for the tool.
        calls: u64,
        /// Those of them that were no reads.
        writes: u64,
        /// Bytes of bodies, both ways.
        bytes: u64,
    }

    /// What a task may do with a connection.
    GrantView {
        /// Its id.
        id: GrantId,
        /// The task.
        task: TaskId,
        /// The grant in its grammar.
        grant: String,
        /// The connection.
        connection: ConnectionId,
        /// As `tool/name`.
        connection_name: String,
        /// What the agent puts where the tool expects its own credential. It identifies nobody and opens nothing by itself.
        reference: String,
        /// The same in the shapes that clients of this tool insist on.
        shaped: Vec<String>,
        /// The base URL of the tool at the gateway, then of its further hosts.
        urls: Vec<String>,
        /// `live`, `revoked`, `over` or `disconnected`.
        state: String,
        /// When it was given.
        created_at: Timestamp,
        /// When it ends.
        expires_at: Timestamp,
        /// How much it is good for; without an end where it is absent.
        budget: Option<Budget>,
        /// What of it is spent, and reserved ahead: a part in sixty-four at most.
        spent: Option<SpentView>,
    }
}
