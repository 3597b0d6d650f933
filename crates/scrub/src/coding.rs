//! Content codings (RFC 9110 §8.4.1): what a tool compressed is read, scrubbed, and handed on as it is.
//!
//! A decoder takes pieces as they come and gives pieces of bounded size, so memory is its window and one piece,
//! whatever was sent; a body that expands without end ends here. `zstd` is not among the codings: the decoder in
//! Rust keeps back a whole window (up to megabytes) until a stream is over, and an event would not reach its reader.

use brotli_decompressor::Decompressor;
use bytes::{Buf as _, Bytes};
use flate2::bufread::{MultiGzDecoder, ZlibDecoder};
use std::io::{self, BufRead, ErrorKind, Read};

/// What is given at once.
const PIECE_BYTES: usize = 32 * 1024;
/// What brotli reads at once.
const BROTLI_INPUT_BYTES: usize = 4 * 1024;
/// How often longer than what came an answer may be, once it is past [`SMALL_BYTES`]. Tables and logs reach 50;
/// deflate can 1 032, brotli any.
const EXPANSION_MAX: u64 = 256;
/// An answer up to here may be as regular as it likes.
const SMALL_BYTES: u64 = 1024 * 1024;

/// A coding that is read here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coding {
    /// `gzip`.
    Gzip,
    /// `deflate`: the zlib format.
    Deflate,
    /// `br`. Its window may be 16 MiB.
    Brotli,
}

impl Coding {
    /// All of them, in the order in which they are asked for.
    pub const ALL: [Self; 3] = [Self::Gzip, Self::Deflate, Self::Brotli];

    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
            Self::Brotli => "br",
        }
    }

    /// The coding of that name; RFC 9110 §8.4.1.3: `x-gzip` is `gzip`.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let name = name.trim();
        if name.eq_ignore_ascii_case("x-gzip") {
            return Some(Self::Gzip);
        }
        Self::ALL.into_iter().find(|coding| name.eq_ignore_ascii_case(coding.as_str()))
    }
}

/// Why a coded body is not read on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CodingError {
    /// It is not what its coding says, or it ended too early.
    #[error("the body is not in the coding that its head names")]
    Broken,
    /// It expands too far.
    #[error("the body expands beyond what is read")]
    Bomb,
}

/// A coded body on its way.
pub struct Decoder {
    reader: Reader,
    came: u64,
    gave: u64,
}

impl Decoder {
    /// A body that begins.
    #[must_use]
    pub fn new(coding: Coding) -> Self {
        let feed = Feed::default();
        let reader = match coding {
            Coding::Gzip => Reader::Gzip(Box::new(MultiGzDecoder::new(feed))),
            Coding::Deflate => Reader::Deflate(Box::new(ZlibDecoder::new(feed))),
            Coding::Brotli => Reader::Brotli(Box::new(Decompressor::new(feed, BROTLI_INPUT_BYTES))),
        };
        Self { reader, came: 0, gave: 0 }
    }

    /// Takes the next piece. [`Decoder::take`] has given all of the one before by then.
    pub fn push(&mut self, piece: Bytes) {
        self.came = self.came.saturating_add(piece.len() as u64);
        self.reader.feed().piece = piece;
    }

    /// Nothing more comes.
    pub fn end(&mut self) {
        self.reader.feed().is_over = true;
    }

    /// What is certain by now, a piece at a time; none where more is needed, or all was given.
    ///
    /// # Errors
    /// [`CodingError`]; then nothing more is given.
    pub fn take(&mut self) -> Result<Option<Bytes>, CodingError> {
        let mut piece = vec![0; PIECE_BYTES];
        let count = match self.reader.read(&mut piece) {
            Ok(0) => return Ok(None),
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
            Err(_) => return Err(CodingError::Broken),
        };
        self.gave = self.gave.saturating_add(count as u64);
        if self.gave > SMALL_BYTES && self.gave / EXPANSION_MAX > self.came {
            return Err(CodingError::Bomb);
        }
        piece.truncate(count);
        Ok(Some(piece.into()))
    }
}

/// What came and was not read yet. Where there is nothing, whoever reads is to come again.
#[derive(Default)]
struct Feed {
    piece: Bytes,
    is_over: bool,
}

impl BufRead for Feed {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        match self.piece.is_empty() && !self.is_over {
            true => Err(ErrorKind::WouldBlock.into()),
            false => Ok(&self.piece),
        }
    }

    fn consume(&mut self, count: usize) {
        self.piece.advance(count.min(self.piece.len()));
    }
}

impl Read for Feed {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.fill_buf()?.read(into)?;
        self.consume(count);
        Ok(count)
    }
}

enum Reader {
    Gzip(Box<MultiGzDecoder<Feed>>),
    Deflate(Box<ZlibDecoder<Feed>>),
    Brotli(Box<Decompressor<Feed>>),
}

impl Reader {
    fn feed(&mut self) -> &mut Feed {
        match self {
            Self::Gzip(reader) => reader.get_mut(),
            Self::Deflate(reader) => reader.get_mut(),
            Self::Brotli(reader) => reader.get_mut(),
        }
    }

    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Gzip(reader) => reader.read(into),
            Self::Deflate(reader) => reader.read(into),
            Self::Brotli(reader) => reader.read(into),
        }
    }
}

#[cfg(test)]
mod tests;
