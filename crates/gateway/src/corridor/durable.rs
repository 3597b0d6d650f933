//! What a call that outlives its caller brings into the corridor besides.
//!
//! It walks through the same rooms as every other. Two things differ, and both are here: nobody may be on the line
//! any more, so it begins no wake and acts by a [`Right`] that was there before; and between hold and record it is
//! marked in the store, so that whoever finds it after a crash knows that it may have left.

use crate::wakes::Awake;
use nightlatch_domain::{call::Mandate, exchange::Exchange, ports::Boxed, problem::Problem};
use std::sync::{Arc, OnceLock};

/// By what a call may act whose agent need not be on the line.
pub(crate) enum Right {
    /// The wake of its task that runs; it begins none.
    Wake,
    /// The agent's signed word for this one call.
    Mandate(Given),
}

/// A mandate as it was given.
pub(crate) struct Given {
    pub(crate) mandate: Mandate,
    /// The key that signed (SPKI, DER) and its signature, base64url.
    pub(crate) signed: (String, String),
    /// The wake that came of it.
    pub(crate) used: OnceLock<Arc<Awake>>,
}

/// The mark in the store.
pub(crate) trait Mark: Send + Sync {
    /// Made durable before the ledger's intent; an error says that nothing may leave.
    fn mark<'a>(&'a self, exchange: &'a Exchange) -> Boxed<'a, Result<(), Problem>>;
}

/// A call that outlives its caller.
pub(crate) struct Durable<'a> {
    pub(crate) right: &'a Right,
    /// SHA-256 of the bytes that it was made from, hexadecimal.
    pub(crate) request_sha256: &'a str,
    pub(crate) mark: &'a dyn Mark,
}
