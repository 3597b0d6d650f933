//! How a chain is left when its head does not move.
//!
//! Every verdict asks one thing first: whether an earlier presentation of the same generation stands. If one
//! does, the chain rests where that one left it, whatever became of this attempt.

use super::{Entry, Moment, Outcome, Plan};
use crate::{
    schedule,
    second::{After, Presented, Second},
};
use nightlatch_domain::{
    chain::{AttemptState, ChainState},
    clock::Timestamp,
};
use std::{borrow::Cow, time::Duration};

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

impl Verdict {
    /// What the waiters learn of it.
    pub(super) fn outcome(&self) -> Outcome {
        match self.state {
            ChainState::Latched | ChainState::Quarantined => Outcome::NeedsHuman,
            ChainState::Uncertain if self.ask => Outcome::NeedsHuman,
            ChainState::Uncertain | ChainState::Healthy | ChainState::Refreshing | ChainState::BackingOff => {
                Outcome::Waiting { until: self.due_at }
            }
        }
    }

    /// Whether it says that what was intended was no presentation.
    pub(super) fn withdraws(&self) -> bool {
        self.attempt == Some(AttemptState::NotPresented)
    }
}

/// Nothing was intended: tried again later, if the generation may be presented at all.
pub(super) fn back_off(plan: &Plan, reason: impl Into<Cow<'static, str>>, now: Moment) -> Verdict {
    let wait = schedule::back_off(plan.failures, None, plan.jitter);
    later(plan, None, reason, wait, now)
}

/// It is certain that what was intended was no presentation.
pub(super) fn not_presented(plan: &Plan, reason: impl Into<Cow<'static, str>>, now: Moment) -> Verdict {
    Verdict { attempt: Some(AttemptState::NotPresented), ..back_off(plan, reason, now) }
}

/// Nor is this one, and the provider says how long to wait.
pub(super) fn not_processed(plan: &Plan, code: String, asked: Option<Duration>, now: Moment) -> Verdict {
    let wait = schedule::back_off(plan.failures, asked, plan.jitter);
    later(plan, Some(AttemptState::NotPresented), code, wait, now)
}

/// Our registration is refused.
pub(super) fn client_refused(plan: &Plan, code: String, now: Moment) -> Verdict {
    let verdict = later(plan, Some(AttemptState::NotPresented), code, schedule::CLIENT_RETRY, now);
    Verdict { ask: true, client_refused: true, ..verdict }
}

/// Left alone until a time, which is nobody's failure.
pub(super) fn postponed(plan: &Plan, until: Timestamp, reason: &'static str, now: Moment) -> Verdict {
    let verdict = later(plan, None, reason, until.since(now.wall), now);
    Verdict { failures: plan.failures, failed: false, ..verdict }
}

/// It was never sent: the head is presented as if nothing had been.
pub(super) fn never_sent(plan: &Plan, now: Moment) -> Verdict {
    let verdict = later(plan, Some(AttemptState::NotPresented), "", Duration::ZERO, now);
    let state = if verdict.state == ChainState::BackingOff { ChainState::Healthy } else { verdict.state };
    let reason = plan.rest.map(|_| Cow::Borrowed("answer-lost"));
    Verdict { state, failures: plan.failures, failed: false, reason, ..verdict }
}

/// Its answer is lost: `first` is when it was presented.
pub(super) fn lost(
    plan: &Plan,
    first: Presented,
    reason: impl Into<Cow<'static, str>>,
    now: Moment,
) -> Verdict {
    let state = plan.rest.unwrap_or(ChainState::Uncertain);
    let spent = state != ChainState::Uncertain || matches!(plan.entry, Entry::Again { .. });
    let second = if spent { Second::NEVER } else { plan.second };
    let after = second.after(first, plan.access_until, now, plan.jitter);
    Verdict {
        due_at: after.due_at,
        ask: after.ask,
        ..needs_human(plan, Some(AttemptState::Uncertain), state, reason)
    }
}

/// The provider said no for good.
pub(super) fn refused(plan: &Plan, code: String) -> Verdict {
    let state = plan.rest.filter(|rest| *rest == ChainState::Quarantined).unwrap_or(ChainState::Latched);
    needs_human(plan, Some(AttemptState::Refused), state, code)
}

/// Only a human can help.
pub(super) fn needs_human(
    plan: &Plan,
    attempt: Option<AttemptState>,
    state: ChainState,
    reason: impl Into<Cow<'static, str>>,
) -> Verdict {
    Verdict {
        attempt,
        state,
        due_at: None,
        failures: plan.failures.saturating_add(1),
        failed: true,
        reason: Some(reason.into()),
        ask: true,
        client_refused: false,
    }
}

/// Tried again after a wait, or, where an earlier presentation stands, left where that one left it.
fn later(
    plan: &Plan,
    attempt: Option<AttemptState>,
    reason: impl Into<Cow<'static, str>>,
    wait: Duration,
    now: Moment,
) -> Verdict {
    let After { due_at, ask } = match (plan.rest, plan.first) {
        (None, _) => After { due_at: Some(now.wall.plus(wait)), ask: false },
        // The retry is not spent: it is tried again while it may be, and then a human is asked.
        (Some(ChainState::Uncertain), Some(first)) => {
            let after = plan.second.after(first, plan.access_until, now, plan.jitter);
            let wait = plan.second.left(first, now).map_or(wait, |left| wait.min(left / 2));
            // What is left to whose clocks tell more stays due by a time that is past for everybody.
            let later = |due: Timestamp| if wait.is_zero() { due } else { due.max(now.wall.plus(wait)) };
            After { due_at: after.due_at.map(later), ..after }
        }
        (Some(_), _) => After { due_at: None, ask: true },
    };
    Verdict {
        attempt,
        state: plan.rest.unwrap_or(ChainState::BackingOff),
        due_at,
        failures: plan.failures.saturating_add(1),
        failed: true,
        reason: Some(reason.into()),
        ask,
        client_refused: false,
    }
}
