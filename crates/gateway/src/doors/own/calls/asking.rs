//! How a call is asked for: its key, and how long its agent waits.

use crate::{calls::CallLimits, tls::sha256_hex};
use http::{HeaderMap, HeaderValue};
use nightlatch_domain::problem::{Problem, ProblemKind};
use std::time::Duration;

/// The longest key: a UUID has 36 characters, and a path with a date in it is a key too.
const KEY_MAX_CHARS: usize = 255;

/// How long an agent waits on its request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Waits {
    pub(super) within: Duration,
    /// It asked for an answer at once.
    pub(super) is_async: bool,
}

/// SHA-256 of the idempotency key, hexadecimal.
///
/// # Errors
/// [`ProblemKind::IdempotencyKeyMissing`] where there is none, or what there is has not its form: a key that could be
/// read in two ways could make two calls of one.
pub(super) fn key_sha256(headers: &HeaderMap) -> Result<String, Problem> {
    let mut keys = headers.get_all("idempotency-key").iter();
    let key = keys.next().filter(|_| keys.next().is_none()).and_then(read_key);
    key.map(|key| sha256_hex(key.as_bytes()))
        .ok_or_else(|| Problem::new(ProblemKind::IdempotencyKeyMissing).at_field("idempotency-key"))
}

/// draft-ietf-httpapi-idempotency-key-header-07 §2.1: an item of structured fields that is a string. RFC 9651 §3.3.3:
/// printable ASCII between quotes, of which `"` and `\` are escaped.
fn read_key(value: &HeaderValue) -> Option<String> {
    let inner = value.to_str().ok()?.trim().strip_prefix('"')?.strip_suffix('"')?;
    let (mut key, mut letters) = (String::new(), inner.chars());
    while let Some(letter) = letters.next() {
        key.push(match letter {
            '"' => return None,
            '\\' => letters.next().filter(|escaped| matches!(escaped, '"' | '\\'))?,
            other => other,
        });
    }
    (1..=KEY_MAX_CHARS).contains(&key.len()).then_some(key)
}

/// RFC 7240: preferences are only that. What is unknown or has no form is left aside; of two, the first counts.
pub(super) fn waits(headers: &HeaderMap, limits: &CallLimits) -> Waits {
    let values = headers.get_all("prefer").iter().filter_map(|value| value.to_str().ok());
    let preferences: Vec<(String, Option<u64>)> =
        values.flat_map(|value| value.split(',')).map(preference).collect();
    let is_async = preferences.iter().any(|(name, _)| name == "respond-async");
    let asked = preferences.iter().find(|(name, _)| name == "wait").and_then(|(_, secs)| *secs);
    let default = if is_async { Duration::ZERO } else { limits.wait_default };
    let within = asked.map_or(default, Duration::from_secs).min(limits.wait_max);
    Waits { within, is_async }
}

fn preference(text: &str) -> (String, Option<u64>) {
    let whole = text.split(';').next().unwrap_or_default();
    let (name, value) = whole.split_once('=').map_or((whole, None), |(name, value)| (name, Some(value)));
    let secs = value.and_then(|value| value.trim().trim_matches('"').parse().ok());
    (name.trim().to_ascii_lowercase(), secs)
}

#[cfg(test)]
mod tests {
    //! A key has one reading; a preference is heeded or left aside.

    use super::{Waits, key_sha256, waits};
    use crate::{calls::CallLimits, tls::sha256_hex};
    use http::HeaderMap;
    use std::time::Duration;

    fn headers(name: &'static str, values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn a_key_is_one_string_in_quotes() {
        let key = |values: &[&str]| key_sha256(&headers("idempotency-key", values)).ok();
        assert_eq!(key(&[r#""a""#]), Some(sha256_hex(b"a")));
        assert_eq!(key(&[r#""a \"b\" \\""#]), Some(sha256_hex(br#"a "b" \"#)));
        let long = format!("\"{}\"", "a".repeat(256));
        for wrong in
            [r#"a"#, r#""""#, r#""a"#, r#""a"b""#, r#""a\b""#, r#""a";v=1"#, r#""a", "b""#, "\"é\"", &long]
        {
            assert_eq!(key(&[wrong]), None, "{wrong}");
        }
        assert_eq!(key(&[]), None);
        assert_eq!(key(&[r#""a""#, r#""a""#]), None, "twice");
    }

    #[test]
    fn a_wait_is_bounded_and_what_has_no_form_is_left_aside() {
        let limits = CallLimits::default();
        let read = |values: &[&str]| waits(&headers("prefer", values), &limits);
        let secs = |within, is_async| Waits { within: Duration::from_secs(within), is_async };
        assert_eq!(read(&[]), secs(20, false));
        assert_eq!(read(&["wait=5"]), secs(5, false));
        assert_eq!(read(&["respond-async"]), secs(0, true));
        assert_eq!(read(&["Respond-Async, WAIT=10; x=y", "wait=99"]), secs(10, true));
        assert_eq!(read(&["wait=100000"]), secs(60, false));
        assert_eq!(read(&["wait=-1", "handling=lenient"]), secs(20, false));
    }
}
