//! Limits are met where they are, say how long, and no agent uses up what another needs.

use super::{Names, Over, Place, Shares};
use crate::{
    brakes::{
        pace::Pace,
        rules::{Of, Rule},
        testing::{exchange, name},
    },
    limits::Limits,
};
use nightlatch_domain::clock::Boot;
use std::{sync::Arc, time::Duration};

const START: Boot = Boot::from_millis(1_000_000);

fn limits() -> Limits {
    let wide = Pace::per_second(1_000, 1_000, 1_000);
    Limits { agent_pace: wide, task_pace: wide, connection_pace: wide, tool_pace: wide, ..Limits::default() }
}

fn shares(limits: Limits, rules: Vec<Rule>) -> Arc<Shares> {
    Arc::new(Shares::new(&limits, rules))
}

fn enter(shares: &Arc<Shares>, agent: u8, connection: u8, now: Boot) -> Result<Place, Over> {
    let (agents, names) = (name(if agent == 1 { "alice" } else { "mallory" }), name("main"));
    shares.enter(&exchange(agent, connection), Names { agent: &agents, connection: &names }, now)
}

/// How many calls of one agent pass now, each ended at once.
fn passing(shares: &Arc<Shares>, agent: u8, connection: u8, now: Boot) -> usize {
    (0..10_000).take_while(|_| enter(shares, agent, connection, now).is_ok()).count()
}

#[test]
fn each_limit_is_met_by_its_name_and_says_how_long() {
    let narrow = Pace::per_second(2, 1, 100);
    let cases = [
        (Limits { agent_pace: narrow, ..limits() }, "agent.per_second"),
        (Limits { task_pace: narrow, ..limits() }, "task.per_second"),
        (Limits { connection_pace: narrow, ..limits() }, "connection.per_second"),
        (Limits { tool_pace: narrow, ..limits() }, "tool.per_second"),
    ];
    for (limits, field) in cases {
        let shares = shares(limits, Vec::new());
        assert!(enter(&shares, 1, 1, START).is_ok());
        let over = enter(&shares, 1, 1, START).err().unwrap();
        assert_eq!((over.field(), over.wait), (field, Duration::from_millis(500)));
        assert!(enter(&shares, 1, 1, START.plus(over.wait)).is_ok());
    }
}

#[test]
fn calls_at_once_end_at_their_bound_and_a_place_that_is_left_is_given_on() {
    let shares = shares(Limits { agent_pace: Pace::per_second(1_000, 1_000, 2), ..limits() }, Vec::new());
    let held = [enter(&shares, 1, 1, START).ok().unwrap(), enter(&shares, 1, 1, START).ok().unwrap()];
    assert_eq!(enter(&shares, 1, 1, START).err().unwrap().field(), "agent.at_once");
    assert!(enter(&shares, 2, 1, START).is_ok());
    drop(held);
    assert!(enter(&shares, 1, 1, START).is_ok());
}

#[test]
fn each_limit_of_calls_at_once_is_met_by_its_name() {
    let narrow = Pace::per_second(1_000, 1_000, 2);
    let cases = [
        (Limits { agent_pace: narrow, ..limits() }, "agent.at_once"),
        (Limits { task_pace: narrow, ..limits() }, "task.at_once"),
        (Limits { connection_pace: narrow, ..limits() }, "connection.at_once"),
        (Limits { tool_pace: narrow, ..limits() }, "tool.at_once"),
    ];
    for (limits, field) in cases {
        let shares = shares(limits, Vec::new());
        let held = [enter(&shares, 1, 1, START).ok().unwrap(), enter(&shares, 1, 1, START).ok().unwrap()];
        assert_eq!(enter(&shares, 1, 1, START).err().unwrap().field(), field);
        drop(held);
        assert!(enter(&shares, 1, 1, START).is_ok(), "{field}: a place that was left is taken for ever");
    }
}

#[test]
fn a_refusal_uses_nothing_up() {
    let shares = shares(Limits { tool_pace: Pace::per_second(1, 1, 100), ..limits() }, Vec::new());
    assert_eq!(passing(&shares, 1, 1, START), 1);
    for _ in 0..5_000 {
        assert_eq!(enter(&shares, 1, 1, START).err().unwrap().field(), "tool.per_second");
    }
    // Had those been counted for the agent, it would have nothing left.
    assert!(enter(&shares, 1, 1, START.plus(Duration::from_secs(1))).is_ok());
}

#[test]
fn a_greedy_agent_leaves_another_its_even_part_of_a_shared_rate() {
    let shares = shares(Limits { connection_pace: Pace::per_second(100, 10, 100), ..limits() }, Vec::new());
    let (mut greedy, mut modest, mut now) = (0, 0, START);
    for step in 0..4_000 {
        greedy += passing(&shares, 1, 1, now);
        // The other one asks every fifth of a second: a tenth of its part.
        if step > 0 && step % 200 == 0 {
            modest += usize::from(
                (0..30).any(|late| enter(&shares, 2, 1, now.plus(Duration::from_millis(late))).is_ok()),
            );
        }
        now = now.plus(Duration::from_millis(1));
    }
    assert_eq!(modest, 19, "an agent that asks for little was refused");
    assert!((300..=430).contains(&greedy), "{greedy}");
}

