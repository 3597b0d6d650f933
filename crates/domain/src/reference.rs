//! The reference: the only thing that an agent ever holds.
//!
//! `nlr_` + 32 base62 characters from the system's generator + 6 of the CRC-32 over them. It is no
//! secret and identifies nobody: admission says who calls, the reference only says which grant is
//! meant. The checksum lets a scanner, or the gateway, tell a reference from a truncated one.
//!
//! Some clients insist on a shape (`ghp_…`). A manifest may declare one ([`Shape`]); the core then is
//! cut to the declared length, never under 22 characters, which hold 130 bits.

use serde::{Deserialize, Serialize};
use std::fmt;

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const CORE_LEN: usize = 32;
const CHECK_LEN: usize = 6;
/// 22 base62 characters hold 130 bits; fewer could be guessed in time.
const CORE_MIN: usize = 22;

/// Why a text is no reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// It does not look like one at all.
    #[error("not a reference")]
    Malformed,
    /// It looks like one, and its checksum is wrong: truncated or mistyped.
    #[error("a reference that was cut or mistyped: its checksum does not fit")]
    Checksum,
}

/// The canonical reference of a grant: `nlr_`, 32 characters, 6 of checksum.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Reference(String);

impl Reference {
    /// What every canonical reference begins with.
    pub const PREFIX: &'static str = "nlr_";

    /// Draws a reference; `draw` gives random bytes, of which those under 248 are used (so that each
    /// character is equally likely).
    ///
    /// # Errors
    /// Whatever `draw` fails with.
    pub fn draw<E>(mut draw: impl FnMut() -> Result<[u8; 64], E>) -> Result<Self, E> {
        let mut core = String::with_capacity(CORE_LEN);
        while core.len() < CORE_LEN {
            let bytes = draw()?;
            let fair = bytes.iter().filter(|byte| **byte < 248);
            let letters = fair.filter_map(|byte| ALPHABET.get(usize::from(byte % 62)));
            core.extend(letters.map(|byte| char::from(*byte)).take(CORE_LEN - core.len()));
        }
        let check = checksum(&core);
        Ok(Self(format!("{}{core}{check}", Self::PREFIX)))
    }

    /// Reads a canonical reference.
    ///
    /// # Errors
    /// [`ReferenceError`], which holds nothing of the text.
    pub fn parse(text: &str) -> Result<Self, ReferenceError> {
        let body = text.strip_prefix(Self::PREFIX).ok_or(ReferenceError::Malformed)?;
        if body.len() != CORE_LEN + CHECK_LEN || !body.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Err(ReferenceError::Malformed);
        }
        let (core, check) = body.split_at(CORE_LEN);
        if checksum(core) == check { Ok(Self(text.to_owned())) } else { Err(ReferenceError::Checksum) }
    }

    /// The text as an agent holds it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The random part.
    #[must_use]
    pub fn core(&self) -> &str {
        self.0.get(Self::PREFIX.len()..Self::PREFIX.len() + CORE_LEN).unwrap_or_default()
    }

    /// This reference in the shape that a client insists on.
    #[must_use]
    pub fn shaped(&self, shape: &Shape) -> String {
        format!("{}{}{}", shape.prefix, self.core().get(..shape.core_len).unwrap_or_default(), shape.suffix)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl fmt::Debug for Reference {
    /// A reference is no secret, yet it has no business in a log: only its first characters show.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}…", self.0.get(..8).unwrap_or_default())
    }
}

impl TryFrom<String> for Reference {
    type Error = ReferenceError;
    fn try_from(text: String) -> Result<Self, ReferenceError> {
        Self::parse(&text)
    }
}

impl From<Reference> for String {
    fn from(reference: Reference) -> Self {
        reference.0
    }
}

/// A shape that a client insists on: `ghp_{core:36}` is prefix `ghp_` and 32 characters of core.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Shape {
    prefix: String,
    core_len: usize,
    suffix: String,
}

/// Why a text declares no usable shape.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no shape: write `prefix{{core:N}}suffix` with N from 22 to 32")]
pub struct ShapeError(String);

