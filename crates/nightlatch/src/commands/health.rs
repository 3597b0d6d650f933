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
use nightlatch_control::api::{ConnectionView, HealthReport, TicketView};
use nightlatch_domain::clock::{Clock as _, Timestamp};
use std::collections::BTreeMap;

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
    for (cause, tickets) in questions(&report.tickets) {
        text.push('\n');
        if let Some((era, reason)) = cause {
            text.push_str(&together(era, reason, tickets.len()));
        }
        let rows: Vec<_> = tickets.into_iter().map(|ticket| question(ticket, now)).collect();
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

/// Tickets that have each a cause of their own, and those of one era and reason together.
fn questions(tickets: &[TicketView]) -> BTreeMap<Option<(u64, &str)>, Vec<&TicketView>> {
    let mut questions: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for ticket in tickets {
        let cause = ticket.era.map(|era| (era, ticket.reason.as_str()));
        questions.entry(cause).or_default().push(ticket);
    }
    questions
}

fn together(era: u64, reason: &str, connections: usize) -> String {
    let (why, what) = match reason {
        "unvouched" => (
            "no keeper's log knows what was presented of them",
            "`nightlatch keeper list` shows which log waits, and `keeper adopt` lets them go on without a login; or \
             connect each again",
        ),
        "log-lost" => ("only a log that was given up knew what was presented of them", "connect each again"),
        _ => ("a keeper's log knows more of them than the database says", "connect each again"),
    };
    format!("One question of {connections} (era {era}): {why}; {what}:\n")
}

fn question(ticket: &TicketView, now: Timestamp) -> Vec<String> {
    vec![
        ticket.id.to_string(),
        ticket.connection.clone(),
        ticket.reason.clone(),
        clock_time(ticket.raised_at, now),
        ticket.command.clone(),
    ]
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
    use nightlatch_control::api::{ConnectionView, HealthReport, TicketView};
    use nightlatch_domain::{
        clock::Timestamp,
        id::{ConnectionId, TicketId},
    };

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

    #[test]
    fn what_one_put_back_database_asks_is_one_question() {
        let ticket = |connection: &str, era| TicketView {
            id: TicketId::new(NOW, [2; 10]),
            kind: "reauthorize".into(),
            connection: connection.into(),
            reason: "anchor-mismatch".into(),
            raised_at: NOW,
            era,
            command: format!("nightlatch connect {connection}"),
        };
        let tickets = vec![ticket("a/1", Some(3)), ticket("b/2", None), ticket("c/3", Some(3))];
        let report =
            HealthReport { connections: Vec::new(), tickets, alarms: Vec::new(), warnings: Vec::new() };
        let shown = text(&report, NOW);
        let (alone, together) =
            shown.split_once("One question of 2 (era 3): a keeper's log knows more").unwrap();
        assert!(alone.contains("b/2") && !alone.contains("a/1"), "{shown}");
        assert!(!together.contains("keeper adopt"), "{shown}");
        assert!(together.contains("a/1") && together.contains("c/3") && !together.contains("b/2"), "{shown}");
    }
}
