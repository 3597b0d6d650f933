//! The project's own checks and its test run: `cargo xtask <what>`.
//!
//! A check that lives in a program of the workspace runs the same on every machine, needs nothing installed,
//! and is tested like the rest. It imports none of our rooms, so it builds in seconds and cannot be broken by
//! what it judges.

mod arrows;
mod attacks;
mod bans;
mod bench;
mod fuzz;
mod licence;
mod machine;
mod mutants;
mod parts;
mod peers;
mod sim;
mod suite;
mod tidy;
mod torture;

use std::process::ExitCode;

use machine::{Fault, Outcome};

const USAGE: &str = "\
usage: cargo xtask <what>

  arrows            every dependency between rooms is one that `arrows.toml` allows
  bans              nothing banned, too old or badly licensed is compiled
  tidy              every file keeps the house style's countable rules
  test [-- FILTER]  install and start the real servers, run the tests, end the servers
  torture           what is slow by nature: a million expiries in the simulated world, rounds of kills at real
                    providers (writes `bench/results/torture.json`), tests named `torture_…` [--quick | tests FILTER]
  sim               the keeper in a world of one seed [--seed S] [--expiries N] [--years Y] [--keepers K] [--accounts A]
  sim --mutants     the keeper broken on purpose, patch by patch: the tests named by `mutants/NN-name.patch` must notice [NN,NN] [--json]
  parts install     install the real servers into the parts folder
  parts up          start them and keep them up until Ctrl-C; prints the path of `parts.json`
  parts check       start them, prove that they are what the tests take them for, end them
  bench corridor    what a call costs beside nginx, HAProxy, Envoy and mitmproxy [--rounds N | --quick]
  bench soak        half an hour of calls while credentials rotate; writes `bench/results/soak.json` [--minutes N] [--rate N]
  bench cold        what the first call of each of 10 000 agents costs, and the second; writes `bench/results/cold.json` [--agents N]
  bench keeper      refreshes a second, kills, due work and memory of a keeper, on SQLite and PostgreSQL; writes `bench/results/keeper.json` [--quick]
  bench icount      instructions of each phase of a call under callgrind, and what changed
  peers install     install the proxies that ours is held against; prints where each lies
  peers framing     what nginx, HAProxy and Envoy make of our corpus of framing; writes `docs/framing.md`
  fuzz [TARGET]     fuzz what reads bytes from outside, each target for a minute [--seconds N]";

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
        ["test", rest @ ..] => suite::all(rest),
        ["torture", rest @ ..] => torture::run(rest),
        ["sim", "--mutants", rest @ ..] => mutants::run(rest),
        ["sim", rest @ ..] => sim::run(rest),
        ["parts", "install"] => machine::stage("parts: install", parts::install),
        ["parts", "up"] => parts::up(),
        ["bench", "corridor", rest @ ..] => bench::corridor(rest),
        ["bench", "soak", rest @ ..] => bench::soak(rest),
        ["bench", "cold", rest @ ..] => bench::cold(rest),
        ["bench", "keeper", rest @ ..] => bench::keeper(rest),
        ["bench", "icount"] => bench::icount(),
        ["peers", "install"] => peers::show(),
        ["peers", "framing"] => machine::stage("peers: framing", peers::framing),
        ["fuzz", rest @ ..] => fuzz::run(rest),
        ["parts", "check"] => parts::start().map(drop),
        _ => Err(Fault::one(USAGE)),
    }
}
