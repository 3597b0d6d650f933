//! The one way out: every connection that leaves the process is made here.
//!
//! Upstream calls, token endpoints, account probes: whoever needs the outside asks a [`Connector`] for
//! it and says where to ([`Destination`]). There is no second path, so there is one place where a name
//! becomes an address and where it is decided whether that address may be spoken to.
//!
//! **Promises.**
//! - Every address in a resolver's answer is judged by its class ([`address`]); one that nobody allowed
//!   refuses the whole answer. What is dialled is one of the judged addresses, at each connection anew.
//! - A lookup has a place, and no name that an agent chose takes one of tools or keeper (`lookups`).
//! - A host is a plain name, or an address in the one form in which it prints ([`destination`]).
//! - TLS 1.2 or 1.3 with the server's name checked under the system's roots, or under the map's own and
//!   no other ([`tls`]). Plain HTTP only to loopback, and only where the operator named the host.
//! - An error says whether anything may have been sent ([`EgressError::nothing_was_sent`],
//!   [`SendError`]). Nothing that may have been sent is sent again.
//! - Connections belong to one grant ([`PoolKey`]), and go with it ([`Pool::close_grant`]).
//!
//! **Never.** No redirect is followed, no proxy variable read, no early data sent, no session resumed,
//! no `Alt-Svc` obeyed. No secret is part of a key, an error or a log line.

pub mod address;
pub mod config;
mod connect;
pub mod destination;
mod error;
mod fresh;
mod lookups;
mod outgoing;
mod pool;
mod quick;
mod resolve;
mod stream;
pub mod tls;
mod wire;

pub use config::{Allow, EgressConfig, Map};
pub use connect::{Connected, Connector, Protocol};
pub use destination::Destination;
pub use error::{EgressError, Fault};
pub use fresh::{FreshConnection, LostAnswer, RawAnswer, SendError, SendWindow};
pub use lookups::WEBHOOKS_MAX;
pub use outgoing::SendBody;
pub use pool::{AnswerBody, Answered, Pool, PoolKey, PoolLimits, Switched, Timeouts};
pub use resolve::{Resolve, SystemResolver};
pub use stream::Stream;
pub use tls::Alpn;
pub use wire::{Line, Wire};
