//! The project's own checks and its test run: `cargo xtask <what>`.
//!
//! A check that lives in a program of the workspace runs the same on every machine, needs nothing installed,
//! and is tested like the rest. It imports none of our rooms, so it builds in seconds and cannot be broken by
//! what it judges.

mod arrows;
mod bans;
mod licence;
mod machine;
mod tidy;

use std::process::ExitCode;

use machine::{Fault, Outcome};

const USAGE: &str = "\
usage: cargo xtask <what>

  arrows            every dependency between rooms is one that `arrows.toml` allows
  bans              nothing banned, too old or badly licensed is compiled
  tidy              every file keeps the house style's countable rules";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match dispatch(&words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            machine::say(&fault.to_string());
            ExitCode::FAILURE
        }
    }
}

fn dispatch(words: &[String]) -> Outcome {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["arrows"] => machine::stage("arrows", arrows::check),
        ["bans"] => machine::stage("bans", bans::check),
        ["tidy"] => machine::stage("tidy", tidy::check),
        _ => Err(Fault::one(USAGE)),
    }
}
