//! Hexadecimal, either case or both mixed, in both alignments.

use super::{VIEW_MAX, View};
use crate::{Span, hash::WINDOW};
use zeroize::Zeroizing;

/// Digits of a window. Among so many there are sixteen that begin at a multiple of sixteen.
pub(crate) const DIGITS: usize = 2 * WINDOW;

/// Whether eight bytes may be digits. Says yes to some letters besides: of a digit exactly one of the bits
/// 4 and 6 is set.
#[inline(always)]
pub(crate) const fn may_be(word: u64) -> bool {
    const EACH: u64 = 0x0101_0101_0101_0101;
    word & (EACH << 7) == 0 && ((word >> 4) ^ (word >> 6)) & EACH == EACH
}

/// The bytes that a text stands for that is hexadecimal as a whole and long enough to hold a window.
pub(crate) fn whole(text: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let fits = text.len() >= DIGITS && text.len().is_multiple_of(2) && text.iter().all(u8::is_ascii_hexdigit);
    fits.then(|| text.chunks_exact(2).map(value).collect::<Vec<_>>().into())
}

/// The digits around a place, as far back as a window can reach and as far on as a view may.
pub(crate) fn around(text: &[u8], at: usize) -> Span {
    let earliest = at.saturating_sub(DIGITS);
    let before = text.get(earliest..at).unwrap_or_default();
    let from = before
        .iter()
        .rposition(|byte| !byte.is_ascii_hexdigit())
        .map_or(earliest, |last| earliest + last + 1);
    let after = text.get(at..).unwrap_or_default();
    let digits = after.iter().take(VIEW_MAX).take_while(|byte| byte.is_ascii_hexdigit()).count();
    (from, at + digits)
}

/// The stretch decoded, its first pair at `alignment`.
pub(crate) fn view(text: &[u8], (from, to): Span, alignment: usize, view: &mut View) {
    view.clear();
    let from = from + alignment;
    for (pair, place) in text.get(from..to).unwrap_or_default().chunks_exact(2).zip((from..).step_by(2)) {
        view.push(value(pair), (place, place + 2));
    }
}

fn value(pair: &[u8]) -> u8 {
    pair.iter().fold(0, |value, digit| (value << 4) | digit_value(*digit))
}

/// What a digit stands for; zero for what is none.
pub(crate) const fn digit_value(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        b'A'..=b'F' => digit - b'A' + 10,
        _ => 0,
    }
}
