//! `connection import`: refresh tokens that another system held, from standard input.
//!
//! - [`lines`]: standard input, line by line, in memory that is wiped;
//! - [`row`]: one line, or what is wrong with it;
//! - [`client`]: the registration that the tokens were given to;
//! - [`batch`]: rows are sealed here, and leave this process in batches;
//! - [`wait`]: what becomes of them;
//! - [`report`]: what is said meanwhile, and in the end.
//!
//! A token is sealed to the keeper's intake key before it leaves this process, together with what it is to become. What was
//! taken in goes on without this command: whoever runs it again over the same lines is told what is there.

mod batch;
mod client;
mod lines;
mod report;
mod row;
mod wait;

use super::{Seat, background};
use crate::{cli::ImportTokens, error::Failure};
use batch::Batches;
use report::Report;
use std::io::{self, IsTerminal as _};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Why it is asked, and what to do.
const STOPPED: &str = "the system that held these tokens must have stopped for good: where two refresh one token, most providers end the connection. Stop it, take its newest tokens, then run this with `--old-system-stopped`";

pub(super) async fn run(seat: &Seat, asked: ImportTokens) -> Result<(), Failure> {
    if !asked.old_system_stopped {
        return Err(Failure::Usage(STOPPED.to_owned()));
    }
    if io::stdin().is_terminal() {
        return Err(Failure::Usage(
            "no lines came; pipe them in: `nightlatch connection import --old-system-stopped < tokens.jsonl`"
                .to_owned(),
        ));
    }
    let client = background::client(&seat.place()?, !asked.no_start).await?;
    client::register(&client, &asked).await?;
    let mut interrupts = Interrupts::listen()?;
    let mut report = Report::new(seat.output);
    let defaults = row::Defaults { tool: asked.tool, client_id: asked.client_id, host: asked.host };
    let mut batches = Batches::new(&client, defaults);
    let brought = interrupts.or(batches.bring(lines::read(), &mut report)).await;
    let brought = brought.and_then(|ended| ended.map_err(|failure| broken_off(&failure)));
    if let Err(failure) = brought {
        report.end_progress();
        return Err(failure);
    }
    let waited = interrupts.or(wait::until_ended(&client, &mut report)).await;
    let waited = waited.and_then(|ended| ended.map_err(|failure| broken_off(&failure)));
    report.end_progress();
    waited?;
    report.print()
}

/// What was taken in stays; what was not is said to be not.
fn broken_off(failure: &Failure) -> Failure {
    Failure::BrokenOff(failure.to_string())
}

/// Ctrl-C, and what ends a terminal.
struct Interrupts([Signal; 2]);

impl Interrupts {
    fn listen() -> Result<Self, Failure> {
        Ok(Self([signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?]))
    }

    /// Does this, unless a human says stop.
    async fn or<T>(&mut self, work: impl Future<Output = T>) -> Result<T, Failure> {
        let [interrupt, terminate] = &mut self.0;
        tokio::select! {
            done = work => Ok(done),
            _ = interrupt.recv() => Err(Failure::Interrupted),
            _ = terminate.recv() => Err(Failure::Interrupted),
        }
    }
}
