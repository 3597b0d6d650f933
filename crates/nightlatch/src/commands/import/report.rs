//! What is said of an import: meanwhile to the person, in the end as a result.

use crate::{
    adapters::SystemClock,
    error::Failure,
    output::{Output, hint},
};
use nightlatch_control::api::{ImportAnswer, ImportView};
use nightlatch_domain::{
    clock::{Boot, Clock as _},
    id::{ConnectionId, FlowId},
};
use serde::Serialize;
use std::{
    collections::BTreeMap,
    io::{self, IsTerminal as _, Write as _},
    time::Duration,
};

/// A terminal's line is drawn anew this often; elsewhere a line is written only now and then.
const DRAW_EVERY: Duration = Duration::from_millis(250);
const WRITE_EVERY: Duration = Duration::from_secs(5);

/// All that is known.
pub(super) struct Report {
    output: Output,
    is_terminal: bool,
    told: Option<Boot>,
    read: u64,
    imports: BTreeMap<FlowId, Standing>,
    errors: Vec<LineError>,
}

/// Where one import stands.
struct Standing {
    /// Every line that has its token, the first one first.
    lines: Vec<u64>,
    was_known: bool,
    view: Option<ImportView>,
}

/// What is wrong with a line.
#[derive(Debug, Serialize)]
struct LineError {
    line: u64,
    error: String,
    detail: String,
}

/// A line that is connected.
#[derive(Debug, Serialize)]
struct LineConnected {
    line: u64,
    connection: ConnectionId,
    account: Option<String>,
    label: Option<String>,
}

/// A line that waits for something.
#[derive(Debug, Serialize)]
struct LineWaiting {
    line: u64,
    flow: FlowId,
    reason: Option<String>,
    detail: Option<String>,
}

/// The result.
#[derive(Debug, Serialize)]
struct Summary {
    /// Lines that were not blank.
    rows: u64,
    connected: u64,
    /// Of all, those whose token was brought before, by an earlier line or an earlier import.
    known: u64,
    waiting: u64,
    /// What was presented, or was to be, and came to nothing.
    failed: u64,
    /// Lines that were not taken in.
    refused: u64,
    connections: Vec<LineConnected>,
    waits: Vec<LineWaiting>,
    errors: Vec<LineError>,
}

impl Report {
    pub(super) fn new(output: Output) -> Self {
        let is_terminal = io::stderr().is_terminal();
        Self { output, is_terminal, told: None, read: 0, imports: BTreeMap::new(), errors: Vec::new() }
    }

    /// A line was read.
    pub(super) fn read(&mut self) {
        self.read += 1;
    }

    /// A line is not taken in. Said at once.
    pub(super) fn refused(&mut self, line: u64, error: &str, detail: &str) {
        self.say(format_args!("line {line}: {detail} ({error})"));
        self.errors.push(LineError { line, error: error.to_owned(), detail: detail.to_owned() });
    }

    /// The server's answer for a line.
    pub(super) fn answered(&mut self, answer: ImportAnswer) {
        let Some(flow) = answer.flow else {
            let error = answer.reason.unwrap_or_default();
            return self.refused(answer.line, &error, &answer.detail.unwrap_or_default());
        };
        let was_known = answer.done == "known";
        let fresh = || Standing { lines: Vec::new(), was_known, view: None };
        self.imports.entry(flow).or_insert_with(fresh).lines.push(answer.line);
    }

    /// Where an import stands now. One that came to nothing is said at once.
    pub(super) fn stands(&mut self, view: ImportView) {
        let Some(standing) = self.imports.get_mut(&view.flow) else { return };
        let lines = standing.lines.clone();
        let failed = (view.state == "failed")
            .then(|| (view.reason.clone().unwrap_or_default(), view.detail.clone().unwrap_or_default()));
        standing.view = Some(view);
        let Some((error, detail)) = failed else { return };
        for line in lines {
            self.say(format_args!("line {line}: {detail} ({error})"));
            self.errors.push(LineError { line, error: error.clone(), detail: detail.clone() });
        }
    }

    /// What has not ended.
    pub(super) fn open_flows(&self) -> Vec<FlowId> {
        self.imports.iter().filter(|(_, one)| one.is_open()).map(|(flow, _)| *flow).collect()
    }

    pub(super) fn open(&self) -> usize {
        self.imports.values().filter(|one| one.is_open()).count()
    }

    /// Whether all that has not ended waits for something.
    pub(super) fn all_wait(&self) -> bool {
        self.imports.values().filter(|one| one.is_open()).all(|one| one.reason().is_some())
    }

