//! What providers really write is read, and what nobody can read says nothing.

use super::Said;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use nightlatch_domain::clock::Timestamp;
use proptest::prelude::{any, proptest};
use std::time::Duration;

/// 2026-11-29T14:00:00Z.
const NOW: Timestamp = Timestamp::from_millis(1_795_960_800_000);

fn said(status: u16, fields: &[(&str, &str)]) -> Said {
    let fields = fields
        .iter()
        .map(|(name, value)| (name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap()));
    let mut headers = HeaderMap::new();
    headers.extend(fields);
    Said::read(StatusCode::from_u16(status).unwrap(), &headers, NOW)
}

const fn not_before(secs: u64) -> Said {
    Said::NotBefore(Duration::from_secs(secs))
}

const fn used_up(secs: u64) -> Said {
    Said::UsedUp(Duration::from_secs(secs))
}

#[test]
fn retry_after_is_read_in_seconds_and_as_a_date_by_the_providers_own_clock() {
    assert_eq!(said(429, &[("retry-after", "30")]), not_before(30));
    assert_eq!(said(503, &[("retry-after", " 7 ")]), not_before(7));
    assert_eq!(said(429, &[("retry-after", "Sun, 29 Nov 2026 14:01:00 GMT")]), not_before(60));
    // Its clock is ten minutes ahead of ours.
    let ahead = [("date", "Sun, 29 Nov 2026 14:10:00 GMT"), ("retry-after", "Sun, 29 Nov 2026 14:10:05 GMT")];
    assert_eq!(said(429, &ahead), not_before(5));
    assert_eq!(said(429, &[("retry-after", "Sun, 29 Nov 2026 13:00:00 GMT")]), not_before(0));
}

#[test]
fn a_reset_is_a_time_of_day_or_a_span_by_its_size() {
    let at_zero = |reset: &str| said(429, &[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", reset)]);
    assert_eq!(at_zero("45"), not_before(45));
    assert_eq!(at_zero("1795960830"), not_before(30));
    assert_eq!(at_zero("1795960830.125"), not_before(30));
    assert_eq!(at_zero("1795960830000"), not_before(30));
    assert_eq!(at_zero("in a while"), Said::Limited);
    assert_eq!(
        said(200, &[("x-rate-limit-remaining", "0"), ("x-rate-limit-reset", "1795960860")]),
        used_up(60)
    );
}

#[test]
fn the_drafts_fields_are_read_in_each_of_their_forms() {
    assert_eq!(said(200, &[("ratelimit", "\"default\";r=0;t=30")]), used_up(30));
    assert_eq!(said(200, &[("ratelimit", "\"burst\";r=0;t=5, \"daily\";r=0;t=900")]), used_up(900));
    assert_eq!(said(200, &[("ratelimit", "\"burst\";r=3;t=5, \"daily\";r=0;t=900")]), used_up(900));
    assert_eq!(said(200, &[("ratelimit", "limit=100, remaining=0, reset=12")]), used_up(12));
    assert_eq!(said(429, &[("ratelimit-remaining", "0"), ("ratelimit-reset", "8")]), not_before(8));
    for left in ["\"default\";r=1;t=30", "limit=100, remaining=4, reset=12", "\"default\";r=0", "", ";;="] {
        assert_eq!(said(200, &[("ratelimit", left)]), Said::Nothing, "{left}");
    }
}

#[test]
fn a_403_is_a_limit_only_where_it_says_so() {
    assert_eq!(said(403, &[]), Said::Nothing);
    let left = [("x-ratelimit-remaining", "4999"), ("x-ratelimit-reset", "1795960830")];
    assert_eq!(said(403, &left), Said::Nothing);
    assert_eq!(said(403, &[("retry-after", "60")]), not_before(60));
    let primary = [("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1795960860")];
    assert_eq!(said(403, &primary), not_before(60));
}

#[test]
fn what_says_nothing_is_nothing() {
    assert_eq!(said(503, &[]), Said::Nothing);
    assert_eq!(said(200, &[("retry-after", "60")]), Said::Nothing);
    assert_eq!(said(429, &[("retry-after", "soon")]), Said::Limited);
    assert_eq!(said(429, &[("retry-after", "1"), ("retry-after", "2")]), Said::Limited);
    assert_eq!(said(429, &[("retry-after", "-5")]), Said::Limited);
}

proptest! {
    #[test]
    fn no_field_makes_the_reader_fail(
        status in 200u16..600, value in "[ -~]{0,40}", reset in any::<u64>()
    ) {
        for name in ["retry-after", "ratelimit", "date", "x-ratelimit-remaining"] {
            let reset = reset.to_string();
            let _ = said(status, &[(name, &value), ("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", &reset)]);
        }
    }
}
