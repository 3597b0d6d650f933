//! A second presentation follows only from verified facts, inside a grace by two clocks, or last.

use super::{After, MARGIN, Presented, Second};
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

const FIRST: Presented = Presented { wall: NOW.wall, boot: Some(NOW.boot) };

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
    let own = Second { window: Some(secs(55)), last: false };
    let After { due_at, ask } = own.after(FIRST, None, later(secs(30)), 0);
    assert!(!ask && due_at.is_some_and(|due| due < NOW.wall.plus(secs(35))));
    // What is left must hold the pause as well.
    for elapsed in [54, 55, 600] {
        assert_eq!(own.after(FIRST, None, later(secs(elapsed)), 0), After { due_at: None, ask: true });
    }
}

#[test]
fn without_a_grace_it_comes_when_the_token_is_dead_and_nobody_listens_any_more() {
    let own = Second { window: None, last: true };
    let long = NOW.wall.plus(secs(3600));
    assert_eq!(own.after(FIRST, Some(long), later(secs(30)), 0), After { due_at: Some(long), ask: true });
    let short = NOW.wall.plus(secs(40));
    let listened = NOW.wall.plus(LISTEN_WITHIN);
    assert_eq!(
        own.after(FIRST, Some(short), later(secs(30)), 0),
        After { due_at: Some(listened), ask: true }
    );
    // Nobody knows when it dies: then only whoever finds it dead may.
    assert_eq!(own.after(FIRST, None, later(secs(30)), 0), After { due_at: None, ask: true });
    assert!(!own.is_time_for_the_last(FIRST, later(secs(60))));
    assert!(own.is_time_for_the_last(FIRST, later(LISTEN_WITHIN)));
    assert!(!Second::NEVER.is_time_for_the_last(FIRST, later(LISTEN_WITHIN)));
}

#[test]
fn a_wall_clock_that_jumps_ahead_ends_no_listening() {
    let own = Second { window: None, last: true };
    let jumped = Moment { wall: NOW.wall.plus(secs(7200)), ..later(secs(30)) };
    assert!(!own.is_time_for_the_last(FIRST, jumped));
    let left = LISTEN_WITHIN - secs(30);
    let after = own.after(FIRST, Some(NOW.wall.plus(secs(40))), jumped, 0);
    assert_eq!(after, After { due_at: Some(jumped.wall.plus(left)), ask: true });
    // One that this machine's clock did not see is counted by the wall.
    let foreign = Presented { boot: None, ..FIRST };
    assert!(own.is_time_for_the_last(foreign, jumped));
}

#[test]
fn how_long_ago_takes_two_clocks_that_agree() {
    let at = later(secs(30));
    assert_eq!(FIRST.elapsed(at, None), Some(secs(30)));
    // The wall clock was set back: by it alone, less has passed.
    let back = Moment { wall: NOW.wall.plus(secs(1)), ..at };
    assert_eq!(FIRST.elapsed(back, None), None);
    assert_eq!(FIRST.elapsed(Moment { wall: NOW.wall.minus(secs(3600)), ..at }, None), None);
    // The machine was started again: its clock says nothing.
    let started = Moment { boot: Boot::from_millis(5000), ..at };
    assert_eq!(FIRST.elapsed(started, None), None);
    assert_eq!(FIRST.elapsed(started, Some(NOW.wall.plus(secs(31)))), Some(secs(31)));
    let foreign = Presented { boot: None, ..FIRST };
    assert_eq!(foreign.elapsed(at, None), None);
    assert_eq!(foreign.elapsed(at, Some(NOW.wall.plus(secs(90)))), None);
    assert_eq!(foreign.elapsed(at, Some(NOW.wall.plus(secs(29)))), Some(secs(30)));
}

#[test]
fn a_retry_may_leave_until_a_margin_before_the_grace_ends() {
    let own = Second { window: Some(secs(60).saturating_sub(MARGIN)), last: false };
    let at = later(secs(50));
    assert_eq!(own.open_until(Some(secs(50)), at), Some(at.boot.plus(secs(5))));
    assert_eq!(own.open_until(Some(secs(55)), at), None);
    assert_eq!(own.open_until(None, at), None);
}

#[test]
fn an_answer_is_waited_for_no_longer_than_leaves_room_for_the_retry() {
    assert_eq!(Second { window: Some(secs(20)), last: false }.patience(secs(30)), secs(10));
    assert_eq!(Second { window: Some(secs(86_395)), last: false }.patience(secs(30)), secs(30));
    assert_eq!(Second::NEVER.patience(secs(30)), secs(30));
}