impl Shape {
    /// Reads `prefix{core:N}suffix`.
    ///
    /// # Errors
    /// [`ShapeError`] where the braces, the number or its bounds are wrong.
    pub fn parse(text: &str) -> Result<Self, ShapeError> {
        let wrong = || ShapeError(text.to_owned());
        let (prefix, rest) = text.split_once("{core:").ok_or_else(wrong)?;
        let (number, suffix) = rest.split_once('}').ok_or_else(wrong)?;
        let core_len = number.parse::<usize>().map_err(|_| wrong())?;
        let plain = |part: &str| part.bytes().all(|byte| byte.is_ascii_graphic() && !b"{}".contains(&byte));
        if !(CORE_MIN..=CORE_LEN).contains(&core_len) || !plain(prefix) || !plain(suffix) {
            return Err(wrong());
        }
        Ok(Self { prefix: prefix.to_owned(), core_len, suffix: suffix.to_owned() })
    }

    /// The part of a core that `text` shows, where `text` has this shape.
    #[must_use]
    pub fn core_of<'a>(&self, text: &'a str) -> Option<&'a str> {
        let core = text.strip_prefix(self.prefix.as_str())?.strip_suffix(self.suffix.as_str())?;
        (core.len() == self.core_len && core.bytes().all(|byte| byte.is_ascii_alphanumeric())).then_some(core)
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}{{core:{}}}{}", self.prefix, self.core_len, self.suffix)
    }
}

impl TryFrom<String> for Shape {
    type Error = ShapeError;
    fn try_from(text: String) -> Result<Self, ShapeError> {
        Self::parse(&text)
    }
}

impl From<Shape> for String {
    fn from(shape: Shape) -> Self {
        shape.to_string()
    }
}

fn checksum(core: &str) -> String {
    let mut rest = crc32(core.as_bytes());
    let mut letters = [b'0'; CHECK_LEN];
    for letter in letters.iter_mut().rev() {
        *letter = ALPHABET.get((rest % 62) as usize).copied().unwrap_or(b'0');
        rest /= 62;
    }
    letters.iter().map(|byte| char::from(*byte)).collect()
}

/// CRC-32 as in ISO-HDLC (the one of zlib and GitHub's tokens): reflected 0x04C11DB7.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg()))
    })
}

#[cfg(test)]
mod tests {
    use super::{Reference, ReferenceError, Shape, crc32};
    use proptest::prelude::{any, proptest};

    fn drawn(byte: u8) -> Reference {
        let mut counter = byte;
        Reference::draw(|| {
            counter = counter.wrapping_add(1);
            let start = counter;
            Ok::<_, ()>(std::array::from_fn(|place| start.wrapping_mul(31).wrapping_add(place as u8)))
        })
        .unwrap()
    }

    #[test]
    fn the_checksum_is_the_published_crc32() {
        // The check value of CRC-32/ISO-HDLC for the digits 1 to 9.
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
    }

    #[test]
    fn a_mistyped_reference_is_told_from_a_foreign_text() {
        let reference = drawn(3);
        let mut text = reference.as_str().to_owned();
        let last = text.pop().unwrap();
        text.push(if last == 'a' { 'b' } else { 'a' });
        assert_eq!(Reference::parse(&text), Err(ReferenceError::Checksum));
        assert_eq!(Reference::parse("ghp_abc"), Err(ReferenceError::Malformed));
        assert_eq!(Reference::parse(reference.as_str()), Ok(reference));
    }

    #[test]
    fn a_shape_keeps_at_least_128_bits() {
        assert!(Shape::parse("ghp_{core:21}").is_err());
        assert!(Shape::parse("ghp_{core:33}").is_err());
        let shape = Shape::parse("xoxb-{core:24}").unwrap();
        let reference = drawn(9);
        let shaped = reference.shaped(&shape);
        assert_eq!(shape.core_of(&shaped), reference.core().get(..24));
        assert_eq!(shape.core_of("xoxb-short"), None);
    }

    #[test]
    fn debug_shows_no_whole_reference() {
        let reference = drawn(1);
        assert!(!format!("{reference:?}").contains(reference.core()));
    }

    proptest! {
        #[test]
        fn every_drawn_reference_reads_back(seed in any::<u8>()) {
            let reference = drawn(seed);
            assert_eq!(Reference::parse(reference.as_str()), Ok(reference));
        }

        #[test]
        fn no_text_makes_the_reader_fail(text in ".{0,60}") {
            let _ = Reference::parse(&text);
            let _ = Shape::parse(&text);
        }
    }
}
