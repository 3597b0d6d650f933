//! The keeper and its store, broken on purpose: each break must be noticed, or a promise has no test.
//!
//! A break is a patch, `mutants/NN-name.patch`, whose head says what it breaks and which tests must fail over it. The
//! working tree is never touched: its tracked files are copied under the target folder, with a target folder of
//! their own that stays between patches and between runs. The named tests first pass there as the code is; then each
//! patch is applied, its tests are built and run, and the copy is put back. A patch that does not apply, code that
//! does not compile and a test that hangs are faults and no catch: every test that is named must fail, where it asserts.

mod patch;
mod said;
mod tree;
mod trial;

use crate::{
    machine::{self, Fault, Outcome},
    parts,
};
use patch::{Catcher, Patch};
use serde_json::{Value, json};
use std::{collections::BTreeSet, path::PathBuf, time::Duration};
use tree::Tree;
use trial::Ground;

/// What became of a patch.
struct Mutant<'a> {
    patch: &'a Patch,
    took: Duration,
    ended: Result<Vec<Catch<'a>>, Vec<String>>,
}

/// A test that noticed it.
struct Catch<'a> {
    by: &'a Catcher,
    at: String,
    words: String,
}

/// Tries the patches whose numbers are given (`05,12`), or all.
pub(crate) fn run(words: &[&str]) -> Outcome {
    let (numbers, as_json) = asked(words)?;
    let begun = machine::moment();
    let root = machine::root()?;
    let all = patch::all(&root.join("mutants"))?;
    let chosen = patch::choose(&all, numbers)?;
    let place = machine::variable("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from);
    let tree = Tree::of(&root, &root.join(place).join("mutants"))?;
    let parts = chosen.iter().any(|one| one.needs_parts).then(parts::start).transpose()?;
    let ground = Ground { tree: &tree, parts: parts.as_ref().map(parts::Running::json) };
    machine::stage("mutants: unpatched", || unpatched(&ground, &chosen))?;
    let tried: Vec<Mutant<'_>> = chosen.into_iter().map(|one| attempt(&ground, one)).collect();
    drop(parts);
    let whole = begun.elapsed();
    machine::print(&if as_json { as_value(&tried, whole).to_string() } else { table(&tried, whole) })?;
    Fault::unless_empty("mutants", tried.iter().filter_map(Mutant::fault).collect())
}

/// The numbers, where some were given, and whether a program reads the outcome.
fn asked<'a>(words: &[&'a str]) -> Outcome<(Option<&'a str>, bool)> {
    match words {
        [] => Ok((None, false)),
        ["--json"] => Ok((None, true)),
        [numbers] => Ok((Some(numbers), false)),
        [numbers, "--json"] | ["--json", numbers] => Ok((Some(numbers), true)),
        _ => Err(Fault::one("mutants: say `cargo xtask sim --mutants [05,12] [--json]`")),
    }
}

/// Every test that is named must pass as the code is: one that fails anyway catches nothing.
fn unpatched(ground: &Ground<'_>, chosen: &[&Patch]) -> Outcome {
    let all: BTreeSet<&Catcher> = chosen.iter().flat_map(|one| &one.caught_by).collect();
    let mut faults = Vec::new();
    for (suite, tests) in patch::by_suite(all) {
        for (one, said) in ground.run(suite, &tests)? {
            if let Some(why) = said.not_passed() {
                faults.push(format!("`{}` of {suite} does not pass as the code is: {why}", one.test));
            }
        }
    }
    Fault::unless_empty("mutants", faults)
}

fn attempt<'a>(ground: &Ground<'_>, patch: &'a Patch) -> Mutant<'a> {
    let begun = machine::moment();
    let ended = noticed(ground, patch);
    let mutant = Mutant { patch, took: begun.elapsed(), ended };
    machine::say(&format!("xtask: {}", mutant.line()));
    mutant
}

/// The tests that failed over it, which are all that it names; otherwise why it is not caught.
fn noticed<'a>(ground: &Ground<'_>, patch: &'a Patch) -> Result<Vec<Catch<'a>>, Vec<String>> {
    let mut faults = Vec::new();
    let catches = match ground.tree.apply(patch) {
        Ok(()) => catches(ground, patch, &mut faults),
        Err(fault) => {
            faults.push(fault.to_string());
            Vec::new()
        }
    };
    faults.extend(ground.tree.put_back().err().map(|fault| fault.to_string()));
    if faults.is_empty() { Ok(catches) } else { Err(faults) }
}

