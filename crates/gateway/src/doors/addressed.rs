//! Where a request wants to go: what every door makes of it, and all that the corridor is told.

use nightlatch_catalog::canonical;
use nightlatch_domain::{
    exchange::Target,
    problem::{Problem, ProblemKind},
    tool::Name,
};
use nightlatch_egress::Destination;

/// Where a request wants to go, before anyone asked whether it may.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Addressed {
    /// The tool.
    pub(crate) tool: Name,
    /// The host of the tool, by its route; empty for the first.
    pub(crate) route: String,
    /// The host that the client itself named, where it named one: the connection must have that very host.
    pub(crate) origin: Option<Destination>,
    /// The target on that host, canonical.
    pub(crate) target: Target,
}

/// The one parse of a method and a target in origin form.
///
/// # Errors
/// [`ProblemKind::BadRequest`] for what could be read in two ways, [`ProblemKind::NotSupported`] for a method
/// that is not carried.
pub(crate) fn target(method: &str, raw_target: &str) -> Result<Target, Problem> {
    canonical::target(method, raw_target).map_err(refusal)
}

fn refusal(error: canonical::TargetError) -> Problem {
    use canonical::TargetError;
    match error {
        TargetError::MethodRefused => Problem::new(ProblemKind::NotSupported).at_field("method"),
        TargetError::Method => Problem::new(ProblemKind::BadRequest).at_field("method"),
        _ => Problem::new(ProblemKind::BadRequest).at_field("target"),
    }
}
