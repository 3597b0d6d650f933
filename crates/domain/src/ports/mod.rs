//! Ports: what a room needs of the others, as traits over serialisable messages.
//!
//! The futures are boxed `std` futures, so this room needs no runtime. No clear secret crosses a port.
//! - [`gateway_keeper`]: the gateway asks the keeper for wakes and leases;
//! - [`control_keeper`]: control hands the keeper what a human typed, and rows to vouch for;
//! - [`files`]: what must outlive a crash, beside the store;
//! - [`mailbox`]: how the planes speak where they are processes: sealed rows of the one database;
//! - [`sight`]: what the gateway lets be seen of its calls;
//! - [`store`]: what each plane may read and write, one trait a plane;
//! - [`work`]: tasks and waits.

pub mod control_keeper;
pub mod files;
pub mod gateway_keeper;
pub mod mailbox;
pub mod sight;
pub mod store;
pub mod work;

use std::{future::Future, pin::Pin};

/// A boxed future that can be sent between threads.
pub type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;
