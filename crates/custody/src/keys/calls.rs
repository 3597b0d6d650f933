//! The gateway's key for durable calls at rest, in `keys/gateway/calls.key`.
//!
//! Under it lies what agents asked for and were answered, bodies included: nothing that opens a credential, and the
//! keeper's key is never asked. It is made when the first database without a durable call is opened, so that an
//! installation that is older than it gets one; beside calls that another key sealed a missing one refuses.

use super::{
    file::private_folder,
    gateway::{SEED_LEN, seed},
};
use crate::{CustodyError, Secret, wrap};
use nightlatch_domain::{
    clock::Entropy,
    sealed::{CallContext, Wrapped},
};
use std::{path::Path, sync::Arc};
use zeroize::Zeroizing;

/// What seals and opens the parts of durable calls.
pub struct CallKey {
    key: Zeroizing<[u8; SEED_LEN]>,
    entropy: Arc<dyn Entropy>,
}

impl CallKey {
    /// Loads the key from below the folder `keys`, or makes it where that is allowed: only while no call is stored.
    ///
    /// # Errors
    /// [`CustodyError::KeyMissing`] where there is none and none may be made; the other key errors where the file is
    /// not one that may be trusted.
    pub fn load_or_create(
        keys: &Path,
        fresh_allowed: bool,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, CustodyError> {
        let folder = keys.join("gateway");
        private_folder(&folder)?;
        Ok(Self { key: seed(&folder, "calls.key", "calls", fresh_allowed, &*entropy)?, entropy })
    }

    /// Seals a part of a call, bound to all of `context`.
    ///
    /// # Errors
    /// [`CustodyError::NoEntropy`] or [`CustodyError::SealFailed`].
    pub fn seal(&self, part: &Secret, context: &CallContext) -> Result<Wrapped, CustodyError> {
        wrap::wrap(&self.key, part, context, &*self.entropy)
    }

    /// Opens what [`CallKey::seal`] made with the same context.
    ///
    /// # Errors
    /// [`CustodyError::Refused`], whatever the cause.
    pub fn open(&self, wrapped: &Wrapped, context: &CallContext) -> Result<Secret, CustodyError> {
        wrap::open(&self.key, wrapped, context)
    }
}

#[cfg(test)]
mod tests {
    //! A part of a call opens with its key, its call, its request and as itself, and in no other way.

    use super::CallKey;
    use crate::{CustodyError, Secret, entropy::SystemEntropy, testing::id};
    use nightlatch_domain::{
        call::CallPlace,
        clock::Timestamp,
        id::{CallId, TaskId, TenantId},
        sealed::{CallContext, CallPart},
    };
    use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, sync::Arc};
    use tempfile::TempDir;

    fn load(keys: &Path, fresh_allowed: bool) -> Result<CallKey, CustodyError> {
        CallKey::load_or_create(keys, fresh_allowed, Arc::new(SystemEntropy::new()))
    }

    fn place() -> CallPlace {
        CallPlace { tenant: id!(TenantId, 1), task: id!(TaskId, 1), call: id!(CallId, 1) }
    }

    fn context() -> CallContext {
        CallContext { place: place(), request_sha256: "0a".repeat(32), part: CallPart::Request }
    }

    #[test]
    fn a_part_opens_after_a_restart_and_under_no_other_context_or_key() {
        let (folder, other) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        let key = load(folder.path(), true).unwrap();
        let sealed = key.seal(&Secret::from_string("asked".into()), &context()).unwrap();
        let again = load(folder.path(), false).unwrap();
        assert_eq!(again.open(&sealed, &context()).unwrap().expose(), b"asked");
        let edits = [
            CallContext { place: CallPlace { tenant: id!(TenantId, 2), ..place() }, ..context() },
            CallContext { place: CallPlace { task: id!(TaskId, 2), ..place() }, ..context() },
            CallContext { place: CallPlace { call: id!(CallId, 2), ..place() }, ..context() },
            CallContext { request_sha256: "0b".repeat(32), ..context() },
            CallContext { part: CallPart::Mandate, ..context() },
            CallContext { part: CallPart::Result, ..context() },
        ];
        for edited in edits {
            assert!(matches!(key.open(&sealed, &edited), Err(CustodyError::Refused)), "{edited:?}");
        }
        let stranger = load(other.path(), true).unwrap();
        assert!(matches!(stranger.open(&sealed, &context()), Err(CustodyError::Refused)));
    }

    #[test]
    fn the_file_is_for_its_owner_and_a_missing_one_refuses_where_none_may_be_made() {
        let folder = TempDir::new().unwrap();
        assert!(matches!(load(folder.path(), false), Err(CustodyError::KeyMissing { .. })));
        load(folder.path(), true).unwrap();
        let mode = fs::metadata(folder.path().join("gateway/calls.key")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
