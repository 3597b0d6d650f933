//! What a local program can grow, and how far.

use std::time::Duration;

/// The bounds of one companion. Memory is their sum: a tunnel costs two buffers and its windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Connections that have not shown their first head.
    pub heads_max: usize,
    /// Tunnels at once: as many streams as the gateway carries over one connection, without a few that are left
    /// for our own questions.
    pub tunnels_max: usize,
    /// The first head. Programs send a few hundred bytes before a tunnel; a request over plain HTTP may carry cookies.
    pub head_max_bytes: usize,
    /// The first head, from the first byte to the last: it is one packet.
    pub head_within: Duration,
    /// A connection to the gateway, TLS and HTTP/2 included.
    pub dial_within: Duration,
    /// One of our own questions to the gateway.
    pub ask_within: Duration,
    /// The gateway's answer to a tunnel: it connects to a tool meanwhile.
    pub tunnel_within: Duration,
    /// A tunnel of which one side is done and the other silent. Long polls and thoughtful models pause for minutes.
    pub quiet_max: Duration,
    /// The first pause after a failed connection; it doubles.
    pub pause_first: Duration,
    /// The longest pause.
    pub pause_max: Duration,
    /// A gateway that is gone without a word is noticed by a ping.
    pub ping_every: Duration,
    /// A signed wake is proved again after this: before the gateway's own margin (a quarter of the hour) begins.
    pub wake_again_after: Duration,
    /// Between two looks whether something is due: a wake to be proved again, refusals to be told.
    pub look_every: Duration,
    /// What one tunnel may have in flight unread. 256 KiB fill 100 Mbit/s at 20 ms.
    pub stream_window_bytes: u32,
    /// What all tunnels may have in flight unread: a quarter of what all could have. It bounds the memory.
    pub connection_window_bytes: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            heads_max: 128,
            tunnels_max: 250,
            head_max_bytes: 16 * 1024,
            head_within: Duration::from_secs(10),
            dial_within: Duration::from_secs(10),
            ask_within: Duration::from_secs(30),
            tunnel_within: Duration::from_secs(60),
            quiet_max: Duration::from_secs(300),
            pause_first: Duration::from_millis(100),
            pause_max: Duration::from_secs(5),
            ping_every: Duration::from_secs(20),
            wake_again_after: Duration::from_secs(40 * 60),
            look_every: Duration::from_secs(2),
            stream_window_bytes: 256 * 1024,
            connection_window_bytes: 16 * 1024 * 1024,
        }
    }
}
