//! What is seen is what happened, is bounded, and holds no word of an agent.

use super::{Follow, Followed, Phase, Seen, Sight, What};
use crate::brakes::testing::exchange;
use http::{HeaderMap, HeaderValue};
use nightlatch_domain::{
    clock::Timestamp,
    id::CallId,
    ports::sight::{Door, Sight as _, Total},
    problem::{Problem, ProblemKind},
    tool::Effect,
};
use std::sync::{Arc, Mutex};

fn call(number: u8) -> CallId {
    CallId::new(Timestamp::from_millis(1), [number; 10])
}

fn sight() -> Arc<Sight> {
    Arc::new(Sight::default())
}

fn begins(sight: &Arc<Sight>, number: u8) -> Seen {
    sight.begins((call(number), Timestamp::from_millis(7)), Door::Route, &HeaderMap::new())
}

#[test]
fn a_call_is_live_in_its_room_until_it_ends_and_is_counted_once() {
    let (sight, exchange) = (sight(), exchange(1, 1));
    let tenant = exchange.caller.tenant;
    let mut seen = begins(&sight, 1);
    assert!(sight.live(tenant).is_empty(), "it is not known yet what it is");
    seen.is(&exchange);
    seen.enters(Phase::Hold);
    let live = sight.live(tenant);
    assert_eq!(
        (live.len(), live[0].phase, live[0].operation.to_string().as_str()),
        (1, "hold", "things.list")
    );
    assert!(sight.live(nightlatch_domain::id::TenantId::new(exchange.at, [9; 10])).is_empty());
    seen.ended(Some(204), None, (7, 9));
    assert!(sight.live(tenant).is_empty());
    let counts = sight.calls();
    assert_eq!(counts.len(), 1);
    assert_eq!(
        (counts[0].door, counts[0].effect, counts[0].outcome, counts[0].count),
        (Some(Door::Route), Some(Effect::Read), "2xx", 1)
    );
    assert_eq!(sight.bytes(), [(exchange.tool.clone(), 7, 9)]);
    let durations = sight.durations();
    let counted = |phase: &str| durations.iter().find(|(own, _)| *own == phase).unwrap().1.count;
    assert_eq!((counted("admit"), counted("hold"), counted("scrub")), (1, 1, 0));
}

#[test]
fn every_end_has_its_word() {
    let (sight, exchange) = (sight(), exchange(1, 1));
    let called = || {
        let mut seen = begins(&sight, 1);
        seen.is(&exchange);
        seen
    };
    called().refused(&Problem::new(ProblemKind::TooManyCalls).at_field("tool.at_once"));
    called().ended(None, Some(ProblemKind::Internal), (0, 0));
    called().ended(Some(503), None, (0, 0));
    drop(called());
    begins(&sight, 2).refused(&Problem::new(ProblemKind::NotAdmitted));
    let mut words: Vec<_> = sight.calls().iter().map(|count| (count.tool.is_some(), count.outcome)).collect();
    words.sort_unstable();
    let expected = [(false, "not-admitted"), (true, "5xx"), (true, "internal"), (true, "left")];
    assert_eq!(words, [expected.as_slice(), &[(true, "too-many-calls")]].concat());
    assert_eq!(
        sight.limits_met().iter().filter(|(_, count)| *count > 0).collect::<Vec<_>>(),
        [&("tool.at_once", 1)]
    );
    let expected = Total { calls: 4, refused: 2 };
    assert_eq!(sight.by_tool(exchange.caller.tenant), [(exchange.tool.clone(), expected)]);
    assert_eq!(sight.by_agent(exchange.caller.tenant), [(exchange.caller.agent, expected)]);
}

#[test]
fn every_kind_of_problem_is_counted_by_its_own_word() {
    for kind in ProblemKind::ALL {
        let sight = sight();
        sight.refused_at_door(None, &Problem::new(*kind));
        assert_eq!(sight.calls()[0].outcome, kind.slug());
    }
}

