//! The collector: one request over HTTP/1.1, through the connector of everything else that leaves.
//!
//! What it answers is somebody else's text and goes no further: of it only numbers are taken.

use crate::config::Otel;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, StatusCode, header};
use nightlatch_domain::clock::Clock;
use nightlatch_egress::{Connector, Destination, EgressError, SendError, SendWindow, SystemResolver};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message as _;
use std::{sync::Arc, time::Duration};

/// From the first look at its name to the end of its answer (the specification's default).
const EXPORT_WITHIN: Duration = Duration::from_secs(10);
/// A message about spans that it did not take.
const ANSWER_MAX_BYTES: usize = 64 * 1024;
const CONTENT_TYPE: HeaderValue = HeaderValue::from_static("application/x-protobuf");
const USER_AGENT: HeaderValue = HeaderValue::from_static(concat!("nightlatch/", env!("CARGO_PKG_VERSION")));

/// Why spans were not taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotTaken {
    /// It was not reached.
    #[error(transparent)]
    Unreached(#[from] EgressError),
    /// It did not answer.
    #[error(transparent)]
    Unanswered(#[from] SendError),
    /// It said no.
    #[error("it answered {0}")]
    Refused(StatusCode),
    /// What it answered is no answer of a collector.
    #[error("its answer is none of an OTLP collector: check `endpoint` under `[otel]` in nightlatch.toml")]
    Unread,
    /// The request could not be written.
    #[error("the request could not be written")]
    Unwritten,
}

/// A collector, and the way to it.
pub(super) struct Collector {
    connector: Connector,
    clock: Arc<dyn Clock>,
    to: Destination,
    path: String,
    headers: HeaderMap,
}

impl Collector {
    /// The way is its own: names that are looked up for it take no place of a tool's or the keeper's.
    pub(super) fn new(otel: Otel, clock: Arc<dyn Clock>) -> Self {
        let Otel { to, path, headers, sample: _, egress } = otel;
        let connector = Connector::new(egress, Arc::new(SystemResolver), Arc::clone(&clock));
        Self { connector, clock, to, path, headers }
    }

    /// Hands spans over, and says how many of them it rejected.
    pub(super) async fn take(&self, spans: Bytes) -> Result<u64, NotTaken> {
        let end = self.clock.boot().plus(EXPORT_WITHIN);
        let connection = self.connector.fresh_http1(&self.to, end).await?;
        let window = SendWindow { send_by: end, answer_by: end };
        let answer = connection.send_once(self.request(spans)?, ANSWER_MAX_BYTES, window).await?;
        if !answer.status.is_success() {
            return Err(NotTaken::Refused(answer.status));
        }
        // OTLP: an answer that says nothing of it, and so may be empty, took all. What is something else took none.
        let told =
            ExportTraceServiceResponse::decode(answer.body.as_slice()).map_err(|_| NotTaken::Unread)?;
        let rejected = told.partial_success.map_or(0, |part| part.rejected_spans);
        Ok(u64::try_from(rejected).unwrap_or(0))
    }

    fn request(&self, spans: Bytes) -> Result<Request<Bytes>, NotTaken> {
        let request = Request::post(self.path.as_str()).body(spans);
        let mut request = request.map_err(|_| NotTaken::Unwritten)?;
        *request.headers_mut() = self.headers.clone();
        request.headers_mut().insert(header::CONTENT_TYPE, CONTENT_TYPE);
        request.headers_mut().insert(header::USER_AGENT, USER_AGENT);
        Ok(request)
    }
}
