//! When the keeper acts: pure arithmetic over what a provider said and what its profile knows.
//!
//! An access token is renewed well before its end, so that a provider's bad minute costs nobody a call;
//! a refresh token that dies of idleness is used at half of its idle window. Everything is spread by
//! jitter, because a thousand connections made on one morning would else all return in one second.

use nightlatch_domain::clock::Timestamp;
use std::time::Duration;

/// A refused registration is tried again this late, by one chain; a human is at work meanwhile.
pub const CLIENT_RETRY: Duration = Duration::from_secs(3600);
/// No provider can make us wait longer than this between two tries.
pub(crate) const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);
/// Clocks are corrected by a little all the time.
const CLOCK_SLACK: Duration = Duration::from_secs(60);
/// No wait of a chain that backs off is longer.
const WAIT_MAX: Duration = Duration::from_secs(2 * 3600);
const BACK_OFF_FIRST: Duration = Duration::from_secs(2);
const BACK_OFF_MAX: Duration = Duration::from_secs(900);
const REVOCATION_FIRST: Duration = Duration::from_secs(60);
const REVOCATION_MAX: Duration = Duration::from_secs(6 * 3600);
const LOCAL_RETRY_FIRST: Duration = Duration::from_millis(50);
const LOCAL_RETRY_MAX: Duration = Duration::from_secs(10);
/// An access token of an hour or more is renewed at least this long before its end.
const LEAD_MIN: Duration = Duration::from_secs(60);
/// A refresh token that ends sooner is not refreshed for its end's sake.
pub(crate) const END_MIN: Duration = Duration::from_secs(24 * 3600);
/// A lifetime beyond this is a mistake of the provider's: treated as this long.
const LIFE_MAX: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// Backing off from the provider: doubled for each failure in a row, spread over its upper half; at
/// least what the provider asked for.
#[must_use]
pub fn back_off(failures: u32, retry_after: Option<Duration>, jitter: u16) -> Duration {
    let grown = BACK_OFF_FIRST.saturating_mul(1 << failures.min(16)).min(BACK_OFF_MAX);
    let own = spread(grown, jitter);
    let asked = retry_after.unwrap_or_default().min(RETRY_AFTER_MAX);
    own.max(asked.saturating_add(if asked.is_zero() {
        Duration::ZERO
    } else {
        spread(BACK_OFF_FIRST, jitter)
    }))
}

/// How long after so many tries a token is presented for revocation again: doubled for each, and at least what the provider
/// asked for. Spread widely, so that many that were refused together do not come back together.
#[must_use]
pub fn revocation(tries: u32, retry_after: Option<Duration>, jitter: u16) -> Duration {
    let grown = REVOCATION_FIRST.saturating_mul(1 << tries.min(16)).min(REVOCATION_MAX);
    let asked = retry_after.unwrap_or_default().min(RETRY_AFTER_MAX);
    spread(grown, jitter).max(asked.saturating_add(part(asked / 4, jitter)))
}

/// Backing off from our own disk or store, which come back soon or not at all.
#[must_use]
pub fn local_retry(tries: u32) -> Duration {
    LOCAL_RETRY_FIRST.saturating_mul(1 << tries.min(16)).min(LOCAL_RETRY_MAX)
}

/// Between half of `whole` and all of it.
fn spread(whole: Duration, jitter: u16) -> Duration {
    let half = whole / 2;
    half.saturating_add(part(half, jitter))
}

/// `jitter / 65536` of `whole`.
fn part(whole: Duration, jitter: u16) -> Duration {
    let millis = whole.as_millis().saturating_mul(u128::from(jitter)) >> 16;
    Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX))
}

/// What decides when a chain is refreshed next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Life {
    /// When the tokens came.
    pub since: Timestamp,
    /// Until when the access token is good, if that is known.
    pub access_until: Option<Timestamp>,
    /// Until when the refresh token is good, if the provider said so.
    pub refresh_until: Option<Timestamp>,
    /// How long an unused refresh token lives, by the profile.
    pub idle: Option<Duration>,
    /// A refresh is refused while the access token has longer to live than this, by the profile.
    pub window: Option<Duration>,
    /// Whether there is a refresh token at all.
    pub refreshable: bool,
}

