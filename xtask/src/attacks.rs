//! Runs the gateway's attack tests once more as an unprivileged user.
//!
//! An attacker is not root, and root may do what others may not: a refusal that only holds because the test ran
//! as root, or only because it did not, would go unseen. Where we are not root already, the main run was that.

use crate::machine::{self, Fault, Outcome};
use serde_json::Value;
use std::{fs, os::unix::fs::PermissionsExt as _, path::PathBuf, process::Command};

/// Whose tests, and which.
const PACKAGE: &str = "nightlatch-gateway";
const TARGET: &str = "it";

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

/// The path of the gateway's integration tests, as the run over the whole workspace built them. Asked for the one
/// package, cargo would choose other features for what lies below it and build all of that again.
fn attack_binary() -> Outcome<PathBuf> {
    let mut cargo = machine::cargo();
    cargo.args(["test", "--locked", "--workspace", "--no-run", "--message-format", "json"]);
    let messages = machine::output(cargo.current_dir(machine::root()?))?;
    executable(&messages).ok_or_else(|| {
        Fault::one(format!("cargo named no binary of the tests `{TARGET}` of `{PACKAGE}`: was one renamed?"))
    })
}

/// The one test binary among cargo's messages that is the gateway's.
pub(crate) fn executable(messages: &str) -> Option<PathBuf> {
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut ours = messages.filter(|message| is_ours(message).is_some_and(|ours| ours));
    ours.find_map(|message| message.get("executable")?.as_str().map(PathBuf::from))
}

fn is_ours(message: &Value) -> Option<bool> {
    // `path+file:///…/gateway#nightlatch-gateway@0.1.0`, or `path+file:///…/nightlatch-gateway#0.1.0`.
    let package = message.get("package_id")?.as_str()?.split(['#', '@', '/']).any(|part| part == PACKAGE);
    let target = message.get("target")?.get("name")?.as_str()? == TARGET;
    Some(package && target)
}

#[cfg(test)]
mod tests {
    //! Proves that the gateway's tests are found among all that cargo names, and that nothing else is taken for them.

    use super::executable;
    use std::path::Path;

    fn message(package: &str, target: &str, executable: &str) -> String {
        format!(
            "{{\"reason\":\"compiler-artifact\",\"package_id\":\"{package}\",\"target\":{{\"name\":\"{target}\"}},\
             \"executable\":{executable}}}"
        )
    }

    #[test]
    fn the_binary_is_the_gateways_own() {
        let gateway = "path+file:///w/crates/gateway#nightlatch-gateway@0.1.0";
        let messages = [
            message("path+file:///w/crates/control#nightlatch-control@0.1.0", "it", "\"/t/it-1\""),
            message(gateway, "nightlatch_gateway", "\"/t/nightlatch_gateway-2\""),
            message(gateway, "it", "null"),
            "noise".to_owned(),
            message(gateway, "it", "\"/t/it-3\""),
            message("path+file:///w/crates/store#nightlatch-store@0.1.0", "it", "\"/t/it-4\""),
        ];
        assert_eq!(executable(&messages.join("\n")).as_deref(), Some(Path::new("/t/it-3")));
        let older = message("path+file:///w/nightlatch-gateway#0.1.0", "it", "\"/t/it-5\"");
        assert_eq!(executable(&older).as_deref(), Some(Path::new("/t/it-5")));
    }

    #[test]
    fn another_rooms_tests_are_never_taken_for_it() {
        let near = "path+file:///w/crates/gateway#nightlatch-gateway-next@0.1.0";
        assert_eq!(executable(&message(near, "it", "\"/t/it-1\"")), None);
        assert_eq!(executable("{}"), None);
    }
}
