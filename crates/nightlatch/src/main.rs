//! The program: command line, configuration, and the wiring of the rooms' ports.
//!
//! `up` serves all on one machine, `serve` one plane over a database that others share; every other command is a client of the API on the socket in the data folder, or works on a
//! file alone. Exit codes: 0 done, 1 refused or failed (standard error says what to do next), 2 the command
//! line could not be read.

mod adapters;
#[allow(
    rustdoc::broken_intra_doc_links,
    reason = "the help of the command line is written in doc comments, and its grammar has brackets"
)]
mod cli;
mod commands;
mod config;
mod demo;
mod error;
mod output;
mod place;
mod serve;
mod up;

use clap::Parser as _;
use std::process::ExitCode;

/// A call allocates some two hundred times, and what an idle agent's connection leaves behind in the system's own
/// allocator is half as much again.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    let output = output::Output::new(cli.json);
    match commands::run(cli, output) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if !matches!(failure, error::Failure::Ended(_)) {
                output.failure(&failure);
            }
            ExitCode::from(failure.code())
        }
    }
}
