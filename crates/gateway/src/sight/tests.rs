//! What is seen is what happened, is bounded, and holds no word of an agent.

use super::{Phase, Sight};
use crate::brakes::testing::exchange;
use nightlatch_domain::{
    clock::Timestamp,
    id::CallId,
    ports::sight::{Sight as _, Total},
    problem::{Problem, ProblemKind},
    tool::Effect,
};
use std::sync::Arc;

fn call(number: u8) -> CallId {
    CallId::new(Timestamp::from_millis(1), [number; 10])
}

fn sight() -> Arc<Sight> {
    Arc::new(Sight::default())
}

#[test]
fn a_call_is_live_in_its_room_until_it_ends_and_is_counted_once() {
    let (sight, exchange) = (sight(), exchange(1, 1));
    let tenant = exchange.caller.tenant;
    let mut seen = sight.begins(call(1));
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
    assert_eq!((counts[0].effect, counts[0].outcome, counts[0].count), (Some(Effect::Read), "2xx", 1));
    assert_eq!(sight.bytes(), [(exchange.tool.clone(), 7, 9)]);
    let durations = sight.durations();
    let counted = |phase: &str| durations.iter().find(|(own, _)| *own == phase).unwrap().1.count;
    assert_eq!((counted("decide"), counted("hold"), counted("answer")), (1, 1, 0));
}

#[test]
fn every_end_has_its_word() {
    let (sight, exchange) = (sight(), exchange(1, 1));
    let begins = || {
        let mut seen = sight.begins(call(1));
        seen.is(&exchange);
        seen
    };
    begins().refused(&Problem::new(ProblemKind::TooManyCalls).at_field("tool.at_once"));
    begins().ended(None, Some(ProblemKind::Internal), (0, 0));
    begins().ended(Some(503), None, (0, 0));
    drop(begins());
    sight.begins(call(2)).refused(&Problem::new(ProblemKind::NotAdmitted));
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
        sight.refused_at_door(&Problem::new(*kind));
        assert_eq!(sight.calls()[0].outcome, kind.slug());
    }
}

#[test]
fn tools_beyond_the_bound_are_counted_together() {
    let (sight, mut exchange) = (sight(), exchange(1, 1));
    for number in 0..super::TOOLS_MAX + 10 {
        exchange.tool = format!("tool{number}").parse().unwrap();
        let mut seen = sight.begins(call(1));
        seen.is(&exchange);
        seen.ended(Some(200), None, (0, 0));
    }
    let counts = sight.calls();
    assert_eq!(counts.len(), super::TOOLS_MAX + 1);
    assert_eq!(counts.iter().find(|count| count.tool.is_none()).unwrap().count, 10);
}
