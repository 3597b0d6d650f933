//! What a webhook is told: which call ended, and how. No answer, no secret, nothing of the tool's own words: whoever
//! may see those asks for them with the key of the call's agent.
//!
//! It is the same at each try, since it is made from the seal alone.

use crate::{
    calls::{Ended, Ending},
    gateway::Shared,
};
use bytes::Bytes;
use nightlatch_domain::{
    call::CallState,
    clock::Timestamp,
    id::{CallId, TaskId},
    ports::store::CallRow,
    tool::Name,
};
use serde::Serialize;

/// Standard Webhooks, "Payload structure": `type`, `timestamp` (of the event, ISO 8601), `data`.
#[derive(Serialize)]
struct Message {
    r#type: &'static str,
    timestamp: String,
    data: Data,
}

/// The end of a call. Times are milliseconds since 1970.
#[derive(Serialize)]
struct Data {
    call: CallId,
    task: TaskId,
    state: CallState,
    /// The tool's status, where it answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    /// Why it was not carried out, or is not known: the word of the problem.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<&'static str>,
    accepted_at: Timestamp,
    ended_at: Timestamp,
}

/// The message of a call that ended so, for the webhook that its agent named; none where the row is not as it was
/// written.
pub(super) fn of(shared: &Shared, row: &CallRow, ended: &Ended, hook: &Name) -> Option<Bytes> {
    let settled = shared.calls.kept(row).ok()?.settled;
    if settled.webhook.as_ref() != Some(hook) {
        return None;
    }
    let Ended { ending, at: ended_at } = ended;
    let status = match ending {
        Ending::Done(answer) => Some(answer.status),
        Ending::Refused(_) | Ending::OutcomeUnknown(_) => None,
    };
    let data = Data {
        call: row.place.call,
        task: row.place.task,
        state: ending.state(),
        status,
        problem: ending.problem(row.place.call).map(|problem| problem.kind.slug()),
        accepted_at: settled.accepted_at,
        ended_at: *ended_at,
    };
    let timestamp = jiff::Timestamp::from_millisecond(ended_at.millis()).ok()?.to_string();
    serde_json::to_vec(&Message { r#type: "call.ended", timestamp, data }).ok().map(Bytes::from)
}
