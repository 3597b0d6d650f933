//! What next: losers adopt, answers come first, the log outweighs the database, and nothing is presented over an
//! attempt that stands.

use super::{Begin, Fit, Holder, Known, LogSays, Next, Own, Seen, Wanted, next};
use crate::{
    machine::{Action, Entry, Event, Moment, Outcome, Plan, State, step},
    second::{Second, UNHEARD_AFTER},
};
use nightlatch_domain::{
    chain::{AttemptState, ChainState},
    clock::{Boot, Timestamp},
    id::{AttemptId, FamilyId},
};
use std::time::Duration;

const NOW: Moment =
    Moment { wall: Timestamp::from_millis(1_800_000_000_000), boot: Boot::from_millis(9_000_000) };
const ALL_STATES: [ChainState; 6] = [
    ChainState::Healthy,
    ChainState::Refreshing,
    ChainState::BackingOff,
    ChainState::Uncertain,
    ChainState::Latched,
    ChainState::Quarantined,
];
const AT_ONCE: Second = Second { window: Some(Duration::from_secs(55)), last: false };
const LAST: Second = Second { window: None, last: true };

fn family(number: u8) -> FamilyId {
    FamilyId::new(Timestamp::from_millis(1), [number; 10])
}

fn attempt(number: u8) -> AttemptId {
    AttemptId::new(Timestamp::from_millis(1), [number; 10])
}

fn ago(secs: u64) -> Moment {
    let span = Duration::from_secs(secs);
    Moment { wall: NOW.wall.minus(span), boot: Boot::from_millis(NOW.boot.millis() - secs * 1000) }
}

fn seen(number: u8, state: AttemptState, own: Own) -> Seen {
    seen_ago(number, state, own, 20)
}

fn seen_ago(number: u8, state: AttemptState, own: Own, secs: u64) -> Seen {
    Seen { id: attempt(number), state, own, intended_at: ago(secs).wall, intended_by: ago(secs).wall }
}

fn anchored(number: u8, state: AttemptState) -> Seen {
    seen(number, state, Own::Anchored(Some(ago(20).boot)))
}

fn known(state: ChainState) -> Known {
    Known {
        state,
        due_at: Some(NOW.wall),
        asked: false,
        family: family(1),
        generation: 2,
        access_until: Some(NOW.wall.plus(Duration::from_secs(600))),
        attempts: Vec::new(),
        sibling: false,
        holder: Holder::Left,
        log: LogSays::Fits,
        again: false,
        second: Second::NEVER,
        fit: Fit::Presentable,
        now: NOW,
        store_now: None,
    }
}

fn instead_of(generation: u64) -> Wanted {
    Wanted::Instead { family: family(1), generation, refused: true }
}

fn entry(known: &Known, wanted: Wanted) -> Result<Entry, Outcome> {
    match next(known, wanted) {
        Next::Begin(begin) => Ok(begin.entry),
        Next::Nothing(outcome) => Err(outcome),
    }
}

fn begin(known: &Known) -> Begin {
    match next(known, Wanted::Timer) {
        Next::Begin(begin) => begin,
        Next::Nothing(outcome) => panic!("nothing begins: {outcome:?}"),
    }
}

#[test]
fn who_saw_an_older_generation_adopts_the_new_one() {
    let fresh = known(ChainState::Healthy);
    assert_eq!(entry(&fresh, instead_of(1)), Err(Outcome::Refreshed));
    assert_eq!(entry(&fresh, instead_of(2)), Ok(Entry::Present));
    let other = Wanted::Instead { family: family(9), generation: 2, refused: true };
    assert_eq!(entry(&fresh, other), Err(Outcome::Refreshed));
}

#[test]
fn what_only_a_human_can_mend_is_left_alone() {
    for state in [ChainState::Latched, ChainState::Quarantined] {
        for wanted in [Wanted::Timer, instead_of(2)] {
            assert_eq!(entry(&known(state), wanted), Err(Outcome::NeedsHuman));
        }
    }
    let lost = vec![anchored(1, AttemptState::Uncertain)];
    let uncertain = Known { attempts: lost, due_at: None, asked: true, ..known(ChainState::Uncertain) };
    for wanted in [Wanted::Timer, instead_of(2)] {
        assert_eq!(entry(&uncertain, wanted), Err(Outcome::NeedsHuman));
    }
}

