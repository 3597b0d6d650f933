//! The demo: the four breaks, played as real HTTP on this machine, on both sides.
//!
//! An ordinary client (a program of its own with a token file, `parts/naive.rs`) and an agent behind
//! Nightlatch (a program of its own under `run`, with a reference, `parts/agent.rs`) meet the same provider
//! (`nightlatch_simulator`). Nightlatch is a real `up` in a temporary folder, and everything that is done
//! to it is one of its commands, run as a user runs them ([`install`]); the human follows pages with an
//! HTTP client that has no other channel ([`human`]). What is told in the end is computed from answers,
//! from the provider's own counters and from a scan of memory ([`scan`]); nothing is asserted.
//!
//! It reads `/proc` of its own children, so it is Linux only and wants to be the user who started them.
//! What is spoken here is loopback only and belongs to the actors: it is not Nightlatch's way out, which
//! is `egress` alone.

mod breaks;
mod http;
mod human;
mod install;
mod lines;
mod parts;
mod report;
mod scan;
mod stage;

pub(crate) use parts::act;

use crate::{
    error::Failure,
    output::{Output, hint},
};
use report::Report;
use stage::Stage;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// How the demo is played.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Options {
    /// Ends after the table, and does not stay up.
    pub(crate) exit: bool,
    /// Whether the keeper's timer runs: what an operator may turn off, and the demo then fails.
    pub(crate) refresh_timer: bool,
}

/// Plays the demo, prints what came of it, and stays up unless it is told not to.
pub(crate) async fn run(options: Options, output: Output) -> Result<(), Failure> {
    let mut told = Told::listen()?;
    let stage = tokio::select! {
        stage = Stage::set(options.refresh_timer) => stage?,
        () = told.wait() => return Err(Failure::Finding("ended before it began".to_owned())),
    };
    let outcome = tokio::select! {
        played = breaks::play(&stage) => after(played, &stage, options, output, &mut told).await,
        () = told.wait() => Err(Failure::Finding("ended before it was played to the end".to_owned())),
    };
    stage.strike().await;
    outcome
}

async fn after(
    played: Result<Report, Failure>,
    stage: &Stage,
    options: Options,
    output: Output,
    told: &mut Told,
) -> Result<(), Failure> {
    let report = played?;
    output.result(&report, Report::text)?;
    if !options.exit {
        output.next(stage.what_to_try());
        hint("The demo stays up until Ctrl-C.");
        told.wait().await;
    }
    report.verdict()
}

/// The signals that end the demo. All end it alike, so that nothing is left behind.
struct Told([Signal; 3]);

impl Told {
    fn listen() -> Result<Self, Failure> {
        let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        let [interrupt, terminate, hangup] = kinds.map(signal);
        Ok(Self([interrupt?, terminate?, hangup?]))
    }

    async fn wait(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}
