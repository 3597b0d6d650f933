//! Scrub: no secret of this call goes back to the agent.
//!
//! An upstream echoes what it was sent: in an error page, a `Location`, a debug endpoint. Whatever equals
//! the secret, or the form in which it was rendered, is masked by the same number of `*`, so lengths still
//! hold. The body streams: bytes are held back only while they could be the beginning of a secret, at most
//! one byte less than its length, so an event reaches its reader when it was written.
//!
//! This version knows the secret exactly as it is, plain. Other encodings of it, slices and compressed
//! bodies are not caught here: compression is refused by `forward`, the rest is said in SECURITY.md.

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue};
use memchr::memmem;
use nightlatch_custody::Secret;
use std::sync::Arc;

/// What is masked.
const MASK: u8 = b'*';

/// The secrets of one call, in every form in which they were rendered. Made in `attach` only; wiped when
/// the call is over.
#[derive(Clone)]
pub(crate) struct ScrubSet(Arc<Vec<Secret>>);

impl ScrubSet {
    pub(super) fn new(needles: Vec<Secret>) -> Self {
        Self(Arc::new(needles.into_iter().filter(|needle| !needle.is_empty()).collect()))
    }

    /// The stretches of `bytes` that are a secret, also where two overlap.
    fn hits(&self, bytes: &[u8]) -> Vec<(usize, usize)> {
        let mut hits = Vec::new();
        for needle in self.0.iter().map(Secret::expose) {
            let finder = memmem::Finder::new(needle);
            let mut from = 0;
            while let Some(at) = bytes.get(from..).and_then(|rest| finder.find(rest)) {
                hits.push((from + at, from + at + needle.len()));
                from += at + 1;
            }
        }
        hits
    }

    /// The first place from which `bytes` could go on to be a secret.
    fn held_from(&self, bytes: &[u8]) -> usize {
        self.0.iter().map(|needle| held_from(bytes, needle.expose())).min().unwrap_or(bytes.len())
    }

    /// Masks the values of a head, and says how many secrets stood in it. A field whose name itself holds
    /// a secret is left out.
    pub(crate) fn head(&self, headers: &HeaderMap) -> (HeaderMap, u64) {
        let (mut clean, mut found) = (HeaderMap::with_capacity(headers.len()), 0);
        for (name, value) in headers {
            if self.is_in_name(name.as_str()) {
                found += 1;
                continue;
            }
            let (mut bytes, hits) = (value.as_bytes().to_vec(), self.hits(value.as_bytes()));
            found += hits.len() as u64;
            mask(&mut bytes, &hits);
            if let Ok(value) = HeaderValue::from_bytes(&bytes) {
                clean.append(name, value);
            }
        }
        (clean, found)
    }

    /// Names arrive in lower case, whatever they were.
    fn is_in_name(&self, name: &str) -> bool {
        self.0
            .iter()
            .any(|needle| memmem::find(name.as_bytes(), &needle.expose().to_ascii_lowercase()).is_some())
    }
}

fn mask(bytes: &mut [u8], hits: &[(usize, usize)]) {
    for (from, to) in hits {
        if let Some(hit) = bytes.get_mut(*from..*to) {
            hit.fill(MASK);
        }
    }
}

/// The first place from which `bytes` are a beginning of `needle` that is not yet whole.
fn held_from(bytes: &[u8], needle: &[u8]) -> usize {
    let Some(first) = needle.first() else { return bytes.len() };
    let earliest = bytes.len().saturating_sub(needle.len() - 1);
    let tail = bytes.get(earliest..).unwrap_or_default();
    let mut starts = memchr::memchr_iter(*first, tail);
    let begins = |start: &usize| tail.get(*start..).is_some_and(|rest| needle.starts_with(rest));
    starts.find(begins).map_or(bytes.len(), |start| earliest + start)
}

/// The mask over a stream.
pub(crate) struct Scrubber {
    set: ScrubSet,
    /// What could be the beginning of a secret, as it came.
    held: BytesMut,
    /// How many of the held bytes belong to a secret that was already found.
    masked: usize,
    /// How many secrets were found.
    found: u64,
}

impl Scrubber {
    pub(crate) fn new(set: ScrubSet) -> Self {
        Self { set, held: BytesMut::new(), masked: 0, found: 0 }
    }

    /// Takes the next piece, and gives what is certain by now.
    pub(crate) fn push(&mut self, piece: Bytes) -> Bytes {
        let bytes = match self.held.is_empty() {
            true => piece,
            false => {
                self.held.extend_from_slice(&piece);
                std::mem::take(&mut self.held).freeze()
            }
        };
        let (hits, until) = (self.set.hits(&bytes), self.set.held_from(&bytes));
        let masked = std::mem::take(&mut self.masked);
        // One that lies in the held part whole is found again with the next piece.
        self.found += hits.iter().filter(|(from, _)| *from < until).count() as u64;
        self.held = BytesMut::from(bytes.get(until..).unwrap_or_default());
        let begun = hits.iter().filter(|(from, _)| *from < until).map(|(_, to)| *to);
        self.masked = begun.chain([masked]).max().unwrap_or(0).saturating_sub(until);
        let certain = bytes.slice(..until);
        if hits.is_empty() && masked == 0 { certain } else { masked_copy(&certain, &hits, masked) }
    }

    /// Gives what was held back: it became no long secret, yet a short one may lie in it whole.
    pub(crate) fn finish(&mut self) -> Bytes {
        let rest = std::mem::take(&mut self.held).freeze();
        let (hits, masked) = (self.set.hits(&rest), std::mem::take(&mut self.masked));
        self.found += hits.len() as u64;
        if hits.is_empty() && masked == 0 { rest } else { masked_copy(&rest, &hits, masked) }
    }

    /// How many secrets were masked.
    pub(crate) const fn masked(&self) -> u64 {
        self.found
    }

    /// How many bytes are held back.
    pub(crate) fn held_len(&self) -> u64 {
        self.held.len() as u64
    }

    /// Whether anything is held back.
    pub(crate) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }
}

fn masked_copy(bytes: &[u8], hits: &[(usize, usize)], masked: usize) -> Bytes {
    let mut copy = bytes.to_vec();
    let len = copy.len();
    let begun = [(0, masked)];
    let within = hits.iter().chain(&begun).map(|(from, to)| ((*from).min(len), (*to).min(len)));
    mask(&mut copy, &within.collect::<Vec<_>>());
    copy.into()
}

#[cfg(test)]
mod tests;
