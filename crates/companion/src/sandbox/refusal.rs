//! Why the walls of namespaces were not raised, and whether weaker ones may stand in for them.
//!
//! They may only where this machine never gives namespaces: the kernel has none, the administrator or a container
//! forbids them. What a program can bring about (a limit that it used up, a folder that it made unreadable) is an
//! error: else the last run would choose the walls of the next one.

use serde::{Deserialize, Serialize};
use std::{fs, io};

/// Where the kernel counts namespaces of each kind down from (namespaces(7)).
const LIMITS: [&str; 5] = [
    "/proc/sys/user/max_user_namespaces",
    "/proc/sys/user/max_mnt_namespaces",
    "/proc/sys/user/max_pid_namespaces",
    "/proc/sys/user/max_net_namespaces",
    "/proc/sys/user/max_ipc_namespaces",
];

/// What was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Refusal {
    pub(super) why: String,
    /// Whether this machine never lets the walls be raised, whatever its programs do.
    pub(super) never: bool,
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        Self { why: error.to_string(), never: false }
    }
}

impl From<String> for Refusal {
    fn from(why: String) -> Self {
        Self { why, never: false }
    }
}

/// Whether the kernel says so for good: it may not, or it cannot.
pub(super) fn is_never(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidInput, PermissionDenied, Unsupported};
    matches!(error.kind(), PermissionDenied | InvalidInput | Unsupported)
}

/// Whether the administrator allows none of some kind.
pub(super) fn none_allowed() -> bool {
    LIMITS.iter().any(|path| fs::read_to_string(path).is_ok_and(|limit| limit.trim() == "0"))
}

#[cfg(test)]
mod tests {
    //! Proves that what is used up is not taken for what is not there.

    use super::is_never;
    use std::io;

    #[test]
    fn what_is_used_up_is_not_what_is_not_there() {
        for (number, never) in
            [(1, true), (13, true), (22, true), (38, true), (28, false), (11, false), (87, false)]
        {
            assert_eq!(is_never(&io::Error::from_raw_os_error(number)), never, "{number}");
        }
    }
}
