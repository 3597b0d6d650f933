//! Reach: may this agent go to that host, and as what? Asked before a tunnel stands, or for a plain request to
//! a host that the client itself named.
//!
//! A host that a tool has is reached as that tool and in no other way: its name at another port, or over plain
//! HTTP where the tool speaks TLS, is refused, whatever the task's egress says. What no tool has is reached
//! only by a task that a human opened for it, and then without a credential: nothing of ours is attached, so
//! policy over operations has nothing to decide. It still needs a wake, whose end cuts it, and a record that
//! precedes it.

use super::{Corridor, admit, admit::Admitted, resolve::bears_nothing};
use crate::{
    directory::{Part, Tables},
    peer::Peer,
    running,
    wakes::Awake,
};
use http::HeaderMap;
use nightlatch_domain::{
    companion::is_nobodys_host,
    exchange::{Caller, Target},
    id::CallId,
    ports::gateway_keeper::KeeperRefusal,
    principal::AgentStatus,
    problem::{Problem, ProblemKind},
    task::Egress,
};
use nightlatch_egress::Destination;
use nightlatch_ledger::{
    facts::{EventFacts, HostName},
    record::EventName,
};
use std::{collections::BTreeSet, sync::Arc};

/// What a host is to an agent.
pub(crate) enum Reach {
    /// A tool has it, or several.
    Bound(BTreeSet<Part>),
    /// No tool has it, and the task may go there all the same.
    Open,
}

/// By what right a host is reached without a credential.
pub(crate) enum Way<'a> {
    /// No tool has it.
    Unbound,
    /// Tools have it for their token endpoint alone, and this is a look at something else there.
    Look(Look<'a>),
}

/// A request that may be no more than a look.
pub(crate) struct Look<'a> {
    pub(crate) target: &'a Target,
    pub(crate) headers: &'a HeaderMap,
}

/// A way to a host that no tool has, for as long as this is held.
pub(crate) struct Opening {
    pub(crate) awake: Arc<Awake>,
    /// Its place among the calls of its agent.
    pub(crate) _share: running::Admitted,
}

impl Corridor {
    /// Whether, and as what, a peer may reach an origin.
    ///
    /// # Errors
    /// [`ProblemKind::NotAdmitted`], [`ProblemKind::DirectoryStale`], [`ProblemKind::DestinationDenied`] for a
    /// tool's host that is asked for in another way, or an address that no tool has;
    /// [`ProblemKind::CompanionOnly`]; [`ProblemKind::EgressDenied`].
    pub(crate) fn reach(&self, peer: &Peer, origin: &Destination) -> Result<Reach, Problem> {
        let tables = self.directory.view()?;
        let Admitted { caller, agent } = admit::admit(peer, &tables)?;
        if is_nobodys_host(origin.host()) {
            return Err(ProblemKind::CompanionOnly.into());
        }
        let parts = tables.parts_at(caller.tenant, origin);
        if !parts.is_empty() {
            return Ok(Reach::Bound(parts));
        }
        let denied = || Problem::new(ProblemKind::DestinationDenied).at_field("target");
        // An address is where a name leads once somebody has judged that; by itself it is nobody's.
        if tables.has_host(caller.tenant, origin.host()) || origin.literal().is_some() {
            return Err(denied());
        }
        let is_open = self.is_opened(&tables, &caller) && agent.status == AgentStatus::Active;
        if is_open { Ok(Reach::Open) } else { Err(ProblemKind::EgressDenied.into()) }
    }

    /// Whether a human opened the task for hosts that no tool has, and it goes on.
    fn is_opened(&self, tables: &Tables, caller: &Caller) -> bool {
        let task = tables.task(caller.tenant, caller.task);
        task.is_some_and(|task| task.egress == Egress::Open && task.is_open(self.clock.now()))
    }

    /// Whether a request may go on, without a credential, to a host that tools have for their token endpoint
    /// alone: a look at what is public there (RFC 8414 metadata, keys), by an agent whose task was opened. It
    /// carries nothing that could be a credential, and is for no token endpoint.
    ///
    /// # Errors
    /// [`ProblemKind::DestinationDenied`] where it may not, and as [`Corridor::reach`].
    pub(crate) fn looks(&self, peer: &Peer, origin: &Destination, look: &Look<'_>) -> Result<(), Problem> {
        let tables = self.directory.view()?;
        let Admitted { caller, agent } = admit::admit(peer, &tables)?;
        let parts = tables.parts_at(caller.tenant, origin);
        let Look { target, headers } = look;
        let manifest = |part: &Part| tables.manifest(caller.tenant, &part.tool);
        let bears_nothing =
            |part: &Part| manifest(part).is_some_and(|own| bears_nothing(&own, headers, target));
        let may = self.is_opened(&tables, &caller)
            && agent.status == AgentStatus::Active
            && matches!(target.method.as_str(), "GET" | "HEAD")
            && !parts.is_empty()
            && parts.iter().all(|part| part.route.is_none() && bears_nothing(part))
            && tables.tools_with_token_endpoint(caller.tenant, origin, &target.path).is_empty();
        let denied = || Problem::new(ProblemKind::DestinationDenied).at_field("target");
        if may { Ok(()) } else { Err(denied()) }
    }

    /// Whether a peer is an admitted agent at all.
    ///
    /// # Errors
    /// [`ProblemKind::NotAdmitted`] or [`ProblemKind::DirectoryStale`].
    pub(crate) fn admitted(&self, peer: &Peer) -> Result<Admitted, Problem> {
        admit::admit(peer, &*self.directory.view()?)
    }

    /// Opens the way to a host, if it still may be opened: that is asked again here, after every wait, and
    /// recorded last. Nothing goes out before, not even the question where the host is. Its task has a pace: no
    /// such record is ever folded into a count, and nobody fills the disk.
    ///
    /// # Errors
    /// As [`Corridor::reach`]; the keeper's refusal of a wake; [`ProblemKind::TooManyCalls`];
    /// [`ProblemKind::LedgerUnavailable`].
    pub(crate) async fn opening(
        &self,
        peer: &Peer,
        origin: &Destination,
        call: CallId,
        way: &Way<'_>,
    ) -> Result<Opening, Problem> {
        let admitted = self.admitted(peer)?;
        let (caller, share) = (&admitted.caller, self.share(&admitted)?);
        let applied = self.directory.tables().number();
        let awake = self.wakes.awake(caller, self.clock.now(), applied).await;
        let awake = awake.map_err(|refusal| Problem::new(KeeperRefusal::problem(&refusal)))?;
        match way {
            Way::Unbound => match self.reach(peer, origin)? {
                Reach::Open => {}
                Reach::Bound(_) => return Err(ProblemKind::DestinationDenied.into()),
            },
            Way::Look(look) => self.looks(peer, origin, look)?,
        }
        self.openings.take_turn((caller.tenant, caller.task), self.clock.boot())?;
        let facts = EventFacts {
            tenant: Some(caller.tenant),
            call: Some(call),
            agent: Some(caller.agent),
            task: Some(caller.task),
            wake: Some(awake.wake()),
            assurance: Some(awake.assurance()),
            host: HostName::new(origin.host()),
            scheme: Some(origin.scheme()),
            port: Some(origin.port()),
            ..EventFacts::new(EventName::EgressOpened)
        };
        self.ledger
            .event(facts)
            .await
            .map_err(|_| Problem::new(ProblemKind::LedgerUnavailable).retry_after(1))?;
        Ok(Opening { awake, _share: share })
    }
}