#[test]
fn a_chain_that_backs_off_is_not_hurried_and_a_timer_that_came_too_early_does_nothing() {
    let until = Some(NOW.wall.plus(Duration::from_secs(60)));
    let waits = Known { due_at: until, ..known(ChainState::BackingOff) };
    assert_eq!(entry(&waits, instead_of(2)), Err(Outcome::Waiting { until }));
    assert_eq!(entry(&known(ChainState::BackingOff), instead_of(2)), Ok(Entry::Present));
    let early = Known { due_at: until, ..known(ChainState::Healthy) };
    assert_eq!(entry(&early, Wanted::Timer), Err(Outcome::Refreshed));
    assert_eq!(entry(&known(ChainState::Healthy), Wanted::Timer), Ok(Entry::Present));
}

#[test]
fn a_claim_is_taken_over_only_where_it_was_left_or_watched() {
    let intent = vec![seen(1, AttemptState::Intended, Own::Foreign)];
    let held = |holder| Known { holder, attempts: intent.clone(), ..known(ChainState::Refreshing) };
    for wanted in [Wanted::Timer, instead_of(2)] {
        assert_eq!(entry(&held(Holder::Other), wanted), Err(Outcome::Superseded));
    }
    assert_eq!(entry(&held(Holder::Gone), Wanted::Timer), Ok(Entry::Unanswered));
}

#[test]
fn only_its_owner_says_that_an_intent_was_never_sent() {
    let left = |own| Known {
        attempts: vec![seen(1, AttemptState::Intended, own)],
        holder: Holder::Gone,
        ..known(ChainState::Refreshing)
    };
    assert_eq!(entry(&left(Own::NotSent), Wanted::Timer), Ok(Entry::NeverSent));
    assert_eq!(entry(&left(Own::Anchored(None)), Wanted::Timer), Ok(Entry::Unanswered));
    // Another keeper's log may have anchored it.
    assert_eq!(entry(&left(Own::Foreign), Wanted::Timer), Ok(Entry::Unanswered));
    let released = Known { holder: Holder::Other, ..left(Own::Foreign) };
    let released = Known { state: ChainState::Healthy, ..released };
    assert_eq!(entry(&released, Wanted::Timer), Err(Outcome::Superseded));
}

#[test]
fn an_answer_that_nobody_read_leads_out_of_every_state() {
    for state in ALL_STATES {
        let late = vec![anchored(1, AttemptState::Answered)];
        let known = Known { attempts: late, due_at: None, ..known(state) };
        assert_eq!(entry(&known, Wanted::Timer), Ok(Entry::Answered), "{state:?}");
        assert_eq!(begin(&known).attempt, Some(attempt(1)));
        let rest = (state == ChainState::Quarantined).then_some(state);
        assert_eq!(begin(&known).rest, rest, "where it stays if there are no tokens in it");
        let foreign = vec![seen(1, AttemptState::Answered, Own::Foreign)];
        let known = Known { attempts: foreign, ..known.clone() };
        assert_eq!(entry(&known, Wanted::Timer), Ok(Entry::Answered), "{state:?}");
        let spooled = vec![seen(1, AttemptState::Uncertain, Own::Spooled)];
        let known = Known { attempts: spooled, ..known };
        assert_eq!(entry(&known, Wanted::Timer), Ok(Entry::Spooled), "{state:?}");
    }
    let other = Known {
        attempts: vec![anchored(1, AttemptState::Answered)],
        holder: Holder::Other,
        ..known(ChainState::Refreshing)
    };
    assert_eq!(entry(&other, Wanted::Timer), Err(Outcome::Superseded), "its holder reads it");
}

#[test]
fn an_answer_is_read_only_where_it_brings_the_database_up_to_the_log() {
    let late = |log| Known {
        attempts: vec![anchored(1, AttemptState::Answered)],
        log,
        ..known(ChainState::Quarantined)
    };
    assert_eq!(entry(&late(LogSays::Behind { anchored: 3 }), Wanted::Timer), Ok(Entry::Answered));
    assert_eq!(entry(&late(LogSays::Behind { anchored: 4 }), Wanted::Timer), Err(Outcome::NeedsHuman));
    assert_eq!(entry(&late(LogSays::Silent), Wanted::Timer), Err(Outcome::NeedsHuman));
}

