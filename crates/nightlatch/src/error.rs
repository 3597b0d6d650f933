//! What a command fails with: one sentence for a person, with what to do next.

use nightlatch_companion::sandbox::SandboxError;
use nightlatch_control::{ClientError, api::ApiProblem};
use std::{io, path::PathBuf};

/// Why a command was not carried out.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The server's no, or no server.
    #[error("{0}")]
    Api(#[from] ClientError),
    /// The data folder is not what it should be.
    #[error("{0}")]
    Place(#[from] crate::place::PlaceError),
    /// The configuration is refused.
    #[error("{0}")]
    Config(#[from] crate::config::ConfigError),
    /// A file that the operator wrote is refused: file, line, what is wrong, what to write.
    #[error("{0}")]
    BadFile(String),
    /// A file cannot be read.
    #[error("`{path}` cannot be read: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A listener cannot be opened.
    #[error("{0}")]
    Listen(#[from] crate::up::ListenError),
    /// The command cannot be carried out as it was written.
    #[error("{0}")]
    Usage(String),
    /// Something that is not built.
    #[error("`{what}` is not supported in this version (not-supported); {instead}")]
    NotSupported {
        /// What.
        what: &'static str,
        /// What to do instead.
        instead: &'static str,
    },
    /// The database, or a copy of it, cannot be used.
    #[error("{0}")]
    Store(String),
    /// What was asked about is not well; the result was printed.
    #[error("{0}")]
    Finding(String),
    /// A human, or the system, ended an import.
    #[error(
        "stopped; what was taken in goes on by itself. Run the same command over the same lines to bring in the rest: what is there is not done twice"
    )]
    Interrupted,
    /// An import could not be carried on.
    #[error(
        "{0}; what was taken in goes on by itself. Run the same command over the same lines again: what is there is not done twice"
    )]
    BrokenOff(String),
    /// A part of the server did not start.
    #[error("{0}")]
    Start(String),
    /// The sandbox of `run` cannot be made, or its program not be started.
    #[error("{0}")]
    Sandbox(#[from] SandboxError),
    /// A stage of that sandbox.
    #[error("{0}")]
    Stage(#[from] nightlatch_companion::sandbox::StageError),
    /// The companion of `run`.
    #[error("{0}")]
    Companion(#[from] nightlatch_companion::CompanionError),
    /// The program that `run` ran ended with this code, which is passed on; it said itself why.
    #[error("the program ended with {0}")]
    Ended(u8),
    /// The terminal or a pipe failed.
    #[error("standard input or output failed: {0}")]
    Terminal(#[from] io::Error),
}

impl Failure {
    /// The code that the process ends with.
    pub(crate) const fn code(&self) -> u8 {
        match self {
            Self::Ended(code) | Self::Sandbox(SandboxError::NotStarted { code, .. }) => *code,
            // As a shell says it of a program that Ctrl-C ended.
            Self::Interrupted => 130,
            _ => 1,
        }
    }

    /// The failure as a problem, for `--json`.
    pub(crate) fn problem(&self) -> ApiProblem {
        if let Self::Api(ClientError::Refused(problem)) = self {
            return problem.clone();
        }
        let (slug, title) = match self {
            Self::Api(ClientError::Silent) => ("not-running", "Nightlatch does not run"),
            Self::Api(_) => ("api-broken", "no usable answer"),
            Self::Place(_) => ("data-folder", "the data folder is refused"),
            Self::Config(_) => ("configuration", "the configuration is refused"),
            Self::BadFile(_) => ("bad-file", "the file is refused"),
            Self::File { .. } => ("file", "a file cannot be read"),
            Self::Listen(_) => ("listen", "a listener cannot be opened"),
            Self::Usage(_) => ("usage", "the command cannot be carried out so"),
            Self::NotSupported { .. } => ("not-supported", "this is not supported yet"),
            Self::Store(_) => ("store", "the database cannot be used"),
            Self::Finding(_) => ("finding", "not well"),
            Self::Interrupted => ("interrupted", "stopped"),
            Self::BrokenOff(_) => ("broken-off", "the import broke off"),
            Self::Start(_) => ("start", "Nightlatch did not start"),
            Self::Sandbox(_) | Self::Stage(_) => ("sandbox", "the sandbox failed"),
            Self::Companion(_) => ("companion", "the companion failed"),
            Self::Ended(_) => ("program-ended", "the program failed"),
            Self::Terminal(_) => ("terminal", "input or output failed"),
        };
        ApiProblem {
            r#type: format!("https://nightlatch.dev/problems/{slug}"),
            title: title.to_owned(),
            status: 0,
            detail: self.to_string(),
        }
    }
}
