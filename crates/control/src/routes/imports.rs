//! Refresh tokens that another system held: they come in sealed, and are asked about until they have ended.

use super::input::Input;
use crate::{
    api::{ImportAnswer, ImportAnswers, ImportItem, ImportRequest, ImportView, ImportViews, ImportsAsked},
    control::Control,
    error::ControlError,
};
use axum::{Json, extract::State};
use nightlatch_domain::{
    chain::{FlowOutcome, FlowStep},
    import::Import,
    ports::control_keeper::{
        ControlRefusal, ControlReply, ControlRequest, ImportBatch, ImportFacts, ImportRow, Imported,
    },
};
use std::sync::Arc;

/// Refresh tokens that come in at once.
const ROWS_MAX: usize = 500;
/// Imports that are asked about at once.
const ASKED_MAX: usize = 1000;

pub(super) async fn take(
    State(control): State<Arc<Control>>,
    Input(asked): Input<ImportRequest>,
) -> Result<Json<ImportAnswers>, ControlError> {
    if !asked.old_system_stopped {
        return Err(ControlError::CannotConnect(
            "say that the old system has stopped (`old_system_stopped`): two systems that refresh one token end the connection"
                .to_owned(),
        ));
    }
    at_most(asked.rows.len(), ROWS_MAX)?;
    let (mut told, mut rows) = (Vec::with_capacity(asked.rows.len()), Vec::with_capacity(asked.rows.len()));
    for item in asked.rows {
        let line = item.line;
        told.push(if control.is_own(item.tenant.as_deref()) {
            rows.push(row(item));
            accepted(line)
        } else {
            other_tenant(line)
        });
    }
    let batch = ImportBatch { tenant: control.tenant.id, rows };
    let ControlReply::Imported { rows } = control.keeper.ask(ControlRequest::Import(batch)).await? else {
        return Err(ControlError::Internal);
    };
    let own = told.iter_mut().filter(|one| one.done == "accepted");
    for (one, imported) in own.zip(rows) {
        say(one, imported);
    }
    Ok(Json(ImportAnswers { rows: told }))
}

fn at_most(rows: usize, limit: usize) -> Result<(), ControlError> {
    if rows <= limit {
        return Ok(());
    }
    Err(ControlError::BadRequest(format!("{rows} at once are too many: send {limit} at most")))
}

impl Control {
    /// Whether a row that names a tenant means the one that this socket speaks for.
    fn is_own(&self, named: Option<&str>) -> bool {
        named.is_none_or(|named| named == self.tenant.name.as_str() || named == self.tenant.id.to_string())
    }
}

fn row(item: ImportItem) -> ImportRow {
    let ImportItem { tool, client, name, account, host, token, access, access_until, .. } = item;
    ImportRow { facts: ImportFacts { tool, client, name, account, host }, token, access, access_until }
}

fn accepted(line: u64) -> ImportAnswer {
    ImportAnswer { line, done: "accepted".to_owned(), flow: None, reason: None, detail: None }
}

fn other_tenant(line: u64) -> ImportAnswer {
    let detail = "this row names a tenant that is not served here: import it where that tenant is, or leave `tenant` out";
    refused(line, "other-tenant", detail.to_owned())
}

fn refused(line: u64, reason: &str, detail: String) -> ImportAnswer {
    let (done, reason) = ("refused".to_owned(), Some(reason.to_owned()));
    ImportAnswer { line, done, flow: None, reason, detail: Some(detail) }
}

