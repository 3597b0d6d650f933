//! A second presentation follows only from verified facts, inside a grace by two clocks, or last.

use super::{After, DOUBT_WITHIN, Intended, MARGIN, Presented, Second, UNHEARD_AFTER};
use crate::machine::{LISTEN_WITHIN, Moment};
use nightlatch_catalog::profile::Profile;
use nightlatch_domain::clock::{Boot, Timestamp};
use std::time::Duration;

const NOW: Moment =
    Moment { wall: Timestamp::from_millis(1_800_000_000_000), boot: Boot::from_millis(9_000_000) };

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn later(by: Duration) -> Moment {
    Moment { wall: NOW.wall.plus(by), boot: NOW.boot.plus(by) }
}

const INTENDED: Intended = Intended { at: NOW.wall, by: NOW.wall, sent: Some(NOW) };

/// It was presented at `NOW` by this keeper, and is reckoned at this moment.
fn own(at: Moment) -> Presented {
    Presented::reckoned(INTENDED, at, None)
}

/// By another keeper.
fn foreign(at: Moment, store: Option<Timestamp>) -> Presented {
    Presented::reckoned(Intended { sent: None, ..INTENDED }, at, store)
}

/// A profile with these lines, and with these keys verified.
fn second(lines: &str, verified: &str) -> Second {
    let text = format!(
        r#"
name = "own"
title = "Own"
authorization_endpoint = "https://own.example/authorize"
token_endpoint = "https://own.example/token"
{lines}

[[fact]]
covers = [{verified}]
source = "tried"
confidence = "verified"
checked_at = "2026-11-01"
"#
    );
    Second::of(&Profile::parse("own", &text).unwrap())
}

const GRACE: &str = "second_presentation = \"same\"\nreuse = { grace_secs = 60 }\nblast = \"chain\"";

