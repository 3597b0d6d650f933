//! `grant add|list|revoke`.

use super::Seat;
use crate::{
    adapters::SystemClock,
    cli::GrantCommand,
    error::Failure,
    output::{facts, table, until},
};
use nightlatch_control::{
    api::{AddGrant, GrantView},
    client::segment,
};
use nightlatch_domain::clock::Clock as _;

pub(super) async fn run(seat: &Seat, command: GrantCommand) -> Result<(), Failure> {
    let client = seat.client()?;
    match command {
        GrantCommand::Add { task, grant, lasts, budget } => {
            let request = AddGrant { task, grant, for_secs: lasts.map(|span| span.as_secs()), budget };
            let view: GrantView = client.post("/v1/grants", &request).await?;
            seat.output.result(&view, added)?;
            seat.output.next(
                "the agent puts the reference where the tool expects its own credential; nobody else can use it",
            );
            Ok(())
        }
        GrantCommand::List { task } => {
            let query = task.map(|task| format!("?task={}", segment(&task))).unwrap_or_default();
            let views: Vec<GrantView> = client.get(&format!("/v1/grants{query}")).await?;
            seat.output.result(&views, |views| list(views))
        }
        GrantCommand::Revoke { grant } => {
            let view: GrantView = client.delete(&format!("/v1/grants/{}", segment(&grant))).await?;
            seat.output.result(&view, |view| format!("{} is taken back ({})", view.grant, view.id))
        }
    }
}

fn added(view: &GrantView) -> String {
    let mut pairs = vec![("reference", view.reference.clone())];
    pairs.extend(view.shaped.iter().map(|shaped| ("or, where a client insists", shaped.clone())));
    pairs.extend(view.urls.iter().map(|url| ("base address", url.clone())));
    pairs.extend([
        ("grant", view.grant.clone()),
        ("id", view.id.to_string()),
        ("task", view.task.to_string()),
        ("ends", until(view.expires_at, SystemClock.now())),
    ]);
    pairs.extend(view.budget.map(|budget| ("good for", budget.to_string())));
    facts(&pairs)
}

/// The grants with their references.
pub(super) fn list(views: &[GrantView]) -> String {
    let now = SystemClock.now();
    let is_any_budgeted = views.iter().any(|view| view.budget.is_some());
    let row = |view: &GrantView| {
        let state = if view.state == "live" { until(view.expires_at, now) } else { view.state.clone() };
        let mut cells = vec![view.grant.clone(), state, view.reference.clone(), view.id.to_string()];
        cells.extend(is_any_budgeted.then(|| budget(view)));
        cells
    };
    let heading: &[&str] = match is_any_budgeted {
        true => &["GRANT", "ENDS", "REFERENCE", "ID", "SPENT OF ITS BUDGET"],
        false => &["GRANT", "ENDS", "REFERENCE", "ID"],
    };
    table(heading, &views.iter().map(row).collect::<Vec<_>>())
}

/// What is spent of each part that has an end.
fn budget(view: &GrantView) -> String {
    let (Some(budget), Some(spent)) = (view.budget, &view.spent) else { return "–".to_owned() };
    let of = |name: &str, spent: u64, end: Option<u64>| end.map(|end| format!("{name} {spent} of {end}"));
    let parts = [
        of("calls", spent.calls, budget.calls),
        of("writes", spent.writes, budget.writes),
        of("bytes", spent.bytes, budget.bytes),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}
