//! What is inside a sealed lease: the body in JSON and the secret, side by side.
//!
//! The binding is the associated data, so a lease that is handed on with another binding does not open.
//! The secret stands beside the JSON and not in it: it needs no escaping and passes through no parser.

use crate::{CustodyError, Secret};
use nightlatch_domain::ports::gateway_keeper::{LeaseBinding, LeaseBody};
use zeroize::Zeroizing;

const PREFIX_LEN: usize = size_of::<u32>();

/// The associated data of a lease.
pub(crate) fn associated(binding: &LeaseBinding) -> Result<Vec<u8>, CustodyError> {
    serde_json::to_vec(binding).map_err(|_| CustodyError::SealFailed)
}

/// Length of the body (32 bits, big-endian), body, secret. Allocated once, so that nothing is left
/// behind by a growing buffer.
pub(crate) fn encode(body: &LeaseBody, secret: &Secret) -> Result<Zeroizing<Vec<u8>>, CustodyError> {
    let body = serde_json::to_vec(body).map_err(|_| CustodyError::SealFailed)?;
    let len = u32::try_from(body.len()).map_err(|_| CustodyError::SealFailed)?;
    let mut plain = Zeroizing::new(Vec::with_capacity(PREFIX_LEN + body.len() + secret.len()));
    plain.extend_from_slice(&len.to_be_bytes());
    plain.extend_from_slice(&body);
    plain.extend_from_slice(secret.expose());
    Ok(plain)
}

/// The reverse of [`encode`].
pub(crate) fn decode(plain: &Secret) -> Result<(LeaseBody, Secret), CustodyError> {
    let (prefix, rest) = plain.expose().split_first_chunk::<PREFIX_LEN>().ok_or(CustodyError::Refused)?;
    let len = usize::try_from(u32::from_be_bytes(*prefix)).map_err(|_| CustodyError::Refused)?;
    let (body, secret) = rest.split_at_checked(len).ok_or(CustodyError::Refused)?;
    let body = serde_json::from_slice(body).map_err(|_| CustodyError::Refused)?;
    Ok((body, Secret::new(secret.to_vec())))
}
