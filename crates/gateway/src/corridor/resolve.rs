//! Resolve: which grant, which host, which operation.
//!
//! The reference says which grant is meant and never who calls. One that belongs to another agent or task
//! gets the very answer of one that nobody was ever given; what differs is written to the ledger after the
//! refusal, and no answer waits for it. An owner's grant is not touched by what strangers do with its reference.

mod carriers;

use super::{admit::Admitted, read::Read};
use crate::{
    directory::{Named, Part, Tables},
    doors::Addressed,
};
use carriers::Carriers;
use http::{HeaderMap, HeaderName};
use nightlatch_catalog::manifest::{Accept, Host, Manifest, MatchError};
use nightlatch_domain::{
    clock::Timestamp,
    connection::Connection,
    exchange::{Caller, Exchange, Target},
    grant::Grant,
    id::CallId,
    problem::{Problem, ProblemKind},
    task::Task,
    tool::{BoundHost, Name, Placement},
};
use std::{borrow::Cow, collections::BTreeSet, sync::Arc};

/// What a call is, with the rows that say so.
pub(crate) struct Resolved {
    pub(crate) exchange: Arc<Exchange>,
    pub(crate) manifest: Arc<Manifest>,
    pub(crate) task: Arc<Task>,
    pub(crate) grant: Arc<Grant>,
    pub(crate) connection: Arc<Connection>,
    /// The field in which the reference stood. It goes no further.
    pub(crate) field: HeaderName,
    /// Its body, where that had to be read.
    pub(crate) read: Option<Arc<Read>>,
}

/// Why a call is no call.
#[derive(Debug)]
pub(crate) enum Unresolved {
    /// A refusal with nothing to add.
    Refused(Box<Problem>),
    /// No reference came; the manifest's challenge for that host.
    Challenged(Box<Problem>, Option<String>),
    /// The reference of another agent or task. The caller sees an unknown one; the grant is for the ledger.
    Foreign(Box<Problem>, Arc<Grant>),
}

impl From<Problem> for Unresolved {
    fn from(problem: Problem) -> Self {
        Self::Refused(Box::new(problem))
    }
}

impl From<Unresolved> for Problem {
    fn from(unresolved: Unresolved) -> Self {
        match unresolved {
            Unresolved::Refused(problem)
            | Unresolved::Challenged(problem, _)
            | Unresolved::Foreign(problem, _) => *problem,
        }
    }
}

/// # Errors
/// [`Unresolved`].
pub(crate) fn resolve(
    admitted: &Admitted,
    tables: &Tables,
    addressed: Addressed,
    headers: &HeaderMap,
    call: CallId,
    at: Timestamp,
) -> Result<Resolved, Unresolved> {
    let caller = &admitted.caller;
    let not_found = || Problem::new(ProblemKind::NotFound).of_tool(&addressed.tool);
    let manifest = tables.manifest(caller.tenant, &addressed.tool).ok_or_else(not_found)?;
    let host = manifest.host(&addressed.route).ok_or_else(not_found)?;
    let carriers = Carriers { manifest: &manifest, accepts: accepts(caller, tables, &addressed, host) };
    let found = carriers.find(headers, addressed.target.query.as_deref());
    let Some(presented) = found.map_err(|problem| problem.of_tool(&addressed.tool))? else {
        let missing = Problem::new(ProblemKind::ReferenceMissing).of_tool(&addressed.tool);
        return Err(Unresolved::Challenged(Box::new(missing), host.challenge.clone()));
    };
    let named = tables.named(&presented.text, &manifest);
    let named = named.or_else(|| foreign_elsewhere(caller, tables, &addressed, &presented.text));
    let grant = own_grant(caller, named, &addressed)?;
    let (task, connection) =
        rows(caller, tables, &grant).map_err(|problem| problem.of_tool(&addressed.tool))?;
    let host = bound_host(&grant, &connection, &addressed)?;
    let matched = manifest.matched(&addressed.route, &addressed.target);
    let matched = matched.map_err(|error| match_refusal(&error).of_tool(&addressed.tool))?;
    let Addressed { tool, target, .. } = addressed;
    let (grant_id, connection_id) = (grant.id, connection.id);
    let exchange = Exchange {
        call,
        at,
        caller: caller.clone(),
        tool,
        grant: grant_id,
        connection: connection_id,
        host,
        target,
        matched,
        also: Vec::new(),
    };
    let exchange = Arc::new(exchange);
    Ok(Resolved { exchange, manifest, task, grant, connection, field: presented.field, read: None })
}

