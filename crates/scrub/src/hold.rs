//! What of a text's end could go on to be a window, and must wait.
//!
//! To ask the set would be more exact and would need hashes of shorter stretches, which could be guessed. So
//! whatever is made of characters of secrets waits, fewer of them than a window has. Texts that a reader waits
//! for (an event, a line of JSON) end in a byte that no credential has, and wait for nothing.

use crate::{
    forms::{base64, escapes, hex, wide},
    hash::WINDOW,
    set::WindowSet,
};

/// Characters of the longest window that has no zeros or digits only, less the last: 16 bytes touch 22 characters
/// of base64.
const TOKENS: usize = 21;

/// The first place from which a text could go on to be a window.
pub(crate) fn held_from(set: &WindowSet, text: &[u8]) -> usize {
    if set.is_empty() {
        return text.len();
    }
    let ends = [bytes(set, text), tokens(set, text), digits(text), characters(set, text)];
    escapes::begins(text, ends.into_iter().min().unwrap_or(0))
}

/// Characters as they are.
fn bytes(set: &WindowSet, text: &[u8]) -> usize {
    let fits = |byte: &&u8| set.alphabet.has(**byte) || base64::is_character(**byte);
    text.len() - text.iter().rev().take(TOKENS).take_while(fits).count()
}

/// Characters as they are or escaped, the last escape perhaps not yet whole. Not always more than [`bytes`]: what
/// ends an escape may begin a window by itself.
fn tokens(set: &WindowSet, text: &[u8]) -> usize {
    let mut from = escapes::whole_until(text);
    for _ in 1..WINDOW {
        let last = escapes::last(text.get(..from).unwrap_or_default());
        match last.filter(|token| set.alphabet.has(token.byte)) {
            Some(token) => from -= token.len,
            None => break,
        }
    }
    from
}

fn digits(text: &[u8]) -> usize {
    let digits = text.iter().rev().take(hex::DIGITS - 1).take_while(|byte| byte.is_ascii_hexdigit());
    text.len() - digits.count()
}

/// Characters of UTF-16.
fn characters(set: &WindowSet, text: &[u8]) -> usize {
    let of_parity = |parity: usize| {
        let fits = |(place, byte): &(usize, &u8)| match place.is_multiple_of(2) == (parity == 0) {
            true => **byte == 0,
            false => set.alphabet.has(**byte),
        };
        text.iter().rev().take(wide::BYTES).enumerate().take_while(fits).count()
    };
    // A character alone is held with the others.
    text.len() - [0, 1].map(of_parity).into_iter().max().filter(|count| *count > 1).unwrap_or(0)
}
