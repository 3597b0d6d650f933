//! What is asked: one call, and the rows that the gateway knows of it.

use nightlatch_domain::{
    clock::Timestamp,
    connection::Connection,
    exchange::Exchange,
    grant::Grant,
    principal::Agent,
    task::{Assurance, Task},
};
use std::sync::Arc;

/// How well the agent's process is shut in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Sandbox {
    /// Nothing is known of it.
    None,
    /// By Landlock and a password: advisory.
    Weak,
    /// By a user and namespaces of its own.
    Strong,
}

impl Sandbox {
    /// The word for it in policies.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Weak => "weak",
            Self::Strong => "strong",
        }
    }
}

/// One question. A row that the gateway did not find is `None`, and the answer then is no.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// The call, which the permit goes on to hold.
    pub exchange: &'a Arc<Exchange>,
    /// The row of the agent that admission proved.
    pub agent: Option<&'a Agent>,
    /// The row of the task that admission proved.
    pub task: Option<&'a Task>,
    /// The row of the grant that the reference named.
    pub grant: Option<&'a Grant>,
    /// The row of the grant's connection.
    pub connection: Option<&'a Connection>,
    /// The time.
    pub now: Timestamp,
    /// How well the agent is shut in.
    pub sandbox: Sandbox,
    /// How its wake was proved.
    pub assurance: Assurance,
}

impl Question<'_> {
    /// When time alone makes it another question: the first end that one of its rows names. A row that is missing has
    /// none, and no answer that lasts.
    pub(crate) fn changes_at(&self) -> Timestamp {
        match (self.task, self.grant) {
            (Some(task), Some(grant)) => task.ends_at.min(grant.expires_at),
            _ => self.now,
        }
    }
}
