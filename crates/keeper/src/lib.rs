//! The keeper: keeps every connection alive while the agents sleep, and hands out credentials for one wake.
//!
//! It is the only room that opens what is stored at rest, redeems codes, writes credentials, and vouches
//! for rows. It faces the gateway through [`KeeperForGateway`](nightlatch_domain::ports::gateway_keeper)
//! and control through [`KeeperForControl`](nightlatch_domain::ports::control_keeper); both ports carry
//! messages that are really encoded, and no clear secret.
//!
//! ```text
//!  timer ─┐                        ┌─ anchor  (own log, outside the data folder)
//!  lease ─┼─► flights ─► refresh ──┼─ spool   (raw answers, sealed, on local disk)
//!  401  ──┘   one each    machine  ├─ store   (claims, intents, heads)
//!                         decides  └─ token   (the endpoint's dialect) ─► egress
//!  wake ─► Awake ─► lease      enrol ─► redeem ─► conclude      recover: before anything else
//!  revoking: what nobody lives on any more ends at its provider (RFC 7009)
//! ```
//!
//! **Promises.** A refresh token is presented once for each generation, over every crash: the intent is in
//! the database and the anchor in the log before a first byte leaves, and the log refuses a second
//! ([`machine`], [`anchor`]). An answer is durable before it is read, and a new refresh token before its
//! access token is leased ([`spool`]). One refresh is in flight for each chain, detached from everybody who
//! waits for it. What may have been presented, and was not answered, is *uncertain*: it is presented once more where
//! the profile's verified facts allow that ([`second`]), and else a human is asked; an answer that comes late still
//! counts. A provider's final no latches, once every unused answer was tried, and costs no further call. Of several
//! keepers over one store one holds a chain, until another saw its claim unchanged for a lease ([`watched`],
//! [`keeping`]). A lease follows
//! only from a wake that was verified here, a grant, a task and an agent that bear the keeper's word, and a
//! secret that opened with the context of the very row that was asked for; its hosts come from that seal. With
//! it go hashes of every other secret of the connection that may still live, so that none comes back unseen.
//!
//! **Never.** No error path deletes a credential. No lock and no transaction is held while a provider is
//! waited for. No row of the database is believed for what it says about itself. No secret in a log, an
//! error or a `Debug`.
//!
//! **Not built.** Revoking the old family after a reconnect, signed proofs of wake, minting; two connections on one chain
//! are refused. A task's or grant's *older* attested row that is put
//! back by whoever writes the database is not noticed (the roll of charters will).

pub mod anchor;
mod core;
mod credential;
mod enrol;
mod error;
mod flights;
mod history;
mod imports;
mod keeper;
pub mod keeping;
mod lease;
pub mod machine;
mod mandate;
mod observed;
mod pace;
mod probe;
mod recover;
mod refresh;
mod revoking;
pub mod schedule;
pub mod second;
pub mod spool;
mod system;
mod timer;
pub mod token;
mod wake;
pub mod watched;
mod windows;

pub use crate::core::{KeeperConfig, KeeperParts, Notes, Unwatched, Watch};
pub use error::KeeperError;
pub use keeper::Keeper;
pub use system::{SystemFiles, TokioWork, boot_id};
