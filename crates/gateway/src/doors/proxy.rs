//! The `proxy` door: for programs that know nothing of us but a proxy's address.
//!
//! ```text
//! CONNECT host:port ──► a tool has it ──► 200, TLS in the tool's name ──► HTTP inside ──► the corridor
//!                   ├─► no tool has it, egress open ──► 200, TLS of the two ends, passed through
//!                   └─► else ──► 403
//! GET http://host/… ──► a tool has it over plain HTTP ──► the corridor
//!                   ├─► no tool has it, egress open ──► passed on, without a credential
//!                   └─► else ──► 403
//! ```
//!
//! A host that a tool has gets its tunnel whoever asks (so that a refusal is given where the client can read
//! it), and everything inside walks through the corridor, each request by itself: the tunnel gives no right
//! that a request at the `route` door would not have. Who calls is what the connection *around* the tunnel
//! proved.
//!
//! **One name.** The CONNECT authority, the TLS server name and the authority of every request must be the
//! same, on every stream; else 421 ([`authority`]). No server name, or bytes that are not TLS, end the tunnel.
//! A tunnel inside of a tunnel is refused.
//!
//! **A look.** A host that tools have for nothing but its token endpoint is intercepted, so that a refresh is
//! answered here. What a client reads there besides (metadata, keys) goes on without a credential where egress is
//! open, and is refused where it is not.
//!
//! **One tool.** Several tools may have one host (two connections of one provider, a token endpoint that many
//! share). Before the first request nobody knows which is meant, so TLS is spoken in the name of the first
//! tool, by name, that the task has a living grant for: its authority is what the client was given to trust. Each
//! request then goes to the tool that its reference names.

mod authority;
mod hello;
mod open;
mod splice;
mod tunnel;

use super::{Asked, addressed, addressed::Addressed, framing, handshake, local};
use crate::{
    answer::{self, OutBody},
    corridor::{self, Corridor, Entry, InBody, Look, Reach, part_of},
    gateway::{Shared, Tunnels},
    peer::Peer,
};
use http::{HeaderMap, Response, Version, header, request::Parts};
use hyper::{body::Body as _, upgrade::OnUpgrade};
use nightlatch_domain::{
    clock::Timestamp,
    companion::PLAIN_HTTP_AUTHORITY,
    exchange::Target,
    id::CallId,
    ports::sight::Door,
    problem::{Problem, ProblemKind},
};
use nightlatch_egress::Destination;
use open::NoWay;
use std::sync::Arc;
use tunnel::{Tunnel, Way};

/// Answers CONNECT at a listener.
pub(super) async fn connect(
    shared: &Arc<Shared>,
    peer: &Arc<Peer>,
    tunnels: &Tunnels,
    call: CallId,
    mut head: Parts,
) -> Response<OutBody> {
    let upgrade = head.extensions.remove::<OnUpgrade>();
    let asked = asked(peer, &head);
    let named = asked.as_ref().ok().cloned();
    let begun = match (asked, upgrade) {
        (Ok(to), Some(upgrade)) => begin(shared, peer, tunnels, (call, to), upgrade).await,
        (Err(problem), _) => Err(problem.into()),
        (Ok(_), None) => Err(Problem::new(ProblemKind::NotSupported).at_field("method").into()),
    };
    match begun {
        // RFC 9110 §9.3.6: a 2xx to CONNECT has neither a length nor content.
        Ok(()) => {
            let mut answer = Response::new(answer::whole(bytes::Bytes::new()));
            answer::name_call(answer.headers_mut(), call);
            answer
        }
        Err(no_way) => no_way.answer(&shared.corridor, peer, call, named.as_ref()).await,
    }
}

/// Where a CONNECT wants to go.
fn asked(peer: &Peer, head: &Parts) -> Result<Destination, Problem> {
    framing::check_connect(head)?;
    let named_us = peer.server_name.as_deref().is_none_or(|name| peer.names.admits_server(name));
    if !named_us {
        return Err(Problem::new(ProblemKind::Misdirected).at_field("server-name"));
    }
    authority::of_connect(head)
}

/// Begins the tunnel, or says why not.
async fn begin(
    shared: &Arc<Shared>,
    peer: &Arc<Peer>,
    tunnels: &Tunnels,
    (call, to): (CallId, Destination),
    upgrade: OnUpgrade,
) -> Result<(), NoWay> {
    let corridor = &shared.corridor;
    // From here on, before anybody is told that the tunnel stands.
    let endings = corridor.wakes.endings();
    let full = || Problem::new(ProblemKind::TooManyCalls).retry_after(1);
    // Before anything that costs: who is not admitted has none.
    corridor.admitted(peer)?;
    let place = shared.places.take_tunnel(peer, &corridor.limits).ok_or_else(full)?;
    let way = if format!("{}:{}", to.host(), to.port()) == PLAIN_HTTP_AUTHORITY {
        Way::PlainHttp
    } else {
        match corridor.reach(peer, &to)? {
            Reach::Bound(_) => Way::Intercepted(to),
            Reach::Open => {
                let opening = corridor.opening(peer, &to, call, &corridor::Way::Unbound).await?;
                let socket = open::dial(corridor, &to, &opening.awake).await?;
                Way::Spliced { to, socket, opening }
            }
        }
    };
    let (shared, peer) = (Arc::clone(shared), Arc::clone(peer));
    tunnels
        .begin(|ends, busy| tunnel::run(Tunnel { shared, peer, way, upgrade, ends, endings, place, busy }));
    Ok(())
}

