//! The agent's side: what stands between an unchanged program and the gateway.
//!
//! A program is told of a proxy on loopback and knows nothing else of us. Behind the proxy is the companion: it
//! holds the agent's key, has one connection to the gateway over which every tunnel runs, and understands nothing
//! of what goes through. Around the program are the walls of [`sandbox`], where `run` starts it.
//!
//! | module | what it does |
//! |---|---|
//! | [`companion`] | the whole: start, enrol, trust, close |
//! | `front`, `head`, `tunnel` | the local listener, the one head that is read there, and what is carried |
//! | [`guard`], `peers` | who may use it: a password, a user by the kernel's table |
//! | `calls` | durable calls of programs, and mandates for them |
//! | `line`, [`dial`] | the one connection to the gateway, made when it is needed |
//! | [`gateway_key`], [`identity`] | the gateway's key by its hash; the agent's own |
//! | `wake` | the keeper's challenge, signed |
//! | `reports` | what was refused here, for the ledger |
//! | [`sandbox`] | the walls around a program that `run` starts |
//!
//! **Promises.** The agent's key and the run's password reach no file (but a sidecar's own key file, 0600), no log
//! and no error. Only the gateway with the pinned key is spoken to, over TLS 1.3. A challenge is signed for this
//! key's task and this gateway alone, a mandate for a call that came through here and for its very bytes. Whoever is refused locally learns nothing and is counted.
//!
//! **Never.** No byte inside a tunnel is read; no name is resolved but the gateway's; no connection goes anywhere
//! but to the gateway; nothing dials by itself, so a sleeping task sleeps.

mod answer;
mod calls;
pub mod companion;
pub mod dial;
mod error;
mod front;
pub mod gateway_key;
pub mod guard;
mod head;
pub mod identity;
mod limits;
mod line;
mod peers;
mod reports;
pub mod sandbox;
mod tunnel;
mod wake;

pub use companion::{Companion, Config, Enrolled};
pub use dial::{Address, Dial};
pub use error::CompanionError;
pub use gateway_key::GatewayKey;
pub use guard::{Guard, Password};
pub use identity::Identity;
pub use limits::Limits;
pub use line::Link;
