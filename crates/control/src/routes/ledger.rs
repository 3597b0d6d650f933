//! The ledger, read: its end, one record, all of one call, whether it is whole.

use super::input::Asked;
use crate::{
    api::{AlarmView, CallStory, LedgerRecord, LedgerVerdict},
    control::Control,
    error::ControlError,
    find::missing,
};
use axum::{
    Json,
    extract::{Path, State},
};
use nightlatch_domain::id::CallId;
use nightlatch_ledger::{
    LedgerError,
    facts::EventFacts,
    read::{self, Filter},
    record::{Entry, EventName, Record, Refusal},
};
use serde::Deserialize;
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// How many records are shown at once.
const TAIL_MAX: usize = 1000;
/// How far back `health` looks for alarms.
const ALARMS_SPAN: Duration = Duration::from_secs(30 * 24 * 3600);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Last {
    last: Option<usize>,
}

pub(super) async fn tail(
    State(control): State<Arc<Control>>,
    Asked(asked): Asked<Last>,
) -> Result<Json<Vec<LedgerRecord>>, ControlError> {
    let (last, filter) = (asked.last.unwrap_or(20).min(TAIL_MAX), control.own_records());
    let records = control.reading(move |folder| read::tail(folder, last, &filter)).await?;
    Ok(Json(records.iter().map(shown).collect::<Result<_, _>>()?))
}

pub(super) async fn show(
    State(control): State<Arc<Control>>,
    Path(seq): Path<u64>,
) -> Result<Json<LedgerRecord>, ControlError> {
    let record = control.reading(move |folder| read::record(folder, seq)).await?;
    let own = record.filter(|record| record.entry.tenant().is_none_or(|tenant| tenant == control.tenant.id));
    let record = own.ok_or_else(|| {
        missing("record", &seq.to_string(), "`nightlatch ledger tail` shows the last ones with their numbers")
    })?;
    Ok(Json(shown(&record)?))
}

pub(super) async fn verify(State(control): State<Arc<Control>>) -> Result<Json<LedgerVerdict>, ControlError> {
    match control.ledger.verify().await {
        Ok(verified) => Ok(Json(LedgerVerdict {
            whole: true,
            records: verified.records,
            last_seq: verified.records,
            first_bad: None,
            detail: format!("all {} records fit, up to the head that was signed just now", verified.records),
        })),
        Err(LedgerError::Broken(broken)) => Ok(Json(LedgerVerdict {
            whole: false,
            records: broken.seq.saturating_sub(1),
            last_seq: broken.seq.saturating_sub(1),
            first_bad: Some(broken.seq),
            detail: broken.to_string(),
        })),
        Err(error) => Err(failed(&error)),
    }
}

pub(super) async fn why(
    State(control): State<Arc<Control>>,
    Path(id): Path<String>,
) -> Result<Json<CallStory>, ControlError> {
    let call = id.parse::<CallId>().map_err(|error| ControlError::BadRequest(error.to_string()))?;
    let mut records = control.reading(move |folder| read::of_call(folder, call)).await?;
    records.retain(|record| record.entry.tenant().is_none_or(|tenant| tenant == control.tenant.id));
    if records.is_empty() {
        let hint = "the ledger knows nothing of it: it was never recorded, was counted with many alike, or is too old";
        return Err(missing("call", &id, hint));
    }
    let mut summary = Vec::new();
    for record in &records {
        summary.push(control.told(record).await?);
    }
    let records = records.iter().map(shown).collect::<Result<_, _>>()?;
    Ok(Json(CallStory { call, summary, records }))
}

/// What should not have happened, newest first.
pub(super) async fn alarms(control: &Control) -> Result<Vec<AlarmView>, ControlError> {
    let mut by_name: BTreeMap<&'static str, AlarmView> = BTreeMap::new();
    for record in control.ledger.alarms(control.now().minus(ALARMS_SPAN)) {
        let Entry::Event(event) = &record.entry else { continue };
        if event.tenant.is_some_and(|tenant| tenant != control.tenant.id) {
            continue;
        }
        let name = event.event.as_str();
        let fresh = || AlarmView { name: name.to_owned(), count: 0, last_at: record.at, seq: record.seq };
        let alarm = by_name.entry(name).or_insert_with(fresh);
        alarm.count = alarm.count.saturating_add(event.count);
        (alarm.last_at, alarm.seq) = (record.at, record.seq);
    }
    let mut alarms: Vec<AlarmView> = by_name.into_values().collect();
    alarms.sort_by_key(|alarm| std::cmp::Reverse(alarm.last_at));
    Ok(alarms)
}

