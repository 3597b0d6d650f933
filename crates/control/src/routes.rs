//! The API's routes: one table, from which the router and the API's document are both made.

mod agents;
mod connections;
mod doctor;
mod flows;
mod grants;
mod imports;
mod input;
mod keepers;
mod ledger;
mod policy;
mod server;
mod tasks;
mod tools;
pub(crate) mod watch;

use crate::{
    api::{
        AddAgent, AddClientRequest, AddConnection, AddGrant, AddTool, AgentView, BeginFlowRequest, CallStory,
        ClientView, Connected, ConnectionView, DoctorReport, EnrolmentIssued, Explain, Explanation,
        FlowStarted, FlowView, GrantView, HealthReport, ImportAnswers, ImportRequest, ImportViews,
        ImportsAsked, IntakeKey, IssueEnrolment, KeeperAdopted, KeeperForgotten, KeepersReport, LedgerRecord,
        LedgerVerdict, LiveReport, Metrics, OpenTask, PastedAnswer, Ping, PolicyView, ProfileSummary,
        ProfileView, RedirectView, Removed, Stopping, TaskView, TestResult, ToolDifference, ToolSummary,
        ToolView, schema::Described,
    },
    control::Control,
};
use axum::{
    Router,
    middleware::from_fn_with_state,
    routing::{MethodRouter, delete, get, post},
};
use serde_json::{Map, Value};
use std::sync::Arc;

/// Makes a schema, and puts the named ones that it needs beside it.
type SchemaOf = fn(&mut Map<String, Value>) -> Value;

/// One route: what the router needs and what the document says.
pub(crate) struct Route {
    pub(crate) method: &'static str,
    pub(crate) path: &'static str,
    pub(crate) id: &'static str,
    pub(crate) about: &'static str,
    pub(crate) query: &'static [(&'static str, &'static str)],
    pub(crate) takes: Option<SchemaOf>,
    pub(crate) answers: SchemaOf,
    handler: MethodRouter<Arc<Control>>,
}

/// The router of the API, behind the gatekeeper.
pub(crate) fn router(control: Arc<Control>) -> Router {
    let routes =
        table().into_iter().fold(Router::new(), |router, route| router.route(route.path, route.handler));
    routes
        .fallback(input::no_such_path)
        .method_not_allowed_fallback(input::no_such_path)
        .layer(from_fn_with_state(Arc::clone(&control), input::admit))
        .with_state(control)
}

fn entry<A: Described>(
    method: &'static str,
    path: &'static str,
    id: &'static str,
    about: &'static str,
    handler: MethodRouter<Arc<Control>>,
) -> Route {
    Route { method, path, id, about, query: &[], takes: None, answers: A::schema, handler }
}

impl Route {
    fn takes<T: Described>(mut self) -> Self {
        self.takes = Some(T::schema);
        self
    }

    const fn asks(mut self, query: &'static [(&'static str, &'static str)]) -> Self {
        self.query = query;
        self
    }
}

/// Every route of the API.
pub(crate) fn table() -> Vec<Route> {
    let mut routes = of_server();
    routes.extend(of_connections());
    routes.extend(of_flows());
    routes.extend(of_imports());
    routes.extend(of_keepers());
    routes.extend(of_tools());
    routes.extend(of_agents());
    routes.extend(of_tasks());
    routes.extend(of_records());
    routes
}

fn of_server() -> Vec<Route> {
    vec![
        entry::<Ping>("get", "/v1/ping", "ping", "Whether Nightlatch is there", get(server::ping)),
        entry::<Stopping>("post", "/v1/stop", "stop", "Stop", post(server::stop)),
        entry::<IntakeKey>(
            "get",
            "/v1/intake",
            "intakeKey",
            "The key to seal secrets to",
            get(server::intake),
        ),
        entry::<HealthReport>("get", "/v1/health", "health", "How everything is", get(server::health)),
        entry::<DoctorReport>(
            "get",
            "/v1/doctor",
            "doctor",
            "What is wrong, or holds so far and no further, where no call shows it",
            get(doctor::look),
        ),
        entry::<LiveReport>("get", "/v1/live", "live", "What runs now, and what there was", get(watch::live)),
        entry::<Metrics>("get", "/v1/metrics", "metrics", "The metrics", get(watch::metrics)),
    ]
}

