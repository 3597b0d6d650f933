//! What makes an answer less durable than it is said to be.
//!
//! A refresh token that was consumed at its provider and is not on a disk here is lost for good, so a store says what it
//! cannot promise: some settings forbid that anybody is served, others are named to the operator.

/// A setting of the database by which something that was answered may be lost.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Weakness {
    /// PostgreSQL does not wait for its disk at all.
    #[error(
        "`fsync` is off: a crash of the machine loses what was answered and may damage the rest; turn it on"
    )]
    FsyncOff,
    /// PostgreSQL cannot mend a page that a crash left half written.
    #[error("`full_page_writes` is off: a crash of the machine may damage what is stored; turn it on")]
    FullPageWritesOff,
    /// The server is a copy that nobody can write to.
    #[error("the database is a standby: name the primary")]
    Standby,
    /// Copies follow at their own pace.
    #[error(
        "{0} standbys follow asynchronously: a failover to one forgets the last refreshes, and those connections ask their \
         humans; name them in `synchronous_standby_names`"
    )]
    AsynchronousStandbys(u32),
    /// Copies follow, and this login may not see how.
    #[error(
        "how {0} standbys follow cannot be seen, and a failover to one that follows asynchronously forgets the last refreshes; \
         grant `pg_read_all_stats` to the planes' logins"
    )]
    UnseenStandbys(u32),
    /// SQLite does not wait for its disk at every commit.
    #[error("SQLite's `synchronous` is below FULL: a crash of the machine loses what was answered")]
    SynchronousBelowFull,
    /// SQLite has no write-ahead file here.
    #[error("SQLite cannot keep a write-ahead file here: put the data folder on a local file system")]
    NoWriteAhead,
}

impl Weakness {
    /// A stable name, for programs.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::FsyncOff => "fsync-off",
            Self::FullPageWritesOff => "full-page-writes-off",
            Self::Standby => "standby",
            Self::AsynchronousStandbys(_) => "asynchronous-standbys",
            Self::UnseenStandbys(_) => "standbys-unseen",
            Self::SynchronousBelowFull => "synchronous-below-full",
            Self::NoWriteAhead => "no-write-ahead",
        }
    }

    /// Whether nobody must be served over such a database. A failover is the operator's choice: it is named, and what it
    /// forgets is found out and asked for again.
    #[must_use]
    pub const fn forbids_serving(&self) -> bool {
        !matches!(self, Self::AsynchronousStandbys(_) | Self::UnseenStandbys(_))
    }

    /// Whether it is only not known that all is well.
    #[must_use]
    pub const fn is_unseen(&self) -> bool {
        matches!(self, Self::UnseenStandbys(_))
    }
}
