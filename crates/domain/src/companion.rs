//! What a companion and the gateway say to each other beside the tunnels.
//!
//! Both ends use these very types, so that what is signed is one text, made in one place. Each field of a
//! challenge has an alphabet without a line feed: none can be mistaken for another, and a gateway cannot have
//! something else signed in the place of a challenge.

use crate::{
    clock::Timestamp,
    id::{TaskId, WakeId},
};
use serde::{Deserialize, Serialize};

/// `GET` asks for a [`WakeChallenge`], `POST` brings a [`SignedWake`].
pub const WAKE_PATH: &str = "/v1/wake";
/// `POST` brings [`LocalRefusals`].
pub const REFUSALS_PATH: &str = "/v1/refusals";
/// `POST` brings the one-time code.
pub const ENROL_PATH: &str = "/v1/enrol";
/// `GET` asks for the interception certificates of the task's tools.
pub const TRUST_PATH: &str = "/v1/trust";
/// `POST` asks for a durable call; below it stands each by its id.
pub const CALLS_PATH: &str = "/v1/calls";
/// The host by which a program addresses its companion, over plain HTTP through the proxy that the companion is: for
/// [`CALLS_PATH`]. No host has a name under `invalid`.
pub const COMPANION_HOST: &str = "nightlatch.invalid";
/// The authority of a CONNECT stream that carries an HTTP/1.1 proxy connection with absolute-form requests.
/// RFC 6761 §6.4: no host has a name under `invalid`.
pub const PLAIN_HTTP_AUTHORITY: &str = "plain-http.invalid:80";

/// Whether a name lies under `invalid`, where no host has one (RFC 6761 §6.4): it is neither resolved nor reached. The
/// companion's own is among them, and where it did not come to the companion it must come to nobody.
#[must_use]
pub fn is_nobodys_host(host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host);
    host.rsplit('.').next().is_some_and(|last| last.eq_ignore_ascii_case("invalid"))
}

/// The keeper's challenge, as the gateway hands it to the companion of an admitted task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WakeChallenge {
    /// The task that is to wake.
    pub task: TaskId,
    /// The wake that the proof will begin.
    pub wake: WakeId,
    /// 64 hexadecimal characters, good for one proof.
    pub nonce: String,
    /// SHA-256 of the gateway's public key (SPKI, DER), hexadecimal.
    pub gateway_key_sha256: String,
    /// SHA-256 of [`SealingKey::public`](crate::sealed::SealingKey) as it is written, hexadecimal: the key
    /// that the leases of this wake are sealed to.
    pub replica_key_sha256: String,
    /// A minute after the keeper drew the nonce.
    pub expires_at: Timestamp,
}

impl WakeChallenge {
    /// The exact bytes that the enrolled key signs; none where a field has not its form.
    #[must_use]
    pub fn statement(&self) -> Option<Vec<u8>> {
        let named = is_sha256(&self.nonce) && is_sha256(&self.gateway_key_sha256);
        let statement =
            statement(self.task, self.wake, &self.nonce, &self.replica_key_sha256, self.expires_at);
        statement.filter(|_| named)
    }
}

/// What is signed for a wake; none where nonce or hash is not 64 hexadecimal characters in lower case. It
/// begins with words of its own, so that it is no signature of a TLS handshake (RFC 8446 §4.4.3).
#[must_use]
pub fn statement(
    task: TaskId,
    wake: WakeId,
    nonce: &str,
    replica_key_sha256: &str,
    expires_at: Timestamp,
) -> Option<Vec<u8>> {
    let expires_at = expires_at.millis();
    (is_sha256(nonce) && is_sha256(replica_key_sha256)).then(|| {
        format!("nightlatch wake v1\n{task}\n{wake}\n{nonce}\n{replica_key_sha256}\n{expires_at}")
            .into_bytes()
    })
}

/// The form of 32 bytes in hexadecimal.
fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// The companion's answer to a challenge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignedWake {
    /// The wake of the challenge.
    pub wake: WakeId,
    /// The signature over [`WakeChallenge::statement`], base64url: ECDSA P-256 with SHA-256 as an ASN.1
    /// `Ecdsa-Sig-Value` (RFC 3279 §2.2.3), or Ed25519 (RFC 8032).
    pub signature: String,
}

/// Why a companion refused somebody at its own listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LocalRefusal {
    /// No password of this run, or a wrong one.
    ProxyPassword,
    /// A connection of another local user, or of one that the kernel does not name.
    PeerUid,
}

impl LocalRefusal {
    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ProxyPassword => "proxy-password",
            Self::PeerUid => "peer-uid",
        }
    }
}

/// How often a companion refused for one reason since it last said so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LocalRefusals {
    /// Why.
    pub reason: LocalRefusal,
    /// How often.
    pub count: u32,
}

#[cfg(test)]
mod tests {
    use super::WakeChallenge;
    use crate::{
        clock::Timestamp,
        id::{TaskId, WakeId},
    };

    fn challenge() -> WakeChallenge {
        let at = Timestamp::from_millis(1_800_000_000_000);
        WakeChallenge {
            task: TaskId::new(at, [1; 10]),
            wake: WakeId::new(at, [2; 10]),
            nonce: "0a".repeat(32),
            gateway_key_sha256: "0b".repeat(32),
            replica_key_sha256: "0c".repeat(32),
            expires_at: at,
        }
    }

    #[test]
    fn what_is_signed_is_this_text() {
        let challenge = challenge();
        let (task, wake) = (challenge.task, challenge.wake);
        let nonce = "0a".repeat(32);
        let key = "0c".repeat(32);
        let expected = format!("nightlatch wake v1\n{task}\n{wake}\n{nonce}\n{key}\n1800000000000");
        assert_eq!(challenge.statement(), Some(expected.into_bytes()));
    }

    #[test]
    fn a_challenge_with_a_field_out_of_form_has_nothing_to_sign() {
        let long = "0a".repeat(33);
        let upper = "0A".repeat(32);
        let lines = format!("{}\n{}", "0".repeat(31), "0".repeat(32));
        for wrong in ["", "0a", &long, &upper, &lines] {
            let nonce = WakeChallenge { nonce: wrong.to_owned(), ..challenge() };
            let replica = WakeChallenge { replica_key_sha256: wrong.to_owned(), ..challenge() };
            let gateway = WakeChallenge { gateway_key_sha256: wrong.to_owned(), ..challenge() };
            for challenge in [nonce, replica, gateway] {
                assert_eq!(challenge.statement(), None, "{wrong:?}");
            }
        }
    }
}
