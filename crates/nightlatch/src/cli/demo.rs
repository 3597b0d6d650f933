//! The grammar of the programs that the demo starts.

use clap::{Args, Subcommand};
use std::path::PathBuf;

/// The hidden command that the demo's actors are.
pub(crate) const ACTOR: &str = "demo-part";

/// The programs that the demo starts; each finds its token in `SIM_TOKEN`.
#[derive(Debug, Subcommand)]
pub(crate) enum DemoPart {
    /// A client that holds its tokens itself
    Naive(DemoNaive),
    /// An agent that holds a reference
    Agent(DemoAgent),
}

#[derive(Debug, Args)]
pub(crate) struct DemoNaive {
    /// The provider's address
    #[arg(long)]
    pub(crate) issuer: String,
    /// Its registration there
    #[arg(long)]
    pub(crate) client_id: String,
    /// Its token file
    #[arg(long)]
    pub(crate) file: PathBuf,
    /// Where it writes every byte that it receives
    #[arg(long)]
    pub(crate) transcript: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct DemoAgent {
    /// The API's address
    #[arg(long)]
    pub(crate) url: String,
    /// Where it writes every byte that it receives
    #[arg(long)]
    pub(crate) transcript: PathBuf,
}
