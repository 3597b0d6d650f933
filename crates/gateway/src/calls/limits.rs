//! What a durable call may take, and how long it is kept.

use nightlatch_domain::ports::store::CallRoom;
use std::time::Duration;

/// The bounds of durable calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallLimits {
    /// The whole request: a file of 256 KiB in base64 and what stands around it.
    pub request_max_bytes: usize,
    /// How long the request may take to come in.
    pub request_within: Duration,
    /// What is kept of a tool's answer; what is longer is cut, and said to be. Answers of APIs are pages of some 100
    /// KiB, and one in memory for each attempt makes 64 MiB.
    pub result_max_bytes: usize,
    /// How long a tool's answer may go on: an endless one is not for here.
    pub answer_within: Duration,
    /// How much is kept, by task and in all: a task's calls of a busy day, and some tasks at once.
    pub room: CallRoom,
    /// Attempts at once in all.
    pub attempts_max: usize,
    /// Attempts at once of one task: the others' calls do not wait for it.
    pub attempts_each_max: usize,
    /// How long an agent may wait for a result on its request (`Prefer: wait`).
    pub wait_max: Duration,
    /// And how long it does where it says nothing.
    pub wait_default: Duration,
    /// Until when a call must have been begun, where the agent says nothing.
    pub deadline_default: Duration,
    /// And at the longest.
    pub deadline_max: Duration,
    /// How long a final answer, and with it the key of its call, is kept.
    pub kept_for: Duration,
}

impl Default for CallLimits {
    fn default() -> Self {
        Self {
            request_max_bytes: 384 * 1024,
            request_within: Duration::from_secs(30),
            result_max_bytes: 1024 * 1024,
            answer_within: Duration::from_secs(900),
            room: CallRoom { each_max: 1000, each_max_bytes: 64 * 1024 * 1024, open_max: 10_000 },
            attempts_max: 64,
            attempts_each_max: 8,
            wait_max: Duration::from_secs(60),
            wait_default: Duration::from_secs(20),
            deadline_default: Duration::from_secs(3600),
            deadline_max: Duration::from_secs(24 * 3600),
            kept_for: Duration::from_secs(24 * 3600),
        }
    }
}
