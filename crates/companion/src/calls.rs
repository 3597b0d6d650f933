//! The companion's own door: durable calls, for programs that hold no key.
//!
//! A program asks its proxy for `http://nightlatch.invalid/v1/calls`, a host that nobody can have (RFC 6761 §6.4), and
//! the companion asks the gateway. That is all that it ever reads of a program's: such a request is addressed to it, and
//! nothing of a tunnel comes here. What the door is for is the mandate: a call that shall go on without its agent needs
//! the agent's signature, and only the companion can give that. It signs for a call that came through here, for exactly
//! the bytes that came, and for the task that it was enrolled for or woke; a gateway that names other bytes, or a task
//! before that, gets no signature.
//!
//! What came through is remembered in memory, as far back as a task may have calls. After a restart a program
//! repeats its request, with the same key and bytes, which makes no second call.

use crate::{
    answer::Answer,
    error::CompanionError,
    gateway_key::{hex, sha256},
    head::Own,
    line::{Line, Relayed},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, StatusCode, header};
use nightlatch_domain::{
    call::{Mandate, SignedMandate},
    clock::Timestamp,
    companion::CALLS_PATH,
    id::{CallId, ConnectionId, GrantId, InstallationId, TaskId, TenantId},
    problem::{Problem, ProblemKind},
};
use serde::Deserialize;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

/// As many calls as the gateway keeps of a task.
const REMEMBERED_MAX: usize = 1000;

/// What a program wants of this door.
enum Asks {
    Post,
    Look(CallId),
    Mandate(CallId),
}

/// Which of them it is, if any.
fn meant(own: &Own) -> Option<Asks> {
    let rest = own.path.strip_prefix(CALLS_PATH)?;
    if rest.is_empty() {
        return (own.method == Method::POST).then_some(Asks::Post);
    }
    let rest = rest.strip_prefix('/')?;
    match (&own.method, rest.strip_suffix("/mandate")) {
        (&Method::GET, None) => rest.parse().ok().map(Asks::Look),
        (&Method::PUT, Some(id)) => id.parse().ok().map(Asks::Mandate),
        _ => None,
    }
}

/// The door.
pub(crate) struct Calls {
    line: Arc<Line>,
    /// SHA-256 of the bytes of each call that came through, hexadecimal; the oldest first.
    made: Mutex<BTreeMap<CallId, String>>,
}

impl Calls {
    pub(crate) fn new(line: Arc<Line>) -> Self {
        Self { line, made: Mutex::default() }
    }

    /// Answers a request that is addressed to the companion.
    pub(crate) async fn answer(&self, own: Own, body: Bytes) -> Answer {
        let answered = match meant(&own) {
            Some(Asks::Post) => self.post(&own, body).await,
            Some(Asks::Look(call)) => self.relay(request(Method::GET, &path(call), Bytes::new())).await,
            Some(Asks::Mandate(call)) => self.mandate(call, &body).await,
            None => Err(ProblemKind::NotFound.into()),
        };
        match answered {
            Ok(relayed) => Answer::of(relayed.status, &relayed.headers, relayed.body, &CARRIED),
            Err(problem) => Answer::problem(&problem),
        }
    }

    async fn post(&self, own: &Own, body: Bytes) -> Result<Relayed, Problem> {
        let request_sha256 = hex(&sha256(&body));
        let mut asked = request(Method::POST, CALLS_PATH, body);
        for (name, value) in &own.handed_on {
            let value = HeaderValue::from_bytes(value).map_err(|_| bad(name.as_str()))?;
            asked.headers_mut().insert(name, value);
        }
        let relayed = self.relay(asked).await?;
        let place = relayed.headers.get(header::LOCATION).and_then(|place| place.to_str().ok());
        let call = place.and_then(|place| place.strip_prefix(CALLS_PATH)?.strip_prefix('/')?.parse().ok());
        if let Some(call) = call {
            self.remember(call, request_sha256);
        }
        Ok(relayed)
    }

