//! The agent's side: what stands between an unchanged program and the gateway.
//!
//! - [`sandbox`]: the walls around a program that `run` starts.

pub mod sandbox;
