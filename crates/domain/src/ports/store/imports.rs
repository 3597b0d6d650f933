//! What becomes of a refresh token that is brought in.

use super::NewConnection;
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

/// How an import ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImportEnd {
    /// With what it makes: its tokens are a generation's from now on, and what it held goes.
    Made(Box<NewConnection>),
    /// Its provider refused the token: what it answered holds none, and goes.
    Refused,
    /// With nothing. What it holds may be the only copy of living tokens, and stays.
    Failed,
}

/// Where whoever writes an import saw it last: where it is no longer so, nothing is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ImportSeen {
    /// The step.
    pub step: FlowStep,
    /// The presentation.
    pub attempt: Option<AttemptId>,
}
