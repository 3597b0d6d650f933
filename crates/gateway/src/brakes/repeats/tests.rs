//! A request that keeps failing for the same reason is held back ever longer; any other request never is.

use super::{Heads, Outcome, Reason, Repeats, Request, Suspicion};
use crate::{brakes::testing::exchange, limits::Limits};
use http::{HeaderMap, HeaderValue, header};
use nightlatch_domain::{clock::Boot, problem::ProblemKind};
use nightlatch_ledger::Digest;
use std::time::Duration;

const START: Boot = Boot::from_millis(1_000_000);
const NOT_FOUND: Outcome = Outcome::Failed(Reason::Status(404));

fn repeats() -> Repeats {
    Repeats::new(&Limits::default())
}

fn headers(accept: &'static str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(header::AUTHORIZATION, HeaderValue::from_static("Bearer nlr_x"));
    headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
    headers
}

fn request(agent: u8, path: &str, accept: &'static str, heads: &Heads) -> Request {
    let mut exchange = exchange(agent, 1);
    exchange.target.path = path.into();
    heads.of(&exchange, &headers(accept), &header::AUTHORIZATION)
}

fn digest(text: &str) -> Digest {
    serde_json::from_value(serde_json::Value::from(text)).unwrap()
}

fn fail(repeats: &Repeats, request: Request, times: u32, now: Boot) {
    (0..times).for_each(|_| repeats.ended(request, None, NOT_FOUND, now));
}

fn held(repeats: &Repeats, request: Request, now: Boot) -> Option<Duration> {
    match repeats.suspicion(request, now) {
        Suspicion::None => None,
        Suspicion::Bodies(held) => held.first().map(|(_, wait)| *wait),
    }
}

#[test]
fn the_third_failure_in_a_row_holds_a_request_back_and_each_further_one_twice_as_long() {
    let (repeats, heads) = (repeats(), Heads::default());
    let (request, mut now) = (request(1, "/gone", "*/*", &heads), START);
    fail(&repeats, request, 2, now);
    assert_eq!(held(&repeats, request, now), None);
    for expected in [1, 2, 4, 8] {
        fail(&repeats, request, 1, now);
        assert_eq!(held(&repeats, request, now), Some(Duration::from_secs(expected)));
        now = now.plus(Duration::from_secs(expected));
        assert_eq!(held(&repeats, request, now), None, "it is not let through again");
    }
    fail(&repeats, request, 40, now);
    assert_eq!(held(&repeats, request, now), Some(Limits::default().repeat_wait_max));
}

#[test]
fn a_changed_request_and_another_task_are_never_held_back() {
    let (repeats, heads) = (repeats(), Heads::default());
    fail(&repeats, request(1, "/gone", "*/*", &heads), 9, START);
    assert!(held(&repeats, request(1, "/gone", "*/*", &heads), START).is_some());
    for other in [
        request(1, "/gone2", "*/*", &heads),
        request(1, "/gone", "text/plain", &heads),
        request(2, "/gone", "*/*", &heads),
    ] {
        assert_eq!(held(&repeats, other, START), None);
    }
    let mut of_grant = exchange(1, 1);
    of_grant.target.path = "/gone".into();
    let mut of_host = of_grant.clone();
    of_grant.grant = nightlatch_domain::id::GrantId::new(of_grant.at, [9; 10]);
    of_host.host.route = "uploads".into();
    for other in [of_grant, of_host] {
        let other = heads.of(&other, &headers("*/*"), &header::AUTHORIZATION);
        assert_eq!(held(&repeats, other, START), None);
    }
}

#[test]
fn a_failure_of_long_ago_counts_no_more() {
    let (repeats, heads) = (repeats(), Heads::default());
    let request = request(1, "/gone", "*/*", &heads);
    fail(&repeats, request, 2, START);
    let later = START.plus(Limits::default().failure_remembered);
    fail(&repeats, request, 1, later);
    assert_eq!(held(&repeats, request, later), None);
    fail(&repeats, request, 2, later);
    assert!(held(&repeats, request, later).is_some());
}

#[test]
fn what_differs_from_try_to_try_makes_no_other_request() {
    let heads = Heads::default();
    let mut again = headers("*/*");
    again.insert("x-stainless-retry-count", HeaderValue::from_static("2"));
    again.insert("traceparent", HeaderValue::from_static("00-1-2-01"));
    let exchange = exchange(1, 1);
    let of = |headers: &HeaderMap| heads.of(&exchange, headers, &header::AUTHORIZATION);
    assert_eq!(of(&headers("*/*")), of(&again));
    again.insert("idempotency-key", HeaderValue::from_static("2"));
    assert_ne!(of(&headers("*/*")), of(&again));
}

#[test]
fn each_body_fails_by_itself() {
    let (repeats, heads) = (repeats(), Heads::default());
    let request = request(1, "/things", "*/*", &heads);
    for _ in 0..3 {
        repeats.ended(request, Some(digest("a")), Outcome::Failed(Reason::Status(422)), START);
    }
    repeats.ended(request, Some(digest("b")), Outcome::Failed(Reason::Status(422)), START);
    let expected = vec![(Some(digest("a")), Duration::from_secs(1))];
    assert_eq!(repeats.suspicion(request, START), Suspicion::Bodies(expected));
}

#[test]
fn another_reason_begins_anew_and_a_success_forgets() {
    let (repeats, heads) = (repeats(), Heads::default());
    let request = request(1, "/things", "*/*", &heads);
    fail(&repeats, request, 2, START);
    repeats.ended(request, None, Outcome::Failed(Reason::Status(500)), START);
    assert_eq!(held(&repeats, request, START), None);
    fail(&repeats, request, 3, START);
    assert!(held(&repeats, request, START).is_some());
    repeats.ended(request, None, Outcome::Served, START);
    assert_eq!(held(&repeats, request, START), None);
    assert!(repeats.tasks().is_empty());
}

#[test]
fn what_says_nothing_on_the_request_is_no_failure_of_it() {
    for status in [401, 407, 408, 425, 429] {
        assert_eq!(Outcome::of(Some(status), None), Outcome::Unsaid);
    }
    for status in [400, 403, 404, 409, 422, 500, 503] {
        assert_eq!(Outcome::of(Some(status), None), Outcome::Failed(Reason::Status(status)));
    }
    for status in [200, 204, 302, 304] {
        assert_eq!(Outcome::of(Some(status), None), Outcome::Served);
    }
    let failed = |kind| matches!(Outcome::of(None, Some(kind)), Outcome::Failed(_));
    assert!(failed(ProblemKind::UpstreamUnreachable) && failed(ProblemKind::OutcomeUnknown));
    // Theirs are ends that a human or the keeper brings about.
    for kind in [ProblemKind::CredentialPending, ProblemKind::ReauthRequired, ProblemKind::GrantEnded] {
        assert!(!failed(kind));
    }
}

#[test]
fn memory_is_bounded_by_task_and_in_tasks() {
    let limits = Limits { failures_each_max: 4, failing_tasks_max: 3, ..Limits::default() };
    let (repeats, heads) = (Repeats::new(&limits), Heads::default());
    for agent in 0..50 {
        for path in 0..50 {
            fail(&repeats, request(agent, &format!("/{path}"), "*/*", &heads), 3, START);
        }
    }
    let tasks = repeats.tasks();
    assert_eq!(tasks.len(), 3);
    assert!(tasks.values().all(|own| own.len() == 4));
}
