//! `demo`: the four breaks on this machine; and the hidden command that its actors are.

use crate::{cli, demo, error::Failure, output::Output};

/// Plays the demo with as many threads as there are cores: the provider is in this process.
pub(super) fn run(asked: &cli::Demo, output: Output) -> Result<(), Failure> {
    let options = demo::Options { exit: asked.exit, refresh_timer: asked.refresh_timer.is_on() };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(demo::run(options, output))
}
