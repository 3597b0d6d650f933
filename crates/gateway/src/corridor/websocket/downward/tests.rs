//! Proves that no secret passes over the edges of frames and fragments, that every message keeps its length and its
//! kind, and that none waits for the next.

use super::{Downward, Stopped};
use crate::corridor::{
    body::Counted,
    websocket::frame::{Event, Fault, Frames, Head, Opcode, Side},
};
use bytes::{BufMut as _, BytesMut};
use nightlatch_scrub::{Masks, Needles, WindowSet};
use proptest::prelude::{Strategy, any, prop_assert_eq, proptest};
use std::sync::Arc;

const SECRET: &str = "CANARY-s3cr3t-0123456789-abcdefghij";

fn downward() -> Downward {
    let needles = Needles::new(vec![SECRET.as_bytes().to_vec().into()]);
    Downward::new(Masks::new(Arc::new(WindowSet::empty()), needles), Counted::undigested())
}

fn frame(fin: bool, opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    let mut out = BytesMut::new();
    Head { fin, opcode, len: payload.len() as u64, mask: None }.write(&mut out);
    out.put_slice(payload);
    out.to_vec()
}

/// A message or a control frame, and the lengths of the frames that it came in.
type Said = (Opcode, Vec<u8>, Vec<u64>);

fn read(bytes: &[u8]) -> Vec<Said> {
    let (mut frames, mut bytes, mut said) =
        (Frames::new(Side::Tool), BytesMut::from(bytes), Vec::<Said>::new());
    let mut open = 0;
    while let Some(event) = frames.next(&mut bytes).expect("what leaves is sound") {
        match event {
            Event::Begins(head) if head.opcode == Opcode::Continuation => said[open].2.push(head.len),
            Event::Begins(head) => {
                open = said.len();
                said.push((head.opcode, Vec::new(), vec![head.len]));
            }
            Event::Payload(piece) => said[open].1.extend_from_slice(&piece),
            Event::Ends => {}
            Event::Control(opcode, payload) => said.push((opcode, payload.to_vec(), Vec::new())),
        }
    }
    assert!(bytes.is_empty() || frames.is_closed(), "a frame is not whole");
    said
}

fn passed(bytes: &[u8], piece: usize) -> (Vec<Said>, u64) {
    let (mut down, mut unread, mut out) = (downward(), BytesMut::new(), BytesMut::new());
    for part in bytes.chunks(piece) {
        unread.put_slice(part);
        down.pass(&mut unread, &mut out).expect("it passes");
    }
    assert!(down.is_between());
    (read(&out), down.masked())
}

fn masked(text: &str) -> Vec<u8> {
    text.replace(SECRET, &"*".repeat(SECRET.len())).into_bytes()
}

#[test]
fn a_message_in_one_frame_leaves_in_one_frame_of_the_same_length() {
    let text = format!("{{\"echo\":\"{SECRET}\"}} and CANARY-s3cr3");
    for piece in [1, 5, 1000] {
        let (said, found) = passed(&frame(true, Opcode::Text, text.as_bytes()), piece);
        assert_eq!(said, [(Opcode::Text, masked(&text), vec![text.len() as u64])], "{piece}");
        assert_eq!(found, 1);
    }
}

#[test]
fn a_secret_over_fragments_is_masked_and_what_is_held_back_moves_on() {
    for cut in 1..SECRET.len() {
        let (left, right) = SECRET.split_at(cut);
        let bytes = [
            frame(false, Opcode::Binary, format!("begin {left}").as_bytes()),
            frame(true, Opcode::Ping, b"between"),
            frame(false, Opcode::Continuation, b""),
            frame(true, Opcode::Continuation, format!("{right} end").as_bytes()),
            frame(true, Opcode::Text, b"next"),
        ];
        let (said, found) = passed(&bytes.concat(), 1000);
        let kinds: Vec<Opcode> = said.iter().map(|one| one.0).collect();
        assert_eq!(kinds, [Opcode::Binary, Opcode::Ping, Opcode::Text], "{cut}");
        assert_eq!(said[0].1, masked(&format!("begin {SECRET} end")), "{cut}");
        assert_eq!((said[1].1.as_slice(), said[2].1.as_slice(), found), (&b"between"[..], &b"next"[..], 1));
    }
}

