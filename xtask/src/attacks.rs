//! Runs the gateway's attack tests once more as an unprivileged user.
//!
//! An attacker is not root, and root may do what others may not: a refusal that only holds because the test ran
//! as root, or only because it did not, would go unseen. Where we are not root already, the main run was that.

use crate::machine::{self, Fault, Outcome};
use std::{fs, os::unix::fs::PermissionsExt as _, path::PathBuf, process::Command};

/// Nobody, on Debian and everywhere else.
const NOBODY: &str = "65534";

/// Builds nothing new: the main run has built the very binary.
pub(crate) fn as_nobody() -> Outcome {
    if machine::output(Command::new("id").arg("-u"))?.trim() != "0" {
        return Ok(());
    }
    let folder = PathBuf::from(machine::output(Command::new("mktemp").arg("-d"))?.trim());
    let outcome = run_in(&folder);
    // A temporary folder that stays behind harms nobody.
    let _ = fs::remove_dir_all(&folder);
    outcome
}

fn run_in(folder: &std::path::Path) -> Outcome {
    let cannot =
        |error: std::io::Error| Fault::one(format!("cannot prepare `{}`: {error}", folder.display()));
    fs::set_permissions(folder, fs::Permissions::from_mode(0o777)).map_err(cannot)?;
    let binary = folder.join("attacks");
    fs::copy(attack_binary()?, &binary).map_err(cannot)?;
    fs::set_permissions(&binary, fs::Permissions::from_mode(0o755)).map_err(cannot)?;
    let mut attacks = Command::new("setpriv");
    attacks.args(["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups", "--"]).arg(&binary);
    machine::run(attacks.current_dir(folder).env("TMPDIR", folder).env("HOME", folder))
}

/// The path of the gateway's integration tests, as cargo names it.
fn attack_binary() -> Outcome<PathBuf> {
    let mut cargo = machine::cargo();
    cargo.args(["test", "--locked", "--package", "nightlatch-gateway", "--test", "it", "--no-run"]);
    cargo.args(["--message-format", "json"]).current_dir(machine::root()?);
    let messages = machine::output(&mut cargo)?;
    executable(&messages).ok_or_else(|| Fault::one("cargo named no binary of the gateway's tests"))
}

fn executable(messages: &str) -> Option<PathBuf> {
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let mut named = messages.filter_map(|message| message.get("executable")?.as_str().map(PathBuf::from));
    named.next_back()
}

#[cfg(test)]
mod tests {
    //! Proves that the binary is found among cargo's messages.

    use super::executable;
    use std::path::Path;

    #[test]
    fn the_binary_is_the_executable_that_cargo_names() {
        let messages =
            "{\"reason\":\"compiler-artifact\",\"executable\":null}\n{\"executable\":\"/t/it-1\"}\nnoise";
        assert_eq!(executable(messages).as_deref(), Some(Path::new("/t/it-1")));
        assert_eq!(executable("{}"), None);
    }
}
