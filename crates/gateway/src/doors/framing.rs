//! Framing, where HTTP is already read: what two parsers could still read in two ways, and what is not carried.
//!
//! Over HTTP/1.1 the [strict reader](super::strict) has refused whatever is ambiguous in lines, lengths and codings
//! before hyper saw it. Over HTTP/2 a request is framed by its stream, and the `h2` crate refuses codings, fields of
//! one connection and differing lengths; what it lets through and HTTP/1.1 could not say is refused here. What
//! the request asks for (an expectation, another protocol, trailers) is looked at here for both.

use super::handshake;
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
    if head.version == Version::HTTP_2 {
        refuse_twice(&head.headers, &header::HOST)?;
        refuse_twice(&head.headers, &header::CONTENT_LENGTH)?;
    }
    check_expect(&head.headers)
}

fn refuse_twice(headers: &HeaderMap, name: &HeaderName) -> Result<(), Problem> {
    // RFC 9112 §3.2: a server must refuse a request with more than one Host.
    // RFC 9112 §6.3: lengths that repeat may be replaced or refused; here they are refused.
    let listed = headers.get(name).is_some_and(|value| value.as_bytes().contains(&b','));
    if headers.get_all(name).iter().nth(1).is_some() || listed { Err(bad(name.as_str())) } else { Ok(()) }
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
    if head.headers.contains_key(header::TRAILER) {
        return Err(Problem::new(ProblemKind::NotSupported).at_field("trailer"));
    }
    // RFC 8441 §4: the handshake of HTTP/2, which no phase would see.
    if head.extensions.get::<hyper::ext::Protocol>().is_some() {
        return Err(Problem::new(ProblemKind::NotSupported).at_field("protocol"));
    }
    handshake::read(head)?;
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

    fn refused(version: Version, method: &str, fields: &[(&str, &str)]) -> Option<(ProblemKind, String)> {
        let problem = check(&head(method, version, fields)).err()?;
        Some((problem.kind, problem.field.unwrap_or_default()))
    }

    #[test]
    fn an_ordinary_head_is_let_through() {
        for version in [Version::HTTP_11, Version::HTTP_2] {
            assert_eq!(refused(version, "GET", &[("host", "a")]), None);
            let fields = [("host", "a"), ("content-length", "3"), ("expect", "100-Continue")];
            assert_eq!(refused(version, "POST", &fields), None);
        }
    }

    /// Each of these comes through h2, or through reader and hyper.
    #[test]
    fn what_two_parsers_could_frame_in_two_ways_is_refused() {
        let cases: [(_, &str, &[_]); 5] = [
            (Version::HTTP_2, "host", &[("host", "a"), ("host", "a")]),
            (Version::HTTP_2, "content-length", &[("content-length", "3"), ("content-length", "3")]),
            (Version::HTTP_2, "content-length", &[("content-length", "3, 3")]),
            (Version::HTTP_11, "expect", &[("expect", "100-continue"), ("expect", "100-continue")]),
            (Version::HTTP_11, "expect", &[("expect", "200-maybe")]),
        ];
        for (version, field, fields) in cases {
            let expected = Some((ProblemKind::BadRequest, field.to_owned()));
            assert_eq!(refused(version, "POST", fields), expected, "{fields:?}");
        }
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
        let mut extended = head("CONNECT", Version::HTTP_2, &[]);
        extended.extensions.insert(hyper::ext::Protocol::from_static("websocket"));
        assert_eq!(check_connect(&extended).unwrap_err().kind, ProblemKind::NotSupported);
    }

    #[test]
    fn what_is_not_carried_is_refused_by_name() {
        for (method, fields) in [
            ("TRACE", [("host", "a")]),
            ("GET", [("upgrade", "h2c")]),
            ("POST", [("trailer", "x-sum")]),
            ("POST", [("content-type", "application/grpc+proto")]),
        ] {
            let said = refused(Version::HTTP_11, method, &fields);
            assert_eq!(said.unwrap().0, ProblemKind::NotSupported, "{method} {fields:?}");
        }
    }
}
