//! Handshakes: ours towards the tool (RFC 6455 §4.1), and the answer to the agent's (§4.2.2).
//!
//! Each side shakes hands with us. What the agent sent proves nothing about the tool, so the key that the tool must
//! answer is our own, and the agent's key is answered by us, once the tool has answered ours.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderName, HeaderValue, header, request::Parts};
use nightlatch_domain::{
    clock::{Entropy, random},
    exchange::Upgrade,
    problem::{Problem, ProblemKind},
};

/// §1.3: what is hashed with a key, so that nobody answers it who does not know the protocol.
const SALT: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// What we ask of a tool.
pub(crate) struct Offer {
    key: String,
    /// What the agent offers to speak, in its order.
    protocols: Vec<String>,
}

impl Offer {
    /// # Errors
    /// [`ProblemKind::Internal`] where there is no randomness for the key.
    pub(crate) fn new(entropy: &dyn Entropy, protocols: Vec<String>) -> Result<Self, Problem> {
        // §4.1 (7): 16 bytes, chosen at random for each connection.
        let nonce: [u8; 16] = random(entropy).map_err(|_| Problem::new(ProblemKind::Internal))?;
        Ok(Self { key: STANDARD.encode(nonce), protocols })
    }

    /// Writes it into a head. No extension is offered: what one does to the bytes, nobody could read here.
    pub(crate) fn write(&self, head: &mut Parts) -> Option<()> {
        let headers = &mut head.headers;
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static(Upgrade::WebSocket.as_str()));
        headers.insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        headers.insert(header::SEC_WEBSOCKET_KEY, HeaderValue::from_str(&self.key).ok()?);
        if !self.protocols.is_empty() {
            let offered = HeaderValue::from_str(&self.protocols.join(", ")).ok()?;
            headers.insert(header::SEC_WEBSOCKET_PROTOCOL, offered);
        }
        Some(())
    }

    /// Whether a 101 answers this offer, and the subprotocol that was chosen.
    ///
    /// # Errors
    /// The field at fault.
    pub(crate) fn check(&self, answer: &HeaderMap) -> Result<Option<HeaderValue>, HeaderName> {
        // §4.1, of the client's duties: (2), (3), (4), (5) and (6).
        let is_one = |name: HeaderName, right: &dyn Fn(&[u8]) -> bool| match only(answer, &name) {
            Some(value) if right(value.as_bytes()) => Ok(()),
            _ => Err(name),
        };
        is_one(header::UPGRADE, &|value| value.eq_ignore_ascii_case(Upgrade::WebSocket.as_str().as_bytes()))?;
        is_one(header::CONNECTION, &|value| {
            value.split(|byte| *byte == b',').any(|one| one.trim_ascii().eq_ignore_ascii_case(b"upgrade"))
        })?;
        is_one(header::SEC_WEBSOCKET_ACCEPT, &|value| value == accepted(&self.key).as_bytes())?;
        if answer.contains_key(header::SEC_WEBSOCKET_EXTENSIONS) {
            return Err(header::SEC_WEBSOCKET_EXTENSIONS);
        }
        if !answer.contains_key(header::SEC_WEBSOCKET_PROTOCOL) {
            return Ok(None);
        }
        let chosen = only(answer, &header::SEC_WEBSOCKET_PROTOCOL);
        let is_offered =
            |value: &&HeaderValue| self.protocols.iter().any(|own| own.as_bytes() == value.as_bytes());
        chosen.filter(is_offered).cloned().map(Some).ok_or(header::SEC_WEBSOCKET_PROTOCOL)
    }
}

/// Answers an agent's handshake, in a head that shows what the tool said beside it.
pub(super) fn answer(headers: &mut HeaderMap, key: &str, protocol: Option<HeaderValue>) {
    let of_handshake: Vec<HeaderName> =
        headers.keys().filter(|name| name.as_str().starts_with("sec-websocket-")).cloned().collect();
    for name in of_handshake {
        headers.remove(name);
    }
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static(Upgrade::WebSocket.as_str()));
    // It is base64, which has no way to fail.
    if let Ok(accept) = HeaderValue::from_str(&accepted(key)) {
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    }
    if let Some(protocol) = protocol {
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, protocol);
    }
}