#[test]
fn what_the_log_does_not_vouch_for_is_never_presented() {
    for state in [ChainState::Healthy, ChainState::Refreshing, ChainState::BackingOff, ChainState::Uncertain]
    {
        for log in [LogSays::Silent, LogSays::Behind { anchored: 4 }] {
            let lost = vec![anchored(1, AttemptState::Uncertain)];
            for attempts in [Vec::new(), lost] {
                let known = Known { log, attempts, second: AT_ONCE, ..known(state) };
                let condemned =
                    Entry::Condemned { state: ChainState::Quarantined, reason: "anchor-mismatch" };
                assert_eq!(entry(&known, Wanted::Timer), Ok(condemned));
            }
        }
    }
}

/// Whatever is known otherwise: no first presentation over an attempt that may have been sent.
#[test]
fn no_first_presentation_over_an_attempt_that_stands() {
    let stands =
        [AttemptState::Intended, AttemptState::Answered, AttemptState::Refused, AttemptState::Uncertain];
    for state in ALL_STATES {
        for stood in stands {
            for own in [Own::Spooled, Own::Anchored(None), Own::NotSent, Own::Foreign] {
                for holder in [Holder::Nobody, Holder::Left, Holder::Gone, Holder::Other] {
                    for (second, wanted) in [(AT_ONCE, Wanted::Timer), (LAST, instead_of(2))] {
                        let attempts = vec![seen(1, stood, own)];
                        let known = Known { attempts, holder, second, ..known(state) };
                        assert_ne!(entry(&known, wanted), Ok(Entry::Present), "{state:?} {stood:?} {own:?}");
                    }
                }
            }
        }
    }
    let none = Seen { own: Own::NotSent, ..anchored(1, AttemptState::NotPresented) };
    let none = Known { attempts: vec![none], ..known(ChainState::Healthy) };
    assert_eq!(entry(&none, Wanted::Timer), Ok(Entry::Present));
}

#[test]
fn what_others_call_no_presentation_is_read_here_before_the_log_forgets_it() {
    let attempts = vec![anchored(1, AttemptState::NotPresented)];
    let told = Known { attempts: attempts.clone(), ..known(ChainState::Healthy) };
    assert_eq!(entry(&told, Wanted::Timer), Ok(Entry::Answered));
    let early = Known { attempts, due_at: Some(NOW.wall.plus(Duration::from_secs(60))), ..told };
    assert_eq!(entry(&early, Wanted::Timer), Err(Outcome::Refreshed));
}

#[test]
fn a_sibling_that_came_after_the_final_no_is_tried_in_the_heads_place() {
    let refused = Known {
        attempts: vec![anchored(1, AttemptState::Refused)],
        due_at: None,
        sibling: true,
        ..known(ChainState::Latched)
    };
    assert_eq!(entry(&refused, Wanted::Timer), Ok(Entry::Sibling));
    for known in [
        Known { sibling: false, ..refused.clone() },
        Known { log: LogSays::Behind { anchored: 3 }, ..refused.clone() },
        Known { fit: Fit::Unverified, ..refused.clone() },
        Known { attempts: Vec::new(), ..refused },
    ] {
        assert_eq!(entry(&known, Wanted::Timer), Err(Outcome::NeedsHuman));
    }
}

#[test]
fn inside_the_grace_the_retry_comes_once() {
    let lost = anchored(1, AttemptState::Uncertain);
    let uncertain = Known { attempts: vec![lost], second: AT_ONCE, ..known(ChainState::Uncertain) };
    let until = Some(NOW.boot.plus(Duration::from_secs(35)));
    assert_eq!(entry(&uncertain, Wanted::Timer), Ok(Entry::Again { until }));
    assert_eq!(begin(&uncertain).rest, Some(ChainState::Uncertain));
    for state in [AttemptState::Intended, AttemptState::Uncertain, AttemptState::Refused] {
        let spent = vec![lost, seen(2, state, Own::Anchored(None))];
        let known = Known { attempts: spent, ..uncertain.clone() };
        assert!(!matches!(entry(&known, Wanted::Timer), Ok(Entry::Again { .. })), "{state:?}");
    }
    // The database was put back, and only the log knows that it is spent.
    let spent = Known { again: true, ..uncertain.clone() };
    assert_eq!(entry(&spent, Wanted::Timer), Ok(Entry::Unanswered));
    // One that was none did not spend it.
    let unspent = vec![lost, seen(2, AttemptState::NotPresented, Own::NotSent)];
    let known = Known { attempts: unspent, ..uncertain };
    assert_eq!(entry(&known, Wanted::Timer), Ok(Entry::Again { until }));
}

