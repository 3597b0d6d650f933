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
//!            what was not presented:  void → settle (back off)
//!            what may have been:             settle (uncertain): a human is asked, nothing is presented
//! ```
//!
//! Three rules carry the rest. **Send follows only from Anchored**, so that a log which no backup of the
//! database contains knows of every presentation. **Commit follows only from Read, Read only from
//! Inserted**, so that a new refresh token is durable before anything looks at it. **A settlement that
//! lets the same generation be presented again follows only from Voided or from never having anchored.**

use crate::schedule;
use nightlatch_domain::{
    chain::{AttemptState, ChainState},
    clock::{Boot, Timestamp},
};
use std::{borrow::Cow, time::Duration};

/// From the claim to the last moment at which a first byte may leave. Well inside the claim's own life.
pub const SEND_WITHIN: Duration = Duration::from_secs(15);
/// From the first byte to the end of the answer. Providers answer in one or two seconds; a slow one is
/// given time, because giving up means `uncertain`.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(30);

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
    /// A crash left the raw answer in the spool; the database may not have it.
    Spooled,
    /// A crash left the answer in the database, unread or uncommitted.
    Answered,
    /// A crash left an intent that this very log did not anchor, or a claim without an intent: it was
    /// never sent.
    NeverSent,
    /// A crash left an anchored intent, and no answer is to be found: it may have been sent.
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
}

/// Where a refresh stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Nothing was done.
    Begun,
    /// A claim was asked for.
    Claiming,
    /// Running calls finish.
    Draining,
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
    },
    /// The token may be on its way.
    Sending,
    /// The answer is on its way to the spool.
    Spooling {
        /// Rounds that failed.
        tries: u32,
    },
    /// The answer is on its way to the database.
    Inserting {
        /// Whether the spool has it.
        spooled: bool,
        /// Rounds that failed.
        tries: u32,
    },
    /// The answer is durable and is being read.
    Reading,
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
    /// A byte may have left, and no whole answer came.
    NoAnswer,
    /// The spool has the answer.
    Spooled,
    /// The database has the answer.
    Inserted,
    /// The answer was read.
    Read(Reading),
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
    },
    /// Write the sealed raw answer to its slot and sync it.
    Spool,
    /// Write the sealed raw answer to the database.
    Insert,
    /// Read the answer.
    Read,
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

/// How a chain is left when its head does not move.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// How far the attempt came, where one was intended.
    pub attempt: Option<AttemptState>,
    /// The chain's state.
    pub state: ChainState,
    /// When the timer next acts.
    pub due_at: Option<Timestamp>,
    /// Failures in a row.
    pub failures: u32,
    /// Whether this was a failure, for people.
    pub failed: bool,
    /// Why: a word of ours (borrowed), or a provider's error code (owned).
    pub reason: Option<Cow<'static, str>>,
    /// Whether a human is asked.
    pub ask: bool,
    /// Whether our registration was refused, so that its other chains wait.
    pub client_refused: bool,
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

/// One step. A pair of state and event that cannot be (a stray report) changes nothing and asks for the
/// same thing again where that is harmless, else ends the refresh without another presentation.
#[must_use]
pub fn step(plan: &Plan, state: State, event: Event, now: Moment) -> (State, Command) {
    match (state, event) {
        (State::Begun, Event::Begin) => at_once(State::Claiming, Action::Claim),
        (State::Claiming, Event::Claimed) => claimed(plan, now),
        (State::Claiming, Event::NotClaimed) => done(Outcome::Superseded),
        (State::Claiming, Event::Failed) => done(Outcome::Unavailable),
        (State::Draining, Event::Drained) => prepare(now),
        (State::Preparing { send_by }, Event::Prepared) if now.boot < send_by => {
            at_once(State::Intending { send_by }, Action::Intend)
        }
        (State::Preparing { .. }, Event::Prepared) => settle(back_off(plan, None, "prepared-too-late", now)),
        (State::Preparing { .. }, Event::NotPrepared { reason }) => settle(back_off(plan, None, reason, now)),
        (State::Intending { send_by }, Event::Intended) => {
            at_once(State::Anchoring { send_by }, Action::Anchor)
        }
        (State::Intending { .. }, Event::NotIntended) => settle(back_off(plan, None, "head-moved", now)),
        (State::Intending { .. }, Event::Failed) => settle(not_presented(plan, "store-unavailable", now)),
        (State::Anchoring { send_by }, Event::Anchored) if now.boot < send_by => {
            at_once(State::Sending, Action::Send { send_by })
        }
        (State::Anchoring { .. }, Event::Anchored) => void(not_presented(plan, "anchored-too-late", now)),
        (State::Anchoring { .. }, Event::NotAnchored | Event::Failed) => {
            settle(not_presented(plan, "anchor-log-unavailable", now))
        }
        (State::Anchoring { .. }, Event::PresentedBefore) => settle(presented_before(plan)),
        (state @ State::Sending, event) => sent(plan, state, event, now),
        (state @ (State::Spooling { .. } | State::Inserting { .. }), event) => journal(state, event),
        (State::Reading, Event::Read(reading)) => read(plan, reading, now),
        (State::Reading, _) => read(plan, Reading::Unclear { code: "answer-unreadable".to_owned() }, now),
        (state, event) => close(plan, state, event, now),
    }
}

