//! Frames (RFC 6455 §5), sans-io: bytes in, heads and payload out, and nothing gathered.
//!
//! A library was weighed. What there is reads a frame or a message whole before it hands anything on, which is the
//! memory that a stranger grows, and repairs or passes what a filter must refuse. What is needed here is small: the
//! head, the mask, and the rules about what may follow what. A payload passes in pieces as it comes, and only a
//! control frame, which is 125 bytes at most, is waited for.
//!
//! Extensions are never agreed upon, so every bit that one would give a meaning to is refused.

use bytes::{Buf as _, BufMut as _, BytesMut};

/// §5.5: a control frame's payload.
const CONTROL_MAX_BYTES: u64 = 125;

/// Who sent a frame. §5.1: a client masks every frame, a server none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Agent,
    Tool,
}

/// §5.2: what a frame is. Any other code fails the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Opcode {
    Continuation = 0x0,
    Text = 0x1,
    Binary = 0x2,
    Close = 0x8,
    Ping = 0x9,
    Pong = 0xA,
}

impl Opcode {
    const fn read(nibble: u8) -> Option<Self> {
        Some(match nibble {
            0x0 => Self::Continuation,
            0x1 => Self::Text,
            0x2 => Self::Binary,
            0x8 => Self::Close,
            0x9 => Self::Ping,
            0xA => Self::Pong,
            _ => return None,
        })
    }

    const fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

/// How a side broke the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    /// §5.2: RSV1 to RSV3 are zero where no extension gives them a meaning.
    #[error("a reserved bit is set")]
    Reserved,
    /// §5.2.
    #[error("an unknown opcode")]
    Opcode,
    /// §5.1.
    #[error("a frame of a client without a mask, or one of a server with it")]
    Mask,
    /// §5.2: the minimal number of bytes, and no sign bit.
    #[error("a length that is not written in its one form")]
    Length,
    /// §5.5: at most 125 bytes, in one fragment.
    #[error("a control frame that is too long or fragmented")]
    Control,
    /// §5.4: the fragments of one message come one after the other.
    #[error("a fragment that continues nothing, or a message inside of another")]
    Fragment,
    /// §5.5.1 and §7.4.
    #[error("a close frame that says nothing that may be said")]
    Close,
}

/// A frame's head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    /// The last fragment of its message.
    pub(super) fin: bool,
    pub(super) opcode: Opcode,
    pub(super) len: u64,
    /// The masking key; none where it is not masked.
    pub(super) mask: Option<[u8; 4]>,
}

impl Head {
    /// Takes a head off the front of `bytes`; none where it is not whole yet.
    fn take(bytes: &mut BytesMut, from: Side) -> Result<Option<Self>, Fault> {
        let mut rest: &[u8] = bytes;
        let Some((first, second)) = take_u8(&mut rest).zip(take_u8(&mut rest)) else { return Ok(None) };
        if first & 0x70 != 0 {
            return Err(Fault::Reserved);
        }
        let opcode = Opcode::read(first & 0x0f).ok_or(Fault::Opcode)?;
        let (fin, is_masked) = (first & 0x80 != 0, second & 0x80 != 0);
        if is_masked != (from == Side::Agent) {
            return Err(Fault::Mask);
        }
        let Some(len) = length(second & 0x7f, &mut rest)? else { return Ok(None) };
        if opcode.is_control() && (!fin || len > CONTROL_MAX_BYTES) {
            return Err(Fault::Control);
        }
        let mask = match is_masked {
            true => match rest.split_first_chunk::<4>() {
                Some((key, after)) => {
                    rest = after;
                    Some(*key)
                }
                None => return Ok(None),
            },
            false => None,
        };
        let taken = bytes.len() - rest.len();
        bytes.advance(taken);
        Ok(Some(Self { fin, opcode, len, mask }))
    }

    /// Writes it, its length in the one form that there is (§5.2).
    pub(super) fn write(&self, out: &mut BytesMut) {
        out.put_u8(self.opcode as u8 | if self.fin { 0x80 } else { 0 });
        let masked = if self.mask.is_some() { 0x80 } else { 0 };
        match (u8::try_from(self.len), u16::try_from(self.len)) {
            (Ok(len @ ..126), _) => out.put_u8(masked | len),
            (_, Ok(len)) => {
                out.put_u8(masked | 126);
                out.put_u16(len);
            }
            _ => {
                out.put_u8(masked | 127);
                out.put_u64(self.len);
            }
        }
        out.put_slice(self.mask.as_ref().map_or(&[], |key| &key[..]));
    }
}

fn take_u8(rest: &mut &[u8]) -> Option<u8> {
    let (first, after) = rest.split_first()?;
    *rest = after;
    Some(*first)
}

