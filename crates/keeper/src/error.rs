//! What the keeper can fail with at its start and inside. What crosses its ports are the ports' own
//! closed refusals; nothing here quotes a provider or holds a secret.

use nightlatch_custody::CustodyError;
use nightlatch_domain::{clock::NoEntropy, id::ChainId, ports::store::StoreError};
use std::{io, path::PathBuf};

/// Why the keeper does not start, or could not do something.
#[derive(Debug, thiserror::Error)]
pub enum KeeperError {
    /// Another process is the keeper of this installation.
    #[error(
        "another keeper holds `{path}`: Nightlatch already runs for this installation; end it with `nightlatch stop`"
    )]
    AnchorHeld {
        /// The lock.
        path: PathBuf,
    },
    /// A file of the keeper's could not be read or written.
    #[error("`{path}`: {source}; make room or correct the permissions, then try again")]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A record in the middle of the anchor log cannot be read.
    #[error(
        "`{path}` is damaged at line {line}: move it away, and every rotating connection will ask to be connected again"
    )]
    AnchorDamaged {
        /// The log.
        path: PathBuf,
        /// The first bad line, from 1.
        line: usize,
    },
    /// A log that was copied, beside other keepers: whether the one that it was copied from is at work nobody can tell.
    #[error(
        "a log in `{folder}` was copied or moved ({reason}): move it away; this keeper then begins a new one, and waits until a \
         keeper that knows the database vouches for it"
    )]
    AnchorMoved {
        /// Where it lies.
        folder: PathBuf,
        /// What differs.
        reason: &'static str,
    },
    /// The log could neither be written nor cut back; nothing is presented until the next start.
    #[error("the anchor log could not be written; make room on its disk, then start again")]
    AnchorPoisoned,
    /// A mandate was acted on before, or is older than the log that would know.
    #[error("the mandate was used before")]
    MandateSpent,
    /// This generation stands in the log as presented.
    #[error("this generation was presented before")]
    PresentedBefore,
    /// The database was put back since this was begun, and this log is held against what it is now.
    #[error("this was begun in an era that is over")]
    OlderEra,
    /// A chain that others changed each time it was held against the log.
    #[error("chain {chain} was changed each time it was looked at; it is looked at again")]
    ChainMoved {
        /// Which.
        chain: ChainId,
    },
    /// A slot that is there already: an answer may be on its way into it.
    #[error("the room for this answer is taken; it is being asked for already")]
    SlotTaken,
    /// An answer that is larger than its slot.
    #[error("the sealed answer is larger than its slot")]
    SlotTooSmall,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A secret did not open, or could not be sealed.
    #[error(transparent)]
    Custody(#[from] CustodyError),
    /// The system gave no random bytes.
    #[error(transparent)]
    Entropy(#[from] NoEntropy),
    /// What a token request is made of does not fit together.
    #[error("the registration at the provider is incomplete: {0}; add it again with `nightlatch connect`")]
    Registration(&'static str),
}

impl KeeperError {
    /// A file's error with its path.
    pub(crate) fn file(path: &std::path::Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::File { path, source }
    }
}