fn at_once(state: State, action: Action) -> (State, Command) {
    (state, Command { after: Duration::ZERO, action })
}

fn again(tries: u32, state: State, action: Action) -> (State, Command) {
    (state, Command { after: schedule::local_retry(tries), action })
}

fn done(outcome: Outcome) -> (State, Command) {
    at_once(State::Done(outcome), Action::Release(outcome))
}

fn settle(verdict: Verdict) -> (State, Command) {
    at_once(State::Settling { verdict: verdict.clone(), tries: 0 }, Action::Settle(verdict))
}

fn void(verdict: Verdict) -> (State, Command) {
    at_once(State::Voiding { verdict, tries: 0 }, Action::Void)
}

fn prepare(now: Moment) -> (State, Command) {
    let send_by = now.boot.plus(SEND_WITHIN);
    at_once(State::Preparing { send_by }, Action::Prepare { send_by })
}

fn claimed(plan: &Plan, now: Moment) -> (State, Command) {
    match &plan.entry {
        Entry::Present if plan.drain => at_once(State::Draining, Action::Drain),
        Entry::Present => prepare(now),
        Entry::Spooled => at_once(State::Inserting { spooled: true, tries: 0 }, Action::Insert),
        Entry::Answered => at_once(State::Reading, Action::Read),
        Entry::NeverSent => settle(Verdict {
            attempt: Some(AttemptState::NotPresented),
            state: ChainState::Healthy,
            due_at: Some(now.wall),
            failures: plan.failures,
            failed: false,
            reason: None,
            ask: false,
            client_refused: false,
        }),
        Entry::Unanswered => {
            settle(needs_human(plan, AttemptState::Uncertain, ChainState::Uncertain, "answer-lost"))
        }
        Entry::Postponed { until, reason } => settle(Verdict {
            due_at: Some(*until),
            failures: plan.failures,
            failed: false,
            ..back_off(plan, None, *reason, now)
        }),
        Entry::Condemned { state, reason } => {
            settle(Verdict { attempt: None, ..needs_human(plan, AttemptState::Intended, *state, *reason) })
        }
    }
}

fn sent(plan: &Plan, state: State, event: Event, now: Moment) -> (State, Command) {
    match event {
        Event::Answered => at_once(State::Spooling { tries: 0 }, Action::Spool),
        Event::NothingWritten => void(not_presented(plan, "provider-unreachable", now)),
        // Everything else after the first byte is uncertain, a report that cannot be included.
        _ => {
            debug_assert_eq!(state, State::Sending);
            settle(needs_human(plan, AttemptState::Uncertain, ChainState::Uncertain, "answer-lost"))
        }
    }
}

/// The answer must lie in the database before it is read. Spool and database are tried in turn until the
/// database has it: the answer is in memory, and a later round costs nothing.
fn journal(state: State, event: Event) -> (State, Command) {
    match (state, event) {
        (State::Spooling { tries }, Event::Spooled) => {
            at_once(State::Inserting { spooled: true, tries }, Action::Insert)
        }
        (State::Spooling { tries }, _) => at_once(State::Inserting { spooled: false, tries }, Action::Insert),
        (State::Inserting { .. }, Event::Inserted) => at_once(State::Reading, Action::Read),
        (State::Inserting { spooled: false, tries }, _) => {
            again(tries, State::Spooling { tries: tries.saturating_add(1) }, Action::Spool)
        }
        (State::Inserting { spooled: true, tries }, _) => {
            let tried = tries.saturating_add(1);
            again(tries, State::Inserting { spooled: true, tries: tried }, Action::Insert)
        }
        (other, _) => at_once(other, Action::Insert),
    }
}

