//! A provider and an API to try things on: OAuth 2.0 as a strict provider runs it, over real HTTP on loopback.
//!
//! What a token does at its end, when it is presented twice, when nobody uses it and when the provider
//! takes it back cannot be shown on an account that somebody needs. Here it can, in seconds in place of
//! months: access tokens that live for seconds, refresh tokens that rotate each time and die of idleness,
//! a detected reuse that ends the whole family, and counters that say what really happened.
//!
//! **Promises.**
//! - [`Provider`] is pure: time and randomness are arguments, no socket, no clock. [`Simulator`] is the
//!   thin shell of HTTP around it.
//! - It does by the standards what a client relies on: RFC 6749 (code and refresh), RFC 7636 (`S256`,
//!   required), RFC 9207 (`iss`), RFC 6750 (bearer), RFC 9700 §4.14 (rotation, reuse ends the family).
//! - Every secret that it gives out is listed ([`Provider::issued`]), so that a scan can look for it.
//! - [`world`] is another thing: no socket and no real time at all, one seed, and everything that can go wrong.
//!
//! **Never.** It listens on loopback only, knows nothing of who calls it, and holds no real account. It
//! shows its secrets to whoever asks its admin port: nothing true may be put into it.

mod admin;
mod error;
mod pages;
mod provider;
mod routes;
mod server;
pub mod world;

pub use error::SimulatorError;
pub use provider::{
    Account, AuthorizeRequest, Counters, Landing, OAuthError, Policy, Provider, Registered, TokenAnswer,
    TokenRequest,
};
pub use server::Simulator;
