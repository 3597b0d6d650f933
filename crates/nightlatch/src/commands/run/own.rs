//! Where Nightlatch itself lies on this machine: this installation and every other one of the user that can be found.
//!
//! A program under `run` for one installation must not find the keys of another one. So the folders that a start without
//! options would use are hidden too, and whatever folder a server serves now: its socket is in the kernel's list.

use crate::{
    adapters::variable,
    place::{Place, PlaceError},
};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// All that is known, whether or not it is there.
pub(super) fn folders(place: &Place) -> Result<Vec<PathBuf>, PlaceError> {
    let home = variable("HOME").map(PathBuf::from);
    let below = |names: [&str; 2]| {
        home.iter().flat_map(move |home| names.map(|name| home.join(name))).collect::<Vec<_>>()
    };
    let given = ["XDG_DATA_HOME", "XDG_STATE_HOME"].into_iter().filter_map(variable);
    let mut folders = vec![place.root().to_owned(), Place::state()?];
    folders.extend(below([".local/share/nightlatch", ".local/state/nightlatch"]));
    folders.extend(given.map(|folder| PathBuf::from(folder).join("nightlatch")));
    folders.extend(variable("NIGHTLATCH_DATA").map(PathBuf::from));
    folders.extend(served(&String::from_utf8_lossy(&fs::read("/proc/net/unix").unwrap_or_default())));
    Ok(folders)
}

/// The data folders whose servers have their sockets in the kernel's list (proc(5)).
fn served(table: &str) -> Vec<PathBuf> {
    let folder = |line: &str| {
        let path = line.get(line.find(" /")? + 1..)?;
        Some(PathBuf::from(path.strip_suffix("/run/api.sock")?))
    };
    table.lines().filter_map(folder).filter(|folder| is_data(folder)).collect()
}

fn is_data(folder: &Path) -> bool {
    folder.join("api.token").exists()
}

#[cfg(test)]
mod tests {
    //! Proves that a folder is found by its server's socket, and that no other program's folder is taken for one.

    use super::served;

    #[test]
    fn a_served_folder_is_found_by_its_socket() {
        let folder = tempfile::tempdir().unwrap();
        let (ours, other) = (folder.path().join("a b"), folder.path().join("other"));
        std::fs::create_dir(&ours).unwrap();
        std::fs::write(ours.join("api.token"), "").unwrap();
        let line = |folder: &std::path::Path| format!("0: 2 0 10000 1 1 7 {}/run/api.sock", folder.display());
        assert_eq!(served(&[line(&ours), line(&other)].join("\n")), [ours]);
    }
}
