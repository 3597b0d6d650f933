//! `task open|list|show|sleep|complete`.

use super::{Seat, grants};
use crate::{
    adapters::SystemClock,
    cli::TaskCommand,
    error::Failure,
    output::{clock_time, facts, or_dash, table, until},
};
use nightlatch_control::{
    api::{OpenTask, TaskView, WakeView},
    client::segment,
};
use nightlatch_domain::clock::Clock as _;
use serde_json::json;

pub(super) async fn run(seat: &Seat, command: TaskCommand) -> Result<(), Failure> {
    let client = seat.client()?;
    let at = |key: &str, act: &str| format!("/v1/tasks/{}{act}", segment(key));
    match command {
        TaskCommand::Open { agent, name, lasts, purpose, egress } => {
            let egress = Some(egress.into());
            let request = OpenTask { agent, name, purpose, for_secs: lasts.as_secs(), egress };
            let view: TaskView = client.post("/v1/tasks", &request).await?;
            seat.output.result(&view, |view| format!("opened {} for {}", called(view), view.agent))?;
            seat.output.next(format!("next: nightlatch grant add --task {} TOOL", view.id));
            Ok(())
        }
        TaskCommand::List => {
            let views: Vec<TaskView> = client.get("/v1/tasks").await?;
            seat.output.result(&views, |views| list(views))
        }
        TaskCommand::Show { task } => {
            let view: TaskView = client.get(&at(&task, "")).await?;
            seat.output.result(&view, show)
        }
        TaskCommand::Sleep { task } => {
            let view: TaskView = client.post(&at(&task, "/sleep"), &json!({})).await?;
            seat.output.result(&view, |view| format!("{} sleeps; its leases have ended", called(view)))
        }
        TaskCommand::Complete { task } => {
            let view: TaskView = client.post(&at(&task, "/complete"), &json!({})).await?;
            seat.output.result(&view, |view| format!("{} is {}", called(view), view.state))
        }
    }
}

fn called(view: &TaskView) -> String {
    view.name.as_ref().map_or_else(|| view.id.to_string(), |name| format!("{name} ({})", view.id))
}

fn list(views: &[TaskView]) -> String {
    let now = SystemClock.now();
    let row = |view: &TaskView| {
        let grants = view.grants.iter().filter(|grant| grant.state == "live").count().to_string();
        vec![
            or_dash(view.name.as_ref()),
            view.agent.to_string(),
            view.state.clone(),
            until(view.ends_at, now),
            grants,
            view.id.to_string(),
        ]
    };
    table(&["TASK", "AGENT", "STATE", "ENDS", "GRANTS", "ID"], &views.iter().map(row).collect::<Vec<_>>())
}

fn show(view: &TaskView) -> String {
    let now = SystemClock.now();
    let head = facts(&[
        ("task", or_dash(view.name.as_ref())),
        ("id", view.id.to_string()),
        ("agent", view.agent.to_string()),
        ("for", view.subject.clone()),
        ("purpose", view.purpose.clone()),
        ("egress", view.egress.as_str().to_owned()),
        ("state", view.state.clone()),
        ("ends", format!("{} ({})", clock_time(view.ends_at, now), until(view.ends_at, now))),
    ]);
    let row = |wake: &WakeView| {
        let assurance = if wake.assurance == "stated" { "stated (lower assurance)" } else { &wake.assurance };
        let end = if wake.lasts { until(wake.ends_at, now) } else { clock_time(wake.ends_at, now) };
        vec![wake.id.to_string(), assurance.to_owned(), clock_time(wake.began_at, now), end]
    };
    let wakes: Vec<_> = view.wakes.iter().map(row).collect();
    format!("{head}\n{}\n{}", table(&["WAKE", "PROOF", "BEGAN", "ENDS"], &wakes), grants::list(&view.grants))
}
