//! What the operator put into the data folder: `profiles/*.toml` and `policies/*.cedar`.

use crate::{error::Failure, place::Place};
use nightlatch_catalog::{builtin::Catalogue, profile::Profile};
use nightlatch_policy::Decider;
use std::fs;

/// More files than this in one folder were not put there by a person.
const FILES_LIMIT: usize = 1000;

/// The built-in tools and profiles, and the operator's profiles; these also as name and text.
pub(crate) fn catalogue(place: &Place) -> Result<(Catalogue, Vec<(String, String)>), Failure> {
    let mut catalogue = Catalogue::builtin().map_err(|error| Failure::Start(error.to_string()))?;
    let mut own = Vec::new();
    for (file, text) in files(place, "profiles", "toml")? {
        let profile = Profile::parse(&file, &text).map_err(|error| Failure::BadFile(error.to_string()))?;
        let name = profile.name.to_string();
        let added = catalogue.add_profile(profile);
        added.map_err(|error| Failure::BadFile(format!("{file}: {error}")))?;
        own.push((name, text));
    }
    Ok((catalogue, own))
}

/// Policy, with what the operator forbids.
pub(crate) fn decider(place: &Place) -> Result<Decider, Failure> {
    let files = files(place, "policies", "cedar")?;
    Decider::new(&files).map_err(|error| Failure::BadFile(error.to_string()))
}

/// Name (with its folder) and text of each file, by name.
fn files(place: &Place, folder: &str, ending: &str) -> Result<Vec<(String, String)>, Failure> {
    let path = place.path(folder);
    let failed = |source| Failure::File { path: path.clone(), source };
    let mut found = Vec::new();
    for entry in fs::read_dir(&path).map_err(failed)? {
        let file = entry.map_err(failed)?.path();
        let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        if file.extension().is_none_or(|own| own != ending) || name.starts_with('.') {
            continue;
        }
        let text =
            fs::read_to_string(&file).map_err(|source| Failure::File { path: file.clone(), source })?;
        found.push((format!("{folder}/{name}"), text));
        if found.len() > FILES_LIMIT {
            return Err(Failure::BadFile(format!("{folder}: more than {FILES_LIMIT} files")));
        }
    }
    found.sort();
    Ok(found)
}
