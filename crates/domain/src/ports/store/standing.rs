//! How a history stands: its era, its last move, and whose logs were held against it.

use super::FeedMark;
use crate::id::KeeperId;
use serde::{Deserialize, Serialize};

/// A keeper whose log knows what may have been presented.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registered {
    /// The keeper.
    pub keeper: KeeperId,
    /// The newest era in which its log was held against the database; 0 where it was in none yet.
    pub compared: u64,
    /// Whether its log knows this history, or another keeper's that does vouched for it.
    pub vouched: bool,
}

/// How a history stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Its era. Nothing is claimed in an era before the log of every registered keeper was compared in it.
    pub era: u64,
    /// Whether another server of the database took over since the era began, which may lack the last transactions. Nothing is
    /// claimed then before the next era. A store in a file never says so.
    pub took_over: bool,
    /// Its last move.
    pub mark: FeedMark,
    /// Every keeper that was registered, oldest first.
    pub keepers: Vec<Registered>,
}
