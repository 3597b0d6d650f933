//! `doctor`: what is wrong, or could become so, where no call shows it.
//!
//! Whether others can read the keys is looked at here, so that it is also told where nothing runs; the rest the program is
//! asked that serves this data folder.

use super::{Seat, client_of};
use crate::{
    error::Failure,
    output::table,
    place::{Place, PlaceError, ours_alone},
};
use nightlatch_control::{
    ClientError,
    api::{DoctorReport, Finding},
};
use std::{
    fs, io,
    path::{Path, PathBuf},
};

pub(super) async fn run(seat: &Seat) -> Result<(), Failure> {
    let place = seat.place()?;
    if !place.root().exists() {
        return Err(PlaceError::Absent(place.root().to_owned()).into());
    }
    let mut findings = vec![data_folder(&place)];
    findings.extend(key_files(&place));
    match asked(&place).await {
        Ok(report) => findings.extend(report.findings),
        Err(Failure::Api(ClientError::Silent)) => findings.push(Finding::wrong(
            "not-running",
            "Nightlatch does not run here: its database and its keepers were not asked",
            Some("nightlatch up".to_owned()),
        )),
        // What was found so far is told all the same.
        Err(other) => findings.push(Finding::wrong(
            "not-asked",
            format!("its database and its keepers were not asked: {other}"),
            None,
        )),
    }
    let report = DoctorReport { findings };
    seat.output.result(&report, text)?;
    match report.findings.iter().filter(|finding| finding.is_wrong()).count() {
        0 => Ok(()),
        1 => Err(Failure::Finding("1 thing is wrong".to_owned())),
        some => Err(Failure::Finding(format!("{some} things are wrong"))),
    }
}

async fn asked(place: &Place) -> Result<DoctorReport, Failure> {
    Ok(client_of(place)?.get("/v1/doctor").await?)
}

fn data_folder(place: &Place) -> Finding {
    match place.check() {
        Ok(()) => Finding::good("data-folder", "only you can read it"),
        Err(error) => Finding::wrong("data-folder", error.to_string(), None),
    }
}

fn key_files(place: &Place) -> Vec<Finding> {
    let mut files = vec![place.path("api.token")];
    let mut unseen = Vec::new();
    below(&place.path("keys"), &mut files, &mut unseen);
    let mut open: Vec<PathBuf> = Vec::new();
    for path in files {
        match ours_alone(&path) {
            Ok(()) => {}
            Err(PlaceError::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
            Err(error @ PlaceError::File { .. }) => unseen.push(error),
            Err(_) => open.push(path),
        }
    }
    let mut found = Vec::new();
    if let Some(first) = open.first() {
        let detail = format!(
            "{} can be read by others, or belong to another user: {}",
            count(open.len()),
            first.display()
        );
        let advice = format!("chmod -R go= {}, and look who could have read them", place.root().display());
        found.push(Finding::wrong("key-files", detail, Some(advice)));
    }
    found.extend(unseen.iter().map(|error| Finding::wrong("key-files-unseen", error.to_string(), None)));
    if found.is_empty() {
        found.push(Finding::good("key-files", "only you can read them"));
    }
    found
}

fn count(files: usize) -> String {
    if files == 1 { "1 key file".to_owned() } else { format!("{files} key files") }
}

/// Every file below a folder, and what could not be looked at.
fn below(folder: &Path, files: &mut Vec<PathBuf>, unseen: &mut Vec<PlaceError>) {
    let mut missed = |source| unseen.push(PlaceError::File { path: folder.to_owned(), source });
    let mut folders = Vec::new();
    match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => missed(error),
        Ok(entries) => {
            for entry in entries {
                match entry {
                    Ok(entry) if entry.path().is_dir() => folders.push(entry.path()),
                    Ok(entry) => files.push(entry.path()),
                    Err(error) => missed(error),
                }
            }
        }
    }
    for folder in folders {
        below(&folder, files, unseen);
    }
}

fn text(report: &DoctorReport) -> String {
    let row = |finding: &Finding| {
        let advice = finding.advice.as_ref().map(|advice| format!(" → {advice}")).unwrap_or_default();
        vec![finding.name.clone(), finding.state.clone(), format!("{}{advice}", finding.detail)]
    };
    table(&["NAME", "STATE", "WHAT, AND WHAT TO DO"], &report.findings.iter().map(row).collect::<Vec<_>>())
}
