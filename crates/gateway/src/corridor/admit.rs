//! Admit: who is this? What the handshake proved, and nothing that the request says.
//!
//! A binding that is enrolled is an agent for one task. Everything else is nobody, and is told no more
//! than that: a caller without a certificate, with an unknown one, with one whose agent is gone.
//! Whether a known agent may act is for policy to say.

use crate::{directory::Tables, peer::Peer};
use nightlatch_domain::{
    exchange::Caller,
    principal::Agent,
    problem::{Problem, ProblemKind},
};
use std::sync::Arc;

/// An agent that was proved, with its row.
pub(crate) struct Admitted {
    pub(crate) caller: Caller,
    pub(crate) agent: Arc<Agent>,
}

/// # Errors
/// [`ProblemKind::NotAdmitted`]: nobody was proved.
pub(crate) fn admit(peer: &Peer, tables: &Tables) -> Result<Admitted, Problem> {
    let nobody = || Problem::new(ProblemKind::NotAdmitted);
    let binding = peer.binding.as_ref().ok_or_else(nobody)?;
    let enrolment = tables.enrolment(binding).ok_or_else(nobody)?;
    let agent = tables.agent(enrolment.tenant, enrolment.agent).ok_or_else(nobody)?;
    let caller = Caller {
        tenant: enrolment.tenant,
        agent: enrolment.agent,
        task: enrolment.task,
        binding: binding.clone(),
    };
    Ok(Admitted { caller, agent })
}