fn read(plan: &Plan, reading: Reading, now: Moment) -> (State, Command) {
    match reading {
        Reading::Tokens => at_once(State::Committing { tries: 0 }, Action::Commit),
        Reading::Permanent { code } => {
            settle(needs_human(plan, AttemptState::Refused, ChainState::Latched, code))
        }
        Reading::Client { code } => {
            let verdict = not_presented(plan, code, now);
            let due_at = Some(now.wall.plus(schedule::CLIENT_RETRY));
            void(Verdict { due_at, ask: true, client_refused: true, ..verdict })
        }
        Reading::NotProcessed { code, retry_after } => {
            let wait = schedule::back_off(plan.failures, retry_after, plan.jitter);
            void(Verdict { due_at: Some(now.wall.plus(wait)), ..not_presented(plan, code, now) })
        }
        Reading::Unclear { code } => {
            settle(needs_human(plan, AttemptState::Uncertain, ChainState::Uncertain, code))
        }
    }
}

fn close(plan: &Plan, state: State, event: Event, now: Moment) -> (State, Command) {
    match (state, event) {
        (State::Committing { .. }, Event::Moved)
        | (State::Resolving { .. }, Event::Resolved { committed: true }) => {
            at_once(State::AnchoringHead { tries: 0 }, Action::AnchorHead)
        }
        (State::Committing { .. }, Event::Removed) => done(Outcome::Removed),
        // A COMMIT whose answer was lost looks like a lost claim afterwards: the attempt knows.
        (State::Committing { tries }, Event::Lost) => {
            at_once(State::Resolving { lost: true, tries }, Action::Resolve)
        }
        (State::Committing { tries }, _) => {
            again(tries, State::Resolving { lost: false, tries: tries.saturating_add(1) }, Action::Resolve)
        }
        (State::Resolving { lost: true, .. }, Event::Resolved { committed: false }) => {
            settle(back_off(plan, None, "superseded", now))
        }
        (State::Resolving { lost: false, tries }, Event::Resolved { committed: false }) => {
            at_once(State::Committing { tries }, Action::Commit)
        }
        (State::Resolving { lost, tries }, _) => {
            again(tries, State::Resolving { lost, tries: tries.saturating_add(1) }, Action::Resolve)
        }
        (State::AnchoringHead { .. }, Event::HeadAnchored) => done(Outcome::Refreshed),
        (State::AnchoringHead { tries }, _) => {
            again(tries, State::AnchoringHead { tries: tries.saturating_add(1) }, Action::AnchorHead)
        }
        (State::Voiding { verdict, .. }, Event::Voided) => settle(verdict),
        (State::Voiding { verdict, tries }, _) => {
            again(tries, State::Voiding { verdict, tries: tries.saturating_add(1) }, Action::Void)
        }
        (State::Settling { verdict, .. }, Event::Settled(true)) => done(left(&verdict)),
        (State::Settling { .. }, Event::Settled(false)) => done(Outcome::Superseded),
        (State::Settling { verdict, tries }, _) => {
            let tried = State::Settling { verdict: verdict.clone(), tries: tries.saturating_add(1) };
            again(tries, tried, Action::Settle(verdict))
        }
        (State::Done(outcome), _) => done(outcome),
        // A report that fits nothing, before anything was presented: leave the chain as it can be left.
        (_, _) => settle(back_off(plan, None, "stray-report", now)),
    }
}

/// What the waiters learn of a settlement.
fn left(verdict: &Verdict) -> Outcome {
    match verdict.state {
        ChainState::Latched | ChainState::Uncertain | ChainState::Quarantined => Outcome::NeedsHuman,
        ChainState::Healthy | ChainState::Refreshing | ChainState::BackingOff => {
            Outcome::Waiting { until: verdict.due_at }
        }
    }
}

fn back_off(
    plan: &Plan,
    attempt: Option<AttemptState>,
    reason: impl Into<Cow<'static, str>>,
    now: Moment,
) -> Verdict {
    Verdict {
        attempt,
        state: ChainState::BackingOff,
        due_at: Some(now.wall.plus(schedule::back_off(plan.failures, None, plan.jitter))),
        failures: plan.failures.saturating_add(1),
        failed: true,
        reason: Some(reason.into()),
        ask: false,
        client_refused: false,
    }
}

fn not_presented(plan: &Plan, reason: impl Into<Cow<'static, str>>, now: Moment) -> Verdict {
    back_off(plan, Some(AttemptState::NotPresented), reason, now)
}

fn needs_human(
    plan: &Plan,
    attempt: AttemptState,
    state: ChainState,
    reason: impl Into<Cow<'static, str>>,
) -> Verdict {
    Verdict {
        attempt: Some(attempt),
        state,
        due_at: None,
        failures: plan.failures.saturating_add(1),
        failed: true,
        reason: Some(reason.into()),
        ask: true,
        client_refused: false,
    }
}

fn presented_before(plan: &Plan) -> Verdict {
    needs_human(plan, AttemptState::NotPresented, ChainState::Quarantined, "presented-before")
}

#[cfg(test)]
mod tests;