#[test]
fn of_two_that_ask_all_the_time_each_gets_half_whoever_asks_first() {
    let shares = shares(Limits { tool_pace: Pace::per_second(100, 10, 100), ..limits() }, Vec::new());
    let (mut first, mut second, mut now) = (0, 0, START);
    for _ in 0..4_000 {
        first += passing(&shares, 1, 1, now);
        second += passing(&shares, 2, 2, now);
        now = now.plus(Duration::from_millis(1));
    }
    assert!((180..=240).contains(&first) && (180..=240).contains(&second), "{first} and {second}");
}

#[test]
fn an_agent_that_comes_back_when_it_was_told_to_finds_its_part() {
    let shares = shares(Limits { tool_pace: Pace::per_second(100, 10, 100), ..limits() }, Vec::new());
    let (mut refused, mut now) = (0, START);
    for millis in 0..20_000_u64 {
        passing(&shares, 1, 1, now);
        // The other one asks once a second, and after the first one: it is told to come back in a second.
        if millis % 1_000 == 999 {
            refused += usize::from(enter(&shares, 2, 2, now).is_err());
        }
        now = now.plus(Duration::from_millis(1));
    }
    assert!((1..=10).contains(&refused), "refused {refused} times of 20");
}

#[test]
fn who_was_refused_and_does_not_come_back_keeps_its_part_from_others_for_a_moment_only() {
    let shares = shares(Limits { tool_pace: Pace::per_second(100, 10, 100), ..limits() }, Vec::new());
    assert_eq!(passing(&shares, 1, 1, START), 10);
    assert!(enter(&shares, 2, 2, START).is_err());
    let in_a_second = |mut now: Boot| {
        let mut passed = 0;
        for _ in 0..1_000 {
            now = now.plus(Duration::from_millis(1));
            passed += passing(&shares, 1, 1, now);
        }
        passed
    };
    assert!((40..=60).contains(&in_a_second(START)));
    let later = START.plus(Duration::from_secs(3));
    assert!((90..=110).contains(&in_a_second(later)));
    // One that did come back is waited for no longer.
    let later = START.plus(Duration::from_secs(4));
    assert!(enter(&shares, 2, 2, later).is_err());
    let back = later.plus(Duration::from_millis(20));
    assert!(enter(&shares, 2, 2, back).is_ok());
    assert!((80..=110).contains(&in_a_second(back)));
}

#[test]
fn who_used_its_own_part_up_and_asks_for_more_is_not_waited_for() {
    let shares = shares(Limits { tool_pace: Pace::per_second(2, 2, 100), ..limits() }, Vec::new());
    let asks = |now| enter(&shares, 2, 2, now).err().map(|over| over.wait);
    assert_eq!(passing(&shares, 2, 2, START), 2);
    assert_eq!(asks(START), Some(Duration::from_millis(500)));
    // It asks again and again, and makes no call when it could. What it used has passed by then, and with it its part.
    let back = START.plus(Duration::from_millis(499));
    assert_eq!(asks(back), Some(Duration::from_millis(1)));
    let (mut passed, mut now) = (0, START.plus(Duration::from_secs(1)));
    for _ in 0..1_000 {
        passed += passing(&shares, 1, 1, now);
        now = now.plus(Duration::from_millis(1));
    }
    assert_eq!(passed, 3, "a call at once beyond the two of a second");
}

#[test]
fn one_agent_never_holds_every_place_of_what_is_shared() {
    let shares =
        shares(Limits { connection_pace: Pace::per_second(1_000, 1_000, 8), ..limits() }, Vec::new());
    let held: Vec<_> = std::iter::from_fn(|| enter(&shares, 1, 1, START).ok()).take(100).collect();
    assert_eq!(held.len(), 6);
    assert_eq!(enter(&shares, 1, 1, START).err().unwrap().field(), "connection.at_once");
    let others = [enter(&shares, 2, 1, START), enter(&shares, 2, 1, START)];
    assert!(others.iter().all(Result::is_ok));
    assert!(enter(&shares, 2, 1, START).is_err(), "the whole limit does not hold");
}

#[test]
fn what_an_operator_names_goes_before_what_holds_for_all() {
    let rule = |of, name: Option<&str>, at_once| Rule {
        of,
        name: name.map(str::to_owned),
        interval: None,
        burst: None,
        at_once: Some(at_once),
    };
    let rules = vec![
        rule(Of::Agent, Some("alice"), 3),
        rule(Of::Agent, None, 1),
        rule(Of::Connection, Some("acme/main"), 100),
        rule(Of::Tool, Some("other"), 0),
    ];
    let shares = shares(limits(), rules);
    let held =
        |agent| std::iter::from_fn(|| enter(&shares, agent, 1, START).ok()).take(9).collect::<Vec<_>>();
    assert_eq!(held(1).len(), 3);
    assert_eq!(held(2).len(), 1);
}

#[test]
fn a_rate_that_an_operator_sets_alone_is_not_widened_by_a_burst_that_it_did_not() {
    let rule = Rule {
        of: Of::Agent,
        name: None,
        interval: Some(Duration::from_millis(200)),
        burst: None,
        at_once: None,
    };
    assert_eq!(passing(&shares(limits(), vec![rule]), 1, 1, START), 5);
}

#[test]
fn who_has_used_up_nothing_is_forgotten() {
    let shares = shares(limits(), Vec::new());
    for agent in 0..200 {
        assert!(enter(&shares, agent, agent, START).is_ok());
    }
    let _running = enter(&shares, 201, 201, START.plus(Duration::from_millis(1))).ok().unwrap();
    let later = START.plus(Duration::from_secs(60));
    assert!(enter(&shares, 202, 202, later).is_ok());
    // Both callers, their tasks and connections, and the tool.
    assert_eq!(shares.counts().subjects.len(), 7);
}
