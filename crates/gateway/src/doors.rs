//! Doors: what comes in over HTTP, checked as HTTP, and handed to the corridor.
//!
//! Every request is asked whether it means this listener ([`local`]) and whether it can be read in one way
//! only ([`framing`]); a no is carried into the corridor, so that it is recorded under whoever was admitted.
//! Then there are two doors: our own paths under `/v1`, of which `enrol` is the one that is built, and
//! [`route`], a base URL per tool.

mod enrol;
mod framing;
pub(crate) mod local;
pub(crate) mod route;

use crate::{
    answer::{self, OutBody},
    corridor::{self, Entry},
    gateway::Shared,
    peer::Peer,
};
use http::{HeaderValue, Request, Response, Version, header, request::Parts};
use hyper::body::{Body as _, Incoming};
use nightlatch_domain::{
    clock::random,
    id::CallId,
    problem::{Problem, ProblemKind},
};
use route::Addressed;

/// Answers one request.
pub(crate) async fn answer(shared: &Shared, peer: &Peer, request: Request<Incoming>) -> Response<OutBody> {
    let (head, body) = request.into_parts();
    let at = shared.corridor.clock.now();
    let Ok(noise) = random(shared.entropy.as_ref()) else {
        return answer::problem(&Problem::new(ProblemKind::Internal));
    };
    let call = CallId::new(at, noise);
    let checked = check(&head, peer);
    let closes = head.version != Version::HTTP_2 && (checked.is_err() || !body.is_end_stream());
    let mut answer = match checked {
        Ok(()) if enrol::is_meant(&head) => enrol::answer(shared, peer, call, body).await,
        // RFC 9110 §15.5.20: whoever it is came to the wrong place, and learns no more than that.
        Err(problem) if problem.kind == ProblemKind::Misdirected && !is_known(shared, peer) => {
            corridor::refuse(&shared.corridor, peer, call, problem).await
        }
        checked => {
            let addressed = checked.and_then(|()| address(&head));
            let entry = Entry { call, at, addressed, headers: head.headers, body };
            corridor::walk(&shared.corridor, peer, entry).await
        }
    };
    // What is left of a body that nobody read could be taken for the next request.
    if closes && is_refusal(&answer) {
        answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    answer
}

/// Whether what the connection proved is enrolled. Whether it is admitted, the corridor says.
pub(crate) fn is_known(shared: &Shared, peer: &Peer) -> bool {
    let tables = shared.corridor.directory.tables();
    peer.binding.as_ref().is_some_and(|binding| tables.enrolment(binding).is_some())
}

fn is_refusal(answer: &Response<OutBody>) -> bool {
    answer.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind == "application/problem+json")
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
