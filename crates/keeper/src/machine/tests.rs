//! The machine, step by step. What several of them promise together, `keeping::model` shows.

use super::{
    ANSWER_WITHIN, Action, Entry, Event, LEASE, Moment, Outcome, Plan, Reading, SEND_AFTER_CLAIM,
    SEND_WITHIN, State, Verdict, step,
};
use crate::second::{Presented, Second};
use nightlatch_domain::{
    chain::{AttemptState, ChainState},
    clock::{Boot, Timestamp},
};
use proptest::{
    collection::vec,
    prelude::{ProptestConfig, proptest},
};
use std::time::Duration;

const NOW: Moment = Moment { wall: Timestamp::from_millis(1_800_000_000_000), boot: Boot::from_millis(1000) };

const SEND: Action = Action::Send {
    send_by: Boot::from_millis(16_000),
    settle_by: Boot::from_millis(31_000),
    listen_until: Boot::from_millis(901_000),
};

fn plan(entry: Entry) -> Plan {
    let (second, rest, access_until) = (Second::NEVER, None, None);
    Plan { entry, drain: false, failures: 0, jitter: 7, second, first: None, rest, access_until }
}

/// Walks from the beginning through `events` and answers the last action.
fn walk(plan: &Plan, events: &[Event]) -> (State, Action) {
    let mut at = step(plan, State::Begun, Event::Begin, NOW);
    for event in events {
        at = step(plan, at.0, event.clone(), NOW);
    }
    (at.0, at.1.action)
}

const AT_ONCE: Second = Second { window: Some(Duration::from_secs(55)), last: false };

fn later(by: Duration) -> Moment {
    Moment { wall: NOW.wall.plus(by), boot: NOW.boot.plus(by) }
}

fn again(until: Option<Boot>) -> Plan {
    let first = Some(Presented::now(NOW));
    Plan { second: AT_ONCE, first, rest: Some(ChainState::Uncertain), ..plan(Entry::Again { until }) }
}

fn to_answer() -> Vec<Event> {
    vec![Event::Claimed, Event::Prepared, Event::Intended, Event::Anchored, Event::Answered]
}

fn verdict_of(action: Action) -> Verdict {
    match action {
        Action::Settle(verdict) => verdict,
        other => panic!("no settlement but {other:?}"),
    }
}

#[test]
fn a_refresh_that_goes_well_takes_every_step_in_order() {
    let plan = plan(Entry::Present);
    let expected = [
        (Event::Claimed, Action::Prepare { send_by: NOW.boot.plus(SEND_WITHIN) }),
        (Event::Prepared, Action::Intend),
        (Event::Intended, Action::Anchor),
        (Event::Anchored, SEND),
        (Event::Answered, Action::Spool),
        (Event::Spooled, Action::Insert),
        (Event::Inserted, Action::Read),
        (Event::Read(Reading::Tokens), Action::Commit),
        (Event::Moved, Action::AnchorHead),
        (Event::HeadAnchored, Action::Release(Outcome::Refreshed)),
    ];
    let mut state = step(&plan, State::Begun, Event::Begin, NOW).0;
    for (event, action) in expected {
        let (next, command) = step(&plan, state, event, NOW);
        assert_eq!((command.action, command.after), (action, Duration::ZERO));
        state = next;
    }
}

#[test]
fn a_lost_answer_is_uncertain_and_asks_a_human() {
    let mut events = to_answer();
    events.pop();
    for lost in [Event::NoAnswer, Event::Failed] {
        let mut path = events.clone();
        path.push(lost);
        let verdict = verdict_of(walk(&plan(Entry::Present), &path).1);
        assert_eq!((verdict.state, verdict.due_at, verdict.ask), (ChainState::Uncertain, None, true));
        assert_eq!(verdict.attempt, Some(AttemptState::Uncertain));
    }
}

#[test]
fn what_was_not_written_is_withdrawn_before_it_may_be_tried_again() {
    let mut events = to_answer();
    events.pop();
    events.push(Event::NothingWritten);
    assert_eq!(walk(&plan(Entry::Present), &events).1, Action::Void);
    events.push(Event::Voided);
    let verdict = verdict_of(walk(&plan(Entry::Present), &events).1);
    assert_eq!((verdict.state, verdict.attempt), (ChainState::BackingOff, Some(AttemptState::NotPresented)));
    assert!(verdict.due_at.is_some() && !verdict.ask);
}

#[test]
fn an_anchor_that_came_too_late_sends_nothing() {
    let plan = plan(Entry::Present);
    let (state, _) = walk(&plan, &[Event::Claimed, Event::Prepared, Event::Intended]);
    let late = Moment { boot: NOW.boot.plus(SEND_WITHIN), ..NOW };
    assert_eq!(step(&plan, state, Event::Anchored, late).1.action, Action::Void);
}

