//! What every benchmark begins with and ends with: the programs, a folder of its own, a file of results.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child as Process, Command, Stdio},
};

use serde_json::Value;

use crate::machine::{self, Fault, Outcome};

/// The programs, built.
#[derive(Debug)]
pub(super) struct Programs {
    pub(super) nightlatch: PathBuf,
    pub(super) bench: PathBuf,
}

/// What `bench keeper` runs, built.
#[derive(Debug)]
pub(super) struct KeeperPrograms {
    pub(super) keeper: PathBuf,
    pub(super) bench: PathBuf,
}

/// Builds them.
pub(super) fn build(profile: &str) -> Outcome<Programs> {
    let packages =
        ["-p", "nightlatch", "-p", "nightlatch-bench", "--bin", "nightlatch", "--bin", "nightlatch-bench"];
    let built = built(profile, &packages)?;
    Ok(Programs { nightlatch: built.join("nightlatch"), bench: built.join("nightlatch-bench") })
}

/// Builds what `bench keeper` runs.
pub(super) fn build_keeper(profile: &str) -> Outcome<KeeperPrograms> {
    let built = built(profile, &["-p", "nightlatch-bench"])?;
    Ok(KeeperPrograms {
        keeper: built.join("nightlatch-bench-keeper"),
        bench: built.join("nightlatch-bench"),
    })
}

/// The folder of the programs of these packages.
fn built(profile: &str, packages: &[&str]) -> Outcome<PathBuf> {
    let root = machine::root()?;
    let mut cargo = machine::cargo();
    cargo.args(["build", "--locked", "--profile", profile]).args(packages);
    machine::run(cargo.current_dir(&root))?;
    let target = machine::variable("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    Ok(target.join(profile))
}

/// Waits for the end of its input, whatever a terminal says, and removes a folder; again, while those who are being
/// ended still write into it.
const SWEEP: &str = "trap '' INT TERM HUP; cat > /dev/null; \
    for _ in 1 2 3 4 5 6 7 8 9; do rm -rf -- \"$1\" 2> /dev/null && break; sleep 0.2; done";

/// A folder of this run, removed with it however it ends: by a process that outlives us.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    sweeper: Process,
}

impl Folder {
    pub(super) fn make() -> Outcome<Self> {
        let path = std::env::temp_dir().join(format!("nightlatch-bench-{}", std::process::id()));
        machine::make_folder(&path)?;
        let mut sweep = Command::new("sh");
        sweep.args(["-c", SWEEP, "sh"]).arg(&path).stdin(Stdio::piped());
        let sweeper =
            sweep.spawn().map_err(|error| Fault::one(format!("bench: cannot start `sh`: {error}")))?;
        Ok(Self { path, sweeper })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Its input ends here. A temporary folder that stays behind harms nobody.
        drop(self.sweeper.stdin.take());
        let _ = self.sweeper.wait();
    }
}

/// Writes `bench/results/NAME.json`.
pub(crate) fn write(name: &str, results: &Value) -> Outcome {
    let path = machine::root()?.join("bench/results").join(format!("{name}.json"));
    machine::make_folder(path.parent().unwrap_or(&path))?;
    let text = serde_json::to_string_pretty(results).unwrap_or_default() + "\n";
    fs::write(&path, text)
        .map_err(|error| Fault::one(format!("bench: cannot write `{}`: {error}", path.display())))?;
    machine::say(&format!("xtask: bench: written to `{}`", path.display()));
    Ok(())
}

#[cfg(test)]
mod tests {
    //! Proves that a folder goes with its run.

    use super::Folder;

    #[test]
    fn a_folder_is_removed_with_what_is_in_it() {
        let folder = Folder::make().unwrap();
        let path = folder.path().to_owned();
        std::fs::write(path.join("file"), "x").unwrap();
        drop(folder);
        assert!(!path.exists());
    }
}
