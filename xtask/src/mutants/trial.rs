//! Builds one program of tests in the copy, and runs the tests that were named.

use super::{
    patch::{Catcher, Suite},
    said::{self, Said},
    tree::Tree,
};
use crate::machine::{self, Fault, Outcome};
use serde_json::Value;
use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

/// Tests of one program that are not over by then hang. The slowest of them needs a tenth of it on two quiet cores.
const TESTS_WITHIN: Duration = Duration::from_secs(600);
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// So many of a compiler's errors are shown.
const ERRORS_SHOWN: usize = 3;

/// Where mutants are tried.
pub(crate) struct Ground<'a> {
    pub(crate) tree: &'a Tree,
    /// Where the real servers say their addresses, if they were started.
    pub(crate) parts: Option<PathBuf>,
}

/// A program of tests that was built.
struct Built {
    program: PathBuf,
    /// Cargo runs tests in their package's folder.
    folder: PathBuf,
}

impl Ground<'_> {
    /// What became of each of these tests. Code that does not compile is a fault.
    pub(crate) fn run<'t>(&self, suite: &Suite, tests: &[&'t Catcher]) -> Outcome<Vec<(&'t Catcher, Said)>> {
        let built = self.build(suite)?;
        let path = self.tree.printed();
        self.run_tests(&built, tests, &path)?;
        let printed = fs::read(&path).map_err(|error| unusable(&path, &error))?;
        let printed = String::from_utf8_lossy(&printed);
        Ok(tests.iter().map(|one| (*one, said::read(&printed, &one.test))).collect())
    }

    fn build(&self, suite: &Suite) -> Outcome<Built> {
        let mut cargo = machine::cargo();
        // Nobody debugs a mutant; without debug information each is linked sooner.
        cargo.env("CARGO_PROFILE_DEV_DEBUG", "false").current_dir(self.tree.folder());
        cargo.args(["test", "--locked", "--no-run", "--message-format", "json-render-diagnostics"]);
        cargo.arg("--target-dir").arg(self.tree.target()).args(["-p", &suite.package]);
        match suite.target.as_str() {
            "lib" => cargo.arg("--lib"),
            name => cargo.args(["--test", name]),
        };
        let output = cargo.output().map_err(|error| Fault::one(format!("cannot start cargo: {error}")))?;
        if !output.status.success() {
            let errors = errors(&String::from_utf8_lossy(&output.stderr));
            return Err(Fault::one(format!("{suite} does not compile, which is no catch: {errors}")));
        }
        let printed = String::from_utf8_lossy(&output.stdout);
        printed.lines().find_map(built).ok_or_else(|| Fault::one(format!("cargo built no tests of {suite}")))
    }

    fn run_tests(&self, built: &Built, tests: &[&Catcher], path: &Path) -> Outcome {
        let file = File::create(path).map_err(|error| unusable(path, &error))?;
        let errors = file.try_clone().map_err(|error| unusable(path, &error))?;
        let mut program = Command::new(&built.program);
        program
            .arg("--exact")
            .args(tests.iter().map(|one| &one.test))
            .current_dir(&built.folder)
            .env("RUST_BACKTRACE", "0");
        program.stdin(Stdio::null()).stdout(file).stderr(errors).env_remove("NIGHTLATCH_SIM");
        program.envs(self.parts.iter().map(|path| ("NIGHTLATCH_PARTS_JSON", path)));
        let mut running =
            program.spawn().map_err(|error| Fault::one(format!("cannot start the tests: {error}")))?;
        let begun = machine::moment();
        while running
            .try_wait()
            .map_err(|error| Fault::one(format!("the tests are lost: {error}")))?
            .is_none()
        {
            if begun.elapsed() > TESTS_WITHIN {
                // What they printed so far says which of them is not over.
                let _ = running.kill();
                let _ = running.wait();
                break;
            }
            thread::sleep(LOOK_EVERY);
        }
        Ok(())
    }
}

fn unusable(path: &Path, error: &std::io::Error) -> Fault {
    Fault::one(format!("cannot use `{}`: {error}", path.display()))
}

/// The program of tests that a line of cargo's tells of, if it does.
fn built(line: &str) -> Option<Built> {
    let told: Value = serde_json::from_str(line).ok()?;
    let is_test = told.get("profile")?.get("test")?.as_bool()?;
    let program = PathBuf::from(told.get("executable")?.as_str()?);
    let folder = Path::new(told.get("manifest_path")?.as_str()?).parent()?.to_owned();
    is_test.then_some(Built { program, folder })
}

/// The first errors of a compiler.
fn errors(said: &str) -> String {
    let is_error = |line: &&str| line.starts_with("error");
    said.lines().filter(is_error).take(ERRORS_SHOWN).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    //! Proves that the tests that are run are the ones that were built, and that a compiler's error is told as such.

    use super::{built, errors};

    #[test]
    fn only_a_program_of_tests_is_run_and_in_its_packages_folder() {
        let line = |test: bool, program: &str| {
            format!(
                r#"{{"manifest_path":"/c/keeper/Cargo.toml","profile":{{"test":{test}}},"executable":{program}}}"#
            )
        };
        let found = built(&line(true, "\"/t/keeper-1\"")).map(|one| (one.program, one.folder));
        assert_eq!(found, Some(("/t/keeper-1".into(), "/c/keeper".into())));
        assert!(built(&line(false, "\"/t/nightlatch\"")).is_none(), "the program that ships");
        assert!(built(&line(true, "null")).is_none());
        assert!(built(r#"{"reason":"build-finished"}"#).is_none());
    }

    #[test]
    fn the_errors_are_told_without_the_warnings() {
        let said =
            "warning: unused\n --> a\nerror[E0308]: mismatched types\n --> b\nerror: could not compile `a`\n";
        assert_eq!(errors(said), "error[E0308]: mismatched types, error: could not compile `a`");
    }
}
