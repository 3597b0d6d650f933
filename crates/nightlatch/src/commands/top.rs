//! `top`: what runs now, and how much; `metrics`: the numbers, as collectors read them.
//!
//! At a terminal `top` draws itself anew each second, and when the window changes, until Ctrl-C; elsewhere, with
//! `--once` or with `--json`, it prints what is there and ends. It shows ids, names that you gave and words of ours.

mod screen;

use super::Seat;
use crate::{
    adapters::variable,
    error::Failure,
    output::{or_dash, span, table},
};
use nightlatch_control::{
    Client,
    api::{LiveCallView, LiveReport, Metrics},
};
use screen::Screen;
use std::{
    collections::BTreeMap,
    io::{self, IsTerminal as _},
    time::Duration,
};
use tokio::signal::unix::{SignalKind, signal};

/// From one drawing to the next.
const REFRESH: Duration = Duration::from_secs(1);
/// The rooms of the corridor, as calls walk through them.
const ROOMS: [&str; 9] =
    ["admit", "resolve", "decide", "brake", "hold", "record", "attach", "forward", "scrub"];
/// Calls that are shown, where there is room for so many; how many more there are is said.
const CALLS_MAX: usize = 30;
/// Those that are shown in the smallest window too.
const CALLS_MIN: usize = 3;

pub(super) async fn metrics(seat: &Seat) -> Result<(), Failure> {
    let metrics: Metrics = seat.client()?.get("/v1/metrics").await?;
    seat.output.result(&metrics, |metrics| metrics.openmetrics.clone())
}

pub(super) async fn run(seat: &Seat, once: bool) -> Result<(), Failure> {
    let client = seat.client()?;
    let first: LiveReport = client.get("/v1/live").await?;
    if once || seat.output.is_json() || !io::stdout().is_terminal() || is_dumb() {
        return seat.output.result(&first, |report| text(report, None, None));
    }
    draw_until_told(&client, first).await
}

/// A terminal that cannot be drawn on.
fn is_dumb() -> bool {
    variable("TERM").is_none_or(|term| term == "dumb")
}

async fn draw_until_told(client: &Client, mut now: LiveReport) -> Result<(), Failure> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let mut resized = signal(SignalKind::window_change())?;
    let screen = Screen::open()?;
    let mut before = None;
    loop {
        screen.draw(|rows| text(&now, before.as_ref(), Some(rows)))?;
        let looked = async {
            tokio::time::sleep(REFRESH).await;
            client.get::<LiveReport>("/v1/live").await
        };
        tokio::select! {
            _ = interrupt.recv() => return Ok(()),
            _ = terminate.recv() => return Ok(()),
            _ = hangup.recv() => return Ok(()),
            _ = resized.recv() => {}
            report = looked => before = Some(std::mem::replace(&mut now, report?)),
        }
    }
}

/// What is shown, in about so many rows: where there are fewer, fewer calls are.
fn text(now: &LiveReport, before: Option<&LiveReport>, rows: Option<usize>) -> String {
    let mut parts = vec![headline(now)];
    let totals = totals(now, before);
    if !now.calls.is_empty() {
        let taken: usize = totals.iter().map(|part| part.lines().count() + 1).sum();
        // What stands around the calls: the headline, an empty row, their own heading, how many more there are.
        let room = rows.map_or(CALLS_MAX, |rows| rows.saturating_sub(taken + 4));
        parts.push(live(now, room.clamp(CALLS_MIN, CALLS_MAX)));
    }
    parts.extend(totals);
    parts.join("\n")
}

/// How many there are, and where they are or wait, in the order of the rooms.
fn headline(now: &LiveReport) -> String {
    let calls = match now.calls.len() {
        0 => return "no call is under way\n".to_owned(),
        1 => "1 call is under way".to_owned(),
        many => format!("{many} calls are under way"),
    };
    let mut rooms: Vec<(&str, usize)> = ROOMS.map(|room| (room, 0)).to_vec();
    for call in &now.calls {
        match rooms.iter_mut().find(|(room, _)| *room == call.phase) {
            Some((_, count)) => *count += 1,
            None => rooms.push((&call.phase, 1)),
        }
    }
    let rooms = rooms.into_iter().filter(|(_, count)| *count > 0);
    let rooms: Vec<String> = rooms.map(|(room, count)| format!("{count} in {room}")).collect();
    format!("{calls}: {}\n", rooms.join(", "))
}

/// What there was, by tool, by agent, by limit.
fn totals(now: &LiveReport, before: Option<&LiveReport>) -> Vec<String> {
    let since = before.map(|before| now.at.since(before.at)).filter(|span| !span.is_zero());
    let tools_before =
        before.map(|before| counts(before.tools.iter().map(|own| (own.tool.to_string(), own.calls))));
    let tools =
        now.tools.iter().map(|own| (own.tool.to_string(), own.tool.to_string(), own.calls, own.refused));
    let agents_before =
        before.map(|before| counts(before.agents.iter().map(|own| (own.id.to_string(), own.calls))));
    let agents = now
        .agents
        .iter()
        .map(|own| (own.id.to_string(), or_dash(own.agent.as_ref()), own.calls, own.refused));
    let mut parts = vec![
        rates("TOOL", tools, tools_before.as_ref(), since),
        rates("AGENT", agents, agents_before.as_ref(), since),
    ];
    if !now.limits.is_empty() {
        let rows: Vec<_> =
            now.limits.iter().map(|met| vec![met.limit.clone(), met.times.to_string()]).collect();
        parts.push(table(&["LIMIT", "MET"], &rows));
    }
    parts.retain(|part| !part.is_empty());
    parts
}

