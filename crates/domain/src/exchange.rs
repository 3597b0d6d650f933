//! A call on its way: the facts of its head, as every phase after the door sees them.
//!
//! There is one parse. Policy decides on these facts, the ledger hashes them, and the upstream gets a
//! request that is written anew from them. Bodies and HTTP types live in `gateway`.

use crate::{
    clock::Timestamp,
    id::{CallId, ConnectionId, GrantId, PrincipalId, TaskId, TenantId},
    principal::Binding,
    tool::{BoundHost, Effect, Name, OperationId, Sensitivity},
};
use serde::{Deserialize, Serialize};

/// Who calls, as admission proved it. Never taken from a reference.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Caller {
    /// The tenant.
    pub tenant: TenantId,
    /// The agent.
    pub agent: PrincipalId,
    /// The task.
    pub task: TaskId,
    /// What proved it.
    pub binding: Binding,
}

/// The canonical target: what policy sees and what is sent are the same bytes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Target {
    /// The method, in capitals.
    pub method: String,
    /// The absolute path, percent-encoding normalised, without dot segments.
    pub path: String,
    /// The raw query without its `?`, as it is sent; none where there was no `?`.
    pub query: Option<String>,
    /// The protocol that the connection is to switch to; none for an ordinary call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upgrade: Option<Upgrade>,
}

/// A protocol that a call may switch to (RFC 9110 §7.8). It is part of what is asked for, like the method: what a
/// path does by GET and what it does by WebSocket are two things.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Upgrade {
    /// RFC 6455.
    WebSocket,
}

impl Upgrade {
    /// The protocol's name, as manifests and requests write it (RFC 6455 §11.2).
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::WebSocket => "websocket",
        }
    }
}

/// What the catalogue made of a target.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Matched {
    /// The operation; `unlisted` where no manifest entry fits.
    pub operation: OperationId,
    /// What it does.
    pub effect: Effect,
    /// How bad it would be if it were seen.
    pub sensitivity: Sensitivity,
    /// The resource that it names, by the manifest's template.
    pub resource: Option<String>,
    /// The path template, for the ledger: never the path itself.
    pub template: String,
}

/// The facts of a call after `resolve`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exchange {
    /// The call's id; it stands in the answer as `nightlatch-call`.
    pub call: CallId,
    /// When its head was read.
    pub at: Timestamp,
    /// Who calls.
    pub caller: Caller,
    /// The tool.
    pub tool: Name,
    /// The grant that its reference named.
    pub grant: GrantId,
    /// The connection of that grant.
    pub connection: ConnectionId,
    /// The host that it goes to: one of the connection's.
    pub host: BoundHost,
    /// What is asked for.
    pub target: Target,
    /// What that means. Where its body asks for several things, the one with the strictest effect.
    pub matched: Matched,
    /// What its body asks for besides, each another operation. A decision is made on every one.
    pub also: Vec<Matched>,
}

impl Exchange {
    /// Everything that it asks for: at least one operation, the one with the strictest effect first.
    pub fn every(&self) -> impl Iterator<Item = &Matched> {
        std::iter::once(&self.matched).chain(&self.also)
    }
}
