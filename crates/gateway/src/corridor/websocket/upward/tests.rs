//! Proves that an agent's frames reach the tool one by one under fresh keys, and that nothing else does.

use super::{Keys, Stopped, Upward};
use crate::corridor::{
    body::Counted,
    websocket::frame::{Fault, Head, Mask, Opcode},
};
use bytes::{BufMut as _, BytesMut};

struct Numbered(u8);

impl Keys for Numbered {
    fn next(&mut self) -> Result<[u8; 4], Stopped> {
        self.0 = self.0.checked_add(1).ok_or(Stopped::NoEntropy)?;
        Ok([self.0, 2, 3, 4])
    }
}

fn frame(fin: bool, opcode: Opcode, key: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let mut out = BytesMut::new();
    Head { fin, opcode, len: payload.len() as u64, mask: Some(key) }.write(&mut out);
    let mut payload = payload.to_vec();
    Mask::new(key).apply(&mut payload);
    out.put_slice(&payload);
    out.to_vec()
}

fn upward(first: u8) -> (Upward<Numbered>, Counted) {
    let counted = Counted::undigested();
    (Upward::new(Numbered(first), counted.clone()), counted)
}

/// What goes out for what is read in pieces of `piece` bytes.
fn passed(bytes: &[u8], piece: usize) -> (Result<bool, Stopped>, Vec<u8>) {
    let ((mut up, _), mut read, mut out) = (upward(0), BytesMut::new(), BytesMut::new());
    let mut told = Ok(false);
    for part in bytes.chunks(piece) {
        read.put_slice(part);
        told = up.pass(&mut read, &mut out);
        if told.is_err() {
            break;
        }
    }
    (told, out.to_vec())
}

#[test]
fn each_frame_leaves_as_it_came_under_a_fresh_key() {
    let theirs = [9, 9, 9, 9];
    let sent = [
        frame(false, Opcode::Text, theirs, b"one "),
        frame(true, Opcode::Ping, theirs, b"are you there"),
        frame(true, Opcode::Continuation, theirs, b"message"),
        frame(true, Opcode::Close, theirs, b"\x03\xe8done"),
    ];
    let wanted = [
        frame(false, Opcode::Text, [1, 2, 3, 4], b"one "),
        frame(true, Opcode::Ping, [2, 2, 3, 4], b"are you there"),
        frame(true, Opcode::Continuation, [3, 2, 3, 4], b"message"),
        frame(true, Opcode::Close, [4, 2, 3, 4], b"\x03\xe8done"),
    ];
    for piece in [1, 2, 3, 7, 1000] {
        assert_eq!(passed(&sent.concat(), piece), (Ok(true), wanted.concat()), "{piece}");
    }
}

#[test]
fn what_breaks_the_protocol_goes_no_further() {
    let fine = frame(true, Opcode::Text, [9; 4], b"fine");
    let unmasked = [0x81, 0x01, b'x'];
    let (told, out) = passed(&[&fine[..], &unmasked].concat(), 1000);
    assert_eq!(told, Err(Stopped::Fault(Fault::Mask)));
    assert_eq!(out, frame(true, Opcode::Text, [1, 2, 3, 4], b"fine"));
}

#[test]
fn without_randomness_nothing_leaves() {
    let ((mut up, _), mut out) = (upward(u8::MAX), BytesMut::new());
    let mut read = BytesMut::from(&frame(true, Opcode::Text, [9; 4], b"hello")[..]);
    assert_eq!(up.pass(&mut read, &mut out), Err(Stopped::NoEntropy));
    assert!(out.is_empty());
}

#[test]
fn payloads_are_counted_and_a_close_completes_them() {
    let ((mut up, counted), mut out) = (upward(0), BytesMut::new());
    let mut read = BytesMut::from(&frame(true, Opcode::Binary, [9; 4], &[0; 300])[..]);
    assert_eq!(up.pass(&mut read, &mut out), Ok(false));
    assert_eq!(counted.with(|tally| (tally.bytes, tally.complete)), (300, false));
    let mut read = BytesMut::from(&frame(true, Opcode::Close, [9; 4], b"")[..]);
    assert_eq!(up.pass(&mut read, &mut out), Ok(true));
    assert_eq!(counted.with(|tally| (tally.bytes, tally.complete)), (300, true));
}
