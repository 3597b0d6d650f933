//! What a side said, in one value: for those who hold one reading of the same bytes against another.

use super::{Event, Fault, Frames, Opcode, Side};
use bytes::{BufMut as _, BytesMut};

/// The longest head, and the longest control frame behind one: what may wait for more.
const WAITING_MAX_BYTES: usize = 14 + 125;

/// Every frame of one side, whole, in the order in which each was begun, up to where it broke the protocol.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) frames: Vec<Frame>,
    pub(crate) fault: Option<Fault>,
}

/// One frame.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) fin: bool,
    pub(crate) opcode: Opcode,
    pub(crate) payload: Vec<u8>,
    /// All of it came.
    pub(crate) is_whole: bool,
}

/// Reads one side's bytes, in the pieces that they come in.
pub(crate) fn said<'a>(from: Side, pieces: impl IntoIterator<Item = &'a [u8]>) -> Said {
    let (mut frames, mut unread, mut said) = (Frames::new(from), BytesMut::new(), Said::default());
    for piece in pieces {
        unread.put_slice(piece);
        loop {
            match frames.next(&mut unread) {
                Ok(Some(event)) => said.note(event),
                Ok(None) => break,
                Err(fault) => {
                    said.fault = Some(fault);
                    return said;
                }
            }
        }
        assert!(frames.is_closed() || unread.len() < WAITING_MAX_BYTES, "bytes are gathered");
    }
    said
}

impl Said {
    fn note(&mut self, event: Event) {
        let begun = self.frames.last_mut().filter(|frame| !frame.is_whole);
        match (event, begun) {
            (Event::Begins(head), None) => {
                let (fin, opcode) = (head.fin, head.opcode);
                self.frames.push(Frame { fin, opcode, payload: Vec::new(), is_whole: false });
            }
            (Event::Payload(piece), Some(frame)) => frame.payload.extend_from_slice(&piece),
            (Event::Ends, Some(frame)) => frame.is_whole = true,
            (Event::Control(opcode, payload), None) => {
                self.frames.push(Frame { fin: true, opcode, payload: payload.to_vec(), is_whole: true });
            }
            (event, begun) => unreachable!("{event:?} inside of {begun:?}"),
        }
    }
}