fn say(one: &mut ImportAnswer, imported: Imported) {
    match imported {
        Imported::Accepted { flow } => one.flow = Some(flow),
        Imported::Known { flow } => (one.done, one.flow) = ("known".to_owned(), Some(flow)),
        Imported::Refused { why } => {
            let next = match &why {
                ControlRefusal::Unknown { what } if what == "tool" => {
                    ": `nightlatch tool list` shows them, `nightlatch tool add FILE` adds one"
                }
                ControlRefusal::Unknown { what } if what == "client" => {
                    " for this tool's provider: register it with `nightlatch connect TOOL --oauth --client-id ID`"
                }
                _ => "",
            };
            let problem = ControlError::from(why).problem();
            let slug = problem.r#type.rsplit('/').next().unwrap_or_default().to_owned();
            *one = refused(one.line, &slug, format!("{}{next}", problem.detail));
        }
    }
}

pub(super) async fn show(
    State(control): State<Arc<Control>>,
    Input(asked): Input<ImportsAsked>,
) -> Result<Json<ImportViews>, ControlError> {
    at_most(asked.flows.len(), ASKED_MAX)?;
    let rows = control.store.imports(control.tenant.id, asked.flows).await?;
    Ok(Json(ImportViews { imports: rows.into_iter().map(view).collect() }))
}

fn view(import: Import) -> ImportView {
    let Import { id, progress, outcome, .. } = import;
    let was_presented = progress.presented_at.is_some();
    let state = match (progress.step, &outcome) {
        (FlowStep::Ended, Some(FlowOutcome::Connected { .. })) => "connected",
        (FlowStep::Ended, _) => "failed",
        (FlowStep::Begun, _) => "waiting",
        (FlowStep::Redeeming, _) => "presenting",
        (FlowStep::Answered, _) => "checking",
    };
    let known = |text: String| Some(text).filter(|text| !text.is_empty());
    let (connection, account, label, reason) = match outcome {
        Some(FlowOutcome::Connected { connection, account, label }) => {
            (Some(connection), known(account), known(label), None)
        }
        Some(FlowOutcome::Failed { reason }) => (None, None, None, Some(reason)),
        None => (None, None, None, progress.reason),
    };
    let detail = reason.as_deref().map(|reason| advice(reason, progress.step, was_presented).to_owned());
    let due_at = (progress.step != FlowStep::Ended).then_some(progress.due_at);
    ImportView { flow: id, state: state.to_owned(), connection, account, label, reason, detail, due_at }
}

/// What a human does about a reason.
fn advice(reason: &str, step: FlowStep, was_presented: bool) -> &'static str {
    match reason {
        "invalid_client" | "unauthorized_client" if step != FlowStep::Ended => {
            "the provider refuses the client: store its secret anew with `nightlatch connect TOOL --oauth --client-id ID`; the rest is tried again each hour"
        }
        "client-stopped" => "it waits for one of this client's to be taken; see to the client first",
        "others-refused" => {
            "the first ones of this client were all refused, so the rest waits and is tried one by one: is the client id the one that the tokens were given to? Import them again under the right one"
        }
        "provider-waits" | "provider-unreachable" => "it is tried again by itself when the provider answers",
        "account-not-probed" => {
            "the token was taken, and the tool does not say whose account it is; it is asked again by itself"
        }
        "wrong-account" if was_presented => {
            "the token was presented, and the tool names another account than the row: what came of it is kept sealed, and the token is spent; connect the account anew"
        }
        "wrong-account" => {
            "the tool names another account than the row; correct the row's `account` or leave it out, and import it again, or connect the account anew"
        }
        "account-refused" => {
            "the token was taken, but the tool refuses what came of it: connect the account anew"
        }
        "account-connected-elsewhere" => {
            "the account is connected at another tool of the same client; one of them must be removed first"
        }
        "answer-lost" if step != FlowStep::Ended => {
            "the provider's answer was lost; it is presented once more where that can lose nothing"
        }
        "answer-lost" => {
            "the provider's answer was lost, and presenting the token again could end more than it saves: connect the account anew"
        }
        "presented-before" | "concluded-before" | "database-put-back" => {
            "the keeper's log says that it was presented before, and the database does not say what came of it (was it put back?): presenting it again could end the connection, so connect the account anew"
        }
        "profile-missing" => {
            "the profile of its provider is not there: put it back; it goes on by itself, and nothing of it is lost"
        }
        "history-unsettled" => {
            "a keeper has yet to hold its log against the database; it goes on by itself when that is done"
        }
        "killed" => "it was ended by a kill; connect the account anew",
        "import-unreadable" | "answer-unreadable" => {
            "its row is damaged or was altered; connect the account anew"
        }
        "registration-unreadable" => {
            "the client's registration cannot be read: store it anew with `nightlatch connect TOOL --oauth --client-id ID`"
        }
        "store-unavailable" | "disk-or-key-unavailable" | "anchor-log-unavailable" => {
            "a disk or the database refused; make room and look at the log of `nightlatch up`; it is tried again by itself"
        }
        _ if step != FlowStep::Ended => "it is tried again by itself",
        _ => "the provider refused the token for good: connect the account anew",
    }
}

