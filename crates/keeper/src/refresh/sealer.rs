//! Data keys that are drawn and wrapped before anything is sent.
//!
//! An answer exists once. When it has come, nothing that may fail stands between it and the disk: neither the key that
//! wraps nor the system's randomness is asked for any more.

use crate::{core::Core, error::KeeperError};
use nightlatch_custody::{Prepared, Secret};
use nightlatch_domain::sealed::{SealContext, SecretKind, Wrapped};

/// Seals one secret to one context.
pub(crate) struct Sealer {
    prepared: Prepared,
    context: SealContext,
}

impl Sealer {
    /// Makes everything ready.
    ///
    /// # Errors
    /// [`KeeperError::Custody`]: then nothing may be sent.
    pub(crate) fn to(core: &Core, context: SealContext) -> Result<Self, KeeperError> {
        Ok(Self { prepared: core.parts.keys.prepare(&context)?, context })
    }

    /// The sealed secret, as it is kept.
    ///
    /// # Errors
    /// [`KeeperError::Custody`] for a secret that no cipher takes.
    pub(crate) fn seal(self, secret: &Secret) -> Result<(Wrapped, SealContext), KeeperError> {
        Ok((self.prepared.seal(secret)?, self.context))
    }
}

/// For the tokens of a generation that is still to come.
pub(crate) struct NextSealers {
    pub(crate) refresh: Sealer,
    pub(crate) access: Sealer,
}

impl NextSealers {
    /// For generation `number` of what `context` is bound to.
    ///
    /// # Errors
    /// As [`Sealer::to`].
    pub(crate) fn of(core: &Core, context: &SealContext, number: u64) -> Result<Self, KeeperError> {
        let to = |kind| Sealer::to(core, SealContext { kind, generation: number, ..context.clone() });
        Ok(Self { refresh: to(SecretKind::Refresh)?, access: to(SecretKind::Access)? })
    }
}
