//! A warning where the `node` that the program would find reads no proxy variables.
//!
//! `NODE_USE_ENV_PROXY` covers `fetch`, `http` and `https` from 22.21.0 on, and from 24.5.0 on
//! (<https://nodejs.org/docs/latest-v24.x/api/cli.html#node_use_env_proxy1>). An older one would try to reach the tool
//! by itself and fail without a word about why.

use super::environment::Surroundings;
use crate::output::hint;
use nightlatch_companion::sandbox::{Prepared, Program};
use std::{os::unix::fs::PermissionsExt as _, path::Path};

/// Asks the `node` in `PATH` for its version, inside the sandbox: a working folder may hold a `node` of its own.
pub(super) fn warn_of_old(prepared: &Prepared, around: &Surroundings) {
    if around.routes.is_empty() || !in_path(around) {
        return;
    }
    let environment = around.environment.clone();
    let node = Program { program: "node".into(), arguments: vec!["--version".into()], environment };
    let Some(version) = prepared.ask(node) else { return };
    let version = version.trim();
    if reads_proxy_variables(version) == Some(false) {
        let routes = around.routes.join(", ");
        hint(format!(
            "nightlatch: node {version} reads no proxy variables (22.21 and 24.5 do), so it will reach nothing; a newer one does, or an enrolled key at the route door {routes}"
        ));
    }
}

fn in_path(around: &Surroundings) -> bool {
    let path = around.environment.iter().find(|(name, _)| name == "PATH");
    path.is_some_and(|(_, path)| std::env::split_paths(path).any(|folder| runs(&folder.join("node"))))
}

fn runs(file: &Path) -> bool {
    file.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

/// Whether this version does; nothing where the text is no version.
fn reads_proxy_variables(version: &str) -> Option<bool> {
    let mut numbers = version.strip_prefix('v')?.split(['.', '-']).map(str::parse::<u32>);
    let (major, minor) = (numbers.next()?.ok()?, numbers.next()?.ok()?);
    Some(match major {
        ..=21 | 23 => false,
        22 => minor >= 21,
        24 => minor >= 5,
        25.. => true,
    })
}

#[cfg(test)]
mod tests {
    use super::reads_proxy_variables;

    #[test]
    fn the_versions_that_read_proxy_variables_are_told_from_those_that_do_not() {
        for (version, reads) in [
            ("v20.20.2", false),
            ("v22.20.0", false),
            ("v22.21.0", true),
            ("v23.11.0", false),
            ("v24.4.1", false),
            ("v24.5.0", true),
            ("v26.0.0-nightly", true),
        ] {
            assert_eq!(reads_proxy_variables(version), Some(reads), "{version}");
        }
        assert_eq!(reads_proxy_variables("node: not found"), None);
    }
}
