//! The walls around a program that `run` starts.

use serde::{Deserialize, Serialize};

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