#[test]
fn a_connection_that_came_too_late_intends_nothing() {
    let plan = plan(Entry::Present);
    let (state, _) = walk(&plan, &[Event::Claimed]);
    let late = Moment { boot: NOW.boot.plus(SEND_WITHIN), ..NOW };
    let verdict = verdict_of(step(&plan, state, Event::Prepared, late).1.action);
    assert_eq!((verdict.state, verdict.attempt), (ChainState::BackingOff, None));
}

#[test]
fn a_permanent_error_latches_and_asks_once() {
    let mut events = to_answer();
    events.extend([Event::Spooled, Event::Inserted]);
    events.push(Event::Read(Reading::Permanent { code: "invalid_grant".into() }));
    assert_eq!(walk(&plan(Entry::Present), &events).1, Action::Adopt);
    events.push(Event::NothingToAdopt);
    let verdict = verdict_of(walk(&plan(Entry::Present), &events).1);
    assert_eq!((verdict.state, verdict.due_at, verdict.ask), (ChainState::Latched, None, true));
    assert_eq!(verdict.reason.as_deref(), Some("invalid_grant"));
}

#[test]
fn a_refused_registration_does_not_latch_its_chain() {
    let mut events = to_answer();
    events.extend([Event::Spooled, Event::Inserted]);
    events.push(Event::Read(Reading::Client { code: "invalid_client".into() }));
    events.push(Event::Voided);
    let verdict = verdict_of(walk(&plan(Entry::Present), &events).1);
    assert_eq!((verdict.state, verdict.client_refused), (ChainState::BackingOff, true));
}

#[test]
fn retry_after_is_the_least_wait() {
    let mut events = to_answer();
    events.extend([Event::Spooled, Event::Inserted]);
    let retry_after = Some(Duration::from_secs(300));
    events.push(Event::Read(Reading::NotProcessed { code: "slow_down".into(), retry_after }));
    events.push(Event::Voided);
    let verdict = verdict_of(walk(&plan(Entry::Present), &events).1);
    assert!(verdict.due_at >= Some(NOW.wall.plus(Duration::from_secs(300))));
}

#[test]
fn an_answer_that_is_nowhere_yet_is_journaled_for_ever() {
    let plan = plan(Entry::Present);
    let (mut state, mut action) = walk(&plan, &to_answer());
    for _ in 0..200 {
        assert!(matches!(action, Action::Spool | Action::Insert), "{action:?}");
        let (next, command) = step(&plan, state, Event::Failed, NOW);
        (state, action) = (next, command.action);
    }
}

#[test]
fn an_answer_that_the_spool_has_holds_no_lane_for_ever() {
    let plan = plan(Entry::Present);
    let mut events = to_answer();
    events.push(Event::Spooled);
    let (mut state, mut action) = walk(&plan, &events);
    for _ in 0..200 {
        if action == Action::Release(Outcome::Unavailable) {
            return;
        }
        assert_eq!(action, Action::Insert);
        let (next, command) = step(&plan, state, Event::Failed, NOW);
        (state, action) = (next, command.action);
    }
    panic!("inserted for ever");
}

#[test]
fn a_commit_whose_answer_was_lost_is_resolved_by_the_attempt() {
    let mut events = to_answer();
    events.extend([Event::Spooled, Event::Inserted, Event::Read(Reading::Tokens), Event::Failed]);
    assert_eq!(walk(&plan(Entry::Present), &events).1, Action::Resolve);
    let mut moved = events.clone();
    moved.push(Event::Resolved { committed: true });
    assert_eq!(walk(&plan(Entry::Present), &moved).1, Action::AnchorHead);
    events.push(Event::Resolved { committed: false });
    assert_eq!(walk(&plan(Entry::Present), &events).1, Action::Commit);
}

#[test]
fn an_unanswered_entry_presents_nothing_and_an_unsent_one_is_due_at_once() {
    let verdict = verdict_of(walk(&plan(Entry::Unanswered), &[Event::Claimed]).1);
    assert_eq!((verdict.state, verdict.ask), (ChainState::Uncertain, true));
    let verdict = verdict_of(walk(&plan(Entry::NeverSent), &[Event::Claimed]).1);
    assert_eq!((verdict.state, verdict.due_at), (ChainState::Healthy, Some(NOW.wall)));
}

