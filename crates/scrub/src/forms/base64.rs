//! Base64 and base64url (RFC 4648 §4, §5), read together and in each of four alignments: where a group begins is
//! not known in the middle of a text.

use super::View;
use crate::Span;
use zeroize::Zeroizing;

const STANDARD: [u8; 64] = *b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const URL_SAFE: [u8; 64] = *b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Both alphabets.
pub(crate) const ALPHABETS: [&[u8; 64]; 2] = [&STANDARD, &URL_SAFE];

/// Characters before the first hashed unit of a window that can belong to it: 16 bytes touch 22 characters.
pub(crate) const REACH: usize = 24;

/// Whether a byte is a character of either alphabet.
pub(crate) fn is_character(byte: u8) -> bool {
    value(byte).is_some()
}

fn value(byte: u8) -> Option<u32> {
    let value = match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' | b'-' => 62,
        b'/' | b'_' => 63,
        _ => return None,
    };
    Some(u32::from(value))
}

/// The characters of these bytes; bits that are missing at the end are zero, and nothing is padded.
pub(crate) fn encode(bytes: &[u8], alphabet: &[u8; 64]) -> Zeroizing<Vec<u8>> {
    let mut text = Zeroizing::new(Vec::with_capacity(bytes.len().div_ceil(3) * 4));
    for group in bytes.chunks(3) {
        let bits = group.iter().fold(0u32, |bits, byte| (bits << 8) | u32::from(*byte));
        let bits = bits << (8 * (3 - group.len()));
        for shift in [18, 12, 6, 0].into_iter().take(group.len() + 1) {
            let place = usize::try_from((bits >> shift) & 63).unwrap_or(0);
            text.extend(alphabet.get(place));
        }
    }
    text
}

/// The stretch from `from` to `to`, all of it characters, decoded with groups that begin at `alignment`; of the
/// group before that, what the characters that are there decide.
pub(crate) fn view(text: &[u8], (from, to): Span, alignment: usize, view: &mut View) {
    let characters = text.get(from..to).unwrap_or_default();
    let (before, groups) = characters.split_at_checked(alignment).unwrap_or_default();
    view.clear();
    let whole = before.len().saturating_sub(1);
    let ends = bits(before).to_be_bytes().into_iter().skip(4 - whole);
    for (byte, place) in ends.zip(from..) {
        view.push(byte, (place, place + 2));
    }
    for (group, place) in groups.chunks(4).zip((from + alignment..).step_by(4)) {
        let [_, bytes @ ..] = (bits(group) << (6 * (4 - group.len()))).to_be_bytes();
        let whole = group.len().saturating_sub(1);
        for (byte, place) in bytes.into_iter().take(whole).zip(place..) {
            view.push(byte, (place, place + 2));
        }
    }
}

fn bits(characters: &[u8]) -> u32 {
    characters.iter().filter_map(|byte| value(*byte)).fold(0, |bits, six| (bits << 6) | six)
}
