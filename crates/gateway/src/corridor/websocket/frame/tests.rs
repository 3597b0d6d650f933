//! Proves that frames are read as RFC 6455 has them, over any split of their bytes, and that nothing else is read.

use super::{
    Event, Fault, Frames, Head, Mask, Opcode, Side,
    said::{Frame, Said, said},
};
use bytes::{BufMut as _, BytesMut};
use proptest::prelude::{any, prop_assert_eq, proptest};

/// A frame of the tool's.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let opcode = Opcode::read(first & 0x0f).unwrap();
    let mut out = BytesMut::new();
    Head { fin: first & 0x80 != 0, opcode, len: payload.len() as u64, mask: None }.write(&mut out);
    out.put_slice(payload);
    out.to_vec()
}

fn all(from: Side, bytes: &[u8]) -> Result<Vec<Event>, Fault> {
    let (mut frames, mut bytes, mut events) = (Frames::new(from), BytesMut::from(bytes), Vec::new());
    while let Some(event) = frames.next(&mut bytes)? {
        events.push(event);
    }
    Ok(events)
}

fn fault(from: Side, bytes: &[u8]) -> Option<Fault> {
    all(from, bytes).err()
}

fn of_tool(bytes: &[u8]) -> Option<Fault> {
    fault(Side::Tool, bytes)
}

/// The examples of §5.7.
#[test]
fn the_standards_own_frames_are_read() {
    let text = |fin, opcode, payload: &[u8], mask| {
        let head = Head { fin, opcode, len: payload.len() as u64, mask };
        vec![Event::Begins(head), Event::Payload(payload.into()), Event::Ends]
    };
    let hello = [0x81, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f];
    assert_eq!(all(Side::Tool, &hello).unwrap(), text(true, Opcode::Text, b"Hello", None));
    let masked = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
    let key = Some([0x37, 0xfa, 0x21, 0x3d]);
    assert_eq!(all(Side::Agent, &masked).unwrap(), text(true, Opcode::Text, b"Hello", key));
    let fragments = [0x01, 0x03, 0x48, 0x65, 0x6c, 0x80, 0x02, 0x6c, 0x6f];
    let wanted = [text(false, Opcode::Text, b"Hel", None), text(true, Opcode::Continuation, b"lo", None)];
    let wanted: Vec<Event> = wanted.into_iter().flatten().collect();
    assert_eq!(all(Side::Tool, &fragments).unwrap(), wanted);
    let ping = [0x89, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f];
    assert_eq!(
        all(Side::Tool, &ping).unwrap(),
        [Event::Control(Opcode::Ping, BytesMut::from(&b"Hello"[..]))]
    );
}

#[test]
fn each_length_has_one_form() {
    for (len, head_bytes) in [(0, 2), (125, 2), (126, 4), (65_535, 4), (65_536, 10)] {
        let whole = frame(0x82, &vec![7; len]);
        assert_eq!(whole.len(), head_bytes + len);
        let Event::Begins(head) = all(Side::Tool, &whole).unwrap().remove(0) else { panic!("no head") };
        assert_eq!(head.len, len as u64);
    }
    let long = |bytes: [u8; 8]| [&[0x82, 127][..], &bytes].concat();
    for wrong in [
        vec![0x82, 126, 0, 125],
        vec![0x82, 126, 0, 0],
        long([0, 0, 0, 0, 0, 0, 0xff, 0xff]),
        long([0, 0, 0, 0, 0, 0, 0, 1]),
        long([0x80, 0, 0, 0, 0, 1, 0, 0]),
        long([0xff; 8]),
    ] {
        assert_eq!(of_tool(&wrong), Some(Fault::Length), "{wrong:?}");
    }
    assert!(
        of_tool(&long([0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff])).is_none(),
        "a huge frame is no fault"
    );
}

#[test]
fn a_reserved_bit_or_an_unknown_opcode_ends_it() {
    for bit in [0x40, 0x20, 0x10] {
        assert_eq!(of_tool(&[0x81 | bit, 0]), Some(Fault::Reserved));
        assert_eq!(of_tool(&[0x89 | bit, 0]), Some(Fault::Reserved));
    }
    for opcode in [0x3, 0x4, 0x5, 0x6, 0x7, 0xb, 0xc, 0xd, 0xe, 0xf] {
        assert_eq!(of_tool(&[0x80 | opcode, 0]), Some(Fault::Opcode), "{opcode}");
    }
}

#[test]
fn a_mask_is_for_the_agent_and_for_nobody_else() {
    assert_eq!(fault(Side::Agent, &[0x81, 0x01, b'x']), Some(Fault::Mask));
    assert_eq!(of_tool(&[0x81, 0x81, 1, 2, 3, 4, b'x']), Some(Fault::Mask));
    assert_eq!(fault(Side::Agent, &[0x89, 0x00]), Some(Fault::Mask));
}

