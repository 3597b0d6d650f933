//! A call that outlives its caller: where it stands, and the one rule by which it goes on.
//!
//! ```text
//!             mark (durable)                answered
//!   queued ─────────────────► attempting ───────────► done
//!     ▲  │ over, or a no that                │
//!     │  └──────────► refused ◄──────────────┤ a no, nothing sent
//!     │                                      ├───────► outcome-unknown   perhaps sent, not repeatable
//!     └──────────────────────────────────────┘ nothing sent; or perhaps sent and repeatable
//! ```
//!
//! What may have been sent is sent again only where that does nothing: where the operation's effect is `read`. A
//! method is no promise (RFC 9110 §9.2.2 calls PUT and DELETE idempotent; a tool need not be), so only the manifest's
//! word counts. The mark is durable before the ledger's intent, and the intent before the first byte: whoever finds
//! a marked call and no outcome does not know, and says so. Nothing waits for ever: a call that nothing was sent
//! for is refused at its deadline.
//!
//! There is no clock, no store and no socket in here: what happened is a [`Report`], what follows is a [`Next`].

mod delivery;
mod mandate;

pub use delivery::{Delivery, DeliveryState, Heard};
pub use mandate::{MANDATE_MAX, Mandate, SignedMandate};

use crate::{
    clock::Timestamp,
    id::{CallId, TaskId, TenantId},
};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A call that reads and was perhaps sent is tried so often in all: a tool that breaks off each time is not asked for
/// ever.
pub const READS_MAX: u32 = 5;
/// The first pause before another try; each further one is twice as long.
const PAUSE_FIRST: Duration = Duration::from_secs(1);
/// And no pause is longer: a credential that comes back is noticed within a minute.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// Where a call stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CallState {
    /// Accepted; nothing was sent, or what was sent may be repeated.
    Queued,
    /// Marked: from here on it may have been sent.
    Attempting,
    /// Carried out: the tool answered. Final.
    Done,
    /// Not carried out, and it will not be. Final.
    Refused,
    /// Perhaps carried out; nobody knows. Final.
    OutcomeUnknown,
}

impl CallState {
    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Attempting => "attempting",
            Self::Done => "done",
            Self::Refused => "refused",
            Self::OutcomeUnknown => "outcome-unknown",
        }
    }

    /// Whether nothing will change any more.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Done | Self::Refused | Self::OutcomeUnknown)
    }
}

/// Which call: its key in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CallPlace {
    /// The tenant.
    pub tenant: TenantId,
    /// The task that asked.
    pub task: TaskId,
    /// The call.
    pub call: CallId,
}

/// What was settled when a call was accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// Whether it may be sent again after it was perhaps sent: its effect is `read`.
    pub repeatable: bool,
    /// After this nothing is begun any more.
    pub deadline: Timestamp,
}

/// How far a queued call has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// How often it was marked.
    pub attempts: u32,
    /// Before this it is not tried again.
    pub not_before: Timestamp,
}

/// What is to be done about a queued call now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// It may be tried.
    Now,
    /// Its pause goes on until then.
    Later(Timestamp),
    /// Its deadline has passed: it is refused.
    Over,
}

/// What became of one try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Report {
    /// The tool answered, to the end.
    Answered,
    /// A no before anything was sent.
    NotSent {
        /// Whether the same may go well later by itself.
        retryable: bool,
        /// How long whoever said no asked to wait.
        retry_after: Option<Duration>,
    },
    /// It may have been sent, and no whole answer came.
    PerhapsSent,
    /// The process died after the mark.
    Crashed,
}

/// What follows from a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Back into the queue.
    Again {
        /// Not before then.
        not_before: Timestamp,
    },
    /// It is done.
    Done,
    /// It is refused, for the reason that was reported.
    Refused,
    /// Nobody knows.
    OutcomeUnknown,
}

impl Next {
    /// The state that it leads to.
    #[must_use]
    pub const fn state(self) -> CallState {
        match self {
            Self::Again { .. } => CallState::Queued,
            Self::Done => CallState::Done,
            Self::Refused => CallState::Refused,
            Self::OutcomeUnknown => CallState::OutcomeUnknown,
        }
    }
}

impl Terms {
    /// Whether a queued call may be tried now.
    #[must_use]
    pub fn turn(&self, progress: Progress, now: Timestamp) -> Turn {
        if now >= self.deadline {
            return Turn::Over;
        }
        if progress.not_before > now { Turn::Later(progress.not_before) } else { Turn::Now }
    }

    /// What follows from what became of the `attempts`-th try.
    #[must_use]
    pub fn next(&self, attempts: u32, report: Report, now: Timestamp) -> Next {
        let again = |asked: Option<Duration>| {
            let not_before = now.plus(pause(attempts).max(asked.unwrap_or_default().min(PAUSE_MAX)));
            (not_before < self.deadline).then_some(Next::Again { not_before })
        };
        match report {
            Report::Answered => Next::Done,
            Report::NotSent { retryable: false, .. } => Next::Refused,
            Report::NotSent { retryable: true, retry_after } => again(retry_after).unwrap_or(Next::Refused),
            Report::PerhapsSent | Report::Crashed if self.repeatable && attempts < READS_MAX => {
                again(None).unwrap_or(Next::OutcomeUnknown)
            }
            Report::PerhapsSent | Report::Crashed => Next::OutcomeUnknown,
        }
    }
}

/// How long to wait after so many tries.
fn pause(attempts: u32) -> Duration {
    let doubled = 1u32.checked_shl(attempts.saturating_sub(1)).unwrap_or(u32::MAX);
    PAUSE_FIRST.saturating_mul(doubled).min(PAUSE_MAX)
}

#[cfg(test)]
mod tests;
