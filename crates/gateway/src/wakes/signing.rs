//! Wakes that the agent's own key signs: the challenge goes out, the signature comes back, the keeper verifies.
//!
//! The gateway only carries both. What it hands out is the keeper's nonce and the hash of the key that the
//! wake's leases will be sealed to, so that whoever signs knows what for; the wake that comes of it is the
//! newest of its key and serves every further call, while what runs in an earlier one goes on in that.

use super::{Awake, Offered, WakeKey, Wakes};
use crate::tls::sha256_hex;
use nightlatch_domain::{
    clock::Timestamp,
    exchange::Caller,
    id::WakeId,
    ports::gateway_keeper::{Evidence, KeeperRefusal},
    problem::Problem,
    task::Assurance,
};
use std::{
    sync::{Arc, PoisonError},
    time::Duration,
};

/// Wakes of one key at a time: the one that serves, and the one before it, in which calls may still run.
const WAKES_EACH_MAX: usize = 2;

/// Challenges that a key may ask for at once: its side starts anew, or was cut off, or was put to sleep.
pub(super) const TURNS_AT_ONCE: u32 = 6;
/// And how often one more: each signed wake is a row at the keeper, and serves for an hour.
pub(super) const TURN_EVERY: Duration = Duration::from_secs(10);

/// What is to be signed, as far as the gateway knows it.
pub(crate) struct ToSign {
    pub(crate) wake: WakeId,
    pub(crate) nonce: String,
    pub(crate) replica_key_sha256: String,
    pub(crate) expires_at: Timestamp,
}

impl Wakes {
    /// A key's turn to ask for a challenge.
    ///
    /// # Errors
    /// As [`Turns`](crate::turns::Turns) says.
    pub(crate) fn take_turn(&self, caller: &Caller) -> Result<(), Problem> {
        self.turns.take_turn(WakeKey::of(caller), self.clock.boot())
    }

    /// A challenge for an admitted caller. An earlier one of the same key is good no more.
    ///
    /// # Errors
    /// The keeper's refusal.
    pub(crate) async fn to_sign(&self, caller: &Caller, applied: u64) -> Result<ToSign, KeeperRefusal> {
        let offered = self.offer(caller, applied).await?;
        let challenge = &offered.challenge;
        let to_sign = ToSign {
            wake: challenge.wake,
            nonce: challenge.nonce.clone(),
            replica_key_sha256: sha256_hex(offered.replica.sealing_key().public.as_bytes()),
            expires_at: challenge.expires_at,
        };
        let now = self.clock.now();
        let mut signing = self.signing.lock().unwrap_or_else(PoisonError::into_inner);
        signing.retain(|_, offered| now < offered.challenge.expires_at);
        signing.insert(WakeKey::of(caller), offered);
        Ok(to_sign)
    }

    /// Begins the wake that was signed for.
    ///
    /// # Errors
    /// [`KeeperRefusal::ProofRejected`] where no such challenge is out; the keeper's refusal.
    pub(crate) async fn begin_signed(
        self: &Arc<Self>,
        caller: &Caller,
        wake: WakeId,
        evidence: Evidence,
    ) -> Result<(), KeeperRefusal> {
        let key = WakeKey::of(caller);
        let offered = self.take_offered(&key, wake).ok_or(KeeperRefusal::ProofRejected)?;
        let awake = self.begin_with(caller.clone(), offered, evidence).await?;
        self.begin(key.clone(), awake);
        for earlier in self.beyond(&key) {
            self.end(&earlier);
        }
        Ok(())
    }

    /// How sure the keeper is of the wake in which this caller acts; as of none where there is none yet.
    pub(crate) fn assurance(&self, caller: &Caller) -> Assurance {
        self.current(&WakeKey::of(caller)).map_or(Assurance::Stated, |awake| awake.assurance())
    }

    /// A challenge is good once.
    fn take_offered(&self, key: &WakeKey, wake: WakeId) -> Option<Offered> {
        let mut signing = self.signing.lock().unwrap_or_else(PoisonError::into_inner);
        let is_meant = signing.get(key).is_some_and(|offered| offered.challenge.wake == wake);
        signing.remove(key).filter(|_| is_meant)
    }

    /// The wakes of a key that are more than anybody needs, the oldest ones.
    fn beyond(&self, key: &WakeKey) -> Vec<Arc<Awake>> {
        let live = self.live();
        let of_key = live.get(key).map(Vec::as_slice).unwrap_or_default();
        let extra = of_key.len().saturating_sub(WAKES_EACH_MAX);
        of_key.iter().take(extra).cloned().collect()
    }
}
