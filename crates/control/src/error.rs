//! What control answers when it does not do what was asked: a closed set, each with what to do next.
//!
//! The caller is the human who runs the installation, so an error may say more than an agent is told; still
//! nothing that a provider wrote comes through, and no secret is ever part of one.

use crate::{api::ApiProblem, auth::AuthError};
use nightlatch_domain::{
    ports::{control_keeper::ControlRefusal, store::StoreError},
    tool::Name,
};

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The request is not let in.
    #[error("{0}; the command line reads `api.token` in the data folder (`--data`, NIGHTLATCH_DATA)")]
    NotAdmitted(#[from] AuthError),
    /// The request came to a name that is not ours, or from a web page.
    #[error("this request did not come from a program of this machine that means Nightlatch")]
    ForeignOrigin,
    /// The body or a parameter cannot be read.
    #[error("{0}")]
    BadRequest(String),
    /// There is no such path.
    #[error("no such path in this API; the command line and the server may be of different versions")]
    NoSuchPath,
    /// The body is larger than a request may be.
    #[error("the request is larger than {0} bytes")]
    TooLarge(usize),
    /// The body came too slowly.
    #[error("the request did not come in time; send it again")]
    TooSlow,
    /// What was named is not there.
    #[error("no {what} `{name}`; {hint}")]
    NotFound {
        /// What kind of thing.
        what: &'static str,
        /// How it was named.
        name: String,
        /// What to do.
        hint: String,
    },
    /// More than one thing fits.
    #[error("{candidates_len} {what} fit `{name}`: {candidates}; name one", candidates_len = candidates.len(), candidates = quoted(candidates))]
    Ambiguous {
        /// What kind of thing, in the plural.
        what: &'static str,
        /// How it was named.
        name: String,
        /// What fits, as it can be written instead.
        candidates: Vec<String>,
    },
    /// A name is taken.
    #[error("the {what} `{name}` exists already; choose another name")]
    Taken {
        /// What kind of thing.
        what: &'static str,
        /// The name.
        name: Name,
    },
    /// What was named has ended.
    #[error("{0}")]
    Ended(String),
    /// A file is not what it should be.
    #[error("{0}")]
    BadFile(String),
    /// Something that is not built.
    #[error("`{what}` is not supported in this version; {instead}")]
    NotSupported {
        /// What.
        what: &'static str,
        /// What to do instead.
        instead: &'static str,
    },
    /// A tool that cannot be connected so.
    #[error("{0}")]
    CannotConnect(String),
    /// The keeper's no.
    #[error("{0}")]
    Keeper(#[from] ControlRefusal),
    /// The store failed.
    #[error("{0}; look at the log of `nightlatch up`, then run the command again")]
    Store(#[from] StoreError),
    /// The ledger failed.
    #[error("the ledger cannot be read or written; is the disk full? Look at the log of `nightlatch up`")]
    Ledger,
    /// The system gave no random bytes.
    #[error("the system gave no random bytes; nothing was done")]
    NoEntropy,
    /// The gateway did not take a change over in time.
    #[error(
        "it is stored, and the gateway has not confirmed it yet; look at `nightlatch health` and run the command again"
    )]
    Unsettled,
    /// The answer of another part of this program cannot be right.
    #[error("something failed inside Nightlatch; look at the log of `nightlatch up`")]
    Internal,
}

impl ControlError {
    /// Status, the kebab-case word of `type`, and the title.
    fn kind(&self) -> (u16, &'static str, &'static str) {
        match self {
            Self::NotAdmitted(AuthError::Flooded) => (429, "too-many-calls", "too many requests at once"),
            Self::NotAdmitted(_) => (401, "not-admitted", "the request carries no valid MAC"),
            Self::ForeignOrigin => (403, "foreign-origin", "not from here"),
            Self::BadRequest(_) => (400, "bad-request", "the request cannot be read"),
            Self::NoSuchPath => (404, "no-such-path", "no such path"),
            Self::TooLarge(_) => (413, "too-large", "the request is too large"),
            Self::TooSlow => (408, "too-slow", "the request came too slowly"),
            Self::NotFound { .. } => (404, "not-found", "it is not there"),
            Self::Ambiguous { .. } => (409, "ambiguous", "more than one fits"),
            Self::Taken { .. } => (409, "name-taken", "the name is taken"),
            Self::Ended(_) => (409, "ended", "it has ended"),
            Self::BadFile(_) => (422, "bad-file", "the file is refused"),
            Self::NotSupported { .. } => (501, "not-supported", "this is not supported yet"),
            Self::CannotConnect(_) => (422, "cannot-connect", "the tool cannot be connected so"),
            Self::Keeper(refusal) => refused(refusal),
            Self::Store(StoreError::Exists(_)) => (409, "exists", "it exists already"),
            Self::Store(_) => (503, "store-unavailable", "the store cannot answer"),
            Self::Ledger => (503, "ledger-unavailable", "the ledger cannot answer"),
            Self::NoEntropy => (503, "no-entropy", "the system gave no random bytes"),
            Self::Unsettled => (503, "unsettled", "not confirmed by the gateway"),
            Self::Internal => (500, "internal", "something failed inside Nightlatch"),
        }
    }

    /// What is sent as `application/problem+json`.
    #[must_use]
    pub fn problem(&self) -> ApiProblem {
        let (status, slug, title) = self.kind();
        ApiProblem {
            r#type: format!("https://nightlatch.dev/problems/{slug}"),
            title: title.to_owned(),
            status,
            detail: self.to_string(),
        }
    }
}

impl From<nightlatch_domain::clock::NoEntropy> for ControlError {
    fn from(_: nightlatch_domain::clock::NoEntropy) -> Self {
        Self::NoEntropy
    }
}

const fn refused(refusal: &ControlRefusal) -> (u16, &'static str, &'static str) {
    match refusal {
        ControlRefusal::Intake => (409, "intake-key-changed", "the secret could not be opened"),
        ControlRefusal::ProbeRejected { .. } => {
            (422, "credential-rejected", "the tool refused the credential")
        }
        ControlRefusal::Unreachable => {
            (502, "upstream-unreachable", "the tool or its provider did not answer")
        }
        ControlRefusal::WrongAccount { .. } => (409, "wrong-account", "another account"),
        ControlRefusal::Unknown { .. } => (404, "not-found", "it is not there"),
        ControlRefusal::FlowMismatch => (400, "flow-mismatch", "the answer belongs to another flow"),
        ControlRefusal::Provider { .. } => (502, "provider-error", "the provider refused"),
        ControlRefusal::NotSupported { .. } => (501, "not-supported", "this is not supported yet"),
        ControlRefusal::NoToken => (422, "no-token", "this is no token"),
        ControlRefusal::Host => (422, "cannot-connect", "the tool cannot be connected so"),
        ControlRefusal::Elsewhere => (409, "owned-elsewhere", "another tenant's token"),
        ControlRefusal::NameTaken { .. } => (409, "name-taken", "the name is taken"),
        ControlRefusal::KeeperAtWork => (409, "keeper-at-work", "the keeper is at work"),
        ControlRefusal::NoneVouched => {
            (409, "none-vouched", "nobody would be left who knows what was presented")
        }
        ControlRefusal::KeepersChanged => (409, "keepers-changed", "the keepers changed meanwhile"),
        ControlRefusal::Unavailable => (503, "keeper-unavailable", "the keeper cannot answer"),
    }
}

fn quoted(candidates: &[String]) -> String {
    candidates.iter().map(|candidate| format!("`{candidate}`")).collect::<Vec<_>>().join(", ")
}
