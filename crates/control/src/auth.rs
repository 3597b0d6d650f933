//! Who may speak to the API: whoever holds the token of the data folder, shown by a MAC on each request.
//!
//! A socket in a folder is reached by every process of the same user, and some sandboxes cannot keep a
//! path of a Unix socket from being connected to. So a peer's UID authenticates nobody. The token itself
//! never travels either: a request carries `authorization: NIGHTLATCH-HMAC ts=…,nonce=…,mac=…`, where the
//! MAC (HMAC-SHA-256, RFC 2104) is over the method, the path with its query, the SHA-256 of the body, the
//! time and a nonce. It is good for a minute and once.
//!
//! A nonce is noted only after its MAC was found right: who has no token cannot fill the memory of nonces.
//! When that memory is full, requests are refused until the oldest are a minute old: it never forgets early.
//! It does not outlive the process, so what was signed before the start is refused.

use aws_lc_rs::{digest, hmac};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use nightlatch_domain::clock::Timestamp;
use std::{
    collections::{HashSet, VecDeque},
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// The scheme in the `authorization` header.
pub const SCHEME: &str = "NIGHTLATCH-HMAC";

/// How far the clocks of caller and server may differ, and how long a nonce is remembered past that.
pub const WINDOW: Duration = Duration::from_secs(60);

/// How many nonces are remembered: 100 requests a second over twice the window.
const NONCES_LIMIT: usize = 12_000;

const TAG_LEN: usize = 32;

/// The key of the API's MACs: the content of `api.token`.
pub struct ApiKey(hmac::Key);

impl ApiKey {
    /// The key made of the token's bytes.
    #[must_use]
    pub fn new(token: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, token))
    }

    /// The value of the `authorization` header for a request.
    #[must_use]
    pub fn header(&self, request: &Signed<'_>, at: Timestamp, nonce: [u8; 16]) -> String {
        let nonce = URL_SAFE_NO_PAD.encode(nonce);
        let tag = hmac::sign(&self.0, &request.canonical(at, &nonce));
        format!("{SCHEME} ts={},nonce={nonce},mac={}", at.millis(), URL_SAFE_NO_PAD.encode(tag.as_ref()))
    }
}

/// What a MAC is made over, besides time and nonce.
#[derive(Debug, Clone, Copy)]
pub struct Signed<'a> {
    /// The method, in capitals.
    pub method: &'a str,
    /// The path and query as they stand in the request line.
    pub target: &'a str,
    /// The whole body.
    pub body: &'a [u8],
}

impl Signed<'_> {
    fn canonical(&self, at: Timestamp, nonce: &str) -> Vec<u8> {
        let body = URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, self.body));
        // No field can hold a line feed: method and target come from a parsed request line.
        let (method, target, at) = (self.method, self.target, at.millis());
        format!("nightlatch api v1\n{method}\n{target}\n{body}\n{at}\n{nonce}").into_bytes()
    }
}

/// Why a request is not let in. The answer to the caller is the same for all but the clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// No header, or one that cannot be read.
    #[error("no MAC under the token of the data folder came with the request")]
    Missing,
    /// The MAC is not right.
    #[error("the MAC is not right: this is another installation's token")]
    Wrong,
    /// The time is too far from ours.
    #[error("the request is older than a minute or than this start, or from the future: compare the clocks")]
    Stale,
    /// The nonce was seen before.
    #[error("the request came twice")]
    Replayed,
    /// Too many requests within the window.
    #[error("too many requests at once: wait a minute")]
    Flooded,
}

/// Lets requests in.
pub struct Gatekeeper {
    key: ApiKey,
    since: Timestamp,
    seen: Mutex<Seen>,
}

impl Gatekeeper {
    /// A gatekeeper that knows the key and has seen nothing yet: it begins at `since`.
    #[must_use]
    pub fn new(key: ApiKey, since: Timestamp) -> Self {
        Self { key, since, seen: Mutex::default() }
    }

