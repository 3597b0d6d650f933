//! Sealing only: for those who read a secret first and must not keep it.
//!
//! The command line seals what a human typed to the keeper's intake key before it reaches control;
//! control seals a code that came back in a browser. Neither can open anything with this module.

use crate::{
    CustodyError, Secret,
    hpke::{Purpose, seal},
};
use nightlatch_domain::sealed::{Sealed, SealingKey};

/// Seals a secret to the keeper's intake key. `aad` says what it is meant for
/// ([`intake_context`](nightlatch_domain::ports::control_keeper::intake_context)); it is not sent, and
/// whoever opens must bring the same.
///
/// # Errors
/// [`CustodyError::BadRecipient`] where the key is none or its id is another key's.
pub fn to(recipient: &SealingKey, aad: &[u8], secret: &Secret) -> Result<Sealed, CustodyError> {
    seal(recipient, Purpose::Intake, aad, secret.expose())
}