fn live(now: &LiveReport, calls_max: usize) -> String {
    let row = |call: &LiveCallView| {
        let task = call.task_name.as_ref().map_or_else(|| call.task.to_string(), ToString::to_string);
        vec![
            call.phase.clone(),
            span(Duration::from_millis(call.age_millis)),
            or_dash(call.agent.as_ref()),
            task,
            call.tool.to_string(),
            call.operation.clone(),
            call.door.clone(),
            call.call.to_string(),
        ]
    };
    let rows: Vec<_> = now.calls.iter().take(calls_max).map(row).collect();
    let mut text = table(&["IN", "FOR", "AGENT", "TASK", "TOOL", "OPERATION", "DOOR", "CALL"], &rows);
    if let Some(more) = now.calls.len().checked_sub(calls_max).filter(|more| *more > 0) {
        text.push_str(&format!("and {more} more\n"));
    }
    text
}

fn counts(all: impl Iterator<Item = (String, u64)>) -> BTreeMap<String, u64> {
    all.collect()
}

/// Each by name with its rate; none where there is nothing to show.
fn rates(
    heading: &str,
    all: impl Iterator<Item = (String, String, u64, u64)>,
    before: Option<&BTreeMap<String, u64>>,
    since: Option<Duration>,
) -> String {
    let rate = |key: &str, calls: u64| {
        let earlier = before.map(|before| before.get(key).copied().unwrap_or_default());
        let (earlier, since) = (earlier?, since?);
        let millis = u64::try_from(since.as_millis()).unwrap_or(u64::MAX).max(1);
        let tenths = calls.saturating_sub(earlier).saturating_mul(10_000) / millis;
        Some(format!("{}.{}", tenths / 10, tenths % 10))
    };
    let rows: Vec<Vec<String>> = all
        .map(|(key, name, calls, refused)| {
            vec![name, or_dash(rate(&key, calls)), calls.to_string(), refused.to_string()]
        })
        .collect();
    if rows.is_empty() { String::new() } else { table(&[heading, "A SECOND", "CALLS", "REFUSED"], &rows) }
}

#[cfg(test)]
mod tests {
    use super::text;
    use nightlatch_control::api::{AgentTotal, LimitMet, LiveCallView, LiveReport, ToolTotal};
    use nightlatch_domain::{
        clock::Timestamp,
        id::{CallId, PrincipalId, TaskId},
    };

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    fn report(at: i64, calls: u64) -> LiveReport {
        let id = PrincipalId::new(NOW, [1; 10]);
        LiveReport {
            at: Timestamp::from_millis(NOW.millis() + at),
            calls: vec![LiveCallView {
                call: CallId::new(NOW, [1; 10]),
                door: "route".into(),
                agent: Some("laptop".parse().unwrap()),
                task: TaskId::new(NOW, [1; 10]),
                task_name: Some("triage".parse().unwrap()),
                tool: "github".parse().unwrap(),
                operation: "repos.get".into(),
                effect: "read".into(),
                phase: "hold".into(),
                age_millis: 3_000,
            }],
            tools: vec![ToolTotal { tool: "github".parse().unwrap(), calls, refused: 1 }],
            agents: vec![AgentTotal { id, agent: Some("laptop".parse().unwrap()), calls, refused: 1 }],
            limits: vec![LimitMet { limit: "agent.per_second".into(), times: 4 }],
        }
    }

    #[test]
    fn what_runs_is_shown_with_its_room_and_what_there_was_with_its_rate() {
        let shown = text(&report(2_000, 25), Some(&report(0, 10)), None);
        for line in [
            "1 call is under way: 1 in hold\n",
            "hold   3 s   laptop   triage   github   repos.get   route   call_",
            "github   7.5        25      1",
            "laptop   7.5        25      1",
            "agent.per_second   4",
        ] {
            assert!(shown.contains(line), "{line} is missing in:\n{shown}");
        }
    }

    #[test]
    fn one_look_has_no_rate() {
        assert!(text(&report(0, 10), None, None).contains("github   –          10      1"));
    }

    #[test]
    fn a_low_window_shows_fewer_calls_and_says_so_and_a_pipe_shows_as_many_as_are_useful() {
        let mut report = report(0, 10);
        let call = report.calls[0].clone();
        report.calls = (0..40)
            .map(|number| {
                let phase = if number < 4 { "decide" } else { "forward" };
                LiveCallView { phase: phase.into(), ..call.clone() }
            })
            .collect();
        let shown = |rows| text(&report, None, rows);
        assert!(shown(None).starts_with("40 calls are under way: 4 in decide, 36 in forward\n"));
        for (rows, more) in [(None, 10), (Some(24), 29), (Some(1), 37), (Some(100), 10)] {
            assert!(shown(rows).contains(&format!("and {more} more\n")), "{rows:?}:\n{}", shown(rows));
        }
        assert_eq!(shown(Some(24)).lines().count(), 24);
        report.calls.clear();
        assert!(text(&report, None, Some(24)).starts_with("no call is under way\n"));
    }
}
