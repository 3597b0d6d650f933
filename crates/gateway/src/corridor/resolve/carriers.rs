//! Every place of a request where a credential can stand, and the one where the reference does.
//!
//! The list is closed (the catalogue's, the manifest's, and where this task's connections are placed), names
//! are compared folded, and entropy decides nothing. One carrier is filled, at a place that the host accepts,
//! or none; whatever else stands in a carrier is refused by the name of its field and never by its value.

use crate::fields;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use nightlatch_catalog::manifest::{Accept, Manifest, QueryFault, folded, is_same_folded};
use nightlatch_domain::{
    problem::{Problem, ProblemKind},
    reference::Reference,
};
use std::borrow::Cow;

/// A text that stands where a reference belongs, and its field, which goes no further.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Presented {
    pub(crate) text: String,
    pub(crate) field: HeaderName,
}

/// What a host of a tool takes, for one task.
pub(crate) struct Carriers<'a> {
    /// The tool.
    pub(crate) manifest: &'a Manifest,
    /// Where the reference may stand.
    pub(crate) accepts: Cow<'a, [Accept]>,
}

/// A reference as a client would write it at this place.
pub(crate) fn rendered(place: &Accept, reference: &str) -> Option<(HeaderName, HeaderValue)> {
    let (name, text) = match place {
        Accept::Bearer => (header::AUTHORIZATION, format!("Bearer {reference}")),
        Accept::Scheme { scheme } => (header::AUTHORIZATION, format!("{scheme} {reference}")),
        Accept::BasicPassword => {
            (header::AUTHORIZATION, format!("Basic {}", STANDARD.encode(format!("x:{reference}"))))
        }
        Accept::BasicUser => {
            (header::AUTHORIZATION, format!("Basic {}", STANDARD.encode(format!("{reference}:x"))))
        }
        Accept::Header { name, prefix } => (name.parse().ok()?, format!("{prefix}{reference}")),
    };
    Some((name, HeaderValue::from_str(&text).ok()?))
}

