//! One refresh as a pure state machine: `(plan, state, event, now) → (state, command)`.
//!
//! A rotating refresh token may be presented once. Between the decision to present it and the moment
//! its successor is safe lie a database, a log, a socket and a power supply, and each of them may fail at
//! each step. So the order of the steps, and what follows from each failure, is decided here and nowhere
//! else, without a clock, a socket or a store: the shell (`refresh`) carries one command out and reports
//! what came of it. That lets a test walk every path, crash on every edge and count presentations.
//!
//! ```text
//! claim → (drain) → prepare → intend → anchor → send → spool → insert → read → commit → anchor head
//!            what was not presented:  void → settle (back off, or uncertain as it was before)
//!            what may have been:             settle (uncertain): what follows, `second` says
//!            a final no:                     adopt an unused answer, or settle (latched)
//! ```
//!
//! Four rules carry the rest. **Send follows only from Anchored**, so that a log which no backup of the
//! database contains knows of every presentation. **Commit follows only from Read or from Adopted, Read only
//! from Inserted**, so that a new refresh token is durable before anything looks at it. **A settlement that
//! lets the same generation be presented again follows only from Voided or from never having anchored**, and where
//! an earlier presentation of it stands, not even from that. **Every deadline is counted from before the claim was
//! asked for**: whoever takes the claim over began to count later, and finds a holder that sends no more.

mod step;
mod verdict;

pub use step::step;
pub use verdict::Verdict;

use crate::second::{Presented, Second};
use nightlatch_domain::{
    chain::ChainState,
    clock::{Boot, Timestamp},
};
use std::time::Duration;

/// How long a claim holds. Who takes over must have seen it unchanged for so long.
pub const LEASE: Duration = Duration::from_secs(60);
/// From the preparation to the last moment at which a first byte may leave.
pub const SEND_WITHIN: Duration = Duration::from_secs(15);
/// From the anchor to when the chain is left without an answer. Providers answer in one or two seconds; a slow one
/// is given time, because leaving means `uncertain`.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// From the anchor to when nobody listens any more: an answer that comes after the chain was left still becomes its
/// head.
pub const LISTEN_WITHIN: Duration = Duration::from_secs(15 * 60);
/// What is left of a claim for the disk and the store after the last answer.
const CLOSE_WITHIN: Duration = Duration::from_secs(5);
/// Whatever came before, no first byte leaves later than this after the claim was asked for.
pub const SEND_AFTER_CLAIM: Duration = LEASE.saturating_sub(ANSWER_WITHIN).saturating_sub(CLOSE_WITHIN);

/// Now, on both clocks of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Wall time, for what people and providers speak of.
    pub wall: Timestamp,
    /// Time since the machine started, for deadlines.
    pub boot: Boot,
}

/// Where a refresh begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// The head is to be presented.
    Present,
    /// It is to be presented a second time, once: the answer to the first is lost, and the profile allows it.
    Again {
        /// Until when this may leave, where it may only inside a grace.
        until: Option<Boot>,
    },
    /// A crash left the raw answer in the spool; the database may not have it.
    Spooled,
    /// The answer lies in the database, unread or uncommitted: a crash left it, or it came when the chain had
    /// been left already.
    Answered,
    /// The head was refused for good, and only then an answer beside it came: that is tried in its place.
    Sibling,
    /// A crash left an intent that this very log did not anchor, or a claim without an intent, or the holder itself
    /// says so: it was never sent.
    NeverSent,
    /// No answer is to be found: a crash left an anchored intent, or it is another keeper's, or the time in which it
    /// could quietly be presented again is over.
    Unanswered,
    /// The head waits: its provider or its registration is known to be in trouble.
    Postponed {
        /// Until when.
        until: Timestamp,
        /// Why, in a word of ours.
        reason: &'static str,
    },
    /// The head may not be presented: what is stored does not hold.
    Condemned {
        /// The state that the chain is put into.
        state: ChainState,
        /// Why, in a word of ours.
        reason: &'static str,
    },
}

/// What is known before the first step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Where it begins.
    pub entry: Entry,
    /// Whether the old access token dies with the refresh, so that calls which use it finish first.
    pub drain: bool,
    /// Failures in a row before this.
    pub failures: u32,
    /// Random; spreads what would else happen at once.
    pub jitter: u16,
    /// What may follow if the answer is lost. Nothing where the one retry is spent.
    pub second: Second,
    /// When the presentation whose answer is lost was, where the refresh begins with that.
    pub first: Option<Presented>,
    /// Where the chain stays if this attempt turns out to be none: an earlier one of the same generation stands.
    pub rest: Option<ChainState>,
    /// Until when the head's access token is good.
    pub access_until: Option<Timestamp>,
}

