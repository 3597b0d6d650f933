//! Authorities, read one way: `host:port`, a plain name or a plain address, and nothing beside it.
//!
//! A request at a proxy names its host up to three times: in the CONNECT (or the absolute target), in TLS, and
//! in each request inside. Whatever the three say must be one host, or the request is refused with 421: a
//! credential must never be chosen by one name and sent by another.

use crate::doors::local;
use http::{HeaderValue, Version, header, request::Parts};
use nightlatch_domain::{
    problem::{Problem, ProblemKind},
    tool::Scheme,
};
use nightlatch_egress::Destination;

/// Where a CONNECT goes. RFC 9110 §9.3.6: the target is host and port, and the port is written.
///
/// # Errors
/// [`ProblemKind::BadRequest`] for what is no plain authority, [`ProblemKind::Misdirected`] where Host names
/// another one.
pub(super) fn of_connect(head: &Parts) -> Result<Destination, Problem> {
    let bad = || Problem::new(ProblemKind::BadRequest).at_field("target");
    // An authority alone: what has a scheme or a path is no tunnel's target.
    if head.uri.scheme().is_some() || head.uri.path_and_query().is_some() {
        return Err(bad());
    }
    let named = head.uri.authority().ok_or_else(bad)?.as_str();
    let to = read(named, Scheme::Https, None).ok_or_else(bad)?;
    check_host(head, &to)?;
    Ok(to)
}

/// Where a request in absolute form goes.
///
/// # Errors
/// As [`of_connect`].
pub(super) fn of_plain(head: &Parts) -> Result<Destination, Problem> {
    let bad = || Problem::new(ProblemKind::BadRequest).at_field("target");
    let named = head.uri.authority().ok_or_else(bad)?.as_str();
    let to = read(named, Scheme::Http, Some(Scheme::Http.default_port())).ok_or_else(bad)?;
    check_host(head, &to)?;
    Ok(to)
}

/// Whether a request inside of a tunnel is for the tunnel's host, and TLS was.
///
/// # Errors
/// [`ProblemKind::Misdirected`] where they disagree, [`ProblemKind::BadRequest`] where no host is named.
pub(super) fn check_inside(head: &Parts, to: &Destination, server_name: Option<&str>) -> Result<(), Problem> {
    let misdirected = |field: &str| Problem::new(ProblemKind::Misdirected).at_field(field);
    let is_named = match server_name {
        Some(name) => to.literal().is_none() && name.eq_ignore_ascii_case(to.host()),
        // RFC 6066 §3: an address is never sent as a server name.
        None => to.literal().is_some(),
    };
    if !is_named {
        return Err(misdirected("server-name"));
    }
    // RFC 9113 §8.3.1: what TLS carries is not plain HTTP.
    if head.version == Version::HTTP_2 && head.uri.scheme_str() != Some("https") {
        return Err(misdirected("scheme"));
    }
    let named = local::authority(head)?;
    let default = Some(Scheme::Https.default_port());
    if read(named, Scheme::Https, default).as_ref() == Some(to) { Ok(()) } else { Err(misdirected("host")) }
}

/// RFC 9112 §3.2: Host is sent with every request of HTTP/1.1, and names what the target names.
fn check_host(head: &Parts, to: &Destination) -> Result<(), Problem> {
    let misdirected = || Problem::new(ProblemKind::Misdirected).at_field("host");
    let host = head.headers.get(header::HOST).map(HeaderValue::to_str).transpose();
    let host = host.map_err(|_| Problem::new(ProblemKind::BadRequest).at_field("host"))?;
    match host {
        None if head.version == Version::HTTP_11 => {
            Err(Problem::new(ProblemKind::BadRequest).at_field("host"))
        }
        None => Ok(()),
        // Some clients leave out the port that the scheme implies.
        Some(host) => {
            let default = Some(to.scheme().default_port());
            let same = read(host, to.scheme(), default).as_ref() == Some(to);
            if same { Ok(()) } else { Err(misdirected()) }
        }
    }
}

/// `host:port`, or `host` where a port is implied. None for anything else: a user, an address in an odd
/// notation, a name with a final dot, a port with a sign or a zero before it.
fn read(text: &str, scheme: Scheme, implied: Option<u16>) -> Option<Destination> {
    let after_address = text.rfind(']').map_or(0, |end| end + 1);
    let (host, port) = match text.get(after_address..)?.find(':') {
        Some(colon) => {
            let (host, port) = text.split_at(after_address + colon);
            (host, number(port.strip_prefix(':')?)?)
        }
        None => (text, implied?),
    };
    let host = match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']').filter(|address| address.contains(':'))?,
        None => Some(host).filter(|name| !name.contains(':'))?,
    };
    // RFC 3986 §6.2.2.1: the host is the same in any letter case.
    Destination::new(scheme, &host.to_ascii_lowercase(), port).ok()
}

fn number(digits: &str) -> Option<u16> {
    let plain = !digits.starts_with('0') && digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|_| plain)
}

#[cfg(test)]
mod tests {
    use super::{check_inside, of_connect, of_plain, read};
    use http::{Request, Version, request::Parts};
    use nightlatch_domain::{problem::ProblemKind, tool::Scheme};
    use nightlatch_egress::Destination;

    fn head(method: &str, version: Version, uri: &str, host: Option<&str>) -> Parts {
        let request = Request::builder().method(method).version(version).uri(uri);
        let request = host.into_iter().fold(request, |request, host| request.header("host", host));
        request.body(()).unwrap().into_parts().0
    }

