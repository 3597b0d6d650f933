//! What a call costs: beside the other proxies (`bench corridor`), and by itself, in instructions (`bench icount`).
//!
//! | module | what it does |
//! |---|---|
//! | `corridor` | which slices are measured in which rounds, and what follows from them |
//! | `rivals` | the peers' configurations, each doing the least that could be compared: set one header |
//! | `ours` | Nightlatch as an operator sets it up, through its own command line |
//! | `child` | a program on the core that everything shares, its processor time and memory |
//! | `load` | the load and the upstream, programs of `nightlatch-bench` |
//! | `figures` | medians, quartiles, tables |
//! | `icount` | instructions of each phase under callgrind |

mod child;
mod corridor;
mod figures;
mod icount;
mod load;
mod ours;
mod rivals;

use crate::machine::{Fault, Outcome};

pub(crate) use child::Child;
pub(crate) use icount::check as icount;

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
