//! `tool list|show|add|check` and `profile list|show|check`.

mod import;

use super::{Seat, text_of};
use crate::{
    cli::{ProfileCommand, ToolCommand},
    error::Failure,
    output::{facts, or_dash, table},
};
use nightlatch_catalog::{manifest::Manifest, profile::Profile};
use nightlatch_control::{
    api::{OperationView, ProfileSummary, ProfileView, SourceView, ToolSummary, ToolView},
    client::segment,
};
use serde::Serialize;
use std::path::Path;

/// What a check found: nothing wrong.
#[derive(Serialize)]
struct Checked {
    file: String,
    name: String,
    operations: usize,
}

pub(super) async fn run(seat: &Seat, command: ToolCommand) -> Result<(), Failure> {
    match command {
        ToolCommand::List => {
            let tools: Vec<ToolSummary> = seat.client()?.get("/v1/tools").await?;
            seat.output.result(&tools, |tools| list(tools))
        }
        ToolCommand::Show { tool } => {
            let view: ToolView = seat.client()?.get(&format!("/v1/tools/{}", segment(tool.as_str()))).await?;
            seat.output.result(&view, show)
        }
        ToolCommand::Add(asked) => import::run(seat, asked).await,
        ToolCommand::Check { file } => {
            let manifest =
                Manifest::parse(&file.display().to_string(), &text_of(&file)?).map_err(bad_file)?;
            checked(seat, &file, manifest.name.to_string(), manifest.operations.len())
        }
    }
}

pub(super) async fn run_profile(seat: &Seat, command: ProfileCommand) -> Result<(), Failure> {
    match command {
        ProfileCommand::List => {
            let profiles: Vec<ProfileSummary> = seat.client()?.get("/v1/profiles").await?;
            seat.output.result(&profiles, |profiles| list_profiles(profiles))
        }
        ProfileCommand::Show { profile } => {
            let target = format!("/v1/profiles/{}", segment(profile.as_str()));
            let view: ProfileView = seat.client()?.get(&target).await?;
            seat.output.result(&view, |view| serde_json::to_string_pretty(&view.facts).unwrap_or_default())
        }
        ProfileCommand::Check { file } => {
            let profile = Profile::parse(&file.display().to_string(), &text_of(&file)?).map_err(bad_file)?;
            checked(seat, &file, profile.name.to_string(), 0)
        }
    }
}

fn bad_file(error: impl std::fmt::Display) -> Failure {
    Failure::BadFile(error.to_string())
}

fn checked(seat: &Seat, file: &Path, name: String, operations: usize) -> Result<(), Failure> {
    let checked = Checked { file: file.display().to_string(), name, operations };
    seat.output.result(&checked, |checked| format!("{}: nothing wrong with `{}`", checked.file, checked.name))
}

fn list(tools: &[ToolSummary]) -> String {
    let row = |tool: &ToolSummary| {
        vec![
            tool.name.to_string(),
            tool.title.clone(),
            tool.connect.join(", "),
            tool.hosts.join(", "),
            tool.operations.to_string(),
            tool.origin.clone(),
        ]
    };
    let heading = ["TOOL", "TITLE", "CONNECT BY", "HOSTS", "OPERATIONS", "ORIGIN"];
    table(&heading, &tools.iter().map(row).collect::<Vec<_>>())
}

fn show(view: &ToolView) -> String {
    let tool = &view.tool;
    let head = facts(&[
        ("tool", tool.name.to_string()),
        ("title", tool.title.clone()),
        ("docs", view.docs.clone()),
        ("source", or_dash(view.source.as_ref().map(source).as_ref())),
        ("connect by", tool.connect.join(", ")),
        ("hosts", tool.hosts.join(", ")),
        ("profile", or_dash(tool.profile.as_ref())),
        ("scopes", view.scopes.join(" ")),
    ]);
    let row = |operation: &OperationView| {
        vec![
            operation.id.clone(),
            operation.effect.clone(),
            request(operation),
            or_dash(operation.resource.as_ref()),
        ]
    };
    let rows: Vec<_> = view.operations.iter().map(row).collect();
    format!("{head}\n{}", table(&["OPERATION", "EFFECT", "REQUEST", "RESOURCE"], &rows))
}

/// `GET /things/{thing}`; `GET (websocket) /live`.
fn request(operation: &OperationView) -> String {
    let upgrade = operation.upgrade.as_ref().map(|upgrade| format!(" ({upgrade})")).unwrap_or_default();
    format!("{}{upgrade} {}", operation.methods.join(","), operation.paths.join(" "))
}

fn source(source: &SourceView) -> String {
    let title = [source.title.as_deref(), source.version.as_deref()];
    let title: Vec<&str> = title.into_iter().flatten().collect();
    format!("{} ({}, SHA-256 {})", title.join(" "), source.file, source.sha256)
}

fn list_profiles(profiles: &[ProfileSummary]) -> String {
    let row = |profile: &ProfileSummary| {
        vec![
            profile.name.to_string(),
            profile.title.clone(),
            or_dash(profile.token_endpoint.as_ref()),
            profile.origin.clone(),
        ]
    };
    table(&["PROFILE", "TITLE", "TOKEN ENDPOINT", "ORIGIN"], &profiles.iter().map(row).collect::<Vec<_>>())
}
