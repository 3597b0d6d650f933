//! Nobody fills the disk: what is refused again and again becomes a number, and no number is lost.

use super::{
    ADMITTED_WRITTEN_MAX, Budget, COUNTS_MAX, OWNERS_MAX, Owner, UNPROVED_WRITTEN_MAX, WINDOW, Word,
};
use crate::{
    facts::Source,
    record::{Entry, EventName},
    testing::id,
};
use nightlatch_domain::{
    clock::{Boot, Timestamp},
    id::{PrincipalId, TaskId, TenantId},
    problem::ProblemKind,
};
use std::net::{IpAddr, Ipv4Addr};

const NOT_ADMITTED: Word = Word::Problem(ProblemKind::NotAdmitted);

fn source(n: u32) -> Owner {
    Owner::Unproved(Source::Address(IpAddr::V4(Ipv4Addr::from(n))))
}

fn agent(n: u8) -> Owner {
    Owner::Admitted(id!(TenantId, 1), id!(PrincipalId, n), id!(TaskId, 1))
}

fn at(millis: u64) -> (Timestamp, Boot) {
    (Timestamp::from_millis(millis as i64), Boot::from_millis(millis))
}

fn spend(budget: &mut Budget, owner: Owner, word: Word, millis: u64) -> bool {
    let (now, boot) = at(millis);
    budget.spend(owner, word, 1, now, boot)
}

fn total(entries: &[Entry]) -> u64 {
    entries
        .iter()
        .map(|entry| match entry {
            Entry::Refusal(refusal) => refusal.count,
            Entry::Event(event) => event.count,
            other => panic!("{other:?}"),
        })
        .sum()
}

#[test]
fn the_first_are_written_and_the_rest_counted_with_first_and_last() {
    let mut budget = Budget::default();
    let written = (0..1000).filter(|n| spend(&mut budget, source(1), NOT_ADMITTED, *n)).count();
    assert_eq!(written, UNPROVED_WRITTEN_MAX as usize);
    assert!(budget.due(at(1000).1).is_empty(), "the window has not ended");
    let due = budget.due(at(1000 + WINDOW.as_millis() as u64).1);
    let [Entry::Refusal(refusal)] = &due.iter().map(super::Count::entry).collect::<Vec<_>>()[..] else {
        panic!("{due:?}");
    };
    assert_eq!(refusal.count, 1000 - u64::from(UNPROVED_WRITTEN_MAX));
    assert_eq!((refusal.first, refusal.last), (at(u64::from(UNPROVED_WRITTEN_MAX)).0, at(999).0));
    assert_eq!(refusal.source.as_deref(), Some("0.0.0.1"));
    assert!(budget.rest().is_empty());
}

#[test]
fn after_its_window_an_owner_begins_anew() {
    let mut budget = Budget::default();
    for _ in 0..UNPROVED_WRITTEN_MAX {
        assert!(spend(&mut budget, source(1), NOT_ADMITTED, 0));
    }
    assert!(!spend(&mut budget, source(1), NOT_ADMITTED, WINDOW.as_millis() as u64 - 1));
    assert!(spend(&mut budget, source(1), NOT_ADMITTED, WINDOW.as_millis() as u64));
}

#[test]
fn refusals_use_up_no_alarm_and_no_alarm_another() {
    let mut budget = Budget::default();
    let unknown = Word::Problem(ProblemKind::ReferenceUnknown);
    for word in [unknown, Word::Event(EventName::LeaseRefused), Word::Event(EventName::ReferenceMisused)] {
        let written = (0..500).filter(|_| spend(&mut budget, agent(1), word, 0)).count();
        assert_eq!(written, ADMITTED_WRITTEN_MAX as usize, "{word:?}");
    }
}

#[test]
fn an_agent_has_a_larger_budget_of_its_own_over_all_refusals() {
    let mut budget = Budget::default();
    let misused = Word::Event(EventName::ReferenceMisused);
    let words = [Word::Problem(ProblemKind::ReferenceUnknown), Word::Problem(ProblemKind::GrantEnded)];
    let written = (0..500).filter(|n| spend(&mut budget, agent(1), words[n % 2], 0)).count();
    assert_eq!(written, ADMITTED_WRITTEN_MAX as usize);
    assert!(spend(&mut budget, agent(2), misused, 0), "another agent's budget is its own");
    let rest: Vec<_> = budget.rest().iter().map(super::Count::entry).collect();
    assert_eq!((rest.len(), total(&rest)), (2, 500 - u64::from(ADMITTED_WRITTEN_MAX)));
}

