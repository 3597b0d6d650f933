//! What a call that outlives its caller brings into the corridor besides.
//!
//! It walks through the same rooms as every other. Two things differ, and both are here: nobody may be on the line
//! any more, so it begins no wake and acts by a [`Right`] that was there before; and between hold and record it is
//! marked in the store, so that whoever finds it after a crash knows that it may have left.

use nightlatch_domain::{exchange::Exchange, ports::Boxed, problem::Problem};

/// By what a call may act whose agent need not be on the line.
pub(crate) enum Right {
    /// The wake of its task that runs; it begins none.
    Wake,
}

/// The mark in the store.
pub(crate) trait Mark: Send + Sync {
    /// Made durable before the ledger's intent; an error says that nothing may leave.
    fn mark<'a>(&'a self, exchange: &'a Exchange) -> Boxed<'a, Result<(), Problem>>;
}

/// A call that outlives its caller.
pub(crate) struct Durable<'a> {
    pub(crate) right: Right,
    pub(crate) mark: &'a dyn Mark,
}
