//! How the installation stands: what the program knows of itself, and which keepers hold others up.

use crate::{
    api::{DoctorReport, Finding, KeepersReport},
    control::Control,
    error::ControlError,
};
use axum::{Json, extract::State};
use std::sync::Arc;

pub(super) async fn look(State(control): State<Arc<Control>>) -> Result<Json<DoctorReport>, ControlError> {
    let mut findings = control.checkup.findings().await;
    match control.keepers().await {
        Ok(report) => findings.extend(of_keepers(&report)),
        Err(error) => findings.push(silent(&error)),
    }
    Ok(Json(DoctorReport { findings }))
}

/// What was found so far is told all the same.
fn silent(error: &ControlError) -> Finding {
    Finding::wrong(
        "keepers-silent",
        format!("which keepers hold others up cannot be seen: {error}"),
        Some("look whether a keeper runs, whether the database answers, and at the logs of both".to_owned()),
    )
}

fn of_keepers(report: &KeepersReport) -> Vec<Finding> {
    let waited_for = report.keepers.iter().filter(|view| view.holds_up != "nothing");
    let found = waited_for.map(|view| {
        let name = if view.holds_up == "all" { "keeper-behind" } else { "keeper-unvouched" };
        let detail =
            format!("{} holds up {}", view.id, if view.holds_up == "all" { "all keepers" } else { "itself" });
        Finding::wrong(name, detail, view.advice.clone())
    });
    let found: Vec<Finding> = found.collect();
    if !found.is_empty() {
        return found;
    }
    let count = report.keepers.len();
    let detail = format!("{count} registered, every log was held against the database in era {}", report.era);
    vec![Finding::good("keepers", detail)]
}
