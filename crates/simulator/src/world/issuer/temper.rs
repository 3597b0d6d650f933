//! The tempers of providers: one value for each class that is met outside.

use std::{ops::Range, time::Duration};

/// Whether a refresh brings a new refresh token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rotation {
    /// Each time; the one that came is consumed.
    Always,
    /// Never: the answer has none, and the first one stays good.
    Never,
    /// The answer has none now and then (so often in a million), and the one that came stays good then.
    SometimesNone(u32),
}

/// What a consumed refresh token yields that comes again within the grace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Again {
    /// The same refresh token as before.
    Same,
    /// Another one; both live.
    BothLive,
    /// Another one; the one given before dies.
    LastWins,
}

/// What follows when it comes later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reuse {
    /// That presentation is refused.
    Refused,
    /// The family ends.
    EndsFamily,
}

/// How a provider treats tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Temper {
    /// What its class is called.
    pub name: &'static str,
    /// Whether a refresh brings a new refresh token.
    pub rotation: Rotation,
    /// For so long a consumed token is taken once more.
    pub grace: Duration,
    /// Even then only until what was given for it was used itself.
    pub until_successor_used: bool,
    /// What it yields.
    pub again: Again,
    /// What follows later.
    pub reuse: Reuse,
    /// Whether a refresh ends the earlier access tokens.
    pub old_access_dies: bool,
    /// How long an access token lives.
    pub access: Duration,
    /// How long it says that one lives; none where it says nothing.
    pub says: Option<Duration>,
    /// An unused refresh token dies after so long.
    pub idle: Option<Duration>,
    /// Living families of one account; a further consent ends the oldest.
    pub families_of_account: Option<usize>,
    /// How long a request at the token endpoint takes, in milliseconds.
    pub takes_millis: Range<u64>,
    /// 503 before the token is looked at, in a million.
    pub turns_away: u32,
    /// 502 after the refresh was done, in a million.
    pub denies_what_it_did: u32,
}

const HOUR: Duration = Duration::from_secs(3600);

impl Temper {
    /// Rotation each time, no grace, a reuse ends the family.
    #[must_use]
    pub const fn strict() -> Self {
        Self {
            name: "strict",
            rotation: Rotation::Always,
            grace: Duration::ZERO,
            until_successor_used: true,
            again: Again::Same,
            reuse: Reuse::EndsFamily,
            old_access_dies: false,
            access: HOUR,
            says: Some(HOUR),
            idle: None,
            families_of_account: None,
            takes_millis: 20..400,
            turns_away: 0,
            denies_what_it_did: 0,
        }
    }

    /// A grace of so many seconds, in which the same token is given again.
    #[must_use]
    pub const fn graced(name: &'static str, secs: u64) -> Self {
        Self { name, grace: Duration::from_secs(secs), until_successor_used: false, ..Self::strict() }
    }

    /// Every class that is met outside, by name.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let strict = Self::strict;
        vec![
            strict(),
            Self::graced("grace-60s", 60),
            Self::graced("grace-10m", 600),
            Self::graced("grace-30m", 1800),
            Self { name: "idempotent", grace: Duration::MAX, ..strict() },
            Self { name: "old-token-dies", old_access_dies: true, ..strict() },
            Self { name: "last-wins", grace: Duration::MAX, again: Again::LastWins, ..strict() },
            Self { name: "both-live", again: Again::BothLive, ..Self::graced("", 600) },
            Self { name: "count-cap", families_of_account: Some(2), ..strict() },
            Self { name: "slow", takes_millis: 2_000..140_000, ..strict() },
            Self { name: "flaky", turns_away: 200_000, ..strict() },
            Self { name: "denies-what-it-did", denies_what_it_did: 60_000, ..Self::graced("", 1800) },
            Self { name: "lying", access: Duration::from_secs(600), ..strict() },
            Self { name: "silent-on-life", says: None, ..strict() },
            Self { name: "refresh-omitted", rotation: Rotation::Never, reuse: Reuse::Refused, ..strict() },
            Self { name: "rotates-sometimes", rotation: Rotation::SometimesNone(500_000), ..strict() },
        ]
    }
}
