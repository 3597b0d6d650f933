//! The mask over a stream: what is certain goes on, what could be the beginning of a secret waits for the rest.

use crate::{
    Needles, Span, WindowSet,
    find::{find, merged},
    hold,
};
use bytes::{Bytes, BytesMut};
use std::sync::Arc;

/// What is masked.
const MASK: u8 = b'*';

/// All that is sought in the answers of one call.
#[derive(Clone)]
pub struct Masks {
    windows: Arc<WindowSet>,
    needles: Needles,
}

impl Masks {
    /// These windows and these texts.
    #[must_use]
    pub const fn new(windows: Arc<WindowSet>, needles: Needles) -> Self {
        Self { windows, needles }
    }

    /// Masks a text that is whole, and says how many secrets stood in it.
    #[must_use]
    pub fn whole(&self, text: &[u8]) -> (Vec<u8>, u64) {
        let spans = self.find(text);
        let secrets = spans.chunk_by(|one, next| next.0 <= one.1 + GAP).count();
        let mut bytes = text.to_vec();
        mask(&mut bytes, &spans);
        (bytes, secrets as u64)
    }

    /// Whether a secret stands in a text that was put into lower case (the name of a header field).
    #[must_use]
    pub fn is_in_lower(&self, text: &[u8]) -> bool {
        self.needles.is_in_lower(text) || !find(&self.windows, text).is_empty()
    }

    fn find(&self, text: &[u8]) -> Vec<Span> {
        let mut spans = find(&self.windows, text);
        let from_windows = spans.len();
        self.needles.find(text, &mut spans);
        if spans.len() == from_windows { spans } else { merged(spans) }
    }

    fn held_from(&self, text: &[u8]) -> usize {
        hold::held_from(&self.windows, text).min(self.needles.held_from(text))
    }
}

/// The mask over one stream.
pub struct Scrubber {
    masks: Masks,
    /// What could be the beginning of a secret, as it came.
    held: BytesMut,
    /// What of the held bytes belongs to a secret that was already found and counted.
    begun: Vec<Span>,
    /// How many secrets were found.
    found: u64,
}

impl Scrubber {
    /// A stream that begins.
    #[must_use]
    pub fn new(masks: Masks) -> Self {
        Self { masks, held: BytesMut::new(), begun: Vec::new(), found: 0 }
    }

    /// Takes the next piece, and gives what is certain by now.
    #[must_use]
    pub fn push(&mut self, piece: Bytes) -> Bytes {
        let bytes = match self.held.is_empty() {
            true => piece,
            false => {
                self.held.extend_from_slice(&piece);
                std::mem::take(&mut self.held).freeze()
            }
        };
        let until = self.masks.held_from(&bytes);
        self.held = BytesMut::from(bytes.get(until..).unwrap_or_default());
        self.certain(bytes, until)
    }

    /// The end: gives what was held back. It became no window, yet one may lie in it whole.
    #[must_use]
    pub fn finish(&mut self) -> Bytes {
        let rest = std::mem::take(&mut self.held).freeze();
        let until = rest.len();
        self.certain(rest, until)
    }

    /// Masks what is certain, and notes what of the rest belongs to a secret that begins in it. One that lies in
    /// the rest whole is found again with the next piece.
    fn certain(&mut self, bytes: Bytes, until: usize) -> Bytes {
        let mut spans = self.masks.find(&bytes);
        let begun = std::mem::take(&mut self.begun);
        let counted = begun.last().map(|(_, to)| to + GAP);
        if !begun.is_empty() {
            spans = merged([spans, begun].concat());
        }
        let certain = bytes.slice(..until);
        if spans.is_empty() {
            return certain;
        }
        for secret in spans.chunk_by(|one, next| next.0 <= one.1 + GAP) {
            let from = secret.first().map_or(until, |(from, _)| *from);
            let is_counted = counted.is_some_and(|counted| from <= counted);
            if from < until || is_counted {
                self.found += u64::from(!is_counted);
                let rest = secret.iter().filter(|(_, to)| *to > until);
                self.begun.extend(rest.map(|(from, to)| (from.saturating_sub(until), to - until)));
            }
        }
        masked_copy(&certain, &spans)
    }

    /// How many secrets were masked.
    #[must_use]
    pub const fn masked(&self) -> u64 {
        self.found
    }

    /// How many bytes are held back.
    #[must_use]
    pub fn held_len(&self) -> u64 {
        self.held.len() as u64
    }

    /// Whether nothing is held back.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }
}

/// What may stand between two bytes of one secret: the zero of UTF-16.
const GAP: usize = 1;

fn mask(bytes: &mut [u8], spans: &[Span]) {
    for (from, to) in spans {
        let (from, to) = ((*from).min(bytes.len()), (*to).min(bytes.len()));
        if let Some(stretch) = bytes.get_mut(from..to) {
            stretch.fill(MASK);
        }
    }
}

fn masked_copy(bytes: &[u8], spans: &[Span]) -> Bytes {
    let mut copy = bytes.to_vec();
    mask(&mut copy, spans);
    copy.into()
}

#[cfg(test)]
mod tests;
