//! `/v1/wake`: an agent whose side can sign (a companion) proves the wake itself. `GET` hands out the
//! keeper's challenge, `POST` brings the signature; the key is the one that the handshake of this very
//! connection proved, and the keeper, not the gateway, verifies it against the enrolment.

use super::{done, read, told};
use crate::{answer::OutBody, gateway::Shared, peer::Peer};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::Response;
use hyper::body::Incoming;
use nightlatch_domain::{
    companion::{SignedWake, WakeChallenge},
    ports::gateway_keeper::Evidence,
    problem::{Problem, ProblemKind},
};
use tokio::sync::SemaphorePermit;

pub(super) async fn challenge(shared: &Shared, peer: &Peer) -> Result<Response<OutBody>, Problem> {
    let caller = shared.corridor.admitted(peer)?.caller;
    let _place = place(shared)?;
    shared.corridor.wakes.take_turn(&caller)?;
    let applied = shared.corridor.directory.tables().number();
    let to_sign = shared.corridor.wakes.to_sign(&caller, applied).await;
    let to_sign = to_sign.map_err(|refusal| Problem::new(refusal.problem()))?;
    let challenge = WakeChallenge {
        task: caller.task,
        wake: to_sign.wake,
        nonce: to_sign.nonce,
        gateway_key_sha256: shared.key_sha256.clone(),
        replica_key_sha256: to_sign.replica_key_sha256,
        expires_at: to_sign.expires_at,
    };
    // Ids, hashes and a time have no way to fail.
    Ok(told("application/json", serde_json::to_vec(&challenge).unwrap_or_default()))
}

pub(super) async fn signed(
    shared: &Shared,
    peer: &Peer,
    body: Incoming,
) -> Result<Response<OutBody>, Problem> {
    shared.corridor.admitted(peer)?;
    let SignedWake { wake, signature } = read(body).await?;
    let _place = place(shared)?;
    // After the wait for the body: whoever was enrolled then may not be any more.
    let caller = shared.corridor.admitted(peer)?.caller;
    // A local user has no key to sign with.
    let key = peer.public_key.as_ref().ok_or(ProblemKind::NotSupported)?;
    let evidence = Evidence::Signed { public_key_spki: URL_SAFE_NO_PAD.encode(key), signature };
    let begun = shared.corridor.wakes.begin_signed(&caller, wake, evidence).await;
    begun.map_err(|refusal| Problem::new(refusal.problem()))?;
    Ok(done())
}

/// The keeper is asked by so many at a time; whoever enrols has a place elsewhere.
fn place(shared: &Shared) -> Result<SemaphorePermit<'_>, Problem> {
    let place = shared.waking.try_acquire();
    place.map_err(|_| Problem::new(ProblemKind::TooManyCalls).retry_after(1))
}
