//! The steps themselves.

use super::{
    ANSWER_WITHIN, Action, Command, Entry, Event, LISTEN_WITHIN, Moment, Outcome, Plan, Reading,
    SEND_AFTER_CLAIM, SEND_WITHIN, State,
    verdict::{self, Verdict},
};
use crate::{schedule, second::Presented};
use nightlatch_domain::{
    chain::{AttemptState, ChainState},
    clock::Boot,
};
use std::time::Duration;

/// A spooled answer is brought to the database for so many rounds (some three minutes); then the flight ends, and
/// whoever looks at the chain next takes it up. A provider's lane is not held for a database that stays away.
const INSERT_ROUNDS: u32 = 24;
/// Likewise an answer that cannot be opened: the machine is out of randomness, or its keys are out of reach.
const READ_ROUNDS: u32 = 8;

/// One step. A pair of state and event that cannot be (a stray report) changes nothing and asks for the
/// same thing again where that is harmless, else ends the refresh without another presentation.
#[must_use]
pub fn step(plan: &Plan, state: State, event: Event, now: Moment) -> (State, Command) {
    match (state, event) {
        (State::Begun, Event::Begin) => at_once(State::Claiming { asked: now.boot }, Action::Claim),
        (State::Claiming { asked }, Event::Claimed) => claimed(plan, asked, now),
        (State::Claiming { .. }, Event::NotClaimed) => done(Outcome::Superseded),
        (State::Claiming { .. }, Event::Failed) => done(Outcome::Unavailable),
        (State::Draining { asked }, Event::Drained) => prepare(plan, asked, now),
        (State::Preparing { send_by }, event) => prepared(plan, send_by, event, now),
        (State::Intending { send_by }, event) => intended(plan, send_by, event, now),
        (State::Anchoring { send_by, since }, event) => anchored(plan, send_by, since, event, now),
        (State::Sending { since }, event) => sent(plan, since, event, now),
        (state @ (State::Spooling { .. } | State::Inserting { .. }), event) => journal(state, event),
        (State::Reading { first, .. }, Event::Read(reading)) => read(plan, first, reading, now),
        (State::Reading { first, tries }, _) => read_again(first, tries),
        (State::Adopting { code, tries }, event) => adopt(plan, code, tries, event),
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

/// Well inside the claim, whatever was waited for since it was asked for; and inside the grace, if this needs one.
fn prepare(plan: &Plan, asked: Boot, now: Moment) -> (State, Command) {
    let send_by = inside(plan, now.boot.plus(SEND_WITHIN).min(asked.plus(SEND_AFTER_CLAIM)), now);
    if now.boot >= send_by {
        return settle(verdict::back_off(plan, "prepared-too-late", now));
    }
    at_once(State::Preparing { send_by }, Action::Prepare { send_by })
}

/// A retry inside a grace leaves inside it, by both clocks of this machine: each step asks again, because a machine that
/// was stopped may have one that stood still.
fn inside(plan: &Plan, send_by: Boot, now: Moment) -> Boot {
    match (&plan.entry, plan.first) {
        (Entry::Again { until: Some(until) }, Some(first)) => {
            let until =
                plan.second.open_until(first.elapsed(now), now).map_or(now.boot, |open| open.min(*until));
            send_by.min(until)
        }
        _ => send_by,
    }
}

fn claimed(plan: &Plan, asked: Boot, now: Moment) -> (State, Command) {
    let first = plan.first.unwrap_or(Presented::now(now));
    match &plan.entry {
        Entry::Present if plan.drain => at_once(State::Draining { asked }, Action::Drain),
        Entry::Present | Entry::Again { .. } => prepare(plan, asked, now),
        Entry::Spooled => at_once(State::Inserting { first, spooled: true, tries: 0 }, Action::Insert),
        Entry::Answered => at_once(State::Reading { first, tries: 0 }, Action::Read),
        Entry::Sibling => at_once(State::Adopting { code: "refused".to_owned(), tries: 0 }, Action::Adopt),
        Entry::NeverSent => settle(verdict::never_sent(plan, now)),
        Entry::Unanswered => settle(verdict::lost(plan, first, "answer-lost", now)),
        Entry::Postponed { until, reason } => settle(verdict::postponed(plan, *until, reason, now)),
        Entry::Condemned { state, reason } => settle(verdict::needs_human(plan, None, *state, *reason)),
    }
}

fn prepared(plan: &Plan, send_by: Boot, event: Event, now: Moment) -> (State, Command) {
    let send_by = inside(plan, send_by, now);
    match event {
        Event::Prepared if now.boot < send_by => at_once(State::Intending { send_by }, Action::Intend),
        Event::Prepared => settle(verdict::back_off(plan, "prepared-too-late", now)),
        Event::NotPrepared { reason } => settle(verdict::back_off(plan, reason, now)),
        _ => stray(plan, now),
    }
}

fn intended(plan: &Plan, send_by: Boot, event: Event, now: Moment) -> (State, Command) {
    match event {
        Event::Intended => at_once(State::Anchoring { send_by, since: now }, Action::Anchor),
        // Whoever looks at the chain next finds what stands in the way.
        Event::NotIntended => settle(verdict::back_off(plan, "head-moved", now)),
        Event::Failed => settle(verdict::not_presented(plan, "store-unavailable", now)),
        _ => stray(plan, now),
    }
}

fn anchored(plan: &Plan, send_by: Boot, since: Moment, event: Event, now: Moment) -> (State, Command) {
    let send_by = inside(plan, send_by, now);
    match event {
        Event::Anchored if now.boot < send_by => {
            let settle_by = now.boot.plus(plan.second.patience(ANSWER_WITHIN));
            let listen_until = now.boot.plus(LISTEN_WITHIN);
            at_once(State::Sending { since }, Action::Send { send_by, settle_by, listen_until })
        }
        Event::Anchored => void(verdict::not_presented(plan, "anchored-too-late", now)),
        Event::NotAnchored | Event::Failed => {
            settle(verdict::not_presented(plan, "anchor-log-unavailable", now))
        }
        Event::PresentedBefore => settle(presented_before(plan)),
        _ => stray(plan, now),
    }
}

fn presented_before(plan: &Plan) -> Verdict {
    let attempt = Some(AttemptState::NotPresented);
    verdict::needs_human(plan, attempt, ChainState::Quarantined, "presented-before")
}

fn sent(plan: &Plan, since: Moment, event: Event, now: Moment) -> (State, Command) {
    let first = Presented::now(since);
    match event {
        Event::Answered => at_once(State::Spooling { first, tries: 0 }, Action::Spool),
        Event::NothingWritten => void(verdict::not_presented(plan, "provider-unreachable", now)),
        // Everything else after the first byte is uncertain, a report that cannot be included.
        _ => settle(verdict::lost(plan, first, "answer-lost", now)),
    }
}

/// The answer must lie in the database before it is read. Spool and database are tried in turn until one of them
/// has it: the answer is in memory, and a later round costs nothing.
fn journal(state: State, event: Event) -> (State, Command) {
    match (state, event) {
        (State::Spooling { first, tries }, Event::Spooled) => {
            at_once(State::Inserting { first, spooled: true, tries }, Action::Insert)
        }
        (State::Spooling { first, tries }, _) => {
            at_once(State::Inserting { first, spooled: false, tries }, Action::Insert)
        }
        (State::Inserting { first, .. }, Event::Inserted) => {
            at_once(State::Reading { first, tries: 0 }, Action::Read)
        }
        (State::Inserting { first, spooled: false, tries }, _) => {
            again(tries, State::Spooling { first, tries: tries.saturating_add(1) }, Action::Spool)
        }
        (State::Inserting { spooled: true, tries, .. }, _) if tries >= INSERT_ROUNDS => {
            done(Outcome::Unavailable)
        }
        (State::Inserting { first, spooled: true, tries }, _) => {
            let tried = tries.saturating_add(1);
            again(tries, State::Inserting { first, spooled: true, tries: tried }, Action::Insert)
        }
        (other, _) => at_once(other, Action::Insert),
    }
}

/// What could not be opened is not unclear: it lies safe, and is opened later.
fn read_again(first: Presented, tries: u32) -> (State, Command) {
    if tries >= READ_ROUNDS {
        return done(Outcome::Unavailable);
    }
    again(tries, State::Reading { first, tries: tries.saturating_add(1) }, Action::Read)
}

fn read(plan: &Plan, first: Presented, reading: Reading, now: Moment) -> (State, Command) {
    match reading {
        Reading::Tokens => at_once(State::Committing { tries: 0 }, Action::Commit),
        Reading::Permanent { code } => at_once(State::Adopting { code, tries: 0 }, Action::Adopt),
        Reading::Client { code } => void(verdict::client_refused(plan, code, now)),
        Reading::NotProcessed { code, retry_after } => {
            void(verdict::not_processed(plan, code, retry_after, now))
        }
        Reading::Unclear { code } => settle(verdict::lost(plan, first, code, now)),
    }
}

/// A final no to the head is none to what an unused answer brought: each is tried once, as a head of its own.
fn adopt(plan: &Plan, code: String, tries: u32, event: Event) -> (State, Command) {
    match event {
        Event::Adopted => at_once(State::Committing { tries: 0 }, Action::Commit),
        Event::NothingToAdopt => settle(verdict::refused(plan, code)),
        _ if tries >= READ_ROUNDS => done(Outcome::Unavailable),
        _ => again(tries, State::Adopting { code, tries: tries.saturating_add(1) }, Action::Adopt),
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
            settle(verdict::back_off(plan, "superseded", now))
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
        (state, event) => leave(plan, state, event, now),
    }
}

fn leave(plan: &Plan, state: State, event: Event, now: Moment) -> (State, Command) {
    match (state, event) {
        (State::Voiding { verdict, .. }, Event::Voided) => settle(verdict),
        (State::Voiding { verdict, tries }, _) => {
            again(tries, State::Voiding { verdict, tries: tries.saturating_add(1) }, Action::Void)
        }
        (State::Settling { verdict, .. }, Event::Settled(true)) => done(verdict.outcome()),
        // Whoever took the claim over holds the attempt for lost, and this keeper knows better.
        (State::Settling { verdict, .. }, Event::Settled(false)) if verdict.withdraws() => {
            at_once(State::Withdrawing { tries: 0 }, Action::Withdraw)
        }
        (State::Settling { .. }, Event::Settled(false)) => done(Outcome::Superseded),
        (State::Settling { verdict, tries }, _) => {
            let tried = State::Settling { verdict: verdict.clone(), tries: tries.saturating_add(1) };
            again(tries, tried, Action::Settle(verdict))
        }
        (State::Withdrawing { .. }, Event::Withdrawn) => done(Outcome::Superseded),
        (State::Withdrawing { tries }, _) => {
            again(tries, State::Withdrawing { tries: tries.saturating_add(1) }, Action::Withdraw)
        }
        (State::Done(outcome), _) => done(outcome),
        _ => stray(plan, now),
    }
}

/// A report that fits nothing, before anything was presented: leave the chain as it can be left.
fn stray(plan: &Plan, now: Moment) -> (State, Command) {
    settle(verdict::back_off(plan, "stray-report", now))
}