/// §5.2: seven bits, or 126 and two bytes, or 127 and eight, whichever is the shortest.
fn length(seven: u8, rest: &mut &[u8]) -> Result<Option<u64>, Fault> {
    let (len, least) = match seven {
        126 => {
            let Some((bytes, after)) = rest.split_first_chunk::<2>() else { return Ok(None) };
            *rest = after;
            (u64::from(u16::from_be_bytes(*bytes)), 126)
        }
        127 => {
            let Some((bytes, after)) = rest.split_first_chunk::<8>() else { return Ok(None) };
            *rest = after;
            (u64::from_be_bytes(*bytes), 1 << 16)
        }
        len => (u64::from(len), 0),
    };
    // The most significant bit is zero.
    if len < least || len >> 63 != 0 { Err(Fault::Length) } else { Ok(Some(len)) }
}

/// A mask over a payload that comes in pieces (§5.3).
pub(super) struct Mask([u8; 4]);

impl Mask {
    pub(super) const fn new(key: [u8; 4]) -> Self {
        Self(key)
    }

    /// Masks or unmasks the next piece, which is the same.
    pub(super) fn apply(&mut self, piece: &mut [u8]) {
        for four in piece.chunks_mut(4) {
            for (byte, key) in four.iter_mut().zip(self.0) {
                *byte ^= key;
            }
        }
        self.0.rotate_left(piece.len() % 4);
    }
}

/// What comes of the bytes of one side.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// A frame of a message begins.
    Begins(Head),
    /// A piece of its payload, unmasked.
    Payload(BytesMut),
    /// It ends.
    Ends,
    /// A control frame, whole.
    Control(Opcode, BytesMut),
}

/// Reads the frames of one side.
pub(super) struct Frames {
    from: Side,
    state: State,
    /// A message was begun and not finished.
    in_message: bool,
}

enum State {
    Head,
    /// A frame of a message, and how much of it is to come.
    Message {
        left: u64,
        mask: Mask,
    },
    Control(Head),
    /// It has closed (§5.5.1): whatever it sends is not read.
    Closed,
}

impl Frames {
    pub(super) const fn new(from: Side) -> Self {
        Self { from, state: State::Head, in_message: false }
    }

    /// Whether this side has closed.
    pub(super) const fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    /// What the bytes at the front are, which are taken off; none where more must come.
    ///
    /// # Errors
    /// [`Fault`]: from here on nothing that this side sends means anything.
    pub(super) fn next(&mut self, bytes: &mut BytesMut) -> Result<Option<Event>, Fault> {
        match &mut self.state {
            State::Closed => Ok(None),
            State::Head => match Head::take(bytes, self.from)? {
                Some(head) => self.begin(head, bytes),
                None => Ok(None),
            },
            State::Control(head) => {
                let head = *head;
                self.control(head, bytes)
            }
            State::Message { left: 0, .. } => {
                self.state = State::Head;
                Ok(Some(Event::Ends))
            }
            State::Message { left, mask } => {
                let here = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                if here == 0 {
                    return Ok(None);
                }
                let mut piece = bytes.split_to(here);
                *left -= here as u64;
                if self.from == Side::Agent {
                    mask.apply(&mut piece);
                }
                Ok(Some(Event::Payload(piece)))
            }
        }
    }

    fn begin(&mut self, head: Head, bytes: &mut BytesMut) -> Result<Option<Event>, Fault> {
        if head.opcode.is_control() {
            return self.control(head, bytes);
        }
        if (head.opcode == Opcode::Continuation) != self.in_message {
            return Err(Fault::Fragment);
        }
        self.in_message = !head.fin;
        self.state = State::Message { left: head.len, mask: Mask::new(head.mask.unwrap_or_default()) };
        Ok(Some(Event::Begins(head)))
    }

    fn control(&mut self, head: Head, bytes: &mut BytesMut) -> Result<Option<Event>, Fault> {
        let len = usize::try_from(head.len).unwrap_or(usize::MAX);
        if bytes.len() < len {
            self.state = State::Control(head);
            return Ok(None);
        }
        let mut payload = bytes.split_to(len);
        if let Some(key) = head.mask {
            Mask::new(key).apply(&mut payload);
        }
        self.state = State::Head;
        if head.opcode == Opcode::Close {
            check_close(&payload)?;
            self.state = State::Closed;
        }
        Ok(Some(Event::Control(head.opcode, payload)))
    }
}

/// §5.5.1: nothing, or a code of two bytes and a reason in UTF-8.
fn check_close(payload: &[u8]) -> Result<(), Fault> {
    match payload.split_first_chunk::<2>() {
        None if payload.is_empty() => Ok(()),
        Some((code, reason)) if may_be_sent(u16::from_be_bytes(*code)) => {
            std::str::from_utf8(reason).map(drop).map_err(|_| Fault::Close)
        }
        _ => Err(Fault::Close),
    }
}

/// §7.4: the codes of the protocol and its registry that may stand in a frame (1004 is reserved; 1005, 1006 and 1015
/// are for what no frame said), those of libraries and those of applications.
const fn may_be_sent(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

#[cfg(any(test, feature = "fuzzing"))]
mod said;
#[cfg(feature = "fuzzing")]
pub(crate) use said::said;

#[cfg(test)]
mod tests;
