//! What stands escaped: `%41` (RFC 3986 §2.1), `\u0041` and `\/` (RFC 8259 §7), mixed with what does not.
//!
//! Each escape is known by its own bytes, wherever reading begins, since none can lie inside another. So a text
//! reads the same backwards, which is how a window is found that begins before its first escape.

use super::{VIEW_MAX, View, hex::digit_value};
use crate::{Span, hash::WINDOW};

/// One byte as it stands in a text.
#[derive(Clone, Copy)]
pub(crate) struct Token {
    pub(crate) byte: u8,
    pub(crate) len: usize,
}

/// The longest escape, `\u0041`.
pub(crate) const ESCAPE_MAX: usize = 6;

/// The escape that begins here, if one does.
pub(crate) fn escape(text: &[u8]) -> Option<Token> {
    let pair = |high: &u8, low: &u8| {
        let is_pair = high.is_ascii_hexdigit() && low.is_ascii_hexdigit();
        is_pair.then(|| (digit_value(*high) << 4) | digit_value(*low))
    };
    match text {
        [b'%', high, low, ..] => pair(high, low).map(|byte| Token { byte, len: 3 }),
        [b'\\', b'/', ..] => Some(Token { byte: b'/', len: 2 }),
        [b'\\', b'u', b'0', b'0', high, low, ..] => {
            pair(high, low).map(|byte| Token { byte, len: ESCAPE_MAX })
        }
        _ => None,
    }
}

/// Whether a text that ends here may go on to be an escape.
pub(crate) fn is_begun(text: &[u8]) -> bool {
    match text {
        [b'%' | b'\\'] | [b'\\', b'u'] | [b'\\', b'u', b'0'] | [b'\\', b'u', b'0', b'0'] => true,
        [b'%', high] | [b'\\', b'u', b'0', b'0', high] => high.is_ascii_hexdigit(),
        _ => false,
    }
}

/// The token that ends where a text ends.
pub(crate) fn last(text: &[u8]) -> Option<Token> {
    let ends = |len: usize| {
        let from = text.len().checked_sub(len)?;
        escape(text.get(from..)?).filter(|token| token.len == len)
    };
    let byte = *text.last()?;
    Some([3, 2, ESCAPE_MAX].into_iter().find_map(ends).unwrap_or(Token { byte, len: 1 }))
}

/// Where a text that ends here has an escape that is not yet whole; its end otherwise.
pub(crate) fn whole_until(text: &[u8]) -> usize {
    let begun = |len: &usize| {
        let from = text.len().checked_sub(*len);
        from.and_then(|from| text.get(from..)).is_some_and(is_begun)
    };
    text.len() - (1..ESCAPE_MAX).rev().find(begun).unwrap_or(0)
}

/// Where the escape begins that this place lies in; the place itself where it lies in none.
pub(crate) fn begins(text: &[u8], at: usize) -> usize {
    let inside = |back: &usize| {
        let rest = at.checked_sub(*back).and_then(|from| text.get(from..));
        rest.and_then(escape).is_some_and(|token| token.len > *back)
    };
    at - (1..ESCAPE_MAX).find(inside).unwrap_or(0)
}

/// The stretch around an escape, as far back as a window can reach and as far on as `may` lets it.
pub(crate) fn view(text: &[u8], at: usize, may: impl Fn(u8) -> bool, view: &mut View) -> Span {
    view.clear();
    let mut from = at;
    for _ in 1..WINDOW {
        let before = text.get(..from).unwrap_or_default();
        match last(before).filter(|token| may(token.byte)) {
            Some(token) => from -= token.len,
            None => break,
        }
    }
    let mut to = from;
    while let Some([byte, ..]) = text.get(to..) {
        let rest = text.get(to..).unwrap_or_default();
        let token = escape(rest).unwrap_or(Token { byte: *byte, len: 1 });
        if view.bytes.len() >= VIEW_MAX || !may(token.byte) {
            break;
        }
        view.push(token.byte, (to, to + token.len));
        to += token.len;
    }
    (from, to)
}
