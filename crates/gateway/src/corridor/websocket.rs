//! WebSockets (RFC 6455): a call that goes on in both directions after its answer's head.
//!
//! ```text
//!  agent ══ its handshake ══► door … attach ──► forward ══ our handshake ══► tool
//!        ◄═ 101, when the tool's has come ═════════════════════════════════
//!        ── frames: mask taken off, counted, our mask put on ────────────►
//!        ◄─ frames: scrubbed over their edges, counted ──────────────────
//! ```
//!
//! It walks through the same rooms as any call, and by the same function; what is said over it afterwards is as
//! opaque as a body. **No byte of the agent goes to the tool before the tool's 101**: until then nothing reads what
//! the agent may have sent already (it waits in the kernel, and in one buffer of hyper's), and where the tool answers
//! otherwise it never goes anywhere, and the connection is closed behind that answer.
//!
//! Nothing is agreed upon that could hide bytes from scrub: extensions are not offered, and a tool that takes one
//! all the same is refused. What ends a wake, a task or a grant cuts a WebSocket like any answer ([`passing`]); the
//! way out ends with it.

mod downward;
mod frame;
mod handshake;
mod passing;
mod upward;

use super::{Corridor, body::Bounds, forward, record::Closing, resolve::Resolved};
use crate::{
    answer::{self, OutBody},
    gateway::Tunnels,
};
use bytes::Bytes;
use downward::Downward;
#[cfg(feature = "fuzzing")]
pub(crate) use frame::{Side, said};
pub(super) use handshake::Offer;
use http::{HeaderValue, Response};
use hyper::upgrade::OnUpgrade;
use nightlatch_egress::Switched;
use nightlatch_scrub::Masks;
use passing::{Fresh, Passing};
use std::sync::Arc;
use upward::Upward;

/// An agent's handshake, as a door read it, and what carries the WebSocket once it stands.
pub(crate) struct Switching {
    /// What its side wants to be answered.
    pub(crate) key: String,
    /// The subprotocols that it offers.
    pub(crate) protocols: Vec<String>,
    /// The agent's connection, once the 101 was written.
    pub(crate) upgrade: OnUpgrade,
    /// Where it runs.
    pub(crate) tunnels: Arc<Tunnels>,
}

impl Corridor {
    /// Answers the agent's handshake, now that the tool has answered ours, and begins to pass frames.
    pub(super) fn switch(
        &self,
        switching: Switching,
        (agreed, protocol): (Response<Switched>, Option<HeaderValue>),
        resolved: &Resolved,
        (scrub, bounds): (Masks, Bounds),
        mut closing: Closing,
    ) -> Response<OutBody> {
        let Switching { key, protocols: _, upgrade, tunnels } = switching;
        let (head, tool) = agreed.into_parts();
        let exchange = &resolved.exchange;
        let method = exchange.target.method.as_str();
        let shown = forward::shown(head.status, &head.headers, method, &resolved.manifest, (&scrub, false));
        closing.note(head.status, &shown);
        let mut answer = Response::new(answer::whole(Bytes::new()));
        *answer.status_mut() = head.status;
        *answer.headers_mut() = shown.head;
        handshake::answer(answer.headers_mut(), &key, protocol);
        answer::name_call(answer.headers_mut(), exchange.call);
        let up = Upward::new(Fresh(Arc::clone(&self.entropy)), closing.sent.clone());
        let down = Downward::new(scrub, closing.received.clone());
        let (passing, within) = (Passing::new(up, down, bounds, closing), self.limits.handshake_within);
        tunnels.begin(|ends, busy| {
            Box::pin(async move {
                let _busy = busy;
                passing.run(upgrade, tool, ends, within).await;
            })
        });
        answer
    }
}
