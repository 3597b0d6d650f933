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
    let mut findings = vec![data_folder(&place), key_files(&place)?];
    match asked(&place).await {
        Ok(report) => findings.extend(report.findings),
        Err(Failure::Api(ClientError::Silent)) => findings.push(Finding::wrong(
            "not-running",
            "Nightlatch does not run here: its database and its keepers were not asked",
            Some("nightlatch up".to_owned()),
        )),
        Err(other) => return Err(other),
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

fn key_files(place: &Place) -> Result<Finding, Failure> {
    let mut files = vec![place.path("api.token")];
    below(&place.path("keys"), &mut files)?;
    let there = files.iter().filter(|path| path.exists());
    let open: Vec<&PathBuf> = there.filter(|path| ours_alone(path).is_err()).collect();
    let Some(first) = open.first() else {
        return Ok(Finding::good("key-files", "only you can read them"));
    };
    let detail = format!(
        "{} can be read by others, or belong to another user: {}",
        count(open.len()),
        first.display()
    );
    let advice = format!("chmod -R go= {}, and look who could have read them", place.root().display());
    Ok(Finding::wrong("key-files", detail, Some(advice)))
}

fn count(files: usize) -> String {
    if files == 1 { "1 key file".to_owned() } else { format!("{files} key files") }
}

fn below(folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), Failure> {
    let failed = |source| Failure::from(PlaceError::File { path: folder.to_owned(), source });
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(failed)?,
    };
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        if path.is_dir() {
            below(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}

fn text(report: &DoctorReport) -> String {
    let row = |finding: &Finding| {
        let advice = finding.advice.as_ref().map(|advice| format!(" → {advice}")).unwrap_or_default();
        vec![finding.name.clone(), finding.state.clone(), format!("{}{advice}", finding.detail)]
    };
    table(&["NAME", "STATE", "WHAT, AND WHAT TO DO"], &report.findings.iter().map(row).collect::<Vec<_>>())
}
