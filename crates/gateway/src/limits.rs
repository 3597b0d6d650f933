//! What an outsider can grow, and how far.
//!
//! Every bound stands here with its unit in its name and the reason beside it, so that memory is the sum
//! of what this page allows and nothing else. Tests make them small; the program takes the defaults.

use std::time::Duration;

/// The bounds of one gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// A request's head. The longest real ones (cookies, SAML) stay under 32 KiB; twice that is allowed.
    pub head_max_bytes: usize,
    /// Header lines of a request: browsers send 30, SDKs 20.
    pub headers_max: usize,
    /// Connections at once: at about 60 KiB each with TLS, 60 MiB.
    pub connections_max: usize,
    /// Connections of one enrolled key, or of one address that is nobody's: HTTP libraries pool about a hundred by
    /// default, and a task may run two of them. A quarter of all.
    pub connections_each_max: usize,
    /// Handshakes at once, which is all that somebody holds who never proves anything.
    pub handshakes_max: usize,
    /// Streams of one HTTP/2 connection: an agent that runs 200 subtasks over one must not wait.
    pub streams_each_max: u32,
    /// What one HTTP/2 stream may have in flight unread. 64 KiB, the protocol's own size, fill 25 Mbit/s at
    /// 20 ms, and more from beside.
    pub stream_window_bytes: u32,
    /// What one HTTP/2 connection may have in flight unread: this bounds its memory. A companion's line is one
    /// connection; half of its streams can stand still before the others do.
    pub connection_window_bytes: u32,
    /// Tunnels at once. Each is a TLS session of its own, at about 60 KiB, inside of a connection: 120 MiB.
    pub tunnels_max: usize,
    /// Tunnels of one key: twice the streams of one connection.
    pub tunnels_each_max: usize,
    /// Calls of one agent at once: twice the 256 streams of one connection.
    pub calls_each_max: usize,
    /// A TLS handshake: two round trips; slower than this is somebody who holds sockets open.
    pub handshake_within: Duration,
    /// A connection of nobody that asks nothing, and the end of one that was refused. An enrolment is one
    /// packet.
    pub stranger_within: Duration,
    /// A request's head, from its first byte, and a connection that asks nothing.
    pub head_within: Duration,
    /// A body that does not move, either way, because nobody sends or nobody reads. Long polls and thoughtful models pause for minutes.
    pub body_idle: Duration,
    /// A connection to a tool, TLS included.
    pub connect_within: Duration,
    /// The head of a tool's answer: SDKs of language models wait for ten minutes by default.
    pub answer_within: Duration,
    /// How long a call waits for the keeper to renew a credential.
    pub patience: Duration,
    /// How much longer than the patience the gateway waits for the keeper, which bounds itself by it.
    pub keeper_grace: Duration,
    /// How old the directory may be before every call is refused.
    pub staleness_bound: Duration,
    /// A wake that ends sooner than this is proved anew for a new call, so that no call is cut early.
    pub wake_margin: Duration,
    /// Between the end of a wake and the cut of the streams that ran in it.
    pub cut_after: Duration,
    /// How long a shutdown waits for running calls.
    pub close_within: Duration,
    /// Notes to ledger and keeper that run beside the calls they are about; further ones are waited for.
    pub asides_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head_max_bytes: 64 * 1024,
            headers_max: 128,
            connections_max: 1024,
            connections_each_max: 256,
            handshakes_max: 128,
            streams_each_max: 256,
            stream_window_bytes: 64 * 1024,
            connection_window_bytes: 8 * 1024 * 1024,
            tunnels_max: 2048,
            tunnels_each_max: 512,
            calls_each_max: 512,
            handshake_within: Duration::from_secs(10),
            stranger_within: Duration::from_secs(10),
            head_within: Duration::from_secs(30),
            body_idle: Duration::from_secs(300),
            connect_within: Duration::from_secs(10),
            answer_within: Duration::from_secs(600),
            patience: Duration::from_secs(20),
            keeper_grace: Duration::from_secs(5),
            staleness_bound: Duration::from_secs(30),
            wake_margin: Duration::from_secs(15 * 60),
            cut_after: Duration::from_millis(500),
            close_within: Duration::from_secs(10),
            asides_max: 256,
        }
    }
}