/// Answers a request inside of a tunnel to `to`.
pub(super) async fn within(
    shared: &Arc<Shared>,
    peer: &Peer,
    to: &Destination,
    (call, at): (CallId, Timestamp),
    (head, body, switching): Asked,
) -> Response<OutBody> {
    let (corridor, body) = (&shared.corridor, InBody::from(body));
    let addressed = match target_within(peer, to, &head) {
        Ok(target) if switching.is_none() && is_look(corridor, peer, to, (&head.headers, &target), &body) => {
            let (to, headers) = (to.clone(), head.headers);
            return open::pass(corridor, peer, open::Asked { call, to, target, headers, body, looks: true })
                .await;
        }
        Ok(target) => address(corridor, peer, to, (&head.headers, target), at),
        Err(problem) => Err(problem),
    };
    let entry = Entry { call, at, door: Door::Proxy, addressed, headers: head.headers, body, switching };
    corridor::walk(corridor, peer, entry).await
}

fn target_within(peer: &Peer, to: &Destination, head: &Parts) -> Result<Target, Problem> {
    framing::check(head)?;
    authority::check_inside(head, to, peer.server_name.as_deref())?;
    handshake::check_origin(head, "https")?;
    let target = local::origin_form(&head.uri, head.version == Version::HTTP_2)?;
    addressed::target(head.method.as_str(), target)
}

/// Whether a request is a mere look at what is public beside a token endpoint: it says nothing, either.
fn is_look(
    corridor: &Corridor,
    peer: &Peer,
    to: &Destination,
    (headers, target): (&HeaderMap, &Target),
    body: &InBody,
) -> bool {
    body.is_end_stream() && corridor.looks(peer, to, &Look { target, headers }).is_ok()
}

/// Answers a request in absolute form (RFC 9112 §3.2.2), which is one for a proxy.
pub(super) async fn plain(
    shared: &Arc<Shared>,
    peer: &Peer,
    (call, at): (CallId, Timestamp),
    (mut head, body, switching): Asked,
) -> Response<OutBody> {
    let (corridor, body) = (&shared.corridor, InBody::from(body));
    // RFC 9110 §11.7.2: it was for the proxy before us.
    head.headers.remove(header::PROXY_AUTHORIZATION);
    let asked = asked_plainly(&head);
    let reached = asked.and_then(|(to, target)| Ok((corridor.reach(peer, &to)?, to, target)));
    let addressed = match reached {
        // No tool has the host, so none lists an upgrade there.
        Ok((Reach::Open, to, _)) if switching.is_some() => {
            let problem = Problem::new(ProblemKind::NotSupported).at_field("upgrade");
            return corridor::refuse(corridor, peer, (call, Some(Door::Proxy)), problem, Some(&to)).await;
        }
        Ok((Reach::Open, to, target)) => {
            let headers = head.headers;
            return open::pass(corridor, peer, open::Asked { call, to, target, headers, body, looks: false })
                .await;
        }
        Err(problem) if matches!(problem.kind, ProblemKind::EgressDenied | ProblemKind::CompanionOnly) => {
            let to = authority::of_plain(&head).ok();
            return corridor::refuse(corridor, peer, (call, Some(Door::Proxy)), problem, to.as_ref()).await;
        }
        Ok((Reach::Bound(_), to, target)) => address(corridor, peer, &to, (&head.headers, target), at),
        Err(problem) => Err(problem),
    };
    let entry = Entry { call, at, door: Door::Proxy, addressed, headers: head.headers, body, switching };
    corridor::walk(corridor, peer, entry).await
}

fn asked_plainly(head: &Parts) -> Result<(Destination, Target), Problem> {
    framing::check(head)?;
    let bad = || Problem::new(ProblemKind::BadRequest).at_field("target");
    // What needs TLS is asked for by CONNECT.
    if head.uri.scheme_str() != Some("http") {
        return Err(bad());
    }
    let to = authority::of_plain(head)?;
    handshake::check_origin(head, "http")?;
    let target = head.uri.path_and_query().ok_or_else(bad)?;
    Ok((to, addressed::target(head.method.as_str(), target.as_str())?))
}

/// Which host of which tool a request at this origin means.
fn address(
    corridor: &Corridor,
    peer: &Peer,
    to: &Destination,
    (headers, target): (&HeaderMap, Target),
    at: Timestamp,
) -> Result<Addressed, Problem> {
    let admitted = corridor.admitted(peer)?;
    let tables = corridor.directory.view()?;
    let tenant = admitted.caller.tenant;
    let parts = tables.parts_at(tenant, to);
    let token = || tables.tools_with_token_endpoint(tenant, to, &target.path).pop_first();
    let meant = part_of(&admitted, &tables, &parts, (headers, &target), at);
    let meant = meant.or_else(|| Some((token()?, String::new())));
    let denied = || Problem::new(ProblemKind::DestinationDenied).at_field("target");
    let (tool, route) = meant.ok_or_else(denied)?;
    Ok(Addressed { tool, route, origin: Some(to.clone()), target })
}

/// Whether a request is in absolute form, as one sends it to a proxy. Over HTTP/2 every request names its
/// authority, and CONNECT is the only way to ask for a proxy.
pub(super) fn is_absolute(head: &Parts) -> bool {
    head.version != Version::HTTP_2 && head.uri.scheme().is_some()
}

/// What a stream for a local client's bytes may not hold: requests in another form.
pub(super) fn not_for_a_proxy(head: &Parts) -> Problem {
    match head.method == http::Method::CONNECT {
        // A tunnel inside of a tunnel.
        true => Problem::new(ProblemKind::NotSupported).at_field("method"),
        false => Problem::new(ProblemKind::BadRequest).at_field("target"),
    }
}
