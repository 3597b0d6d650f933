//! Read: what a body says, where the request line does not.
//!
//! A GraphQL endpoint is one path for everything. So before anybody decides, its body is gathered to a stated limit,
//! parsed once, and the call becomes what its root fields are; the very same bytes then go to the tool, and their keyed
//! hash stands in the intent. Such an endpoint is read or refused: in a form that is not read (another content type, a
//! coding, a query in the target, an array of requests) it could be asked for anything.
//!
//! Every other body streams and is opaque.

use super::{Corridor, InBody, Refused, Resolved};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use nightlatch_catalog::{
    graphql::{self, GraphqlError},
    manifest::BodyKind,
};
use nightlatch_domain::problem::{Problem, ProblemKind};
use nightlatch_ledger::Digest;
use std::sync::Arc;
use tokio::{sync::OwnedSemaphorePermit, time::timeout};

/// A body that was gathered and read.
pub(crate) struct Read {
    pub(crate) bytes: Bytes,
    /// Its keyed hash.
    pub(crate) digest: Digest,
    /// Its place among those that are held at once.
    _place: OwnedSemaphorePermit,
}

impl Corridor {
    /// Reads the body of a call whose operation is told by it, and gives the call that it is.
    pub(super) async fn read(
        &self,
        resolved: Resolved,
        headers: &HeaderMap,
        body: InBody,
    ) -> Result<(Resolved, InBody), Refused> {
        let Some(BodyKind::Graphql) = resolved.manifest.body_of(&resolved.exchange.matched) else {
            return Ok((resolved, body));
        };
        let tool = resolved.exchange.tool.clone();
        let of_tool = |problem: Problem| problem.of_tool(&tool);
        check(&resolved, headers).map_err(of_tool)?;
        let read = Arc::new(self.gathered(body).await.map_err(of_tool)?);
        let body = InBody::Whole(read.bytes.clone());
        Ok((resolved.reading(read).map_err(of_tool)?, body))
    }

    async fn gathered(&self, body: InBody) -> Result<Read, Problem> {
        let Ok(place) = Arc::clone(&self.readings).try_acquire_owned() else {
            return Err(Problem::new(ProblemKind::TooManyCalls).retry_after(1));
        };
        let whole = Limited::new(body, self.limits.read_max_bytes).collect();
        let broken = || Problem::new(ProblemKind::BadRequest).at_field("body");
        let bytes = match timeout(self.limits.read_within, whole).await.map_err(|_| broken())? {
            // Trailers are refused wherever a body streams, too.
            Ok(gathered) if gathered.trailers().is_none() => gathered.to_bytes(),
            Ok(_) => return Err(Problem::new(ProblemKind::BadRequest).at_field("trailer")),
            Err(error) if error.is::<LengthLimitError>() => return Err(ProblemKind::TooLarge.into()),
            Err(_) => return Err(broken()),
        };
        let mut digest = self.ledger.body_digest();
        digest.update(&bytes);
        Ok(Read { bytes, digest: digest.finish(), _place: place })
    }
}

impl Resolved {
    /// The call that its body makes it.
    ///
    /// # Errors
    /// [`ProblemKind::BadRequest`] for a body that is no request, or two; [`ProblemKind::NotSupported`] for a
    /// subscription.
    pub(super) fn reading(mut self, read: Arc<Read>) -> Result<Self, Problem> {
        let asked = graphql::read(&read.bytes).map_err(|error| refusal(&error))?;
        let mut asked = self.manifest.roots_asked(&self.exchange.matched, &asked).into_iter();
        // There is at least one field.
        let strictest = asked.next().ok_or(ProblemKind::Internal)?;
        let also = asked.collect();
        let exchange = Arc::make_mut(&mut self.exchange);
        (exchange.matched, exchange.also) = (strictest, also);
        self.read = Some(read);
        Ok(self)
    }
}

fn refusal(error: &GraphqlError) -> Problem {
    match error {
        GraphqlError::Subscription => Problem::new(ProblemKind::NotSupported).at_field("body"),
        GraphqlError::TooMany => Problem::new(ProblemKind::TooLarge).at_field("body"),
        GraphqlError::Body | GraphqlError::Document | GraphqlError::Name => {
            Problem::new(ProblemKind::BadRequest).at_field("body")
        }
    }
}

/// Whether the request is in the one form that is read: a POST of JSON as it is, with nothing in the target.
fn check(resolved: &Resolved, headers: &HeaderMap) -> Result<(), Problem> {
    let target = &resolved.exchange.target;
    let unread = |field: &str| Err(Problem::new(ProblemKind::NotSupported).at_field(field));
    if target.method != "POST" {
        return unread("method");
    }
    if target.query.is_some() {
        return unread("query");
    }
    if headers.contains_key(header::CONTENT_ENCODING) {
        return unread("content-encoding");
    }
    let mut kinds = headers.get_all(header::CONTENT_TYPE).iter();
    match (kinds.next(), kinds.next()) {
        (Some(kind), None) if is_json(kind) => Ok(()),
        _ => unread("content-type"),
    }
}

/// `application/json`, in UTF-8 as JSON is (RFC 8259 §8.1).
fn is_json(kind: &HeaderValue) -> bool {
    let lower = kind.to_str().unwrap_or_default().to_ascii_lowercase();
    let mut parts = lower.split(';').map(str::trim);
    parts.next() == Some("application/json")
        && parts.all(|part| matches!(part, "charset=utf-8" | "charset=\"utf-8\""))
}
