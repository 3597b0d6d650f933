//! One step of a schema, whichever engine's.

/// One step of the schema.
#[derive(Clone, Copy)]
pub(crate) struct Migration {
    pub(crate) sql: &'static str,
    pub(crate) kind: Kind,
}

/// What a step is to a program that does not know it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It only adds: every statement of an older version still runs and means what it meant, and what the older version does
    /// not know of it may be left out.
    Expand,
    /// It takes away, gives another meaning, or adds what every program must heed: an older version must not run any more.
    Contract,
}

impl Kind {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Expand => "expand",
            Self::Contract => "contract",
        }
    }
}

/// A step that only adds.
pub(crate) const fn expand(sql: &'static str) -> Migration {
    Migration { sql, kind: Kind::Expand }
}

/// A step that an older version must not run beside.
pub(crate) const fn contract(sql: &'static str) -> Migration {
    Migration { sql, kind: Kind::Contract }
}

/// FNV-1a of 64 bits: it tells an edited file from the one that was applied; it defends against nobody.
pub(crate) fn checksum(text: &str) -> String {
    let sum = text
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |sum, byte| (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    format!("{sum:016x}")
}
