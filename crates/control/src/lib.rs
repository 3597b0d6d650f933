//! The plane through which a human arranges everything: the REST API on a socket in the data folder, and
//! the redirect listener for OAuth.
//!
//! ```text
//! nightlatch CLI ──MAC──► run/api.sock ──► auth ─► routes ─┬─► store (rows that the keeper vouched for)
//! a human's browser ─────► 127.0.0.1:8444 ► oauth ─────────┼─► keeper (port; what is secret is sealed)
//!                                                          └─► settled? (the gateway applied it) ─► answer
//! ```
//!
//! **Promises.**
//! - A request is let in by a MAC under the token of the data folder, once and within a minute; a peer's UID
//!   authenticates nobody ([`auth`]).
//! - A row that decides who may do what is vouched for by the keeper before it is stored.
//! - What takes something away (revoke, complete, sleep, disable, remove) is durable, and in effect at the
//!   gateway, before it is confirmed ([`Settled`]); what gives something is in the ledger before it is stored.
//! - A flow ends with the human who began it: one-time start link, cookie, state, context (`oauth`).
//! - The API's document is made from the code ([`openapi()`]).
//!
//! **Never.** No clear secret: what a human typed is sealed by the command line, a code that came back in a
//! browser by `oauth`, both to the keeper's intake key. Nothing here calls the keeper but through its
//! port, opens a seal, or connects to the outside.

pub mod api;
pub mod auth;
pub mod client;
mod control;
mod error;
mod find;
mod oauth;
mod openapi;
mod routes;
pub mod server;
mod views;

pub use auth::ApiKey;
pub use client::{Client, ClientError};
pub use control::{Checkup, Control, Exposition, Facts, Parts, Settled, Standing};
pub use error::ControlError;
pub use openapi::openapi;
