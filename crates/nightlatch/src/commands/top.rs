//! `top`: what runs now, and how much; `metrics`: the numbers, as collectors read them.
//!
//! At a terminal `top` draws itself anew each second until Ctrl-C; elsewhere, with `--once` or with `--json`, it
//! prints what is there and ends. It shows ids, names that you gave and words of ours.

use super::Seat;
use crate::{
    error::Failure,
    output::{or_dash, span, table},
};
use nightlatch_control::{
    Client,
    api::{LiveReport, Metrics},
};
use std::{
    collections::BTreeMap,
    io::{self, IsTerminal as _, Write as _},
    time::Duration,
};

/// From one drawing to the next.
const REFRESH: Duration = Duration::from_secs(1);
/// Calls that are shown; how many more there are is said.
const ROWS_MAX: usize = 30;
/// ECMA-48: the cursor to the first place, and what is left to the end of the screen erased.
const HOME: &str = "\x1b[H";
const ERASE_LINE_END: &str = "\x1b[K";
const ERASE_BELOW: &str = "\x1b[J";

pub(super) async fn metrics(seat: &Seat) -> Result<(), Failure> {
    let metrics: Metrics = seat.client()?.get("/v1/metrics").await?;
    seat.output.result(&metrics, |metrics| metrics.openmetrics.clone())
}

pub(super) async fn run(seat: &Seat, once: bool) -> Result<(), Failure> {
    let client = seat.client()?;
    let first: LiveReport = client.get("/v1/live").await?;
    if once || seat.output.is_json() || !io::stdout().is_terminal() {
        return seat.output.result(&first, |report| text(report, None));
    }
    draw_until_told(&client, first).await
}

async fn draw_until_told(client: &Client, mut before: LiveReport) -> Result<(), Failure> {
    let mut told = std::pin::pin!(tokio::signal::ctrl_c());
    write!(io::stdout(), "\x1b[2J{HOME}")?;
    draw(&text(&before, None))?;
    loop {
        tokio::select! {
            _ = &mut told => return Ok(writeln!(io::stdout())?),
            () = tokio::time::sleep(REFRESH) => {}
        }
        let now: LiveReport = client.get("/v1/live").await?;
        draw(&text(&now, Some(&before)))?;
        before = now;
    }
}

/// Over what was drawn before, line by line, so that nothing flickers. No colour is used, so NO_COLOR is kept.
fn draw(text: &str) -> Result<(), Failure> {
    let lines: String = text.lines().map(|line| format!("{line}{ERASE_LINE_END}\r\n")).collect();
    let mut out = io::stdout().lock();
    out.write_all(format!("{HOME}{lines}{ERASE_BELOW}").as_bytes())?;
    Ok(out.flush()?)
}

fn text(now: &LiveReport, before: Option<&LiveReport>) -> String {
    let since = before.map(|before| now.at.since(before.at)).filter(|span| !span.is_zero());
    let calls = match now.calls.len() {
        0 => "no call is under way".to_owned(),
        1 => "1 call is under way".to_owned(),
        many => format!("{many} calls are under way"),
    };
    let mut parts = vec![format!("{calls}\n")];
    if !now.calls.is_empty() {
        parts.push(live(now));
    }
    let tools_before =
        before.map(|before| totals(before.tools.iter().map(|own| (own.tool.to_string(), own.calls))));
    let tools =
        now.tools.iter().map(|own| (own.tool.to_string(), own.tool.to_string(), own.calls, own.refused));
    parts.push(rates("TOOL", tools, tools_before.as_ref(), since));
    let agents_before =
        before.map(|before| totals(before.agents.iter().map(|own| (own.id.to_string(), own.calls))));
    let agents = now
        .agents
        .iter()
        .map(|own| (own.id.to_string(), or_dash(own.agent.as_ref()), own.calls, own.refused));
    parts.push(rates("AGENT", agents, agents_before.as_ref(), since));
    if !now.limits.is_empty() {
        let rows: Vec<_> =
            now.limits.iter().map(|met| vec![met.limit.clone(), met.times.to_string()]).collect();
        parts.push(table(&["LIMIT", "MET"], &rows));
    }
    parts.retain(|part| !part.is_empty());
    parts.join("\n")
}

fn live(now: &LiveReport) -> String {
    let row = |call: &nightlatch_control::api::LiveCallView| {
        let task = call.task_name.as_ref().map_or_else(|| call.task.to_string(), ToString::to_string);
        vec![
            or_dash(call.agent.as_ref()),
            task,
            call.tool.to_string(),
            call.operation.clone(),
            call.phase.clone(),
            span(Duration::from_millis(call.age_millis)),
            call.call.to_string(),
        ]
    };
    let rows: Vec<_> = now.calls.iter().take(ROWS_MAX).map(row).collect();
    let mut text = table(&["AGENT", "TASK", "TOOL", "OPERATION", "IN", "FOR", "CALL"], &rows);
    if let Some(more) = now.calls.len().checked_sub(ROWS_MAX).filter(|more| *more > 0) {
        text.push_str(&format!("and {more} more\n"));
    }
    text
}

fn totals(all: impl Iterator<Item = (String, u64)>) -> BTreeMap<String, u64> {
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
        let shown = text(&report(2_000, 25), Some(&report(0, 10)));
        for line in [
            "1 call is under way",
            "laptop   triage   github   repos.get   hold   3 s",
            "github   7.5        25      1",
            "laptop   7.5        25      1",
            "agent.per_second   4",
        ] {
            assert!(shown.contains(line), "{line} is missing in:\n{shown}");
        }
    }

    #[test]
    fn one_look_has_no_rate() {
        assert!(text(&report(0, 10), None).contains("github   –          10      1"));
    }
}
