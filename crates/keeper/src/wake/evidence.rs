//! What a proof proves: which binding, and how surely.
//!
//! A signature is checked here, by the keeper, with the very key that was enrolled: the key travels with the
//! proof, and its hash is the binding that the enrolment is then looked up by. So a gateway can replay
//! nothing, cannot seal the leases to another key than the one that was signed, and cannot bring one task's
//! signature for another. Which of the two algorithms it is, the key itself says (RFC 5480 §2.1.1,
//! RFC 8410 §3); the proof cannot choose.

use super::{PROOF_WITHIN, hex};
use aws_lc_rs::{
    digest::{SHA256, digest},
    signature::{ECDSA_P256_SHA256_ASN1, ED25519, UnparsedPublicKey, VerificationAlgorithm},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use nightlatch_domain::{
    clock::Timestamp,
    companion,
    ports::gateway_keeper::{Evidence, WakeProof},
    principal::Binding,
    task::Assurance,
};
use std::time::Duration;

/// Clocks of one machine agree; this is for rounding.
const AHEAD_MAX: Duration = Duration::from_secs(5);
/// A P-256 key in SPKI has 91 bytes and a signature by it at most 72.
const BASE64_MAX_CHARS: usize = 256;

/// The binding that the evidence proves, if it does. `expires_at` is what the challenge said of its end.
pub(super) fn proved(
    proof: &WakeProof,
    expires_at: Timestamp,
    now: Timestamp,
) -> Option<(Binding, Assurance)> {
    match &proof.evidence {
        Evidence::Stated { binding, verified_at } => {
            is_fresh(*verified_at, now).then(|| (binding.clone(), Assurance::Stated))
        }
        Evidence::Signed { public_key_spki, signature } => {
            let (key, signature) = (decoded(public_key_spki)?, decoded(signature)?);
            is_signed(&statement(proof, expires_at)?, &key, &signature)
                .then(|| (Binding::Key { spki_sha256: sha256(&key) }, Assurance::Signed))
        }
    }
}

fn is_fresh(verified_at: Timestamp, now: Timestamp) -> bool {
    verified_at <= now.plus(AHEAD_MAX) && verified_at >= now.minus(PROOF_WITHIN)
}

/// What must have been signed: made from what the keeper acts on, never from what was brought beside it.
fn statement(proof: &WakeProof, expires_at: Timestamp) -> Option<Vec<u8>> {
    let replica_key_sha256 = sha256(proof.replica_key.public.as_bytes());
    companion::statement(proof.task, proof.wake, &proof.nonce, &replica_key_sha256, expires_at)
}

fn is_signed(message: &[u8], key: &[u8], signature: &[u8]) -> bool {
    let algorithms: [&'static dyn VerificationAlgorithm; 2] = [&ECDSA_P256_SHA256_ASN1, &ED25519];
    algorithms
        .iter()
        .any(|algorithm| UnparsedPublicKey::new(*algorithm, key).verify(message, signature).is_ok())
}

fn decoded(text: &str) -> Option<Vec<u8>> {
    let short = text.len() <= BASE64_MAX_CHARS;
    short.then(|| URL_SAFE_NO_PAD.decode(text).ok()).flatten()
}

fn sha256(bytes: &[u8]) -> String {
    hex(digest(&SHA256, bytes).as_ref())
}

#[cfg(test)]
mod tests {
    //! A text that is too long to be a key or a signature is not even decoded.

    use super::{BASE64_MAX_CHARS, decoded};

    #[test]
    fn what_is_too_long_is_not_decoded() {
        assert!(decoded(&"A".repeat(BASE64_MAX_CHARS)).is_some());
        assert!(decoded(&"A".repeat(BASE64_MAX_CHARS + 4)).is_none());
    }
}