impl Carriers<'_> {
    /// The text that stands where the reference belongs; none where every carrier is empty.
    ///
    /// # Errors
    /// [`ProblemKind::SecondCredential`] with the field, [`ProblemKind::BadRequest`] where a field names
    /// another method, path or hop than the request line.
    pub(crate) fn find(
        &self,
        headers: &HeaderMap,
        query: Option<&str>,
    ) -> Result<Option<Presented>, Problem> {
        self.check_hops(headers)?;
        self.check_query(query)?;
        self.check_subprotocols(headers)?;
        let mut filled: Option<(&HeaderName, &HeaderValue)> = None;
        for (name, value) in headers {
            if fields::is_rewriting(name.as_str()) {
                return Err(Problem::new(ProblemKind::BadRequest).at_field(folded(name.as_str())));
            }
            if *name == header::COOKIE {
                self.check_cookies(value)?;
            } else if self.carries(name.as_str()) {
                match filled {
                    // RFC 9110 §11.6.2: a request has one Authorization at most.
                    Some(_) => return Err(second(name)),
                    None => filled = Some((name, value)),
                }
            }
        }
        let read = |(name, value): (&HeaderName, _)| {
            Ok(Presented { text: self.read(name, value)?, field: name.clone() })
        };
        filled.map(read).transpose()
    }

    /// Whether a header of this name, whatever its spelling, carries a credential here.
    fn carries(&self, name: &str) -> bool {
        let is_own =
            |place: &Accept| matches!(place, Accept::Header { name: own, .. } if is_same_folded(own, name));
        self.manifest.is_credential_header(name) || self.accepts.iter().any(is_own)
    }

    /// `Connection` may not name a carrier: an upstream would be asked to drop what was attached for it
    /// (the trick of CVE-2024-45410).
    fn check_hops(&self, headers: &HeaderMap) -> Result<(), Problem> {
        let bad = || Problem::new(ProblemKind::BadRequest).at_field("connection");
        let named = fields::connection_named(headers).ok_or_else(bad)?;
        let essential = |name: &String| {
            self.carries(name) || matches!(name.as_str(), "host" | "content-length" | "content-type")
        };
        if named.iter().any(essential) { Err(bad()) } else { Ok(()) }
    }

    fn check_query(&self, query: Option<&str>) -> Result<(), Problem> {
        match query.and_then(|query| self.manifest.query_carrier(query)) {
            None => Ok(()),
            Some(QueryFault::Credential(name)) => {
                Err(Problem::new(ProblemKind::SecondCredential).at_field(name))
            }
            Some(QueryFault::Override(name)) => Err(Problem::new(ProblemKind::BadRequest).at_field(name)),
        }
    }

    /// RFC 6455 §4.1: what a client offers to speak. Where it can set no other field, some put a key there.
    fn check_subprotocols(&self, headers: &HeaderMap) -> Result<(), Problem> {
        let mut offered = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter();
        let is_harmless = |value: &HeaderValue| {
            let mut tokens = value.to_str().into_iter().flat_map(|text| text.split(','));
            value.to_str().is_ok()
                && !tokens.any(|token| self.manifest.is_credential_subprotocol(token.trim()))
        };
        if offered.all(is_harmless) { Ok(()) } else { Err(second(&header::SEC_WEBSOCKET_PROTOCOL)) }
    }

    /// Only what the manifest calls harmless comes back from an agent.
    fn check_cookies(&self, value: &HeaderValue) -> Result<(), Problem> {
        let refused = || Problem::new(ProblemKind::SecondCredential).at_field("cookie");
        let text = value.to_str().map_err(|_| refused())?;
        // RFC 6265 §4.2.1: pairs, separated by a semicolon and a space.
        let harmless = |pair: &str| {
            let (name, value) = pair.trim().split_once('=').unwrap_or((pair.trim(), ""));
            self.manifest.keep_cookies.iter().any(|kept| kept == name) && is_cookie_value(value)
        };
        if text.split(';').all(harmless) { Ok(()) } else { Err(refused()) }
    }

    /// The reference's text in the one carrier that is filled.
    fn read(&self, name: &HeaderName, value: &HeaderValue) -> Result<String, Problem> {
        let text = value.to_str().map_err(|_| second(name))?;
        let own = |place: &&Accept| matches!(place, Accept::Header { name: own, .. } if own == name.as_str());
        let in_header = || self.accepts.iter().filter(own).find_map(|place| in_own_header(place, text));
        let found = match *name == header::AUTHORIZATION {
            true => self.in_authorization(text)?.or_else(in_header),
            false => in_header(),
        };
        found.ok_or_else(|| second(name))
    }

    fn in_authorization(&self, text: &str) -> Result<Option<String>, Problem> {
        let Some((scheme, rest)) = text.split_once(' ') else { return Ok(None) };
        let credential = rest.trim_start_matches(' ');
        // RFC 9110 §11.1: the scheme is compared without regard to case.
        let is_token = self.accepts.iter().any(|place| match place {
            Accept::Bearer => scheme.eq_ignore_ascii_case("bearer"),
            Accept::Scheme { scheme: own } => scheme.eq_ignore_ascii_case(own),
            Accept::BasicPassword | Accept::BasicUser | Accept::Header { .. } => false,
        });
        if is_token {
            return Ok(Some(credential.to_owned()));
        }
        if scheme.eq_ignore_ascii_case("basic") { self.in_basic(credential) } else { Ok(None) }
    }

    /// RFC 7617 §2: `user:password`. What stands beside the reference was derived from a placeholder and is
    /// dropped; two references are two credentials.
    fn in_basic(&self, credential: &str) -> Result<Option<String>, Problem> {
        let pair = STANDARD.decode(credential).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let Some((user, password)) = pair.as_deref().and_then(|pair| pair.split_once(':')) else {
            return Ok(None);
        };
        let takes = |place: &Accept| self.accepts.contains(place);
        let parts = [(takes(&Accept::BasicPassword), password), (takes(&Accept::BasicUser), user)];
        let accepted: Vec<&str> =
            parts.into_iter().filter(|(takes, _)| *takes).map(|(_, part)| part).collect();
        if self.is_reference(user) && self.is_reference(password) {
            return Err(second(&header::AUTHORIZATION));
        }
        let chosen = accepted.iter().find(|part| self.is_reference(part)).or_else(|| accepted.first());
        Ok(chosen.map(|part| (*part).to_owned()))
    }

    fn is_reference(&self, text: &str) -> bool {
        Reference::parse(text).is_ok()
            || self.manifest.shapes.iter().any(|shape| shape.core_of(text).is_some())
    }
}

/// RFC 6265 §4.1.1: cookie-octets, perhaps in quotes. A comma or a space is none, and some servers begin
/// another cookie there.
fn is_cookie_value(value: &str) -> bool {
    let inner = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(value);
    let is_octet = |byte| matches!(byte, b'!' | b'#'..=b'+' | b'-'..=b':' | b'<'..=b'[' | b']'..=b'~');
    inner.bytes().all(is_octet)
}

fn in_own_header(place: &Accept, text: &str) -> Option<String> {
    let Accept::Header { prefix, .. } = place else { return None };
    text.strip_prefix(prefix.as_str()).map(str::to_owned)
}

fn second(name: &HeaderName) -> Problem {
    Problem::new(ProblemKind::SecondCredential).at_field(folded(name.as_str()))
}

#[cfg(test)]
mod tests;
