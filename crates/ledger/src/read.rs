//! Reading a ledger: the last records, one record, all of a call, alarms. Files only, from the end.
//!
//! A segment is read whole (16 MiB), and a search goes back so many segments and no further, so that a
//! question about a call that never was does not read years.

use crate::{
    LedgerError,
    record::{Entry, EventName, Kind, Outcome, Record},
    recover::first_seq,
    segments::{SEGMENT_MAX_BYTES, Segment, failed, list},
};
use nightlatch_domain::{
    clock::Timestamp,
    id::{CallId, TenantId},
    problem::ProblemKind,
};
use std::{collections::BTreeSet, fs::File, io::Read, ops::ControlFlow, path::Path, time::Duration};

/// How many segments a search goes back: 256 MiB.
const SEARCHED_SEGMENTS_MAX: usize = 16;
/// More records than this are not asked for at once.
const TAIL_MAX_RECORDS: usize = 10_000;

/// How much further back than a call's time its intent is looked for.
const SLACK: Duration = Duration::from_secs(3600);

/// Which records are meant. An empty filter means all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Filter {
    /// Only of this tenant, and those of no tenant (the program's own, unproved callers).
    pub tenant: Option<TenantId>,
    /// Only of this kind.
    pub kind: Option<Kind>,
    /// Only events of this name.
    pub event: Option<EventName>,
}

impl Filter {
    fn fits(&self, record: &Record) -> bool {
        let tenant = record.entry.tenant();
        self.tenant.is_none_or(|wanted| tenant.is_none_or(|given| given == wanted))
            && self.kind.is_none_or(|wanted| record.entry.kind() == wanted)
            && self
                .event
                .is_none_or(|wanted| matches!(&record.entry, Entry::Event(event) if event.event == wanted))
    }
}

