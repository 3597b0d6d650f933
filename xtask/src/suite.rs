//! Runs the tests with the real servers up.
//!
//! `cargo test` alone would need somebody to have started them; here they are started, their addresses handed over
//! in `NIGHTLATCH_PARTS_JSON`, and ended whatever the tests' outcome. A test whose server is missing fails and says
//! so: none is ever skipped.

use crate::{
    attacks,
    machine::{self, Outcome},
    parts,
};

/// All tests, or those that the words choose: `[cargo's options] [-- filter]`.
pub(crate) fn all(words: &[&str]) -> Outcome {
    run(&arguments(words), &[])?;
    // A run of chosen tests is somebody at work on them.
    if words.is_empty() { machine::stage("attacks as nobody", attacks::as_nobody) } else { Ok(()) }
}

/// What is slow by nature: the program's tests whose names begin with `torture_`, allowed to take their time.
pub(crate) fn torture(words: &[&str]) -> Outcome {
    let mut arguments = vec!["test", "--locked", "-p", "nightlatch", "--", "torture_"];
    arguments.extend(words);
    run(&arguments, &[("NIGHTLATCH_TORTURE", "1")])
}

/// The words for cargo: the whole workspace unless the caller chose packages.
fn arguments<'a>(words: &[&'a str]) -> Vec<&'a str> {
    let mut arguments = vec!["test", "--locked"];
    if !words.iter().take_while(|word| **word != "--").any(|word| word.starts_with('-')) {
        arguments.push("--workspace");
    }
    arguments.extend(words);
    arguments
}

/// Most end-to-end tests wait (for a token to die, a timer to act), so more of them run than there are cores.
const TEST_THREADS: &str = "8";

fn run(arguments: &[&str], variables: &[(&str, &str)]) -> Outcome {
    let running = parts::start()?;
    let mut cargo = machine::cargo();
    cargo.args(arguments).current_dir(machine::root()?).env("NIGHTLATCH_PARTS_JSON", running.json());
    cargo.env("RUST_TEST_THREADS", TEST_THREADS).envs(variables.iter().copied());
    let outcome = machine::stage("tests", || machine::run(&mut cargo));
    machine::stage("parts: end", || {
        drop(running);
        Ok(())
    })?;
    outcome
}

#[cfg(test)]
mod tests {
    //! Proves that a filter reaches the tests and that the whole workspace is meant unless somebody says otherwise.

    use super::arguments;

    #[test]
    fn the_whole_workspace_is_meant_unless_packages_are_chosen() {
        assert_eq!(arguments(&[]), ["test", "--locked", "--workspace"]);
        assert_eq!(arguments(&["--", "refresh"]), ["test", "--locked", "--workspace", "--", "refresh"]);
        assert_eq!(arguments(&["-p", "nightlatch"]), ["test", "--locked", "-p", "nightlatch"]);
    }
}
