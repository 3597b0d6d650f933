//! Secrets that are known in clear and sought whole: those too short for a window, and what of a longer one no
//! window covers.

mod short;

use crate::{Span, set::WINDOW};
use memchr::memmem;
use std::sync::Arc;
use zeroize::Zeroizing;

/// A shorter secret is sought as it is only: what else spells so few characters spells other things too.
const SHORT_MIN: usize = 8;

/// Texts that are masked wherever they stand as they are. Wiped with the last copy of this.
#[derive(Clone, Default)]
pub struct Needles(Arc<Vec<Zeroizing<Vec<u8>>>>);

impl Needles {
    /// What no window covers of a secret that is known in clear, and of the form that it was rendered in where that
    /// hides it: a JWT's header and claims, and all of a secret that is shorter than a window.
    #[must_use]
    pub fn of(secret: &[u8], rendered: Option<&[u8]>) -> Self {
        let mut needles: Vec<Zeroizing<Vec<u8>>> =
            rendered.into_iter().map(|text| text.to_vec().into()).collect();
        if secret.len() < WINDOW || secret.starts_with(b"eyJ") {
            needles.push(secret.to_vec().into());
        }
        if (SHORT_MIN..WINDOW).contains(&secret.len()) {
            needles.extend(short::forms(secret));
        }
        Self::new(needles)
    }

    /// These, but the empty ones.
    #[must_use]
    pub fn new(needles: Vec<Zeroizing<Vec<u8>>>) -> Self {
        Self(Arc::new(needles.into_iter().filter(|needle| !needle.is_empty()).collect()))
    }

    /// Where they stand, also where two overlap.
    pub(crate) fn find(&self, text: &[u8], found: &mut Vec<Span>) {
        for needle in self.0.iter() {
            let finder = memmem::Finder::new(needle);
            let mut from = 0;
            while let Some(at) = text.get(from..).and_then(|rest| finder.find(rest)) {
                found.push((from + at, from + at + needle.len()));
                from += at + 1;
            }
        }
    }

    /// The first place from which a text could go on to be one of them.
    pub(crate) fn held_from(&self, text: &[u8]) -> usize {
        self.0.iter().map(|needle| held_from(text, needle)).min().unwrap_or(text.len())
    }

    /// Whether one stands in a text that was put into lower case.
    pub(crate) fn is_in_lower(&self, text: &[u8]) -> bool {
        self.0.iter().any(|needle| memmem::find(text, &needle.to_ascii_lowercase()).is_some())
    }
}

/// The first place from which a text is a beginning of `needle` that is not yet whole.
fn held_from(text: &[u8], needle: &[u8]) -> usize {
    let Some(first) = needle.first() else { return text.len() };
    let earliest = text.len().saturating_sub(needle.len() - 1);
    let tail = text.get(earliest..).unwrap_or_default();
    let begins = |start: &usize| tail.get(*start..).is_some_and(|rest| needle.starts_with(rest));
    memchr::memchr_iter(*first, tail).find(begins).map_or(text.len(), |start| earliest + start)
}
