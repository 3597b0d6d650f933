//! What runs now, and the metrics.

use crate::{
    api::{AgentTotal, LimitMet, LiveCallView, LiveReport, Metrics, ToolTotal},
    control::{Control, Standing},
    error::ControlError,
};
use axum::{
    Json,
    extract::{Request, State},
    response::{IntoResponse as _, Response},
};
use http::{HeaderValue, Method, StatusCode, header};
use nightlatch_domain::{
    id::{PrincipalId, TaskId},
    ticket::questions,
    tool::Name,
};
use std::{collections::BTreeMap, sync::Arc};

/// OpenMetrics 1.0, "Overall Structure": the media type of the text.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

pub(super) async fn live(State(control): State<Arc<Control>>) -> Result<Json<LiveReport>, ControlError> {
    Ok(Json(control.live().await?))
}

pub(super) async fn metrics(State(control): State<Arc<Control>>) -> Result<Json<Metrics>, ControlError> {
    Ok(Json(Metrics { openmetrics: control.openmetrics().await? }))
}

/// The metrics as plain text, for whoever collects them over loopback. A web page whose name was rebound to this
/// machine sends its own Host; one that reaches us otherwise says where it comes from.
pub(crate) async fn face(State((control, own)): State<(Arc<Control>, String)>, request: Request) -> Response {
    let headers = request.headers();
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = hosts.next().and_then(|host| host.to_str().ok());
    let is_ours = host == Some(own.as_str()) && hosts.next().is_none();
    let is_of_a_page = headers.contains_key(header::ORIGIN)
        || headers.get("sec-fetch-site").is_some_and(|site| site != "none");
    if !is_ours || is_of_a_page {
        return (StatusCode::FORBIDDEN, "ask for this address by its own name, and not from a web page\n")
            .into_response();
    }
    if request.uri().path() != "/metrics" || request.method() != Method::GET {
        return (StatusCode::NOT_FOUND, "GET /metrics is all there is\n").into_response();
    }
    match control.openmetrics().await {
        Ok(text) => {
            let mut answer = text.into_response();
            answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(OPENMETRICS));
            answer
        }
        Err(error) => error.into_response(),
    }
}

impl Control {
    async fn live(&self) -> Result<LiveReport, ControlError> {
        let tenant = self.tenant.id;
        let agents: BTreeMap<PrincipalId, Name> =
            self.store.agents(tenant).await?.into_iter().map(|agent| (agent.id, agent.name)).collect();
        let tasks: BTreeMap<TaskId, Option<Name>> =
            self.store.tasks(tenant).await?.into_iter().map(|task| (task.id, task.name)).collect();
        let calls = self.sight.live(tenant).into_iter().map(|call| LiveCallView {
            call: call.call,
            door: call.door.as_str().to_owned(),
            agent: agents.get(&call.agent).cloned(),
            task: call.task,
            task_name: tasks.get(&call.task).cloned().flatten(),
            tool: call.tool,
            operation: call.operation.to_string(),
            effect: call.effect.to_string(),
            phase: call.phase.to_owned(),
            age_millis: call.age_millis,
        });
        let tools = self.sight.by_tool(tenant).into_iter().map(|(tool, total)| ToolTotal {
            tool,
            calls: total.calls,
            refused: total.refused,
        });
        let by_agent = self.sight.by_agent(tenant).into_iter().map(|(id, total)| AgentTotal {
            id,
            agent: agents.get(&id).cloned(),
            calls: total.calls,
            refused: total.refused,
        });
        let met = self.sight.limits_met().into_iter().filter(|(_, times)| *times > 0);
        let limits = met.map(|(limit, times)| LimitMet { limit: limit.to_owned(), times }).collect();
        let (calls, mut tools, mut agents) =
            (calls.collect(), tools.collect::<Vec<_>>(), by_agent.collect::<Vec<_>>());
        tools.sort_by(|one, other| one.tool.cmp(&other.tool));
        agents.sort_by(|one, other| (&one.agent, one.id).cmp(&(&other.agent, other.id)));
        Ok(LiveReport { at: self.now(), calls, tools, agents, limits })
    }

    async fn openmetrics(&self) -> Result<String, ControlError> {
        let mut connections: BTreeMap<String, u64> = BTreeMap::new();
        for view in self.connections().await? {
            *connections.entry(view.state).or_default() += 1;
        }
        let open = questions(&self.store.tickets(self.tenant.id).await?);
        let tickets_open = u64::try_from(open).unwrap_or(u64::MAX);
        self.exposition
            .openmetrics(&Standing { connections, tickets_open })
            .map_err(|_| ControlError::Internal)
    }
}
