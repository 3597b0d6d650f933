//! Plain HTTP to a host that no tool has, for a task whose egress is open.
//!
//! The request is written anew, like any other, without what belongs to a hop; no credential is attached, and
//! what the agent itself puts there is its own. One connection a request: it is rare, and nothing is shared.

use crate::{
    answer::{self, OutBody},
    corridor::{self, Corridor, Counted, Opening, upward},
    error::BodyError,
    fields,
    peer::Peer,
};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, header};
use http_body_util::BodyExt as _;
use hyper::{
    body::{Body, Frame, Incoming, SizeHint},
    client::conn::http1,
};
use hyper_util::rt::TokioIo;
use nightlatch_domain::{
    exchange::Target,
    id::CallId,
    problem::{Problem, ProblemKind},
};
use nightlatch_egress::{Destination, EgressError, Fault, SendBody};
use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    net::TcpStream,
    task::AbortHandle,
    time::{Instant, Sleep, timeout},
};

/// The answer's head, in fields.
const ANSWER_FIELDS_MAX: usize = 128;

/// A request for a host that no tool has.
pub(super) struct Asked {
    pub(super) call: CallId,
    pub(super) to: Destination,
    pub(super) target: Target,
    pub(super) headers: HeaderMap,
    pub(super) body: Incoming,
}

/// Passes a request on, and its answer back.
pub(super) async fn pass(corridor: &Corridor, peer: &Peer, asked: Asked) -> Response<OutBody> {
    let (call, host) = (asked.call, asked.to.host().to_owned());
    match passed(corridor, peer, asked).await {
        Ok(mut answer) => {
            answer::name_call(answer.headers_mut(), call);
            answer
        }
        Err(problem) => corridor::refuse(corridor, peer, call, problem, Some(&host)).await,
    }
}

/// Dials a host that no tool has.
///
/// # Errors
/// [`ProblemKind::DestinationDenied`] for an address that nobody allowed, [`ProblemKind::UpstreamUnreachable`].
pub(super) async fn dial(corridor: &Corridor, to: &Destination) -> Result<TcpStream, Problem> {
    let deadline = corridor.clock.boot().plus(corridor.limits.connect_within);
    let socket = corridor.pool.connector().connect_bare(to, deadline).await;
    socket.map_err(|error| unreached(&error))
}

fn unreached(error: &EgressError) -> Problem {
    match error.fault() {
        Fault::Refused => Problem::new(ProblemKind::DestinationDenied).at_field("target"),
        Fault::Unreachable | Fault::NoAnswer | Fault::TimedOut => {
            Problem::new(ProblemKind::UpstreamUnreachable).retry_after(2)
        }
    }
}

async fn passed(corridor: &Corridor, peer: &Peer, asked: Asked) -> Result<Response<OutBody>, Problem> {
    let opening = corridor.opening(peer, &asked.to, asked.call).await?;
    let socket = dial(corridor, &asked.to).await?;
    let limits = &corridor.limits;
    let mut builder = http1::Builder::new();
    builder
        .max_headers(ANSWER_FIELDS_MAX)
        .max_header_size(limits.head_max_bytes)
        .max_buf_size(limits.head_max_bytes);
    let unreached = |_| Problem::new(ProblemKind::UpstreamUnreachable).retry_after(2);
    let (mut sender, connection) =
        builder.handshake::<_, SendBody>(TokioIo::new(socket)).await.map_err(unreached)?;
    // Whatever becomes of it, the answer's body tells.
    let driver = Driver(tokio::spawn(async move { drop(connection.await) }).abort_handle());
    let request = written(corridor, asked)?;
    let answer = timeout(limits.answer_within, sender.send_request(request)).await;
    let answer = answer.map_err(|_| Problem::new(ProblemKind::UpstreamTimeout))?;
    let answer = answer.map_err(|_| Problem::new(ProblemKind::OutcomeUnknown))?;
    if answer.status().is_informational() {
        // RFC 9110 §15.2.2: nobody asked to switch.
        return Err(Problem::new(ProblemKind::NotSupported).at_field("upgrade"));
    }
    Ok(shown(answer, Kept { opening, _driver: driver }, limits.body_idle))
}

/// The request without what belongs to a hop.
fn written(corridor: &Corridor, asked: Asked) -> Result<Request<SendBody>, Problem> {
    let Asked { to, target, headers, body, .. } = asked;
    let bad = || Problem::new(ProblemKind::BadRequest);
    let named = fields::connection_named(&headers).ok_or_else(|| bad().at_field("connection"))?;
    let query = target.query.map(|query| format!("?{query}")).unwrap_or_default();
    let uri = format!("{}{query}", target.path);
    let body = upward(body, Counted::new(corridor.ledger.body_digest()), corridor.limits.body_idle);
    let mut request = Request::builder()
        .method(target.method.as_str())
        .uri(uri)
        .header(header::HOST, HeaderValue::from_str(&to.authority()).map_err(|_| bad())?)
        .body(body)
        .map_err(|_| bad())?;
    let is_of_hop = |name: &str| fields::is_of_hop(name) || named.iter().any(|own| own == name);
    for (name, value) in headers.iter().filter(|(name, _)| !is_of_hop(name.as_str())) {
        request.headers_mut().append(name, value.clone());
    }
    Ok(request)
}

fn shown(answer: Response<Incoming>, kept: Kept, idle: Duration) -> Response<OutBody> {
    let (head, body) = answer.into_parts();
    let named = fields::connection_named(&head.headers).unwrap_or_default();
    let sleep = Box::pin(tokio::time::sleep(idle));
    let mut answer = Response::new(Passing { body, kept, idle, sleep }.boxed_unsync());
    *answer.status_mut() = head.status;
    for (name, value) in &head.headers {
        if !fields::is_of_hop(name.as_str()) && !named.iter().any(|own| own == name.as_str()) {
            answer.headers_mut().append(name, value.clone());
        }
    }
    answer
}

/// What an answer under way keeps.
struct Kept {
    opening: Opening,
    _driver: Driver,
}

/// Ends the connection when it is dropped.
struct Driver(AbortHandle);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// An answer's body on its way to the agent.
struct Passing {
    body: Incoming,
    kept: Kept,
    idle: Duration,
    sleep: Pin<Box<Sleep>>,
}

impl Body for Passing {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.kept.opening.awake.is_over() {
            return Poll::Ready(Some(Err(BodyError::Ended)));
        }
        let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) else {
            return match self.sleep.as_mut().poll(context) {
                Poll::Ready(()) => Poll::Ready(Some(Err(BodyError::Idle))),
                Poll::Pending => Poll::Pending,
            };
        };
        let until = Instant::now() + self.idle;
        self.sleep.as_mut().reset(until);
        Poll::Ready(frame.map(|frame| match frame.map(Frame::into_data) {
            Ok(Ok(data)) => Ok(Frame::data(data)),
            // No phase has looked at them.
            Ok(Err(_)) => Err(BodyError::Trailers),
            Err(_) => Err(BodyError::BrokeOff),
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
