//! Requests on their way out: written for one destination, and their bodies watched.

use crate::{connect::Protocol, destination::Destination, error::EgressError};
use bytes::Bytes;
use http::{
    HeaderValue, Request, Uri,
    header::HOST,
    uri::{Authority, PathAndQuery},
};
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::{Body, Frame, SizeHint};
use nightlatch_domain::tool::Scheme;
use std::{
    error::Error,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
};

/// The body of a request, as it is given to the pool.
pub type SendBody = UnsyncBoxBody<Bytes, Box<dyn Error + Send + Sync>>;

/// Writes a request for HTTP/1.1: origin form, and the destination's `Host` (RFC 9112 §3.2.1).
pub(crate) fn origin_form<B>(mut request: Request<B>, to: &Destination) -> Result<Request<B>, EgressError> {
    let (path, host) = target(&request, to)?;
    *request.uri_mut() = Uri::from(path);
    request.headers_mut().insert(HOST, host);
    Ok(request)
}

/// Writes a request for HTTP/2: `:scheme`, `:authority`, `:path`, and no `Host` (RFC 9113 §8.3.1).
fn absolute_form<B>(mut request: Request<B>, to: &Destination) -> Result<Request<B>, EgressError> {
    let (path, host) = target(&request, to)?;
    let bad = || EgressError::BadHost(to.host().to_owned());
    let authority =
        Authority::from_maybe_shared(Bytes::copy_from_slice(host.as_bytes())).map_err(|_| bad())?;
    let scheme = if to.scheme() == Scheme::Https { "https" } else { "http" };
    let url = Uri::builder().scheme(scheme).authority(authority).path_and_query(path).build();
    *request.uri_mut() = url.map_err(|_| bad())?;
    request.headers_mut().remove(HOST);
    Ok(request)
}

pub(crate) fn written_for<B>(
    protocol: Protocol,
    request: Request<B>,
    to: &Destination,
) -> Result<Request<B>, EgressError> {
    match protocol {
        Protocol::Http1 => origin_form(request, to),
        Protocol::Http2 => absolute_form(request, to),
    }
}

/// Path and host of a request; where it names a host itself, it is this one or it is refused.
fn target<B>(request: &Request<B>, to: &Destination) -> Result<(PathAndQuery, HeaderValue), EgressError> {
    let authority = to.authority();
    let misdirected = || EgressError::Misdirected(authority.clone());
    let host = HeaderValue::from_str(&authority).map_err(|_| misdirected())?;
    let same_url = request.uri().authority().is_none_or(|named| named.as_str() == authority);
    let same_host = request.headers().get_all(HOST).iter().all(|named| named == host);
    if !same_url || !same_host {
        return Err(misdirected());
    }
    let path = request.uri().path_and_query().cloned();
    Ok((path.unwrap_or_else(|| PathAndQuery::from_static("/")), host))
}

/// How far the body of a request has come.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    frames: AtomicU64,
    ended: AtomicBool,
}

impl Progress {
    pub(crate) fn frames(&self) -> u64 {
        self.frames.load(Ordering::Relaxed)
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }
}

/// A body that tells how far it has come.
pub(crate) struct Outgoing {
    body: SendBody,
    progress: Arc<Progress>,
}

impl Outgoing {
    pub(crate) fn new(body: SendBody) -> (Self, Arc<Progress>) {
        let progress = Arc::new(Progress::default());
        progress.ended.store(body.is_end_stream(), Ordering::Release);
        (Self { body, progress: Arc::clone(&progress) }, progress)
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = Box<dyn Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        self.progress.frames.fetch_add(1, Ordering::Relaxed);
        if frame.is_none() || self.body.is_end_stream() {
            self.progress.ended.store(true, Ordering::Release);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