    fn remember(&self, call: CallId, request_sha256: String) {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        made.insert(call, request_sha256);
        while made.len() > REMEMBERED_MAX {
            made.pop_first();
        }
    }

    /// Signs for a call that came through here, and brings the signature.
    async fn mandate(&self, call: CallId, body: &[u8]) -> Result<Relayed, Problem> {
        let Ends { not_after } = serde_json::from_slice(body).map_err(|_| bad("body"))?;
        let made = self.made.lock().unwrap_or_else(PoisonError::into_inner).get(&call).cloned();
        let request_sha256 = made.ok_or(ProblemKind::CallUnknown)?;
        let shown = self.relay(request(Method::GET, &path(call), Bytes::new())).await?;
        if !shown.status.is_success() {
            return Ok(shown);
        }
        let Shown { mandate } =
            serde_json::from_slice(&shown.body).map_err(|_| ProblemKind::MandateRejected)?;
        // A call that is over needs none.
        let Some(named) = mandate else { return Ok(Relayed::empty(StatusCode::NO_CONTENT)) };
        let mandate = named.until(not_after);
        let is_it = mandate.call == call && mandate.request_sha256 == request_sha256;
        if !is_it || !self.line.is_known_task(mandate.task) {
            return Err(ProblemKind::MandateRejected.into());
        }
        let statement = mandate.statement().ok_or(ProblemKind::MandateRejected)?;
        let signature = self.line.identity().sign(&statement).map_err(|_| ProblemKind::Internal)?;
        let signed = SignedMandate { not_after, signature: URL_SAFE_NO_PAD.encode(signature) };
        let body = serde_json::to_vec(&signed).map_err(|_| ProblemKind::Internal)?;
        self.relay(request(Method::PUT, &format!("{}/mandate", path(call)), body.into())).await
    }

    async fn relay(&self, request: Request<Bytes>) -> Result<Relayed, Problem> {
        self.line.relay(request).await.map_err(|error| {
            Problem::new(match error {
                CompanionError::Lost | CompanionError::Answer => ProblemKind::GatewayLost,
                _ => ProblemKind::GatewayUnreachable,
            })
            .retry_after(1)
        })
    }
}

/// What of the gateway's head is for the program, besides its length.
const CARRIED: [HeaderName; 7] = [
    header::CONTENT_TYPE,
    header::CACHE_CONTROL,
    header::RETRY_AFTER,
    header::LOCATION,
    HeaderName::from_static("preference-applied"),
    HeaderName::from_static("x-should-retry"),
    HeaderName::from_static("nightlatch-call"),
];

fn request(method: Method, path: &str, body: Bytes) -> Request<Bytes> {
    let mut request = Request::new(body);
    *request.method_mut() = method;
    // Paths here are made of our own words and an id.
    *request.uri_mut() = path.parse().unwrap_or_default();
    request
}

fn path(call: CallId) -> String {
    format!("{CALLS_PATH}/{call}")
}

fn bad(field: &str) -> Problem {
    Problem::new(ProblemKind::BadRequest).at_field(field)
}

/// What a program chooses of a mandate.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Ends {
    /// Milliseconds since 1970.
    not_after: Timestamp,
}

/// What is read of a call as the gateway shows it.
#[derive(Deserialize)]
struct Shown {
    mandate: Option<Named>,
}

/// What a mandate for it is for.
#[derive(Deserialize)]
struct Named {
    installation: InstallationId,
    tenant: TenantId,
    task: TaskId,
    grant: GrantId,
    connection: ConnectionId,
    call: CallId,
    request_sha256: String,
}

impl Named {
    fn until(self, not_after: Timestamp) -> Mandate {
        let Self { installation, tenant, task, grant, connection, call, request_sha256 } = self;
        Mandate { installation, tenant, task, grant, connection, call, request_sha256, not_after }
    }
}
