//! An agent's WebSocket handshake, read as strictly as it is written down (RFC 6455 §4.2.1).
//!
//! It is HTTP/1.1 only: over HTTP/2 a tunnel for another protocol (RFC 8441) is not carried. What asks for anything
//! but a WebSocket is `not-supported`; what asks for one and is not sound is refused by the field at fault. Whether
//! one may be had here the manifest says, further in.

use super::local;
use crate::{corridor::Switching, fields, gateway::Tunnels};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Version, header, request::Parts};
use hyper::upgrade::OnUpgrade;
use nightlatch_domain::{
    exchange::Upgrade,
    problem::{Problem, ProblemKind},
};
use std::sync::Arc;

/// Subprotocols that one client offers at once: real ones offer one to three.
const PROTOCOLS_MAX: usize = 16;

/// What an agent asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Handshake {
    /// What wants to be answered.
    pub(super) key: String,
    /// The subprotocols that it offers, in its order.
    pub(super) protocols: Vec<String>,
}

/// The handshake in a head; none where it asks for no upgrade.
///
/// # Errors
/// [`ProblemKind::NotSupported`] for another protocol or version, [`ProblemKind::BadRequest`] with the field at fault.
pub(super) fn read(head: &Parts) -> Result<Option<Handshake>, Problem> {
    let headers = &head.headers;
    if !headers.contains_key(header::UPGRADE) {
        return Ok(None);
    }
    // RFC 9110 §7.8: a list; one that names a second protocol leaves the choice to us, and we make none.
    let is_websocket =
        |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(Upgrade::WebSocket.as_str().as_bytes());
    if head.version != Version::HTTP_11 || !only(headers, header::UPGRADE).is_ok_and(is_websocket) {
        return Err(Problem::new(ProblemKind::NotSupported).at_field("upgrade"));
    }
    // (1): a GET, which brings nothing along: what is announced as a body could be taken for frames.
    if head.method != Method::GET {
        return Err(bad("method"));
    }
    let announced = [header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::EXPECT];
    if let Some(name) = announced.iter().find(|name| headers.contains_key(*name)) {
        return Err(bad(name.as_str()));
    }
    // (4)
    if !fields::connection_named(headers).is_some_and(|named| named.iter().any(|option| option == "upgrade"))
    {
        return Err(bad("connection"));
    }
    // (6)
    if only(headers, header::SEC_WEBSOCKET_VERSION)? != "13" {
        return Err(Problem::new(ProblemKind::NotSupported).at_field("sec-websocket-version"));
    }
    // (5): 16 bytes in base64.
    let key = only(headers, header::SEC_WEBSOCKET_KEY)?;
    let is_nonce = STANDARD.decode(key.as_bytes()).is_ok_and(|bytes| bytes.len() == 16);
    let key = key.to_str().ok().filter(|_| is_nonce).ok_or_else(|| bad("sec-websocket-key"))?;
    Ok(Some(Handshake { key: key.to_owned(), protocols: protocols(headers)? }))
}

/// Takes a sound handshake out of a head, with the connection that is to switch.
pub(super) fn take(head: &mut Parts, tunnels: &Arc<Tunnels>) -> Option<Switching> {
    let Handshake { key, protocols } = read(head).ok()??;
    let upgrade = head.extensions.remove::<OnUpgrade>()?;
    Some(Switching { key, protocols, upgrade, tunnels: Arc::clone(tunnels) })
}

/// Refuses the handshake of a page that means another place: `Origin` goes no further, so no tool could.
///
/// # Errors
/// [`ProblemKind::CrossSite`]; [`ProblemKind::BadRequest`] where no host is named.
pub(super) fn check_origin(head: &Parts, scheme: &str) -> Result<(), Problem> {
    if !head.headers.contains_key(header::UPGRADE) {
        return Ok(());
    }
    let authority = local::authority(head)?;
    let is_own = |origin: &str| origin.split_once("://") == Some((scheme, authority));
    local::refuse_pages(&head.headers, is_own)
}

/// (8), §4.1 (10): tokens, each of them once.
fn protocols(headers: &HeaderMap) -> Result<Vec<String>, Problem> {
    let bad = || bad("sec-websocket-protocol");
    let mut offered: Vec<String> = Vec::new();
    for value in headers.get_all(header::SEC_WEBSOCKET_PROTOCOL) {
        for token in value.to_str().map_err(|_| bad())?.split(',').map(str::trim) {
            if !is_token(token) || offered.iter().any(|own| own == token) || offered.len() == PROTOCOLS_MAX {
                return Err(bad());
            }
            offered.push(token.to_owned());
        }
    }
    Ok(offered)
}

/// RFC 9110 §5.6.2.
fn is_token(text: &str) -> bool {
    let is_tchar = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(is_tchar)
}

/// The value of a field that must stand exactly once.
fn only(headers: &HeaderMap, name: HeaderName) -> Result<&HeaderValue, Problem> {
    let mut all = headers.get_all(&name).iter();
    match (all.next(), all.next()) {
        (Some(one), None) => Ok(one),
        _ => Err(bad(name.as_str())),
    }
}

fn bad(field: &str) -> Problem {
    Problem::new(ProblemKind::BadRequest).at_field(field)
}
