//! Ports for what must know its own before it listens, chosen so that nobody takes them meanwhile.
//!
//! The kernel hands out ports of its ephemeral range to whoever asks for any, and to every outgoing connection: one
//! that was looked up there and let go can be somebody else's a moment later. These lie below that range, are given
//! once in this process, and begin elsewhere in every other.

use std::{
    net::TcpListener,
    sync::atomic::{AtomicU16, Ordering},
};

/// Below Linux's ephemeral range (32768 on), above what well-known servers use.
const FIRST: u16 = 12_000;
const COUNT: u16 = 20_000;

static GIVEN: AtomicU16 = AtomicU16::new(0);

/// A port on which nobody listens, given to nobody else here.
pub(crate) fn free_port() -> u16 {
    // Processes that run at once differ in their ids by little: far apart by a multiple of it.
    let begin = std::process::id().wrapping_mul(7_919) % u32::from(COUNT);
    let begin = u16::try_from(begin).expect("less than the count");
    (0..COUNT)
        .map(|_| FIRST + begin.wrapping_add(GIVEN.fetch_add(1, Ordering::Relaxed)) % COUNT)
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .expect("a free port")
}
