//! Proves the corridor from the outside: what an agent, hostile or not, can make of the gateway over raw
//! sockets, and what stands in the way. Every attack ends with the same oracle ([`world::World::attack`]).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "what a test sets up must succeed"
)]

mod answers;
mod between;
mod braked;
mod budgets;
mod calls;
mod carried;
mod carriers;
mod client;
mod confirming;
mod conformance;
mod destination;
mod door;
mod ending;
mod events;
mod frames;
mod framing;
mod fused;
mod graphql;
mod identity;
mod keeper;
mod limits;
mod mandated;
mod missing;
mod misuse;
mod opened;
mod orphaned;
mod own;
mod paced;
mod passing;
mod proxied;
mod reflection;
mod standing;
mod streams;
mod tokens;
mod told_apart;
mod tunnels;
mod unbound;
mod upstream;
mod wakes;
mod walks;
mod webhooks;
mod websocket;
mod world;
