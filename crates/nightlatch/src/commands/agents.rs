//! `agent add|list|show|enrol|disable|enable`.

use super::Seat;
use crate::{
    adapters::SystemClock,
    cli::{AgentCommand, Risk},
    error::Failure,
    output::{clock_time, facts, table, until},
};
use nightlatch_control::{
    api::{AddAgent, AgentView, EnrolmentIssued, EnrolmentView, IssueEnrolment},
    client::segment,
};
use nightlatch_domain::clock::Clock as _;
use serde_json::json;

pub(super) async fn run(seat: &Seat, command: AgentCommand) -> Result<(), Failure> {
    let client = seat.client()?;
    let at = |key: &str, act: &str| format!("/v1/agents/{}{act}", segment(key));
    match command {
        AgentCommand::Add { name, purpose, risk } => {
            let request = AddAgent { name, purpose, risk: Some(word(risk).to_owned()) };
            let view: AgentView = client.post("/v1/agents", &request).await?;
            seat.output.result(&view, |view| format!("added {} ({})", view.name, view.id))
        }
        AgentCommand::List => {
            let views: Vec<AgentView> = client.get("/v1/agents").await?;
            seat.output.result(&views, |views| list(views))
        }
        AgentCommand::Show { agent } => {
            let view: AgentView = client.get(&at(&agent, "")).await?;
            seat.output.result(&view, show)
        }
        AgentCommand::Enrol { agent, task } => {
            let issued: EnrolmentIssued =
                client.post(&at(&agent, "/codes"), &IssueEnrolment { task }).await?;
            seat.output.result(&issued, issue)?;
            seat.output.next(example(&issued));
            Ok(())
        }
        AgentCommand::Disable { agent } => {
            let view: AgentView = client.post(&at(&agent, "/disable"), &json!({})).await?;
            seat.output.result(&view, |view| format!("{} is disabled; its leases have ended", view.name))
        }
        AgentCommand::Enable { agent } => {
            let view: AgentView = client.post(&at(&agent, "/enable"), &json!({})).await?;
            seat.output.result(&view, |view| format!("{} may act again", view.name))
        }
    }
}

const fn word(risk: Risk) -> &'static str {
    match risk {
        Risk::Low => "low",
        Risk::Medium => "medium",
        Risk::High => "high",
    }
}

fn list(views: &[AgentView]) -> String {
    let row = |view: &AgentView| {
        let enrolments = view.enrolments.len().to_string();
        vec![
            view.name.to_string(),
            view.status.clone(),
            view.risk.clone(),
            view.owner.clone(),
            enrolments,
            view.id.to_string(),
        ]
    };
    let heading = ["AGENT", "STATUS", "RISK", "OWNER", "ENROLMENTS", "ID"];
    table(&heading, &views.iter().map(row).collect::<Vec<_>>())
}

fn show(view: &AgentView) -> String {
    let now = SystemClock.now();
    let head = facts(&[
        ("agent", view.name.to_string()),
        ("id", view.id.to_string()),
        ("owner", view.owner.clone()),
        ("purpose", view.purpose.clone()),
        ("risk", view.risk.clone()),
        ("status", view.status.clone()),
        ("since", clock_time(view.created_at, now)),
    ]);
    let row = |row: &EnrolmentView| {
        vec![row.task.to_string(), row.binding.clone(), clock_time(row.created_at, now)]
    };
    format!(
        "{head}\n{}",
        table(&["TASK", "PROVED BY", "SINCE"], &view.enrolments.iter().map(row).collect::<Vec<_>>())
    )
}

fn issue(issued: &EnrolmentIssued) -> String {
    let now = SystemClock.now();
    facts(&[
        ("code", issued.code.0.clone()),
        (
            "good until",
            format!("{} ({}), once", clock_time(issued.expires_at, now), until(issued.expires_at, now)),
        ),
        ("agent", issued.agent.to_string()),
        ("task", issued.task.to_string()),
        ("gateway", issued.gateway_url.clone()),
        ("gateway's key", issued.gateway_pin.clone()),
    ])
}

/// What the agent's side runs, with curl alone. The pin stands for the certificate, so `-k` gives nothing away.
fn example(issued: &EnrolmentIssued) -> String {
    format!(
        "\
On the agent's side (the key is made there and stays there):
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 \\
    -subj /CN=agent -keyout agent.key -out agent.pem
  curl -k --pinnedpubkey '{pin}' --cert agent.pem --key agent.key \\
    -H 'content-type: application/json' -d '{{\"code\":\"{code}\"}}' {url}/v1/enrol
Then each call, with the reference that `nightlatch grant add --task {task} TOOL` prints:
  curl -k --pinnedpubkey '{pin}' --cert agent.pem --key agent.key \\
    -H 'authorization: Bearer nlr_…' {url}/TOOL/PATH",
        pin = issued.gateway_pin,
        code = issued.code.0,
        url = issued.gateway_url,
        task = issued.task,
    )
}
