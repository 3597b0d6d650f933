//! The set: for each secret the hashes of its units, its bytes as a class, and nothing that spells it.
//!
//! Two kinds of secret go in. One that the reader of the set holds in clear anyway goes in whole. Of any
//! [other](Sought::Other) one only units go in that nobody can guess (62 bits by their characters), so that no
//! easy stretch (a vendor's prefix, an account's number, a JWT's header) leads into the rest a character at a
//! time. A secret that is hexadecimal, four bits a character, goes in as the bytes that it stands for.
//! What a JWT's header and claims say is no secret and common to many: of a JWT the signature goes in.

mod make;
mod written;

use crate::hash::{Filter, Keys};
pub use crate::hash::{KEY_BYTES, WINDOW};
use zeroize::Zeroizing;

/// Bytes of secrets that one set takes, the first first; a later secret that does not fit is left out. The longest real tokens
/// have two or three thousand, and hashes of four times this fit the filters at an eighth of their bits.
pub const SECRETS_MAX_BYTES: usize = 16 * 1024;

/// A secret to be sought.
#[derive(Clone, Copy)]
pub enum Sought<'a> {
    /// The reader of the set holds it in clear.
    Held(&'a [u8]),
    /// The reader of the set must not learn it.
    Other(&'a [u8]),
}

/// What is sought, as keyed hashes. Wiped when it goes.
pub struct WindowSet {
    pub(crate) keys: Keys,
    pub(crate) plain: Filter,
    pub(crate) coded: Filter,
    pub(crate) prints: Zeroizing<Vec<u64>>,
    pub(crate) alphabet: Alphabet,
}

impl WindowSet {
    /// The windows of these secrets, the most important first, under fresh random keys. Also says how many
    /// secrets were left out for want of room.
    #[must_use]
    pub fn of(keys: &[u8; KEY_BYTES], secrets: &[Sought<'_>]) -> (Self, usize) {
        make::make(keys, secrets)
    }

    /// A set that finds nothing.
    #[must_use]
    pub fn empty() -> Self {
        make::make(&[0; KEY_BYTES], &[]).0
    }

    /// The set as bytes.
    #[must_use]
    pub fn encode(&self) -> Zeroizing<Vec<u8>> {
        written::encode(self)
    }

    /// Reads what [`WindowSet::encode`] wrote; none for anything else.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        written::decode(bytes)
    }

    /// Whether nothing is sought.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.prints.is_empty()
    }
}

/// Which bytes stand in secrets.
#[derive(Default, Clone)]
pub(crate) struct Alphabet {
    bits: [u64; 4],
}

impl Alphabet {
    pub(crate) fn add(&mut self, byte: u8) {
        if let Some(word) = self.bits.get_mut(usize::from(byte / 64)) {
            *word |= 1 << (byte % 64);
        }
    }

    pub(crate) fn has(&self, byte: u8) -> bool {
        self.bits.get(usize::from(byte / 64)).is_some_and(|word| (word >> (byte % 64)) & 1 != 0)
    }

    pub(crate) fn lowest(&self) -> Option<u8> {
        (0..=u8::MAX).find(|byte| self.has(*byte))
    }

    pub(crate) fn highest(&self) -> Option<u8> {
        (0..=u8::MAX).rev().find(|byte| self.has(*byte))
    }
}

#[cfg(test)]
mod tests;
