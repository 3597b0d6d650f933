//! Puts the peers where they can be started. Their services stay off: we start each ourselves.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use super::Peers;
use crate::{
    machine::{Fault, Outcome},
    parts::{Places, install},
};

/// What must run, and the Debian package that brings it.
const PROGRAMS: [(&[&str], &str); 3] = [
    (&["/usr/sbin/nginx", "-v"], "nginx"),
    (&["/usr/sbin/haproxy", "-v"], "haproxy"),
    (&["python3", "-c", "import ensurepip, venv"], "python3-venv"),
];

/// Installs what is missing.
pub(crate) fn everything() -> Outcome<Peers> {
    let places = Places::find()?;
    let _alone = install::alone(&places.installed)?;
    install::programs(&PROGRAMS)?;
    install::python(&places, "peers", "peers/requirements.txt")?;
    let venv = places.installed.join("peers");
    let peers = Peers {
        nginx: PathBuf::from("/usr/sbin/nginx"),
        haproxy: PathBuf::from("/usr/sbin/haproxy"),
        envoy: envoy(&venv)?,
        mitmdump: venv.join("bin/mitmdump"),
    };
    for (name, path) in peers.each() {
        if !path.is_file() {
            let path = path.display();
            return Err(Fault::one(format!("peers: {name} did not come to lie at `{path}`")));
        }
    }
    Ok(peers)
}

/// Envoy itself: what the package puts beside Python only replaces itself with it.
fn envoy(venv: &Path) -> Outcome<PathBuf> {
    let pythons = fs::read_dir(venv.join("lib")).into_iter().flatten().flatten();
    let mut found = pythons.map(|python| python.path().join("site-packages/envoy/_bin/envoy"));
    let envoy = found.find(|path| path.is_file());
    let envoy = envoy.ok_or_else(|| {
        Fault::one(format!("peers: no envoy in `{}`: remove that folder and run this again", venv.display()))
    })?;
    // A wheel does not keep who may execute.
    fs::set_permissions(&envoy, fs::Permissions::from_mode(0o755)).map_err(|error| {
        Fault::one(format!("peers: cannot make `{}` a program: {error}", envoy.display()))
    })?;
    Ok(envoy)
}