#[test]
fn a_record_that_tells_of_many_is_counted_as_many() {
    let mut budget = Budget::default();
    let (now, boot) = at(0);
    for _ in 0..ADMITTED_WRITTEN_MAX {
        assert!(budget.spend(agent(1), NOT_ADMITTED, 7, now, boot));
    }
    assert!(!budget.spend(agent(1), NOT_ADMITTED, 7, now, boot));
    assert!(!budget.spend(agent(1), NOT_ADMITTED, 5, now, boot));
    let rest: Vec<_> = budget.rest().iter().map(super::Count::entry).collect();
    assert_eq!((rest.len(), total(&rest)), (1, 12));
}

#[test]
fn however_many_sources_there_are_memory_and_records_are_bounded_and_every_one_is_counted() {
    let mut budget = Budget::default();
    let calls = 200_000u32;
    let written = (0..calls).filter(|n| spend(&mut budget, source(n % 50_000), NOT_ADMITTED, 1)).count();
    assert!(written <= (OWNERS_MAX + 1) * UNPROVED_WRITTEN_MAX as usize);
    assert!(budget.unproved.spent.len() <= OWNERS_MAX + 1 && budget.unproved.counts.len() <= COUNTS_MAX + 1);
    let rest: Vec<_> = budget.rest().iter().map(super::Count::entry).collect();
    assert_eq!(total(&rest) + written as u64, u64::from(calls));
}

#[test]
fn more_counts_than_can_be_told_apart_are_counted_together() {
    let mut budget = Budget::default();
    let (now, boot) = at(1);
    for n in 0..COUNTS_MAX as u32 + 100 {
        let tally = super::Tally { since: boot, first: now, last: now, count: 1 };
        budget.unproved.add(super::Count { owner: source(n), word: NOT_ADMITTED, tally });
    }
    assert!(budget.unproved.counts.len() <= COUNTS_MAX + 1);
    let rest: Vec<_> = budget.rest().iter().map(super::Count::entry).collect();
    assert_eq!(total(&rest), COUNTS_MAX as u64 + 100);
}

#[test]
fn however_many_strangers_there_are_an_admitted_agents_refusals_and_alarms_bear_its_name() {
    let mut budget = Budget::default();
    for n in 0..COUNTS_MAX as u32 + 1 {
        for _ in 0..=UNPROVED_WRITTEN_MAX {
            spend(&mut budget, source(n), NOT_ADMITTED, 0);
        }
    }
    let words = [Word::Problem(ProblemKind::ReferenceUnknown), Word::Event(EventName::ReferenceMisused)];
    for word in words {
        let written = (0..ADMITTED_WRITTEN_MAX + 7).filter(|_| spend(&mut budget, agent(1), word, 0)).count();
        assert_eq!(written, ADMITTED_WRITTEN_MAX as usize, "{word:?}: its budget went to strangers");
    }
    let rest: Vec<_> = budget.rest().iter().map(super::Count::entry).collect();
    let of_agent = |entry: &&Entry| match entry {
        Entry::Refusal(refusal) => refusal.agent == Some(id!(PrincipalId, 1)),
        Entry::Event(event) => event.agent == Some(id!(PrincipalId, 1)),
        _ => false,
    };
    let own: Vec<Entry> = rest.iter().filter(of_agent).cloned().collect();
    assert_eq!((own.len(), total(&own)), (2, 14), "what was counted of it");
}

#[test]
fn a_count_that_could_not_be_written_is_counted_on() {
    let mut budget = Budget::default();
    for _ in 0..UNPROVED_WRITTEN_MAX + 2 {
        spend(&mut budget, source(1), NOT_ADMITTED, 0);
    }
    let due = budget.due(at(WINDOW.as_millis() as u64).1);
    spend(&mut budget, source(1), NOT_ADMITTED, 70_000);
    budget.put_back(due);
    let rest: Vec<_> = budget.rest().iter().map(super::Count::entry).collect();
    assert_eq!(total(&rest), 2);
}

#[test]
fn an_ipv6_caller_is_its_network_and_a_mapped_one_its_address() {
    let counted = |text: &str| Source::Address(text.parse().unwrap()).counted().to_string();
    assert_eq!(counted("2001:db8:1:2:3:4:5:6"), counted("2001:db8:1:2:ffff::1"));
    assert_ne!(counted("2001:db8:1:2::1"), counted("2001:db8:1:3::1"));
    assert_ne!(counted("::ffff:10.0.0.1"), counted("::ffff:10.0.0.2"));
    assert_eq!(Source::Uid(7).counted().to_string(), "uid 7");
}
