//! The gateway's keys, in `keys/gateway/`: its TLS identity, the ledger's signing key, the keyed hash, and the
//! interception authorities.
//!
//! None of them opens a credential. Their theft lets somebody pose as this gateway to agents that
//! pinned it, or as a tool to agents that trust its authority; sign heads of a forged ledger; or test guesses
//! against the hashes in a ledger.

use super::{
    file::{KEY_MAX_BYTES, KeyFile, private_folder, read_private, write_private},
    interception::Interception,
};
use crate::CustodyError;
use aws_lc_rs::{
    digest, hmac,
    signature::{Ed25519KeyPair, KeyPair as _},
};
use nightlatch_domain::clock::{Entropy, random};
use rcgen::{CertificateParams, DnType, KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData as _, date_time_ymd};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject as _};
use std::path::Path;
use zeroize::Zeroizing;

pub(super) const SEED_LEN: usize = 32;
/// Local callers reach the gateway by these; what they trust is the pinned key.
const NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// All keys of the gateway.
pub struct GatewayKeys {
    tls: TlsIdentity,
    record: RecordKeys,
    interception: Interception,
}

impl GatewayKeys {
    /// Loads the keys from `keys/gateway`, or makes what is missing where that is allowed.
    ///
    /// # Errors
    /// [`CustodyError::KeyMissing`] where one is missing and none may be made; the other key errors
    /// where a file is not one that may be trusted.
    pub fn load_or_create(
        keys: &Path,
        fresh_allowed: bool,
        entropy: &dyn Entropy,
    ) -> Result<Self, CustodyError> {
        let folder = keys.join("gateway");
        private_folder(&folder)?;
        Ok(Self {
            tls: TlsIdentity::load_or_create(&folder, fresh_allowed)?,
            record: RecordKeys::load_or_create(keys, fresh_allowed, entropy)?,
            interception: Interception::new(&folder)?,
        })
    }

    /// What the gateway shows to its callers.
    #[must_use]
    pub fn tls(&self) -> &TlsIdentity {
        &self.tls
    }

    /// The authorities that stand for tools towards agents.
    #[must_use]
    pub fn interception(&self) -> &Interception {
        &self.interception
    }

    /// What a ledger is written with.
    #[must_use]
    pub fn record(&self) -> &RecordKeys {
        &self.record
    }
}

/// What any plane writes its ledger with; they lie beside the gateway's.
pub struct RecordKeys {
    ledger_seed: Zeroizing<[u8; SEED_LEN]>,
    hash_key: Zeroizing<[u8; SEED_LEN]>,
}

impl RecordKeys {
    /// Loads the keys from `keys/gateway`, or makes what is missing where that is allowed.
    ///
    /// # Errors
    /// As [`GatewayKeys::load_or_create`].
    pub fn load_or_create(
        keys: &Path,
        fresh_allowed: bool,
        entropy: &dyn Entropy,
    ) -> Result<Self, CustodyError> {
        let folder = keys.join("gateway");
        private_folder(&folder)?;
        Ok(Self {
            ledger_seed: seed(&folder, "ledger.key", "ledger", fresh_allowed, entropy)?,
            hash_key: seed(&folder, "query-hash.key", "query-hash", fresh_allowed, entropy)?,
        })
    }

    /// The key that signs the ledger's heads.
    ///
    /// # Errors
    /// [`CustodyError::SealFailed`] where the library takes no such seed.
    pub fn ledger_signer(&self) -> Result<Ed25519KeyPair, CustodyError> {
        Ed25519KeyPair::from_seed_unchecked(self.ledger_seed.as_slice()).map_err(|_| CustodyError::SealFailed)
    }

    /// The public half of [`RecordKeys::ledger_signer`], 32 bytes: all that verifying needs.
    ///
    /// # Errors
    /// As [`RecordKeys::ledger_signer`].
    pub fn ledger_public_key(&self) -> Result<Vec<u8>, CustodyError> {
        Ok(self.ledger_signer()?.public_key().as_ref().to_vec())
    }

