//! The words of Nightlatch as types, its ports as traits, its refusals as problems.
//!
//! Everything here is data and contract: no I/O, no clock, no randomness, no async runtime. What a
//! crate needs of the world (time, entropy, a store, the keeper) is a trait in this room, and what
//! crosses such a trait is serialisable, so that planes which share a process today can be split
//! without rewriting anything.
//!
//! **Promises.** One word has one meaning ([`principal`], [`tool`], [`connection`], [`task`],
//! [`grant`], [`chain`] …). No clear secret is a field of any type here: what carries one is
//! [`sealed::Sealed`] or [`sealed::Wrapped`]. Ids are newtypes and cannot be mixed up.
//!
//! **Never.** No dependency but serde and thiserror; no secret in the clear; no formatted string
//! where a caller could be shown something that a provider or an agent wrote.

pub mod budget;
pub mod call;
pub mod chain;
pub mod clock;
pub mod companion;
pub mod connection;
pub mod exchange;
pub mod grant;
pub mod id;
pub mod import;
pub mod meters;
pub mod ports;
pub mod principal;
pub mod problem;
pub mod reference;
pub mod sealed;
pub mod task;
pub mod ticket;
pub mod tool;