    fn https(host: &str, port: u16) -> Destination {
        Destination::new(Scheme::Https, host, port).unwrap()
    }

    #[test]
    fn an_authority_is_a_plain_host_and_a_plain_port() {
        let said = |text| read(text, Scheme::Https, None);
        assert_eq!(said("api.acme.test:443"), Some(https("api.acme.test", 443)));
        assert_eq!(said("API.Acme.Test:8443"), Some(https("api.acme.test", 8443)));
        assert_eq!(said("[::1]:443"), Some(https("::1", 443)));
        assert_eq!(said("127.0.0.1:443"), Some(https("127.0.0.1", 443)));
        for odd in [
            "",
            ":443",
            "api.acme.test",
            "api.acme.test:",
            "api.acme.test:0",
            "api.acme.test:0443",
            "api.acme.test:+443",
            "api.acme.test:65536",
            "api.acme.test:443:443",
            "api.acme.test.:443",
            "u@api.acme.test:443",
            "u:p@api.acme.test:443",
            "api.acme.test@evil.test:443",
            "::1:443",
            "[::1]443",
            "[api.acme.test]:443",
            "[::1]x:443",
            "2130706433:443",
            "0x7f.1:443",
            "127.1:443",
            "api_acme.test :443",
            "api.acme.t\u{435}st:443",
            "api%2eacme.test:443",
        ] {
            assert_eq!(said(odd), None, "{odd}");
        }
    }

    #[test]
    fn a_connect_names_one_host() {
        let to = |uri: &str, host| of_connect(&head("CONNECT", Version::HTTP_11, uri, host));
        for host in ["api.acme.test:443", "API.acme.test:443", "api.acme.test"] {
            assert_eq!(to("api.acme.test:443", Some(host)).unwrap(), https("api.acme.test", 443), "{host}");
        }
        for (uri, host, kind) in [
            ("api.acme.test:443", Some("evil.test:443"), ProblemKind::Misdirected),
            ("api.acme.test:443", Some("api.acme.test:8443"), ProblemKind::Misdirected),
            ("api.acme.test:8443", Some("api.acme.test"), ProblemKind::Misdirected),
            ("api.acme.test:443", None, ProblemKind::BadRequest),
            ("api.acme.test", Some("api.acme.test"), ProblemKind::BadRequest),
            ("https://api.acme.test:443/", Some("api.acme.test:443"), ProblemKind::BadRequest),
            ("/api.acme.test:443", Some("api.acme.test:443"), ProblemKind::BadRequest),
        ] {
            assert_eq!(to(uri, host).unwrap_err().kind, kind, "{uri} {host:?}");
        }
        let over_http2 = head("CONNECT", Version::HTTP_2, "api.acme.test:443", None);
        assert_eq!(of_connect(&over_http2).unwrap(), https("api.acme.test", 443));
    }

    #[test]
    fn an_absolute_target_and_host_agree() {
        let to = |uri: &str, host| of_plain(&head("GET", Version::HTTP_11, uri, Some(host)));
        assert_eq!(to("http://a.test/x", "a.test").unwrap().port(), 80);
        assert_eq!(to("http://a.test:80/x", "a.test").unwrap().port(), 80);
        assert_eq!(to("http://127.0.0.1:8080/x", "127.0.0.1:8080").unwrap().port(), 8080);
        assert_eq!(to("http://a.test/x", "b.test").unwrap_err().kind, ProblemKind::Misdirected);
        assert_eq!(to("http://a.test/x", "a.test:8080").unwrap_err().kind, ProblemKind::Misdirected);
        assert_eq!(to("http://u@a.test/x", "a.test").unwrap_err().kind, ProblemKind::BadRequest);
    }

    #[test]
    fn inside_everything_names_the_tunnels_host() {
        let inside = |uri: &str, host, name| {
            let head = head("GET", Version::HTTP_11, uri, host);
            check_inside(&head, &https("api.acme.test", 443), name).map_err(|problem| problem.kind)
        };
        let own = Some("api.acme.test");
        assert_eq!(inside("/x", own, own), Ok(()));
        assert_eq!(inside("/x", Some("api.acme.test:443"), Some("API.acme.test")), Ok(()));
        for (uri, host, name) in [
            ("/x", Some("evil.test"), own),
            ("/x", Some("api.acme.test:8443"), own),
            ("/x", Some("u@api.acme.test"), own),
            ("/x", Some("api.acme.test."), own),
            ("/x", own, Some("evil.test")),
            ("/x", own, None),
            ("https://evil.test/x", own, own),
        ] {
            assert_eq!(inside(uri, host, name), Err(ProblemKind::Misdirected), "{uri} {host:?} {name:?}");
        }
        let address = |name| {
            check_inside(
                &head("GET", Version::HTTP_11, "/x", Some("127.0.0.1")),
                &https("127.0.0.1", 443),
                name,
            )
        };
        assert!(address(None).is_ok());
        assert!(address(Some("api.acme.test")).is_err());
        let over_http2 = |uri: &str| {
            check_inside(&head("GET", Version::HTTP_2, uri, None), &https("api.acme.test", 443), own)
        };
        assert!(over_http2("https://api.acme.test/x").is_ok());
        assert!(over_http2("http://api.acme.test/x").is_err());
        assert!(over_http2("https://evil.test/x").is_err());
    }
}
