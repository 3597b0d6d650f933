//! What `run` orders and what the stages report.

use super::{fence::Fence, refusal::Refusal, walls::Walls};
use serde::{Deserialize, Serialize};
use std::{
    ffi::OsString,
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

/// From `run` to a stage.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Order {
    /// Raise these walls around yourself.
    Walls(Walls),
    /// Run this beside, and tell what it prints.
    Ask(Start),
    /// Run the program; its standard input stands beside.
    Start(Start),
    /// This signal came for the program for so many times.
    Signal {
        /// Which.
        number: i32,
        /// How often so far.
        count: u64,
    },
}

/// From a stage to `run`.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Report {
    /// The namespaces are there; the listener stands beside.
    Listening,
    /// The walls stand.
    Walled,
    /// The walls cannot be raised.
    Refused(Refusal),
    /// What the program that was asked printed.
    Answer(Option<String>),
    /// The program runs.
    Started,
    /// It could not be started.
    NotStarted(NotStarted),
    /// It was stopped, by itself or by the terminal.
    Stopped,
    /// It has ended.
    Ended(Ended),
}

/// Which folder it is, whatever its name comes to mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        let found = fs::metadata(path)?;
        Ok(Self { device: found.dev(), inode: found.ino() })
    }
}

/// A program and what surrounds it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Start {
    pub(super) program: OsString,
    pub(super) arguments: Vec<OsString>,
    /// All of its environment.
    pub(super) environment: Vec<(OsString, OsString)>,
    pub(super) folder: PathBuf,
    /// Which folder that is.
    pub(super) identity: Identity,
    /// What its files are not readable and writable by.
    pub(super) umask: u32,
    /// Landlock, where it stands in for the namespaces.
    pub(super) fence: Option<Fence>,
}

/// Why a program did not start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct NotStarted {
    /// As a shell would exit: 127 where it is not there, 126 where it cannot be run.
    pub(super) code: u8,
    /// What the system said.
    pub(super) why: String,
}

/// How a program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ended {
    /// By itself, with this code.
    Exited(i32),
    /// By this signal.
    Killed(i32),
}

impl Ended {
    /// The exit code that passes it on: the program's own, or 128 and the signal's number.
    #[must_use]
    pub fn code(self) -> u8 {
        let code = match self {
            Self::Exited(code) => code,
            Self::Killed(signal) => 128_i32.saturating_add(signal),
        };
        u8::try_from(code & 0xff).unwrap_or(u8::MAX)
    }
}
