//! What a plane remembers of the feed, to know a database that was put back from a copy.

use serde::{Deserialize, Serialize};

/// One move of the feed's counter row. Every write that another plane sees moves it, every intent and every commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FeedMark {
    /// Counts the moves, from 0 for a database that is new. Not the number of a change: most moves are none.
    pub number: u64,
    /// Drawn by that move: a history that was put back and went on has another one under the same number.
    pub random: [u8; 16],
}

/// What a history says of a mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Recalled {
    /// It holds that very move.
    Held,
    /// It holds another under that number, or has not come so far: it is not the history that was seen.
    Other,
    /// So long ago that the store no longer knows.
    TooOld,
}