/// Which part of an origin a request means: at one tool, the narrowest that covers the path; among several
/// tools, the one that its reference names, if that is this task's. Without such a reference it is the first, by
/// name, that the task has a living grant for, and else the first: its challenge is what the client is shown.
/// What others hold makes no difference. None where no tool serves more than a token endpoint there, and this
/// is none.
pub(crate) fn part_of(
    admitted: &Admitted,
    tables: &Tables,
    parts: &BTreeSet<Part>,
    (headers, target): (&HeaderMap, &Target),
    now: Timestamp,
) -> Option<(Name, String)> {
    let tools: BTreeSet<&Name> = parts.iter().map(|part| &part.tool).collect();
    let narrowest = |tool: &Name| {
        let routes = parts.iter().filter(|part| part.tool == *tool && part.route.is_some());
        let covering = routes.clone().filter(|part| part.covers(&target.path).is_some());
        let chosen = covering.max_by_key(|part| part.covers(&target.path)).or(routes.into_iter().next());
        chosen.and_then(|part| part.route.clone())
    };
    let serving: Vec<(&Name, String)> =
        tools.into_iter().filter_map(|tool| Some((tool, narrowest(tool)?))).collect();
    let (tenant, task) = (admitted.caller.tenant, admitted.caller.task);
    let granted = || {
        let granted = tables.granted_tools(tenant, task, now);
        serving.iter().find(|(tool, _)| granted.contains(*tool))
    };
    let named = || {
        serving.iter().find(|(tool, route)| {
            let grant = names(&admitted.caller, tables, (tool, route), headers, target);
            grant.is_some_and(|grant| is_own(&admitted.caller, &grant))
        })
    };
    let chosen = match serving.len() {
        0 | 1 => serving.first(),
        _ => named().or_else(granted).or(serving.first()),
    };
    chosen.map(|(tool, route)| ((*tool).clone(), route.clone()))
}

/// The grant of this tool that a request's reference names, whoever it belongs to.
fn names(
    caller: &Caller,
    tables: &Tables,
    (tool, route): (&Name, &str),
    headers: &HeaderMap,
    target: &Target,
) -> Option<Arc<Grant>> {
    let manifest = tables.manifest(caller.tenant, tool)?;
    let host = manifest.host(route)?;
    let addressed =
        Addressed { tool: tool.clone(), route: route.to_owned(), origin: None, target: target.clone() };
    let carriers = Carriers { manifest: &manifest, accepts: accepts(caller, tables, &addressed, host) };
    let presented = carriers.find(headers, target.query.as_deref()).ok()??;
    let Named(grant) = tables.named(&presented.text, &manifest)?;
    (grant.tool == *tool).then_some(grant)
}

/// Puts a reference where the host that is addressed accepts one first, for a caller that leaves the place to us.
///
/// # Errors
/// [`ProblemKind::NotFound`] where there is no such tool or host, [`ProblemKind::BadRequest`] where the text is no
/// reference, or its place is taken.
pub(crate) fn place_reference(
    caller: &Caller,
    tables: &Tables,
    addressed: &Addressed,
    reference: &str,
    headers: &mut HeaderMap,
) -> Result<(), Problem> {
    let not_found = || Problem::new(ProblemKind::NotFound).of_tool(&addressed.tool);
    let manifest = tables.manifest(caller.tenant, &addressed.tool).ok_or_else(not_found)?;
    let host = manifest.host(&addressed.route).ok_or_else(not_found)?;
    let place = accepts(caller, tables, addressed, host).first().cloned().unwrap_or(Accept::Bearer);
    let bad = || Problem::new(ProblemKind::BadRequest).at_field("reference");
    let (name, value) = carriers::rendered(&place, reference).ok_or_else(bad)?;
    if headers.insert(name, value).is_some() {
        return Err(bad());
    }
    Ok(())
}

