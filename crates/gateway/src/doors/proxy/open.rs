//! A request that goes on to its host without a credential of ours: plain HTTP to a host that no tool has, and a
//! look at what is public beside a token endpoint. Only for a task whose egress is open.
//!
//! The request is written anew, like any other, without what belongs to a hop; no credential is attached, and
//! what the agent itself puts there is its own. One connection a request: it is rare, and nothing is shared.

mod flow;

use crate::{
    answer::{self, OutBody},
    corridor::{self, Corridor, Counted, InBody, Look, Way, upward},
    fields,
    peer::Peer,
    wakes::Awake,
};
use flow::{Driver, Flow, Kept};
use http::{HeaderMap, HeaderValue, Request, Response, header};
use http_body_util::BodyExt as _;
use hyper::{
    body::Incoming,
    client::conn::http1::{self, SendRequest},
};
use hyper_util::rt::TokioIo;
use nightlatch_domain::{
    exchange::Target,
    id::CallId,
    ports::sight::Door,
    problem::{Problem, ProblemKind},
};
use nightlatch_egress::{Destination, EgressError, Fault, SendBody, Stream};
use std::time::Duration;
use tokio::{
    net::TcpStream,
    time::{sleep, timeout},
};

/// The answer's head, in fields.
const ANSWER_FIELDS_MAX: usize = 128;
/// How often it is looked whether the wake goes on, while nothing moves.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// A request that carries nothing of ours.
pub(super) struct Asked {
    pub(super) call: CallId,
    pub(super) to: Destination,
    pub(super) target: Target,
    pub(super) headers: HeaderMap,
    pub(super) body: InBody,
    /// Tools have the host, and it is a look at something else there.
    pub(super) looks: bool,
}

/// Why a way did not come about.
pub(super) struct NoWay {
    /// What is recorded; none where the ledger has what can be said: that the way was opened.
    recorded: Option<Problem>,
    told: Problem,
}

impl From<Problem> for NoWay {
    fn from(problem: Problem) -> Self {
        Self { recorded: Some(problem.clone()), told: problem }
    }
}

impl NoWay {
    /// Where the host could not be reached. An address that may not be dialled and one that is not there are
    /// told alike: an agent learns nothing of what names mean in the networks around us. That nobody answered
    /// is what came of the way that was recorded; that we would not go is a refusal.
    fn unreached(error: &EgressError) -> Self {
        let kind = match error {
            // That names of its own are not answered is its own affair.
            EgressError::LookupsFull(_) => ProblemKind::TooManyCalls,
            _ => ProblemKind::UpstreamUnreachable,
        };
        let told = Problem::new(kind).retry_after(2);
        let is_refused = error.fault() == Fault::Refused;
        let denied = || Problem::new(ProblemKind::DestinationDenied).at_field("target");
        Self { recorded: is_refused.then(denied), told }
    }

    /// What happened after the way was recorded.
    const fn after(told: Problem) -> Self {
        Self { recorded: None, told }
    }

    /// Records what is not yet recorded, and answers.
    pub(super) async fn answer(
        self,
        corridor: &Corridor,
        peer: &Peer,
        call: CallId,
        to: Option<&Destination>,
    ) -> Response<OutBody> {
        let mut told = self.told;
        if let Some(problem) = self.recorded {
            let kind = problem.kind;
            let noted = corridor::note_refusal(corridor, peer, (call, Some(Door::Proxy)), problem, to).await;
            // Else it could not be recorded, and that is told.
            if noted.kind != kind {
                told = noted;
            }
        }
        told.call = Some(call);
        answer::problem(&told)
    }
}

/// Passes a request on, and its answer back.
pub(super) async fn pass(corridor: &Corridor, peer: &Peer, asked: Asked) -> Response<OutBody> {
    let (call, to) = (asked.call, asked.to.clone());
    match passed(corridor, peer, asked).await {
        Ok(mut answer) => {
            answer::name_call(answer.headers_mut(), call);
            answer
        }
        Err(no_way) => no_way.answer(corridor, peer, call, Some(&to)).await,
    }
}

/// Dials a host that no tool has.
///
/// # Errors
/// [`NoWay`].
pub(super) async fn dial(corridor: &Corridor, to: &Destination, awake: &Awake) -> Result<TcpStream, NoWay> {
    let deadline = corridor.clock.boot().plus(corridor.limits.connect_within);
    let socket = corridor.pool.connector().connect_bare(awake.agent(), to, deadline).await;
    socket.map_err(|error| NoWay::unreached(&error))
}

