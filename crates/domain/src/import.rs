//! Refresh tokens that another system held, on their way to becoming connections.
//!
//! An import is a flow without a login: what is exchanged is the refresh token itself, once, and what comes of it is
//! journaled under the flow's id before anybody knows whose account it is.

use crate::{
    chain::{FlowOutcome, FlowStep, is_read},
    clock::Timestamp,
    id::{AttemptId, ClientId, FlowId, OwnerId, TenantId},
    ports::store::ImportSeen,
    sealed::{SealContext, Wrapped},
    tool::Name,
};
use serde::{Deserialize, Serialize};

/// One refresh token that was brought in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Import {
    /// The tenant.
    pub tenant: TenantId,
    /// Its flow.
    pub id: FlowId,
    /// The keeper's keyed hash of the token: the same one is taken once in a tenant, and in one tenant only.
    pub token_hash: String,
    /// Our registration, which it was given to.
    pub client: ClientId,
    /// The tool to connect.
    pub tool: Name,
    /// The token. None once it was exchanged for tokens that are kept.
    pub token: Option<(Wrapped, SealContext)>,
    /// An access token that came with it: it may tell whose account it is before anything is presented.
    pub access: Option<(Wrapped, SealContext)>,
    /// What is to become of it, sealed: the row beside it is for people, this decides.
    pub plan: (Wrapped, SealContext),
    /// The era in which it was brought. In a later one nobody knows any more whether it was presented.
    pub era: u64,
    /// How far it came.
    pub progress: ImportProgress,
    /// The sealed raw answer, journaled before the account is known.
    pub answer: Option<(Wrapped, SealContext)>,
    /// What came of it.
    pub outcome: Option<FlowOutcome>,
    /// When it was brought.
    pub created_at: Timestamp,
}

/// Why an import ended whose token was consumed, or may be: it may have been presented, whatever its row says.
const MAY_HAVE_BEEN_PRESENTED: [&str; 4] =
    ["answer-lost", "database-put-back", "presented-before", "concluded-before"];

impl Import {
    /// Whether it stands where whoever writes it saw it last.
    #[must_use]
    pub fn is_at(&self, seen: ImportSeen) -> bool {
        (self.progress.step, self.progress.attempt) == (seen.step, seen.attempt)
    }

    /// Whether its answer need not be kept anywhere else: it has ended, and the answer stands here or became a connection.
    #[must_use]
    pub const fn is_read(&self) -> bool {
        is_read(self.progress.step, self.answer.is_some(), self.outcome.as_ref())
    }

    /// Whether it ended so already.
    #[must_use]
    pub fn has_ended_with(&self, outcome: &FlowOutcome) -> bool {
        self.progress.step == FlowStep::Ended && self.outcome.as_ref() == Some(outcome)
    }

    /// Whether it makes room for the same token, brought for `client`: it failed before it was presented; or, under another
    /// registration, it waits or was refused and nothing came of it. What may have been presented makes none.
    #[must_use]
    pub fn gives_way_to(&self, client: ClientId) -> bool {
        let failed = match &self.outcome {
            Some(FlowOutcome::Failed { reason }) => Some(reason.as_str()),
            _ => None,
        };
        let is_open = self.progress.step == FlowStep::Begun;
        let was_on_its_way = failed == Some("killed") && self.progress.presented_at.is_some();
        let came_to_nothing = self.progress.step == FlowStep::Ended
            && self.answer.is_none()
            && !was_on_its_way
            && failed.is_some_and(|reason| !MAY_HAVE_BEEN_PRESENTED.contains(&reason));
        let is_untouched = came_to_nothing && self.progress.presented_at.is_none();
        is_untouched || (self.client != client && (is_open || came_to_nothing))
    }
}

/// How far an import came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportProgress {
    /// The step: `begun` while it waits, `redeeming` while its token is presented.
    pub step: FlowStep,
    /// The presentation, if there is one.
    pub attempt: Option<AttemptId>,
    /// The keeper's process that presents it.
    pub owner: Option<OwnerId>,
    /// Whether the one retry after a lost answer is spent.
    pub again: bool,
    /// When it was first presented.
    pub presented_at: Option<Timestamp>,
    /// When the keeper next acts.
    pub due_at: Timestamp,
    /// Failures in a row.
    pub failures: u32,
    /// Why it waits: an error code of RFC 6749 §5.2 or a word of ours.
    pub reason: Option<String>,
}

impl ImportProgress {
    /// Not presented yet.
    #[must_use]
    pub const fn begun(due_at: Timestamp) -> Self {
        Self {
            step: FlowStep::Begun,
            attempt: None,
            owner: None,
            again: false,
            presented_at: None,
            due_at,
            failures: 0,
            reason: None,
        }
    }
}
