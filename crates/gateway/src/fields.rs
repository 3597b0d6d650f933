//! Header fields: which belong to one hop, which change what a request means, which may go on.
//!
//! An upstream gets a head that is written anew. What is copied into it is chosen here by folded name
//! (`-` and `_` alike, any case), because servers hand `X_Method` and `x-method` to programs as one. Three
//! kinds do not go on: fields of this hop (RFC 9110 §7.6.1), and whatever `Connection` names; fields with
//! which an intermediary talks to a server (`X-Forwarded-*`), which an agent must not speak for; fields
//! whose value some server takes for another method or path than the one that policy saw. The last are
//! refused, the others dropped.

use http::{HeaderMap, HeaderName, header};
use nightlatch_catalog::manifest::{folded, is_same_folded};

/// Fields of one hop (RFC 9110 §7.6.1), and what frames a message (RFC 9112 §6).
const HOP_BY_HOP: &[&str] = &[
    "connection",
    "content-length",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authentication-info",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Names without a hyphen that may go on. Those with one go on unless they are held back below, since
/// every API has its own (`openai-beta`, `notion-version`), and no list of them would be whole.
const PLAIN: &[&str] =
    &["accept", "baggage", "from", "pragma", "prefer", "priority", "slug", "traceparent", "tracestate"];

/// Names with a hyphen that do not go on.
const HELD_BACK: &[&str] = &[
    "accept-encoding",
    "client-ip",
    "early-data",
    "fastly-client-ip",
    "if-range",
    "max-forwards",
    "true-client-ip",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-host",
    "x-middleware-subrequest",
    "x-real-ip",
];

/// Beginnings of names that do not go on.
const HELD_BACK_PREFIXES: &[&str] = &[
    "access-control-",
    "cf-",
    "nightlatch-",
    "proxy-",
    "sec-",
    "x-amz-",
    "x-arr-",
    "x-envoy-",
    "x-forwarded-",
    "x-nightlatch-",
];

/// Fields that some servers take for another method, host or path than the request line's. The list is
/// closed: these are the names that frameworks and front servers are known to read (Symfony and Zend read
/// `X-Original-URL` and `X-Rewrite-URL`, IIS's rewriter writes them, many read a host override), and the
/// same word for the other part of a request. What speaks for a proxy (`X-Forwarded-Host`) is only dropped.
const REWRITING: &[&str] = &[
    "x-host-override",
    "x-http-host-override",
    "x-http-method",
    "x-http-method-override",
    "x-http-path-override",
    "x-http-uri-override",
    "x-http-url-override",
    "x-method-override",
    "x-original-host",
    "x-original-method",
    "x-original-path",
    "x-original-uri",
    "x-original-url",
    "x-override-host",
    "x-override-path",
    "x-override-uri",
    "x-override-url",
    "x-path-override",
    "x-rewrite-path",
    "x-rewrite-uri",
    "x-rewrite-url",
    "x-uri-override",
    "x-url-override",
];

/// The names that `Connection` gives to this hop (RFC 9110 §7.6.1), folded. None where they cannot be read.
#[must_use]
pub(crate) fn connection_named(headers: &HeaderMap) -> Option<Vec<String>> {
    let mut names = Vec::new();
    for value in headers.get_all(header::CONNECTION) {
        let options = value.to_str().ok()?.split(',').map(str::trim).filter(|option| !option.is_empty());
        names.extend(options.map(folded));
    }
    Some(names)
}

/// Whether a field's name says another method, host or path than the request line.
#[must_use]
pub(crate) fn is_rewriting(name: &str) -> bool {
    REWRITING.iter().any(|listed| is_same_folded(listed, name))
}

/// Whether a field belongs to one hop or frames a message, in whatever spelling.
#[must_use]
pub(crate) fn is_of_hop(name: &str) -> bool {
    let twin = folded(name);
    HOP_BY_HOP.contains(&twin.as_str()) || twin.starts_with("proxy-")
}

/// Whether a request's field may go on to the upstream. Credential fields are none of this list's
/// business: `resolve` has refused or taken them before.
#[must_use]
pub(crate) fn goes_on(name: &HeaderName) -> bool {
    let name = name.as_str();
    let first = name.as_bytes().first();
    let begins = |prefix: &&str| prefix.as_bytes().first() == first && name.starts_with(prefix);
    let held = is_in(HELD_BACK, name) || HELD_BACK_PREFIXES.iter().any(begins);
    let spelled = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    spelled && !held && !is_in(HOP_BY_HOP, name) && (name.contains('-') || is_in(PLAIN, name))
}

/// Whether a name is listed. Names are compared where they begin alike: this is asked of every field of every call.
fn is_in(list: &[&str], name: &str) -> bool {
    let first = name.as_bytes().first();
    list.iter().any(|own| own.as_bytes().first() == first && *own == name)
}

/// Fields of an answer that never reach the agent: alternative services would lead it past us, transport
/// policies are about a host that it does not speak to, and cookies are told apart by name elsewhere
/// (`Set-Cookie2` of RFC 2965 is one that nobody reads names from).
#[must_use]
pub(crate) fn comes_back(name: &HeaderName) -> bool {
    let name = name.as_str();
    let ours = name.starts_with("nightlatch-") || name.starts_with("proxy-");
    !ours
        && !is_in(HOP_BY_HOP, name)
        && !matches!(
            name,
            "alt-svc" | "clear-site-data" | "set-cookie" | "set-cookie2" | "strict-transport-security"
        )
}

#[cfg(test)]
mod tests {
    use super::{comes_back, connection_named, goes_on, is_rewriting};
    use http::{HeaderMap, HeaderName, HeaderValue};

    fn name(text: &str) -> HeaderName {
        text.parse().unwrap()
    }

    #[test]
    fn what_an_api_needs_goes_on() {
        for good in [
            "accept",
            "content-type",
            "user-agent",
            "x-github-api-version",
            "openai-beta",
            "anthropic-version",
            "idempotency-key",
            "if-none-match",
        ] {
            assert!(goes_on(&name(good)), "{good}");
        }
    }

    #[test]
    fn what_speaks_for_another_hop_does_not_go_on() {
        for bad in [
            "host",
            "te",
            "content-length",
            "x-forwarded-for",
            "forwarded",
            "via",
            "x-real-ip",
            "x_custom",
            "accept-encoding",
            "range",
            "sec-fetch-site",
            "origin",
            "x-amz-date",
        ] {
            assert!(!goes_on(&name(bad)), "{bad}");
        }
    }

    #[test]
    fn twins_of_hop_and_override_fields_are_seen() {
        assert!(!goes_on(&name("transfer_encoding")) && !goes_on(&name("Keep_Alive")));
        for twin in ["X-HTTP-Method-Override", "x_http_method_override", "X-Original_URL"] {
            assert!(is_rewriting(twin), "{twin}");
        }
    }

    #[test]
    fn connection_options_are_read_from_every_line() {
        let mut headers = HeaderMap::new();
        headers.append("connection", HeaderValue::from_static("close, X_Drop-Me"));
        headers.append("connection", HeaderValue::from_static("authorization"));
        assert_eq!(connection_named(&headers).unwrap(), ["close", "x-drop-me", "authorization"]);
    }

    #[test]
    fn an_answer_keeps_its_fields_but_those_that_lead_past_us() {
        assert!(comes_back(&name("etag")) && comes_back(&name("location")));
        for bad in ["alt-svc", "set-cookie", "set-cookie2", "transfer-encoding", "nightlatch-call"] {
            assert!(!comes_back(&name(bad)), "{bad}");
        }
    }
}
