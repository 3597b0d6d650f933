//! Forms: what a secret may look like on its way back.
//!
//! Each form is a decoder over a stretch of text. It gives a [`View`]: bytes as they would be decoded, and for
//! each where in the text it stood. A view is asked for windows like any text, so spellings may be mixed
//! (`%2f` and `%2F`, some characters escaped and others not), and what is hashed of a secret grows with no form.
//! Each has a gate that is cheap and misses nothing: it says where in a text the decoder is worth running.

pub(crate) mod base64;
pub(crate) mod escapes;
pub(crate) mod hex;
pub(crate) mod wide;

use crate::Span;
use zeroize::Zeroizing;

/// How much of a text one view takes. What goes on behind it is taken by the next one, which begins so far
/// before the end of this one that no window is lost. A view that was opened in vain costs no more than this.
pub(crate) const VIEW_MAX: usize = 128;

/// A stretch of text, decoded. What it decodes may be a secret. One is used again and again.
#[derive(Default)]
pub(crate) struct View {
    pub(crate) bytes: Zeroizing<Vec<u8>>,
    /// Where each byte stood.
    pub(crate) spans: Vec<Span>,
}

impl View {
    pub(crate) fn push(&mut self, byte: u8, span: Span) {
        if self.bytes.capacity() == 0 {
            // Once, so that nothing is left behind by a buffer that grows.
            self.bytes.reserve_exact(2 * VIEW_MAX);
        }
        self.bytes.push(byte);
        self.spans.push(span);
    }

    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.spans.clear();
    }
}