/// Whether a request carries nothing at any place where a credential of this tool, or of any, can stand.
pub(super) fn bears_nothing(manifest: &Manifest, headers: &HeaderMap, target: &Target) -> bool {
    let carriers = Carriers { manifest, accepts: Cow::Borrowed(&[]) };
    matches!(carriers.find(headers, target.query.as_deref()), Ok(None))
}

/// Where a reference may stand on this host: the manifest's places, and those that mirror where the
/// credentials of this task's own connections stand (a human may have chosen one at connect).
fn accepts<'a>(caller: &Caller, tables: &Tables, addressed: &Addressed, host: &'a Host) -> Cow<'a, [Accept]> {
    let mut places = Cow::Borrowed(host.accepts.as_slice());
    let mut mirror = |placement: &Placement| {
        let mirrored = Accept::of(placement);
        if !places.contains(&mirrored) {
            places.to_mut().push(mirrored);
        }
    };
    [host.key.as_ref(), host.oauth.as_ref()].into_iter().flatten().for_each(&mut mirror);
    for connection in tables.connections_of(caller.tenant, caller.task, &addressed.tool) {
        let here = connection.hosts.iter().filter(|bound| bound.route == addressed.route);
        here.for_each(|bound| mirror(&bound.placement));
    }
    places
}

/// The grant, if it is this caller's. Unknown and foreign are one answer.
fn own_grant(caller: &Caller, named: Option<Named>, addressed: &Addressed) -> Result<Arc<Grant>, Unresolved> {
    let unknown = Problem::new(ProblemKind::ReferenceUnknown).of_tool(&addressed.tool);
    match named {
        Some(Named(grant)) if is_own(caller, &grant) => Ok(grant),
        Some(Named(grant)) => Err(Unresolved::Foreign(Box::new(unknown), grant)),
        None => Err(unknown.into()),
    }
}

/// Somebody else's grant that a text names in the shape of another tool at the same origin: for the alarm
/// alone.
fn foreign_elsewhere(caller: &Caller, tables: &Tables, addressed: &Addressed, text: &str) -> Option<Named> {
    let parts = tables.parts_at(caller.tenant, addressed.origin.as_ref()?);
    let manifests = parts.iter().filter_map(|part| tables.manifest(caller.tenant, &part.tool));
    let mut named = manifests.filter_map(|manifest| tables.named(text, &manifest));
    named.find(|Named(grant)| !is_own(caller, grant))
}

fn is_own(caller: &Caller, grant: &Grant) -> bool {
    grant.tenant == caller.tenant && grant.task == caller.task
}

/// The rows around a grant, as they are: whether they let it act is for policy to say.
fn rows(caller: &Caller, tables: &Tables, grant: &Grant) -> Result<(Arc<Task>, Arc<Connection>), Problem> {
    let task = tables.task(caller.tenant, caller.task).ok_or(ProblemKind::ReferenceUnknown)?;
    let connection = tables.connection(caller.tenant, grant.connection).ok_or(ProblemKind::GrantEnded)?;
    Ok((task, connection))
}

/// The host of the route that the connection was confirmed for, by the directory. Where the client named a
/// host, it is that very one. Policy holds the path against it, and in the end the seal decides.
fn bound_host(grant: &Grant, connection: &Connection, addressed: &Addressed) -> Result<BoundHost, Problem> {
    let is_tools = grant.tool == addressed.tool && connection.tool == addressed.tool;
    let is_named = |host: &BoundHost| {
        addressed.origin.as_ref().is_none_or(|origin| {
            (origin.scheme(), origin.host(), origin.port()) == (host.scheme, host.host.as_str(), host.port)
        })
    };
    let host = connection.hosts.iter().find(|host| is_tools && host.route == addressed.route);
    host.filter(|host| is_named(host))
        .cloned()
        .ok_or_else(|| Problem::new(ProblemKind::DestinationDenied).of_tool(&addressed.tool))
}

fn match_refusal(error: &MatchError) -> Problem {
    match error {
        MatchError::Route(_) => Problem::new(ProblemKind::NotFound),
        MatchError::AmbiguousQuery(_) => Problem::new(ProblemKind::BadRequest).at_field("query"),
        MatchError::Resource => Problem::new(ProblemKind::BadRequest).at_field("target"),
        MatchError::Upgrade => Problem::new(ProblemKind::NotSupported).at_field("upgrade"),
    }
}