#[test]
fn a_retry_that_a_crash_left_before_its_anchor_is_not_spent() {
    let lost = anchored(1, AttemptState::Uncertain);
    let left = |own| Known {
        attempts: vec![lost, seen_ago(2, AttemptState::Intended, own, 1)],
        second: AT_ONCE,
        ..known(ChainState::Refreshing)
    };
    let begun = begin(&left(Own::NotSent));
    assert_eq!((&begun.entry, begun.attempt), (&Entry::NeverSent, Some(attempt(2))));
    // It is tried again while the grace lasts, which began with the first one.
    assert_eq!((begun.second, begun.first), (AT_ONCE, begin(&left(Own::Anchored(None))).first));
    assert_eq!(begun.first.and_then(|first| first.elapsed(NOW)), Some(Duration::from_secs(20)));
    assert!(begin(&left(Own::Anchored(None))).second == Second::NEVER);
}

/// This keeper's wall clock is half an hour ahead: its machine was booted since, and the store's clock still calls it inside.
#[test]
fn a_retry_that_was_never_sent_stays_due_for_whose_clocks_tell_more() {
    let lost = seen_ago(1, AttemptState::Uncertain, Own::Anchored(None), 1800);
    let left = Known {
        attempts: vec![lost, seen_ago(2, AttemptState::Intended, Own::NotSent, 1800)],
        second: AT_ONCE,
        store_now: Some(lost.intended_by.plus(Duration::from_secs(20))),
        ..known(ChainState::Refreshing)
    };
    let Begin { entry, second, first, rest, .. } = begin(&left);
    let plan = Plan { entry, drain: false, failures: 0, jitter: 0, second, first, rest, access_until: None };
    let (state, _) = step(&plan, State::Begun, Event::Begin, NOW);
    let (_, command) = step(&plan, state, Event::Claimed, NOW);
    let Action::Settle(verdict) = command.action else { panic!("{command:?}") };
    assert_eq!((verdict.state, verdict.ask), (ChainState::Uncertain, false));
    assert_eq!(verdict.due_at, Some(lost.intended_at), "past for everybody");
}

#[test]
fn a_grace_that_one_clock_alone_calls_open_is_neither_used_nor_given_up() {
    let foreign = vec![seen(1, AttemptState::Uncertain, Own::Foreign)];
    let uncertain = Known { attempts: foreign, second: AT_ONCE, ..known(ChainState::Uncertain) };
    let waits = Err(Outcome::Waiting { until: None });
    assert_eq!(entry(&uncertain, Wanted::Timer), waits);
    assert_eq!(entry(&uncertain, instead_of(2)), waits);
    let by_store = Known { store_now: Some(NOW.wall), ..uncertain.clone() };
    assert!(matches!(entry(&by_store, Wanted::Timer), Ok(Entry::Again { until: Some(_) })));
    let ahead = Known { store_now: Some(NOW.wall.plus(Duration::from_secs(3600))), ..uncertain };
    assert_eq!(entry(&ahead, Wanted::Timer), waits);
    // It is over once every clock says so.
    let old = seen_ago(1, AttemptState::Uncertain, Own::Foreign, 55);
    let over = Known { attempts: vec![old], ..ahead };
    assert_eq!(entry(&over, Wanted::Timer), Ok(Entry::Unanswered));
}

#[test]
fn what_was_due_inside_the_grace_is_not_the_last_try_after_it() {
    let old = seen_ago(1, AttemptState::Uncertain, Own::Anchored(None), 3000);
    let both = Second { window: Some(Duration::from_secs(55)), last: true };
    let late = Known { attempts: vec![old], second: both, ..known(ChainState::Uncertain) };
    assert_eq!(entry(&late, Wanted::Timer), Ok(Entry::Unanswered));
    let dead = Known { access_until: Some(ago(1).wall), ..late };
    assert_eq!(entry(&dead, Wanted::Timer), Ok(Entry::Again { until: None }));
}