    /// The key of the hashes that stand in the ledger for heads, paths, queries and bodies.
    #[must_use]
    pub fn query_hash_key(&self) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, self.hash_key.as_slice())
    }
}

pub(super) fn seed(
    folder: &Path,
    name: &str,
    purpose: &'static str,
    fresh_allowed: bool,
    entropy: &dyn Entropy,
) -> Result<Zeroizing<[u8; SEED_LEN]>, CustodyError> {
    let bytes = KeyFile::new(folder, name, purpose)
        .load_or_create(fresh_allowed, || Ok(Zeroizing::new(random::<SEED_LEN>(entropy)?.to_vec())))?;
    let seed: &[u8; SEED_LEN] =
        bytes.as_slice().try_into().map_err(|_| CustodyError::KeyFormat { path: folder.join(name) })?;
    Ok(Zeroizing::new(*seed))
}

/// A self-signed certificate over an ECDSA P-256 key that outlives it: callers pin the key.
///
/// The certificate lies in `tls.pem` beside its key, so that it can be given to a client that wants a
/// file to trust; it holds no secret and is made anew from the key when it is gone.
pub struct TlsIdentity {
    chain: Vec<CertificateDer<'static>>,
    key: Zeroizing<Vec<u8>>,
    pem: String,
    spki_sha256: String,
}

impl TlsIdentity {
    fn load_or_create(folder: &Path, fresh_allowed: bool) -> Result<Self, CustodyError> {
        let pkcs8 = KeyFile::new(folder, "tls.key", "tls").load_or_create(fresh_allowed, fresh_key)?;
        let not_a_key = || CustodyError::KeyFormat { path: folder.join("tls.key") };
        let der = PrivatePkcs8KeyDer::from(pkcs8.as_slice());
        let key =
            KeyPair::from_pkcs8_der_and_sign_algo(&der, &PKCS_ECDSA_P256_SHA256).map_err(|_| not_a_key())?;
        let pem = certificate(folder, &key)?;
        let certificate = CertificateDer::from_pem_slice(pem.as_bytes())
            .map_err(|_| CustodyError::KeyFormat { path: folder.join("tls.pem") })?;
        let spki = digest::digest(&digest::SHA256, &key.subject_public_key_info());
        Ok(Self { chain: vec![certificate], key: pkcs8, pem, spki_sha256: hexadecimal(spki.as_ref()) })
    }

    /// The certificate chain: one certificate.
    #[must_use]
    pub fn chain(&self) -> Vec<CertificateDer<'static>> {
        self.chain.clone()
    }

    /// The private key, for the one TLS configuration that needs it.
    #[must_use]
    pub fn key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::from(PrivatePkcs8KeyDer::from(self.key.to_vec()))
    }

    /// The certificate as text.
    #[must_use]
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// What callers pin: SHA-256 of the public key (SPKI, DER), 64 hexadecimal characters.
    #[must_use]
    pub fn spki_sha256(&self) -> &str {
        &self.spki_sha256
    }
}

pub(super) fn fresh_key() -> Result<Zeroizing<Vec<u8>>, CustodyError> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(|_| CustodyError::SealFailed)?;
    Ok(Zeroizing::new(key.serialize_der()))
}

fn certificate(folder: &Path, key: &KeyPair) -> Result<String, CustodyError> {
    let path = folder.join("tls.pem");
    if read_private(&path, KEY_MAX_BYTES)?.is_none() {
        write_private(&path, self_signed(key).ok_or(CustodyError::SealFailed)?.as_bytes())?;
    }
    let pem =
        read_private(&path, KEY_MAX_BYTES)?.ok_or_else(|| CustodyError::KeyMissing { path: path.clone() })?;
    Ok(pem.to_string())
}

fn self_signed(key: &KeyPair) -> Option<String> {
    let mut params = CertificateParams::new(NAMES.map(str::to_owned)).ok()?;
    params.distinguished_name.push(DnType::CommonName, "nightlatch gateway");
    // The key is pinned; an end date would only break what works.
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2199, 12, 31);
    params.self_signed(key).ok().map(|certificate| certificate.pem())
}

pub(super) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
