//! A body in chunks (RFC 9112 §7.1), followed byte by byte without being looked into.
//!
//! A size is hexadecimal digits and nothing else: no extension, which some readers end at another byte than others,
//! no white space, no zero before the first digit, and no more digits than fit. What follows the last chunk is the
//! empty line; fields there are trailers, which nobody carries.

use super::fault::Fault;

/// The longest size, in digits: any number of so many fits 64 bits.
const SIZE_MAX_DIGITS: u8 = 15;

/// Where in the chunks it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Chunks {
    Size {
        digits: u8,
        size: u64,
    },
    /// The CR behind a size is there.
    SizeEnd {
        size: u64,
    },
    /// Bytes of a chunk that are missing.
    Data(u64),
    /// The chunk is whole, and its line's end is missing.
    DataEnd,
    /// Its CR is there.
    DataLf,
    /// The last chunk has passed, and the empty line is missing.
    LastEnd,
    /// Its CR is there.
    LastLf,
}

/// How far it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reached {
    Within,
    End,
    Fault(Fault),
}

impl Chunks {
    pub(super) const fn new() -> Self {
        Self::Size { digits: 0, size: 0 }
    }

    /// Follows the chunks as far as `bytes` go; what stands before a fault counts as read.
    pub(super) fn read(&mut self, bytes: &[u8]) -> (usize, Reached) {
        let mut at = 0;
        while let Some(byte) = bytes.get(at) {
            if let Self::Data(missing) = self {
                let there = bytes.len() - at;
                let moved = usize::try_from(*missing).map_or(there, |missing| missing.min(there));
                *missing -= moved as u64;
                at += moved;
                if *missing == 0 {
                    *self = Self::DataEnd;
                }
                continue;
            }
            match self.after(*byte) {
                Ok(Some(next)) => *self = next,
                Ok(None) => return (at + 1, Reached::End),
                Err(fault) => return (at, Reached::Fault(fault)),
            }
            at += 1;
        }
        (at, Reached::Within)
    }

    /// Where one byte of the framing leads; none past the last.
    fn after(self, byte: u8) -> Result<Option<Self>, Fault> {
        Ok(Some(match (self, byte) {
            (Self::Size { digits: 1.., size }, b'\r') => Self::SizeEnd { size },
            (Self::Size { digits, size }, _) => Self::digit(digits, size, byte)?,
            (Self::SizeEnd { size: 0 }, b'\n') => Self::LastEnd,
            (Self::SizeEnd { size }, b'\n') => Self::Data(size),
            (Self::DataEnd, b'\r') => Self::DataLf,
            (Self::DataLf, b'\n') => Self::new(),
            (Self::LastEnd, b'\r') => Self::LastLf,
            (Self::LastLf, b'\n') => return Ok(None),
            (Self::LastEnd, byte) if byte.is_ascii_graphic() => return Err(Fault::Trailers),
            _ => return Err(Fault::Chunk),
        }))
    }

    fn digit(digits: u8, size: u64, byte: u8) -> Result<Self, Fault> {
        let digit = char::from(byte).to_digit(16).ok_or(Fault::Chunk)?;
        // A zero is a size by itself, and never stands before other digits.
        if digits == SIZE_MAX_DIGITS || (digits > 0 && size == 0) {
            return Err(Fault::Chunk);
        }
        Ok(Self::Size { digits: digits + 1, size: size << 4 | u64::from(digit) })
    }
}
