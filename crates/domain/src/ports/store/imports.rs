//! What becomes of a refresh token that is brought in.

use crate::{
    chain::FlowStep,
    id::{AttemptId, FlowId},
};

/// What a store says of one that is brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Brought {
    /// It is kept now.
    New,
    /// The tenant brought it before; nothing was written.
    Known(FlowId),
    /// Another tenant brought it before; nothing was written.
    Elsewhere,
}

/// Where whoever writes an import saw it last: where it is no longer so, nothing is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ImportSeen {
    /// The step.
    pub step: FlowStep,
    /// The presentation.
    pub attempt: Option<AttemptId>,
}