#[test]
fn what_is_certain_of_a_fragment_leaves_before_the_next_one_comes() {
    let (mut down, mut out) = (downward(), BytesMut::new());
    let mut unread = BytesMut::from(&frame(false, Opcode::Text, b"data: one\n\nCANA")[..]);
    assert_eq!(down.pass(&mut unread, &mut out), Ok(false));
    assert_eq!(out.to_vec(), frame(false, Opcode::Text, b"data: one\n\n"));
    out.clear();
    unread.put_slice(&frame(true, Opcode::Continuation, b""));
    assert_eq!(down.pass(&mut unread, &mut out), Ok(false));
    assert_eq!(out.to_vec(), frame(true, Opcode::Continuation, b"CANA"));
}

#[test]
fn no_message_waits_for_the_next() {
    let (mut down, mut out) = (downward(), BytesMut::new());
    let mut unread = BytesMut::from(&frame(true, Opcode::Text, &SECRET.as_bytes()[..20])[..]);
    assert_eq!(down.pass(&mut unread, &mut out), Ok(false));
    assert_eq!(out.to_vec(), frame(true, Opcode::Text, &SECRET.as_bytes()[..20]));
}

#[test]
fn the_payload_of_a_control_frame_is_scrubbed_too() {
    let reason = format!("bad key {SECRET}");
    let close = [&1008_u16.to_be_bytes()[..], reason.as_bytes()].concat();
    let bytes = [frame(true, Opcode::Ping, SECRET.as_bytes()), frame(true, Opcode::Close, &close)].concat();
    let (said, found) = passed(&bytes, 3);
    assert_eq!(said[0].1, masked(SECRET));
    assert_eq!(said[1].1, [&1008_u16.to_be_bytes()[..], &masked(&reason)].concat());
    assert_eq!(found, 2);
}

#[test]
fn a_large_frame_passes_as_it_comes_and_is_not_gathered() {
    let (mut down, mut out) = (downward(), BytesMut::new());
    let mut unread = BytesMut::from(&frame(true, Opcode::Binary, &[b'x'; 70_000])[..1010]);
    assert_eq!(down.pass(&mut unread, &mut out), Ok(false));
    assert_eq!((unread.len(), out.len(), down.is_between()), (0, 1010, false));
}

#[test]
fn what_breaks_the_protocol_goes_no_further() {
    let (mut down, mut out) = (downward(), BytesMut::new());
    let mut unread = BytesMut::from(&[0x81, 0x81, 0, 0, 0, 0, b'x'][..]);
    assert_eq!(down.pass(&mut unread, &mut out), Err(Stopped::Fault(Fault::Mask)));
    assert!(out.is_empty());
}

/// A message of pieces, some of which are the secret or a part of it.
fn message() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let piece = proptest::prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..40),
        (0..SECRET.len(), 0..=SECRET.len())
            .prop_map(|(from, to)| { SECRET.as_bytes()[from.min(to)..from.max(to)].to_vec() }),
        proptest::strategy::Just(SECRET.as_bytes().to_vec()),
    ];
    proptest::collection::vec(piece, 1..6)
}

proptest! {
    /// However messages are cut into fragments and reads, no secret is in one, and each keeps length and kind.
    #[test]
    fn no_secret_survives_any_cut(messages in proptest::collection::vec(message(), 1..4), piece in 1_usize..200) {
        let mut bytes = Vec::new();
        for fragments in &messages {
            for (place, payload) in fragments.iter().enumerate() {
                let opcode = if place == 0 { Opcode::Binary } else { Opcode::Continuation };
                bytes.extend(frame(place + 1 == fragments.len(), opcode, payload));
            }
        }
        let (said, _) = passed(&bytes, piece);
        prop_assert_eq!(said.len(), messages.len());
        for (fragments, (opcode, payload, _)) in messages.iter().zip(&said) {
            prop_assert_eq!(*opcode, Opcode::Binary);
            prop_assert_eq!(payload.len(), fragments.concat().len());
            let survives = payload.windows(SECRET.len()).any(|window| window == SECRET.as_bytes());
            prop_assert_eq!(survives, false);
        }
    }
}
