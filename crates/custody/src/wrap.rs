//! At rest: a fresh data key for every secret, itself wrapped under the keeper's key.
//!
//! Both layers are AES-256-GCM-SIV (RFC 8452), which does not fall apart should a nonce ever repeat (a
//! cloned machine repeats its generator). Both take the whole context as associated data: the
//! struct in JSON, fields in the order of their declaration, behind a label for each layer and kind of context. Two
//! different contexts give different bytes, because the bytes read back as the context that made them
//! (a property test holds it), and nothing in it is a map or a float.

use crate::{CustodyError, Secret};
use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use nightlatch_domain::{
    clock::{Entropy, random},
    sealed::{CallContext, SealContext, Wrapped},
};
use serde::Serialize;
use zeroize::Zeroizing;

/// The only format that exists.
const FORMAT: u8 = 1;
const KEY_LEN: usize = 32;

/// Which of the two ciphertexts: neither can stand for the other.
#[derive(Clone, Copy)]
enum Layer {
    DataKey,
    Content,
}

/// What something at rest is bound to.
pub(crate) trait Context: Serialize {
    /// What the associated data of data key and content begin with: no kind of context can stand for another.
    const LABELS: [&'static [u8]; 2];
}

impl Context for SealContext {
    const LABELS: [&'static [u8]; 2] = [b"nightlatch wrap v1 data key\0", b"nightlatch wrap v1 content\0"];
}

impl Context for CallContext {
    const LABELS: [&'static [u8]; 2] = [b"nightlatch call v1 data key\0", b"nightlatch call v1 content\0"];
}

/// Wraps under `key`.
pub(crate) fn wrap<C: Context>(
    key: &[u8; KEY_LEN],
    secret: &Secret,
    context: &C,
    entropy: &dyn Entropy,
) -> Result<Wrapped, CustodyError> {
    prepare(key, context, entropy)?.seal(secret)
}

/// A data key that is wrapped already, for a secret that is still to come: sealing it then needs neither the keeper's
/// key nor randomness. It seals once.
pub struct Prepared {
    data_key: String,
    content: LessSafeKey,
    nonce: [u8; NONCE_LEN],
    associated: Vec<u8>,
}

/// Draws and wraps under `key` all that sealing a secret for `context` takes.
pub(crate) fn prepare<C: Context>(
    key: &[u8; KEY_LEN],
    context: &C,
    entropy: &dyn Entropy,
) -> Result<Prepared, CustodyError> {
    let data_key = Zeroizing::new(random::<KEY_LEN>(entropy)?);
    let associated_key = associated(Layer::DataKey, context)?;
    Ok(Prepared {
        data_key: encrypt(&cipher(key)?, data_key.as_slice(), &associated_key, random(entropy)?)?,
        content: cipher(&data_key)?,
        nonce: random(entropy)?,
        associated: associated(Layer::Content, context)?,
    })
}

impl Prepared {
    /// Seals the secret to the context that this was prepared for.
    ///
    /// # Errors
    /// [`CustodyError::SealFailed`] for a secret beyond the cipher's bound of 64 GiB.
    pub fn seal(self, secret: &Secret) -> Result<Wrapped, CustodyError> {
        let ciphertext = encrypt(&self.content, secret.expose(), &self.associated, self.nonce)?;
        Ok(Wrapped { format: FORMAT, data_key: self.data_key, ciphertext })
    }
}

/// Opens what [`wrap`] made with the same key and context.
pub(crate) fn open<C: Context>(
    key: &[u8; KEY_LEN],
    wrapped: &Wrapped,
    context: &C,
) -> Result<Secret, CustodyError> {
    if wrapped.format != FORMAT {
        return Err(CustodyError::Refused);
    }
    let data_key = decrypt(key, &wrapped.data_key, &associated(Layer::DataKey, context)?)?;
    let data_key = data_key.expose().try_into().map_err(|_| CustodyError::Refused)?;
    decrypt(data_key, &wrapped.ciphertext, &associated(Layer::Content, context)?)
}

fn associated<C: Context>(layer: Layer, context: &C) -> Result<Vec<u8>, CustodyError> {
    let [data_key, content] = C::LABELS;
    let mut bytes = match layer {
        Layer::DataKey => data_key.to_vec(),
        Layer::Content => content.to_vec(),
    };
    serde_json::to_writer(&mut bytes, context).map_err(|_| CustodyError::SealFailed)?;
    Ok(bytes)
}

/// Nonce, ciphertext and tag, base64url.
fn encrypt(
    cipher: &LessSafeKey,
    plain: &[u8],
    aad: &[u8],
    nonce: [u8; NONCE_LEN],
) -> Result<String, CustodyError> {
    // Room for the tag from the start: a buffer that grows leaves plain bytes behind.
    let mut sealed = Zeroizing::new(Vec::with_capacity(plain.len() + AES_256_GCM_SIV.tag_len()));
    sealed.extend_from_slice(plain);
    cipher
        .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(aad), &mut *sealed)
        .map_err(|_| CustodyError::SealFailed)?;
    Ok(URL_SAFE_NO_PAD.encode([nonce.as_slice(), sealed.as_slice()].concat()))
}

fn decrypt(key: &[u8; KEY_LEN], text: &str, aad: &[u8]) -> Result<Secret, CustodyError> {
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| CustodyError::Refused)?;
    let (nonce, sealed) = bytes.split_first_chunk::<NONCE_LEN>().ok_or(CustodyError::Refused)?;
    let mut plain = Zeroizing::new(sealed.to_vec());
    let len = cipher(key)?
        .open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::from(aad), &mut plain)
        .map_err(|_| CustodyError::Refused)?
        .len();
    plain.truncate(len);
    Ok(Secret::new(std::mem::take(&mut *plain)))
}

fn cipher(key: &[u8; KEY_LEN]) -> Result<LessSafeKey, CustodyError> {
    UnboundKey::new(&AES_256_GCM_SIV, key).map(LessSafeKey::new).map_err(|_| CustodyError::SealFailed)
}

#[cfg(test)]
mod tests;
