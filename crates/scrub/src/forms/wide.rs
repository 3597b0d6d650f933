//! UTF-16, either order: every other byte is zero. Only the others are masked, so the text stays one.

use super::{VIEW_MAX, View};
use crate::{Span, hash::WINDOW};

/// Bytes of a window. Among so many there are sixteen that begin at a multiple of eight.
pub(crate) const BYTES: usize = 2 * WINDOW;

const EVEN: u64 = 0x00FF_00FF_00FF_00FF;

/// Whether eight bytes may be four characters, and if so at which places these stand: even (0) or odd (1).
#[inline(always)]
pub(crate) const fn parity(word: u64) -> Option<usize> {
    if word == 0 {
        return None;
    }
    if word & !EVEN == 0 {
        return Some(0);
    }
    if word & EVEN == 0 { Some(1) } else { None }
}

/// The characters around a place whose parity was seen there, each with the zero beside it.
pub(crate) fn around(text: &[u8], at: usize, parity: usize) -> Span {
    let fits = |place: usize| {
        let is_character = (place + parity + at).is_multiple_of(2);
        text.get(place).is_some_and(|byte| (*byte != 0) == is_character)
    };
    let earliest = at.saturating_sub(BYTES);
    let from = (earliest..at).rev().take_while(|place| fits(*place)).last().unwrap_or(at);
    let to =
        (at..text.len()).take(VIEW_MAX).take_while(|place| fits(*place)).last().map_or(at, |last| last + 1);
    (from, to)
}

/// The characters of a stretch.
pub(crate) fn view(text: &[u8], (from, to): Span, view: &mut View) {
    view.clear();
    let bytes = text.get(from..to).unwrap_or_default();
    for (byte, place) in bytes.iter().zip(from..).filter(|(byte, _)| **byte != 0) {
        view.push(*byte, (place, place + 1));
    }
}
