//! The walls around a program that `run` starts.
//!
//! The program is taken to be hostile: whatever it can reach of its user's, it will use. Where the machine allows, it
//! runs in a user, mount, pid, network and IPC namespace of its own. Inside there is loopback and on it the companion's
//! listener, opened there and handed out as a descriptor, so that nobody else can connect and nothing else can be
//! connected to. The file system is the user's own, read-only, with what holds credentials or speaks for the user
//! covered (`walls`). It sees no process but its own. It gains no privileges and cannot type into the terminal.
//!
//! Where there are no namespaces, Landlock keeps it from the same files and from TCP ports other than the companion's,
//! and what that leaves open is told to the user: [`Advice`].
//!
//! **Not held.** A kernel fault; another program of the same user that is asked to help from the working folder (a hook
//! that a human runs there later); what a shell's start-up files hold in clear; a credential file outside the known
//! places; a Unix socket that another program of the user opens in a place that is shown, once the walls stand. What
//! comes to lie in a known place later is not seen; where the home folder cannot be made anew, that is [`Advice`] too.
//!
//! No step needs `unsafe`: what must happen between `fork` and `exec` happens in a stage of its own, which is this
//! program started again (`stage`).

mod calls;
mod fence;
mod hidden;
mod init;
mod loopback;
mod mounts;
mod orders;
mod prepare;
mod refusal;
mod signals;
mod stage;
mod walls;
mod wire;

pub use orders::Ended;
pub use prepare::{Prepared, Running, prepare};
pub use stage::{STAGE, stage};

use serde::{Deserialize, Serialize};
use std::{ffi::OsString, fmt, io, path::PathBuf};

/// How much of what the walls promise this machine can hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Strength {
    /// Namespaces of its own: nothing but the companion can be reached, and all that must be hidden is.
    Strong,
    /// Landlock, a password and the peer's UID: the rest is advice that the program may ignore.
    Weak,
    /// No wall at all.
    None,
}

impl Strength {
    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Strong => "strong",
            Self::Weak => "weak",
            Self::None => "none",
        }
    }
}

/// What the walls are to stand around.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The user's home folder, where the known places are hidden.
    pub home: PathBuf,
    /// Where programs keep their configuration, where that is not `.config` below it.
    pub configuration: PathBuf,
    /// The working folder, which stays writable.
    pub work: PathBuf,
    /// A private temporary folder, which stays writable. It is there already.
    pub scratch: PathBuf,
    /// What else is hidden: our own data and state, and what the user's environment names.
    pub hidden: Vec<PathBuf>,
    /// The user's own mask of file modes.
    pub umask: u32,
    /// Whether there are to be walls at all.
    pub confined: bool,
}

/// A program, and all of its environment.
#[derive(Debug, Clone)]
pub struct Program {
    /// Its name or path.
    pub program: OsString,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// Its environment; nothing is inherited.
    pub environment: Vec<(OsString, OsString)>,
}

/// What is not held, and only advised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Advice {
    /// There are no namespaces, and why.
    NoNamespaces(String),
    /// No wall was wanted.
    Unconfined,
    /// TCP is open.
    Network,
    /// TCP is open to one port number, and listens where the kernel chooses.
    NetworkByPort,
    /// Unix sockets by path.
    Sockets,
    /// The list of processes, and memory that they share.
    Processes,
    /// Files.
    Files,
    /// The length of files.
    Truncation,
    /// Signals and abstract sockets.
    Signals,
    /// The user is root.
    Root,
    /// The working folder holds the home folder.
    HomeIsWritable,
    /// The working folder lies where programs keep what they do by.
    ConfigurationIsWritable,
    /// The working folder holds something that is hidden.
    HiddenBelow,
    /// Unix sockets that come later.
    LateSockets,
    /// Unix sockets that lie among more than was looked at.
    UnseenSockets,
    /// Credentials that come later.
    LateCredentials,
    /// This very program, which lies in the working folder.
    OwnProgram,
    /// The memory of other processes.
    Memory,
    /// Modes, owners, times and attributes of files.
    Modes,
    /// Other terminals.
    Terminals,
}

impl fmt::Display for Advice {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::NoNamespaces(reason) => {
                return write!(out, "this machine gives no namespaces ({reason}); only advisory here:");
            }
            Self::Unconfined => {
                "nothing is enforced without the sandbox; files, network, sockets and other processes: only advisory"
            }
            Self::Network => {
                "network: TCP connections around the proxy, and listening for others, are not stopped"
            }
            Self::NetworkByPort => {
                "network: TCP connections to the proxy's port number at other addresses, and listening at a port that the kernel chooses, are not stopped"
            }
            Self::Sockets => "sockets: Docker, D-Bus, ssh-agent and the like can be connected to",
            Self::Processes => {
                "processes: their list can be read, and System V memory be used that they share"
            }
            Self::Files => "files: credentials in your home folder can be read, and all of your files written",
            Self::Truncation => "files: your files outside of the working folder can be emptied",
            Self::Signals => "signals: your other processes can be ended, and abstract sockets connected to",
            Self::Root => "you are root: what only root may read can be read; run it as an ordinary user",
            Self::HomeIsWritable => {
                "the working folder holds your home folder: the program can change what your shell runs at its start"
            }
            Self::ConfigurationIsWritable => {
                "the working folder holds configuration: the program can change what other programs of yours do"
            }
            Self::HiddenBelow => {
                "the working folder holds something that is hidden; what the program makes beside it stays"
            }
            Self::LateSockets => {
                "sockets: one that another program of yours opens below your home folder from now on can be connected to"
            }
            Self::UnseenSockets => {
                "sockets: there is more below your home folder than was looked at; one that lies deep in it can be connected to"
            }
            Self::LateCredentials => {
                "files: credentials that come to lie below your home or the working folder from now on can be read"
            }
            Self::OwnProgram => {
                "files: `nightlatch` itself lies in the working folder, and the program can put another in its place"
            }
            Self::Memory => "processes: the memory and the environment of your other processes can be read",
            Self::Modes => "files: modes, times and attributes of all of your files can be changed",
            Self::Terminals => "terminals: what you type in your other terminals can be read",
        })
    }
}

/// Why there is no sandbox, or no longer.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The working folder cannot be one.
    #[error(
        "`{0}` cannot be the working folder: the sandbox hides it, or it is the machine's; change to another"
    )]
    Folder(PathBuf),
    /// The program did not start.
    #[error("cannot run `{program}`: {why}")]
    NotStarted {
        /// Its name.
        program: String,
        /// As a shell would exit.
        code: u8,
        /// What the system said.
        why: String,
    },
    /// Walls that this machine has cannot be raised now.
    #[error(
        "the sandbox cannot be raised: {0}; end what is in its way, or run without one (`--unconfined`) where you trust the program"
    )]
    Walls(String),
    /// The sandbox ended without a word.
    #[error("the sandbox ended before its program did; everything in it was killed")]
    Lost,
    /// The system refused something that it gives everybody.
    #[error("the sandbox cannot be made: {0}")]
    System(#[from] io::Error),
}

/// Why a stage ended.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// Only `run` starts stages.
    #[error("`{0}` is no stage of the sandbox; use `nightlatch run`")]
    Unknown(String),
    /// It was not told what to do.
    #[error("this is a stage of the sandbox and was not told what to do; use `nightlatch run`")]
    Unordered,
    /// The line to `run` failed.
    #[error("the line to `nightlatch run` failed: {0}")]
    Line(#[from] io::Error),
}