fn of_connections() -> Vec<Route> {
    vec![
        entry::<Vec<ConnectionView>>(
            "get",
            "/v1/connections",
            "listConnections",
            "The connections",
            get(connections::list),
        ),
        entry::<Connected>(
            "post",
            "/v1/connections",
            "addConnection",
            "Connect with a static secret, or reconnect",
            post(connections::add),
        )
        .takes::<AddConnection>(),
        entry::<ConnectionView>(
            "get",
            "/v1/connections/{connection}",
            "showConnection",
            "One connection, by id or `TOOL/NAME`",
            get(connections::show),
        ),
        entry::<Removed>(
            "delete",
            "/v1/connections/{connection}",
            "removeConnection",
            "Remove a connection and delete its secrets",
            delete(connections::remove),
        ),
        entry::<TestResult>(
            "post",
            "/v1/connections/{connection}/test",
            "testConnection",
            "Ask the tool whose account it is",
            post(connections::test),
        ),
    ]
}

fn of_flows() -> Vec<Route> {
    vec![
        entry::<RedirectView>(
            "get",
            "/v1/tools/{tool}/redirect",
            "showRedirect",
            "What to register at the provider",
            get(flows::redirect),
        ),
        entry::<ClientView>(
            "post",
            "/v1/clients",
            "addClient",
            "Store our registration at a provider",
            post(flows::add_client),
        )
        .takes::<AddClientRequest>(),
        entry::<FlowStarted>("post", "/v1/flows", "beginFlow", "Begin an OAuth flow", post(flows::begin))
            .takes::<BeginFlowRequest>(),
        entry::<FlowView>("get", "/v1/flows/{flow}", "showFlow", "Where a flow stands", get(flows::show))
            .asks(&[("wait_secs", "How long to wait for its end, 25 at most")]),
        entry::<FlowView>(
            "post",
            "/v1/flows/{flow}/answer",
            "answerFlow",
            "Finish a flow with the redirected address that a human pasted",
            post(flows::answer),
        )
        .takes::<PastedAnswer>(),
    ]
}

fn of_imports() -> Vec<Route> {
    vec![
        entry::<ImportAnswers>(
            "post",
            "/v1/imports",
            "importTokens",
            "Take in refresh tokens that another system held",
            post(imports::take),
        )
        .takes::<ImportRequest>(),
        entry::<ImportViews>(
            "post",
            "/v1/imports/state",
            "showImports",
            "Where imports stand",
            post(imports::show),
        )
        .takes::<ImportsAsked>(),
    ]
}

fn of_keepers() -> Vec<Route> {
    vec![
        entry::<KeepersReport>(
            "get",
            "/v1/keepers",
            "listKeepers",
            "The registered keepers",
            get(keepers::list),
        ),
        entry::<KeeperAdopted>(
            "post",
            "/v1/keepers/{keeper}/adopt",
            "adoptKeeper",
            "Vouch for a keeper whose log is empty or was copied",
            post(keepers::adopt),
        ),
        entry::<KeeperForgotten>(
            "delete",
            "/v1/keepers/{keeper}",
            "forgetKeeper",
            "Forget a keeper that never comes back",
            delete(keepers::forget),
        ),
    ]
}

fn of_tools() -> Vec<Route> {
    vec![
        entry::<Vec<ToolSummary>>("get", "/v1/tools", "listTools", "The tools", get(tools::list)),
        entry::<ToolView>("post", "/v1/tools", "addTool", "Add a tool by its manifest", post(tools::add))
            .takes::<AddTool>(),
        entry::<ToolDifference>(
            "post",
            "/v1/tools/difference",
            "compareTool",
            "What adding a manifest would change",
            post(tools::compare::compare),
        )
        .takes::<AddTool>(),
        entry::<ToolView>("get", "/v1/tools/{tool}", "showTool", "One tool", get(tools::show)),
        entry::<Vec<ProfileSummary>>(
            "get",
            "/v1/profiles",
            "listProfiles",
            "The provider profiles",
            get(tools::profiles),
        ),
        entry::<ProfileView>(
            "get",
            "/v1/profiles/{profile}",
            "showProfile",
            "One profile",
            get(tools::profile),
        ),
    ]
}

