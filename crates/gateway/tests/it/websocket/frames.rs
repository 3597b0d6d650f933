//! Frames as a test writes and reads them, by hand.

use crate::client::Wire;

/// What an agent masks with here.
pub(super) const AGENTS_MASK: [u8; 4] = [1, 2, 3, 4];

/// A frame.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) fin: bool,
    pub(super) opcode: u8,
    pub(super) mask: Option<[u8; 4]>,
    pub(super) payload: Vec<u8>,
}

fn head(first: u8, len: usize, masked: u8) -> Vec<u8> {
    match len {
        ..126 => vec![first, masked | len as u8],
        126..65_536 => [&[first, masked | 126][..], &(len as u16).to_be_bytes()].concat(),
        _ => [&[first, masked | 127][..], &(len as u64).to_be_bytes()].concat(),
    }
}

/// A frame of a tool.
pub(super) fn plain(first: u8, payload: &[u8]) -> Vec<u8> {
    [head(first, payload.len(), 0), payload.to_vec()].concat()
}

/// A frame of an agent.
pub(super) fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let bytes: Vec<u8> =
        payload.iter().zip(AGENTS_MASK.iter().cycle()).map(|(byte, key)| byte ^ key).collect();
    [head(first, payload.len(), 0x80), AGENTS_MASK.to_vec(), bytes].concat()
}

/// The frame at the front, and how long it is.
pub(super) fn read(bytes: &[u8]) -> Option<(Frame, usize)> {
    let (first, second) = (*bytes.first()?, *bytes.get(1)?);
    let (len, mut at) = match second & 0x7f {
        126 => (usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().unwrap())), 4),
        127 => (u64::from_be_bytes(bytes.get(2..10)?.try_into().unwrap()) as usize, 10),
        len => (usize::from(len), 2),
    };
    let mask: Option<[u8; 4]> = match second & 0x80 {
        0 => None,
        _ => {
            at += 4;
            Some(bytes.get(at - 4..at)?.try_into().unwrap())
        }
    };
    let key = mask.unwrap_or_default();
    let payload = bytes.get(at..at + len)?;
    let payload = payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key).collect();
    Some((Frame { fin: first & 0x80 != 0, opcode: first & 0x0f, mask, payload }, at + len))
}

/// The next frame that an agent gets; none where the connection ended.
pub(super) async fn frame(wire: &mut Wire) -> Option<Frame> {
    let mut bytes = wire.bytes(2).await?;
    loop {
        if let Some((frame, _)) = read(&bytes) {
            assert_eq!(frame.mask, None, "a masked frame came to the agent");
            return Some(frame);
        }
        let lacks = match bytes[1] {
            126 if bytes.len() < 4 => 4 - bytes.len(),
            127 if bytes.len() < 10 => 10 - bytes.len(),
            126 => 4 + usize::from(u16::from_be_bytes(bytes[2..4].try_into().unwrap())) - bytes.len(),
            127 => 10 + u64::from_be_bytes(bytes[2..10].try_into().unwrap()) as usize - bytes.len(),
            len => 2 + usize::from(len) - bytes.len(),
        };
        bytes.extend(wire.bytes(lacks).await?);
    }
}

/// The next message, or the next control frame, whole; none where the connection ended.
pub(super) async fn message(wire: &mut Wire) -> Option<(u8, Vec<u8>)> {
    let first = frame(wire).await?;
    let (opcode, mut payload, mut fin) = (first.opcode, first.payload, first.fin);
    while !fin {
        let next = frame(wire).await?;
        assert_eq!(next.opcode, 0, "no continuation");
        payload.extend(next.payload);
        fin = next.fin;
    }
    Some((opcode, payload))
}

/// The next message, and the control frames that came between its fragments.
pub(super) async fn interleaved(wire: &mut Wire) -> (Vec<(u8, Vec<u8>)>, (u8, Vec<u8>)) {
    let (mut controls, mut whole, mut fin) = (Vec::new(), (0, Vec::new()), false);
    while !fin {
        let next = frame(wire).await.unwrap();
        if next.opcode > 7 {
            controls.push((next.opcode, next.payload));
            continue;
        }
        if next.opcode != 0 {
            whole.0 = next.opcode;
        }
        whole.1.extend(next.payload);
        fin = next.fin;
    }
    (controls, whole)
}
