//! The ledger's keys: keyed hashes of what must not stand in it, and the signature of its head.
//!
//! A plain hash of a short query could be guessed; under a key it only tells its holder whether two
//! calls were alike, or whether a given request was the one. Each use has a label of its own. A body can be long, and is
//! hashed as it streams by: with keyed BLAKE3, which reads it several times as fast as HMAC-SHA-256 does.

use crate::{LedgerError, chain::Link};
use aws_lc_rs::{
    hmac,
    signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use nightlatch_domain::{clock::Timestamp, exchange::Exchange, ports::store::LedgerHead};
use serde::{Deserialize, Serialize};
use std::{io, sync::Arc};

/// A keyed hash, base64url. Made only by [`LedgerKeys`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Digest(String);

/// What a hash is of.
#[derive(Clone, Copy)]
pub(crate) enum Of {
    Head,
    Path,
    Query,
    Resource,
}

impl Of {
    const fn label(self) -> &'static [u8] {
        match self {
            Self::Head => b"nightlatch ledger v1 head\0",
            Self::Path => b"nightlatch ledger v1 path\0",
            Self::Query => b"nightlatch ledger v1 query\0",
            Self::Resource => b"nightlatch ledger v1 resource\0",
        }
    }
}

/// What the key for bodies is derived with. It is no label of a hash that ever stood in a record.
const BODY_KEY: &[u8] = b"nightlatch ledger v1 body key\0";

/// The keys of a ledger's writer.
pub struct LedgerKeys {
    signer: Ed25519KeyPair,
    hash: hmac::Key,
    /// Of `hash`, for bodies.
    body: [u8; 32],
}

impl LedgerKeys {
    /// The key that signs heads, and the key of the hashes.
    #[must_use]
    pub fn new(signer: Ed25519KeyPair, hash: hmac::Key) -> Self {
        let derived = hmac::sign(&hash, BODY_KEY);
        let mut body = [0; 32];
        body.iter_mut().zip(derived.as_ref()).for_each(|(into, from)| *into = *from);
        Self { signer, hash, body }
    }

    /// The public half of the signing key, 32 bytes.
    #[must_use]
    pub fn public_key(&self) -> &[u8] {
        self.signer.public_key().as_ref()
    }

    /// A hash of a body as it streams by.
    #[must_use]
    pub fn body_digest(self: &Arc<Self>) -> BodyDigest {
        BodyDigest { keys: Arc::clone(self), begun: None }
    }

    pub(crate) fn digest(&self, of: Of, bytes: &[u8]) -> Digest {
        let mut context = self.context(of);
        context.update(bytes);
        finish(context.sign().as_ref())
    }

    /// The hash of the canonical head: host, target and what the catalogue made of it, as policy saw
    /// them. No header is part of an exchange, so no credential is.
    pub(crate) fn head(&self, exchange: &Exchange) -> Result<Digest, LedgerError> {
        let seen = (&exchange.host, &exchange.target, &exchange.matched, &exchange.also);
        let bytes =
            serde_json::to_vec(&seen).map_err(|_| LedgerError::NotWritten(io::ErrorKind::InvalidData))?;
        Ok(self.digest(Of::Head, &bytes))
    }

    /// Signs a link of the chain as its head.
    pub(crate) fn sign(&self, link: &Link, at: Timestamp) -> LedgerHead {
        let signature = self.signer.sign(&signed_bytes(link.seq, &link.hash, at));
        LedgerHead {
            seq: link.seq,
            hash: link.hash.clone(),
            signature: URL_SAFE_NO_PAD.encode(signature),
            at,
        }
    }

    fn context(&self, of: Of) -> hmac::Context {
        let mut context = hmac::Context::with_key(&self.hash);
        context.update(of.label());
        context
    }
}

/// A keyed hash of a body that is still on its way. Most bodies are empty: it begins with the first byte.
pub struct BodyDigest {
    keys: Arc<LedgerKeys>,
    begun: Option<Box<blake3::Hasher>>,
}

impl BodyDigest {
    /// Takes in the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.begun.get_or_insert_with(|| Box::new(blake3::Hasher::new_keyed(&self.keys.body))).update(bytes);
    }

    /// The hash of all that came by.
    #[must_use]
    pub fn finish(self) -> Digest {
        let hash = match self.begun {
            Some(begun) => begun.finalize(),
            None => blake3::keyed_hash(&self.keys.body, &[]),
        };
        finish(hash.as_bytes())
    }
}

fn finish(hash: &[u8]) -> Digest {
    Digest(URL_SAFE_NO_PAD.encode(hash))
}

/// Whether `public_key` signed this head.
pub(crate) fn is_signed(public_key: &[u8], head: &LedgerHead) -> bool {
    let Ok(signature) = URL_SAFE_NO_PAD.decode(&head.signature) else { return false };
    let bytes = signed_bytes(head.seq, &head.hash, head.at);
    UnparsedPublicKey::new(&ED25519, public_key).verify(&bytes, &signature).is_ok()
}

fn signed_bytes(seq: u64, hash: &str, at: Timestamp) -> Vec<u8> {
    format!("nightlatch ledger head v1\n{seq}\n{hash}\n{}", at.millis()).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::{BodyDigest, Digest, LedgerKeys};
    use crate::testing::keys;
    use aws_lc_rs::{hmac, signature::Ed25519KeyPair};
    use std::sync::Arc;

    fn hash(digest: BodyDigest, pieces: &[&[u8]]) -> Digest {
        let update = |mut digest: BodyDigest, piece: &&[u8]| {
            digest.update(piece);
            digest
        };
        pieces.iter().fold(digest, update).finish()
    }

    fn long() -> Vec<u8> {
        (0..100_000u32).map(|at| u8::try_from(at % 251).unwrap()).collect()
    }

    #[test]
    fn a_body_hashes_the_same_however_it_is_cut() {
        let (keys, long) = (Arc::new(keys()), long());
        let whole = hash(keys.body_digest(), &[&long]);
        for size in [1, 777, 65_536] {
            assert_eq!(hash(keys.body_digest(), &long.chunks(size).collect::<Vec<_>>()), whole, "{size}");
        }
    }

    #[test]
    fn a_body_hashes_otherwise_under_another_key_and_by_another_byte() {
        let signer = Ed25519KeyPair::from_seed_unchecked(&[3; 32]).unwrap();
        let others = Arc::new(LedgerKeys::new(signer, hmac::Key::new(hmac::HMAC_SHA256, &[5; 32])));
        let (keys, long) = (Arc::new(keys()), long());
        let mut changed = long.clone();
        changed[70_000] ^= 1;
        let whole = hash(keys.body_digest(), &[&long]);
        let unlike = [
            hash(keys.body_digest(), &[&changed]),
            hash(others.body_digest(), &[&long]),
            hash(keys.body_digest(), &[]),
        ];
        assert!(unlike.iter().all(|other| *other != whole));
        assert_ne!(hash(keys.body_digest(), &[]), hash(others.body_digest(), &[]));
    }
}
