//! Where in a text windows of a secret lie.
//!
//! Most of what passes holds none, so this is built around not looking. Credentials are made of printable
//! characters without spaces: a text is read eight bytes at a time, and only where sixteen such characters
//! stand together are hashes asked for, one every four bytes. Only where both hashes of a filter say yes is
//! anything looked at byte by byte. What is then masked is exact: whatever the filters say, a window counts if
//! every unit in it has its print in the set.

use crate::{
    Span,
    forms::{VIEW_MAX, View, base64, escapes, hex, wide},
    hash::{CODED_UNIT, STRIDE, UNIT, WINDOW, word},
    set::{Alphabet, WindowSet},
};

/// Units that begin in one window.
const UNITS: usize = WINDOW - UNIT + 1;
/// The high bit of each byte.
const HIGH: u64 = 0x8080_8080_8080_8080;
/// What is read at once, and what is seen ahead of it.
const BLOCK: usize = 16;
const SEEN: usize = 32;

/// Which bytes a run is made of: those from the lowest that credentials have on, below 128.
struct Class {
    add: u64,
    is_any: bool,
}

/// The lowest byte of RFC 6750's `b64token`, `+`.
const LOWEST: u8 = b'+';

impl Class {
    fn of(alphabet: &Alphabet) -> Self {
        let lowest = alphabet.lowest().unwrap_or(LOWEST).min(LOWEST);
        let is_any = alphabet.highest().is_some_and(|highest| !highest.is_ascii());
        Self { add: u64::from(0x80 - lowest) * 0x0101_0101_0101_0101, is_any }
    }

    /// The high bit of each byte that is of the class. A byte of 128 or more carries into the next one, which can
    /// make that seem to be of the class and never the reverse.
    #[inline(always)]
    fn mask(&self, word: u64) -> u64 {
        if self.is_any { HIGH } else { word.wrapping_add(self.add) & !word & HIGH }
    }
}

/// The stretches of a text that are to be masked, in order, none touching another.
pub(crate) fn find(set: &WindowSet, text: &[u8]) -> Vec<Span> {
    if set.is_empty() || text.len() < WINDOW {
        return Vec::new();
    }
    let mut look = Look { set, text, found: Vec::new(), done: Done::default(), view: View::default() };
    look.through_blocks();
    look.through_escapes();
    merged(look.found)
}

/// Sorts and joins what overlaps or touches.
pub(crate) fn merged(mut spans: Vec<Span>) -> Vec<Span> {
    spans.sort_unstable();
    spans.dedup_by(|next, kept| {
        let joins = next.0 <= kept.1;
        if joins {
            kept.1 = kept.1.max(next.1);
        }
        joins
    });
    spans
}

/// Up to where each form was looked at already.
#[derive(Default)]
struct Done {
    plain: usize,
    coded: usize,
    hex: usize,
    wide: usize,
}

struct Look<'a> {
    set: &'a WindowSet,
    text: &'a [u8],
    found: Vec<Span>,
    done: Done,
    view: View,
}