async fn passed(corridor: &Corridor, peer: &Peer, asked: Asked) -> Result<Response<OutBody>, NoWay> {
    let way = match asked.looks {
        true => Way::Look(Look { target: &asked.target, headers: &asked.headers }),
        false => Way::Unbound,
    };
    let opening = corridor.opening(peer, &asked.to, asked.call, &way).await?;
    let limits = &corridor.limits;
    let (mut sender, driver) = tokio::select! {
        () = over(&opening.awake) => {
            return Err(NoWay::after(Problem::new(ProblemKind::CredentialPending).retry_after(1)));
        }
        connected = connected(corridor, &asked.to, &opening.awake) => connected?,
    };
    let request = written(corridor, asked).map_err(NoWay::after)?;
    let unknown = || NoWay::after(Problem::new(ProblemKind::OutcomeUnknown));
    let answer = tokio::select! {
        // What was sent until then was sent.
        () = over(&opening.awake) => return Err(unknown()),
        answer = timeout(limits.answer_within, sender.send_request(request)) => answer,
    };
    let answer = answer.map_err(|_| NoWay::after(Problem::new(ProblemKind::UpstreamTimeout)))?;
    let answer = answer.map_err(|_| unknown())?;
    if answer.status().is_informational() {
        // RFC 9110 §15.2.2: nobody asked to switch.
        return Err(NoWay::after(Problem::new(ProblemKind::NotSupported).at_field("upgrade")));
    }
    Ok(shown(answer, Kept { opening, _driver: driver }, corridor))
}

/// Comes when a wake is over.
async fn over(awake: &Awake) {
    while !awake.is_over() {
        sleep(LOOK_EVERY).await;
    }
}

/// A connection to the host, with TLS where it speaks that.
async fn connected(
    corridor: &Corridor,
    to: &Destination,
    awake: &Awake,
) -> Result<(SendRequest<SendBody>, Driver), NoWay> {
    let limits = &corridor.limits;
    let deadline = corridor.clock.boot().plus(limits.connect_within);
    let stream: Stream = corridor
        .pool
        .connector()
        .connect_open(awake.agent(), to, deadline)
        .await
        .map_err(|error| NoWay::unreached(&error))?;
    let mut builder = http1::Builder::new();
    builder
        .max_headers(ANSWER_FIELDS_MAX)
        .max_header_size(limits.head_max_bytes)
        .max_buf_size(limits.head_max_bytes);
    let unreached = |_| NoWay::after(Problem::new(ProblemKind::UpstreamUnreachable).retry_after(2));
    let (sender, connection) =
        builder.handshake::<_, SendBody>(TokioIo::new(stream)).await.map_err(unreached)?;
    // Whatever becomes of it, the answer's body tells.
    let driver = tokio::spawn(async move { drop(connection.await) }).abort_handle();
    Ok((sender, Driver(driver)))
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
    let is_of_hop = |name: &str| {
        // RFC 9110 §10.1.1: whoever expects a 100 was answered by us.
        fields::is_of_hop(name) || name == header::EXPECT || named.iter().any(|own| own == name)
    };
    for (name, value) in headers.iter().filter(|(name, _)| !is_of_hop(name.as_str())) {
        request.headers_mut().append(name, value.clone());
    }
    Ok(request)
}

fn shown(answer: Response<Incoming>, kept: Kept, corridor: &Corridor) -> Response<OutBody> {
    let (head, body) = answer.into_parts();
    let named = fields::connection_named(&head.headers).unwrap_or_default();
    let flow = Flow::new(body, kept, &corridor.limits);
    let lifeline = flow.lifeline();
    let mut answer = Response::new(flow.boxed_unsync());
    answer.extensions_mut().insert(lifeline);
    *answer.status_mut() = head.status;
    for (name, value) in &head.headers {
        if !fields::is_of_hop(name.as_str()) && !named.iter().any(|own| own == name.as_str()) {
            answer.headers_mut().append(name, value.clone());
        }
    }
    answer
}

#[cfg(test)]
mod tests {
    //! Proves that an agent is told apart what it may do about it, and nothing else.

    use super::NoWay;
    use nightlatch_domain::problem::ProblemKind;
    use nightlatch_egress::{EgressError, address::AddressClass};

    #[test]
    fn too_many_lookups_are_told_as_such_and_every_other_way_that_fails_alike() {
        let host = || "evil.test".to_owned();
        let (address, class) = ([10, 0, 0, 1].into(), AddressClass::Private);
        for (error, told, recorded) in [
            (EgressError::LookupsFull(host()), ProblemKind::TooManyCalls, None),
            (EgressError::ConnectTimeout(host()), ProblemKind::UpstreamUnreachable, None),
            (
                EgressError::Forbidden { host: host(), address, class },
                ProblemKind::UpstreamUnreachable,
                Some(ProblemKind::DestinationDenied),
            ),
        ] {
            let no_way = NoWay::unreached(&error);
            assert_eq!((no_way.told.kind, no_way.recorded.map(|problem| problem.kind)), (told, recorded));
        }
    }
}
