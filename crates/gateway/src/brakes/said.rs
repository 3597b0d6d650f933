//! What a provider says of its limits, read from the head of an answer.
//!
//! Providers say it in four ways, and often in two at once: `Retry-After` (RFC 9110 §10.2.3), the fields of
//! draft-ietf-httpapi-ratelimit-headers in its forms, and the older `X-RateLimit-*`, whose reset is a time of
//! day at some (GitHub) and a number of seconds at others. A time of day is read against the provider's own
//! `Date`, so that its clock and ours need not agree. What cannot be read says nothing.

use http::{HeaderMap, HeaderName, StatusCode, header};
use nightlatch_domain::clock::Timestamp;
use std::time::{Duration, SystemTime};

/// Seconds since 1970 above this are a time of day; below, a span: a span that long is none.
const EPOCH_FROM_SECS: u64 = 1_000_000_000;
/// The same in milliseconds.
const EPOCH_FROM_MILLIS: u64 = 1_000_000_000_000;

/// How much is left of a window, and until when.
static PAIRS: [(HeaderName, HeaderName); 3] = [
    (HeaderName::from_static("ratelimit-remaining"), HeaderName::from_static("ratelimit-reset")),
    (HeaderName::from_static("x-ratelimit-remaining"), HeaderName::from_static("x-ratelimit-reset")),
    (HeaderName::from_static("x-rate-limit-remaining"), HeaderName::from_static("x-rate-limit-reset")),
];
static RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");

/// What an answer says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Said {
    /// Nothing that concerns the next call.
    Nothing,
    /// The call was refused for a limit, and no time was given.
    Limited,
    /// The call was refused for a limit: not before so long from now.
    NotBefore(Duration),
    /// The call was served, and was the last one for so long.
    UsedUp(Duration),
}

impl Said {
    /// Reads the head of an answer. `now` stands in where the provider states no date.
    pub(crate) fn read(status: StatusCode, headers: &HeaderMap, now: Timestamp) -> Self {
        let asked = || retry_after(headers, now);
        let window = || used_up(headers, now);
        match status {
            // RFC 6585 §4.
            StatusCode::TOO_MANY_REQUESTS => asked().or_else(window).map_or(Self::Limited, Self::NotBefore),
            // RFC 9110 §15.6.4: a 503 may state how long.
            StatusCode::SERVICE_UNAVAILABLE => asked().map_or(Self::Nothing, Self::NotBefore),
            // GitHub answers both of its limits with 403; a 403 for any other reason states no time.
            StatusCode::FORBIDDEN => asked().or_else(window).map_or(Self::Nothing, Self::NotBefore),
            _ => window().map_or(Self::Nothing, Self::UsedUp),
        }
    }
}

/// RFC 9110 §10.2.3: seconds, or an HTTP date.
fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = text(headers, &header::RETRY_AFTER)?;
    match text.parse::<u64>() {
        Ok(secs) => Some(Duration::from_secs(secs)),
        Err(_) => Some(date(text)?.since(stated_now(headers, now))),
    }
}

/// How long the window that is used up still lasts, where one is: the longest of them.
fn used_up(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let paired = PAIRS.iter().filter_map(|(remaining, reset)| {
        let is_empty = number(text(headers, remaining)?)? == 0;
        is_empty.then(|| reset_in(number(text(headers, reset)?)?, headers, now)).flatten()
    });
    let items = headers.get_all(&RATE_LIMIT).iter().filter_map(|value| value.to_str().ok());
    paired.chain(items.filter_map(window)).max()
}

fn reset_in(reset: u64, headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let millis = match reset {
        EPOCH_FROM_MILLIS.. => reset,
        EPOCH_FROM_SECS.. => reset.checked_mul(1000)?,
        span => return Some(Duration::from_secs(span)),
    };
    Some(Timestamp::from_millis(i64::try_from(millis).ok()?).since(stated_now(headers, now)))
}

/// `RateLimit`, in its newer form (`"default";r=0;t=30`, several in one list) and its older one
/// (`limit=100, remaining=0, reset=30`): the longest wait of a window that has nothing left.
fn window(value: &str) -> Option<Duration> {
    let member = |text: &str, names: [&str; 2]| {
        let pairs = text.split([';', ',']).filter_map(|part| part.trim().split_once('='));
        let mut own = pairs.filter(|(name, _)| names.contains(&name.trim()));
        own.next().and_then(|(_, value)| number(value.trim()))
    };
    let wait = |text: &str| {
        let is_empty = member(text, ["r", "remaining"])? == 0;
        is_empty.then(|| member(text, ["t", "reset"])).flatten().map(Duration::from_secs)
    };
    let is_list_of_windows = value.contains(';');
    if is_list_of_windows { value.split(',').filter_map(wait).max() } else { wait(value) }
}

/// The one value of a field; what is there twice says nothing.
fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?;
    if values.next().is_some() { None } else { first.to_str().ok().map(str::trim) }
}

/// A whole number; some write a fraction behind it.
fn number(text: &str) -> Option<u64> {
    let whole = text.split_once('.').map_or(text, |(whole, _)| whole);
    whole.parse().ok()
}

fn stated_now(headers: &HeaderMap, now: Timestamp) -> Timestamp {
    text(headers, &header::DATE).and_then(date).unwrap_or(now)
}

fn date(text: &str) -> Option<Timestamp> {
    let since = httpdate::parse_http_date(text).ok()?.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    Some(Timestamp::from_millis(i64::try_from(since.as_millis()).ok()?))
}

#[cfg(test)]
mod tests;