    /// Whether a request with this `authorization` header may come in at `now`.
    ///
    /// # Errors
    /// [`AuthError`], and then nothing may be done for the request.
    pub fn admit(&self, header: Option<&str>, request: &Signed<'_>, now: Timestamp) -> Result<(), AuthError> {
        let proof = header.and_then(Proof::parse).ok_or(AuthError::Missing)?;
        let message = request.canonical(proof.at, proof.nonce);
        hmac::verify(&self.key.0, &message, &proof.tag).map_err(|_| AuthError::Wrong)?;
        let apart = now.since(proof.at).max(proof.at.since(now));
        if apart > WINDOW || proof.at < self.since {
            return Err(AuthError::Stale);
        }
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).note(proof.nonce, proof.at, now)
    }
}

struct Proof<'a> {
    at: Timestamp,
    nonce: &'a str,
    tag: Vec<u8>,
}

impl<'a> Proof<'a> {
    fn parse(header: &'a str) -> Option<Self> {
        let mut fields = header.strip_prefix(SCHEME)?.strip_prefix(' ')?.split(',');
        let at = fields.next()?.strip_prefix("ts=")?.parse().ok()?;
        let nonce = fields.next()?.strip_prefix("nonce=")?;
        let tag = URL_SAFE_NO_PAD.decode(fields.next()?.strip_prefix("mac=")?).ok()?;
        let sound = fields.next().is_none() && nonce.len() == 22 && tag.len() == TAG_LEN;
        sound.then_some(Self { at: Timestamp::from_millis(at), nonce, tag })
    }
}

#[derive(Default)]
struct Seen {
    nonces: HashSet<String>,
    order: VecDeque<(Timestamp, String)>,
}

impl Seen {
    fn note(&mut self, nonce: &str, at: Timestamp, now: Timestamp) -> Result<(), AuthError> {
        self.forget(now);
        if self.nonces.contains(nonce) {
            return Err(AuthError::Replayed);
        }
        if self.nonces.len() >= NONCES_LIMIT {
            return Err(AuthError::Flooded);
        }
        self.nonces.insert(nonce.to_owned());
        // A request from the future stays good for longer: it is remembered until its own time is past.
        self.order.push_back((at.max(now), nonce.to_owned()));
        Ok(())
    }

