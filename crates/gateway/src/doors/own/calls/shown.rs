//! A durable call as its agent is shown it.

use super::super::told;
use crate::{
    answer::OutBody,
    calls::{Ended, Ending, Settled, ToolAnswer},
    gateway::Shared,
};
use http::{Response, StatusCode};
use nightlatch_domain::{
    call::{CallPlace, CallState, Delivery, DeliveryState, Mandate},
    clock::Timestamp,
    id::{CallId, ConnectionId, GrantId, InstallationId, TaskId, TenantId},
    ports::store::CallRow,
    problem::{Problem, ProblemBody},
    tool::Name,
};
use serde::Serialize;

/// A call. Times are milliseconds since 1970.
#[derive(Serialize)]
pub(super) struct Shown {
    id: CallId,
    state: CallState,
    /// How often it was perhaps sent.
    attempts: u32,
    accepted_at: Timestamp,
    /// Until when it must have been begun.
    deadline: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    ended_at: Option<Timestamp>,
    /// SHA-256 of the request as it came.
    request_sha256: String,
    /// What is signed so that it may go on without its agent: to be ended with a time in `not_after`, or as it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    mandate: Option<ShownMandate>,
    /// What the tool answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<ShownAnswer>,
    /// Why it was not carried out, or is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<ProblemBody>,
    /// Whether the webhook that was named has heard of its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    webhook: Option<ShownDelivery>,
}

#[derive(Serialize)]
struct ShownDelivery {
    name: Name,
    state: DeliveryState,
    tries: u32,
}

impl ShownDelivery {
    fn of((name, delivery): (&Name, &Delivery)) -> Self {
        Self { name: name.clone(), state: delivery.state, tries: delivery.tries }
    }
}

#[derive(Serialize)]
struct ShownMandate {
    installation: InstallationId,
    tenant: TenantId,
    task: TaskId,
    grant: GrantId,
    connection: ConnectionId,
    call: CallId,
    request_sha256: String,
    /// None as long as no mandate was given.
    not_after: Option<Timestamp>,
}

impl ShownMandate {
    fn of(mandate: Mandate, given: Option<Timestamp>) -> Self {
        let Mandate { installation, tenant, task, grant, connection, call, request_sha256, .. } = mandate;
        Self { installation, tenant, task, grant, connection, call, request_sha256, not_after: given }
    }
}

#[derive(Serialize)]
struct ShownAnswer {
    status: u16,
    /// Names and values, in their order: a name may be there twice.
    headers: Vec<(String, String)>,
    body: ShownBody,
    /// There was more than is kept.
    truncated: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
enum ShownBody {
    Text(String),
    Base64(String),
}

impl ShownAnswer {
    fn of(answer: ToolAnswer) -> Self {
        let body = match String::from_utf8(answer.bytes().into()) {
            Ok(text) => ShownBody::Text(text),
            Err(_) => ShownBody::Base64(answer.body),
        };
        Self { status: answer.status, headers: answer.headers, body, truncated: answer.truncated }
    }
}

impl Shown {
    fn of(row: &CallRow, settled: &Settled, mandate: ShownMandate, ended: Option<Ended>) -> Self {
        let (ending, ended_at) = ended.map(|ended| (ended.ending, ended.at)).unzip();
        let problem = ending.as_ref().and_then(|ending| ending.problem(row.place.call));
        Self {
            id: row.place.call,
            // The end that lies in the seal is the one that counts.
            state: ending.as_ref().map_or(row.state, Ending::state),
            attempts: row.attempts,
            accepted_at: settled.accepted_at,
            deadline: settled.deadline,
            ended_at,
            request_sha256: row.request_sha256.clone(),
            // What is over needs none.
            mandate: ending.is_none().then_some(mandate),
            problem: problem.as_ref().map(Problem::body),
            webhook: settled.webhook.as_ref().zip(row.delivery.as_ref()).map(ShownDelivery::of),
            result: ending.and_then(|ending| match ending {
                Ending::Done(answer) => Some(ShownAnswer::of(answer)),
                Ending::Refused(_) | Ending::OutcomeUnknown(_) => None,
            }),
        }
    }

    /// A call as it is stored now.
    pub(super) async fn now(shared: &Shared, place: CallPlace) -> Result<Self, Problem> {
        let row = shared.calls.row(place).await?;
        let (settled, ended) = (shared.calls.kept(&row)?.settled, shared.calls.ending(&row)?);
        // One that does not open is none.
        let given = shared.calls.signed(&row).ok().flatten().map(|signed| signed.not_after);
        let mandate = shared.calls.mandate(&row, &settled, settled.deadline);
        Ok(Self::of(&row, &settled, ShownMandate::of(mandate, given), ended))
    }

    pub(super) const fn state(&self) -> CallState {
        self.state
    }
}

/// A call as it is stored now, as an answer.
pub(super) async fn representation(
    shared: &Shared,
    place: CallPlace,
    status: StatusCode,
) -> Result<Response<OutBody>, Problem> {
    let shown = Shown::now(shared, place).await?;
    // Ids, times, words and texts have no way to fail.
    let mut answer = told("application/json", serde_json::to_vec(&shown).unwrap_or_default());
    *answer.status_mut() = status;
    crate::answer::name_call(answer.headers_mut(), place.call);
    Ok(answer)
}