#[cfg(test)]
mod tests {
    use super::view;
    use nightlatch_domain::{
        chain::{FlowOutcome, FlowStep},
        clock::Timestamp,
        id::{ClientId, ConnectionId, FlowId, TenantId},
        import::{Import, ImportProgress},
        sealed::{SealContext, SecretKind, Wrapped},
    };

    fn import(step: FlowStep, reason: Option<&str>, outcome: Option<FlowOutcome>) -> Import {
        let (at, tenant) = (Timestamp::from_millis(1), TenantId::new(Timestamp::from_millis(1), [1; 10]));
        let context = SealContext {
            tenant,
            kind: SecretKind::Flow,
            chain: None,
            family: None,
            family_number: None,
            connection: None,
            generation: 0,
            provider: None,
            client: None,
            token_endpoint: None,
            refresh_endpoint: None,
            revocation_endpoint: None,
            client_auth: None,
            hosts: Vec::new(),
        };
        let wrapped = Wrapped { format: 1, data_key: String::new(), ciphertext: String::new() };
        let reason = reason.map(str::to_owned);
        Import {
            tenant,
            id: FlowId::new(at, [2; 10]),
            token_hash: String::new(),
            client: ClientId::new(at, [3; 10]),
            tool: "slack".parse().unwrap(),
            token: None,
            access: None,
            plan: (wrapped, context),
            era: 1,
            progress: ImportProgress { step, reason, ..ImportProgress::begun(at) },
            answer: None,
            outcome,
            created_at: at,
        }
    }

    #[test]
    fn what_waits_and_what_ended_say_what_is_to_be_done() {
        let waiting = view(import(FlowStep::Begun, Some("others-refused"), None));
        assert_eq!((waiting.state.as_str(), waiting.due_at.is_some()), ("waiting", true));
        assert!(waiting.detail.unwrap().contains("client id"));
        let failed = FlowOutcome::Failed { reason: "invalid_grant".to_owned() };
        let failed = view(import(FlowStep::Ended, None, Some(failed)));
        assert_eq!((failed.state.as_str(), failed.due_at), ("failed", None));
        assert!(failed.detail.unwrap().contains("connect the account anew"));
        // A token that is spent is of no use under another account.
        for presented_at in [None, Some(Timestamp::from_millis(2))] {
            let wrong = FlowOutcome::Failed { reason: "wrong-account".to_owned() };
            let mut wrong = import(FlowStep::Ended, None, Some(wrong));
            wrong.progress.presented_at = presented_at;
            assert_eq!(view(wrong).detail.unwrap().contains("import it again"), presented_at.is_none());
        }
        let connection = ConnectionId::new(Timestamp::from_millis(1), [4; 10]);
        let (account, label) = ("U1".to_owned(), String::new());
        let made =
            view(import(FlowStep::Ended, None, Some(FlowOutcome::Connected { connection, account, label })));
        assert_eq!((made.state.as_str(), made.connection, made.label), ("connected", Some(connection), None));
    }
}
