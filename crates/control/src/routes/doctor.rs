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
    findings.extend(of_keepers(&control.keepers().await?));
    Ok(Json(DoctorReport { findings }))
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
