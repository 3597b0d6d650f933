//! Tickets: what only a human can settle.
//!
//! One inbox for all; delivery (mail, webhook) comes with a room of its own. Today a ticket is raised
//! with the state that needs it, in the same transaction, and shown by `health` and in refusals.

use crate::{
    clock::Timestamp,
    id::{ConnectionId, TenantId, TicketId},
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// What a human is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TicketKind {
    /// Connect the same account again.
    Reauthorize,
}

/// How many questions these are.
#[must_use]
pub fn questions(tickets: &[Ticket]) -> usize {
    let cause = |ticket: &'_ Ticket| ticket.era.map(|era| (era, ticket.reason.clone()));
    let causes: BTreeSet<_> = tickets.iter().filter_map(cause).collect();
    tickets.iter().filter(|ticket| ticket.era.is_none()).count() + causes.len()
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
    /// Where logs were held against the database as it was raised: in which era. Tickets of one era and reason are one question:
    /// they have one cause, and whoever tells a human tells of them together.
    pub era: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::{Ticket, TicketKind, questions};
    use crate::{
        clock::Timestamp,
        id::{ConnectionId, TenantId, TicketId},
    };

    #[test]
    fn tickets_of_one_era_are_one_question() {
        let now = Timestamp::from_millis(1);
        let ticket = |era| Ticket {
            tenant: TenantId::new(now, [1; 10]),
            id: TicketId::new(now, [1; 10]),
            kind: TicketKind::Reauthorize,
            connection: ConnectionId::new(now, [1; 10]),
            reason: "unvouched".into(),
            raised_at: now,
            settled_at: None,
            era,
        };
        let tickets = [Some(2), None, Some(3), Some(2), None].map(ticket);
        assert_eq!((questions(&tickets), questions(&[])), (4, 0));
    }
}
