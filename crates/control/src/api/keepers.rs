//! Bodies about keepers: who is registered, what holds them up, what a human said about one.

use super::schema::dto;
use nightlatch_domain::{clock::Timestamp, id::KeeperId, tool::Name};

dto! {
    /// The registered keepers.
    KeepersReport {
        /// The database's era.
        era: u64,
        /// They, oldest first.
        keepers: Vec<KeeperView>,
        /// Connections that are in quarantine because a log does not vouch for them.
        unvouched: u64,
    }

    /// A registered keeper.
    KeeperView {
        /// Its id: that of its log.
        id: KeeperId,
        /// What its operator calls it, where that is known.
        name: Option<Name>,
        /// Whether it answers now.
        at_work: bool,
        /// When its log was begun.
        since: Timestamp,
        /// The newest era in which its log was held against the database.
        compared: u64,
        /// Whether its log knows this history, or somebody vouched for it.
        vouched: bool,
        /// What waits for it: `nothing`, `itself` or `all`.
        holds_up: String,
        /// Why, and what to do about it.
        advice: Option<String>,
    }

    /// A human vouched for a keeper.
    KeeperAdopted {
        /// Which.
        id: KeeperId,
        /// So many chains came out of quarantine.
        released: u64,
        /// So many did not: the log knows of something that the database does not.
        contradicted: u64,
    }

    /// A keeper is forgotten.
    KeeperForgotten {
        /// Which.
        id: KeeperId,
        /// Whether its log had not been held against the database as it is now.
        behind: bool,
        /// So many chains are left to their humans for it.
        quarantined: u64,
    }
}