/// When the timer acts next; none where there is nothing to refresh, or no reason ever to.
#[must_use]
pub fn due(life: &Life, jitter: u16) -> Option<Timestamp> {
    if !life.refreshable {
        return None;
    }
    let by_access = life.access_until.map(|until| {
        let span = until.since(life.since);
        until.minus(lead(span)).minus(part(lead(span) / 4, jitter))
    });
    // An end that a refresh does not move would else be approached in ever smaller halves.
    let by_end = life.refresh_until.map(|until| until.since(life.since)).filter(|left| *left > END_MIN);
    let by_end = by_end.map(|left| life.since.plus(left / 2));
    let by_idle = life.idle.map(|idle| {
        let half = idle / 2;
        life.since.plus(half.saturating_sub(part(half / 4, jitter)))
    });
    let at = [by_access, by_end, by_idle].into_iter().flatten().min().map(|at| at.max(life.since))?;
    let opens = life.access_until.zip(life.window).map(|(until, window)| {
        // Inside the window by a quarter of it, for two clocks and for jitter; the last half is for a second try.
        until.minus(window).plus(window / 4).plus(part(window / 4, jitter))
    });
    Some(opens.map_or(at, |opens| at.max(opens)))
}

/// How long before its end an access token that lives `span` is renewed: a sixth, at least a minute, and
/// never more than a third (a token of 30 s is renewed after 20).
fn lead(span: Duration) -> Duration {
    (span / 6).max(LEAD_MIN).min(span / 3)
}

/// How long before its end an access token is no longer handed out: it must live through the call.
/// Five seconds, and never more than a sixth of its life.
#[must_use]
pub fn skew(since: Timestamp, until: Timestamp) -> Duration {
    Duration::from_secs(5).min(until.since(since) / 6)
}

/// Whether a time lies ahead by more than clocks are corrected by all the time.
#[must_use]
pub fn is_ahead(at: Timestamp, now: Timestamp) -> bool {
    at.since(now) > CLOCK_SLACK
}

/// Whether something that happened lies ahead: the clock was wrong then or is wrong now, and nothing that
/// was reckoned from it can be relied on. Where the store has a clock of its own, only if it lies ahead by that too:
/// else every keeper whose clock is behind would do again what another one just did.
#[must_use]
pub fn is_of_the_future(at: Timestamp, now: Timestamp, store: Option<Timestamp>) -> bool {
    is_ahead(at, now) && store.is_none_or(|store| is_ahead(at, store))
}

/// Whether a chain that backs off still waits. A wait longer than any that this keeper sets was reckoned by
/// another clock.
#[must_use]
pub fn waits(due: Timestamp, now: Timestamp) -> bool {
    due > now && due.since(now) <= WAIT_MAX
}

/// When an access token ends whose answer said `expires_in` seconds. Zero and negative values, and
/// values beyond ten years, are a provider's mistake and are held at the ends of what is sane.
#[must_use]
pub fn ends_at(since: Timestamp, expires_in_secs: i64) -> Timestamp {
    let span = Duration::from_secs(u64::try_from(expires_in_secs).unwrap_or(0));
    since.plus(span.min(LIFE_MAX))
}

#[cfg(test)]
mod tests {
    use super::{Life, back_off, due, ends_at, is_of_the_future, local_retry, revocation, skew};
    use nightlatch_domain::clock::Timestamp;
    use proptest::prelude::{any, proptest};
    use std::time::Duration;

    const T0: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    fn life(access_secs: u64) -> Life {
        Life {
            since: T0,
            access_until: Some(T0.plus(Duration::from_secs(access_secs))),
            refresh_until: None,
            idle: None,
            window: None,
            refreshable: true,
        }
    }

