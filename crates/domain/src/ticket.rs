//! Tickets: what only a human can settle.
//!
//! One inbox for all; delivery (mail, webhook) comes with a room of its own. Today a ticket is raised
//! with the state that needs it, in the same transaction, and shown by `health` and in refusals.

use crate::{
    clock::Timestamp,
    id::{ConnectionId, TenantId, TicketId},
};
use serde::{Deserialize, Serialize};

/// What a human is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TicketKind {
    /// Connect the same account again.
    Reauthorize,
}

/// One question to a human. At most one is open for a connection and kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ticket {
    /// The tenant.
    pub tenant: TenantId,
    /// The ticket's id.
    pub id: TicketId,
    /// What is asked for.
    pub kind: TicketKind,
    /// The connection that it is about.
    pub connection: ConnectionId,
    /// Why: a word of ours or an error code of RFC 6749 §5.2.
    pub reason: String,
    /// When it was raised.
    pub raised_at: Timestamp,
    /// When it was settled, if it was.
    pub settled_at: Option<Timestamp>,
}
