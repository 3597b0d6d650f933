//! The doors by which a test's world is entered: a base URL, tunnels of either kind, plain HTTP to a proxy.
//!
//! A test speaks as to the `route` door. Behind another one, its bytes are written as that door has them: the
//! same path on the tool's own host, with that host's name.

use std::cell::Cell;

/// A way in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Door {
    /// `/{tool}/…` at the gateway.
    Route,
    /// CONNECT over HTTP/1.1.
    Tunnel,
    /// CONNECT in a stream of HTTP/2.
    Stream,
    /// Absolute-form, as one speaks it to a proxy.
    Absolute,
    /// Absolute-form inside of a stream of HTTP/2, as a companion hands it over.
    AbsoluteInStream,
}

thread_local! {
    static CURRENT: Cell<Door> = const { Cell::new(Door::Route) };
}

impl Door {
    /// The door of the worlds that this thread makes.
    pub(crate) fn current() -> Self {
        CURRENT.get()
    }

    /// Runs a test behind this door.
    pub(crate) fn during(self, test: impl FnOnce()) {
        let _restored = Restored(CURRENT.replace(self));
        test();
    }

    /// Whether the tool speaks plain HTTP there.
    pub(crate) const fn is_plain(self) -> bool {
        matches!(self, Self::Absolute | Self::AbsoluteInStream)
    }
}

struct Restored(Door);

impl Drop for Restored {
    fn drop(&mut self) {
        CURRENT.set(self.0);
    }
}

/// How bytes for the `route` door are written for another one.
#[derive(Clone)]
pub(crate) struct Rewriting {
    /// The gateway's own Host.
    pub(crate) gateway: String,
    /// The tool's.
    pub(crate) tool: String,
    /// What stands before the path.
    pub(crate) before: String,
}

impl Rewriting {
    pub(crate) fn apply(&self, bytes: &[u8]) -> Vec<u8> {
        let Ok(text) = std::str::from_utf8(bytes) else { return bytes.to_vec() };
        let text = text.replace(&format!("Host: {}", self.gateway), &format!("Host: {}", self.tool));
        let routes = [" /acme/~basic/", " /acme/~header/", " /acme/"];
        let on_host = |text: String, route: &&str| text.replace(*route, &format!(" {}/", self.before));
        routes.iter().fold(text, on_host).into_bytes()
    }
}
