//! Keepers: who is registered, and what a human says about one. The keepers themselves decide and write.

use crate::{
    api::{KeeperAdopted, KeeperForgotten, KeeperView, KeepersReport},
    control::Control,
    error::ControlError,
    find::missing,
};
use axum::{
    Json,
    extract::{Path, State},
};
use nightlatch_domain::{
    id::{KeeperId, PrincipalId, TenantId},
    ports::control_keeper::{ControlRefusal, ControlReply, ControlRequest, KeeperRoll, KeeperSeen},
};
use std::sync::Arc;

/// Why a chain is in quarantine that comes out where a human vouches for the log.
const UNVOUCHED: &str = "unvouched";

pub(super) async fn list(State(control): State<Arc<Control>>) -> Result<Json<KeepersReport>, ControlError> {
    Ok(Json(control.keepers().await?))
}

pub(super) async fn adopt(
    State(control): State<Arc<Control>>,
    Path(key): Path<String>,
) -> Result<Json<KeeperAdopted>, ControlError> {
    let keeper = named(&key)?;
    let request = ControlRequest::Adopt { keeper, human: control.who() };
    match control.keeper.ask(request).await.map_err(|refusal| absent(refusal, &key))? {
        ControlReply::Adopted { released, contradicted } => {
            Ok(Json(KeeperAdopted { id: keeper, released, contradicted }))
        }
        _ => Err(ControlError::Internal),
    }
}

pub(super) async fn forget(
    State(control): State<Arc<Control>>,
    Path(key): Path<String>,
) -> Result<Json<KeeperForgotten>, ControlError> {
    let keeper = named(&key)?;
    let request = ControlRequest::Forget { keeper, human: control.who() };
    match control.keeper.ask(request).await.map_err(|refusal| absent(refusal, &key))? {
        ControlReply::Forgotten { behind, quarantined } => {
            Ok(Json(KeeperForgotten { id: keeper, behind, quarantined }))
        }
        _ => Err(ControlError::Internal),
    }
}

impl Control {
    /// The registered keepers, and what waits for which.
    pub(super) async fn keepers(&self) -> Result<KeepersReport, ControlError> {
        let roll = match self.keeper.ask(ControlRequest::Keepers).await? {
            ControlReply::Keepers(roll) => roll,
            _ => return Err(ControlError::Internal),
        };
        let waiting = self.connections().await?;
        let waiting = waiting.iter().filter(|view| view.reason.as_deref() == Some(UNVOUCHED)).count();
        let unvouched = u64::try_from(waiting).unwrap_or(u64::MAX);
        let keepers = roll.keepers.iter().map(|seen| view(&roll, seen, unvouched)).collect();
        Ok(KeepersReport { era: roll.era, keepers, unvouched })
    }

    fn who(&self) -> (TenantId, PrincipalId) {
        (self.tenant.id, self.human.id)
    }
}

fn named(key: &str) -> Result<KeeperId, ControlError> {
    key.parse().map_err(|_| no_keeper(key))
}

fn absent(refusal: ControlRefusal, key: &str) -> ControlError {
    match refusal {
        ControlRefusal::Unknown { .. } => no_keeper(key),
        other => other.into(),
    }
}

fn no_keeper(key: &str) -> ControlError {
    missing("keeper", key, "`nightlatch keeper list` shows them by id")
}

fn view(roll: &KeeperRoll, seen: &KeeperSeen, unvouched: u64) -> KeeperView {
    let KeeperSeen { row, at_work, name } = seen;
    let is_alone = roll.keepers.len() == 1;
    let behind = row.compared < roll.era;
    let (holds_up, advice) = match () {
        () if behind && *at_work => ("all", Some("its log is being held against the database".to_owned())),
        () if behind => ("all", Some(start_or_forget(row.keeper))),
        () if !row.vouched && !is_alone => ("itself", Some(vouch_for(row.keeper))),
        () if is_alone && unvouched > 0 => ("itself", Some(out_of_quarantine(row.keeper, unvouched))),
        () => ("nothing", None),
    };
    KeeperView {
        id: row.keeper,
        name: name.clone(),
        at_work: *at_work,
        since: row.keeper.time(),
        compared: row.compared,
        vouched: row.vouched,
        holds_up: holds_up.to_owned(),
        advice,
    }
}

fn start_or_forget(keeper: KeeperId) -> String {
    format!(
        "start it, or wait if it has just been started; if it never comes back: nightlatch keeper adopt --forget {keeper}"
    )
}

fn vouch_for(keeper: KeeperId) -> String {
    format!("start one that knows the database; if none is left: nightlatch keeper adopt {keeper}")
}

fn out_of_quarantine(keeper: KeeperId, unvouched: u64) -> String {
    format!("{unvouched} connections wait for its log: nightlatch keeper adopt {keeper}")
}
