//! A provider's word is in effect for every agent of a connection, for no other connection, and not for ever.

use super::Provider;
use crate::{
    brakes::{said::Said, testing::exchange},
    limits::Limits,
};
use nightlatch_domain::{clock::Boot, exchange::Exchange, tool::OperationId};
use std::time::Duration;

const START: Boot = Boot::from_millis(1_000_000);

fn provider() -> Provider {
    Provider::new(&Limits::default())
}

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn not_before(wait: u64) -> Said {
    Said::NotBefore(secs(wait))
}

fn of_operation(id: &str) -> Exchange {
    let mut exchange = exchange(1, 1);
    exchange.matched.operation = OperationId(id.into());
    exchange
}

#[test]
fn what_one_agent_was_told_is_in_effect_for_all_on_the_connection_and_for_no_other() {
    let provider = provider();
    provider.heard(&exchange(1, 1), not_before(30), START);
    assert_eq!(provider.pass(&exchange(2, 1), START), Err(secs(30)));
    assert_eq!(provider.pass(&exchange(2, 1), START.plus(secs(29))), Err(secs(1)));
    assert_eq!(provider.pass(&exchange(2, 2), START), Ok(()));
    let mut elsewhere = exchange(1, 1);
    elsewhere.host.host = "uploads.acme.test".into();
    assert_eq!(provider.pass(&elsewhere, START), Ok(()));
    let mut of_others = exchange(1, 1);
    of_others.caller.tenant = nightlatch_domain::id::TenantId::new(of_others.at, [9; 10]);
    assert_eq!(provider.pass(&of_others, START), Ok(()));
    assert_eq!(provider.pass(&exchange(1, 1), START.plus(secs(30))), Ok(()));
}

#[test]
fn no_provider_parks_a_connection_for_ever() {
    let (provider, mut now) = (provider(), START);
    for _ in 0..20 {
        provider.heard(&exchange(1, 1), not_before(u64::MAX), now);
        let wait = provider.pass(&exchange(1, 1), now).unwrap_err();
        assert_eq!(wait, Limits::default().provider_wait_max);
        now = now.plus(wait);
        assert_eq!(provider.pass(&exchange(1, 1), now), Ok(()), "nobody may ask again");
    }
}

#[test]
fn after_a_wait_one_call_asks_and_decides_for_the_others() {
    let provider = provider();
    provider.heard(&exchange(1, 1), not_before(10), START);
    let over = START.plus(secs(10));
    assert_eq!(provider.pass(&exchange(1, 1), over), Ok(()));
    assert_eq!(provider.pass(&exchange(2, 1), over), Err(super::PROBE_WITHIN));
    provider.heard(&exchange(1, 1), Said::Nothing, over);
    assert_eq!(provider.pass(&exchange(2, 1), over), Ok(()));
    assert!(provider.lines().is_empty(), "a limit that is over is remembered");
}

#[test]
fn a_call_that_asks_and_never_hears_stops_nobody() {
    let provider = provider();
    provider.heard(&exchange(1, 1), not_before(10), START);
    let over = START.plus(secs(10));
    assert_eq!(provider.pass(&exchange(1, 1), over), Ok(()));
    assert_eq!(provider.pass(&exchange(2, 1), over.plus(super::PROBE_WITHIN)), Ok(()));
}

#[test]
fn a_refusal_without_a_time_is_waited_out_ever_longer_and_counts_once_for_calls_together() {
    let (provider, mut now) = (provider(), START);
    for expected in [1, 2, 4, 8] {
        for _ in 0..5 {
            provider.heard(&exchange(1, 1), Said::Limited, now);
        }
        let wait = provider.pass(&exchange(1, 1), now).unwrap_err();
        assert_eq!(wait.as_secs(), expected);
        now = now.plus(wait);
    }
}

#[test]
fn a_provider_that_never_says_how_long_parks_nobody_longer_than_one_that_does() {
    let (provider, mut now, mut last) = (provider(), START, Duration::ZERO);
    for _ in 0..40 {
        provider.heard(&exchange(1, 1), Said::Limited, now);
        last = provider.pass(&exchange(1, 1), now).unwrap_err();
        now = now.plus(last);
    }
    assert_eq!(last, Limits::default().provider_wait_max);
}

#[test]
fn an_answer_to_a_call_that_left_before_the_refusal_takes_nothing_back() {
    let provider = provider();
    provider.heard(&exchange(1, 1), not_before(30), START);
    provider.heard(&exchange(2, 1), Said::Nothing, START);
    provider.heard(&exchange(2, 1), Said::UsedUp(secs(1)), START);
    assert!(provider.pass(&exchange(1, 1), START).is_err());
    let over = START.plus(secs(30));
    assert_eq!(provider.pass(&exchange(1, 1), over), Ok(()));
    assert!(provider.pass(&exchange(2, 1), over).is_err(), "nobody waits for the one that asks");
}

#[test]
fn a_used_up_window_stops_its_operation_and_for_a_minute_at_most() {
    let provider = provider();
    provider.heard(&of_operation("search"), Said::UsedUp(secs(3600)), START);
    assert_eq!(provider.pass(&of_operation("search"), START), Err(secs(60)));
    assert_eq!(provider.pass(&of_operation("things.list"), START), Ok(()));
    assert_eq!(provider.pass(&of_operation("search"), START.plus(secs(60))), Ok(()));
    for number in 0..1_000 {
        provider.heard(&of_operation(&format!("o{number}")), Said::UsedUp(secs(3600)), START);
    }
    let all: usize = provider.lines().values().flatten().map(|line| line.operations.len()).sum();
    assert_eq!(all, super::OPERATIONS_MAX);
}
