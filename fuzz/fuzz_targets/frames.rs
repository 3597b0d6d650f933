//! WebSocket frames: however the bytes are cut, the same frames or the same refusal, and nothing gathered.
//! Of the first byte one bit says whose they are; the three behind it are the lengths of the pieces, in turn.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nightlatch_gateway::fuzzing::heard;

/// The bytes, in pieces of these lengths and one more, over and over.
fn cut<'a>(mut bytes: &'a [u8], lengths: &[u8]) -> Vec<&'a [u8]> {
    let mut pieces = Vec::new();
    for length in lengths.iter().cycle() {
        let Some((piece, rest)) = bytes.split_at_checked(usize::from(*length) + 1) else { break };
        pieces.push(piece);
        bytes = rest;
    }
    pieces.push(bytes);
    pieces
}

fuzz_target!(|data: &[u8]| {
    let Some(([whose, lengths @ ..], bytes)) = data.split_first_chunk::<4>() else { return };
    let is_agent = whose & 1 == 1;
    assert_eq!(heard(is_agent, &cut(bytes, lengths)), heard(is_agent, &[bytes]));
});
