//! What fuzzers reach and nobody else: built with the feature `fuzzing` alone.

use crate::{
    answer,
    corridor::{Side, said},
    doors::strict::{Bounds, Reader},
    limits::Limits,
};
use nightlatch_domain::problem::Problem;
use std::fmt::Debug;

/// What the strict reader made of a connection's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Framed {
    /// How many bytes passed.
    pub passed: usize,
    /// Where the fault lies, if one stopped it.
    pub fault: Option<&'static str>,
    /// Whether it waits for an answer to CONNECT or `Upgrade`.
    pub is_asked: bool,
}

/// Reads a connection's bytes, in the pieces that they come in.
pub fn framed<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Framed {
    let limits = Limits::default();
    let bounds = Bounds { head_max_bytes: limits.head_max_bytes, fields_max: limits.headers_max };
    let (mut reader, mut waiting, mut passed) = (Reader::new(bounds), Vec::new(), 0);
    for piece in pieces {
        waiting.extend_from_slice(piece);
        let count = reader.read(&waiting);
        drop(waiting.drain(..count));
        passed += count;
    }
    Framed {
        passed,
        fault: reader.fault().map(crate::doors::strict::Fault::field),
        is_asked: reader.is_asked(),
    }
}

/// What one side of a WebSocket said, frame by frame up to its fault, by the pieces in which its bytes came: something
/// to hold against the same from other pieces.
#[must_use]
pub fn heard(is_agent: bool, pieces: &[&[u8]]) -> impl Debug + PartialEq + use<> {
    said(if is_agent { Side::Agent } else { Side::Tool }, pieces.iter().copied())
}

/// A refusal as bytes of HTTP/1.1.
#[must_use]
pub fn in_plain_http(problem: &Problem) -> Vec<u8> {
    answer::in_plain_http(problem)
}
