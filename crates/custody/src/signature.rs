//! Signatures of agents' enrolled keys: whether a text was signed by a key.
//!
//! Which of the two algorithms it is, the key itself says (RFC 5480 §2.1.1, RFC 8410 §3); a message cannot choose.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, ED25519, UnparsedPublicKey, VerificationAlgorithm};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

/// A P-256 key in SPKI has 91 bytes and a signature by it at most 72.
const BASE64_MAX_CHARS: usize = 256;

/// Whether `message` was signed by the key (SPKI, DER).
#[must_use]
pub fn is_signed(message: &[u8], key: &[u8], signature: &[u8]) -> bool {
    let algorithms: [&'static dyn VerificationAlgorithm; 2] = [&ECDSA_P256_SHA256_ASN1, &ED25519];
    algorithms
        .iter()
        .any(|algorithm| UnparsedPublicKey::new(*algorithm, key).verify(message, signature).is_ok())
}

/// A key or a signature from base64url; none for what is too long to be one, which is not even decoded.
#[must_use]
pub fn decoded(text: &str) -> Option<Vec<u8>> {
    let short = text.len() <= BASE64_MAX_CHARS;
    short.then(|| URL_SAFE_NO_PAD.decode(text).ok()).flatten()
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