#[test]
fn only_verified_facts_allow_a_second_presentation() {
    let all = r#""token_endpoint", "second_presentation", "reuse.grace_secs", "blast""#;
    assert_eq!(second(GRACE, all), Second { window: Some(secs(55)), last: true });
    let no_kind = r#""token_endpoint", "reuse.grace_secs""#;
    assert_eq!(second(GRACE, no_kind), Second::NEVER);
    let no_grace = r#""token_endpoint", "second_presentation""#;
    assert_eq!(second(GRACE, no_grace), Second::NEVER);
    assert_eq!(second(GRACE, r#""token_endpoint""#), Second::NEVER);
}

#[test]
fn no_retry_where_the_blast_is_wider_and_none_quietly_where_the_kind_is_unknown() {
    let verified = r#""second_presentation", "reuse.grace_secs", "blast""#;
    let wider = "second_presentation = \"unknown\"\nreuse = { grace_secs = 60 }\nblast = \"wider\"";
    assert_eq!(second(wider, verified), Second::NEVER);
    let strict = "second_presentation = \"unknown\"\nreuse = { grace_secs = 0 }\nblast = \"chain\"";
    assert_eq!(second(strict, verified), Second { window: None, last: true });
}

#[test]
fn inside_the_grace_it_is_quiet_and_after_it_a_human_is_asked() {
    let second = Second { window: Some(secs(55)), last: false };
    let after = |elapsed| second.after(own(later(secs(elapsed))), None, later(secs(elapsed)), 0);
    assert!(!after(30).ask && after(30).due_at.is_some_and(|due| due < NOW.wall.plus(secs(35))));
    assert_eq!(after(55), After { due_at: None, ask: true });
    assert_eq!(after(600), After { due_at: None, ask: true });
    // What passes after it was reckoned counts as well: by the longer of this machine's clocks.
    let reckoned = own(later(secs(30)));
    assert_eq!(reckoned.elapsed(Moment { wall: NOW.wall, ..later(secs(50)) }), Some(secs(50)));
    assert_eq!(reckoned.elapsed(Moment { boot: NOW.boot, ..later(secs(50)) }), Some(secs(50)));
}

#[test]
fn without_a_grace_it_comes_when_the_token_is_dead_and_nobody_listens_any_more() {
    let second = Second { window: None, last: true };
    let at = later(secs(30));
    let long = NOW.wall.plus(secs(3600));
    assert_eq!(second.after(own(at), Some(long), at, 0), After { due_at: Some(long), ask: true });
    let short = NOW.wall.plus(secs(40));
    let listened = NOW.wall.plus(UNHEARD_AFTER);
    assert_eq!(second.after(own(at), Some(short), at, 0), After { due_at: Some(listened), ask: true });
    // Nobody knows when it dies: then only whoever finds it dead may.
    assert_eq!(second.after(own(at), None, at, 0), After { due_at: None, ask: true });
}

#[test]
fn the_last_try_is_for_a_token_that_every_clock_calls_dead_or_its_tool_refused() {
    let second = Second { window: None, last: true };
    let until = |secs_from_first| Some(NOW.wall.plus(secs(secs_from_first)));
    let is_time = |access_until, refused, at| second.is_time_for_the_last(own(at), access_until, refused, at);
    let listened = later(UNHEARD_AFTER);
    assert!(is_time(until(0), false, listened));
    assert!(!is_time(until(0), true, later(LISTEN_WITHIN)), "who heard it may be on the way");
    assert!(!is_time(until(1501), false, listened), "it lives");
    assert!(!is_time(None, false, listened), "nobody knows when it dies");
    assert!(is_time(until(1501), true, listened) && is_time(None, true, listened));
    let never = Second::NEVER.is_time_for_the_last(own(listened), until(0), true, listened);
    assert!(!never);
    // One wall clock that is two hours ahead kills no token.
    let ahead = Moment { wall: listened.wall.plus(secs(7200)), ..listened };
    assert!(!is_time(until(3600), false, ahead));
    let other = foreign(ahead, Some(listened.wall));
    assert!(!second.is_time_for_the_last(other, until(3600), false, ahead));
    // It is looked at again when it is dead by all of them.
    let due = |access_until| second.after(own(ahead), access_until, ahead, 0).due_at;
    assert_eq!(due(until(3600)), Some(ahead.wall.plus(secs(2100))));
}

#[test]
fn a_store_whose_clock_was_wrong_takes_nothing_of_its_senders_grace() {
    let (at, long) = (later(secs(20)), secs(2060));
    // It was behind when it was sent, and is right by now: this machine's clocks, which it agrees with, tell.
    let behind = Intended { at: NOW.wall.minus(long), ..INTENDED };
    assert_eq!(Presented::reckoned(behind, at, Some(at.wall)).elapsed(at), Some(secs(20)));
    assert_eq!(
        Presented::reckoned(behind, at, Some(at.wall.minus(secs(3)))).elapsed(at),
        Some(long + secs(17))
    );
    // A machine that was stopped whole says the same as before, and the store does not; or its wall clock was set since.
    assert_eq!(Presented::reckoned(INTENDED, at, Some(NOW.wall.plus(long))).elapsed(at), Some(long));
    let set = Moment { wall: NOW.wall.plus(long), ..at };
    assert_eq!(Presented::reckoned(INTENDED, set, Some(set.wall)).elapsed(set), Some(long));
    // This machine's own was ahead: it says nothing of that time.
    let ahead = Moment { wall: NOW.wall.plus(secs(7200)), ..NOW };
    let ahead = Intended { by: ahead.wall, sent: Some(ahead), ..INTENDED };
    assert_eq!(Presented::reckoned(ahead, at, Some(at.wall)).elapsed(at), Some(secs(20)));
    // Where they agreed then as well, the longer counts as ever.
    let store = Some(at.wall.plus(Duration::from_millis(1900)));
    assert_eq!(Presented::reckoned(INTENDED, at, store).elapsed(at), Some(Duration::from_millis(21_900)));
    // Who did not send it cannot tell whose clock was wrong.
    let foreign = Intended { sent: None, ..behind };
    assert_eq!(Presented::reckoned(foreign, at, Some(at.wall)).elapsed(at), Some(long + secs(20)));
}

#[test]
fn a_wall_clock_that_jumps_ahead_ends_no_listening() {
    let second = Second { window: None, last: true };
    let jumped = Moment { wall: NOW.wall.plus(secs(7200)), ..later(secs(30)) };
    let left = UNHEARD_AFTER - secs(30);
    let after = After { due_at: Some(jumped.wall.plus(left)), ask: true };
    // Whoever sent it has its boot clock; who did not has the store's.
    for first in [own(jumped), foreign(jumped, Some(later(secs(30)).wall))] {
        assert!(!second.is_time_for_the_last(first, None, true, jumped));
        assert_eq!(second.after(first, Some(NOW.wall.plus(secs(40))), jumped, 0), after);
    }
    assert!(second.is_time_for_the_last(foreign(jumped, None), None, true, jumped));
    // Since it was reckoned as well.
    assert!(!second.is_time_for_the_last(own(later(secs(20))), None, true, jumped));
    // Nor does a clock that was behind when it was sent.
    let behind = Intended { at: NOW.wall.minus(secs(3600)), sent: None, ..INTENDED };
    let at = later(secs(60));
    assert!(!second.is_time_for_the_last(Presented::reckoned(behind, at, Some(at.wall)), None, true, at));
}

/// The sender's boot clock beside a wall clock; for who did not send it the two wall clocks.
#[test]
fn no_single_clock_makes_less_of_what_has_passed() {
    let at = later(secs(30));
    let store = |secs_ago| Some(NOW.wall.plus(secs(secs_ago)));
    let with_store = |now, store| Presented::reckoned(INTENDED, now, store).elapsed(now);
    assert_eq!(own(at).elapsed(at), Some(secs(30)));
    // The wall clock was set back, and a store on the same machine with it.
    let back = Moment { wall: NOW.wall.plus(secs(1)), ..at };
    assert_eq!(own(back).elapsed(back), Some(secs(30)));
    assert_eq!(with_store(back, store(1)), Some(secs(30)));
    // A machine that was stopped whole: its boot clock did not see the time pass, nor perhaps its wall clock.
    let stopped = Moment { boot: NOW.boot.plus(secs(1)), ..at };
    assert_eq!(own(stopped).elapsed(stopped), Some(secs(30)));
    let both = later(secs(1));
    assert_eq!(with_store(both, store(30)), Some(secs(30)));
    // A wall clock that is ahead, or far behind: the store's is asked.
    let ahead = Moment { wall: NOW.wall.plus(secs(3600)), ..at };
    assert_eq!(own(ahead).elapsed(ahead), Some(secs(3600)));
    assert_eq!(with_store(ahead, store(31)), Some(secs(31)));
    let far_back = Moment { wall: NOW.wall.minus(secs(3600)), ..at };
    assert_eq!(own(far_back).elapsed(far_back), None);
    assert_eq!(with_store(far_back, store(31)), Some(secs(31)));
    // The machine was started again: its boot clock says nothing.
    let started = Moment { boot: Boot::from_millis(5000), ..at };
    assert_eq!(own(started).elapsed(started), None);
    assert_eq!(with_store(started, store(29)), Some(secs(30)));
    // Who did not send it needs both.
    assert_eq!(foreign(at, None).elapsed(at), None);
    assert_eq!(foreign(at, store(90)).elapsed(at), Some(secs(90)));
    assert_eq!(foreign(at, store(29)).elapsed(at), Some(secs(30)));
    assert_eq!(foreign(back, store(30)).elapsed(back), Some(secs(30)));
}

#[test]
fn while_one_clock_calls_it_inside_nobody_is_asked_and_nothing_is_presented() {
    let second = Second { window: Some(secs(1795)), last: true };
    let at = later(secs(30));
    let ahead = Moment { wall: NOW.wall.plus(secs(7200)), ..at };
    let in_doubt = foreign(ahead, Some(at.wall));
    assert!(second.is_in_doubt(in_doubt, ahead));
    assert_eq!(second.open_until(in_doubt.elapsed(ahead), ahead), None);
    // It is due by a time that is past for whoever has better clocks, and for this one.
    let access_until = Some(NOW.wall.plus(secs(3600)));
    let due_at = |first, now| second.after(first, access_until, now, 0);
    assert_eq!(due_at(in_doubt, ahead), After { due_at: Some(NOW.wall), ask: false });
    let behind = Moment { wall: NOW.wall.minus(secs(3600)), ..at };
    assert_eq!(due_at(own(behind), behind), After { due_at: Some(behind.wall), ask: false });
    // What two know is in no doubt, nor what is over by all, nor where there is no grace.
    assert!(!second.is_in_doubt(own(at), at));
    let over = later(secs(1795));
    assert!(!second.is_in_doubt(foreign(over, Some(over.wall)), over));
    assert!(!Second { window: None, last: true }.is_in_doubt(in_doubt, ahead));
    // And it ends.
    let later = Moment { wall: ahead.wall.plus(DOUBT_WITHIN), boot: ahead.boot.plus(DOUBT_WITHIN) };
    assert!(due_at(in_doubt, later).ask);
}

/// The sender's clock, or the store's, was ten minutes behind: by it the grace is over, and by the other it is not.
#[test]
fn who_did_not_send_it_leaves_a_retry_to_the_sender_where_its_clock_was_behind() {
    let second = Second { window: Some(secs(55)), last: true };
    let at = later(secs(2));
    let intended = Intended { at: NOW.wall.minus(secs(600)), by: NOW.wall, sent: None };
    let of_another = Presented::reckoned(intended, at, Some(at.wall));
    assert!(second.is_in_doubt(of_another, at));
    let sender = Presented::reckoned(Intended { sent: Some(NOW), ..intended }, at, None);
    assert_eq!(second.open_until(sender.elapsed(at), at), None);
    let right = Moment { wall: at.wall.minus(secs(600)), ..at };
    let sender = Presented::reckoned(Intended { sent: Some(NOW), ..intended }, right, None);
    assert_eq!(second.open_until(sender.elapsed(right), right), Some(right.boot.plus(secs(53))));
}

#[test]
fn a_retry_may_leave_until_a_margin_before_the_grace_ends() {
    let second = Second { window: Some(secs(60).saturating_sub(MARGIN)), last: false };
    let at = later(secs(50));
    assert_eq!(second.open_until(Some(secs(50)), at), Some(at.boot.plus(secs(5))));
    assert_eq!(second.open_until(Some(secs(55)), at), None);
    assert_eq!(second.open_until(None, at), None);
}

#[test]
fn an_answer_is_waited_for_no_longer_than_leaves_room_for_the_retry() {
    assert_eq!(Second { window: Some(secs(20)), last: false }.patience(secs(30)), secs(10));
    assert_eq!(Second { window: Some(secs(86_395)), last: false }.patience(secs(30)), secs(30));
    assert_eq!(Second::NEVER.patience(secs(30)), secs(30));
}
