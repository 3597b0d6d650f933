//! HPKE (RFC 9180), base mode, one suite: DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM.
//!
//! The suite is a constant: a message cannot choose a weaker one. Each purpose has its own `info`
//! string, so that what was sealed for one is not accepted for another under the same key. A key's id
//! is made from its public half, so it needs no table and cannot be given to another key.

use crate::{CustodyError, Secret};
use aws_lc_rs::{agreement, digest};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use nightlatch_domain::{
    clock::Timestamp,
    id::KeyId,
    sealed::{Sealed, SealingKey},
};
use rustls::crypto::{
    aws_lc_rs::hpke::DH_KEM_X25519_HKDF_SHA256_AES_256,
    hpke::{EncapsulatedSecret, Hpke, HpkePrivateKey, HpkePublicKey},
};
use zeroize::Zeroizing;

static SUITE: &dyn Hpke = DH_KEM_X25519_HKDF_SHA256_AES_256;
const PUBLIC_LEN: usize = 32;

/// What a message is for; RFC 9180 §5.1, `info`.
#[derive(Clone, Copy)]
pub(crate) enum Purpose {
    /// From whoever reads a secret first to the keeper.
    Intake,
    /// From the keeper to the gateway's key of one wake.
    Lease,
    /// Beside a lease: what must not come back.
    Windows,
    /// From one plane's process to another's.
    Letter,
}

impl Purpose {
    const fn info(self) -> &'static [u8] {
        match self {
            Self::Intake => b"nightlatch intake v1",
            Self::Lease => b"nightlatch lease v1",
            Self::Windows => b"nightlatch windows v1",
            Self::Letter => b"nightlatch letter v1",
        }
    }
}

/// A key pair that messages can be sealed to.
pub(crate) struct Recipient {
    private: HpkePrivateKey,
    public: SealingKey,
}

impl Recipient {
    /// The key pair of a seed. Any 32 bytes are an X25519 private key (RFC 7748 §5).
    pub(crate) fn from_seed(seed: &Zeroizing<[u8; 32]>) -> Result<Self, CustodyError> {
        let public = agreement::PrivateKey::from_private_key(&agreement::X25519, seed.as_slice())
            .ok()
            .and_then(|key| key.compute_public_key().ok())
            .ok_or(CustodyError::SealFailed)?;
        Ok(Self {
            private: HpkePrivateKey::from(seed.to_vec()),
            public: SealingKey {
                id: key_id(public.as_ref()),
                public: URL_SAFE_NO_PAD.encode(public.as_ref()),
            },
        })
    }

    /// The public half.
    pub(crate) fn sealing_key(&self) -> &SealingKey {
        &self.public
    }

    /// Opens what was sealed to this key for this purpose with this associated data.
    pub(crate) fn open(&self, purpose: Purpose, sealed: &Sealed, aad: &[u8]) -> Result<Secret, CustodyError> {
        if sealed.recipient != self.public.id {
            return Err(CustodyError::Refused);
        }
        let encapsulated = EncapsulatedSecret(decode(&sealed.encapsulated)?);
        let ciphertext = decode(&sealed.ciphertext)?;
        SUITE
            .open(&encapsulated, purpose.info(), aad, &ciphertext, &self.private)
            .map(Secret::new)
            .map_err(|_| CustodyError::Refused)
    }
}

/// Seals `plain` to a public key.
pub(crate) fn seal(
    to: &SealingKey,
    purpose: Purpose,
    aad: &[u8],
    plain: &[u8],
) -> Result<Sealed, CustodyError> {
    let public = URL_SAFE_NO_PAD.decode(&to.public).map_err(|_| CustodyError::BadRecipient)?;
    if public.len() != PUBLIC_LEN || key_id(&public) != to.id {
        return Err(CustodyError::BadRecipient);
    }
    let (encapsulated, ciphertext) = SUITE
        .seal(purpose.info(), aad, plain, &HpkePublicKey(public))
        .map_err(|_| CustodyError::SealFailed)?;
    Ok(Sealed {
        recipient: to.id,
        encapsulated: URL_SAFE_NO_PAD.encode(encapsulated.0),
        ciphertext: URL_SAFE_NO_PAD.encode(ciphertext),
    })
}

fn decode(text: &str) -> Result<Vec<u8>, CustodyError> {
    URL_SAFE_NO_PAD.decode(text).map_err(|_| CustodyError::Refused)
}

fn key_id(public: &[u8]) -> KeyId {
    let hash = digest::digest(&digest::SHA256, public);
    let mut noise = [0u8; 10];
    for (into, from) in noise.iter_mut().zip(hash.as_ref()) {
        *into = *from;
    }
    // No time in it: the id is a name for the public key and nothing else.
    KeyId::new(Timestamp::from_millis(0), noise)
}