/// Where a refresh stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Nothing was done.
    Begun,
    /// A claim was asked for.
    Claiming {
        /// When that was.
        asked: Boot,
    },
    /// Running calls finish.
    Draining {
        /// As above.
        asked: Boot,
    },
    /// A connection is being made, and room for the answer.
    Preparing {
        /// The last moment for a first byte.
        send_by: Boot,
    },
    /// The intent is on its way to the database.
    Intending {
        /// As above.
        send_by: Boot,
    },
    /// The intent is on its way to the keeper's own log.
    Anchoring {
        /// As above.
        send_by: Boot,
        /// From before it was anchored: how long ago the presentation was is counted from here.
        since: Moment,
    },
    /// The token may be on its way.
    Sending {
        /// As above.
        since: Moment,
    },
    /// The answer is on its way to the spool.
    Spooling {
        /// When that was which it answers.
        first: Presented,
        /// Rounds that failed.
        tries: u32,
    },
    /// The answer is on its way to the database.
    Inserting {
        /// As above.
        first: Presented,
        /// Whether the spool has it.
        spooled: bool,
        /// Rounds that failed.
        tries: u32,
    },
    /// The answer is durable and is being read.
    Reading {
        /// As above.
        first: Presented,
        /// Rounds that failed.
        tries: u32,
    },
    /// The provider's answer is final, and an unused one is being looked for.
    Adopting {
        /// The error code.
        code: String,
        /// Rounds that failed.
        tries: u32,
    },
    /// The head is being moved.
    Committing {
        /// Rounds that failed.
        tries: u32,
    },
    /// Whether the head was moved is being asked.
    Resolving {
        /// Whether the store said that claim or head no longer fit; else its answer was lost.
        lost: bool,
        /// Rounds that failed.
        tries: u32,
    },
    /// The new head is on its way to the keeper's own log.
    AnchoringHead {
        /// Rounds that failed.
        tries: u32,
    },
    /// The anchor is being withdrawn: it is certain that nothing was presented.
    Voiding {
        /// How the chain is left afterwards.
        verdict: Verdict,
        /// Rounds that failed.
        tries: u32,
    },
    /// The chain is being left.
    Settling {
        /// How.
        verdict: Verdict,
        /// Rounds that failed.
        tries: u32,
    },
    /// The claim was overtaken, and whoever did that is being told that nothing was presented.
    Withdrawing {
        /// Rounds that failed.
        tries: u32,
    },
    /// It is over.
    Done(Outcome),
}

/// What came of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Start.
    Begin,
    /// The claim is ours.
    Claimed,
    /// Somebody else holds the chain, or it is no longer what it was.
    NotClaimed,
    /// Running calls finished, or the bound passed.
    Drained,
    /// Connection and slot are there.
    Prepared,
    /// They are not, and nothing was written.
    NotPrepared {
        /// A word of ours.
        reason: &'static str,
    },
    /// The intent is durable.
    Intended,
    /// The claim was lost, or the head is another.
    NotIntended,
    /// The anchor is durable.
    Anchored,
    /// The log says that this generation was presented before.
    PresentedBefore,
    /// The anchor could not be written, and is not in the log.
    NotAnchored,
    /// A whole answer came.
    Answered,
    /// It is certain that no byte left.
    NothingWritten,
    /// A byte may have left, and no whole answer came by now.
    NoAnswer,
    /// The spool has the answer.
    Spooled,
    /// The database has the answer.
    Inserted,
    /// The answer was read.
    Read(Reading),
    /// An unused answer was found, and is what the head moves to.
    Adopted,
    /// There is no unused answer.
    NothingToAdopt,
    /// The head moved.
    Moved,
    /// Claim or head no longer fit.
    Lost,
    /// The chain's last connection is gone.
    Removed,
    /// The attempt says how far it came.
    Resolved {
        /// Whether the head moved to what it brought.
        committed: bool,
    },
    /// The log has the new head.
    HeadAnchored,
    /// The anchor is withdrawn.
    Voided,
    /// The chain was left; `false` where the claim had been lost.
    Settled(bool),
    /// The attempt says that it was none.
    Withdrawn,
    /// The command could not be carried out: store, spool or log were out of reach.
    Failed,
}

/// What an answer of the token endpoint says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reading {
    /// Tokens.
    Tokens,
    /// The grant is dead for good.
    Permanent {
        /// The error code.
        code: String,
    },
    /// Our registration is refused; the grant was not looked at.
    Client {
        /// The error code.
        code: String,
    },
    /// The provider answered before it processed the request.
    NotProcessed {
        /// The error code or a word of ours.
        code: String,
        /// How long it asks us to wait.
        retry_after: Option<Duration>,
    },
    /// Anything else: what happened to the refresh token is not known.
    Unclear {
        /// The error code or a word of ours.
        code: String,
    },
}

/// What is to be done next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Draw a claim.
    Claim,
    /// Let running calls finish.
    Drain,
    /// Dial, finish TLS, preallocate the slot.
    Prepare {
        /// The last moment for a first byte.
        send_by: Boot,
    },
    /// Make the intent durable in the database.
    Intend,
    /// Make the anchor durable in the log.
    Anchor,
    /// Check the boot clock and write, with no await between.
    Send {
        /// The last moment for a first byte.
        send_by: Boot,
        /// When the chain is left if no answer came.
        settle_by: Boot,
        /// When nobody listens any more.
        listen_until: Boot,
    },
    /// Write the sealed raw answer to its slot and sync it.
    Spool,
    /// Write the sealed raw answer to the database.
    Insert,
    /// Read the answer.
    Read,
    /// Look for an unused answer to an earlier presentation.
    Adopt,
    /// Move the head.
    Commit,
    /// Ask how far the attempt came.
    Resolve,
    /// Write the new head to the log.
    AnchorHead,
    /// Withdraw the anchor.
    Void,
    /// Leave the chain without moving the head.
    Settle(Verdict),
    /// Say of the attempt, without the claim, that it was none.
    Withdraw,
    /// Tell the waiters.
    Release(Outcome),
}

/// An action, and how long to wait before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// The wait.
    pub after: Duration,
    /// The action.
    pub action: Action,
}

/// What the waiters learn. Whoever needs more reads the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The head moved.
    Refreshed,
    /// Nothing was presented; the next try is at this time, or at once.
    Waiting {
        /// When.
        until: Option<Timestamp>,
    },
    /// Only a human can help.
    NeedsHuman,
    /// Somebody else moved the chain on: read it again.
    Superseded,
    /// The chain has no connection left.
    Removed,
    /// The store is out of reach.
    Unavailable,
}

#[cfg(test)]
mod diagram;
#[cfg(test)]
mod tests;