#[test]
fn without_a_grace_the_retry_waits_for_its_time() {
    let lost = |secs| seen_ago(1, AttemptState::Uncertain, Own::Anchored(None), secs);
    let asked = |secs, due_at| Known {
        attempts: vec![lost(secs)],
        second: LAST,
        asked: true,
        due_at,
        access_until: Some(ago(1).wall),
        ..known(ChainState::Uncertain)
    };
    let later = Some(NOW.wall.plus(Duration::from_secs(1)));
    assert_eq!(entry(&asked(60, later), Wanted::Timer), Err(Outcome::NeedsHuman));
    // A wall clock that jumped makes it due before those who listen have given up: its time is reckoned anew.
    assert_eq!(entry(&asked(60, Some(NOW.wall)), Wanted::Timer), Ok(Entry::Unanswered));
    // Whoever finds the token dead need not wait for its end, but for those who may still bring the answer.
    assert_eq!(entry(&asked(60, later), instead_of(2)), Err(Outcome::NeedsHuman));
    let listened = UNHEARD_AFTER.as_secs();
    assert_eq!(entry(&asked(listened, later), instead_of(2)), Ok(Entry::Again { until: None }));
    let due = asked(listened, Some(NOW.wall));
    assert_eq!(entry(&due, Wanted::Timer), Ok(Entry::Again { until: None }));
    // One clock that is ahead kills no token: what another one calls alive only its tool refuses.
    let other = asked(listened + 600, Some(NOW.wall));
    let alive = Known { access_until: Some(NOW.wall), store_now: Some(ago(600).wall), ..other };
    let by_clock = Wanted::Instead { family: family(1), generation: 2, refused: false };
    assert_eq!(entry(&alive, Wanted::Timer), Ok(Entry::Unanswered));
    assert_eq!(entry(&alive, by_clock), Ok(Entry::Unanswered));
    assert_eq!(entry(&alive, instead_of(2)), Ok(Entry::Again { until: None }));
}

#[test]
fn an_attempt_that_its_owner_took_back_leaves_nothing_uncertain() {
    let none = vec![seen(1, AttemptState::NotPresented, Own::Foreign)];
    let known = Known { attempts: none, ..known(ChainState::Uncertain) };
    assert_eq!(entry(&known, Wanted::Timer), Ok(Entry::NeverSent));
}

#[test]
fn a_claim_without_an_intent_is_left_as_it_was_found() {
    let left = |attempts| Known { attempts, ..known(ChainState::Refreshing) };
    assert_eq!(entry(&left(Vec::new()), Wanted::Timer), Ok(Entry::NeverSent));
    let lost = left(vec![anchored(1, AttemptState::Uncertain)]);
    assert_eq!(entry(&lost, Wanted::Timer), Ok(Entry::Unanswered));
    let refused = left(vec![anchored(1, AttemptState::Uncertain), anchored(2, AttemptState::Refused)]);
    let latched = Entry::Condemned { state: ChainState::Latched, reason: "refused" };
    assert_eq!(entry(&refused, Wanted::Timer), Ok(latched));
}

#[test]
fn what_cannot_be_presented_is_condemned_or_waits() {
    let unfit = |fit, state| entry(&Known { fit, ..known(state) }, Wanted::Timer);
    let condemned = |state, reason| Ok(Entry::Condemned { state, reason });
    let healthy = ChainState::Healthy;
    assert_eq!(unfit(Fit::NoRefreshToken, healthy), condemned(ChainState::Latched, "no-refresh-token"));
    assert_eq!(unfit(Fit::Unverified, healthy), condemned(ChainState::Quarantined, "unverified"));
    assert!(matches!(unfit(Fit::NoProfile, healthy), Ok(Entry::Postponed { .. })));
    let late = |fit, state| {
        let attempts = vec![anchored(1, AttemptState::Answered)];
        entry(&Known { fit, attempts, ..known(state) }, Wanted::Timer)
    };
    assert_eq!(late(Fit::NoProfile, ChainState::Latched), Err(Outcome::Waiting { until: None }));
    assert_eq!(late(Fit::Unverified, healthy), condemned(ChainState::Quarantined, "unverified"));
    assert_eq!(late(Fit::Unverified, ChainState::Quarantined), Err(Outcome::NeedsHuman));
}