    #[test]
    fn a_token_is_presented_for_revocation_ever_more_rarely_for_three_weeks() {
        let secs = |tries, asked: Option<u64>, jitter| {
            revocation(tries, asked.map(Duration::from_secs), jitter).as_secs()
        };
        assert_eq!([secs(0, None, 0), secs(0, None, u16::MAX), secs(3, None, 0)], [30, 59, 240]);
        assert_eq!([secs(9, None, 0), secs(90, None, 0), secs(90, None, u16::MAX)], [10_800, 10_800, 21_599]);
        assert_eq!([secs(0, Some(600), 0), secs(0, Some(600), u16::MAX)], [600, 749]);
        assert_eq!([secs(9, Some(600), 0), secs(0, Some(999_999), 0)], [10_800, 3600]);
        let days = (0..100).map(|tries| secs(tries, None, 1 << 15)).sum::<u64>() / 86_400;
        assert_eq!(days, 17);
    }

    #[test]
    fn what_happened_lies_ahead_only_by_both_clocks() {
        let ahead = T0.plus(Duration::from_secs(61));
        assert!(is_of_the_future(ahead, T0, None) && is_of_the_future(ahead, T0, Some(T0)));
        // This machine's clock is behind: by the store's, it happened just now.
        assert!(!is_of_the_future(ahead, T0, Some(ahead)));
        assert!(!is_of_the_future(T0.plus(Duration::from_secs(60)), T0, None));
    }

    #[test]
    fn a_token_of_half_a_minute_is_renewed_at_two_thirds() {
        assert_eq!(due(&life(30), 0), Some(T0.plus(Duration::from_secs(20))));
        assert_eq!(due(&life(3600), 0), Some(T0.plus(Duration::from_secs(3000))));
    }

    #[test]
    fn an_idle_window_is_used_at_half_even_where_the_access_token_lives_longer() {
        let idle = Some(Duration::from_secs(1000));
        assert_eq!(due(&Life { idle, ..life(100_000) }, 0), Some(T0.plus(Duration::from_secs(500))));
        let forever = Life { access_until: None, idle, ..life(0) };
        assert_eq!(due(&forever, 0), Some(T0.plus(Duration::from_secs(500))));
    }

    #[test]
    fn a_refresh_that_is_refused_early_waits_for_its_window() {
        let window = Some(Duration::from_secs(30));
        for jitter in [0, u16::MAX] {
            let idle = Some(Duration::from_secs(100));
            let at = due(&Life { window, idle, ..life(600) }, jitter).unwrap();
            let until = T0.plus(Duration::from_secs(600));
            assert!(
                at > until.minus(Duration::from_secs(24)) && at < until.minus(Duration::from_secs(14)),
                "{at:?}"
            );
        }
        // What opened before is not waited for, and an unknown end has no window.
        let wide = Some(Duration::from_secs(6000));
        assert_eq!(due(&Life { window: wide, ..life(600) }, 0), due(&life(600), 0));
        let idle = Some(Duration::from_secs(1000));
        let forever = Life { access_until: None, idle, window, ..life(0) };
        assert_eq!(due(&forever, 0), Some(T0.plus(Duration::from_secs(500))));
    }

    #[test]
    fn what_cannot_be_refreshed_has_no_timer() {
        assert_eq!(due(&Life { refreshable: false, ..life(30) }, 0), None);
        assert_eq!(due(&Life { access_until: None, ..life(30) }, 0), None);
    }

    #[test]
    fn retry_after_is_honoured_and_bounded() {
        let asked = Duration::from_secs(120);
        assert!(back_off(0, Some(asked), 0) >= asked);
        assert!(back_off(0, Some(Duration::from_secs(u64::MAX / 4)), 0) <= Duration::from_secs(3610));
        assert!(back_off(40, None, u16::MAX) <= Duration::from_secs(900));
    }

    proptest! {
        #[test]
        fn a_timer_lies_between_the_answer_and_the_end(secs in 0u64..400_000_000, jitter in any::<u16>()) {
            let at = due(&life(secs), jitter).unwrap();
            assert!(at >= T0 && at <= T0.plus(Duration::from_secs(secs)));
        }

        #[test]
        fn no_number_breaks_the_arithmetic(expires in any::<i64>(), failures in any::<u32>(), jitter in any::<u16>(), wait in any::<u64>()) {
            let until = ends_at(T0, expires);
            assert!(until >= T0 && skew(T0, until) <= Duration::from_secs(5));
            let _ = back_off(failures, Some(Duration::from_secs(wait)), jitter);
            assert!(local_retry(failures) <= Duration::from_secs(10));
        }
    }
}
