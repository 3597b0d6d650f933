//! Durable calls at rest: what is sealed into a row, and what a row opens to.
//!
//! The bytes that were asked for lie in the seal, and so does who asked and what was settled then. Nothing that
//! decides is read from beside it, so an edited row opens to nothing or changes nothing.

use super::ending::{Ended, Ending};
use crate::tls::sha256_hex;
use bytes::Bytes;
use nightlatch_custody::{CallKey, Secret};
use nightlatch_domain::{
    call::{CallPlace, Terms},
    clock::Timestamp,
    exchange::Caller,
    id::{ConnectionId, GrantId},
    ports::store::CallRow,
    problem::{Problem, ProblemKind},
    sealed::{CallContext, CallPart, Wrapped},
    tool::Name,
};
use serde::{Deserialize, Serialize};

const PREFIX_LEN: usize = size_of::<u32>();

/// Who asked, and what was settled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Settled {
    /// The admitted peer of that time.
    pub(crate) caller: Caller,
    /// The grant that the reference named.
    pub(crate) grant: GrantId,
    /// Its connection.
    pub(crate) connection: ConnectionId,
    /// Whether it may be sent again after it was perhaps sent.
    pub(crate) repeatable: bool,
    /// When it was accepted.
    pub(crate) accepted_at: Timestamp,
    /// After this nothing is begun.
    pub(crate) deadline: Timestamp,
    /// The webhook that is told of its end.
    #[serde(default)]
    pub(crate) webhook: Option<Name>,
}

impl Settled {
    pub(crate) const fn terms(&self) -> Terms {
        Terms { repeatable: self.repeatable, deadline: self.deadline }
    }
}

/// A mandate as it was signed. What it is for is made anew from the call each time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Signed {
    pub(crate) not_after: Timestamp,
    /// The key (SPKI, DER), base64url.
    pub(crate) public_key_spki: String,
    /// Base64url.
    pub(crate) signature: String,
}

/// A final answer as it lies in the seal.
#[derive(Serialize, Deserialize)]
struct SealedEnding<E> {
    #[serde(flatten)]
    ending: E,
    /// None where an earlier version sealed it: then the row says it.
    ended_at: Option<Timestamp>,
}

/// A call as its seal has it.
pub(crate) struct Kept {
    pub(crate) settled: Settled,
    /// The request as it came.
    pub(crate) request: Bytes,
}

/// What seals and opens.
pub(crate) struct Vault(CallKey);

impl Vault {
    pub(crate) const fn new(key: CallKey) -> Self {
        Self(key)
    }

    /// Length of what was settled (32 bits, big-endian), that in JSON, the request.
    ///
    /// # Errors
    /// [`ProblemKind::Internal`].
    pub(crate) fn seal_request(
        &self,
        place: CallPlace,
        request_sha256: &str,
        settled: &Settled,
        request: &[u8],
    ) -> Result<Wrapped, Problem> {
        let settled = serde_json::to_vec(settled).map_err(|_| ProblemKind::Internal)?;
        let len = u32::try_from(settled.len()).map_err(|_| ProblemKind::Internal)?;
        let plain = [len.to_be_bytes().as_slice(), &settled, request].concat();
        self.seal(place, request_sha256, CallPart::Request, plain)
    }

    /// # Errors
    /// [`ProblemKind::Internal`] where the row is not as it was written.
    pub(crate) fn open_request(&self, row: &CallRow) -> Result<Kept, Problem> {
        let plain = self.open(row, CallPart::Request, &row.request)?;
        let damaged = || Problem::new(ProblemKind::Internal);
        let (prefix, rest) = plain.expose().split_first_chunk::<PREFIX_LEN>().ok_or_else(damaged)?;
        let len = usize::try_from(u32::from_be_bytes(*prefix)).map_err(|_| damaged())?;
        let (settled, request) = rest.split_at_checked(len).ok_or_else(damaged)?;
        let settled: Settled = serde_json::from_slice(settled).map_err(|_| damaged())?;
        let is_own = (settled.caller.tenant, settled.caller.task) == (row.place.tenant, row.place.task);
        if !is_own || sha256_hex(request) != row.request_sha256 {
            return Err(damaged());
        }
        Ok(Kept { settled, request: Bytes::copy_from_slice(request) })
    }

    /// # Errors
    /// [`ProblemKind::Internal`].
    pub(crate) fn seal_mandate(&self, row: &CallRow, signed: &Signed) -> Result<Wrapped, Problem> {
        let plain = serde_json::to_vec(signed).map_err(|_| ProblemKind::Internal)?;
        self.seal(row.place, &row.request_sha256, CallPart::Mandate, plain)
    }

    /// The mandate of a call, if it was given one.
    ///
    /// # Errors
    /// As [`Vault::open_request`].
    pub(crate) fn open_mandate(&self, row: &CallRow) -> Result<Option<Signed>, Problem> {
        let Some(mandate) = &row.mandate else { return Ok(None) };
        let plain = self.open(row, CallPart::Mandate, mandate)?;
        Ok(Some(serde_json::from_slice(plain.expose()).map_err(|_| ProblemKind::Internal)?))
    }

    /// # Errors
    /// [`ProblemKind::Internal`].
    pub(crate) fn seal_ending(
        &self,
        place: CallPlace,
        request_sha256: &str,
        ending: &Ending,
        at: Timestamp,
    ) -> Result<Wrapped, Problem> {
        let sealed = SealedEnding { ending, ended_at: Some(at) };
        let plain = serde_json::to_vec(&sealed).map_err(|_| ProblemKind::Internal)?;
        self.seal(place, request_sha256, CallPart::Result, plain)
    }

    /// The final answer of a call, and when it came, if it has one.
    ///
    /// # Errors
    /// As [`Vault::open_request`].
    pub(crate) fn open_ending(&self, row: &CallRow) -> Result<Option<Ended>, Problem> {
        let Some(result) = &row.result else { return Ok(None) };
        let plain = self.open(row, CallPart::Result, result)?;
        let sealed: SealedEnding<Ending> =
            serde_json::from_slice(plain.expose()).map_err(|_| ProblemKind::Internal)?;
        let at = sealed.ended_at.or(row.ended_at).ok_or(ProblemKind::Internal)?;
        Ok(Some(Ended { ending: sealed.ending, at }))
    }

    fn seal(
        &self,
        place: CallPlace,
        request_sha256: &str,
        part: CallPart,
        plain: Vec<u8>,
    ) -> Result<Wrapped, Problem> {
        let context = CallContext { place, request_sha256: request_sha256.to_owned(), part };
        self.0.seal(&Secret::new(plain), &context).map_err(|_| ProblemKind::Internal.into())
    }

    fn open(&self, row: &CallRow, part: CallPart, sealed: &Wrapped) -> Result<Secret, Problem> {
        let context = CallContext { place: row.place, request_sha256: row.request_sha256.clone(), part };
        self.0.open(sealed, &context).map_err(|_| ProblemKind::Internal.into())
    }
}
