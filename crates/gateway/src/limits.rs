//! What an outsider can grow, and how far.
//!
//! Every bound stands here with its unit in its name and the reason beside it, so that memory is the sum
//! of what this page allows and nothing else. Tests make them small; the program takes the defaults.

use crate::{brakes::Pace, calls::CallLimits};
use std::time::Duration;

/// The bounds of one gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// A request's head. The longest real ones (cookies, SAML) stay under 32 KiB; twice that is allowed.
    pub head_max_bytes: usize,
    /// Header lines of a request: browsers send 30, SDKs 20.
    pub headers_max: usize,
    /// Connections at once: at about 60 KiB each with TLS, 60 MiB.
    pub connections_max: usize,
    /// Connections of one enrolled key, or of one address that is nobody's: HTTP libraries pool about a hundred by
    /// default, and a task may run two of them. A quarter of all.
    pub connections_each_max: usize,
    /// Handshakes at once, which is all that somebody holds who never proves anything.
    pub handshakes_max: usize,
    /// Streams of one HTTP/2 connection: an agent that runs 200 subtasks over one must not wait.
    pub streams_each_max: u32,
    /// What one HTTP/2 stream may have in flight unread. 64 KiB, the protocol's own size, fill 25 Mbit/s at
    /// 20 ms, and more from beside.
    pub stream_window_bytes: u32,
    /// What one HTTP/2 connection may have in flight unread: this bounds its memory. A companion's line is one
    /// connection; half of its streams can stand still before the others do.
    pub connection_window_bytes: u32,
    /// Tunnels at once. Each is a TLS session of its own, at about 60 KiB, inside of a connection: 120 MiB.
    pub tunnels_max: usize,
    /// Tunnels of one key: twice the streams of one connection.
    pub tunnels_each_max: usize,
    /// Calls of one agent at once: twice the 256 streams of one connection.
    pub calls_each_max: usize,
    /// Ways to hosts that no tool has, of one task at once. Each is a record of its own in the ledger; a browser's page
    /// opens a hundred.
    pub openings_at_once: u32,
    /// And how often one more: two a second are some 80 MB of records a day.
    pub opening_every: Duration,
    /// A TLS handshake: two round trips; slower than this is somebody who holds sockets open.
    pub handshake_within: Duration,
    /// A connection of nobody that asks nothing, and the end of one that was refused. An enrolment is one
    /// packet.
    pub stranger_within: Duration,
    /// A request's head, from its first byte, and a connection that asks nothing.
    pub head_within: Duration,
    /// A body that does not move, either way, because nobody sends or nobody reads. Long polls and thoughtful models pause for minutes.
    pub body_idle: Duration,
    /// A body that must be read before a decision: a GraphQL query with all its fragments has a few KiB, and a long
    /// text in a mutation fits many times.
    pub read_max_bytes: usize,
    /// How long such a body may take to come: it is a few packets.
    pub read_within: Duration,
    /// Such bodies at once: 32 MiB with the largest ones. Each is let go when its answer begins.
    pub readings_max: usize,
    /// A connection to a tool, TLS included.
    pub connect_within: Duration,
    /// The head of a tool's answer: SDKs of language models wait for ten minutes by default.
    pub answer_within: Duration,
    /// How long a call waits for the keeper to renew a credential.
    pub patience: Duration,
    /// How much longer than the patience the gateway waits for the keeper, which bounds itself by it.
    pub keeper_grace: Duration,
    /// How old the directory may be before every call is refused.
    pub staleness_bound: Duration,
    /// A wake that ends sooner than this is proved anew for a new call, so that no call is cut early.
    pub wake_margin: Duration,
    /// Between the end of a wake and the cut of the streams that ran in it.
    pub cut_after: Duration,
    /// How long a shutdown waits for running calls.
    pub close_within: Duration,
    /// Calls of an agent. A model with two hundred subtasks makes a few hundred a second; more is a loop. At once
    /// as many as [`Limits::calls_each_max`].
    pub agent_pace: Pace,
    /// Calls of a task: those of an agent at work, which has one task as a rule.
    pub task_pace: Pace,
    /// Calls with a connection, over all agents: as many as two agents, so that one alone meets its own limit
    /// first. Providers allow less, and say so themselves.
    pub connection_pace: Pace,
    /// Calls of a tool, over all connections: what four agents make, a tenth of what this machine carries.
    pub tool_pace: Pace,
    /// The longest that a provider's word stops a connection before one call asks again. GitHub's and Slack's
    /// windows last up to an hour; four questions in one hurt nobody.
    pub provider_wait_max: Duration,
    /// The longest that a used-up window stops its operation: it may be the window of another one.
    pub provider_window_max: Duration,
    /// Failures of one request for one reason before it is held back: SDKs try three times by themselves.
    pub repeats_free: u32,
    /// The longest that a request is held back: a human who mends something at the tool waits no longer.
    pub repeat_wait_max: Duration,
    /// How long a failure is remembered after it was seen last: three times the longest wait.
    pub failure_remembered: Duration,
    /// Failures remembered of one task, about 150 bytes each: a loop has few steps.
    pub failures_each_max: usize,
    /// Tasks with remembered failures: 5 MiB of them at most.
    pub failing_tasks_max: usize,
    /// The largest body that is read before a call which failed with the same head: what a model writes.
    pub repeat_body_max_bytes: usize,
    /// Notes to ledger and keeper that run beside the calls they are about; further ones are waited for.
    pub asides_max: usize,
    /// Answers in a coding whose window may be 16 MiB (brotli), at once: half a gigabyte. Beyond, that coding is not
    /// asked for.
    pub large_windows_max: usize,
    /// How much of a text is looked through for new secrets. An answer that hands one out is short; looking costs
    /// about as much as copying.
    pub detected_bytes: usize,
    /// Calls that outlive their caller.
    pub calls: CallLimits,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head_max_bytes: 64 * 1024,
            headers_max: 128,
            connections_max: 1024,
            connections_each_max: 256,
            handshakes_max: 128,
            streams_each_max: 256,
            stream_window_bytes: 64 * 1024,
            connection_window_bytes: 8 * 1024 * 1024,
            tunnels_max: 2048,
            tunnels_each_max: 512,
            calls_each_max: 512,
            openings_at_once: 512,
            opening_every: Duration::from_millis(500),
            handshake_within: Duration::from_secs(10),
            stranger_within: Duration::from_secs(10),
            head_within: Duration::from_secs(30),
            body_idle: Duration::from_secs(300),
            read_max_bytes: 256 * 1024,
            read_within: Duration::from_secs(10),
            readings_max: 128,
            connect_within: Duration::from_secs(10),
            answer_within: Duration::from_secs(600),
            patience: Duration::from_secs(20),
            keeper_grace: Duration::from_secs(5),
            staleness_bound: Duration::from_secs(30),
            wake_margin: Duration::from_secs(15 * 60),
            cut_after: Duration::from_millis(500),
            close_within: Duration::from_secs(10),
            agent_pace: Pace::per_second(1_000, 4_000, 512),
            task_pace: Pace::per_second(1_000, 4_000, 512),
            connection_pace: Pace::per_second(2_000, 8_000, 1_024),
            tool_pace: Pace::per_second(4_000, 16_000, 2_048),
            provider_wait_max: Duration::from_secs(15 * 60),
            provider_window_max: Duration::from_secs(60),
            repeats_free: 3,
            repeat_wait_max: Duration::from_secs(5 * 60),
            failure_remembered: Duration::from_secs(15 * 60),
            failures_each_max: 32,
            failing_tasks_max: 1024,
            repeat_body_max_bytes: 256 * 1024,
            asides_max: 256,
            large_windows_max: 32,
            detected_bytes: 256 * 1024,
            calls: CallLimits::default(),
        }
    }
}
