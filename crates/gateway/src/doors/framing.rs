//! Framing: what can still be seen of an ambiguous request after hyper has read its head.
//!
//! hyper refuses a lone CR, folded fields, spaces before the colon, unknown codings and differing lengths,
//! and it closes the connection itself. What it lets through and two parsers could read in two ways is
//! refused here, and the connection is closed, since nobody knows where the next request begins.
//!
//! Three things it repairs before this code sees them: a lone LF ends a line (RFC 9112 §2.2 allows that),
//! an equal second `Content-Length` is dropped, and a length beside `chunked` is dropped. These are *not*
//! refused over HTTP/1.1 before a strict reader stands in front of hyper; head and body are written anew
//! for the upstream, so what was ambiguous ends here. Over HTTP/2 nothing is repaired, and what is checked
//! here is what holds.

use http::{HeaderMap, HeaderName, Method, Version, header, request::Parts};
use nightlatch_domain::problem::{Problem, ProblemKind};

/// Refuses what could be framed in two ways, or asks for what is not carried.
///
/// # Errors
/// [`ProblemKind::BadRequest`] or [`ProblemKind::NotSupported`], with the field at fault.
pub(crate) fn check(head: &Parts) -> Result<(), Problem> {
    check_fields(head)?;
    refuse_unsupported(head)
}

/// The same for a request that asks for a tunnel.
///
/// # Errors
/// As [`check`].
pub(crate) fn check_connect(head: &Parts) -> Result<(), Problem> {
    check_fields(head)?;
    // RFC 8441 §4: a tunnel for another protocol, which no phase would see.
    if head.extensions.get::<hyper::ext::Protocol>().is_some() {
        return Err(Problem::new(ProblemKind::NotSupported).at_field("protocol"));
    }
    // RFC 9110 §9.3.6: it has no content; what is announced as such could be taken for the tunnel's bytes.
    let announced = [header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::EXPECT, header::UPGRADE];
    match announced.into_iter().find(|name| head.headers.contains_key(name)) {
        Some(name) => Err(bad(name.as_str())),
        None => Ok(()),
    }
}

fn check_fields(head: &Parts) -> Result<(), Problem> {
    refuse_twice(&head.headers, &header::HOST)?;
    refuse_twice(&head.headers, &header::CONTENT_LENGTH)?;
    check_codings(head)?;
    check_expect(&head.headers)
}

fn refuse_twice(headers: &HeaderMap, name: &HeaderName) -> Result<(), Problem> {
    // RFC 9112 §3.2: a server must refuse a request with more than one Host.
    // RFC 9112 §6.3: lengths that repeat may be replaced or refused; here they are refused.
    let listed = headers.get(name).is_some_and(|value| value.as_bytes().contains(&b','));
    if headers.get_all(name).iter().nth(1).is_some() || listed { Err(bad(name.as_str())) } else { Ok(()) }
}

fn check_codings(head: &Parts) -> Result<(), Problem> {
    let mut codings = head.headers.get_all(header::TRANSFER_ENCODING).iter();
    let Some(first) = codings.next() else { return Ok(()) };
    // RFC 9112 §6.1: chunked once, and beside no length; HTTP/1.0 knows no codings, HTTP/2 none at all.
    let sound = head.version == Version::HTTP_11
        && codings.next().is_none()
        && first.as_bytes().eq_ignore_ascii_case(b"chunked")
        && !head.headers.contains_key(header::CONTENT_LENGTH);
    if sound { Ok(()) } else { Err(bad("transfer-encoding")) }
}

fn check_expect(headers: &HeaderMap) -> Result<(), Problem> {
    let mut expected = headers.get_all(header::EXPECT).iter();
    match (expected.next(), expected.next()) {
        (None, _) => Ok(()),
        // RFC 9110 §10.1.1: the one expectation there is.
        (Some(one), None) if one.as_bytes().eq_ignore_ascii_case(b"100-continue") => Ok(()),
        _ => Err(bad("expect")),
    }
}

fn refuse_unsupported(head: &Parts) -> Result<(), Problem> {
    if matches!(head.method, Method::CONNECT | Method::TRACE) {
        return Err(Problem::new(ProblemKind::NotSupported).at_field("method"));
    }
    // RFC 9110 §6.6.2: whoever announces trailers sends some; no phase would see them.
    if let Some(name) =
        [header::UPGRADE, header::TRAILER].into_iter().find(|name| head.headers.contains_key(name))
    {
        return Err(Problem::new(ProblemKind::NotSupported).at_field(name.as_str()));
    }
    let is_grpc = head
        .headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
    if is_grpc { Err(Problem::new(ProblemKind::NotSupported).at_field("content-type")) } else { Ok(()) }
}

