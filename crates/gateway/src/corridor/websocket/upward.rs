//! From the agent to the tool: each frame as it came, under a mask of our own.
//!
//! §5.3: the key is fresh for each frame and comes from a strong source; the agent's own is of the agent's choice,
//! and whoever chooses both mask and payload chooses the bytes on the wire.

use super::frame::{Event, Fault, Frames, Head, Mask, Side};
use crate::corridor::body::Counted;
use bytes::BytesMut;

/// Gives masking keys.
pub(super) trait Keys: Send {
    /// The next key.
    ///
    /// # Errors
    /// [`Stopped::NoEntropy`].
    fn next(&mut self) -> Result<[u8; 4], Stopped>;
}

/// Why no further frame passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Stopped {
    /// The agent broke the protocol.
    #[error("the agent sent {0}")]
    Fault(#[from] Fault),
    /// There is no randomness for a mask.
    #[error("the system gives no random bytes")]
    NoEntropy,
}

/// Passes the agent's frames on.
pub(super) struct Upward<K> {
    frames: Frames,
    keys: K,
    /// Over the frame that is under way.
    mask: Mask,
    /// The payloads, in order.
    counted: Counted,
}

impl<K: Keys> Upward<K> {
    pub(super) const fn new(keys: K, counted: Counted) -> Self {
        Self { frames: Frames::new(Side::Agent), keys, mask: Mask::new([0; 4]), counted }
    }

    /// Takes what was read, as far as it makes sense, and writes what is to be sent. True once the agent has closed.
    ///
    /// # Errors
    /// [`Stopped`].
    pub(super) fn pass(&mut self, read: &mut BytesMut, out: &mut BytesMut) -> Result<bool, Stopped> {
        while let Some(event) = self.frames.next(read)? {
            match event {
                Event::Begins(head) => self.begin(head, out)?,
                Event::Payload(piece) => self.payload(piece, out),
                Event::Ends => {}
                Event::Control(opcode, payload) => {
                    let head = Head { fin: true, opcode, len: payload.len() as u64, mask: None };
                    self.begin(head, out)?;
                    self.payload(payload, out);
                }
            }
        }
        if self.frames.is_closed() {
            self.counted.complete();
        }
        Ok(self.frames.is_closed())
    }

    fn begin(&mut self, head: Head, out: &mut BytesMut) -> Result<(), Stopped> {
        let key = self.keys.next()?;
        self.mask = Mask::new(key);
        Head { mask: Some(key), ..head }.write(out);
        Ok(())
    }

    fn payload(&mut self, mut piece: BytesMut, out: &mut BytesMut) {
        self.counted.add(&piece);
        self.mask.apply(&mut piece);
        out.extend_from_slice(&piece);
    }
}

#[cfg(test)]
mod tests;
