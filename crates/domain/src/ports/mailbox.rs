//! How the planes speak where they are processes: letters, which lie as rows in the one database.
//!
//! A letter is sealed to the process that it is for and signed by the plane that wrote it, so that whoever reads the
//! database learns nothing and whoever writes it says nothing: it can lose, delay and repeat, and what is repeated or
//! too old is refused by whoever it is for. A [`Card`] says which process is there and what is sealed to it; it is
//! signed in the same way. Only `custody` makes or opens any of them.
//!
//! A letter is taken out once. One that still lies there was seen by nobody: whoever wrote it may take it back and ask
//! elsewhere. A letter need not outlive a crash: who waits for an answer asks again.

use super::{Boxed, store::Stored};
use crate::{
    clock::Timestamp,
    id::PeerId,
    sealed::{Sealed, SealingKey},
    tool::Name,
};
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// The longest letter, in characters of what is sealed: a lease and what must not come back of a connection are a
/// tenth of it.
pub const LETTER_MAX_CHARS: usize = 1024 * 1024;
/// Letters that may lie there for one process: as many as calls may be under way at one gateway.
pub const WAITING_MAX: u32 = 1024;

/// What a process is in an installation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Carries agents' calls.
    Gateway,
    /// Answers humans.
    Control,
    /// Holds the credentials.
    Keeper,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 3] = [Self::Gateway, Self::Control, Self::Keeper];

    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Control => "control",
            Self::Keeper => "keeper",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

/// The word is none of the roles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a role is `gateway`, `control` or `keeper`")]
pub struct NoRole;

impl FromStr for Role {
    type Err = NoRole;

    fn from_str(word: &str) -> Result<Self, NoRole> {
        Self::ALL.into_iter().find(|role| role.as_str() == word).ok_or(NoRole)
    }
}

/// Who is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Card {
    /// The process. Drawn at its start.
    pub peer: PeerId,
    /// What it is.
    pub role: Role,
    /// What its operator calls it.
    pub name: Name,
    /// Letters for it are sealed to this. Drawn at its start, kept in memory only.
    pub key: SealingKey,
    /// The plane's signature over all of that, base64url.
    pub signature: String,
}

/// A card, and how often its process has said since that it lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Present {
    /// The card, as it lies there.
    pub card: Card,
    /// Grows as long as the process lives.
    pub beats: u64,
}

/// Which letter: no process writes two by one number to one other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LetterPlace {
    /// Whom it is for.
    pub to: PeerId,
    /// Who wrote it.
    pub from: PeerId,
    /// Which of theirs it is.
    pub number: u64,
}

/// A message on its way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Letter {
    /// Which.
    pub place: LetterPlace,
    /// The number of the letter that it answers, where it does.
    pub answers: Option<u64>,
    /// Nobody acts on it afterwards.
    pub expires_at: Timestamp,
    /// What it says, sealed to the key on the receiver's card.
    pub sealed: Sealed,
    /// The writing plane's signature over all of that, base64url.
    pub signature: String,
}

/// What became of a letter that was posted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Posted {
    /// It lies there.
    Lies,
    /// Too many lie there for its receiver.
    Full,
    /// Nobody of that name is there.
    Absent,
}

/// The mailbox of an installation. It neither seals nor opens, and believes nothing.
pub trait Mailbox: Send + Sync {
    /// Says that a process is there.
    fn arrive(&self, card: Card) -> Stored<'_, ()>;
    /// Says that it lives; `false` where its card is gone, and it has to arrive again.
    fn beat(&self, peer: PeerId) -> Stored<'_, bool>;
    /// Takes its card away, and every letter for it.
    fn leave(&self, peer: PeerId) -> Stored<'_, ()>;
    /// Who is there. A card that cannot be read is none.
    fn present(&self) -> Stored<'_, Vec<Present>>;
    /// Posts a letter. One by a number that lies there already is [`StoreError::Exists`](super::store::StoreError::Exists),
    /// one that is too long [`StoreError::Corrupt`](super::store::StoreError::Corrupt).
    fn post(&self, letter: Letter) -> Stored<'_, Posted>;
    /// Takes out what lies there for a process, at most `limit`, in the order of each writer's numbers. What is too long or cannot be
    /// read is thrown away.
    fn collect(&self, to: PeerId, limit: u32) -> Stored<'_, Vec<Letter>>;
    /// Takes a letter back; `false` where it was taken out.
    fn withdraw(&self, letter: LetterPlace) -> Stored<'_, bool>;
    /// Throws away what nobody took out and expired before then. Answers how many there were.
    fn throw_away(&self, expired_before: Timestamp) -> Stored<'_, u64>;
    /// Answers when something may lie there for a process, or after `within_millis`. Only saves a poll.
    fn arrived(&self, to: PeerId, within_millis: u64) -> Boxed<'_, ()>;
}
