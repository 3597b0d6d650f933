//! What a proof proves: which binding, and how surely.
//!
//! A signature is checked here, by the keeper, with the very key that was enrolled: the key travels with the
//! proof, and its hash is the binding that the enrolment is then looked up by. So a gateway can replay
//! nothing, cannot seal the leases to another key than the one that was signed, and cannot bring one task's
//! signature for another.

use super::{PROOF_WITHIN, hex};
use aws_lc_rs::digest::{SHA256, digest};
use nightlatch_custody::signature::{decoded, is_signed};
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

pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex(digest(&SHA256, bytes).as_ref())
}
