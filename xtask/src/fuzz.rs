//! Fuzzing: `cargo fuzz` over the targets in `fuzz/`, each for a stated time.
//!
//! The targets are a workspace of their own, since they need what no other build does: instrumented dependencies, and
//! flags that a stable compiler takes only with `RUSTC_BOOTSTRAP`. There is no `unsafe` of ours to look for, so no
//! sanitizer is linked in. Seeds are committed; what a run finds besides lies in `target/fuzz`.

use std::{path::Path, process::Command};

use crate::machine::{self, Fault, Outcome};

/// The one that is known to work with the compiler that the workspace asks for.
const CARGO_FUZZ: &str = "0.13.2";
/// How long each target runs where nobody says it.
const SECONDS: &str = "60";
/// Inputs that the project has anyhow, beside the seeds of a target.
const MORE_SEEDS: &[(&str, &str)] =
    &[("manifest", "crates/catalog/manifests"), ("manifest", "crates/catalog/profiles")];

/// Runs one target, or all of them.
pub(crate) fn run(words: &[&str]) -> Outcome {
    let (target, seconds) = match words {
        [] => (None, SECONDS),
        ["--seconds", seconds] => (None, *seconds),
        [target] => (Some(*target), SECONDS),
        [target, "--seconds", seconds] | ["--seconds", seconds, target] => (Some(*target), *seconds),
        _ => return Err(Fault::one("fuzz: say `cargo xtask fuzz [TARGET] [--seconds N]`")),
    };
    if seconds.parse::<u32>().is_err() {
        return Err(Fault::one(format!("fuzz: `{seconds}` is no number of seconds")));
    }
    let root = machine::root()?;
    let targets = targets(&machine::read_toml(&root.join("fuzz/Cargo.toml"))?);
    let chosen: Vec<&String> =
        targets.iter().filter(|name| target.is_none_or(|target| target == *name)).collect();
    if chosen.is_empty() {
        return Err(Fault::one(format!("fuzz: there is no such target; there are: {}", targets.join(", "))));
    }
    machine::stage("fuzz: install", || install(&root))?;
    chosen
        .into_iter()
        .try_for_each(|name| machine::stage(&format!("fuzz: {name}"), || one(&root, name, seconds)))
}

/// The names of the programs in `fuzz/Cargo.toml`.
fn targets(manifest: &toml::Table) -> Vec<String> {
    let programs = manifest.get("bin").and_then(toml::Value::as_array).into_iter().flatten();
    programs.filter_map(|program| program.get("name")?.as_str().map(str::to_owned)).collect()
}

fn install(root: &Path) -> Outcome {
    let there = machine::output(machine::cargo().args(["fuzz", "--version"]).current_dir(root));
    if there.is_ok_and(|version| version.contains(CARGO_FUZZ)) {
        return Ok(());
    }
    machine::run(
        machine::cargo()
            .args(["install", "cargo-fuzz", "--locked", "--version", CARGO_FUZZ])
            .current_dir(root),
    )
}

fn one(root: &Path, name: &str, seconds: &str) -> Outcome {
    let found = root.join("target/fuzz/corpus").join(name);
    machine::make_folder(&found)?;
    let mut fuzz: Command = machine::cargo();
    fuzz.current_dir(root).env("RUSTC_BOOTSTRAP", "1").args([
        "fuzz",
        "run",
        "--fuzz-dir",
        "fuzz",
        "--sanitizer",
        "none",
    ]);
    fuzz.arg("--target-dir")
        .arg(root.join("target/fuzz"))
        .arg(name)
        .arg(&found)
        .arg(root.join("fuzz/seeds").join(name));
    fuzz.args(MORE_SEEDS.iter().filter(|(target, _)| *target == name).map(|(_, folder)| root.join(folder)));
    machine::run(fuzz.args([
        "--",
        &format!("-max_total_time={seconds}"),
        "-max_len=8192",
        "-print_final_stats=1",
    ]))
}

#[cfg(test)]
mod tests {
    //! Proves that what is asked for is what runs.

    use super::{run, targets};

    #[test]
    fn every_program_is_a_target_and_has_seeds() {
        let root = crate::machine::root().unwrap();
        let manifest = crate::machine::read_toml(&root.join("fuzz/Cargo.toml")).unwrap();
        let names = targets(&manifest);
        assert!(names.iter().any(|name| name == "request_head"), "{names:?}");
        for name in names {
            let seeds = std::fs::read_dir(root.join("fuzz/seeds").join(&name));
            assert!(seeds.is_ok_and(|seeds| seeds.count() > 0), "no seeds for `{name}`");
        }
    }

    #[test]
    fn what_is_misspelled_is_said() {
        for words in [&["nothing_of_ours"][..], &["request_head", "--seconds", "x"], &["a", "b", "c", "d"]] {
            assert!(run(words).is_err(), "{words:?}");
        }
    }
}
