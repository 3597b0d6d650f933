//! Following: the way of single calls, told whole at their end to whoever traces them.
//!
//! What is told are times, ids, names that operators gave, and words of ours. Who follows is not one of these rooms:
//! it chooses which calls, by their ids alone, and must not make a call wait.

use super::{Outcome, Parent, Phase, seen::Live};
use nightlatch_domain::{
    clock::Timestamp,
    id::CallId,
    ports::sight::Door,
    problem::Origin,
    tool::{Effect, Name, OperationId},
};
use std::time::Duration;

/// Rooms of an ordinary call, and one more for a refusal.
const ROOMS: usize = Phase::ALL.len() + 1;

/// Who follows calls. Neither function may wait for anything.
pub trait Follow: Send + Sync {
    /// Whether this call is followed.
    fn follows(&self, call: CallId) -> bool;
    /// One that was, at its end.
    fn ended(&self, followed: Box<Followed>);
}

/// What a call is, where that was found out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct What {
    /// The tool.
    pub tool: Name,
    /// The operation, by the manifest.
    pub operation: OperationId,
    /// What that does.
    pub effect: Effect,
}

/// The way of one call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Followed {
    /// Its id.
    pub call: CallId,
    /// When it began.
    pub at: Timestamp,
    /// How long it took.
    pub took: Duration,
    /// How it came in.
    pub door: Door,
    /// What it is.
    pub what: Option<What>,
    /// A class of status, `left`, or the kind of a refusal, as calls are counted.
    pub outcome: &'static str,
    /// The status that its caller was answered with; none where it had left.
    pub status: Option<u16>,
    /// Whether tool, provider or gateway failed it.
    pub is_failure: bool,
    /// The rooms that it entered, and how long after its beginning.
    pub rooms: Vec<(&'static str, Duration)>,
    /// What its caller says that it is a part of.
    pub parent: Option<Parent>,
}

impl Followed {
    pub(super) fn begun(call: CallId, at: Timestamp, door: Door, parent: Option<Parent>) -> Box<Self> {
        let (took, rooms) = (Duration::ZERO, Vec::with_capacity(ROOMS));
        Box::new(Self {
            call,
            at,
            took,
            door,
            what: None,
            outcome: "",
            status: None,
            is_failure: false,
            rooms,
            parent,
        })
    }

    pub(super) fn entered(&mut self, phase: Phase, after: Duration) {
        self.rooms.push((phase.as_str(), after));
    }

    pub(super) fn over(&mut self, live: Option<&Live>, outcome: Outcome, took: Duration) {
        self.what = live.map(Live::what);
        (self.took, self.outcome) = (took, outcome.as_str());
        (self.status, self.is_failure) = match outcome {
            Outcome::Answered(status) => (Some(status), status >= 500),
            Outcome::Problem(kind) => {
                (Some(kind.status()), matches!(kind.origin(), Origin::Upstream | Origin::Us))
            }
            Outcome::Left => (None, false),
        };
    }
}
