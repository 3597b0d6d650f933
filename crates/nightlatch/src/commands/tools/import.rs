//! `tool add`: what a manifest or an OpenAPI document would change is shown, and asked about, before it takes effect.
//!
//! A manifest is the operator's own writing and is added as it is. A document is somebody else's, so what was made of
//! it is shown first, by effect and against what is there; a human says yes at the terminal, or with `--yes`. What is
//! then put in the place is what was shown: another manifest that came there meanwhile is not overwritten unseen.

use super::{Seat, bad_file};
use crate::{
    cli::AddTool,
    commands::{confirm, text_of},
    error::Failure,
    output::hint,
};
use aws_lc_rs::digest::{SHA256, digest};
use nightlatch_catalog::{
    manifest::ChosenHost,
    openapi::{self, Asked, Skipped},
};
use nightlatch_control::api::{self, ActView, GrantChange, SourceView, ToolDifference, ToolView};
use nightlatch_domain::tool::{Effect, Placement};
use serde::Serialize;

/// What a manifest would change, and what of its document is no operation of its own.
#[derive(Debug, Serialize)]
struct Proposed {
    #[serde(flatten)]
    difference: ToolDifference,
    skipped: Vec<Skipped>,
}

/// What came of it.
#[derive(Debug, Serialize)]
struct Done {
    #[serde(flatten)]
    proposed: Proposed,
    /// Whether it took effect; not where it was there already.
    took_effect: bool,
}

pub(super) async fn run(seat: &Seat, asked: AddTool) -> Result<(), Failure> {
    let (manifest, skipped) = manifest(&asked)?;
    let client = seat.client()?;
    let mut request = api::AddTool { manifest, file: named(&asked), replaces: None };
    if asked.file.is_some() && !asked.dry_run {
        let view: ToolView = client.post("/v1/tools", &request).await?;
        seat.output.result(&view, added)?;
        seat.output.next(format!("next: nightlatch connect {}", view.tool.name));
        return Ok(());
    }
    let difference: ToolDifference = client.post("/v1/tools/difference", &request).await?;
    let proposed = Proposed { difference, skipped };
    if asked.dry_run {
        return seat.output.result(&proposed, shown);
    }
    if proposed.difference.is_same {
        let done = Done { proposed, took_effect: false };
        return seat.output.result(&done, |done| {
            format!(
                "{} is there already, from this very document; nothing was changed",
                done.proposed.difference.tool
            )
        });
    }
    confirm(&proposed, asked.yes)?;
    request.replaces = Some(proposed.difference.replaces.clone());
    let view: ToolView = client.post("/v1/tools", &request).await?;
    let done = Done { proposed, took_effect: true };
    seat.output.result(&done, |_| added(&view))?;
    seat.output.next(format!("next: nightlatch connect {}", view.tool.name));
    Ok(())
}

fn added(view: &ToolView) -> String {
    format!("added {} ({} operations)", view.tool.name, view.tool.operations)
}

fn named(asked: &AddTool) -> String {
    let file = asked.file.as_ref().or(asked.openapi.as_ref());
    file.map(|file| file.display().to_string()).unwrap_or_default()
}

/// The manifest's text, as it lies there or as it is made of a document.
fn manifest(asked: &AddTool) -> Result<(String, Vec<Skipped>), Failure> {
    let document = match (&asked.file, &asked.openapi) {
        (Some(file), _) => return Ok((text_of(file)?, Vec::new())),
        (None, Some(document)) => document,
        (None, None) => {
            return Err(Failure::Usage("name a manifest, or a document with `--openapi`".to_owned()));
        }
    };
    let name = asked.name.as_ref().ok_or_else(|| {
        Failure::Usage("say what the tool is to be called: `--openapi FILE --name NAME`".to_owned())
    })?;
    let text = text_of(document)?;
    let host = asked.host.as_deref().map(ChosenHost::parse).transpose();
    let host = host.map_err(|error| Failure::Usage(error.to_string()))?;
    let placement = asked.placement.as_deref().map(placement).transpose()?;
    let hash = digest(&SHA256, text.as_bytes());
    let sha256: String = hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    let file = document.display().to_string();
    let asked =
        Asked { name, file: &file, sha256: &sha256, host: host.as_ref(), placement: placement.as_ref() };
    let made = openapi::import(&text, asked).map_err(bad_file)?;
    Ok((made.text, made.skipped))
}