#[test]
fn a_control_frame_is_short_and_whole() {
    for opcode in [0x8, 0x9, 0xa] {
        assert_eq!(of_tool(&[opcode, 0]), Some(Fault::Control), "{opcode}");
        assert_eq!(of_tool(&[0x80 | opcode, 126, 0, 126]), Some(Fault::Control), "{opcode}");
    }
    assert!(of_tool(&frame(0x89, &[0; 125])).is_none());
}

#[test]
fn fragments_follow_each_other_and_controls_may_stand_between() {
    assert_eq!(of_tool(&[0x80, 0]), Some(Fault::Fragment), "it continues nothing");
    assert_eq!(of_tool(&[0x01, 0, 0x81, 0]), Some(Fault::Fragment), "a message inside of another");
    assert_eq!(of_tool(&[0x81, 0, 0x80, 0]), Some(Fault::Fragment), "it continues what is over");
    let between = [0x01, 0x01, b'a', 0x89, 0x00, 0x8a, 0x01, b'p', 0x80, 0x01, b'b', 0x82, 0x00];
    assert!(of_tool(&between).is_none());
}

#[test]
fn a_close_frame_says_what_may_be_said() {
    let close = |code: u16, reason: &[u8]| frame(0x88, &[&code.to_be_bytes()[..], reason].concat());
    for code in [1000, 1001, 1003, 1007, 1011, 1014, 3000, 4999] {
        assert!(of_tool(&close(code, "zu Ende, ü".as_bytes())).is_none(), "{code}");
    }
    for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65_535] {
        assert_eq!(of_tool(&close(code, b"")), Some(Fault::Close), "{code}");
    }
    assert!(of_tool(&frame(0x88, b"")).is_none());
    assert_eq!(of_tool(&frame(0x88, b"\x03")), Some(Fault::Close));
    assert_eq!(of_tool(&close(1000, b"\xff")), Some(Fault::Close));
}

#[test]
fn what_comes_after_a_close_is_not_read() {
    let bytes = [frame(0x88, b""), frame(0x81, b"more"), vec![0xff; 9]].concat();
    assert_eq!(all(Side::Tool, &bytes).unwrap(), [Event::Control(Opcode::Close, BytesMut::new())]);
}

/// Bytes, in pieces.
fn cut<'a>(bytes: &'a [u8], cuts: &[usize]) -> Vec<&'a [u8]> {
    let mut cuts: Vec<usize> =
        cuts.iter().map(|cut| cut % (bytes.len() + 1)).chain([0, bytes.len()]).collect();
    cuts.sort_unstable();
    cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect()
}

proptest! {
    /// A mask in pieces is the mask over the whole, and undoes itself.
    #[test]
    fn a_mask_goes_on_over_any_split(payload: Vec<u8>, key: [u8; 4], cut: usize) {
        let mut whole = payload.clone();
        Mask::new(key).apply(&mut whole);
        let mut pieces = payload.clone();
        let (left, right) = pieces.split_at_mut(cut % (payload.len() + 1));
        let mut mask = Mask::new(key);
        mask.apply(left);
        mask.apply(right);
        prop_assert_eq!(&pieces, &whole);
        Mask::new(key).apply(&mut whole);
        prop_assert_eq!(whole, payload);
    }

    /// However the bytes are split, the same is read.
    #[test]
    fn any_split_gives_the_same_messages(messages: Vec<Vec<u8>>, key: [u8; 4], cuts: Vec<usize>) {
        let mut bytes = BytesMut::new();
        for payload in &messages {
            Head { fin: true, opcode: Opcode::Binary, len: payload.len() as u64, mask: Some(key) }.write(&mut bytes);
            let mut payload = payload.clone();
            Mask::new(key).apply(&mut payload);
            bytes.put_slice(&payload);
            Head { fin: true, opcode: Opcode::Ping, len: 0, mask: Some(key) }.write(&mut bytes);
        }
        let frame = |opcode, payload| Frame { fin: true, opcode, payload, is_whole: true };
        let wanted = messages.into_iter();
        let wanted = wanted
            .flat_map(|payload| [frame(Opcode::Binary, payload), frame(Opcode::Ping, Vec::new())])
            .collect();
        prop_assert_eq!(said(Side::Agent, cut(&bytes, &cuts)), Said { frames: wanted, fault: None });
    }

    /// No bytes make the reader fail; however they are cut, it reads the same frames and the same fault.
    #[test]
    fn any_split_gives_the_same_frames_or_the_same_fault(bytes: Vec<u8>, cuts: Vec<usize>, is_agent in any::<bool>()) {
        let from = if is_agent { Side::Agent } else { Side::Tool };
        prop_assert_eq!(said(from, cut(&bytes, &cuts)), said(from, [&bytes[..]]));
    }
}