/// §4.2.2 (5.4): what answers a key.
fn accepted(key: &str) -> String {
    STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, format!("{key}{SALT}").as_bytes()))
}

/// The value of a field that stands once.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a HeaderValue> {
    let mut all = headers.get_all(name).iter();
    let first = all.next();
    if all.next().is_none() { first } else { None }
}

#[cfg(test)]
mod tests {
    use super::{Offer, accepted, answer};
    use http::{HeaderMap, HeaderValue, Request, header};

    /// The example of RFC 6455 §1.3.
    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
    const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

    fn offer(protocols: &[&str]) -> Offer {
        Offer { key: KEY.into(), protocols: protocols.iter().map(|name| (*name).to_owned()).collect() }
    }

    fn sound() -> Vec<(&'static str, &'static str)> {
        vec![
            ("upgrade", "WebSocket"),
            ("connection", "keep-alive, Upgrade"),
            ("sec-websocket-accept", ACCEPT),
        ]
    }

    fn said(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn a_key_is_answered_as_the_standard_says() {
        assert_eq!(accepted(KEY), ACCEPT);
        let mut headers =
            said(&[("sec-websocket-extensions", "x"), ("sec-websocket-accept", "theirs"), ("etag", "1")]);
        answer(&mut headers, KEY, Some(HeaderValue::from_static("chat")));
        let told: Vec<_> =
            headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        assert_eq!(told.len(), 5, "{told:?}");
        for wanted in
            [("sec-websocket-accept", ACCEPT), ("sec-websocket-protocol", "chat"), ("upgrade", "websocket")]
        {
            assert!(told.contains(&wanted), "{told:?}");
        }
    }

    #[test]
    fn what_is_offered_holds_no_extension() {
        let mut head = Request::new(()).into_parts().0;
        offer(&["chat", "superchat"]).write(&mut head).unwrap();
        assert_eq!(head.headers.get("sec-websocket-protocol").unwrap(), "chat, superchat");
        assert_eq!(head.headers.get("sec-websocket-version").unwrap(), "13");
        assert!(!head.headers.contains_key(header::SEC_WEBSOCKET_EXTENSIONS));
    }

    #[test]
    fn a_sound_answer_is_taken_with_a_protocol_that_was_offered() {
        assert_eq!(offer(&[]).check(&said(&sound())), Ok(None));
        let chosen = [sound(), vec![("sec-websocket-protocol", "chat")]].concat();
        assert_eq!(offer(&["chat"]).check(&said(&chosen)), Ok(Some(HeaderValue::from_static("chat"))));
    }

    #[test]
    fn an_answer_to_something_else_is_refused_by_its_field() {
        let but = |name: &str, value: &'static str| {
            let fields = sound().into_iter().map(|own| if own.0 == name { (own.0, value) } else { own });
            fields.collect::<Vec<_>>()
        };
        for (fields, fault) in [
            (but("upgrade", "h2c"), "upgrade"),
            (but("upgrade", "websocket, h2c"), "upgrade"),
            (but("connection", "keep-alive"), "connection"),
            (but("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOO="), "sec-websocket-accept"),
            (but("sec-websocket-accept", KEY), "sec-websocket-accept"),
            (sound().split_off(1), "upgrade"),
            (sound().into_iter().take(2).collect(), "sec-websocket-accept"),
            ([sound(), sound()].concat(), "upgrade"),
            (
                [sound(), vec![("sec-websocket-extensions", "permessage-deflate")]].concat(),
                "sec-websocket-extensions",
            ),
            ([sound(), vec![("sec-websocket-extensions", "")]].concat(), "sec-websocket-extensions"),
            ([sound(), vec![("sec-websocket-protocol", "other")]].concat(), "sec-websocket-protocol"),
            ([sound(), vec![("sec-websocket-protocol", "chat, chat")]].concat(), "sec-websocket-protocol"),
        ] {
            let refused = offer(&["chat"]).check(&said(&fields)).unwrap_err();
            assert_eq!(refused.as_str(), fault, "{fields:?}");
        }
        let unasked = [sound(), vec![("sec-websocket-protocol", "chat")]].concat();
        assert!(offer(&[]).check(&said(&unasked)).is_err());
    }
}
