//! Doors: what comes in over HTTP, checked as HTTP, and handed to the corridor.
//!
//! Over HTTP/1.1 everything has passed the [strict] reader before it comes here. Every request is asked whether it
//! means the place that it came to, and whether it can be read in one way only ([`framing`]); a no is carried into
//! the corridor, so that it is recorded under whoever was admitted.
//! Its form says which door it came to: an origin-form request at a listener is for our own paths under `/v1`
//! ([`own`]) or for the [`route`] door, a base URL per tool; CONNECT and absolute-form are for the [`proxy`]
//! door. Inside of a tunnel there is nothing but requests to its one host.

mod addressed;
mod framing;
mod handshake;
pub(crate) mod local;
mod own;
mod proxy;
mod route;
pub(crate) mod strict;

pub(crate) use addressed::{Addressed, target};

use crate::{
    answer::{self, OutBody},
    corridor::{self, Entry, Switching},
    gateway::{Shared, Tunnels},
    peer::{Peer, Through},
};
use http::{HeaderValue, Method, Request, Response, StatusCode, Version, header, request::Parts};
use hyper::body::{Body as _, Incoming};
use nightlatch_domain::{
    clock::Timestamp,
    id::CallId,
    ports::sight::Door,
    problem::{Problem, ProblemKind},
};
use std::sync::Arc;
use strict::Fault;

/// A request as it came: its head, its body, and the handshake that was in it.
type Asked = (Parts, Incoming, Option<Switching>);

/// Answers one request.
pub(crate) async fn answer(
    shared: &Arc<Shared>,
    peer: &Arc<Peer>,
    tunnels: &Arc<Tunnels>,
    request: Request<Incoming>,
) -> Response<OutBody> {
    let (mut head, body) = request.into_parts();
    let is_http2 = head.version == Version::HTTP_2;
    // Over HTTP/1.1 they have been counted; over HTTP/2 only the length of all of them has a bound.
    if is_http2 && head.headers.len() > shared.corridor.limits.headers_max {
        return refused(shared, peer, Fault::TooManyFields).await;
    }
    let at = shared.corridor.clock.now();
    let Ok(noise) = shared.noise.draw(shared.entropy.as_ref()) else {
        return answer::problem(&Problem::new(ProblemKind::Internal));
    };
    let call = CallId::new(at, noise);
    let is_connect = head.method == Method::CONNECT;
    // What is left of a body that nobody read, or what followed a request for another protocol, could be taken
    // for the next request.
    let asks = is_connect || head.headers.contains_key(header::UPGRADE);
    let closes = !body.is_end_stream() || asks;
    let switching = handshake::take(&mut head, tunnels);
    let mut answer = match &peer.through {
        Through::Listener if is_connect => proxy::connect(shared, peer, tunnels, call, head).await,
        Through::Listener | Through::PlainProxy if proxy::is_absolute(&head) => {
            proxy::plain(shared, peer, (call, at), (head, body, switching)).await
        }
        Through::Listener => at_listener(shared, peer, (call, at), (head, body, switching)).await,
        Through::PlainProxy => {
            let (of, problem) = ((call, peer.through.door()), proxy::not_for_a_proxy(&head));
            corridor::refuse(&shared.corridor, peer, of, problem, None).await
        }
        Through::Tunnel(to) => proxy::within(shared, peer, to, (call, at), (head, body, switching)).await,
    };
    // RFC 6455 §4.1: what an agent sent after a handshake that came to nothing is no request, whoever said no.
    let is_left = asks && !is_connect && answer.status() != StatusCode::SWITCHING_PROTOCOLS;
    if !is_http2 && (is_left || ends_connection(&answer, closes)) {
        answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    answer
}

/// Answers what the strict reader did not let pass, and closes.
pub(crate) async fn refuse(shared: &Shared, peer: &Peer, fault: Fault) -> Response<OutBody> {
    let mut answer = refused(shared, peer, fault).await;
    answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    answer
}

async fn refused(shared: &Shared, peer: &Peer, fault: Fault) -> Response<OutBody> {
    let Ok(noise) = shared.noise.draw(shared.entropy.as_ref()) else {
        return answer::problem(&Problem::new(ProblemKind::Internal));
    };
    let call = CallId::new(shared.corridor.clock.now(), noise);
    corridor::refuse(&shared.corridor, peer, (call, peer.through.door()), fault.problem(), None).await
}

/// Answers a request in origin form, which means this listener.
async fn at_listener(
    shared: &Arc<Shared>,
    peer: &Peer,
    (call, at): (CallId, Timestamp),
    (head, body, switching): Asked,
) -> Response<OutBody> {
    match check(&head, peer) {
        Ok(())
            if switching.is_none()
                && let Some(own) = own::meant(&head) =>
        {
            own::answer(shared, peer, (call, at), own, (&head.headers, body)).await
        }
        // RFC 9110 §15.5.20: whoever it is came to the wrong place, and learns no more than that.
        Err(problem) if problem.kind == ProblemKind::Misdirected && !is_known(shared, peer) => {
            corridor::refuse(&shared.corridor, peer, (call, peer.through.door()), problem, None).await
        }
        checked => {
            let addressed = checked.and_then(|()| address(&head));
            let (door, headers, body) = (Door::Route, head.headers, body.into());
            let entry = Entry { call, at, door, addressed, headers, body, switching };
            corridor::walk(&shared.corridor, peer, entry).await
        }
    }
}

/// Whether what the connection proved is enrolled. Whether it is admitted, the corridor says.
pub(crate) fn is_known(shared: &Shared, peer: &Peer) -> bool {
    let tables = shared.corridor.directory.tables();
    peer.binding.as_ref().is_some_and(|binding| tables.enrolment(binding).is_some())
}

/// Whether an answer is the last one: one of ours that did not wait for what came with the request, or to a request
/// that could be read in two ways or for two places.
fn ends_connection(answer: &Response<OutBody>, closes: bool) -> bool {
    let extensions = answer.extensions();
    match extensions.get::<ProblemKind>() {
        Some(ProblemKind::BadRequest | ProblemKind::Misdirected) => true,
        Some(_) => closes,
        None => closes && extensions.get::<answer::PerhapsUnread>().is_some(),
    }
}

/// Whether the request means this listener, and can be read in one way.
fn check(head: &Parts, peer: &Peer) -> Result<(), Problem> {
    framing::check(head)?;
    local::check(head, &peer.names, peer.server_name.as_deref())?;
    local::origin_form(&head.uri, head.version == Version::HTTP_2).map(|_| ())
}

fn address(head: &Parts) -> Result<Addressed, Problem> {
    let target = local::origin_form(&head.uri, head.version == Version::HTTP_2)?;
    route::read(head.method.as_str(), target)
}
