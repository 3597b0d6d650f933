//! The data plane: doors and corridor.
//!
//! An agent's request comes in by a [door](Gateway::serve), walks through the phases of the corridor in one
//! order, and leaves with a credential only where all of them said yes:
//!
//! ```text
//!  door ─► admit ─► resolve ─► decide ─► hold ─► record ─► attach ─► forward ─► scrub ─► record
//! ```
//!
//! | module | what it is |
//! |---|---|
//! | `doors` | HTTP, checked as HTTP: framing, Host and Origin, our own paths, the `route` and `proxy` doors |
//! | `calls` | calls that outlive their caller: kept, marked, carried out once, answered in the end |
//! | `interception` | standing for a tool inside of a tunnel: its authority, short-lived leaves |
//! | `corridor` | one file a phase, and the one function that calls them |
//! | [`directory`] | what a decision needs, in memory, fed by the change feed |
//! | `wakes` | proofs, wakes, sealed leases, and their end |
//! | [`brakes`] | how often, how many at once, when a provider asked to wait, and not again for the same reason |
//! | [`sight`] | what can be seen of the calls, while they run and in numbers after |
//! | `quick` | tables into which every call looks |
//! | `running` | which calls use which generation; the keeper's drain |
//! | [`tls`] | client certificates that are proved by signature and admitted by key |
//! | [`limits`] | everything that an outsider can grow, and how far |
//!
//! **Promises.** Who calls is what the handshake proved, never what a request says. A lease is opened in
//! `attach` and nowhere else, after a decision and a ledger entry that it takes by value; it goes to the host
//! that its seal names. What came back is masked and streamed with flat memory. Missing means deny: no
//! directory, a stale one, no keeper, no ledger, no policy each refuse every call, typed. A wake's end wipes
//! its key and its leases at once and cuts what ran in it.
//!
//! **Never.** This room never speaks to the keeper but over its port, never follows a redirect, never sends
//! twice what may have been sent, never writes a secret, a reference, a body or a query anywhere but where it
//! was meant to go.

mod answer;
pub mod brakes;
mod calls;
mod corridor;
pub mod directory;
mod doors;
mod error;
mod fields;
mod flight;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod gateway;
mod interception;
pub mod limits;
mod noise;
mod peer;
mod quick;
mod running;
pub mod sight;
pub mod tls;
mod turns;
mod wakes;

pub use calls::{CallLimits, Webhook};
pub use directory::Directory;
pub use error::GatewayError;
pub use gateway::{Gateway, Parts};
pub use limits::Limits;
