//! The keeper's keys, all from one file: `keys/keeper.key`.
//!
//! Whoever holds it opens every stored credential and can vouch for any row; nobody but the keeper
//! does. From its 32 bytes HKDF (RFC 5869) makes one key a use, each under a label of its own, so that
//! no use can be turned into another. The intake key is one of them, so that what was sealed to it
//! before a restart still opens after it.

use super::file::{KeyFile, private_folder};
use crate::{
    CustodyError, Secret,
    hpke::{Purpose, Recipient, seal},
    lease,
    wrap::{self, Prepared},
};
use aws_lc_rs::{hkdf, hmac};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use nightlatch_domain::{
    clock::{Entropy, random},
    ports::{
        control_keeper::Statement,
        gateway_keeper::{LeaseBinding, LeaseBody},
    },
    sealed::{Attestation, SealContext, Sealed, SealingKey, Wrapped},
};
use std::{path::Path, sync::Arc};
use zeroize::Zeroizing;

const KEY_LEN: usize = 32;
const SALT: &[u8] = b"nightlatch keeper v1";

/// What only the keeper can do.
pub struct KeeperKeys {
    wrapping: Zeroizing<[u8; KEY_LEN]>,
    attesting: hmac::Key,
    recognising: hmac::Key,
    intake: Recipient,
    entropy: Arc<dyn Entropy>,
}

impl KeeperKeys {
    /// Loads `keeper.key` from the folder `keys`, or makes it where that is allowed: only while nothing
    /// is stored that an earlier key protects.
    ///
    /// # Errors
    /// [`CustodyError::KeyMissing`] where there is none and none may be made; the other key errors
    /// where the file is not one that may be trusted.
    pub fn load_or_create(
        keys: &Path,
        fresh_allowed: bool,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, CustodyError> {
        private_folder(keys)?;
        let file = KeyFile::new(keys, "keeper.key", "keeper");
        let master = file
            .load_or_create(fresh_allowed, || Ok(Zeroizing::new(random::<KEY_LEN>(&*entropy)?.to_vec())))?;
        if master.len() != KEY_LEN {
            return Err(CustodyError::KeyFormat { path: keys.join("keeper.key") });
        }
        Self::derive(&master, entropy)
    }

    fn derive(master: &[u8], entropy: Arc<dyn Entropy>) -> Result<Self, CustodyError> {
        let root = hkdf::Salt::new(hkdf::HKDF_SHA256, SALT).extract(master);
        let mac = |label| Ok::<_, CustodyError>(hmac::Key::new(hmac::HMAC_SHA256, &*expand(&root, label)?));
        Ok(Self {
            wrapping: expand(&root, b"wrap")?,
            attesting: mac(b"attest")?,
            recognising: mac(b"recognise")?,
            intake: Recipient::from_seed(&expand(&root, b"intake")?)?,
            entropy,
        })
    }

    /// Wraps a secret for rest, bound to all of `context`.
    ///
    /// # Errors
    /// [`CustodyError::NoEntropy`] or [`CustodyError::SealFailed`]; nothing is half wrapped.
    pub fn wrap(&self, secret: &Secret, context: &SealContext) -> Result<Wrapped, CustodyError> {
        wrap::wrap(&self.wrapping, secret, context, &*self.entropy)
    }

    /// Makes everything ready to seal a secret that is still to come, so that sealing it cannot fail for want of a key or
    /// of randomness.
    ///
    /// # Errors
    /// As [`KeeperKeys::wrap`].
    pub fn prepare(&self, context: &SealContext) -> Result<Prepared, CustodyError> {
        wrap::prepare(&self.wrapping, context, &*self.entropy)
    }

    /// Opens what [`KeeperKeys::wrap`] made with the same context. Use what the context says only
    /// after this returned: before, it is a row that anyone may have written.
    ///
    /// # Errors
    /// [`CustodyError::Refused`], whatever the cause.
    pub fn open(&self, wrapped: &Wrapped, context: &SealContext) -> Result<Secret, CustodyError> {
        wrap::open(&self.wrapping, wrapped, context)
    }

    /// The keeper's word for a row, over all of it but its own attestation.
    ///
    /// # Errors
    /// [`CustodyError::SealFailed`] where the row cannot be written down.
    pub fn attest(&self, row: &Statement) -> Result<Attestation, CustodyError> {
        let tag = hmac::sign(&self.attesting, &statement_bytes(row)?);
        Ok(Attestation(URL_SAFE_NO_PAD.encode(tag)))
    }

    /// Whether a row bears the keeper's word and stands as it was handed over. Takes the same time
    /// wherever the two differ.
    #[must_use]
    pub fn verify(&self, row: &Statement) -> bool {
        let Ok(tag) = URL_SAFE_NO_PAD.decode(&row.attestation().0) else { return false };
        statement_bytes(row).is_ok_and(|bytes| hmac::verify(&self.attesting, &bytes, &tag).is_ok())
    }

    /// The key that secrets are sealed to on their way in.
    #[must_use]
    pub fn intake_key(&self) -> SealingKey {
        self.intake.sealing_key().clone()
    }

    /// Opens what [`seal::to`](crate::seal::to) sealed to the intake key with the same `aad`.
    ///
    /// # Errors
    /// [`CustodyError::Refused`], whatever the cause.
    pub fn open_intake(&self, sealed: &Sealed, aad: &[u8]) -> Result<Secret, CustodyError> {
        self.intake.open(Purpose::Intake, sealed, aad)
    }

    /// Seals a credential to the gateway's key of one wake, bound to `binding`.
    ///
    /// # Errors
    /// [`CustodyError::BadRecipient`] where `to` is no key.
    pub fn seal_lease(
        &self,
        to: &SealingKey,
        binding: &LeaseBinding,
        body: &LeaseBody,
        secret: &Secret,
    ) -> Result<Sealed, CustodyError> {
        let plain = lease::encode(body, secret)?;
        seal(to, Purpose::Lease, &lease::associated(binding)?, &plain)
    }

    /// Seals what must not come back with a lease's answers, to the same key and bound to the same `binding`.
    ///
    /// # Errors
    /// [`CustodyError::BadRecipient`] where `to` is no key.
    pub fn seal_windows(
        &self,
        to: &SealingKey,
        binding: &LeaseBinding,
        windows: &[u8],
    ) -> Result<Sealed, CustodyError> {
        seal(to, Purpose::Windows, &lease::associated(binding)?, windows)
    }

    /// A keyed hash by which the same secret is recognised when it is brought in twice; says nothing
    /// about it to anyone without the key.
    #[must_use]
    pub fn recognise(&self, secret: &Secret) -> String {
        URL_SAFE_NO_PAD.encode(hmac::sign(&self.recognising, secret.expose()))
    }
}

fn expand(root: &hkdf::Prk, label: &[u8]) -> Result<Zeroizing<[u8; KEY_LEN]>, CustodyError> {
    let mut key = Zeroizing::new([0u8; KEY_LEN]);
    root.expand(&[label], hkdf::HKDF_SHA256)
        .and_then(|okm| okm.fill(key.as_mut_slice()))
        .map_err(|_| CustodyError::SealFailed)?;
    Ok(key)
}

/// The row's kind stands in the JSON, so one kind's word is not accepted for another.
fn statement_bytes(row: &Statement) -> Result<Vec<u8>, CustodyError> {
    let mut bytes = b"nightlatch attestation v1\0".to_vec();
    serde_json::to_writer(&mut bytes, &row.clone().bare()).map_err(|_| CustodyError::SealFailed)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests;
