//! What custody can fail with.
//!
//! Opening has one error for every cause: which check failed would help only who probes.

use nightlatch_domain::clock::NoEntropy;
use std::{io, path::PathBuf};

/// Why a secret was not sealed or opened, or a key not loaded. Names paths, never contents.
#[derive(Debug, thiserror::Error)]
pub enum CustodyError {
    /// Altered, moved, for another recipient, under another key, or from a newer version.
    #[error("what is sealed could not be opened: it was altered, moved or sealed to another key")]
    Refused,
    /// The key to seal to is none.
    #[error("the key to seal to is not an X25519 public key")]
    BadRecipient,
    /// The key by which a plane is to be known is none, or another role's.
    #[error(
        "a plane's key is 43 characters of base64url, and one role's only: take it from `--make-keys` there"
    )]
    BadPeerKey,
    /// The library refused to seal or sign; nothing was written.
    #[error("sealing failed; nothing was stored")]
    SealFailed,
    /// No random bytes.
    #[error(transparent)]
    NoEntropy(#[from] NoEntropy),
    /// A key is gone while what it protects is still there.
    #[error(
        "`{path}` is missing, but this installation was set up before: put the file back from your backup \
         (without it nothing stored can be opened), or move the whole data folder away to begin anew"
    )]
    KeyMissing {
        /// The file that should be there.
        path: PathBuf,
    },
    /// A key that others can read is no key.
    #[error(
        "`{path}` can be read by others (mode {mode:03o}): run `chmod 600` on it, and reconnect if it may have been read"
    )]
    KeyExposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A key that another user put there.
    #[error("`{path}` belongs to another user (uid {uid}): a key must belong to the user that runs this")]
    KeyForeign {
        /// The file.
        path: PathBuf,
        /// Its owner.
        uid: u32,
    },
    /// Not a key file of ours, or of a newer version, or of another key.
    #[error("`{path}` is not a key file of this version: put back the right file from your backup")]
    KeyFormat {
        /// The file.
        path: PathBuf,
    },
    /// The file system said no.
    #[error("`{path}` could not be read or written: {source}")]
    KeyFile {
        /// The file.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
}
