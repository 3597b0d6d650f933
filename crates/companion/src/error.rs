//! What the companion fails with. No code, password or key is part of any of it.

use std::{io, path::PathBuf};

/// Why the companion could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum CompanionError {
    /// The address of a gateway that cannot be read.
    #[error("`{address}` is no address of a gateway; write HOST:PORT, for example `127.0.0.1:8443`")]
    Address {
        /// What was given.
        address: String,
    },
    /// A hash that cannot be read.
    #[error(
        "`{key}` is no hash of a gateway's key; copy the one that `nightlatch agent enrol` prints (`sha256//…`)"
    )]
    GatewayKey {
        /// What was given.
        key: String,
    },
    /// The key file could not be read or written.
    #[error("the key file `{path}` failed: {source}")]
    KeyFile {
        /// Where it lies.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Others than its owner can read the key file, or it is another user's.
    #[error("the key file `{path}` is not this user's alone; `chmod 600` it, or let a new one be made")]
    KeyExposed {
        /// Where it lies.
        path: PathBuf,
    },
    /// The key file holds no key that can be used.
    #[error("the key file `{path}` holds no P-256 key in PEM (PKCS #8); let a new one be made")]
    KeyFormat {
        /// Where it lies.
        path: PathBuf,
    },
    /// The key or its certificate could not be made.
    #[error("no key could be made: {0}")]
    NoKey(String),
    /// The system gave no random bytes.
    #[error("{0}")]
    NoEntropy(#[from] nightlatch_domain::clock::NoEntropy),
    /// The gateway cannot be reached.
    #[error("the gateway at `{address}` cannot be reached ({reason}); see that `nightlatch up` runs there")]
    Unreachable {
        /// Where it should be.
        address: String,
        /// What went wrong, in the words of the system or of TLS.
        reason: String,
    },
    /// Whoever answers there has another key.
    #[error(
        "what answers at `{address}` does not have the gateway's key; copy the hash that `nightlatch agent enrol` prints, and trust nobody else"
    )]
    WrongKey {
        /// Where it was met.
        address: String,
    },
    /// The connection was lost meanwhile.
    #[error("the connection to the gateway was lost; try again")]
    Lost,
    /// The gateway's no.
    #[error("the gateway refused with {status}: {detail}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The last word of the problem's type, empty where there is none.
        kind: String,
        /// The gateway's sentence.
        detail: String,
    },
    /// An answer that is not what the gateway says.
    #[error("the gateway's answer cannot be read; see that gateway and companion are of the same version")]
    Answer,
    /// The listener failed.
    #[error("the listener failed: {0}")]
    Listener(io::Error),
}
