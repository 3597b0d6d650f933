//! Who may speak to a local listener: programs that mean it, and no web page.
//!
//! A page in a browser on this machine can reach 127.0.0.1. It gives itself away: by the name that it was
//! rebound under (`Host` is checked against a closed list), by its `Origin`, by fetch metadata. A TLS
//! server name that says another host than the request is a request that was led here.

use http::{HeaderMap, HeaderValue, Uri, header, request::Parts};
use nightlatch_domain::problem::{Problem, ProblemKind};

/// The names under which a listener may be spoken to.
#[derive(Debug, Clone)]
pub(crate) struct Names {
    hosts: Vec<String>,
    port: Option<u16>,
}

impl Names {
    /// The loopback names, and those that the operator added; with the listener's port, if it has one.
    #[must_use]
    pub(crate) fn new(added: &[String], port: Option<u16>) -> Self {
        let own = ["127.0.0.1", "localhost", "[::1]"].into_iter().map(str::to_owned);
        Self { hosts: own.chain(added.iter().map(|name| name.to_ascii_lowercase())).collect(), port }
    }

    /// Whether a TLS server name is one of this listener's.
    pub(crate) fn admits_server(&self, name: &str) -> bool {
        self.hosts.iter().any(|own| own.eq_ignore_ascii_case(name))
    }

    /// Whether an authority names this listener.
    fn admits(&self, authority: &str) -> bool {
        let (host, port) = split(authority);
        let right_port = match (self.port, port) {
            // A number has one spelling: no sign, and no zero in front.
            (Some(own), Some(named)) => {
                named.parse() == Ok(own) && named.starts_with(|first| matches!(first, '1'..='9'))
            }
            // RFC 9110 §4.2.2: no port means 443.
            (Some(own), None) => own == 443,
            (None, _) => port.is_none(),
        };
        right_port && self.hosts.iter().any(|own| own.eq_ignore_ascii_case(host))
    }
}

/// `host` and `port` of an authority; an IPv6 address keeps its brackets.
fn split(authority: &str) -> (&str, Option<&str>) {
    let after_address = authority.rfind(']').map_or(0, |end| end + 1);
    match authority.get(after_address..).and_then(|rest| rest.find(':')) {
        Some(colon) => {
            let (host, port) = authority.split_at(after_address + colon);
            (host, port.strip_prefix(':'))
        }
        None => (authority, None),
    }
}

/// Refuses a request that names another host, or that a web page sent.
///
/// # Errors
/// [`ProblemKind::Misdirected`], [`ProblemKind::BadRequest`] or [`ProblemKind::CrossSite`].
pub(crate) fn check(head: &Parts, names: &Names, server_name: Option<&str>) -> Result<(), Problem> {
    let authority = authority(head)?;
    if !names.admits(authority) {
        return Err(Problem::new(ProblemKind::Misdirected).at_field("host"));
    }
    if server_name.is_some_and(|name| !name.eq_ignore_ascii_case(split(authority).0)) {
        return Err(Problem::new(ProblemKind::Misdirected).at_field("server-name"));
    }
    refuse_pages(&head.headers, |origin| origin.strip_prefix("https://") == Some(authority))
}

/// The one authority that the request names: in Host, in `:authority`, or alike in both.
pub(crate) fn authority(head: &Parts) -> Result<&str, Problem> {
    let host = head.headers.get(header::HOST).map(|host| host.to_str()).transpose();
    let host = host.map_err(|_| Problem::new(ProblemKind::BadRequest).at_field("host"))?;
    let target = head.uri.authority().map(http::uri::Authority::as_str);
    match (host, target) {
        // RFC 9113 §8.3.1: `:authority` and Host must not differ; RFC 9112 §3.2.2 for absolute-form.
        (Some(host), Some(target)) if host != target => {
            Err(Problem::new(ProblemKind::Misdirected).at_field("host"))
        }
        (Some(one), _) | (None, Some(one)) => Ok(one),
        // RFC 9112 §3.2: a request without Host is refused.
        (None, None) => Err(Problem::new(ProblemKind::BadRequest).at_field("host")),
    }
}