#[test]
fn tools_beyond_the_bound_are_counted_together() {
    let (sight, mut exchange) = (sight(), exchange(1, 1));
    for number in 0..super::TOOLS_MAX + 10 {
        exchange.tool = format!("tool{number}").parse().unwrap();
        let mut seen = begins(&sight, 1);
        seen.is(&exchange);
        seen.ended(Some(200), None, (0, 0));
    }
    let counts = sight.calls();
    assert_eq!(counts.len(), super::TOOLS_MAX + 1);
    assert_eq!(counts.iter().find(|count| count.tool.is_none()).unwrap().count, 10);
}

#[test]
fn each_door_has_counts_of_its_own() {
    let sight = sight();
    for (number, door) in Door::ALL.into_iter().enumerate() {
        for _ in 0..=number {
            let mut seen = sight.begins((call(1), Timestamp::from_millis(7)), door, &HeaderMap::new());
            seen.is(&exchange(1, 1));
            seen.ended(Some(200), None, (0, 0));
        }
    }
    sight.refused_at_door(None, &Problem::new(ProblemKind::BadRequest));
    let counts: Vec<_> = sight.calls().iter().map(|count| (count.door, count.count)).collect();
    let expected = [(Some(Door::Route), 1), (Some(Door::Proxy), 2), (Some(Door::Call), 3), (None, 1)];
    assert_eq!(counts, expected);
    let total = Total { calls: 6, refused: 0 };
    assert_eq!(sight.by_tool(exchange(1, 1).caller.tenant), [(exchange(1, 1).tool, total)]);
}

/// Follows calls whose id is not that of number 9.
#[derive(Default)]
struct Follower(Mutex<Vec<Followed>>);

impl Follow for Follower {
    fn follows(&self, id: CallId) -> bool {
        id != call(9)
    }

    fn ended(&self, followed: Box<Followed>) {
        self.0.lock().unwrap().push(*followed);
    }
}

#[test]
fn a_call_that_is_followed_is_told_once_with_its_rooms_and_what_it_is_a_part_of() {
    let (follower, exchange) = (Arc::new(Follower::default()), exchange(1, 1));
    let sight = Arc::new(Sight::new(Some(Arc::clone(&follower) as _)));
    let mut headers = HeaderMap::new();
    let parent = HeaderValue::from_static("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
    headers.insert("traceparent", parent);
    headers.insert("tracestate", HeaderValue::from_static("agent=text"));
    let at = Timestamp::from_millis(7);
    for number in [1, 9] {
        let mut seen = sight.begins((call(number), at), Door::Proxy, &headers);
        seen.enters(Phase::Resolve);
        seen.is(&exchange);
        seen.enters(Phase::Scrub);
        seen.ended(Some(503), None, (0, 0));
    }
    begins(&sight, 2).refused(&Problem::new(ProblemKind::NotAdmitted));
    drop(begins(&sight, 3));
    let told = follower.0.lock().unwrap();
    let [answered, refused, left] = told.as_slice() else { panic!("{told:?}") };
    assert_eq!((answered.call, answered.at, answered.door), (call(1), at, Door::Proxy));
    assert_eq!((answered.outcome, answered.status, answered.is_failure), ("5xx", Some(503), true));
    assert_eq!(
        answered.rooms.iter().map(|(room, _)| *room).collect::<Vec<_>>(),
        ["admit", "resolve", "scrub"]
    );
    let what = What { tool: exchange.tool, operation: exchange.matched.operation, effect: Effect::Read };
    assert_eq!(answered.what, Some(what));
    assert_eq!(
        answered.parent.map(|parent| parent.span),
        Some([0x00, 0xf0, 0x67, 0xaa, 0x0b, 0xa9, 0x02, 0xb7])
    );
    assert_eq!((refused.outcome, refused.status, refused.is_failure), ("not-admitted", Some(401), false));
    assert_eq!((&refused.what, refused.parent), (&None, None));
    assert_eq!((left.outcome, left.status), ("left", None));
}
