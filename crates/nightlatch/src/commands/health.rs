//! `health`: every connection, what waits for a human, what should not have happened.

use super::{
    Seat,
    connections::{account, state},
};
use crate::{
    adapters::SystemClock,
    error::Failure,
    output::{clock_time, or_dash, table, until},
};
use nightlatch_control::api::{ConnectionView, HealthReport};
use nightlatch_domain::clock::{Clock as _, Timestamp};

pub(super) async fn run(seat: &Seat) -> Result<(), Failure> {
    let report: HealthReport = seat.client()?.get("/v1/health").await?;
    let now = SystemClock.now();
    seat.output.result(&report, |report| text(report, now))?;
    if report.connections.is_empty() {
        seat.output.next(
            "no connection yet; `nightlatch connect TOOL` makes one, `nightlatch tool list` shows the tools",
        );
    }
    Ok(())
}

fn text(report: &HealthReport, now: Timestamp) -> String {
    let heading = ["CONNECTION", "ACCOUNT", "STATE", "ACCESS TOKEN UNTIL", "LAST REFRESH", "NEXT"];
    let rows: Vec<_> = report.connections.iter().map(|view| row(view, now)).collect();
    let mut text = table(&heading, &rows);
    if !report.tickets.is_empty() {
        let row = |ticket: &nightlatch_control::api::TicketView| {
            vec![
                ticket.id.to_string(),
                ticket.connection.clone(),
                ticket.reason.clone(),
                clock_time(ticket.raised_at, now),
                ticket.command.clone(),
            ]
        };
        let rows: Vec<_> = report.tickets.iter().map(row).collect();
        text.push('\n');
        text.push_str(&table(&["TICKET", "CONNECTION", "REASON", "SINCE", "WHAT TO DO"], &rows));
    }
    if !report.alarms.is_empty() {
        let row = |alarm: &nightlatch_control::api::AlarmView| {
            vec![
                alarm.name.clone(),
                alarm.count.to_string(),
                clock_time(alarm.last_at, now),
                format!("nightlatch ledger show {}", alarm.seq),
            ]
        };
        let rows: Vec<_> = report.alarms.iter().map(row).collect();
        text.push('\n');
        text.push_str(&table(&["ALARM", "TIMES", "LAST", "MORE"], &rows));
    }
    for warning in &report.warnings {
        text.push_str(&format!("\nwarning: {warning}\n"));
    }
    text
}

fn row(view: &ConnectionView, now: Timestamp) -> Vec<String> {
    let needs_you = view.command.is_some();
    let access = view.access_until.filter(|_| !needs_you);
    let failed = view.failed_at.filter(|failed| view.refreshed_at.is_none_or(|good| good < *failed));
    let last = match failed {
        Some(at) => Some(format!("failed {}", clock_time(at, now))),
        None => view.refreshed_at.map(|at| clock_time(at, now)),
    };
    vec![
        format!("{}/{}", view.tool, view.name),
        account(view),
        state(view).to_owned(),
        or_dash(access.map(|at| format!("{} ({})", clock_time(at, now), until(at, now)))),
        or_dash(last),
        view.command.clone().unwrap_or_else(|| or_dash(view.due_at.map(|at| clock_time(at, now)))),
    ]
}

#[cfg(test)]
mod tests {
    use super::text;
    use nightlatch_control::api::{ConnectionView, HealthReport};
    use nightlatch_domain::{clock::Timestamp, id::ConnectionId};

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    fn view(tool: &str, name: &str) -> ConnectionView {
        ConnectionView {
            id: ConnectionId::new(NOW, [1; 10]),
            tool: tool.parse().unwrap(),
            name: name.parse().unwrap(),
            account: Some("583231".into()),
            label: Some("dana".into()),
            source: "tokens".into(),
            hosts: Vec::new(),
            state: "healthy".into(),
            reason: None,
            access_until: None,
            refreshed_at: None,
            failed_at: None,
            due_at: None,
            ticket: None,
            command: None,
            created_at: NOW,
        }
    }

    #[test]
    fn who_needs_a_human_says_which_command_helps() {
        let mut sick = view("linear", "ops");
        sick.state = "needs-you".into();
        sick.failed_at = Some(NOW);
        sick.access_until = Some(NOW);
        sick.command = Some("nightlatch connect linear --reconnect con_X".into());
        let report = HealthReport {
            connections: vec![view("github", "dana"), sick],
            tickets: Vec::new(),
            alarms: Vec::new(),
            warnings: Vec::new(),
        };
        let shown = text(&report, NOW);
        let mut lines = shown.lines();
        assert!(lines.next().unwrap().starts_with("CONNECTION    ACCOUNT            STATE"), "{shown}");
        assert!(lines.next().unwrap().starts_with("github/dana   dana (id 583231)   healthy"), "{shown}");
        let last = lines.next().unwrap();
        assert!(last.contains("needs you") && last.contains("failed "), "{shown}");
        assert!(last.ends_with("nightlatch connect linear --reconnect con_X"), "{shown}");
    }
}