/// The last `limit` records that fit, oldest first; at most 10 000.
///
/// # Errors
/// [`LedgerError::File`] or [`LedgerError::Unreadable`].
pub fn tail(folder: &Path, limit: usize, filter: &Filter) -> Result<Vec<Record>, LedgerError> {
    let limit = limit.min(TAIL_MAX_RECORDS);
    let mut found = Vec::new();
    if limit == 0 {
        return Ok(found);
    }
    backwards(folder, |segment, line| {
        let record = parse(segment, line)?;
        if filter.fits(&record) {
            found.push(record);
        }
        Ok(if found.len() == limit { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    })?;
    found.reverse();
    Ok(found)
}

/// The record of a number.
///
/// # Errors
/// [`LedgerError::File`] or [`LedgerError::Unreadable`].
pub fn record(folder: &Path, seq: u64) -> Result<Option<Record>, LedgerError> {
    for segment in list(folder)?.iter().rev() {
        if first_seq(segment)?.is_some_and(|first| first <= seq) {
            let mut found = None;
            let _flow = segment_backwards(segment, &mut |segment, line| {
                let record = parse(segment, line)?;
                if record.seq > seq {
                    return Ok(ControlFlow::Continue(()));
                }
                found = (record.seq == seq).then_some(record);
                Ok(ControlFlow::Break(()))
            })?;
            return Ok(found);
        }
    }
    Ok(None)
}

/// Everything about a call, oldest first: at most its refusals, or its intent, findings and outcome.
///
/// # Errors
/// [`LedgerError::File`] or [`LedgerError::Unreadable`].
pub fn of_call(folder: &Path, call: CallId) -> Result<Vec<Record>, LedgerError> {
    let text = call.to_string();
    let mut found = Vec::new();
    backwards(folder, |segment, line| {
        if !contains(line, &text) {
            return Ok(ControlFlow::Continue(()));
        }
        let record = parse(segment, line)?;
        let is_intent = matches!(record.entry, Entry::Intent(_));
        if record.entry.call() == Some(call) {
            found.push(record);
        }
        // Nothing of a call stands before its intent but what refused it.
        Ok(if is_intent { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    })?;
    found.reverse();
    Ok(found)
}

/// Those of these calls that may have been sent: they have an intent, and no outcome says that nothing left. Goes back
/// as far as the oldest of them, by the time in its id.
///
/// # Errors
/// [`LedgerError::File`] or [`LedgerError::Unreadable`].
pub fn perhaps_sent(folder: &Path, calls: &BTreeSet<CallId>) -> Result<BTreeSet<CallId>, LedgerError> {
    let (mut unsent, mut found) = (BTreeSet::new(), BTreeSet::new());
    let Some(oldest) = calls.iter().map(CallId::time).min() else { return Ok(found) };
    for segment in list(folder)?.iter().rev() {
        let flow = segment_backwards(segment, &mut |segment, line| {
            let record = parse(segment, line)?;
            match &record.entry {
                // From the end: an outcome is met before its intent.
                Entry::Outcome(outcome) if calls.contains(&outcome.call) && says_unsent(outcome) => {
                    unsent.insert(outcome.intent);
                }
                Entry::Intent(intent) if calls.contains(&intent.call) && !unsent.contains(&record.seq) => {
                    found.insert(intent.call);
                }
                _ => {}
            }
            // A clock that was set back a little in between must not end the search.
            let is_before = record.at < oldest.minus(SLACK);
            Ok(if is_before { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })?;
        if flow.is_break() {
            break;
        }
    }
    Ok(found)
}

fn says_unsent(outcome: &Outcome) -> bool {
    let problem = outcome.problem.as_deref().and_then(ProblemKind::of_slug);
    outcome.status.is_none() && problem.is_some_and(|problem| !problem.perhaps_sent())
}

/// The last `limit` alarms since then, oldest first.
///
/// # Errors
/// [`LedgerError::File`] or [`LedgerError::Unreadable`].
pub fn alarms(folder: &Path, since: Timestamp, limit: usize) -> Result<Vec<Record>, LedgerError> {
    let mut found = Vec::new();
    backwards(folder, |segment, line| {
        if !contains(line, "\"kind\":\"event\"") {
            return Ok(ControlFlow::Continue(()));
        }
        let record = parse(segment, line)?;
        if record.at < since || found.len() == limit {
            return Ok(ControlFlow::Break(()));
        }
        if record.entry.is_alarm() {
            found.push(record);
        }
        Ok(ControlFlow::Continue(()))
    })?;
    found.reverse();
    Ok(found)
}

type Visit<'a> = &'a mut dyn FnMut(&Segment, &[u8]) -> Result<ControlFlow<()>, LedgerError>;

fn backwards(
    folder: &Path,
    mut visit: impl FnMut(&Segment, &[u8]) -> Result<ControlFlow<()>, LedgerError>,
) -> Result<(), LedgerError> {
    for segment in list(folder)?.iter().rev().take(SEARCHED_SEGMENTS_MAX) {
        if segment_backwards(segment, &mut visit)?.is_break() {
            break;
        }
    }
    Ok(())
}

fn segment_backwards(segment: &Segment, visit: Visit<'_>) -> Result<ControlFlow<()>, LedgerError> {
    let mut bytes = Vec::new();
    File::open(&segment.path)
        .and_then(|file| file.take(2 * SEGMENT_MAX_BYTES).read_to_end(&mut bytes))
        .map_err(|error| failed(&segment.path, &error))?;
    // What follows the last newline is nothing, or a line that is being written.
    for line in bytes.rsplit(|byte| *byte == b'\n').skip(1) {
        if visit(segment, line)?.is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
    Ok(ControlFlow::Continue(()))
}

fn parse(segment: &Segment, line: &[u8]) -> Result<Record, LedgerError> {
    serde_json::from_slice(line).map_err(|_| LedgerError::Unreadable(segment.name()))
}

fn contains(line: &[u8], text: &str) -> bool {
    std::str::from_utf8(line).is_ok_and(|line| line.contains(text))
}

#[cfg(test)]
mod tests;