/// Refuses what only a page of another site sends. Programs send neither field. `is_own` knows our origin.
pub(super) fn refuse_pages(headers: &HeaderMap, is_own: impl Fn(&str) -> bool) -> Result<(), Problem> {
    let is_strange = |origin: &HeaderValue| !origin.to_str().is_ok_and(&is_own);
    if headers.get_all(header::ORIGIN).iter().any(is_strange) {
        return Err(Problem::new(ProblemKind::CrossSite).at_field("origin"));
    }
    let site = headers.get_all("sec-fetch-site");
    if site.iter().any(|site| site != "none" && site != "same-origin") {
        return Err(Problem::new(ProblemKind::CrossSite).at_field("sec-fetch-site"));
    }
    Ok(())
}

/// The target as the request line has it, in origin form (RFC 9112 §3.2.1).
///
/// # Errors
/// [`ProblemKind::BadRequest`]: absolute-form is what one sends a proxy, and this listener is none; `*`
/// asks about no path.
pub(crate) fn origin_form(uri: &Uri, over_http2: bool) -> Result<&str, Problem> {
    let bad = || Problem::new(ProblemKind::BadRequest).at_field("target");
    if !over_http2 && (uri.scheme().is_some() || uri.authority().is_some()) {
        return Err(bad());
    }
    let target = uri.path_and_query().ok_or_else(bad)?.as_str();
    if target.starts_with('/') { Ok(target) } else { Err(bad()) }
}

#[cfg(test)]
mod tests {
    use super::{Names, check, origin_form};
    use http::Request;
    use nightlatch_domain::problem::ProblemKind;

    fn said(uri: &str, fields: &[(&str, &str)], server_name: Option<&str>) -> Option<ProblemKind> {
        let request = fields
            .iter()
            .fold(Request::builder().uri(uri), |request, (name, value)| request.header(*name, *value));
        let head = request.body(()).unwrap().into_parts().0;
        check(&head, &Names::new(&["gate.internal".to_owned()], Some(8443)), server_name)
            .err()
            .map(|problem| problem.kind)
    }

    #[test]
    fn the_listeners_own_names_are_served() {
        for host in ["127.0.0.1:8443", "localhost:8443", "LOCALHOST:8443", "[::1]:8443", "gate.internal:8443"]
        {
            assert_eq!(said("/x", &[("host", host)], None), None, "{host}");
        }
        assert_eq!(said("https://localhost:8443/x", &[], Some("localhost")), None);
    }

    #[test]
    fn a_rebound_name_is_refused() {
        for host in [
            "evil.example:8443",
            "127.0.0.1",
            "127.0.0.1:8444",
            "127.0.0.1:08443",
            "u@127.0.0.1:8443",
            "127.0.0.1.:8443",
            "localhost:8443:8443",
            "[::1]x:8443",
            "",
            "2130706433:8443",
        ] {
            assert_eq!(said("/x", &[("host", host)], None), Some(ProblemKind::Misdirected), "{host}");
        }
        assert_eq!(said("/x", &[], None), Some(ProblemKind::BadRequest));
    }

    #[test]
    fn authority_host_and_server_name_must_agree() {
        let differ = said("https://localhost:8443/x", &[("host", "127.0.0.1:8443")], None);
        assert_eq!(differ, Some(ProblemKind::Misdirected));
        assert_eq!(
            said("/x", &[("host", "localhost:8443")], Some("gate.internal")),
            Some(ProblemKind::Misdirected)
        );
    }

    #[test]
    fn a_web_page_is_refused() {
        let host = ("host", "localhost:8443");
        for field in [
            ("origin", "https://evil.example"),
            ("origin", "null"),
            ("origin", "http://localhost:8443"),
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-site"),
        ] {
            assert_eq!(said("/x", &[host, field], None), Some(ProblemKind::CrossSite), "{field:?}");
        }
        assert_eq!(
            said("/x", &[host, ("origin", "https://localhost:8443"), ("sec-fetch-site", "none")], None),
            None
        );
    }

    #[test]
    fn absolute_form_is_for_proxies() {
        assert!(origin_form(&"http://localhost:8443/x".parse().unwrap(), false).is_err());
        assert_eq!(origin_form(&"https://localhost:8443/x?y".parse().unwrap(), true).unwrap(), "/x?y");
        assert!(origin_form(&"*".parse().unwrap(), false).is_err());
    }
}
