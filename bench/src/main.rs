//! What `cargo xtask bench` measures with: upstreams, a provider whose tokens rotate, a load, a crowd. Of our rooms it
//! imports the simulator, which knows nothing of Nightlatch, so what is measured measures nothing of itself. The keeper that
//! `bench keeper` measures is the other program of this crate.
//!
//! ```text
//! nightlatch-bench identity FOLDER HOST   an authority, a server's certificate and an agent's, as PEM files
//! nightlatch-bench upstream FOLDER        answers over HTTP and HTTPS; prints where, as one line of JSON
//! nightlatch-bench provider               a provider and its tool; one command a line of JSON in, one line out
//! nightlatch-bench load                   one command a line of JSON in, one line of JSON out
//! nightlatch-bench witness FOLDER FIELD   an upstream that knows the one credential; commands likewise
//! nightlatch-bench crowd                  many agents, each with a key of its own; commands likewise
//! nightlatch-bench issuer ORIGINS         a token endpoint at so many addresses; commands likewise
//! ```
//!
//! Each ends with its standard input, so that nothing is left behind by a run that was cut off.

#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a program that measures has a clock, and its output is lines"
)]

mod api;
mod crowd;
mod identity;
mod issuer;
mod line;
mod load;
mod provider;
mod tally;
mod target;
mod upstream;
mod witness;

use std::{error::Error, io::Read as _, process::ExitCode};

/// Whatever went wrong; the run is given up and says so.
type Fault = Box<dyn Error + Send + Sync>;

const USAGE: &str = "usage: nightlatch-bench identity FOLDER HOST | upstream FOLDER | provider | load | \
    witness FOLDER FIELD | crowd | issuer ORIGINS";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["identity", folder, host] => identity::write(folder.as_ref(), host),
        ["upstream", folder] => upstream::serve(folder.as_ref()),
        ["provider"] => provider::serve(),
        ["load"] => load::obey(),
        ["witness", folder, bearer] => witness::serve(folder.as_ref(), bearer),
        ["crowd"] => crowd::obey(),
        ["issuer", origins] => issuer::serve(origins),
        _ => Err(USAGE.into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("nightlatch-bench: {fault}");
            ExitCode::FAILURE
        }
    }
}

/// A runtime of one thread: everything is pinned to one core anyway.
fn runtime() -> Result<tokio::runtime::Runtime, Fault> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

/// Returns when whoever started us has closed our standard input.
fn until_told() {
    // An input that cannot be read is one that is gone.
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
}