/// `bearer`, `basic:USER`, `header:NAME` or `header:NAME:PREFIX`.
fn placement(text: &str) -> Result<Placement, Failure> {
    let parts: Vec<&str> = text.splitn(3, ':').collect();
    match parts.as_slice() {
        ["bearer"] => Ok(Placement::Bearer),
        ["basic", user] => Ok(Placement::Basic { user: (*user).to_owned() }),
        ["header", name] => Ok(Placement::Header { name: name.to_ascii_lowercase(), prefix: String::new() }),
        ["header", name, prefix] => {
            Ok(Placement::Header { name: name.to_ascii_lowercase(), prefix: (*prefix).to_owned() })
        }
        _ => Err(Failure::Usage(format!(
            "`{text}` is no placement: write `bearer`, `basic:USER`, `header:NAME` or `header:NAME:PREFIX`"
        ))),
    }
}

/// Asks about what is shown.
fn confirm(proposed: &Proposed, yes: bool) -> Result<(), Failure> {
    if !yes {
        hint(shown(proposed));
    }
    confirm::confirm("Let what is shown above take effect?", yes, "nothing was changed")
}

/// What would change, for a person.
fn shown(proposed: &Proposed) -> String {
    let Proposed { difference, skipped } = proposed;
    let mut text = format!("{}: {}\n", difference.tool, of_source(difference.source.as_ref()));
    text.push_str(&destinations(difference));
    text.push_str(&counts(&difference.added, "added"));
    for act in by_effect(&difference.added) {
        text.push_str(&format!("  + {}\n", of_act(act)));
    }
    text.push_str(&counts(&difference.removed, "removed"));
    for act in by_effect(&difference.removed) {
        text.push_str(&format!("  - {}\n", of_act(act)));
    }
    if !difference.changed.is_empty() {
        text.push_str(&format!("changed {}\n", difference.changed.len()));
    }
    for changed in &difference.changed {
        text.push_str(&format!("  - {}\n  + {}\n", of_act(&changed.before), of_act(&changed.after)));
    }
    if !skipped.is_empty() {
        text.push_str(&format!("no operation of its own {}\n", skipped.len()));
    }
    for one in skipped {
        text.push_str(&format!("  ! {} {}: {}\n", one.method, one.path, one.reason));
    }
    for change in &difference.grants {
        text.push_str(&of_grant(change));
    }
    text
}

fn of_source(source: Option<&SourceView>) -> String {
    source.map_or_else(|| "a manifest".to_owned(), super::source)
}

fn destinations(difference: &ToolDifference) -> String {
    let list = |all: &[String]| all.join("; ");
    let now = list(&difference.destinations);
    match list(&difference.destinations_before) {
        before if difference.is_new || before == now => format!("credential goes to {now}\n"),
        before => format!(
            "credential goes to {now} (before: {before}; connections keep what they were confirmed for)\n"
        ),
    }
}

/// `added 12: read 7, write 5`.
fn counts(acts: &[ActView], what: &str) -> String {
    if acts.is_empty() {
        return String::new();
    }
    let count = |effect: Effect| acts.iter().filter(|act| act.effect == effect.as_str()).count();
    let counted =
        Effect::ALL.into_iter().map(|effect| (effect, count(effect))).filter(|(_, count)| *count > 0);
    let each: Vec<String> = counted.map(|(effect, count)| format!("{effect} {count}")).collect();
    format!("{what} {}: {}\n", acts.len(), each.join(", "))
}

/// The gravest first: what a human should read before they are tired.
fn by_effect(acts: &[ActView]) -> impl Iterator<Item = &ActView> {
    let of = |effect: Effect| acts.iter().filter(move |act| act.effect == effect.as_str());
    Effect::ALL.into_iter().rev().flat_map(of)
}

fn of_act(act: &ActView) -> String {
    let resource = act.resource.as_ref().map(|resource| format!("  @{resource}")).unwrap_or_default();
    format!("{:<11}  {}  {}{resource}", act.effect, act.request, act.id)
}

fn of_grant(change: &GrantChange) -> String {
    let list = |what: &str, ids: &[String]| match ids {
        [] => String::new(),
        ids if ids.len() > 20 => format!("  {what} {} operations\n", ids.len()),
        ids => format!("  {what} {}\n", ids.join(", ")),
    };
    let covered = change.operations.join(",");
    format!(
        "living grant {} ({covered}, task {})\n{}{}",
        change.grant,
        change.task,
        list("gains", &change.gains),
        list("loses", &change.loses)
    )
}

#[cfg(test)]
mod tests;
