//! From the tool to the agent: scrubbed over the edges of frames and fragments.
//!
//! What scrub holds back, because it may be the beginning of a secret, moves into the next fragment of its message,
//! and is let go with the last one: a message loses nothing and gains nothing, and none waits for the next. So a
//! message in one frame leaves in one frame of the same length, as it comes; one in fragments may leave in others
//! (§5.4 lets an intermediary do that where no extension was agreed upon). A secret that is cut up over *messages*
//! is not put together again here.
//!
//! The payload of a control frame is scrubbed by itself.

use super::frame::{Event, Fault, Frames, Head, Opcode, Side};
use crate::corridor::body::Counted;
use bytes::{Bytes, BytesMut};
use nightlatch_scrub::{Masks, Scrubber};

/// Why no further frame passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Stopped {
    /// The tool broke the protocol.
    #[error("the tool sent {0}")]
    Fault(#[from] Fault),
    /// A mask was longer or shorter than what it covers.
    #[error("scrub changed the length of a message")]
    Length,
}

/// Passes the tool's frames on.
pub(super) struct Downward {
    frames: Frames,
    messages: Scrubber,
    controls: Scrubber,
    leaving: Leaving,
    /// What was passed, in order.
    counted: Counted,
}

/// The message that is under way, as it leaves.
struct Leaving {
    /// What it is called by the next frame that leaves: its kind, then a continuation.
    opcode: Opcode,
    /// What scrub holds back of it.
    held: u64,
    /// What the frame whose head has left still lacks; none where each piece leaves as a frame of its own.
    lacks: Option<u64>,
}

impl Downward {
    pub(super) fn new(masks: Masks, counted: Counted) -> Self {
        Self {
            frames: Frames::new(Side::Tool),
            messages: Scrubber::new(masks.clone()),
            controls: Scrubber::new(masks),
            leaving: Leaving { opcode: Opcode::Continuation, held: 0, lacks: None },
            counted,
        }
    }

    /// Takes what was read, as far as it makes sense, and writes what the agent gets. True once the tool has closed.
    ///
    /// # Errors
    /// [`Stopped`].
    pub(super) fn pass(&mut self, read: &mut BytesMut, out: &mut BytesMut) -> Result<bool, Stopped> {
        while let Some(event) = self.frames.next(read)? {
            match event {
                Event::Begins(head) => self.begin(head, out),
                Event::Payload(piece) => self.payload(piece.freeze(), out)?,
                Event::Ends => self.end(out)?,
                Event::Control(opcode, payload) => self.control(opcode, payload.freeze(), out)?,
            }
        }
        if self.frames.is_closed() {
            self.counted.complete();
        }
        Ok(self.frames.is_closed())
    }

    /// Whether what left until now are whole frames.
    pub(super) const fn is_between(&self) -> bool {
        self.leaving.lacks.is_none()
    }

    /// How many secrets were masked.
    pub(super) fn masked(&self) -> u64 {
        self.messages.masked() + self.controls.masked()
    }

    fn begin(&mut self, head: Head, out: &mut BytesMut) {
        if head.opcode != Opcode::Continuation {
            self.leaving.opcode = head.opcode;
        }
        // Only of the last fragment is it known before its payload how much of the message is to leave.
        if head.fin {
            let lacks = self.leaving.held.saturating_add(head.len);
            self.leaving.head(true, lacks, out);
            self.leaving.lacks = Some(lacks);
        }
    }

    fn payload(&mut self, piece: Bytes, out: &mut BytesMut) -> Result<(), Stopped> {
        let known = self.leaving.held.saturating_add(piece.len() as u64);
        let certain = self.messages.push(piece);
        self.leaving.held = known.checked_sub(certain.len() as u64).ok_or(Stopped::Length)?;
        self.leave(&certain, out)
    }

    fn end(&mut self, out: &mut BytesMut) -> Result<(), Stopped> {
        if self.leaving.lacks.is_none() {
            return Ok(());
        }
        let rest = self.messages.finish();
        self.leave(&rest, out)?;
        self.leaving.held = 0;
        match self.leaving.lacks.take() {
            Some(0) => Ok(()),
            _ => Err(Stopped::Length),
        }
    }

    fn leave(&mut self, bytes: &[u8], out: &mut BytesMut) -> Result<(), Stopped> {
        self.counted.add(bytes);
        match &mut self.leaving.lacks {
            Some(lacks) => *lacks = lacks.checked_sub(bytes.len() as u64).ok_or(Stopped::Length)?,
            None if bytes.is_empty() => return Ok(()),
            None => self.leaving.head(false, bytes.len() as u64, out),
        }
        out.extend_from_slice(bytes);
        Ok(())
    }

    fn control(&mut self, opcode: Opcode, payload: Bytes, out: &mut BytesMut) -> Result<(), Stopped> {
        let len = payload.len();
        let mut clean = BytesMut::from(&self.controls.push(payload)[..]);
        clean.extend_from_slice(&self.controls.finish());
        if clean.len() != len {
            return Err(Stopped::Length);
        }
        // §5.5.1: a reason is UTF-8, also where a mask cut a letter; the code alone says enough.
        let is_cut = |reason: &[u8]| std::str::from_utf8(reason).is_err();
        if opcode == Opcode::Close && clean.get(2..).is_some_and(is_cut) {
            clean.truncate(2);
        }
        self.counted.add(&clean);
        Head { fin: true, opcode, len: clean.len() as u64, mask: None }.write(out);
        out.extend_from_slice(&clean);
        Ok(())
    }
}

impl Leaving {
    /// Writes the head of the next frame of this message.
    fn head(&mut self, fin: bool, len: u64, out: &mut BytesMut) {
        let opcode = std::mem::replace(&mut self.opcode, Opcode::Continuation);
        Head { fin, opcode, len, mask: None }.write(out);
    }
}

#[cfg(test)]
mod tests;
