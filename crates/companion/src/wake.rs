//! The signed wake: the companion's half.
//!
//! The gateway brings the keeper's challenge; the companion signs it with the enrolled key, so that the keeper
//! need not believe the gateway who woke. What is signed is made from the challenge by [`WakeChallenge`] alone.
//! Before that the companion looks whether the challenge is its own: for this gateway's key, which the
//! connection proved, and for the task that this key belongs to.

use crate::{
    error::CompanionError,
    line::{Line, Sender},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::Method;
use nightlatch_domain::companion::{SignedWake, WAKE_PATH, WakeChallenge};

/// Fetches a challenge, signs it, and brings the signature.
///
/// # Errors
/// Where the gateway refuses or asks for a signature that is none of ours to give.
pub(crate) async fn prove(line: &Line, sender: Sender) -> Result<(), CompanionError> {
    let asked = line.ask_over(sender.clone(), Method::GET, WAKE_PATH, Vec::new()).await?.success()?;
    let challenge = serde_json::from_slice(&asked).map_err(|_| CompanionError::Answer)?;
    let signed = sign(line, &challenge)?;
    let body = serde_json::to_vec(&signed).map_err(|_| CompanionError::Answer)?;
    line.ask_over(sender, Method::POST, WAKE_PATH, body).await?.success().map(|_| ())
}

fn sign(line: &Line, challenge: &WakeChallenge) -> Result<SignedWake, CompanionError> {
    let statement = challenge.statement().ok_or(CompanionError::Answer)?;
    if challenge.gateway_key_sha256 != line.key().hex() || !line.is_own_task(challenge.task) {
        return Err(CompanionError::Answer);
    }
    let signature = URL_SAFE_NO_PAD.encode(line.identity().sign(&statement)?);
    Ok(SignedWake { wake: challenge.wake, signature })
}