    fn forget(&mut self, now: Timestamp) {
        while self.order.front().is_some_and(|(at, _)| now.since(*at) > WINDOW) {
            if let Some((_, nonce)) = self.order.pop_front() {
                self.nonces.remove(&nonce);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{ApiKey, AuthError, Gatekeeper, NONCES_LIMIT, Signed};
    use nightlatch_domain::clock::Timestamp;

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);
    const REQUEST: Signed<'static> = Signed { method: "POST", target: "/v1/tasks?x=1", body: b"{}" };

    fn nonce(number: usize) -> [u8; 16] {
        let mut nonce = [0; 16];
        nonce[..8].copy_from_slice(&number.to_be_bytes());
        nonce
    }

    fn later(secs: i64) -> Timestamp {
        Timestamp::from_millis(NOW.millis() + secs * 1000)
    }

    fn door() -> Gatekeeper {
        Gatekeeper::new(ApiKey::new(b"token"), later(-3600))
    }

    fn admit(header: Option<&str>, request: &Signed<'_>) -> Result<(), AuthError> {
        door().admit(header, request, NOW)
    }

    #[test]
    fn the_holder_of_the_token_is_let_in() {
        let header = ApiKey::new(b"token").header(&REQUEST, NOW, nonce(1));
        assert_eq!(admit(Some(&header), &REQUEST), Ok(()));
    }

    #[test]
    fn without_a_mac_nothing_is_let_in() {
        for header in [None, Some(""), Some("Bearer token"), Some("NIGHTLATCH-HMAC ts=1,nonce=x,mac=y")] {
            assert_eq!(admit(header, &REQUEST), Err(AuthError::Missing), "{header:?}");
        }
    }

    #[test]
    fn a_mac_under_another_token_is_wrong() {
        let header = ApiKey::new(b"another").header(&REQUEST, NOW, nonce(1));
        assert_eq!(admit(Some(&header), &REQUEST), Err(AuthError::Wrong));
    }

    #[test]
    fn a_mac_is_good_for_its_own_request_only() {
        let header = ApiKey::new(b"token").header(&REQUEST, NOW, nonce(1));
        let others = [
            Signed { method: "GET", ..REQUEST },
            Signed { target: "/v1/tasks?x=2", ..REQUEST },
            Signed { body: b"{ }", ..REQUEST },
        ];
        for other in others {
            assert_eq!(admit(Some(&header), &other), Err(AuthError::Wrong), "{other:?}");
        }
        let moved = header.replace("ts=17", "ts=18");
        assert_eq!(admit(Some(&moved), &REQUEST), Err(AuthError::Wrong));
    }

    #[test]
    fn a_request_is_let_in_once() {
        let door = door();
        let header = ApiKey::new(b"token").header(&REQUEST, NOW, nonce(1));
        assert_eq!(door.admit(Some(&header), &REQUEST, NOW), Ok(()));
        assert_eq!(door.admit(Some(&header), &REQUEST, NOW), Err(AuthError::Replayed));
        assert_eq!(door.admit(Some(&header), &REQUEST, later(60)), Err(AuthError::Replayed));
        assert_eq!(door.admit(Some(&header), &REQUEST, later(61)), Err(AuthError::Stale));
    }

    #[test]
    fn a_request_from_the_future_is_remembered_until_it_is_stale() {
        let door = door();
        let header = ApiKey::new(b"token").header(&REQUEST, later(60), nonce(1));
        assert_eq!(door.admit(Some(&header), &REQUEST, NOW), Ok(()));
        for secs in [61, 119, 120] {
            assert_eq!(door.admit(Some(&header), &REQUEST, later(secs)), Err(AuthError::Replayed), "{secs}");
        }
        assert_eq!(door.admit(Some(&header), &REQUEST, later(121)), Err(AuthError::Stale));
    }

    #[test]
    fn an_old_request_and_one_from_far_ahead_are_stale() {
        for at in [later(-61), later(61)] {
            let header = ApiKey::new(b"token").header(&REQUEST, at, nonce(1));
            assert_eq!(admit(Some(&header), &REQUEST), Err(AuthError::Stale));
        }
    }

    #[test]
    fn what_an_earlier_process_let_in_is_not_let_in_again() {
        let header = ApiKey::new(b"token").header(&REQUEST, NOW, nonce(1));
        let restarted = Gatekeeper::new(ApiKey::new(b"token"), later(1));
        assert_eq!(restarted.admit(Some(&header), &REQUEST, later(2)), Err(AuthError::Stale));
        let anew = ApiKey::new(b"token").header(&REQUEST, later(1), nonce(1));
        assert_eq!(restarted.admit(Some(&anew), &REQUEST, later(2)), Ok(()));
    }

    #[test]
    fn a_full_memory_of_nonces_refuses_and_never_forgets_early() {
        let (door, key) = (door(), ApiKey::new(b"token"));
        for number in 0..NONCES_LIMIT {
            let header = key.header(&REQUEST, NOW, nonce(number));
            assert_eq!(door.admit(Some(&header), &REQUEST, NOW), Ok(()));
        }
        let one_more = key.header(&REQUEST, NOW, nonce(NONCES_LIMIT));
        assert_eq!(door.admit(Some(&one_more), &REQUEST, NOW), Err(AuthError::Flooded));
        let first = key.header(&REQUEST, NOW, nonce(0));
        assert_eq!(door.admit(Some(&first), &REQUEST, NOW), Err(AuthError::Replayed));
        let afterwards = key.header(&REQUEST, later(61), nonce(0));
        assert_eq!(door.admit(Some(&afterwards), &REQUEST, later(61)), Ok(()));
    }

    #[test]
    fn strangers_do_not_fill_the_memory_of_nonces() {
        let door = door();
        for number in 0..NONCES_LIMIT + 1 {
            let header = ApiKey::new(b"another").header(&REQUEST, NOW, nonce(number));
            assert_eq!(door.admit(Some(&header), &REQUEST, NOW), Err(AuthError::Wrong));
        }
        let header = ApiKey::new(b"token").header(&REQUEST, NOW, nonce(1));
        assert_eq!(door.admit(Some(&header), &REQUEST, NOW), Ok(()));
    }
}