    /// Says how far it is, now and then.
    pub(super) fn tell_progress(&mut self) {
        let every = if self.is_terminal { DRAW_EVERY } else { WRITE_EVERY };
        let now = SystemClock.boot();
        if self.told.is_some_and(|told| now.since(told) < every) {
            return;
        }
        self.told = Some(now);
        let (connected, failed, open) = (self.in_state("connected"), self.in_state("failed"), self.open());
        let refused = self.errors.len().saturating_sub(failed);
        let line = format!(
            "{} read, {} taken in, {connected} connected, {failed} failed, {refused} refused, {open} to come",
            self.read,
            self.imports.len()
        );
        if self.is_terminal {
            let _ = write!(io::stderr().lock(), "\r\x1b[K{line}");
        } else {
            hint(line);
        }
    }

    /// The line that is drawn anew ends.
    pub(super) fn end_progress(&self) {
        self.clear();
    }

    fn clear(&self) {
        if self.is_terminal && self.told.is_some() {
            let _ = write!(io::stderr().lock(), "\r\x1b[K");
        }
    }

    fn say(&self, line: impl std::fmt::Display) {
        self.clear();
        hint(line);
    }

    fn in_state(&self, state: &str) -> usize {
        self.imports.values().filter(|one| one.is(state)).count()
    }

    fn lines(&self, wanted: impl Fn(&Standing) -> bool) -> u64 {
        let lines = self.imports.values().filter(|one| wanted(one)).map(|one| one.lines.len());
        u64::try_from(lines.sum::<usize>()).unwrap_or(u64::MAX)
    }

    fn summary(mut self) -> Summary {
        let failed = self.lines(|one| one.is("failed"));
        let repeated = self
            .imports
            .values()
            .map(|one| if one.was_known { one.lines.len() } else { one.lines.len() - 1 });
        let known = u64::try_from(repeated.sum::<usize>()).unwrap_or(u64::MAX);
        let (mut connections, mut waits) = (Vec::new(), Vec::new());
        for (flow, one) in &self.imports {
            for line in &one.lines {
                connections.extend(one.connected(*line));
                waits.extend(one.waiting(*line, *flow));
            }
        }
        connections.sort_by_key(|one| one.line);
        waits.sort_by_key(|one| one.line);
        self.errors.sort_by_key(|error| error.line);
        Summary {
            rows: self.read,
            connected: self.lines(|one| one.is("connected")),
            known,
            waiting: self.lines(Standing::is_open),
            failed,
            refused: u64::try_from(self.errors.len()).unwrap_or(u64::MAX).saturating_sub(failed),
            connections,
            waits,
            errors: self.errors,
        }
    }

    /// Prints the result; a failure where not all is connected.
    pub(super) fn print(self) -> Result<(), Failure> {
        let output = self.output;
        let summary = self.summary();
        output.result(&summary, text)?;
        match (summary.failed + summary.refused, summary.waiting) {
            (0, 0) => Ok(()),
            (0, waiting) => Err(Failure::Finding(format!(
                "{waiting} wait and go on by themselves; run the same command over the same lines to see how far they are"
            ))),
            (bad, _) => Err(Failure::Finding(format!(
                "{bad} of {} lines are not connected: each is named above; mend them and run the same command again, what is there is not done twice",
                summary.rows
            ))),
        }
    }
}

impl Standing {
    fn state(&self) -> Option<&str> {
        self.view.as_ref().map(|view| view.state.as_str())
    }

    fn is(&self, state: &str) -> bool {
        self.state() == Some(state)
    }

    fn is_open(&self) -> bool {
        !matches!(self.state(), Some("connected" | "failed"))
    }

    fn reason(&self) -> Option<&str> {
        self.view.as_ref().and_then(|view| view.reason.as_deref())
    }

    fn connected(&self, line: u64) -> Option<LineConnected> {
        let view = self.view.as_ref()?;
        let connection = view.connection?;
        Some(LineConnected { line, connection, account: view.account.clone(), label: view.label.clone() })
    }

    fn waiting(&self, line: u64, flow: FlowId) -> Option<LineWaiting> {
        let view = self.view.as_ref();
        let reason = view.and_then(|view| view.reason.clone());
        let detail = view.and_then(|view| view.detail.clone());
        self.is_open().then_some(LineWaiting { line, flow, reason, detail })
    }
}

fn text(summary: &Summary) -> String {
    let Summary { rows, connected, known, waiting, failed, refused, .. } = summary;
    let mut text = format!("{rows} lines: {connected} connected");
    if *known > 0 {
        text.push_str(&format!(" ({known} brought before)"));
    }
    for (count, word) in [(waiting, "waiting"), (failed, "failed"), (refused, "refused")] {
        if *count > 0 {
            text.push_str(&format!(", {count} {word}"));
        }
    }
    let mut reasons: BTreeMap<&str, (u64, &str)> = BTreeMap::new();
    for one in &summary.waits {
        let reason = one.reason.as_deref().unwrap_or("not-yet-tried");
        let detail = one.detail.as_deref().unwrap_or("its turn has not come");
        reasons.entry(reason).or_insert((0, detail)).0 += 1;
    }
    for (reason, (count, detail)) in reasons {
        text.push_str(&format!("\n{count} wait: {detail} ({reason})"));
    }
    text
}