fn of_agents() -> Vec<Route> {
    vec![
        entry::<Vec<AgentView>>("get", "/v1/agents", "listAgents", "The agents", get(agents::list)),
        entry::<AgentView>("post", "/v1/agents", "addAgent", "Add an agent", post(agents::add))
            .takes::<AddAgent>(),
        entry::<AgentView>(
            "get",
            "/v1/agents/{agent}",
            "showAgent",
            "One agent, by id or name",
            get(agents::show),
        ),
        entry::<EnrolmentIssued>(
            "post",
            "/v1/agents/{agent}/codes",
            "issueEnrolment",
            "A one-time code that enrols an agent's key for a task",
            post(agents::issue),
        )
        .takes::<IssueEnrolment>(),
        entry::<AgentView>(
            "post",
            "/v1/agents/{agent}/disable",
            "disableAgent",
            "The agent may not act until it is enabled",
            post(agents::disable),
        ),
        entry::<AgentView>(
            "post",
            "/v1/agents/{agent}/enable",
            "enableAgent",
            "The agent may act again",
            post(agents::enable),
        ),
    ]
}

fn of_tasks() -> Vec<Route> {
    vec![
        entry::<Vec<TaskView>>("get", "/v1/tasks", "listTasks", "The tasks, newest first", get(tasks::list)),
        entry::<TaskView>("post", "/v1/tasks", "openTask", "Open a task", post(tasks::open))
            .takes::<OpenTask>(),
        entry::<TaskView>("get", "/v1/tasks/{task}", "showTask", "One task, by id or name", get(tasks::show)),
        entry::<TaskView>(
            "post",
            "/v1/tasks/{task}/sleep",
            "sleepTask",
            "The task sleeps: its leases end, the next proof wakes it",
            post(tasks::sleep),
        ),
        entry::<TaskView>(
            "post",
            "/v1/tasks/{task}/complete",
            "completeTask",
            "The task is done for good",
            post(tasks::complete),
        ),
        entry::<Vec<GrantView>>(
            "get",
            "/v1/grants",
            "listGrants",
            "The grants, newest first",
            get(grants::list),
        )
        .asks(&[("task", "Of this task only, by id or name")]),
        entry::<GrantView>("post", "/v1/grants", "addGrant", "Give a grant", post(grants::add))
            .takes::<AddGrant>(),
        entry::<GrantView>(
            "delete",
            "/v1/grants/{grant}",
            "revokeGrant",
            "Take a grant back, by its id or reference",
            delete(grants::revoke),
        ),
    ]
}

fn of_records() -> Vec<Route> {
    vec![
        entry::<PolicyView>("get", "/v1/policy", "showPolicy", "The policies in force", get(policy::show)),
        entry::<Explanation>(
            "post",
            "/v1/policy/explain",
            "explainPolicy",
            "What would be decided of a call, and why",
            post(policy::explain),
        )
        .takes::<Explain>(),
        entry::<Vec<LedgerRecord>>("get", "/v1/ledger", "tailLedger", "The last records", get(ledger::tail))
            .asks(&[("last", "How many, 1000 at most")]),
        entry::<LedgerRecord>("get", "/v1/ledger/{seq}", "showRecord", "One record", get(ledger::show)),
        entry::<LedgerVerdict>(
            "post",
            "/v1/ledger/verify",
            "verifyLedger",
            "Whether the ledger is whole, against its signed head",
            post(ledger::verify),
        ),
        entry::<CallStory>(
            "get",
            "/v1/calls/{call}",
            "explainCall",
            "All that is known of one call",
            get(ledger::why),
        ),
    ]
}