#[test]
fn a_generation_that_the_log_knows_as_presented_is_quarantined() {
    let events = [Event::Claimed, Event::Prepared, Event::Intended, Event::PresentedBefore];
    let verdict = verdict_of(walk(&plan(Entry::Present), &events).1);
    assert_eq!((verdict.state, verdict.ask), (ChainState::Quarantined, true));
}

#[test]
fn the_claim_outlasts_the_exchange() {
    assert!(SEND_WITHIN < SEND_AFTER_CLAIM && SEND_AFTER_CLAIM + ANSWER_WITHIN < LEASE);
}

#[test]
fn the_send_deadline_is_counted_from_the_claim_asked_for() {
    let plan = Plan { drain: true, ..plan(Entry::Present) };
    let (state, _) = walk(&plan, &[Event::Claimed]);
    // The claim's answer was slow, and the drain took its time.
    let drained = later(SEND_AFTER_CLAIM - Duration::from_secs(1));
    let (_, command) = step(&plan, state.clone(), Event::Drained, drained);
    assert_eq!(command.action, Action::Prepare { send_by: NOW.boot.plus(SEND_AFTER_CLAIM) });
    let (_, command) = step(&plan, state, Event::Drained, later(SEND_AFTER_CLAIM));
    assert!(matches!(command.action, Action::Settle(_)), "{command:?}");
}

#[test]
fn a_retry_leaves_inside_its_grace_or_not_at_all() {
    let until = NOW.boot.plus(Duration::from_secs(4));
    let plan = again(Some(until));
    let (state, action) = walk(&plan, &[Event::Claimed]);
    assert_eq!(action, Action::Prepare { send_by: until });
    let late = later(Duration::from_secs(4));
    let verdict = verdict_of(step(&plan, state, Event::Prepared, late).1.action);
    assert_eq!((verdict.state, verdict.attempt), (ChainState::Uncertain, None));
}

/// A machine that was stopped whole: its boot clock stood still, and the grace ended meanwhile.
#[test]
fn a_retry_does_not_leave_after_its_grace_where_a_clock_stood_still() {
    let plan = again(Some(NOW.boot.plus(Duration::from_secs(50))));
    let stopped = Moment { wall: NOW.wall.plus(Duration::from_secs(60)), ..NOW };
    let (state, _) = walk(&plan, &[Event::Claimed]);
    let verdict = verdict_of(step(&plan, state, Event::Prepared, stopped).1.action);
    assert_eq!((verdict.state, verdict.attempt), (ChainState::Uncertain, None));
    let (state, _) = walk(&plan, &[Event::Claimed, Event::Prepared, Event::Intended]);
    assert_eq!(step(&plan, state.clone(), Event::Anchored, stopped).1.action, Action::Void);
    let Action::Send { send_by, .. } = step(&plan, state, Event::Anchored, NOW).1.action else {
        panic!("inside it, it leaves")
    };
    assert_eq!(send_by, NOW.boot.plus(SEND_WITHIN));
}

/// However long a back-off has grown: a wait that outlasts the grace would give it up.
#[test]
fn a_retry_that_could_not_be_made_is_tried_again_while_its_grace_lasts() {
    let plan = Plan { failures: 40, ..again(None) };
    let verdict = verdict_of(walk(&plan, &[Event::Claimed, Event::NotPrepared { reason: "x" }]).1);
    let due = verdict.due_at.unwrap();
    assert!(!verdict.ask && due > NOW.wall && due < NOW.wall.plus(Duration::from_secs(30)), "{due:?}");
    let postponed = Entry::Postponed { until: NOW.wall.plus(Duration::from_secs(600)), reason: "x" };
    let plan = Plan { entry: postponed, ..again(None) };
    let verdict = verdict_of(walk(&plan, &[Event::Claimed]).1);
    assert!(!verdict.ask && verdict.due_at.unwrap() < NOW.wall.plus(Duration::from_secs(30)));
}

#[test]
fn a_retry_that_was_none_leaves_the_chain_as_it_was_and_is_not_spent() {
    let plan = again(None);
    let to_send = [Event::Claimed, Event::Prepared, Event::Intended, Event::Anchored];
    for (events, event) in
        [(&to_send[..1], Event::NotPrepared { reason: "x" }), (&to_send[..2], Event::NotIntended)]
    {
        let mut path = events.to_vec();
        path.push(event);
        let verdict = verdict_of(walk(&plan, &path).1);
        assert_eq!((verdict.state, verdict.ask), (ChainState::Uncertain, false), "{path:?}");
        assert!(verdict.due_at.is_some());
    }
    let mut path = to_send.to_vec();
    path.extend([Event::NothingWritten, Event::Voided]);
    let verdict = verdict_of(walk(&plan, &path).1);
    assert_eq!(verdict.attempt, Some(AttemptState::NotPresented));
    assert_eq!((verdict.state, verdict.ask), (ChainState::Uncertain, false));
}

