//! The catalogue: what a tool is, what can be done with it, and how its provider treats tokens.
//!
//! Everything here is data and pure functions over it: no I/O, no clock. Three questions are answered.
//!
//! * **What does this request line say?** [`canonical::target`] is the one parse of a request target.
//!   What can be read in two ways is refused, never repaired; what comes out is at once what policy
//!   matches and what is sent.
//! * **What is asked for?** A [`manifest::Manifest`] (TOML, `manifests/*.toml` or an operator's own)
//!   says which hosts a tool has, where a credential stands on each, where a client may put its
//!   reference, and which operations there are. [`manifest::Manifest::matched`] turns a canonical
//!   target into an operation with its effect, its sensitivity and the resource that it names. What
//!   no operation lists is `admin`, so that nothing is allowed because nobody thought of it.
//! * **How does this provider treat tokens?** A [`profile::Profile`] (TOML, `profiles/*.toml` or an
//!   operator's own) holds lifetimes, rotation, grace and the meaning of errors. A fact that a profile
//!   does not state has its worst value. [`profile::Profile::classify`] says what an answer of the token
//!   endpoint means for the refresh token that was presented.
//!
//! **Promises.** A file is refused whole when anything in it is unknown, doubtful or ambiguous, and the
//! refusal ([`reading::FileError`]) lists every finding with its line and what to write instead. The same
//! target and manifest always give the same operation: the narrowest that fits. Two that fit equally well do
//! not load together, and a request on which two are at odds is `admin`.
//!
//! **Never.** This room decides nothing about who may do what (that is `policy`), never opens a file or a
//! socket, and sees no secret.
//!
//! Resources and letter case: a provider may hold `Acme/X` and `acme/x` for one repository. A manifest
//! that says `case = "insensitive"` gives resources in lower case, and [`manifest::Manifest::check_grant`]
//! gives the grant back in the same form, so that `@Acme/*` and `@acme/*` mean the same, in a grant and in
//! a `forbid`. Names beyond ASCII are refused there: two alphabets' ideas of lower case are two readings.

pub mod builtin;
pub mod canonical;
pub mod graphql;
pub mod manifest;
pub mod openapi;
pub mod profile;
pub mod reading;

mod strict;
mod suggest;
