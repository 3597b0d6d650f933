//! `ledger tail|show|verify` and `why`.

use super::Seat;
use crate::{
    cli::LedgerCommand,
    error::Failure,
    output::{clock_time, hint},
};
use nightlatch_control::{
    api::{CallStory, LedgerRecord, LedgerVerdict},
    client::segment,
};
use nightlatch_domain::clock::Timestamp;
use nightlatch_ledger::{LedgerError, verify::verify};
use serde_json::{Value, json};
use std::path::Path;

pub(super) async fn run(seat: &Seat, command: LedgerCommand) -> Result<(), Failure> {
    match command {
        LedgerCommand::Tail { last } => {
            let records: Vec<LedgerRecord> = seat.client()?.get(&format!("/v1/ledger?last={last}")).await?;
            seat.output.result(&records, |records| records.iter().map(in_a_line).collect())
        }
        LedgerCommand::Show { seq } => {
            let record: LedgerRecord = seat.client()?.get(&format!("/v1/ledger/{seq}")).await?;
            seat.output
                .result(&record, |record| serde_json::to_string_pretty(&record.record).unwrap_or_default())
        }
        LedgerCommand::Verify { dir: Some(folder) } => verdict(seat, &of_folder(&folder)?),
        LedgerCommand::Verify { dir: None } => {
            let served: LedgerVerdict = seat.client()?.post("/v1/ledger/verify", &json!({})).await?;
            verdict(seat, &served)
        }
    }
}

pub(super) async fn why(seat: &Seat, call: &str) -> Result<(), Failure> {
    let story: CallStory = seat.client()?.get(&format!("/v1/calls/{}", segment(call))).await?;
    seat.output.result(&story, |story| format!("{}\n{}\n", story.call, story.summary.join("\n")))
}

fn verdict(seat: &Seat, verdict: &LedgerVerdict) -> Result<(), Failure> {
    seat.output.result(verdict, |verdict| verdict.detail.clone())?;
    if verdict.whole {
        return Ok(());
    }
    Err(Failure::Finding(
        "the ledger is not whole; keep the folder as it is, and compare it with a copy".to_owned(),
    ))
}

/// A folder alone: its chain. What the head would show beside that, only the server can say.
fn of_folder(folder: &Path) -> Result<LedgerVerdict, Failure> {
    match verify(folder, &[], None) {
        Ok(verified) => {
            hint("the chain was checked without the signed head: a cut tail or an older copy would not show");
            Ok(LedgerVerdict {
                whole: true,
                records: verified.records,
                last_seq: verified.records,
                first_bad: None,
                detail: format!("all {} records fit together", verified.records),
            })
        }
        Err(LedgerError::Broken(broken)) => Ok(LedgerVerdict {
            whole: false,
            records: broken.seq.saturating_sub(1),
            last_seq: broken.seq.saturating_sub(1),
            first_bad: Some(broken.seq),
            detail: broken.to_string(),
        }),
        Err(error) => Err(Failure::BadFile(error.to_string())),
    }
}

/// The fields that a line shows, in their order.
const SHOWN: [&str; 12] = [
    "event",
    "problem",
    "reason",
    "method",
    "template",
    "host",
    "operation",
    "status",
    "finding",
    "call",
    "task",
    "connection",
];

fn in_a_line(record: &LedgerRecord) -> String {
    let field = |name: &str| match record.record.get(name)? {
        Value::String(text) => Some(text.clone()),
        Value::Null => None,
        other => Some(other.to_string()),
    };
    let at = record.record.get("at").and_then(Value::as_i64).map(Timestamp::from_millis);
    // The date always stands: a log is read on other days than it was written.
    let at = at.map_or_else(String::new, |at| clock_time(at, Timestamp::from_millis(0)));
    let shown: Vec<String> = SHOWN.iter().filter_map(|name| field(name)).collect();
    let kind = field("kind").unwrap_or_default();
    format!("{:>6}  {at}  {kind:8}  {}\n", record.seq, shown.join("  "))
}