impl Control {
    /// An event that this human caused; fill in the rest with struct update.
    pub(super) fn event(&self, name: EventName) -> EventFacts {
        let (tenant, human) = (Some(self.tenant.id), Some(self.human.id));
        EventFacts { tenant, human, ..EventFacts::new(name) }
    }

    /// Records what is about to be done; where that fails, it is not done.
    pub(super) async fn record_before(&self, facts: EventFacts) -> Result<(), ControlError> {
        self.ledger.event(facts).await.map_err(|error| failed(&error))
    }

    /// Records what took something away. It has happened: a full disk does not stop Stop.
    pub(super) async fn record_after(&self, facts: EventFacts) {
        if let Err(error) = self.ledger.event(facts).await {
            tracing::warn!(%error, "what was taken away is not in the ledger");
        }
    }

    fn own_records(&self) -> Filter {
        Filter { tenant: Some(self.tenant.id), ..Filter::default() }
    }

    async fn reading<T: Send + 'static>(
        &self,
        read: impl FnOnce(&std::path::Path) -> Result<T, LedgerError> + Send + 'static,
    ) -> Result<T, ControlError> {
        let folder = self.ledger.folder().to_owned();
        let done = tokio::task::spawn_blocking(move || read(&folder)).await;
        done.map_err(|_| ControlError::Internal)?.map_err(|error| failed(&error))
    }

    /// A record in words.
    async fn told(&self, record: &Record) -> Result<String, ControlError> {
        Ok(match &record.entry {
            Entry::Intent(intent) => format!(
                "allowed and sent: {} {} at {} ({}, {}) by agent {} for task {}, grant {}",
                intent.method,
                intent.template,
                intent.host,
                intent.operation,
                intent.effect,
                self.agent_name(&intent.agent.to_string()).await?,
                intent.task,
                intent.grant,
            ),
            Entry::Outcome(outcome) => {
                let status = outcome
                    .status
                    .map_or_else(|| "no answer".to_owned(), |status| format!("status {status}"));
                let problem =
                    outcome.problem.as_ref().map(|problem| format!(", told `{problem}`")).unwrap_or_default();
                let whole = if outcome.complete { "" } else { ", cut short" };
                format!(
                    "the tool: {status}{problem}{whole}; {} bytes out, {} bytes back, {} ms",
                    outcome.sent_bytes, outcome.received_bytes, outcome.took_millis
                )
            }
            Entry::Refusal(refusal) => refused(refusal),
            Entry::Finding(finding) => format!("noticed: {} ({} times)", finding.finding, finding.count),
            Entry::Event(event) => format!("event: {}", event.event),
        })
    }

    async fn agent_name(&self, id: &str) -> Result<String, ControlError> {
        match self.agent(id).await {
            Ok(agent) => Ok(agent.name.to_string()),
            Err(ControlError::NotFound { .. }) => Ok(id.to_owned()),
            Err(error) => Err(error),
        }
    }
}

fn refused(refusal: &Refusal) -> String {
    let mut text = format!("refused: {}", refusal.problem);
    for (what, value) in [("reason", &refusal.reason), ("from", &refusal.source)] {
        if let Some(value) = value {
            text.push_str(&format!(", {what} {value}"));
        }
    }
    if let Some(operation) = &refusal.operation {
        text.push_str(&format!(", operation {operation}"));
    }
    if !refusal.policies.is_empty() {
        text.push_str(&format!(", by {}", refusal.policies.join(", ")));
    }
    text
}

fn shown(record: &Record) -> Result<LedgerRecord, ControlError> {
    let value = serde_json::to_value(record).map_err(|_| ControlError::Internal)?;
    Ok(LedgerRecord { seq: record.seq, record: value })
}

fn failed(error: &LedgerError) -> ControlError {
    tracing::warn!(%error, "the ledger");
    ControlError::Ledger
}
