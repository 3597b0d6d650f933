//! Is it there, is it well, stop.

use crate::{
    api::{HealthReport, IntakeKey, Ping, Stopping},
    control::Control,
    error::ControlError,
    views,
};
use axum::{Json, extract::State};
use std::sync::Arc;

pub(super) async fn ping(State(control): State<Arc<Control>>) -> Json<Ping> {
    Json(control.ping())
}

pub(super) async fn stop(State(control): State<Arc<Control>>) -> Json<Stopping> {
    tracing::info!("stopping, as the command line asked");
    control.stop.send_replace(true);
    Json(Stopping { pid: std::process::id() })
}

pub(super) async fn intake(State(control): State<Arc<Control>>) -> Result<Json<IntakeKey>, ControlError> {
    Ok(Json(IntakeKey { tenant: control.tenant.id, key: control.intake_key().await? }))
}

pub(super) async fn health(State(control): State<Arc<Control>>) -> Result<Json<HealthReport>, ControlError> {
    let connections = control.connections().await?;
    let tickets = control.store.tickets(control.tenant.id).await?.into_iter().filter_map(|ticket| {
        let connection = connections.iter().find(|view| view.id == ticket.connection)?;
        Some(views::ticket(ticket, connection))
    });
    let tickets = tickets.collect();
    let alarms = super::ledger::alarms(&control).await?;
    Ok(Json(HealthReport { connections, tickets, alarms, warnings: control.facts.warnings.clone() }))
}
