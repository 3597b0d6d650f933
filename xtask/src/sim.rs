//! The simulation: one seed, so many expiries, so many years, run by the test that knows how.
//!
//! What it finds it prints with the command that finds it again.

use crate::machine::{self, Fault, Outcome};

/// The words of a run, in the order in which the test reads their values.
const WORDS: [(&str, u64); 5] =
    [("--seed", 1), ("--expiries", 10_000), ("--years", 0), ("--keepers", 1), ("--accounts", 0)];

/// Runs it.
pub(crate) fn run(words: &[&str]) -> Outcome {
    let asked = values(words)?;
    let mut cargo = machine::cargo();
    // The whole workspace, so that every room has the features that the tests have and nothing is built twice.
    cargo.args(["test", "--release", "--locked", "--workspace", "--test", "sim", "--"]);
    cargo.args(["--exact", "a_run_that_is_asked_for", "--nocapture"]);
    cargo.current_dir(machine::root()?).env("NIGHTLATCH_SIM", asked);
    machine::stage("sim", || machine::run(&mut cargo))
}

/// The values, joined as the test reads them.
fn values(words: &[&str]) -> Outcome<String> {
    let usage = || {
        let known = WORDS.iter().map(|(word, value)| format!("[{word} N ({value})]"));
        Fault::one(format!("sim: say `cargo xtask sim {}`", known.collect::<Vec<_>>().join(" ")))
    };
    let mut values = WORDS.map(|(_, value)| value);
    for pair in words.chunks(2) {
        let [word, value] = pair else { return Err(usage()) };
        let place = WORDS.iter().position(|(known, _)| known == word).ok_or_else(usage)?;
        let value = value.parse().map_err(|_| usage())?;
        if let Some(own) = values.get_mut(place) {
            *own = value;
        }
    }
    Ok(values.map(|value| value.to_string()).join(","))
}

#[cfg(test)]
mod tests {
    //! Proves that what is asked for is what runs.

    use super::values;

    #[test]
    fn what_is_not_said_has_its_usual_value_and_what_is_no_number_is_refused() {
        assert_eq!(values(&[]).ok().as_deref(), Some("1,10000,0,1,0"));
        let said = ["--years", "2", "--seed", "9", "--keepers", "3"];
        assert_eq!(values(&said).ok().as_deref(), Some("9,10000,2,3,0"));
        for wrong in [&["--seed"][..], &["--seed", "x"], &["--seeds", "1"], &["7"]] {
            assert!(values(wrong).is_err(), "{wrong:?}");
        }
    }
}
