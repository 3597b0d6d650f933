//! Content codings at the edge: which ones are asked for, which answer can be read, what its head loses.
//!
//! The agent's `Accept-Encoding` is narrowed to what scrub reads, and an answer in one of those is handed on as it is
//! behind the coding (RFC 9110 §12.5.3: `identity` is acceptable unless it is ruled out). Coding it again would cost
//! more than it saves on the way to an agent, which is short. What spoke for the coded bytes goes: their length, their
//! validators and digests. Two codings, or one that is not read, are refused; so is a range of a coded body, which
//! begins in the middle of a coding.

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use nightlatch_scrub::coding::Coding;

/// What a tool is asked for: what the agent takes and scrub reads. `brotli` says whether there is room for its window.
pub(super) fn asked(headers: &HeaderMap, brotli: bool) -> HeaderValue {
    let all: Vec<_> =
        headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok()).collect();
    let taken = |coding: Coding| {
        let mut members = all.iter().flat_map(|value| value.split(','));
        members.any(|member| accepts(member, coding)) && (brotli || coding != Coding::Brotli)
    };
    let names: Vec<_> = Coding::ALL.into_iter().filter(|coding| taken(*coding)).map(Coding::as_str).collect();
    let text = if names.is_empty() { "identity".to_owned() } else { names.join(", ") };
    HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("identity"))
}

/// RFC 9110 §12.4.2: a weight of zero is a no.
fn accepts(member: &str, coding: Coding) -> bool {
    let (name, weight) = member.split_once(';').unwrap_or((member, "q=1"));
    let weight = weight.trim().trim_start_matches(['q', 'Q']).trim_start_matches('=').trim();
    Coding::named(name) == Some(coding) && weight.parse::<f32>().is_ok_and(|weight| weight > 0.0)
}

/// The coding of an answer; none where it has none.
///
/// # Errors
/// Where scrub cannot read it.
pub(super) fn of(status: StatusCode, headers: &HeaderMap) -> Result<Option<Coding>, Unreadable> {
    let mut codings = Vec::new();
    for value in headers.get_all(header::CONTENT_ENCODING) {
        let text = value.to_str().map_err(|_| Unreadable)?;
        codings.extend(text.split(',').map(str::trim).filter(|name| !name.eq_ignore_ascii_case("identity")));
    }
    match codings.as_slice() {
        [] => Ok(None),
        [name] if status != StatusCode::PARTIAL_CONTENT => Coding::named(name).map(Some).ok_or(Unreadable),
        _ => Err(Unreadable),
    }
}

/// An answer whose bytes scrub could not read.
pub(super) struct Unreadable;

/// What speaks for coded bytes.
const OF_CODED: [HeaderName; 8] = [
    header::ACCEPT_RANGES,
    header::CONTENT_ENCODING,
    header::CONTENT_LENGTH,
    header::ETAG,
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("content-md5"),
    HeaderName::from_static("digest"),
    HeaderName::from_static("repr-digest"),
];

/// Takes from a head what speaks for coded bytes.
pub(super) fn uncoded(head: &mut HeaderMap) {
    for name in OF_CODED {
        head.remove(name);
    }
}

#[cfg(test)]
mod tests {
    //! What is asked for is what both sides read.

    use super::{asked, of};
    use http::{HeaderMap, HeaderValue, StatusCode, header};
    use nightlatch_scrub::coding::Coding;

    fn of_asked(accepts: &'static str, brotli: bool) -> HeaderValue {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(accepts));
        asked(&headers, brotli)
    }

    #[test]
    fn what_is_asked_for_is_what_both_sides_read() {
        assert_eq!(of_asked("gzip, deflate, br, zstd", true), "gzip, deflate, br");
        assert_eq!(of_asked("gzip, deflate, br, zstd", false), "gzip, deflate");
        assert_eq!(of_asked("BR;q=0.5, gzip;q=0", true), "br");
        assert_eq!(of_asked("zstd", true), "identity");
        assert_eq!(of_asked("*", true), "identity");
        assert_eq!(asked(&HeaderMap::new(), true), "identity");
    }

    fn of_answer(status: u16, codings: &[&'static str]) -> Option<Option<Coding>> {
        let mut headers = HeaderMap::new();
        for coding in codings {
            headers.append(header::CONTENT_ENCODING, HeaderValue::from_static(coding));
        }
        of(StatusCode::from_u16(status).unwrap(), &headers).ok()
    }

    #[test]
    fn one_coding_is_read_and_two_or_a_strange_one_or_a_range_of_one_are_not() {
        assert_eq!(of_answer(200, &[]), Some(None));
        assert_eq!(of_answer(206, &["identity"]), Some(None));
        assert_eq!(of_answer(200, &["x-gzip"]), Some(Some(Coding::Gzip)));
        for (status, codings) in [
            (200, &["gzip, br"][..]),
            (200, &["gzip", "gzip"]),
            (200, &["zstd"]),
            (206, &["gzip"]),
            (200, &["gzip,"]),
        ] {
            assert_eq!(of_answer(status, codings), None, "{codings:?}");
        }
    }
}
