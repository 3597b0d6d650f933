//! The strict reader: what stands between an agent's bytes and hyper, wherever HTTP/1.1 is spoken.
//!
//! Two programs that end one request in two places are how a request is smuggled past whoever judged it. hyper
//! is a good reader and a forgiving one: it ends lines at a lone LF, drops an equal second `Content-Length` and
//! a length beside `chunked`, skips chunk extensions, cuts off a fragment. What is repaired there, nobody here
//! ever saw. So its bytes pass through this reader first, which repairs nothing: it follows heads, lengths and
//! chunks by the grammar of RFC 9112 without its allowances, releases a head only when it is whole and sound,
//! and stops for good at the first byte that could be read in another way.
//!
//! ```text
//! socket ─► TLS ─► [stream::Strict: Reader] ─► hyper ─► doors
//!                        │ fault                  ▲
//!                        └── a stand-in ──────────┘   one typed refusal, and the connection closes
//! ```
//!
//! [`Reader`] is bytes in, a number out: how many of them may pass. It has no I/O and no clock, allocates
//! nothing, and looks at each byte of a head about once. Whether the input comes in one piece or in many, the
//! same bytes pass and the same fault is found.
//!
//! After a head that asks for another protocol (CONNECT, `Upgrade`) nothing passes until the service has said
//! yes; from then on everything does. A no closes the connection: nobody knows what the bytes behind it meant.

mod chunks;
mod fault;
mod fields;
mod head;
mod stream;
mod target;

use chunks::{Chunks, Reached};
pub(crate) use fault::Fault;
use head::{Content, Head};
pub(crate) use stream::{Gate, Strict};

/// How far a head may grow.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) head_max_bytes: usize,
    pub(crate) fields_max: usize,
}

/// Follows the requests of one connection.
#[derive(Debug)]
pub(crate) struct Reader {
    phase: Phase,
    bounds: Bounds,
}

#[derive(Debug)]
enum Phase {
    /// A head, as far as its lines are whole.
    Head(Head),
    /// A body with a length, of which this much is missing.
    Sized(u64),
    Chunked(Chunks),
    /// Another protocol was asked for, and nobody has answered.
    Asked,
    /// Another protocol is spoken.
    Through,
    Over(Fault),
}

impl Reader {
    pub(crate) const fn new(bounds: Bounds) -> Self {
        Self { phase: Phase::Head(Head::new()), bounds }
    }

    /// How many of these bytes may pass. Those that did not pass are given again, before what came after them.
    pub(crate) fn read(&mut self, bytes: &[u8]) -> usize {
        let mut passed = 0;
        while let Some(rest) = bytes.get(passed..).filter(|rest| !rest.is_empty()) {
            let (moved, next) = self.step(rest);
            passed += moved;
            match next {
                Next::Phase(next) => self.phase = next,
                Next::More => break,
            }
        }
        passed
    }

    /// What stopped it for good.
    pub(crate) const fn fault(&self) -> Option<Fault> {
        match self.phase {
            Phase::Over(fault) => Some(fault),
            _ => None,
        }
    }

    /// Whether everything waits for an answer to CONNECT or `Upgrade`.
    pub(crate) const fn is_asked(&self) -> bool {
        matches!(self.phase, Phase::Asked)
    }

    /// The other protocol was granted.
    pub(crate) fn let_through(&mut self) {
        if self.is_asked() {
            self.phase = Phase::Through;
        }
    }

    /// How far it gets within the phase that it is in.
    fn step(&mut self, bytes: &[u8]) -> (usize, Next) {
        match &mut self.phase {
            Phase::Head(head) => match head.read(bytes, self.bounds) {
                Ok(None) => (0, Next::More),
                Ok(Some((length, content))) => (length, Next::Phase(content.into())),
                Err(fault) => (0, Next::Phase(Phase::Over(fault))),
            },
            Phase::Sized(missing) => {
                let moved = usize::try_from(*missing).map_or(bytes.len(), |missing| missing.min(bytes.len()));
                *missing -= moved as u64;
                (moved, if *missing == 0 { Next::head() } else { Next::More })
            }
            Phase::Chunked(chunks) => match chunks.read(bytes) {
                (moved, Reached::Within) => (moved, Next::More),
                (moved, Reached::End) => (moved, Next::head()),
                (moved, Reached::Fault(fault)) => (moved, Next::Phase(Phase::Over(fault))),
            },
            Phase::Asked | Phase::Over(_) => (0, Next::More),
            Phase::Through => (bytes.len(), Next::More),
        }
    }
}

enum Next {
    Phase(Phase),
    /// It takes bytes that are not there yet.
    More,
}

impl Next {
    const fn head() -> Self {
        Self::Phase(Phase::Head(Head::new()))
    }
}

impl From<Content> for Phase {
    fn from(content: Content) -> Self {
        match content {
            Content::None => Self::Head(Head::new()),
            Content::Sized(length) => Self::Sized(length),
            Content::Chunked => Self::Chunked(Chunks::new()),
            Content::OtherProtocol => Self::Asked,
        }
    }
}

#[cfg(test)]
mod tests;
