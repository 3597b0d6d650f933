//! What a manifest would change, before it takes effect: operations, hosts, and what living grants gain or lose.

use super::{super::input::Input, source_view};
use crate::{
    api::{ActView, AddTool, ChangedAct, GrantChange, ToolDifference},
    control::Control,
    error::ControlError,
};
use aws_lc_rs::digest::{SHA256, digest};
use axum::{Json, extract::State};
use nightlatch_catalog::manifest::{Act, Difference, Manifest};
use nightlatch_domain::{grant::Grant, tool::OperationId};
use std::{collections::BTreeMap, sync::Arc};

/// Nothing is in the place.
pub(super) const NOTHING: &str = "none";

pub(in crate::routes) async fn compare(
    State(control): State<Arc<Control>>,
    Input(asked): Input<AddTool>,
) -> Result<Json<ToolDifference>, ControlError> {
    let refuse = |error: &dyn std::fmt::Display| ControlError::BadFile(error.to_string());
    let after = Manifest::parse(&asked.file, &asked.manifest).map_err(|error| refuse(&error))?;
    let mut others = control.catalogue_without(&after.name).await?;
    others.add_manifest(after.clone()).map_err(|error| refuse(&error))?;
    let text = control.added_text(&after.name).await?;
    let before = text.as_ref().and_then(|text| Manifest::parse("the manifest that is there", text).ok());
    let difference = match &before {
        Some(before) => before.difference(&after),
        None => Difference { added: after.acts().into_values().collect(), ..Difference::default() },
    };
    let grants = control.store.grants(control.tenant.id).await?;
    let now = control.now();
    let mut living: Vec<Grant> =
        grants.into_iter().filter(|grant| grant.tool == after.name && grant.is_live(now)).collect();
    living.sort_by_key(|grant| grant.id);
    let acts = (before.as_ref().map(Manifest::acts).unwrap_or_default(), after.acts());
    Ok(Json(ToolDifference {
        is_new: text.is_none(),
        is_same: text.as_ref() == Some(&asked.manifest),
        replaces: text.as_deref().map_or_else(|| NOTHING.to_owned(), fingerprint),
        source: after.source.as_ref().map(source_view),
        destinations_before: before.as_ref().map(Manifest::destinations).unwrap_or_default(),
        destinations: after.destinations(),
        added: difference.added.iter().map(act_view).collect(),
        removed: difference.removed.iter().map(act_view).collect(),
        changed: difference
            .changed
            .iter()
            .map(|(before, after)| ChangedAct { before: act_view(before), after: act_view(after) })
            .collect(),
        grants: living.iter().filter_map(|grant| grant_change(grant, &acts)).collect(),
        tool: after.name,
    }))
}

impl Control {
    /// The text of a manifest that was added under this name.
    pub(super) async fn added_text(
        &self,
        name: &nightlatch_domain::tool::Name,
    ) -> Result<Option<String>, ControlError> {
        let rows = self.store.tools(self.tenant.id).await?;
        Ok(rows.into_iter().find(|row| row.name == *name).map(|row| row.manifest))
    }
}

/// What stands for a manifest's text: what was looked at is what is replaced.
pub(super) fn fingerprint(text: &str) -> String {
    let hash = digest(&SHA256, text.as_bytes());
    hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

type Acts = BTreeMap<OperationId, Act>;

/// What a grant comes to cover, and what no more; none where it covers the same.
fn grant_change(grant: &Grant, (before, after): &(Acts, Acts)) -> Option<GrantChange> {
    // What it names is told even where nothing was covered (`credential` by its id is).
    let covers = |act: &Act| grant.operations.iter().any(|selector| selector.covers(&act.id, act.effect));
    let covered = |acts: &Acts, id: &OperationId| acts.get(id).is_some_and(covers);
    let only = |these: &Acts, others: &Acts| -> Vec<String> {
        let ids = these.keys().filter(|id| covered(these, id) && !covered(others, id));
        ids.map(ToString::to_string).collect()
    };
    let (gains, loses) = (only(after, before), only(before, after));
    let operations: Vec<String> = grant.operations.iter().map(ToString::to_string).collect();
    (!gains.is_empty() || !loses.is_empty()).then_some(GrantChange {
        grant: grant.id,
        task: grant.task,
        operations,
        gains,
        loses,
    })
}

fn act_view(act: &Act) -> ActView {
    ActView {
        id: act.id.to_string(),
        effect: act.effect.to_string(),
        request: act.request.clone(),
        resource: act.resource.clone(),
    }
}
