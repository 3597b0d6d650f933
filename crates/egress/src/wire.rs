//! One request over a fresh connection, as a trait: what the keeper asks of the outside.
//!
//! It stands in this room and not among the ports of `domain`, because a refresh token in the clear crosses it.
//! A simulated provider stands behind it as well as a [`Connector`], and has to answer the same question: whether
//! a byte of the request may have left.

use crate::{
    connect::Connector,
    destination::Destination,
    error::EgressError,
    fresh::{FreshConnection, RawAnswer, SendError, SendWindow},
};
use bytes::Bytes;
use http::Request;
use nightlatch_domain::{clock::Boot, ports::Boxed};

/// Whoever makes connections.
pub trait Wire: Send + Sync {
    /// Dials and finishes TLS by `deadline`; nothing is said yet.
    fn dial<'a>(
        &'a self,
        to: &'a Destination,
        deadline: Boot,
    ) -> Boxed<'a, Result<Box<dyn Line>, EgressError>>;
}

/// A connection on which nothing was said yet.
pub trait Line: Send + Sync {
    /// Sends one request, and reads its answer up to `answer_max_bytes`, as
    /// [`FreshConnection::send_once`] says. Dropping the future breaks the connection off.
    fn send(
        self: Box<Self>,
        request: Request<Bytes>,
        answer_max_bytes: usize,
        window: SendWindow,
    ) -> Boxed<'static, Result<RawAnswer, SendError>>;
}

impl Wire for Connector {
    fn dial<'a>(
        &'a self,
        to: &'a Destination,
        deadline: Boot,
    ) -> Boxed<'a, Result<Box<dyn Line>, EgressError>> {
        Box::pin(async move {
            let fresh = self.fresh_http1(to, deadline).await?;
            Ok(Box::new(fresh) as Box<dyn Line>)
        })
    }
}

impl Line for FreshConnection {
    fn send(
        self: Box<Self>,
        request: Request<Bytes>,
        answer_max_bytes: usize,
        window: SendWindow,
    ) -> Boxed<'static, Result<RawAnswer, SendError>> {
        Box::pin((*self).send_once(request, answer_max_bytes, window))
    }
}
