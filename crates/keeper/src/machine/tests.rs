//! The machine, walked by random reports over a model of the world: no path presents a generation twice,
//! commits what is not durable, or loses what a provider gave.

use super::{
    ANSWER_WITHIN, Action, Entry, Event, Moment, Outcome, Plan, Reading, SEND_WITHIN, State, Verdict, step,
};
use nightlatch_domain::{
    chain::{AttemptState, ChainState},
    clock::{Boot, Timestamp},
};
use proptest::{
    collection::vec,
    prelude::{ProptestConfig, any, proptest},
};
use std::time::Duration;

const NOW: Moment = Moment { wall: Timestamp::from_millis(1_800_000_000_000), boot: Boot::from_millis(1000) };

fn plan(entry: Entry) -> Plan {
    Plan { entry, drain: false, failures: 0, jitter: 7 }
}

/// Walks from the beginning through `events` and answers the last action.
fn walk(plan: &Plan, events: &[Event]) -> (State, Action) {
    let mut at = step(plan, State::Begun, Event::Begin, NOW);
    for event in events {
        at = step(plan, at.0, event.clone(), NOW);
    }
    (at.0, at.1.action)
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

fn after_reading(reading: Reading) -> Action {
    let mut events = to_answer();
    events.extend([Event::Spooled, Event::Inserted, Event::Read(reading)]);
    walk(&plan(Entry::Present), &events).1
}

#[test]
fn a_refresh_that_goes_well_takes_every_step_in_order() {
    let plan = plan(Entry::Present);
    let expected = [
        (Event::Claimed, Action::Prepare { send_by: NOW.boot.plus(SEND_WITHIN) }),
        (Event::Prepared, Action::Intend),
        (Event::Intended, Action::Anchor),
        (Event::Anchored, Action::Send { send_by: NOW.boot.plus(SEND_WITHIN) }),
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
    let verdict = verdict_of(after_reading(Reading::Permanent { code: "invalid_grant".into() }));
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
fn an_answer_is_journaled_until_the_database_has_it() {
    let plan = plan(Entry::Present);
    let (mut state, mut action) = walk(&plan, &to_answer());
    for _ in 0..50 {
        assert!(matches!(action, Action::Spool | Action::Insert), "{action:?}");
        let (next, command) = step(&plan, state, Event::Failed, NOW);
        (state, action) = (next, command.action);
    }
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
    assert!(SEND_WITHIN + ANSWER_WITHIN < Duration::from_secs(60));
}

/// What the world remembers across crashes.
#[derive(Debug, Default)]
struct World {
    /// The provider: how often the current generation was presented, processed answers only.
    presented: u32,
    /// The database.
    intended: bool,
    inserted: bool,
    settled: Option<ChainState>,
    moved: bool,
    /// The log.
    anchored: bool,
    /// The spool.
    spooled: bool,
    /// What the provider answered to this attempt.
    answer: Option<Reading>,
    /// Whether tokens ever lay on a disk.
    tokens_were_durable: bool,
}

impl World {
    /// Carries an action out, or lets it fail, as `dice` says, and reports.
    fn carry_out(&mut self, action: &Action, dice: u8) -> Event {
        let fails = dice.is_multiple_of(5);
        match action {
            Action::Claim if fails => Event::NotClaimed,
            Action::Claim => Event::Claimed,
            Action::Drain => Event::Drained,
            Action::Prepare { .. } if fails => Event::NotPrepared { reason: "provider-unreachable" },
            Action::Prepare { .. } => Event::Prepared,
            Action::Intend if fails => Event::NotIntended,
            Action::Intend => {
                self.intended = true;
                // A new attempt: slot and row are named by its id, and hold nothing yet.
                (self.spooled, self.inserted, self.answer) = (false, false, None);
                if dice.is_multiple_of(7) { Event::Failed } else { Event::Intended }
            }
            Action::Anchor if self.anchored => Event::PresentedBefore,
            Action::Anchor if fails => Event::NotAnchored,
            Action::Anchor => {
                assert!(self.intended, "anchored without an intent");
                self.anchored = true;
                Event::Anchored
            }
            Action::Send { .. } => self.send(dice),
            Action::Spool if fails => Event::Failed,
            Action::Spool => {
                self.spooled = true;
                self.tokens_were_durable |= self.answer == Some(Reading::Tokens);
                Event::Spooled
            }
            Action::Insert if fails => Event::Failed,
            Action::Insert => {
                self.inserted = true;
                self.tokens_were_durable |= self.answer == Some(Reading::Tokens);
                Event::Inserted
            }
            Action::Read => {
                assert!(self.inserted, "read before it was durable");
                Event::Read(self.answer.clone().unwrap())
            }
            Action::Commit => self.commit(dice),
            Action::Resolve if fails => Event::Failed,
            Action::Resolve => Event::Resolved { committed: self.moved },
            Action::AnchorHead if fails => Event::Failed,
            Action::AnchorHead => {
                assert!(self.moved, "a head was anchored that the database does not have");
                Event::HeadAnchored
            }
            Action::Void if fails => Event::Failed,
            Action::Void => {
                self.anchored = false;
                Event::Voided
            }
            Action::Settle(_) if fails => Event::Failed,
            Action::Settle(verdict) => {
                self.settled = Some(verdict.state);
                if verdict.attempt.is_some() {
                    (self.intended, self.inserted) = (false, false);
                }
                Event::Settled(true)
            }
            Action::Release(_) => Event::Begin,
        }
    }

    fn send(&mut self, dice: u8) -> Event {
        assert!(self.anchored, "sent without an anchor");
        let reading = match dice % 6 {
            0 => return Event::NothingWritten,
            1 => {
                self.presented += 1;
                return Event::NoAnswer;
            }
            2 => Reading::NotProcessed { code: "slow_down".into(), retry_after: None },
            3 => Reading::Permanent { code: "invalid_grant".into() },
            _ => Reading::Tokens,
        };
        if !matches!(reading, Reading::NotProcessed { .. }) {
            self.presented += 1;
        }
        self.answer = Some(reading);
        Event::Answered
    }

    fn commit(&mut self, dice: u8) -> Event {
        assert!(self.inserted, "committed what was not durable");
        match dice % 5 {
            0 => Event::Failed,
            1 => {
                self.moved = true;
                Event::Failed
            }
            _ => {
                self.moved = true;
                Event::Moved
            }
        }
    }

    /// What a start finds after a crash, by the rules of `recover`.
    fn entry(&mut self) -> Option<Entry> {
        if self.moved {
            return None;
        }
        if self.intended {
            return Some(match (self.inserted, self.spooled, self.anchored) {
                (true, _, _) => Entry::Answered,
                (false, true, _) => Entry::Spooled,
                (false, false, true) => Entry::Unanswered,
                (false, false, false) => Entry::NeverSent,
            });
        }
        match self.settled {
            Some(ChainState::Latched | ChainState::Uncertain | ChainState::Quarantined) => None,
            _ => Some(Entry::Present),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    // I1, I3, I4 over every path: failures, crashes at any step, and starts that follow them.
    #[test]
    fn no_path_presents_a_generation_twice(dice in vec(any::<u8>(), 1..120)) {
        let mut world = World::default();
        let mut dice = dice.into_iter();
        while let Some(entry) = world.entry() {
            let plan = plan(entry);
            let (mut state, mut command) = step(&plan, State::Begun, Event::Begin, NOW);
            loop {
                let Some(roll) = dice.next() else { return Ok(()) };
                // A crash before the action is carried out.
                if roll % 11 == 10 { break; }
                let event = world.carry_out(&command.action, roll);
                assert!(world.presented <= 1, "presented twice");
                // A crash after it, before anything learns of it.
                if roll % 13 == 12 { break; }
                (state, command) = step(&plan, state, event, NOW);
                if let State::Done(_) = state { break; }
            }
        }
        // It came to rest: the head moved, or a human was asked; and tokens that were ever on a disk did not
        // end as a question.
        assert!(world.moved || world.settled.is_some());
        assert!(world.moved || !world.tokens_were_durable, "durable tokens were lost");
    }

    // A report that does not belong there never leads to a presentation.
    #[test]
    fn no_stray_report_leads_to_a_presentation(order in vec(0usize..22, 1..60)) {
        let events = [
            Event::Begin, Event::Claimed, Event::NotClaimed, Event::Drained, Event::Prepared,
            Event::NotPrepared { reason: "x" }, Event::Intended, Event::NotIntended, Event::Anchored,
            Event::PresentedBefore, Event::NotAnchored, Event::Answered, Event::NothingWritten, Event::NoAnswer,
            Event::Spooled, Event::Inserted, Event::Read(Reading::Tokens), Event::Moved, Event::Lost,
            Event::HeadAnchored, Event::Voided, Event::Failed,
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
                assert!(matches!(event, Event::Read(Reading::Tokens) | Event::Resolved { .. }));
            }
        }
        assert!(sends <= 1);
    }
}