impl Look<'_> {
    fn through_blocks(&mut self) {
        let class = Class::of(&self.set.alphabet);
        let (mut run, mut before, mut wide_before) = (None, 0, None);
        let (blocks, rest) = self.text.as_chunks::<8>();
        let mut last = [0; 8];
        last.iter_mut().zip(rest).for_each(|(into, from)| *into = *from);
        let mut at = 0;
        for block in blocks.iter().chain([&last]) {
            let word = u64::from_le_bytes(*block);
            let mask = class.mask(word);
            if mask == HIGH {
                run = run.or_else(|| Some(at - at_end(before)));
            } else {
                if let Some(from) = run.take() {
                    self.through_run((from, at + at_start(mask)));
                }
                let parity = wide::parity(word);
                if parity.is_some() && parity == wide_before {
                    self.wide(at, parity.unwrap_or(0));
                }
                wide_before = parity;
            }
            (before, at) = (mask, at + 8);
        }
        if let Some(from) = run {
            self.through_run((from, self.text.len()));
        }
    }

    /// A run of characters.
    fn through_run(&mut self, (from, to): Span) {
        let to = to.min(self.text.len());
        let Some(run) = self.text.get(from..to).filter(|run| run.len() >= WINDOW) else { return };
        let mut at = 0;
        while let Some(seen) = run.get(at..).and_then(<[u8]>::first_chunk::<SEEN>) {
            self.block(seen, from + at);
            at += BLOCK;
        }
        self.through_end((from + at, to));
    }

    /// The end of a run, shorter than what is seen at once.
    fn through_end(&mut self, (from, to): Span) {
        for at in (from..to).step_by(BLOCK) {
            let rest = self.text.get(at..to).unwrap_or_default();
            let mut seen = [0; SEEN];
            seen.iter_mut().zip(rest).for_each(|(into, from)| *into = *from);
            self.block(&seen, at);
        }
    }

    /// What a block shows, and a look where that seems worth it.
    #[inline(always)]
    fn block(&mut self, seen: &[u8; SEEN], at: usize) {
        if self.is_suspect(seen) {
            self.units(at);
        }
        if hex::may_be(word::<0>(seen)) && hex::may_be(word::<8>(seen)) {
            self.hex(at);
        }
    }

    #[inline(never)]
    fn units(&mut self, at: usize) {
        for place in (at..at + BLOCK).step_by(STRIDE) {
            self.unit(place);
        }
    }

    /// Whether a look at any of four units, or the base64 that begins with them, may be worth it.
    #[inline(always)]
    fn is_suspect(&self, seen: &[u8; SEEN]) -> bool {
        let (keys, plain, coded) = (&self.set.keys, &self.set.plain, &self.set.coded);
        let ask = |first: u64, middle: u64, last: u64| {
            plain.may_have(keys.plain(first, middle)) | coded.may_have(keys.coded(first, middle, last))
        };
        ask(word::<0>(seen), word::<5>(seen), word::<9>(seen))
            | ask(word::<4>(seen), word::<9>(seen), word::<13>(seen))
            | ask(word::<8>(seen), word::<13>(seen), word::<17>(seen))
            | ask(word::<12>(seen), word::<17>(seen), word::<21>(seen))
    }

    /// One place, to be sure.
    fn unit(&mut self, at: usize) {
        if at >= self.done.plain && is_unit(self.set, self.text, at) {
            self.spread(at);
        }
        if at >= self.done.coded && self.is_coded(at) {
            self.coded(at);
        }
    }

    /// A unit of the set stands here: how far does it go on, either way?
    fn spread(&mut self, at: usize) {
        let is_unit = |place: &usize| is_unit(self.set, self.text, *place);
        let first = (0..at).rev().take_while(is_unit).last().unwrap_or(at);
        let last = (at..self.text.len()).take_while(is_unit).last().unwrap_or(at);
        if last - first + 1 >= UNITS {
            self.found.push((first, last + UNIT));
        }
        self.done.plain = last + 1;
    }

    fn is_coded(&self, at: usize) -> bool {
        let unit = self.text.get(at..).and_then(<[u8]>::first_chunk::<CODED_UNIT>);
        unit.is_some_and(|unit| self.set.coded.has(self.set.keys.coded_of(unit)))
    }

    #[inline(never)]
    fn coded(&mut self, at: usize) {
        let earliest = at.saturating_sub(base64::REACH);
        let is_character =
            |place: &usize| self.text.get(*place).is_some_and(|byte| base64::is_character(*byte));
        let from = (earliest..at).rev().take_while(is_character).last().unwrap_or(at);
        let latest = (at + VIEW_MAX).min(self.text.len());
        let to = (at..latest).take_while(is_character).last().map_or(at, |last| last + 1);
        let mut view = std::mem::take(&mut self.view);
        for alignment in 0..4 {
            base64::view(self.text, (from, to), alignment, &mut view);
            self.through_view(&view);
        }
        self.view = view;
        self.done.coded = if to == at + VIEW_MAX { to - base64::REACH } else { to };
    }

    #[inline(never)]
    fn hex(&mut self, at: usize) {
        if at < self.done.hex {
            return;
        }
        let (from, to) = hex::around(self.text, at);
        if to - from >= hex::DIGITS {
            let mut view = std::mem::take(&mut self.view);
            for alignment in 0..2 {
                hex::view(self.text, (from, to), alignment, &mut view);
                self.through_view(&view);
            }
            self.view = view;
        }
        self.done.hex = if to - at == VIEW_MAX { to - hex::DIGITS } else { to.max(at + 1) };
    }

    fn wide(&mut self, at: usize, parity: usize) {
        if at < self.done.wide {
            return;
        }
        let (from, to) = wide::around(self.text, at, parity);
        let mut view = std::mem::take(&mut self.view);
        wide::view(self.text, (from, to), &mut view);
        self.through_view(&view);
        self.view = view;
        self.done.wide = if to - at == VIEW_MAX { to - wide::BYTES } else { to.max(at + 1) };
    }

    fn through_escapes(&mut self) {
        let mut done = 0;
        for at in memchr::memchr2_iter(b'%', b'\\', self.text) {
            let rest = self.text.get(at..).unwrap_or_default();
            let Some(token) = escapes::escape(rest).filter(|_| at >= done) else { continue };
            if !self.set.alphabet.has(token.byte) {
                continue;
            }
            let mut view = std::mem::take(&mut self.view);
            let (_, to) = escapes::view(self.text, at, |byte| self.set.alphabet.has(byte), &mut view);
            self.through_view(&view);
            done = if view.bytes.len() >= VIEW_MAX { to - WINDOW * escapes::ESCAPE_MAX } else { to };
            self.view = view;
        }
    }

    /// The windows of what was decoded.
    fn through_view(&mut self, view: &View) {
        let mut first = None;
        let last = (view.bytes.len() + 1).saturating_sub(UNIT);
        for at in 0..=last {
            if at < last && is_unit(self.set, &view.bytes, at) {
                first = first.or(Some(at));
            } else if let Some(first) = first.take().filter(|first| at - first >= UNITS) {
                self.found.extend(view.spans.get(first..at - 1 + UNIT).unwrap_or_default());
            }
        }
    }
}

/// Whether the unit that begins here is in the set.
fn is_unit(set: &WindowSet, text: &[u8], at: usize) -> bool {
    let unit = text.get(at..).and_then(<[u8]>::first_chunk::<UNIT>);
    unit.is_some_and(|unit| {
        set.plain.has(set.keys.plain_of(unit)) && set.prints.binary_search(&set.keys.print(unit)).is_ok()
    })
}

/// How many bytes of the class end a block.
const fn at_end(mask: u64) -> usize {
    ((mask ^ HIGH).leading_zeros() / 8) as usize
}

/// How many begin it.
const fn at_start(mask: u64) -> usize {
    ((mask ^ HIGH).trailing_zeros() / 8) as usize
}
