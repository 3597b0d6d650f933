//! `Retry-After`: seconds, or a date in the one form that may be sent (RFC 9110 §5.6.7, IMF-fixdate).

use http::HeaderValue;
use nightlatch_domain::clock::Timestamp;

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// How many seconds from `now` a `Retry-After` means; none where it cannot be read.
pub(super) fn retry_after(value: &HeaderValue, now: Timestamp) -> Option<u64> {
    let text = value.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(seconds);
    }
    let until = fixdate(text)?;
    Some(u64::try_from(until.saturating_sub(now.secs())).unwrap_or(0))
}

/// Seconds since 1970 of `Sun, 06 Nov 1994 08:49:37 GMT`.
fn fixdate(text: &str) -> Option<i64> {
    let mut words = text.split_once(", ")?.1.split(' ');
    let day: i64 = words.next()?.parse().ok()?;
    let month = words.next()?;
    let month = i64::try_from(MONTHS.iter().position(|name| *name == month)?).ok()? + 1;
    let year: i64 = words.next()?.parse().ok()?;
    let mut clock = words.next()?.split(':').map(|part| part.parse::<i64>().ok());
    let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
    let sound = words.next()? == "GMT" && (1..=31).contains(&day) && (1970..=9999).contains(&year);
    let in_day = (0..24).contains(&hour) && (0..60).contains(&minute) && (0..=60).contains(&second);
    (sound && in_day).then(|| days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second)
}

/// Days since 1970-01-01 of a Gregorian date, counted in years that begin in March.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let in_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    year * 365 + year / 4 - year / 100 + year / 400 + in_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::retry_after;
    use http::HeaderValue;
    use nightlatch_domain::clock::Timestamp;

    fn read(text: &str, now_secs: i64) -> Option<u64> {
        retry_after(&HeaderValue::from_str(text).unwrap(), Timestamp::from_millis(now_secs * 1000))
    }

    #[test]
    fn seconds_and_dates_are_read() {
        assert_eq!(read("120", 0), Some(120));
        assert_eq!(read("Sun, 06 Nov 1994 08:49:37 GMT", 784_111_777 - 60), Some(60));
        assert_eq!(read("Sun, 06 Nov 1994 08:49:37 GMT", 784_111_777 + 60), Some(0));
        assert_eq!(read("Thu, 29 Feb 2024 00:00:00 GMT", 1_709_164_800), Some(0));
    }

    #[test]
    fn what_cannot_be_read_is_none() {
        for text in ["", "-5", "soon", "Sun, 06 Nov 1994", "Sun, 06 Foo 1994 08:49:37 GMT", "1e9"] {
            assert_eq!(read(text, 0), None, "{text}");
        }
    }
}