fn bad(field: &str) -> Problem {
    Problem::new(ProblemKind::BadRequest).at_field(field)
}

#[cfg(test)]
mod tests {
    use super::{check, check_connect};
    use http::{Request, Version, request::Parts};
    use nightlatch_domain::problem::ProblemKind;

    fn head(method: &str, version: Version, fields: &[(&str, &str)]) -> Parts {
        let request = Request::builder().method(method).version(version).uri("/x");
        let request = fields.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        request.body(()).unwrap().into_parts().0
    }

    fn refused(method: &str, fields: &[(&str, &str)]) -> Option<(ProblemKind, String)> {
        let problem = check(&head(method, Version::HTTP_11, fields)).err()?;
        Some((problem.kind, problem.field.unwrap_or_default()))
    }

    #[test]
    fn an_ordinary_head_is_let_through() {
        assert_eq!(refused("GET", &[("host", "a")]), None);
        assert_eq!(
            refused("POST", &[("host", "a"), ("transfer-encoding", "chunked"), ("expect", "100-Continue")]),
            None
        );
    }

    fn all_are_refused(cases: &[(&str, &[(&str, &str)])]) {
        for (field, fields) in cases {
            assert_eq!(
                refused("POST", fields),
                Some((ProblemKind::BadRequest, (*field).to_owned())),
                "{fields:?}"
            );
        }
    }

    /// Each of these comes through hyper: the lengths over HTTP/2, the others over HTTP/1.1.
    #[test]
    fn what_two_parsers_could_frame_in_two_ways_is_refused() {
        all_are_refused(&[
            ("host", &[("host", "a"), ("host", "a")]),
            ("content-length", &[("content-length", "3"), ("content-length", "3")]),
            ("transfer-encoding", &[("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")]),
            ("transfer-encoding", &[("transfer-encoding", "gzip, chunked")]),
            ("expect", &[("expect", "100-continue"), ("expect", "100-continue")]),
            ("expect", &[("expect", "200-maybe")]),
        ]);
    }

    /// None of these comes here with the hyper of today, which refuses or repairs them; this says nothing
    /// about the wire, only that a hyper which let them through would open nothing.
    #[test]
    fn what_hyper_keeps_from_us_would_be_refused_too() {
        all_are_refused(&[
            ("content-length", &[("content-length", "3, 3")]),
            ("transfer-encoding", &[("transfer-encoding", "chunked"), ("content-length", "3")]),
            ("transfer-encoding", &[("transfer-encoding", "identity")]),
        ]);
        let old = head("POST", Version::HTTP_10, &[("transfer-encoding", "chunked")]);
        assert_eq!(check(&old).unwrap_err().kind, ProblemKind::BadRequest);
    }

    #[test]
    fn a_tunnel_is_asked_for_without_any_content() {
        let asked = |fields: &[(&str, &str)]| check_connect(&head("CONNECT", Version::HTTP_11, fields));
        assert!(asked(&[("host", "a:443"), ("proxy-connection", "keep-alive")]).is_ok());
        for field in [
            ("content-length", "0"),
            ("transfer-encoding", "chunked"),
            ("expect", "100-continue"),
            ("upgrade", "websocket"),
        ] {
            assert_eq!(asked(&[("host", "a:443"), field]).unwrap_err().field.as_deref(), Some(field.0));
        }
        assert!(asked(&[("host", "a:443"), ("host", "a:443")]).is_err());
        let mut extended = head("CONNECT", Version::HTTP_2, &[]);
        extended.extensions.insert(hyper::ext::Protocol::from_static("websocket"));
        assert_eq!(check_connect(&extended).unwrap_err().kind, ProblemKind::NotSupported);
    }

    #[test]
    fn what_is_not_carried_is_refused_by_name() {
        for (method, fields) in [
            ("TRACE", [("host", "a")]),
            ("GET", [("upgrade", "websocket")]),
            ("POST", [("trailer", "x-sum")]),
            ("POST", [("content-type", "application/grpc+proto")]),
        ] {
            assert_eq!(refused(method, &fields).unwrap().0, ProblemKind::NotSupported, "{method} {fields:?}");
        }
    }
}
