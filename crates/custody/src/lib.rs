//! Sealing, keys, secret memory: the one room that turns a secret into bytes that may leave a process.
//!
//! Everything else carries [`Sealed`](nightlatch_domain::sealed::Sealed) (for one recipient, in transit)
//! or [`Wrapped`](nightlatch_domain::sealed::Wrapped) (at rest, under the keeper's key). Who may do what
//! is a matter of which key a plane holds, so the room is cut along the holders:
//!
//! | module | for whom | what it can do |
//! |---|---|---|
//! | [`seal`] | command line, control, anyone | seal to a public key; opens nothing |
//! | [`keys::keeper`] | the keeper | wrap and open at rest, vouch for rows, open the intake, seal leases |
//! | [`keys::gateway`] | the gateway | TLS identity, the ledger's signing key and keyed hash |
//! | [`keys::calls`] | the gateway | seal and open durable calls at rest; no credential is among them |
//! | [`keys::webhooks`] | the gateway | signs what a webhook is told |
//! | [`keys::interception`] | the gateway | one name-constrained authority a tool, for its proxy door |
//! | [`replica`] | the gateway's `attach` | an ephemeral key of one wake; opens its leases |
//! | [`link`] | every plane | writes letters to the processes of other planes, reads what they wrote to this one |
//! | [`signature`] | keeper, gateway | whether an agent's key signed a text |
//! | [`entropy`] | the program | the system's generator behind the domain's port |
//!
//! **Promises.** A [`Secret`] cannot be printed, cloned, compared or serialised, and its memory is wiped
//! when it goes. What was wrapped opens only with the very
//! [`SealContext`](nightlatch_domain::sealed::SealContext) that it was wrapped with: a row that was moved,
//! swapped or edited opens to nothing, and every way to fail is the same opaque [`CustodyError::Refused`].
//! A lease opens only with its wake's key and its own binding. Key files are 0600, appear whole or not at
//! all, and are never overwritten; a missing one beside a database that is not empty is an error.
//!
//! **Never.** No secret in an error, a log or a `Debug`; no default key; no algorithm that a message
//! could choose; nothing here reads a database or a clock.

pub mod entropy;
mod error;
mod hpke;
pub mod keys;
mod lease;
pub mod link;
pub mod replica;
pub mod seal;
mod secret;
pub mod signature;
mod wrap;

pub use error::CustodyError;
pub use keys::{
    calls::CallKey,
    gateway::{GatewayKeys, RecordKeys, TlsIdentity},
    interception::{Authority, Interception},
    keeper::KeeperKeys,
    link::LinkKey,
    webhooks::WebhookKey,
};
pub use replica::{ReplicaKey, Rewrapped};
pub use secret::Secret;
pub use wrap::Prepared;

#[cfg(test)]
mod testing;
