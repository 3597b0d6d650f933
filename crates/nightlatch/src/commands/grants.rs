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
        GrantCommand::Add { task, grant, lasts } => {
            let request = AddGrant { task, grant, for_secs: lasts.map(|span| span.as_secs()) };
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
    facts(&pairs)
}

/// The grants with their references.
pub(super) fn list(views: &[GrantView]) -> String {
    let now = SystemClock.now();
    let row = |view: &GrantView| {
        let state = if view.state == "live" { until(view.expires_at, now) } else { view.state.clone() };
        vec![view.grant.clone(), state, view.reference.clone(), view.id.to_string()]
    };
    table(&["GRANT", "ENDS", "REFERENCE", "ID"], &views.iter().map(row).collect::<Vec<_>>())
}