fn catches<'a>(ground: &Ground<'_>, patch: &'a Patch, faults: &mut Vec<String>) -> Vec<Catch<'a>> {
    let mut catches = Vec::new();
    for (suite, tests) in patch::by_suite(patch.caught_by.iter().collect()) {
        match ground.run(suite, &tests) {
            Ok(all) => {
                for (by, said) in all {
                    match said.assertion(&patch.changes) {
                        Ok((at, words)) => catches.push(Catch { by, at, words }),
                        Err(why) => faults.push(format!("`{}` of {suite} {why}", by.test)),
                    }
                }
            }
            Err(fault) => faults.push(fault.to_string()),
        }
    }
    catches
}

impl Mutant<'_> {
    fn ending(&self) -> &'static str {
        if self.ended.is_ok() { "caught" } else { "NOT CAUGHT" }
    }

    fn line(&self) -> String {
        let secs = self.took.as_secs();
        let shown = match &self.ended {
            Ok(catches) => catches.iter().map(|one| one.by.test.as_str()).collect::<Vec<_>>().join(", "),
            Err(faults) => faults.join("; "),
        };
        format!("{:02} {:<34} {:<10} {secs:>4} s  {shown}", self.patch.number, self.patch.name, self.ending())
    }

    fn fault(&self) -> Option<String> {
        let faults = self.ended.as_ref().err()?;
        Some(format!("{:02} {}: {}", self.patch.number, self.patch.name, faults.join("; ")))
    }

    fn as_value(&self) -> Value {
        let tests = self.ended.as_ref().map_or(&[][..], Vec::as_slice).iter().map(|one| {
            let suite = &one.by.suite;
            json!({
                "package": suite.package, "target": suite.target, "test": one.by.test,
                "at": one.at, "words": one.words,
            })
        });
        json!({
            "number": self.patch.number,
            "name": self.patch.name,
            "breaks": self.patch.breaks,
            "caught": self.ended.is_ok(),
            "caught_by": tests.collect::<Vec<_>>(),
            "faults": self.ended.as_ref().err(),
            "secs": self.took.as_secs(),
        })
    }
}

fn as_value(tried: &[Mutant<'_>], whole: Duration) -> Value {
    let caught = tried.iter().filter(|one| one.ended.is_ok()).count();
    let mutants: Vec<Value> = tried.iter().map(Mutant::as_value).collect();
    json!({ "mutants": mutants, "caught": caught, "tried": tried.len(), "secs": whole.as_secs() })
}

fn table(tried: &[Mutant<'_>], whole: Duration) -> String {
    let caught = tried.iter().filter(|one| one.ended.is_ok()).count();
    let lines = tried.iter().map(Mutant::line);
    let sum = format!("{caught} of {} caught in {:.1} minutes", tried.len(), whole.as_secs_f64() / 60.0);
    lines.chain([sum]).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    //! Proves that what is asked for is what is tried, and that the outcome says what was caught and what was not.

    use super::{Mutant, as_value, asked, patch::Patch, table};
    use std::time::Duration;

    #[test]
    fn some_are_tried_or_all_and_what_is_misspelled_is_refused() {
        let asked = |words: &[&'static str]| asked(words).ok();
        assert_eq!(asked(&[]), Some((None, false)));
        assert_eq!(asked(&["05,12"]), Some((Some("05,12"), false)));
        assert_eq!(asked(&["--json", "5"]), Some((Some("5"), true)));
        assert_eq!(asked(&["5", "6"]), None);
    }

    #[test]
    fn one_that_survives_is_a_fault_and_one_that_is_caught_is_none() {
        let text = "It breaks.\nCaught-by: a lib b\ndiff --git a/crates/a/src/b.rs b/crates/a/src/b.rs\n";
        let patch = Patch::read("07-it", text).ok().unwrap();
        let took = Duration::from_secs(61);
        let caught = Mutant { patch: &patch, took, ended: Ok(Vec::new()) };
        let survives = Mutant { patch: &patch, took, ended: Err(vec!["`b` passes".to_owned()]) };
        assert_eq!(caught.fault(), None);
        assert_eq!(survives.fault().as_deref(), Some("07 it: `b` passes"));
        let both = [caught, survives];
        assert!(table(&both, took).ends_with("1 of 2 caught in 1.0 minutes"), "{}", table(&both, took));
        assert_eq!(as_value(&both, took)["mutants"][1]["caught"], false);
    }
}
