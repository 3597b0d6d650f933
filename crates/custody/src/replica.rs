//! The gateway's ephemeral key of one wake.
//!
//! Made when a wake begins, held in memory only, wiped when it is dropped: with it go all leases of the
//! wake, wherever copies of them may lie. Only the gateway's `attach` opens leases with it.
//!
//! **Twice sealed.** A lease comes sealed by HPKE, whose opening is two curve operations: far more than a call
//! may cost. So the first call under a lease opens it so, once, and the secret is wrapped at once again under a
//! cipher of this very wake, which opens in a fraction of a microsecond. Between calls the secret is as it was
//! before: nowhere in clear, and openable by what lies in this value alone. Whoever reads the memory of a wake
//! that goes on gets no more than before (the private key opened every lease); whoever reads it afterwards gets
//! nothing, since both keys are wiped together.

use crate::{
    CustodyError, Secret,
    hpke::{Purpose, Recipient},
    lease,
};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use nightlatch_domain::{
    clock::{Entropy, random},
    ports::gateway_keeper::{Lease, LeaseBody},
    sealed::SealingKey,
};
use std::sync::atomic::{AtomicU64, Ordering};
use zeroize::Zeroizing;

/// A key pair for one wake, and its cipher. Has no `Debug`, no `Clone` and no way onto a disk.
pub struct ReplicaKey {
    recipient: Recipient,
    cipher: LessSafeKey,
    /// How often it was wrapped with: no two nonces of one key are alike.
    wrapped: AtomicU64,
}

/// A lease that was opened once: what it says, and its secret under the cipher of the wake that opened it.
pub struct Rewrapped {
    /// Where the credential may go and where it stands there, as the lease's seal said.
    pub body: LeaseBody,
    nonce: [u8; NONCE_LEN],
    /// What the secret is bound to: the lease's own associated data.
    bound_to: Vec<u8>,
    ciphertext: Vec<u8>,
}

impl ReplicaKey {
    /// A fresh key.
    ///
    /// # Errors
    /// [`CustodyError::NoEntropy`] when the system gave no random bytes.
    pub fn generate(entropy: &dyn Entropy) -> Result<Self, CustodyError> {
        let seed = Zeroizing::new(random::<32>(entropy)?);
        let cipher = Zeroizing::new(random::<32>(entropy)?);
        let cipher =
            UnboundKey::new(&AES_256_GCM, cipher.as_slice()).map_err(|_| CustodyError::SealFailed)?;
        let (recipient, cipher) = (Recipient::from_seed(&seed)?, LessSafeKey::new(cipher));
        Ok(Self { recipient, cipher, wrapped: AtomicU64::new(0) })
    }

    /// The public half, which the proof of the wake names.
    #[must_use]
    pub fn sealing_key(&self) -> &SealingKey {
        self.recipient.sealing_key()
    }

    /// What a lease holds: where the credential may go, and the credential.
    ///
    /// # Errors
    /// [`CustodyError::Refused`] where the lease is another key's, was altered, or came with another
    /// binding than the one that it was sealed with.
    pub fn open_lease(&self, lease: &Lease) -> Result<(LeaseBody, Secret), CustodyError> {
        let aad = lease::associated(&lease.binding).map_err(|_| CustodyError::Refused)?;
        lease::decode(&self.recipient.open(Purpose::Lease, &lease.sealed, &aad)?)
    }

    /// The keyed windows that came with a lease.
    ///
    /// # Errors
    /// As [`ReplicaKey::open_lease`].
    pub fn open_windows(&self, lease: &Lease) -> Result<Secret, CustodyError> {
        let aad = lease::associated(&lease.binding).map_err(|_| CustodyError::Refused)?;
        self.recipient.open(Purpose::Windows, &lease.windows, &aad)
    }

