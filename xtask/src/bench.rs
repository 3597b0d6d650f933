//! What a call costs: beside the other proxies (`bench corridor`), and by itself, in instructions (`bench icount`). And
//! what half an hour of calls leaves behind (`bench soak`), what the first call of many agents costs (`bench cold`), and what
//! a keeper can do (`bench keeper`).
//!
//! | module | what it does |
//! |---|---|
//! | `corridor` | which slices are measured in which rounds, and what follows from them |
//! | `rivals` | the peers' configurations, each doing the least that could be compared: set one header |
//! | `ours` | Nightlatch as it is measured beside them |
//! | `soak` | calls while the credential rotates, and what must hold meanwhile |
//! | `cold` | many agents, each of which calls once with nothing remembered, and once more |
//! | `keeper` | refreshes, kills, looks for due work and waiting calls, on each engine; a keeper of a million chains |
//! | `installation` | Nightlatch as an operator sets it up, through its own command line |
//! | `child` | a program that is measured: its processor time and memory |
//! | `load` | the load, the upstreams, the provider, the crowd, the issuer and the keeper, programs of `nightlatch-bench` |
//! | `programs` | what is built first, the folder of a run, the file of its results |
//! | `figures` | medians, quartiles, tables |
//! | `icount` | instructions of each phase under callgrind |

mod child;
mod cold;
mod corridor;
mod figures;
mod icount;
mod installation;
mod keeper;
mod load;
mod ours;
mod programs;
mod rivals;
mod soak;

use crate::machine::{Fault, Outcome};

pub(crate) use child::Child;
pub(crate) use icount::check as icount;
pub(crate) use programs::write;

/// Rounds of a whole run, and of one that only shows that everything works: built in a third of the time, without
/// optimisation over all crates, and nothing of it is written down.
const ROUNDS: usize = 40;
const ROUNDS_QUICK: usize = 3;

/// Measures the corridor beside its peers.
pub(crate) fn corridor(words: &[&str]) -> Outcome {
    match words {
        [] => corridor::run(ROUNDS, "dist"),
        ["--quick"] => corridor::run(ROUNDS_QUICK, "release"),
        ["--rounds", number] => {
            let rounds =
                number.parse().map_err(|_| Fault::one(format!("`{number}` is no number of rounds")))?;
            corridor::run(rounds, "dist")
        }
        _ => Err(Fault::one("usage: cargo xtask bench corridor [--rounds N | --quick]")),
    }
}

/// Calls for a while, and holds what comes of it against what is promised.
pub(crate) fn soak(words: &[&str]) -> Outcome {
    let (mut minutes, mut rate) = (soak::MINUTES, soak::RATE);
    for pair in words.chunks(2) {
        let (place, number) = match pair {
            ["--minutes", number] => (&mut minutes, number),
            ["--rate", number] => (&mut rate, number),
            _ => return Err(Fault::one("usage: cargo xtask bench soak [--minutes N] [--rate N]")),
        };
        // Of a hundred calls a second each kind has at least one.
        let least = if pair.first() == Some(&"--rate") { 100 } else { 1 };
        let number = number.parse().ok().filter(|number| *number >= least);
        *place = number
            .ok_or_else(|| Fault::one(format!("`{}` needs a number from {least} on", pair.concat())))?;
    }
    soak::run(minutes, rate)
}

/// Lets many agents call for the first time, and once more.
pub(crate) fn cold(words: &[&str]) -> Outcome {
    match words {
        [] => cold::run(cold::AGENTS),
        ["--agents", number] => match number.parse() {
            Ok(agents @ 1..=cold::AGENTS_MAX) => cold::run(agents),
            _ => Err(Fault::one(format!("`{number}` is no number of agents from 1 to {}", cold::AGENTS_MAX))),
        },
        _ => Err(Fault::one("usage: cargo xtask bench cold [--agents N]")),
    }
}

/// Measures the keeper.
pub(crate) fn keeper(words: &[&str]) -> Outcome {
    match words {
        [] => keeper::run(keeper::WHOLE),
        ["--quick"] => keeper::run(keeper::QUICK),
        _ => Err(Fault::one("usage: cargo xtask bench keeper [--quick]")),
    }
}
