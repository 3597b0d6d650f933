//! Connections: one account at one tool, as a user sees it.

use crate::{
    chain::{Chain, ChainState},
    clock::Timestamp,
    id::{ChainId, ConnectionId, TenantId, TicketId},
    sealed::{SealContext, Wrapped},
    ticket::Ticket,
    tool::{BoundHost, Name},
};
use serde::{Deserialize, Serialize};

/// What a connection's credential comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Source {
    /// Tokens that the keeper refreshes.
    Chain {
        /// The chain.
        chain: ChainId,
    },
    /// A secret that does not change by itself. Lower assurance, and shown as such.
    Static,
}

/// One account at one tool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connection {
    /// The tenant.
    pub tenant: TenantId,
    /// The connection's id.
    pub id: ConnectionId,
    /// The tool.
    pub tool: Name,
    /// Its name, unique within the tool.
    pub name: Name,
    /// The account's stable id at the tool, where it was probed.
    pub account: Option<String>,
    /// The account as people know it.
    pub account_label: Option<String>,
    /// Where its credential comes from.
    pub source: Source,
    /// The hosts that it was confirmed for. For people and for routing: the seal decides.
    pub hosts: Vec<BoundHost>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was removed, if it was. Its secrets are gone then.
    pub removed_at: Option<Timestamp>,
}

/// A static secret at rest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StaticSecret {
    /// The tenant.
    pub tenant: TenantId,
    /// Whose it is.
    pub connection: ConnectionId,
    /// Counts from 1; a reconnect adds one.
    pub generation: u64,
    /// The secret with its context.
    pub secret: (Wrapped, SealContext),
    /// When it was stored.
    pub created_at: Timestamp,
}

/// How a connection is, in one word that people and programs read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Health {
    /// It works, and nothing is to be done.
    Healthy,
    /// The keeper is at work or waits to try again.
    Recovering,
    /// Only a human can help.
    NeedsYou,
}

/// What `health` shows of a connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionHealth {
    /// The connection.
    pub connection: Connection,
    /// How it is.
    pub health: Health,
    /// Why, where it is not healthy: a word of ours or an error code of RFC 6749 §5.2.
    pub reason: Option<String>,
    /// Until when its access token is good.
    pub access_until: Option<Timestamp>,
    /// When it was last refreshed.
    pub refreshed_at: Option<Timestamp>,
    /// When a refresh last failed.
    pub failed_at: Option<Timestamp>,
    /// When the keeper next acts.
    pub due_at: Option<Timestamp>,
    /// The ticket that asks a human.
    pub ticket: Option<TicketId>,
}

impl ConnectionHealth {
    /// How a connection with a static secret is: nothing is known of it but what a human is asked.
    #[must_use]
    pub fn of_static(connection: Connection, ticket: Option<&Ticket>) -> Self {
        Self {
            connection,
            health: if ticket.is_some() { Health::NeedsYou } else { Health::Healthy },
            reason: ticket.map(|ticket| ticket.reason.clone()),
            access_until: None,
            refreshed_at: None,
            failed_at: None,
            due_at: None,
            ticket: ticket.map(|ticket| ticket.id),
        }
    }

    /// How a connection on a chain is: as its chain.
    #[must_use]
    pub fn of_chain(connection: Connection, chain: &Chain, ticket: Option<&Ticket>) -> Self {
        let health = match chain.state {
            ChainState::Healthy | ChainState::Refreshing => Health::Healthy,
            ChainState::BackingOff => Health::Recovering,
            ChainState::Uncertain | ChainState::Latched | ChainState::Quarantined => Health::NeedsYou,
        };
        Self {
            connection,
            health,
            reason: chain.reason.clone(),
            access_until: chain.access_until,
            refreshed_at: chain.refreshed_at,
            failed_at: chain.failed_at,
            due_at: chain.due_at,
            ticket: ticket.map(|ticket| ticket.id),
        }
    }
}
