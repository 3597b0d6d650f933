//! The scrubber: any split of an input gives the same output, of the same length, and no window of a secret is in it.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use nightlatch_scrub::{Masks, Needles, Scrubber, Sought, WindowSet};
use std::sync::{Arc, LazyLock};

const HELD: &[u8] = b"tok_9Kd2fQx7LmZ4vT1sB8nR6wYc3HjP5uGaEo0i+/~=";
const OTHER: &[u8] = b"q7LtZ0mWv3XcR9bNfK2dJ5hG8sPaYeUi4oT1";
const WINDOW: usize = 16;

static MASKS: LazyLock<Masks> = LazyLock::new(|| {
    let secrets = [Sought::Held(HELD), Sought::Other(OTHER)];
    let keys = b"0123456789abcdef0123456789ABCDEF0123456789-_.~+/";
    Masks::new(Arc::new(WindowSet::of(keys, &secrets).0), Needles::default())
});

fn through<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut scrubber = Scrubber::new(MASKS.clone());
    let mut out = Vec::new();
    for piece in pieces {
        out.extend_from_slice(&scrubber.push(Bytes::copy_from_slice(piece)));
    }
    out.extend_from_slice(&scrubber.finish());
    out
}

fuzz_target!(|data: &[u8]| {
    let Some((len, rest)) = data.split_first() else { return };
    // The upper half of all bytes spells the secrets, so that a fuzzer finds its way into them.
    let spelled = |byte: &u8| match byte {
        0..=0x7f => *byte,
        _ => HELD
            .iter()
            .chain(OTHER)
            .copied()
            .nth(usize::from(byte - 0x80) % (HELD.len() + OTHER.len()))
            .unwrap_or(0),
    };
    let text: Vec<u8> = rest.iter().map(spelled).collect();
    let whole = through([text.as_slice()]);
    assert_eq!(whole, through(text.chunks(usize::from(*len) + 1)));
    assert_eq!(whole.len(), text.len());
    assert!(whole.iter().zip(&text).all(|(out, own)| out == own || *out == b'*'));
    for secret in [HELD, OTHER] {
        assert!(!secret.windows(WINDOW).any(|window| whole.windows(WINDOW).any(|other| other == window)));
    }
});