#[test]
fn a_retry_whose_answer_is_lost_too_was_the_last() {
    let plan = again(None);
    let path = [Event::Claimed, Event::Prepared, Event::Intended, Event::Anchored, Event::NoAnswer];
    let verdict = verdict_of(walk(&plan, &path).1);
    assert_eq!((verdict.state, verdict.due_at, verdict.ask), (ChainState::Uncertain, None, true));
}

#[test]
fn inside_a_grace_nobody_is_asked_before_it_is_over() {
    let plan = Plan { second: AT_ONCE, ..plan(Entry::Present) };
    let mut events = to_answer();
    events.pop();
    events.push(Event::NoAnswer);
    let verdict = verdict_of(walk(&plan, &events).1);
    assert_eq!((verdict.state, verdict.ask), (ChainState::Uncertain, false));
    assert!(verdict.due_at.is_some());
}

#[test]
fn an_unused_answer_is_adopted_before_the_chain_latches() {
    let mut events = to_answer();
    events.extend([Event::Spooled, Event::Inserted]);
    events.push(Event::Read(Reading::Permanent { code: "invalid_grant".into() }));
    events.push(Event::Adopted);
    assert_eq!(walk(&plan(Entry::Present), &events).1, Action::Commit);
}

#[test]
fn an_answer_that_cannot_be_opened_is_left_for_later() {
    let plan = plan(Entry::Answered);
    let (mut state, mut action) = walk(&plan, &[Event::Claimed]);
    for _ in 0..50 {
        if action == Action::Release(Outcome::Unavailable) {
            return;
        }
        assert_eq!(action, Action::Read);
        let (next, command) = step(&plan, state, Event::Failed, NOW);
        (state, action) = (next, command.action);
    }
    panic!("read for ever");
}

#[test]
fn a_late_answer_without_tokens_leaves_the_chain_where_it_was() {
    for rest in [ChainState::Latched, ChainState::Quarantined] {
        let plan = Plan { rest: Some(rest), second: AT_ONCE, ..plan(Entry::Answered) };
        let unclear = Event::Read(Reading::Unclear { code: "http-502".into() });
        let verdict = verdict_of(walk(&plan, &[Event::Claimed, unclear]).1);
        assert_eq!((verdict.state, verdict.due_at), (rest, None));
    }
}

#[test]
fn who_was_overtaken_says_that_nothing_was_presented() {
    let plan = plan(Entry::Present);
    let mut events = to_answer();
    events.pop();
    events.extend([Event::NothingWritten, Event::Voided, Event::Settled(false)]);
    assert_eq!(walk(&plan, &events).1, Action::Withdraw);
    events.push(Event::Withdrawn);
    assert_eq!(walk(&plan, &events).1, Action::Release(Outcome::Superseded));
    // Of what may have been presented it says nothing.
    let mut events = to_answer();
    events.pop();
    events.extend([Event::NoAnswer, Event::Settled(false)]);
    assert_eq!(walk(&plan, &events).1, Action::Release(Outcome::Superseded));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    // A report that does not belong there never leads to a presentation.
    #[test]
    fn no_stray_report_leads_to_a_presentation(order in vec(0usize..26, 1..60)) {
        let events = [
            Event::Begin, Event::Claimed, Event::NotClaimed, Event::Drained, Event::Prepared,
            Event::NotPrepared { reason: "x" }, Event::Intended, Event::NotIntended, Event::Anchored,
            Event::PresentedBefore, Event::NotAnchored, Event::Answered, Event::NothingWritten, Event::NoAnswer,
            Event::Spooled, Event::Inserted, Event::Read(Reading::Tokens), Event::Moved, Event::Lost,
            Event::HeadAnchored, Event::Voided, Event::Failed, Event::Adopted, Event::NothingToAdopt,
            Event::Withdrawn, Event::Settled(false),
        ];
        let plan = plan(Entry::Present);
        let (mut state, mut command) = step(&plan, State::Begun, Event::Begin, NOW);
        let mut sends = 0;
        for index in order {
            let event = events[index].clone();
            let was = command.action.clone();
            (state, command) = step(&plan, state, event.clone(), NOW);
            if matches!(command.action, Action::Send { .. }) {
                assert!(event == Event::Anchored && was == Action::Anchor);
                sends += 1;
            }
            if command.action == Action::Commit {
                assert!(matches!(event, Event::Read(Reading::Tokens) | Event::Adopted | Event::Resolved { .. }));
            }
        }
        assert!(sends <= 1);
    }
}
