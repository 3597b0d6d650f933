//! The key by which one plane is known to the others, in a file that its operator names.
//!
//! It signs cards and letters ([`crate::link`]) and opens nothing: what is sealed to a process is sealed to a key that
//! lives no longer than it. Its public half stands in the configuration of the other planes.

use super::{file::private_folder, gateway::seed};
use crate::CustodyError;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use nightlatch_domain::clock::Entropy;
use std::path::Path;

/// What a plane signs with.
pub struct LinkKey {
    pair: Ed25519KeyPair,
}

impl LinkKey {
    /// Loads the key in `path`, or makes it where that is allowed.
    ///
    /// # Errors
    /// [`CustodyError::KeyMissing`] where there is none and none may be made; the other key errors where the file is not
    /// one that may be trusted.
    pub fn load_or_create(
        path: &Path,
        fresh_allowed: bool,
        entropy: &dyn Entropy,
    ) -> Result<Self, CustodyError> {
        let bad = || CustodyError::KeyFormat { path: path.to_owned() };
        let name = path.file_name().and_then(|name| name.to_str()).ok_or_else(bad)?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if fresh_allowed {
            private_folder(folder)?;
        }
        let seed = seed(folder, name, "link", fresh_allowed, entropy)?;
        let pair = Ed25519KeyPair::from_seed_unchecked(seed.as_slice()).map_err(|_| bad())?;
        Ok(Self { pair })
    }

    /// The public half as a configuration has it, base64url.
    #[must_use]
    pub fn public(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.pair.public_key().as_ref())
    }

    pub(crate) fn sign(&self, text: &[u8]) -> String {
        URL_SAFE_NO_PAD.encode(self.pair.sign(text).as_ref())
    }
}
