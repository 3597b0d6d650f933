//! The gateway's ephemeral key of one wake.
//!
//! Made when a wake begins, held in memory only, wiped when it is dropped: with it go all leases of the
//! wake, wherever copies of them may lie. Only the gateway's `attach` opens leases with it.

use crate::{
    CustodyError, Secret,
    hpke::{Purpose, Recipient},
    lease,
};
use nightlatch_domain::{
    clock::{Entropy, random},
    ports::gateway_keeper::{Lease, LeaseBody},
    sealed::SealingKey,
};
use zeroize::Zeroizing;

/// A key pair for one wake. Has no `Debug`, no `Clone` and no way onto a disk.
pub struct ReplicaKey(Recipient);

impl ReplicaKey {
    /// A fresh key.
    ///
    /// # Errors
    /// [`CustodyError::NoEntropy`] when the system gave no random bytes.
    pub fn generate(entropy: &dyn Entropy) -> Result<Self, CustodyError> {
        let seed = Zeroizing::new(random::<32>(entropy)?);
        Ok(Self(Recipient::from_seed(&seed)?))
    }

    /// The public half, which the proof of the wake names.
    #[must_use]
    pub fn sealing_key(&self) -> &SealingKey {
        self.0.sealing_key()
    }

    /// What a lease holds: where the credential may go, and the credential.
    ///
    /// # Errors
    /// [`CustodyError::Refused`] where the lease is another key's, was altered, or came with another
    /// binding than the one that it was sealed with.
    pub fn open_lease(&self, lease: &Lease) -> Result<(LeaseBody, Secret), CustodyError> {
        let aad = lease::associated(&lease.binding).map_err(|_| CustodyError::Refused)?;
        lease::decode(&self.0.open(Purpose::Lease, &lease.sealed, &aad)?)
    }
}
