//! Scrub: what must not go back to an agent, found in a stream and masked, by somebody who need not know it.
//!
//! Whoever holds the secrets of a connection makes a [`WindowSet`] of them: keyed hashes of short stretches,
//! from which nobody reads a secret. Whoever hands an answer on holds the set and asks of every 16 bytes that
//! pass whether they are a secret's. A tool that echoes what it was sent, whole or in slices, plain or coded,
//! is so cut short.
//!
//! | module | what it is |
//! |---|---|
//! | [`set`] | the set: what is in it, how it is made, written down and read |
//! | `hash` | the keyed hashes: one to look quickly, one to be sure |
//! | `find` | where in a text a secret's windows lie; fast where there are none |
//! | `forms` | the forms that a secret is looked for in: a form is a decoder, and a gate that says where to try it |
//! | `hold` | what of a text's end could go on to be a window |
//! | [`needles`] | secrets that are known in clear, sought whole |
//! | [`scrubber`] | the mask over a stream |
//! | [`reveal`] | new secrets, known by their shape: counted, not masked |
//! | [`coding`] | content codings, taken off before anything is sought |
//!
//! **Promises.** However a stream is cut, the output is the same. No 16 bytes of a secret that is whole in the
//! set survive in any form that is listed, each masked byte by one `*`; what holds no secret is unchanged. What is held back is
//! shorter than a window. The set tells nobody a secret who could not guess 13 bytes of it at once.
//!
//! **Never.** Pure: no I/O, no clock, no randomness, no async; nothing here prints.

pub mod coding;
mod find;
mod forms;
mod hash;
mod hold;
pub mod needles;
pub mod reveal;
pub mod scrubber;
pub mod set;

pub use needles::Needles;
pub use scrubber::{Masks, Scrubber};
pub use set::{Sought, WindowSet};

/// A stretch of a text: from, to.
pub(crate) type Span = (usize, usize);