    /// Opens a lease and wraps its secret for the calls to come.
    ///
    /// # Errors
    /// As [`ReplicaKey::open_lease`].
    pub fn rewrap(&self, lease: &Lease) -> Result<Rewrapped, CustodyError> {
        let (body, secret) = self.open_lease(lease)?;
        let bound_to = lease::associated(&lease.binding)?;
        let nonce = self.next_nonce();
        // Room for the tag from the start: a buffer that grows leaves plain bytes behind.
        let mut ciphertext = Vec::with_capacity(secret.len() + AES_256_GCM.tag_len());
        ciphertext.extend_from_slice(secret.expose());
        self.cipher
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(&bound_to),
                &mut ciphertext,
            )
            .map_err(|_| CustodyError::SealFailed)?;
        Ok(Rewrapped { body, nonce, bound_to, ciphertext })
    }

    /// The secret of a lease that this key wrapped anew.
    ///
    /// # Errors
    /// [`CustodyError::Refused`] where another wake's key did.
    pub fn open(&self, rewrapped: &Rewrapped) -> Result<Secret, CustodyError> {
        let mut plain = Zeroizing::new(rewrapped.ciphertext.clone());
        let nonce = Nonce::assume_unique_for_key(rewrapped.nonce);
        let opened = self.cipher.open_in_place(nonce, Aad::from(&rewrapped.bound_to), &mut plain);
        let len = opened.map_err(|_| CustodyError::Refused)?.len();
        plain.truncate(len);
        Ok(Secret::new(std::mem::take(&mut *plain)))
    }

    /// Every lease of a wake is wrapped once, so the count never comes near its end.
    fn next_nonce(&self) -> [u8; NONCE_LEN] {
        let mut nonce = [0; NONCE_LEN];
        let count = self.wrapped.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        nonce.iter_mut().rev().zip(count.iter().rev()).for_each(|(into, from)| *into = *from);
        nonce
    }
}

#[cfg(test)]
mod tests {
    //! A lease that was opened once opens again with its own wake's key, and with no other.

    use super::ReplicaKey;
    use crate::{
        CustodyError, Secret,
        entropy::SystemEntropy,
        testing::{binding, body, keeper},
    };
    use nightlatch_domain::{
        clock::Timestamp,
        ports::gateway_keeper::{Lease, LeaseKind},
    };

    fn leased(replica: &ReplicaKey, secret: &str) -> Lease {
        let (_folder, keys) = keeper();
        let secret = Secret::from_string(secret.to_owned());
        let sealed = keys.seal_lease(replica.sealing_key(), &binding(), &body(), &secret).unwrap();
        Lease {
            windows: sealed.clone(),
            sealed,
            binding: binding(),
            kind: LeaseKind::Bearer,
            fresh_until: Timestamp::from_millis(9),
        }
    }

    fn replica() -> ReplicaKey {
        ReplicaKey::generate(&SystemEntropy::new()).unwrap()
    }

    #[test]
    fn what_was_wrapped_anew_opens_with_its_own_wakes_key_alone() {
        let (one, two) = (replica(), replica());
        let kept = one.rewrap(&leased(&one, "canary-of-the-lease")).unwrap();
        assert_eq!(kept.body, body());
        assert_eq!(one.open(&kept).unwrap().expose(), b"canary-of-the-lease");
        assert!(matches!(two.open(&kept), Err(CustodyError::Refused)));
        assert!(two.rewrap(&leased(&one, "canary-of-the-lease")).is_err());
    }

    #[test]
    fn between_calls_the_secret_is_nowhere_in_clear_and_no_two_wrappings_are_alike() {
        let one = replica();
        let [first, second] =
            ["canary-of-the-lease"; 2].map(|secret| one.rewrap(&leased(&one, secret)).unwrap());
        assert!(!first.ciphertext.windows(6).any(|window| window == b"canary"));
        assert!(first.nonce != second.nonce && first.ciphertext != second.ciphertext);
    }

    #[test]
    fn what_was_altered_or_bound_to_something_else_does_not_open() {
        let one = replica();
        let mut kept = one.rewrap(&leased(&one, "canary")).unwrap();
        kept.bound_to.push(b' ');
        assert!(matches!(one.open(&kept), Err(CustodyError::Refused)));
        kept.bound_to.pop();
        kept.ciphertext[0] ^= 1;
        assert!(matches!(one.open(&kept), Err(CustodyError::Refused)));
    }
}
