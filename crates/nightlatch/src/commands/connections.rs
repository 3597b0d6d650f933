//! `connection list|show|test|remove|import`.

use super::{Seat, confirm::confirm, import};
use crate::{
    adapters::SystemClock,
    cli::ConnectionCommand,
    error::Failure,
    output::{clock_time, facts, or_dash, table, until},
};
use nightlatch_control::{
    api::{ConnectionView, Removed, TestResult},
    client::segment,
};
use nightlatch_domain::clock::{Clock as _, Timestamp};
use std::io::{self, IsTerminal as _};

pub(super) async fn run(seat: &Seat, command: ConnectionCommand) -> Result<(), Failure> {
    let client = || seat.client();
    let at = |key: &str| format!("/v1/connections/{}", segment(key));
    match command {
        ConnectionCommand::List => {
            let views: Vec<ConnectionView> = client()?.get("/v1/connections").await?;
            seat.output.result(&views, |views| list(views))
        }
        ConnectionCommand::Show { connection } => {
            let view: ConnectionView = client()?.get(&at(&connection)).await?;
            seat.output.result(&view, show)
        }
        ConnectionCommand::Test { connection } => {
            let result: TestResult =
                client()?.post(&format!("{}/test", at(&connection)), &serde_json::json!({})).await?;
            seat.output
                .result(&result, |result| format!("{}: {}", name(&result.connection), result.detail))?;
            if result.works { Ok(()) } else { Err(Failure::Finding(mend(&result))) }
        }
        ConnectionCommand::Import(asked) => import::run(seat, asked).await,
        ConnectionCommand::Remove { connection, yes } => {
            let client = client()?;
            let view: ConnectionView = client.get(&at(&connection)).await?;
            // A program that removes one means it: where nobody is there to answer, nobody is asked.
            confirm(&question(&view), yes || !io::stdin().is_terminal(), "nothing was removed")?;
            let removed: Removed = client.delete(&at(&view.id.to_string())).await?;
            seat.output.result(&removed, |removed| {
                format!("removed {} ({}); its secrets are deleted", removed.connection, removed.id)
            })
        }
    }
}

fn mend(result: &TestResult) -> String {
    let view = &result.connection;
    format!("the credential does not work; run `nightlatch connect {} --reconnect {}`", view.tool, view.id)
}

fn question(view: &ConnectionView) -> String {
    format!("Remove {} and delete its secrets? Its grants end for good.", name(view))
}

fn name(view: &ConnectionView) -> String {
    format!("{}/{}", view.tool, view.name)
}

fn list(views: &[ConnectionView]) -> String {
    let row = |view: &ConnectionView| {
        vec![name(view), account(view), state(view).to_owned(), view.source.clone(), view.id.to_string()]
    };
    table(&["CONNECTION", "ACCOUNT", "STATE", "KIND", "ID"], &views.iter().map(row).collect::<Vec<_>>())
}

/// `label (id N)`, as far as they are known and differ.
pub(super) fn account(view: &ConnectionView) -> String {
    match (&view.label, &view.account) {
        (Some(label), Some(id)) if label != id => format!("{label} (id {id})"),
        (Some(known), _) | (None, Some(known)) => known.clone(),
        (None, None) => "–".to_owned(),
    }
}

/// The state in words.
pub(super) fn state(view: &ConnectionView) -> &str {
    if view.state == "needs-you" { "needs you" } else { &view.state }
}

fn show(view: &ConnectionView) -> String {
    let now = SystemClock.now();
    let time = |at: Option<Timestamp>| or_dash(at.map(|at| clock_time(at, now)));
    let access = or_dash(view.access_until.map(|at| format!("{} ({})", clock_time(at, now), until(at, now))));
    let kind = if view.source == "static" { "static: the secret itself, lower assurance" } else { "tokens" };
    facts(&[
        ("connection", name(view)),
        ("id", view.id.to_string()),
        ("account", account(view)),
        ("kind", kind.to_owned()),
        ("goes to", view.hosts.join(", ")),
        ("state", state(view).to_owned()),
        ("reason", or_dash(view.reason.as_ref())),
        ("access token until", access),
        ("last refresh", time(view.refreshed_at)),
        ("next", view.command.clone().unwrap_or_else(|| time(view.due_at))),
        ("since", clock_time(view.created_at, now)),
    ])
}
